//! Payloads, names and topics of every kind, and the events that subscribers must see of them: one event
//! with equal text, or a refusal; never a forged field, never a neighbour's topic.

use crate::harness::{
    Launch, SOON, Server, Stream, Witness, assert_problem, ms, percent, with_1_and_4_workers,
};

/// The text a client sees of a payload: line ends become LF.
fn seen(payload: &str) -> String {
    payload.replace("\r\n", "\n").replace('\r', "\n")
}

/// Publishes every payload by every way in and compares what arrives, chunked and bare.
fn assert_equal_text(server: &Server, payloads: &[String]) {
    let mut chunked = server.subscribe("topic=a");
    let mut conn = server.connect();
    conn.send("GET /events?topic=a HTTP/1.0\r\n\r\n");
    let mut bare = Stream::from(conn);
    bare.greeting();
    let mut witness = Witness::of(server);
    for payload in payloads {
        let shown: String = payload.chars().take(40).collect();
        server.publish("a", payload);
        for stream in [&mut chunked, &mut bare] {
            assert!(stream.event().data == seen(payload), "{shown:?} arrives changed");
        }
        let id = post_batch(server, payload);
        for stream in [&mut chunked, &mut bare] {
            let event = stream.event();
            assert!(event.data == seen(payload), "{shown:?} arrives changed from a batch");
            assert_eq!((event.id.as_deref(), event.name), (Some(id.as_str()), None));
        }
        witness.check_service(&shown);
    }
    let mut replayed = server.subscribe(&format!("topic=a&last={}", 2 * payloads.len()));
    for payload in payloads {
        for _ in 0..2 {
            assert!(replayed.event().data == seen(payload), "a payload is replayed changed");
        }
    }
}

fn post_batch(server: &Server, payload: &str) -> String {
    let line = serde_json::json!({"topic": "a", "data": payload}).to_string();
    let fields = format!("Host: {}\r\nContent-Type: application/x-ndjson\r\n", server.control);
    let head = format!("POST /publish/batch HTTP/1.1\r\n{fields}Content-Length: {}\r\n\r\n", line.len());
    let answer = server.connect_control().ask(format!("{head}{line}"));
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    body["id"].as_str().or_else(|| body["ids"][0].as_str()).map(str::to_owned).unwrap_or_else(|| {
        panic!("no id in {body}");
    })
}

#[test]
fn line_ends_of_every_kind_make_one_event_with_equal_text() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let payloads: Vec<String> = [
            "a\nb",
            "a\rb",
            "a\r\nb",
            "a\n\rb",
            "a\r\r\nb",
            "a\n\nb",
            "a\r\rb",
            "a\r\n\r\nb",
            "\n",
            "\r",
            "\r\n",
            "\n\n\n",
            "\r\r\r",
            "\r\n\r\n",
            "a\n",
            "a\r",
            "a\r\n",
            "\na",
            "\ra",
            "\r\na",
            "a\n\n",
            "\n\na",
            "",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain(["\n".repeat(5_000), "\r".repeat(5_000), "\r\n".repeat(5_000)])
        .collect();
        assert_equal_text(&server, &payloads);
    });
}

#[test]
fn payloads_that_look_like_fields_stay_payloads() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let payloads: Vec<String> = [
            "data: x",
            "id: 7-7",
            "event: forged",
            "retry: 1",
            ":",
            ":comment",
            "data",
            "id",
            " ",
            "  two",
            "two  ",
            "\ttab",
            "tab\t",
            " : ",
            "data:x\ndata: y",
            "id: 1-1\nevent: a\nretry: 1\n\n",
            ": ok\n\n: ok",
            "x\r\rdata: pwned\r\r",
            "x\n\ndata: pwned\n\n",
            "x\r\n\r\nid: 9-9\r\ndata: pwned\r\n\r\n",
            "0\r\n\r\n",
            "\r\n0\r\n\r\n",
            "5\r\nhello\r\n",
            "x\n\nevent: fanwheel.gap\ndata: {}\n\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ]
        .map(str::to_owned)
        .to_vec();
        assert_equal_text(&server, &payloads);
    });
}

