//! A million short connections while the log is moved away and reopened: files and memory stay level, and
//! nothing but their own stream reaches the subscribers.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::Options;
use crate::child::{Plan, bind};
use crate::publisher::{Pace, Publisher};
use crate::report::Report;
use crate::server::Server;
use crate::swarm::Swarm;
use crate::watch::mib;
use fanwheel::host::processes;

const CALLERS: u64 = 4;
const LOG: &str = "target/scale/churn-server.log";
/// Long enough for what lingers after its answer to be gone.
const SETTLE: Duration = Duration::from_secs(5);

/// Runs it.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("churn");
    let count = options.get("connections", 1_000_000);
    let workers = options.get("workers", 4).to_string();
    let flags = ["--workers", &workers, "--log-file", LOG, "--log-level", "debug"];
    let server = Server::start("churn", &flags)?;
    let mut readers = Swarm::open(&Plan::readers(&server, "all", 200), &[], Duration::from_secs(30))?;
    let publisher = Publisher::start(Pace { bytes: 200, rate: 50, ..Pace::to(&server, "all") });

    // The first tenth fills what is filled once: buffers, slabs, the allocator's arenas.
    call(server.public, count / 10, 0)?;
    sleep(SETTLE);
    let (pid, start) = (server.pid(), Instant::now());
    let before = (processes::open_files(pid), processes::resident_bytes(pid));
    let (done, reopened) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                reopened.fetch_add(u64::from(reopen(pid).is_ok()), Relaxed);
                sleep(Duration::from_millis(50));
            }
        });
        let called = call(server.public, count - count / 10, 100);
        done.store(true, Relaxed);
        called
    })?;
    let time = start.elapsed();
    sleep(SETTLE);
    let after = (processes::open_files(pid), processes::resident_bytes(pid));
    let published = publisher.stop()?;
    let behind = readers.await_event(0, published.accepted, Duration::from_secs(10))?;
    let tally = readers.report()?;
    report.row("connections", count as f64, "");
    report.row("connections a second", (count - count / 10) as f64 / time.as_secs_f64(), "");
    report.row("log reopened", reopened.into_inner() as f64, "times");
    report.row("open files over all threads, before", before.0 as f64, "");
    report.none("open files, growth", after.0.saturating_sub(before.0));
    report.row("resident, before", mib(before.1), "MiB");
    report.at_most("resident, growth", mib(after.1.saturating_sub(before.1)), "MiB", 4.0);
    report.row("events to the readers", tally.events as f64, "");
    report.row("delivery: p99", tally.latency.ms(0.99), "ms");
    report.none("foreign bytes in streams", tally.foreign);
    report.none("readers without the last event", behind);
    report.none("lost, repeated, streams ended", tally.lost + tally.repeated + tally.closed);
    server.check(&mut report);
    Ok(report)
}

/// Moves the log away and asks for a new one; the old one is thrown away a turn later.
fn reopen(pid: u32) -> io::Result<()> {
    fs::rename(LOG, format!("{LOG}.old"))?;
    let status = Command::new("kill").args(["-HUP", &pid.to_string()]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("no such process")) }
}

/// Makes connections of every kind from several threads.
fn call(to: SocketAddr, count: u64, salt: u64) -> io::Result<()> {
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                scope.spawn(move || {
                    (0..count / CALLERS).try_for_each(|turn| call_once(to, salt + caller, turn))
                })
            })
            .collect();
        let joined = callers.into_iter().map(|caller| caller.join());
        joined
            .into_iter()
            .try_for_each(|done| done.unwrap_or_else(|_| Err(io::Error::other("a caller broke"))))
    })
}

/// One connection: says nothing, half a request, a health check or a subscription, and then ends or resets.
fn call_once(to: SocketAddr, caller: u64, turn: u64) -> io::Result<()> {
    // Ports of closed connections rest for a while, so addresses take turns.
    let source = Ipv4Addr::new(127, 1 + (caller % 200) as u8, (turn % 50) as u8, 1);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    bind(&socket, source, &mut (10_000 + (turn / 50 % 50_000) as u16))?;
    socket.connect(&to.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    match turn % 4 {
        0 => {}
        1 => stream.write_all(b"GET /events?topic=al")?,
        2 => stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?,
        _ => stream.write_all(b"GET /events?topic=all HTTP/1.1\r\nHost: localhost\r\n\r\n")?,
    }
    if turn % 4 >= 2 && turn % 16 < 12 {
        stream.read(&mut [0; 64]).map(drop)?;
    }
    if turn.is_multiple_of(3) {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}
