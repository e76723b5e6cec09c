//! `DELETE /topics`: a topic forgets its events, those that return are told, and streams go on.

use crate::harness::{
    Launch, Response, SOON, Server, accepted_id, assert_problem, ms, poll_until, with_1_and_4_workers,
};
use serde_json::json;

fn forget(server: &Server, query: &str, headers: &str) -> Response {
    let mut conn = server.connect_control();
    conn.ask(format!("DELETE /topics{query} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", server.control))
}

#[test]
fn a_topic_forgets_and_those_that_return_are_told_a_gap_once() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut live = server.subscribe("topic=a");
        let ids = server.publish_all("a", (0..5).map(|n| n.to_string()));
        server.publish("b", "stays");
        live.data(5);
        let answer = forget(&server, "?topic=a", "");
        assert_eq!((answer.status, answer.json()), (200, json!({ "events": 5 })));
        let mut returned = server.resume("topic=a&prime=1", &ids[1]);
        let gap = returned.any_event(SOON);
        assert!(gap.is_gap() && gap.data.contains("\"reason\":\"evicted\""), "{gap:?}");
        let place = poll_until(SOON, || {
            returned.try_next(ms(50));
            returned.newest()
        });
        let mut again = server.resume("topic=a&prime=1", &place.expect("a position after the gap"));
        assert!(again.try_event(ms(300)).is_none(), "told again");
        let mut other = server.subscribe("topic=b&last=9");
        assert_eq!(other.data(1), ["stays"]);
        server.publish("a", "later");
        for stream in [&mut live, &mut returned, &mut again] {
            assert_eq!(stream.data(1), ["later"]);
        }
        let metrics = server.metrics();
        assert_eq!((metrics.get("forgotten"), metrics.get("gaps")), (5, 1));
        let line = poll_until(SOON, || {
            let log = server.log();
            log.lines().find(|line| line.contains("event=topic_forgotten")).map(str::to_owned)
        });
        assert!(line.is_some_and(|line| line.ends_with("topic=a events=5")), "{}", server.log());
    });
}

#[test]
fn a_repeated_publish_is_known_although_its_event_was_forgotten() {
    let server = Launch::workers(1).start();
    let publish = || server.post("topic=a", "Idempotency-Key: k\r\n", "x");
    let first = accepted_id(&publish());
    assert_eq!(forget(&server, "?topic=a", "").status, 200);
    assert_eq!(accepted_id(&publish()), first);
    assert_problem("forgotten with its last event", &forget(&server, "?topic=a", ""), &[404]);
}

#[test]
fn nothing_is_forgotten_by_mistake_by_strangers_or_by_other_sites() {
    let server = Launch::workers(2).start();
    server.publish("a", "x");
    let rows = [
        ("?topic=unknown", "", 404),
        ("", "", 400),
        ("?topic=a&topic=b", "", 400),
        ("?topic=a&keep=1", "", 400),
        ("?topic=fanwheel.status", "", 400),
        ("?topic=a", "Origin: https://example.org\r\n", 403),
        ("?topic=a", "Sec-Fetch-Site: cross-site\r\n", 403),
    ];
    for (query, headers, status) in rows {
        assert_problem(query, &forget(&server, query, headers), &[status]);
    }
    let mut stranger = server.connect();
    let answer = stranger.ask("DELETE /topics?topic=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_problem("on the public listener", &answer, &[404]);
    let mut conn = server.connect_control();
    let answer = conn.ask(format!("PUT /topics?topic=a HTTP/1.1\r\nHost: {}\r\n\r\n", server.control));
    assert_problem("another method", &answer, &[405]);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, DELETE"));
    assert_eq!(server.subscribe("topic=a&last=9").data(1), ["x"]);
}
