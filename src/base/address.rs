//! Listen addresses as text: `ADDR:PORT`, `[ADDR6]:PORT`, `unix:/path`. Knows no sockets.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::limits::UNIX_PATH_BYTES_MAX;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// A Unix stream socket with that file name.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Reads the text form; `None` when it is none of the three.
    pub(crate) fn parse(text: &str) -> Option<ListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = path.len() <= UNIX_PATH_BYTES_MAX && path.starts_with('/') && !path.ends_with('/');
            return (fits && !path.contains('\0')).then(|| ListenAddress::Unix(PathBuf::from(path)));
        }
        text.parse().ok().map(ListenAddress::Tcp)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_are_read_and_written_back_and_rubbish_is_refused() {
        let rows: &[(&str, bool)] = &[
            ("0.0.0.0:8080", true),
            ("127.0.0.1:0", true),
            ("[::]:8080", true),
            ("[::1]:1", true),
            ("unix:/run/fanwheel.sock", true),
            ("", false),
            (":8080", false),
            ("8080", false),
            ("127.0.0.1", false),
            ("127.0.0.1:65536", false),
            ("::1:8080", false),
            ("host.example:8080", false),
            ("unix:", false),
            ("unix:relative", false),
            ("unix:/directory/", false),
        ];
        for (text, good) in rows {
            let written = ListenAddress::parse(text).map(|address| address.to_string());
            assert_eq!(written.as_deref(), good.then_some(*text), "{text}");
        }
        assert_eq!(ListenAddress::parse(&format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX))), None);
    }
}
