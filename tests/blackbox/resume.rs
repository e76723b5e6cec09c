//! Coming back: exactly what was missed, in order, then live, with no hole and no repeat; and a gap event
//! whenever something may be missing. A loss is never silent.

use crate::harness::{Event, Id, Launch, SOON, Server, Stream, ms, percent, with_1_and_4_workers};

fn eight(server: &Server, topic: &str) -> Vec<String> {
    server.publish_all(topic, (0..8).map(|n| format!("e{n}")))
}

fn assert_rest_then_live(server: &Server, mut stream: Stream, from: usize, live: &str) {
    for n in from..8 {
        assert_eq!(stream.event().data, format!("e{n}"), "resumed after {from} events");
    }
    server.publish("a", live);
    assert_eq!(stream.event().data, live, "resumed after {from} events");
}

#[test]
fn resume_after_each_of_eight_events_brings_exactly_the_rest() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let ids = eight(&server, "a");
        for (n, id) in ids.iter().enumerate() {
            let mut stream = server.resume("topic=a", id);
            for (m, expected) in ids.iter().enumerate().skip(n + 1) {
                let event = stream.event();
                assert_eq!((event.id.as_ref(), event.data), (Some(expected), format!("e{m}")));
            }
            stream.assert_quiet(ms(40));
        }
        let stream = server.resume("topic=a", &ids[2]);
        assert_rest_then_live(&server, stream, 3, "live");
    });
}

#[test]
fn id_is_taken_from_the_header_then_from_either_query_parameter() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let ids = eight(&server, "a");
        let next = |mut stream: Stream| stream.event().data;
        assert_eq!(next(server.resume("topic=a", &ids[4])), "e5");
        assert_eq!(next(server.subscribe(&format!("topic=a&last_event_id={}", ids[2]))), "e3");
        assert_eq!(next(server.subscribe(&format!("topic=a&lastEventId={}", ids[3]))), "e4");
        let both = format!("topic=a&last_event_id={}&lastEventId={}", ids[1], ids[6]);
        assert_eq!(next(server.subscribe(&both)), "e2", "last_event_id before lastEventId");
        assert_eq!(next(server.resume(&both, &ids[5])), "e6", "the header before the query");
        let lower = format!("last-event-id: {}\r\n", ids[0]);
        assert_eq!(next(server.subscribe_with("topic=a", &lower)), "e1", "header names have no case");
    });
}

#[test]
fn position_wins_over_last_n() {
    let server = Launch::workers(1).start();
    let ids = eight(&server, "a");
    let mut stream = server.resume("topic=a&last=1", &ids[3]);
    assert_eq!(stream.data(4), ["e4", "e5", "e6", "e7"], "a position must not be skipped for last=1");
}

fn gap_body(event: &Event) -> serde_json::Value {
    assert!(event.is_gap(), "a gap event was expected, not {event:?}");
    let body: serde_json::Value = serde_json::from_str(&event.data).expect("a gap's data is JSON");
    for field in ["after", "oldest", "reason"] {
        assert!(body.get(field).is_some(), "no {field} in {body}");
    }
    assert!(body.get("topic").is_some() != body.get("topics").is_some(), "one topic or several: {body}");
    body
}

#[test]
fn gap_is_told_before_the_first_later_event_when_history_is_gone() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("history_events", 3).start();
        let ids = eight(&server, "a");
        for id in &ids[..4] {
            let mut stream = server.resume("topic=a", id);
            let gap = gap_body(&stream.any_event(SOON));
            assert_eq!(gap["topic"], "a");
            assert_eq!(gap["after"], id.as_str());
            assert_eq!(gap["oldest"], ids[5].as_str());
            assert_eq!(gap["reason"], "evicted");
            assert_eq!(stream.data(3), ["e5", "e6", "e7"]);
        }
        for (n, id) in ids.iter().enumerate().skip(5) {
            let mut stream = server.resume("topic=a", id);
            let rest: Vec<String> = (n + 1..8).map(|m| format!("e{m}")).collect();
            assert_eq!(stream.data(7 - n), rest, "no gap without a loss");
            stream.assert_quiet(ms(40));
        }
    });
}

