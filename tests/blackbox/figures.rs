//! `/metrics` and `/status` against the clients' own counts: counts agree to the byte, distributions hold
//! every delivery once, pages stay small and quick.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Conn, Launch, Metrics, SOON, Server, Stream, ms, poll_until, with_1_and_4_workers};
use crate::load::{load, number};

/// Growth of a metric.
fn grown(before: &Metrics, after: &Metrics, name: &str) -> u64 {
    after.get(name) - before.get(name)
}

fn status(server: &Server) -> Value {
    server.get("/status?series=1").json()
}

#[test]
fn figures_of_a_load_are_what_its_subscribers_saw() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        // Flags, events, deliveries in all, of these replayed, and how many subscribers come back for them.
        let rows = [
            ("--subscribers 150 --events 40 --warm-up 5", 45, 45 * 150, 0, 0),
            ("--subscribers 60 --topics 60 --events 300 --window 30 --batch 10", 300, 300, 0, 0),
            ("--subscribers 80 --events 6 --reconnect-percent 100 --missed 10", 6 + 10, 16 * 80, 10 * 80, 80),
        ];
        for (flags, events, deliveries, replayed, returned) in rows {
            let before = server.metrics();
            let (code, report, words) = load(server.public, server.control, flags);
            assert_eq!(code, Some(0), "{flags}: {report} {words}");
            // A worker counts deliveries last, just after the last subscriber may have had its bytes.
            let counted = |after: &Metrics| {
                let all = [("delivered", deliveries), ("replayed", replayed)];
                all.iter().all(|(name, least)| grown(&before, after, name) >= *least)
            };
            let after = server.await_metric("deliveries", SOON, counted);
            let grown = |name: &str| grown(&before, &after, name);
            // A stream that its client has just cut may still be sent what comes next.
            let missed = if returned > 0 { 10 } else { 0 };
            let cut = 0..=missed * returned;
            assert_eq!(grown("published"), events, "{flags}");
            assert!(cut.contains(&(grown("delivered") - deliveries)), "{flags}: {}", grown("delivered"));
            assert_eq!(grown("replayed"), replayed, "{flags}");
            assert_eq!(grown("delivery_seconds_count"), grown("delivered") - replayed, "{flags}");
            assert_eq!((grown("replay_events_count"), grown("replay_events_sum")), (returned, replayed));
            let measured = number(&report, "/delivered/deliveries");
            assert!(measured + replayed <= deliveries && measured > 0, "{flags}: {report}");
            // What is published while nobody is there, for those that come back, has no last subscriber.
            let reached = if grown("delivered") == deliveries { 0 } else { missed };
            let last = grown("delivery_last_seconds_count");
            assert!((events - missed..=events - missed + reached).contains(&last), "{flags}: {last}");
            assert!(
                grown("event_sends") <= grown("delivered") && grown("batches") <= grown("sends"),
                "{flags}"
            );
        }
    });
}

/// All bytes of an answer, on a connection of its own.
fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut conn = Conn::open(address);
    conn.send(request);
    conn.rest(SOON).0
}

