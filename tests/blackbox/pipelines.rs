//! Good requests in unusual packing: byte by byte, many in a row, with expectations and upgrades; and that
//! nothing is ever written into a stream.

use crate::harness::{Conn, Launch, SOON, Server, Stream, ms, with_1_and_4_workers};

/// Good requests for the control listener and their statuses; none opens a stream.
fn good_requests(server: &Server) -> Vec<(Vec<u8>, u16)> {
    let host = server.control;
    let text = |text: String, status| (text.into_bytes(), status);
    let batch = "{\"topic\":\"a\",\"data\":\"from a batch\"}\n";
    vec![
        text(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"), 200),
        text(format!("HEAD /events?topic=a HTTP/1.1\r\nHost: {host}\r\n\r\n"), 200),
        text(format!("OPTIONS /events HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\r\n"), 204),
        text(format!("GET /nope HTTP/1.1\r\nHost: {host}\r\n\r\n"), 404),
        (server.publish_bytes("topic=a", "", b"by length"), 202),
        text(
            format!(
                "POST /publish?topic=a HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nby \r\n6;x=y\r\nchunks\r\n0\r\nT: x\r\n\r\n"
            ),
            202,
        ),
        text(
            format!(
                "POST /publish/batch HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-ndjson\r\n\
                 Content-Length: {}\r\n\r\n{batch}",
                batch.len()
            ),
            202,
        ),
    ]
}

#[test]
fn requests_in_pieces_are_answered_as_if_whole() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        for size in [1, 2, 7, 64, usize::MAX] {
            let mut conn = server.connect_control();
            for (request, status) in good_requests(&server) {
                conn.send_pieces(&request, size);
                let method = if request.starts_with(b"HEAD") { "HEAD" } else { "GET" };
                let answer = conn.answer_to(method, SOON).expect("an answer");
                assert_eq!(
                    answer.status,
                    status,
                    "{size} bytes a write: {}",
                    String::from_utf8_lossy(&request)
                );
                if answer.closes() {
                    conn = server.connect_control();
                }
            }
            assert_eq!(stream.data(3), ["by length", "by chunks", "from a batch"]);
        }
    });
}

#[test]
fn subscribe_in_pieces_opens_a_stream() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        for size in [1, 7] {
            let mut conn = server.connect();
            conn.send_pieces(b"GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\nAccept: */*\r\n\r\n", size);
            let mut stream = Stream::from(conn);
            stream.greeting();
            server.publish("a", "x");
            assert_eq!(stream.event().data, "x");
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let host = server.control;
        for count in [2, 100, 5_000] {
            let mut requests = String::new();
            for n in 0..count {
                let path = if n % 3 == 0 { "/nope" } else { "/healthz" };
                requests.push_str(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            }
            let mut conn = server.connect_control();
            let sender = conn.send_aside(requests.into_bytes());
            for n in 0..count {
                let expected = if n % 3 == 0 { 404 } else { 200 };
                assert_eq!(conn.answer(SOON).expect("an answer").status, expected, "answer {n} of {count}");
            }
            sender.join().expect("sent");
            let (more, _) = conn.rest(ms(30));
            assert!(more.is_empty(), "more answers than requests");
        }
    });
}

#[test]
fn requests_before_half_a_body_are_answered_though_the_client_has_finished() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let host = server.control;
        let mut stream = server.subscribe("topic=a");
        let health = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(3);
        let half = format!(
            "POST /publish?topic=a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nhalf a body"
        );
        // All of it is there when the server looks, the end included.
        server.signal("STOP");
        let mut conns: Vec<Conn> = (0..8).map(|_| server.connect_control()).collect();
        for conn in &mut conns {
            conn.send(format!("{health}{half}"));
            conn.finish();
        }
        server.signal("CONT");
        for conn in &mut conns {
            for _ in 0..3 {
                assert_eq!(conn.answer(SOON).expect("an answer").status, 200);
            }
            conn.assert_ends("half a body", SOON);
        }
        server.publish("a", "whole");
        assert_eq!(stream.event().data, "whole");
        server.await_metric("bodies given back", SOON, |m| m.get("bodies_bytes") == 0);
    });
}

