//! Whether a delivery costs the same beside much else: idle connections, kept history, other topics.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use fanwheel::load::median::median;
use serde::Serialize;
use serde_json::Value;

use crate::measure::{self, Pins};
use crate::peer::{Peer, Running};

/// How often each case is measured; the median counts.
const ROUNDS: usize = 5;
const HEARTBEAT_MS: u64 = 15_000;
/// The measured subscribers: a broadcast to these, one event at a time.
const MEASURED: &str = "--subscribers 2000 --warm-up 10 --events 100 --bytes 64";

/// One case.
#[derive(Clone, Serialize)]
pub struct Row {
    /// The other load.
    pub beside: String,
    /// Microseconds of processor time for each delivery: the median.
    pub delivery_us: f64,
}

/// The other load, and the processes that bring it: one that is held meanwhile, or one that has gone by.
struct Case {
    beside: &'static str,
    held: Option<&'static str>,
    gone_by: Option<&'static str>,
}

const CASES: &[Case] = &[
    Case { beside: "nothing else", held: None, gone_by: None },
    Case { beside: "10 000 idle connections", held: Some("--subscribers 10000"), gone_by: None },
    Case { beside: "60 000 idle connections", held: Some("--subscribers 60000"), gone_by: None },
    Case {
        beside: "10 000 kept events of the topic",
        held: None,
        gone_by: Some("--subscribers 1 --events 10000 --window 64 --topic-prefix t"),
    },
    Case {
        beside: "50 000 other topics, each with a kept event",
        held: None,
        gone_by: Some("--subscribers 1 --topics 50000 --events 50000 --window 256"),
    },
    Case {
        beside: "15 000 other topics, each with a subscriber",
        held: Some("--subscribers 15000 --topics 15000"),
        gone_by: None,
    },
];

/// Measures all cases, round by round.
pub fn all(program: &Path, peer: &Peer, pins: Pins) -> Result<Vec<Row>, String> {
    let mut found: Vec<Vec<f64>> = vec![Vec::new(); CASES.len()];
    for _ in 0..ROUNDS {
        for (case, values) in CASES.iter().zip(&mut found) {
            values.push(one(program, peer, case, pins)?);
        }
    }
    let median = |values: &[f64]| median(values).expect("there is at least one round");
    let rows = CASES.iter().zip(found);
    Ok(rows
        .map(|(case, values)| Row { beside: case.beside.to_owned(), delivery_us: median(&values) })
        .collect())
}

fn one(program: &Path, peer: &Peer, case: &Case, pins: Pins) -> Result<f64, String> {
    // The same number of workers in each case: as many as the largest needs.
    let running = peer.start_with(4, pins.server, HEARTBEAT_MS).map_err(|os| os.to_string())?;
    if let Some(flags) = case.gone_by {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        measure::load(program, &running, &with_prefix(&flags), pins)?;
    }
    let held = case.held.map(|flags| Held::open(program, &running, flags, pins)).transpose()?;
    let flags: Vec<&str> = MEASURED.split_whitespace().collect();
    let report = measure::load(program, &running, &flags, pins)?;
    drop(held);
    let value = report.pointer("/delivered/cpu_us_per_delivery").and_then(Value::as_f64);
    value.ok_or_else(|| format!("{}: {}", case.beside, measure::troubles(&report)))
}

/// Other topics than the measured one, unless flags name them.
fn with_prefix<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let named = flags.contains(&"--topic-prefix");
    let further: &[&str] = if named { &[] } else { &["--topic-prefix", "other"] };
    [flags, further].concat()
}

/// A load that only holds its subscribers.
struct Held(Child);

impl Held {
    fn open(program: &Path, running: &Running, flags: &str, pins: Pins) -> Result<Held, String> {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let mut command = measure::command(program, running, &with_prefix(&flags), pins);
        command.args(["--idle-seconds", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
        let wanted = flags[1].parse::<u64>().map_err(|error| error.to_string())?;
        let held = Held(command.spawn().map_err(|os| os.to_string())?);
        let open = || running.subscribers();
        for _ in 0..600 {
            if open().is_some_and(|open| open >= wanted) {
                return Ok(held);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("{wanted} connections did not open"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The table.
pub fn table(rows: &[Row]) -> String {
    let base = rows.first().map_or(f64::NAN, |row| row.delivery_us);
    let line = |row: &Row| {
        let cell = crate::results::shown;
        format!(
            "{:.2} ×  {:<48} {} µs a delivery\n",
            row.delivery_us / base,
            row.beside,
            cell(row.delivery_us)
        )
    };
    let rows: String = rows.iter().map(line).collect();
    format!("a broadcast to 2 000 subscribers beside …, median of {ROUNDS} rounds\n{rows}")
}
