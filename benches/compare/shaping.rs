//! What choosing and shaping events costs or saves: each case in pairs, once as it comes and once shaped, in
//! turns, so that what else the machine does hits both. The median of the pairs' ratios is held against a
//! limit.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fanwheel::load::median::median;
use serde::Serialize;
use serde_json::Value;

use crate::measure::{self, Pins};
use crate::peer::{Naming, Peer, Running};
use crate::results::shown;

const HEARTBEAT_MS: u64 = 15_000;
const CPU_EVENT: &str = "/delivered/cpu_us_per_event";
const CPU_DELIVERY: &str = "/delivered/cpu_us_per_delivery";
const P99: &str = "/delivered/latency/p99_ms";
/// Wait for the subscribers of the other load.
const OPENING_MAX: Duration = Duration::from_secs(60);

/// One way to run the server and its load.
struct Side {
    /// The server's configuration file.
    config: &'static str,
    /// A load that has gone by before.
    gone_by: Option<&'static str>,
    /// A load that goes on meanwhile, with its subscribers' naming of topics.
    beside: Option<(&'static str, Naming)>,
    naming: Naming,
}

const PLAIN: Side = Side { config: "", gone_by: None, beside: None, naming: Naming::Topic };

/// A load, run on two sides.
struct ShapingCase {
    name: &'static str,
    about: &'static str,
    flags: &'static str,
    /// Where the figure stands in the load's report.
    pointer: &'static str,
    plain: Side,
    shaped: Side,
    /// The greatest ratio of the shaped side's figure to the plain one's.
    ratio_max: f64,
}

const MADE: &str = "--subscribers 1 --topics 100000 --events 100000 --window 256 --publishers 16 --batch 64";
const OTHERS: &str = "--subscribers 1000 --rate 50 --seconds 600 --topic-prefix held.";

const CASES: &[ShapingCase] = &[
    ShapingCase {
        name: "window",
        about: "50 events in one window, 10 000 subscribers, against no window: server CPU per event",
        flags: "--subscribers 10000 --warm-up 50 --events 150 --rate 10 --bytes 64",
        pointer: CPU_EVENT,
        plain: PLAIN,
        shaped: Side { config: "batch_ms = 10000\nbatch_events = 50\n", ..PLAIN },
        ratio_max: 0.1,
    },
    ShapingCase {
        name: "patterns",
        about: "100 000 topics beside 1 000 patterns that match none of them, against no pattern: server \
                CPU per publish",
        flags: "--subscribers 1 --topics 100000 --warm-up 2000 --events 100000 --window 64 --publishers 16",
        pointer: CPU_EVENT,
        plain: Side { gone_by: Some(MADE), ..PLAIN },
        shaped: Side {
            gone_by: Some(MADE),
            beside: Some((
                "--subscribers 1000 --topics 1000 --idle-seconds 600 --topic-prefix other",
                Naming::Pattern,
            )),
            ..PLAIN
        },
        ratio_max: 1.1,
    },
    ShapingCase {
        name: "rates",
        about: "9 000 free subscribers beside 1 000 that get 5 of 50 events a second, against 1 000 that \
                get all: latency p99 of the free ones",
        flags: "--subscribers 9000 --warm-up 10 --events 150 --rate 10 --bytes 64",
        pointer: P99,
        plain: Side { beside: Some((OTHERS, Naming::Topic)), ..PLAIN },
        shaped: Side {
            config: "[[class]]\nname = \"held\"\ntopics = [\"held.*\"]\nrate_events_per_second = 5\n\
                     rate_policy = \"drop\"\n",
            beside: Some((OTHERS, Naming::Topic)),
            ..PLAIN
        },
        ratio_max: 1.05,
    },
    ShapingCase {
        name: "filters",
        about: "4 096 subscribers with a filter that lets everything through, against none: server CPU per \
                delivery",
        flags: "--subscribers 4096 --warm-up 10 --events 200 --bytes 64",
        pointer: CPU_DELIVERY,
        plain: PLAIN,
        shaped: Side { naming: Naming::Filter, ..PLAIN },
        ratio_max: 1.3,
    },
];

/// The result of a case.
#[derive(Serialize)]
pub struct ShapingRow {
    name: String,
    about: String,
    /// Medians of the figure on both sides.
    plain: f64,
    shaped: f64,
    /// The ratio of each pair.
    ratios: Vec<f64>,
    ratio: f64,
    ratio_max: f64,
}

impl ShapingRow {
    fn is_within(&self) -> bool {
        self.ratio <= self.ratio_max
    }

