//! Answers beyond their status: how a connection goes on, what a page may read, how requests of
//! links, editors and tools are understood, and where a wrong path leads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{Launch, Response, SOON, Server, Stream, assert_problem, ms, with_1_and_4_workers};

/// One request on the public listener, answered whole.
fn public(server: &Server, line: &str, fields: &str) -> Response {
    server.connect().ask(format!("{line} HTTP/1.1\r\nHost: fan.test\r\n{fields}\r\n"))
}

/// One request with a body on the control listener.
fn control(server: &Server, line: &str, fields: &str, body: &[u8]) -> Response {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{fields}\r\n",
        server.control,
        body.len()
    );
    server.connect_control().ask([head.as_bytes(), body].concat())
}

fn message(answer: &Response) -> String {
    answer.json()["message"].as_str().expect("a message").to_owned()
}

#[test]
fn a_kept_connection_says_for_how_long() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        for version in ["1.1", "1.0"] {
            let mut conn = server.connect();
            let fields = "Host: fan.test\r\nConnection: keep-alive\r\n";
            let answer = conn.ask(format!("GET /healthz HTTP/{version}\r\n{fields}\r\n"));
            assert_eq!(answer.header("keep-alive"), Some("timeout=75"), "{version}");
            assert_eq!(answer.header("connection"), Some("keep-alive"), "{version}");
        }
        let last = public(&server, "GET /healthz", "Connection: close\r\n");
        assert_eq!((last.closes(), last.header("keep-alive")), (true, None));
        let stream = server.subscribe("topic=a");
        assert_eq!((stream.head.closes(), stream.head.header("keep-alive")), (true, None));
        let publish = server.post("topic=a", "", "x");
        assert_eq!(publish.header("keep-alive"), Some("timeout=75"));
        let poll = public(&server, "GET /events?topic=a&wait_ms=0", "");
        assert_eq!(poll.header("keep-alive"), Some("timeout=75"), "{}", poll.text());
        let last = public(&server, "GET /events?topic=a&wait_ms=0", "Connection: close\r\n");
        assert_eq!((last.closes(), last.header("keep-alive")), (true, None));
    });
    let short = Launch::workers(1).set("idle_ms", 2_500).start();
    assert_eq!(public(&short, "GET /healthz", "").header("keep-alive"), Some("timeout=2"));
}

#[test]
fn an_empty_host_is_served_to_the_public_and_misdirected_on_control() {
    let server = Launch::workers(1).start();
    for host in ["Host:\r\n", "Host: \r\n", "Host: \t \r\n"] {
        let answer = server.connect().ask(format!("GET /healthz HTTP/1.1\r\n{host}\r\n"));
        assert_eq!(answer.status, 200, "{host:?}");
        let mut conn = server.connect();
        conn.send(format!("GET /events?topic=a HTTP/1.1\r\n{host}\r\n"));
        Stream::from(conn).greeting();
        let answer = server.connect_control().ask(format!("GET /healthz HTTP/1.1\r\n{host}\r\n"));
        assert_problem(host, &answer, &[421]);
    }
}

#[test]
fn preflights_of_pages_with_tracing_libraries_pass() {
    let server = Launch::workers(1).start();
    let names = "traceparent,baggage,sentry-trace,x-datadog-origin,last-event-id";
    let fields = format!("Origin: https://page.test\r\nAccess-Control-Request-Headers: {names}\r\n");
    let answer = public(&server, "OPTIONS /events?topic=a", &fields);
    let allowed = answer.header("access-control-allow-headers").expect("a list").to_ascii_lowercase();
    let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
    for name in names.split(',').chain(["authorization", "cache-control", "content-type"]) {
        assert_eq!(allowed.iter().filter(|have| **have == name).count(), 1, "{name} in {allowed:?}");
    }
    assert_eq!(answer.header("access-control-expose-headers"), Some("Retry-After"));
    let odd = "Access-Control-Request-Headers: x-good, x bad, *, x-\"quoted\"\r\n";
    let answer = public(&server, "OPTIONS /events?topic=a", odd);
    let allowed = answer.header("access-control-allow-headers").expect("a list").to_owned();
    assert!(allowed.ends_with(", x-good"), "{allowed}");
    let many: String = (0..1_000).map(|n| format!("x-{n},")).collect();
    let answer = public(&server, "OPTIONS /events", &format!("Access-Control-Request-Headers: {many}\r\n"));
    let allowed = answer.header("access-control-allow-headers").expect("a list").len();
    assert!(allowed < 1_000, "{allowed} bytes");
}

