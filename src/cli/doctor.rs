//! `fanwheel doctor`: is this host ready for so many connections, and do proxies on the way harm streams?
//! Owns flags and the printed form; the judgement belongs to `doctor`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Command};
use serde_json::json;

use crate::base::failure::CommandFailure;
use crate::base::limits::{PLANNED_CONNECTIONS_MAX, WORKERS_MAX};
use crate::base::logfmt::EscapedText;
use crate::cli::grammar::{ca_file, chosen_token_file, number_within, option, switch, token_file};
use crate::doctor::finding::{Finding, Verdict, is_fine, text};
use crate::doctor::judge::host::findings;
use crate::doctor::judge::host_table::{TEXT, rows};
use crate::doctor::judge::streams;
use crate::doctor::probe::host;
use crate::doctor::probe::streams::{ProbeOptions, probe_streams};
use crate::host::output::print;

/// Seconds of `--idle-seconds`, a day: nobody waits longer for an answer.
const DOCTOR_IDLE_SECONDS_MAX: u64 = 86_400;

const WORDS: &str = "\
Without --url: reads this host and compares it with what --connections need. With --url: opens streams \
through whatever proxies stand in front of that address and looks at what they do to them. Changes nothing. \
Exit code 0: nothing is bad; 1: something is, or the address does not answer; 2: wrong arguments.

  fanwheel doctor --connections 200k
  fanwheel doctor --connections 200k --pid $(pidof fanwheel)
  fanwheel doctor --url 'https://example.org/events?topic=news'";

/// Returns the subcommand's grammar.
pub(crate) fn command() -> Command {
    Command::new("doctor")
        .about("Checks this host for many connections, or a URL through its proxies")
        .after_help(WORDS)
        .arg(
            number_within("connections", 1..=PLANNED_CONNECTIONS_MAX, "connections to hold on this host")
                .default_value("100000")
                .conflicts_with("url"),
        )
        .arg(
            number_within(
                "workers",
                1..=WORKERS_MAX as u64,
                "threads that would serve them [one a processor]",
            )
            .conflicts_with("url"),
        )
        .arg(
            number_within(
                "pid",
                1..=u64::from(u32::MAX),
                "a running server, whose limits count instead of this shell's",
            )
            .value_name("PID")
            .conflicts_with("url"),
        )
        .arg(
            switch("connects-here", "a proxy or load generator on this host opens the connections")
                .conflicts_with("url"),
        )
        .arg(option("url", "URL", "looks at this stream through its proxies instead of at the host"))
        .arg(
            option(
                "publish-url",
                "URL",
                "control listener (or its /publish), to publish to a topic of the doctor's own",
            )
            .default_value("http://127.0.0.1:8081")
            .requires("url"),
        )
        .arg(
            number_within("idle-seconds", 1..=DOCTOR_IDLE_SECONDS_MAX, "how long a quiet stream is watched")
                .default_value("20")
                .requires("url"),
        )
        .arg(
            option("origin", "ORIGIN", "the page that will read the stream, as https://page.example")
                .requires("url"),
        )
        .arg(ca_file().requires("url"))
        .arg(token_file().requires("url").help("token of the control listener [$FANWHEEL_TOKEN_FILE]"))
        .arg(switch("json", "one JSON object"))
}

/// Looks, prints, and says by the exit code whether anything is bad.
///
/// # Errors
/// When there is no such process, or the address of `--url` does not answer.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, CommandFailure> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    match text("url") {
        None => judge_host(matches),
        Some(url) => {
            let token_file = chosen_token_file(matches);
            let seconds = *matches.get_one::<u64>("idle-seconds").expect("has a default");
            let options = ProbeOptions {
                url,
                publish_url: text("publish-url").unwrap_or_default(),
                idle: Duration::from_secs(seconds),
                origin: text("origin"),
                ca_file: text("ca-file"),
                token_file: token_file.as_deref(),
            };
            let found = streams::findings(&probe_streams(&options)?);
            let heading = format!("The way to {}:", EscapedText(url));
            print_findings(&found, &heading, json!({ "url": url }), matches.get_flag("json"))
        }
    }
}

fn judge_host(matches: &ArgMatches) -> Result<ExitCode, CommandFailure> {
    let connections = *matches.get_one::<u64>("connections").expect("has a default");
    let workers = matches.get_one::<u64>("workers").copied();
    let process = matches.get_one::<u64>("pid").and_then(|number| u32::try_from(*number).ok());
    if let Some(number) = process.filter(|number| !PathBuf::from(format!("/proc/{number}")).exists()) {
        return Err(CommandFailure::Run(format!("--pid {number}: there is no such process")));
    }
    let rows = rows(TEXT).expect("a test reads the table that is compiled in");
    let mut host = host::read_host(Path::new("/"), process, &rows, connections, workers);
    host.connects_here = matches.get_flag("connects-here");
    let found = findings(&host, &rows);
    let subject = json!({ "connections": host.connections, "workers": host.workers });
    let heading = format!("This host, for {} connections on {} workers:", host.connections, host.workers);
    print_findings(&found, &heading, subject, matches.get_flag("json"))
}

/// Prints findings in the form that was asked for.
fn print_findings(
    findings: &[Finding],
    heading: &str,
    mut subject: serde_json::Value,
    as_json: bool,
) -> Result<ExitCode, CommandFailure> {
    let fine = is_fine(findings);
    if as_json {
        subject["fine"] = json!(fine);
        subject["findings"] = json!(findings);
        print(&format!("{subject}\n"))?;
    } else {
        let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad);
        let end = match bad.count() {
            0 => "Nothing is bad.".to_owned(),
            count => format!("{count} of {} are bad.", findings.len()),
        };
        print(&format!("{heading}\n\n{}\n{end}\n", text(findings)))?;
    }
    Ok(ExitCode::from(u8::from(!fine)))
}
