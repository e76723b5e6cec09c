//! The header of the PROXY protocol, in its versions 1 and 2: bytes in, the client's address out.
//!
//! A header is believed or refused whole. Extensions of version 2 (TLV) are passed over. Source: HAProxy's
//! `proxy-protocol.txt`, sections 2.1 and 2.2. Knows no peer and no request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::limits::PROXY_HEADER_BYTES_MAX;
use crate::base::peers::ClientAddress;

/// Begins a header of version 1, a line of text.
const TEXT_START: &[u8] = b"PROXY ";
/// Bytes of such a line with its end, at most.
const TEXT_BYTES_MAX: usize = 107;
/// Begins a header of version 2.
const BINARY_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of its fixed part: start, version and command, family, length of the rest.
const BINARY_FIXED_BYTES: usize = 16;

const _: () = assert!(TEXT_BYTES_MAX <= PROXY_HEADER_BYTES_MAX);

/// Contents of the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Perhaps a header; more bytes will tell. Never returned for [`PROXY_HEADER_BYTES_MAX`] bytes.
    More,
    /// No header: something else begins there.
    Absent,
    /// Begins like a header and is none.
    Malformed,
    /// A header.
    Whole {
        /// The client; none if the proxy speaks for itself, or of a client without an address.
        client: Option<ClientAddress>,
        /// Bytes of the header.
        bytes: usize,
    },
}

/// Reads the header at the start of `bytes`. Call again with more bytes after [`ProxyHeader::More`].
pub fn parse(bytes: &[u8]) -> ProxyHeader {
    if bytes.starts_with(TEXT_START) {
        parse_text(bytes)
    } else if bytes.starts_with(BINARY_START) {
        parse_binary(bytes)
    } else if TEXT_START.starts_with(bytes) || BINARY_START.starts_with(bytes) {
        ProxyHeader::More
    } else {
        ProxyHeader::Absent
    }
}

fn parse_text(bytes: &[u8]) -> ProxyHeader {
    let line = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() < TEXT_BYTES_MAX { ProxyHeader::More } else { ProxyHeader::Malformed };
    };
    let client = std::str::from_utf8(&line[TEXT_START.len()..end]).ok().and_then(text_client);
    client.map_or(ProxyHeader::Malformed, |client| ProxyHeader::Whole { client, bytes: end + 2 })
}

/// Reads the words after `PROXY`. The outer `None`: they are wrong.
fn text_client(words: &str) -> Option<Option<ClientAddress>> {
    let words: Vec<&str> = words.split(' ').collect();
    let both = |source: &str, destination: &str| -> Option<(IpAddr, IpAddr)> {
        Some((source.parse().ok()?, destination.parse().ok()?))
    };
    match words[..] {
        // Whatever follows is to be ignored.
        ["UNKNOWN", ..] => Some(None),
        [family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let (source, destination) = both(source, destination)?;
            let of_family = |address: IpAddr| address.is_ipv4() == (family == "TCP4");
            let port = parse_port(source_port)?;
            parse_port(destination_port)?;
            (of_family(source) && of_family(destination))
                .then(|| Some(ClientAddress::new(source, Some(port))))
        }
        _ => None,
    }
}

/// Reads a port in decimal, without a sign or leading zeros.
fn parse_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port.to_string() == text).then_some(port)
}

fn parse_binary(bytes: &[u8]) -> ProxyHeader {
    let Some((fixed, rest)) = bytes.split_at_checked(BINARY_FIXED_BYTES) else { return ProxyHeader::More };
    let [version_command, family, length @ ..] = &fixed[BINARY_START.len()..] else {
        unreachable!("four bytes follow the start")
    };
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let header_bytes = BINARY_FIXED_BYTES + length;
    let speaks_for_itself = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return ProxyHeader::Malformed,
    };
    if header_bytes > PROXY_HEADER_BYTES_MAX {
        return ProxyHeader::Malformed;
    }
    let Some(rest) = rest.get(..length) else { return ProxyHeader::More };
    if speaks_for_itself {
        return ProxyHeader::Whole { client: None, bytes: header_bytes };
    }
    match binary_client(*family, rest) {
        Some(client) => ProxyHeader::Whole { client, bytes: header_bytes },
        None => ProxyHeader::Malformed,
    }
}

