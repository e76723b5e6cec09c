//! The command line: flags, file and environment become settings; each subcommand's main.
//!
//! Owns the process: arguments, exit codes, standard streams, signals. What is served and how is below.
//!
//! Exit codes: 0 done; 1 could not start or do it; 2 the command line or a setting is wrong; 128 + signal
//! when a second SIGTERM or SIGINT cut a drain short.

pub mod args;
pub mod doctor;
pub mod grammar;
pub mod load;
pub mod plan;
pub mod publish;
pub mod subscribe;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::base::failure::Failure;
use crate::base::logfmt::Plain;
use crate::config::render;
use crate::config::resolved::Resolved;
use crate::daemon::serve;
use crate::host::output::print;

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
                if json { render::as_json(&resolved) } else { render::as_toml(&resolved) }
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