#[test]
fn gap_event_is_json_whatever_the_topic_is_called() {
    let server = Launch::workers(2).set("history_events", 1).start();
    for topic in
        ["q\"uote", "back\\slash", "</script>", "\u{2028}", "\u{1F600}", "a b", "{}", "tab?", "\u{FEFF}"]
    {
        let ids = server.publish_all(topic, (0..3).map(|n| n.to_string()));
        let mut stream = server.resume(&format!("topic={}", percent(topic)), &ids[0]);
        let gap = gap_body(&stream.any_event(SOON));
        assert_eq!(gap["topic"], topic);
        assert_eq!(stream.event().data, "2");
    }
}

#[test]
fn unknown_id_is_quoted_safely_in_the_gap_event() {
    let server = Launch::workers(1).start();
    for id in ["\"", "\\", "\",\"topic\":\"forged", "\n\ndata: x", "\r", "\u{2028}", "\u{0}", "</script>"] {
        let mut stream = server.subscribe(&format!("topic=a&last_event_id={}", percent(id)));
        let event = stream.any_event(SOON);
        let gap = gap_body(&event);
        assert_eq!((&gap["topic"], &gap["reason"]), (&"a".into(), &"unknown_id".into()), "{id:?}");
        stream.assert_quiet(ms(20));
    }
}

#[test]
fn gap_is_told_when_history_grew_too_old() {
    let server = Launch::workers(2).set("history_ms", 200).start();
    let ids = eight(&server, "a");
    let told = crate::harness::poll_until(SOON, || {
        let first = server.resume("topic=a", &ids[0]).try_event(ms(300))?;
        first.is_gap().then_some(())
    });
    assert!(told.is_some(), "the evicted history of a quiet topic is a gap");
}

#[test]
fn position_of_a_former_life_of_the_server_is_a_gap() {
    let server = Launch::workers(2).start();
    let id = server.publish("a", "before");
    server.publish("a", "missed");
    drop(server);
    let server = Launch::workers(2).start();
    let mut stream = server.resume("topic=a", &id);
    let gap = gap_body(&stream.any_event(SOON));
    assert_eq!((&gap["after"], &gap["reason"]), (&id.as_str().into(), &"restart".into()));
    server.publish("a", "after");
    assert_eq!(stream.event().data, "after");
}

#[test]
fn topics_that_lost_the_same_share_one_gap() {
    let server = Launch::workers(2).set("history_events", 2).start();
    let start = server.publish("busy", "0");
    server.publish_all("busy", (1..5).map(|n| n.to_string()));
    let all = "topic=quiet&topic=busy&topic=calm";
    let gaps = |id: &str, count: usize| {
        let mut stream = server.resume(all, id);
        (0..count).map(|_| gap_body(&stream.any_event(SOON))).collect::<Vec<_>>()
    };
    let told = gaps("1-5", 2);
    assert_eq!(told[0]["topics"], serde_json::json!(["quiet", "calm"]), "nothing is kept of either");
    assert_eq!((&told[1]["topic"], &told[1]["reason"]), (&"busy".into(), &"restart".into()));
    assert_eq!(gaps(&start, 1)[0]["topic"], "busy");
    let next_hour = format!("{}-{}", Id::parse(&start).0 + 3_600_000, Id::parse(&start).1);
    for id in ["1700000000000-2048", &next_hour, "17592186044415-1"] {
        assert!(gaps(id, 2).iter().all(|gap| gap["reason"] == "unknown_id"), "no run gave {id}");
    }
}

