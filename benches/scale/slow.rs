//! Subscribers that do not read: some of many that stop, and some that never begin.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use crate::Options;
use crate::child::Plan;
use crate::publisher::{Pace, Publisher, publish_for};
use crate::report::Report;
use crate::server::Server;
use crate::swarm::Swarm;
use crate::tally::Tally;
use crate::victims::Victims;
use crate::watch::{Watch, mib};

const OPEN: Duration = Duration::from_secs(60);
/// Several processes share the reading, or the readers would be what is measured.
const PER_PROCESS: usize = 2_500;
const SETTLE: Duration = Duration::from_secs(20);

/// The same load twice, without and with 1 % of the subscribers stalled.
pub fn stalled(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("stalled");
    let quiet = stalled_run(options, 0, &mut report)?;
    let stalled = options.get("subscribers", 10_000) / 100;
    let disturbed = stalled_run(options, stalled, &mut report)?;
    let ratio = disturbed.latency.ms(0.99) / quiet.latency.ms(0.99).max(0.001);
    report.at_most("p99 of the healthy, against none stalled", ratio, "times", 2.0);
    Ok(report)
}

fn stalled_run(options: &Options, stalled: u64, report: &mut Report) -> io::Result<Tally> {
    let count = options.get("subscribers", 10_000);
    let time = Duration::from_secs(options.get("seconds", 30));
    let server = Server::start("stalled", &[])?;
    let mut swarm = Swarm::open(
        &Plan { per_process: PER_PROCESS, ..Plan::readers(&server, "all", count as usize) },
        &[],
        OPEN,
    )?;
    let watch = Watch::start(&server, false)?;
    if stalled > 0 {
        swarm.stall(stalled as usize)?;
    }
    let pace = Pace {
        bytes: options.get("bytes", 1_024) as usize,
        rate: options.get("rate", 50) as u32,
        ..Pace::to(&server, "all")
    };
    let busy = fanwheel::host::processes::cpu_ns(server.pid());
    let done = publish_for(&pace, time)?;
    let busy = (fanwheel::host::processes::cpu_ns(server.pid()) - busy) / 1_000_000;
    let behind = swarm.await_event(0, done.accepted, SETTLE)?;
    let tally = swarm.report()?;
    let healthy = count - stalled;
    report.row("stalled subscribers", stalled as f64, "");
    report.row("published", done.accepted as f64, "");
    report.row("publishes answered 503", done.refused as f64, "");
    report.row("publish answered, p99", done.latency.ms(0.99), "ms");
    report.row("server processors busy", busy as f64 / time.as_millis() as f64, "");
    report.row("deliveries", tally.events as f64, "");
    report.row("delivery: p50", tally.latency.ms(0.5), "ms");
    report.row("delivery: p99", tally.latency.ms(0.99), "ms");
    report.row("delivery: slowest", tally.latency.max_ms(), "ms");
    report.none("healthy subscribers without the last event", behind);
    report.none("healthy streams ended", tally.closed);
    report.exactly("healthy deliveries", tally.events, done.accepted * healthy);
    report.none("lost without a word, repeated, foreign", tally.lost + tally.repeated + tally.foreign);
    watch.finish(&server, report)?;
    Ok(tally)
}

/// Subscribers that never read, large events, and a few healthy ones of another topic beside them.
pub fn stuck(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("stuck");
    let time = Duration::from_secs(options.get("seconds", 30));
    let count = options.get("subscribers", 300) as usize;
    let server = Server::start("stuck", &[])?;
    let victims = Victims::start(&server)?;
    let watch = Watch::start(&server, true)?;
    let plan = Plan { never_read: true, source: 200, ..Plan::readers(&server, "stuck", count) };
    let stuck = Swarm::open(&plan, &[], OPEN)?;
    let large = Pace { bytes: options.get("bytes", 64_000) as usize, rate: 20, ..Pace::to(&server, "stuck") };
    let large = Publisher::start(large);
    sleep(time);
    let large = large.stop()?;
    report.row("subscribers that never read", count as f64, "");
    report.row("large events published", large.accepted as f64, "");
    let most = watch.finish(&server, &mut report)?;
    report.row("kernel memory of the server's ends, most", mib(most.own_end), "MiB");
    report.row("the same, each stuck subscriber", most.own_end as f64 / count as f64 / 1_024.0, "KiB");
    report.row("kernel memory of the subscribers' ends, most", mib(most.other_end), "MiB");
    report.at_most("resident and kernel memory of both ends, most", most.all as f64 / 1e6, "MB", 75.0);
    victims.finish(&mut report)?;
    drop(stuck);
    sleep(Duration::from_millis(500));
    Ok(report)
}
