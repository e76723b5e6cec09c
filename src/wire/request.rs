//! Routing: listener, path, method and parameters of a head, checked and turned into a [`Request`].
//!
//! Owns the routes, and the parameters of all but subscriptions. Never sees a body, a topic's state or a
//! connection.

use std::num::NonZeroU32;

use crate::base::limits::{BEACON_BYTES_MAX, KEY_BYTES_MAX};
use crate::base::listener::ListenerKind;
use crate::base::settings::UrlProfile;
use crate::base::snapshot::{MetricsFormat, StatusQuery};
use crate::base::suggest::nearest;
use crate::base::survey::{ConnectionId, ConnectionsQuery, TopicsQuery};
use crate::wire::auth::access::CredentialOwner;
use crate::wire::frame::FrameForm;
use crate::wire::guard::{self, ForeignLink};
use crate::wire::head::{BodyLength, Head, Method};
use crate::wire::listing;
use crate::wire::parameters::{parse_checked, push_topic, set_once};
use crate::wire::policy::ListenerPolicy;
use crate::wire::problem::Problem;
use crate::wire::query::pairs;
use crate::wire::rules;
use crate::wire::subscription::{SubscribeRequest, parse_subscribe, stream_form};

/// A request that some path serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /events`: opens a stream.
    Subscribe(Box<SubscribeRequest>),
    /// `HEAD /events`: the same head, no stream.
    SubscribeHead(Box<SubscribeRequest>),
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
    /// `DELETE /topics`: forgets the events that this topic keeps.
    ForgetTopic(Box<str>),
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

/// A publish, but for its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// At least one; order kept, duplicates dropped.
    pub topics: Vec<Box<str>>,
    /// Event name; never empty.
    pub(crate) event: Option<Box<str>>,
    /// Key for latest-per-key; never empty.
    pub(crate) key: Option<Box<str>>,
    /// Reconnection time to tell subscribers with the event.
    pub(crate) retry_ms: Option<u64>,
    /// Age from which nobody gets the event any more.
    pub(crate) ttl_ms: Option<NonZeroU32>,
    /// Value of `Idempotency-Key`; never empty.
    pub(crate) idempotency_key: Option<Box<[u8]>>,
    /// Owner of the credential that opens the topics; none where all are open to it.
    pub(crate) publisher: Option<CredentialOwner>,
}

/// A batch, but for its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRequest {
    /// Value of `Idempotency-Key`; never empty.
    pub(crate) idempotency_key: Option<Box<[u8]>>,
    /// Owner of a credential that its lines are held against; none where all topics are open to it.
    pub(crate) publisher: Option<CredentialOwner>,
}

const READ: &str = "GET, HEAD";
const STREAM: &str = "GET, HEAD, OPTIONS";
const POST: &str = "POST";
const DELETE: &str = "DELETE";
/// Characters of an unknown parameter that are told back.
const PARAMETER_NAME_CHARS_MAX: usize = 64;
/// Paths that people look for on the public listener in vain.
const OF_CONTROL: [&[u8]; 8] =
    [b"/", b"/metrics", b"/status", b"/settings", b"/log", b"/topics", b"/connections", b"/drain"];
/// Names of a publish's parameters.
const PUBLISH_PARAMETERS: [&str; 5] = ["topic", "event", "key", "retry", "ttl_ms"];
const PUBLISH_TAKES: &str = "a publish takes topic, event, key, retry and ttl_ms";
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
            Method::Head => Ok(Request::SubscribeHead(Box::new(parse_subscribe(head, policy)?))),
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
        b"/topics" if control => listing::route_topics(head),
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
    match head.method {
        Method::Post if policy.takes_publishers => Ok(()),
        Method::Post => Err(Problem::PublishNotAllowed { has_control: policy.has_control }),
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
    Ok(BatchRequest { idempotency_key: parse_idempotency_key(head)?, publisher: None })
}

pub(super) fn unknown_parameter(name: &[u8], near: Option<&'static str>, takes: &'static str) -> Problem {
    let name = String::from_utf8_lossy(name);
    let name = name.chars().take(PARAMETER_NAME_CHARS_MAX).collect::<String>().into();
    Problem::UnknownParameter { name, near, takes }
}

fn parse_publish(head: &Head<'_>, policy: &ListenerPolicy) -> Result<PublishRequest, Problem> {
    let mut topics = Vec::new();
    let mut event = None;
    let mut key = None;
    let (mut retry_ms, mut ttl_ms) = (None, None);
    for pair in pairs(head.query) {
        let value = || pair.value();
        match &*pair.name {
            b"topic" => push_topic(&mut topics, &value()?, policy.topics_per_connection_max)?,
            b"event" => {
                set_once(&mut event, "event", parse_checked("event", &value()?, rules::check_event)?)?
            }
            b"key" => set_once(&mut key, "key", parse_checked("key", &value()?, rules::check_key)?)?,
            b"retry" => set_once(&mut retry_ms, "retry", parse_retry(&value()?)?)?,
            b"ttl_ms" => set_once(&mut ttl_ms, "ttl_ms", parse_ttl(&value()?)?)?,
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
    let (event, key) = (some_text(event), some_text(key));
    Ok(PublishRequest { topics, event, key, retry_ms, ttl_ms, idempotency_key, publisher: None })
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

fn parse_retry(value: &[u8]) -> Result<u64, Problem> {
    rules::parse_retry_ms(value).map_err(|rule| Problem::BadParameter { name: "retry", rule })
}

fn parse_ttl(value: &[u8]) -> Result<NonZeroU32, Problem> {
    rules::parse_ttl_ms(value).map_err(|rule| Problem::BadParameter { name: "ttl_ms", rule })
}

#[cfg(test)]
mod tests;
