//! Facts about events that give way to newer ones of their key.

use fanwheel::base::class::ClassSettings;
use fanwheel::base::counters::Count;
use fanwheel::base::limits::MAIL_FRAMES_PER_TURN;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{BatchForm, RatePolicy, Settings, SlowPolicy};
use fanwheel::fanout::mail::ControlMessage;

use super::classes::class_of;
use super::{Bench, batch_of};
use crate::net::Window;

/// A bench whose topic `t` is of a class with these values, with streams of these queries, greeted.
fn bench_of(edit: impl FnOnce(&mut ClassSettings), queries: &[&str]) -> (Bench, Vec<usize>) {
    let mut bench = Bench::new(Settings { classes: vec![class_of("t", edit)], ..Settings::default() });
    let streams: Vec<usize> = queries.iter().map(|query| subscribe(&mut bench, query)).collect();
    (0..4).for_each(|_| bench.turn(1));
    streams.iter().for_each(|conn| bench.assert_brought(*conn, 0));
    (bench, streams)
}

fn subscribe(bench: &mut Bench, query: &str) -> usize {
    bench.connect(ListenerKind::Public, format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
}

/// Publishes events to topics, each written as `topic key data`.
fn publish(bench: &mut Bench, events: &[&str]) {
    let line = |event: &&str| {
        let mut words = event.split(' ');
        let mut word = || words.next().expect("three words");
        let (topic, key, data) = (word(), word(), word());
        format!("{{\"topic\":\"{topic}\",\"key\":\"{key}\",\"data\":\"{data}\"}}\n")
    };
    let lines: String = events.iter().map(line).collect();
    bench.connect(ListenerKind::Control, &batch_of(&lines));
}

/// Payloads that a stream has brought since it was read.
fn brought(bench: &mut Bench, conn: usize) -> Vec<String> {
    let text = bench.read(conn);
    assert!(!text.contains("fanwheel.gap"), "a gap was told: {text}");
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[test]
fn a_throttled_topic_brings_the_newest_event_of_each_key_once_a_window() {
    let throttle = |class: &mut ClassSettings| class.windows.throttle_ms = 100;
    let (mut bench, streams) = bench_of(throttle, &["topic=t", "topic=t&event=message", "topic=t&topic=u"]);
    publish(&mut bench, &["t a 1", "t b 2", "t a 3"]);
    (0..3).for_each(|_| bench.turn(10));
    publish(&mut bench, &["t b 4", "t c 5"]);
    (0..5).for_each(|_| bench.turn(10));
    streams.iter().for_each(|conn| bench.assert_brought(*conn, 0));
    (0..4).for_each(|_| bench.turn(10));
    for conn in &streams {
        assert_eq!(brought(&mut bench, *conn), ["3", "4", "5"]);
    }
    publish(&mut bench, &["t a 6"]);
    (0..3).for_each(|_| bench.turn(10));
    // One that comes back has missed these, and one of several topics gets what waits with the other topic.
    let back = subscribe(&mut bench, "topic=t&last=9");
    publish(&mut bench, &["u a 7"]);
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!(brought(&mut bench, back), ["4", "5", "6"]);
    assert_eq!(brought(&mut bench, streams[2]), ["6", "7"]);
    (0..12).for_each(|_| bench.turn(10));
    for (conn, expected) in [(streams[0], &["6"][..]), (streams[1], &["6"]), (streams[2], &[]), (back, &[])] {
        assert_eq!(brought(&mut bench, conn), expected);
    }
}

#[test]
fn an_event_of_a_throttled_topic_gives_way_to_none_of_another_name() {
    let throttle = |class: &mut ClassSettings| class.windows.throttle_ms = 100;
    let (mut bench, streams) = bench_of(throttle, &["topic=t&event=x", "topic=t&event=y", "topic=t"]);
    let named = |name: &str, data: u32| {
        format!("{{\"topic\":\"t\",\"event\":\"{name}\",\"key\":\"a\",\"data\":\"{data}\"}}\n")
    };
    let lines = [named("x", 1), named("y", 2), named("x", 3), named("y", 4), named("z", 5)].concat();
    bench.connect(ListenerKind::Control, &batch_of(&lines));
    (0..12).for_each(|_| bench.turn(10));
    for (conn, expected) in streams.into_iter().zip([&["3"][..], &["4"], &["3", "4", "5"]]) {
        assert_eq!(brought(&mut bench, conn), expected);
    }
}

#[test]
fn an_event_that_comes_during_a_round_of_a_throttled_topic_waits_for_the_next_window() {
    let throttle = |class: &mut ClassSettings| class.windows.throttle_ms = 100;
    let (mut bench, streams) = bench_of(throttle, &["topic=t"; 300]);
    publish(&mut bench, &["t a 1"]);
    bench.turn(1);
    // The round takes three turns.
    bench.turn(101);
    publish(&mut bench, &["t a 2"]);
    (0..6).for_each(|_| bench.turn(1));
    streams.iter().for_each(|conn| assert_eq!(brought(&mut bench, *conn), ["1"]));
    (0..12).for_each(|_| bench.turn(10));
    streams.iter().for_each(|conn| assert_eq!(brought(&mut bench, *conn), ["2"]));
}

#[test]
fn a_window_of_a_throttled_topic_that_ends_late_is_followed_by_a_whole_one() {
    let throttle = |class: &mut ClassSettings| class.windows.throttle_ms = 100;
    let (mut bench, streams) = bench_of(throttle, &["topic=t"]);
    publish(&mut bench, &["t first 0"]);
    bench.turn(1);
    // More than two turns take from the mailbox, so that the rest is old when it comes.
    let many: Vec<String> = (0..300).map(|nth| format!("t k{nth} {nth}")).collect();
    publish(&mut bench, &many.iter().map(String::as_str).collect::<Vec<_>>());
    bench.turn(50);
    bench.turn(200);
    (0..50).for_each(|_| bench.turn(1));
    assert_eq!(brought(&mut bench, streams[0]).len(), 1 + 2 * MAIL_FRAMES_PER_TURN);
    (0..60).for_each(|_| bench.turn(1));
    assert_eq!(brought(&mut bench, streams[0]).len(), 300 - 2 * MAIL_FRAMES_PER_TURN);
}

#[test]
fn a_slow_stream_of_a_throttled_topic_ends_with_the_newest_of_each_key_and_is_told_no_gap() {
    let throttle = |class: &mut ClassSettings| class.windows.throttle_ms = 50;
    let (mut bench, streams) = bench_of(throttle, &["topic=t"]);
    bench.net.set_window(streams[0], Window::Tiny);
    for nth in 0..40 {
        publish(&mut bench, &[&format!("t a {nth}"), &format!("t b {}", 100 + nth)]);
        (0..6).for_each(|_| bench.turn(10));
    }
    let mut all = brought(&mut bench, streams[0]);
    bench.net.set_window(streams[0], Window::Large);
    (0..9).for_each(|_| bench.turn(10));
    all.extend(brought(&mut bench, streams[0]));
    assert!(all.len() < 80, "it was never full");
    assert_eq!(all[all.len() - 2..], ["39", "139"]);
}

#[test]
fn a_late_snapshot_has_each_key_although_history_has_moved_on() {
    let keys = |class: &mut ClassSettings| (class.history_events, class.history_keys) = (2, 9);
    let (mut bench, _) = bench_of(keys, &[]);
    publish(&mut bench, &["t a 1", "t b 2", "t a 3", "t c 4", "t d 5", "t d 6"]);
    (0..3).for_each(|_| bench.turn(1));
    let late = subscribe(&mut bench, "topic=t&snapshot=1");
    let merged = subscribe(&mut bench, "topic=t&topic=u&snapshot=1&event=message");
    let history = subscribe(&mut bench, "topic=t&last=9");
    (0..3).for_each(|_| bench.turn(1));
    for (conn, topics) in [(late, 1), (merged, 2)] {
        let end = format!("{{\"topics\":{topics},\"events\":4}}");
        assert_eq!(brought(&mut bench, conn), ["2", "3", "4", "6", &end]);
    }
    assert_eq!(brought(&mut bench, history), ["5", "6"]);
    publish(&mut bench, &["t b 7"]);
    (0..3).for_each(|_| bench.turn(1));
    [late, merged, history].iter().for_each(|conn| assert_eq!(brought(&mut bench, *conn), ["7"]));
}

#[test]
fn under_a_tenfold_overload_a_stream_ends_with_the_newest_of_each_key_and_memory_is_flat() {
    let latest = |class: &mut ClassSettings| {
        (class.slow_policy, class.history_events, class.history_keys) = (SlowPolicy::Latest, 50, 20);
    };
    let (mut bench, streams) = bench_of(latest, &["topic=t", "topic=t&event=message"]);
    streams.iter().for_each(|conn| bench.net.set_window(*conn, Window::Small));
    let mut all = [Vec::new(), Vec::new()];
    let mut most = [0, 0];
    for nth in 0..4_000 {
        publish(&mut bench, &[&format!("t k{} {nth}", nth % 20)]);
        bench.turn(1);
        // Some 150 bytes for each 1 500 that are published.
        if nth % 10 == 0 {
            for (all, conn) in all.iter_mut().zip(&streams) {
                all.push(bench.read(*conn));
            }
        }
        let bytes = bench.node.hub.sizes().alive_bytes;
        most[nth / 2_000] = most[nth / 2_000].max(bytes);
    }
    assert!(most[1] <= most[0] + most[0] / 10, "memory grows: {most:?}");
    streams.iter().for_each(|conn| bench.net.set_window(*conn, Window::Large));
    (0..9).for_each(|_| bench.turn(10));
    for (all, conn) in all.iter_mut().zip(&streams) {
        all.push(bench.read(*conn));
        let text = all.concat();
        assert!(bench.is_open(*conn) && !text.contains("fanwheel.gap"), "ended, or told a gap");
        let data = |line: &str| line.strip_prefix("data: ").map(|data| data.parse().expect("a number"));
        let numbers: Vec<usize> = text.lines().filter_map(data).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() < 2_000, "{} events", numbers.len());
        let newest: Vec<usize> =
            (0..20).map(|key| *numbers.iter().rfind(|n| **n % 20 == key).expect("one")).collect();
        assert_eq!(newest, (3_980..4_000).collect::<Vec<_>>());
    }
}

/// Values of a class whose events leave as arrays.
fn arrays(class: &mut ClassSettings) {
    (class.windows.batch_ms, class.windows.batch_form) = (100, BatchForm::Array);
}

#[test]
fn an_array_goes_to_live_streams_of_its_topic_alone_and_all_others_get_the_events() {
    let queries = ["topic=t", "topic=t&event=message", "topic=t&topic=u", "topic=t&wait_ms=5000"];
    let (mut bench, streams) = bench_of(arrays, &queries);
    publish(&mut bench, &["t a 1", "t b 2"]);
    (0..3).for_each(|_| bench.turn(10));
    // It has one of them, so it gets the rest.
    let midway = subscribe(&mut bench, "topic=t&last=1");
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!(brought(&mut bench, midway), ["2"]);
    publish(&mut bench, &["t c 3"]);
    (0..9).for_each(|_| bench.turn(10));
    let text = bench.read(streams[0]);
    assert!(text.contains("data: {\"batch\":[1,2,3],\"count\":3}\n"), "{text}");
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).expect("that of the last").to_owned();
    for conn in &streams[1..] {
        let text = bench.read(*conn);
        assert!(text.contains(&format!("id: {id}\ndata: 3\n")) && text.contains("data: 1\n"), "{text}");
    }
    assert_eq!(brought(&mut bench, midway), ["3"]);
    publish(&mut bench, &["t a 4"]);
    (0..12).for_each(|_| bench.turn(10));
    // A client that comes back with the id of the array has missed what came later, and no more.
    let back = subscribe(&mut bench, &format!("topic=t&last_event_id={id}"));
    let state = subscribe(&mut bench, "topic=t&snapshot=1");
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!(brought(&mut bench, streams[0]), ["{\"batch\":[4],\"count\":1}"]);
    assert_eq!(brought(&mut bench, midway), ["{\"batch\":[4],\"count\":1}"]);
    assert_eq!(brought(&mut bench, back), ["4"]);
    assert_eq!(brought(&mut bench, state)[..3], ["2", "3", "4"]);
}

