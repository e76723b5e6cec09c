//! Classes of topics: each has its own history, slow policy and life; a reload changes them under live
//! streams, whole or not at all.

use crate::harness::{
    ConfigFile, Conn, Finish, Item, Launch, Server, Stream, ms, poll_until, reload, with_1_and_4_workers,
};
use std::net::Ipv4Addr;
use std::time::Instant;

/// A server of two workers with these classes.
fn serve(file: &ConfigFile) -> Server {
    Launch::workers(2).set("config", &file.0).start()
}

/// Payloads of all that a topic keeps.
fn kept(server: &Server, topic: &str) -> Vec<String> {
    let mut stream = server.subscribe(&format!("topic={topic}&last=1000"));
    std::iter::from_fn(|| stream.try_event(ms(300))).map(|event| event.data).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn each_class_keeps_its_own_history() {
    let file = ConfigFile::new(
        "class-history",
        "history_events = 5\n\
         [[class]]\nname = 'prices'\ntopics = ['prices.*']\nhistory_events = 2\n\
         [[class]]\nname = 'brief'\ntopics = ['brief.**']\nhistory_ms = 400\n",
    );
    let server = serve(&file);
    for topic in ["prices.eur", "brief.a.b", "other"] {
        server.publish_all(topic, numbers(0..10));
    }
    assert_eq!(kept(&server, "prices.eur"), numbers(8..10));
    assert_eq!(kept(&server, "other"), numbers(5..10));
    let gone = poll_until(ms(5_000), || kept(&server, "brief.a.b").is_empty().then_some(()));
    assert!(gone.is_some(), "events outlive their class's time");
    assert_eq!(kept(&server, "other"), numbers(5..10));
    let status = server.get("/status").json();
    let classes = status["classes"].as_array().expect("a list");
    let row = |name: &str| classes.iter().find(|class| class["name"] == name).expect("a class").clone();
    assert_eq!((&row("prices")["published"], &row("prices")["history"]["events"]), (&10.into(), &2.into()));
    assert_eq!(row("brief")["history"]["events"], 0);
    assert_eq!(server.metrics().labelled("class_published", "default"), 10);
    let topics = server.get("/topics?q=prices").json();
    assert_eq!(topics["topics"][0]["class"], "prices");
}

#[test]
fn each_class_has_its_own_life_and_a_stream_of_several_the_shortest() {
    let file = ConfigFile::new(
        "class-life",
        "retry_ms = 1000\n[[class]]\nname = 'brief'\ntopics = ['brief']\nmax_connection_ms = 600\n",
    );
    let server = serve(&file);
    let mut long = server.subscribe("topic=long");
    for query in ["topic=brief", "topic=long&topic=brief"] {
        let mut brief = server.subscribe(query);
        let (_, finish) = brief.read_to_end(ms(3_000));
        assert_eq!(finish, Finish::Clean, "{query}");
    }
    server.publish("long", "x");
    assert_eq!(long.event().data, "x");
    assert_eq!(server.metrics().labelled("closed", "life"), 2);
}

#[test]
fn each_class_has_its_own_slow_policy() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(
            &format!("class-policy-{workers}"),
            "unsent_bytes_max = 4096\nhistory_events = 20\n\
             [[class]]\nname = 'skips'\ntopics = ['skips']\nslow_policy = 'skip'\n",
        );
        let server = Launch::workers(workers).set("config", &file.0).start();
        let slow = |query: &str| {
            let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
            Stream::open(conn, query, "")
        };
        let mut skips = slow("topic=skips");
        // The more careful of two policies holds.
        let mut careful = [slow("topic=strict"), slow("topic=strict&topic=skips")];
        for topic in ["skips", "strict"] {
            server.publish_all(topic, (0..200).map(|n| format!("{n} {}", "x".repeat(8_000))));
        }
        server.publish("skips", "end");
        for stream in &mut careful {
            stream.read_to_end(ms(10_000));
        }
        let mut gaps = 0;
        while let Some(event) = skips.try_event(ms(5_000)) {
            gaps += usize::from(event.is_gap());
            if event.data == "end" {
                break;
            }
        }
        assert!(gaps > 0, "no gap was told");
        server.await_metric("evicted", ms(5_000), |metrics| metrics.labelled("closed", "slow_evicted") == 2);
        assert!(server.metrics().get("skipped") > 0);
    });
}