#[test]
fn unusual_characters_arrive_equal() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let payloads: Vec<String> = [
            "\u{FEFF}",
            "\u{FEFF}data: x",
            "a\u{FEFF}",
            "\u{2028}",
            "a\u{2029}b",
            "\u{85}",
            "a\u{85}b",
            "\u{1B}[31m",
            "\u{1F600}",
            "e\u{301}",
            "\u{10FFFF}",
            "\u{7F}",
            "\u{B}\u{C}",
            "{\"a\":\"\\u0000\"}",
            "\u{0}",
            "a\u{0}b",
        ]
        .map(str::to_owned)
        .into_iter()
        .filter(|payload| {
            // NUL may be refused instead, but then with a 400 and without an event.
            let nul = payload.contains('\0');
            let status = if nul { server.post("topic=nul", "", payload).status } else { 202 };
            assert!(matches!(status, 202 | 400), "{payload:?}: {status}");
            status == 202
        })
        .collect();
        assert_equal_text(&server, &payloads);
    });
}

#[test]
fn long_lines_and_many_lines_arrive_equal() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let lines: Vec<String> = (0..1_000).map(|n| format!("line {n} {}", "z".repeat(n % 90))).collect();
        let payloads = vec!["w".repeat(65_536), lines.join("\n"), lines.join("\r\n"), "v".repeat(262_000)];
        assert_equal_text(&server, &payloads);
        server.publish("a", "u".repeat(262_144));
        let answer = server.post("topic=a", "", "u".repeat(262_145));
        assert_eq!(answer.status, 413);
    });
}

#[test]
fn invalid_utf_8_is_refused_and_never_on_a_stream() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        let bad: [&[u8]; 12] = [
            b"\xFF",
            b"ok \xFE",
            b"\xC0\xAF",
            b"\xE0\x80\xAF",
            b"\xED\xA0\x80",
            b"\xED\xBF\xBF",
            b"\xF4\x90\x80\x80",
            b"\xC3",
            b"\xE2\x82",
            b"\xF0\x9F\x98",
            b"a\x80b",
            b"\xF8\x88\x80\x80\x80",
        ];
        for bytes in bad {
            let case = format!("{bytes:02X?}");
            assert_eq!(server.post("topic=canary", "", bytes).status, 400, "{case}");
            let chunks: Vec<u8> =
                bytes.iter().flat_map(|b| [b"1\r\n".as_slice(), &[*b], b"\r\n"].concat()).collect();
            let head = format!(
                "POST /publish?topic=canary HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
                server.control
            );
            let request = [head.as_bytes(), &chunks, b"0\r\n\r\n"].concat();
            assert_eq!(server.connect_control().ask(request).status, 400, "{case} in chunks");
            witness.check(&case);
        }
        let mut stream = server.subscribe("topic=a");
        let emoji = "\u{1F600}".as_bytes();
        let chunks: Vec<u8> =
            emoji.iter().flat_map(|b| [b"1\r\n".as_slice(), &[*b], b"\r\n"].concat()).collect();
        let head = format!(
            "POST /publish?topic=a HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            server.control
        );
        assert_eq!(
            server.connect_control().ask([head.as_bytes(), &chunks, b"0\r\n\r\n"].concat()).status,
            202
        );
        assert_eq!(stream.event().data, "\u{1F600}", "a character cut over chunks is whole again");
    });
}

#[test]
fn event_names_that_could_forge_fields_are_refused() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        let long = "n".repeat(4_000);
        for name in [
            "a\nb",
            "a\rb",
            "a\r\nb",
            "\n",
            "\r",
            "a\0b",
            "a\ndata: x\n\n",
            "a\r\n\r\ndata: x",
            &long,
            "a\n\nretry: 1",
            "a\nid: 9-9",
        ] {
            let case: String = name.chars().take(20).collect();
            let answer = server.post(&format!("topic=canary&event={}", percent(name)), "", "x");
            assert_eq!(answer.status, 400, "event {case:?}");
            let answer = server.post(&format!("topic=canary&key={}", percent(name)), "", "x");
            assert_eq!(answer.status, 400, "key {case:?}");
            witness.check(&case);
        }
        let mut stream = server.subscribe("topic=a");
        for name in ["retry:", "id:", "data: x", " leading", "trailing ", ":", "\u{1F600}", "message", "a b"]
        {
            let answer = server.post(&format!("topic=a&event={}", percent(name)), "", "x");
            if answer.status == 202 {
                let event = stream.event();
                assert_eq!((event.name.as_deref(), event.data.as_str()), (Some(name), "x"));
            } else {
                assert_eq!(answer.status, 400, "event {name:?}");
            }
        }
        stream.assert_quiet(ms(50));
    });
}

