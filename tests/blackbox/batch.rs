//! `POST /publish/batch`: NDJSON, all or nothing.

use crate::harness::{Id, Launch, Response, Server, accepted_id, assert_problem, ms, with_1_and_4_workers};

fn batch(server: &Server, headers: &str, body: &[u8]) -> Response {
    let head = format!(
        "POST /publish/batch HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{headers}\r\n",
        server.control,
        body.len()
    );
    server.connect_control().ask([head.as_bytes(), body].concat())
}

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

#[test]
fn lines_become_events_in_order() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut a = server.subscribe("topic=a");
        let mut both = server.subscribe("topic=a&topic=b");
        let body = concat!(
            "{\"topic\":\"a\",\"data\":\"text\"}\n",
            "{\"topic\":\"b\",\"event\":\"named\",\"data\":\"two\\nlines\"}\n",
            "{\"topic\":[\"a\",\"b\"],\"data\":{\"list\": [1, 2], \"n\": 1}}\n",
            "{\"topic\":\"a\",\"data\":5,\"retry\":750}\n",
            "{\"topic\":\"a\",\"data\":null}",
        );
        let answer = batch(&server, NDJSON, body.as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(a.data(4), ["text", "{\"list\":[1,2],\"n\":1}", "5", "null"]);
        let events: Vec<_> = (0..5).map(|_| both.event()).collect();
        assert_eq!((events[1].name.as_deref(), events[1].data.as_str()), (Some("named"), "two\nlines"));
        assert_eq!(events[3].retry, Some(750));
    });
}

#[test]
fn bad_line_refuses_the_whole_batch_and_is_named() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let good = "{\"topic\":\"a\",\"data\":\"good\"}\n";
        let bad = [
            "rubbish",
            "{\"topic\":\"a\"}",
            "{\"data\":\"x\"}",
            "{\"topic\":\"\",\"data\":\"x\"}",
            "{\"topic\":[],\"data\":\"x\"}",
            "{\"topic\":\"a\\nb\",\"data\":\"x\"}",
            "{\"topic\":\"a\",\"event\":\"b\\r\",\"data\":\"x\"}",
            "{\"topic\":\"a\",\"event\":\"b\\u0000\",\"data\":\"x\"}",
            "{\"topic\":\"a\",\"key\":\"b\\n\",\"data\":\"x\"}",
            "{\"topic\":\"a\",\"data\":\"x\",\"retry\":-1}",
            "{\"topic\":7,\"data\":\"x\"}",
            "[1,2]",
            "{\"topic\":\"a\",\"data\":\"x\"} trailing",
        ];
        for line in bad {
            let body = format!("{good}{good}{line}\n{good}");
            let answer = batch(&server, NDJSON, body.as_bytes());
            assert_problem(line, &answer, &[400]);
            let message = answer.json()["message"].as_str().expect("a message").to_owned();
            assert!(message.contains('3'), "line 3 is not named for {line}: {message}");
        }
        let answer = batch(&server, NDJSON, b"{\"topic\":\"a\",\"data\":\"\xFF\"}\n");
        assert_problem("invalid UTF-8", &answer, &[400]);
        stream.assert_quiet(ms(100));
    });
}

#[test]
fn type_length_and_size_are_checked() {
    let server = Launch::workers(1).set("publish_bytes_max", 2_000).start();
    let mut stream = server.subscribe("topic=a");
    let good = b"{\"topic\":\"a\",\"data\":\"good\"}\n";
    for headers in ["Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        assert_problem(headers, &batch(&server, headers, good), &[415]);
    }
    assert_problem("too large", &batch(&server, NDJSON, &good.repeat(100)), &[413]);
    let no_length = format!("POST /publish/batch HTTP/1.1\r\nHost: {}\r\n{NDJSON}\r\n", server.control);
    assert_problem("no length", &server.connect_control().ask(no_length), &[411]);
    stream.assert_quiet(ms(50));
    let with_charset = "Content-Type: application/x-ndjson; charset=utf-8\r\n";
    assert_eq!(batch(&server, with_charset, good).status, 202);
    assert_eq!(stream.event().data, "good");
}

#[test]
fn whole_batch_is_repeated_by_its_idempotency_key() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let headers = format!("{NDJSON}Idempotency-Key: batch-1\r\n");
        let body = b"{\"topic\":\"a\",\"data\":\"1\"}\n{\"topic\":\"a\",\"data\":\"2\"}\n";
        let first = batch(&server, &headers, body);
        assert_eq!(first.status, 202);
        assert_eq!(batch(&server, &headers, body).text(), first.text());
        assert_eq!(stream.data(2), ["1", "2"]);
        stream.assert_quiet(ms(100));
    });
}

