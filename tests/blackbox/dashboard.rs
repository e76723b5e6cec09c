//! The dashboard as a client of the control listener sees it: its files, and the stream of the state.

use crate::harness::{
    Conn, Event, Item, Launch, SOON, Server, Stream, assert_problem, ms, poll_until, with_1_and_4_workers,
};
use std::time::Instant;

fn watch(server: &Server) -> Stream {
    let mut conn = server.connect_control();
    conn.send(format!("GET /events?topic=fanwheel.status HTTP/1.1\r\nHost: {}\r\n\r\n", server.control));
    let mut stream = Stream::from(conn);
    stream.greeting();
    stream
}

fn state(stream: &mut Stream) -> serde_json::Value {
    let deadline = Instant::now() + SOON;
    loop {
        match stream.try_next(deadline.saturating_duration_since(Instant::now())) {
            Some(Item::Event(Event { id: None, name: Some(name), data, .. }))
                if name == "fanwheel.status" =>
            {
                return serde_json::from_str(&data).expect("one JSON object");
            }
            Some(Item::End(finish)) => panic!("the stream ended: {finish:?}"),
            Some(_) => {}
            None => panic!("no state in time"),
        }
    }
}

#[test]
fn the_page_and_its_parts_are_on_the_control_listener_only_and_policed() {
    let server = Launch::workers(2).start();
    let page = server.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let text = page.text().to_owned();
    let parts: Vec<&str> = text.split('"').filter(|part| part.starts_with("dashboard/")).collect();
    assert!(parts.len() >= 5, "{parts:?}");
    for part in parts.iter().map(|part| format!("/{part}")).chain(["/".to_owned()]) {
        let answer = server.get(&part);
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-cache")), "{part}");
        let policy = answer.header("content-security-policy").expect("a policy");
        for rule in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|have| have == rule), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{part}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{part}");
        let tag = answer.header("etag").expect("a tag");
        let again =
            format!("GET {part} HTTP/1.1\r\nHost: {}\r\nIf-None-Match: {tag}\r\n\r\n", server.control);
        let mut conn = server.connect_control();
        assert_eq!(conn.ask(&again).status, 304, "{part}");
        assert_eq!(conn.ask(again).status, 304, "{part}: nothing follows the head of a 304");
        let on_public = Server::get_from(server.public, &part);
        let landing = part == "/" && on_public.header("content-type") == Some("text/plain; charset=utf-8");
        assert!(on_public.status == 404 || landing, "{part}: {}", on_public.text());
    }
    for unknown in ["/dashboard/", "/dashboard/../status", "/dashboard/%2e%2e/x", "/dashboard/APP.js"] {
        assert_problem(unknown, &server.get(unknown), &[404]);
    }
}

#[test]
fn settings_in_force_stand_with_their_sources_and_a_reload_renews_them() {
    let file = std::env::temp_dir().join(format!("fanwheel-{}-settings-page.toml", std::process::id()));
    let path = file.to_string_lossy().into_owned();
    std::fs::write(&file, "log_level = \"info\"\nworkers = 2\n").expect("a writable folder");
    let server = Launch::workers(1)
        .set("config", &path)
        .set("alert_webhook", "http://127.0.0.1:9/T0/secret")
        .env("FANWHEEL_RETRY_MS", "1234")
        .start();
    let setting = |name: &str| server.get("/settings").json()[name].clone();
    let row =
        |value: serde_json::Value, source: &str| serde_json::json!({ "value": value, "source": source });
    assert_eq!(setting("workers"), row(1.into(), "--workers"), "a flag is stronger than the file");
    assert_eq!(setting("retry_ms"), row(1_234.into(), "FANWHEEL_RETRY_MS"));
    assert_eq!(setting("log_level"), row("info".into(), &format!("{path}:1")));
    assert_eq!(setting("slow_policy")["source"], "default");
    assert_eq!(setting("alert_webhook")["value"], serde_json::json!(["http://127.0.0.1:9/***"]));
    assert!(!server.get("/settings").text().contains("secret"));
    std::fs::write(&file, "# later\nlog_level = \"warn\"\n").expect("a writable folder");
    server.signal("HUP");
    let renewed = poll_until(ms(3_000), || (setting("log_level")["value"] == "warn").then_some(()));
    assert!(renewed.is_some(), "{}", setting("log_level"));
    assert_eq!(setting("log_level")["source"], format!("{path}:2"));
    assert_problem("public", &Server::get_from(server.public, "/settings"), &[404]);
    let _ = std::fs::remove_file(file);
}