#[test]
fn a_reload_changes_classes_under_live_streams() {
    let class = |events: usize| {
        format!("[[class]]\nname = 'prices'\ntopics = ['prices.*']\nhistory_events = {events}\n")
    };
    let file = ConfigFile::new("class-reload", "");
    let server = serve(&file);
    let mut live: Vec<Stream> = (0..8).map(|_| server.subscribe("topic=prices.eur&topic=other")).collect();
    server.publish_all("prices.eur", numbers(0..10));
    server.publish("other", "o");
    file.write(&class(3));
    reload(&server, "event=reloaded setting=class");
    assert_eq!(kept(&server, "prices.eur"), numbers(7..10), "what is too much goes at once");
    file.write(&format!("log_level = 'info'\n{}", class(5)));
    reload(&server, "event=reloaded setting=class");
    server.publish_all("prices.eur", numbers(10..20));
    assert_eq!(kept(&server, "prices.eur"), numbers(15..20));
    file.write("history_events = 4\n");
    reload(&server, "event=reloaded setting=history_events");
    assert_eq!(kept(&server, "prices.eur"), numbers(16..20), "the default class takes its topics back");
    for stream in &mut live {
        let expected: Vec<String> = [numbers(0..10), vec!["o".to_owned()], numbers(10..20)].concat();
        assert_eq!(stream.data(21), expected);
    }
    assert_eq!(server.metrics().get("reloads_refused"), 0);
}

#[test]
fn a_reload_with_a_mistake_changes_nothing_and_is_counted() {
    let good = "[[class]]\nname = 'prices'\ntopics = ['prices.*']\nhistory_events = 3\n";
    let file = ConfigFile::new("class-refused", good);
    let server = serve(&file);
    for (nth, mistake) in
        ["topics = []", "topics = ['x']\nhistory_events = 0", "topics = ['prices.eur']"].iter().enumerate()
    {
        // The part before the mistake is good, and must not be taken.
        let before = good.replace("history_events = 3", "history_events = 9");
        file.write(&format!("{before}[[class]]\nname = 'b'\n{mistake}\n"));
        reload(&server, "event=reload_refused");
        let line = server.log().lines().last().map(str::to_owned).unwrap_or_default();
        assert!(line.contains(&file.0) && line.contains("class"), "{line}");
        server.publish_all("prices.eur", numbers(0..5));
        assert_eq!(kept(&server, "prices.eur"), numbers(2..5), "{mistake}");
        assert_eq!(server.metrics().get("reloads_refused"), nth as u64 + 1);
    }
}

#[test]
fn a_stream_without_events_for_long_ends_cleanly_and_one_with_events_goes_on() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(
            &format!("class-idle-{workers}"),
            "heartbeat_ms = 200\nretry_ms = 1000\n\
             [[class]]\nname = 'quiet'\ntopics = ['quiet.*']\nmax_idle_ms = 1000\n",
        );
        let server = Launch::workers(workers).set("config", &file.0).start();
        let start = Instant::now();
        let mut other = server.subscribe("topic=other");
        let mut idle: Vec<Stream> =
            ["topic=quiet.a", "topic=quiet.a&event=x"].map(|query| server.subscribe(query)).into();
        let mut busy = server.subscribe("topic=quiet.b");
        let mut both = server.subscribe("topic=quiet.a&topic=quiet.b");
        while start.elapsed() < ms(2_500) {
            server.publish("quiet.b", "x");
            std::thread::sleep(ms(150));
        }
        for stream in &mut idle {
            let (items, finish) = stream.read_to_end(ms(500));
            assert_eq!(finish, Finish::Clean);
            assert!(matches!(items.last(), Some(Item::Retry(_))), "{items:?}");
        }
        server.publish("other", "x");
        assert_eq!(other.event().data, "x");
        for stream in [&mut busy, &mut both] {
            assert!(stream.data(10).iter().all(|data| data == "x"));
            // Silence begins with the last event.
            let (_, finish) = stream.read_to_end(ms(3_000));
            assert_eq!(finish, Finish::Clean);
        }
        server.await_metric("counted", ms(2_000), |metrics| metrics.labelled("closed", "life") == 4);
    });
}

