//! Writes what is installed beside the program and follows from it: man pages, completions of shells, and a
//! configuration file with every setting at its default, commented out.
//!
//! `cargo run --example pages -- FOLDER`; `make pages` does so.

mod bash;
mod manual;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;
use fanwheel::base::settings::{SettingKind, SettingSpec, TABLE, split_list};
use fanwheel::cli::args;

const NAME: &str = "fanwheel";

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: pages FOLDER");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(os) => {
            eprintln!("pages: cannot write to {folder}: {os}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let [manual, completions] = ["man", "completions"].map(|name| folder.join(name));
    for folder in [&manual, &completions] {
        // What an earlier version wrote, such as a page of a subcommand that is no more.
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
    }
    let mut grammar = args::command().disable_help_subcommand(true);
    grammar.build();
    for command in std::iter::once(&grammar).chain(grammar.get_subcommands()) {
        let name = command.get_display_name().unwrap_or(NAME);
        fs::write(manual.join(format!("{name}.1")), manual::manual_page(command)?)?;
    }
    fs::write(completions.join(format!("{NAME}.bash")), bash::bash_completion(&grammar))?;
    for shell in [Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut args::command(), NAME, &completions)?;
    }
    fs::write(folder.join("fanwheel.toml"), configuration())
}

/// Every setting with its meaning and its default.
fn configuration() -> String {
    let rows: Vec<String> = TABLE.iter().map(row).collect();
    format!(
        "# Settings of the server, each commented out at its default. FANWHEEL_* variables and flags are\n\
         # stronger than a file; `fanwheel config --config FILE` prints what is in force.\n\n{}",
        rows.join("\n")
    )
}

fn row(spec: &SettingSpec) -> String {
    let (bounds, value) = match spec.kind {
        SettingKind::Int { min, max } => (format!(" ({min} to {max})"), spec.default.to_owned()),
        SettingKind::Choice(words) => (format!(" ({})", words.join(", ")), quoted(spec.default)),
        SettingKind::Text | SettingKind::Backplane => (String::new(), quoted(spec.default)),
        SettingKind::List | SettingKind::Urls => {
            let items: Vec<String> = split_list(spec.default).iter().map(|item| quoted(item)).collect();
            (String::new(), format!("[{}]", items.join(", ")))
        }
    };
    format!("# {}{bounds}\n#{} = {value}\n", spec.help, spec.name)
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
