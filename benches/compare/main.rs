//! Puts this server beside its peers: `compare peers|sizes|rates|growth|constants|hold N`, as `make compare`
//! and its sisters do.
//!
//! The load is `fanwheel load`, the peers stand in `benches/peers/`; this program starts one after the other,
//! takes medians, and writes text, JSON and pictures to `benches/record/MACHINE/`. Rounds go over all peers
//! in turn, so that what else the machine does hits all of them.

mod constants;
mod growth;
mod host;
mod measure;
mod peer;
mod picture;
mod results;
mod scenario;
mod shaping;
mod sizes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;

use fanwheel::planner::constants::MeasuredConstants;
use host::Circumstances;
use measure::{Pins, progress};
use peer::Peer;
use picture::Curve;
use results::Results;
use scenario::{SCENARIOS, Scenario};
use shaping::OverloadReport;

const SIZES: [u64; 4] = [1_000, 10_000, 50_000, 100_000];
const RATES: [u64; 7] = [10, 25, 50, 100, 200, 400, 800];
/// The blog-post server stands for what articles measure.
const ARTICLE: &str = "node-blog";
const OURS: &str = "fanwheel";

fn grammar() -> Command {
    let peers = Arg::new("peers").long("peers").value_name("NAMES").help("only these, separated by commas");
    let unpinned = Arg::new("unpinned")
        .long("unpinned")
        .action(clap::ArgAction::SetTrue)
        .help("do not pin the server to the first processor and the load to the second");
    Command::new("compare")
        .about("Puts this server beside its peers")
        .subcommand_required(true)
        .subcommand(
            Command::new("peers")
                .about("All scenarios against all peers")
                .args([&peers, &unpinned])
                .arg(Arg::new("scenarios").long("scenarios").value_name("NAMES").help("only these"))
                .arg(
                    Arg::new("rounds")
                        .long("rounds")
                        .value_name("N")
                        .help("runs of each peer in each scenario; tables show their median")
                        .default_value("5")
                        .value_parser(value_parser!(usize)),
                )
                .arg(
                    Arg::new("record")
                        .long("record")
                        .value_name("NAME")
                        .help("name of the record's files")
                        .default_value("compare"),
                ),
        )
        .subcommand(
            Command::new("sizes").about("1 000 to 100 000 connections, idle and at 1 event/s").arg(&unpinned),
        )
        .subcommand(Command::new("rates").about("Deliveries over publish rate").args([&peers, &unpinned]))
        .subcommand(
            Command::new("growth")
                .about("What a delivery costs beside idle connections, history and topics")
                .arg(&unpinned),
        )
        .subcommand(shaping_grammar(&unpinned))
        .subcommand(
            Command::new("constants").about("What `fanwheel plan` reckons with").args([
                unpinned,
                Arg::new("rounds")
                    .long("rounds")
                    .value_name("N")
                    .help("runs of each kind; the least processor time counts")
                    .default_value("3")
                    .value_parser(value_parser!(usize)),
                Arg::new("check")
                    .long("check")
                    .action(clap::ArgAction::SetTrue)
                    .help("hold its predictions for 10 000 and 100 000 connections against measurements"),
            ]),
        )
        .subcommand(
            Command::new("hold").about("Holds very many connections and serves them a broadcast").arg(
                Arg::new("connections").required(true).value_parser(value_parser!(u64)).help("how many"),
            ),
        )
}

fn shaping_grammar(unpinned: &Arg) -> Command {
    Command::new("shaping").about("What windows, patterns, rates and filters cost or save").args([
        unpinned.clone(),
        Arg::new("cases")
            .long("cases")
            .value_name("NAMES")
            .help("only these of window, patterns, rates, filters and overload, separated by commas"),
        Arg::new("pairs")
            .long("pairs")
            .value_name("N")
            .help("pairs of runs of each case; the median ratio counts")
            .default_value("5")
            .value_parser(value_parser!(usize)),
    ])
}

/// Where things are.
struct Places {
    root: PathBuf,
    peers: PathBuf,
    program: PathBuf,
}