#[test]
fn events_without_a_name_get_their_topic_where_the_class_says_so() {
    let file = ConfigFile::new(
        "class-names",
        "[[class]]\nname = 'named'\ntopics = ['named.**']\nevent_from_topic = true\n",
    );
    let server = serve(&file);
    let mut stream = server.subscribe("topic=plain&topic=named.a&topic=named.b");
    let mut filtered = server.subscribe("topic=named.a&event=named.a");
    server.publish("plain", "0");
    server.publish("named.a", "1");
    let own = server.publish_bytes("topic=named.a&event=own", "", b"2");
    assert_eq!(server.connect_control().ask(own).status, 202);
    let two = server.publish_bytes("topic=plain&topic=named.b&topic=named.a", "", b"3");
    assert_eq!(server.connect_control().ask(two).status, 202);
    let lines = "{\"topic\":\"named.a\",\"data\":\"4\"}\n{\"topic\":\"plain\",\"data\":\"5\"}\n";
    let head = format!(
        "POST /publish/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n{lines}",
        lines.len()
    );
    assert_eq!(server.connect_control().ask(head).status, 202);
    let named = |stream: &mut Stream, count: usize| -> Vec<(Option<String>, String)> {
        (0..count).map(|_| stream.event()).map(|event| (event.name, event.data)).collect()
    };
    let row = |name: Option<&str>, data: &str| (name.map(str::to_owned), data.to_owned());
    let expected = [
        row(None, "0"),
        row(Some("named.a"), "1"),
        row(Some("own"), "2"),
        row(Some("named.b"), "3"),
        row(Some("named.a"), "4"),
        row(None, "5"),
    ];
    assert_eq!(named(&mut stream, 6), expected);
    assert_eq!(named(&mut filtered, 2), [expected[1].clone(), expected[4].clone()]);
    // A reload takes it back.
    file.write("");
    reload(&server, "event=reloaded setting=class");
    server.publish("named.a", "6");
    assert_eq!(named(&mut stream, 1), [row(None, "6")]);
}

