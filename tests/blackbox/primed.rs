//! Clients that are told their position by a block that holds an id alone: those that ask, and browsers. A
//! cut before the first event, or behind a filter, loses nothing and tells no gap; a gap is told once.

use crate::harness::{Id, Item, Launch, SOON, Server, Stream, ms, poll_until, program, with_1_and_4_workers};
use std::process::{Command, Stdio};

const BROWSER: &str = "Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n";

/// Reads a position, which must be the next item.
fn position(stream: &mut Stream) -> String {
    match stream.next(SOON) {
        Item::Position(id) => id,
        other => panic!("{other:?} instead of a position"),
    }
}

/// Ends a stream as a proxy does that loses its connection. Returns the id that its client resumes with.
fn cut(stream: Stream) -> String {
    let id = stream.newest().expect("an id from the greeting on");
    stream.into_conn().reset();
    id
}

#[test]
fn stream_cut_before_its_first_event_loses_nothing() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        for (query, headers) in [("topic=a&prime=1", ""), ("topic=a", BROWSER), ("topic=a&topic=b", BROWSER)]
        {
            let mut stream = server.subscribe_with(query, headers);
            position(&mut stream);
            let last = cut(stream);
            server.publish_all("a", (0..3).map(|n| n.to_string()));
            let mut stream = server.resume(query, &last);
            assert_eq!(stream.data(3), ["0", "1", "2"], "{query}");
        }
    });
}

#[test]
fn position_goes_to_browsers_and_to_clients_that_ask() {
    let server = Launch::workers(1).start();
    let accept = "Cache-Control: no-cache\r\nUser-Agent: ";
    let rows = [
        ("topic=a", "", false),
        ("topic=a&prime=0", BROWSER, false),
        ("topic=a&prime=1", "User-Agent: curl/8\r\n", true),
        ("topic=a&clock=1", BROWSER, true),
        ("topic=a", &format!("{accept}Go-http-client/1.1\r\n"), false),
        ("topic=a", "User-Agent: Mozilla/5.0\r\n", false),
        ("topic=a", &format!("{accept}Not Mozilla/5.0\r\n"), false),
    ];
    for (query, headers, expected) in rows {
        let mut stream = server.subscribe_with(query, headers);
        server.publish("a", "x");
        let mut told = false;
        loop {
            match stream.next(SOON) {
                Item::Position(_) => told = true,
                Item::Event(event) if event.id.is_some() => break,
                _ => {}
            }
        }
        assert_eq!(told, expected, "{query} {headers}");
    }
    let refused = server.get("/events?topic=a&prime=yes");
    assert_eq!(refused.status, 400, "{}", refused.text());
}

#[test]
fn filter_that_lets_nothing_through_causes_no_gap() {
    with_1_and_4_workers(|workers| {
        let launch = Launch::workers(workers).set("history_events", 50).set("heartbeat_ms", 200);
        let server = launch.start();
        for query in ["topic=a&event=mine&prime=1", "topic=a&topic=quiet&event=mine&clock=1&prime=1"] {
            let mut stream = server.subscribe(query);
            server.post("topic=a&event=mine", "", "wanted");
            assert_eq!(stream.event().data, "wanted");
            let ids = server.publish_all("a", (0..200).map(|n| n.to_string()));
            let last = Id::parse(&ids[199]);
            while !matches!(stream.next(SOON), Item::Position(id) if Id::parse(&id) >= last) {}
            // Told once: nothing has moved since.
            let deadline = std::time::Instant::now() + ms(700);
            while let Some(item) =
                stream.try_next(deadline.saturating_duration_since(std::time::Instant::now()))
            {
                assert!(!matches!(item, Item::Position(_)), "told twice");
            }
            let mut stream = server.resume(query, &cut(stream));
            server.post("topic=a&event=mine", "", "live");
            assert_eq!(stream.event().data, "live", "a gap was told");
        }
    });
}

#[test]
fn gap_is_told_once_to_a_client_that_comes_back_again_and_again() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let query = "topic=a&topic=b&topic=c&prime=1";
        let mut stream = server.resume(query, "1700000000000-5");
        assert!(stream.any_event(SOON).is_gap());
        let mut last = returned(&server, query, stream);
        for _ in 0..3 {
            let mut stream = server.resume(query, &last);
            position(&mut stream);
            stream.assert_quiet(ms(50));
            last = cut(stream);
        }
        server.publish("b", "first");
        assert_eq!(server.resume(query, &last).event().data, "first");
    });
}

/// Reads the position after a gap, and cuts the stream.
fn returned(server: &Server, query: &str, mut stream: Stream) -> String {
    let told = position(&mut stream);
    let last = cut(stream);
    assert_eq!(told, last, "{query}");
    server.assert_healthy(query);
    last
}

#[test]
fn command_line_client_that_is_cut_before_its_first_event_misses_nothing() {
    let server = Launch::workers(2).set("retry_ms", 1_000).start();
    let mut command = Command::new(program());
    command.args(["subscribe", "a", "--raw", "--count", "1", "--url", &format!("http://{}", server.public)]);
    let client = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
    let connection = poll_until(SOON, || {
        let page = server.get("/connections").json();
        let rows = page["connections"].as_array().expect("rows").clone();
        rows.iter()
            .find(|row| row["topics"][0] == "a")
            .map(|row| row["id"].as_str().expect("an id").to_owned())
    });
    let path = format!("/connections/{}", connection.expect("the client's connection"));
    let delete = format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
    assert_eq!(server.connect_control().ask(delete).status, 204);
    server.await_metric("no subscriber", SOON, |metrics| metrics.get("subscribers") == 0);
    server.publish("a", "meanwhile");
    let output = client.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "meanwhile\n");
}
