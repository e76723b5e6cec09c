//! `fanwheel subscribe`: its flags, as the options of the client that subscribes.

use std::ops::RangeInclusive;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::base::failure::CommandFailure;
use crate::cli::grammar::{
    ca_file, chosen_token_file, header, number, number_within, option, switch, token_file,
};
use crate::client::event_text::EventFormat;
use crate::client::subscribe::{self, SubscribeOptions};
use crate::host::output::exit_when_reader_leaves;

/// Milliseconds that an answer may wait: the server's bound, and a pause between empty answers.
const POLL_MS: RangeInclusive<u64> = 100..=60_000;

const EXAMPLES: &str = "\
Goes on after a cut where it was, and ends when its output is closed.

  fanwheel subscribe news
  fanwheel subscribe --last 10 --json news orders | jq .data
  fanwheel subscribe --raw --count 1 news
  fanwheel subscribe --pattern 'orders.*'
  fanwheel subscribe --snapshot prices       # the state, then changes
  fanwheel subscribe --wait-ms 25s news      # where the network holds streams back
  fanwheel subscribe --url https://push.example --token-file token news";

/// Returns the subcommand's grammar.
pub(crate) fn command() -> Command {
    Command::new("subscribe")
        .about("Prints the events of topics as they come, and resumes after a cut")
        .after_help(EXAMPLES)
        .arg(
            Arg::new("topic")
                .value_name("TOPIC")
                .required_unless_present("pattern")
                .action(ArgAction::Append)
                .num_args(1..)
                .value_hint(ValueHint::Other)
                .help("the topics"),
        )
        .arg(
            option("url", "URL", "public listener; unix:/path for a socket file")
                .default_value("http://127.0.0.1:8080"),
        )
        .arg(header())
        .arg(token_file())
        .arg(ca_file())
        .arg(
            option("pattern", "PATTERN", "all topics whose names match, as in prices.* (repeatable)")
                .action(ArgAction::Append),
        )
        .arg(option("event", "NAME", "only events of this name (repeatable)").action(ArgAction::Append))
        .arg(number("last", 1, "start with the newest N kept events"))
        .arg(switch("snapshot", "start with the newest event of each topic, or of each key"))
        .arg(option("last-event-id", "ID", "start after this event"))
        .arg(number_within(
            "wait-ms",
            POLL_MS,
            "ask for one answer at a time, each with the events of at most so long",
        ))
        .arg(number("count", 1, "end after N events"))
        .arg(switch("json", "one JSON object a line: id, event, data").conflicts_with("raw"))
        .arg(switch("raw", "print only the data, as it is, terminal commands included"))
}

/// Subscribes as the flags say.
///
/// # Errors
/// When the server cannot be reached from the start, or refuses for good.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, CommandFailure> {
    exit_when_reader_leaves();
    subscribe::print_events(options(matches)).map(|()| ExitCode::SUCCESS)
}

fn options(matches: &ArgMatches) -> SubscribeOptions {
    let texts = |name: &str| matches.get_many::<String>(name).unwrap_or_default().cloned().collect();
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    SubscribeOptions {
        url: text("url").expect("has a default"),
        headers: texts("header"),
        token_file: chosen_token_file(matches),
        ca_file: text("ca-file"),
        topics: texts("topic"),
        patterns: texts("pattern"),
        events: texts("event"),
        last: number("last"),
        snapshot: matches.get_flag("snapshot"),
        last_event_id: text("last-event-id").unwrap_or_default(),
        wait_ms: number("wait-ms"),
        count: number("count"),
        form: match (matches.get_flag("json"), matches.get_flag("raw")) {
            (true, _) => EventFormat::Json,
            (_, true) => EventFormat::Raw,
            _ => EventFormat::Plain,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_reaches_its_option() {
        let line = "subscribe a b --url http://c -H f:1 --token-file t \
                    --ca-file g --pattern x.* --pattern y --event d --event e --last 2 --snapshot \
                    --last-event-id 1-0 --wait-ms 500 --count 3 --raw";
        let texts = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        let expected = SubscribeOptions {
            url: "http://c".to_owned(),
            headers: vec!["f:1".to_owned()],
            token_file: Some("t".to_owned()),
            ca_file: Some("g".to_owned()),
            topics: texts(["a", "b"]),
            patterns: texts(["x.*", "y"]),
            events: texts(["d", "e"]),
            last: Some(2),
            snapshot: true,
            last_event_id: "1-0".to_owned(),
            wait_ms: Some(500),
            count: Some(3),
            form: EventFormat::Raw,
        };
        assert_eq!(options(&command().get_matches_from(line.split(' '))), expected);
        assert!(command().try_get_matches_from(["subscribe"]).is_err(), "a topic or a pattern");
        assert!(command().try_get_matches_from(["subscribe", "--pattern", "a.*"]).is_ok());
        let form =
            |flags: &[&str]| options(&command().get_matches_from([&["subscribe", "a"], flags].concat())).form;
        assert_eq!((form(&[]), form(&["--json"])), (EventFormat::Plain, EventFormat::Json));
    }
}