    fn line(&self) -> String {
        let ratios: Vec<String> = self.ratios.iter().map(|ratio| shown(*ratio)).collect();
        format!(
            "{:<9} {:>6} × (at most {} ×){}: {} instead of {}; pairs {}\n          {}\n",
            self.name,
            shown(self.ratio),
            self.ratio_max,
            if self.is_within() { "" } else { " MISSED" },
            shown(self.shaped),
            shown(self.plain),
            ratios.join(" "),
            self.about
        )
    }
}

/// Measures the cases with these names, or all; `pairs` of each.
pub fn all(
    program: &Path,
    peer: &Peer,
    pins: Pins,
    wanted: &[String],
    pairs: usize,
) -> Result<Vec<ShapingRow>, String> {
    let chosen = |case: &&ShapingCase| wanted.is_empty() || wanted.iter().any(|name| name == case.name);
    CASES.iter().filter(chosen).map(|case| measure_case(program, peer, pins, case, pairs)).collect()
}

fn measure_case(
    program: &Path,
    peer: &Peer,
    pins: Pins,
    case: &ShapingCase,
    pairs: usize,
) -> Result<ShapingRow, String> {
    let (mut plain, mut shaped) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        measure::progress(&format!("{} {}/{pairs}", case.name, pair + 1));
        let one = |side: &Side, found: &mut Vec<f64>| {
            found.push(measure_side(program, peer, pins, case, side)?);
            Ok::<(), String>(())
        };
        // The first of a pair is the second of the next.
        if pair % 2 == 0 {
            one(&case.plain, &mut plain)?;
            one(&case.shaped, &mut shaped)?;
        } else {
            one(&case.shaped, &mut shaped)?;
            one(&case.plain, &mut plain)?;
        }
    }
    measure::progress("");
    let ratios: Vec<f64> = plain.iter().zip(&shaped).map(|(plain, shaped)| shaped / plain).collect();
    let median = |values: &[f64]| median(values).ok_or("at least one pair is needed");
    Ok(ShapingRow {
        name: case.name.to_owned(),
        about: case.about.to_owned(),
        plain: median(&plain)?,
        shaped: median(&shaped)?,
        ratio: median(&ratios)?,
        ratios,
        ratio_max: case.ratio_max,
    })
}

fn measure_side(
    program: &Path,
    peer: &Peer,
    pins: Pins,
    case: &ShapingCase,
    side: &Side,
) -> Result<f64, String> {
    let config = ConfigText::write(side.config).map_err(|os| os.to_string())?;
    let running = start(peer, pins, &config)?;
    if let Some(flags) = side.gone_by {
        measure::load(program, &running, &words(flags), pins)?;
    }
    let beside = side.beside.map(|(flags, naming)| Beside::open(program, &running, flags, naming, pins));
    let beside = beside.transpose()?;
    let running = running.named(side.naming);
    let report = measure::load(program, &running, &words(case.flags), pins)?;
    drop(beside);
    let troubles = measure::troubles(&report);
    let value = report.pointer(case.pointer).and_then(Value::as_f64).filter(|_| troubles.is_empty());
    value.ok_or_else(|| format!("{}: {troubles}", case.name))
}

fn start(peer: &Peer, pins: Pins, config: &ConfigText) -> Result<Running, String> {
    let path = config.0.to_string_lossy().into_owned();
    let variables = [("FANWHEEL_CONFIG", path.as_str())];
    peer.start_set(1, pins.server, HEARTBEAT_MS, &variables).map_err(|os| os.to_string())
}

fn words(flags: &str) -> Vec<&str> {
    flags.split_whitespace().collect()
}

/// The figures of an overload in which events give way.
#[derive(Serialize)]
pub struct OverloadReport {
    subscribers: u64,
    events: u64,
    due: u64,
    delivered: u64,
    superseded: u64,
    /// Deliveries due in a second of publishing, against those that were made.
    overload: f64,
    /// The most resident memory in the first half and in the second half of the publishing.
    resident_mib: [f64; 2],
    troubles: String,
}

