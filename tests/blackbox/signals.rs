//! Signals that must not hurt: reload, stray ones, stop and continue; and logs that cannot be written.

use crate::harness::{
    Launch, SOON, Server, Stream, Witness, free_port, ms, poll_until, with_1_and_4_workers,
};
use std::fs::OpenOptions;
use std::process::Stdio;

/// A path for this test alone.
fn scratch(name: &str) -> String {
    let dir = env!("CARGO_TARGET_TMPDIR");
    let path = format!("{dir}/{name}-{}", std::process::id());
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn stray_signals_kill_nobody() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).start();
        let mut witness = Witness::of(&server);
        for signal in ["USR1", "USR2", "PIPE", "HUP", "HUP", "WINCH", "CHLD", "CONT"] {
            server.signal(signal);
            witness.check(signal);
        }
    });
}

#[test]
fn stopped_and_continued_process_goes_on() {
    let server = Launch::workers(4).set("heartbeat_ms", 500).start();
    let mut witness = Witness::of(&server);
    let mut streams: Vec<Stream> = (0..10).map(|_| server.subscribe("topic=a")).collect();
    witness.relevel();
    server.signal("STOP");
    std::thread::sleep(ms(3_000));
    server.signal("CONT");
    witness.check("STOP 3 s and CONT");
    server.publish("a", "after");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "after"));
}

#[test]
fn log_is_reopened_and_never_reaches_a_stream() {
    with_1_and_4_workers(|workers| {
        let path = scratch(&format!("reopened-{workers}.log"));
        let server = Launch::workers(workers).log_to(&path).start();
        let mut streams: Vec<Stream> = (0..12).map(|_| server.subscribe("topic=a")).collect();
        for round in 0..5 {
            let moved = format!("{path}.{round}");
            std::fs::rename(&path, &moved).expect("the log is there");
            server.signal("HUP");
            server.publish_all("a", (0..20).map(|n| n.to_string()));
            let again = poll_until(SOON, || std::fs::metadata(&path).ok().filter(|file| file.len() > 0));
            assert!(again.is_some(), "round {round}: no new log after SIGHUP");
            let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
            for stream in &mut streams {
                assert_eq!(stream.data(20), expected);
            }
            let _ = std::fs::remove_file(moved);
        }
        server.assert_healthy("after reopening");
        let _ = std::fs::remove_file(path);
    });
}

/// Enough requests and refusals to fill a pipe with log lines at the most talkative level.
fn make_noise(server: &Server) {
    let mut conn = server.connect();
    for n in 0..400 {
        let _ = conn
            .ask(format!("GET /healthz?{n} HTTP/1.1\r\nHost: fan.test\r\nX-N: {}\r\n\r\n", "n".repeat(200)));
    }
    for _ in 0..100 {
        let mut conn = server.connect();
        conn.send("rubbish\r\n\r\n");
        let _ = conn.answer(ms(1_000));
    }
    for _ in 0..30 {
        server.signal("HUP");
    }
}

fn assert_unhurt(case: &str, server: &Server) {
    let mut witness = Witness::of(server);
    make_noise(server);
    witness.check(case);
}

fn noisy(workers: usize) -> Launch {
    Launch::workers(workers).set("log_level", "trace").on(free_port(), free_port())
}

#[test]
fn full_disk_under_the_log_stops_nothing() {
    let server = noisy(2).set("log_file", "/dev/full").start();
    assert_unhurt("log file on a full disk", &server);
    let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux");
    let server = noisy(2).start_with_output(full);
    assert_unhurt("standard error on a full disk", &server);
}

#[test]
fn unread_pipe_under_the_log_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("files are left");
    let server = noisy(2).start_with_stderr(Stdio::from(writer));
    assert_unhurt("nobody reads standard error", &server);
    drop(reader);
    assert_unhurt("the reader of standard error is gone", &server);
}

#[test]
fn closed_pipe_under_the_log_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("files are left");
    drop(reader);
    let server = noisy(2).start_with_stderr(Stdio::from(writer));
    assert_unhurt("standard error was never open", &server);
}

#[test]
fn closed_standard_streams_are_no_reason_to_fall_into_a_socket() {
    let closed = ["sh", "-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"];
    let server = noisy(2).through(&closed).start();
    let mut streams: Vec<Stream> = (0..8).map(|_| server.subscribe("topic=a")).collect();
    assert_unhurt("no standard streams at all", &server);
    server.publish("a", "clean");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "clean"));
}
