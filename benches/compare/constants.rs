//! Measures the constants of `fanwheel plan`, then holds its predictions against larger runs.
//!
//! Processor times are the least of all rounds: what else a machine does only ever adds to them. Memory,
//! where it adds and takes away, is the median. Small runs and large ones take turns, so that both meet the
//! same machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fanwheel::base::settings::Settings;
use fanwheel::host::processes;
use fanwheel::load::median::median;
use fanwheel::planner::constants::{
    KernelConstants, MeasuredConstants, MeasurementOrigin, MemoryConstants, ProcessorConstants,
};
use fanwheel::planner::{CapacityPlan, CapacityPlanner, NodeHardware, PlanRequest};
use serde::Serialize;
use serde_json::Value;

use crate::host::Circumstances;
use crate::measure::{self, Pins, progress};
use crate::peer::{Peer, Running};
use crate::sizes;

/// Connections of the runs that give the constants.
const SMALL: u64 = 5_000;
/// Connections of the runs that give memory: what the process takes once, however many there are, is little
/// beside theirs.
const MORE: u64 = 15_000;
/// Connections of the runs that check what is made of them.
const LARGE: [u64; 2] = [10_000, 100_000];
/// Most that a prediction may be off.
pub const OFF_MAX: f64 = 0.15;
const HEARTBEAT_MS: u64 = 15_000;
const EVENT_BYTES: u64 = 64;
const LONG_BYTES: u64 = 16_384;
/// The kernel frees what was closed only after a while.
const FREED: Duration = Duration::from_millis(1_500);
const START: Duration = Duration::from_secs(30);

/// A prediction and the measured value, in the same unit.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Connections.
    pub connections: u64,
    /// The name of the value.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// By the planner.
    pub predicted: f64,
    /// By the load.
    pub measured: f64,
}

impl Check {
    /// Predicted over measured.
    pub fn ratio(&self) -> f64 {
        self.predicted / self.measured
    }
}

/// The values of each figure so far.
#[derive(Default)]
struct Values(BTreeMap<&'static str, Vec<f64>>);

impl Values {
    fn add(&mut self, name: &'static str, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    fn least(&self, name: &str) -> f64 {
        self.0.get(name).into_iter().flatten().copied().reduce(f64::min).unwrap_or(f64::NAN)
    }

    fn median(&self, name: &str) -> f64 {
        self.0.get(name).and_then(|values| median(values)).unwrap_or(f64::NAN)
    }
}

/// The values of all rounds.
#[derive(Default)]
struct Found {
    small: Values,
    large: BTreeMap<u64, Values>,
}

/// One server and one load, for each of the figures.
struct Runs<'a> {
    program: &'a Path,
    peer: &'a Peer,
    pins: Pins,
}

/// Measures, and holds what is predicted with it against large runs if asked to.
pub fn all(
    program: &Path,
    peer: &Peer,
    pins: Pins,
    rounds: usize,
    large: bool,
    circumstances: &Circumstances,
) -> Result<(MeasuredConstants, Vec<Check>), String> {
    let runs = Runs { program, peer, pins };
    let mut found = Found::default();
    for round in 1..=rounds {
        progress(&format!("constants {round}/{rounds}"));
        runs.server_end(&mut found.small)?;
        runs.small(&mut found.small)?;
        for connections in LARGE.into_iter().filter(|_| large) {
            progress(&format!("constants {round}/{rounds}: {connections} connections"));
            runs.large(connections, found.large.entry(connections).or_default())?;
        }
    }
    progress("");
    let constants = made(&found.small, circumstances);
    let checked = |connections: &u64| checked(&constants, *connections, &found.large);
    let checks = LARGE.iter().filter(|_| large).flat_map(checked);
    let checks = checks.collect();
    Ok((constants, checks))
}

fn made(small: &Values, circumstances: &Circumstances) -> MeasuredConstants {
    let long_kib = (LONG_BYTES - EVENT_BYTES) as f64 / 1_024.0;
    let kib_us = ((small.least("long_us") - small.least("delivery_us")) / long_kib).max(0.0);
    let connection_bytes = small.median("resident");
    let both_ends_bytes = small.median("kernel");
    // Without root nothing tells the two ends apart, and they are nearly alike. The same when the host was
    // too busy with sockets of others.
    let likely = |bytes: &f64| (0.3..0.7).contains(&(bytes / both_ends_bytes));
    let server_end = Some(small.median("server_end")).filter(likely).unwrap_or(both_ends_bytes / 2.0);
    let Circumstances { machine, kernel, date, commit, command, .. } = circumstances.clone();
    MeasuredConstants {
        origin: MeasurementOrigin { machine, kernel, date, commit, command },
        memory: MemoryConstants {
            process_bytes: small.median("process_bytes"),
            connection_bytes,
            topic_bytes: (small.median("own_topics_resident") - small.median("few_resident")).max(0.0),
        },
        kernel: KernelConstants {
            connection_bytes: server_end,
            both_ends_bytes,
            frame_bytes: frame_bytes().unwrap_or(MeasuredConstants::recorded().kernel.frame_bytes),
        },
        processor: ProcessorConstants {
            delivery_us: small.least("delivery_us") - kib_us * EVENT_BYTES as f64 / 1_024.0,
            delivery_kib_us: kib_us,
            publish_us: (small.least("personal_us") - small.least("delivery_us")).max(0.0),
            heartbeat_us: small.least("heartbeat_us"),
            subscribe_us: small.least("subscribe_us"),
            resume_us: small.least("resume_us"),
            idle_us_per_s: small.least("idle_us_per_s"),
        },
    }
}

