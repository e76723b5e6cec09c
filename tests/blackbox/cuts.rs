//! Connections that are cut in the middle of a frame, by the client, or by somebody between (`ss -K`, where
//! the kernel allows it): a client that resumes with the last whole id gets everything once.

use crate::harness::{Conn, Launch, SOON, Server, ms, poll_until, with_1_and_4_workers};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Larger than what the kernel and a small window take at once, so that most cuts tear a frame.
const EVENT_BYTES: usize = 100_000;
const EVENTS: usize = 40;

/// The events that a client has, over all its connections.
#[derive(Default)]
struct Seen {
    newest: Option<String>,
    numbers: Vec<usize>,
    torn: usize,
}

impl Seen {
    /// Follows one connection to its end, or until `bytes_max` bytes came, and then resets it.
    fn follow(&mut self, server: &Server, bytes_max: usize) {
        let Ok(mut conn) = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 8_192) else { return };
        let id = self.newest.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        conn.send(format!("GET /events?topic=a&last=1000 HTTP/1.1\r\nHost: fan.test\r\n{id}\r\n"));
        if conn.head(SOON).is_err() {
            return;
        }
        let mut bytes = 0;
        while self.numbers.len() < EVENTS && bytes < bytes_max {
            let Ok(Some(chunk)) = conn.chunk(Instant::now() + SOON) else { break };
            bytes += chunk.len();
            let text = String::from_utf8(chunk).expect("UTF-8");
            let Some(event) = text.strip_prefix("id: ") else { continue };
            let (id, data) = event.split_once("\ndata: ").expect("a frame of ours");
            let number = data.trim_end_matches(['x', '\n']);
            assert_eq!(data.len(), number.len() + EVENT_BYTES + 2, "a frame of another length");
            self.newest = Some(id.to_owned());
            self.numbers.push(number.parse().expect("a number"));
        }
        if self.numbers.len() < EVENTS {
            // What has come of a next frame is lost, as a browser loses it.
            let _ = conn.fill(Instant::now() + ms(20));
            self.torn += usize::from(!conn.buffered().is_empty());
            conn.reset();
        }
    }
}

fn publish_all(server: &Server) {
    let filler = "x".repeat(EVENT_BYTES);
    for number in 0..EVENTS {
        server.publish("a", format!("{number}{filler}"));
        std::thread::sleep(ms(10));
    }
}

/// Publishes while clients follow and are cut; nobody may miss anything or get it twice.
fn assert_whole(server: &Server, clients: usize, bytes_max: usize) -> Vec<Seen> {
    let follow = || {
        let mut seen = Seen::default();
        let all = poll_until(ms(20_000), || {
            seen.follow(server, bytes_max);
            (seen.numbers.len() >= EVENTS).then_some(())
        });
        assert!(all.is_some(), "only {} of {EVENTS} events", seen.numbers.len());
        seen
    };
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..clients).map(|_| scope.spawn(follow)).collect();
        publish_all(server);
        followers.into_iter().map(|follower| follower.join().expect("followed")).collect()
    })
}

fn assert_once(seen: &[Seen]) {
    let expected: Vec<usize> = (0..EVENTS).collect();
    seen.iter().for_each(|seen| assert_eq!(seen.numbers, expected));
}

#[test]
fn client_that_resets_in_the_middle_of_frames_resumes_without_loss_or_repeat() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("unsent_bytes_max", 4_096).start();
        let seen = assert_whole(&server, 3, 3 * EVENT_BYTES);
        assert_once(&seen);
        let torn: usize = seen.iter().map(|seen| seen.torn).sum();
        assert!(torn > 0, "no frame was torn, which proves nothing");
        server.assert_healthy("after resets");
    });
}

/// Whether the kernel cut what it was asked to: it may not know how, and not everybody may ask.
fn cut_all(server: &Server) -> bool {
    let port = format!(":{}", server.public.port());
    let mut command = Command::new("ss");
    command.args(["-K", "-t", "-H", "state", "established", "sport", "=", &port]);
    let said = command.stdin(Stdio::null()).output();
    said.is_ok_and(|said| said.status.success() && !said.stdout.is_empty())
}

#[test]
fn streams_that_are_cut_from_between_are_resumed_without_loss_or_repeat() {
    let server = Launch::workers(2).set("unsent_bytes_max", 4_096).start();
    let mut idle = server.subscribe("topic=idle");
    if !cut_all(&server) || !idle.ends_within(SOON) {
        println!("skipped: connections cannot be cut from between here (ss -K)");
        return;
    }
    let reset = |server: &Server| server.metrics().labelled("closed", "reset");
    let (seen, cuts) = std::thread::scope(|scope| {
        let follow = scope.spawn(|| assert_whole(&server, 3, usize::MAX));
        let mut cuts = 0;
        while !follow.is_finished() && cuts < 12 {
            std::thread::sleep(ms(60));
            cuts += usize::from(cut_all(&server));
        }
        (follow.join().expect("followed"), cuts)
    });
    assert_once(&seen);
    assert!(cuts > 0 && reset(&server) > 1, "{cuts} cuts, {} resets", reset(&server));
    server.assert_healthy("after cuts");
}
