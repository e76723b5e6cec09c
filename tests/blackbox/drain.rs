//! SIGTERM and `POST /drain`: newcomers refused, every stream ended after a whole frame at its own moment,
//! everything answered 202 delivered, exit code 0 in time.

use crate::harness::{
    Conn, Event, Fail, Finish, Item, Launch, SOON, Server, Stream, ms, with_1_and_4_workers,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The end of a stream, as received after the signal.
struct Departure {
    events: Vec<Event>,
    last: Option<Item>,
    finish: Finish,
    after: Duration,
}

fn departures(streams: Vec<Stream>, start: Instant, within: Duration) -> Vec<Departure> {
    let follow = |mut stream: Stream| {
        let (items, finish) = stream.read_to_end(within);
        let after = start.elapsed();
        let last = items.last().cloned();
        let event = |item| if let Item::Event(event) = item { Some(event) } else { None };
        Departure { events: items.into_iter().filter_map(event).collect(), last, finish, after }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = streams.into_iter().map(|stream| scope.spawn(move || follow(stream))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a whole stream")).collect()
    })
}

/// Publishes until the server is gone; the ids of accepted events. Every publish must be answered, except
/// on a connection that the server closes between two requests.
fn publish_on(server: &Server, name: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let control = server.control;
    for n in 0.. {
        let Ok(mut conn) = Conn::try_open(control) else { break };
        conn.send(server.publish_bytes("topic=a", "", format!("{name}:{n}").as_bytes()));
        match conn.answer(SOON) {
            Ok(answer) if answer.status == 202 => {
                ids.push(answer.json()["id"].as_str().expect("id").to_owned())
            }
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
            Err(Fail::Ended(_)) => break,
            Err(fail) => panic!("a publish in flight is not answered: {fail:?}"),
        }
        std::thread::sleep(ms(2));
    }
    ids
}

/// The `drain_ms` with which so many streams take `window_ms` to end: they take all of it from 10 000 on.
fn window_for(streams: u64, window_ms: u64) -> u64 {
    window_ms * 10_000 / streams
}

#[test]
fn sigterm_under_load_ends_every_stream_whole_and_delivers_every_202() {
    with_1_and_4_workers(|workers| {
        let server =
            Launch::workers(workers).set("drain_ms", window_for(50, 1_500)).set("retry_ms", 1_000).start();
        let streams: Vec<Stream> = (0..50).map(|_| server.subscribe("topic=a")).collect();
        let (departed, accepted, start) = std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..2)
                .map(|name| {
                    let server = &server;
                    scope.spawn(move || publish_on(server, name))
                })
                .collect();
            server.await_metric("load", SOON, |m| m.get("published") >= 20);
            server.signal("TERM");
            let start = Instant::now();
            let departed = departures(streams, start, SOON);
            let accepted: BTreeSet<String> =
                publishers.into_iter().flat_map(|thread| thread.join().expect("answered")).collect();
            (departed, accepted, start)
        });
        let exit = server.exit(SOON).expect("the process ends with its last stream");
        assert_eq!(exit.code(), Some(0), "{}", server.log());
        assert!(start.elapsed() < ms(1_500) + SOON, "took {:?}", start.elapsed());
        assert!(accepted.len() >= 20, "too little load: {}", accepted.len());
        for departure in &departed {
            assert_eq!(departure.finish, Finish::Clean);
            assert!(matches!(departure.last, Some(Item::Retry(800..=1_200))), "{:?}", departure.last);
            let received: BTreeSet<String> = departure.events.iter().filter_map(|e| e.id.clone()).collect();
            let lost: Vec<&String> = accepted.difference(&received).collect();
            assert!(lost.is_empty(), "answered 202 and lost: {lost:?}");
        }
        let first = departed.iter().map(|d| d.after).min().expect("streams");
        let last = departed.iter().map(|d| d.after).max().expect("streams");
        assert!(last - first > ms(300), "all streams left within {:?}", last - first);
    });
}

fn answer_or_refusal(addr: std::net::SocketAddr, request: &str) -> Option<u16> {
    let mut conn = Conn::try_open(addr).ok()?;
    conn.send(request);
    conn.head(SOON).ok().map(|head| head.status)
}

