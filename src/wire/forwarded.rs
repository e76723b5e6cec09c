//! The client that proxies name in `X-Forwarded-For`, or in `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address from which it got the request. So the fields are read from their end, and
//! no further than the first address that is no trusted proxy: all before it may be made up. Knows no
//! sockets.

use std::net::{IpAddr, SocketAddr};

use crate::base::peers::{ClientAddress, TrustedPeers};
use crate::wire::fields::{FieldValues, ListLines};

/// Returns the client that a trusted peer names. `X-Forwarded-For` goes first: proxies that write it hand a
/// client's own `Forwarded` on.
pub fn named_client(fields: &FieldValues<'_>, trusted: &TrustedPeers) -> Option<ClientAddress> {
    if !fields.forwarded_for.is_empty() {
        walk_back(&fields.forwarded_for, trusted, parse_node)
    } else {
        walk_back(&fields.forwarded, trusted, forwarded_node)
    }
}

/// Reads members from the last one on, to the first that is no trusted proxy. One that cannot be read hides
/// those before it.
fn walk_back(
    lines: &ListLines<'_>,
    trusted: &TrustedPeers,
    read: fn(&str) -> Option<ClientAddress>,
) -> Option<ClientAddress> {
    let mut client = None;
    // Commas in quotes split, too: a client's unbalanced quote must not swallow a proxy's member.
    for member in lines.members().rev() {
        let Some(node) = std::str::from_utf8(member).ok().and_then(read) else { break };
        client = Some(node);
        if !trusted.contains(Some(node.ip)) {
            break;
        }
    }
    client
}

/// Reads the parameter `for` of one member of `Forwarded`.
fn forwarded_node(member: &str) -> Option<ClientAddress> {
    let pairs = member.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, node) = named.next().filter(|_| named.next().is_none())?;
    let node = node.trim();
    let quoted = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
    parse_node(quoted.unwrap_or(node))
}

/// Reads an address, in brackets if it is one of IPv6 with a port. Names of proxies, `unknown` and the like
/// are no addresses.
fn parse_node(text: &str) -> Option<ClientAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(ClientAddress::new(address.ip(), Some(address.port())));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|ip| ClientAddress::new(ip, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(forwarded_for: &[&str], forwarded: &[&str]) -> Option<String> {
        let trusted = TrustedPeers::parse(&["10.0.0.0/8".to_owned()]).expect("a network");
        let mut fields = FieldValues::default();
        forwarded_for.iter().for_each(|line| fields.forwarded_for.push_last(line.as_bytes()));
        forwarded.iter().for_each(|line| fields.forwarded.push_last(line.as_bytes()));
        named_client(&fields, &trusted).map(|client| client.to_string())
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let rows: &[(&[&str], Option<&str>)] = &[
            (&["192.0.2.1"], Some("192.0.2.1")),
            (&["198.51.100.9, 192.0.2.1, 10.0.0.7"], Some("192.0.2.1")),
            (&["198.51.100.9", "192.0.2.1", "10.0.0.7,10.0.0.8"], Some("192.0.2.1")),
            (&["10.0.0.9, 10.0.0.7"], Some("10.0.0.9")),
            (&["unknown, 10.0.0.7"], Some("10.0.0.7")),
            (&["198.51.100.9, unknown"], None),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]:7"], Some("[2001:db8::1]:7")),
            (&["192.0.2.1:7"], Some("192.0.2.1:7")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1")),
            (&[" , "], None),
            (&["1", "2", "3", "4", "5", "192.0.2.1", "10.0.0.7"], Some("192.0.2.1")),
            (&["192.0.2.1", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"], Some("10.0.0.1")),
        ];
        for (lines, expected) in rows {
            assert_eq!(named(lines, &[]).as_deref(), *expected, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_in_the_same_way_and_only_alone() {
        let rows: &[(&str, Option<&str>)] = &[
            ("for=192.0.2.1", Some("192.0.2.1")),
            ("For=\"[2001:db8::1]:7\";proto=https;by=_here", Some("[2001:db8::1]:7")),
            ("proto=http; for = \"192.0.2.1:7\", for=10.0.0.7", Some("192.0.2.1:7")),
            ("for=\"x, for=192.0.2.1", Some("192.0.2.1")),
            ("for=198.51.100.9, for=_hidden", None),
            ("for=198.51.100.9;for=192.0.2.1", None),
            ("by=192.0.2.1", None),
        ];
        for (line, expected) in rows {
            assert_eq!(named(&[], &[line]).as_deref(), *expected, "{line}");
        }
        assert_eq!(named(&["192.0.2.1"], &["for=198.51.100.9"]).as_deref(), Some("192.0.2.1"));
    }
}
