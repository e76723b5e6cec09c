//! `fanwheel load`: turns flags into a plan, shows progress on a terminal and prints the report. The work
//! belongs to `load`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::base::failure::CommandFailure;
use crate::cli::grammar::{
    ca_file, chosen_token_file, number, number_within, option, real, switch, token_file,
};
use crate::host::output::print;
use crate::host::token_file::read_token;
use crate::load::plan::{LOAD_WINDOW_MAX, LoadFault, LoadPlan, PublishPace, UrlTemplate};
use crate::load::run::{self, LoadProgress};
use crate::load::topic_spread::SpreadShape;

const WORDS: &str = "\
Opens all subscribers, holds them idle, publishes, cuts a share and lets it come back: each part only if \
asked for. Every subscriber checks order, gaps and repeats of every event. Latencies at a --rate count from \
the moment an event was due. Exit code 0: everything arrived once and in order; 1: it did not, or the run \
could not be done; the table says why.

  fanwheel load --subscribers 10000 --window 1 --events 100 --pid $(pidof fanwheel)
  fanwheel load --subscribers 10000 --rate 50 --bytes 1024 --stall-percent 1 --seconds 20
  fanwheel load --subscribers 10000 --topics 10000 --window 256 --batch 64 --seconds 10
  fanwheel load --subscribers 10000 --reconnect-percent 100 --missed 10
  fanwheel load --subscribers 3000 --rate 200 --seconds 60 --through-restarts";

/// Returns the subcommand's grammar.
pub(crate) fn command() -> Command {
    let command = Command::new("load").about("Loads a server with subscribers and events, and judges it");
    let command = command.after_help(WORDS).args(address_args()).args(subscriber_args()).args(event_args());
    command.args([
        option("pid", "PID", "a process of the server to measure, with its children (repeatable)")
            .action(ArgAction::Append)
            .value_parser(value_parser!(u32).range(1..)),
        count("patience-seconds", 1, "10", "no progress for so long means that the server has stopped"),
        count("seed", 0, "1", "draws sizes and topics; the same seed, the same load"),
        switch("json", "the report as one JSON object"),
    ])
}

fn address_args() -> Vec<Arg> {
    vec![
        option("subscribe-url", "URL", "where to subscribe; {topic} stands for the topic")
            .default_value("http://127.0.0.1:8080/events?topic={topic}"),
        option("publish-url", "URL", "where to publish")
            .default_value("http://127.0.0.1:8081/publish?topic={topic}"),
        option(
            "publish-batch-url",
            "URL",
            "where to publish when --batch is above 1 [default: /publish/batch at the host of --publish-url]",
        ),
        ca_file(),
        token_file().help("publishes with the token in this file [$FANWHEEL_TOKEN_FILE]"),
    ]
}

fn subscriber_args() -> Vec<Arg> {
    vec![
        count("subscribers", 1, "1000", "subscribers"),
        count("topics", 1, "1", "topics that subscribers and events are spread over"),
        option("spread", "WORD", "even: one after the other; zipf: the k-th topic has a share of 1/k")
            .default_value("even")
            .value_parser(["even", "zipf"]),
        option("topic-prefix", "TEXT", "topics are called this and a number").default_value("load"),
        count("threads", 0, "0", "threads of subscribers, each with its own files; 0: as many as files need"),
        count("ramp-per-second", 0, "0", "new subscribers a second; 0: as fast as the server takes them"),
        count("connecting-max", 1, "512", "connections on their way at once"),
        percent("stall-percent", "subscribers that stop reading before events flow"),
        percent(
            "reconnect-percent",
            "subscribers that are cut in the end and come back at once with their last id",
        ),
        count("missed", 0, "10", "events that they miss meanwhile"),
        switch(
            "through-restarts",
            "servers may restart meanwhile: publishes get an Idempotency-Key; ended streams are no fault",
        ),
    ]
}

fn event_args() -> Vec<Arg> {
    vec![
        count("idle-seconds", 0, "0", "hold all subscribers for so long before any event"),
        count("events", 0, "0", "events to publish; 0: as many as --seconds allow"),
        count("seconds", 0, "0", "publish for at most so long; 0: until --events are out"),
        count("warm-up", 0, "0", "events to publish before those that are measured"),
        real("rate", "events a second, whatever the server does (open loop)").conflicts_with("window"),
        number_within(
            "window",
            1..=LOAD_WINDOW_MAX,
            "events on their way at once, until their last subscriber has them (closed loop)",
        )
        .default_value("1"),
        count("publishers", 0, "0", "connections that publish; 0: one, or up to 16 with a larger --window"),
        count("batch", 1, "1", "events in one request (NDJSON, as this server takes it)"),
        count("bytes", 1, "64", "bytes of an event's data"),
        count("bytes-max", 0, "0", "each event draws its size between --bytes and this; 0: no draw"),
        switch(
            "conflated",
            "each publisher's events have a key and may give way to newer ones; the newest must arrive",
        ),
    ]
}