#[test]
fn draining_server_is_not_ready_and_refuses_newcomers() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", window_for(24, 6_000)).start();
        let mut streams: Vec<Stream> = (0..24).map(|_| server.subscribe("topic=a")).collect();
        let mut kept = server.connect_control();
        let ready = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
        assert_eq!(kept.ask(&ready).status, 200);
        server.signal("TERM");
        let told = crate::harness::poll_until(ms(5_000), || {
            let status = answer_or_refusal(server.control, &ready);
            assert!(status.is_some(), "readiness can't be asked while draining");
            (status == Some(503)).then_some(())
        });
        assert!(told.is_some(), "/readyz stays 200 while draining");
        let subscribe = "GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n";
        let newcomer = answer_or_refusal(server.public, subscribe);
        assert!(matches!(newcomer, None | Some(503)), "a newcomer got {newcomer:?}");
        let host = server.control;
        let publish = format!("POST /publish?topic=a HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(answer_or_refusal(server.control, &publish), Some(503));
        for stream in &mut streams {
            assert_eq!(stream.read_to_end(SOON).1, Finish::Clean);
        }
        assert_eq!(server.exit(SOON).expect("ends").code(), Some(0));
    });
}

#[test]
fn publish_in_flight_is_answered_while_draining() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", window_for(12, 2_000)).start();
        let streams: Vec<Stream> = (0..12).map(|_| server.subscribe("topic=a")).collect();
        let whole = server.publish_bytes("topic=a", "", b"in flight");
        let mut conns: Vec<(usize, Conn)> = (1..whole.len())
            .step_by(9)
            .map(|cut| {
                let mut conn = server.connect_control();
                conn.send(&whole[..cut]);
                (cut, conn)
            })
            .collect();
        server.await_metric("all accepted", SOON, |m| m.get("connections") >= 12 + conns.len() as u64);
        let start = Instant::now();
        server.signal("TERM");
        std::thread::sleep(ms(150));
        let mut accepted = 0;
        for (cut, conn) in &mut conns {
            conn.send(&whole[*cut..]);
            let answer = conn.answer(SOON).unwrap_or_else(|fail| panic!("cut at {cut}: {fail:?}"));
            assert!(matches!(answer.status, 202 | 503), "cut at {cut}: {}", answer.status);
            accepted += usize::from(answer.status == 202);
        }
        drop(conns);
        for departure in departures(streams, start, SOON) {
            assert_eq!(departure.finish, Finish::Clean);
            assert!(departure.events.len() >= accepted, "answered 202 and lost");
        }
        assert_eq!(server.exit(SOON).expect("ends").code(), Some(0));
    });
}

#[test]
fn publishers_on_kept_connections_are_answered_to_the_last() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", 2_000).start();
        std::thread::scope(|scope| {
            let publish_on_one = |name: u64| {
                let mut conn = server.connect_control();
                loop {
                    conn.send(server.publish_bytes("topic=a", "", b"one after the other"));
                    let answer = conn.answer(SOON).expect("each publish is answered");
                    if answer.status != 202 {
                        return answer;
                    }
                    std::thread::sleep(ms(name % 5));
                }
            };
            let publishers: Vec<_> = (0..8).map(|name| scope.spawn(move || publish_on_one(name))).collect();
            server.await_metric("load", SOON, |m| m.get("published") >= 100);
            server.signal("TERM");
            for publisher in publishers {
                let last = publisher.join().expect("answered");
                assert!(last.status == 503 && last.closes(), "{}", last.text());
            }
        });
        assert_eq!(server.exit(SOON).expect("ends").code(), Some(0));
    });
}

#[test]
fn half_sent_publish_is_refused_when_a_drain_begins() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", 60_000).start();
        let mut conn = server.connect_control();
        let whole = server.publish_bytes("topic=a", "", &[b'x'; 100]);
        conn.send(&whole[..whole.len() - 50]);
        server.await_metric("accepted", SOON, |m| m.get("connections") >= 2);
        std::thread::sleep(ms(100));
        server.signal("TERM");
        let answer = conn.answer(SOON).expect("an answer while there is time");
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.closes());
        drop(conn);
        assert_eq!(server.exit(SOON).expect("nothing is left").code(), Some(0));
    });
}

