//! The command line: the grammar, and subcommands that call the layers below.
//!
//! Owns arguments and exit codes. Decides nothing about the server, the load or the host.
//!
//! Exit codes: 0 done; 1 could not start or do it; 2 the command line or a setting is wrong; 128 + signal
//! when a second SIGTERM or SIGINT cut a drain short.

pub mod args;
pub(crate) mod doctor;
pub(crate) mod grammar;
pub(crate) mod load;
pub mod manual;
pub(crate) mod plan;
pub(crate) mod publish;
pub(crate) mod subscribe;
pub(crate) mod token;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::ArgMatches;

use crate::base::failure::CommandFailure;
use crate::base::logfmt::EscapedText;
use crate::config::class_report;
use crate::config::render;
use crate::config::resolved::ResolvedSettings;
use crate::daemon::serve;
use crate::host::output::print;

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let matches = match args::command().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => match args::mistake_line(&error, &words) {
            Some(line) => return report(&CommandFailure::Usage(line)),
            None => error.exit(),
        },
    };
    let ended = match matches.subcommand() {
        Some(("doctor", matches)) => doctor::run(matches),
        Some(("load", matches)) => load::run(matches),
        Some(("plan", matches)) => plan::run(matches),
        Some(("publish", matches)) => publish::run(matches),
        Some(("subscribe", matches)) => subscribe::run(matches),
        Some(("token", matches)) => token::run(matches),
        Some(("serve", matches)) => serve::run_server(&args::setting_inputs(matches)),
        Some(("config", matches)) => {
            let text = config_text(matches);
            text.and_then(|text| print(&text)).map(|()| ExitCode::SUCCESS)
        }
        _ => Err(CommandFailure::Usage("a subcommand is required; see --help".to_owned())),
    };
    ended.unwrap_or_else(|failure| report(&failure))
}

/// Returns the text of `fanwheel config`.
fn config_text(matches: &ArgMatches) -> Result<String, CommandFailure> {
    let resolved = ResolvedSettings::read(&args::setting_inputs(matches))?;
    let topic: Option<&String> = matches.get_one("topic");
    if let Some(credential) = matches.get_one::<String>("explain") {
        let credential = token::read_credential(credential)?;
        return token::explain(&resolved, &credential, topic.map(String::as_str));
    }
    match (topic, matches.get_flag("json")) {
        (None, false) => Ok(render::as_toml(&resolved)),
        (None, true) => Ok(render::as_json(&resolved)),
        (Some(topic), json) => {
            let report = if json { class_report::topic_as_json } else { class_report::topic_as_text };
            report(&resolved, topic).map_err(CommandFailure::Usage)
        }
    }
}

/// Prints a failure as one line on standard error and returns its exit code.
fn report(failure: &CommandFailure) -> ExitCode {
    let (line, code) = match failure {
        CommandFailure::Usage(line) => (line, 2),
        CommandFailure::Run(line) => (line, 1),
    };
    // A closed standard error must not turn an error into a panic; the exit code still tells.
    let _ = writeln!(io::stderr(), "fanwheel: {}", EscapedText(line));
    ExitCode::from(code)
}
