//! Facts about events that a stream misses, and the gap that tells so: history that an orderer loses while
//! events wait in windows, and keys whose newest event a filter keeps away.

use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{Settings, SlowPolicy};

use super::classes::windowed;
use super::{Bench, batch_of};
use crate::net::Window;
use crate::orderer::SeededOrderer;

/// What a stream has brought since it was read: the events, and whether a gap came behind them.
fn brought_before_gap(bench: &mut Bench, conn: usize) -> usize {
    let text = bench.read(conn);
    assert!(bench.is_open(conn) && text.matches("fanwheel.gap").count() == 1, "conn {conn}: {text}");
    let (before, after) = text.split_once("fanwheel.gap").expect("it was counted");
    assert!(!after.contains("data: x"), "conn {conn} got a lost event behind its gap: {text}");
    before.matches("data: x").count()
}

/// Commits one more event to the topic of the window, and lets the window end.
fn publish_after(bench: &mut Bench, orderer: &mut SeededOrderer) {
    orderer.commit_foreign(&bench.node, bench.now, "t");
    (0..20).for_each(|_| bench.turn(10));
}

#[test]
fn events_that_wait_in_a_window_when_history_is_lost_become_one_gap() {
    let queries = ["topic=t", "topic=t&topic=u", "topic=t&event=message", "topic=t&topic=v&event=message"];
    // The loss comes while the window is open, or in the turn in which it ends.
    for ms in [1, 200] {
        let (mut bench, streams) = windowed(256, &queries);
        let mut orderer = SeededOrderer::install(&bench.node);
        let late = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.0\r\nHost: a\r\n\r\n");
        let poll = b"GET /events?topic=t&wait_ms=9000 HTTP/1.1\r\nHost: a\r\n\r\n";
        let poll = bench.connect(ListenerKind::Public, poll);
        bench.turn(1);
        bench.read(late);
        for _ in 0..2 {
            orderer.commit_foreign(&bench.node, bench.now, "t");
        }
        bench.turn(5);
        orderer.commit_foreign(&bench.node, bench.now, "t");
        orderer.lose_all(&bench.node, bench.now);
        bench.turn(ms);
        bench.turn(1);
        let all = [streams, vec![late, poll]].concat();
        for &conn in &all {
            assert_eq!(brought_before_gap(&mut bench, conn), 0, "after {ms} ms");
        }
        publish_after(&mut bench, &mut orderer);
        all.iter().filter(|conn| **conn != poll).for_each(|conn| bench.assert_brought(*conn, 1));
    }
}

#[test]
fn a_round_of_a_window_that_a_loss_overtakes_neither_repeats_nor_hides_anything() {
    let (mut bench, mut streams) = windowed(256, &["topic=t"; 400]);
    let mut orderer = SeededOrderer::install(&bench.node);
    bench.net.set_window(streams[0], Window::Tiny);
    orderer.commit_foreign(&bench.node, bench.now, "t");
    bench.turn(1);
    bench.turn(101);
    // Some have been offered the event. One of them takes a part of it.
    orderer.lose_all(&bench.node, bench.now);
    (0..10).for_each(|_| bench.turn(1));
    bench.net.set_window(streams[0], Window::Large);
    (0..3).for_each(|_| bench.turn(1));
    let offered = streams.iter().filter(|conn| brought_before_gap(&mut bench, **conn) == 1).count();
    assert!(0 < offered && offered < streams.len(), "{offered} of {}", streams.len());
    publish_after(&mut bench, &mut orderer);
    streams.drain(..).for_each(|conn| bench.assert_brought(conn, 1));
}

#[test]
fn an_event_whose_successor_a_filter_keeps_away_is_told_as_missing() {
    let mut bench =
        Bench::new(Settings { history_events: 2, slow_policy: SlowPolicy::Latest, ..Settings::default() });
    let stream =
        bench.connect(ListenerKind::Public, b"GET /events?topic=t&event=e HTTP/1.1\r\nHost: a\r\n\r\n");
    let publisher = bench.connect(ListenerKind::Control, b"");
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(stream, 0);
    bench.net.set_window(stream, Window::Tiny);
    let line = |event: &str, key: &str| {
        format!("{{\"topic\":\"t\",\"event\":\"{event}\",\"key\":\"{key}\",\"data\":\"x\"}}\n")
    };
    for (event, key) in [("e", "a"), ("e", "k"), ("other", "k"), ("other", "k"), ("other", "k")] {
        bench.net.send(publisher, &batch_of(&line(event, key)));
        (0..3).for_each(|_| bench.turn(1));
    }
    bench.net.set_window(stream, Window::Large);
    (0..5).for_each(|_| bench.turn(1));
    let text = bench.read(stream);
    let (events, gaps) = (text.matches("data: x").count(), text.matches("fanwheel.gap").count());
    assert!(bench.is_open(stream) && (events, gaps) == (1, 1), "{events} events of 2, {gaps} gaps: {text}");
}

#[test]
fn a_loss_comes_to_each_of_many_streams_before_any_later_event() {
    let mut bench = Bench::with_room(Settings::default(), 6_000);
    let mut orderer = SeededOrderer::install(&bench.node);
    // They fill what one turn looks at, and the streams come behind them.
    for _ in 0..4_096 {
        bench.connect(ListenerKind::Public, b"");
    }
    let request = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";
    let streams: Vec<usize> = (0..200).map(|_| bench.connect(ListenerKind::Public, request)).collect();
    (0..600).for_each(|_| bench.turn(0));
    streams.iter().for_each(|conn| bench.assert_brought(*conn, 0));
    orderer.lose_all(&bench.node, bench.now);
    let event = orderer.commit_foreign(&bench.node, bench.now, "t");
    (0..10).for_each(|_| bench.turn(0));
    for conn in &streams {
        let text = bench.read(*conn);
        let gap = text.find("fanwheel.gap").unwrap_or_else(|| panic!("no gap was told: {text}"));
        assert!(text[gap..].contains(&format!("id: {event}\n")), "{text}");
    }
    orderer.lose_all(&bench.node, bench.now);
    let outcome = bench.worker.turn(&mut bench.net.port(0), bench.now);
    assert!(outcome.more, "it falls asleep with streams that have not been told");
    (0..10).for_each(|_| bench.turn(0));
    streams.iter().for_each(|conn| assert!(bench.read(*conn).contains("fanwheel.gap"), "one was not told"));
}
