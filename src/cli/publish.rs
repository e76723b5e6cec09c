//! `fanwheel publish`: its flags, as the options of the client that publishes.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, ValueHint};

use crate::base::failure::CommandFailure;
use crate::cli::grammar::{ca_file, chosen_token_file, header, number, option, token_file};
use crate::client::publish::{self, PublishOptions};

const EXAMPLES: &str = "\
Data that begins with a dash stands behind --.

  fanwheel publish news hello
  fanwheel publish --event likes --key post-7 news '{\"likes\":3}'
  tail -f app.log | fanwheel publish log
  fanwheel publish --url unix:/run/fanwheel/control.sock news hello
  fanwheel publish --url https://push.example --token-file token news hello";

/// Returns the subcommand's grammar.
pub(crate) fn command() -> Command {
    Command::new("publish")
        .about("Publishes one event, or one a line of standard input, and prints the ids")
        .after_help(EXAMPLES)
        .arg(
            Arg::new("topic")
                .value_name("TOPIC")
                .required(true)
                .value_hint(ValueHint::Other)
                .help("the topic"),
        )
        .arg(
            Arg::new("data")
                .value_name("DATA")
                .allow_negative_numbers(true)
                .value_hint(ValueHint::Other)
                .help("the payload; absent or -: each line of standard input is one event"),
        )
        .arg(
            option("url", "URL", "control listener; unix:/path for a socket file")
                .default_value("http://127.0.0.1:8081"),
        )
        .arg(header())
        .arg(token_file())
        .arg(ca_file())
        .arg(option("event", "NAME", "name of the event"))
        .arg(option("key", "KEY", "key for subscribers that want only the latest event of each key"))
        .arg(number("retry-ms", 1, "reconnection time to send with the event"))
        .arg(number("ttl-ms", 1, "age from which nobody gets the event any more"))
        .arg(option(
            "idempotency-key",
            "KEY",
            "a repeat with the same key publishes nothing; lines of standard input get -1, -2... behind it",
        ))
}

/// Publishes as the flags say.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, CommandFailure> {
    publish::publish_events(&options(matches)).map(|()| ExitCode::SUCCESS)
}

fn options(matches: &ArgMatches) -> PublishOptions {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    PublishOptions {
        url: text("url").expect("has a default"),
        headers: matches.get_many::<String>("header").unwrap_or_default().cloned().collect(),
        token_file: chosen_token_file(matches),
        ca_file: text("ca-file"),
        topic: text("topic").expect("is required"),
        data: text("data").filter(|data| data != "-"),
        event: text("event"),
        key: text("key"),
        retry_ms: matches.get_one::<u64>("retry-ms").copied(),
        ttl_ms: matches.get_one::<u64>("ttl-ms").copied(),
        idempotency_key: text("idempotency-key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_reaches_its_option() {
        let line = "publish news -7 --url http://a --header f:1 --token-file t \
                    --ca-file g --event b --key c --retry-ms 5 --ttl-ms 9 \
                    --idempotency-key d";
        let text = |text: &str| Some(text.to_owned());
        let expected = PublishOptions {
            url: "http://a".to_owned(),
            headers: vec!["f:1".to_owned()],
            token_file: text("t"),
            ca_file: text("g"),
            topic: "news".to_owned(),
            data: text("-7"),
            event: text("b"),
            key: text("c"),
            retry_ms: Some(5),
            ttl_ms: Some(9),
            idempotency_key: text("d"),
        };
        assert_eq!(options(&command().get_matches_from(line.split(' '))), expected);
        let bare = options(&command().get_matches_from(["publish", "news"]));
        assert_eq!((bare.url.as_str(), bare.data), ("http://127.0.0.1:8081", None));
        assert_eq!(options(&command().get_matches_from(["publish", "news", "-"])).data, None);
    }
}
