//! Facts about publishes whose order is given outside of the hub.

use std::collections::VecDeque;

use fanwheel::base::limits::ORDER_MS;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::Settings;
use fanwheel::base::time::TICK_MS;
use fanwheel::fanout::hub::{NewEvent, OrderedEvent};
use fanwheel::fanout::mail::ControlMessage;
use fanwheel::wire::frame::Draft;

use super::{Bench, START, batch};
use crate::net::Window;
use crate::orderer::SeededOrderer;

#[test]
fn a_publisher_that_waits_for_its_order_is_answered_by_its_deadline_and_by_the_end_of_a_drain() {
    for drains in [false, true] {
        let mut bench = Bench::new(Settings { drain_ms: 500, ..Settings::default() });
        let mut orderer = SeededOrderer::install(&bench.node);
        let publisher = bench.connect(ListenerKind::Control, &batch(1));
        (0..3).for_each(|_| bench.turn(1));
        assert_eq!(bench.read(publisher), "", "answered without an order");
        assert!(bench.node.hub.order_bytes().taken() > 0);
        let turns = if drains { 500 / TICK_MS } else { ORDER_MS / TICK_MS };
        if drains {
            bench.node.shut_down(&ControlMessage::Drain);
        }
        (0..turns - 2).for_each(|_| bench.turn(TICK_MS));
        assert_eq!(bench.read(publisher), "", "answered early");
        (0..4).for_each(|_| bench.turn(TICK_MS));
        let answer = bench.read(publisher);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("order_late"), "{answer}");
        orderer.drop_all();
        assert_eq!(bench.node.hub.order_bytes().taken(), 0);
    }
}

#[test]
fn an_answer_that_comes_late_is_not_given_to_the_next_publish_of_its_connection() {
    let mut bench = Bench::new(Settings::default());
    let mut orderer = SeededOrderer::install(&bench.node);
    let publisher = bench.connect(ListenerKind::Control, &batch(1));
    bench.turn(1);
    bench.turn(ORDER_MS + 2 * TICK_MS);
    bench.turn(1);
    assert!(bench.read(publisher).contains("order_late"));
    bench.net.send(publisher, &batch(1));
    (0..2).for_each(|_| bench.turn(1));
    orderer.refuse_first(&bench.node);
    (0..2).for_each(|_| bench.turn(1));
    assert_eq!(bench.read(publisher), "", "it has the answer of the publish before");
    orderer.refuse_first(&bench.node);
    (0..2).for_each(|_| bench.turn(1));
    assert!(bench.read(publisher).contains("order_failed"));
}

#[test]
fn an_event_of_another_node_whose_topic_finds_no_room_is_told_as_lost() {
    let mut bench = Bench::new(Settings { topics_max: 1, history_ms: 1_000, ..Settings::default() });
    let mut orderer = SeededOrderer::install(&bench.node);
    let seen = orderer.commit_foreign(&bench.node, bench.now, "kept");
    orderer.commit_foreign(&bench.node, bench.now, "new");
    (0..10).for_each(|_| bench.turn(500));
    let request = format!("GET /events?topic=new&last_event_id={seen} HTTP/1.1\r\nHost: a\r\n\r\n");
    let subscriber = bench.connect(ListenerKind::Public, request.as_bytes());
    (0..3).for_each(|_| bench.turn(1));
    let text = bench.read(subscriber);
    assert!(text.contains("fanwheel.gap"), "lost in silence: {text}");
}

#[test]
fn a_client_of_a_node_that_is_ahead_gets_nothing_twice_and_no_gap() {
    let mut bench = Bench::new(Settings::default());
    let mut orderer = SeededOrderer::install(&bench.node);
    orderer.commit_foreign(&bench.node, bench.now, "t");
    let waiting = orderer.order_foreign_event(bench.now, "t");
    let seen = waiting.events[0].id;
    let request = format!("GET /events?topic=t&last_event_id={seen} HTTP/1.1\r\nHost: a\r\n\r\n");
    let subscriber = bench.connect(ListenerKind::Public, request.as_bytes());
    (0..3).for_each(|_| bench.turn(1));
    assert_eq!(bench.node.hub.commit(&mut VecDeque::from([waiting]), bench.now).stop, None);
    let next = orderer.commit_foreign(&bench.node, bench.now, "t");
    (0..3).for_each(|_| bench.turn(1));
    let text = bench.read(subscriber);
    assert!(!text.contains("fanwheel.gap") && text.contains(&format!("id: {next}\n")), "{text}");
    assert_eq!(text.matches("id: ").count(), 1, "{text}");
}

