//! How a subscribe request is answered: the head, negotiation, methods, refusals. The stream's own bytes are
//! in `streams`.

use crate::harness::{Conn, Launch, Response, SOON, Server, Stream, assert_problem, with_1_and_4_workers};

fn get(server: &Server, target: &str, headers: &str) -> Response {
    request(server, "GET", target, headers)
}

/// Asks on the public listener; bodies of streams are not read.
fn request(server: &Server, method: &str, target: &str, headers: &str) -> Response {
    let mut conn = server.connect();
    conn.send(format!("{method} {target} HTTP/1.1\r\nHost: fan.test\r\n{headers}\r\n"));
    let streams = method == "GET" && target.starts_with("/events");
    let case = format!("{method} {target} {headers:?}");
    let head = if streams { conn.head(SOON) } else { conn.answer_to(method, SOON) };
    let mut head = head.unwrap_or_else(|fail| panic!("{case}: {fail:?}"));
    if streams && head.status != 200 {
        let length =
            head.header("content-length").and_then(|n| n.parse().ok()).expect("errors have a length");
        head.body = conn.take(length, std::time::Instant::now() + SOON).expect("the announced body");
    }
    head
}

/// The head's fields that are promised, sorted; others may be there too.
fn promised(head: &Response) -> Vec<(String, String)> {
    let names = [
        "access-control-allow-origin",
        "cache-control",
        "content-length",
        "content-type",
        "transfer-encoding",
        "x-accel-buffering",
    ];
    let mut fields: Vec<(String, String)> =
        head.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    fields.retain(|(name, _)| names.contains(&name.as_str()));
    fields.sort();
    fields
}

fn fields(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const STREAM_FIELDS: [(&str, &str); 5] = [
    ("access-control-allow-origin", "*"),
    ("cache-control", "no-cache, no-transform"),
    ("content-type", "text/event-stream; charset=utf-8"),
    ("transfer-encoding", "chunked"),
    ("x-accel-buffering", "no"),
];

#[test]
fn stream_head_has_exactly_the_promised_fields() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let stream = server.subscribe("topic=a");
        assert_eq!(promised(&stream.head), fields(&STREAM_FIELDS));
        // The doctor asks so, to see the proxies' own behaviour.
        let buffered = server.subscribe("topic=a&buffered=1");
        assert_eq!(promised(&buffered.head), fields(&STREAM_FIELDS[..4]));
        let date = stream.head.header("date").expect("a date").to_owned();
        let head = String::from_utf8(stream.head.head).expect("ASCII");
        let head = head.replace(&format!("Date: {date}\r\n"), "");
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                        Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\
                        Access-Control-Allow-Origin: *\r\nTransfer-Encoding: chunked\r\n\
                        Connection: close\r\n\r\n";
        assert_eq!(head, expected, "byte for byte");
    });
}

#[test]
fn first_bytes_are_the_greeting_in_one_chunk_with_jittered_retry() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("retry_ms", 2_000).start();
        let mut times = Vec::new();
        for _ in 0..16 {
            let mut conn = server.connect();
            conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
            let mut stream = Stream::from(conn);
            let deadline = std::time::Instant::now() + SOON;
            let first = stream.conn().chunk(deadline).expect("a chunk").expect("not the last one");
            let text = String::from_utf8(first).expect("UTF-8");
            let retry = text.strip_prefix(":ok\nretry: ").and_then(|rest| rest.strip_suffix('\n'));
            let retry: u64 =
                retry.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("greeting {text:?}"));
            assert!((1_600..=2_400).contains(&retry), "{retry} is not 2000 ± 20 %");
            times.push(retry);
        }
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 4, "no jitter: {times:?}");
    });
}

#[test]
fn http_1_0_subscriber_gets_bare_bytes() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut conn = server.connect();
        conn.send("GET /events?topic=a HTTP/1.0\r\nHost: fan.test\r\n\r\n");
        let mut stream = Stream::from(conn);
        let expected: Vec<_> =
            STREAM_FIELDS.into_iter().filter(|(name, _)| *name != "transfer-encoding").collect();
        assert_eq!(promised(&stream.head), fields(&expected));
        stream.greeting();
        server.publish("a", "one\ntwo");
        server.publish("a", "");
        assert_eq!(stream.data(2), ["one\ntwo", ""]);
    });
}

