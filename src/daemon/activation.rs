//! Sockets passed at the start (socket activation): which there are, which listener each one is, and which
//! settings they stand in for. Protocol: `sd_listen_fds(3)`.
//!
//! Owns the variables `LISTEN_*`. Knows nothing of the use of a listening socket.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use crate::base::address::ListenAddress;
use crate::base::failure::CommandFailure;
use crate::base::listener::ListenerKind;
use crate::base::logfmt::shown;
use crate::base::settings::Settings;
use crate::config::resolved::ResolvedSettings;
use crate::daemon::start;
use crate::reactor::{InheritedSocket, StartError};
use crate::sys::process;

/// Listening sockets that may be passed to the server at its start: their descriptors are bits of one word.
const INHERITED_SOCKETS_MAX: usize = 60;
const _: () = assert!(INHERITED_SOCKETS_MAX + 3 < 64, "the standard streams and what is passed fit one word");

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// Variables that are removed even when meant for another process, so that no child takes them for its own.
const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// A descriptor that was passed to the process and has not been checked yet.
#[derive(Debug)]
pub(crate) struct PassedSocket {
    number: i32,
    name: String,
    file: OwnedFd,
}

/// Takes the descriptors that were passed to this process and removes the variables that announce them. Call
/// it before the process opens any file.
///
/// # Errors
/// When the variables contradict each other, or a descriptor is not open.
pub(crate) fn take_passed() -> Result<Vec<PassedSocket>, CommandFailure> {
    let names = passed_names(|name| std::env::var_os(name), std::process::id());
    process::forget_variables(&VARIABLES);
    let passed = (FIRST..).zip(names?).map(|(number, name)| match process::inherited(number) {
        Ok(file) => Ok(PassedSocket { number, name, file }),
        Err(os) => Err(start::start_failure(&StartError::Inherited { number, name, os: Some(os) })),
    });
    passed.collect()
}

/// Returns the name of each passed descriptor; none when the variables belong to another process.
fn passed_names(
    variable: impl Fn(&str) -> Option<OsString>,
    pid: u32,
) -> Result<Vec<String>, CommandFailure> {
    let text = |name| variable(name).map(|text| text.to_string_lossy().into_owned());
    if text("LISTEN_PID").and_then(|text| text.parse().ok()) != Some(pid) {
        return Ok(Vec::new());
    }
    let count = text("LISTEN_FDS").unwrap_or_default();
    let sockets = count.parse().ok().filter(|&sockets| sockets <= INHERITED_SOCKETS_MAX);
    let sockets: usize = sockets.ok_or_else(|| {
        let shown = shown(&count);
        CommandFailure::Run(format!("LISTEN_FDS = {shown} is not a number from 0 to {INHERITED_SOCKETS_MAX}"))
    })?;
    let Some(names) = text("LISTEN_FDNAMES") else { return Ok(vec!["unknown".to_owned(); sockets]) };
    let names: Vec<String> = names.split(':').filter(|_| sockets > 0).map(str::to_owned).collect();
    if names.len() == sockets {
        return Ok(names);
    }
    // To guess which one is left out could make the control listener of a public socket.
    let named = names.len();
    Err(CommandFailure::Run(format!(
        "LISTEN_FDNAMES has {named} names for LISTEN_FDS = {sockets} descriptors"
    )))
}

/// Makes listeners of passed descriptors and returns the settings that go with them. A default address gives
/// way to a socket of its kind; the operator's listeners answer to the addresses of their sockets. Notes the
/// addresses in `resolved`, for the page of settings.
///
/// # Errors
/// When a descriptor is not a listening stream socket.
pub(crate) fn join_listeners(
    passed: Vec<PassedSocket>,
    resolved: &mut ResolvedSettings,
) -> Result<(Settings, Vec<InheritedSocket>), CommandFailure> {
    let mut settings = resolved.settings();
    let mut sockets = Vec::with_capacity(passed.len());
    for PassedSocket { number, name, file } in passed {
        let mut socket =
            InheritedSocket::new(number, name, file).map_err(|error| start::start_failure(&error))?;
        socket.listener = listener_of(&socket, &settings);
        sockets.push(socket);
    }
    for listener in ListenerKind::ALL {
        let own = sockets.iter().filter(|socket| socket.listener == listener);
        let passed: Vec<String> = own.map(|socket| socket.address.to_string()).collect();
        let addresses = listener.addresses_mut(&mut settings);
        let entry = resolved.entry_mut(listener.setting());
        if entry.is_default() && !passed.is_empty() {
            addresses.clear();
        }
        // Named as well, so that their Hosts are answered; what a passed socket serves is not bound again.
        for address in passed {
            if !addresses.contains(&address) {
                addresses.push(address.clone());
                entry.passed.push(address);
            }
        }
    }
    Ok((settings, sockets))
}

