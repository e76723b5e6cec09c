//! Routing: listener, path, method and parameters of a head, checked and turned into a [`Request`].
//!
//! Owns the routes and the parameters of each. Never sees a body, a topic's state or a connection.

use std::borrow::Cow;

use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::base::limits::{BEACON_BYTES_MAX, KEY_BYTES_MAX};
use crate::base::listener::ListenerKind;
use crate::base::number_text::parse_decimal;
use crate::base::settings::UrlProfile;
use crate::base::snapshot::{MetricsFormat, StatusQuery};
use crate::base::suggest::nearest;
use crate::base::survey::{ConnectionId, ConnectionsQuery, TopicsQuery};
use crate::wire::frame::FrameForm;
use crate::wire::guard::{self, ForeignLink};
use crate::wire::head::{BodyLength, Head, Method};
use crate::wire::listing;
use crate::wire::policy::ListenerPolicy;
use crate::wire::problem::Problem;
use crate::wire::query::{pairs, utf8_text};
use crate::wire::rules;

/// Event names that one subscriber may filter by: each is compared with each event.
const EVENT_FILTERS_MAX: usize = 32;
/// Bytes of a foreign `Last-Event-ID` that are told back in a gap event.
const LAST_EVENT_ID_TEXT_BYTES_MAX: usize = 128;

/// A request that some path serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /events`: opens a stream.
    Subscribe(Box<SubscribeRequest>),
    /// `HEAD /events`: the same head, no stream.
    SubscribeHead {
        /// Form of the stream, as in [`SubscribeRequest::form`].
        form: FrameForm,
    },
    /// `POST /publish`; the body's length has been checked as far as it is known.
    Publish(Box<PublishRequest>),
    /// `POST /publish/batch`; the length has been checked likewise.
    Batch(Box<BatchRequest>),
    /// `POST /client-metrics`: figures of a page, in its body.
    Beacon,
    /// `GET` or `HEAD /healthz`
    Health,
    /// `GET` or `HEAD /readyz`
    Ready,
    /// `GET` or `HEAD /status`
    Status(StatusQuery),
    /// `GET` or `HEAD /settings`
    Settings,
    /// `GET` or `HEAD /log`
    Log,
    /// `GET` or `HEAD /metrics`
    Metrics(MetricsFormat),
    /// `GET` or `HEAD /topics`
    Topics(TopicsQuery),
    /// `GET` or `HEAD /connections`
    Connections(ConnectionsQuery),
    /// `DELETE /connections/{id}`: ends a connection.
    EndConnection(ConnectionId),
    /// `POST /drain`: ends the server.
    Drain,
    /// `GET` or `HEAD` of `/`, the dashboard, or of one of its parts under `/dashboard/`.
    Asset {
        /// The part's name, undecoded; may be unknown.
        name: Box<str>,
        /// Value of `If-None-Match`, as it came.
        if_none_match: Option<Box<[u8]>>,
    },
    /// `GET` or `HEAD /client.js`: the client library of pages.
    ClientLibrary {
        /// Value of `v`, the version that the page names; empty without one.
        version: Box<[u8]>,
        /// Value of `If-None-Match`, as it came.
        if_none_match: Option<Box<[u8]>>,
    },
    /// `GET` or `HEAD` of `/` on the public listener.
    Landing,
    /// `OPTIONS /events`: answer with `reply::append_preflight`.
    Preflight {
        /// The methods of the path.
        allow: &'static str,
    },
    /// `GET /sse` of the broadcast-benchmark profile.
    BenchSubscribe {
        /// Form of the stream, as in [`SubscribeRequest::form`].
        form: FrameForm,
    },
    /// `GET /connections` of that profile.
    BenchConnections,
    /// `OPTIONS` on either of these; answer with `reply::append_bench_options`.
    BenchOptions,
    /// `POST /broadcast` of that profile.
    BenchBroadcast,
}

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamStart {
    /// With the events that come from now on.
    Now,
    /// With the newest so many kept events; at least 1.
    Newest(usize),
    /// After the event of this id.
    After(EventId),
    /// After an id that is not ours, or several ids: told as a gap. The text, for the gap event, is cut to
    /// `LAST_EVENT_ID_TEXT_BYTES_MAX`.
    Unknown(String),
}

/// A subscription, as `GET /events` asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// At least one; order kept, duplicates dropped.
    pub topics: Vec<Box<str>>,
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
}

