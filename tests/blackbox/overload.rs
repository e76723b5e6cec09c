//! Full: connections, one address, topics, bodies. The newcomer is refused politely, never an existing
//! subscriber dropped.

use crate::harness::{Conn, Finish, Item, Launch, Response, Server, Stream, Witness, assert_problem, ms};
use crate::harness::{SOON, poll_until, with_1_and_4_workers};
use std::net::Ipv4Addr;

/// Fields that an EventSource adds to it on every scheme.
const EVENT_SOURCE: &str = "Cache-Control: no-cache\r\nPragma: no-cache\r\n";
const SUBSCRIBE: &str = "GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\nAccept: text/event-stream\r\n";

/// Opens streams until one is refused; the streams and the refusal.
fn fill(server: &Server, most: usize) -> (Vec<Stream>, Response) {
    let mut streams = Vec::new();
    loop {
        let mut conn = server.connect();
        conn.send(format!("{SUBSCRIBE}\r\n"));
        let head = conn.head(SOON).expect("a stream or a refusal");
        if head.status != 200 {
            let mut conn = server.connect();
            return (streams, conn.ask(format!("{SUBSCRIBE}\r\n")));
        }
        let mut stream = Stream::after(conn, head);
        stream.greeting();
        streams.push(stream);
        assert!(streams.len() <= most, "no refusal after {most} streams");
    }
}

fn retry_after(answer: &Response) -> u64 {
    let seconds = answer.header("retry-after").and_then(|text| text.parse().ok());
    seconds.unwrap_or_else(|| panic!("no Retry-After in {:?}", answer.headers))
}

#[test]
fn full_server_refuses_newcomers_and_keeps_its_streams() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("connections_max", 24).start();
        let (mut streams, refusal) = fill(&server, 24);
        assert!(streams.len() >= 12, "only {} streams of 24 connections", streams.len());
        assert_problem("full", &refusal, &[503]);
        let mut waits: Vec<u64> = Vec::new();
        for _ in 0..20 {
            let answer = server.connect().ask(format!("{SUBSCRIBE}\r\n"));
            assert_problem("full", &answer, &[503]);
            waits.push(retry_after(&answer));
        }
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 1, "Retry-After without jitter: {waits:?}");
        server.publish("a", "to all");
        for stream in &mut streams {
            assert_eq!(stream.event().data, "to all");
        }
        assert!(server.metrics().labelled("refused", "connections_full") >= 20);
        streams.truncate(4);
        let back = poll_until(SOON, || {
            let mut conn = server.connect();
            conn.send(format!("{SUBSCRIBE}\r\n"));
            conn.head(ms(1_000)).ok().filter(|head| head.status == 200).map(drop)
        });
        assert!(back.is_some(), "no recovery after streams were closed");
    });
}

#[test]
fn browser_is_told_to_come_back_instead_of_a_status_that_silences_it() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("connections_max", 24).start();
        let (_streams, _) = fill(&server, 24);
        let mut retries = Vec::new();
        for _ in 0..8 {
            let mut conn = server.connect();
            conn.send(format!("{SUBSCRIBE}{EVENT_SOURCE}\r\n"));
            let mut stream = Stream::from(conn);
            let (items, finish) = stream.read_to_end(SOON);
            assert_eq!(finish, Finish::Clean);
            let [Item::Retry(retry)] = items[..] else { panic!("only a retry line: {items:?}") };
            retries.push(retry);
        }
        retries.sort_unstable();
        retries.dedup();
        assert!(retries.len() > 2, "retry without jitter: {retries:?}");
        let mut bare = server.connect();
        bare.send(
            "GET /events?topic=a HTTP/1.0\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n",
        );
        let (items, finish) = Stream::from(bare).read_to_end(SOON);
        assert!(matches!(items[..], [Item::Retry(_)]) && finish == Finish::Clean, "{items:?}, {finish:?}");
        // A client made of `fetch` sends what browsers add for trustworthy origins, and understands a 503.
        for fields in
            ["", "Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\n", "Cache-Control: no-store\r\n"]
        {
            let mut conn = server.connect();
            let refused = conn.ask(format!("{SUBSCRIBE}{fields}\r\n"));
            assert_problem(fields, &refused, &[503]);
            retry_after(&refused);
        }
    });
}

#[test]
fn health_and_metrics_answer_on_a_full_server() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("connections_max", 24).start();
        let (_streams, _) = fill(&server, 24);
        server.assert_healthy("full");
        assert_eq!(server.get("/metrics").status, 200);
        assert_eq!(
            server.post("topic=a", "", "x").status,
            202,
            "full of subscribers is when publishing matters"
        );
    });
}

#[test]
fn newcomer_that_can_only_be_refused_gets_no_more_time_by_beginning_a_request() {
    let server = Launch::workers(1).set("connections_max", 1).start();
    let _stream = server.subscribe("topic=a");
    let mut conn = server.connect();
    conn.send("GET /even");
    let (_, end) = conn.rest(SOON);
    assert!(end.is_ok(), "2 s for those beyond the limit: {end:?}");
}

