//! `fanwheel subscribe`: prints events as they come and resumes after a cut.
//!
//! | event | reaction |
//! | --- | --- |
//! | the answer to a poll is whole | asks for the next one at once |
//! | the stream ends or breaks | comes back after the server's `retry:`, with the last event id |
//! | 429, 5xx, or no connection after there was one | waits for `Retry-After`, else longer each time |
//! | no connection from the start, any other status | ends with one line |

use std::io::{self, IsTerminal, Read, Write};
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use ureq::http::HeaderValue;
use ureq::{Agent, BodyReader};

use crate::base::failure::CommandFailure;
use crate::base::limits::{MIB, PUBLISH_BYTES_MAX};
use crate::base::logfmt::EscapedText;
use crate::base::prng::Prng;
use crate::client::event_text::{EventFormat, append_event};
use crate::client::http::{RequestFields, ServerUrl, http_agent, read_refusal, unreachable_failure};
use crate::host::output::{printed, write_out};
use crate::host::seed::random_seed;
use crate::wire::sse::SseParser;

/// Longest wait of `subscribe` without a byte: six heartbeats of the default; a stream silent for longer is
/// taken for cut.
const SUBSCRIBE_SILENCE: Duration = Duration::from_secs(90);
/// Milliseconds before `subscribe` comes back, whatever the server names.
const SUBSCRIBE_WAIT_MS: RangeInclusive<u64> = 50..=3_600_000;
/// Longest of its waits, milliseconds, while the server refuses.
const SUBSCRIBE_BACKOFF_MS_MAX: u64 = 30_000;
/// Per cent by which a wait is longer, so that clients cut together do not come back together, and none
/// earlier than the server asked for.
const SUBSCRIBE_JITTER_PERCENT: u64 = 20;
/// Bytes of one event that it takes: the largest body with every line a data line of its own.
const SUBSCRIBE_EVENT_BYTES_MAX: usize = 512 * MIB;
const _: () =
    assert!(PUBLISH_BYTES_MAX * 8 <= SUBSCRIBE_EVENT_BYTES_MAX, "`data: x` and a line end for each byte");

/// Reconnection time until the server names one.
const RETRY_MS: u64 = 2_000;
/// Events about the stream itself, which `--count` does not count. Events of the server's own topics count.
const UNCOUNTED: [&[u8]; 2] = [b"fanwheel.gap", b"fanwheel.snapshot-end"];

/// One subscription and how to print it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscribeOptions {
    /// The public listener, in a form of [`ServerUrl`].
    pub(crate) url: String,
    /// Fields to add to each request, as `NAME: VALUE`.
    pub(crate) headers: Vec<String>,
    /// A file with the token to send.
    pub(crate) token_file: Option<String>,
    /// A file of certificates to trust in place of the system's.
    pub(crate) ca_file: Option<String>,
    /// The topics to subscribe to. At least one, or a pattern.
    pub(crate) topics: Vec<String>,
    /// Patterns of further topics.
    pub(crate) patterns: Vec<String>,
    /// The names of events to receive; none means all.
    pub(crate) events: Vec<String>,
    /// How many kept events to start with.
    pub(crate) last: Option<u64>,
    /// Whether to start with the state of the topics.
    pub(crate) snapshot: bool,
    /// The event to start after; empty for none.
    pub(crate) last_event_id: String,
    /// Milliseconds that one answer at a time may wait for its events; none means a stream.
    pub(crate) wait_ms: Option<u64>,
    /// How many events to print before the end; none means no end.
    pub(crate) count: Option<u64>,
    /// The form in which events are printed.
    pub(crate) form: EventFormat,
}