/// A publish, but for its payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublishRequest {
    /// At least one; order kept, duplicates dropped.
    pub topics: Vec<Box<str>>,
    /// Event name; never empty.
    pub(crate) event: Option<Box<str>>,
    /// Key for latest-per-key; never empty.
    pub(crate) key: Option<Box<str>>,
    /// Reconnection time to tell subscribers with the event.
    pub(crate) retry_ms: Option<u64>,
    /// Value of `Idempotency-Key`; never empty.
    pub(crate) idempotency_key: Option<Box<[u8]>>,
}

/// A batch, but for its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// Value of `Idempotency-Key`; never empty.
    pub(crate) idempotency_key: Option<Box<[u8]>>,
}

const READ: &str = "GET, HEAD";
const STREAM: &str = "GET, HEAD, OPTIONS";
const POST: &str = "POST";
const DELETE: &str = "DELETE";
/// Kept events that `last=N` may ask for: their beginning is looked for one by one, under the hub's lock.
const LAST_EVENTS_MAX: usize = 1_000;
/// Characters of an unknown parameter that are told back.
const PARAMETER_NAME_CHARS_MAX: usize = 64;
/// Paths that people look for on the public listener in vain.
const OF_CONTROL: [&[u8]; 8] =
    [b"/", b"/metrics", b"/status", b"/settings", b"/log", b"/topics", b"/connections", b"/drain"];
/// Names of a publish's parameters.
const PUBLISH_PARAMETERS: [&str; 4] = ["topic", "event", "key", "retry"];
const PUBLISH_TAKES: &str = "a publish takes topic, event, key and retry";
const BATCH_TAKES: &str = "a batch takes none, for each of its lines names its own topic";
/// Sentence for a path that nothing serves.
const NOWHERE: &str = "There is nothing at this path; streams are at /events?topic=NAME.";
const PUBLISH_PATHS: &str =
    "There is nothing at this path; publish with POST /publish?topic=NAME, or many at /publish/batch.";
const PUBLISH_ON_CONTROL: &str =
    "There is nothing at this path; publish with POST /publish?topic=NAME on the control listener.";
const METRICS_ALONE: &str =
    "There is nothing at this path; this listener serves /metrics, /healthz and /readyz alone.";
const ON_CONTROL: &str = "This path is served on the control listener only.";
const NOT_IN_PROFILE: &str = "There is nothing at this path in the broadcast-benchmark profile.";

/// Turns `head` into a request to `policy`. The operator's listeners judge `Host` and `Origin` before
/// anything else.
pub fn route(head: &Head<'_>, policy: &ListenerPolicy) -> Result<Request, Problem> {
    // Links of other sites may lead to what only shows a page.
    let link = match (policy.listener, head.path) {
        (ListenerKind::Control, b"/") | (ListenerKind::Metrics, _) if guard::is_navigation(head) => {
            ForeignLink::Followed
        }
        _ => ForeignLink::Refused,
    };
    match policy.listener {
        ListenerKind::Control => guard::check(head, &policy.own_hosts, link)?,
        ListenerKind::Metrics => {
            guard::check(head, &policy.own_hosts, link)?;
            return route_metrics(head);
        }
        ListenerKind::Public if policy.profile == UrlProfile::BroadcastBenchmark => {
            return route_benchmark(head, policy);
        }
        ListenerKind::Public => {}
    }
    let control = policy.listener == ListenerKind::Control;
    match head.path {
        b"/events" => match head.method {
            Method::Get => Ok(Request::Subscribe(Box::new(parse_subscribe(head, policy)?))),
            Method::Head => {
                parse_subscribe(head, policy).map(|_| Request::SubscribeHead { form: stream_form(head) })
            }
            Method::Options => Ok(Request::Preflight { allow: STREAM }),
            _ => Err(Problem::MethodNotAllowed(STREAM)),
        },
        b"/publish" => {
            check_publish_allowed(head, policy)?;
            check_coding(head)?;
            check_body(head, policy)?;
            Ok(Request::Publish(Box::new(parse_publish(head, policy)?)))
        }
        b"/publish/batch" => {
            check_publish_allowed(head, policy)?;
            check_coding(head)?;
            check_body(head, policy)?;
            Ok(Request::Batch(Box::new(batch(head)?)))
        }
        b"/client-metrics" => route_beacon(head),
        b"/healthz" => allow_read(head, Request::Health),
        b"/readyz" => allow_read(head, Request::Ready),
        b"/client.js" => allow_read(head, client_library_request(head)?),
        b"/metrics" if control => allow_read(head, Request::Metrics(metrics_format(head))),
        b"/status" if control => allow_read(head, Request::Status(listing::parse_status(head.query)?)),
        b"/settings" if control => allow_read(head, Request::Settings),
        b"/log" if control => allow_read(head, Request::Log),
        b"/topics" if control => allow_read(head, Request::Topics(listing::parse_topics(head.query)?)),
        b"/connections" if control => {
            allow_read(head, Request::Connections(listing::parse_connections(head.query)?))
        }
        path if control && path.starts_with(listing::CONNECTION) => match head.method {
            Method::Delete => listing::parse_connection_path(path).map(Request::EndConnection),
            _ => Err(Problem::MethodNotAllowed(DELETE)),
        },
        b"/drain" if control && head.method == Method::Post => Ok(Request::Drain),
        b"/drain" if control => Err(Problem::MethodNotAllowed(POST)),
        b"/" if control => allow_read(head, asset_request(head, b"index.html")),
        b"/" if policy.landing => allow_read(head, Request::Landing),
        _ => match head.path.strip_prefix(b"/dashboard/") {
            Some(name) if control => allow_read(head, asset_request(head, name)),
            _ => Err(Problem::NotFound(right_path(head, control))),
        },
    }
}