#[test]
fn an_array_that_is_cut_short_is_finished_and_its_events_do_not_come_again() {
    let (mut bench, streams) = bench_of(arrays, &["topic=t", "topic=t"]);
    bench.net.set_window(streams[0], Window::Tiny);
    publish(&mut bench, &["t a 1", "t b 2", "t c 3"]);
    (0..12).for_each(|_| bench.turn(10));
    publish(&mut bench, &["t a 4"]);
    (0..12).for_each(|_| bench.turn(10));
    let mut text = bench.read(streams[0]);
    bench.net.set_window(streams[0], Window::Large);
    (0..9).for_each(|_| bench.turn(1));
    text += &bench.read(streams[0]);
    let whole = text.matches("data: {\"batch\":[1,2,3],\"count\":3}\n").count();
    let single = text.matches("data: 2\n").count();
    assert_eq!((whole + single, text.matches("data: 4\n").count()), (1, 1), "{text}");
    assert_eq!(brought(&mut bench, streams[1]).len(), 2);
}

/// Values of a class whose streams get ten events a second, five at once.
fn rated(policy: RatePolicy) -> impl FnOnce(&mut ClassSettings) {
    move |class| {
        let rate = &mut class.stream_rate;
        (rate.events_per_second, rate.burst, rate.policy) = (10, 5, policy);
    }
}

