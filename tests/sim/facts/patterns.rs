//! Facts about streams that name topics by a pattern.

use fanwheel::base::class::ClassSettings;
use fanwheel::base::counters::Count;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{Settings, SlowPolicy};

use super::classes::class_of;
use super::{Bench, batch_of};
use crate::net::Window;

/// Opens a stream with this query.
fn subscribe(bench: &mut Bench, query: &str) -> usize {
    let request = format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let stream = bench.connect(ListenerKind::Public, request.as_bytes());
    bench.turn(1);
    bench.read(stream);
    stream
}

/// Publishes events, each `topics=data` with topics between commas, one in each turn.
fn publish(bench: &mut Bench, events: &[&str]) {
    for event in events {
        let (topics, data) = event.split_once('=').expect("topics and data");
        let query: String = topics.split(',').map(|topic| format!("&topic={topic}")).collect();
        let request = format!(
            "POST /publish?{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{data}",
            &query[1..],
            data.len()
        );
        bench.connect(ListenerKind::Control, request.as_bytes());
        (0..3).for_each(|_| bench.turn(1));
    }
}

/// The payloads and the ids that a stream has brought since it was last read.
fn brought(bench: &mut Bench, stream: usize) -> (Vec<String>, Vec<String>) {
    let text = bench.read(stream);
    let lines = |name| text.lines().filter_map(move |line| line.strip_prefix(name).map(str::to_owned));
    (lines("data: ").collect(), lines("id: ").collect())
}

#[test]
fn a_topic_that_appears_later_joins_with_its_first_event_and_is_resumed_exactly() {
    let mut bench = Bench::new(Settings::default());
    publish(&mut bench, &["a.1=old"]);
    let stream = subscribe(&mut bench, "pattern=a.*");
    publish(&mut bench, &["a.2=1", "b.1=x", "a.1=2", "a.3=3", "a.3.x=x"]);
    let (data, ids) = brought(&mut bench, stream);
    assert_eq!(data, ["1", "2", "3"]);
    publish(&mut bench, &["a.4=4"]);
    for (id, rest) in ids.iter().zip([&["2", "3", "4"][..], &["3", "4"], &["4"]]) {
        let again = subscribe_unread(&mut bench, &format!("pattern=a.*&last_event_id={id}"));
        assert_eq!(brought(&mut bench, again).0, rest);
    }
}

/// Opens a stream whose greeting is read with its first events.
fn subscribe_unread(bench: &mut Bench, query: &str) -> usize {
    let request = format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let stream = bench.connect(ListenerKind::Public, request.as_bytes());
    (0..3).for_each(|_| bench.turn(1));
    stream
}

#[test]
fn an_event_comes_once_however_many_topics_and_patterns_bring_it() {
    let mut bench = Bench::new(Settings::default());
    let many = subscribe(&mut bench, "topic=a.1&topic=b&pattern=a.*&pattern=**");
    let one = subscribe(&mut bench, "pattern=a.*");
    publish(&mut bench, &["a.1,a.2,b=1", "b=2", "a.2,a.3=3"]);
    assert_eq!(brought(&mut bench, many).0, ["1", "2", "3"]);
    assert_eq!(brought(&mut bench, one).0, ["1", "3"]);
}

#[test]
fn a_slow_reader_of_a_pattern_goes_on_where_it_was_with_topics_that_it_did_not_know() {
    let mut bench = Bench::new(Settings::default());
    let stream = subscribe(&mut bench, "pattern=a.*");
    bench.net.set_window(stream, Window::Tiny);
    let events: Vec<String> = (0..40).map(|nth| format!("a.{}={nth}{}", nth % 7, "x".repeat(90))).collect();
    publish(&mut bench, &events.iter().map(String::as_str).collect::<Vec<_>>());
    bench.net.set_window(stream, Window::Large);
    (0..9).for_each(|_| bench.turn(1));
    let (data, _) = brought(&mut bench, stream);
    let expected: Vec<&str> = events.iter().map(|event| event.split_once('=').expect("data").1).collect();
    assert_eq!(data, expected);
}