fn main() -> ExitCode {
    let matches = grammar().get_matches();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let places = match beside_this() {
        Ok(program) => Places { peers: root.join("benches/peers"), root, program },
        Err(words) => return fail(&words),
    };
    let done = match matches.subcommand() {
        Some(("peers", matches)) => peers(&places, matches),
        Some(("sizes", matches)) => over_sizes(&places, matches),
        Some(("rates", matches)) => over_rates(&places, matches),
        Some(("growth", matches)) => over_growth(&places, matches),
        Some(("shaping", matches)) => shaping_of(&places, matches),
        Some(("constants", matches)) => constants_of(&places, matches),
        Some(("hold", matches)) => hold(&places, *matches.get_one("connections").expect("it is required")),
        _ => Err("a subcommand is required".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => fail(&words),
    }
}

fn fail(words: &str) -> ExitCode {
    eprintln!("compare: {words}");
    ExitCode::FAILURE
}

/// The release program that was built with this one.
fn beside_this() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|os| os.to_string())?;
    let folder = own.parent().and_then(Path::parent).ok_or("no folder of its own")?;
    let program = folder.join("fanwheel");
    program.exists().then_some(program.clone()).ok_or_else(|| format!("{} is not built", program.display()))
}

fn pins(matches: &ArgMatches) -> Pins {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors < 2 || matches.get_flag("unpinned") {
        return Pins { server: None, load: None };
    }
    Pins { server: Some(0), load: Some(1) }
}

/// Builds the peers asked for; whoever takes no part is said.
fn build(places: &Places, matches: &ArgMatches) -> Result<Vec<Peer>, String> {
    let all = peer::all(&places.peers).map_err(|os| format!("no peers: {os}"))?;
    let wanted: Vec<String> = match matches.get_one::<String>("peers") {
        Some(names) => names.split(',').map(str::to_owned).collect(),
        None => all.clone(),
    };
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        return Err(format!("no peer {unknown}; there are {}", all.join(", ")));
    }
    Ok(built(places, &wanted))
}

fn built(places: &Places, names: &[String]) -> Vec<Peer> {
    let mut peers = Vec::new();
    for name in names {
        match Peer::build(&places.peers, name) {
            Ok(peer) => peers.push(peer),
            Err(words) => eprintln!("{name} takes no part: {words}"),
        }
    }
    peers
}

/// The circumstances of a record, and its folder, made if need be.
fn circumstances(places: &Places, peers: &[Peer]) -> Result<(Circumstances, PathBuf), String> {
    let versions = peers.iter().map(|peer| (peer.title.clone(), peer.version.clone())).collect();
    let circumstances = Circumstances::now(&places.root, versions);
    let folder = places.root.join("benches/record").join(circumstances.folder());
    fs::create_dir_all(&folder).map_err(|os| format!("cannot make {}: {os}", folder.display()))?;
    Ok((circumstances, folder))
}

/// This server as a peer.
fn ours(places: &Places) -> Result<Peer, String> {
    built(places, &[OURS.to_owned()]).pop().ok_or_else(|| "this server is not built".to_owned())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|os| format!("cannot write {}: {os}", path.display()))
}

/// Writes a record's text and JSON.
fn record<T: Serialize>(
    folder: &Path,
    name: &str,
    circumstances: &Circumstances,
    text: &str,
    results: &T,
) -> Result<(), String> {
    let whole = serde_json::json!({ "circumstances": circumstances, "results": results });
    let json = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
    write(&folder.join(format!("{name}.json")), &format!("{json}\n"))?;
    write(&folder.join(format!("{name}.txt")), &format!("{}\n{text}", circumstances.head()))?;
    println!("{}\n{text}", circumstances.head());
    println!("written to {}/{name}.{{txt,json}}", folder.display());
    Ok(())
}

fn chosen(matches: &ArgMatches) -> Result<Vec<&'static Scenario>, String> {
    let Some(names) = matches.get_one::<String>("scenarios") else { return Ok(SCENARIOS.iter().collect()) };
    let find = |name| scenario::named(name).ok_or_else(|| format!("no scenario {name}"));
    names.split(',').map(find).collect()
}