/// The sentence that leads from a path that does not exist to the one that was most likely meant.
fn right_path(head: &Head<'_>, control: bool) -> &'static str {
    let publishes = head.path.starts_with(b"/publish") || head.method == Method::Post;
    match control {
        false if OF_CONTROL.contains(&head.path) => ON_CONTROL,
        false if publishes => PUBLISH_ON_CONTROL,
        true if publishes => PUBLISH_PATHS,
        _ => NOWHERE,
    }
}

fn asset_request(head: &Head<'_>, name: &[u8]) -> Request {
    // No name of ours has bytes that are not UTF-8, so their substitutes find nothing either.
    Request::Asset {
        name: String::from_utf8_lossy(name).into(),
        if_none_match: head.fields.if_none_match.joined(),
    }
}

/// Routes a request to a metrics listener, where nothing changes anything.
fn route_metrics(head: &Head<'_>) -> Result<Request, Problem> {
    match head.path {
        b"/metrics" => allow_read(head, Request::Metrics(metrics_format(head))),
        b"/healthz" => allow_read(head, Request::Health),
        b"/readyz" => allow_read(head, Request::Ready),
        _ => Err(Problem::NotFound(METRICS_ALONE)),
    }
}

fn stream_form(head: &Head<'_>) -> FrameForm {
    if head.http11 { FrameForm::Chunk } else { FrameForm::Bare }
}

/// A beacon is small enough to be judged by its announced length.
fn route_beacon(head: &Head<'_>) -> Result<Request, Problem> {
    match (head.method, head.body) {
        (Method::Post, BodyLength::Bytes(bytes)) if bytes <= BEACON_BYTES_MAX as u64 => Ok(Request::Beacon),
        (Method::Post, _) => Err(Problem::BadBeacon),
        _ => Err(Problem::MethodNotAllowed(POST)),
    }
}

fn client_library_request(head: &Head<'_>) -> Result<Request, Problem> {
    let mut version = None;
    for pair in pairs(head.query) {
        if *pair.name == *b"v" {
            set_once(&mut version, "v", Box::from(&*pair.value()?))?;
        }
    }
    Ok(Request::ClientLibrary {
        version: version.unwrap_or_default(),
        if_none_match: head.fields.if_none_match.joined(),
    })
}

/// The profile knows no 405: anything that it does not name is 404.
fn route_benchmark(head: &Head<'_>, policy: &ListenerPolicy) -> Result<Request, Problem> {
    match (head.method, head.path) {
        (Method::Get, b"/sse") => Ok(Request::BenchSubscribe { form: stream_form(head) }),
        (Method::Get, b"/connections") => Ok(Request::BenchConnections),
        (Method::Options, b"/sse" | b"/connections") => Ok(Request::BenchOptions),
        (Method::Post, b"/broadcast") => check_body(head, policy).map(|()| Request::BenchBroadcast),
        _ => Err(Problem::NotFound(NOT_IN_PROFILE)),
    }
}

fn allow_read(head: &Head<'_>, request: Request) -> Result<Request, Problem> {
    match head.method {
        Method::Get | Method::Head => Ok(request),
        _ => Err(Problem::MethodNotAllowed(READ)),
    }
}

fn metrics_format(head: &Head<'_>) -> MetricsFormat {
    if head.fields.accept.prefers_openmetrics() {
        MetricsFormat::OpenMetrics
    } else {
        MetricsFormat::Prometheus
    }
}

fn check_publish_allowed(head: &Head<'_>, policy: &ListenerPolicy) -> Result<(), Problem> {
    match (head.method, policy.listener) {
        (Method::Post, ListenerKind::Control) => Ok(()),
        (Method::Post, _) => Err(Problem::PublishNotAllowed { has_control: policy.has_control }),
        _ => Err(Problem::MethodNotAllowed(POST)),
    }
}

/// A body that is too long is refused by its announced length, before a byte of it is read.
fn check_body(head: &Head<'_>, policy: &ListenerPolicy) -> Result<(), Problem> {
    match head.body {
        BodyLength::None => Err(Problem::LengthRequired),
        BodyLength::Bytes(bytes) if bytes > policy.publish_bytes_max as u64 => {
            Err(Problem::BodyTooLarge { bytes_max: policy.publish_bytes_max })
        }
        BodyLength::Bytes(_) | BodyLength::Chunked => Ok(()),
    }
}

/// A body is the payload itself, in neither a content coding nor an envelope. What a form is called is what
/// `curl -d` calls any text, so it says nothing.
fn check_coding(head: &Head<'_>) -> Result<(), Problem> {
    let multipart = essence(head).get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"));
    if head.fields.encoded {
        Err(Problem::UnsupportedCoding)
    } else if multipart {
        Err(Problem::Multipart)
    } else {
        Ok(())
    }
}

/// The media type of a body, without its parameters.
fn essence<'a>(head: &Head<'a>) -> &'a [u8] {
    let content_type = head.fields.content_type.unwrap_or_default();
    content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii()
}