#[test]
fn the_servers_own_event_names_are_refused_and_nothing_is_published() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    for name in ["fanwheel.gap", "fanwheel.clock", "fanwheel."] {
        let single = server.post(&format!("topic=a&event={name}"), "", "{}");
        let lines =
            format!("{{\"topic\":\"a\",\"data\":1}}\n{{\"topic\":\"a\",\"event\":\"{name}\",\"data\":1}}\n");
        let head = format!(
            "POST /publish/batch HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n",
            server.control,
            lines.len()
        );
        let batch = server.connect_control().ask(format!("{head}{lines}"));
        for answer in [&single, &batch] {
            assert_problem(name, answer, &[400]);
            assert_eq!(answer.json()["error"], "reserved_event");
        }
        let message = batch.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with("Line 2: "), "{message}");
    }
    for name in ["fanwheel", "Fanwheel.gap", "x.fanwheel.gap"] {
        assert_eq!(server.post(&format!("topic=a&event={name}"), "", "x").status, 202, "{name}");
        assert_eq!(stream.event().name.as_deref(), Some(name));
    }
}

/// Topics in their percent-encoded form, as they appear in a query.
fn unusual_topics() -> Vec<String> {
    let long = "t".repeat(5_000);
    let just = "t".repeat(128);
    [
        "a%0Ab",
        "a%0D%0Ab",
        "a%00b",
        "../",
        "..%2F..%2Fetc",
        "%FF",
        "%C3",
        "%3Cscript%3E",
        "%25",
        "%2525",
        "%250A",
        &long,
        &just,
        "*",
        "a*",
        "%3F",
        "%5Ba-z%5D",
        "x%0D%0AFLUSHALL",
        "a+b",
        "a%2Bb",
        "a%20b",
        "%20",
        "a%26b",
        "a=b",
        "a%3Db",
        "%C3%A9",
        "e%CC%81",
        "%F0%9F%98%80",
        "a%7Fb",
        "a%C2%85b",
        "%zz",
        "%4",
        "%",
        "a%09b",
        "%22",
        "'",
        "%5C",
        "a;b",
        "a/b",
        "fanwheel.gap",
        "%7B%7D",
        "$",
        "%EF%BB%BF",
        "%E2%80%A8",
        "a,b",
        "#x",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn unusual_topics_are_refused_or_exact_and_isolated() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        let neighbours = "topic=a&topic=b&topic=x&topic=t&topic=e&topic=%00".replace("&topic=%00", "");
        let mut others = server.subscribe(&neighbours);
        witness.relevel();
        for topic in unusual_topics() {
            let case: String = topic.chars().take(30).collect();
            let mut conn = server.connect();
            conn.send(format!("GET /events?topic={topic} HTTP/1.1\r\nHost: fan.test\r\n\r\n"));
            let head = conn.head(SOON).expect("an answer");
            let posted =
                server.connect_control().ask(server.publish_bytes(&format!("topic={topic}"), "", b"for it"));
            if head.status == 200 {
                assert_eq!(posted.status, 202, "{case}: may be subscribed to but not published to");
                let at = std::time::Instant::now() + SOON;
                conn.take_through(b"data: for it\n", at).expect("exactly this topic's event");
            } else {
                assert!((400..500).contains(&head.status), "{case}: {}", head.status);
                assert!((400..500).contains(&posted.status), "{case}: {} for a publisher", posted.status);
            }
            drop(conn);
            witness.check(&case);
        }
        others.assert_quiet(ms(50));
    });
}

#[test]
fn almost_equal_topics_are_isolated() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let topics = [
            "topic",
            "Topic",
            "TOPIC",
            "topic.",
            ".topic",
            "topic ",
            " topic",
            "topic/",
            "topi",
            "topics",
            "\u{e9}",
            "e\u{301}",
            "e",
            "topic%",
            "topic*",
            "to\u{200B}pic",
            "t\u{f6}pic",
        ];
        let mut streams: Vec<Stream> =
            topics.iter().map(|topic| server.subscribe(&format!("topic={}", percent(topic)))).collect();
        for topic in topics {
            server.publish(topic, format!("for {topic:?}"));
        }
        for (topic, stream) in topics.iter().zip(&mut streams) {
            assert_eq!(stream.event().data, format!("for {topic:?}"));
        }
        server.publish("end", "x");
        streams.iter_mut().for_each(|stream| stream.assert_quiet(ms(10)));
    });
}

#[test]
fn plus_sign_in_a_query_means_the_same_to_both_sides() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a+b");
    let posted = server.connect_control().ask(server.publish_bytes("topic=a+b", "", b"x"));
    assert_eq!(posted.status, 202);
    assert_eq!(stream.event().data, "x");
}
