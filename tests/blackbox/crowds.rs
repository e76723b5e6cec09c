//! Many hostile clients at once, at a size for every run: slow heads, part-sent bodies, readers that never
//! read, pipeliners, replay storms, topics without end, publishers without mercy. Victims must not feel it.
//! `BLACKBOX_SCALE=10` makes the crowds ten times larger: the sizes that a release is judged by.

use crate::harness::{Conn, Fail, Launch, SOON, Server, Stream, Witness, assert_problem, ms, poll_until};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Tells the publisher that the hostile part is over, also when that part panicked.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Publishes to a healthy subscriber every 10 ms while `hostile` runs. Fails if one event is lost or is
/// later than what even a busy test machine explains.
fn with_victim<T>(case: &str, server: &Server, hostile: impl FnOnce() -> T) -> T {
    let mut stream = server.subscribe("topic=victim");
    let over = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut sent = Vec::new();
            while !over.load(Ordering::Relaxed) {
                sent.push(start.elapsed());
                server.publish("victim", (sent.len() - 1).to_string());
                std::thread::sleep(ms(10));
            }
            server.publish("victim", "end");
            sent
        });
        let reader = scope.spawn(|| {
            let mut received: Vec<Duration> = Vec::new();
            loop {
                let event = stream.any_event(ms(10_000));
                if event.data == "end" {
                    return received;
                }
                assert_eq!(event.data, received.len().to_string(), "{case}: a victim lost an event");
                received.push(start.elapsed());
            }
        });
        let result = {
            let _over = Over(&over);
            hostile()
        };
        let (sent, received) = (publisher.join().expect("accepted"), reader.join().expect("received"));
        let mut late: Vec<Duration> = sent.iter().zip(&received).map(|(s, r)| r.saturating_sub(*s)).collect();
        late.sort_unstable();
        let at = |part: usize| late[(late.len() - 1) * part / 100];
        println!(
            "{case}: {} victims' events, p50 {:?}, p99 {:?}, max {:?}",
            late.len(),
            at(50),
            at(99),
            at(100)
        );
        assert!(at(99) < ms(1_000), "{case}: p99 {:?}", at(99));
        result
    })
}

/// A crowd's size: as given, times `BLACKBOX_SCALE`.
fn crowd(size: usize) -> usize {
    size * std::env::var("BLACKBOX_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn assert_grown_less(case: &str, server: &Server, before: u64, bytes: u64) {
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < bytes, "{case}: resident memory grew by {grown}, allowed are {bytes}");
}