#[test]
fn events_of_a_batched_class_come_together_each_with_its_id_and_resume_exactly() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(
            &format!("class-batch-{workers}"),
            "[[class]]\nname = 'prices'\ntopics = ['prices.*']\nbatch_ms = 700\nbatch_events = 20\n",
        );
        let server = Launch::workers(workers).set("config", &file.0).start();
        let mut live: Vec<Stream> = (0..8).map(|_| server.subscribe("topic=prices.a")).collect();
        let mut other = server.subscribe("topic=plain");
        let start = Instant::now();
        let first = server.publish("prices.a", "0");
        server.publish_all("prices.a", numbers(1..5));
        server.publish("plain", "x");
        assert_eq!(other.event().data, "x");
        let soon = start.elapsed() < ms(500);
        assert!(!soon || live[0].try_event(ms(50)).is_none(), "it waits");
        // One that resumes has the rest at once, and nothing twice.
        let mut back = server.subscribe(&format!("topic=prices.a&last_event_id={first}"));
        assert_eq!(back.data(4), numbers(1..5));
        for stream in &mut live {
            let events: Vec<_> = (0..5).map(|_| stream.event()).collect();
            assert_eq!(events.iter().map(|event| event.data.clone()).collect::<Vec<_>>(), numbers(0..5));
            assert!(events.windows(2).all(|pair| pair[0].id != pair[1].id), "each has its own id");
        }
        let waited = start.elapsed();
        assert!(waited >= ms(700) && waited < ms(5_000), "{waited:?}");
        // As many as the window takes leave at once.
        let start = Instant::now();
        server.publish_all("prices.a", numbers(0..20));
        for stream in live.iter_mut().chain([&mut back]) {
            assert_eq!(stream.data(20), numbers(0..20));
        }
        let metrics = server.metrics();
        assert!(metrics.get("windows") >= 2 && metrics.get("window_events") >= 25, "{:?}", start.elapsed());
        // A drain waits for no window.
        server.publish("prices.a", "last");
        let asked = server
            .connect_control()
            .ask("POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(asked.status, 202);
        for stream in &mut live {
            let (items, finish) = stream.read_to_end(ms(5_000));
            assert_eq!(finish, Finish::Clean);
            let last = items.iter().any(|item| matches!(item, Item::Event(event) if event.data == "last"));
            assert!(last, "{items:?}");
        }
    });
}

#[test]
fn a_throttled_class_brings_the_newest_of_each_key_at_its_pace_and_tells_no_gap() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(
            &format!("class-throttle-{workers}"),
            "[[class]]\nname = 'prices'\ntopics = ['prices.*']\nthrottle_ms = 400\n",
        );
        let server = Launch::workers(workers).set("config", &file.0).start();
        let mut live: Vec<Stream> = (0..8).map(|_| server.subscribe("topic=prices.a")).collect();
        let publish = |key: &str, data: &str| {
            let bytes = server.publish_bytes(&format!("topic=prices.a&key={key}"), "", data.as_bytes());
            assert_eq!(server.connect_control().ask(bytes).status, 202);
        };
        let start = Instant::now();
        let mut round = 0;
        while start.elapsed() < ms(2_000) {
            ["x", "y"].iter().for_each(|key| publish(key, &format!("{key}{round}")));
            round += 1;
            std::thread::sleep(ms(5));
        }
        publish("x", "end");
        for stream in &mut live {
            let mut got: Vec<String> = Vec::new();
            while got.last().is_none_or(|last| last != "end") {
                let event = stream.event();
                assert!(!event.is_gap(), "{event:?}");
                got.push(event.data);
            }
            let windows = start.elapsed().as_millis() as usize / 400 + 1;
            assert!(got.len() <= 2 * windows, "{} events in {windows} windows: {got:?}", got.len());
            assert!(got.contains(&format!("y{}", round - 1)), "{got:?}");
        }
        // One that comes back gets the newest of each key, too.
        let mut back = server.subscribe("topic=prices.a&last=500");
        assert_eq!(back.data(2), [format!("y{}", round - 1), "end".to_owned()]);
        assert!(server.metrics().labelled("superseded", "throttle") > 0);
    });
}

#[test]
fn an_array_is_one_event_and_a_client_that_comes_back_with_its_id_misses_nothing() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(
            &format!("class-array-{workers}"),
            "[[class]]\nname = 'a'\ntopics = ['a.*']\nbatch_ms = 500\nbatch_form = 'array'\n",
        );
        let server = Launch::workers(workers).set("config", &file.0).start();
        let mut live: Vec<Stream> = (0..8).map(|_| server.subscribe("topic=a.b")).collect();
        let mut filtered = server.subscribe("topic=a.b&event=message");
        for data in ["{\"x\":1}", "text"] {
            server.publish("a.b", data);
        }
        let mut id = String::new();
        for stream in &mut live {
            let event = stream.event();
            assert_eq!(event.data, "{\"batch\":[{\"x\":1},\"text\"],\"count\":2}");
            id = event.id.expect("that of the last event");
        }
        assert_eq!(filtered.data(2), ["{\"x\":1}", "text"]);
        // A poll within a window gets what waits at once.
        server.publish("a.b", "3");
        let request =
            format!("GET /events?topic=a.b&wait_ms=5000&last_event_id={id} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = server.connect().ask(request);
        assert!(answer.text().contains("data: 3\n") && !answer.text().contains("batch"), "{}", answer.text());
        let mut back = server.subscribe(&format!("topic=a.b&last_event_id={id}"));
        assert_eq!(back.data(1), ["3"]);
    });
}

