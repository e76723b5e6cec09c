//! Facts about classes of topics: how long each keeps events, and when silence ends a stream.

use fanwheel::base::class::{ClassSettings, NamedClass};
use fanwheel::base::counters::CloseReason;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::Settings;
use fanwheel::base::topic::TopicPattern;

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
