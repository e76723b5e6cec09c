//! Finds the host's file of trusted certificates. Knows no TLS.

use std::path::Path;

/// The variable that names another file, as for most programs that speak TLS.
pub const VARIABLE: &str = "SSL_CERT_FILE";

/// The paths at which hosts keep it: Debian, Alpine and Arch; Fedora; SUSE; others.
const FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Returns the file that the environment names, whether or not it exists, else the first that exists;
/// otherwise the paths that were tried.
pub fn file() -> Result<String, String> {
    match std::env::var(VARIABLE) {
        Ok(named) if !named.is_empty() => Ok(named),
        _ => {
            let found = FILES.iter().find(|path| Path::new(path).exists());
            found.map(|path| (*path).to_owned()).ok_or_else(|| FILES.join(", "))
        }
    }
}