fn peers(places: &Places, matches: &ArgMatches) -> Result<(), String> {
    let (scenarios, peers, pins) = (chosen(matches)?, build(places, matches)?, pins(matches));
    let rounds: usize = *matches.get_one("rounds").expect("it has a default");
    let mut results = Results::default();
    for scenario in &scenarios {
        let rounds = rounds.min(scenario.rounds_max);
        for round in 1..=rounds {
            for peer in peers.iter().filter(|peer| scenario.needs.are_met_by(peer)) {
                progress(&format!("{} {round}/{rounds}: {}", scenario.name, peer.title));
                match measure::scenario(&places.program, peer, scenario, pins) {
                    Ok(report) => {
                        let trouble = measure::troubles(&report);
                        results.runs(scenario.name, &peer.name).add(scenario, &report, trouble);
                    }
                    Err(words) => results.runs(scenario.name, &peer.name).troubles.push(words),
                }
            }
        }
        progress("");
    }
    let titles: Vec<(String, String)> =
        peers.iter().map(|peer| (peer.name.clone(), peer.title.clone())).collect();
    let tables: Vec<String> = scenarios.iter().map(|scenario| results.table(scenario, &titles)).collect();
    let notes: String =
        peers.iter().map(|peer| format!("{}: {}. {}\n", peer.title, peer.version, peer.notes)).collect();
    let text = format!("median of {rounds} rounds\n\n{}\n{notes}", tables.join("\n"));
    let (circumstances, folder) = circumstances(places, &peers)?;
    let name: &String = matches.get_one("record").expect("it has a default");
    pictures(&folder, name, &results, &scenarios, &titles)?;
    record(&folder, name, &circumstances, &text, &results)
}

/// A bar for each peer, for the first figure of each scenario.
fn pictures(
    folder: &Path,
    name: &str,
    results: &Results,
    scenarios: &[&Scenario],
    titles: &[(String, String)],
) -> Result<(), String> {
    for scenario in scenarios {
        let Some(figure) = scenario.figures.first() else { continue };
        let ranked = results.ranked(scenario, figure, titles).into_iter();
        let rows: Vec<(String, f64)> = ranked.map(|(value, _, title)| (title.to_owned(), value)).collect();
        let title = format!("{}: {}", scenario.name, figure.name);
        let path = folder.join(format!("{name}-{}.svg", scenario.name));
        if !rows.is_empty() {
            picture::bars(&path, &title, figure.unit, &rows)?;
        }
    }
    Ok(())
}

fn over_sizes(places: &Places, matches: &ArgMatches) -> Result<(), String> {
    let peers = built(places, &[OURS.to_owned(), ARTICLE.to_owned()]);
    let (mut found, per_table) = (Vec::new(), sizes::per_table()?);
    for peer in &peers {
        for connections in SIZES {
            // Without tables of their own, all connections of a process share one limit.
            if peer.name != OURS && connections > per_table {
                println!("{}: {connections} connections need more files than a process may have", peer.title);
                continue;
            }
            progress(&format!("{connections} connections: {}", peer.title));
            match sizes::size(&places.program, peer, connections, pins(matches)) {
                Ok(size) => found.push(size),
                Err(words) => println!("{} at {connections}: {words}", peer.title),
            }
        }
    }
    progress("");
    let (circumstances, folder) = circumstances(places, &peers)?;
    let draw = |file: &str, title: &str, y: &str, value: fn(&sizes::Size) -> f64| {
        let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for size in &found {
            curves.entry(size.title.clone()).or_default().push((size.connections as f64, value(size)));
        }
        let curves: Vec<Curve> = curves.into_iter().map(|(name, points)| Curve { name, points }).collect();
        picture::curves(&folder.join(file), title, "connections", y, &curves)
    };
    draw("sizes-memory.svg", "resident memory", "MiB", |size| size.resident_mib)?;
    draw("sizes-cpu.svg", "CPU per delivery at 1 event/s to all", "µs", |size| size.delivery_us)?;
    draw("sizes-latency.svg", "time to the last subscriber", "ms", |size| size.last_ms)?;
    record(&folder, "sizes", &circumstances, &sizes::table(&found), &found)
}

