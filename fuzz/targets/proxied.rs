//! The client that a proxy names, by a PROXY header or by fields: no panic, the same verdict byte by byte,
//! and nothing that a client writes in front of its proxy's words counts.
#![no_main]

use fanwheel::base::peers::{ClientAddress, TrustedPeers};
use fanwheel::wire::forwarded::named_client;
use fanwheel::wire::head::{HeadLimits, ParsedHead, parse as parse_head};
use fanwheel::wire::proxy_header::{ProxyHeader, parse};
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES_MAX: usize = 2_048;
const LIMITS: HeadLimits = HeadLimits { bytes_max: 32_768, headers_max: 64 };
/// A proxy that is trusted.
const PROXY: &str = "10.0.0.9";

fuzz_target!(|data: &[u8]| {
    check_header(data);
    if let Some((kind, value)) = data.split_first() {
        check_fields(if kind % 2 == 0 { "X-Forwarded-For" } else { "Forwarded" }, value);
    }
});

fn check_header(data: &[u8]) {
    let whole = parse(data);
    let torn = (0..=data.len()).map(|len| (len, parse(&data[..len])));
    let Some((len, first)) = torn.into_iter().find(|(_, header)| *header != ProxyHeader::More) else {
        assert!(data.len() < HEADER_BYTES_MAX, "more than is ever kept");
        return;
    };
    assert_eq!(whole, first, "in pieces it is another one");
    if let ProxyHeader::Whole { client, bytes } = whole {
        assert!(bytes == len && bytes <= HEADER_BYTES_MAX);
        client.iter().for_each(check_address);
        assert!(client.is_none() || data.starts_with(b"PROXY TCP") || data[12] == 0x21);
    }
}

fn check_address(client: &ClientAddress) {
    assert_eq!(client.ip, client.ip.to_canonical());
}

/// Reads one line of a field. None: no head can hold it.
fn named(name: &str, value: &[u8], trusted: &TrustedPeers) -> Option<Option<ClientAddress>> {
    // They would begin another field.
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return None;
    }
    let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", name.as_bytes(), b": ", value, b"\r\n\r\n"].concat();
    match parse_head(&head, LIMITS) {
        ParsedHead::Head(head, used) if used == head_bytes(name, value) => {
            Some(named_client(&head.fields, trusted))
        }
        ParsedHead::Head(..) | ParsedHead::More | ParsedHead::Bad(_) => None,
    }
}

fn head_bytes(name: &str, value: &[u8]) -> usize {
    "GET / HTTP/1.1\r\nHost: a\r\n: \r\n\r\n".len() + name.len() + value.len()
}

fn check_fields(name: &str, value: &[u8]) {
    let trusted = ["10.0.0.0/8".to_owned()];
    let trusted = TrustedPeers::parse(&trusted).expect("a network");
    let Some(client) = named(name, value, &trusted) else { return };
    client.iter().for_each(check_address);
    let member = |address: &str| match name {
        "Forwarded" => format!("for={address}"),
        _ => address.to_owned(),
    };
    let is_proxy = client.is_some_and(|client| trusted.contains(Some(client.ip)));
    let behind = [value, b", ", member(PROXY).as_bytes()].concat();
    let through_one_more = named(name, &behind, &trusted).expect("it was whole before");
    match client {
        Some(client) => assert_eq!(through_one_more, Some(client), "one more proxy changes the client"),
        None => assert_eq!(through_one_more.map(|proxy| proxy.ip.to_string()).as_deref(), Some(PROXY)),
    }
    if client.is_some() && !is_proxy {
        let before = [member("203.0.113.1").as_bytes(), b", ", value].concat();
        assert_eq!(named(name, &before, &trusted), Some(client), "a client names itself");
    }
}
