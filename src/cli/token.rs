//! `fanwheel token`: makes tokens and their hashes, and explains them.
//!
//! Tokens come from files or standard input: a command line is visible to everybody on the host.

use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command};
use zeroize::Zeroizing;

use crate::base::failure::CommandFailure;
use crate::base::logfmt::shown;
use crate::base::topic::TopicPattern;
use crate::cli::args::{config_file, setting_inputs, setting_named};
use crate::cli::grammar::{OfferedWords, file, number, option};
use crate::client::http::percent_encoded;
use crate::config::credential_report::{owner_as_text, topic_as_text};
use crate::config::credentials::load_access;
use crate::config::resolved::ResolvedSettings;
use crate::config::token_maker::{TokenOutline, draw_key, draw_token, hash_text, token_table};
use crate::host::named_file::PipeWait;
use crate::host::output::print;
use crate::host::token_file::read_token;

/// Bytes of a credential on standard input.
const STDIN_TOKEN_BYTES_MAX: u64 = 16_384;

const WORDS: &str = "\
new      draws a token; prints its [[token]] table, and the token itself or puts it into --out
hash     prints the hash of a token for a [[token]] table
explain  says what a token or signed URL is, and which topics it opens
key      draws a key, for signing_key_file or control_token_file
url      signs a URL for --topic with the first key of signing_key_file

hash and explain read the token from --token-file, else from standard input.

  fanwheel token new --name backend --publish 'news.**' --out backend.token >> fanwheel.toml
  fanwheel token hash --token-file backend.token
  fanwheel token explain --config fanwheel.toml --token-file backend.token
  fanwheel token url --config fanwheel.toml --topic orders.7 --expires-seconds 600";

/// Returns the subcommand's grammar.
pub(crate) fn command() -> Command {
    let patterns =
        |name: &'static str, help: &'static str| option(name, "PATTERN", help).action(ArgAction::Append);
    Command::new("token")
        .about("Makes and explains tokens and signed URLs")
        .after_help(WORDS)
        .arg(
            Arg::new("action")
                .value_name("ACTION")
                .required(true)
                .value_parser(OfferedWords(&["new", "hash", "explain", "key", "url"]))
                .hide_possible_values(true)
                .help("new, hash, explain, key or url"),
        )
        .arg(option("name", "NAME", "name of the new token").default_value("token"))
        .arg(patterns("subscribe", "topics that its owner may subscribe to (repeatable)"))
        .arg(patterns("publish", "topics that its owner may publish to (repeatable)"))
        .arg(file("out", "a new file that takes the token, for its owner alone to read"))
        .arg(file("token-file", "the token to hash or explain [standard input]"))
        .arg(config_file())
        .arg(setting_named("signing_key_file"))
        .arg(
            option(
                "topic",
                "TOPIC",
                "explains the use of this topic; with url the topics to sign (repeatable)",
            )
            .action(ArgAction::Append),
        )
        .arg(number("expires-seconds", 1, "seconds from now until the signed URL ends").default_value("3600"))
        .arg(option("url", "URL", "address in front of the signed path, such as https://push.example.org"))
}

/// Does as the flags say.
///
/// # Errors
/// When a pattern, a file or the configuration is wrong.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, CommandFailure> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let page = match text("action").unwrap_or_default() {
        "new" => make_token(&outline(matches)?, text("out"))?,
        "hash" => Zeroizing::new(format!("{}\n", hash_text(&given_token(matches)?))),
        "explain" => {
            let resolved = ResolvedSettings::read(&setting_inputs(matches))?;
            Zeroizing::new(explain(&resolved, &given_token(matches)?, text("topic"))?)
        }
        "key" => Zeroizing::new(format!("{}\n", *draw_key()?)),
        "url" => Zeroizing::new(format!("{}\n", signed_url(matches)?)),
        other => {
            let words = format!("unknown action {}; it is new, hash, explain, key or url", shown(other));
            return Err(CommandFailure::Usage(words));
        }
    };
    print(&page).map(|()| ExitCode::SUCCESS)
}

