//! Time limits of requests: heads, bodies, answers and idleness. Dripping never extends a deadline.

use crate::harness::{Conn, End, Fail, Launch, Response, SOON, Server, Witness, ms, with_1_and_4_workers};
use std::time::{Duration, Instant};

/// Drips a byte every 40 ms until the peer hangs up or the time is over; how long it took, and the answer.
fn drip(conn: &mut Conn, byte: u8, within: Duration) -> (Duration, Result<Response, Fail>) {
    let start = Instant::now();
    loop {
        conn.send([byte]);
        match conn.answer(ms(40)) {
            Err(Fail::Quiet) if start.elapsed() < within => {}
            answer => return (start.elapsed(), answer),
        }
    }
}

fn assert_cut(case: &str, outcome: (Duration, Result<Response, Fail>), earliest: u64, latest: u64) {
    let (after, answer) = outcome;
    let fine = match &answer {
        Ok(answer) => answer.status == 408 && answer.closes(),
        Err(Fail::Ended(_)) => true,
        Err(_) => false,
    };
    assert!(fine, "{case}: {answer:?} after {after:?}");
    let window = Duration::from_millis(earliest)..ms(latest);
    assert!(window.contains(&after), "{case}: cut after {after:?}, expected within {window:?}");
}

#[test]
fn dripping_head_is_cut_at_the_head_deadline() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("head_ms", 600).start();
        let mut witness = Witness::of(&server);
        for start in ["", "GET /healthz HTTP/1.1\r\nHost: fan.test\r\nX: ", "GET /ev"] {
            let mut conn = server.connect();
            conn.send(start);
            assert_cut(start, drip(&mut conn, b'a', ms(8_000)), 500, 7_900);
            drop(conn);
            witness.check(start);
        }
        assert!(server.metrics().labelled("closed", "head_timeout") >= 3);
    });
}

#[test]
fn every_prefix_of_a_good_request_waits_and_is_cut_at_its_deadline() {
    with_1_and_4_workers(|workers| {
        let server =
            Launch::workers(workers).set("head_ms", 500).set("body_ms", 500).set("idle_ms", 500).start();
        let mut witness = Witness::of(&server);
        let whole = server.publish_bytes("topic=canary", "Content-Type: text/plain\r\n", b"never whole");
        let start = Instant::now();
        let conns: Vec<(usize, Conn)> = (0..whole.len())
            .map(|length| {
                let mut conn = server.connect_control();
                conn.send(&whole[..length]);
                (length, conn)
            })
            .collect();
        let opened = start.elapsed();
        for (length, mut conn) in conns {
            let answer = conn.answer(SOON);
            let fine = match &answer {
                Ok(answer) => answer.status == 408,
                Err(fail) => matches!(fail, Fail::Ended(_)),
            };
            assert!(fine, "prefix of {length} bytes: {answer:?}");
            let least = ms(350).saturating_sub(opened);
            assert!(start.elapsed() >= least, "prefix of {length} bytes was cut before its time");
        }
        assert!(start.elapsed() < opened + ms(8_000), "cut after {:?}", start.elapsed());
        witness.check("all prefixes");
    });
}

#[test]
fn slow_body_is_cut_at_its_deadline_and_publishes_nothing() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("body_ms", 600).start();
        let mut witness = Witness::of(&server);
        let host = server.control;
        let head = format!("POST /publish?topic=canary HTTP/1.1\r\nHost: {host}\r\n");
        let rows = [
            ("dripping body", format!("{head}Content-Length: 10000\r\n\r\n"), b'a'),
            ("dripping chunk", format!("{head}Transfer-Encoding: chunked\r\n\r\n2000\r\n"), b'a'),
            ("dripping trailer", format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: "), b'a'),
            ("dripping chunk line", format!("{head}Transfer-Encoding: chunked\r\n\r\n1;"), b'a'),
        ];
        for (case, request, byte) in rows {
            let mut conn = server.connect_control();
            conn.send(request);
            assert_cut(case, drip(&mut conn, byte, ms(8_000)), 500, 7_900);
            drop(conn);
            witness.check(case);
        }
        assert!(server.metrics().labelled("closed", "body_timeout") >= 4);
    });
}

#[test]
fn idle_connections_are_closed_in_order_at_their_limit() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("idle_ms", 1_200).start();
        let mut conn = server.connect();
        for _ in 0..3 {
            assert_eq!(conn.ask("GET /healthz HTTP/1.1\r\nHost: fan.test\r\n\r\n").status, 200);
            std::thread::sleep(ms(450));
        }
        let start = Instant::now();
        let (bytes, end) = conn.rest(SOON);
        assert!(bytes.is_empty(), "bytes at an idle end: {}", String::from_utf8_lossy(&bytes));
        assert_eq!(end, Ok(End::Fin));
        assert!((ms(450)..ms(8_000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    });
}

#[test]
fn silent_connection_is_closed() {
    let server = Launch::workers(1).set("head_ms", 400).set("idle_ms", 400).start();
    let start = Instant::now();
    let mut conns: Vec<Conn> = (0..20).map(|_| server.connect()).collect();
    for conn in &mut conns {
        let answer = conn.answer(SOON);
        let fine =
            matches!(&answer, Ok(answer) if answer.status == 408) || matches!(answer, Err(Fail::Ended(_)));
        assert!(fine, "{answer:?}");
    }
    assert!(start.elapsed() < ms(8_000), "{:?}", start.elapsed());
}

#[test]
fn answer_that_nobody_takes_is_given_up() {
    let server: Server = Launch::workers(1).set("answer_ms", 500).start();
    let mut witness = Witness::of(&server);
    let conn = Conn::open_from(std::net::Ipv4Addr::LOCALHOST, server.control, 4_096).expect("loopback");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
    let sender = conn.send_aside(request.repeat(3_000).into_bytes());
    server.await_metric("given up", SOON, |m| m.labelled("closed", "answer_timeout") == 1);
    drop(conn);
    sender.join().expect("no panic");
    witness.check("an answer that nobody takes");
}
