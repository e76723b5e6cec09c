//! The client's address behind a proxy: by PROXY header, by the fields of a request, and from nobody else.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::harness::{Conn, Launch, SOON, Server, ms, poll_until, with_1_and_4_workers};

const HEADER: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n";
const SUBSCRIBE: &str = "GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n";
/// Address of the proxy that the tests trust.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A header of version 2 for a client of IPv4, or for nobody.
fn binary_header(command: u8, client: [u8; 4], extension: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11]);
    header.extend((12 + extension.len() as u16).to_be_bytes());
    header.extend(client);
    header.extend([198, 51, 100, 2, 0x13, 0x88, 1, 187]);
    header.extend(extension);
    header
}

fn launch(workers: usize, protocol: &str) -> Launch {
    Launch::workers(workers).set("trusted_proxies", "127.0.0.9").set("proxy_protocol", protocol)
}

fn open(server: &Server, from: Ipv4Addr) -> Conn {
    Conn::open_from(from, server.public, 0).expect("loopback")
}

/// Sends bytes from an address, a request with them, and expects a status.
fn subscribe(server: &Server, from: Ipv4Addr, first: &[u8], fields: &str, status: u16) -> Conn {
    let mut conn = open(server, from);
    conn.send([first, format!("{SUBSCRIBE}{fields}\r\n").as_bytes()].concat());
    assert_eq!(conn.head(SOON).expect("an answer").status, status, "{}", first.escape_ascii());
    conn
}

