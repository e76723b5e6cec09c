//! The parameters of `GET /events`, checked and turned into a [`SubscribeRequest`].
//!
//! Owns the defaults of a subscription and the question at which event it begins. Never sees a topic's state
//! or a connection.

use std::borrow::Cow;

use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::base::listener::ListenerKind;
use crate::base::number_text::parse_decimal;
use crate::base::topic::TopicPattern;
use crate::wire::auth::access::CredentialOwner;
use crate::wire::frame::FrameForm;
use crate::wire::head::Head;
use crate::wire::parameters::{parse_checked, push_topic, set_once};
use crate::wire::policy::ListenerPolicy;
use crate::wire::problem::Problem;
use crate::wire::query::{pairs, utf8_text};
use crate::wire::rules;

/// Event names that one subscriber may filter by: each is compared with each event.
const EVENT_FILTERS_MAX: usize = 32;
/// Bytes of a foreign `Last-Event-ID` that are told back in a gap event.
const LAST_EVENT_ID_TEXT_BYTES_MAX: usize = 128;

/// Kept events that `last=N` may ask for: their beginning is looked for one by one, under the hub's lock.
const LAST_EVENTS_MAX: usize = 1_000;
/// Milliseconds that a long poll may wait: proxies cut requests without an answer after 60 s and more.
const WAIT_MS_MAX: u64 = 60_000;

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamStart {
    /// With the events that come from now on.
    Now,
    /// With the newest so many kept events; at least 1.
    Newest(usize),
    /// With the newest kept event of each topic, or of each key; then the newest so many events as changes.
    Snapshot {
        /// Events that come as changes, behind the snapshot's end.
        changes: usize,
    },
    /// After the event of this id.
    After(EventId),
    /// After an id that is not ours, or several ids: told as a gap. The text, for the gap event, is cut to
    /// `LAST_EVENT_ID_TEXT_BYTES_MAX`.
    Unknown(String),
}

/// A subscription, as `GET /events` asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// Topics by name; order kept, duplicates dropped. At least one, or a pattern.
    pub topics: Vec<Box<str>>,
    /// Patterns of further topics; order kept, duplicates dropped.
    pub patterns: Vec<TopicPattern>,
    /// Only events of these names; empty for all. An event without a name counts as `message`.
    pub(crate) events: Vec<Box<str>>,
    /// Position where the stream begins.
    pub(crate) start: StreamStart,
    /// `clock=1`: the stream begins with the server's time.
    pub(crate) clock: bool,
    /// `buffered=1`: proxies are not asked to pass the stream on unbuffered, so that the doctor sees how
    /// they treat it by themselves.
    pub(crate) buffered: bool,
    /// Form of the stream's frames, by the version of HTTP.
    pub(crate) form: FrameForm,
    /// An EventSource, which a status other than 200 would silence for good.
    pub(crate) event_source: bool,
    /// The client is told its position, by blocks that hold an id alone.
    pub(crate) prime: bool,
    /// `snapshot=1`: an event tells where the state ends that the stream begins with.
    pub(crate) snapshot: bool,
    /// `wait_ms=N`: instead of a stream one answer, with the first events of at most so many milliseconds.
    pub(crate) wait_ms: Option<u64>,
    /// Owner of the credential that has let it in.
    pub(crate) access: Option<CredentialOwner>,
}

impl SubscribeRequest {
    /// Returns its nth topic, or of its patterns the text of the one behind that many topics.
    pub(crate) fn channel(&self, nth: usize) -> &str {
        match self.topics.get(nth) {
            Some(topic) => topic,
            None => self.patterns[nth - self.topics.len()].text(),
        }
    }
}

/// Returns the form in which the frames of a stream go out to the client with this head.
pub(crate) fn stream_form(head: &Head<'_>) -> FrameForm {
    if head.http11 { FrameForm::Chunk } else { FrameForm::Bare }
}

