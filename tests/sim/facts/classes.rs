//! Facts about classes of topics: how long each keeps events, and when silence ends a stream.

use fanwheel::base::class::{ClassSettings, NamedClass};
use fanwheel::base::counters::{CloseReason, Count};
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::Settings;
use fanwheel::base::topic::TopicPattern;
use fanwheel::fanout::mail::ControlMessage;

use super::{Bench, batch, batch_of};

#[test]
fn each_class_keeps_events_for_its_time_and_one_of_several_classes_for_the_longest() {
    let class = |name: &str, history_ms: u64| NamedClass {
        name: name.into(),
        patterns: vec![TopicPattern::parse(name).expect("a pattern")],
        settings: ClassSettings { history_ms, ..ClassSettings::of_node(&Settings::default()) },
    };
    let classes = vec![class("short", 300), class("long", 100_000)];
    let mut bench = Bench::new(Settings { history_ms: 1_000, classes, ..Settings::default() });
    let line = |topics: &str| format!("{{\"topic\":{topics},\"data\":\"x\"}}\n");
    let lines = ["\"short\"", "\"t\"", "\"long\"", "[\"short\",\"long\"]"].map(line).concat();
    bench.connect(ListenerKind::Control, &batch_of(&lines));
    // The first look is at once; the others come when some have expired.
    for (ms, expected) in [(20, [2, 1, 2]), (600, [1, 1, 2]), (900, [1, 0, 2])] {
        (0..ms / 20).for_each(|_| bench.turn(20));
        let kept = ["short", "t", "long"].map(|topic| {
            let request = format!("GET /events?topic={topic}&last=9 HTTP/1.1\r\nHost: a\r\n\r\n");
            let stream = bench.connect(ListenerKind::Public, request.as_bytes());
            (0..3).for_each(|_| bench.turn(1));
            bench.read(stream).matches("id: ").count()
        });
        assert_eq!(kept, expected, "short, t and long");
    }
}

#[test]
fn a_stream_ends_when_its_topics_are_silent_and_not_before() {
    let mut bench = Bench::new(Settings { max_idle_ms: 500, heartbeat_ms: 100, ..Settings::default() });
    let mut subscribe = |query: &str| {
        let request = format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        bench.connect(ListenerKind::Public, request.as_bytes())
    };
    let silent = subscribe("topic=u");
    let others = ["topic=t", "topic=u&topic=t", "topic=t&event=never"].map(&mut subscribe);
    let publisher = bench.connect(ListenerKind::Control, b"");
    for _ in 0..40 {
        bench.net.send(publisher, &batch(1));
        (0..5).for_each(|_| bench.turn(10));
        (0..bench.net.socks.len()).for_each(|conn| drop(bench.read(conn)));
    }
    assert!(!bench.is_open(silent), "no event for 2 s");
    assert!(others.iter().all(|conn| bench.is_open(*conn)), "an event every 50 ms");
    // The time differs by a tenth, and is looked at with the timer of the stream.
    (0..60).for_each(|_| bench.turn(10));
    assert!(others.iter().all(|conn| !bench.is_open(*conn)), "no event for 600 ms");
    assert_eq!(bench.worker.counters().get_closed(CloseReason::Life), 4);
}

/// Classes of one topic each, with the values that `edit` gives them.
pub(super) fn class_of(topic: &str, edit: impl FnOnce(&mut ClassSettings)) -> NamedClass {
    let mut settings = ClassSettings::of_node(&Settings::default());
    edit(&mut settings);
    NamedClass {
        name: topic.into(),
        patterns: vec![TopicPattern::parse(topic).expect("a pattern")],
        settings,
    }
}

/// A bench whose topic `t` has a window of 100 ms and so many events, with streams of these queries, greeted.
pub(super) fn windowed(batch_events: usize, queries: &[&str]) -> (Bench, Vec<usize>) {
    let window = |class: &mut ClassSettings| {
        (class.windows.batch_ms, class.windows.batch_events) = (100, batch_events)
    };
    let mut bench = Bench::new(Settings { classes: vec![class_of("t", window)], ..Settings::default() });
    let mut subscribe = |query: &&str| {
        let request = format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        bench.connect(ListenerKind::Public, request.as_bytes())
    };
    let streams: Vec<usize> = queries.iter().map(&mut subscribe).collect();
    (0..4).for_each(|_| bench.turn(1));
    streams.iter().for_each(|conn| bench.assert_brought(*conn, 0));
    (bench, streams)
}