/// Publishes 40 events of 4 keys in a second, and reads what a stream of each query brings meanwhile and in
/// the 9 s after it.
fn brought_at_a_rate(policy: RatePolicy, query: &str) -> [String; 2] {
    let (mut bench, streams) = bench_of(rated(policy), &[query]);
    let mut parts = [String::new(), String::new()];
    for nth in 0..400 {
        if nth < 40 {
            publish(&mut bench, &[&format!("t k{} {nth}", nth % 4)]);
        }
        bench.turn(25);
        parts[usize::from(nth >= 40)].push_str(&bench.read(streams[0]));
    }
    assert!(bench.is_open(streams[0]));
    publish(&mut bench, &["t k0 100"]);
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!(brought(&mut bench, streams[0]), ["100"], "it is live again");
    parts
}

/// The numbers that a stream was sent.
fn numbers(text: &str) -> Vec<usize> {
    text.lines().filter_map(|line| line.strip_prefix("data: ")?.parse().ok()).collect()
}

#[test]
fn events_beyond_a_rate_are_delayed_conflated_or_dropped_with_a_gap() {
    for query in ["topic=t", "topic=t&topic=u", "topic=t&event=message"] {
        let class = if query.contains('u') { &[RatePolicy::Delay][..] } else { &[] };
        let all = [RatePolicy::Delay, RatePolicy::Latest, RatePolicy::Drop];
        for &policy in if class.is_empty() { &all[..] } else { class } {
            let [during, after] = brought_at_a_rate(policy, query);
            let (first, rest) = (numbers(&during), numbers(&after));
            let got = [first.clone(), rest.clone()].concat();
            assert!(got.is_sorted_by(|a, b| a < b) && got[..5] == [0, 1, 2, 3, 4], "{policy:?}: {got:?}");
            assert!((10..=17).contains(&first.len()), "{policy:?}: {} in a second", first.len());
            let gaps = during.matches("fanwheel.gap").count() + after.matches("fanwheel.gap").count();
            match policy {
                RatePolicy::Delay => assert_eq!((got.len(), gaps), (40, 0), "{query}"),
                RatePolicy::Latest => {
                    assert_eq!((&got[got.len() - 4..], gaps), (&[36, 37, 38, 39][..], 0), "{got:?}");
                    assert!(got.len() < 25, "{got:?}");
                }
                _ => assert!(got.ends_with(&[39]) && got.len() < 20 && gaps > 0, "{gaps} gaps, {got:?}"),
            }
        }
    }
}

