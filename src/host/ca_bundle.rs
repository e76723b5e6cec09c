//! The host's file of trusted certificates, and TLS for HTTP clients that trust them.

use std::path::Path;
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::base::limits::MIB;
use crate::host::named_file::{PipeWait, read_named_file};

/// The variable that names another file, as for most programs that speak TLS.
pub(crate) const VARIABLE: &str = "SSL_CERT_FILE";

/// Bytes of the file: a host's own has a quarter of a MiB.
const CA_BUNDLE_BYTES_MAX: usize = 8 * MIB;

/// The paths at which hosts keep it: Debian, Alpine and Arch; Fedora; SUSE; others.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns the file that the environment names, whether or not it exists, else the first that exists;
/// otherwise the paths that were tried.
pub(crate) fn file() -> Result<String, String> {
    match std::env::var(VARIABLE) {
        Ok(named) if !named.is_empty() => Ok(named),
        _ => {
            let found = FILES.iter().find(|path| Path::new(path).exists());
            found.map(|path| (*path).to_owned()).ok_or_else(|| FILES.join(", "))
        }
    }
}

/// Reads the certificates of the file; otherwise returns the paths that cannot be read.
pub(crate) fn certificates() -> Result<Vec<Certificate<'static>>, String> {
    let path = file()?;
    let pem = read_named_file(Path::new(&path), CA_BUNDLE_BYTES_MAX, PipeWait::Refused)
        .map_err(|_| path.clone())?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if found.is_empty() { Err(path) } else { Ok(found) }
}

/// Returns TLS for an HTTP client that trusts these certificates and no others.
pub(crate) fn tls_config(trusted: Vec<Certificate<'static>>) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = RootCerts::Specific(Arc::new(trusted));
    TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(roots).build()
}
