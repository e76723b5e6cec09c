//! The runs over sizes and rates: the cost of a connection, idle and at one event a second, from a thousand
//! to a million; what arrives at which publish rate.

use std::path::Path;
use std::process::Stdio;

use fanwheel::load::report::LoadReport;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::measure::{self, Pins};
use crate::peer::{Peer, Running};

/// Share of a file table that connections may take; the rest is for uneven spreading and what else is open.
const TABLE_SHARE: f64 = 0.9;
const WORKERS_MAX: u64 = fanwheel::base::limits::WORKERS_MAX as u64;
/// Seconds held idle; one heartbeat period and a little.
const IDLE_S: u64 = 16;
const HEARTBEAT_MS: u64 = 15_000;
const MIB: f64 = 1_048_576.0;

/// One peer at one size.
#[derive(Clone, Serialize, Deserialize)]
pub struct Size {
    /// The peer.
    pub title: String,
    /// Connections.
    pub connections: u64,
    /// Seconds to open them.
    pub opening_s: f64,
    /// Resident memory that they added, in MiB.
    pub resident_mib: f64,
    /// Kernel memory that they added, both ends, in MiB.
    pub kernel_mib: f64,
    /// Processor share when idle with heartbeats, in per cent of one processor.
    pub idle_percent: f64,
    /// Microseconds of processor time for each heartbeat.
    pub heartbeat_us: f64,
    /// The share at one event a second to all.
    pub event_percent: f64,
    /// Microseconds of processor time for each delivery then.
    pub delivery_us: f64,
    /// Median time to an event's last subscriber, in milliseconds.
    pub last_ms: f64,
    /// The failures of the run.
    pub troubles: String,
}

/// Connections that one worker, or one process without tables of its own, can hold on this host.
pub fn per_table() -> Result<u64, String> {
    let limit = fanwheel::sys::process::files_limit().map_err(|os| format!("no file limit: {os}"))?;
    Ok((limit.hard.min(1 << 20) as f64 * TABLE_SHARE) as u64)
}

/// Workers that so many connections need; if this host does not allow enough, what to do.
pub fn workers(connections: u64) -> Result<u64, String> {
    let per_table = per_table()?.max(1);
    let workers = connections.div_ceil(per_table);
    if workers > WORKERS_MAX {
        return Err(format!(
            "cannot hold {connections} connections: {WORKERS_MAX} workers × {per_table} files; raise the \
             limit with `ulimit -n {}` or tuning/apply.sh",
            (connections as f64 / WORKERS_MAX as f64 / TABLE_SHARE).ceil()
        ));
    }
    Ok(workers)
}

/// A peer with so many connections: opened, held idle, then one event a second to all.
pub fn size(program: &Path, peer: &Peer, connections: u64, pins: Pins) -> Result<Size, String> {
    let running =
        peer.start_with(workers(connections)?, pins.server, HEARTBEAT_MS).map_err(|os| os.to_string())?;
    one(program, &peer.title, &running, connections, pins)
}

fn one(program: &Path, title: &str, running: &Running, connections: u64, pins: Pins) -> Result<Size, String> {
    let flags = format!(
        "--subscribers {connections} --idle-seconds {IDLE_S} --rate 1 --seconds 8 --bytes 64 \
         --patience-seconds 30 --connecting-max 1024"
    );
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let report = measure::load(program, running, &flags, pins)?;
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let count = number("/opened/open");
    Ok(Size {
        title: title.to_owned(),
        connections,
        opening_s: number("/opened/seconds"),
        resident_mib: number("/opened/resident_bytes_each") * count / MIB,
        kernel_mib: number("/opened/kernel_bytes_each") * count / MIB,
        idle_percent: number("/idled/cpu_percent"),
        heartbeat_us: number("/idled/cpu_us_each"),
        event_percent: number("/delivered/cpu_percent"),
        delivery_us: number("/delivered/cpu_us_per_delivery"),
        last_ms: number("/delivered/to_last/p50_ms"),
        troubles: measure::troubles(&report),
    })
}

/// The table that articles print.
pub fn table(sizes: &[Size]) -> String {
    let mut text = String::from(
        "| server | connections | resident MiB | kernel MiB, both ends | idle CPU % | CPU % at 1 event/s | \
         µs a delivery | last subscriber ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for size in sizes {
        let Size { title, connections, .. } = size;
        let cell = crate::results::shown;
        text.push_str(&format!(
            "| {title} | {connections} | {} | {} | {} | {} | {} | {} |\n",
            cell(size.resident_mib),
            cell(size.kernel_mib),
            cell(size.idle_percent),
            cell(size.event_percent),
            cell(size.delivery_us),
            cell(size.last_ms),
        ));
        if !size.troubles.is_empty() {
            text.push_str(&format!("| | {} | | | | | | |\n", size.troubles));
        }
    }
    text
}

/// One peer at one publish rate.
#[derive(Clone, Serialize, Deserialize)]
pub struct Rate {
    /// The peer.
    pub title: String,
    /// Events a second.
    pub events_per_second: f64,
    /// Deliveries a second, to 2 000 subscribers.
    pub deliveries_per_second: f64,
    /// 99 % of the deliveries took at most this, in milliseconds, counted from when the event was due.
    pub p99_ms: f64,
}

/// A peer at a publish rate, 2 000 subscribers.
pub fn rate(program: &Path, peer: &Peer, events: u64, pins: Pins) -> Result<Rate, String> {
    let running = peer.start(pins.server, HEARTBEAT_MS).map_err(|os| os.to_string())?;
    let flags = format!(
        "--subscribers 2000 --warm-up 10 --rate {events} --seconds 4 --publishers 8 --bytes 64 \
         --patience-seconds 15"
    );
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let report = measure::load(program, &running, &flags, pins)?;
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
    Ok(Rate {
        title: peer.title.clone(),
        events_per_second: events as f64,
        deliveries_per_second: number("/delivered/deliveries_per_second"),
        p99_ms: number("/delivered/latency/p99_ms"),
    })
}

/// Holds very many connections on this server and serves one broadcast, with the load's own words on the
/// terminal.
pub fn hold(program: &Path, peer: &Peer, connections: u64) -> Result<LoadReport, String> {
    let running = peer.start_with(workers(connections)?, None, HEARTBEAT_MS).map_err(|os| os.to_string())?;
    let flags = format!(
        "--subscribers {connections} --idle-seconds {IDLE_S} --events 3 --bytes 64 --patience-seconds 60 \
         --connecting-max 2048"
    );
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let mut command = measure::command(program, &running, &flags, Pins { server: None, load: None });
    let output = command.stderr(Stdio::inherit()).output().map_err(|os| os.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| "the load gave no report".to_owned())
}