#[test]
fn pages_of_other_origins_can_read_when_to_come_back() {
    let server = Launch::workers(1).set("connections_max", 1).start();
    let _stream = server.subscribe("topic=a");
    let refused = public(&server, "GET /events?topic=a", "Origin: https://page.test\r\n");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("access-control-expose-headers"), Some("Retry-After"));
}

#[test]
fn foreign_parameters_of_a_link_break_no_subscribe() {
    let server = Launch::workers(1).start();
    for foreign in ["utm_campaign=50%", "x=%zz", "%zz", "x=%ff", "x=a\\b", "x=%00", "evnt=likes"] {
        for query in [format!("topic=a&{foreign}"), format!("{foreign}&topic=a")] {
            server.subscribe(&query);
        }
    }
}

#[test]
fn a_misspelt_parameter_of_a_publish_is_refused_and_named() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    let rows = [
        ("POST /publish?topic=a&evnt=b", "evnt is not a parameter here, but event is."),
        ("POST /publish?topic=a&KEY=b", "KEY is not a parameter here, but key is."),
        ("POST /publish?topic=a&colour=b", "colour is not a parameter here; "),
        ("POST /publish?topic=a&%65v%65nts=b", "events is not a parameter here, but event is."),
        ("POST /publish/batch?topic=a", "topic is not a parameter here; a batch takes none"),
    ];
    for (line, words) in rows {
        let answer = control(&server, line, "", b"x");
        assert_problem(line, &answer, &[400]);
        assert_eq!(answer.json()["error"], "unknown_parameter");
        assert!(message(&answer).starts_with(words), "{line}: {}", message(&answer));
    }
    stream.assert_quiet(ms(50));
}

#[test]
fn reconnection_times_that_would_make_clients_storm_are_refused() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    for bad in ["0", "3600001", "2147483648", "4294967296", "18446744073709551615"] {
        let answer = server.post(&format!("topic=a&retry={bad}"), "", "x");
        assert_problem(bad, &answer, &[400]);
        assert!(message(&answer).contains("from 1 to 3600000"), "{}", message(&answer));
        let line = format!("{{\"topic\":\"a\",\"data\":1,\"retry\":{bad}}}");
        let answer = control(&server, "POST /publish/batch", "", line.as_bytes());
        assert_problem(bad, &answer, &[400]);
    }
    stream.assert_quiet(ms(50));
    for good in [1, 3_600_000] {
        assert_eq!(server.post(&format!("topic=a&retry={good}"), "", "x").status, 202);
        assert_eq!(stream.event().retry, Some(good), "as it was published");
    }
}

#[test]
fn more_of_the_newest_events_than_are_ever_given_are_refused_with_the_limit() {
    let server = Launch::workers(1).set("history_events", 10).start();
    server.publish_all("a", (0..20).map(|n| n.to_string()));
    for bad in ["1001", "5000", "99999999999999999999"] {
        let answer = public(&server, &format!("GET /events?topic=a&last={bad}"), "");
        assert_problem(bad, &answer, &[400]);
        assert!(message(&answer).contains("1000"), "{}", message(&answer));
    }
    assert_eq!(server.subscribe("topic=a&last=1000").data(10).first().map(String::as_str), Some("10"));
}

