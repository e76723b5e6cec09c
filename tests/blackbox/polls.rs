//! Long polls: one answer with a length instead of a stream. Events come once and in order over any number of
//! requests, an empty answer comes in its time, and a poll gives way to a drain.

use crate::harness::{Conn, Launch, Response, SOON, Server, ms, poll_until, with_1_and_4_workers};
use std::time::{Duration, Instant};

fn request(query: &str) -> String {
    format!("GET /events?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Asks for an answer that comes within a time.
fn poll(conn: &mut Conn, query: &str, within: Duration) -> Response {
    conn.send(request(query));
    conn.answer(within).expect("an answer in time")
}

/// The payloads of an answer, and the last id in it.
fn events(answer: &Response) -> (Vec<String>, Option<String>) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(answer.header("content-length"), Some(&*answer.text().len().to_string()));
    assert!(answer.text().starts_with("retry: "), "{}", answer.text());
    let values = |name: &str| {
        let lines = answer.text().lines().filter_map(move |line| line.strip_prefix(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    (values("data: "), values("id: ").pop())
}

/// Waits until so many polls wait.
fn await_subscribers(server: &Server, count: u64) {
    server.await_metric("polls that wait", SOON, |metrics| metrics.get("subscribers") == count);
}

#[test]
fn polls_after_the_last_id_bring_each_event_once_on_one_connection() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut conn = server.connect();
        let first = poll(&mut conn, "topic=a&topic=b&prime=1&wait_ms=60000", SOON);
        let (brought, position) = events(&first);
        let mut last = position.expect("a position");
        assert!(brought.is_empty() && !first.closes());
        let mut got = Vec::new();
        for round in 0..300 {
            if round % 3 == 0 {
                server.publish(if round % 2 == 0 { "a" } else { "b" }, format!("{round}"));
            }
            let wait_ms = if round % 3 == 0 { 5_000 } else { 0 };
            let query = format!("topic=a&topic=b&wait_ms={wait_ms}&last_event_id={last}");
            let (brought, id) = events(&poll(&mut conn, &query, SOON));
            last = id.unwrap_or(last);
            got.extend(brought);
        }
        let expected: Vec<String> = (0..300).step_by(3).map(|round| round.to_string()).collect();
        assert_eq!(got, expected);
        // The client has its answer before the worker has ended the poll.
        await_subscribers(&server, 0);
        assert_eq!(server.metrics().get("polls"), 301);
    });
}

#[test]
fn a_waiting_poll_gets_the_first_event_and_an_idle_one_comes_back_in_its_time() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("heartbeat_ms", 100).start();
        let mut conn = server.connect();
        conn.send(request("topic=a&wait_ms=60000"));
        await_subscribers(&server, 1);
        assert!(conn.head(ms(300)).is_err(), "a heartbeat before the head would break the answer");
        server.publish("a", "now");
        let answer = conn.answer(SOON).expect("an answer");
        assert_eq!(events(&answer).0, ["now"]);
        let begun = Instant::now();
        let answer = poll(&mut conn, "topic=a&wait_ms=1000", SOON);
        assert_eq!(events(&answer), (Vec::new(), None));
        let waited = begun.elapsed();
        // The server counts whole milliseconds.
        assert!(waited >= ms(899) && waited < ms(8_000), "{waited:?}");
    });
}

#[test]
fn an_answer_holds_what_is_kept_and_a_gap_for_what_is_not() {
    let server = Launch::workers(1).set("history_events", 300).start();
    let ids = server.publish_all("a", (0..400).map(|n| n.to_string()));
    let mut conn = server.connect();
    let whole = poll(&mut conn, "topic=a&last=3&wait_ms=5000", SOON);
    assert_eq!(events(&whole).0, ["397", "398", "399"]);
    let gap = poll(&mut conn, &format!("topic=a&wait_ms=0&last_event_id={}", ids[50]), SOON);
    let (data, last) = events(&gap);
    assert!(gap.text().contains("event: fanwheel.gap\n"), "{}", gap.text());
    assert_eq!((data.len(), &*data[1], last.as_ref()), (256, "100", Some(&ids[354])), "255 events, one gap");
    let rest = poll(&mut conn, &format!("topic=a&wait_ms=0&last_event_id={}", ids[354]), SOON);
    assert_eq!(events(&rest).0.len(), 45);
    let foreign = poll(&mut conn, "topic=quiet&wait_ms=9000&last_event_id=abc", SOON);
    assert!(foreign.text().contains("\"reason\":\"unknown_id\""), "{}", foreign.text());
}

#[test]
fn large_events_go_whole_to_a_client_that_reads_slowly() {
    let server = Launch::workers(1).set("history_topic_bytes_max", 300_000).start();
    let text = "x".repeat(200_000);
    server.publish("a", &text);
    let mut conn = server.connect();
    conn.send(request("topic=a&last=1&wait_ms=0"));
    // What the answer promises it keeps, though history moves on meanwhile.
    (0..5).for_each(|_| drop(server.publish("a", "y".repeat(200_000))));
    std::thread::sleep(ms(300));
    let (data, _) = events(&conn.answer(SOON).expect("an answer"));
    assert!(data.len() == 1 && data[0] == text, "{} bytes", data[0].len());
}

#[test]
fn polls_are_refused_in_words_and_answered_when_the_server_drains() {
    let server = Launch::workers(2).set("drain_ms", 3_000).start();
    let mut conn = server.connect();
    for query in ["topic=a&wait_ms=60001", "topic=a&wait_ms=x", "topic=a&wait_ms=1&wait_ms=1"] {
        let refused = poll(&mut conn, query, SOON);
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("wait_ms"), "{}", refused.text());
    }
    conn.send(request("topic=a&wait_ms=60000"));
    await_subscribers(&server, 1);
    server.signal("TERM");
    let answer = conn.answer(ms(3_500)).expect("an answer within the window");
    assert!(events(&answer).0.is_empty() && answer.closes());
    assert!(poll_until(SOON, || (!server.runs()).then_some(())).is_some());
}
