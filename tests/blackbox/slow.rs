//! Slow consumers, by each policy: bounded memory, a counter for every cut and skip, and never a silent loss.

use crate::harness::with_1_and_4_workers;
use crate::harness::{Conn, Finish, Item, Launch, SOON, Server, Stream, Witness, ms, poll_until};
use std::net::Ipv4Addr;
use std::time::Instant;

/// Bytes of filler in an event; large against the sockets' buffers.
const FILLER: usize = 8_000;

fn body(n: usize) -> String {
    format!("{n} {}", "x".repeat(FILLER))
}

fn number(data: &str) -> usize {
    data.split(' ').next().and_then(|n| n.parse().ok()).expect("our own payload")
}

/// A subscriber with the smallest receive buffer, which has read its greeting and then stops reading.
fn sleepy(server: &Server, query: &str) -> Stream {
    let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
    Stream::open(conn, query, "")
}

/// Reads until a marker event; fails at any jump that no gap event announced. The numbers, and the gaps.
fn read_to_marker(stream: &mut Stream, marker: &str) -> (Vec<usize>, usize) {
    let (mut numbers, mut gaps, mut gap_told) = (Vec::new(), 0, false);
    loop {
        let event = stream.any_event(SOON);
        if event.data == marker {
            return (numbers, gaps);
        }
        if event.is_gap() {
            gaps += 1;
            gap_told = true;
            continue;
        }
        let n = number(&event.data);
        let expected = numbers.last().map_or(0, |last| last + 1);
        assert!(n == expected || (gap_told && n > expected), "{n} after {expected} without a gap event");
        gap_told = false;
        numbers.push(n);
    }
}

#[test]
fn paused_reader_loses_nothing_within_history() {
    with_1_and_4_workers(|workers| {
        for policy in ["disconnect", "skip"] {
            let server =
                Launch::workers(workers).set("slow_policy", policy).set("unsent_bytes_max", 4_096).start();
            let mut streams = [sleepy(&server, "topic=a"), sleepy(&server, "topic=a&topic=b")];
            server.publish_all("a", (0..300).map(body));
            server.publish("a", "end");
            for stream in &mut streams {
                let (numbers, gaps) = read_to_marker(stream, "end");
                assert_eq!((numbers.len(), gaps), (300, 0), "policy {policy}");
            }
        }
    });
}

#[test]
fn paused_http_1_0_reader_loses_nothing_within_history() {
    let server = Launch::workers(2).set("unsent_bytes_max", 4_096).start();
    let mut conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
    conn.send("GET /events?topic=a HTTP/1.0\r\n\r\n");
    let mut stream = Stream::from(conn);
    stream.greeting();
    server.publish_all("a", (0..200).map(body));
    server.publish("a", "end");
    assert_eq!(read_to_marker(&mut stream, "end"), ((0..200).collect(), 0));
}

#[test]
fn slowly_trickling_reader_keeps_up_within_history_and_gets_heartbeats_between_frames_only() {
    let server = Launch::workers(1).set("heartbeat_ms", 100).set("unsent_bytes_max", 4_096).start();
    let mut stream = sleepy(&server, "topic=a");
    server.publish_all("a", (0..40).map(body));
    server.publish("a", "end");
    let all_here = |stream: &mut Stream| {
        let _ = stream.conn().fill(Instant::now() + ms(50));
        std::thread::sleep(ms(4));
        stream.conn().buffered().windows(9).any(|part| part == b"data: end").then_some(())
    };
    assert!(poll_until(ms(15_000), || all_here(&mut stream)).is_some(), "the end never came");
    assert_eq!(read_to_marker(&mut stream, "end"), ((0..40).collect(), 0));
}

#[test]
fn stalled_reader_is_ended_and_counted() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers)
            .set("stall_ms", 800)
            .set("heartbeat_ms", 300)
            .set("unsent_bytes_max", 16_384)
            .start();
        let mut witness = Witness::of(&server);
        let mut stream = sleepy(&server, "topic=a");
        server.publish_all("a", (0..60).map(body));
        let unsent = server.kernel_unsent_bytes().into_iter().max().unwrap_or(0);
        assert!(unsent <= 200_000, "{unsent} bytes in the kernel for one stuck reader");
        server.await_metric("ended", SOON, |m| m.labelled("closed", "slow_stalled") == 1);
        assert!(stream.ends_within(SOON), "counted as ended, but still open");
        witness.check("stalled");
    });
}