/// Reads a subscription from its query and its fields.
pub(crate) fn parse_subscribe(head: &Head<'_>, policy: &ListenerPolicy) -> Result<SubscribeRequest, Problem> {
    if !head.fields.accept.takes_event_stream() {
        return Err(Problem::NotAcceptable);
    }
    let (mut topics, mut patterns, mut events) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    let mut clock = None;
    let mut buffered = None;
    let mut prime = None;
    let mut wait_ms = None;
    let mut snapshot = None;
    let mut snake_id = ResumeIds::default();
    let mut camel_id = ResumeIds::default();
    let mut other_id = ResumeIds::default();
    for pair in pairs(head.query) {
        match &*pair.name {
            b"topic" => push_topic(&mut topics, &pair.value()?, policy.topics_per_connection_max)?,
            b"pattern" => push_pattern(&mut patterns, &pair.value()?, policy.patterns_per_connection_max)?,
            b"event" => push_filter(&mut events, &pair.value()?)?,
            b"last" => set_once(&mut last, "last", parse_last(&pair.value()?)?)?,
            b"clock" => set_once(&mut clock, "clock", parse_switch("clock", &pair.value()?)?)?,
            b"buffered" => set_once(&mut buffered, "buffered", parse_switch("buffered", &pair.value()?)?)?,
            b"prime" => set_once(&mut prime, "prime", parse_switch("prime", &pair.value()?)?)?,
            b"snapshot" => set_once(&mut snapshot, "snapshot", parse_switch("snapshot", &pair.value()?)?)?,
            b"wait_ms" => set_once(&mut wait_ms, "wait_ms", parse_wait(&pair.value()?)?)?,
            b"last_event_id" => snake_id.add(pair.value()?),
            b"lastEventId" => camel_id.add(pair.value()?),
            other if is_last_event_id(other) => other_id.add(pair.value()?),
            // Links carry parameters of others; nobody looks at their values.
            _ => {}
        }
    }
    if topics.is_empty() && patterns.is_empty() {
        return Err(Problem::NoTopic);
    }
    if policy.listener == ListenerKind::Public && topics.iter().any(|topic| rules::is_reserved_topic(topic)) {
        return Err(Problem::Refused(RefusalReason::ReservedTopic));
    }
    // On a reconnection the URL still says `last=`; where the client stopped counts more.
    let resumed = resume_from_header(head).or(snake_id).or(camel_id).or(other_id).start();
    let snapshot = snapshot.unwrap_or(false);
    let start = resumed.unwrap_or(match last.unwrap_or(0) {
        changes if snapshot => StreamStart::Snapshot { changes },
        0 => StreamStart::Now,
        newest => StreamStart::Newest(newest),
    });
    // Fetch makes both of the cache mode of an EventSource on every scheme (WHATWG HTML §9.2.2); clients made
    // of `fetch` name the type alone, and understand a 503.
    let event_source = head.fields.no_cache && head.fields.accept.names_event_stream();
    // Browsers dispatch nothing for a block without data. Other clients that look like an EventSource may
    // deliver an empty message, so they have to ask. Events of the server's own topics have no ids.
    let browser = event_source && head.fields.user_agent.is_some_and(|agent| agent.starts_with(b"Mozilla/"));
    let own_topics = topics.iter().any(|topic| rules::is_reserved_topic(topic));
    Ok(SubscribeRequest {
        topics,
        patterns,
        events,
        start,
        clock: clock.unwrap_or(false),
        buffered: buffered.unwrap_or(false),
        form: if wait_ms.is_some() { FrameForm::Bare } else { stream_form(head) },
        // A poll that is refused by a stream would look answered, and come again at once.
        event_source: event_source && wait_ms.is_none(),
        prime: prime.unwrap_or(browser && !own_topics),
        wait_ms,
        access: None,
        snapshot,
    })
}

/// Adds a pattern that is not there yet to a list of at most `patterns_max`; 0: none is taken.
fn push_pattern(patterns: &mut Vec<TopicPattern>, value: &[u8], patterns_max: usize) -> Result<(), Problem> {
    let name = "pattern";
    if patterns_max == 0 {
        return Err(Problem::BadParameter { name, rule: "is switched off here; name topics" });
    }
    let pattern = TopicPattern::parse(utf8_text(value)?).map_err(|rule| Problem::BadPattern { rule })?;
    if !patterns.contains(&pattern) {
        patterns.push(pattern);
    }
    if patterns.len() > patterns_max { Err(Problem::TooManyPatterns { patterns_max }) } else { Ok(()) }
}

