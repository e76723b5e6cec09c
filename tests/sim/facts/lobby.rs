//! Facts about connections whose proxy has still to name the client.

use std::net::{Ipv4Addr, SocketAddr};

use fanwheel::base::counters::{CloseReason, Count, RefusalReason};
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{ProxyProtocol, Settings};
use fanwheel::base::time::TICK_MS;
use fanwheel::fanout::mail::ControlMessage;

use super::{Bench, batch};
use crate::net::Got;
use crate::peer::proxy_header;

/// Address of the proxy that is trusted.
const PROXY: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const SUBSCRIBE: &[u8] = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";
const HEAD_MS: u64 = 2_000;
/// Connections in the lobby of a worker, as ARCHITECTURE tells.
const LOBBY_MAX: usize = 4_096;

/// A header of version 1 for a client of this host number.
fn text_header(host: u8) -> Vec<u8> {
    format!("PROXY TCP4 192.0.2.{host} 198.51.100.2 5000 443\r\n").into_bytes()
}

/// A header of version 2 for the same client, with so many bytes of extensions.
fn binary_header(host: u8, extension: usize) -> Vec<u8> {
    proxy_header(Some(SocketAddr::from(([192, 0, 2, host], 5_000))), extension)
}

fn bench(proxy_protocol: ProxyProtocol, edit: impl FnOnce(&mut Settings)) -> Bench {
    let trusted_proxies = vec!["10.7.0.0/16".to_owned()];
    let mut settings = Settings {
        proxy_protocol,
        trusted_proxies,
        head_ms: HEAD_MS,
        idle_ms: 30_000,
        ..Settings::default()
    };
    edit(&mut settings);
    Bench::with_room(settings, 10_000)
}

impl Bench {
    /// A public connection of the trusted proxy, which has sent these bytes.
    fn through_proxy(&mut self, bytes: &[u8]) -> usize {
        self.try_connect(PROXY, ListenerKind::Public, bytes).expect("there is room")
    }

    fn lobby(&self) -> u64 {
        self.node.snapshot(self.now.mono_ms).totals.lobby
    }

    /// Returns the status of the answer that a connection has got; none if it has got nothing.
    fn status(&mut self, conn: usize) -> Option<String> {
        let text = self.read(conn);
        text.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].to_owned())
    }
}

#[test]
fn a_header_in_pieces_names_the_client_of_the_request_behind_it() {
    for header in [text_header(7), binary_header(7, 0), binary_header(7, 300)] {
        for cut in 0..=header.len() {
            let mut bench = bench(ProxyProtocol::Require, |_| {});
            let conn = bench.through_proxy(&header[..cut]);
            (0..2).for_each(|_| bench.turn(1));
            assert_eq!((bench.read(conn), bench.lobby()), (String::new(), u64::from(cut < header.len())));
            bench.net.send(conn, &[&header[cut..], SUBSCRIBE].concat());
            (0..2).for_each(|_| bench.turn(1));
            assert_eq!(bench.status(conn).as_deref(), Some("200"), "torn at {cut}");
            let asker =
                bench.connect(ListenerKind::Control, b"GET /connections HTTP/1.1\r\nHost: localhost\r\n\r\n");
            (0..5).for_each(|_| bench.turn(1));
            let page = bench.read(asker);
            assert!(page.contains("192.0.2.7"), "torn at {cut}: {page}");
            assert_eq!(bench.worker.counters().get(Count::ProxyHeaders), 1);
        }
    }
}

#[test]
fn a_header_that_does_not_come_ends_with_its_time_however_slowly_it_comes() {
    // Silent, begun, and one byte now and then.
    for (begun, drips) in [(0, 0), (1, 0), (30, 0), (0, 20)] {
        for (header, protocol) in [
            (text_header(7), ProxyProtocol::Require),
            (binary_header(7, 300), ProxyProtocol::Require),
            (text_header(7), ProxyProtocol::Accept),
        ] {
            let mut bench = bench(protocol, |_| {});
            let conn = bench.through_proxy(&header[..begun]);
            let live = bench.through_proxy(&[&text_header(8), SUBSCRIBE].concat());
            let steps = 40;
            for step in 0..steps - 1 {
                if step < drips {
                    bench.net.send(conn, &header[begun + step..=begun + step]);
                }
                bench.turn(HEAD_MS / steps as u64);
                assert!(bench.is_open(conn), "closed in step {step}");
            }
            (0..3).for_each(|_| bench.turn(HEAD_MS / steps as u64 + TICK_MS));
            assert!(!bench.is_open(conn) && bench.is_open(live), "{begun} bytes, then {drips}");
            assert_eq!((bench.read(conn), bench.lobby()), (String::new(), 0), "a proxy is told nothing");
            let silent = protocol == ProxyProtocol::Accept && begun + drips == 0;
            let why = if silent { CloseReason::Idle } else { CloseReason::ProxyMissing };
            assert_eq!(bench.worker.counters().get_closed(why), 1, "{begun} bytes, then {drips}");
            assert_eq!(bench.node.connections.taken(), 1, "the live one");
        }
    }
}