/// Subscribes until `count` events have come, the output is closed or the server says no.
///
/// # Errors
/// When the server cannot be reached from the start, or refuses for good.
pub(crate) fn print_events(options: SubscribeOptions) -> Result<(), CommandFailure> {
    let mut client = EventSubscriber::new(options)?;
    let mut prng = Prng::new(random_seed());
    loop {
        let (what, wait_ms) = match client.follow_stream()? {
            ConnectionEnd::Done => return Ok(()),
            ConnectionEnd::Answered => {
                client.refusals = 0;
                continue;
            }
            ConnectionEnd::Ended => client.come_back("the stream has ended".to_owned()),
            ConnectionEnd::Cut(why) => client.come_back(why),
            ConnectionEnd::Refused { why, retry_after_ms } => {
                let grown =
                    client.retry_ms.saturating_mul(1 << client.refusals).min(SUBSCRIBE_BACKOFF_MS_MAX);
                client.refusals = (client.refusals + 1).min(16);
                (why, retry_after_ms.unwrap_or(grown.max(client.retry_ms)))
            }
        };
        let wait_ms = wait_ms.clamp(*SUBSCRIBE_WAIT_MS.start(), *SUBSCRIBE_WAIT_MS.end());
        let wait_ms = wait_ms + prng.below(wait_ms * SUBSCRIBE_JITTER_PERCENT / 100);
        let from = if client.last_event_id.is_empty() { "now" } else { &client.last_event_id };
        // Standard error may be closed; the events matter, not the news about them.
        let _ = writeln!(
            io::stderr(),
            "fanwheel: {}; going on after {} in {wait_ms} ms",
            EscapedText(&what),
            EscapedText(from)
        );
        thread::sleep(Duration::from_millis(wait_ms));
    }
}

/// The way in which one connection ended.
enum ConnectionEnd {
    /// All that was asked for has been printed, or nobody reads on.
    Done,
    /// It was no stream but an answer, which is whole.
    Answered,
    /// The server has ended the stream.
    Ended,
    /// The stream was cut; with the reason.
    Cut(String),
    /// The server does not want this client now.
    Refused { why: String, retry_after_ms: Option<u64> },
}

struct EventSubscriber {
    agent: Agent,
    base: ServerUrl,
    fields: RequestFields,
    topics: Vec<String>,
    patterns: Vec<String>,
    events: Vec<String>,
    last: Option<u64>,
    snapshot: bool,
    last_event_id: String,
    wait_ms: Option<u64>,
    left: Option<u64>,
    form: EventFormat,
    retry_ms: u64,
    refusals: u32,
    was_connected: bool,
    /// Whether an id has come. Until then a new connection asks for the newest events again.
    has_own_id: bool,
}

impl EventSubscriber {
    fn new(options: SubscribeOptions) -> Result<EventSubscriber, CommandFailure> {
        let SubscribeOptions {
            url,
            headers,
            token_file,
            ca_file,
            topics,
            patterns,
            events,
            last,
            snapshot,
            last_event_id,
            wait_ms,
            count,
            form,
        } = options;
        if HeaderValue::from_str(&last_event_id).is_err() {
            return Err(CommandFailure::Usage("--last-event-id must be plain ASCII text".to_owned()));
        }
        let base = ServerUrl::new(&url)?;
        Ok(EventSubscriber {
            agent: http_agent(&base, SUBSCRIBE_SILENCE, ca_file.as_deref())?,
            base,
            fields: RequestFields::new(&headers, token_file.as_deref())?,
            topics,
            patterns,
            events,
            last,
            snapshot,
            last_event_id,
            wait_ms,
            left: count,
            form,
            retry_ms: RETRY_MS,
            refusals: 0,
            was_connected: false,
            has_own_id: false,
        })
    }

    /// Notes that there was a stream. Returns its end and the wait for the next one.
    fn come_back(&mut self, why: String) -> (String, u64) {
        self.refusals = 0;
        (why, self.retry_ms)
    }