fn batch(head: &Head<'_>) -> Result<BatchRequest, Problem> {
    if head.fields.content_type.is_some() && !essence(head).eq_ignore_ascii_case(b"application/x-ndjson") {
        return Err(Problem::UnsupportedType);
    }
    if let Some(pair) = pairs(head.query).next() {
        return Err(unknown_parameter(&pair.name, None, BATCH_TAKES));
    }
    Ok(BatchRequest { idempotency_key: parse_idempotency_key(head)? })
}

fn unknown_parameter(name: &[u8], near: Option<&'static str>, takes: &'static str) -> Problem {
    let name = String::from_utf8_lossy(name);
    let name = name.chars().take(PARAMETER_NAME_CHARS_MAX).collect::<String>().into();
    Problem::UnknownParameter { name, near, takes }
}

fn parse_subscribe(head: &Head<'_>, policy: &ListenerPolicy) -> Result<SubscribeRequest, Problem> {
    if !head.fields.accept.takes_event_stream() {
        return Err(Problem::NotAcceptable);
    }
    let mut topics = Vec::new();
    let mut events = Vec::new();
    let mut last = None;
    let mut clock = None;
    let mut buffered = None;
    let mut prime = None;
    let mut snake_id = ResumeIds::default();
    let mut camel_id = ResumeIds::default();
    let mut other_id = ResumeIds::default();
    for pair in pairs(head.query) {
        match &*pair.name {
            b"topic" => push_topic(&mut topics, &pair.value()?, policy.topics_per_connection_max)?,
            b"event" => push_filter(&mut events, &pair.value()?)?,
            b"last" => set_once(&mut last, "last", parse_last(&pair.value()?)?)?,
            b"clock" => set_once(&mut clock, "clock", parse_switch("clock", &pair.value()?)?)?,
            b"buffered" => set_once(&mut buffered, "buffered", parse_switch("buffered", &pair.value()?)?)?,
            b"prime" => set_once(&mut prime, "prime", parse_switch("prime", &pair.value()?)?)?,
            b"last_event_id" => snake_id.add(pair.value()?),
            b"lastEventId" => camel_id.add(pair.value()?),
            other if is_last_event_id(other) => other_id.add(pair.value()?),
            // Links carry parameters of others; nobody looks at their values.
            _ => {}
        }
    }
    if topics.is_empty() {
        return Err(Problem::NoTopic);
    }
    if policy.listener == ListenerKind::Public && topics.iter().any(|topic| rules::is_reserved_topic(topic)) {
        return Err(Problem::Refused(RefusalReason::ReservedTopic));
    }
    // On a reconnection the URL still says `last=`; where the client stopped counts more.
    let resumed = resume_from_header(head).or(snake_id).or(camel_id).or(other_id).start();
    let start = resumed.unwrap_or(match last {
        None | Some(0) => StreamStart::Now,
        Some(newest) => StreamStart::Newest(newest),
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
        events,
        start,
        clock: clock.unwrap_or(false),
        buffered: buffered.unwrap_or(false),
        form: stream_form(head),
        event_source,
        prime: prime.unwrap_or(browser && !own_topics),
    })
}