#[test]
fn http_1_0_subscriber_needs_no_host() {
    let server = Launch::workers(1).start();
    let mut conn = server.connect();
    conn.send("GET /events?topic=a HTTP/1.0\r\n\r\n");
    let mut stream = Stream::from(conn);
    stream.greeting();
}

#[test]
fn head_has_the_same_fields_and_leaves_the_connection_usable() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut conn = server.connect();
        let before = server.metrics().get("subscribers");
        let head = conn.ask("HEAD /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
        assert_eq!((head.status, promised(&head)), (200, fields(&STREAM_FIELDS)));
        let health = conn.ask("GET /healthz HTTP/1.1\r\nHost: fan.test\r\n\r\n");
        assert_eq!(health.status, 200);
        assert_eq!(server.metrics().get("subscribers"), before);
        conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
        let mut stream = Stream::from(conn);
        stream.greeting();
        server.publish("a", "after head");
        assert_eq!(stream.event().data, "after head");
    });
}

#[test]
fn head_of_a_stream_that_ends_with_its_connection_ends_it() {
    let server = Launch::workers(1).start();
    let mut conn = server.connect();
    conn.send("HEAD /events?topic=a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let head = conn.answer_to("HEAD", SOON).expect("an answer");
    assert_eq!((head.status, head.closes()), (200, true), "{head:?}");
    conn.assert_ends("after HEAD over HTTP/1.0", SOON);
}

#[test]
fn preflight_allows_what_eventsource_libraries_send() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let headers = "Origin: https://page.test\r\nAccess-Control-Request-Method: GET\r\n\
                       Access-Control-Request-Headers: last-event-id\r\n";
        let answer = request(&server, "OPTIONS", "/events?topic=a", headers);
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let allowed = answer.header("access-control-allow-headers").unwrap_or("").to_ascii_lowercase();
        for name in ["last-event-id", "authorization", "cache-control", "content-type"] {
            assert!(allowed.split(',').any(|have| have.trim() == name), "{name} not in {allowed:?}");
        }
        assert!(answer.header("access-control-allow-methods").is_some_and(|list| list.contains("GET")));
        assert_eq!(answer.header("access-control-allow-credentials"), None, "never with *");
    });
}

#[test]
fn configured_origins_are_the_only_ones_reflected() {
    let server = Launch::workers(1).set("cors_origins", "https://page.test").start();
    for (origin, expected) in [
        ("https://page.test", Some("https://page.test")),
        ("https://evil.test", None),
        ("null", None),
        ("https://page.test.evil.test", None),
    ] {
        for method in ["GET", "OPTIONS"] {
            let headers = format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n");
            let answer = request(&server, method, "/events?topic=a", &headers);
            let got =
                answer.header("access-control-allow-origin").filter(|have| *have == origin || *have == "*");
            assert_eq!(got, expected, "{method} with Origin {origin}");
            if expected.is_some() {
                assert!(
                    answer.header("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("origin"))
                );
            }
        }
    }
}

#[test]
fn accept_decides_between_stream_and_406() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let rows = [
            ("", 200),
            ("Accept: */*\r\n", 200),
            ("Accept: text/*\r\n", 200),
            ("Accept: text/event-stream;q=0.5\r\n", 200),
            ("Accept: TEXT/EVENT-STREAM\r\n", 200),
            ("Accept: application/json, text/event-stream\r\n", 200),
            ("Accept: application/json, */*;q=0.1\r\n", 200),
            ("Accept: application/json\r\n", 406),
            ("Accept: text/html\r\n", 406),
            ("Accept: text/event-stream;q=0\r\n", 406),
        ];
        for (headers, status) in rows {
            let answer = get(&server, "/events?topic=a", headers);
            assert_eq!(answer.status, status, "{headers:?}");
            if status != 200 {
                assert_problem(headers, &answer, &[status]);
            }
        }
    });
}

