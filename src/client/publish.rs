//! `fanwheel publish`: one event, or one a line of standard input. Prints the id of each.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::ArgMatches;
use serde_json::Value;
use ureq::Agent;

use crate::base::failure::Failure;
use crate::base::limits::{PUBLISH_BYTES_MAX, PUBLISH_SILENCE};
use crate::base::logfmt::Plain;
use crate::client::http::{Base, agent, refusal, unreachable_at};

/// What to publish to.
struct Post<'a> {
    agent: Agent,
    address: String,
    idempotency_key: Option<&'a str>,
}

/// Publishes.
///
/// # Errors
/// When the server cannot be reached or refuses; the line has the server's message.
pub fn run(matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let base = Base::new(text("url").unwrap_or_default())?;
    let retry_ms = matches.get_one::<u64>("retry-ms").map(u64::to_string);
    let query = [
        ("topic", text("topic")),
        ("event", text("event")),
        ("key", text("key")),
        ("retry", retry_ms.as_deref()),
    ];
    let query: Vec<(&str, &str)> =
        query.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    let post = Post {
        agent: agent(PUBLISH_SILENCE),
        address: base.with("/publish", &query),
        idempotency_key: text("idempotency-key"),
    };
    match text("data") {
        Some(data) => post.send(data.as_bytes(), post.idempotency_key),
        None => {
            if io::stdin().is_terminal() {
                // Who forgot the payload would else wait for a program that waits for them.
                let _ = writeln!(io::stderr(), "fanwheel: each line you type is one event; Ctrl-D ends");
            }
            post.lines(&mut io::stdin().lock())
        }
    }
    .map(|()| ExitCode::SUCCESS)
}

impl Post<'_> {
    fn lines(&self, input: &mut impl BufRead) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = input.by_ref().take(PUBLISH_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
            let bytes = read.map_err(|error| Failure::Run(format!("cannot read standard input: {error}")))?;
            if bytes == 0 {
                break;
            }
            if bytes > PUBLISH_BYTES_MAX {
                return Err(Failure::Run(format!("line {number} is longer than {PUBLISH_BYTES_MAX} bytes")));
            }
            // A repeat of the whole command then publishes only the lines that were not published before.
            let key = self.idempotency_key.map(|key| format!("{key}-{number}"));
            self.send(without_line_end(&line), key.as_deref()).map_err(|failure| match failure {
                Failure::Run(words) => Failure::Run(format!("line {number}: {words}")),
                failure => failure,
            })?;
        }
        Ok(())
    }

    fn send(&self, data: &[u8], idempotency_key: Option<&str>) -> Result<(), Failure> {
        let mut request = self.agent.post(&self.address).content_type("text/plain; charset=utf-8");
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let mut response = request.send(data).map_err(|error| match error {
            ureq::Error::Http(_) => Failure::Usage("--idempotency-key must be plain ASCII text".to_owned()),
            error => unreachable_at(&self.address, &error),
        })?;
        if !response.status().is_success() {
            let refusal = refusal(response);
            return Err(Failure::Run(format!("refused with {}: {}", refusal.status, refusal.words)));
        }
        let answer = response.body_mut().read_to_string().unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let id = answer.get("id").and_then(Value::as_str);
        let id = id.ok_or_else(|| Failure::Run("the answer holds no id: is this fanwheel?".to_owned()))?;
        // The event is published; whoever closed standard output does not want the id.
        let _ = writeln!(io::stdout(), "{}", Plain(id));
        Ok(())
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_loses_its_end_and_nothing_else() {
        let rows: &[(&[u8], &[u8])] = &[
            (b"a\n", b"a"),
            (b"a\r\n", b"a"),
            (b"a", b"a"),
            (b"\n", b""),
            (b" a \r\r\n", b" a \r"),
            (b"\n\n", b"\n"),
        ];
        for (line, expected) in rows {
            assert_eq!(without_line_end(line), *expected);
        }
    }
}