#[test]
fn bodies_are_told_from_the_requests_behind_them() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let health = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.control).into_bytes();
        for (body, extra) in [("x", ""), ("", ""), ("GET /nope HTTP/1.1\r\n\r\n", ""), ("y", "X: y\r\n")] {
            let mut conn = server.connect_control();
            conn.send([server.publish_bytes("topic=a", extra, body.as_bytes()), health.clone()].concat());
            assert_eq!(conn.answer(SOON).expect("an answer").status, 202, "{body:?}");
            assert_eq!(conn.answer(SOON).expect("an answer").status, 200, "behind {body:?}");
            assert_eq!(stream.event().data, body.replace("\r\n", "\n"));
        }
        let mut conn = server.connect_control();
        let posts: Vec<u8> =
            (0..200).flat_map(|n| server.publish_bytes("topic=a", "", n.to_string().as_bytes())).collect();
        conn.send(posts);
        for n in 0..200 {
            assert_eq!(conn.answer(SOON).expect("an answer").status, 202);
            assert_eq!(stream.event().data, n.to_string());
        }
    });
}

#[test]
fn body_of_a_get_is_never_a_request() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let host = server.control;
        let inner = format!("GET /nope HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let outer =
            format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", inner.len());
        let after = format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut conn = server.connect_control();
        conn.send(format!("{outer}{inner}{after}"));
        let first = conn.answer(SOON).expect("an answer");
        assert!(matches!(first.status, 200 | 400 | 413), "{}", first.status);
        if first.closes() || first.status != 200 {
            conn.assert_ends("a refused GET with a body", SOON);
        } else {
            assert_eq!(conn.answer(SOON).expect("an answer").status, 200, "the body was run as a request");
        }
    });
}

fn assert_only_a_stream(server: &Server, conn: Conn, case: &str) {
    let mut stream = Stream::from(conn);
    stream.greeting();
    for n in 0..3 {
        server.publish("a", n.to_string());
        match stream.try_event(SOON) {
            Some(event) => assert_eq!(event.data, n.to_string(), "{case}"),
            None => return,
        }
    }
}

#[test]
fn request_behind_a_subscribe_is_never_answered_into_the_stream() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let subscribe = "GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n";
        let host = server.control;
        let publish = server.publish_bytes("topic=canary", "", b"smuggled");
        let mut canary = server.subscribe("topic=canary");
        let second: [(&str, Vec<u8>); 5] = [
            ("a health check", format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()),
            ("a second subscribe", subscribe.as_bytes().to_vec()),
            ("a publish", publish),
            ("rubbish", b"\x00\xFF rubbish\r\n\r\n".to_vec()),
            ("half a request", b"GET /he".to_vec()),
        ];
        for (case, bytes) in second {
            let mut conn = server.connect_control();
            let first = subscribe.replace("fan.test", &host.to_string());
            conn.send([first.as_bytes(), &bytes].concat());
            assert_only_a_stream(&server, conn, case);
        }
        canary.assert_quiet(ms(100));
    });
}

#[test]
fn subscribe_with_a_body_opens_a_stream_or_is_refused() {
    let server = Launch::workers(1).start();
    for lines in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        let mut conn = server.connect();
        conn.send(format!("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n{lines}"));
        let head = conn.head(SOON).expect("an answer");
        assert!(matches!(head.status, 200 | 400 | 413), "{}", head.status);
    }
    server.assert_healthy("subscribes with bodies");
}

