//! The needs of a start with a backplane: its password, the certificates to trust, the name of this node.

use std::path::Path;

use crate::backplane::{JoinOptions, JoinedFleet};
use crate::base::failure::CommandFailure;
use crate::base::limits::MIB;
use crate::base::logfmt::shown;
use crate::base::settings::Settings;
use crate::host::ca_bundle;
use crate::host::named_file::{PipeWait, read_named_file};
use crate::host::seed::random_seed;
use crate::host::token_file::read_token;

/// Bytes of a file of certificates.
const CERTIFICATES_BYTES_MAX: usize = 8 * MIB;
/// The file with the name of this host.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

/// Joins the fleet, if there is a backplane.
///
/// # Errors
/// One line that says what is wrong with the backplane or its settings.
pub(crate) fn join_fleet(settings: &Settings) -> Result<Option<JoinedFleet>, CommandFailure> {
    let Some(mut address) = settings.backplane.address.clone() else { return Ok(None) };
    let password_file = &settings.backplane.password_file;
    if !password_file.is_empty() {
        address.password = Some(read_token(password_file)?.to_string());
    }
    let place = address.to_string();
    let trusted = address.tls.then(read_certificates).transpose()?;
    let options = JoinOptions { address, trusted, name: node_name(settings), seed: random_seed() };
    let refuse = |why: String| {
        CommandFailure::Run(format!("cannot join the fleet at backplane = {}: {why}", shown(&place)))
    };
    JoinedFleet::join(settings, options).map(Some).map_err(refuse)
}

fn read_certificates() -> Result<Vec<u8>, CommandFailure> {
    let refuse = |path: &str| {
        CommandFailure::Run(format!(
            "backplane = rediss://… needs trusted certificates, and none can be read from {path}; name a \
             file with {}",
            ca_bundle::VARIABLE
        ))
    };
    let path = ca_bundle::file().map_err(|tried| refuse(&tried))?;
    read_named_file(Path::new(&path), CERTIFICATES_BYTES_MAX, PipeWait::Refused).map_err(|_| refuse(&path))
}

/// Returns a name that tells this node from others to people: its host and its first listener.
fn node_name(settings: &Settings) -> String {
    let host = std::fs::read_to_string(HOST_NAME).unwrap_or_default();
    let listener = settings.listen.first().map_or("", String::as_str);
    let name = format!("{} {listener}", host.trim());
    name.chars().filter(|c| !c.is_control()).take(60).collect()
}
