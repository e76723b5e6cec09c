//! Connections that come and go: close, reset and subscribe storms, half-closed peers, cut publishers.

use crate::harness::{Conn, Fail, Launch, SOON, Server, Witness, ms, with_1_and_4_workers};
use std::time::Instant;

/// The act of one short connection, given a subscribe request.
type Act = fn(Conn, &str);

fn assert_level_again(case: &str, server: &Server, files: usize, witness: &mut Witness<'_>) {
    witness.check(case);
    let back = crate::harness::poll_until(SOON, || (server.files_open() <= files).then_some(()));
    assert!(back.is_some(), "{case}: {} files open, {files} before", server.files_open());
}

#[test]
fn storms_of_short_connections_leave_nothing_behind() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        let files = server.files_open();
        let subscribe = "GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n";
        let storms: [(&str, Act); 6] = [
            ("connect, close", |conn, _| drop(conn)),
            ("connect, reset", |conn, _| conn.reset()),
            ("subscribe, close", |mut conn, subscribe| conn.send(subscribe)),
            ("subscribe, reset", |mut conn, subscribe| {
                conn.send(subscribe);
                conn.reset();
            }),
            ("subscribe, read, reset", |mut conn, subscribe| {
                conn.send(subscribe);
                conn.head(SOON).expect("a stream");
                conn.reset();
            }),
            ("half a head, close", |mut conn, subscribe| conn.send(&subscribe[..30])),
        ];
        for (case, act) in storms {
            for _ in 0..300 {
                act(server.connect(), subscribe);
            }
            assert_level_again(case, &server, files, &mut witness);
        }
        let metrics = server.metrics();
        assert!(metrics.get("accepted") >= 1_800, "{}", metrics.get("accepted"));
    });
}

#[test]
fn publishes_while_subscribers_come_and_go_reach_exactly_the_present() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stayer = server.subscribe("topic=a");
        std::thread::scope(|scope| {
            scope.spawn(|| server.publish_all("a", (0..300).map(|n| n.to_string())));
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..60 {
                        let mut conn = server.connect();
                        conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
                        let _ = conn.fill(Instant::now() + ms(1_000));
                        conn.reset();
                    }
                });
            }
            assert_eq!(stayer.data(300), (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
        });
        server.await_metric("only the stayer", SOON, |m| m.get("subscribers") == 1);
    });
}

#[test]
fn half_closed_subscribers_are_served_or_closed_and_never_spin() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        let mut streams: Vec<_> = (0..20).map(|_| server.subscribe("topic=a")).collect();
        streams.iter_mut().for_each(|stream| stream.conn().finish());
        let begin = server.cpu_ms();
        std::thread::sleep(ms(1_000));
        let used = server.cpu_ms() - begin;
        assert!(used < 400, "{used} ms of processor time in an idle second");
        server.publish("a", "x");
        let served = streams.iter_mut().filter_map(|stream| stream.try_event(ms(300))).count();
        assert!(served == 0 || served == streams.len(), "{served} of {} served", streams.len());
        drop(streams);
        witness.check("half-closed subscribers");
    });
}

#[test]
fn half_closed_requests_are_answered() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut conn = server.connect();
        conn.send("GET /healthz HTTP/1.1\r\nHost: fan.test\r\n\r\n");
        conn.finish();
        assert_eq!(conn.answer(SOON).expect("answered").status, 200);
        conn.assert_ends("after a half-closed request", SOON);
        let mut conn = server.connect_control();
        conn.send(server.publish_bytes("topic=a", "", b"x"));
        conn.finish();
        assert_eq!(conn.answer(SOON).expect("answered").status, 202);
    });
}

#[test]
fn half_a_body_then_fin_or_reset_publishes_nothing() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        let host = server.control;
        let whole = server.publish_bytes("topic=canary", "", b"half a body");
        let chunked = format!(
            "POST /publish?topic=canary HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n\
             4\r\nhalf\r\n"
        );
        let batch_body = "{\"topic\":\"canary\",\"data\":\"whole line\"}\n{\"topic\":\"can";
        let batch = format!(
            "POST /publish/batch HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: 500\r\n\r\n{batch_body}"
        );
        let published = server.metrics().get("published");
        for reset in [false, true] {
            for part in [&whole[..whole.len() - 3], chunked.as_bytes(), batch.as_bytes()] {
                let mut conn = server.connect_control();
                conn.send(part);
                if reset {
                    conn.reset();
                } else {
                    conn.finish();
                    let answer = conn.answer(SOON);
                    let fine =
                        matches!(&answer, Ok(a) if a.status == 400) || matches!(answer, Err(Fail::Ended(_)));
                    assert!(fine, "{answer:?}");
                }
                witness.check("half a body");
            }
        }
        assert_eq!(server.metrics().get("published"), published + 12, "only the witness's two a check");
    });
}