fn push_filter(events: &mut Vec<Box<str>>, value: &[u8]) -> Result<(), Problem> {
    let name = parse_checked("event", value, rules::check_event)?;
    rules::push_unique(events, if name.is_empty() { rules::UNNAMED_EVENT } else { &name });
    const _: () = assert!(EVENT_FILTERS_MAX == 32, "text below");
    if events.len() > EVENT_FILTERS_MAX {
        return Err(Problem::BadParameter { name: "event", rule: "may be repeated at most 32 times" });
    }
    Ok(())
}

fn parse_last(value: &[u8]) -> Result<usize, Problem> {
    const _: () = assert!(LAST_EVENTS_MAX == 1_000, "text below");
    let wanted = parse_decimal(value).and_then(|wanted| usize::try_from(wanted).ok());
    let within = wanted.filter(|&wanted| wanted <= LAST_EVENTS_MAX);
    within.ok_or(Problem::BadParameter { name: "last", rule: "must be a whole number up to 1000" })
}

fn parse_wait(value: &[u8]) -> Result<u64, Problem> {
    const _: () = assert!(WAIT_MS_MAX == 60_000, "text below");
    let wait_ms = parse_decimal(value).filter(|&wait_ms| wait_ms <= WAIT_MS_MAX);
    let rule = "must be a whole number of milliseconds, at most 60000";
    wait_ms.ok_or(Problem::BadParameter { name: "wait_ms", rule })
}

/// Whether a name is one of the many that clients give the last event id: `lastEventID`, `Last-Event-ID`.
pub(crate) fn is_last_event_id(name: &[u8]) -> bool {
    let letters = name.iter().filter(|b| !matches!(b, b'-' | b'_')).map(u8::to_ascii_lowercase);
    letters.eq(b"lasteventid".iter().copied())
}

fn parse_switch(name: &'static str, value: &[u8]) -> Result<bool, Problem> {
    match value {
        b"1" => Ok(true),
        b"0" => Ok(false),
        _ => Err(Problem::BadParameter { name, rule: "must be 0 or 1" }),
    }
}

/// Last event ids from one source.
#[derive(Default)]
struct ResumeIds<'a> {
    /// The first that is not empty.
    first: Option<Cow<'a, [u8]>>,
    /// There was another: which one is meant is unknown, so none is believed.
    repeated: bool,
}

fn resume_from_header<'a>(head: &Head<'a>) -> ResumeIds<'a> {
    let first = head.fields.last_event_id.filter(|id| !id.is_empty() || head.fields.last_event_id_repeated);
    ResumeIds { first: first.map(Cow::Borrowed), repeated: head.fields.last_event_id_repeated }
}

impl<'a> ResumeIds<'a> {
    fn add(&mut self, id: Cow<'a, [u8]>) {
        if !id.is_empty() {
            self.repeated |= self.first.is_some();
            self.first.get_or_insert(id);
        }
    }

    fn or(self, other: ResumeIds<'a>) -> ResumeIds<'a> {
        if self.first.is_some() { self } else { other }
    }

    fn start(self) -> Option<StreamStart> {
        let id = self.first?;
        match EventId::parse(&id) {
            Some(id) if !self.repeated => Some(StreamStart::After(id)),
            _ => Some(StreamStart::Unknown(cut_text(&id))),
        }
    }
}

/// The beginning of a foreign id as text, whatever its bytes are.
fn cut_text(id: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&id[..id.len().min(LAST_EVENT_ID_TEXT_BYTES_MAX)]).into_owned();
    while text.len() > LAST_EVENT_ID_TEXT_BYTES_MAX {
        text.pop();
    }
    text
}

#[cfg(test)]
mod tests;