/// Events a second to so many: about half a processor at most.
fn rate(connections: u64) -> f64 {
    if connections <= 20_000 { 2.0 } else { 0.5 }
}

fn predicted(
    constants: &MeasuredConstants,
    connections: u64,
    events_per_second: f64,
) -> Option<CapacityPlan> {
    // Large enough for one node to hold all: a whole prediction is held against a whole measurement.
    let machine = NodeHardware { ram_bytes: 1 << 50, cores: 64, nic_bits_per_s: 1 << 50, files: 1 << 20 };
    let request = PlanRequest {
        connections,
        events_per_second,
        bytes: EVENT_BYTES,
        topics: 1,
        slow_percent: 0.0,
        rtt_ms: 0.0,
        headroom_percent: 0.0,
        machine,
    };
    let settings = Settings { heartbeat_ms: HEARTBEAT_MS, ..Settings::default() };
    CapacityPlanner::new(constants, &settings, EVENT_BYTES).plan(request).ok()
}

fn checked(constants: &MeasuredConstants, connections: u64, large: &BTreeMap<u64, Values>) -> Vec<Check> {
    let plans = [rate(connections), 0.0].map(|rate| predicted(constants, connections, rate));
    let ([Some(busy), Some(idle)], Some(values)) = (plans, large.get(&connections)) else {
        return Vec::new();
    };
    let row = |what, unit, predicted, measured| Check { connections, what, unit, predicted, measured };
    let mib = |bytes: f64| bytes / 1_048_576.0;
    vec![
        row("resident memory", "MiB", mib(busy.memory.connections_bytes), values.median("resident_mib")),
        row(
            "kernel memory, both ends",
            "MiB",
            mib(busy.memory.kernel_both_ends_bytes),
            values.median("kernel_mib"),
        ),
        row("CPU with events", "%", busy.processor.percent, values.least("busy_percent")),
        row("CPU with heartbeats only", "%", idle.processor.percent, values.least("idle_percent")),
    ]
}

