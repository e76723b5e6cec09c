//! `fanwheel publish`: one event, or one a line of standard input. Prints the id of each.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use serde_json::Value;
use ureq::Agent;

use crate::base::failure::CommandFailure;
use crate::base::limits::PUBLISH_BYTES_MAX;
use crate::base::logfmt::EscapedText;
use crate::client::http::{RequestFields, ServerUrl, http_agent, read_refusal, unreachable_failure};
use std::time::Duration;

/// Longest wait of `publish` without a byte: a server that accepted a body and then says nothing for so long
/// has lost it.
const PUBLISH_SILENCE: Duration = Duration::from_secs(30);

/// One publish, or one for each line of standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishOptions {
    /// The control listener, in a form of [`ServerUrl`].
    pub(crate) url: String,
    /// Fields to add to each request, as `NAME: VALUE`.
    pub(crate) headers: Vec<String>,
    /// A file with the token to send.
    pub(crate) token_file: Option<String>,
    /// A file of certificates to trust in place of the system's.
    pub(crate) ca_file: Option<String>,
    /// The topic to publish to.
    pub(crate) topic: String,
    /// The payload; without it each line of standard input is an event.
    pub(crate) data: Option<String>,
    /// The name of the event, if it has one.
    pub(crate) event: Option<String>,
    /// The key under which the newest event replaces older ones.
    pub(crate) key: Option<String>,
    /// The reconnection time to send with the event.
    pub(crate) retry_ms: Option<u64>,
    /// The age from which nobody gets the event any more.
    pub(crate) ttl_ms: Option<u64>,
    /// The `Idempotency-Key`; lines of standard input append their number to it.
    pub(crate) idempotency_key: Option<String>,
}

struct EventPublisher<'a> {
    agent: Agent,
    base: ServerUrl,
    address: String,
    fields: RequestFields,
    idempotency_key: Option<&'a str>,
}

/// Publishes and prints the id of each event.
///
/// # Errors
/// When the server cannot be reached or refuses; the line has the server's message.
pub(crate) fn publish_events(options: &PublishOptions) -> Result<(), CommandFailure> {
    let base = ServerUrl::new(&options.url)?;
    let [retry_ms, ttl_ms] = [options.retry_ms, options.ttl_ms].map(|ms| ms.map(|ms| ms.to_string()));
    let query = [
        ("topic", Some(options.topic.as_str())),
        ("event", options.event.as_deref()),
        ("key", options.key.as_deref()),
        ("retry", retry_ms.as_deref()),
        ("ttl_ms", ttl_ms.as_deref()),
    ];
    let query: Vec<(&str, &str)> =
        query.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
    let post = EventPublisher {
        agent: http_agent(&base, PUBLISH_SILENCE, options.ca_file.as_deref())?,
        fields: RequestFields::new(&options.headers, options.token_file.as_deref())?,
        address: base.url_with_query("/publish", &query),
        idempotency_key: options.idempotency_key.as_deref(),
        base,
    };
    match &options.data {
        Some(data) => post.publish_one(data.as_bytes(), post.idempotency_key),
        None => {
            if io::stdin().is_terminal() {
                // Without this line a forgotten payload looks like a program that hangs.
                let _ = writeln!(io::stderr(), "fanwheel: each line you type is one event; Ctrl-D ends");
            }
            post.publish_lines(&mut io::stdin().lock())
        }
    }
}

impl EventPublisher<'_> {
    fn publish_lines(&self, input: &mut impl BufRead) -> Result<(), CommandFailure> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read = input.by_ref().take(PUBLISH_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
            let bytes =
                read.map_err(|error| CommandFailure::Run(format!("cannot read standard input: {error}")))?;
            if bytes == 0 {
                break;
            }
            if bytes > PUBLISH_BYTES_MAX {
                return Err(CommandFailure::Run(format!(
                    "line {number} is longer than {PUBLISH_BYTES_MAX} bytes"
                )));
            }
            // A repeat of the whole command then publishes only the lines that were not published before.
            let key = self.idempotency_key.map(|key| format!("{key}-{number}"));
            self.publish_one(without_line_end(&line), key.as_deref()).map_err(|failure| match failure {
                CommandFailure::Run(words) => CommandFailure::Run(format!("line {number}: {words}")),
                failure => failure,
            })?;
        }
        Ok(())
    }

    fn publish_one(&self, data: &[u8], idempotency_key: Option<&str>) -> Result<(), CommandFailure> {
        let request = self.agent.post(&self.address).content_type("text/plain; charset=utf-8");
        let mut request = self.fields.add_to(request);
        if let Some(key) = idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        let mut response = request.send(data).map_err(|error| match error {
            ureq::Error::Http(_) => {
                CommandFailure::Usage("--idempotency-key must be plain ASCII text".to_owned())
            }
            error => unreachable_failure(&self.base, &error),
        })?;
        if !response.status().is_success() {
            let refusal = read_refusal(response);
            return Err(CommandFailure::Run(format!("refused with {}: {}", refusal.status, refusal.words)));
        }
        let answer = response.body_mut().read_to_string().unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let id = answer.get("id").and_then(Value::as_str);
        let id =
            id.ok_or_else(|| CommandFailure::Run("the answer holds no id: is this fanwheel?".to_owned()))?;
        // The event is published; a closed standard output means that nobody wants the id.
        let _ = writeln!(io::stdout(), "{}", EscapedText(id));
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
