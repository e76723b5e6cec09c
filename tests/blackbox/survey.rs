//! `/topics`, `/connections` and the ending of one connection: the operator's view of single clients.

use crate::harness::{
    Conn, Finish, Launch, Response, SOON, Server, Stream, assert_problem, ms, percent, poll_until, preload,
    with_1_and_4_workers,
};
use crate::leak::FAST;
use crate::readiness::Stopped;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

fn page(server: &Server, path: &str) -> Value {
    let answer = server.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn rows<'a>(page: &'a Value, name: &str) -> &'a Vec<Value> {
    page[name].as_array().unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// The row of the stream with a topic.
fn row_of(server: &Server, topic: &str) -> Option<Value> {
    let page = page(server, "/connections?limit=1000&info=1");
    rows(&page, "connections").iter().find(|row| row["topics"][0] == topic).cloned()
}

fn delete(server: &Server, id: &str, headers: &str) -> Response {
    let mut conn = server.connect_control();
    conn.ask(format!("DELETE /connections/{id} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", server.control))
}

#[test]
fn a_row_names_the_client_and_what_it_is_sent() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let conn = Conn::open_from(Ipv4Addr::new(127, 0, 0, 9), server.public, 0).expect("loopback");
        let mut stream = Stream::open(conn, "topic=a&topic=b", "User-Agent: \"curl\" <script>\r\n");
        let events = server.publish_all("a", (0..20).map(|n| n.to_string())).len();
        stream.data(events);
        let row = row_of(&server, "a").expect("it is there");
        assert!(row["address"].as_str().is_some_and(|text| text.starts_with("127.0.0.9:")), "{row}");
        assert_eq!(row["user_agent"], "\"curl\" <script>");
        assert_eq!((&row["topics"], &row["state"]), (&json!(["a", "b"]), &json!("live")));
        assert_eq!((&row["lag_ms"], &row["lag_events"]), (&json!(0), &json!(0)));
        assert!(row["bytes"].as_u64().is_some_and(|bytes| bytes > 20 * 30), "{row}");
        assert!(row["rtt_us"].as_u64().is_some() && row["unacked"].as_u64().is_some(), "{row}");
        assert_eq!(row["id"].as_str().map(|id| id.split('-').count()), Some(3));
        let plain = page(&server, "/connections");
        assert!(rows(&plain, "connections").iter().all(|row| row.get("rtt_us").is_none()));
        let own = rows(&plain, "connections").iter().find(|row| row["state"] == "talking");
        assert!(own.is_some(), "the operator's own connection is not there: {plain}");
    });
}

#[test]
fn many_topics_of_one_connection_are_cut_with_their_number() {
    let server = Launch::workers(1).start();
    let query: Vec<String> = (0..20).map(|n| format!("topic=t{n}")).collect();
    let _stream = server.subscribe(&query.join("&"));
    let row = row_of(&server, "t0").expect("it is there");
    assert_eq!((rows(&row, "topics").len(), &row["topics_more"]), (8, &json!(12)));
}

#[test]
fn pages_fit_together_in_every_order() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let _streams: Vec<Stream> = (0..60).map(|n| server.subscribe(&format!("topic=t{n}"))).collect();
        // Not by bytes: of these the asker's own connection has more on each page.
        for sort in ["lag", "age", "slow", "address"] {
            let mut seen = BTreeSet::new();
            let mut conn = server.connect_control();
            for offset in (0..70).step_by(7) {
                let path = format!("/connections?sort={sort}&limit=7&offset={offset}");
                let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
                // A busy machine may keep a worker from answering in time.
                let complete =
                    || Some(conn.ask(&request).json()).filter(|page| page.get("incomplete").is_none());
                let page = poll_until(SOON, complete).expect("all workers answer");
                assert_eq!((&page["total"], &page["limit"]), (&json!(61), &json!(7)), "{path}");
                for row in rows(&page, "connections") {
                    assert!(seen.insert(row["id"].to_string()), "{path} repeats {row}");
                }
            }
            assert_eq!(seen.len(), 61, "sort={sort}");
        }
        let topics = page(&server, "/topics?sort=name&limit=2&offset=10");
        let names: Vec<&Value> = rows(&topics, "topics").iter().map(|row| &row["topic"]).collect();
        assert_eq!((names, &topics["total"]), (vec![&json!("t18"), &json!("t19")], &json!(60)));
    });
}

