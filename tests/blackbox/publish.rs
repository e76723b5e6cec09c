//! `POST /publish`: the answer, every refusal, idempotency, and that a refused publish publishes nothing.

use crate::harness::{Launch, SOON, Server, Witness, assert_problem, ms, with_1_and_4_workers};

fn raw(server: &Server, head: &str, body: &[u8]) -> crate::harness::Response {
    let head = format!("{head}\r\nHost: {}\r\n", server.control);
    server.connect_control().ask([head.as_bytes(), body].concat())
}

#[test]
fn answer_is_202_with_id_and_number_of_subscribers() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let answer = server.post("topic=a", "", "x");
        assert_eq!((answer.status, answer.header("content-type")), (202, Some("application/json")));
        assert_eq!(answer.json()["subscribers"], 0);
        let mut streams: Vec<_> = (0..5).map(|_| server.subscribe("topic=a")).collect();
        let answer = server.post("topic=a", "", "y");
        assert_eq!(answer.json()["subscribers"], 5);
        let id = answer.json()["id"].as_str().expect("an id").to_owned();
        for stream in &mut streams {
            assert_eq!(stream.event().id.as_deref(), Some(id.as_str()));
        }
        drop(streams);
        server.await_metric("no subscribers", SOON, |m| m.get("subscribers") == 0);
        assert_eq!(server.post("topic=a", "", "z").json()["subscribers"], 0);
    });
}

#[test]
fn chunked_body_is_read_whole() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        for body in [
            "5\r\nhello\r\n0\r\n\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "1\r\nh\r\n0004;name=value\r\nello\r\n000\r\nTrailer: x\r\n\r\n",
            "5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
        ] {
            let head = format!(
                "POST /publish?topic=a HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
                server.control
            );
            let answer = server.connect_control().ask(format!("{head}{body}"));
            assert_eq!(answer.status, 202, "{body:?}: {}", answer.text());
            assert_eq!(stream.event().data, "hello", "{body:?}");
        }
    });
}

#[test]
fn refusals_have_their_status_and_publish_nothing() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("publish_bytes_max", 1_000).start();
        let mut witness = Witness::of(&server);
        let mut stream = server.subscribe("topic=a");
        witness.relevel();
        let posts: [(&str, Vec<u8>, u16); 12] = [
            ("", b"x".to_vec(), 400),
            ("topic=", b"x".to_vec(), 400),
            ("topic=a%0Ab&topic=a", b"x".to_vec(), 400),
            ("topic=a&event=b%0Ac", b"x".to_vec(), 400),
            ("topic=a&event=b%0Dc", b"x".to_vec(), 400),
            ("topic=a&event=b%00c", b"x".to_vec(), 400),
            ("topic=a&key=b%0Ac", b"x".to_vec(), 400),
            ("topic=a&key=b%0Dc", b"x".to_vec(), 400),
            ("topic=a&key=b%00c", b"x".to_vec(), 400),
            ("topic=a", b"\xFF\xFE".to_vec(), 400),
            ("topic=a", vec![b'x'; 1_001], 413),
            ("topic=%FF&topic=a", b"x".to_vec(), 400),
        ];
        for (query, body, status) in posts {
            let answer = server.post(query, "", &body);
            assert_problem(query, &answer, &[status]);
            witness.check(query);
        }
        let answer = raw(&server, "POST /publish?topic=a HTTP/1.1", b"\r\n");
        assert_problem("neither length nor chunks", &answer, &[411]);
        stream.assert_quiet(ms(100));
        assert_eq!(server.post("topic=a", "", vec![b'x'; 1_000]).status, 202, "the limit itself is allowed");
        assert_eq!(stream.event().data.len(), 1_000);
    });
}

#[test]
fn public_listener_refuses_publishers_and_names_the_control_listener() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        for path in ["/publish?topic=a", "/publish/batch"] {
            let mut conn = server.connect();
            let answer =
                conn.ask(format!("POST {path} HTTP/1.1\r\nHost: fan.test\r\nContent-Length: 1\r\n\r\nx"));
            assert_problem(path, &answer, &[403]);
            assert_eq!(answer.json()["error"], "publish_not_allowed");
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            assert!(message.ends_with("publish on the control listener."), "{message}");
            assert!(
                !message.contains(&server.control.port().to_string()),
                "no address for strangers: {message}"
            );
        }
        stream.assert_quiet(ms(100));
        assert!(server.metrics().labelled("refused", "publish_not_allowed") >= 2);
    });
}

#[test]
fn repeated_idempotency_key_gives_the_first_answer_and_publishes_nothing() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let first = server.post("topic=a", "Idempotency-Key: order-7\r\n", "once");
        assert_eq!(first.status, 202);
        for round in 0..8 {
            let again = server.post("topic=a", "Idempotency-Key: order-7\r\n", "once");
            assert_eq!((again.status, again.text()), (202, first.text()), "round {round}");
        }
        let other = server.post("topic=a", "Idempotency-Key: order-8\r\n", "twice");
        assert_ne!(other.json()["id"], first.json()["id"]);
        assert_eq!(stream.data(2), ["once", "twice"]);
        stream.assert_quiet(ms(100));
        assert_eq!(server.metrics().get("publish_repeated"), 8);
    });
}