/// Growth of memory between the halves that still counts as flat.
const GROWTH_MAX: f64 = 1.05;
const OVERLOAD: &str = "--subscribers 10000 --conflated --publishers 16 --rate 5000 --seconds 20 --bytes 64 \
                        --patience-seconds 30";
const LATEST: &str = "slow_policy = \"latest\"\nhistory_events = 500\nhistory_keys = 100\n";

impl OverloadReport {
    /// Publishes far more than can be delivered, to subscribers that want the newest of each key.
    pub fn measure(program: &Path, peer: &Peer, pins: Pins) -> Result<OverloadReport, String> {
        let config = ConfigText::write(LATEST).map_err(|os| os.to_string())?;
        let running = start(peer, pins, &config)?;
        let mut command = measure::command(program, &running, &words(OVERLOAD), pins);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|os| os.to_string())?;
        let mut resident = Vec::new();
        while child.try_wait().map_err(|os| os.to_string())?.is_none() {
            resident.push(resident_mib(running.pid()).map_err(|os| os.to_string())?);
            std::thread::sleep(Duration::from_millis(100));
        }
        let output = child.wait_with_output().map_err(|os| os.to_string())?;
        let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let count = |pointer| report.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let (due, delivered) = (count("/delivered/expected"), count("/delivered/deliveries"));
        // Half of the time is opening and waiting for the last ones.
        let (first, second) = resident.split_at(resident.len() / 2);
        let most = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
        Ok(OverloadReport {
            subscribers: count("/opened/open"),
            events: count("/delivered/events"),
            due,
            delivered,
            superseded: count("/delivered/superseded"),
            overload: due as f64 / delivered.max(1) as f64,
            resident_mib: [most(first), most(second)],
            troubles: measure::troubles(&report),
        })
    }

    fn is_within(&self) -> bool {
        self.troubles.is_empty()
            && self.delivered + self.superseded == self.due
            && self.resident_mib[1] <= self.resident_mib[0] * GROWTH_MAX
    }

    fn line(&self) -> String {
        let OverloadReport { subscribers, events, due, delivered, superseded, overload, .. } = self;
        let [first, second] = self.resident_mib.map(shown);
        format!(
            "overload  {} × what is delivered{}: {events} events to {subscribers} subscribers, {delivered} \
             of {due} deliveries,\n          {superseded} gave way, each stream ends with the newest of each \
             key; resident {first} MiB, then {second} MiB {}\n",
            shown(*overload),
            if self.is_within() { "" } else { " MISSED" },
            self.troubles
        )
    }
}

/// The table, and whether all is within its limit.
pub fn table(rows: &[ShapingRow], overload: Option<&OverloadReport>) -> (String, bool) {
    let lines = rows.iter().map(ShapingRow::line).chain(overload.map(OverloadReport::line));
    let within = rows.iter().all(ShapingRow::is_within) && overload.is_none_or(OverloadReport::is_within);
    (lines.collect(), within)
}

/// The load averages of this machine, which other work beside the measurement raises.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Resident memory of a process.
fn resident_mib(pid: u32) -> io::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = kib.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map(|kib| kib / 1_024.0).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// A configuration file, removed when dropped.
struct ConfigText(PathBuf);

impl ConfigText {
    fn write(text: &str) -> io::Result<ConfigText> {
        let path = std::env::temp_dir().join(format!("fanwheel-shaping-{}.toml", std::process::id()));
        std::fs::write(&path, text)?;
        Ok(ConfigText(path))
    }
}

impl Drop for ConfigText {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A load that goes on beside the measured one.
struct Beside(Child);

impl Beside {
    fn open(
        program: &Path,
        running: &Running,
        flags: &str,
        naming: Naming,
        pins: Pins,
    ) -> Result<Beside, String> {
        let flags = words(flags);
        let wanted = flags[1].parse::<u64>().map_err(|error| error.to_string())?;
        let mut command = measure::command(program, &running.named(naming), &flags, pins);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let beside = Beside(child.map_err(|os| os.to_string())?);
        let start = Instant::now();
        while start.elapsed() < OPENING_MAX {
            if running.subscribers().is_some_and(|open| open >= wanted) {
                return Ok(beside);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("{wanted} connections did not open"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