#[test]
fn a_loss_in_one_topic_of_a_pattern_is_told_once_and_the_rest_comes() {
    let mut bench = Bench::new(Settings { history_events: 1, ..Settings::default() });
    publish(&mut bench, &["a.1=0"]);
    let stream = subscribe(&mut bench, "pattern=a.*");
    publish(&mut bench, &["a.1=1", "a.2=2"]);
    let (_, ids) = brought(&mut bench, stream);
    publish(&mut bench, &["a.1=3", "a.1=4", "a.3=5"]);
    let again = subscribe_unread(&mut bench, &format!("pattern=a.*&last_event_id={}", ids[0]));
    let (data, _) = brought(&mut bench, again);
    assert!(data[0].starts_with("{\"topic\":\"a.*\",\"after\":"), "{data:?}");
    assert_eq!(data[1..], ["2", "4", "5"]);
}

/// Publishes so many events to a topic at once.
fn publish_batch(bench: &mut Bench, topic: &str, events: usize) {
    let lines = format!("{{\"topic\":\"{topic}\",\"data\":\"x\"}}\n").repeat(events);
    bench.connect(ListenerKind::Control, &batch_of(&lines));
    (0..5).for_each(|_| bench.turn(1));
}

/// Has a topic forget its events.
fn forget(bench: &mut Bench, topic: &str) {
    let request = format!("DELETE /topics?topic={topic} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    bench.connect(ListenerKind::Control, request.as_bytes());
    (0..9).for_each(|_| bench.turn(1));
}

#[test]
fn each_loss_of_a_pattern_is_told_once_also_that_of_older_events_than_the_last() {
    let mut bench = Bench::new(Settings::default());
    let stream = subscribe(&mut bench, "pattern=*");
    bench.net.set_window(stream, Window::Tiny);
    for (topic, events) in [("u", 1_500), ("t", 300), ("t", 300)] {
        publish_batch(&mut bench, topic, events);
    }
    forget(&mut bench, "t");
    bench.net.set_window(stream, Window::Small);
    bench.turn(1);
    let mut text = bench.read(stream);
    bench.turn(1);
    text += &bench.read(stream);
    assert_eq!(text.matches("fanwheel.gap").count(), 1, "{text}");
    forget(&mut bench, "u");
    bench.net.set_window(stream, Window::Large);
    for _ in 0..9 {
        bench.turn(1);
        text += &bench.read(stream);
    }
    assert!(bench.is_open(stream), "ended as slow");
    assert_eq!(text.matches("fanwheel.gap").count(), 2, "{text}");
}

/// A bench whose topics `a.*` are of a class with these values.
fn bench_of(edit: impl FnOnce(&mut ClassSettings)) -> Bench {
    Bench::new(Settings { classes: vec![class_of("a.*", edit)], ..Settings::default() })
}

/// Publishes events with keys at once, each written as `topic key data`.
fn publish_keyed(bench: &mut Bench, events: &[String]) {
    let line = |event: &String| {
        let words: Vec<&str> = event.split(' ').collect();
        let [topic, key, data] = words[..] else { panic!("three words") };
        format!("{{\"topic\":\"{topic}\",\"key\":\"{key}\",\"data\":\"{data}\"}}\n")
    };
    let lines: String = events.iter().map(line).collect();
    bench.connect(ListenerKind::Control, &batch_of(&lines));
    (0..3).for_each(|_| bench.turn(1));
}

#[test]
fn a_slow_snapshot_of_a_pattern_misses_the_newest_of_a_key_and_no_older_event() {
    for (events, keys, is_complete) in [(20, 1_000, true), (20, 50, false), (450, 0, false)] {
        let mut bench = bench_of(|class| (class.history_events, class.history_keys) = (events, keys));
        let long = "x".repeat(90);
        let states: Vec<String> = (0..400).map(|nth| format!("a.1 k{nth} {nth}{long}")).collect();
        publish_keyed(&mut bench, &states);
        let busy: Vec<String> = (0..30).map(|nth| format!("a.1 busy {nth}")).collect();
        publish_keyed(&mut bench, &busy);
        let stream = subscribe_slow(&mut bench, "pattern=a.*&snapshot=1");
        // Older events of a key that is published all the time leave the log while the snapshot is sent.
        let more: Vec<String> = (0..400).map(|nth| format!("a.{} busy {nth}", 1 + nth % 2)).collect();
        let rest: Vec<String> = (0..40).map(|nth| format!("a.1 l{nth} {nth}")).collect();
        publish_keyed(&mut bench, &[more, rest].concat());
        bench.net.set_window(stream, Window::Large);
        (0..20).for_each(|_| bench.turn(1));
        let text = bench.read(stream);
        assert!(!text.contains("fanwheel.gap"), "{events} events and {keys} keys are kept");
        assert_eq!(bench.is_open(stream), is_complete, "a slow one that misses something is ended");
        assert_eq!(text.contains("fanwheel.snapshot-end"), is_complete);
    }
}

/// Opens a stream with a socket that takes little at a time.
fn subscribe_slow(bench: &mut Bench, query: &str) -> usize {
    let request = format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    let stream = bench.connect(ListenerKind::Public, request.as_bytes());
    bench.net.set_window(stream, Window::Tiny);
    (0..3).for_each(|_| bench.turn(1));
    stream
}

#[test]
fn a_slow_reader_of_a_pattern_ends_with_the_newest_of_each_key_and_is_told_no_gap() {
    let mut bench = bench_of(|class| {
        (class.slow_policy, class.history_events, class.history_keys) = (SlowPolicy::Latest, 10, 20);
    });
    let stream = subscribe(&mut bench, "pattern=a.*");
    bench.net.set_window(stream, Window::Tiny);
    for round in 0..60 {
        let events: Vec<String> =
            (0..20).map(|nth| format!("a.{} k{nth} {}", nth % 3, round * 20 + nth)).collect();
        publish_keyed(&mut bench, &events);
    }
    bench.net.set_window(stream, Window::Large);
    (0..9).for_each(|_| bench.turn(10));
    let (data, _) = brought(&mut bench, stream);
    let numbers: Vec<u32> = data.iter().map(|data| data.parse().expect("no gap is told")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() < 600, "{} events", numbers.len());
    let newest: Vec<u32> = numbers.iter().rev().take(20).rev().copied().collect();
    assert_eq!(newest, (1_180..1_200).collect::<Vec<u32>>());
}

#[test]
fn a_poll_by_a_pattern_is_answered_by_a_topic_that_it_did_not_know_and_goes_on_after_its_id() {
    let mut bench = Bench::new(Settings::default());
    let poll = subscribe(&mut bench, "pattern=a.*&wait_ms=9000");
    publish(&mut bench, &["b=x", "a.1=1"]);
    let answer = bench.read(poll);
    assert!(answer.contains("Content-Length: ") && answer.contains("data: 1\n"), "{answer}");
    let id = answer.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    publish(&mut bench, &["a.2=2", "a.1,a.3=3"]);
    let next = subscribe_unread(&mut bench, &format!("pattern=a.*&wait_ms=9000&last_event_id={id}"));
    assert_eq!(brought(&mut bench, next).0, ["2", "3"]);
    let state = subscribe_unread(&mut bench, "pattern=a.*&wait_ms=9000&snapshot=1");
    let (data, _) = brought(&mut bench, state);
    assert_eq!(data, ["2", "3", "{\"topics\":3,\"events\":2}"], "`a.1` and `a.3` share their newest event");
}

#[test]
fn events_of_a_pattern_leave_in_one_send_when_the_window_of_its_class_ends() {
    let mut bench = bench_of(|class| (class.windows.batch_ms, class.windows.batch_events) = (100, 256));
    let streams =
        ["pattern=a.*", "pattern=**", "topic=a.1&pattern=a.*"].map(|query| subscribe(&mut bench, query));
    let sends = bench.worker.counters().get(Count::EventSends);
    publish(&mut bench, &["a.1=1", "a.2=2", "b=3", "a.3=4"]);
    assert_eq!(brought(&mut bench, streams[1]).0, ["1", "2", "3", "4"], "the default class has no window");
    assert_eq!(brought(&mut bench, streams[0]).0.len(), 0);
    (0..12).for_each(|_| bench.turn(10));
    for stream in [streams[0], streams[2]] {
        assert_eq!(brought(&mut bench, stream).0, ["1", "2", "4"]);
    }
    // Four sends of the stream without a window.
    assert_eq!(bench.worker.counters().get(Count::EventSends) - sends, 4 + 2);
}