#[test]
fn a_poll_that_waits_is_answered_when_its_window_ends() {
    let file = ConfigFile::new(
        "class-poll",
        "[[class]]\nname = 'a'\ntopics = ['a.*']\nbatch_ms = 600\n\
         [[class]]\nname = 'b'\ntopics = ['b.*']\nthrottle_ms = 600\n",
    );
    let server = serve(&file);
    for (topic, expected) in [("a.b", &["1", "2", "3"][..]), ("b.b", &["2", "3"])] {
        let request = format!("GET /events?topic={topic}&wait_ms=9000 HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut poll = server.connect();
        poll.send(request);
        std::thread::sleep(ms(200));
        let start = Instant::now();
        for (key, data) in [("x", "1"), ("x", "2"), ("y", "3")] {
            let bytes = server.publish_bytes(&format!("topic={topic}&key={key}"), "", data.as_bytes());
            assert_eq!(server.connect_control().ask(bytes).status, 202);
        }
        let answer = poll.answer(ms(8_000)).expect("an answer");
        let waited = start.elapsed();
        assert!(waited >= ms(500) && waited < ms(5_000), "{waited:?}");
        let text = answer.text().to_owned();
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data, expected, "{topic}");
    }
}

#[test]
fn subscribers_of_a_class_with_a_rate_get_no_more_than_that_and_others_do() {
    with_1_and_4_workers(|workers| {
        let class = |name: &str| {
            format!(
                "[[class]]\nname = '{name}'\ntopics = ['{name}.*']\nrate_events_per_second = 20\n\
                 rate_burst = 10\nrate_policy = '{name}'\n"
            )
        };
        let text = ["delay", "latest", "drop"].map(class).concat();
        let file = ConfigFile::new(&format!("class-rate-{workers}"), &text);
        let server = Launch::workers(workers).set("config", &file.0).start();
        let topics = ["delay.a", "latest.a", "drop.a", "free"];
        let mut streams = topics.map(|topic| server.subscribe(&format!("topic={topic}")));
        let start = Instant::now();
        for topic in topics {
            for n in 0..30 {
                let bytes = server.publish_bytes(
                    &format!("topic={topic}&key={}", n % 3),
                    "",
                    n.to_string().as_bytes(),
                );
                assert_eq!(server.connect_control().ask(bytes).status, 202);
            }
        }
        assert_eq!(streams[3].data(30), numbers(0..30));
        let mut gaps = Vec::new();
        for stream in &mut streams[..3] {
            let mut got = Vec::new();
            let mut told = 0;
            while got.last().is_none_or(|last: &String| last != "29") {
                let event = stream.try_event(ms(5_000)).expect("an event, or a gap");
                if event.is_gap() {
                    told += 1;
                } else {
                    got.push(event.data);
                }
            }
            let most = 11 + start.elapsed().as_millis() as usize * 20 / 1_000;
            assert!(got.len() >= 10 && got.len() <= most, "{} of {most}: {got:?}", got.len());
            gaps.push((told, got.len() == 30));
        }
        assert_eq!((gaps[0], gaps[1].0), ((0, true), 0));
        assert!(server.metrics().get("rate_holds") > 0, "{gaps:?}");
    });
}