fn over_rates(places: &Places, matches: &ArgMatches) -> Result<(), String> {
    let peers = build(places, matches)?;
    let (mut curves, mut found) = (Vec::new(), Vec::new());
    let mut text =
        String::from("2 000 subscribers: deliveries a second, and latency p99 from when an event was due\n");
    for peer in &peers {
        let mut points = Vec::new();
        for events in RATES {
            progress(&format!("{events} events/s: {}", peer.title));
            match sizes::rate(&places.program, peer, events, pins(matches)) {
                Ok(rate) => {
                    let (deliveries, p99) = (rate.deliveries_per_second, rate.p99_ms);
                    points.push((events as f64, deliveries));
                    text.push_str(&format!(
                        "{:<28} {events:>5} events/s  {deliveries:>10.0} deliveries/s  p99 {} ms\n",
                        peer.title,
                        results::shown(p99)
                    ));
                    found.push(rate);
                }
                Err(words) => text.push_str(&format!("{:<28} {events:>5} events/s  {words}\n", peer.title)),
            }
        }
        curves.push(Curve { name: peer.title.clone(), points });
    }
    progress("");
    let (circumstances, folder) = circumstances(places, &peers)?;
    let title = "deliveries to 2 000 subscribers over publish rate";
    picture::curves(&folder.join("rates.svg"), title, "events/s", "deliveries/s", &curves)?;
    record(&folder, "rates", &circumstances, &text, &found)
}

fn over_growth(places: &Places, matches: &ArgMatches) -> Result<(), String> {
    let peer = ours(places)?;
    let rows = growth::all(&places.program, &peer, pins(matches))?;
    let (circumstances, folder) = circumstances(places, &[peer])?;
    record(&folder, "growth", &circumstances, &growth::table(&rows), &rows)
}

fn shaping_of(places: &Places, matches: &ArgMatches) -> Result<(), String> {
    let (peer, pins) = (ours(places)?, pins(matches));
    let pairs: usize = *matches.get_one("pairs").expect("it has a default");
    let named = matches.get_one::<String>("cases").map(String::as_str).unwrap_or_default();
    let wanted: Vec<String> = named.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let before = shaping::load_average();
    let rows = shaping::all(&places.program, &peer, pins, &wanted, pairs)?;
    let overload = wanted.is_empty() || wanted.iter().any(|name| name == "overload");
    let overload = overload.then(|| OverloadReport::measure(&places.program, &peer, pins)).transpose()?;
    let (table, within) = shaping::table(&rows, overload.as_ref());
    let after = shaping::load_average();
    let text = format!("{pairs} pairs of each; load average {before} before, {after} after\n\n{table}");
    let (circumstances, folder) = circumstances(places, &[peer])?;
    record(&folder, "shaping", &circumstances, &text, &(&rows, &overload))?;
    if within { Ok(()) } else { Err("a limit was missed: see above".to_owned()) }
}

fn constants_of(places: &Places, matches: &ArgMatches) -> Result<(), String> {
    let peer = ours(places)?;
    let rounds: usize = *matches.get_one("rounds").expect("it has a default");
    let (circumstances, folder) = circumstances(places, std::slice::from_ref(&peer))?;
    let check = matches.get_flag("check");
    let (constants, checks) =
        constants::all(&places.program, &peer, pins(matches), rounds.max(1), check, &circumstances)?;
    let text = constants::file(&constants)?;
    MeasuredConstants::parse(&text).map_err(|words| format!("a figure is missing: {words}"))?;
    write(&places.root.join("benches/record/constants.toml"), &text)?;
    if !check {
        return Ok(());
    }
    record(&folder, "constants", &circumstances, &constants::table(&checks, rounds), &checks)?;
    let off = |check: &&constants::Check| (check.ratio() - 1.0).abs() > constants::OFF_MAX;
    match checks.iter().filter(off).count() {
        0 => Ok(()),
        count => Err(format!("{count} predictions are off by more than {} %", 100.0 * constants::OFF_MAX)),
    }
}

fn hold(places: &Places, connections: u64) -> Result<(), String> {
    let peer = ours(places)?;
    let report = sizes::hold(&places.program, &peer, connections)?;
    let (circumstances, folder) = circumstances(places, &[peer])?;
    record(&folder, &format!("hold-{connections}"), &circumstances, &report.table(), &report)?;
    if report.is_clean() { Ok(()) } else { Err("not everything arrived: see above".to_owned()) }
}