    fn address(&self) -> String {
        let last = self.last.filter(|_| !self.has_own_id).map(|last| last.to_string());
        let topics = self.topics.iter().map(|topic| ("topic", topic.as_str()));
        let patterns = self.patterns.iter().map(|pattern| ("pattern", pattern.as_str()));
        let events = self.events.iter().map(|event| ("event", event.as_str()));
        // A cut before the first event then loses nothing.
        let prime = [("prime", "1")];
        let wait_ms = self.wait_ms.map(|wait_ms| wait_ms.to_string());
        let snapshot = self.snapshot.then_some("1");
        let options = [("last", last.as_deref()), ("snapshot", snapshot), ("wait_ms", wait_ms.as_deref())];
        let options = options.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query: Vec<(&str, &str)> =
            topics.chain(patterns).chain(events).chain(prime).chain(options).collect();
        self.base.url_with_query("/events", &query)
    }

    fn follow_stream(&mut self) -> Result<ConnectionEnd, CommandFailure> {
        let request = self.agent.get(self.address()).header("Accept", "text/event-stream");
        let mut request = self.fields.add_to(request);
        if !self.last_event_id.is_empty() {
            request = request.header("Last-Event-ID", &self.last_event_id);
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) if self.was_connected => {
                return Ok(ConnectionEnd::Refused {
                    why: format!("cannot connect: {error}"),
                    retry_after_ms: None,
                });
            }
            Err(error) => return Err(unreachable_failure(&self.base, &error)),
        };
        let status = response.status().as_u16();
        if status != 200 {
            let refusal = read_refusal(response);
            let why = format!("refused with {status}: {}", refusal.words);
            if status != 429 && status < 500 {
                return Err(CommandFailure::Run(why));
            }
            self.was_connected = true;
            let retry_after_ms = refusal.retry_after_s.map(|seconds| seconds.saturating_mul(1_000));
            return Ok(ConnectionEnd::Refused { why, retry_after_ms });
        }
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|text| text.trim_start().starts_with("text/event-stream")) {
            return Err(CommandFailure::Run("the answer is no event stream: is this fanwheel?".to_owned()));
        }
        if !self.was_connected && io::stderr().is_terminal() {
            // A stream may be quiet for long, which at a terminal looks like a program that hangs.
            let _ = writeln!(io::stderr(), "fanwheel: subscribed; events follow as they come, Ctrl-C ends");
        }
        self.was_connected = true;
        let has_length = response.headers().contains_key("content-length");
        let end = self.print_stream(response.into_body().into_reader())?;
        Ok(if has_length && matches!(end, ConnectionEnd::Ended) { ConnectionEnd::Answered } else { end })
    }

    fn print_stream(&mut self, mut stream: BodyReader<'static>) -> Result<ConnectionEnd, CommandFailure> {
        let mut parser = SseParser::new(SUBSCRIBE_EVENT_BYTES_MAX);
        let mut buffer = vec![0; 64 * 1_024];
        let mut page = Vec::new();
        loop {
            let bytes = match stream.read(&mut buffer) {
                Ok(0) => return Ok(ConnectionEnd::Ended),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(ConnectionEnd::Cut(format!("the stream was cut: {error}"))),
            };
            page.clear();
            let (form, left) = (self.form, &mut self.left);
            let fed = parser.feed(&buffer[..bytes], |event| {
                if *left == Some(0) {
                    return;
                }
                append_event(&mut page, &event, form);
                if let Some(left) = left.as_mut().filter(|_| !UNCOUNTED.contains(&event.name)) {
                    *left -= 1;
                }
            });
            self.retry_ms = parser.retry_ms().unwrap_or(self.retry_ms);
            // Blocks that hold an id alone count, too.
            if !parser.last_event_id().is_empty() {
                self.last_event_id = String::from_utf8_lossy(parser.last_event_id()).into_owned();
                self.has_own_id = true;
            }
            let wanted = printed(write_out(&page))?;
            if !wanted || self.left == Some(0) {
                return Ok(ConnectionEnd::Done);
            }
            if fed.is_err() {
                return Err(CommandFailure::Run(format!(
                    "an event is longer than {SUBSCRIBE_EVENT_BYTES_MAX} bytes"
                )));
            }
        }
    }
}