#[test]
fn dripping_heads_are_cut_and_cost_little() {
    let server = Launch::workers(2).set("head_ms", 1_500).start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    with_victim("slow heads", &server, || {
        let mut conns: Vec<Conn> = (0..crowd(300)).map(|_| server.connect()).collect();
        let start = Instant::now();
        conns.iter_mut().for_each(|conn| conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n"));
        let mut line = 0;
        while start.elapsed() < ms(1_300) {
            line += 1;
            conns.iter_mut().for_each(|conn| conn.send(format!("X-{line}: drip\r\n")));
            std::thread::sleep(ms(100));
        }
        assert_grown_less("slow heads", &server, before, 4_096 * crowd(300) as u64 + 2_000_000);
        for conn in &mut conns {
            conn.send("X-last: drip\r\n");
            let answer = conn.answer(SOON);
            let fine = matches!(&answer, Ok(a) if a.status == 408) || matches!(answer, Err(Fail::Ended(_)));
            assert!(fine, "{answer:?}");
        }
        assert!(start.elapsed() < ms(8_000), "cut after {:?}", start.elapsed());
    });
    witness.check("slow heads");
}

#[test]
fn part_bodies_stay_within_the_budget() {
    let server = Launch::workers(2).set("bodies_bytes_max", 4_194_304).set("body_ms", 2_000).start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    with_victim("part bodies", &server, || {
        let part = server.publish_bytes("topic=canary", "", &[b'x'; 262_144]);
        let fields = format!("Host: {}\r\nTransfer-Encoding: chunked\r\n", server.control);
        let chunk = format!("3ffff\r\n{}", "x".repeat(200_000));
        let chunked = format!("POST /publish?topic=canary HTTP/1.1\r\n{fields}\r\n{chunk}");
        let mut conns = Vec::new();
        for n in 0..crowd(100) {
            let mut conn = server.connect_control();
            let bytes = if n % 3 == 0 { chunked.as_bytes() } else { &part[..part.len() - 1] };
            conn.send(bytes);
            conns.push(conn);
        }
        assert_grown_less("part bodies", &server, before, 4_194_304 + 6_000_000);
        let mut refused = 0;
        for conn in &mut conns {
            match conn.answer(SOON) {
                Ok(answer) if answer.status == 408 => {}
                Ok(answer) => {
                    assert_problem("part bodies", &answer, &[503]);
                    refused += 1;
                }
                Err(fail) => assert!(matches!(fail, Fail::Ended(_)), "{fail:?}"),
            }
        }
        assert!(refused + 40 >= conns.len(), "only {refused} refused with 16 in the budget");
    });
    witness.check("part bodies");
}

#[test]
fn stuck_readers_are_cut_and_the_kernel_keeps_little_for_them() {
    let server = Launch::workers(2).set("stall_ms", 1_500).set("history_topic_bytes_max", 2_000_000).start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    with_victim("stuck readers", &server, || {
        let stuck: Vec<Conn> = (0..crowd(30))
            .map(|n| {
                let receive = if n % 2 == 0 { 4_096 } else { 0 };
                let mut conn =
                    Conn::open_from(Ipv4Addr::LOCALHOST, server.public, receive).expect("loopback");
                conn.send("GET /events?topic=large HTTP/1.1\r\nHost: fan.test\r\n\r\n");
                conn
            })
            .collect();
        server.await_metric("subscribed", SOON, |m| m.get("subscribers") >= 2 + crowd(30) as u64);
        // The other half reads nothing either, but its receive buffers may grow to megabytes: send more.
        server.publish_all("large", (0..250).map(|n| format!("{n}{}", "x".repeat(65_000))));
        let unsent = server.kernel_unsent_bytes();
        let worst = unsent.iter().max().copied().unwrap_or(0);
        assert!(worst <= 256 * 1_024, "{worst} bytes in the kernel for one of {}", unsent.len());
        assert_grown_less("stuck readers", &server, before, 12_000_000 + 1_000 * crowd(30) as u64);
        let slow = |m: &crate::harness::Metrics| {
            m.labelled("closed", "slow_stalled") + m.labelled("closed", "slow_evicted")
        };
        server.await_metric("all cut", ms(12_000), |m| slow(m) >= crowd(15) as u64);
        drop(stuck);
    });
    witness.check("stuck readers");
}

#[test]
fn pipeliners_that_never_read_are_not_read_either() {
    let server = Launch::workers(2).set("answer_ms", 1_500).start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    with_victim("pipeliners", &server, || {
        let request = "GET /nope HTTP/1.1\r\nHost: fan.test\r\n\r\n".repeat(30_000);
        let pipeliners: Vec<_> = (0..crowd(50))
            .map(|_| {
                let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
                let sender = conn.send_aside(request.clone().into_bytes());
                (conn, sender)
            })
            .collect();
        let deadline = Instant::now() + ms(1_000);
        while Instant::now() < deadline {
            assert_grown_less("pipeliners", &server, before, 65_536 * crowd(50) as u64 + 2_000_000);
            std::thread::sleep(ms(50));
        }
        for (conn, sender) in pipeliners {
            conn.reset();
            sender.join().expect("no panic");
        }
    });
    witness.check("pipeliners");
}

#[test]
fn replay_storm_gives_everyone_the_whole_history() {
    // The streams are read one after the other, so the last ones wait for long.
    let server = Launch::workers(2).set("stall_ms", 300_000).set("user_timeout_ms", 600_000).start();
    let mut witness = Witness::of(&server);
    let ids = server.publish_all("storm", (0..501).map(|n| format!("{n} {}", "x".repeat(500))));
    let before = server.resident_bytes();
    with_victim("replay storm", &server, || {
        for _ in 0..2 {
            let mut streams: Vec<Stream> =
                (0..crowd(100)).map(|_| server.resume("topic=storm", &ids[0])).collect();
            for stream in &mut streams {
                for (n, id) in ids.iter().enumerate().skip(1) {
                    let event = stream.event();
                    assert_eq!(event.id.as_ref(), Some(id));
                    assert!(event.data.starts_with(&format!("{n} ")), "{n}");
                }
            }
        }
    });
    assert_grown_less("replays of 250 KB", &server, before, 8_000_000 + 8_192 * crowd(100) as u64);
    witness.check("replay storm");
}

#[test]
fn thousands_of_topics_are_bounded_and_given_back() {
    let server = Launch::workers(2)
        .set("history_bytes_max", 4_000_000)
        .set("history_topic_bytes_max", 1_000_000)
        .set("history_ms", 1_500)
        .start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    let mut conn = server.connect_control();
    let filler = [b'x'; 2_000];
    for n in 0..8_000 {
        assert_eq!(conn.ask(server.publish_bytes(&format!("topic=topic-{n}"), "", &filler)).status, 202);
    }
    drop(conn);
    assert_grown_less("8000 topics of 2 kB", &server, before, 4_000_000 + 8_000_000);
    let answer = server.get("/metrics");
    assert!(answer.body.len() < 40_000, "{} bytes of metrics", answer.body.len());
    witness.check("8000 topics");
    server.await_metric("history given back", SOON, |m| m.get("history_bytes") < 10_000);
}

#[test]
fn subscriber_that_talks_upstream_is_ignored_or_closed_within_a_bound() {
    let server = Launch::workers(2).start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    let streams: Vec<Stream> = (0..10).map(|_| server.subscribe("topic=a")).collect();
    let senders: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            let conn = stream.into_conn();
            let sender = conn.send_aside(vec![b'z'; 8_000_000]);
            (conn, sender)
        })
        .collect();
    for (conn, sender) in senders {
        let done = poll_until(SOON, || sender.is_finished().then_some(()));
        assert!(done.is_some(), "neither read nor closed");
        drop(conn);
    }
    assert_grown_less("10 upstream talkers", &server, before, 4_000_000);
    witness.check("upstream talkers");
}