#[test]
fn bytes_sent_are_the_bytes_received() {
    // With two, one could tell of an answer's bytes before the other has counted them.
    let server = Launch::workers(1).start();
    let get = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.control);
    let sent = |answer: &[u8]| {
        let text = String::from_utf8(answer.to_vec()).expect("text");
        Metrics(text).get("bytes_sent")
    };
    let mut streams: Vec<Conn> = (0..5).map(|_| server.connect()).collect();
    for conn in &mut streams {
        conn.send("GET /events?topic=a HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    server.await_metric("streams", SOON, |metrics| metrics.get("subscribers") == 5);
    let before = raw(server.control, get.as_bytes());
    let greeted = sent(&before);
    let mut received = before.len() as u64;
    for n in 0..20 {
        let body = "x".repeat(n * 17);
        let publish = server.publish_bytes("topic=a", "Connection: close\r\n", body.as_bytes());
        received += raw(server.control, &publish).len() as u64;
    }
    server.await_metric("deliveries", SOON, |metrics| metrics.get("delivered") == 100);
    let greeting = raw_greeting(&server);
    for conn in &mut streams {
        received += conn.rest(ms(300)).0.len() as u64 - greeting;
    }
    // The readings of `/metrics` meanwhile count, too: the last two tell what one of them costs.
    let first = raw(server.control, get.as_bytes());
    let second = raw(server.control, get.as_bytes());
    assert_eq!(sent(&second) - sent(&first), first.len() as u64, "one answer");
    let requests = |answer: &[u8]| Metrics(String::from_utf8_lossy(answer).into_owned()).get("requests");
    let readings = requests(&first) - requests(&before) - 20 - 2;
    let extra = sent(&first) - greeted - received;
    // Each reading of the wait, and the stream that only showed its greeting, within a few digits.
    let each = (extra - greeting) / readings.max(1);
    assert!(each.abs_diff(first.len() as u64) < 200, "{readings} readings of {each} bytes");
}

/// How many bytes a stream begins with, up to the first event.
fn raw_greeting(server: &Server) -> u64 {
    let mut conn = server.connect();
    conn.send("GET /events?topic=quiet HTTP/1.1\r\nHost: x\r\n\r\n");
    server.await_metric("greeted", SOON, |metrics| metrics.get("subscribers") == 6);
    conn.rest(ms(300)).0.len() as u64
}

#[test]
fn who_stops_reading_lags_until_it_has_caught_up() {
    let server = Launch::workers(2).set("unsent_bytes_max", 4_096).start();
    let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
    let mut slow = Stream::open(conn, "topic=a", "");
    let mut quick = server.subscribe("topic=a");
    let body = |n: usize| format!("{n} {}", "x".repeat(8_000));
    server.publish_all("a", (0..60).map(body));
    (0..60).for_each(|_| drop(quick.event()));
    let metrics = server.await_metric("lagging", SOON, |metrics| metrics.get("lagging") == 1);
    assert!(metrics.get("lagged") >= 1);
    let told = poll_until(SOON, || (status(&server)["subscribers"]["lagging"] == 1).then_some(()));
    assert!(told.is_some(), "{}", status(&server));
    (0..60).for_each(|_| drop(slow.event()));
    server.publish("a", "end");
    assert_eq!((slow.event().data, quick.event().data), ("end".to_owned(), "end".to_owned()));
    let metrics = server.await_metric("caught up", SOON, |metrics| metrics.get("lagging") == 0);
    assert_eq!(metrics.get("delivery_seconds_count"), metrics.get("delivered"), "late ones have an age, too");
    drop(slow);
    server.await_metric("gone", SOON, |metrics| metrics.get("subscribers") == 1);
    assert_eq!(server.metrics().get("lagging"), 0);
}

#[test]
fn status_tells_rates_latencies_and_workers() {
    let server = Launch::workers(2).start();
    let mut streams: Vec<Stream> = (0..10).map(|_| server.subscribe("topic=a")).collect();
    server.publish_all("a", (0..20).map(|n| n.to_string()));
    streams.iter_mut().for_each(|stream| drop(stream.data(20)));
    let told = poll_until(SOON, || {
        let page = status(&server);
        let delivered = page["rates"]["1m"]["deliveries"].as_f64() > Some(0.0);
        (delivered && page["latency_ms"]["each"]["p99"].as_f64() > Some(0.0)).then_some(page)
    });
    let page = told.unwrap_or_else(|| panic!("no latency in {}", status(&server)));
    let [p50, p99, max] = ["p50", "p99", "max"].map(|name| page["latency_ms"]["each"][name].as_f64());
    assert!(p50 <= p99 && p99 <= max && max < Some(5_000.0), "{page}");
    assert!(page["memory"]["resident_bytes"].as_u64() > Some(1 << 20), "{page}");
    assert_eq!(page["memory"]["leak"]["judgement"], "learning");
    assert_eq!(page["subscribers"]["messages_per_connection_mean"], 20.0);
    let workers = page["workers"].as_array().expect("a list");
    let subscribers: u64 = workers.iter().filter_map(|worker| worker["subscribers"].as_u64()).sum();
    assert_eq!((workers.len(), subscribers), (2, 10), "{page}");
    let series = page["series"].as_object().expect("asked for");
    let lengths: Vec<usize> = series.values().filter_map(|values| Some(values.as_array()?.len())).collect();
    assert!(lengths.len() == 8 && lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    assert!(server.get("/status").json().get("series").is_none());
}

#[test]
fn metrics_stay_small_with_ten_thousand_topics_and_speak_openmetrics() {
    let server = Launch::workers(2).start();
    let before = server.metrics().0.len();
    let mut conn = server.connect_control();
    for part in 0..6 {
        let line = |n| format!("{{\"topic\":\"topic {part} {n}\",\"data\":\"x\"}}\n");
        let body: String = (0..2_000).map(line).collect();
        let head = format!(
            "POST /publish/batch HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n",
            server.control,
            body.len()
        );
        assert_eq!(conn.ask(head + &body).status, 202);
    }
    let metrics = server.metrics();
    assert_eq!(metrics.get("topics"), 12_000);
    let bytes = metrics.0.len();
    assert!(bytes < before + 300 && bytes < 60_000, "{before} bytes, then {bytes}");
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n";
    let answer = conn.ask(request);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(answer.text().ends_with("\n# EOF\n"));
    assert!(answer.text().contains("\n# TYPE fanwheel_published counter\n"));
    assert!(answer.text().contains("\nfanwheel_published_total 12000\n"));
}

#[test]
fn pages_are_quick_beside_a_busy_broadcast() {
    let server = Launch::workers(1).start();
    let (public, control) = (server.public, server.control);
    let busy = std::thread::spawn(move || {
        load(public, control, "--subscribers 600 --seconds 3 --window 64 --publishers 4")
    });
    server.await_metric("deliveries", ms(10_000), |metrics| metrics.get("delivered") > 10_000);
    let mut times: Vec<Duration> = Vec::new();
    while !busy.is_finished() && times.len() < 40 {
        let start = Instant::now();
        let page = if times.len().is_multiple_of(2) { "/metrics" } else { "/status" };
        assert_eq!(server.get(page).status, 200);
        times.push(start.elapsed());
        std::thread::sleep(ms(20));
    }
    times.sort_unstable();
    // Measured: 1 ms. The bound is for a debug build on a machine that has other things to do.
    assert!(times.len() > 5 && times[times.len() / 4] < ms(250), "{times:?}");
    let (code, report, words) = busy.join().expect("the load does not panic");
    assert_eq!(code, Some(0), "{report} {words}");
    let metrics = server.metrics();
    let deliveries = number(&report, "/delivered/deliveries");
    assert_eq!(metrics.get("delivery_seconds_count"), metrics.get("delivered"));
    assert!(metrics.get("delivered") >= deliveries, "{deliveries} seen");
    assert!(metrics.labelled("budget_exhausted", "rounds") > 0, "{}", metrics.shown());
}