#[test]
fn streams_without_a_rate_do_not_wait_for_those_with_one_and_a_drain_waits_for_none() {
    let mut bench = Bench::new(Settings {
        classes: vec![class_of("t", rated(RatePolicy::Delay))],
        ..Settings::default()
    });
    let [held, free] = ["topic=t", "topic=u"].map(|query| subscribe(&mut bench, query));
    let poll = subscribe(&mut bench, "topic=t&wait_ms=9000&last=1");
    (0..4).for_each(|_| bench.turn(1));
    for nth in 0..30 {
        publish(&mut bench, &[&format!("t a {nth}"), &format!("u a {nth}")]);
        bench.turn(1);
    }
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!((brought(&mut bench, held).len(), brought(&mut bench, free).len()), (5, 30));
    assert!(bench.read(poll).contains("data: 0\n"), "an answer has no pace");
    assert!(bench.worker.counters().get(Count::RateHolds) > 0);
    bench.node.shut_down(&ControlMessage::Drain);
    (0..60).for_each(|_| bench.turn(40));
    assert_eq!(numbers(&bench.read(held)).len(), 25);
}

#[test]
fn a_stream_that_waits_for_the_bytes_of_a_large_event_gets_heartbeats() {
    let rate = |class: &mut ClassSettings| {
        let rate = &mut class.stream_rate;
        (rate.bytes_per_second, rate.policy) = (1_000, RatePolicy::Delay);
    };
    let classes = vec![class_of("t", rate)];
    let mut bench = Bench::new(Settings { heartbeat_ms: 500, classes, ..Settings::default() });
    let stream = subscribe(&mut bench, "topic=t");
    (0..3).for_each(|_| bench.turn(1));
    let large = format!("t a {}", "x".repeat(4_000));
    publish(&mut bench, &[&large, &large]);
    let (mut text, mut came) = (String::new(), Vec::new());
    for nth in 0..200 {
        bench.turn(25);
        let more = bench.read(stream);
        came.extend(more.matches("id: ").map(|_| nth * 25));
        text += &more;
    }
    assert!(came.len() == 2 && came[1] - came[0] >= 2_900, "{came:?}");
    assert!(text.matches("\r\n:\n").count() >= 4, "silent while it waits");
}

