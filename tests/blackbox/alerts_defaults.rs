//! The default alerts, brought about for real with low thresholds, told to a webhook that fails first, and
//! ended by taking their cause away. A leak takes ten minutes to be judged, so it has a clock of its own, in
//! `leak.rs`.

use crate::harness::{Conn, Hook, Launch, Server, Stream, ms};
use crate::readiness::Stopped;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(20);

/// A server with rules under the names of defaults, and its webhook, which answers 500, refuses, then takes.
fn watched(name: &str, rules: &[(&str, &str)], launch: Launch) -> (Server, Hook) {
    let hook = Hook::failing_first(ms(1_500));
    let path = format!("{}/{name}-{}.toml", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let tables: Vec<String> = rules
        .iter()
        .map(|(rule, bound)| format!("[[alerts]]\nname = '{rule}'\n{bound}\nfor_ms = 0\n"))
        .collect();
    std::fs::write(&path, tables.concat()).expect("a writable folder");
    let url = format!("http://{}/hook", hook.address);
    let server = launch.set("config", &path).set("alert_webhook", url).start();
    let _ = std::fs::remove_file(&path);
    (server, hook)
}

/// The first message was answered 500 and taken later, and nothing was taken twice.
fn assert_failed_first(hook: &Hook) {
    let posted = hook.posted();
    assert_eq!((posted[0].status, posted.iter().filter(|posted| posted.status != 200).count()), (500, 1));
    let taken = posted.iter().filter(|posted| posted.status == 200);
    let mut messages: Vec<String> =
        taken.map(|posted| format!("{} {}", posted.json["name"], posted.json["state"])).collect();
    let all = messages.len();
    messages.sort();
    messages.dedup();
    assert_eq!(messages.len(), all, "a message was taken twice: {posted:#?}");
}

#[test]
fn errors_and_a_low_message_rate_are_told_and_end() {
    // Rates are over a minute, or over the time since the start while that is shorter: what happens
    // soon after the start thins out within seconds.
    let rules = [("errors", "above = 2"), ("message_rate_low", "below = 5")];
    let (server, hook) = watched("errors", &rules, Launch::workers(2));
    hook.await_taken("message_rate_low", "firing", WITHIN);
    for _ in 0..30 {
        let mut conn = Conn::open(server.public);
        conn.send("BROKEN\r\n\r\n");
        let _ = conn.answer(ms(1_000));
    }
    server.publish_all("a", (0..1_000).map(|n| n.to_string()));
    hook.await_taken("message_rate_low", "resolved", WITHIN);
    let firing = hook.await_taken("errors", "firing", WITHIN);
    assert_eq!(firing.json["metric"], "errors_per_second");
    hook.await_taken("errors", "resolved", 2 * WITHIN);
    assert_failed_first(&hook);
}

#[test]
fn a_crowd_near_the_cap_is_told_and_ends() {
    let rules = [("connections_near_cap", "above = 0.5")];
    let (server, hook) = watched("cap", &rules, Launch::workers(2).set("connections_max", 10));
    let streams: Vec<Stream> = (0..6).map(|_| server.subscribe("topic=a")).collect();
    let firing = hook.await_taken("connections_near_cap", "firing", WITHIN);
    assert!(firing.json["value"].as_f64().is_some_and(|share| share > 0.5), "{}", firing.json);
    drop(streams);
    hook.await_taken("connections_near_cap", "resolved", WITHIN);
    assert_failed_first(&hook);
}

#[test]
fn memory_that_history_fills_is_told_and_ends_when_it_expires() {
    let launch = Launch::workers(1)
        .set("memory_bytes_max", 400 << 20)
        .set("history_bytes_max", 128 << 20)
        .set("history_topic_bytes_max", 128 << 20)
        .set("history_ms", 12_000);
    let (server, hook) = watched("memory", &[("memory_high", "above = 0.2")], launch);
    let quiet = server.resident_bytes();
    assert!(quiet < 60 << 20, "{quiet} bytes before anything was published");
    server.publish_all("a", (0..480).map(|_| "x".repeat(250_000)));
    let firing = hook.await_taken("memory_high", "firing", WITHIN);
    assert!(firing.json["text"].as_str().is_some_and(|text| text.contains("share of its limit is ")));
    hook.await_taken("memory_high", "resolved", 3 * WITHIN);
    assert_failed_first(&hook);
}

#[test]
fn subscribers_that_lag_are_told_and_end() {
    let launch = Launch::workers(2).set("stall_ms", 60_000);
    let (server, hook) = watched("lagging", &[("subscribers_lagging", "above = 0.3")], launch);
    let _quick = server.subscribe("topic=b");
    let stuck = server.subscribe("topic=a");
    server.publish_all("a", (0..100).map(|_| "x".repeat(100_000)));
    let firing = hook.await_taken("subscribers_lagging", "firing", WITHIN);
    assert_eq!(firing.json["value"], 0.5);
    drop(stuck);
    hook.await_taken("subscribers_lagging", "resolved", WITHIN);
    assert_failed_first(&hook);
}

#[test]
fn a_worker_that_stands_still_is_told_as_not_ready_and_as_slow_delivery() {
    let rules = [("not_ready", "severity = 'critical'"), ("delivery_slow", "above = 500")];
    let (server, hook) = watched("ready", &rules, Launch::workers(2));
    let mut streams: Vec<Stream> = (0..8).map(|_| server.subscribe("topic=a")).collect();
    let Some(stopped) = Stopped::worker(&server, 1) else { return };
    server.publish("a", "late for some");
    let firing = hook.await_taken("not_ready", "firing", WITHIN);
    assert!(firing.json["why"].as_str().is_some_and(|why| why.contains("worker 1")), "{}", firing.json);
    assert_eq!(firing.json["severity"], "critical");
    drop(stopped);
    hook.await_taken("not_ready", "resolved", WITHIN);
    hook.await_taken("delivery_slow", "firing", WITHIN);
    // Enough that are quick, and the few late ones are less than one in a hundred.
    for _ in 0..4 {
        server.publish_all("a", (0..100).map(|n| n.to_string()));
        streams.iter_mut().for_each(|stream| drop(stream.data(100)));
    }
    hook.await_taken("delivery_slow", "resolved", WITHIN);
    assert_failed_first(&hook);
}
