//! Facts about clients that ask for too much.

use std::net::Ipv4Addr;
use std::sync::Arc;

use fanwheel::base::ban_list::BanList;
use fanwheel::base::counters::CloseReason;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{RateSettings, Settings};

use fanwheel::wire::auth::access::AccessRules;

use super::{Bench, batch};

const GREEDY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const MODEST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SUBSCRIBE: &[u8] = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";

fn with_rates(rates: RateSettings) -> Settings {
    Settings { rates, ..Settings::default() }
}

/// The status of the answers that a connection has got, each of three digits.
fn statuses(bench: &mut Bench, conn: usize) -> Vec<u16> {
    (0..20).for_each(|_| bench.turn(0));
    let text = bench.read(conn);
    text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().expect("a status")).collect()
}

#[test]
fn an_address_that_asks_too_fast_is_refused_and_keeps_its_streams() {
    let mut bench =
        Bench::new(with_rates(RateSettings { address_requests_per_second: 4, ..RateSettings::default() }));
    let stream = bench.connect_from(GREEDY, ListenerKind::Public, SUBSCRIBE);
    assert_eq!(statuses(&mut bench, stream), [200]);
    let asks = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5);
    let greedy = bench.connect_from(GREEDY, ListenerKind::Public, asks.as_bytes());
    // Its stream was a request, and the fifth is the one beyond; then the connection ends.
    assert_eq!(statuses(&mut bench, greedy), [200, 200, 200, 200, 429]);
    let modest = bench.connect_from(MODEST, ListenerKind::Public, asks.as_bytes());
    assert_eq!(statuses(&mut bench, modest), [200; 5]);
    let control = bench.connect_from(GREEDY, ListenerKind::Control, &batch(3));
    assert_eq!(statuses(&mut bench, control), [202]);
    bench.assert_brought(stream, 3);
    // However long it was quiet, it has saved up no more than a second's worth.
    bench.turn(9_000);
    let later = bench.connect_from(GREEDY, ListenerKind::Public, asks.repeat(2).as_bytes());
    assert_eq!(statuses(&mut bench, later), [200, 200, 200, 200, 200, 429]);
}

#[test]
fn an_address_that_connects_too_fast_is_refused_and_the_refused_cost_no_room() {
    let mut bench =
        Bench::new(with_rates(RateSettings { address_connects_per_second: 2, ..RateSettings::default() }));
    let greedy = [(); 5].map(|()| bench.connect_from(GREEDY, ListenerKind::Public, SUBSCRIBE));
    let told = greedy.map(|conn| statuses(&mut bench, conn));
    assert_eq!(told, [200, 200, 200, 429, 429].map(|status| vec![status]));
    assert_eq!(bench.node.connections.taken(), 3);
    let modest = bench.connect_from(MODEST, ListenerKind::Public, SUBSCRIBE);
    assert_eq!(statuses(&mut bench, modest), [200]);
}

fn ban(bench: &mut Bench, lines: &str) {
    let mut rules = AccessRules::default();
    rules.bans = BanList::parse(lines).expect("addresses");
    bench.node.replace_access(Arc::new(rules));
}

#[test]
fn a_ban_ends_all_that_its_address_has_open_and_nothing_else() {
    let mut bench = Bench::new(Settings::default());
    // More slots than a worker looks at in a turn, so that the walk has to go on.
    let kept: Vec<usize> =
        (0..300).map(|_| bench.connect_from(MODEST, ListenerKind::Public, SUBSCRIBE)).collect();
    let streams = [(); 3].map(|()| bench.connect_from(GREEDY, ListenerKind::Public, SUBSCRIBE));
    let silent = bench.connect_from(GREEDY, ListenerKind::Public, b"GET /eve");
    (0..20).for_each(|_| bench.turn(1));
    let control = bench.connect_from(GREEDY, ListenerKind::Control, &batch(2));
    (0..20).for_each(|_| bench.turn(1));
    ban(&mut bench, "10.0.0.1");
    (0..40).for_each(|_| bench.turn(1));
    for conn in streams {
        let text = bench.read(conn);
        assert!(!bench.is_open(conn) && text.ends_with("0\r\n\r\n"), "a whole stream: {text}");
        assert_eq!(text.matches("id: ").count(), 2);
    }
    assert!(!bench.is_open(silent) && bench.is_open(control), "the operator's listener knows no bans");
    assert_eq!(bench.worker.counters().get_closed(CloseReason::Operator), 4);
    let again = bench.connect_from(GREEDY, ListenerKind::Public, SUBSCRIBE);
    assert_eq!(statuses(&mut bench, again), [403]);
    for conn in kept {
        bench.assert_brought(conn, 2);
    }
    ban(&mut bench, "");
    let back = bench.connect_from(GREEDY, ListenerKind::Public, SUBSCRIBE);
    assert_eq!(statuses(&mut bench, back), [200]);
}