#[test]
fn the_slowest_comes_first_and_says_why() {
    let server = Launch::workers(2).set("unsent_bytes_max", 4_096).start();
    let _quick: Vec<Stream> = (0..5).map(|_| server.subscribe("topic=quick")).collect();
    let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
    let _sleepy = Stream::open(conn, "topic=sleepy", "");
    server.publish_all("sleepy", (0..60).map(|_| "x".repeat(8_000)));
    for sort in ["slow", "lag"] {
        let first = poll_until(SOON, || {
            let page = page(&server, &format!("/connections?sort={sort}&limit=1"));
            let row = rows(&page, "connections")[0].clone();
            (row["topics"] == json!(["sleepy"])).then_some(row)
        });
        let first = first.unwrap_or_else(|| panic!("sort={sort}: another one is first"));
        assert_eq!(first["state"], "full");
        let stalled = poll_until(SOON, || {
            let row = row_of(&server, "sleepy")?;
            row["stalled_ms"].as_u64().filter(|&stalled_ms| stalled_ms >= 300)
        });
        assert!(stalled.is_some(), "its socket takes nothing, and nothing says for how long");
        assert_eq!(row_of(&server, "quick").expect("it is there")["stalled_ms"], Value::Null);
        assert!(first["lag_ms"].as_u64() > Some(0) && first["lag_events"].as_u64() > Some(0), "{first}");
    }
}

#[test]
fn a_search_finds_addresses_topics_and_user_agents_in_every_order() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let open = |last, query: &str, agent: &str| {
            let conn = Conn::open_from(Ipv4Addr::new(127, 0, 0, last), server.public, 0).expect("loopback");
            Stream::open(conn, query, &format!("User-Agent: {agent}\r\n"))
        };
        let _streams = [
            open(7, "topic=prices.eu", "shop/1"),
            open(8, "topic=news&topic=Prices.us", "shop/2"),
            open(9, "topic=sports", "kiosk"),
        ];
        let _others: Vec<Stream> = (0..10).map(|_| server.subscribe("topic=other")).collect();
        for sort in ["lag", "age", "bytes", "slow", "address"] {
            let found = |query: &str| {
                let complete = || {
                    let page = page(&server, &format!("/connections?sort={sort}&{query}"));
                    page.get("incomplete").is_none().then_some(page)
                };
                let page = poll_until(SOON, complete).expect("all workers answer");
                assert_eq!(page["total"], rows(&page, "connections").len(), "{sort} {query}");
                page["total"].as_u64()
            };
            assert_eq!(found("q=pRICES"), Some(2), "{sort}");
            assert_eq!(found("q=127.0.0.9"), Some(1), "{sort}");
            assert_eq!(found("q=shop/"), Some(2), "{sort}");
            assert_eq!(found("q=%3Cscript%3E"), Some(0), "{sort}");
            assert_eq!(found("listener=public&q="), Some(13), "{sort}");
            assert_eq!(found("listener=control&q=prices"), Some(0), "{sort}");
        }
        let own = page(&server, "/connections?listener=control");
        assert!(rows(&own, "connections").iter().all(|row| row["listener"] == "control"), "{own}");
        let topics = page(&server, "/topics?sort=name&q=PRICES");
        let names: Vec<&Value> = rows(&topics, "topics").iter().map(|row| &row["topic"]).collect();
        assert_eq!((names, &topics["total"]), (vec![&json!("Prices.us"), &json!("prices.eu")], &json!(2)));
    });
}

#[test]
fn the_rate_of_a_topic_is_that_of_its_last_minute_or_of_what_is_kept() {
    let server = Launch::workers(2).set("history_events", 10).start();
    let _slow = server.publish("slow", "x");
    server.publish_all("quick", (0..200).map(|n| n.to_string()));
    let _silent = server.subscribe("topic=silent");
    let topics = page(&server, "/topics?sort=rate");
    let rates: Vec<(&Value, f64)> = rows(&topics, "topics")
        .iter()
        .map(|row| (&row["topic"], row["events_per_second"].as_f64().expect("a number")))
        .collect();
    assert_eq!(
        (rates[0].0, rates[1].0, rates[2]),
        (&json!("quick"), &json!("slow"), (&json!("silent"), 0.0))
    );
    assert!(rates[0].1 >= 5.0 && rates[0].1 <= 10.0, "ten kept events within a second or two: {rates:?}");
    assert!(rates[1].1 > 0.0 && rates[1].1 <= 1.0, "{rates:?}");
}