#[test]
fn wrong_methods_are_405_with_allow_and_unknown_paths_404() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = request(&server, method, "/events?topic=a", "Content-Length: 0\r\n");
            assert_problem(method, &answer, &[405]);
            let allow = answer.header("allow").unwrap_or("");
            for allowed in ["GET", "HEAD", "OPTIONS"] {
                assert!(allow.split(", ").any(|have| have == allowed), "{allowed} not in Allow {allow:?}");
            }
        }
        for path in ["/nope", "/events/", "/Events", "/events2", "//events", "/healthz/x"] {
            let mut conn = server.connect();
            let answer = conn.ask(format!("GET {path} HTTP/1.1\r\nHost: fan.test\r\n\r\n"));
            assert_problem(path, &answer, &[404]);
        }
        let answer = request(&server, "POST", "/healthz", "Content-Length: 0\r\n");
        assert_problem("POST /healthz", &answer, &[405]);
        assert!(answer.header("allow").is_some());
    });
}

#[test]
fn bad_subscribe_queries_are_400_and_good_ones_are_not() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let topic = |length: usize| format!("/events?topic={}", "t".repeat(length));
        let topics = |count: usize| {
            let list: Vec<String> = (0..count).map(|n| format!("topic=t{n}")).collect();
            format!("/events?{}", list.join("&"))
        };
        let rows = [
            ("/events".to_owned(), 400),
            ("/events?".to_owned(), 400),
            ("/events?topic=".to_owned(), 400),
            ("/events?topic".to_owned(), 400),
            ("/events?event=a".to_owned(), 400),
            (topic(128), 200),
            (topic(129), 400),
            (topics(64), 200),
            (topics(65), 400),
            ("/events?topic=a%0Ab".to_owned(), 400),
            ("/events?topic=a%00b".to_owned(), 400),
            ("/events?topic=a%7Fb".to_owned(), 400),
            ("/events?topic=%FF".to_owned(), 400),
            ("/events?topic=%zz".to_owned(), 400),
            ("/events?topic=%4".to_owned(), 400),
            ("/events?topic=%C3%A9".to_owned(), 200),
            ("/events?topic=a&last=x".to_owned(), 400),
            ("/events?topic=a&last=-1".to_owned(), 400),
            ("/events?topic=a&last=3".to_owned(), 200),
            ("/events?topic=a&topic=a".to_owned(), 200),
        ];
        for (target, status) in rows {
            let answer = get(&server, &target, "");
            assert_eq!(answer.status, status, "{target}: {}", answer.text());
            if status == 400 {
                assert_problem(&target, &answer, &[400]);
            }
        }
    });
}

#[test]
fn topic_limit_is_a_setting() {
    let server = Launch::workers(1).set("topics_per_connection_max", 2).start();
    assert_eq!(get(&server, "/events?topic=a&topic=b", "").status, 200);
    assert_problem("three", &get(&server, "/events?topic=a&topic=b&topic=c", ""), &[400]);
}

#[test]
fn as_many_topics_as_the_settings_allow_can_be_named() {
    let launch = Launch::workers(1).set("topics_per_connection_max", 1_024).set("head_bytes_max", 65_536);
    let server = launch.start();
    let topics: Vec<String> = (0..1_024).map(|number| format!("topic=customer-{number:04}")).collect();
    let query = topics.join("&");
    assert_eq!(get(&server, &format!("/events?{query}"), "").status, 200);
    let long = get(&server, &format!("/events?{query}&last_event_id={}", "x".repeat(65_536)), "");
    assert_problem("a longer line than any head", &long, &[414]);
    assert!(long.text().contains("65536 bytes (head_bytes_max)"), "{}", long.text());
}

#[test]
fn absolute_form_target_is_served() {
    let server = Launch::workers(1).start();
    let mut conn: Conn = server.connect();
    conn.send("GET http://fan.test/events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
    Stream::from(conn).greeting();
}
