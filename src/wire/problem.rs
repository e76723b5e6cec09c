//! Every answer that is not a success: its status, its code, its sentence, and whether the connection ends.
//!
//! Owns the words that clients see. Knows nothing of how an answer is written (`reply`) or counted.

use std::borrow::Cow;

use crate::base::counters::{REFUSED_NAMES, RefusalReason};

/// Why a request is not served. `reply::append_problem` turns it into
/// `{"error":"snake_case_code","message":"one sentence"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// 400: the head breaks HTTP's grammar (RFC 9112); the text says where.
    Malformed(&'static str),
    /// 400: the body's length cannot be told for certain (RFC 9112 §6.3).
    BadFraming(&'static str),
    /// 400: `Host` missing, repeated or not a host (RFC 9112 §3.2).
    BadHost(&'static str),
    /// 400: the request target is of no form that is served (RFC 9112 §3.2).
    BadTarget(&'static str),
    /// 400: chunked coding broken (RFC 9112 §7.1).
    BadChunk(&'static str),
    /// 400: the query has a broken escape, or text that is not UTF-8.
    BadQuery(&'static str),
    /// 400: a parameter or header of ours has a value out of its rules.
    BadParameter {
        /// Its name, as in the query.
        name: &'static str,
        /// The rule it breaks, continuing the sentence "`name` …".
        rule: &'static str,
    },
    /// 400: a publish with a parameter that it does not have.
    UnknownParameter {
        /// Its name; the beginning of a long one.
        name: Box<str>,
        /// The parameter that it resembles.
        near: Option<&'static str>,
        /// The parameters there are, as the second half of a sentence.
        takes: &'static str,
    },
    /// 400: no parameter `topic`.
    NoTopic,
    /// 400: more topics than one connection may have.
    TooManyTopics {
        /// Topics that one request may name.
        topics_max: usize,
    },
    /// 400: a pattern that no topic can match, or that has a wildcard in the wrong place.
    BadPattern {
        /// The rule it breaks, in words that follow "must be".
        rule: &'static str,
    },
    /// 400: more patterns than one connection may have.
    TooManyPatterns {
        /// Patterns that one request may name.
        patterns_max: usize,
    },
    /// 400: the payload is not UTF-8.
    NotUtf8,
    /// 400: a line of a batch; the text continues "line N: …".
    BadBatchLine {
        /// Number of the line, counted from 1.
        line: usize,
        /// The fault, continuing the sentence.
        reason: String,
    },
    /// 400: a beacon that is too long, or not as the client library makes it.
    BadBeacon,
    /// 400: a batch without a line.
    EmptyBatch,
    /// 400: an event name of the server's own.
    ReservedEvent {
        /// The line of a batch, counted from 1.
        line: Option<usize>,
    },
    /// 400: publish to a topic of the server's own.
    ReservedTopic {
        /// The line of a batch, counted from 1.
        line: Option<usize>,
    },
    /// 404; the sentence says where to look instead.
    NotFound(&'static str),
    /// 404: no such connection, or no longer.
    NoSuchConnection,
    /// 404: no topic of this name.
    NoSuchTopic,
    /// 403: publish on the public listener; the text says where instead, but to strangers no address.
    PublishNotAllowed {
        /// There is a control listener.
        has_control: bool,
    },
    /// 405, with the methods that would be allowed.
    MethodNotAllowed(&'static str),
    /// 406: `Accept` excludes `text/event-stream`.
    NotAcceptable,
    /// 408: the head did not come in time.
    HeadTimeout,
    /// 408: the body did not come in time.
    BodyTimeout,
    /// 411: publish without a length and not chunked.
    LengthRequired,
    /// 413: the body is longer than is taken.
    BodyTooLarge {
        /// Value of `publish_bytes_max`.
        bytes_max: usize,
    },
    /// 413: more events than one batch may hold.
    BatchTooLong {
        /// The limit, counted once per topic.
        posts_max: usize,
    },
    /// 414: the request line alone is longer than a head may be.
    RequestLineTooLong {
        /// Value of `head_bytes_max`.
        bytes_max: usize,
    },
    /// 415: a batch that is not `application/x-ndjson`.
    UnsupportedType,
    /// 415: a body in a content coding.
    UnsupportedCoding,
    /// 415: a body in a multipart envelope.
    Multipart,
    /// 417: an expectation other than `100-continue`.
    ExpectationFailed,
    /// 431: the head is longer than is taken.
    HeadTooLarge {
        /// Value of `head_bytes_max`.
        bytes_max: usize,
    },
    /// 431: more header fields than are taken.
    TooManyHeaders {
        /// Value of `headers_max`.
        headers_max: usize,
    },
    /// 501: a transfer coding other than `chunked`.
    CodingNotImplemented,
    /// 503: a readiness probe failed; the text says which.
    NotReady(String),
    /// 505: a well-formed version other than 1.0 and 1.1.
    VersionNotSupported,
    /// 503: a worker did not answer an operator's question in time.
    WorkerLate {
        /// Number of that worker.
        worker: usize,
    },
    /// Over a limit (503), too fast (429), without a credential (401), or not allowed: 403 for
    /// [`RefusalReason::Credentials`], [`RefusalReason::Origin`] and [`RefusalReason::ReservedTopic`], 421
    /// for [`RefusalReason::Host`]. The code is the counter's name, but for a 401.
    Refused(RefusalReason),
}

const PUBLISH_ELSEWHERE: &str =
    "Publishing here needs credentials, and none are configured; publish on the control listener.";
const PUBLISH_NOWHERE: &str = "Publishing here needs credentials, and none are configured; there is no \
    control listener either: set --control.";
const UNSUPPORTED_CODING: &str =
    "The body has a Content-Encoding, but subscribers get it as it is; send it without.";
const MULTIPART: &str = "The body is a multipart envelope, but subscribers get it as it is; send the payload \
    itself, as `curl --data-binary @FILE` does.";
const RESERVED_EVENT: &str = "event must not begin with fanwheel., as the server's own events do.";
const RESERVED_TOPIC: &str = "topic must not begin with fanwheel., as the server's own topics do.";

impl Problem {
    /// Status code of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Problem::Malformed(_)
            | Problem::BadFraming(_)
            | Problem::BadHost(_)
            | Problem::BadTarget(_)
            | Problem::BadChunk(_)
            | Problem::BadQuery(_)
            | Problem::BadParameter { .. }
            | Problem::UnknownParameter { .. }
            | Problem::NoTopic
            | Problem::TooManyTopics { .. }
            | Problem::BadPattern { .. }
            | Problem::TooManyPatterns { .. }
            | Problem::NotUtf8
            | Problem::BadBatchLine { .. }
            | Problem::BadBeacon
            | Problem::EmptyBatch
            | Problem::ReservedEvent { .. }
            | Problem::ReservedTopic { .. }
            | Problem::Refused(RefusalReason::PatternTopics) => 400,
            Problem::Refused(
                RefusalReason::ControlTokenMissing
                | RefusalReason::ControlTokenUnknown
                | RefusalReason::TokenMissing
                | RefusalReason::TokenUnknown
                | RefusalReason::TokenExpired
                | RefusalReason::TokenUnfit
                | RefusalReason::TokenBanned,
            ) => 401,
            Problem::PublishNotAllowed { .. } => 403,
            Problem::Refused(
                RefusalReason::Credentials
                | RefusalReason::Banned
                | RefusalReason::NotAuthorized
                | RefusalReason::NotGranted
                | RefusalReason::Origin
                | RefusalReason::ReservedTopic,
            ) => 403,
            Problem::NotFound(_) | Problem::NoSuchConnection | Problem::NoSuchTopic => 404,
            Problem::MethodNotAllowed(_) => 405,
            Problem::NotAcceptable => 406,
            Problem::HeadTimeout | Problem::BodyTimeout => 408,
            Problem::LengthRequired => 411,
            Problem::BodyTooLarge { .. } | Problem::BatchTooLong { .. } => 413,
            Problem::RequestLineTooLong { .. } => 414,
            Problem::UnsupportedType | Problem::UnsupportedCoding | Problem::Multipart => 415,
            Problem::ExpectationFailed => 417,
            Problem::Refused(RefusalReason::Host) => 421,
            Problem::Refused(RefusalReason::KeyReused) => 422,
            Problem::Refused(
                RefusalReason::AddressConnects
                | RefusalReason::AddressRequests
                | RefusalReason::AddressPublishes
                | RefusalReason::TokenPublishes,
            ) => 429,
            Problem::HeadTooLarge { .. } | Problem::TooManyHeaders { .. } => 431,
            Problem::CodingNotImplemented => 501,
            Problem::NotReady(_) | Problem::WorkerLate { .. } | Problem::Refused(_) => 503,
            Problem::VersionNotSupported => 505,
        }
    }

    /// The machine-readable code, stable between versions.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            // Why a credential is not taken is for the operator alone.
            _ if self.status() == 401 => "unauthorized",
            Problem::Malformed(_) => "bad_request",
            Problem::BadFraming(_) => "bad_framing",
            Problem::BadHost(_) => "bad_host",
            Problem::BadTarget(_) => "bad_target",
            Problem::BadChunk(_) => "bad_chunk",
            Problem::BadQuery(_) => "bad_query",
            Problem::BadParameter { name, .. } => match *name {
                "topic" => "bad_topic",
                "event" => "bad_event",
                "key" => "bad_key",
                "retry" => "bad_retry",
                "pattern" => "patterns_off",
                "last" => "bad_last",
                "clock" => "bad_clock",
                "buffered" => "bad_buffered",
                "Idempotency-Key" => "bad_idempotency_key",
                _ => "bad_parameter",
            },
            Problem::UnknownParameter { .. } => "unknown_parameter",
            Problem::NoTopic => "no_topic",
            Problem::TooManyTopics { .. } => "too_many_topics",
            Problem::BadPattern { .. } => "bad_pattern",
            Problem::TooManyPatterns { .. } => "too_many_patterns",
            Problem::NotUtf8 => "not_utf8",
            Problem::BadBatchLine { .. } => "bad_batch_line",
            Problem::BadBeacon => "bad_beacon",
            Problem::EmptyBatch => "empty_batch",
            Problem::ReservedEvent { .. } => "reserved_event",
            Problem::ReservedTopic { .. } => REFUSED_NAMES[RefusalReason::ReservedTopic as usize],
            Problem::PublishNotAllowed { .. } => "publish_not_allowed",
            Problem::NotFound(_) => "not_found",
            Problem::NoSuchConnection => "no_such_connection",
            Problem::NoSuchTopic => "no_such_topic",
            Problem::MethodNotAllowed(_) => "method_not_allowed",
            Problem::NotAcceptable => "not_acceptable",
            Problem::HeadTimeout => "head_timeout",
            Problem::BodyTimeout => "body_timeout",
            Problem::LengthRequired => "length_required",
            Problem::BodyTooLarge { .. } => "body_too_large",
            Problem::BatchTooLong { .. } => "batch_too_long",
            Problem::RequestLineTooLong { .. } => "request_line_too_long",
            Problem::UnsupportedType | Problem::Multipart => "unsupported_type",
            Problem::UnsupportedCoding => "unsupported_coding",
            Problem::ExpectationFailed => "expectation_failed",
            Problem::HeadTooLarge { .. } => "head_too_large",
            Problem::TooManyHeaders { .. } => "too_many_headers",
            Problem::CodingNotImplemented => "coding_not_implemented",
            Problem::NotReady(_) => "not_ready",
            Problem::WorkerLate { .. } => "worker_late",
            Problem::VersionNotSupported => "version_not_supported",
            Problem::Refused(why) => REFUSED_NAMES[*why as usize],
        }
    }

    /// The cause for the operator: the code, unless clients must not learn more than it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Problem::Refused(why) => REFUSED_NAMES[*why as usize],
            other => other.code(),
        }
    }

    /// One sentence for people: the failure, the limit, the way out.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Problem::BadParameter { name, rule } => format!("{name} {rule}."),
            Problem::UnknownParameter { name, near, takes } => {
                let hint = near.map_or(format!("; {takes}"), |near| format!(", but {near} is"));
                format!("{name} is not a parameter here{hint}.")
            }
            Problem::TooManyTopics { topics_max } => {
                format!("At most {topics_max} topics may be named in one request.")
            }
            Problem::BadPattern { rule } => format!("pattern must be {rule}."),
            Problem::TooManyPatterns { patterns_max } => {
                format!("At most {patterns_max} patterns may be named in one request.")
            }
            Problem::BadBatchLine { line, reason } => format!("Line {line}: {reason}."),
            Problem::ReservedEvent { line: Some(line) } => format!("Line {line}: {RESERVED_EVENT}"),
            Problem::ReservedTopic { line: Some(line) } => format!("Line {line}: {RESERVED_TOPIC}"),
            Problem::MethodNotAllowed(allow) => format!("This path answers only to {allow}."),
            Problem::BodyTooLarge { bytes_max } => too_long("body", *bytes_max, "publish_bytes_max"),
            Problem::BatchTooLong { posts_max } => {
                format!("A batch holds at most {posts_max} events, counted once per topic.")
            }
            Problem::RequestLineTooLong { bytes_max } => {
                too_long("request line", *bytes_max, "head_bytes_max")
            }
            Problem::HeadTooLarge { bytes_max } => too_long("request head", *bytes_max, "head_bytes_max"),
            Problem::TooManyHeaders { headers_max } => {
                format!("The request has more than {headers_max} header fields (headers_max).")
            }
            Problem::NotReady(reason) => reason.clone(),
            Problem::WorkerLate { worker } => {
                format!("Worker {worker} did not answer in time, and the question was withdrawn; ask again.")
            }
            fixed => return fixed.fixed_message().into(),
        }
        .into()
    }

    /// The sentences without a number or name in them; empty for a problem whose sentence has one.
    fn fixed_message(&self) -> &'static str {
        match self {
            Problem::Malformed(text)
            | Problem::BadFraming(text)
            | Problem::BadHost(text)
            | Problem::BadTarget(text)
            | Problem::BadChunk(text)
            | Problem::BadQuery(text)
            | Problem::NotFound(text) => text,
            Problem::NoTopic => "Name at least one topic, ?topic=NAME, or ?pattern=PATTERN.",
            Problem::NotUtf8 => "The payload is not valid UTF-8.",
            Problem::EmptyBatch => "The batch has no line; send one JSON object a line.",
            Problem::ReservedEvent { .. } => RESERVED_EVENT,
            Problem::ReservedTopic { .. } => RESERVED_TOPIC,
            Problem::PublishNotAllowed { has_control: false } => PUBLISH_NOWHERE,
            Problem::PublishNotAllowed { has_control: true } => PUBLISH_ELSEWHERE,
            Problem::NoSuchConnection => "There is no connection with this id, or no longer.",
            Problem::NoSuchTopic => "There is no topic of this name, or no longer.",
            Problem::NotAcceptable => "This path answers with text/event-stream, which Accept excludes.",
            Problem::HeadTimeout => "The request head did not arrive in time.",
            Problem::BodyTimeout => "The request body did not arrive in time.",
            Problem::BadBeacon => "A beacon is what the client library sends, at most 2048 bytes.",
            Problem::LengthRequired => "Send Content-Length or Transfer-Encoding: chunked.",
            Problem::UnsupportedType => "A batch is application/x-ndjson: one JSON object a line.",
            Problem::UnsupportedCoding => UNSUPPORTED_CODING,
            Problem::Multipart => MULTIPART,
            Problem::ExpectationFailed => "The only expectation that is met is 100-continue.",
            Problem::CodingNotImplemented => "The only transfer coding that is decoded is chunked.",
            Problem::VersionNotSupported => "Only HTTP/1.0 and HTTP/1.1 are served.",
            Problem::Refused(why) => refused_message(*why),
            Problem::BadParameter { .. }
            | Problem::UnknownParameter { .. }
            | Problem::TooManyTopics { .. }
            | Problem::BadPattern { .. }
            | Problem::TooManyPatterns { .. }
            | Problem::BadBatchLine { .. }
            | Problem::MethodNotAllowed(_)
            | Problem::BodyTooLarge { .. }
            | Problem::BatchTooLong { .. }
            | Problem::RequestLineTooLong { .. }
            | Problem::HeadTooLarge { .. }
            | Problem::TooManyHeaders { .. }
            | Problem::NotReady(_)
            | Problem::WorkerLate { .. } => "",
        }
    }

    /// Whether the connection must end after the answer: where the next request begins is unknown, or its
    /// body is not going to be read. Besides these, any request whose body stays unread ends the connection
    /// (`Head::has_body`).
    pub fn closes(&self) -> bool {
        match self {
            Problem::Malformed(_)
            | Problem::BadFraming(_)
            | Problem::BadHost(_)
            | Problem::BadTarget(_)
            | Problem::BadChunk(_)
            | Problem::BadBeacon
            | Problem::HeadTimeout
            | Problem::BodyTimeout
            | Problem::LengthRequired
            | Problem::BodyTooLarge { .. }
            | Problem::RequestLineTooLong { .. }
            | Problem::ExpectationFailed
            | Problem::HeadTooLarge { .. }
            | Problem::TooManyHeaders { .. }
            | Problem::CodingNotImplemented
            | Problem::VersionNotSupported => true,
            Problem::Refused(why) => matches!(
                why,
                RefusalReason::Connections
                    | RefusalReason::Address
                    | RefusalReason::Memory
                    | RefusalReason::Bodies
                    | RefusalReason::Draining
                    | RefusalReason::Host
                    | RefusalReason::Heads
                    | RefusalReason::AddressConnects
                    | RefusalReason::AddressRequests
                    | RefusalReason::Banned
            ),
            Problem::BadQuery(_)
            | Problem::BadParameter { .. }
            | Problem::UnknownParameter { .. }
            | Problem::NoTopic
            | Problem::TooManyTopics { .. }
            | Problem::BadPattern { .. }
            | Problem::TooManyPatterns { .. }
            | Problem::NotUtf8
            | Problem::BadBatchLine { .. }
            | Problem::EmptyBatch
            | Problem::ReservedEvent { .. }
            | Problem::ReservedTopic { .. }
            | Problem::PublishNotAllowed { .. }
            | Problem::NotFound(_)
            | Problem::NoSuchConnection
            | Problem::NoSuchTopic
            | Problem::MethodNotAllowed(_)
            | Problem::NotAcceptable
            | Problem::BatchTooLong { .. }
            | Problem::UnsupportedType
            | Problem::UnsupportedCoding
            | Problem::Multipart
            | Problem::NotReady(_)
            | Problem::WorkerLate { .. } => false,
        }
    }

    /// The value of `WWW-Authenticate` for a 401 (RFC 9110 §15.5.2). A browser asks people for the token of
    /// control, as for a password.
    pub(crate) fn challenge(&self) -> Option<&'static str> {
        match self {
            Problem::Refused(RefusalReason::ControlTokenMissing | RefusalReason::ControlTokenUnknown) => {
                Some("Basic realm=\"fanwheel\", charset=\"UTF-8\", Bearer realm=\"fanwheel\"")
            }
            Problem::Refused(RefusalReason::TokenMissing) => Some("Bearer realm=\"fanwheel\""),
            problem if problem.status() == 401 => Some("Bearer realm=\"fanwheel\", error=\"invalid_token\""),
            _ => None,
        }
    }

    /// The value of `Allow` for a 405 (RFC 9110 §15.5.6).
    pub(crate) fn allow(&self) -> Option<&'static str> {
        match self {
            Problem::MethodNotAllowed(allow) => Some(allow),
            _ => None,
        }
    }
}