/// Addresses of all streams, as the operator sees them.
fn addresses(server: &Server) -> Vec<String> {
    let page = Server::get_from(server.control, "/connections").json();
    let rows = page["connections"].as_array().expect("rows").clone();
    let mut all: Vec<String> = rows
        .iter()
        .filter(|row| row["topics"] == serde_json::json!(["a"]))
        .map(|row| row["address"].as_str().expect("an address").to_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn a_header_names_the_client_for_pages_and_the_cap() {
    with_1_and_4_workers(|workers| {
        let server = launch(workers, "require").set("connections_per_address_max", 1).start();
        let _text = subscribe(&server, PROXY, HEADER.as_bytes(), "", 200);
        let _binary = subscribe(&server, PROXY, &binary_header(1, [192, 0, 2, 2], &[4, 0, 1, 0]), "", 200);
        assert_eq!(addresses(&server), ["192.0.2.1:5000", "192.0.2.2:5000"]);
        drop(subscribe(&server, PROXY, HEADER.as_bytes(), "", 503));
        let _check = subscribe(&server, PROXY, &binary_header(0, [9; 4], b""), "", 200);
        let metrics = server.metrics();
        assert_eq!(metrics.labelled("refused", "address_full"), 1);
        assert_eq!((metrics.get("proxy_headers"), metrics.get("lobby_connections")), (4, 0));
        assert!(
            addresses(&server).iter().any(|address| address.starts_with("127.0.0.9:")),
            "LOCAL is the proxy"
        );
    });
}

#[test]
fn a_header_comes_byte_by_byte() {
    let server = launch(1, "require").start();
    for header in [HEADER.as_bytes().to_vec(), binary_header(1, [192, 0, 2, 1], &[4, 0, 1, 0])] {
        let mut conn = open(&server, PROXY);
        conn.send_pieces(&[&header[..], SUBSCRIBE.as_bytes(), b"\r\n"].concat(), 1);
        assert_eq!(conn.head(SOON).expect("an answer").status, 200);
        assert_eq!(addresses(&server), ["192.0.2.1:5000"]);
        drop(conn);
        server.await_metric("the end", SOON, |m| m.get("subscribers") == 0);
    }
}

#[test]
fn a_connection_without_a_good_header_is_closed_and_counted() {
    let server = launch(1, "require").set("head_ms", 500).start();
    let stranger = Ipv4Addr::new(127, 0, 0, 8);
    for (from, bytes, reason) in [
        (stranger, HEADER.as_bytes(), "proxy_untrusted"),
        (PROXY, SUBSCRIBE.as_bytes(), "proxy_missing"),
        (PROXY, b"PROXY TCP4 1.2.3.4\r\n", "proxy_malformed"),
        (PROXY, b"PROXY TCP4 1.2", "proxy_missing"),
    ] {
        let before = server.metrics().labelled("closed", reason);
        let mut conn = open(&server, from);
        conn.send(bytes);
        let (rest, _) = conn.rest(SOON);
        assert_eq!(rest, b"", "a proxy is told nothing");
        server.await_metric(reason, SOON, |m| m.labelled("closed", reason) == before + 1);
    }
    assert_eq!(Server::get_from(server.control, "/healthz").status, 200, "the operator needs no header");
}

#[test]
fn a_request_behind_a_header_has_its_whole_time_from_its_first_byte() {
    let server = launch(1, "require").set("head_ms", 5_000).start();
    // The header comes at once, or with the first bytes of the request.
    let mut conns = [HEADER, ""].map(|first| {
        let mut conn = open(&server, PROXY);
        conn.send(first);
        (conn, if first.is_empty() { HEADER } else { "" })
    });
    std::thread::sleep(ms(3_000));
    let begun = Instant::now();
    for (conn, header) in &mut conns {
        conn.send(format!("{header}GET /ev"));
    }
    for (conn, header) in &mut conns {
        assert_eq!(conn.answer(ms(30_000)).expect("an answer").status, 408, "{header:?}");
        assert!(begun.elapsed() >= ms(4_900), "{header:?}: cut after {:?}", begun.elapsed());
    }
    drop(conns);
    server.await_metric("their ends", SOON, |metrics| metrics.labelled("closed", "head_timeout") == 2);
}

#[test]
fn who_may_send_a_header_need_not_and_others_cannot() {
    let server = launch(1, "accept").start();
    let _plain = subscribe(&server, PROXY, b"", "", 200);
    let _named = subscribe(&server, PROXY, HEADER.as_bytes(), "", 200);
    let all = addresses(&server);
    assert!(all[0].starts_with("127.0.0.9:") && all[1] == "192.0.2.1:5000", "{all:?}");
    let stranger = Ipv4Addr::new(127, 0, 0, 8);
    let _other = subscribe(&server, stranger, b"", "", 200);
    drop(subscribe(&server, stranger, HEADER.as_bytes(), "", 400));
}

#[test]
fn fields_of_a_trusted_proxy_name_the_client_of_each_request() {
    let server = launch(1, "off").set("connections_per_address_max", 1).start();
    let mut shared = open(&server, PROXY);
    let health = "GET /healthz HTTP/1.1\r\nHost: fan.test\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    assert_eq!(shared.ask(health).status, 200);
    shared.send(format!("{SUBSCRIBE}X-Forwarded-For: 10.9.9.9, 192.0.2.1\r\n\r\n"));
    assert_eq!(shared.head(SOON).expect("a stream").status, 200);
    let _other = subscribe(&server, PROXY, b"", "Forwarded: for=\"[2001:db8::1]:7\"\r\n", 200);
    assert_eq!(addresses(&server), ["192.0.2.1", "[2001:db8::1]:7"]);
    drop(subscribe(&server, PROXY, b"", "X-Forwarded-For: 192.0.2.1\r\n", 503));
    let stranger = Ipv4Addr::new(127, 0, 0, 8);
    let _own = subscribe(&server, stranger, b"", "X-Forwarded-For: 192.0.2.5\r\n", 200);
    assert!(addresses(&server).iter().any(|address| address.starts_with("127.0.0.8:")));
    drop(shared);
    server.await_metric("the end", SOON, |m| m.get("subscribers") == 2);
    let _again = subscribe(&server, PROXY, b"", "X-Forwarded-For: 192.0.2.1\r\n", 200);
}

#[test]
fn the_debug_log_tells_clients_from_the_proxy_that_named_them() {
    let server = launch(1, "accept").set("log_level", "debug").start();
    let line = |event: &str, id: &str| {
        let wanted = |line: &&str| line.contains(&format!("event={event} ")) && line.contains(id);
        let found = poll_until(SOON, || server.log().lines().find(wanted).map(str::to_owned));
        found.unwrap_or_else(|| panic!("no {event} of {id}:\n{}", server.log()))
    };
    let id_of = |agent: &str| {
        let opened = line("stream_opened", &format!("user_agent={agent}"));
        opened.split_whitespace().find(|word| word.starts_with("id=")).expect("an id").to_owned()
    };
    let stranger = Ipv4Addr::new(127, 0, 0, 8);
    let by_fields = "X-Forwarded-For: 192.0.2.7\r\nUser-Agent: by-fields\r\n";
    let _streams = [
        subscribe(&server, PROXY, HEADER.as_bytes(), "User-Agent: by-header\r\n", 200),
        subscribe(&server, PROXY, b"", by_fields, 200),
        subscribe(&server, stranger, b"", "User-Agent: itself\r\n", 200),
    ];
    for (agent, opened, streams) in [
        ("by-header", "client=192.0.2.1 peer=127.0.0.9", "client=192.0.2.1 peer=127.0.0.9 topics"),
        ("by-fields", "client=127.0.0.9", "client=192.0.2.7 peer=127.0.0.9 topics"),
        ("itself", "client=127.0.0.8", "client=127.0.0.8 topics"),
    ] {
        let id = id_of(agent);
        let first = line("connection_opened", &format!("{id} "));
        assert!(first.ends_with(opened), "{first}");
        let second = line("stream_opened", &format!("{id} "));
        assert!(second.contains(streams), "{second}");
    }
}

#[test]
fn a_client_that_a_header_names_may_be_a_proxy_itself() {
    let server = Launch::workers(1)
        .set("trusted_proxies", "127.0.0.9,192.0.2.0/24")
        .set("proxy_protocol", "require")
        .set("connections_per_address_max", 1)
        .start();
    let _first = subscribe(&server, PROXY, HEADER.as_bytes(), "X-Forwarded-For: 203.0.113.1\r\n", 200);
    let _second = subscribe(&server, PROXY, HEADER.as_bytes(), "X-Forwarded-For: 203.0.113.2\r\n", 200);
    assert_eq!(addresses(&server), ["203.0.113.1", "203.0.113.2"]);
    drop(subscribe(&server, PROXY, HEADER.as_bytes(), "X-Forwarded-For: 203.0.113.2\r\n", 503));
}

#[test]
fn nobody_waits_for_proxies_whose_headers_never_end() {
    let server = launch(1, "require").set("head_ms", 3_000).start();
    let mut victim = subscribe(&server, PROXY, HEADER.as_bytes(), "", 200);
    let mut slow: Vec<Conn> = (0..400).map(|_| open(&server, PROXY)).collect();
    for nth in 0..20 {
        slow.iter_mut().for_each(|conn| conn.send(&HEADER.as_bytes()[nth..=nth]));
        let id = server.publish("a", format!("event {nth}"));
        let text = victim.take_through(format!("id: {id}\n").as_bytes(), Instant::now() + ms(1_000));
        text.unwrap_or_else(|fail| panic!("event {nth} comes late: {fail:?}"));
    }
    assert_eq!(Server::get_from(server.control, "/healthz").status, 200);
    let metrics = server.await_metric("the end of all", ms(6_000), |m| m.get("lobby_connections") == 0);
    assert_eq!(metrics.labelled("closed", "proxy_missing"), 400);
    assert!(slow.iter_mut().all(|conn| conn.rest(SOON).0.is_empty()), "a proxy is told nothing");
    drop(subscribe(&server, PROXY, HEADER.as_bytes(), "", 200));
}

#[test]
fn a_stranger_names_nobody_for_caps() {
    let server = launch(1, "accept").set("connections_per_address_max", 1).start();
    let stranger = Ipv4Addr::new(127, 0, 0, 8);
    let _own = subscribe(&server, stranger, b"", "X-Forwarded-For: 192.0.2.1\r\n", 200);
    for fields in ["X-Forwarded-For: 192.0.2.2\r\n", "Forwarded: for=192.0.2.3\r\n"] {
        drop(subscribe(&server, stranger, b"", fields, 503));
    }
    let _named = subscribe(&server, PROXY, HEADER.as_bytes(), "", 200);
}

#[test]
fn settings_that_cannot_be_meant_are_one_line() {
    for (settings, words) in [
        (vec![("proxy_protocol", "require")], "needs trusted_proxies"),
        (vec![("proxy_protocol", "always")], "one of off, accept, require"),
        (vec![("trusted_proxies", "10.0.0.0/99")], "10.0.0.0/99"),
        (vec![("trusted_proxies", "10.0.0.1,lb.example")], "lb.example"),
    ] {
        let launch =
            settings.iter().fold(Launch::workers(1), |launch, (name, value)| launch.set(name, value));
        let (code, lines) = launch.refuse();
        assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
        assert!(lines[0].contains(words), "{lines:?}");
    }
}