#[test]
fn one_address_cannot_take_everything() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("connections_per_address_max", 6).start();
        let hoarder = Ipv4Addr::new(127, 0, 0, 9);
        let mut kept = Vec::new();
        let mut refused = 0;
        for _ in 0..16 {
            let mut conn = Conn::open_from(hoarder, server.public, 0).expect("loopback");
            conn.send(format!("{SUBSCRIBE}\r\n"));
            match conn.head(SOON).expect("a stream or a refusal") {
                head if head.status == 200 => kept.push(conn),
                head => {
                    assert_eq!(head.status, 503);
                    retry_after(&head);
                    refused += 1;
                }
            }
        }
        assert_eq!((kept.len(), refused), (6, 10));
        let mut other = server.subscribe("topic=a");
        server.publish("a", "x");
        assert_eq!(other.event().data, "x");
        assert!(server.metrics().labelled("refused", "address_full") >= 10);
        kept.truncate(2);
        let back = poll_until(SOON, || {
            let mut conn = Conn::open_from(hoarder, server.public, 0).expect("loopback");
            conn.send(format!("{SUBSCRIBE}\r\n"));
            conn.head(ms(1_000)).ok().filter(|head| head.status == 200).map(drop)
        });
        assert!(back.is_some(), "the address never gets in again");
    });
}

#[test]
fn forwarded_headers_of_strangers_do_not_move_the_cap() {
    let server = Launch::workers(1).set("connections_per_address_max", 3).start();
    let hoarder = Ipv4Addr::new(127, 0, 0, 9);
    let mut kept = Vec::new();
    for n in 0..8 {
        let mut conn = Conn::open_from(hoarder, server.public, 0).expect("loopback");
        let headers = format!("X-Forwarded-For: 10.0.0.{n}\r\nForwarded: for=10.0.0.{n}\r\n");
        conn.send(format!("{SUBSCRIBE}{headers}\r\n"));
        if conn.head(SOON).expect("an answer").status == 200 {
            kept.push(conn);
        }
    }
    assert_eq!(kept.len(), 3);
}

#[test]
fn topics_beyond_the_limit_are_refused_and_existing_ones_go_on() {
    with_1_and_4_workers(|workers| {
        let server =
            Launch::workers(workers).set("topics_max", 8).set("topics_per_connection_max", 4).start();
        let mut witness = Witness::of(&server);
        let statuses: Vec<Response> = (0..12).map(|n| server.post(&format!("topic=t{n}"), "", "x")).collect();
        let full: Vec<&Response> = statuses.iter().filter(|answer| answer.status != 202).collect();
        assert!((4..=6).contains(&full.len()), "8 topics, 2 of the witness, 12 more: {} refused", full.len());
        for answer in &full {
            assert_problem("topics full", answer, &[503]);
            retry_after(answer);
        }
        let mut conn = server.connect();
        conn.send("GET /events?topic=unseen HTTP/1.1\r\nHost: fan.test\r\n\r\n");
        let head = conn.head(SOON).expect("an answer");
        assert_eq!(head.status, 503, "a subscriber of a topic too many");
        drop(conn);
        assert_eq!(server.post("topic=t0", "", "x").status, 202, "existing topics go on");
        assert!(server.metrics().labelled("refused", "topics_full") >= 4);
        witness.check("topics full");
    });
}

#[test]
fn newcomers_are_refused_for_memory_and_existing_streams_stay() {
    let server = Launch::workers(2).set("memory_bytes_max", 1_000_000).start();
    let mut conn = server.connect();
    conn.send(format!("{SUBSCRIBE}\r\n"));
    let early = conn.head(SOON).is_ok_and(|head| head.status == 200);
    let refusal = poll_until(SOON, || {
        let mut conn = server.connect();
        conn.send(format!("{SUBSCRIBE}\r\n"));
        conn.head(ms(1_000)).ok().filter(|head| head.status == 503)
    });
    retry_after(&refusal.expect("resident memory is above the limit, so newcomers are refused"));
    server.assert_healthy("memory full");
    assert!(server.metrics().labelled("refused", "memory_full") >= 1);
    if early {
        assert_eq!(server.post("topic=a", "", "still here").status, 202);
        let deadline = std::time::Instant::now() + SOON;
        conn.take_through(b"data: still here", deadline).expect("an existing stream goes on");
    }
}

#[test]
fn bodies_in_flight_share_one_budget() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers)
            .set("bodies_bytes_max", 400_000)
            .set("publish_bytes_max", 100_000)
            .set("body_ms", 60_000)
            .start();
        let mut witness = Witness::of(&server);
        let before = server.resident_bytes();
        let whole = server.publish_bytes("topic=canary", "", &[b'x'; 100_000]);
        let begin = || {
            let mut conn = server.connect_control();
            conn.send(&whole[..whole.len() - 20_000]);
            conn
        };
        let all: Vec<Conn> = (0..40).map(|_| begin()).collect();
        server.await_metric("refused", SOON, |m| m.labelled("refused", "bodies_full") >= 32);
        let mut waiting = Vec::new();
        let mut refused = 0;
        for mut conn in all {
            match conn.answer(ms(60)) {
                Ok(answer) => {
                    assert_problem("bodies full", &answer, &[503]);
                    retry_after(&answer);
                    refused += 1;
                }
                Err(_) => waiting.push(conn),
            }
        }
        assert!(waiting.len() <= 8 && refused >= 32, "{} in flight, {refused} refused", waiting.len());
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 8_000_000, "{grown} bytes for bodies of 400000 at most");
        witness.check_service("bodies full");
        drop(waiting);
        let again = poll_until(SOON, || {
            (server.post("topic=b", "", vec![b'x'; 100_000]).status == 202).then_some(())
        });
        assert!(again.is_some(), "the budget is not given back");
        assert!(server.metrics().labelled("refused", "bodies_full") >= 32);
        witness.check("bodies given back");
    });
}
