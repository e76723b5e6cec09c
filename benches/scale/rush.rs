//! Victims beside those who ask too much: pipelined requests, storms of connections, history again and again.
//! The server has a processor of its own, so that what is measured is what it does about them.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use crate::Options;
use crate::load::Load;
use crate::report::Report;
use crate::server::{Server, request};
use crate::victims::Victims;
use crate::watch::Watch;

const SETTLE: Duration = Duration::from_secs(3);

/// Connections that pipeline without end: at first without reading the answers, then reading them.
pub fn pipeline(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("pipeline");
    let count = options.get("connections", 200) as usize;
    let time = Duration::from_secs(options.get("seconds", 10));
    for how in ["read", "deaf"] {
        let server = Server::start_apart("pipeline")?;
        let victims = Victims::start(&server)?;
        let watch = Watch::start(&server, true)?;

        let load = Load::start("pipeline", server.public, count, how)?;
        sleep(time);
        let taken = load.stop()?;
        report.row(format!("pipeliners, {how}"), count as f64, "");
        report.row("bytes of answers they read a second", taken as f64 / time.as_secs_f64(), "");
        let before = watch.before;
        let most = watch.finish(&server, &mut report)?;
        let grown = most.resident.saturating_sub(before.resident) + most.own_end;
        let each = grown as f64 / count as f64 / 1_024.0;
        report.at_most("memory, resident and the kernel's, each", each, "KiB", 64.0);
        victims.finish(&mut report)?;
    }
    Ok(report)
}

/// One thread that connects and resets as fast as it can.
pub fn storm(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("storm");
    let time = Duration::from_secs(options.get("seconds", 10));
    let server = Server::start_apart("storm")?;
    let victims = Victims::start(&server)?;
    let watch = Watch::start(&server, false)?;
    let load = Load::start("storm", server.public, 1, "")?;
    sleep(time);
    let connections = load.stop()?;
    report.row("connections a second", connections as f64 / time.as_secs_f64(), "");
    victims.finish(&mut report)?;
    sleep(SETTLE);
    watch.finish(&server, &mut report)?;
    Ok(report)
}

/// Clients that resume the same history again and again.
pub fn replay(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("replay");
    let time = Duration::from_secs(options.get("seconds", 10));
    let (count, events) = (options.get("clients", 1_000) as usize, options.get("events", 500));
    let server = Server::start_apart("replay")?;
    let victims = Victims::start(&server)?;
    let first = request(server.control, "POST", "/publish?topic=old", "the one they have had")?;
    let id = first.body.split('"').nth(3).ok_or_else(|| io::Error::other("no id"))?.to_owned();
    for number in 0..events {
        let text = format!("{number} {}", "z".repeat(100));
        let answer = request(server.control, "POST", "/publish?topic=old", &text)?;
        if answer.status != 202 {
            return Err(io::Error::other(format!("publish answered {}", answer.status)));
        }
    }
    let watch = Watch::start(&server, false)?;
    let load = Load::start("replay", server.public, count, &format!("{id} {events}"))?;
    sleep(time);
    let taken = load.stop()?;
    report.row("clients", count as f64, "");
    report.row("replays a second", taken as f64 / events as f64 / time.as_secs_f64(), "");
    victims.finish(&mut report)?;
    watch.finish(&server, &mut report)?;
    Ok(report)
}
