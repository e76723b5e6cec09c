//! The command line: flags, file and environment become settings; each subcommand's main.
//!
//! Owns the process: arguments, exit codes, standard streams, signals. What is served and how is below.
//!
//! Exit codes: 0 done; 1 could not start or do it; 2 the command line or a setting is wrong; 128 + signal
//! when a second SIGTERM or SIGINT cut a drain short.

pub mod activation;
pub mod alert_rules;
pub mod args;
pub mod authorities;
pub mod config;
pub mod contradictions;
pub mod doctor;
#[cfg(test)]
mod fake_root;
pub mod file;
pub mod grammar;
pub mod groups;
pub mod host;
pub mod http;
pub mod load;
pub mod log;
pub mod memory;
pub mod notify;
pub mod passage;
pub mod plan;
pub mod publish;
pub mod refusal;
pub mod reload;
pub mod repeats;
pub mod resolve;
pub mod resolved;
pub mod serve;
pub mod show;
pub mod signals;
pub mod start;
pub mod subscribe;
pub mod suggest;
pub mod systemd;
pub mod telling;
pub mod usage;
pub mod vigil;
pub mod watch;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::base::logfmt::Plain;
use crate::cli::refusal::Refusal;
use crate::cli::resolved::Resolved;

/// Why a subcommand ended otherwise than well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command line or a setting is wrong.
    Usage(String),
    /// It could not be done; the text says what to do about it.
    Run(String),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Usage(refusal.to_string())
    }
}

/// The program.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let matches = match args::command().try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => match args::mistake(&error, &words) {
            Some(line) => return report(&Failure::Usage(line)),
            None => error.exit(),
        },
    };
    let ended = match matches.subcommand() {
        Some(("doctor", matches)) => doctor::run(matches),
        Some(("load", matches)) => load::run(matches),
        Some(("plan", matches)) => plan::run(matches),
        Some(("publish", matches)) => publish::run(matches),
        Some(("subscribe", matches)) => subscribe::run(matches),
        Some(("serve", matches)) => serve::run(&args::inputs(matches)),
        Some(("config", matches)) => {
            let text = Resolved::read(&args::inputs(matches)).map_err(Failure::from).map(|resolved| {
                let json = matches.get_flag("json");
                if json { config::as_json(&resolved) } else { config::as_toml(&resolved) }
            });
            text.and_then(|text| print(&text)).map(|()| ExitCode::SUCCESS)
        }
        _ => Err(Failure::Usage("a subcommand is required; see --help".to_owned())),
    };
    ended.unwrap_or_else(|failure| report(&failure))
}

/// One line on standard error.
fn report(failure: &Failure) -> ExitCode {
    let (line, code) = match failure {
        Failure::Usage(line) => (line, 2),
        Failure::Run(line) => (line, 1),
    };
    // A closed standard error must not turn an error into a panic; the exit code still tells.
    let _ = writeln!(io::stderr(), "fanwheel: {}", Plain(line));
    ExitCode::from(code)
}

/// Text for standard output, all of it or an error.
fn print(text: &str) -> Result<(), Failure> {
    printed(write_out(text.as_bytes())).map(|_| ())
}

fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Whether somebody still reads. Whoever closed standard output has read enough, so that is no error; a disk
/// that is full is one, or what is missing from a file would not be told.
fn printed(written: io::Result<()>) -> Result<bool, Failure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Run(format!("cannot write to standard output: {error}"))),
    }
}