#[test]
fn client_that_hops_between_two_unconnected_nodes_is_told_so_each_time() {
    with_1_and_4_workers(|workers| {
        let nodes = [(); 2].map(|()| Launch::workers(workers).start());
        let mut last: Option<String> = None;
        for hop in 0..6 {
            let (here, there) = (&nodes[hop % 2], &nodes[(hop + 1) % 2]);
            // The ids of either node are newer than those of the other, by turns.
            there.publish("a", format!("{hop} there"));
            std::thread::sleep(ms(3));
            let id = here.publish("a", format!("{hop} here"));
            let Some(seen) = last.replace(id) else { continue };
            let mut stream = here.resume("topic=a", &seen);
            assert!(stream.any_event(SOON).is_gap(), "hop {hop}: an id of the other node was believed");
            // Everything that this node keeps, for who knows what the client has of it.
            assert!(stream.data(hop + 1).contains(&format!("{hop} here")));
        }
    });
}

#[test]
fn stream_begins_at_a_moment_without_a_gap() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let ids = eight(&server, "a");
        let moment = |id: &str, by: i64| format!("{}-0", Id::parse(id).0.saturating_add_signed(by));
        let mut stream = server.subscribe(&format!("topic=a&last_event_id={}", moment(&ids[0], 0)));
        assert_eq!(stream.event().data, "e0", "events of that millisecond come, too");
        let mut stream = server.subscribe(&format!("topic=new&last_event_id={}", moment(&ids[0], 0)));
        stream.assert_quiet(ms(50));
        // A page's clock may be ahead.
        let mut stream = server.subscribe(&format!("topic=new&last_event_id={}", moment(&ids[7], 60_000)));
        stream.assert_quiet(ms(50));
        server.publish("new", "live");
        assert_eq!(stream.event().data, "live");
        let mut stream = server.subscribe(&format!("topic=new&lastEventID={}", moment(&ids[0], -60_000)));
        assert!(stream.any_event(SOON).is_gap(), "what another run has published since is gone");
    });
}

/// Values of `Last-Event-ID` that are not positions of ours.
fn unknown_ids() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("rubbish", b"rubbish".to_vec()),
        ("sixty digits", b"9".repeat(60)),
        ("negative", b"-5".to_vec()),
        ("negative pair", b"-5--1".to_vec()),
        ("8-bit", b"\xC3\xA9\xFF\xFE".to_vec()),
        ("4 kB", b"x".repeat(4_000)),
        ("redis dollar", b"$-1".to_vec()),
        ("redis everything", b"0-0".to_vec()),
        ("redis plus", b"+".to_vec()),
        ("2^64-1", b"18446744073709551615".to_vec()),
        ("2^64-1 pair", b"18446744073709551615-18446744073709551615".to_vec()),
        ("number alone", b"1700000000000".to_vec()),
        ("quotes and braces", b"\"}{\\\"a\":1".to_vec()),
        ("long ago", b"1-0".to_vec()),
        ("far future", b"17000000000000-5".to_vec()),
        ("leading zero", b"01700000000000-0".to_vec()),
        ("inner space", b"1700000000000 -0".to_vec()),
    ]
}

#[test]
fn unknown_ids_are_a_gap_and_the_stream_goes_on() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        eight(&server, "a");
        for (case, id) in unknown_ids() {
            let mut conn = server.connect();
            let head = b"GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\nLast-Event-ID: ";
            conn.send([&head[..], &id, b"\r\n\r\n"].concat());
            let mut stream = Stream::from(conn);
            stream.greeting();
            let told = stream.try_event(SOON).unwrap_or_else(|| panic!("{case}: neither gap nor replay"));
            let whole_replay = !told.is_gap() && told.data == "e0";
            assert!(told.is_gap() || whole_replay, "{case}: {told:?}");
            if told.is_gap() {
                gap_body(&told);
            }
            let marker = format!("live after {case}");
            server.publish("a", &marker);
            let found = (0..60).any(|_| stream.event().data == marker);
            assert!(found, "{case}: live events do not arrive");
        }
    });
}

#[test]
fn unknown_ids_in_the_query_are_a_gap_too() {
    let server = Launch::workers(2).start();
    eight(&server, "a");
    for (case, id) in unknown_ids() {
        let parameter = String::from_utf8_lossy(&id).into_owned();
        let mut stream = server.subscribe(&format!("topic=a&last_event_id={}", percent(&parameter)));
        let told = stream.any_event(SOON);
        assert!(told.is_gap() || told.data == "e0", "{case}: {told:?}");
    }
}

