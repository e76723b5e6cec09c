//! The command line's grammar: subcommands, flags and their help. Flags of settings come from the table, in
//! one loop. Owns the arguments; knows nothing of the work behind a subcommand.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use crate::base::logfmt::shown;
use crate::base::settings::{SettingKind, SettingSpec, TABLE, find_spec};
use crate::base::suggest::nearest;
use crate::cli::grammar::{OfferedWords, file, option, switch};
use crate::cli::{doctor, load, plan, publish, subscribe, token};
use crate::config::familiar_names;
use crate::config::resolve::{CONFIG_VARIABLE, SettingInputs};

const SIGNALS: &str = "\
SIGTERM and SIGINT end every stream in order within drain_ms; a second one stops at once (exit 143, 130).
SIGHUP reopens the log file, reads the settings again and says which need a restart.";

const FIRST_STEPS: &str = "  fanwheel serve
  fanwheel subscribe news
  fanwheel publish news hello";
const SERVE_EXAMPLES: &str = "  fanwheel serve --listen :8080 --control localhost:8081
  fanwheel serve --config /etc/fanwheel.toml
  FANWHEEL_HEARTBEAT_MS=20s fanwheel serve --connections-max 500k";
const CONFIG_EXAMPLES: &str = "  fanwheel config
  fanwheel config --config /etc/fanwheel.toml --topic prices.eur
  fanwheel config --json | jq .heartbeat_ms
  fanwheel config --config /etc/fanwheel.toml --explain @token --topic prices.eur";

/// Returns the grammar of the program with all its subcommands.
pub fn command() -> Command {
    Command::new("fanwheel")
        .about("A Server-Sent Events server for very many subscribers on one host")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .after_help(FIRST_STEPS)
        .subcommand(with_settings(
            Command::new("serve").about("Runs the server"),
            &format!("{SIGNALS}\n\n{SERVE_EXAMPLES}"),
        ))
        .subcommand(load::command())
        .subcommand(doctor::command())
        .subcommand(publish::command())
        .subcommand(subscribe::command())
        .subcommand(plan::command())
        .subcommand(token::command())
        .subcommand(
            with_settings(Command::new("config"), &format!("\n{CONFIG_EXAMPLES}"))
                .about("Prints the effective settings, with where each value came from")
                .arg(switch("json", "one JSON object instead of a configuration file"))
                .arg(option("topic", "TOPIC", "says which class holds for a topic, and why"))
                .arg(
                    option(
                        "explain",
                        "TOKEN",
                        "says which rule lets a credential use --topic or not; - reads it from standard \
                         input, @FILE from a file",
                    )
                    .conflicts_with("json"),
                ),
        )
}

fn with_settings(command: Command, more: &str) -> Command {
    let words = format!(
        "Each setting has one name: heartbeat_ms in the file, FANWHEEL_HEARTBEAT_MS in the environment, \
         --heartbeat-ms here; the stronger of them comes later in this list. \
         `fanwheel config` prints what is in force, in the form of a file.\n{more}"
    );
    command.arg(config_file()).args(TABLE.iter().map(setting)).next_help_heading("Settings").after_help(words)
}

/// The flag that names the configuration file.
pub(crate) fn config_file() -> Arg {
    file("config", "")
        .value_parser(value_parser!(PathBuf))
        .help(format!("configuration file (TOML); also {CONFIG_VARIABLE}"))
}

/// The flag of one setting of the table.
pub(crate) fn setting_named(name: &str) -> Arg {
    setting(find_spec(name).expect("a setting of the table"))
}

/// Builds a setting's flag. Values are checked where all sources meet, so that each refusal reads the same;
/// clap only collects texts.
fn setting(spec: &'static SettingSpec) -> Arg {
    let (value_name, allowed) = match spec.kind {
        SettingKind::Int { .. } => ("N", String::new()),
        SettingKind::Choice(words) => ("WORD", format!(" ({})", words.join(", "))),
        SettingKind::Text => ("TEXT", String::new()),
        SettingKind::List => ("TEXT", " (repeatable)".to_owned()),
        SettingKind::Urls => ("URL", " (repeatable)".to_owned()),
        SettingKind::Backplane => ("URL", String::new()),
    };
    let default = if spec.default.is_empty() { String::new() } else { format!(" [{}]", spec.default) };
    let many = matches!(spec.kind, SettingKind::List | SettingKind::Urls);
    let hint = match spec.name {
        "log_file"
        | "control_token_file"
        | "signing_key_file"
        | "jwt_key_file"
        | "jwks_file"
        | "ban_file"
        | "backplane_password_file" => ValueHint::FilePath,
        "alert_command" | "alert_sendmail" => ValueHint::ExecutablePath,
        _ => ValueHint::Other,
    };
    let flag = match spec.kind {
        SettingKind::Choice(words) => {
            Arg::new(spec.name).value_parser(OfferedWords(words)).hide_possible_values(true)
        }
        _ => Arg::new(spec.name).value_hint(hint),
    };
    flag.long(spec.name.replace('_', "-"))
        .value_name(value_name)
        .action(if many { ArgAction::Append } else { ArgAction::Set })
        .allow_negative_numbers(true)
        .help(format!("{}{allowed}{default}", spec.help))
        .help_heading("Settings")
}