#[test]
fn newest_log_lines_are_a_page_of_bounded_size() {
    let server = Launch::workers(2).set("log_level", "debug").start();
    let lines = || server.get("/log").json()["lines"].as_array().expect("an array").clone();
    let started = |lines: &[serde_json::Value]| {
        lines.iter().any(|line| line["text"].as_str().expect("a text").starts_with("event=started "))
    };
    // The log has a thread of its own.
    assert!(poll_until(ms(3_000), || started(&lines()).then_some(())).is_some());
    // Each connection is two lines or more.
    (0..250).for_each(|_| drop(server.get("/healthz")));
    assert!(poll_until(ms(5_000), || (lines().len() == 200 && !started(&lines())).then_some(())).is_some());
    let newest = lines();
    let at_ms: Vec<u64> = newest.iter().filter_map(|line| line["at_ms"].as_u64()).collect();
    assert!(at_ms.len() == 200 && at_ms.is_sorted(), "{at_ms:?}");
    assert!(newest.iter().all(|line| line["level"] == "debug"), "{newest:?}");
    assert_problem("public", &Server::get_from(server.public, "/log"), &[404]);
}

#[test]
fn a_link_from_another_site_opens_the_page_but_reaches_no_number() {
    let server = Launch::workers(1).start();
    let follow = |path: &str| {
        let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
        Conn::open(server.control)
            .ask(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{link}\r\n", server.control))
    };
    assert_eq!(follow("/").status, 200);
    for path in ["/status", "/metrics", "/events?topic=fanwheel.status"] {
        assert_problem(path, &follow(path), &[403]);
    }
}

#[test]
fn whoever_listens_on_the_control_listener_is_told_the_state_each_second() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut subscriber = server.subscribe("topic=a");
        let (mut one, mut two) = (watch(&server), watch(&server));
        let first = state(&mut one);
        assert_eq!(first["state"], "serving");
        server.publish_all("a", (0..7).map(|n| n.to_string()));
        subscriber.data(7);
        let later: Vec<serde_json::Value> = (0..3).map(|_| state(&mut one)).collect();
        // By the server's clock: a reader that was held up gets several at once.
        let times: Vec<u64> = later.iter().filter_map(|state| state["now_ms"].as_u64()).collect();
        let spans: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(spans.len() == 2 && spans.iter().sum::<u64>() >= 1_500, "{spans:?}");
        assert!(spans.iter().all(|span| *span < 4_000), "{spans:?}");
        let newest = later.last().expect("three");
        assert_eq!(newest["counts"]["published"], 7, "the server's own events are nobody's publishes");
        assert_eq!(newest["subscribers"]["open"], 3);
        assert!(newest["now_ms"].as_u64() > first["now_ms"].as_u64());
        assert!(newest.get("series").is_none(), "what is past is asked for");
        assert!(state(&mut two).is_object());
        subscriber.assert_quiet(ms(50));
    });
}

#[test]
fn nothing_is_made_while_nobody_listens_and_little_is_kept_after() {
    let server = Launch::workers(2).start();
    let history = |server: &Server| server.metrics().get("history_events");
    std::thread::sleep(ms(2_200));
    assert_eq!((history(&server), server.metrics().get("topics")), (0, 0));
    let mut stream = watch(&server);
    (0..4).for_each(|_| drop(state(&mut stream)));
    assert!(history(&server) <= 2, "{}", history(&server));
    drop(stream);
    server.await_metric("the end of the stream", SOON, |metrics| metrics.get("subscribers") == 0);
    let (oldest, newest) = (history(&server), server.metrics().get("delivered"));
    std::thread::sleep(ms(2_200));
    assert!(history(&server) <= oldest);
    assert_eq!(server.metrics().get("delivered"), newest);
}

#[test]
fn topics_of_the_server_are_closed_to_the_public_and_to_publishers() {
    let server = Launch::workers(2).start();
    let mut stream = watch(&server);
    state(&mut stream);
    for query in ["topic=fanwheel.status", "topic=a&topic=fanwheel%2Estatus", "topic=fanwheel.x"] {
        let ask = format!("GET /events?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", server.public);
        let answer = server.connect().ask(ask);
        assert_problem(query, &answer, &[403]);
        assert_eq!(answer.json()["error"], "topic_reserved");
        let published = server.post(query, "", "{\"state\":\"forged\"}");
        assert_problem(query, &published, &[400]);
        assert_eq!(published.json()["error"], "topic_reserved");
    }
    let line = "{\"topic\":\"fanwheel.status\",\"data\":1}\n";
    let length = line.len();
    let batch = format!(
        "POST /publish/batch HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n{line}",
        server.control
    );
    assert_problem("batch", &server.connect_control().ask(batch), &[400]);
    assert_eq!(state(&mut stream)["state"], "serving");
    let metrics = server.metrics();
    assert_eq!((metrics.labelled("refused", "topic_reserved"), metrics.get("requests_bad")), (3, 4));
    assert_eq!(metrics.get("published"), 0);
}