#[test]
fn small_talk_upstream_never_disturbs_the_stream() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    for n in 0..20 {
        stream.conn().send("GET /healthz HTTP/1.1\r\nHost: fan.test\r\n\r\n");
        server.publish("a", n.to_string());
        assert_eq!(stream.event().data, n.to_string());
    }
}

#[test]
fn every_202_of_merciless_publishers_is_delivered() {
    let server = Launch::workers(2)
        .set("history_events", 1_000_000)
        .set("history_bytes_max", 200_000_000)
        .set("history_topic_bytes_max", 200_000_000)
        .start();
    let mut witness = Witness::of(&server);
    let mut stream = server.subscribe("topic=flood");
    witness.relevel();
    let before = server.resident_bytes();
    let end = Instant::now() + ms(1_500);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut received = Vec::new();
            loop {
                match stream.any_event(ms(10_000)) {
                    event if event.data == "end" => return received,
                    event => received.push(event.id.expect("a published event")),
                }
            }
        });
        let publishers: Vec<_> = (0..4).map(|_| scope.spawn(|| flood(&server, end))).collect();
        let mut accepted: Vec<String> =
            publishers.into_iter().flat_map(|t| t.join().expect("fine")).collect();
        server.publish("flood", "end");
        let received = reader.join().expect("the whole flood");
        accepted.sort_by_key(|id| crate::harness::Id::parse(id));
        assert_eq!(accepted, received, "accepted and received differ");
        received
    });
    println!("{} publishes in 1.5 s", ids.len());
    assert_grown_less("a flood", &server, before, 10_000_000 + 1_000 * ids.len() as u64);
    witness.check("a flood");
}

/// Publishes in pipelines of 16 until the time is over; the accepted ids.
fn flood(server: &Server, end: Instant) -> Vec<String> {
    let one = server.publish_bytes("topic=flood", "", &[b'x'; 200]);
    let mut conn = server.connect_control();
    let mut ids = Vec::new();
    while Instant::now() < end {
        conn.send(one.repeat(16));
        for _ in 0..16 {
            let answer = conn.answer(SOON).expect("every publish is answered");
            match answer.status {
                202 => ids.push(answer.json()["id"].as_str().expect("an id").to_owned()),
                _ => {
                    assert_problem("a flood", &answer, &[503]);
                    assert!(answer.header("retry-after").is_some());
                }
            }
            if answer.closes() {
                conn = server.connect_control();
                break;
            }
        }
    }
    ids
}