#[test]
fn topics_are_told_with_what_is_kept_whatever_their_names() {
    let server = Launch::workers(2).start();
    let hostile = "<script>\"\\\u{2028}";
    let _streams: Vec<Stream> =
        (0..3).map(|_| server.subscribe(&format!("topic={}", percent(hostile)))).collect();
    let ids: Vec<String> = (0..4).map(|_| server.publish(hostile, "x")).collect();
    server.publish("other", "x".repeat(5_000));
    let topics = page(&server, "/topics");
    let first = &rows(&topics, "topics")[0];
    assert_eq!((&first["topic"], &first["subscribers"]), (&json!(hostile), &json!(3)));
    assert_eq!(
        (&first["events"], &first["oldest"], &first["newest"]),
        (&json!(4), &json!(ids[0]), &json!(ids[3]))
    );
    let by_bytes = page(&server, "/topics?sort=bytes&limit=1");
    assert_eq!(rows(&by_bytes, "topics")[0]["topic"], "other");
    assert_eq!(by_bytes["total"], 2);
}

#[test]
fn a_stream_is_ended_by_id_after_a_whole_frame_and_only_once() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut streams: Vec<Stream> =
            (0..8).map(|n| server.subscribe(&format!("topic=t{n}&topic=all"))).collect();
        let id = row_of(&server, "t3").expect("it is there")["id"].as_str().expect("text").to_owned();
        server.publish("all", "before");
        let answer = delete(&server, &id, "");
        assert_eq!((answer.status, answer.text()), (204, ""));
        for (nth, stream) in streams.iter_mut().enumerate() {
            assert_eq!(stream.event().data, "before", "stream {nth}");
        }
        let mut ended = streams.remove(3);
        assert_eq!(ended.read_to_end(SOON).1, Finish::Clean);
        server.publish("all", "after");
        for stream in &mut streams {
            assert_eq!(stream.event().data, "after");
        }
        assert_problem("ended already", &delete(&server, &id, ""), &[404]);
        let metrics = server.await_metric("closing", SOON, |m| m.labelled("closed", "operator") == 1);
        assert_eq!(metrics.get("subscribers"), 7);
    });
}

#[test]
fn what_is_no_stream_is_closed_even_the_askers_own_connection() {
    let server = Launch::workers(2).start();
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET /healthz HTTP/1.1\r\nHost: a\r\nUser-Agent: idle\r\n\r\n").status, 200);
    let all = page(&server, "/connections");
    let row = rows(&all, "connections").iter().find(|row| row["user_agent"] == "idle").expect("it is there");
    assert_eq!(delete(&server, row["id"].as_str().expect("text"), "").status, 204);
    idle.assert_ends("a connection that was ended", SOON);
    let mut own = server.connect_control();
    let head = format!("HTTP/1.1\r\nHost: {}\r\nUser-Agent: own\r\n\r\n", server.control);
    let all = own.ask(format!("GET /connections {head}")).json();
    let row = rows(&all, "connections").iter().find(|row| row["user_agent"] == "own").expect("it is there");
    let answer = own.ask(format!("DELETE /connections/{} {head}", row["id"].as_str().expect("text")));
    assert_eq!((answer.status, answer.closes()), (204, true));
    own.assert_ends("the asker's own connection", SOON);
    drop(own);
    server.await_metric("closings", SOON, |m| m.labelled("closed", "operator") == 2);
}