/// Collects settings from the environment and from the flags of a subcommand.
pub(crate) fn setting_inputs(matches: &ArgMatches) -> SettingInputs {
    let mut inputs = SettingInputs {
        config: matches.get_one::<PathBuf>("config").cloned(),
        environment: std::env::vars_os().collect(),
        ..SettingInputs::default()
    };
    for spec in TABLE {
        // Not every subcommand has a flag for every setting.
        if let Ok(Some(texts)) = matches.try_get_many::<String>(spec.name) {
            inputs.flags.insert(spec.name, texts.cloned().collect());
        }
    }
    inputs
}

/// Describes a mistake on the command line in one line; none when the error is the help or the version that
/// was asked for. `words` begin with the program's name.
pub(crate) fn mistake_line(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let grammar = command();
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => None,
        ErrorKind::UnknownArgument => {
            let asked = words.get(1).and_then(|word| grammar.find_subcommand(word)).unwrap_or(&grammar);
            Some(unknown(error, "argument", ContextKind::InvalidArg, |typed| argument_hint(typed, asked)))
        }
        ErrorKind::InvalidSubcommand => {
            let names = || grammar.get_subcommands().map(Command::get_name);
            let hint = |typed: &str| match typed {
                "version" => Some("did you mean --version?".to_owned()),
                _ => nearest(typed, names()).map(|near| format!("did you mean {near}?")),
            };
            Some(unknown(error, "subcommand", ContextKind::InvalidSubcommand, hint))
        }
        _ => Some(first_line(error)),
    }
}

/// Suggests an argument that resembles one the subcommand does not know.
fn argument_hint(typed: &str, asked: &Command) -> Option<String> {
    let bare = typed.trim_start_matches('-');
    if asked.has_subcommands() {
        // A flag of `serve`, which is what most people start.
        let known = asked.find_subcommand("serve")?.get_arguments().any(|flag| flag.get_long() == Some(bare));
        return known.then(|| format!("did you mean fanwheel serve {typed}?"));
    }
    if typed == "help" {
        return Some("did you mean --help?".to_owned());
    }
    if let Some(hint) = (bare != typed).then(|| familiar_flag(bare, asked)).flatten() {
        return Some(hint);
    }
    match typed.strip_prefix("--") {
        Some(flag) => nearest(flag, asked.get_arguments().filter_map(Arg::get_long))
            .map(|near| format!("did you mean --{near}?")),
        None if typed.starts_with('-') && asked.get_name() == "publish" => {
            Some("to publish it, put -- before it".to_owned())
        }
        None if typed.starts_with('-') => None,
        None => Some("quote what has spaces, or see --help".to_owned()),
    }
}

/// Leads from a flag of other programs to the one that this subcommand has for it.
fn familiar_flag(bare: &str, asked: &Command) -> Option<String> {
    let has = |name: &str| asked.get_arguments().any(|argument| argument.get_id() == name);
    let familiar = familiar_names::setting_of(bare).filter(|familiar| has(familiar.setting()));
    if let Some(familiar) = familiar {
        return Some(format!("did you mean {}?", familiar.as_flag()));
    }
    match bare {
        "p" | "port" | "host" | "address" | "addr" if has("url") => {
            Some("did you mean --url http://127.0.0.1:PORT?".to_owned())
        }
        "unix-socket" if has("url") => Some("did you mean --url unix:/path?".to_owned()),
        "cacert" if has("ca-file") => Some("did you mean --ca-file FILE?".to_owned()),
        "t" | "topic" | "topics" if has("topic") => Some("the topic stands without a flag".to_owned()),
        "d" | "data" | "message" if has("data") => Some("the data stands behind the topic".to_owned()),
        "n" | "clients" | "connections" if has("subscribers") => {
            Some("did you mean --subscribers N?".to_owned())
        }
        _ => None,
    }
}

fn unknown(
    error: &clap::Error,
    what: &str,
    kind: ContextKind,
    hint: impl Fn(&str) -> Option<String>,
) -> String {
    let Some(ContextValue::String(typed)) = error.get(kind) else { return first_line(error) };
    format!("unknown {what} {}; {}", shown(typed), hint(typed).unwrap_or("see --help".to_owned()))
}