#[test]
fn stuck_reader_under_a_skipping_policy_is_cut_by_the_kernel() {
    with_1_and_4_workers(|workers| {
        for policy in ["skip", "latest"] {
            let server = Launch::workers(workers)
                .set("slow_policy", policy)
                .set("stall_ms", 500)
                .set("user_timeout_ms", 1_500)
                .set("heartbeat_ms", 300)
                .start();
            let mut witness = Witness::of(&server);
            let mut stream = sleepy(&server, "topic=a");
            server.publish_all("a", (0..60).map(body));
            server.await_metric("cut", ms(10_000), |m| m.labelled("closed", "slow_unacknowledged") == 1);
            assert!(stream.ends_within(SOON), "counted as ended, but still open");
            witness.check(policy);
        }
    });
}

#[test]
fn reader_overtaken_by_eviction_is_disconnected_and_told_the_gap_when_it_returns() {
    with_1_and_4_workers(|workers| {
        let server =
            Launch::workers(workers).set("history_events", 10).set("unsent_bytes_max", 4_096).start();
        let mut witness = Witness::of(&server);
        let mut stream = sleepy(&server, "topic=a");
        server.publish_all("a", (0..200).map(body));
        // Whether eviction is noticed at once or when the socket takes bytes again is the server's choice.
        let mut received = 0;
        let finish = loop {
            match stream.next(ms(10_000)) {
                Item::Event(event) if event.id.is_some() => {
                    assert_eq!(number(&event.data), received, "a hole before the cut");
                    received += 1;
                }
                Item::End(finish) => break finish,
                Item::Event(event) => panic!("{event:?}"),
                _ => {}
            }
        };
        assert!(received < 190, "nothing was evicted: {received}, {finish:?}");
        server.await_metric("counted", SOON, |m| m.labelled("closed", "slow_evicted") == 1);
        let newest = stream.newest();
        drop(stream);
        let mut stream = match &newest {
            Some(id) => server.resume("topic=a", id),
            None => server.subscribe("topic=a&last=10"),
        };
        assert!(newest.is_none() || stream.any_event(SOON).is_gap(), "a loss told by nobody");
        let rest: Vec<usize> = stream.data(10).iter().map(|data| number(data)).collect();
        assert_eq!(rest, (190..200).collect::<Vec<_>>());
        drop(stream);
        witness.check("evicted");
    });
}

#[test]
fn skipping_reader_is_told_the_gap_and_goes_on_with_the_newest() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers)
            .set("slow_policy", "skip")
            .set("history_events", 10)
            .set("unsent_bytes_max", 4_096)
            .start();
        let mut witness = Witness::of(&server);
        let mut stream = sleepy(&server, "topic=a&topic=b");
        witness.relevel();
        server.publish_all("a", (0..200).map(body));
        // The jump may pass over what is kept now, so live markers follow until one arrives.
        let (mut numbers, mut gaps) = (Vec::new(), 0);
        let mut marker = "none yet".to_owned();
        for round in 0..400 {
            match stream.try_event(ms(300)) {
                Some(event) if event.is_gap() => gaps += 1,
                Some(event) if event.data.starts_with("end") => {
                    marker = event.data;
                    break;
                }
                Some(event) => {
                    let n = number(&event.data);
                    assert!(
                        n == numbers.len() || gaps > 0,
                        "{n} after {} without a gap event",
                        numbers.len()
                    );
                    numbers.push(n);
                }
                None => drop(server.publish("b", format!("end {round}"))),
            }
        }
        assert!(marker.starts_with("end"), "live events do not arrive after {numbers:?}");
        assert!(gaps >= 1 && numbers.len() < 190, "{gaps} gaps, {numbers:?}");
        let metrics = server.metrics();
        assert!(metrics.get("skipped") >= 1 && metrics.get("gaps") >= 1);
        witness.check("skipped");
    });
}

