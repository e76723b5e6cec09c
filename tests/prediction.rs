//! `fanwheel plan` against `fanwheel load`: what is measured at 8 000 connections predicts 10 000.
//!
//! A test program of its own, so that nothing else of the suite runs meanwhile. What else the machine does
//! adds processor time and moves the kernel's memory, so rounds are repeated until their medians agree.
//! `compare constants` does the same up to 100 000 connections.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use fanwheel::planner::constants::MeasuredConstants;
use serde_json::Value;

/// Not far from the large one: memory that a server takes once, some hundred KiB, is spread over so many.
const SMALL: u64 = 8_000;
const LARGE: u64 = 10_000;
/// Events a second to each of the large number.
const RATE: u64 = 2;
const ROUNDS: usize = 8;
const OFF_MAX: f64 = 0.15;
const PROGRAM: &str = env!("CARGO_BIN_EXE_fanwheel");

/// A server on free ports, killed when dropped.
struct Server {
    process: Child,
    public: String,
    control: String,
}

impl Server {
    fn start() -> Server {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--workers", "1"]);
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it is built");
        let mut log = BufReader::new(process.stderr.take().expect("piped just above"));
        let mut line = String::new();
        while !line.contains("event=started") {
            line.clear();
            assert!(log.read_line(&mut line).expect("text") > 0, "it ended before it served");
        }
        let field = |name: &str| {
            let behind = line.split_once(&format!(" {name}=")).expect("the field is there").1;
            behind.split_whitespace().next().expect("a value").to_owned()
        };
        let (public, control) = (field("listen"), field("control"));
        // A full pipe would stop it.
        std::thread::spawn(move || log.lines().for_each(drop));
        Server { process, public, control }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The report of a load on a server of its own; none when this host cannot hold it.
fn load(connections: u64, events_per_second: u64) -> Option<Value> {
    let server = Server::start();
    let mut command = Command::new(PROGRAM);
    command.args(["load", "--json", "--seconds", "2", "--bytes", "64", "--patience-seconds", "20"]);
    command.args(["--subscribers", &connections.to_string(), "--rate", &events_per_second.to_string()]);
    command.arg(format!("--subscribe-url=http://{}/events?topic={{topic}}", server.public));
    command.arg(format!("--publish-url=http://{}/publish?topic={{topic}}", server.control));
    command.args(["--pid", &server.process.id().to_string()]);
    let output = command.output().expect("it is built");
    let words = String::from_utf8_lossy(&output.stderr);
    if output.stdout.is_empty() && words.contains("cannot hold") {
        println!("skipped: {words}");
        return None;
    }
    assert!(output.status.success(), "{words}");
    Some(serde_json::from_slice(&output.stdout).expect("a report"))
}

/// The figures of all rounds at one size.
#[derive(Default)]
struct Found {
    resident_bytes: Vec<f64>,
    kernel_bytes: Vec<f64>,
    delivery_us: Vec<f64>,
}

impl Found {
    fn add(&mut self, report: &Value) {
        let number = |pointer| report.pointer(pointer).and_then(Value::as_f64).expect("it is measured");
        self.resident_bytes.push(number("/opened/resident_bytes_each"));
        self.kernel_bytes.push(number("/opened/kernel_bytes_each"));
        self.delivery_us.push(number("/delivered/cpu_us_per_delivery"));
    }
}

fn median(values: &[f64]) -> f64 {
    fanwheel::load::median::median(values).expect("a round was measured")
}

/// The plan for the large number, by constants of the small one, as the program prints it.
fn plan(small: &Found) -> Value {
    let mut constants = MeasuredConstants::recorded();
    constants.memory.connection_bytes = median(&small.resident_bytes);
    constants.kernel.both_ends_bytes = median(&small.kernel_bytes);
    constants.processor.delivery_us = median(&small.delivery_us);
    constants.processor.delivery_kib_us = 0.0;
    constants.processor.publish_us = 0.0;
    constants.processor.idle_us_per_s = 0.0;
    let path = std::env::temp_dir().join(format!("fanwheel-{}-constants.toml", std::process::id()));
    std::fs::write(&path, toml::to_string(&constants).expect("numbers and texts")).expect("it is writable");
    let mut command = Command::new(PROGRAM);
    command.args([
        "plan",
        "--json",
        "--connections",
        &LARGE.to_string(),
        "--events-per-second",
        &RATE.to_string(),
    ]);
    command.args(["--bytes", "64", "--cores", "2", "--nodes-ram", "64G", "--headroom-percent", "0"]);
    let output = command.arg("--constants").arg(&path).output().expect("it is built");
    let _ = std::fs::remove_file(&path);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let whole: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    whole["plan"].clone()
}

#[test]
fn ten_thousand_connections_take_what_was_planned() {
    let (mut small, mut large) = (Found::default(), Found::default());
    let mut off = Vec::new();
    for round in 1..=ROUNDS {
        // About as many deliveries a second at both sizes.
        for (found, connections, rate) in [(&mut small, SMALL, RATE + 1), (&mut large, LARGE, RATE)] {
            let Some(report) = load(connections, rate) else { return };
            found.add(&report);
        }
        let plan = plan(&small);
        let planned = |pointer| plan.pointer(pointer).and_then(Value::as_f64).expect("it is planned");
        let all = LARGE as f64;
        let percent_of_us = all * RATE as f64 / 10_000.0;
        let rows = [
            ("server", planned("/memory/connections_bytes"), all * median(&large.resident_bytes)),
            ("kernel", planned("/memory/kernel_both_ends_bytes"), all * median(&large.kernel_bytes)),
            ("processor", planned("/processor/percent"), percent_of_us * median(&large.delivery_us)),
        ];
        println!("round {round}: {rows:.2?}");
        off = rows.into_iter().filter(|(_, plan, found)| (plan / found - 1.0).abs() > OFF_MAX).collect();
        if off.is_empty() {
            return;
        }
    }
    panic!("planned and measured are too far apart: {off:?}");
}
