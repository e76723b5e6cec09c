//! Facts about events whose life ends.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use fanwheel::base::class::ClassSettings;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{BatchForm, Settings};
use fanwheel::fanout::hub::{NewEvent, OrderedEvent, OrderedPublish};
use fanwheel::wire::frame::Draft;

use super::classes::class_of;
use super::{Bench, batch_of};

fn subscribe(bench: &mut Bench, query: &str) -> usize {
    bench.connect(ListenerKind::Public, format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
}

/// Publishes events to the topic `t`, each written as `data`, or as `data:ttl`.
fn publish(bench: &mut Bench, events: &str) {
    let line = |event: &str| {
        let (data, ttl) = event.split_once(':').unwrap_or((event, ""));
        let ttl = if ttl.is_empty() { String::new() } else { format!(",\"ttl_ms\":{ttl}") };
        format!("{{\"topic\":\"t\",\"data\":\"{data}\"{ttl}}}\n")
    };
    let lines: String = events.split(' ').map(line).collect();
    bench.connect(ListenerKind::Control, &batch_of(&lines));
    bench.turn(1);
}

/// Payloads that a stream has brought since it was read.
fn brought(bench: &mut Bench, conn: usize) -> String {
    let text = bench.read(conn);
    assert!(!text.contains("fanwheel.gap"), "a gap was told: {text}");
    text.lines().filter_map(|line| line.strip_prefix("data: ")).collect::<Vec<&str>>().join(" ")
}

/// Payloads that a stream of this query begins with.
fn begins_with(bench: &mut Bench, query: &str) -> String {
    let conn = subscribe(bench, query);
    (0..4).for_each(|_| bench.turn(0));
    brought(bench, conn)
}

#[test]
fn history_brings_an_event_to_the_last_moment_of_its_life_and_not_beyond() {
    let mut bench = Bench::new(Settings::default());
    publish(&mut bench, "a b:100 c d:200");
    bench.turn(98);
    for query in ["topic=t&last=9", "topic=t&topic=u&last=9", "pattern=*&last=9"] {
        assert_eq!(begins_with(&mut bench, query), "a b c d", "{query}");
    }
    assert_eq!(begins_with(&mut bench, "topic=t&last=3"), "b c d");
    bench.turn(2);
    for query in ["topic=t&last=9", "topic=t&topic=u&last=9", "pattern=*&last=9", "topic=t&last=3"] {
        assert_eq!(begins_with(&mut bench, query), "a c d", "{query}");
    }
    bench.turn(100);
    assert_eq!(begins_with(&mut bench, "topic=t&last=2"), "a c");
    assert_eq!(begins_with(&mut bench, "topic=t&topic=u&last=1"), "c");
}

#[test]
fn a_client_that_missed_nothing_but_events_past_their_life_is_told_no_gap() {
    let mut bench = Bench::new(Settings { history_events: 2, ..Settings::default() });
    let first = subscribe(&mut bench, "topic=t");
    bench.turn(1);
    publish(&mut bench, "a");
    bench.turn(1);
    let text = bench.read(first);
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an event").to_owned();
    publish(&mut bench, "b:50");
    bench.turn(100);
    // They push `a` out of the history, which the client has, and `b`.
    publish(&mut bench, "c d");
    let resume = format!("topic=t&last_event_id={id}");
    assert_eq!(begins_with(&mut bench, &resume), "c d");
    assert_eq!(begins_with(&mut bench, &format!("pattern=*&last_event_id={id}")), "c d");
    publish(&mut bench, "e");
    let back = subscribe(&mut bench, &resume);
    (0..4).for_each(|_| bench.turn(0));
    assert!(bench.read(back).contains("fanwheel.gap"), "`c` is missing");
}

#[test]
fn an_event_that_goes_with_its_life_takes_no_older_one_along() {
    let longer = |class: &mut ClassSettings| class.history_ms *= 2;
    let mut bench = Bench::new(Settings { classes: vec![class_of("l", longer)], ..Settings::default() });
    // It stands in the journal of the longer class, the next one alone in the other.
    let line = "{\"topic\":[\"t\",\"l\"],\"data\":\"a\"}\n";
    bench.connect(ListenerKind::Control, &batch_of(line));
    publish(&mut bench, "b:50");
    assert_eq!(begins_with(&mut bench, "topic=t&last=9"), "a b");
    bench.turn(100);
    publish(&mut bench, "c:50");
    assert_eq!(begins_with(&mut bench, "topic=t&last=9"), "a c");
}

#[test]
fn a_life_begins_with_the_order_however_late_its_commit_is() {
    let mut bench = Bench::new(Settings::default());
    publish(&mut bench, "a b");
    let id = bench.node.hub.lock().head().next_after(bench.now.wall_ms);
    let draft = Draft::new(None, None, "c", None).with_ttl_ms(NonZeroU32::new(100));
    let event = OrderedEvent { id, event: NewEvent { topics: vec!["t".into()], draft } };
    bench.turn(60);
    let mut publishes = VecDeque::from([OrderedPublish { events: vec![event], ticket: None, key: None }]);
    assert_eq!(bench.node.hub.commit(&mut publishes, bench.now).stop, None);
    bench.turn(35);
    assert_eq!(begins_with(&mut bench, "topic=t&last=2"), "b c");
    bench.turn(6);
    assert_eq!(begins_with(&mut bench, "topic=t&last=2"), "a b");
}

#[test]
fn an_event_whose_life_ends_in_its_window_comes_to_nobody_and_positions_pass_it() {
    for form in [BatchForm::Events, BatchForm::Array] {
        let window = move |class: &mut ClassSettings| {
            (class.windows.batch_ms, class.windows.batch_form) = (100, form);
            class.history_events = 1;
        };
        let classes = vec![class_of("t", window)];
        let mut bench = Bench::new(Settings { classes, ..Settings::default() });
        let queries = ["topic=t&prime=1", "topic=t&topic=u&prime=1", "topic=t&event=message&prime=1"];
        let streams = queries.map(|query| subscribe(&mut bench, query));
        (0..4).for_each(|_| bench.turn(1));
        streams.iter().for_each(|conn| drop(bench.read(*conn)));
        publish(&mut bench, "a:50 b c:50");
        (0..12).for_each(|_| bench.turn(10));
        let expected = if form == BatchForm::Array { "{\"batch\":[\"b\"],\"count\":1}" } else { "b" };
        assert_eq!(brought(&mut bench, streams[0]), expected);
        assert_eq!(brought(&mut bench, streams[1]), "b");
        publish(&mut bench, "d:50 e:50");
        (0..12).for_each(|_| bench.turn(10));
        // The history has let `d` go while it lived, so a position before it would be told a gap.
        streams.iter().for_each(|conn| drop(bench.read(*conn)));
        let (head, heartbeat_ms) = (bench.node.hub.lock().head(), bench.node.settings.heartbeat_ms);
        (0..heartbeat_ms / 50).for_each(|_| bench.turn(50));
        for conn in streams {
            let text = bench.read(conn);
            assert!(text.contains(&format!("id: {head}\n")), "told its position: {text}");
        }
    }
}