#[test]
fn every_name_of_the_last_event_id_in_a_query_resumes() {
    let server = Launch::workers(1).start();
    let first = server.post("topic=a", "", "one").json()["id"].as_str().expect("an id").to_owned();
    server.publish("a", "two");
    for name in ["last_event_id", "lastEventId", "lastEventID", "Last-Event-ID"] {
        let mut stream = server.subscribe(&format!("topic=a&{name}={first}"));
        assert_eq!(stream.event().data, "two", "{name}");
        stream.assert_quiet(ms(20));
    }
}

#[test]
fn encoded_and_enveloped_bodies_are_refused_with_the_way_out() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    let zipped = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
    let form = b"--x\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\nhello\r\n--x--\r\n";
    let rows: [(&str, &[u8], &str); 5] = [
        ("Content-Encoding: gzip\r\n", zipped, "Content-Encoding"),
        ("Content-Encoding: aws-chunked\r\n", b"5;chunk-signature=0\r\nhello\r\n0\r\n", "Content-Encoding"),
        ("Content-Encoding: identity\r\nContent-Encoding: br\r\n", b"x", "Content-Encoding"),
        ("Content-Type: multipart/form-data; boundary=x\r\n", form, "multipart"),
        ("Content-Type: MULTIPART/mixed; boundary=x\r\n", form, "multipart"),
    ];
    for (fields, body, word) in rows {
        let answer = control(&server, "POST /publish?topic=a", fields, body);
        assert_problem(fields, &answer, &[415]);
        assert!(message(&answer).contains(word), "{fields}: {}", message(&answer));
        assert_problem(fields, &control(&server, "POST /publish/batch", fields, body), &[415]);
    }
    stream.assert_quiet(ms(50));
    for fields in ["Content-Encoding: identity\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        assert_eq!(control(&server, "POST /publish?topic=a", fields, b"a=%20b").status, 202, "{fields}");
        assert_eq!(stream.event().data, "a=%20b");
    }
}

#[test]
fn byte_order_marks_of_a_batch_and_split_lists_are_understood() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    let batch =
        "\u{feff}{\"topic\":\"a\",\"data\":\"one\"}\r\n\u{feff}{\"topic\":\"a\",\"data\":\"two\"}\r\n";
    let answer = control(&server, "POST /publish/batch", "", batch.as_bytes());
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(stream.data(2), ["one", "two"]);
    let tag = server.get("/dashboard/app.js").header("etag").expect("a tag").to_owned();
    let host = format!("Host: {}\r\n", server.control);
    let request = |tags: &str| format!("GET /dashboard/app.js HTTP/1.1\r\n{host}{tags}\r\n");
    let two = format!("If-None-Match: \"x\"\r\nIf-None-Match: {tag}\r\n");
    assert_eq!(server.connect_control().ask(request(&two)).status, 304);
    let others = "If-None-Match: \"x\"\r\nIf-None-Match: \"y\"\r\n";
    assert_eq!(server.connect_control().ask(request(others)).status, 200);
}

#[test]
fn answers_in_json_are_whole_lines() {
    let server = Launch::workers(1).start();
    server.publish("a", "x");
    let paths = ["/healthz", "/readyz", "/status", "/topics", "/connections", "/nothing"];
    let mut answers: Vec<Response> = paths.map(|path| server.get(path)).into();
    answers.push(server.post("topic=a", "", "x"));
    answers.push(server.post("", "", "x"));
    answers.push(control(&server, "POST /publish/batch", "", b"{\"topic\":\"a\",\"data\":1}"));
    for answer in answers {
        let text = answer.text();
        assert_eq!(answer.header("content-type"), Some("application/json"), "{text}");
        assert!(text.ends_with("}\n") && !text.ends_with("\n\n"), "{text:?}");
    }
}