/// The sentence for a part of a request that is longer than the setting allows.
fn too_long(part: &str, bytes_max: usize, setting: &str) -> String {
    format!("The {part} is longer than {bytes_max} bytes ({setting}).")
}

fn refused_message(why: RefusalReason) -> &'static str {
    match why {
        RefusalReason::Connections => "The server holds as many connections as it may; try again later.",
        RefusalReason::Address => "Your address holds as many connections as it may; close some first.",
        RefusalReason::Memory => "The server is at its memory limit; try again later.",
        RefusalReason::Topics => "The server holds as many topics as it may; try again later.",
        RefusalReason::AddressConnects => "Your address opens connections too fast; try again later.",
        RefusalReason::AddressRequests => "Your address sends requests too fast; try again later.",
        RefusalReason::AddressPublishes => "Your address publishes too fast; try again later.",
        RefusalReason::TokenPublishes => "The owner of this credential publishes too fast; try again later.",
        RefusalReason::Patterns => "Subscribers use as many patterns as they may; try again later.",
        RefusalReason::PatternTopics => {
            "The pattern matches more topics than one may (pattern_topics_max); name a narrower one."
        }
        RefusalReason::KeyReused => {
            "The Idempotency-Key came with another path, parameter or body before; nothing was published."
        }
        RefusalReason::Heads => "Too many long request heads are in flight; try again later.",
        RefusalReason::Bodies => "Too many publish bodies are in flight; try again later.",
        RefusalReason::Overload => "Publishers are faster than the server can deliver; try again later.",
        RefusalReason::IdempotencyKeys => "Too many idempotency keys are remembered; try again later.",
        RefusalReason::OrderFull => "Too many events wait for their place in the order; try again later.",
        RefusalReason::OrderLate => {
            "The event was not confirmed in time and may still be published; send it again with the same \
             Idempotency-Key."
        }
        RefusalReason::OrderFailed => "The event got no place in the order; nothing was published.",
        RefusalReason::BackplaneAway => {
            "The backplane takes no events now; nothing was published. Try again later."
        }
        RefusalReason::Draining => "The server is shutting down; try another one or later.",
        RefusalReason::Credentials => "Publishing here needs credentials.",
        RefusalReason::ControlTokenMissing | RefusalReason::ControlTokenUnknown => {
            "The control listener needs its token: Authorization: Bearer TOKEN, or the password of a browser."
        }
        RefusalReason::TokenMissing
        | RefusalReason::TokenUnknown
        | RefusalReason::TokenExpired
        | RefusalReason::TokenUnfit
        | RefusalReason::TokenBanned => {
            "This needs a credential that is taken here: send Authorization: Bearer TOKEN."
        }
        RefusalReason::NotAuthorized => "The application of this server does not allow it.",
        RefusalReason::AuthorizeFull | RefusalReason::AuthorizeFailed | RefusalReason::AuthorizeLate => {
            "The application that decides about this request gives no answer; try again later."
        }
        RefusalReason::Banned => "Your address is not served here.",
        RefusalReason::NotGranted => "The credential does not open this topic.",
        RefusalReason::Surveys => {
            "Too many questions like this one are being answered; try again in a second."
        }
        RefusalReason::Origin => {
            "Requests made by pages of other sites are refused here; if this page is your own, add its host \
             to control_names, or its origin to cors_origins for publishing with a cookie."
        }
        RefusalReason::Host => {
            "The control listener does not answer to this Host; use its address, or set control_names."
        }
        RefusalReason::ReservedTopic => {
            "Topics that begin with fanwheel. are served on the control listener only."
        }
    }
}