#[test]
fn a_request_has_its_whole_time_behind_a_header_that_came_late() {
    for (header, cut) in [(text_header(7), 0), (text_header(7), 20), (binary_header(7, 300), 20)] {
        let mut bench = bench(ProxyProtocol::Require, |_| {});
        let conns = [(); 2].map(|()| bench.through_proxy(&header[..cut]));
        bench.turn(1);
        bench.turn(HEAD_MS - 200);
        let (begun, rest) = SUBSCRIBE.split_at(10);
        conns.iter().for_each(|conn| bench.net.send(*conn, &[&header[cut..], begun].concat()));
        bench.turn(1);
        bench.turn(HEAD_MS - 200);
        let [whole, half] = conns;
        bench.net.send(whole, rest);
        bench.turn(1);
        assert_eq!(bench.status(whole).as_deref(), Some("200"), "torn at {cut}");
        assert!(bench.is_open(half), "cut before its time");
        (0..3).for_each(|_| bench.turn(200));
        assert_eq!(bench.status(half).as_deref(), Some("408"), "torn at {cut}");
    }
}

#[test]
fn bytes_that_can_become_no_header_end_their_connection_at_once() {
    let endless = [&b"PROXY "[..], &[b'x'; 101]].concat();
    let huge = binary_header(7, 3_000)[..16].to_vec();
    let wrong = b"PROXY TCP4 192.0.2.7\r\n".to_vec();
    for (bytes, why) in [
        (endless, CloseReason::ProxyMalformed),
        (huge, CloseReason::ProxyMalformed),
        (wrong, CloseReason::ProxyMalformed),
        (SUBSCRIBE.to_vec(), CloseReason::ProxyMissing),
    ] {
        let mut bench = bench(ProxyProtocol::Require, |_| {});
        let (before, last) = bytes.split_at(bytes.len() - 1);
        let conn = bench.through_proxy(before);
        bench.turn(1);
        assert!(bench.is_open(conn) || why == CloseReason::ProxyMissing, "{}", bytes.escape_ascii());
        if bench.is_open(conn) {
            bench.net.send(conn, last);
            bench.turn(1);
        }
        assert!(!bench.is_open(conn), "{}", bytes.escape_ascii());
        assert_eq!((bench.read(conn), bench.lobby()), (String::new(), 0), "a proxy is told nothing");
        assert_eq!(bench.worker.counters().get_closed(why), 1, "{}", bytes.escape_ascii());
        assert_eq!(bench.node.connections.taken(), 0);
    }
}

#[test]
fn a_header_of_a_stranger_names_nobody() {
    let stranger = Ipv4Addr::new(192, 0, 2, 99);
    let header = [&text_header(7), SUBSCRIBE].concat();
    let mut strict = bench(ProxyProtocol::Require, |_| {});
    let conn = strict.try_connect(stranger, ListenerKind::Public, &header).expect("there is room");
    strict.turn(1);
    assert!(!strict.is_open(conn) && strict.read(conn).is_empty());
    assert_eq!(strict.worker.counters().get_closed(CloseReason::ProxyUntrusted), 1);
    let mut lax = bench(ProxyProtocol::Accept, |_| {});
    let conn = lax.try_connect(stranger, ListenerKind::Public, &header).expect("there is room");
    let plain = lax.try_connect(stranger, ListenerKind::Public, SUBSCRIBE).expect("there is room");
    (0..2).for_each(|_| lax.turn(1));
    assert_eq!((lax.status(conn).as_deref(), lax.status(plain).as_deref()), (Some("400"), Some("200")));
    assert_eq!(lax.worker.counters().get(Count::ProxyHeaders), 0);
}