#[test]
fn a_stream_that_takes_nothing_is_ended_by_the_operator_all_the_same() {
    // Long before anybody else would call it slow.
    for policy in ["disconnect", "skip"] {
        let launch = Launch::workers(1).set("slow_policy", policy).set("stall_ms", 60_000);
        let server = launch.set("unsent_bytes_max", 4_096).start();
        let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
        let _sleepy = Stream::open(conn, "topic=sleepy", "");
        server.publish_all("sleepy", (0..60).map(|_| "x".repeat(8_000)));
        let id = row_of(&server, "sleepy").expect("it is there")["id"].as_str().expect("text").to_owned();
        assert_eq!(delete(&server, &id, "").status, 204);
        server.await_metric("closing", SOON, |m| m.labelled("closed", "operator") == 1);
    }
}

#[test]
fn a_worker_that_does_not_answer_is_told_as_late_and_ends_nothing_afterwards() {
    let server = Launch::workers(2).start();
    let mut streams: Vec<Stream> = (0..8).map(|n| server.subscribe(&format!("topic=t{n}"))).collect();
    let all = page(&server, "/connections");
    let of_second = |row: &&Value| row["worker"] == 1 && row["state"] == "live";
    let Some(row) = rows(&all, "connections").iter().find(of_second) else {
        panic!("8 streams and none on the second worker: {all}")
    };
    let Some(stopped) = Stopped::worker(&server, 1) else { return };
    let id = row["id"].as_str().expect("text");
    let answer = delete(&server, id, "");
    assert_problem("late", &answer, &[503]);
    assert_eq!(answer.json()["error"], "worker_late", "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    drop(stopped);
    let topic = row["topics"][0].as_str().expect("text");
    let nth: usize = topic[1..].parse().expect("tN");
    server.publish(topic, "still here");
    assert_eq!(streams[nth].event().data, "still here");
    assert_eq!(delete(&server, id, "").status, 204);
    assert_eq!(streams[nth].read_to_end(SOON).1, Finish::Clean);
}

#[test]
fn questions_that_make_no_sense_are_refused_in_words() {
    let server = Launch::workers(2).start();
    for path in [
        "/connections?sort=lagg",
        "/connections?limit=0",
        "/connections?limit=1001",
        "/connections?limit=-1",
        "/connections?offset=9001",
        "/connections?offset=x",
        "/connections?sort=lag&sort=age",
        "/connections?info=maybe",
        "/topics?sort=lag",
        "/topics?limit=99999999999999999999",
        "/topics?sort=%zz",
    ] {
        assert_problem(path, &server.get(path), &[400]);
    }
    for path in
        ["/connections/", "/connections/x", "/connections/0-0-99", "/connections/99-0-1", "/connections/1-2"]
    {
        let answer = server
            .connect_control()
            .ask(format!("DELETE {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.control));
        assert_problem(path, &answer, &[404]);
    }
    let ask = |line: &str| {
        server
            .connect_control()
            .ask(format!("{line} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", server.control))
    };
    for (line, allow) in [
        ("DELETE /connections", "GET, HEAD"),
        ("POST /topics", "GET, HEAD, DELETE"),
        ("GET /connections/0-0-1", "DELETE"),
        ("POST /connections/0-0-1", "DELETE"),
    ] {
        let answer = ask(line);
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{line}");
    }
}

#[test]
fn pages_of_other_sites_neither_see_nor_end_connections() {
    let server = Launch::workers(2).start();
    let mut stream = server.subscribe("topic=a");
    let id = row_of(&server, "a").expect("it is there")["id"].as_str().expect("text").to_owned();
    for headers in ["Origin: https://evil.test\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
        assert_problem(headers, &delete(&server, &id, headers), &[403]);
        for path in ["/connections", "/topics"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", server.control);
            assert_problem(path, &server.connect_control().ask(request), &[403]);
        }
    }
    let foreign = format!("DELETE /connections/{id} HTTP/1.1\r\nHost: evil.test\r\n\r\n");
    assert_problem("foreign host", &server.connect_control().ask(foreign), &[403, 421]);
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn askers_that_leave_cost_nothing_and_crowds_of_them_are_refused_or_answered() {
    let server = Launch::workers(4).start();
    let _streams: Vec<Stream> = (0..40).map(|_| server.subscribe("topic=a")).collect();
    let request = format!("GET /connections?sort=bytes HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
    for _ in 0..100 {
        let mut conn = server.connect_control();
        conn.send(&request);
        conn.reset();
    }
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut conn = server.connect_control();
                for _ in 0..20 {
                    let answer = conn.ask(&request);
                    assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
                }
            });
        }
    });
    assert_eq!(page(&server, "/connections")["total"], 41);
    server.assert_healthy("after a crowd of askers");
}