/// Reads source and destination of a family. The outer `None`: there is no such family, or they do not fit.
fn binary_client(family: u8, rest: &[u8]) -> Option<Option<ClientAddress>> {
    let (address_bytes, ip): (usize, fn(&[u8]) -> IpAddr) = match family {
        0x11 => (4, |bytes| Ipv4Addr::from(<[u8; 4]>::try_from(bytes).expect("four bytes")).into()),
        0x21 => (16, |bytes| Ipv6Addr::from(<[u8; 16]>::try_from(bytes).expect("sixteen bytes")).into()),
        // Unspecified, datagrams and Unix sockets: a header to pass over, without an address of use.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => return Some(None),
        _ => return None,
    };
    let (source, rest) = rest.split_at_checked(address_bytes)?;
    let [high, low, _, _] = *rest.get(address_bytes..address_bytes + 4)? else { return None };
    Some(Some(ClientAddress::new(ip(source), Some(u16::from_be_bytes([high, low])))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn binary(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [BINARY_START, &[version_command, family], &length, rest].concat()
    }

    /// Expects the client of a whole header, before other bytes and torn at each byte.
    fn check(header: &[u8], expected: Option<&str>) {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), ProxyHeader::More, "{cut} bytes of {}", header.escape_ascii());
        }
        for rest in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\r\n", b"\0"] {
            let ProxyHeader::Whole { client, bytes } = parse(&[header, rest].concat()) else {
                panic!("{} is no header", header.escape_ascii())
            };
            let client = client.map(|client| client.to_string());
            assert_eq!((client.as_deref(), bytes), (expected, header.len()), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn a_line_of_text_names_its_client_however_it_is_torn() {
        let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0";
        let rows = [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Some("192.0.2.1:56324".to_owned())),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", Some("[2001:db8::1]:1".to_owned())),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 0\r\n", Some("192.0.2.1:1".to_owned())),
            (&format!("PROXY TCP6 {long} {long} 65535 65535\r\n"), Some(format!("[{long}]:65535"))),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 whatever it is\r\n", None),
        ];
        for (line, expected) in rows {
            check(line.as_bytes(), expected.as_deref());
        }
    }

    #[test]
    fn a_binary_header_names_its_client_and_extensions_are_passed_over() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 187];
        let v6 =
            [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 16], &[0, 7, 0, 8]].concat();
        let extended = [&v4[..], &[3, 0, 4, 1, 2, 3, 4, 4, 0, 200], &[0; 200]].concat();
        check(&binary(0x21, 0x11, &v4), Some("192.0.2.1:56324"));
        check(&binary(0x21, 0x11, &extended), Some("192.0.2.1:56324"));
        check(&binary(0x21, 0x21, &v6), Some("[2001:db8::1]:7"));
    }

    #[test]
    fn a_proxy_that_speaks_for_itself_or_for_no_address_names_nobody() {
        check(&binary(0x20, 0x00, b""), None);
        check(&binary(0x20, 0x11, &[1; 12]), None);
        check(&binary(0x20, 0x77, b"anything"), None);
        check(&binary(0x21, 0x00, b"\x04\0\x01x"), None);
        check(&binary(0x21, 0x31, &[b'/'; 216]), None);
        check(&binary(0x21, 0x12, &[1; 12]), None);
    }

    #[test]
    fn a_wrong_header_is_refused_and_other_bytes_are_no_header() {
        let malformed = [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +5 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 1 443\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY \r\n",
            "PROXY TCP4 \u{ff}\r\n",
        ];
        for line in malformed {
            assert_eq!(parse(line.as_bytes()), ProxyHeader::Malformed, "{line}");
        }
        let endless = [TEXT_START, &[b'U'; TEXT_BYTES_MAX]].concat();
        assert_eq!(parse(&endless[..TEXT_BYTES_MAX - 1]), ProxyHeader::More);
        assert_eq!(parse(&endless[..TEXT_BYTES_MAX]), ProxyHeader::Malformed);
        for (version_command, family, rest) in [
            (0x11, 0x11, 12),
            (0x22, 0x11, 12),
            (0x21, 0x11, 11),
            (0x21, 0x21, 12),
            (0x21, 0x13, 12),
            (0x21, 0x41, 12),
        ] {
            let header = binary(version_command, family, &vec![1; rest]);
            assert_eq!(parse(&header), ProxyHeader::Malformed, "{version_command:x} {family:x} {rest}");
        }
        let large = binary(0x21, 0x11, &[1; PROXY_HEADER_BYTES_MAX]);
        assert_eq!(parse(&large[..BINARY_FIXED_BYTES]), ProxyHeader::Malformed, "before its rest has come");
        for other in ["GET / HTTP/1.1\r\n", "POST", "PROXYING", "\r\nGET /", "\r\n\r\n\r\n"] {
            assert_eq!(parse(other.as_bytes()), ProxyHeader::Absent, "{other}");
        }
    }
}