#[test]
fn a_lobby_that_is_full_refuses_newcomers_and_costs_others_nothing() {
    let mut bench = bench(ProxyProtocol::Require, |settings| settings.heartbeat_ms = 60_000);
    let streams: Vec<usize> =
        (0..200).map(|host| bench.through_proxy(&[&text_header(host), SUBSCRIBE].concat())).collect();
    (0..8).for_each(|_| bench.turn(1));
    streams.iter().for_each(|conn| drop(bench.read(*conn)));
    let header = binary_header(7, 1_900);
    let mut crowd = Vec::new();
    while let Some(conn) = bench.try_connect(PROXY, ListenerKind::Public, b"") {
        crowd.push(conn);
    }
    assert_eq!((crowd.len(), bench.worker.counters().get_closed(CloseReason::Refused)), (LOBBY_MAX, 1));
    let publisher = bench.connect(ListenerKind::Control, b"");
    (0..20).for_each(|_| bench.turn(0));
    for round in 0..3 {
        // All of them have a byte to be read in each turn.
        bench.net.send(publisher, &batch(1));
        for turn in 0..6 {
            let nth = round * 6 + turn;
            crowd.iter().for_each(|conn| bench.net.send(*conn, &header[nth..=nth]));
            bench.turn(1);
        }
        assert!(bench.read(publisher).contains(" 202 "), "a publisher waits for those in the lobby");
        streams.iter().for_each(|conn| bench.assert_brought(*conn, 1));
    }
    (0..60).for_each(|_| bench.turn(HEAD_MS / 20));
    assert_eq!((bench.lobby(), bench.node.connections.taken()), (0, streams.len()));
    assert!(streams.iter().all(|conn| bench.is_open(*conn)));
    let next = bench.through_proxy(&[&text_header(9), SUBSCRIBE].concat());
    (0..2).for_each(|_| bench.turn(1));
    assert_eq!(bench.status(next).as_deref(), Some("200"), "there is room again");
}

#[test]
fn the_cap_of_an_address_is_that_of_the_client_that_a_header_names() {
    let mut bench = bench(ProxyProtocol::Accept, |settings| settings.connections_per_address_max = 1);
    let subscribe = |header: Vec<u8>| [&header, SUBSCRIBE].concat();
    let open = |bench: &mut Bench, bytes: &[u8]| {
        let conn = bench.through_proxy(bytes);
        (0..2).for_each(|_| bench.turn(1));
        (conn, bench.status(conn).expect("an answer"))
    };
    // Two in the lobby count for nobody, and the proxy has no cap.
    for _ in 0..2 {
        bench.through_proxy(&text_header(1)[..40]);
    }
    let (first, status) = open(&mut bench, &subscribe(text_header(1)));
    assert_eq!(status, "200");
    assert_eq!(open(&mut bench, &subscribe(binary_header(2, 9))).1, "200", "another client");
    assert_eq!(open(&mut bench, &subscribe(binary_header(1, 9))).1, "503", "the first one again");
    assert_eq!(bench.node.snapshot(1).totals.refused[RefusalReason::Address as usize], 1);
    for _ in 0..2 {
        assert_eq!(open(&mut bench, &subscribe(proxy_header(None, 0))).1, "200", "the proxy itself");
        assert_eq!(open(&mut bench, SUBSCRIBE).1, "200", "the proxy, without a header");
    }
    let client = Ipv4Addr::new(192, 0, 2, 1);
    let direct = bench.try_connect(client, ListenerKind::Public, SUBSCRIBE).expect("to be refused");
    (0..2).for_each(|_| bench.turn(1));
    assert_eq!(bench.status(direct).as_deref(), Some("503"), "whichever way it comes");
    bench.net.leave(first);
    (0..2).for_each(|_| bench.turn(1));
    assert_eq!(open(&mut bench, &subscribe(text_header(1))).1, "200", "its place is free again");
    for conn in bench.net.open_on(0).collect::<Vec<_>>() {
        bench.net.leave(conn);
    }
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!((bench.node.connections.taken(), bench.lobby()), (0, 0));
    assert!(bench.node.connections.take_address([192, 0, 2, 1].into()), "all has been given back");
}

#[test]
fn a_drain_ends_with_connections_in_the_lobby() {
    let mut bench = bench(ProxyProtocol::Require, |settings| settings.drain_ms = 1_000);
    let silent = bench.through_proxy(b"");
    let half = bench.through_proxy(&text_header(1)[..20]);
    (0..2).for_each(|_| bench.turn(1));
    bench.node.shut_down(&ControlMessage::Drain);
    bench.turn(1);
    bench.net.send(half, &[&text_header(1)[20..], SUBSCRIBE].concat());
    (0..2).for_each(|_| bench.turn(1));
    assert_eq!(bench.status(half).as_deref(), Some("503"), "it is told");
    (0..40).for_each(|_| bench.turn(50));
    assert!(!bench.is_open(silent) && bench.lobby() == 0);
    assert!(matches!(bench.net.read(silent, usize::MAX), Got::End), "in order");
}