#[test]
fn the_public_root_says_what_this_is_and_no_more() {
    let server = Launch::workers(1).start();
    let page = public(&server, "GET /", "");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(page.text().lines().count(), 3, "{}", page.text());
    assert!(page.text().contains("/events?topic="), "{}", page.text());
    let control_port = server.control.port().to_string();
    assert!(!page.text().contains(&control_port) && !page.text().contains(env!("CARGO_PKG_VERSION")));
    let head = public(&server, "HEAD /?x", "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_problem("POST /", &public(&server, "POST /", "Content-Length: 0\r\n"), &[405]);
    let off = Launch::workers(1).set("landing", "off").start();
    assert_problem("landing = off", &public(&off, "GET /", ""), &[404]);
}

#[test]
fn a_wrong_path_of_a_publisher_leads_to_the_right_one() {
    let server = Launch::workers(1).start();
    for line in ["POST /publish/news", "POST /publish/", "POST /news", "PUT /publish/news"] {
        let answer = control(&server, line, "", b"x");
        assert_problem(line, &answer, &[404]);
        assert!(message(&answer).contains("POST /publish?topic=NAME"), "{line}: {}", message(&answer));
    }
    let answer = public(&server, "POST /publish/news", "Content-Length: 0\r\n");
    assert!(message(&answer).contains("/publish?topic=NAME on the control listener"), "{}", message(&answer));
}

#[test]
fn names_that_run_handlers_of_a_page_are_taken_with_a_warning() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    for (name, warns) in [("error", true), ("open", true), ("Open", false), ("likes", false)] {
        let answer = server.post(&format!("topic=a&event={name}"), "", "x");
        assert_eq!(answer.status, 202, "{name}");
        let warning = answer.json()["warning"].as_str().map(str::to_owned);
        assert_eq!(warning.is_some_and(|words| words.contains(&format!("on{name}"))), warns, "{name}");
        assert_eq!(stream.event().name.as_deref(), Some(name));
    }
    let line = |name: &str| format!("{{\"topic\":\"a\",\"event\":\"{name}\",\"data\":1}}\n");
    let batch = [line("likes"), line("error")].concat();
    let answer = control(&server, "POST /publish/batch", "", batch.as_bytes());
    assert_eq!((answer.status, answer.json()["events"].as_u64()), (202, Some(2)));
    assert!(answer.json()["warning"].as_str().is_some_and(|words| words.starts_with("Line 2: ")));
    let key = "Idempotency-Key: once\r\n";
    let first = server.post("topic=a&event=error", key, "x");
    assert_eq!(server.post("topic=a&event=error", key, "x").text(), first.text());
}

/// A kept connection that leaves Nagle's algorithm on, as most HTTP clients do.
#[test]
fn a_rest_of_a_request_in_a_write_of_its_own_waits_for_no_delayed_acknowledgement() {
    let server = Launch::workers(1).start();
    let head =
        format!("POST /publish?topic=a HTTP/1.1\r\nHost: {}\r\nContent-Length: 5\r\n\r\n", server.control);
    let (line, fields) = head.split_at(30);
    for parts in [[head.as_str(), "hello"], [line, &format!("{fields}hello")]] {
        let mut socket = TcpStream::connect(server.control).expect("loopback");
        socket.set_read_timeout(Some(SOON)).expect("a fresh socket takes options");
        let mut took: Vec<Duration> = (0..40)
            .map(|_| {
                let start = Instant::now();
                parts.iter().for_each(|part| socket.write_all(part.as_bytes()).expect("taken"));
                let mut answer = [0; 4_096];
                let bytes = socket.read(&mut answer).expect("an answer");
                assert!(answer[..bytes].starts_with(b"HTTP/1.1 202 "));
                start.elapsed()
            })
            .collect();
        // The first are acknowledged at once in any case. The timer of 40 ms would hold up all others.
        let later = &mut took[10..];
        later.sort_unstable();
        assert!(later[7] < ms(20), "a quarter within {:?}, slowest {:?}", later[7], later[29]);
    }
}