/// The kind that a socket's name says, else the one whose setting has its address, else public.
fn listener_of(socket: &InheritedSocket, settings: &Settings) -> ListenerKind {
    let configured = |listener: &ListenerKind| {
        let mut addresses = listener.addresses(settings).iter().map(|text| ListenAddress::parse(text));
        addresses.any(|address| address.as_ref() == Some(&socket.address))
    };
    let mut kinds = ListenerKind::ALL.into_iter();
    let by_name = kinds.find(|kind| kind.is_operators() && kind.name() == socket.name);
    by_name.or_else(|| ListenerKind::ALL.into_iter().find(configured)).unwrap_or(ListenerKind::Public)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::config::resolve::SettingInputs;

    #[test]
    fn variables_of_another_process_are_ignored_and_contradictions_refused() {
        type Variables = &'static [(&'static str, &'static str)];
        let rows: &[(Variables, Option<&[&str]>)] = &[
            (&[], Some(&[])),
            (&[("LISTEN_FDS", "2")], Some(&[])),
            (&[("LISTEN_PID", "8"), ("LISTEN_FDS", "2")], Some(&[])),
            (&[("LISTEN_PID", "seven"), ("LISTEN_FDS", "x")], Some(&[])),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2")], Some(&["unknown", "unknown"])),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "0"), ("LISTEN_FDNAMES", "")], Some(&[])),
            (
                &[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:control")],
                Some(&["a", "control"]),
            ),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "control")], None),
            (&[("LISTEN_PID", "7")], None),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "-1")], None),
            (&[("LISTEN_PID", "7"), ("LISTEN_FDS", "61")], None),
        ];
        for (variables, expected) in rows {
            let find =
                |name: &str| variables.iter().find(|(have, _)| *have == name).map(|(_, text)| text.into());
            let found = passed_names(find, 7).ok();
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(found, expected, "{variables:?}");
        }
    }

    fn passed(name: &str) -> (PassedSocket, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        (PassedSocket { number: 3, name: name.to_owned(), file: listener.into() }, address)
    }

    fn resolved(flags: &[(&'static str, &str)]) -> ResolvedSettings {
        let flags = flags.iter().map(|(name, text)| (*name, vec![(*text).to_owned()])).collect();
        ResolvedSettings::read(&SettingInputs { flags, ..SettingInputs::default() }).unwrap()
    }

    #[test]
    fn defaults_give_way_to_sockets_of_their_kind_and_settings_stay() {
        let (public, address) = passed("fanwheel.socket");
        let (settings, sockets) = join_listeners(vec![public], &mut resolved(&[])).unwrap();
        assert_eq!(sockets[0].listener, ListenerKind::Public);
        assert_eq!(settings.listen, [address]);
        assert_eq!(settings.control, ["127.0.0.1:8081"]);

        let (named, address) = passed("control");
        let (settings, sockets) =
            join_listeners(vec![named], &mut resolved(&[("listen", "127.0.0.1:9")])).unwrap();
        assert_eq!(sockets[0].listener, ListenerKind::Control);
        assert_eq!(settings.listen, ["127.0.0.1:9"]);
        assert_eq!(settings.control, [address]);

        let (named, address) = passed("control");
        let (settings, _) =
            join_listeners(vec![named], &mut resolved(&[("control", "127.0.0.1:9")])).unwrap();
        assert_eq!(settings.control, ["127.0.0.1:9", &address]);
        assert_eq!(settings.listen, ["0.0.0.0:8080"]);

        let (named, address) = passed("metrics");
        let both = [("control", address.as_str()), ("metrics_listen", "127.0.0.1:9")];
        let (settings, sockets) = join_listeners(vec![named], &mut resolved(&both[1..])).unwrap();
        assert_eq!(sockets[0].listener, ListenerKind::Metrics);
        assert_eq!(settings.metrics_listen, ["127.0.0.1:9", &address]);
        let (named, _) = passed("metrics");
        let (settings, _) = join_listeners(vec![named], &mut resolved(&both[..1])).unwrap();
        assert_eq!(
            (settings.control, settings.metrics_listen.len()),
            (vec![address], 1),
            "a name counts more"
        );

        let (unnamed, address) = passed("unknown");
        let both = format!("127.0.0.1:9,{address}");
        let (settings, sockets) =
            join_listeners(vec![unnamed], &mut resolved(&[("control", &both)])).unwrap();
        assert_eq!(settings.control, ["127.0.0.1:9", &address]);
        assert_eq!(sockets[0].listener, ListenerKind::Control);
        assert!(sockets[0].serves(ListenerKind::Control, &address));
    }
}
