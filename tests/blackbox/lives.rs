//! `ttl_ms`: nobody gets an event past its life, and nobody is told a gap for it.

use crate::harness::{Launch, Server, assert_problem, ms, program, with_1_and_4_workers};
use std::process::Command;

/// Publishes an event of the topic `a` with this life.
fn publish(server: &Server, data: &str, ttl_ms: u64) {
    let answer = server.post(&format!("topic=a&ttl_ms={ttl_ms}"), "", data);
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[test]
fn an_event_comes_live_and_from_history_until_its_life_is_over() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut live = server.subscribe("topic=a");
        let first = server.publish("a", "first");
        publish(&server, "short", 700);
        publish(&server, "long", 600_000);
        server.publish("a", "last");
        assert_eq!(live.data(4), ["first", "short", "long", "last"]);
        std::thread::sleep(ms(800));
        assert_eq!(server.resume("topic=a", &first).data(2), ["long", "last"], "and no gap");
        assert_eq!(server.subscribe("topic=a&last=3").data(3), ["first", "long", "last"]);
        let line = "{\"topic\":\"a\",\"data\":\"of a batch\",\"ttl_ms\":1}";
        let head = format!("POST /publish/batch HTTP/1.1\r\nHost: {}\r\n", server.control);
        let request = format!("{head}Content-Length: {}\r\n\r\n{line}", line.len());
        assert_eq!(server.connect_control().ask(request).status, 202);
        std::thread::sleep(ms(50));
        assert_eq!(server.subscribe("topic=a&last=1").data(1), ["last"]);
    });
}

#[test]
fn the_client_gives_events_a_life() {
    let server = Launch::workers(1).start();
    let url = format!("http://{}", server.control);
    let published =
        Command::new(program()).args(["publish", "--url", &url, "--ttl-ms", "1", "a", "x"]).output();
    let published = published.expect("the program runs");
    assert!(published.status.success(), "{published:?}");
    server.publish("a", "y");
    std::thread::sleep(ms(50));
    assert_eq!(server.subscribe("topic=a&last=2").data(1), ["y"]);
}

#[test]
fn a_life_is_a_time() {
    let server = Launch::workers(1).start();
    for wrong in ["0", "-1", "1.5", "5s", "2592000001", ""] {
        let answer = server.post(&format!("topic=a&ttl_ms={wrong}"), "", "x");
        assert_problem(wrong, &answer, &[400]);
    }
}
