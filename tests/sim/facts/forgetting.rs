//! Facts about topics that forget their events because the operator asks.

use fanwheel::base::counters::Count;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::Settings;

use super::{Bench, batch};
use crate::net::Window;

/// Asks that the topic `t` forgets its events.
fn forget(bench: &mut Bench) -> usize {
    bench.connect(ListenerKind::Control, b"DELETE /topics?topic=t HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn a_reader_whose_history_is_forgotten_is_told_and_goes_on() {
    let mut bench = Bench::new(Settings::default());
    let stream = bench.connect(ListenerKind::Public, b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n");
    bench.turn(1);
    bench.read(stream);
    bench.net.set_window(stream, Window::Tiny);
    // The second comes when the frames of the first are no longer held for its rounds.
    for _ in 0..2 {
        bench.connect(ListenerKind::Control, &batch(300));
        (0..5).for_each(|_| bench.turn(1));
    }
    let asked = forget(&mut bench);
    (0..5).for_each(|_| bench.turn(1));
    assert!(bench.read(asked).ends_with("{\"events\":600}\n"));
    bench.net.set_window(stream, Window::Large);
    (0..5).for_each(|_| bench.turn(1));
    let text = bench.read(stream);
    assert!(bench.is_open(stream), "ended as slow: {text}");
    assert_eq!(text.matches("fanwheel.gap").count(), 1, "{text}");
    bench.connect(ListenerKind::Control, &batch(1));
    (0..3).for_each(|_| bench.turn(1));
    bench.assert_brought(stream, 1);
}

#[test]
fn events_published_while_a_topic_forgets_are_kept() {
    let mut bench = Bench::new(Settings::default());
    for _ in 0..3 {
        bench.connect(ListenerKind::Control, &batch(2_000));
        bench.turn(1);
    }
    let asked = forget(&mut bench);
    bench.turn(1);
    assert_eq!(bench.read(asked), "", "it takes several turns");
    bench.connect(ListenerKind::Control, &batch(1));
    (0..9).for_each(|_| bench.turn(1));
    assert!(bench.read(asked).ends_with("{\"events\":6000}\n"));
    assert_eq!((bench.node.hub.sizes().frames, bench.worker.counters().get(Count::Forgotten)), (1, 6_000));
}
