//! Patterns: a stream follows all topics whose names match, those that appear later included.

use serde_json::json;

use crate::harness::{Conn, Item, Launch, SOON, Server, Stream, with_1_and_4_workers};

fn publish(server: &Server, query: &str, data: &str) {
    let answer = server.post(query, "", data);
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// The next event.
fn next_event(stream: &mut Stream) -> (String, Option<String>) {
    loop {
        if let Item::Event(event) = stream.next(SOON) {
            return (event.data, event.id);
        }
    }
}

fn data(stream: &mut Stream, count: usize) -> Vec<String> {
    (0..count).map(|_| next_event(stream).0).collect()
}

#[test]
fn a_stream_follows_topics_that_appear_later_and_resumes_over_all_of_them() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        publish(&server, "topic=a.1", "0");
        let mut stream = server.subscribe("pattern=a.*&topic=b");
        for (query, text) in
            [("topic=a.2", "1"), ("topic=c", "x"), ("topic=a.3&topic=a.1&topic=b", "2"), ("topic=a.2.z", "x")]
        {
            publish(&server, query, text);
        }
        publish(&server, "topic=b", "3");
        let (first, id) = next_event(&mut stream);
        assert_eq!((first, data(&mut stream, 2)), ("1".to_owned(), vec!["2".to_owned(), "3".to_owned()]));
        drop(stream);
        publish(&server, "topic=a.4", "4");
        let id = id.expect("an id");
        let mut stream = server.subscribe(&format!("pattern=a.*&topic=b&last_event_id={id}"));
        assert_eq!(data(&mut stream, 3), ["2", "3", "4"]);
        let mut newest = server.subscribe("pattern=a.**&last=3&event=message");
        assert_eq!(data(&mut newest, 3), ["2", "x", "4"]);
        let mut snapshot = server.subscribe("pattern=a.*&snapshot=1");
        assert_eq!(data(&mut snapshot, 4), ["1", "2", "4", "{\"topics\":4,\"events\":3}"]);
    });
}

#[test]
fn patterns_that_are_wrong_or_too_many_or_too_wide_are_refused_in_words() {
    let launch = Launch::workers(1).set("patterns_max", 2).set("pattern_topics_max", 2);
    let server = launch.set("patterns_per_connection_max", 2).start();
    let _streams = [server.subscribe("pattern=a.*"), server.subscribe("pattern=a.*&pattern=b.*")];
    for nth in 0..3 {
        publish(&server, &format!("topic=a.{nth}"), "x");
    }
    let rows = [
        ("pattern=a*", 400, "bad_pattern"),
        ("pattern=**.a", 400, "bad_pattern"),
        ("pattern=fanwheel.*", 400, "bad_pattern"),
        ("pattern=a&pattern=b&pattern=c", 400, "too_many_patterns"),
        ("pattern=c.*", 503, "patterns_full"),
        ("pattern=a.*", 400, "pattern_too_wide"),
    ];
    for (query, status, code) in rows {
        let answer = Server::get_from(server.public, &format!("/events?{query}"));
        let text = answer.text();
        assert!(answer.status == status && text.contains(code), "{query}: {} {text}", answer.status);
    }
    // A page would ask for ever if it were told to come again.
    let browser = |pattern: &str| {
        let fields = "Accept: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close";
        let head = format!("GET /events?pattern={pattern} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        Conn::open(server.public).ask(head).status
    };
    assert_eq!((browser("a.*"), browser("c.*")), (400, 200));
    let off = Launch::workers(1).set("patterns", "off").start();
    let answer = Server::get_from(off.public, "/events?pattern=a.*");
    assert!(answer.status == 400 && answer.text().contains("patterns_off"), "{}", answer.text());
}

#[test]
fn pages_and_metrics_count_patterns_and_those_that_listen_by_them() {
    let server = Launch::workers(2).start();
    let _streams = [
        server.subscribe("pattern=a.*"),
        server.subscribe("pattern=a.*&topic=a.1"),
        server.subscribe("pattern=**"),
        server.subscribe("topic=b"),
    ];
    publish(&server, "topic=a.1", "x");
    publish(&server, "topic=a.2", "x");
    let page = Server::get_from(server.control, "/topics").json();
    let rows: Vec<[String; 3]> = page["topics"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| ["topic", "subscribers", "pattern_subscribers"].map(|name| row[name].to_string()))
        .collect();
    let expected = [["\"a.1\"", "1", "3"], ["\"a.2\"", "0", "3"], ["\"b\"", "1", "1"]];
    assert_eq!(rows, expected, "those with most subscribers of both kinds first");
    let status = Server::get_from(server.control, "/status").json();
    assert_eq!((&status["patterns"], &status["subscriptions"]), (&json!(2), &json!(5)));
    assert_eq!(server.metrics().get("patterns"), 2);
}
