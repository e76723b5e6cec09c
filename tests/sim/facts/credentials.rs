//! Facts about streams whose credential ends.

use std::sync::Arc;

use fanwheel::base::counters::CloseReason;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{Settings, SubscribeAccess};
use fanwheel::wire::auth::access::AccessRules;
use fanwheel::wire::auth::class_access::ClassAccess;
use fanwheel::wire::auth::signed_url::SigningKey;

use super::{Bench, START, batch};

/// A signed subscription to the topic `t` that ends so many seconds after the start.
fn signed(bench: &Bench, seconds: u64) -> String {
    let expires = (START.wall_ms / 1_000 + seconds).to_string();
    let key = SigningKey::new(b"0123456789abcdef0123456789abcdef");
    let signature = key.sign("/events", &[("topic", "t"), ("expires", &expires)]);
    let mut rules = AccessRules::default();
    (rules.signing_keys, rules.classes) = (vec![key], ClassAccess::new(&bench.node.settings));
    bench.node.replace_access(Arc::new(rules));
    format!("GET /events?topic=t&expires={expires}&signature={signature} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn bench() -> Bench {
    let subscribe = SubscribeAccess::Token;
    Bench::new(Settings { subscribe, max_idle_ms: 600, heartbeat_ms: 100, ..Settings::default() })
}

#[test]
fn a_stream_ends_with_its_credential_however_many_events_come() {
    let mut bench = bench();
    let request = signed(&bench, 2);
    let stream = bench.connect(ListenerKind::Public, request.as_bytes());
    let publisher = bench.connect(ListenerKind::Control, b"");
    let mut text = String::new();
    for _ in 0..60 {
        bench.net.send(publisher, &batch(1));
        (0..5).for_each(|_| bench.turn(10));
        bench.read(publisher);
        text += &bench.read(stream);
        let ended = bench.now.wall_ms >= START.wall_ms + 2_000;
        assert!(ended || bench.is_open(stream), "too early: {}", bench.now.wall_ms - START.wall_ms);
    }
    assert!(!bench.is_open(stream) && text.ends_with("0\r\n\r\n"), "{text}");
    let again = bench.connect(ListenerKind::Public, request.as_bytes());
    (0..3).for_each(|_| bench.turn(1));
    assert!(bench.read(again).starts_with("HTTP/1.1 401"));
    let counters = bench.worker.counters();
    assert_eq!(counters.get_closed(CloseReason::TokenExpired), 1);
    assert_eq!(counters.get_closed(CloseReason::Life), 0);
}

#[test]
fn the_next_owner_of_a_slot_keeps_no_end_of_another() {
    let mut bench = bench();
    let request = signed(&bench, 1);
    let first = bench.connect(ListenerKind::Public, request.as_bytes());
    (0..5).for_each(|_| bench.turn(1));
    bench.net.finish(first);
    (0..5).for_each(|_| bench.turn(1));
    assert!(!bench.is_open(first));
    bench.node.replace_access(Arc::default());
    let next = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    let publisher = bench.connect(ListenerKind::Control, b"");
    for _ in 0..30 {
        bench.net.send(publisher, &batch(1));
        (0..5).for_each(|_| bench.turn(10));
        (0..bench.net.socks.len()).for_each(|conn| drop(bench.read(conn)));
    }
    assert!(bench.is_open(next), "ended with the credential of another");
}
