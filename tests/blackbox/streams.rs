//! Streams: events of every shape, filters, `last=N`, the clock. Resuming is in `resume`,
//! payload attacks are in `payloads`.

use crate::harness::{Item, Launch, SOON, ms, with_1_and_4_workers};
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn event_on_the_wire_is_byte_for_byte_as_promised() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let id = server.publish("a", "one\r\ntwo\rthree\nfour");
        let deadline = std::time::Instant::now() + SOON;
        let chunk = stream.conn().chunk(deadline).expect("a chunk").expect("not the last one");
        let expected = format!("id: {id}\ndata: one\ndata: two\ndata: three\ndata: four\n\n");
        assert_eq!(String::from_utf8(chunk).expect("UTF-8"), expected);
        let answer = server.post("topic=a&event=likes", "", "5");
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        let chunk = stream.conn().chunk(deadline).expect("a chunk").expect("not the last one");
        let expected = format!("id: {id}\nevent: likes\ndata: 5\n\n");
        assert_eq!(String::from_utf8(chunk).expect("UTF-8"), expected);
    });
}

#[test]
fn published_retry_reaches_the_client() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    assert_eq!(server.post("topic=a&retry=1234", "", "x").status, 202);
    let event = stream.event();
    assert_eq!((event.data.as_str(), event.retry), ("x", Some(1_234)));
    for bad in ["-1", "1.5", "x", "%0A5", "99999999999999999999999", "+5"] {
        let answer = server.post(&format!("topic=a&retry={bad}"), "", "x");
        assert_eq!(answer.status, 400, "retry={bad}");
    }
    stream.assert_quiet(ms(100));
}

#[test]
fn ids_carry_the_time_of_publishing() {
    let server = Launch::workers(1).start();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let before = now();
    let id = crate::harness::Id::parse(&server.publish("a", "x"));
    assert!((before.saturating_sub(100)..=now() + 100).contains(&id.0), "{id:?} at {before}");
}

#[test]
fn event_filter_passes_only_the_names_asked_for() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut likes = server.subscribe("topic=a&event=likes");
        let mut both = server.subscribe("topic=a&event=likes&event=shares");
        let mut all = server.subscribe("topic=a");
        for (event, data) in [("likes", "1"), ("shares", "2"), ("", "3"), ("Likes", "4"), ("likes", "5")] {
            let query =
                if event.is_empty() { "topic=a".to_owned() } else { format!("topic=a&event={event}") };
            assert_eq!(server.post(&query, "", data).status, 202);
        }
        assert_eq!(all.data(5), ["1", "2", "3", "4", "5"]);
        assert_eq!(likes.data(2), ["1", "5"]);
        assert_eq!(both.data(3), ["1", "2", "5"]);
        let mut late = server.subscribe("topic=a&event=likes&last=10");
        assert_eq!(late.data(2), ["1", "5"]);
        for stream in [&mut likes, &mut both, &mut late] {
            stream.assert_quiet(ms(100));
        }
    });
}

#[test]
fn last_n_starts_with_the_newest_kept_events() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("history_events", 6).start();
        server.publish_all("a", (0..8).map(|n| n.to_string()));
        for (last, expected) in [
            ("0", &[][..]),
            ("1", &["7"][..]),
            ("3", &["5", "6", "7"][..]),
            ("6", &["2", "3", "4", "5", "6", "7"][..]),
        ] {
            let mut stream = server.subscribe(&format!("topic=a&last={last}"));
            assert_eq!(stream.data(expected.len()), expected, "last={last}");
            server.publish("b", "other topic");
            stream.assert_quiet(ms(60));
        }
        let mut stream = server.subscribe("topic=a&last=3");
        server.publish("a", "live");
        assert_eq!(stream.data(4), ["5", "6", "7", "live"]);
    });
}

#[test]
fn last_n_of_a_topic_nobody_used_waits_for_live_events() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=new&last=10");
    server.publish("new", "first");
    assert_eq!(stream.event().data, "first");
}

#[test]
fn clock_comes_at_the_start_and_with_each_heartbeat_without_id() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("heartbeat_ms", 200).start();
        let mut stream = server.subscribe("topic=a&clock=1");
        for round in 0..3 {
            let event = loop {
                match stream.next(SOON) {
                    Item::Event(event) => break event,
                    Item::Comment(_) => {}
                    other => panic!("{other:?} instead of a clock event"),
                }
            };
            assert_eq!((event.id, event.name.as_deref()), (None, Some("fanwheel.clock")), "round {round}");
            let body: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
            let told = body["now_ms"].as_u64().expect("now_ms");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
            assert!(told <= now && now - told < 3_000, "told {told}, it is {now}");
        }
        server.publish("a", "x");
        assert_eq!(stream.event().data, "x");
    });
}

#[test]
fn event_for_several_topics_arrives_once_at_a_subscriber_of_all_of_them() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut both = server.subscribe("topic=a&topic=b");
        let mut a = server.subscribe("topic=a");
        let mut b = server.subscribe("topic=b");
        let answer = server.post("topic=a&topic=b", "", "shared");
        assert_eq!(answer.status, 202);
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        for stream in [&mut both, &mut a, &mut b] {
            let event = stream.event();
            assert_eq!((event.id.as_deref(), event.data.as_str()), (Some(id.as_str()), "shared"));
            stream.assert_quiet(ms(100));
        }
        let mut late = server.subscribe("topic=a&topic=b&last=5");
        assert_eq!(late.event().data, "shared");
        late.assert_quiet(ms(100));
    });
}

#[test]
fn duplicate_topics_in_a_query_bring_each_event_once() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a&topic=a&topic=%61");
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
    stream.assert_quiet(ms(100));
}