#[test]
fn events_of_a_window_leave_together_when_it_ends_and_publishers_are_answered_at_once() {
    let (mut bench, streams) = windowed(256, &["topic=t", "topic=t&event=e", "topic=u", "topic=t&topic=u"]);
    let publisher = bench.connect(ListenerKind::Control, &batch(2));
    for _ in 0..4 {
        bench.turn(10);
    }
    assert!(bench.read(publisher).contains(" 202 "), "the publisher does not wait");
    bench.net.send(publisher, &batch(3));
    (0..4).for_each(|_| bench.turn(10));
    streams.iter().for_each(|conn| bench.assert_brought(*conn, 0));
    let sends = bench.worker.counters().get(Count::EventSends);
    (0..3).for_each(|_| bench.turn(10));
    for (conn, events) in streams.iter().zip([5, 5, 0, 5]) {
        bench.assert_brought(*conn, events);
    }
    assert_eq!(bench.worker.counters().get(Count::EventSends) - sends, 3, "one send each");
    assert_eq!(bench.worker.counters().get(Count::WindowEvents), 5);
}

#[test]
fn whoever_follows_another_topic_gets_what_waits_with_its_next_event_and_only_once() {
    let (mut bench, streams) = windowed(256, &["topic=t&topic=u", "topic=t"]);
    let publisher = bench.connect(ListenerKind::Control, &batch(2));
    (0..3).for_each(|_| bench.turn(5));
    bench.net.send(publisher, &batch_of("{\"topic\":\"u\",\"data\":\"x\"}\n"));
    (0..3).for_each(|_| bench.turn(5));
    bench.assert_brought(streams[0], 3);
    bench.assert_brought(streams[1], 0);
    // One that comes now reads them from the log, and does not get them again.
    let late = bench.connect(ListenerKind::Public, b"GET /events?topic=t&last=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    (0..3).for_each(|_| bench.turn(5));
    bench.assert_brought(late, 1);
    (0..12).for_each(|_| bench.turn(10));
    for (conn, events) in [(streams[0], 0), (streams[1], 2), (late, 0)] {
        bench.assert_brought(conn, events);
    }
}

#[test]
fn a_window_ends_early_by_its_events_and_by_a_drain() {
    let (mut bench, streams) = windowed(4, &["topic=t"]);
    let publisher = bench.connect(ListenerKind::Control, &batch(4));
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(streams[0], 4);
    bench.net.send(publisher, &batch(3));
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(streams[0], 0);
    bench.node.shut_down(&ControlMessage::Drain);
    (0..3).for_each(|_| bench.turn(1));
    let text = bench.read(streams[0]);
    assert_eq!(text.matches("id: ").count(), 3, "{text}");
}

#[test]
fn windows_that_are_full_of_large_events_refuse_no_publisher() {
    let (mut bench, streams) = windowed(256, &["topic=t"]);
    let large = format!("{{\"topic\":\"t\",\"data\":\"{}\"}}\n", "x".repeat(200_000));
    let publisher = bench.connect(ListenerKind::Control, b"");
    let mut brought = 0;
    for _ in 0..100 {
        bench.net.send(publisher, &batch_of(&large));
        (0..6).for_each(|_| bench.turn(0));
        let answer = bench.read(publisher);
        assert!(answer.contains(" 202 "), "{answer}");
        brought += bench.read(streams[0]).matches("id: ").count();
    }
    assert!(brought > 40, "{brought}");
    assert!(bench.worker.counters().get(Count::WindowsCut) > 0);
}

#[test]
fn a_reload_gives_windows_to_live_streams_and_takes_them() {
    let (mut bench, streams) = windowed(256, &["topic=t"]);
    let publisher = bench.connect(ListenerKind::Control, b"");
    for (classes, at_once) in [(Vec::new(), 2), (vec![class_of("t", |t| t.windows.batch_ms = 100)], 0)] {
        bench.node.hub.replace_classes(&Settings { classes, ..Settings::default() });
        while bench.node.hub.sort_topics(bench.now) {}
        bench.turn(1);
        bench.net.send(publisher, &batch(2));
        (0..4).for_each(|_| bench.turn(5));
        bench.assert_brought(streams[0], at_once);
    }
}

#[test]
fn a_heartbeat_takes_nothing_out_of_a_window() {
    let window = |class: &mut ClassSettings| class.windows.batch_ms = 400;
    let classes = vec![class_of("t", window)];
    let mut bench = Bench::new(Settings { heartbeat_ms: 500, classes, ..Settings::default() });
    let stream = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    let publisher = bench.connect(ListenerKind::Control, b"");
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(stream, 0);
    let mut heartbeats = 0;
    for _ in 0..3 {
        bench.net.send(publisher, &batch(2));
        let mut text = String::new();
        for _ in 0..100 {
            if text.contains("id: ") {
                break;
            }
            bench.turn(10);
            text = bench.read(stream);
            heartbeats += usize::from(text.contains(":\n") && !text.contains("id: "));
        }
        assert_eq!(text.matches("id: ").count(), 2, "{text}");
        (0..20).for_each(|_| bench.turn(10));
        heartbeats += bench.read(stream).matches("\r\n:\n").count();
    }
    assert!(heartbeats > 0, "none came");
}
