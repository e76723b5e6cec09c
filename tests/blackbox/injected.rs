//! System calls that fail (`strace -e inject`): the fault costs at most the one connection it hit. Skipped,
//! with a line, where strace is not installed or may not trace.

use crate::harness::{Conn, Fail, Launch, SOON, Server, ms, poll_until};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

fn strace_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-o", "/dev/null", "-e", "trace=accept4", "true"]);
        let works = command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
        if !works {
            println!("skipped: strace is not here or may not trace");
        }
        works
    })
}

/// A server under strace with one injected fault, or `None` where that is impossible.
fn server_with(inject: &str) -> Option<Server> {
    launch_with(inject).map(Launch::start)
}

fn launch_with(inject: &str) -> Option<Launch> {
    if !strace_works() {
        return None;
    }
    let fault = format!("inject={inject}");
    let calls = format!("trace={}", inject.split(':').next().expect("a call"));
    let words = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", &calls, "-e", &fault];
    Some(Launch::workers(2).set("send_backend", "writev").through(&words))
}

/// Events that every run publishes.
const EVENTS: usize = 30;

/// Follows a topic over cuts, as a client does, until `count` events came; the data.
fn follow(server: &Server, topic: &str, count: usize) -> Vec<String> {
    let mut received: Vec<String> = Vec::new();
    let mut newest: Option<String> = None;
    let done = poll_until(ms(20_000), || {
        let mut conn = Conn::try_open(server.public).ok()?;
        let id = newest.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        conn.send(format!("GET /events?topic={topic}&last=1000 HTTP/1.1\r\nHost: fan.test\r\n{id}\r\n"));
        match conn.head(ms(2_000)) {
            Ok(head) if head.status == 200 => {}
            _ => return None,
        }
        while let Ok(Some(chunk)) = conn.chunk(std::time::Instant::now() + ms(1_000)) {
            let text = String::from_utf8(chunk).expect("UTF-8");
            let Some(id) = text.strip_prefix("id: ").and_then(|rest| rest.split('\n').next()) else {
                continue;
            };
            newest = Some(id.to_owned());
            let data = text.rsplit_once("data: ").expect("a data line").1;
            received.push(data.trim_end_matches('\n').to_owned());
            if received.len() == count {
                return Some(());
            }
        }
        None
    });
    assert!(done.is_some(), "only {} of {count} events after retries", received.len());
    received
}

/// Publishes with repetition under one key until an answer comes.
fn publish_surely(server: &Server, topic: &str, n: usize) {
    let key = format!("Idempotency-Key: {topic}-{n}\r\n");
    let request = server.publish_bytes(&format!("topic={topic}"), &key, n.to_string().as_bytes());
    let accepted = poll_until(ms(10_000), || {
        let mut conn = Conn::try_open(server.control).ok()?;
        conn.send(&request);
        match conn.answer(ms(1_000)) {
            Ok(answer) if answer.status == 202 => Some(()),
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                None
            }
            Err(Fail::Bad(why)) => panic!("{why}"),
            Err(_) => None,
        }
    });
    assert!(accepted.is_some(), "event {n} is never accepted");
}

/// Clients that resume and publishers that repeat get every event across exactly once, whatever failed.
fn assert_nothing_lost(inject: &str) {
    let Some(server) = server_with(inject) else { return };
    std::thread::scope(|scope| {
        let followers: Vec<_> = (0..3).map(|_| scope.spawn(|| follow(&server, "a", EVENTS))).collect();
        for n in 0..EVENTS {
            publish_surely(&server, "a", n);
        }
        for follower in followers {
            let expected: Vec<String> = (0..EVENTS).map(|n| n.to_string()).collect();
            assert_eq!(follower.join().expect("followed"), expected, "{inject}");
        }
    });
    assert!(server.runs(), "{inject}: the process is gone:\n{}", server.log());
    let healthy = poll_until(SOON, || {
        let mut conn = Conn::try_open(server.public).ok()?;
        conn.send("GET /healthz HTTP/1.1\r\nHost: fan.test\r\nConnection: close\r\n\r\n");
        conn.answer(ms(1_000)).ok().filter(|answer| answer.status == 200)
    });
    assert!(healthy.is_some(), "{inject}: /healthz does not answer");
}

#[test]
fn failing_accepts_are_survived() {
    std::thread::scope(|scope| {
        for errors in
            [["ECONNABORTED", "EMFILE", "ENFILE", "ENOBUFS"], ["ENOMEM", "EINTR", "EPERM", "EPROTO"]]
        {
            scope.spawn(move || {
                for error in errors {
                    assert_nothing_lost(&format!("accept4:error={error}:when=2+9"));
                }
            });
        }
    });
}

