//! Measures the release server at scale: `scale [SCENARIO...] [name=number...]`, as `make scale` does.
//!
//! SERVER_BIN names another server than the one built beside this program, SERVER_FLAGS further flags for it.
//! Each scenario starts a server of its own, prints a table and a line of JSON, and judges what has a limit;
//! the exit code is 1 if a limit was missed. Server and load share this machine, so read proportions rather
//! than promises. All traffic stays on loopback or in network namespaces made for the purpose.

mod ahead;
mod child;
mod churn;
mod crowds;
mod floods;
mod greedy;
mod hold;
mod holds;
mod keys;
mod load;
mod overrun;
mod probe;
mod publisher;
mod report;
mod rush;
mod server;
mod slow;
mod squeeze;
mod starve;
mod strangers;
mod stream;
mod swarm;
mod tally;
mod token_cost;
mod vanish;
mod victims;
mod watch;
mod watched;

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use report::Report;

/// Numbers given on the command line in place of a scenario's own.
pub struct Options(BTreeMap<String, u64>);

impl Options {
    /// The number of that name, or the scenario's own.
    pub fn get(&self, name: &str, default: u64) -> u64 {
        self.0.get(name).copied().unwrap_or(default)
    }
}

type Scenario = fn(&Options) -> io::Result<Report>;

const SCENARIOS: &[(&str, Scenario, &str)] = &[
    (
        "hold100k",
        hold::run,
        "hold 100 000 idle subscribers, broadcast to all, read /metrics: subscribers, workers, broadcasts, \
         seconds",
    ),
    (
        "watched",
        watched::run,
        "what /metrics each second and an open dashboard cost: subscribers, still_pairs, still_seconds, \
         pairs, seconds, flat_out_pairs, flat_out_seconds, in_flight",
    ),
    ("stalled", slow::stalled, "1 % of 10 000 subscribers stop reading: subscribers, rate, bytes, seconds"),
    ("stuck", slow::stuck, "300 subscribers never read large events: subscribers, bytes, seconds"),
    ("bodies", starve::bodies, "2 000 publish bodies stop half-way: connections"),
    ("upstream", starve::upstream, "300 subscribers send without end: subscribers, seconds"),
    ("heads", starve::heads, "3 000 request heads drip in: connections"),
    ("churn", churn::run, "1 000 000 short connections while the log is reopened: connections"),
    ("overrun", overrun::overrun, "publishers faster than the server: publishers, subscribers, seconds"),
    (
        "returning",
        overrun::returning,
        "the same, and subscribers that come back: publishers, subscribers, life_ms, seconds",
    ),
    ("pipeline", rush::pipeline, "200 connections pipeline without end: connections, seconds"),
    ("storm", rush::storm, "connections come and are reset as fast as can be: seconds"),
    ("replay", rush::replay, "1 000 clients resume history again and again: clients, events, seconds"),
    ("beside", crowds::beside, "an event for one beside broadcasts to 60 000: subscribers, events"),
    ("heartbeats", crowds::heartbeats, "a publisher beside the heartbeats of 10 000: subscribers, seconds"),
    (
        "filtered",
        crowds::filtered,
        "4 000 streams whose filter lets nothing through: subscribers, pause, seconds",
    ),
    ("greedy", greedy::run, "streams on 64 topics with much history, again and again: rate, events, seconds"),
    ("holds", holds::run, "how long the hub's lock is held at its worst: events, replays, keys, topics"),
    ("wide", holds::wide, "streams of a pattern with 4 096 topics: topics, events, streams, seconds"),
    ("cgroup", squeeze::cgroup, "readers that never read, in 256 MiB: subscribers, seconds"),
    ("starved", squeeze::starved, "busy loops take the processors: loops, seconds"),
    ("signatures", floods::signatures, "20 000 forged tokens a second: rate, connections, seconds"),
    (
        "uninvited",
        floods::uninvited,
        "publishes without a credential on the public listener: rate, connections, seconds",
    ),
    (
        "malformed",
        floods::malformed,
        "malformed heads and requests, as fast as can be: rate, connections, seconds",
    ),
    (
        "names",
        floods::names,
        "a million topics, and new ones by new user agents: topics, growth_mib, seconds",
    ),
    (
        "slowly",
        floods::slowly,
        "15 000 slow heads, bodies and readers beside 5 000 subscribers: connections, subscribers, rate, \
         growth_mib, seconds",
    ),
    ("tokens", token_cost::run, "what a token adds to a subscribe: pairs, subscribes"),
    ("vanish", vanish::run, "peers that vanish without a word: subscribers"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("subscribers") => child::run(&arguments[1..]).map(|()| true),
        Some("load") => load::run(&arguments[1..]).map(|()| true),
        Some("publisher") => vanish::publish(&arguments[1..]).map(|()| true),
        Some("help" | "--help" | "-h") => {
            SCENARIOS.iter().for_each(|(name, _, help)| println!("{name:<10} {help}"));
            Ok(true)
        }
        _ => measure(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &[String]) -> io::Result<bool> {
    let (mut options, mut wanted) = (BTreeMap::new(), Vec::new());
    for argument in arguments {
        match argument.split_once('=') {
            Some((name, value)) => {
                options.insert(name.to_owned(), value.replace('_', "").parse().map_err(io::Error::other)?);
            }
            None => wanted.push(argument.as_str()),
        }
    }
    let options = Options(options);
    if let Some(unknown) = wanted.iter().find(|name| !SCENARIOS.iter().any(|(known, ..)| known == *name)) {
        return Err(io::Error::other(format!("no scenario {unknown}; see: scale help")));
    }
    let mut good = true;
    for (name, scenario, _) in SCENARIOS {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        match scenario(&options) {
            Ok(report) => good &= report.print(),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                println!("\n== {name} skipped: {error}")
            }
            Err(error) => {
                println!("\n== {name} FAILED: {error}");
                good = false;
            }
        }
    }
    Ok(good)
}
