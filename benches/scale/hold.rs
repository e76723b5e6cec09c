//! 100 000 subscribers of one topic on eight workers: what they cost while idle, a broadcast to all, and how
//! fast `/metrics` answers meanwhile.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Options;
use crate::child::{Plan, unix_us};
use crate::probe::Probes;
use crate::publisher::{Pace, Publisher};
use crate::report::Report;
use crate::server::{ControlConnection, Server, request};
use crate::swarm::Swarm;
use fanwheel::host::processes;
use fanwheel::load::histogram::LatencyHistogram;

/// The processes that only load the machine give way to those that are measured.
const NICE: &[&str] = &["nice", "-n", "10"];
const IDLE: Duration = Duration::from_secs(10);
const BROADCAST: Duration = Duration::from_secs(60);
/// Between two readings of `/metrics`.
const READING: Duration = Duration::from_millis(50);

/// Runs it.
pub fn run(options: &Options) -> io::Result<Report> {
    let count = options.get("subscribers", 100_000);
    let workers = options.get("workers", 8).to_string();
    // Without heartbeats "idle" means idle; what they cost can be computed from a broadcast.
    let server = Server::start("hold100k", &["--workers", &workers, "--heartbeat-ms", "3600000"])?;
    let mut report = Report::new("hold100k");
    let (pid, resident, kernel) = (server.pid(), processes::resident_bytes(server.pid()), kernel_bytes());

    let start = Instant::now();
    let mut swarm =
        Swarm::open(&Plan::readers(&server, "all", count as usize), NICE, Duration::from_secs(180))?;
    report.row("subscribers", count as f64, "");
    report.row("time to open them", start.elapsed().as_secs_f64(), "s");
    report.row("server processor time, each", processes::cpu_ns(pid) as f64 / 1_000.0 / count as f64, "µs");
    sleep(Duration::from_secs(2));
    let grown = processes::resident_bytes(pid).saturating_sub(resident) as f64 / count as f64;
    report.at_most("resident growth, each", grown, "B", 128.0);
    let kernel = kernel_bytes().saturating_sub(kernel) as f64 / count as f64;
    report.row("kernel memory, each, both ends", kernel, "B");

    let busy = processes::cpu_ns(pid);
    sleep(IDLE);
    let idle = (processes::cpu_ns(pid) - busy) as f64 / IDLE.as_nanos() as f64 * 100.0;
    report.at_most("processor while idle", idle, "%", 0.5);

    broadcast(&server, &mut swarm, &mut report, count, options.get("broadcasts", 5))?;
    report.row(
        "resident after broadcasts, growth each",
        processes::resident_bytes(pid).saturating_sub(resident) as f64 / count as f64,
        "B",
    );
    read_metrics(&server, &mut swarm, &mut report, Duration::from_secs(options.get("seconds", 20)))?;
    server.check(&mut report);
    Ok(report)
}

/// Reads `/metrics` on one kept connection during a broadcast a second. The subscribers share the processors
/// with the server, and what they take of them would be measured as the server's: so they only get what it
/// leaves.
fn read_metrics(server: &Server, swarm: &mut Swarm, report: &mut Report, time: Duration) -> io::Result<()> {
    swarm.give_way()?;
    swarm.reset()?;
    let publisher = Publisher::start(Pace { publisher: 1, rate: 1, ..Pace::to(server, "all") });
    let (mut line, mut latency, mut largest) =
        (ControlConnection::open(server.control)?, LatencyHistogram::default(), 0);
    let start = Instant::now();
    for turn in 1.. {
        let asked = Instant::now();
        let answer = line.ask("GET", "/metrics", "", 200)?;
        latency.add(asked.elapsed().as_micros() as u64);
        largest = largest.max(answer.body.len());
        if start.elapsed() >= time {
            break;
        }
        sleep((start + READING * turn).saturating_duration_since(Instant::now()));
    }
    let done = publisher.stop()?;
    let behind = swarm.await_event(1, done.accepted, BROADCAST)?;
    report.row("beside /metrics: broadcasts, one a second", done.accepted as f64, "");
    report.none("beside /metrics: without the last one", behind);
    report.row("/metrics: readings, one each 50 ms", latency.count() as f64, "");
    report.row("/metrics, load at idle priority: p50", latency.ms(0.5), "ms");
    report.row("/metrics, load at idle priority: p90", latency.ms(0.9), "ms");
    report.at_most("/metrics, load at idle priority: p99", latency.ms(0.99), "ms", 20.0);
    report.row("/metrics, load at idle priority: slowest", latency.max_ms(), "ms");
    report.at_most("/metrics: largest answer", largest as f64 / 1_024.0, "KiB", 200.0);
    Ok(())
}

/// Broadcasts one after the other, with probes throughout, and counts what came.
fn broadcast(
    server: &Server,
    swarm: &mut Swarm,
    report: &mut Report,
    subscribers: u64,
    broadcasts: u64,
) -> io::Result<()> {
    swarm.reset()?;
    let probes = Probes::start(server.public);
    sleep(Duration::from_secs(2));
    let busy = processes::cpu_ns(server.pid());
    let mut answer_slowest = Duration::ZERO;
    for number in 1..=broadcasts {
        let start = Instant::now();
        let text = format!("0 {number} {} a broadcast to all", unix_us());
        let answer = request(server.control, "POST", "/publish?topic=all", &text)?;
        answer_slowest = answer_slowest.max(start.elapsed());
        if answer.status != 202 {
            return Err(io::Error::other(format!("publish answered {}: {}", answer.status, answer.body)));
        }
        swarm.await_event(0, number, BROADCAST)?;
        sleep(Duration::from_secs(1));
    }
    let busy = (processes::cpu_ns(server.pid()) - busy) / 1_000_000;
    let tally = swarm.report()?;
    report.exactly("broadcast deliveries", tally.events, subscribers * broadcasts);
    report.none("deliveries twice", tally.repeated);
    report.none("foreign bytes", tally.foreign);
    report.none("streams ended", tally.closed);
    report.row("delivery: p50", tally.latency.ms(0.5), "ms");
    report.row("delivery: p99", tally.latency.ms(0.99), "ms");
    report.row("delivery: slowest", tally.latency.max_ms(), "ms");
    report.row("publish answered, slowest", answer_slowest.as_secs_f64() * 1_000.0, "ms");
    report.row("server processor time a delivery", busy as f64 * 1_000.0 / tally.events.max(1) as f64, "µs");
    probes.finish(report, Some(50.0));
    Ok(())
}

/// Sockets, their file and epoll entries live in slabs; their buffers, if any, in TCP memory.
fn kernel_bytes() -> u64 {
    processes::slab_bytes() + processes::tcp_memory_bytes()
}
