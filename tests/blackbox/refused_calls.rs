//! Calls that the filter of a container may refuse: each is refused from the start to the end, with both
//! errors that filters answer with, and the server serves all the same. Skipped, with a line, where there is
//! no C compiler.

use crate::harness::{Launch, SOON, Server, ms, poll_until, preload};
use std::path::Path;

/// Two system calls that set and read options of sockets.
const SET: libc::c_long = libc::SYS_setsockopt;
const GET: libc::c_long = libc::SYS_getsockopt;

/// One call that is refused.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    number: libc::c_long,
    level: i32,
    option: i32,
}

const fn call(number: libc::c_long) -> Refusal {
    Refusal { number, level: -1, option: 0 }
}

const fn socket(number: libc::c_long, option: i32) -> Refusal {
    Refusal { number, level: libc::SOL_SOCKET, option }
}

const fn tcp(number: libc::c_long, option: i32) -> Refusal {
    Refusal { number, level: libc::IPPROTO_TCP, option }
}

/// Calls without which the server has less, and still serves.
const CALLS: &[Refusal] = &[
    call(libc::SYS_unshare),
    call(libc::SYS_io_uring_setup),
    call(libc::SYS_io_uring_enter),
    call(libc::SYS_io_uring_register),
    call(libc::SYS_sched_setattr),
    call(libc::SYS_sched_getattr),
    call(libc::SYS_sched_setaffinity),
    call(libc::SYS_sched_getaffinity),
    call(libc::SYS_sched_yield),
    call(libc::SYS_prlimit64),
    call(libc::SYS_prctl),
    call(libc::SYS_close_range),
    call(libc::SYS_getrandom),
    call(libc::SYS_timerfd_create),
    call(libc::SYS_madvise),
    call(libc::SYS_membarrier),
    call(libc::SYS_sysinfo),
    call(libc::SYS_uname),
    call(libc::SYS_ioctl),
    call(libc::SYS_statx),
    call(libc::SYS_statfs),
    call(libc::SYS_sigaltstack),
    call(libc::SYS_kill),
    call(libc::SYS_shutdown),
    call(libc::SYS_clock_gettime),
];

/// Options of sockets, likewise.
const OPTIONS: &[Refusal] = &[
    socket(SET, libc::SO_REUSEADDR),
    socket(SET, libc::SO_REUSEPORT),
    socket(SET, libc::SO_KEEPALIVE),
    socket(SET, libc::SO_SNDBUF),
    socket(SET, libc::SO_RCVBUF),
    socket(SET, libc::SO_BUF_LOCK),
    socket(SET, libc::SO_INCOMING_CPU),
    socket(SET, libc::SO_LINGER),
    tcp(SET, libc::TCP_NODELAY),
    tcp(SET, libc::TCP_KEEPIDLE),
    tcp(SET, libc::TCP_KEEPINTVL),
    tcp(SET, libc::TCP_KEEPCNT),
    tcp(SET, libc::TCP_USER_TIMEOUT),
    tcp(SET, libc::TCP_MAXSEG),
    tcp(SET, libc::TCP_QUICKACK),
    tcp(SET, libc::TCP_WINDOW_CLAMP),
    tcp(GET, libc::TCP_INFO),
    socket(GET, libc::SO_ERROR),
];

fn launch_without(library: &Path, refusal: Refusal, errno: i32) -> Launch {
    let Refusal { number, level, option } = refusal;
    Launch::workers(2)
        .set("pin_workers", "on")
        .set("drain_ms", 0)
        .env("LD_PRELOAD", library.to_str().expect("a path of ours"))
        .env("REFUSED_CALL", &format!("{number}:{level}:{option}:{errno}"))
}

/// More readers than are sent to one by one, small and large events, and an end in order.
fn assert_serves(server: &Server, case: &str) {
    let ready = poll_until(SOON, || (server.get("/readyz").status == 200).then_some(()));
    assert!(ready.is_some(), "{case}: not ready");
    let mut streams: Vec<_> = (0..12).map(|_| server.subscribe("topic=a")).collect();
    let large = "x".repeat(200_000);
    for data in ["small", large.as_str(), "last"] {
        server.publish("a", data);
        for stream in &mut streams {
            assert!(stream.event().data == data, "{case}");
        }
    }
    assert_eq!(server.get("/connections").status, 200, "{case}");
    server.signal("TERM");
    let exit = server.exit(ms(15_000)).and_then(|status| status.code());
    assert_eq!(exit, Some(0), "{case}:\n{}", server.log());
}

fn assert_each_is_survived(refusals: &[Refusal]) {
    let Some(library) = preload("refused_call.c") else { return };
    for errno in [libc::EPERM, libc::ENOSYS] {
        for &refusal in refusals {
            let case = format!("{refusal:?} with errno {errno}");
            match launch_without(&library, refusal, errno).try_start() {
                Ok(server) => assert_serves(&server, &case),
                Err((code, text)) => panic!("{case}: exit {code:?} instead of serving:\n{text}"),
            }
        }
    }
}

#[test]
fn the_server_serves_without_any_one_call_that_a_sandbox_refuses() {
    std::thread::scope(|scope| {
        for half in CALLS.chunks(CALLS.len().div_ceil(2)) {
            scope.spawn(move || assert_each_is_survived(half));
        }
    });
}

#[test]
fn the_server_serves_without_any_one_option_that_a_sandbox_refuses() {
    std::thread::scope(|scope| {
        for half in OPTIONS.chunks(OPTIONS.len().div_ceil(2)) {
            scope.spawn(move || assert_each_is_survived(half));
        }
    });
}

#[test]
fn refused_file_tables_are_told_in_one_line_unless_they_were_asked_for() {
    let Some(library) = preload("refused_call.c") else { return };
    let launch = || launch_without(&library, call(libc::SYS_unshare), libc::EPERM);
    let server = launch().start();
    let log = server.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("event=file_tables_refused")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(" fd_tables=shared "), "{told:?}");
    let (code, lines) = launch().set("fd_tables", "private").refuse();
    assert_eq!((code, lines.len()), (Some(1), 1), "{lines:?}");
    assert!(lines[0].contains("--fd-tables auto"), "{lines:?}");
}
