//! Extremes that no sane peer or host uses, but TCP, HTTP and Linux allow: urgent data, the smallest of
//! windows, bodies in single bytes, a process that stands still for longer than any of its time limits.

use crate::harness::{
    Conn, Finish, Item, Launch, SOON, Server, Stream, Witness, assert_problem, ms, with_1_and_4_workers,
};
use std::net::Ipv4Addr;
use std::time::Instant;

#[test]
fn urgent_data_is_no_part_of_a_request_and_costs_at_most_its_own_connection() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("head_ms", 1_000).start();
        let mut witness = Witness::of(&server);
        // All of it is there when the server looks: a read ends at the urgent byte, however much follows.
        server.signal("STOP");
        let mut conns: Vec<Conn> = (0..8)
            .map(|_| {
                let mut conn = server.connect();
                conn.send("GET /healthz HTTP/1.1\r\nHo");
                conn.send_urgent(b'X');
                conn.send("st: fan.test\r\nConnection: close\r\n\r\n");
                conn
            })
            .collect();
        server.signal("CONT");
        for conn in &mut conns {
            let answer = conn.answer(SOON).expect("an answer, or the end of the time for a head");
            assert!(matches!(answer.status, 200 | 408), "{}", answer.status);
        }
        drop(conns);
        witness.check("urgent data in a head");
    });
}

#[test]
fn urgent_data_of_a_subscriber_neither_disturbs_its_stream_nor_spins() {
    let server = Launch::workers(1).start();
    let mut stream = server.subscribe("topic=a");
    let begin = server.cpu_ms();
    for _ in 0..200 {
        stream.conn().send_urgent(b'X');
        stream.conn().send("abc");
    }
    stream.assert_quiet(ms(1_000));
    let used = server.cpu_ms() - begin;
    assert!(used < 400, "{used} ms of processor time in a second");
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
    drop(stream);
    server.await_metric("gone", SOON, |m| m.get("subscribers") == 0);
}

#[test]
fn reader_with_the_smallest_window_gets_every_byte() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("unsent_bytes_max", 4_096).start();
        // The kernel makes the least it allows of it, some 2 KiB with what it keeps for itself.
        let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 1).expect("loopback");
        let mut stream = Stream::open(conn, "topic=a", "");
        let body = |n: usize| format!("{n} {}", "x".repeat(n * 37 % 3_000));
        server.publish_all("a", (0..100).map(body));
        assert_eq!(stream.data(100), (0..100).map(body).collect::<Vec<_>>());
    });
}

fn upload(server: &Server, target: &str, fields: &str, body: &[u8]) -> crate::harness::Response {
    let head = format!("POST {target} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n\r\n", server.control);
    let mut conn = server.connect_control();
    let sender = conn.send_aside([head.as_bytes(), body].concat());
    let answer = conn.answer(SOON).expect("an answer");
    sender.join().expect("no panic");
    answer
}

#[test]
fn body_of_a_mebibyte_in_chunks_of_one_byte_is_taken_whole_or_not_at_all() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("publish_bytes_max", 1 << 20).start();
        let mut stream = server.subscribe("topic=a");
        let chunks = |count: usize| [&b"1\r\ny\r\n".repeat(count)[..], b"0\r\n\r\n"].concat();
        let coding = "Transfer-Encoding: chunked";
        let begin = server.cpu_ms();
        assert_eq!(upload(&server, "/publish?topic=a", coding, &chunks(1 << 20)).status, 202);
        let used = server.cpu_ms() - begin;
        assert!(used < 5_000, "{used} ms of processor time for one body");
        assert_eq!(stream.event().data, "y".repeat(1 << 20));
        let answer = upload(&server, "/publish?topic=a", coding, &chunks((1 << 20) + 1));
        assert_problem("a byte too many", &answer, &[413]);
        server.publish("a", "next");
        assert_eq!(stream.event().data, "next");
        server.await_metric("bodies given back", SOON, |m| m.get("bodies_bytes") == 0);
    });
}

#[test]
fn batch_of_one_line_may_be_as_long_as_a_body() {
    let server = Launch::workers(2).set("publish_bytes_max", 1_100_000).start();
    let mut stream = server.subscribe("topic=a");
    let data = "z".repeat(1 << 20);
    let line = format!("{{\"topic\":\"a\",\"data\":\"{data}\"}}");
    let fields = format!("Content-Type: application/x-ndjson\r\nContent-Length: {}", line.len());
    assert_eq!(upload(&server, "/publish/batch", &fields, line.as_bytes()).status, 202);
    assert_eq!(stream.event().data, data);
}

#[test]
fn stop_for_longer_than_every_time_limit_cuts_nobody_who_reads() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers)
            .set("heartbeat_ms", 300)
            .set("stall_ms", 2_000)
            .set("unsent_bytes_max", 4_096)
            .start();
        let body = |n: usize| format!("{n} {}", "x".repeat(60_000));
        let mut streams: Vec<Stream> = (0..12)
            .map(|_| {
                let conn = Conn::open_from(Ipv4Addr::LOCALHOST, server.public, 32_768).expect("loopback");
                Stream::open(conn, "topic=a", "")
            })
            .collect();
        // The broadcast has begun, and nobody has been sent all of it.
        server.publish_all("a", (0..10).map(body));
        server.signal("STOP");
        std::thread::scope(|scope| {
            let read = |stream: &mut Stream| {
                assert_eq!(stream.data(11), (0..11).map(body).collect::<Vec<_>>());
            };
            let readers: Vec<_> =
                streams.iter_mut().map(|stream| scope.spawn(move || read(stream))).collect();
            std::thread::sleep(ms(4_500));
            server.signal("CONT");
            server.publish("a", body(10));
            readers.into_iter().for_each(|reader| reader.join().expect("whole"));
        });
        assert_eq!(server.metrics().labelled("closed", "slow_stalled"), 0);
    });
}

#[test]
fn stop_for_longer_than_a_drain_may_take_still_delivers_every_202_and_ends_streams_whole() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("drain_ms", 600).start();
        let streams: Vec<Stream> = (0..20).map(|_| server.subscribe("topic=a")).collect();
        server.publish_all("a", (0..10).map(|n| n.to_string()));
        server.signal("STOP");
        let mut publishers: Vec<Conn> = (0..10)
            .map(|n| {
                let mut conn = server.connect_control();
                conn.send(server.publish_bytes("topic=a", "", format!("late {n}").as_bytes()));
                conn
            })
            .collect();
        server.signal("TERM");
        std::thread::sleep(ms(1_200));
        server.signal("CONT");
        let went_on = Instant::now();
        let accepted = publishers.iter_mut().filter_map(|conn| conn.answer(SOON).ok());
        let accepted = accepted.filter(|answer| answer.status == 202).count();
        for mut stream in streams {
            let (items, finish) = stream.read_to_end(SOON);
            let events = items.iter().filter(|item| matches!(item, Item::Event(_))).count();
            assert_eq!((finish, events), (Finish::Clean, 10 + accepted));
        }
        let exit = server.exit(SOON).expect("the time for the drain is over");
        assert_eq!(exit.code(), Some(0), "after {:?}: {}", went_on.elapsed(), server.log());
    });
}
