//! Who waits for a crowd: an event for one beside broadcasts to very many, a publisher beside heartbeats, and
//! everybody on a worker beside streams whose filter lets nothing through.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Options;
use crate::ahead;
use crate::child::Plan;
use crate::publisher::{Pace, Publisher, publish_for};
use crate::report::Report;
use crate::server::{Server, request};
use crate::swarm::Swarm;

const OPEN: Duration = Duration::from_secs(180);
const SETTLE: Duration = Duration::from_secs(60);
/// Events for one, a second.
const RATE: u32 = 5;
const WORKERS: &str = "4";
/// Processes that only load the machine give way to those that are measured.
const NICE: &[&str] = &["nice", "-n", "10"];

/// Events to a topic with one subscriber while broadcasts to all the others run without a pause.
pub fn beside(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("beside");
    let (count, events) = (options.get("subscribers", 60_000), options.get("events", 60));
    let server = Server::start("beside", &["--workers", WORKERS])?;
    let mut crowd = Swarm::open(&Plan::readers(&server, "all", count as usize), NICE, OPEN)?;
    let mut one = Swarm::open(&Plan { source: 90, ..Plan::readers(&server, "one", 1) }, ahead::wrap(), OPEN)?;
    crowd.give_way()?;
    let broadcasts = Publisher::start(Pace { publisher: 1, rate: 2, ..Pace::to(&server, "all") });
    std::thread::sleep(Duration::from_secs(2));
    let pace = Pace { rate: RATE, ..Pace::to(&server, "one") };
    let done = publish_for(&pace, Duration::from_secs(events / u64::from(RATE)))?;
    let behind = one.await_event(0, done.accepted, SETTLE)?;
    let broadcasts = broadcasts.stop()?;
    let tally = one.report()?;
    report.row("subscribers", count as f64, "");
    report.row("broadcasts meanwhile", broadcasts.accepted as f64, "");
    report.row(
        "broadcasts without their last subscriber",
        {
            let behind = crowd.behind(1, broadcasts.accepted)?;
            f64::from(u8::from(behind > 0))
        },
        "",
    );
    report.none("events for one that did not come", behind + done.accepted.abs_diff(tally.events));
    report.row("events for one", tally.events as f64, "");
    report.row("time to the one: p50", tally.latency.ms(0.5), "ms");
    report.row("time to the one: p90", tally.latency.ms(0.9), "ms");
    report.at_most("time to the one: worst", tally.latency.max_ms(), "ms", 20.0);
    server.check(&mut report);
    Ok(report)
}

/// The rate at which a publisher is taken, without heartbeats and beside those of many.
pub fn heartbeats(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("heartbeats");
    let count = options.get("subscribers", 10_000);
    let time = Duration::from_secs(options.get("seconds", 5));
    let mut rates = Vec::new();
    for heartbeat_ms in ["3600000", "1000"] {
        let server = Server::start("heartbeats", &["--workers", "1", "--heartbeat-ms", heartbeat_ms])?;
        let mut quiet = Swarm::open(&Plan::readers(&server, "quiet", count as usize), NICE, OPEN)?;
        let plan = Plan { source: 90, resume: true, ..Plan::readers(&server, "busy", 1) };
        let mut reader = Swarm::open(&plan, ahead::wrap(), OPEN)?;
        let begun = Instant::now();
        let done = publish_for(&Pace { batch: 16, ..Pace::to(&server, "busy") }, time)?;
        rates.push(done.accepted as f64 / begun.elapsed().as_secs_f64());
        report.none("events that did not come", reader.await_event(0, done.accepted, SETTLE)?);
        report.row(format!("heartbeats, one each {heartbeat_ms} ms"), quiet.report()?.heartbeats as f64, "");
        report.row("events taken a second", rates[rates.len() - 1], "");
        report.row("publishes answered 503", done.refused as f64, "");
    }
    // What the heartbeats themselves cost is not the publisher's wait.
    report.at_most("rate without heartbeats, divided by the other", rates[0] / rates[1], "", 1.25);
    Ok(report)
}

/// Streams that want nothing of what is published, and the longest turn that they make.
pub fn filtered(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("filtered");
    let count = options.get("subscribers", 4_000);
    let server = Server::start_apart("filtered")?;
    let plan = Plan::readers(&server, "all&event=other", count as usize);
    let mut crowd = Swarm::open(&plan, NICE, OPEN)?;
    // Turns of the opening are not meant: the figure is that of the last minute.
    std::thread::sleep(Duration::from_secs(options.get("pause", 62)));
    let pace = Pace { batch: 64, rate: 6_400, ..Pace::to(&server, "all") };
    let done = publish_for(&pace, Duration::from_secs(options.get("seconds", 10)))?;
    std::thread::sleep(Duration::from_millis(1_500));
    let status = request(server.control, "GET", "/status", "")?.body;
    let status: Value = serde_json::from_str(&status).map_err(io::Error::other)?;
    report.row("streams that want nothing", count as f64, "");
    report.row("events published", done.accepted as f64, "");
    report.row("publishes answered 503", done.refused as f64, "");
    report.none("events delivered", crowd.report()?.events);
    report.at_most("longest turn", status["turn_ms"]["max"].as_f64().unwrap_or(f64::MAX), "ms", 5.0);
    report.row("publish: p99", done.latency.ms(0.99), "ms");
    Ok(report)
}