#[test]
fn expectation_of_100_is_met_and_others_are_refused_or_ignored() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let host = server.control;
        let head = |expect: &str| {
            let fields = format!("Host: {host}\r\nExpect: {expect}\r\nContent-Length: 5\r\n");
            format!("POST /publish?topic=a HTTP/1.1\r\n{fields}\r\n")
        };
        for expect in ["100-continue", "100-Continue"] {
            let mut conn = server.connect_control();
            conn.send(head(expect));
            assert_eq!(conn.answer(SOON).expect("an interim answer").status, 100);
            conn.send("hello");
            assert_eq!(conn.answer(SOON).expect("an answer").status, 202);
            assert_eq!(stream.event().data, "hello");
            let health = conn.ask(format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(health.status, 200);
        }
        let mut conn = server.connect_control();
        conn.send(format!("{}hello", head("100-continue")));
        let mut answer = conn.answer(SOON).expect("an answer");
        if answer.status == 100 {
            answer = conn.answer(SOON).expect("a final answer");
        }
        assert_eq!((answer.status, stream.event().data.as_str()), (202, "hello"), "body sent with the head");
        let mut conn = server.connect_control();
        conn.send(format!("{}hello", head("foo")));
        let answer = conn.answer(SOON).expect("an answer");
        match answer.status {
            202 => assert_eq!(stream.event().data, "hello"),
            status => assert_eq!(status, 417),
        }
    });
}

#[test]
fn refused_publisher_is_not_told_to_continue() {
    let server = Launch::workers(1).start();
    let mut conn = server.connect();
    let fields = "Host: fan.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    conn.send(format!("POST /publish?topic=a HTTP/1.1\r\n{fields}\r\n"));
    assert_eq!(conn.answer(SOON).expect("an answer").status, 403);
}

#[test]
fn upgrades_are_ignored() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        for lines in [
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAR\r\n",
        ] {
            let request = format!("GET /healthz HTTP/1.1\r\nHost: fan.test\r\n{lines}\r\n");
            assert_eq!(server.connect().ask(request).status, 200, "{lines}");
            let stream = Stream::open(server.connect(), "topic=a", lines);
            assert_eq!(stream.head.status, 200);
        }
    });
}

#[test]
fn connection_header_decides_what_happens_after_the_answer() {
    let server = Launch::workers(1).start();
    let request =
        |version: &str, lines: &str| format!("GET /healthz {version}\r\nHost: fan.test\r\n{lines}\r\n");
    for (version, lines, stays) in [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: foo, Close\r\n", false),
        ("HTTP/1.1", "Connection: foo\r\nConnection: close\r\n", false),
        ("HTTP/1.0", "", false),
    ] {
        let mut conn = server.connect();
        let answer = conn.ask(request(version, lines));
        assert_eq!(answer.status, 200, "{version} {lines}");
        assert!(version == "HTTP/1.0" || answer.closes() != stays, "{version} {lines}");
        if stays {
            assert_eq!(conn.ask(request(version, lines)).status, 200, "{version} {lines}");
        } else {
            conn.assert_ends(lines, SOON);
        }
    }
}

#[test]
fn subscribe_behind_other_requests_opens_the_stream_after_their_answers() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let host = server.control;
        let mut requests = server.publish_bytes("topic=a", "", b"before");
        requests.extend_from_slice(format!("GET /nope HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        requests.extend_from_slice(
            format!("GET /events?topic=a&last=1 HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
        );
        for size in [1, usize::MAX] {
            let mut conn = server.connect_control();
            conn.send_pieces(&requests, size);
            assert_eq!(conn.answer(SOON).expect("an answer").status, 202);
            assert_eq!(conn.answer(SOON).expect("an answer").status, 404);
            let mut stream = Stream::from(conn);
            stream.greeting();
            assert_eq!(stream.event().data, "before");
        }
    });
}

#[test]
fn connection_header_of_a_subscriber_changes_nothing_on_its_stream() {
    let server = Launch::workers(1).start();
    for lines in ["Connection: close\r\n", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n"] {
        let mut conn = server.connect();
        conn.send(format!("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n{lines}\r\n"));
        let mut stream = Stream::from(conn);
        stream.greeting();
        server.publish("a", "x");
        assert_eq!(stream.event().data, "x", "{lines}");
    }
    let mut conn = server.connect();
    conn.send("GET /events?topic=a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let mut stream = Stream::from(conn);
    assert_eq!(stream.head.header("transfer-encoding"), None);
    stream.greeting();
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x", "HTTP/1.0 with keep-alive");
}