#[test]
fn empty_id_and_two_ids_still_open_a_stream() {
    let server = Launch::workers(2).start();
    let ids = eight(&server, "a");
    for query in ["topic=a", "topic=a&last_event_id=", "topic=a&lastEventId="] {
        let mut stream = server.subscribe_with(query, "Last-Event-ID:\r\n");
        server.publish("a", "live");
        let first = stream.any_event(SOON);
        assert!(first.is_gap() || first.data == "live" || first.data == "e0", "{query}: {first:?}");
    }
    let mut conn = server.connect();
    conn.send(format!(
        "GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\nLast-Event-ID: {}\r\nLast-Event-ID: {}\r\n\r\n",
        ids[2], ids[5]
    ));
    let head = conn.head(SOON).expect("an answer");
    assert_eq!(head.status, 200, "two ids");
}

#[test]
fn id_of_another_topic_is_a_position_too() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        server.subscribe("topic=a");
        let mut ids = Vec::new();
        for n in 0..4 {
            server.publish("a", format!("a{n}"));
            ids.push(server.publish("b", format!("b{n}")));
        }
        let mut stream = server.resume("topic=a", &ids[1]);
        assert_eq!(stream.data(2), ["a2", "a3"]);
        let mut stream = server.resume("topic=a&topic=b", &ids[1]);
        assert_eq!(stream.data(4), ["a2", "b2", "a3", "b3"]);
    });
}

#[test]
fn gap_in_one_topic_does_not_hide_the_history_of_another() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("history_events", 2).start();
        let start = server.publish("quiet", "q0");
        server.publish("quiet", "q1");
        server.publish_all("busy", (0..5).map(|n| format!("b{n}")));
        let mut stream = server.resume("topic=quiet&topic=busy", &start);
        let (mut gaps, mut data) = (Vec::new(), Vec::new());
        while data.len() < 3 {
            let event = stream.any_event(SOON);
            match event.is_gap() {
                true => gaps.push(gap_body(&event)["topic"].clone()),
                false => data.push(event.data),
            }
        }
        assert_eq!(data, ["q1", "b3", "b4"]);
        assert_eq!(gaps, ["busy"]);
    });
}

#[test]
fn subscriber_that_is_cut_again_and_again_receives_everything_once() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let publisher = std::thread::scope(|scope| {
            scope.spawn(|| server.publish_all("a", (0..400).map(|n| n.to_string())));
            let mut received: Vec<String> = Vec::new();
            while received.len() < 400 {
                received.push(stream.event().data);
                if received.len().is_multiple_of(23) {
                    let id = stream.newest().expect("an event came");
                    stream.into_conn().reset();
                    stream = server.resume("topic=a", &id);
                }
            }
            received
        });
        let expected: Vec<String> = (0..400).map(|n| n.to_string()).collect();
        assert_eq!(publisher, expected);
    });
}

#[test]
fn returning_client_gets_all_it_missed_whatever_is_done_with_slow_ones() {
    for policy in ["disconnect", "skip", "latest"] {
        let server = Launch::workers(1).set("slow_policy", policy).start();
        let first = crate::harness::accepted_id(&server.post("topic=a&key=k", "", "first"));
        let line = |n| format!("{{\"topic\":\"a\",\"key\":\"k\",\"data\":\"{n}\"}}\n");
        let batch: String = (0..700).map(line).collect();
        let head = format!("POST /publish/batch HTTP/1.1\r\nHost: {}\r\n", server.control);
        let request = format!("{head}Content-Length: {}\r\n\r\n{batch}", batch.len());
        assert_eq!(server.connect_control().ask(request).status, 202);
        let expected: Vec<String> = (0..700).map(|n| n.to_string()).collect();
        assert_eq!(server.resume("topic=a", &first).data(700), expected, "resumed under {policy}");
        assert_eq!(server.subscribe("topic=a&last=700").data(700), expected, "last=700 under {policy}");
    }
}