#[test]
fn events_of_a_batch_are_not_mixed_with_those_of_others() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut stream = server.subscribe("topic=a");
        let body: String = (0..50).map(|n| format!("{{\"topic\":\"a\",\"data\":\"batch {n}\"}}\n")).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| server.publish_all("a", (0..50).map(|n| format!("single {n}"))));
            scope.spawn(|| assert_eq!(batch(&server, NDJSON, body.as_bytes()).status, 202));
        });
        let data = stream.data(100);
        let first = data.iter().position(|d| d == "batch 0").expect("the batch arrived");
        for (n, have) in data[first..first + 50].iter().enumerate() {
            assert_eq!(have, &format!("batch {n}"), "a batch takes ids in one piece");
        }
    });
}

#[test]
fn batch_as_long_as_allowed_is_delivered_and_one_more_line_is_413() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("history_events", 5_000).start();
        let mut stream = server.subscribe("topic=a");
        let lines = |count: usize| -> String {
            (0..count).map(|n| format!("{{\"topic\":\"a\",\"data\":\"{n}\"}}\n")).collect()
        };
        assert_problem("too many lines", &batch(&server, NDJSON, lines(2_049).as_bytes()), &[413]);
        let answer = batch(&server, NDJSON, lines(2_048).as_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(stream.data(2_048), (0..2_048).map(|n| n.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn unusual_json_is_refused_or_means_what_json_says() {
    let server = Launch::workers(2).start();
    let mut stream = server.subscribe("topic=a");
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let rows: [(String, Option<String>); 14] = [
        ("\"\\u0041\\n\\u00e9\"".to_owned(), Some("A\n\u{e9}".to_owned())),
        ("\"\\ud83d\\ude00\"".to_owned(), Some("\u{1F600}".to_owned())),
        ("\"\\ud800\"".to_owned(), None),
        ("\"\\ude00\\ud83d\"".to_owned(), None),
        ("\"\\x41\"".to_owned(), None),
        ("\"tab\there\"".to_owned(), None),
        ("1e400".to_owned(), Some("1e400".to_owned())),
        ("12345678901234567890123".to_owned(), Some("12345678901234567890123".to_owned())),
        ("01".to_owned(), None),
        ("NaN".to_owned(), None),
        ("true".to_owned(), Some("true".to_owned())),
        ("{\"b\":1,\"a\":2}".to_owned(), Some("{\"b\":1,\"a\":2}".to_owned())),
        (nested(100), Some(nested(100))),
        (nested(50_000), Some(nested(50_000))),
    ];
    for (data, expected) in rows {
        let shown: String = data.chars().take(30).collect();
        let answer = batch(&server, NDJSON, format!("{{\"topic\":\"a\",\"data\":{data}}}").as_bytes());
        match answer.status {
            202 => assert_eq!(Some(stream.event().data), expected, "{shown}"),
            status => assert_eq!(
                (status, expected.is_none() || data.len() > 10_000 || shown == "1e400"),
                (400, true)
            ),
        }
        server.assert_healthy(&shown);
    }
    stream.assert_quiet(ms(50));
}

#[test]
fn empty_batches_and_line_ends_of_both_kinds() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    for body in ["", "\n", "\r\n\r\n"] {
        assert_problem("empty", &batch(&server, NDJSON, body.as_bytes()), &[400]);
    }
    let body = "{\"topic\":\"a\",\"data\":\"1\"}\r\n{\"topic\":\"a\",\"data\":\"2\"}\r\n";
    assert_eq!(batch(&server, NDJSON, body.as_bytes()).status, 202);
    assert_eq!(stream.data(2), ["1", "2"]);
}

#[test]
fn batch_larger_than_a_millisecond_has_ids_takes_those_of_the_next_ones() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    let lines: String = (0..2_048).map(|n| format!("{{\"topic\":\"a\",\"data\":\"{n}\"}}\n")).collect();
    let head = format!("POST /publish/batch HTTP/1.1\r\nHost: {}\r\n", server.control);
    let answer =
        server.connect_control().ask(format!("{head}Content-Length: {}\r\n\r\n{lines}", lines.len()));
    let last = Id::parse(&accepted_id(&answer));
    let ids: Vec<Id> = (0..2_048).map(|_| Id::parse(&stream.event().id.expect("each has one"))).collect();
    assert!(ids.is_sorted_by(|one, next| one < next) && ids[2_047] == last, "{last:?}");
    assert_eq!(ids.iter().filter(|id| id.0 == ids[0].0).count(), 1_024);
    assert_eq!(last.0, ids[0].0 + 1, "a millisecond ahead");
    let tags: Vec<u64> = ids.iter().map(|id| id.1 % 1_024).collect();
    assert!(tags[0] != 0 && tags.iter().all(|&tag| tag == tags[0]), "one tag for the run");
    let next = Id::parse(&server.publish("a", "next"));
    assert!(next > last, "{next:?} after {last:?}");
}