#[test]
fn drain_by_request_is_the_same_as_by_signal() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", 600).start();
        let mut streams: Vec<Stream> = (0..8).map(|_| server.subscribe("topic=a")).collect();
        let host = server.control;
        let mut conn = server.connect_control();
        let answer = conn.ask(format!("POST /drain HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
        assert!(matches!(answer.status, 200 | 202), "{}", answer.status);
        for stream in &mut streams {
            let (items, finish) = stream.read_to_end(SOON);
            assert_eq!(finish, Finish::Clean);
            assert!(matches!(items.last(), Some(Item::Retry(_))), "{items:?}");
        }
        assert_eq!(server.exit(SOON).expect("ends").code(), Some(0));
    });
}

#[test]
fn drain_of_a_server_without_streams_is_quick() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", 20_000).start();
        let _idle = server.connect();
        server.signal("TERM");
        let exit = server.exit(SOON).expect("nothing to wait for");
        assert_eq!(exit.code(), Some(0));
    });
}

#[test]
fn stuck_reader_does_not_hold_up_the_drain() {
    let server = Launch::workers(2).set("drain_ms", 800).start();
    let mut conn = Conn::open_from(std::net::Ipv4Addr::LOCALHOST, server.public, 4_096).expect("loopback");
    conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
    server.await_metric("subscribed", SOON, |m| m.get("subscribers") == 1);
    server.publish_all("a", (0..20).map(|n| format!("{n}{}", "x".repeat(60_000))));
    server.signal("TERM");
    assert_eq!(server.exit(SOON).expect("ends soon after drain_ms").code(), Some(0));
}

#[test]
fn second_sigterm_stops_now() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", window_for(60, 20_000)).start();
        let _streams: Vec<Stream> = (0..60).map(|_| server.subscribe("topic=a")).collect();
        server.signal("TERM");
        assert!(server.exit(ms(400)).is_none(), "the drain was not waited for");
        server.signal("TERM");
        assert!(server.exit(SOON).is_some(), "still running long after the second SIGTERM");
    });
}

#[test]
fn first_signal_after_a_requested_drain_lets_it_go_on() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", window_for(12, 1_200)).start();
        let streams: Vec<Stream> = (0..12).map(|_| server.subscribe("topic=a")).collect();
        let request = format!("POST /drain HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
        assert_eq!(server.connect_control().ask(request).status, 202);
        server.signal("TERM");
        for departure in departures(streams, Instant::now(), SOON) {
            assert_eq!(departure.finish, Finish::Clean);
            assert!(matches!(departure.last, Some(Item::Retry(_))), "{:?}", departure.last);
        }
        assert_eq!(server.exit(SOON).expect("ends").code(), Some(0), "{}", server.log());
    });
    let server = Launch::workers(1).set("drain_ms", window_for(60, 20_000)).start();
    let _streams: Vec<Stream> = (0..60).map(|_| server.subscribe("topic=a")).collect();
    let request = format!("POST /drain HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
    assert_eq!(server.connect_control().ask(request).status, 202);
    server.signal("TERM");
    assert!(server.exit(ms(400)).is_none(), "the first signal stopped it");
    server.signal("TERM");
    assert!(server.exit(SOON).is_some(), "still running long after the second signal");
}

#[test]
fn sigint_drains_too() {
    let server = Launch::workers(1).set("drain_ms", 400).start();
    let mut stream = server.subscribe("topic=a");
    server.signal("INT");
    assert_eq!(stream.read_to_end(SOON).1, Finish::Clean);
    assert_eq!(server.exit(SOON).expect("ends").code(), Some(0));
}

#[test]
fn a_drain_of_ten_streams_is_over_at_once() {
    with_1_and_4_workers(|workers| {
        let quickest = (0..3).map(|_| {
            let server = Launch::workers(workers).start();
            let mut streams: Vec<Stream> = (0..10).map(|_| server.subscribe("topic=a")).collect();
            let _publisher = server.connect_control();
            server.signal("TERM");
            let began = Instant::now();
            assert_eq!(server.exit(SOON).expect("ends").code(), Some(0));
            let took = began.elapsed();
            streams.iter_mut().for_each(|stream| assert_eq!(stream.read_to_end(SOON).1, Finish::Clean));
            took
        });
        let quickest = quickest.min().expect("three");
        assert!(quickest < ms(1_500), "{quickest:?}");
    });
}
