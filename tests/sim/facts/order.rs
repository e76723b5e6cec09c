//! Facts about publishes whose order is given outside of the hub.

use fanwheel::base::limits::ORDER_MS;
use fanwheel::base::settings::{ListenerKind, Settings};
use fanwheel::base::time::TICK_MS;
use fanwheel::fanout::mail::ControlMessage;

use super::{Bench, batch};
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
