//! Floods of strangers beside healthy subscribers: nobody waits for them, newcomers from other addresses get
//! in, and neither memory nor `/metrics` grows with them.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use crate::Options;
use crate::keys::{CLOSED, make_keys, write_config};
use crate::load::Load;
use crate::probe::Probes;
use crate::report::Report;
use crate::server::{ControlConnection, Server, request};
use crate::victims::Victims;
use crate::watch::{Watch, mib};

/// Long enough for what is told once a second, and for what lingers after its answer.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections on which strangers ask.
const ASKERS: u64 = 64;
/// Growth of `/metrics`: digits of its values, and no more names.
const METRICS_GROWTH_BYTES: u64 = 8_192;
/// Topics in one batch of publishes.
const BATCH: u64 = 1_000;

/// A kind of strangers, and what they may cost.
struct Flood<'a> {
    kind: &'a str,
    connections: usize,
    further: &'a str,
    /// Their word for what the process counts.
    counted: &'a str,
    seconds: u64,
    growth_mib: f64,
}

impl Flood<'_> {
    /// Runs beside victims until its time is over, while `meanwhile` goes on.
    fn run(
        &self,
        server: &Server,
        victims: Victims,
        report: &mut Report,
        meanwhile: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let page = request(server.control, "GET", "/metrics", "")?.body.len() as u64;
        let watch = Watch::start(server, false)?;
        let load = Load::start(self.kind, server.public, self.connections, self.further)?;
        let probes = Probes::start(server.public);
        meanwhile()?;
        sleep(Duration::from_secs(self.seconds));
        probes.finish(report, None);
        let flooded = request(server.control, "GET", "/metrics", "")?.body.len() as u64;
        let done = load.stop()?;
        report.row(self.counted, done as f64, "");
        report.row(format!("{} a second", self.counted), done as f64 / self.seconds as f64, "");
        victims.finish(report)?;
        sleep(SETTLE);
        let before = watch.before.resident;
        let most = watch.finish(server, report)?;
        let grown = mib(most.resident.saturating_sub(before));
        report.at_most("resident growth", grown, "MiB", self.growth_mib);
        let grown = flooded.saturating_sub(page);
        report.at_most("growth of /metrics", grown as f64, "B", METRICS_GROWTH_BYTES as f64);
        Ok(())
    }
}

/// Tokens of each algorithm whose signatures nobody has made.
pub fn signatures(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("signatures");
    let rate = options.get("rate", 20_000);
    for key in make_keys()? {
        let config = write_config("signatures", std::slice::from_ref(&key))?;
        let server = Server::start_apart_with("signatures", &["--config", &config.to_string_lossy()])?;
        let victims = Victims::start(&server)?;
        let token = key.forged();
        let target = format!("/events?topic={CLOSED}.a");
        let fields = format!("Host: localhost\r\nAuthorization: Bearer {token}");
        let request = format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n");
        let flood = Flood {
            kind: "ask",
            connections: options.get("connections", ASKERS) as usize,
            further: &format!("{rate} {request}"),
            counted: &format!("{}: forged tokens", key.algorithm),
            seconds: options.get("seconds", 10),
            growth_mib: 16.0,
        };
        flood.run(&server, victims, &mut report, || Ok(()))?;
    }
    Ok(report)
}

/// Publishes on the public listener, where nobody may.
pub fn uninvited(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("uninvited");
    let server = Server::start_apart("uninvited")?;
    let victims = Victims::start(&server)?;
    let request = "POST /publish?topic=victims HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let flood = Flood {
        kind: "ask",
        connections: options.get("connections", ASKERS) as usize,
        further: &format!("{} {request}", options.get("rate", 0)),
        counted: "publishes without a credential",
        seconds: options.get("seconds", 10),
        growth_mib: 16.0,
    };
    flood.run(&server, victims, &mut report, || Ok(()))?;
    Ok(report)
}

/// Heads that are none, each on a connection of its own, and requests without a topic on kept ones.
pub fn malformed(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("malformed");
    let request = format!("{} GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n", options.get("rate", 0));
    for (kind, further, counted) in
        [("malform", "", "malformed heads"), ("ask", &*request, "requests without a topic")]
    {
        let server = Server::start_apart("malformed")?;
        let victims = Victims::start(&server)?;
        let flood = Flood {
            kind,
            connections: options.get("connections", ASKERS) as usize,
            further,
            counted,
            seconds: options.get("seconds", 10),
            growth_mib: 16.0,
        };
        flood.run(&server, victims, &mut report, || Ok(()))?;
    }
    Ok(report)
}

/// Streams of new topics by new user agents, and a million topics of a publisher.
pub fn names(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("names");
    let topics = options.get("topics", 1_000_000);
    let server = Server::start_apart("names")?;
    let victims = Victims::start(&server)?;
    let flood = Flood {
        kind: "name",
        connections: 1,
        further: "",
        counted: "new topics and user agents",
        seconds: options.get("seconds", 10),
        growth_mib: options.get("growth_mib", 400) as f64,
    };
    let control = server.control;
    flood.run(&server, victims, &mut report, || publish_to_many(control, topics))?;
    Ok(report)
}

/// Publishes one event to each of so many topics; those beyond the server's bound are refused.
fn publish_to_many(control: std::net::SocketAddr, topics: u64) -> io::Result<()> {
    let mut line = ControlConnection::open(control)?;
    for first in (0..topics).step_by(BATCH as usize) {
        let lines: String = (first..(first + BATCH).min(topics))
            .map(|number| format!("{{\"topic\":\"published.{number}\",\"data\":\"x\"}}\n"))
            .collect();
        if line.ask("POST", "/publish/batch", &lines, 202).is_err() {
            // Its bound is reached, or it wants a pause.
            sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

/// Heads, bodies and readers that hardly move, beside many subscribers.
pub fn slowly(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("slowly");
    let count = options.get("connections", 15_000) as usize;
    // A worker holds at most as many files as a process may have: each takes half of all.
    let server = Server::start("slowly", &["--workers", "2"])?;
    let subscribers = options.get("subscribers", 5_000) as usize;
    let victims = Victims::start_many(&server, subscribers, options.get("rate", 10) as u32)?;
    let flood = Flood {
        kind: "drip",
        connections: count,
        further: "",
        counted: "slow connections",
        seconds: options.get("seconds", 30),
        growth_mib: options.get("growth_mib", 128) as f64,
    };
    flood.run(&server, victims, &mut report, || Ok(()))?;
    Ok(report)
}
