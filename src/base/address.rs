//! Listen addresses as text: `ADDR:PORT`, `[ADDR6]:PORT`, `:PORT`, `localhost:PORT`, `unix:/path`. Knows no
//! sockets, and looks up no names.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
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
    /// Reads a text form; `None` for any other text. A port alone means all addresses of IPv4, and
    /// `localhost` means 127.0.0.1.
    pub(crate) fn parse(text: &str) -> Option<ListenAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = path.len() <= UNIX_PATH_BYTES_MAX && path.starts_with('/') && !path.ends_with('/');
            return (fits && !path.contains('\0')).then(|| ListenAddress::Unix(PathBuf::from(path)));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let of_ipv4 = |address: Ipv4Addr| {
            // The parser of numbers alone would take a sign.
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            Some(SocketAddr::from((address, port.parse().ok().filter(|_| digits)?)))
        };
        let address = match host {
            "" | "*" => of_ipv4(Ipv4Addr::UNSPECIFIED),
            "localhost" => of_ipv4(Ipv4Addr::LOCALHOST),
            _ => text.parse().ok(),
        };
        address.map(ListenAddress::Tcp)
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
        let rows: &[(&str, Option<&str>)] = &[
            ("0.0.0.0:8080", Some("0.0.0.0:8080")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::]:8080", Some("[::]:8080")),
            ("[::1]:1", Some("[::1]:1")),
            ("unix:/run/fanwheel.sock", Some("unix:/run/fanwheel.sock")),
            (":8080", Some("0.0.0.0:8080")),
            ("8080", Some("0.0.0.0:8080")),
            ("*:80", Some("0.0.0.0:80")),
            ("localhost:8080", Some("127.0.0.1:8080")),
            ("", None),
            (":", None),
            (":+80", None),
            ("localhost", None),
            ("127.0.0.1", None),
            ("127.0.0.1:65536", None),
            ("65536", None),
            ("::1:8080", None),
            ("host.example:8080", None),
            ("unix:", None),
            ("unix:relative", None),
            ("unix:/directory/", None),
        ];
        for (text, expected) in rows {
            let written = ListenAddress::parse(text).map(|address| address.to_string());
            assert_eq!(written.as_deref(), *expected, "{text}");
        }
        assert_eq!(ListenAddress::parse(&format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX))), None);
    }
}