#[test]
fn every_stream_is_told_once_that_history_is_lost() {
    let mut bench = Bench::new(Settings::default());
    let mut orderer = SeededOrderer::install(&bench.node);
    let kept = orderer.commit_foreign(&bench.node, bench.now, "t");
    let resumed = format!("topic=t&last_event_id={kept}");
    let queries =
        ["topic=t", "topic=t&topic=u", "topic=t&event=none", "topic=t&prime=1", "topic=v", &resumed];
    let streams = queries.map(|query| {
        let request = format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        bench.connect(ListenerKind::Public, request.as_bytes())
    });
    bench.turn(1);
    // One more event that nobody has been offered, and the loss behind it.
    orderer.commit_foreign(&bench.node, bench.now, "t");
    let upto = orderer.lose_all(&bench.node, bench.now);
    (0..3).for_each(|_| bench.turn(1));
    for (conn, query) in streams.into_iter().zip(queries) {
        let text = bench.read(conn);
        assert!(bench.is_open(conn) && text.matches("fanwheel.gap").count() == 1, "{query}: {text}");
        assert!(!query.contains("prime=1") || text.ends_with(&format!("id: {upto}\n\n\r\n")), "{text}");
    }
    let first = orderer.commit_foreign(&bench.node, bench.now, "t");
    (0..3).for_each(|_| bench.turn(1));
    streams.into_iter().zip(queries).for_each(|(conn, query)| {
        let events = usize::from(!query.contains("event=none") && query != "topic=v");
        bench.assert_brought(conn, events);
    });
    let request = format!("GET /events?topic=t&last_event_id={kept} HTTP/1.1\r\nHost: a\r\n\r\n");
    let late = bench.connect(ListenerKind::Public, request.as_bytes());
    (0..3).for_each(|_| bench.turn(1));
    let text = bench.read(late);
    assert!(text.matches("fanwheel.gap").count() == 1 && text.contains(&format!("id: {first}\n")), "{text}");
}

#[test]
fn a_reader_whose_history_is_lost_is_told_and_not_ended_as_slow() {
    let mut bench = Bench::new(Settings::default());
    let mut orderer = SeededOrderer::install(&bench.node);
    let stream = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    bench.turn(1);
    bench.read(stream);
    bench.net.set_window(stream, Window::Tiny);
    for _ in 0..600 {
        orderer.commit_foreign(&bench.node, bench.now, "t");
        bench.turn(1);
    }
    orderer.lose_all(&bench.node, bench.now);
    bench.turn(1);
    bench.net.set_window(stream, Window::Large);
    (0..5).for_each(|_| bench.turn(1));
    let text = bench.read(stream);
    assert!(bench.is_open(stream), "ended as slow: {text}");
    assert_eq!(text.matches("fanwheel.gap").count(), 1, "{text}");
    orderer.commit_foreign(&bench.node, bench.now, "t");
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(stream, 1);
}

/// An event of the server's own or of an earlier run.
fn event(topic: &str) -> NewEvent {
    NewEvent { topics: vec![topic.into()], draft: Draft::new(None, None, "x", None) }
}

#[test]
fn a_status_event_does_not_pass_an_event_that_has_its_id_and_waits() {
    let mut bench = Bench::new(Settings::default());
    let mut orderer = SeededOrderer::install(&bench.node);
    let status = b"GET /events?topic=fanwheel.status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let status = bench.connect(ListenerKind::Control, status);
    let stream = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    bench.turn(1);
    let waiting = orderer.order_foreign_event(bench.now, "t");
    assert_eq!(bench.node.hub.publish_local(event("fanwheel.status"), bench.now), Ok(0));
    let mut waiting = VecDeque::from([waiting]);
    assert_eq!(bench.node.hub.commit(&mut waiting, bench.now).stop, None, "something passed it");
    orderer.commit_first(&bench.node, bench.now);
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(stream, 1);
    bench.assert_brought(status, 1);
}

#[test]
fn an_event_of_an_earlier_run_goes_when_its_time_has_come_and_not_when_the_process_is_as_old() {
    let mut bench = Bench::new(Settings { history_ms: 60_000, ..Settings::default() });
    let head = bench.node.hub.lock().head();
    let event = |ms: u64| OrderedEvent { id: head.next_after(START.wall_ms + ms), event: event("t") };
    bench.turn(50_000);
    bench.node.hub.restore([event(5_000), event(40_000)], bench.now);
    for (ms, kept) in [(14_000, 2), (2_000, 1), (33_000, 1), (2_000, 0)] {
        bench.turn(ms);
        while bench.node.hub.sweep(bench.now) {}
        assert_eq!(bench.node.hub.sizes().frames, kept);
    }
}

#[test]
fn a_client_comes_back_over_a_restart_with_the_newest_id_although_its_event_is_not_kept() {
    let mut bench = Bench::new(Settings::default());
    let kept = bench.node.hub.lock().head().next_after(START.wall_ms + 5);
    let newest = kept.next_after(START.wall_ms + 10);
    bench.node.hub.restore([OrderedEvent { id: kept, event: event("t") }], bench.now);
    bench.node.hub.restore_head(newest);
    let request = format!("GET /events?topic=t&last_event_id={newest} HTTP/1.1\r\nHost: a\r\n\r\n");
    let stream = bench.connect(ListenerKind::Public, request.as_bytes());
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(stream, 0);
}