impl Runs<'_> {
    fn load(&self, running: &Running, flags: &str) -> Result<Value, String> {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let report = measure::load(self.program, running, &flags, self.pins)?;
        let troubles = measure::troubles(&report);
        if troubles.is_empty() { Ok(report) } else { Err(troubles) }
    }

    fn start(&self, connections: u64, heartbeat_ms: u64) -> Result<Running, String> {
        let workers = sizes::workers(connections)?;
        self.peer.start_with(workers, self.pins.server, heartbeat_ms).map_err(|os| os.to_string())
    }

    fn run(&self, heartbeat_ms: u64, flags: &str) -> Result<Value, String> {
        self.load(&self.start(SMALL, heartbeat_ms)?, flags)
    }

    fn small(&self, values: &mut Values) -> Result<(), String> {
        let lone = self.run(HEARTBEAT_MS, "--subscribers 1 --idle-seconds 4")?;
        values.add("idle_us_per_s", number(&lone, "/idled/cpu_percent") * 10_000.0);
        let flags = format!("--subscribers {SMALL} --rate 2 --seconds 5 --bytes {EVENT_BYTES}");
        let report = self.run(HEARTBEAT_MS, &flags)?;
        values.add("few_resident", number(&report, "/opened/resident_bytes_each"));
        values.add("subscribe_us", number(&report, "/opened/cpu_us_each"));
        values.add("delivery_us", number(&report, "/delivered/cpu_us_per_delivery"));
        // At the default period: after a shorter one a worker finds more of its memory in the caches.
        let flags = format!("--subscribers {MORE} --idle-seconds 16");
        let report = self.load(&self.start(MORE, HEARTBEAT_MS)?, &flags)?;
        values.add("resident", number(&report, "/opened/resident_bytes_each"));
        values.add("kernel", number(&report, "/opened/kernel_bytes_each"));
        let pulse_us = values.least("idle_us_per_s") * number(&report, "/idled/seconds");
        let idle_us = number(&report, "/idled/cpu_percent") * 10_000.0 * number(&report, "/idled/seconds");
        values.add("heartbeat_us", (idle_us - pulse_us).max(0.0) / number(&report, "/idled/heartbeats"));
        let flags = format!("--subscribers {SMALL} --rate 2 --seconds 5 --bytes {LONG_BYTES}");
        let report = self.run(HEARTBEAT_MS, &flags)?;
        values.add("long_us", number(&report, "/delivered/cpu_us_per_delivery"));
        let flags = format!(
            "--subscribers {SMALL} --topics {SMALL} --events 20000 --warm-up 1000 --window 64 --publishers 16"
        );
        let report = self.run(HEARTBEAT_MS, &flags)?;
        values.add("personal_us", number(&report, "/delivered/cpu_us_per_event"));
        values.add("own_topics_resident", number(&report, "/opened/resident_bytes_each"));
        let flags = format!("--subscribers {SMALL} --events 1 --reconnect-percent 100 --missed 10");
        let report = self.run(HEARTBEAT_MS, &flags)?;
        values.add("resume_us", number(&report, "/returned/cpu_us_each"));
        Ok(())
    }

    fn large(&self, connections: u64, values: &mut Values) -> Result<(), String> {
        let running = self.start(connections, HEARTBEAT_MS)?;
        let flags = format!(
            "--subscribers {connections} --idle-seconds 16 --rate {} --seconds 8 --bytes {EVENT_BYTES} \
             --patience-seconds 30 --connecting-max 1024",
            rate(connections)
        );
        let report = self.load(&running, &flags)?;
        let mib = |pointer| number(&report, pointer) * connections as f64 / 1_048_576.0;
        values.add("resident_mib", mib("/opened/resident_bytes_each"));
        values.add("kernel_mib", mib("/opened/kernel_bytes_each"));
        values.add("busy_percent", number(&report, "/delivered/cpu_percent"));
        values.add("idle_percent", number(&report, "/idled/cpu_percent"));
        Ok(())
    }

    /// The kernel's memory of the server's end of a connection, and the resident bytes of a server without
    /// any. A load is stopped, gets heartbeats that it does not read, and is killed: its sockets go with a
    /// reset and nothing else, while those of the server, stopped meanwhile, stay.
    fn server_end(&self, values: &mut Values) -> Result<(), String> {
        let running = self.start(MORE, 500)?;
        values.add("process_bytes", processes::resident_bytes(running.pid()) as f64);
        let Some(before) = objects_bytes() else { return Ok(()) };
        let connections = MORE.to_string();
        let flags = ["--subscribers", &connections, "--idle-seconds", "600"];
        let mut load = measure::command(self.program, &running, &flags, self.pins);
        let mut load =
            load.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|os| os.to_string())?;
        let opened = await_subscribers(&running, &mut load);
        signal("STOP", load.id());
        std::thread::sleep(Duration::from_secs(1));
        signal("STOP", running.pid());
        let _ = load.kill();
        let _ = load.wait();
        std::thread::sleep(FREED);
        let after = objects_bytes().unwrap_or(before);
        signal("CONT", running.pid());
        opened?;
        values.add("server_end", (after - before) / MORE as f64);
        Ok(())
    }
}

fn await_subscribers(running: &Running, load: &mut Child) -> Result<(), String> {
    let start = Instant::now();
    while running.subscribers() != Some(MORE) {
        if start.elapsed() > START || !matches!(load.try_wait(), Ok(None)) {
            return Err("the load did not open its subscribers".to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
}

/// Bytes of all objects in use in the kernel's slabs; none without the right to read them.
fn objects_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    let bytes = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let mut next = || fields.next()?.parse::<f64>().ok();
        let (active, _, bytes) = (next()?, next()?, next()?);
        Some(active * bytes)
    };
    Some(text.lines().filter_map(bytes).sum())
}

/// The kernel's memory for a small frame that waits to be acknowledged, beside its bytes.
fn frame_bytes() -> Option<f64> {
    let slab = |name| {
        let text = fs::read_to_string(format!("/sys/kernel/slab/{name}/slab_size")).ok()?;
        text.trim().parse::<f64>().ok()
    };
    Some(slab("skbuff_fclone_cache")? + slab("skbuff_small_head")?)
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// The constants as the file that the program carries.
pub fn file(constants: &MeasuredConstants) -> Result<String, String> {
    let text = toml::to_string(constants).map_err(|error| error.to_string())?;
    Ok(format!(
        "# What `fanwheel plan` reckons with, written by `compare constants`, which `make bench` runs.\n\
         # Bytes, and microseconds of processor time; src/planner/constants.rs says what each is.\n\n{text}"
    ))
}

/// Predictions beside measurements.
pub fn table(checks: &[Check], rounds: usize) -> String {
    let mut text = format!(
        "{rounds} rounds; constants from {SMALL} and {MORE} connections; median of memory, least CPU time\n"
    );
    for check in checks {
        let Check { connections, what, unit, predicted, measured } = check;
        let shown = crate::results::shown;
        text.push_str(&format!(
            "{connections:>7} connections  {what:<25}  predicted {:>8} {unit:<3}  measured {:>8} {unit:<3}  \
             {:.2} ×\n",
            shown(*predicted),
            shown(*measured),
            check.ratio()
        ));
    }
    text
}
