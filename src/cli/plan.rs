//! `fanwheel plan`: the nodes and resources that so many connections need. Reads flags and, if asked, a file
//! of constants; the settings are those that `serve` would run with.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::json;

use crate::base::failure::CommandFailure;
use crate::base::limits::PLANNED_CONNECTIONS_MAX;
use crate::base::logfmt::shown;
use crate::base::quantity::{QuantityUnit, parse_quantity};
use crate::cli::args;
use crate::cli::grammar::{file, number_within, option, real, switch};
use crate::config::resolved::ResolvedSettings;
use crate::host::output::print;
use crate::planner::constants::MeasuredConstants;
use crate::planner::{CapacityPlan, CapacityPlanner, NodeHardware, NodeTooSmall, PlanRequest, SIZES, page};

/// Files that one table may have on a host that was never tuned for more: the kernel's `fs.nr_open`.
const NR_OPEN_DEFAULT: u64 = 1_048_576;
/// Files of one worker that can be asked about: the most that `fs.nr_open` may be on 64-bit kernels.
const PLANNED_FILES_MAX: u64 = 1 << 30;

/// Bytes of a node's memory, or bits a second of its network: more than any machine has.
const SIZE_MAX: u64 = 1_000_000_000_000_000_000;

/// Settings that cost memory, processor time or network; the rest of the configuration changes no plan.
const COSTLY: [&str; 7] = [
    "heartbeat_ms",
    "unsent_bytes_max",
    "history_events",
    "history_ms",
    "history_topic_bytes_max",
    "history_bytes_max",
    "retry_ms",
];

const WORDS: &str = "\
Reckons with constants that `make bench` measures, and with the settings that serve would run with: \
--config, FANWHEEL_* and the flags below. Sizes are 512M, 16GiB (binary) or 16GB (decimal); rates are 500M, \
10G (bits a second).

  fanwheel plan --connections 500k --events-per-second 2 --bytes 300
  fanwheel plan --connections 500k --topics 500k --events-per-second 0.1 --nodes-ram 8GiB";

/// Returns the subcommand's grammar.
pub(crate) fn command() -> Command {
    let real = |name, default, help| real(name, help).default_value(default);
    let asked = [
        number_within("connections", 1..=PLANNED_CONNECTIONS_MAX, "connections in all")
            .default_value("100000"),
        real("events-per-second", "1", "events that each connection receives in a second"),
        number_within("bytes", 0..=64 << 20, "bytes of an event's data").default_value("200"),
        number_within(
            "topics",
            1..=PLANNED_CONNECTIONS_MAX,
            "topics, each subscriber on one; all publish at that rate",
        )
        .default_value("1"),
        real("slow-percent", "1", "share of the connections that take nothing for a while"),
        real("rtt-ms", "100", "time to a client and back"),
        real("headroom-percent", "30", "share of each node that stays free"),
        size("nodes-ram", QuantityUnit::Bytes, "memory of a node").value_name("SIZE").default_value("16GiB"),
        number_within("cores", 1..=4_096, "processors of a node").default_value("8"),
        size("nic", QuantityUnit::BitsPerSecond, "network of a node, bits a second each way")
            .value_name("RATE")
            .default_value("10G"),
        number_within("files", 1..=PLANNED_FILES_MAX, "files that a worker may have (LimitNOFILE)"),
        file("constants", "measured constants of another machine").value_parser(value_parser!(PathBuf)),
        switch("json", "one JSON object"),
    ];
    let settings = COSTLY.map(args::setting_named);
    Command::new("plan")
        .about("Plans capacity: memory, files, processors, network and nodes for so many connections")
        .after_help(WORDS)
        .args(asked)
        .arg(args::config_file())
        .args(settings)
}