#[test]
fn idempotency_key_of_another_request_is_refused_and_publishes_nothing() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a&topic=b");
        let key = "Idempotency-Key: order-7\r\n";
        let first = server.post("topic=a&event=e", key, "once");
        assert_eq!(first.status, 202);
        let others = [
            ("topic=a&event=e", "twice"),
            ("topic=a&event=e", ""),
            ("topic=a&event=f", "once"),
            ("topic=a", "once"),
            ("topic=b&event=e", "once"),
            ("topic=a&topic=b&event=e", "once"),
            ("topic=a&event=e&key=k", "once"),
            ("topic=a&event=e&retry=5", "once"),
        ];
        for (query, body) in others {
            let answer = server.post(query, key, body);
            assert_problem(query, &answer, &[422]);
            assert_eq!(answer.json()["error"], "idempotency_key_reused", "{query} {body}");
        }
        let batch = raw(
            &server,
            &format!("POST /publish/batch HTTP/1.1\r\n{key}Content-Length: 23"),
            b"\r\n{\"topic\":\"a\",\"data\":1}\n",
        );
        assert_problem("a batch", &batch, &[422]);
        assert_eq!(server.post("event=e&topic=a", key, "once").text(), first.text(), "in any order");
        assert_eq!(stream.event().data, "once");
        stream.assert_quiet(ms(100));
    });
}

#[test]
fn idempotency_key_sent_at_the_same_moment_publishes_once() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let answers: Vec<_> = std::thread::scope(|scope| {
            let post = || server.post("topic=a", "Idempotency-Key: race\r\n", "once");
            let threads: Vec<_> = (0..12).map(|_| scope.spawn(post)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let ids: Vec<_> = answers.iter().map(|answer| answer.json()["id"].clone()).collect();
        assert!(ids.iter().all(|id| id == &ids[0]), "{ids:?}");
        assert_eq!(stream.event().data, "once");
        stream.assert_quiet(ms(100));
    });
}

#[test]
fn idempotency_key_is_forgotten_after_its_time() {
    let server = Launch::workers(2).set("idempotency_ms", 300).start();
    let post = || server.post("topic=a", "Idempotency-Key: k\r\n", "x").json()["id"].clone();
    let first = post();
    let forgotten = crate::harness::poll_until(SOON, || (post() != first).then_some(()));
    assert!(forgotten.is_some(), "a key lives for idempotency_ms, not for ever");
}

#[test]
fn failed_publish_does_not_use_up_its_idempotency_key() {
    let server = Launch::workers(1).start();
    let key = "Idempotency-Key: k\r\n";
    assert_eq!(server.post("topic=a", key, b"\xFF").status, 400);
    assert_eq!(server.post("topic=a", key, "good").status, 202);
}

#[test]
fn publisher_keeps_one_connection_for_many_publishes() {
    let server = Launch::workers(2).start();
    let mut stream = server.subscribe("topic=a");
    let accepted = server.metrics().get("accepted");
    server.publish_all("a", (0..100).map(|n| n.to_string()));
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(stream.data(100), expected);
    assert_eq!(server.metrics().get("accepted"), accepted + 2, "one connection and that of the metrics");
}

#[test]
fn http_1_0_publisher_is_answered_and_closed() {
    let server = Launch::workers(1).start();
    let mut conn = server.connect_control();
    let host = server.control;
    let answer =
        conn.ask(format!("POST /publish?topic=a HTTP/1.0\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx"));
    assert_eq!(answer.status, 202);
    conn.assert_ends("HTTP/1.0 without keep-alive", SOON);
}

#[test]
fn get_on_publish_is_405_with_allow() {
    let server = Launch::workers(1).start();
    for path in ["/publish?topic=a", "/publish/batch"] {
        let answer = server.get(path);
        assert_problem(path, &answer, &[405]);
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("POST")));
    }
}

#[test]
fn malformed_idempotency_keys_are_refused() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    let long = format!("Idempotency-Key: {}\r\n", "k".repeat(257));
    for headers in ["Idempotency-Key:\r\n", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", &long] {
        let answer = server.post("topic=a", headers, "x");
        assert_problem(headers, &answer, &[400]);
    }
    stream.assert_quiet(ms(50));
    let longest = format!("Idempotency-Key: {}\r\n", "k".repeat(256));
    assert_eq!(server.post("topic=a", &longest, "x").status, 202);
}

#[test]
fn as_many_topics_as_a_subscriber_may_have_can_be_published_to() {
    let server = Launch::workers(2).start();
    let query = |count: usize| (0..count).map(|n| format!("topic=t{n}")).collect::<Vec<_>>().join("&");
    let mut stream = server.subscribe(&query(64));
    let mut one = server.subscribe("topic=t63");
    assert_eq!(server.post(&query(64), "", "x").status, 202);
    assert_problem("65 topics", &server.post(&query(65), "", "y"), &[400]);
    for stream in [&mut stream, &mut one] {
        assert_eq!(stream.event().data, "x");
        stream.assert_quiet(ms(50));
    }
}
