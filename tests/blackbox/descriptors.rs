//! Too few files: a server that says so at the start, or serves, never spins at the limit, and recovers.

use crate::harness::{
    Conn, Launch, SOON, Server, Stream, Witness, free_port, ms, poll_until, with_1_and_4_workers,
};

fn limited(files: usize, workers: usize) -> Launch {
    let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
    Launch::workers(workers).through(&["sh", "-c", &script])
}

/// Opens more streams than the server can hold; those it accepted.
fn crowd(server: &Server, count: usize) -> (Vec<Stream>, Vec<Conn>) {
    let (mut streams, mut others) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut conn = server.connect();
        conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\nAccept: text/event-stream\r\n\r\n");
        let answered = conn.fill(std::time::Instant::now() + ms(80)).is_ok();
        if answered && conn.buffered().starts_with(b"HTTP/1.1 200") {
            let mut stream = Stream::from(conn);
            stream.greeting();
            streams.push(stream);
        } else {
            others.push(conn);
        }
    }
    (streams, others)
}

fn assert_survives_the_limit(case: &str, server: &Server) {
    let mut early: Vec<Stream> = (0..4).map(|_| server.subscribe("topic=a")).collect();
    let limit = server.metrics().get("connections_max") as usize;
    let (mut streams, others) = crowd(server, limit + 20);
    assert!(!others.is_empty(), "{case}: the limit was not reached with {} streams", streams.len());
    println!("{case}: {} streams, {} not served", streams.len() + 4, others.len());
    let begin = server.cpu_ms();
    std::thread::sleep(ms(1_000));
    let used = server.cpu_ms() - begin;
    assert!(used < 500, "{case}: {used} ms of processor time in a second at the limit");
    drop(others);
    streams.truncate(10);
    let recovered = poll_until(SOON, || {
        let mut conn = server.connect_control();
        conn.send(server.publish_bytes("topic=a", "", b"after"));
        conn.answer(ms(500)).ok().filter(|answer| answer.status == 202)
    });
    assert!(recovered.is_some(), "{case}: no publish after the crowd left");
    for stream in early.iter_mut().chain(&mut streams) {
        assert_eq!(stream.event().data, "after", "{case}: an existing stream was hurt");
    }
    assert_newcomers_get_in(case, server);
    server.assert_healthy(case);
}

/// Soon, if not at the first try.
fn assert_newcomers_get_in(case: &str, server: &Server) {
    let newcomer = poll_until(SOON, || {
        let mut conn = server.connect();
        conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
        conn.head(ms(500)).ok().filter(|head| head.status == 200)
    });
    assert!(newcomer.is_some(), "{case}: newcomers stay locked out");
}

#[test]
fn server_with_64_files_says_so_or_serves() {
    with_1_and_4_workers(|workers| match limited(64, workers).try_start() {
        Ok(server) => assert_survives_the_limit("64 files", &server),
        Err((code, text)) => {
            assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
            assert!(text.contains("64") && text.contains("file"), "what is too few? {text}");
        }
    });
}

#[test]
fn server_at_its_file_limit_does_not_spin_and_recovers() {
    for files in [400, 360] {
        assert_survives_the_limit(&format!("{files} files"), &limited(files, 1).start());
    }
}

#[test]
fn a_newcomer_to_a_full_node_is_told_within_a_second() {
    for files in [40, 64] {
        let case = format!("{files} files");
        let server = limited(files, 1).start();
        let full = server.metrics().get("connections_max") as usize;
        let mut streams: Vec<Stream> = (0..full).map(|_| server.subscribe("topic=a")).collect();
        // They ask for nothing, and take whatever room there is beside.
        let silent: Vec<Conn> = (0..20).map(|_| server.connect()).collect();
        for nth in 0..20 {
            let start = std::time::Instant::now();
            let mut conn = server.connect();
            conn.send("GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n");
            let answer = conn.answer(SOON);
            let told = answer.as_ref().is_ok_and(|answer| answer.status == 503);
            assert!(told, "{case}: newcomer {nth}: {answer:?} after {:?}", start.elapsed());
        }
        assert!(
            server.metrics().labelled("refused", "connections_full") >= 20,
            "{case}: refusals are counted"
        );
        server.publish("a", "x");
        for stream in &mut streams {
            assert_eq!(stream.event().data, "x", "{case}: an existing stream was hurt");
        }
        drop((silent, streams));
        assert_newcomers_get_in(&case, &server);
    }
}

#[test]
fn more_connections_than_files_are_refused_at_the_start_or_capped() {
    let (exit, lines) =
        limited(400, 1).set("connections_max", 1_000_000).on(free_port(), free_port()).refuse();
    assert_eq!((exit, lines.len()), (Some(1), 1), "{lines:?}");
    assert!(lines[0].contains("1000000"), "{lines:?}");
}

#[test]
fn idle_connections_of_the_operators_listener_lock_out_neither_operator_nor_public() {
    with_1_and_4_workers(|workers| {
        let files = 400;
        let server = limited(files, workers).start();
        let mut witness = Witness::of(&server);
        let mut publisher = server.connect_control();
        assert_eq!(publisher.ask(server.publish_bytes("topic=a", "", b"first")).status, 202);
        // More than all workers have files for; half of them have asked for something before.
        let asks = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.control);
        let idle: Vec<Conn> = (0..files * workers + 100)
            .map(|n| {
                let mut conn = server.connect_control();
                conn.send(if n % 2 == 0 { &asks } else { "" });
                conn
            })
            .collect();
        for _ in 0..5 {
            let mut conn = server.connect_control();
            conn.send(format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", server.control));
            let answer = conn.answer(SOON);
            assert!(answer.as_ref().is_ok_and(|a| a.status == 200), "the operator is locked out: {answer:?}");
        }
        assert_newcomers_get_in("idle connections", &server);
        let mut stream = server.subscribe("topic=a");
        server.publish("a", "x");
        assert_eq!(stream.event().data, "x");
        witness.check_service("with idle connections of the operator's listener");
        let begin = server.cpu_ms();
        std::thread::sleep(ms(1_000));
        let used = server.cpu_ms() - begin;
        assert!(used < 500, "{used} ms of processor time in a second");
        drop(idle);
    });
}