fn outline(matches: &ArgMatches) -> Result<TokenOutline, CommandFailure> {
    let patterns = |name: &str| -> Result<Vec<String>, CommandFailure> {
        let texts: Vec<String> = matches.get_many(name).unwrap_or_default().cloned().collect();
        for text in &texts {
            TopicPattern::parse(text)
                .map_err(|rule| CommandFailure::Usage(format!("--{name} {}: must be {rule}", shown(text))))?;
        }
        Ok(texts)
    };
    let outline = TokenOutline {
        name: matches.get_one::<String>("name").cloned().unwrap_or_default(),
        subscribe: patterns("subscribe")?,
        publish: patterns("publish")?,
    };
    if outline.subscribe.is_empty() && outline.publish.is_empty() {
        let words = "the token would open no topic; name some with --subscribe or --publish";
        return Err(CommandFailure::Usage(words.to_owned()));
    }
    Ok(outline)
}

fn make_token(outline: &TokenOutline, out: Option<&str>) -> Result<Zeroizing<String>, CommandFailure> {
    let token = draw_token()?;
    let table = token_table(outline, &hash_text(&token));
    let Some(path) = out else {
        return Ok(Zeroizing::new(format!("# the token, which is shown only now: {}\n{table}", *token)));
    };
    let unwritable =
        |error: io::Error| CommandFailure::Run(format!("cannot write --out {}: {error}", shown(path)));
    let mut options = std::fs::OpenOptions::new();
    // A file that is there may be a token in use.
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(unwritable)?;
    file.write_all(token.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(unwritable)?;
    Ok(Zeroizing::new(table))
}

/// Signs a URL with the first key that the settings name.
fn signed_url(matches: &ArgMatches) -> Result<String, CommandFailure> {
    let usage = |words: &str| CommandFailure::Usage(words.to_owned());
    let resolved = ResolvedSettings::read(&setting_inputs(matches))?;
    let rules = load_access(&resolved, PipeWait::Allowed)?;
    let key = rules.signing_keys.first().ok_or(usage("the settings name no signing_key_file"))?;
    let topics: Vec<&String> = matches.get_many("topic").unwrap_or_default().collect();
    if topics.is_empty() {
        return Err(usage("name the topics of the URL with --topic"));
    }
    let seconds = *matches.get_one::<u64>("expires-seconds").expect("has a default");
    let expires = (unix_ms() / 1_000).saturating_add(seconds).to_string();
    let mut parameters: Vec<(&str, &str)> = topics.iter().map(|topic| ("topic", topic.as_str())).collect();
    parameters.push(("expires", &expires));
    let signature = key.sign("/events", &parameters);
    parameters.push(("signature", &signature));
    let query = parameters.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value)));
    let base = matches.get_one::<String>("url").map_or("", |url| url.trim_end_matches('/'));
    Ok(format!("{base}/events?{}", query.collect::<Vec<_>>().join("&")))
}

/// Returns the time of day in Unix milliseconds.
fn unix_ms() -> u64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

fn given_token(matches: &ArgMatches) -> Result<Zeroizing<String>, CommandFailure> {
    match matches.get_one::<String>("token-file") {
        Some(path) => read_token(path),
        None => read_stdin(),
    }
}

/// Reads a credential as `--explain` names it: itself, `@FILE`, or `-` for standard input.
///
/// # Errors
/// When a file or standard input holds none.
pub(crate) fn read_credential(named: &str) -> Result<Zeroizing<String>, CommandFailure> {
    match named.strip_prefix('@') {
        Some(path) => read_token(path),
        None if named == "-" => read_stdin(),
        None => Ok(Zeroizing::new(named.to_owned())),
    }
}

fn read_stdin() -> Result<Zeroizing<String>, CommandFailure> {
    let mut text = Zeroizing::new(String::with_capacity(STDIN_TOKEN_BYTES_MAX as usize));
    let read = io::stdin().take(STDIN_TOKEN_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| CommandFailure::Run(format!("cannot read standard input: {error}")))?;
    match text.trim() {
        "" => Err(CommandFailure::Usage("standard input holds no token".to_owned())),
        token => Ok(Zeroizing::new(token.to_owned())),
    }
}

/// Says what a credential is, or what it opens of one topic.
///
/// # Errors
/// When a key file cannot be read, or no topic has that name.
pub(crate) fn explain(
    resolved: &ResolvedSettings,
    credential: &str,
    topic: Option<&str>,
) -> Result<String, CommandFailure> {
    let rules = load_access(resolved, PipeWait::Allowed)?;
    match topic {
        Some(topic) => {
            topic_as_text(&rules, resolved, credential, topic, unix_ms()).map_err(CommandFailure::Usage)
        }
        None => Ok(owner_as_text(&rules, resolved, credential, unix_ms())),
    }
}
