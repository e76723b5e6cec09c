//! What a head asks for: listener, path, method and parameters checked, and turned into a [`Request`].
//!
//! Owns the routes and the rules of every parameter. Never sees a body, a topic's state or a connection.

use crate::base::id::EventId;
use crate::base::settings::{Listener, Profile};
use crate::wire::cors::Cors;
use crate::wire::head::Head;
use crate::wire::problem::Problem;

/// What a listener serves and to whom.
#[derive(Clone, Debug)]
pub struct Site {
    /// Public or control.
    pub listener: Listener,
    /// Which URLs the public listener serves; the control listener always serves the standard ones.
    pub profile: Profile,
    /// Hosts (without port) that the control listener answers to besides loopback: its bound address and
    /// `control_names`. An unspecified address (`0.0.0.0`, `::`) stands for every IP literal.
    pub control_hosts: Vec<String>,
    /// The control listener's address as told to those who publish on the public one; empty for none.
    pub control: String,
    /// Topics of one subscriber or publish.
    pub topics_per_connection_max: usize,
    /// Bytes of a publish body.
    pub publish_bytes_max: usize,
    /// `last=N` is clamped to this.
    pub last_max: usize,
    /// Who may read answers.
    pub cors: Cors,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `GET /events`
    Subscribe(Box<Subscribe>),
    /// `HEAD /events`: the same head, no stream.
    SubscribeHead {
        /// As in [`Subscribe::chunked`].
        chunked: bool,
    },
    /// `POST /publish`; the body's length has been checked as far as it is known.
    Publish(Box<Publish>),
    /// `POST /publish/batch`, likewise.
    Batch(Box<Batch>),
    /// `GET` or `HEAD /healthz`
    Health,
    /// `GET` or `HEAD /readyz`
    Ready,
    /// `GET` or `HEAD /status`
    Status,
    /// `GET` or `HEAD /metrics`
    Metrics,
    /// `POST /drain`
    Drain,
    /// `OPTIONS` on a path that browsers of other origins use; answer with `reply::preflight`.
    Preflight {
        /// The methods of the path.
        allow: &'static str,
    },
    /// `GET /sse` of the broadcast-benchmark profile.
    BenchSubscribe {
        /// As in [`Subscribe::chunked`].
        chunked: bool,
    },
    /// `GET /connections` of that profile.
    BenchConnections,
    /// `OPTIONS` on either of these; answer with `reply::bench_options`.
    BenchOptions,
    /// `POST /broadcast` of that profile.
    BenchBroadcast,
}

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Now,
    /// With the newest so many kept events; at least 1.
    Newest(usize),
    /// After this event.
    After(EventId),
    /// After an id that is not ours, or several ids: told as a gap. The text, for the gap event, is cut to
    /// `LAST_EVENT_ID_TEXT_BYTES_MAX`.
    Unknown(String),
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// At least one; order kept, duplicates dropped.
    pub topics: Vec<Box<str>>,
    /// Only events of these names; empty for all. An event without a name counts as `message`.
    pub events: Vec<Box<str>>,
    /// Where to begin.
    pub start: Start,
    /// `clock=1`
    pub clock: bool,
    /// HTTP/1.1: the stream is chunked.
    pub chunked: bool,
    /// A browser's EventSource, which a status other than 200 would silence for good.
    pub browser: bool,
}

/// A publish, but for its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// At least one; order kept, duplicates dropped.
    pub topics: Vec<Box<str>>,
    /// Event name; never empty.
    pub event: Option<Box<str>>,
    /// Key for latest-per-key; never empty.
    pub key: Option<Box<str>>,
    /// Reconnection time to tell subscribers with the event.
    pub retry_ms: Option<u64>,
    /// `Idempotency-Key`; never empty.
    pub idempotency_key: Option<Box<[u8]>>,
}

/// A batch, but for its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `Idempotency-Key`; never empty.
    pub idempotency_key: Option<Box<[u8]>>,
}

/// Decides what `head` asks `site` for.
pub fn route(head: &Head<'_>, site: &Site) -> Result<Request, Problem> {
    let _ = (head, site);
    Err(Problem::NotFound)
}