#[test]
fn latest_policy_ends_with_the_newest_event_of_each_key() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers)
            .set("slow_policy", "latest")
            .set("history_events", 20)
            .set("unsent_bytes_max", 4_096)
            .start();
        let mut stream = sleepy(&server, "topic=a");
        let mut conn = server.connect_control();
        for n in 0..200 {
            let query = format!("topic=a&key=k{}", n % 5);
            assert_eq!(conn.ask(server.publish_bytes(&query, "", body(n).as_bytes())).status, 202);
        }
        server.publish("a", "end");
        let mut numbers = Vec::new();
        loop {
            let event = stream.any_event(SOON);
            if event.data == "end" {
                break;
            }
            assert!(!event.is_gap(), "the newest of each key was kept: no loss");
            numbers.push(number(&event.data));
        }
        assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() < 100, "{numbers:?}");
        assert!(numbers.ends_with(&[195, 196, 197, 198, 199]), "{numbers:?}");
    });
}

#[test]
fn stuck_reader_that_hangs_up_is_forgotten_at_once() {
    let server = Launch::workers(2).start();
    let mut witness = Witness::of(&server);
    for reset in [true, false] {
        let stream = sleepy(&server, "topic=a");
        server.publish_all("a", (0..60).map(body));
        let conn = stream.into_conn();
        if reset {
            conn.reset();
        } else {
            drop(conn);
        }
        witness.check("a stuck reader hung up");
    }
}

#[test]
fn event_larger_than_every_buffer_arrives_whole() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("unsent_bytes_max", 4_096).start();
        let mut stream = sleepy(&server, "topic=a");
        let large = "y".repeat(262_144);
        server.publish("a", &large);
        server.publish("a", "after");
        assert!(stream.event().data == large, "the large event differs");
        assert_eq!(stream.event().data, "after");
        assert!(stream.try_next(ms(50)).is_none_or(|item| item != Item::End(Finish::Torn)));
    });
}

#[test]
fn reader_on_the_same_host_does_not_wait_for_late_acknowledgements() {
    // A segment of loopback may hold 64 KiB, more than a socket's send buffer. The receiver waits for the
    // second one before it acknowledges the first, and then for its timer: 40 ms for each 64 KiB. A young
    // connection acknowledges sooner.
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    let payload = "x".repeat(200_000);
    let took: Vec<_> = (0..30)
        .map(|_| {
            server.publish("a", &payload);
            let published = Instant::now();
            stream.event();
            published.elapsed()
        })
        .collect();
    // Other work of the machine makes some slow, but the timer would make all: 130 ms at least.
    let least = took[10..].iter().min().expect("twenty");
    assert!(*least < ms(80), "from the answer to the whole event: {took:?}");
}

/// Each stuck reader joins live and holds another event half-sent, which history soon drops: together they
/// hold more than may be in flight. They have to make room, not the publisher to wait for `stall_ms`.
#[test]
fn frames_that_only_stuck_readers_hold_make_room_for_new_ones() {
    let server = Launch::workers(2)
        .set("history_bytes_max", 400_000)
        .set("stall_ms", 60_000)
        .set("user_timeout_ms", 120_000)
        .start();
    let mut witness = Witness::of(&server);
    let large = "y".repeat(260_000);
    let mut stuck = Vec::new();
    let mut refused = 0;
    for _ in 0..300 {
        stuck.push(sleepy(&server, "topic=a"));
        let answer = server.post("topic=a", "", &large);
        assert!(matches!(answer.status, 202 | 503), "{}", answer.status);
        refused += usize::from(answer.status == 503);
    }
    assert!(refused > 0, "the frames in flight never reached their bound");
    assert!(refused < 20, "{refused} of 300 publishes were refused");
    server.await_metric("shed", SOON, |m| m.labelled("closed", "slow_evicted") >= 200);
    drop(stuck);
    witness.check("stuck readers with old frames");
}

#[test]
fn a_reader_that_the_kernel_gives_up_on_counts_as_slow() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("user_timeout_ms", 1_000).set("heartbeat_ms", 500).start();
        let _stalled = sleepy(&server, "topic=a");
        let published = poll_until(ms(20_000), || {
            server.publish("a", body(1));
            (server.metrics().labelled("closed", "slow_unacknowledged") == 1).then_some(())
        });
        assert!(published.is_some(), "{}", server.metrics().shown());
        assert_eq!(server.metrics().labelled("errors", "slow"), 1);
    });
}