#[test]
fn a_rate_counts_what_a_throttled_topic_lets_through_and_what_waits_gives_way() {
    for policy in [RatePolicy::Delay, RatePolicy::Latest, RatePolicy::Drop] {
        let throttled = |class: &mut ClassSettings| {
            rated(policy)(class);
            class.windows.throttle_ms = 100;
        };
        let (mut bench, streams) = bench_of(throttled, &["topic=t"]);
        for nth in 0..100 {
            publish(&mut bench, &[&format!("t k{} {nth}", nth % 4)]);
            bench.turn(25);
        }
        // Forty a second come, and ten may be sent; four keys in each window are as many.
        let during = bench.read(streams[0]);
        let count = numbers(&during).len();
        assert!((20..=5 + 25 + 1).contains(&count), "{policy:?}: {count} in 2.5 s");
        (0..200).for_each(|_| bench.turn(25));
        let text = during + &bench.read(streams[0]);
        let got = numbers(&text);
        assert!(got.is_sorted_by(|a, b| a < b) && got.len() < 60, "{policy:?}: {got:?}");
        let gaps = text.matches("fanwheel.gap").count();
        match policy {
            RatePolicy::Drop => assert!(got.ends_with(&[99]) && gaps > 0, "{gaps} gaps, {got:?}"),
            _ => assert_eq!((&got[got.len() - 4..], gaps), (&[96, 97, 98, 99][..], 0), "{policy:?}"),
        }
    }
}