#[test]
fn the_debug_log_follows_a_connection_and_the_usual_one_does_not() {
    let quiet = Launch::workers(2).start();
    drop(quiet.subscribe("topic=a"));
    let server = Launch::workers(2).set("log_level", "debug").start();
    let mut stream = server.subscribe_with("topic=a&topic=two%20words", "User-Agent: probe\r\n");
    server.publish("a", "x");
    stream.event();
    drop(stream);
    let line = |event: &str| {
        let found = poll_until(SOON, || {
            let log = server.log();
            let is_ours = |line: &&str| line.contains(event) && line.contains("user_agent=probe");
            log.lines().find(is_ours).map(str::to_owned)
        });
        found.unwrap_or_else(|| panic!("no {event}:\n{}", server.log()))
    };
    assert!(line("event=stream_opened").contains("topics=\"a,two words\""));
    let closed = line("event=connection_closed");
    for word in ["client=127.0.0.1:", "listener=public", "duration_ms=", "reason=", "topics=\"a,two words\""]
    {
        assert!(closed.contains(word), "{word} in {closed}");
    }
    let bytes = closed.split("bytes=").nth(1).and_then(|rest| rest.split(' ').next());
    assert!(bytes.and_then(|text| text.parse::<u64>().ok()).is_some_and(|bytes| bytes > 100), "{closed}");
    assert!(server.log().contains("event=connection_opened"));
    assert!(!quiet.log().contains("event=connection"), "{}", quiet.log());
}

#[test]
fn the_debug_log_names_the_client_of_a_connection_that_was_reset() {
    let server = Launch::workers(2).set("log_level", "debug").start();
    let mut conn = Conn::open_from(Ipv4Addr::new(127, 0, 0, 9), server.public, 0).expect("loopback");
    conn.send("GET /events?topic=a HTTP/1.1\r\nHost: x\r\n\r\n");
    server.await_metric("stream", SOON, |m| m.get("subscribers") == 1);
    conn.reset();
    let told = poll_until(SOON, || {
        let log = server.log();
        log.lines().find(|line| line.contains("reason=reset")).map(str::to_owned)
    });
    let told = told.unwrap_or_else(|| panic!("no reset:\n{}", server.log()));
    assert!(told.contains("client=127.0.0.9 ") && told.contains(" topics=a "), "{told}");
}

#[test]
fn addresses_with_most_connections_are_on_the_status_page() {
    let server = Launch::workers(4).start();
    let from =
        |last: u8| Conn::open_from(Ipv4Addr::new(127, 0, 0, last), server.public, 0).expect("loopback");
    let _streams: Vec<Stream> =
        (0..9).map(|n| Stream::open(from(if n < 6 { 7 } else { 8 }), "topic=a", "")).collect();
    let found = poll_until(ms(15_000), || {
        let status = page(&server, "/status");
        let first = status["connections"]["by_address"].as_array()?.first()?.clone();
        (first == json!({ "address": "127.0.0.7", "connections": 6 })).then_some(())
    });
    assert!(found.is_some(), "{}", page(&server, "/status")["connections"]);
}

#[test]
fn counts_by_address_are_not_told_when_they_are_old() {
    let Some(clock) = preload("fast_clock.c") else { return };
    let server = Launch::workers(1)
        .env("LD_PRELOAD", clock.to_str().expect("a plain path"))
        .env("FAST_CLOCK", &FAST.to_string())
        .start();
    let _streams: Vec<Stream> = (0..3).map(|_| server.subscribe("topic=a")).collect();
    let told = || {
        let status = server.get("/status").json();
        status["connections"]["by_address"].as_array().is_some_and(|rows| !rows.is_empty())
    };
    assert!(poll_until(SOON, || told().then_some(())).is_some(), "never told");
    // Three minutes of the server's in which nobody looks.
    std::thread::sleep(Duration::from_secs(180) / FAST as u32);
    assert!(!told(), "counts of three minutes ago");
    assert!(poll_until(SOON, || told().then_some(())).is_some(), "not counted again");
}