fn count(name: &'static str, least: u64, default: &'static str, help: &'static str) -> Arg {
    number(name, least, help).default_value(default)
}

fn percent(name: &'static str, help: &'static str) -> Arg {
    real(name, help).default_value("0")
}

/// Runs a load and prints its report.
///
/// # Errors
/// When the flags contradict themselves, or this host cannot hold the load.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, CommandFailure> {
    let token_file = chosen_token_file(matches);
    let publish_token = token_file.map(|path| read_token(&path)).transpose()?;
    let mut plan = LoadPlan { publish_token, ..load_plan(matches).map_err(CommandFailure::Usage)? };
    plan.validate().map_err(CommandFailure::Usage)?;
    let named_file = matches.get_one::<String>("ca-file").map(String::as_str);
    plan.read_certificates(named_file).map_err(CommandFailure::Run)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends the program at once.
        flag::register_conditional_shutdown(signal, 128 + signal, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()))
            .map_err(|os| CommandFailure::Run(format!("cannot take signals over: {os}")))?;
    }
    let terminal = io::stderr().is_terminal();
    let mut say = |progress: LoadProgress| {
        let LoadProgress { part, done, of } = progress;
        if terminal {
            let of = if of == u64::MAX { String::new() } else { format!(" of {of}") };
            // Progress that cannot be shown is not missed.
            let _ = write!(io::stderr(), "\r\x1b[K{part} {done}{of}");
        }
    };
    let report = run::run_load(plan, stop, &mut say);
    if terminal {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    let mut report = report.map_err(|fault| match fault {
        LoadFault::Host(words) => CommandFailure::Run(words),
        LoadFault::System(what, os) => CommandFailure::Run(format!("{what}: {os}")),
    })?;
    report.command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    if matches.get_flag("json") {
        let text = serde_json::to_string(&report).map_err(|error| CommandFailure::Run(error.to_string()))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&report.table())?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load_plan(matches: &ArgMatches) -> Result<LoadPlan, String> {
    let count = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let size = |name: &str| usize::try_from(count(name)).map_err(|_| format!("--{name} is too large"));
    let real = |name: &str| *matches.get_one::<f64>(name).expect("it has a default");
    let text = |name: &str| matches.get_one::<String>(name).expect("it has a default");
    let pace = match matches.get_one::<f64>("rate") {
        Some(&rate) => PublishPace::Rate(rate),
        None => PublishPace::Window(count("window")),
    };
    let publishers = match (size("publishers")?, pace) {
        (0, PublishPace::Window(window)) => window.min(16) as usize,
        (0, PublishPace::Rate(_)) => 1,
        (publishers, _) => publishers,
    };
    let publish = UrlTemplate::parse(text("publish-url"))?;
    let publish_batch = match matches.get_one::<String>("publish-batch-url") {
        Some(url) => UrlTemplate::parse(url)?,
        None => publish.with_path("/publish/batch"),
    };
    Ok(LoadPlan {
        subscribe: UrlTemplate::parse(text("subscribe-url"))?,
        publish,
        publish_batch,
        tls: None,
        publish_token: None,
        subscribers: size("subscribers")?,
        topics: size("topics")?,
        shape: if text("spread") == "zipf" { SpreadShape::Zipf } else { SpreadShape::Even },
        topic_prefix: text("topic-prefix").clone(),
        threads: size("threads")?,
        ramp_per_s: count("ramp-per-second"),
        connecting_max: size("connecting-max")?,
        idle: Duration::from_secs(count("idle-seconds")),
        events: count("events"),
        seconds: Duration::from_secs(count("seconds")),
        warm_up: count("warm-up"),
        pace,
        publishers,
        batch: size("batch")?,
        bytes: size("bytes")?,
        bytes_max: size("bytes-max")?.max(size("bytes")?),
        conflated: matches.get_flag("conflated"),
        stall_percent: real("stall-percent"),
        reconnect_percent: real("reconnect-percent"),
        missed: count("missed"),
        through_restarts: matches.get_flag("through-restarts"),
        patience: Duration::from_secs(count("patience-seconds")),
        pids: matches.get_many::<u32>("pid").map(|pids| pids.copied().collect()).unwrap_or_default(),
        seed: count("seed"),
    })
}
