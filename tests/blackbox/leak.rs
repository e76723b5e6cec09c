//! The leak alert for real: a server that loses memory, minute after minute, and one whose memory grows as
//! much with what its clients ask for. The rule is the default one; what is made short is time itself: the
//! server runs on a clock that `fast_clock.c` speeds up from outside, and there it loses memory.

use crate::harness::{Hook, Launch, Server, Stream, ms, poll_until, preload};
use std::path::Path;
use std::time::{Duration, Instant};

/// Seconds of the server's in one of ours.
pub const FAST: u64 = 60;
/// Ten minutes until anything is judged, and some more.
const WITHIN: Duration = Duration::from_secs(30);

/// Lost in each of the server's seconds.
const LEAK_BYTES: usize = 32 * 1_024;

/// A server on that clock, which loses memory while there is such a file.
fn fast_server(clock: &Path, hook: &Hook, leak_while: &Path) -> Server {
    Launch::workers(1)
        .set("alert_webhook", format!("http://{}/hook", hook.address))
        .env("LD_PRELOAD", clock.to_str().expect("a plain path"))
        .env("FAST_CLOCK", &FAST.to_string())
        .env("LEAK_WHILE", leak_while.to_str().expect("a plain path"))
        .env("LEAK_BYTES", &LEAK_BYTES.to_string())
        .start()
}

/// A subscriber of as many topics as are allowed, which nobody else has. The server holds them for it, and
/// they are many times what a connection explains.
fn hoarder(server: &Server, number: usize) -> Stream {
    let topics: Vec<String> = (0..64).map(|at| format!("topic={number:0>20}-{at:0>20}")).collect();
    server.subscribe(&topics.join("&"))
}

fn leak(server: &Server) -> serde_json::Value {
    server.get("/status").json()["memory"]["leak"].clone()
}

#[test]
fn memory_that_grows_without_reason_is_told_as_a_leak_and_ends() {
    let Some(clock) = preload("fast_clock.c") else { return };
    let hook = Hook::failing_first(ms(1_500));
    let leaking = clock.with_extension("leaking");
    std::fs::write(&leaking, "").expect("a folder of our own");
    let server = fast_server(&clock, &hook, &leaking);
    assert_eq!(leak(&server)["judgement"], "learning");
    let is_told = |state: &str| {
        hook.posted().into_iter().find(|posted| {
            let json = &posted.json;
            posted.status == 200 && json["name"] == "memory_leak" && json["state"] == state
        })
    };
    let begun = Instant::now();
    let firing = poll_until(WITHIN, || is_told("firing"))
        .unwrap_or_else(|| panic!("not told: {}\n{:#?}", leak(&server), hook.posted()));
    let seen = leak(&server);
    assert_eq!(seen["judgement"], "suspected", "{seen}");
    assert!(seen["bytes_per_minute"].as_f64().is_some_and(|bytes| bytes > 128.0 * 1_024.0), "{seen}");
    assert!(firing.json["why"].as_str().is_some_and(|why| why.contains("neither connections")), "{firing:?}");
    assert!(firing.json["value"].as_f64().is_some_and(|value| value > 0.0), "{firing:?}");
    assert!(begun.elapsed() > Duration::from_secs(600) / FAST as u32, "sooner than it may know");

    // It grows no more, and after some minutes that is what the server says, too.
    std::fs::remove_file(&leaking).expect("it was written above");
    let resolved = poll_until(WITHIN, || is_told("resolved"));
    assert!(resolved.is_some(), "still told: {}\n{:#?}", leak(&server), hook.posted());
    assert_eq!(leak(&server)["judgement"], "none");
}

#[test]
fn clients_with_many_topics_of_their_own_are_no_leak() {
    let Some(clock) = preload("fast_clock.c") else { return };
    let hook = Hook::failing_first(ms(0));
    let server = fast_server(&clock, &hook, Path::new("/nonexistent"));
    // Twenty in each of the server's minutes, until it has judged for five.
    let (mut hoarders, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < Duration::from_secs(15 * 60) / FAST as u32 {
        hoarders.push(hoarder(&server, hoarders.len()));
        std::thread::sleep(Duration::from_secs(60) / FAST as u32 / 20);
    }
    let (seen, metrics) = (leak(&server), server.metrics());
    assert_eq!(seen["judgement"], "none", "{seen}");
    assert_eq!(metrics.get("subscriptions"), 64 * hoarders.len() as u64);
    assert_eq!(metrics.get("topics"), 64 * hoarders.len() as u64);
    assert!(hook.posted().is_empty(), "{:#?}", hook.posted());
}
