//! Whatever somebody else writes under our keys.

use crate::harness::{Launch, SOON, ms};
use crate::redis::{Redis, await_publish, await_reason, await_refusal};

#[test]
fn foreign_entries_are_skipped_and_counted_and_reach_no_stream() {
    let Some(redis) = Redis::start(&[]) else { return };
    let node = redis.node(2);
    node.publish("a", "first");
    let mut stream = node.subscribe("topic=a");
    let forged = |rest: &str| format!("{{\"node\":1,\"number\":1,\"events\":[{{{rest}}}]}}");
    let rows: [(&[&str], &[u8]); 8] = [
        (&["x"], b"y"),
        (&["v", "1", "p", "1-1", "e"], b"\xff\x00\r\n\r\ndata: pwned\r\n\r\n"),
        (&["v", "1", "p", "1-1", "e"], b"{"),
        (&["v", "9", "p", "1-1", "e"], b"{\"node\":1,\"number\":1}"),
        (&["v", "1", "p", "x", "e"], b"{\"node\":1,\"number\":1}"),
        (&["v", "1", "p", "1-1", "e"], &b"[".repeat(200_000)),
        (&["v", "1", "p", "1-1", "e"], &b"x".repeat(3_000_000)),
        (&["v", "1", "p", "1-1", "e", "{}", "z"], b"1"),
    ];
    for (words, last) in rows {
        assert!(redis.add("*", words, last).contains('-'));
    }
    let bad = forged("\"topics\":[\"a\"],\"event\":\"x\\r\\ndata: pwned\",\"data\":\"y\"");
    assert!(redis.add("*", &["v", "1", "p", "1-1", "e"], bad.as_bytes()).contains('-'));
    // Far ahead of every clock: ids go on after it.
    assert!(redis.add("1999999999999-5", &["x"], b"y").contains('-'));
    let id = await_publish(&node, "a", "second");
    assert!(id.starts_with("2000000000000-"), "{id}");
    assert_eq!(stream.event().data, "second");
    node.await_metric("all skipped", SOON, |metrics| metrics.get("backplane_entries_skipped") == 10);
    assert_eq!(node.metrics().get("backplane_losses"), 0);
    // A node that begins now passes them by, too. By its id the first event is years old now.
    let other = redis.node(1);
    assert_eq!(other.subscribe("topic=a&last=1").data(1), ["second"]);
    node.assert_healthy("foreign entries");
}

#[test]
fn keys_of_another_kind_cost_publishes_and_nothing_else() {
    let Some(redis) = Redis::start(&[]) else { return };
    let node = redis.node(1);
    let mut stream = node.subscribe("topic=a");
    // Without the stream the chain of entries still holds; without the hash it does not.
    for (key, gaps) in [("{fanwheel}:stream", false), ("{fanwheel}:fleet", true)] {
        redis.ask(&["SET", key, "x"]);
        assert_eq!(await_refusal(&node), "backplane_away", "{key}");
        await_reason(&node, "backplane_away");
        redis.ask(&["DEL", key]);
        await_publish(&node, "a", key);
        if gaps {
            assert!(stream.any_event(SOON).is_gap());
        }
        assert_eq!(stream.event().data, key);
    }
    redis.ask(&["LPUSH", "{fanwheel}:key:k", "x"]);
    assert_eq!(node.post("topic=a", "Idempotency-Key: k\r\n", "x").status, 202, "a key of no use is no key");
}

#[test]
fn a_name_that_another_fleet_has_taken_meanwhile_is_refused_in_words() {
    let Some(redis) = Redis::start(&[]) else { return };
    let node = redis.node(1);
    let id = node.publish("a", "x");
    let tag: u64 = id.split_once('-').unwrap().1.parse::<u64>().unwrap() % 1_024;
    let other = format!("1700000000000-{}", if tag == 1 { 2 } else { 1 });
    redis.ask(&["HSET", "{fanwheel}:fleet", "last", &other]);
    assert_eq!(await_refusal(&node), "backplane_away");
    await_reason(&node, "another fleet has this name");
    let fleet = Launch::workers(1).set("backplane", redis.address()).set("backplane_name", "other").start();
    fleet.publish("a", "another name is another fleet");
    assert_eq!(fleet.subscribe("topic=a&last=5").data(1), ["another name is another fleet"]);
    std::thread::sleep(ms(10));
}