/// Plans and prints the capacity.
///
/// # Errors
/// When a flag or a setting is wrong, or no node can be that small.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, CommandFailure> {
    let settings = ResolvedSettings::read(&args::setting_inputs(matches))?.settings();
    let constants = constants(matches)?;
    let ask = ask(matches)?;
    let planner = CapacityPlanner::new(&constants, &settings, ask.bytes);
    let too_small = |fault: NodeTooSmall| CommandFailure::Usage(page::too_small(&fault));
    let plan = planner.plan(ask).map_err(too_small)?;
    let sizes = sizes(&planner, ask).map_err(too_small)?;
    if matches.get_flag("json") {
        let whole = json!({ "plan": plan, "sizes": sizes, "constants": constants });
        print(&format!("{whole}\n"))?;
    } else {
        print(&page::page(&plan, &sizes, &constants))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Plans each size of the table, with as many topics for each connection as were asked for, if not one for
/// all.
fn sizes(planner: &CapacityPlanner<'_>, ask: PlanRequest) -> Result<Vec<CapacityPlan>, NodeTooSmall> {
    let each = ask.topics as f64 / ask.connections as f64;
    let topics = |connections: u64| match ask.topics {
        1 => 1,
        _ => (each * connections as f64).ceil() as u64,
    };
    SIZES
        .iter()
        .map(|&connections| planner.plan(PlanRequest { connections, topics: topics(connections), ..ask }))
        .collect()
}

fn constants(matches: &ArgMatches) -> Result<MeasuredConstants, CommandFailure> {
    let Some(path) = matches.get_one::<PathBuf>("constants") else {
        return Ok(MeasuredConstants::recorded());
    };
    let name = shown(&path.to_string_lossy());
    let text = std::fs::read_to_string(path)
        .map_err(|os| CommandFailure::Usage(format!("cannot read --constants {name}: {os}")))?;
    MeasuredConstants::parse(&text)
        .map_err(|words| CommandFailure::Usage(format!("--constants {name}: {words}")))
}

fn ask(matches: &ArgMatches) -> Result<PlanRequest, CommandFailure> {
    let count = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let real = |name: &str, least: f64, most: f64| {
        let value = *matches.get_one::<f64>(name).expect("it has a default");
        let fits = (least..=most).contains(&value);
        let refusal = || CommandFailure::Usage(format!("--{name} = {value} is not from {least} to {most}"));
        fits.then_some(value).ok_or_else(refusal)
    };
    Ok(PlanRequest {
        connections: count("connections"),
        events_per_second: real("events-per-second", 0.0, 1e6)?,
        bytes: count("bytes"),
        topics: count("topics"),
        slow_percent: real("slow-percent", 0.0, 100.0)?,
        rtt_ms: real("rtt-ms", 0.0, 60_000.0)?,
        headroom_percent: real("headroom-percent", 0.0, 90.0)?,
        machine: NodeHardware {
            ram_bytes: count("nodes-ram"),
            cores: count("cores"),
            nic_bits_per_s: count("nic"),
            files: matches.get_one::<u64>("files").copied().unwrap_or(NR_OPEN_DEFAULT),
        },
    })
}

/// A flag with a size or a rate. A bare number is more likely a forgotten unit than a machine of 16 bytes.
fn size(name: &'static str, unit: QuantityUnit, help: &'static str) -> Arg {
    option(name, "N", help).value_parser(move |text: &str| {
        let value = parse_quantity(text, unit).filter(|_| !text.bytes().all(|b| b.is_ascii_digit()));
        let within = value.filter(|value| (1..=SIZE_MAX).contains(value));
        within.ok_or_else(|| format!("write it as {}", unit.spellings()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_rates_are_decimal_and_units_are_not_guessed() {
        let planned = |flag: &str, text: &str| {
            let matches = command().try_get_matches_from(["plan", flag, text]).ok()?;
            matches.get_one::<u64>(flag.trim_start_matches('-')).copied()
        };
        let (size, rate) = (|text| planned("--nodes-ram", text), |text| planned("--nic", text));
        let rows = [
            (size("16G"), Some(16 << 30)),
            (size("1.5GiB"), Some(3 << 29)),
            (size("16GB"), Some(16_000_000_000)),
            (size("512m"), Some(512 << 20)),
            (size("16"), None),
            (size("G"), None),
            (size(""), None),
            (size("-1G"), None),
            (size("0G"), None),
            (size("16X"), None),
            (size("1e300T"), None),
            (size("16€"), None),
            (rate("10G"), Some(10_000_000_000)),
            (rate("2.5Gbit/s"), Some(2_500_000_000)),
            (rate("nanG"), None),
        ];
        for (nth, (got, expected)) in rows.into_iter().enumerate() {
            assert_eq!(got, expected, "row {nth}");
        }
    }
}
