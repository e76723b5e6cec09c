//! Facts about the end of connections: how long one that was refused is read on, who counts as slow, and how
//! long a drain takes.

use fanwheel::base::counters::CloseReason;
use fanwheel::base::limits::{LINGER_MS, LINGER_TOTAL_MS};
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::Settings;
use fanwheel::base::time::TICK_MS;
use fanwheel::fanout::mail::ControlMessage;

use super::{Bench, batch};
use crate::net::{Got, Window};

const SUBSCRIBE: &[u8] = b"GET /events?topic=t HTTP/1.1\r\nHost: a\r\n\r\n";

/// Lets time pass, with several turns in each tick: one turn has a budget for what is due in it.
fn pass(bench: &mut Bench, ms: u64) {
    const STEP_MS: u64 = 2;
    (0..ms / STEP_MS).for_each(|_| bench.turn(STEP_MS));
}

#[test]
fn a_refused_body_is_read_on_while_it_comes_and_not_for_ever() {
    let mut bench = Bench::new(Settings { publish_bytes_max: 1_000, ..Settings::default() });
    let head = b"POST /publish?topic=t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n";
    let [silent, sending] = [(); 2].map(|()| bench.connect(ListenerKind::Control, head));
    pass(&mut bench, 2 * TICK_MS);
    for conn in [silent, sending] {
        assert!(bench.read(conn).starts_with("HTTP/1.1 413"), "no answer while the body comes");
    }
    let step = LINGER_MS / 4;
    for passed in (step..=LINGER_TOTAL_MS + LINGER_MS).step_by(step as usize) {
        if bench.is_open(sending) {
            bench.net.send(sending, &[b'x'; 1_000]);
        }
        pass(&mut bench, step);
        assert!(bench.is_open(sending) || passed > LINGER_TOTAL_MS - LINGER_MS, "cut after {passed} ms");
        assert!(!bench.is_open(silent) || passed < 2 * LINGER_MS, "silent for {passed} ms");
    }
    assert!(!bench.is_open(sending), "read on beyond {LINGER_TOTAL_MS} ms");
}

#[test]
fn a_stream_that_the_kernel_gives_up_on_was_slow_and_another_peer_was_not() {
    let mut bench = Bench::new(Settings::default());
    let stream = bench.connect(ListenerKind::Public, SUBSCRIBE);
    let refused = bench.connect(ListenerKind::Control, b"POST /publish HTTP/1.1\r\nHost: localhost\r\n\r\n");
    [stream, refused].into_iter().for_each(|conn| bench.net.set_window(conn, Window::Tiny));
    bench.connect(ListenerKind::Control, &batch(20));
    pass(&mut bench, 10 * TICK_MS);
    // Its answer is out now, so that it is read when the kernel gives up.
    bench.net.set_window(refused, Window::Large);
    (0..10).for_each(|_| {
        bench.read(refused);
        bench.turn(TICK_MS);
    });
    assert!(bench.is_open(stream) && bench.is_open(refused));
    [stream, refused].into_iter().for_each(|conn| bench.net.reset(conn));
    pass(&mut bench, 10 * TICK_MS);
    let closed = |why| bench.worker.counters().get_closed(why);
    assert_eq!((closed(CloseReason::SlowUnacknowledged), closed(CloseReason::Reset)), (1, 1));
}

#[test]
fn a_drain_takes_as_long_as_its_streams_would_hurt() {
    let settings = Settings { drain_ms: 10_000, ..Settings::default() };
    // Streams that have ended after a tenth of the time that so many take, 8 ms for 10 of them.
    for (streams, ends_ms, early) in [(10, 8, 0..=10), (900, 720, 1..=300)] {
        let mut bench = Bench::new(settings.clone());
        let conns: Vec<usize> =
            (0..streams).map(|_| bench.connect(ListenerKind::Public, SUBSCRIBE)).collect();
        (0..40).for_each(|_| bench.turn(1));
        bench.node.shut_down(&ControlMessage::Drain);
        let ended = |bench: &mut Bench| conns.iter().filter(|conn| has_ended(bench, **conn)).count();
        pass(&mut bench, ends_ms / 10 + TICK_MS);
        let first = ended(&mut bench);
        assert!(early.contains(&first), "{first} of {streams} have ended early");
        pass(&mut bench, ends_ms + 2 * TICK_MS);
        assert_eq!(ended(&mut bench), streams, "streams go on after {ends_ms} ms");
    }
}

/// Whether a stream has come to its end, once its peer has read all of it.
fn has_ended(bench: &mut Bench, conn: usize) -> bool {
    loop {
        match bench.net.read(conn, usize::MAX) {
            Got::Bytes(_) => {}
            Got::Nothing => return false,
            Got::End | Got::Reset => return true,
        }
    }
}

#[test]
fn an_id_of_the_page_of_connections_ends_no_later_connection_in_that_place() {
    let mut bench = Bench::new(Settings::default());
    let stream = |bench: &mut Bench| {
        let conn = bench.connect(ListenerKind::Public, SUBSCRIBE);
        bench.turn(1);
        (conn, bench.net.socks[conn].token.expect("it is open"))
    };
    let end = |bench: &mut Bench, generation: u32, slot: u32| {
        let request =
            format!("DELETE /connections/0-{slot}-{generation} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let operator = bench.connect(ListenerKind::Control, request.as_bytes());
        pass(bench, 2 * TICK_MS);
        bench.read(operator)
    };
    let (first, before) = stream(&mut bench);
    bench.net.leave(first);
    pass(&mut bench, TICK_MS);
    let (second, after) = stream(&mut bench);
    assert!(before.slot() == after.slot() && before != after, "another place");
    let [before, after] = [before, after].map(|token| (token.generation(), token.slot()));
    assert!(end(&mut bench, before.0, before.1).starts_with("HTTP/1.1 404"));
    assert!(!has_ended(&mut bench, second), "ended by the id of another");
    assert!(end(&mut bench, after.0, after.1).starts_with("HTTP/1.1 204"));
    assert!(has_ended(&mut bench, second));
}
