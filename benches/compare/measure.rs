//! One run of the load against one started server: the load's own report, or why there is none.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::peer::{Peer, Running, pinned};
use crate::scenario::Scenario;

/// Which processors server and load may use; none to leave it to the scheduler.
#[derive(Clone, Copy)]
pub struct Pins {
    /// The server's.
    pub server: Option<usize>,
    /// The load's.
    pub load: Option<usize>,
}

/// Shows the current measurement on a terminal.
pub fn progress(what: &str) {
    let mut errors = io::stderr();
    if errors.is_terminal() {
        // Progress that cannot be shown is not missed.
        let _ = write!(errors, "\r\x1b[K{what}");
    }
}

/// Runs a scenario against a peer that is started for it alone.
pub fn scenario(program: &Path, peer: &Peer, scenario: &Scenario, pins: Pins) -> Result<Value, String> {
    let started = peer.start_set(1, pins.server, scenario.heartbeat_ms, scenario.settings);
    let running = started.map_err(|os| os.to_string())?.named(scenario.naming);
    let mut flags: Vec<&str> = scenario.flags.split_whitespace().collect();
    if peer.resume && !scenario.resume_flags.is_empty() {
        let further = scenario.resume_flags.split_whitespace();
        let names: Vec<&str> = further.clone().step_by(2).collect();
        flags = without(&flags, &names);
        flags.extend(further);
    }
    load(program, &running, &flags, pins)
}

/// Flags, all of which take a value, without some of them. Scenarios with further flags for peers that resume
/// have no others.
fn without<'a>(flags: &[&'a str], names: &[&str]) -> Vec<&'a str> {
    flags.chunks(2).filter(|pair| !names.contains(&pair[0])).flatten().copied().collect()
}

/// The load against a server, with some flags.
pub fn command(program: &Path, running: &Running, flags: &[&str], pins: Pins) -> Command {
    let mut command = pinned(program, pins.load);
    command.args(["load", "--json", "--pid", &running.pid().to_string()]);
    if !flags.contains(&"--topic-prefix") {
        command.args(["--topic-prefix", "t"]);
    }
    command.args(["--subscribe-url", &running.subscribe, "--publish-url", &running.publish]);
    if let Some(batch) = &running.batch {
        command.args(["--publish-batch-url", batch]);
    }
    command.args(flags);
    command
}

/// Runs the load. A report with losses is still a report: its faults are told with it.
pub fn load(program: &Path, running: &Running, flags: &[&str], pins: Pins) -> Result<Value, String> {
    let output =
        command(program, running, flags, pins).output().map_err(|os| format!("cannot run the load: {os}"))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        said.trim().lines().last().unwrap_or("the load said nothing").to_owned()
    })
}

/// Returns a report's failures in a few words; empty when there are none.
pub fn troubles(report: &Value) -> String {
    let mut words = Vec::new();
    for what in ["lost", "told", "repeated", "foreign", "ended"] {
        let count = report.pointer(&format!("/losses/{what}")).and_then(Value::as_u64).unwrap_or(0);
        if count > 0 {
            words.push(format!("{count} {what}"));
        }
    }
    let faults = report.pointer("/faults").and_then(Value::as_array);
    words.extend(faults.into_iter().flatten().filter_map(|fault| fault.as_str().map(str::to_owned)));
    words.join(", ")
}