/// clap's own words without its usage block; a list of missing arguments stands on lines of its own.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let words: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    // The standard library's message about a text that is no number is meant for programmers.
    let line = words.join(" ").replace("invalid digit found in string", "must be a whole number");
    let line = line.replace("invalid float literal", "must be a number");
    format!("{}; see --help", shown(line.strip_prefix("error: ").unwrap_or(&line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolved::flag_name;

    fn refused(line: &str) -> Option<String> {
        let words: Vec<OsString> =
            std::iter::once("fanwheel").chain(line.split_whitespace()).map(OsString::from).collect();
        mistake_line(&command().try_get_matches_from(&words).expect_err("refused"), &words)
    }

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_of_serve_and_config() {
        for subcommand in ["serve", "config"] {
            for spec in TABLE {
                let flag = flag_name(spec.name);
                let matches = command().try_get_matches_from(["fanwheel", subcommand, &flag, "-7"]);
                let matches = matches.unwrap_or_else(|error| panic!("{flag}: {error}"));
                let (_, matches) = matches.subcommand().expect("a subcommand");
                assert_eq!(setting_inputs(matches).flags[spec.name], ["-7"]);
            }
        }
    }

    #[test]
    fn mistakes_are_one_short_line() {
        let rows = [
            ("serve --heartbeet-ms 5", "unknown argument --heartbeet-ms; did you mean --heartbeat-ms?"),
            ("serve --xyzzyplugh", "unknown argument --xyzzyplugh; see --help"),
            ("subscribe a --evnt b", "unknown argument --evnt; did you mean --event?"),
            ("subscribe a --heartbeat-ms 9", "unknown argument --heartbeat-ms; see --help"),
            ("load --subscriber 5", "unknown argument --subscriber; did you mean --subscribers?"),
            ("serve -p 80", "unknown argument -p; did you mean --listen 127.0.0.1:PORT?"),
            ("serve --port=80", "unknown argument --port; did you mean --listen 127.0.0.1:PORT?"),
            ("config --verbose", "unknown argument --verbose; did you mean --log-level debug?"),
            ("serve -x", "unknown argument -x; see --help"),
            ("subscribe a --port 80", "unknown argument --port; did you mean --url http://127.0.0.1:PORT?"),
            ("subscribe --topic a", "unknown argument --topic; the topic stands without a flag"),
            ("publish a -d b", "unknown argument -d; the data stands behind the topic"),
            ("publish a --evnt b", "unknown argument --evnt; did you mean --event?"),
            ("publish a -x", "unknown argument -x; to publish it, put -- before it"),
            ("publish --unix-socket /x", "unknown argument --unix-socket; did you mean --url unix:/path?"),
            ("subscribe --cacert x", "unknown argument --cacert; did you mean --ca-file FILE?"),
            ("plan --port 80", "unknown argument --port; see --help"),
            (
                "doctor --connections 5m",
                "invalid value '5m' for '--connections <N>': must be a whole number from 1 to 1000000000, or \
                 written as 500k or 2M (k is 1000); see --help",
            ),
            ("publish news two words", "unknown argument words; quote what has spaces, or see --help"),
            ("server", "unknown subcommand server; did you mean serve?"),
            ("fly", "unknown subcommand fly; see --help"),
            ("version", "unknown subcommand version; did you mean --version?"),
            ("--listen :80", "unknown argument --listen; did you mean fanwheel serve --listen?"),
            ("--port 80", "unknown argument --port; see --help"),
            ("serve help", "unknown argument help; did you mean --help?"),
            (
                "plan --rtt-ms soon",
                "invalid value 'soon' for '--rtt-ms <N>': must be a number, or written as 250ms, 15s, 2m or \
                 1h; see --help",
            ),
            ("serve --workers", "a value is required for '--workers <N>' but none was supplied; see --help"),
            ("publish", "the following required arguments were not provided: <TOPIC>; see --help"),
            (
                "subscribe a --count x",
                "invalid value 'x' for '--count <N>': must be a whole number of at least 1; see --help",
            ),
        ];
        for (line, expected) in rows {
            assert_eq!(refused(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn numbers_that_need_not_be_whole_take_the_units_of_their_names() {
        let rows = [
            ("plan", "rtt-ms", "0.5", 0.5),
            ("plan", "rtt-ms", "2s", 2_000.0),
            ("plan", "slow-percent", "1.5%", 1.5),
            ("plan", "events-per-second", "20k", 20_000.0),
            ("load", "rate", "1.5k", 1_500.0),
            ("load", "stall-percent", "5%", 5.0),
        ];
        for (subcommand, flag, text, expected) in rows {
            let matches = command().get_matches_from(["fanwheel", subcommand, &format!("--{flag}={text}")]);
            let (_, matches) = matches.subcommand().expect("a subcommand");
            assert_eq!(matches.get_one::<f64>(flag), Some(&expected), "--{flag} {text}");
        }
    }

    #[test]
    fn help_and_version_are_not_mistakes() {
        for line in ["--help", "--version", "serve --help", "publish --help", ""] {
            assert_eq!(refused(line), None, "{line}");
        }
    }
}