#[test]
fn failing_epoll_calls_are_survived() {
    assert_nothing_lost("epoll_wait:error=EINTR:when=3+4");
    for error in ["ENOSPC", "ENOMEM"] {
        // The first calls register listeners and wakers: failing those is a refused start, tested elsewhere.
        assert_nothing_lost(&format!("epoll_ctl:error={error}:when=12+5"));
    }
}

#[test]
fn failing_reads_are_survived() {
    for error in ["EINTR", "ECONNRESET", "ETIMEDOUT"] {
        assert_nothing_lost(&format!("recvfrom:error={error}:when=3+7"));
    }
}

#[test]
fn failing_writes_are_survived_without_loss_or_repeat() {
    std::thread::scope(|scope| {
        for errors in [["EAGAIN", "EINTR"], ["EPIPE", "ENOBUFS"], ["ECONNRESET", "ENOMEM"]] {
            scope.spawn(move || {
                for error in errors {
                    assert_nothing_lost(&format!("sendmsg,writev,sendto:error={error}:when=5+21"));
                }
            });
        }
    });
}

#[test]
fn failing_shutdowns_and_closes_are_survived() {
    assert_nothing_lost("shutdown:error=ENOTCONN:when=1+1");
    assert_nothing_lost("close:error=EINTR:when=20+3");
}

#[test]
fn failing_options_at_the_start_are_survived_or_said_in_one_line() {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for nth in (1..=12).filter(|nth| nth % 2 == half) {
                    let inject = format!("setsockopt:error=ENOPROTOOPT:when={nth}");
                    let Some(launch) = launch_with(&inject) else { return };
                    match launch.try_start() {
                        Ok(server) => {
                            let mut stream = server.subscribe("topic=a");
                            server.publish("a", "x");
                            assert_eq!(stream.event().data, "x", "{inject}");
                        }
                        Err((code, text)) => {
                            assert_eq!((code, text.lines().count()), (Some(1), 1), "{inject}: {text}");
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn calls_that_fail_at_the_start_end_it_with_one_line_or_are_survived() {
    let rows = [
        ["eventfd2:error=EMFILE:when=2", "epoll_create1:error=EMFILE:when=1", "socket:error=EMFILE:when=1"],
        ["listen:error=EADDRINUSE:when=1", "bind:error=EACCES:when=1", "unshare:error=EPERM:when=1"],
        [
            "clone3,clone:error=EAGAIN:when=2",
            "clone3,clone:error=EAGAIN:when=3",
            "epoll_ctl:error=ENOSPC:when=1",
        ],
        ["epoll_create1:error=ENOMEM:when=2", "openat:error=EMFILE:when=40", "prlimit64:error=EPERM:when=2"],
    ];
    std::thread::scope(|scope| {
        for row in rows {
            scope.spawn(move || {
                for inject in row {
                    let Some(launch) = launch_with(inject) else { return };
                    match launch.try_start() {
                        Ok(server) => server.assert_healthy(inject),
                        Err((code, text)) => {
                            assert_eq!((code, text.lines().count()), (Some(1), 1), "{inject}: {text}");
                            assert!(text.starts_with("fanwheel: "), "{inject}: {text}");
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn refused_io_uring_falls_back_with_a_line_in_the_log() {
    if !strace_works() {
        return;
    }
    let words = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e"];
    let words = [&words[..], &["inject=io_uring_setup:error=EPERM"]].concat();
    let server = Launch::workers(2).set("send_backend", "io_uring").through(&words).start();
    let mut stream = server.subscribe("topic=a");
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
    assert!(server.log().contains("io_uring"), "no line about the fall-back:\n{}", server.log());
}

#[test]
fn memory_refused_by_the_kernel_is_a_clean_end_or_survived() {
    let Some(server) = server_with("mmap:error=ENOMEM:when=400+1") else { return };
    let mut conn = server.connect_control();
    for n in 0..40 {
        conn.send(server.publish_bytes(&format!("topic=t{n}"), "", &[b'x'; 200_000]));
        if conn.answer(ms(1_000)).is_err() {
            break;
        }
    }
    if !server.runs() {
        assert!(
            server.exit(SOON).is_some_and(|status| !status.success()),
            "ended as if nothing had happened"
        );
    }
}

#[test]
fn errors_that_come_in_floods_are_a_line_and_a_summary() {
    let Some(server) = server_with("accept4:error=ENFILE:when=1+") else { return };
    let waiting: Vec<_> = (0..4).map(|_| server.connect()).collect();
    std::thread::sleep(ms(4_000));
    drop(waiting);
    server.signal("TERM");
    assert!(server.exit(ms(15_000)).is_some(), "ends");
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("event=newcomers_wait")).collect();
    let (first, summary) = (lines.first().expect("told at once"), lines.last().expect("summed up"));
    assert!(first.ends_with(" class=occasional"), "{lines:#?}");
    let count = summary.split_once(" class=frequent count=").and_then(|(_, count)| count.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count >= 9), "{lines:#?}");
    assert_eq!(lines.len(), 2, "{lines:#?}");
}
