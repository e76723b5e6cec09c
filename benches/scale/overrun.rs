//! Publishers faster than the server: it says so, its memory stays level, and what it accepted arrives, also
//! to those whose connection ends now and then and who come back.

use std::io;
use std::time::{Duration, Instant};

use crate::Options;
use crate::ahead;
use crate::child::Plan;
use crate::publisher::{Done, Pace, Publisher};
use crate::report::Report;
use crate::server::Server;
use crate::swarm::Swarm;
use crate::watch::{Watch, mib};

/// Resident growth that is not flat any more: history, mailboxes and idempotency keys have their own bounds,
/// and all of them together are below this.
const GROWTH_MIB_MAX: f64 = 96.0;

/// For all publishers together, once they have stopped.
const SETTLE: Duration = Duration::from_secs(30);

/// A server as it comes: nobody who keeps reading is passed by.
pub fn overrun(options: &Options) -> io::Result<Report> {
    run("overrun", &[], options)
}

/// Connections that live for a second or two, and history for half a second of all that is published, so
/// that whoever comes back finds what it missed.
pub fn returning(options: &Options) -> io::Result<Report> {
    let life_ms = options.get("life_ms", 1_500).to_string();
    let history = ["--history-events", "200000", "--history-topic-bytes-max", "67108864"];
    run("returning", &[&["--max-connection-ms", &life_ms], &history[..]].concat(), options)
}

fn run(name: &'static str, flags: &[&str], options: &Options) -> io::Result<Report> {
    let mut report = Report::new(name);
    let time = Duration::from_secs(options.get("seconds", 20));
    let count = options.get("subscribers", 20) as usize;
    let publishers = options.get("publishers", 8).min(16) as usize;
    let batch = options.get("batch", 100) as usize;
    let bytes = options.get("bytes", 100) as usize;
    let server = Server::start(name, flags)?;
    // Few readers in several processes, so that each keeps reading.
    let plan = Plan { resume: true, per_process: count.div_ceil(4), ..Plan::readers(&server, "all", count) };
    // Or eight publishers leave them so little of the processors that they do not keep reading.
    let mut swarm = Swarm::open(&plan, ahead::wrap(), Duration::from_secs(30))?;
    let watch = Watch::start(&server, false)?;
    let pace = Pace { bytes, batch, ..Pace::to(&server, "all") };
    let crowd: Vec<Publisher> =
        (0..publishers).map(|publisher| Publisher::start(Pace { publisher, ..pace.clone() })).collect();
    let begun = Instant::now();
    std::thread::sleep(time);
    let done: Vec<Done> = crowd.into_iter().map(Publisher::stop).collect::<io::Result<_>>()?;
    let (mut behind, start) = (0, Instant::now());
    for (publisher, done) in done.iter().enumerate() {
        behind += swarm.await_event(publisher, done.accepted, SETTLE.saturating_sub(start.elapsed()))?;
    }
    let took = begun.elapsed();
    let tally = swarm.report()?;
    let accepted: u64 = done.iter().map(|done| done.accepted).sum();
    report.row("publishers", publishers as f64, "");
    report.row("events accepted a second", accepted as f64 / time.as_secs_f64(), "");
    report.row("requests answered 503", done.iter().map(|done| done.refused).sum::<u64>() as f64, "");
    report.none("other answers", done.iter().map(|done| done.wrong).sum());
    report.row("deliveries a second, until the last", tally.events as f64 / took.as_secs_f64(), "");
    report.row("delivery: p99", tally.latency.ms(0.99), "ms");
    report.row("streams open at the end", tally.open as f64, "");
    report.row("streams ended and resumed", tally.closed as f64, "");
    report.none("missing behind a gap that was told", tally.told);
    report.none("missing without a word", tally.lost);
    report.none("repeated, foreign", tally.repeated + tally.foreign);
    report.none("subscribers without a publisher's last event", behind);
    if tally.told == 0 {
        report.exactly("deliveries", tally.events, accepted * count as u64);
    }
    let before = watch.before.resident;
    let most = watch.finish(&server, &mut report)?;
    report.at_most("resident growth", mib(most.resident.saturating_sub(before)), "MiB", GROWTH_MIB_MAX);
    Ok(report)
}