fn parse_publish(head: &Head<'_>, policy: &ListenerPolicy) -> Result<PublishRequest, Problem> {
    let mut topics = Vec::new();
    let mut event = None;
    let mut key = None;
    let mut retry_ms = None;
    for pair in pairs(head.query) {
        let value = || pair.value();
        match &*pair.name {
            b"topic" => push_topic(&mut topics, &value()?, policy.topics_per_connection_max)?,
            b"event" => {
                set_once(&mut event, "event", parse_checked("event", &value()?, rules::check_event)?)?
            }
            b"key" => set_once(&mut key, "key", parse_checked("key", &value()?, rules::check_key)?)?,
            b"retry" => set_once(&mut retry_ms, "retry", parse_retry(&value()?)?)?,
            // A misspelt name would be lost without a word, and the event with it for all that filter by it.
            other => {
                let near = nearest(&String::from_utf8_lossy(other), PUBLISH_PARAMETERS.into_iter());
                return Err(unknown_parameter(other, near, PUBLISH_TAKES));
            }
        }
    }
    if topics.is_empty() {
        return Err(Problem::NoTopic);
    }
    if event.as_deref().is_some_and(rules::is_reserved_event) {
        return Err(Problem::ReservedEvent { line: None });
    }
    if topics.iter().any(|topic| rules::is_reserved_topic(topic)) {
        return Err(Problem::ReservedTopic { line: None });
    }
    let some_text = |text: Option<Box<str>>| text.filter(|text| !text.is_empty());
    let idempotency_key = parse_idempotency_key(head)?;
    Ok(PublishRequest { topics, event: some_text(event), key: some_text(key), retry_ms, idempotency_key })
}

fn parse_idempotency_key(head: &Head<'_>) -> Result<Option<Box<[u8]>>, Problem> {
    let Some(key) = head.fields.idempotency_key else { return Ok(None) };
    let rule = match key.len() {
        0 => "must not be empty",
        1..=KEY_BYTES_MAX => return Ok(Some(key.into())),
        _ => "must be at most 256 bytes",
    };
    Err(Problem::BadParameter { name: "Idempotency-Key", rule })
}

fn parse_checked(
    name: &'static str,
    value: &[u8],
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Box<str>, Problem> {
    let value = utf8_text(value)?;
    check(value).map_err(|rule| Problem::BadParameter { name, rule })?;
    Ok(value.into())
}

fn push_topic(topics: &mut Vec<Box<str>>, value: &[u8], topics_max: usize) -> Result<(), Problem> {
    let topic = parse_checked("topic", value, rules::check_topic)?;
    rules::push_unique(topics, &topic);
    if topics.len() > topics_max { Err(Problem::TooManyTopics { topics_max }) } else { Ok(()) }
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

fn set_once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), Problem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::BadParameter { name, rule: "may be given only once" }),
    }
}

fn parse_last(value: &[u8]) -> Result<usize, Problem> {
    const _: () = assert!(LAST_EVENTS_MAX == 1_000, "text below");
    let wanted = parse_decimal(value).and_then(|wanted| usize::try_from(wanted).ok());
    let within = wanted.filter(|&wanted| wanted <= LAST_EVENTS_MAX);
    within.ok_or(Problem::BadParameter { name: "last", rule: "must be a whole number up to 1000" })
}

/// Whether a name is one of the many that clients give the last event id: `lastEventID`, `Last-Event-ID`.
fn is_last_event_id(name: &[u8]) -> bool {
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

fn parse_retry(value: &[u8]) -> Result<u64, Problem> {
    rules::parse_retry_ms(value).map_err(|rule| Problem::BadParameter { name: "retry", rule })
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
