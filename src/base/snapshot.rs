//! Figures of the running server at one moment, and the pages that are made of them.
//!
//! The core fills a [`Snapshot`]; `monitor` turns one into text; neither knows the other: the program hands
//! the core a [`Pages`]. Plain data, no I/O. Nothing here grows with topics, clients or user agents.

use std::fmt;
use std::sync::Arc;

use crate::base::counters::{CounterTotals, DistributionTotals};
use crate::base::survey::{AddressCount, ConnectionsPage, TopicsPage};

/// The node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sums over all workers.
    pub totals: CounterTotals,
    /// Distributions, summed over all workers.
    pub distributions: DistributionTotals,
    /// Each worker that serves connections, by index.
    pub workers: Vec<WorkerSnapshot>,
    /// Connections the node holds before it refuses newcomers.
    pub(crate) connections_max: usize,
    /// Milliseconds since the start.
    pub(crate) uptime_ms: u64,
    /// The server ends its streams and takes no newcomers.
    pub(crate) draining: bool,
    /// Resident memory is above its limit and newcomers are refused.
    pub(crate) memory_full: bool,
    /// Topics that exist now.
    pub(crate) topics: usize,
    /// Those of them that no event was published to.
    pub(crate) unpublished_topics: usize,
    /// Patterns that streams listen to, or did a moment ago.
    pub(crate) patterns: usize,
    /// Topics and patterns that streams listen to, each stream's counted.
    pub(crate) subscriptions: usize,
    /// The classes of topics, the default class first.
    pub classes: Vec<ClassSnapshot>,
    /// Events kept for returning subscribers, each topic's copy counted.
    pub(crate) history_events: usize,
    /// Newest events of keys that history has let go.
    pub(crate) history_keys: usize,
    /// Bytes of all of these.
    pub(crate) history_bytes: usize,
    /// Bytes of publish bodies that are being received.
    pub(crate) bodies_bytes: usize,
    /// Idempotency keys remembered now.
    pub(crate) idempotency_keys: usize,
    /// The addresses with most connections, when they were last counted; a few.
    pub(crate) top_addresses: Vec<AddressCount>,
    /// The backplane, if there is one.
    pub(crate) backplane: Option<BackplaneSnapshot>,
}

/// The backplane of a node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackplaneSnapshot {
    /// Its address without the password.
    pub(crate) address: String,
    /// Both connections to it are up.
    pub(crate) up: bool,
    /// Why the node should get no newcomers, if there is a reason.
    pub(crate) fault: Option<String>,
    /// Publishes of this node that have not come back.
    pub(crate) publishes_waiting: usize,
    /// Time of the latest probe from this node through the stream and back, microseconds.
    pub(crate) round_trip_us: u64,
    /// Times that the publishing connection was made.
    pub(crate) writer_connects: u64,
    /// Times that the reading connection was made.
    pub(crate) reader_connects: u64,
    /// Entries of the stream that are none of this version's.
    pub(crate) entries_skipped: u64,
    /// Times that entries were gone before this node had read them.
    pub(crate) losses: u64,
    /// Nodes of the fleet that are alive.
    pub(crate) nodes: Vec<FleetNode>,
}

/// A node of the fleet, as it was heard of last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FleetNode {
    /// Number that it drew at its start.
    pub(crate) id: u64,
    /// Host and port, for people.
    pub(crate) name: String,
    /// It is the node that is asked.
    pub(crate) is_self: bool,
    /// Streams that it has.
    pub(crate) subscribers: u64,
    /// Time of its latest probe through the stream and back, milliseconds.
    pub(crate) round_trip_ms: u64,
    /// It ends its streams.
    pub(crate) draining: bool,
    /// Id of the entry that told of it.
    pub(crate) position: String,
    /// Milliseconds since then.
    pub(crate) heard_ms: u64,
}

/// One worker at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// Connections open now, of any kind.
    pub(crate) connections: u64,
    /// Event streams open now.
    pub(crate) subscribers: u64,
    /// Those of them that are behind.
    pub lagging: u64,
    /// Frames handed whole to the kernel.
    pub(crate) delivered: u64,
    /// Turns since the start.
    pub(crate) turns: u64,
    /// Microseconds that they took together.
    pub(crate) turns_us: u64,
    /// Steps of turns that left work for the next turn.
    pub(crate) exhausted: u64,
    /// Frames that wait in its mailbox.
    pub(crate) mailbox: usize,
    /// Events that wait in windows.
    pub(crate) waiting: u64,
    /// Sockets that it holds.
    pub(crate) files: u64,
    /// How late it is with its timers, milliseconds.
    pub(crate) wheel_lag_ms: u64,
}

/// One class of topics at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Topics that belong to it now.
    pub topics: usize,
    /// Topics of it that streams listen to, each stream's counted.
    pub(crate) subscriptions: usize,
    /// Events that were published to its topics, each once.
    pub published: u64,
    /// Events that it keeps. One of several classes counts for the class that keeps it longest.
    pub history_events: usize,
    /// Bytes of those events.
    pub(crate) history_bytes: usize,
}

/// The greatest values since somebody asked for the last time, microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LatencyPeaks {
    /// From a publish until the kernel had the event for one subscriber.
    pub(crate) each_us: u64,
    /// From a publish until the kernel had it for the last live subscriber of the node.
    pub(crate) last_us: u64,
    /// Holds of the hub's lock.
    pub(crate) hub_hold_us: u64,
    /// Turns of each worker.
    pub(crate) turns_us: Vec<u64>,
}

/// Whether events pass through every worker in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessVerdict {
    /// Events pass through every worker in time.
    pub ok: bool,
    /// Why not, in words; none when they do.
    pub(crate) reason: Option<String>,
    /// Since when it has been so, milliseconds of uptime.
    pub(crate) since_ms: u64,
}

impl Default for ReadinessVerdict {
    fn default() -> ReadinessVerdict {
        ReadinessVerdict { ok: true, reason: None, since_ms: 0 }
    }
}

/// How `/metrics` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricsFormat {
    /// The Prometheus text format, version 0.0.4.
    #[default]
    Prometheus,
    /// The OpenMetrics text format, version 1.0.0.
    OpenMetrics,
}

/// Parts of `/status` that a request asks for beside the page itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusQuery {
    /// The curves of a time until now; none are asked for without it.
    pub(crate) series: Option<SeriesRange>,
}

/// Time that curves of `/status` reach back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesRange {
    /// One value for each second.
    FiveMinutes,
    /// One value for each 15 s.
    Hour,
    /// One value for each 2 minutes.
    Day,
}

/// Makes `/metrics` of a snapshot.
pub(crate) type MetricsPage = Box<dyn Fn(&Snapshot, MetricsFormat) -> String + Send + Sync>;
/// Makes `/status`, one JSON object, of a snapshot.
pub(crate) type StatusPage = Box<dyn Fn(&Snapshot, StatusQuery) -> String + Send + Sync>;

/// Makes a page that needs no figures of the core.
pub(crate) type TextPage = Box<dyn Fn() -> String + Send + Sync>;

/// A file that the program carries in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedFile {
    /// Value of `Content-Type`.
    pub(crate) content_type: &'static str,
    /// Contents of the file.
    pub(crate) bytes: &'static [u8],
    /// `ETag` with its quotes; another one for other bytes.
    pub(crate) etag: String,
}

/// Makes `/topics` of the topics that were found.
pub(crate) type TopicsPageMaker = Box<dyn Fn(&TopicsPage) -> String + Send + Sync>;
/// Makes `/connections` of the connections that were found.
pub(crate) type ConnectionsPageMaker = Box<dyn Fn(&ConnectionsPage) -> String + Send + Sync>;

/// The pages of the control listener. They hold all data beside their arguments themselves; any worker
/// may call them at any time.
pub struct Pages {
    /// Maker of `/metrics`.
    pub metrics: MetricsPage,
    /// Maker of `/status`.
    pub status: StatusPage,
    /// Maker of `/settings`, one JSON object.
    pub settings: TextPage,
    /// Maker of `/log`, one JSON object.
    pub log: TextPage,
    /// A file of the dashboard by its name; `index.html` is the page itself.
    pub asset: fn(&str) -> Option<EmbeddedFile>,
    /// The client library of pages.
    pub client_library: fn() -> EmbeddedFile,
    /// Maker of `/topics`.
    pub topics: TopicsPageMaker,
    /// Maker of `/connections`.
    pub connections: ConnectionsPageMaker,
}

impl Default for Pages {
    /// Empty pages, for a node that nobody watches.
    fn default() -> Pages {
        Pages {
            metrics: Box::new(|_, _| String::new()),
            status: Box::new(|_, _| String::new()),
            settings: Box::new(String::new),
            log: Box::new(String::new),
            asset: |_| None,
            client_library: || EmbeddedFile { content_type: "", bytes: b"", etag: String::new() },
            topics: Box::new(|_| String::new()),
            connections: Box::new(|_| String::new()),
        }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// One reading of the process and the host. A figure that could not be read is 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostReading {
    /// Bytes of this process that are in memory.
    pub(crate) resident_bytes: u64,
    /// Processor time of the process since its start.
    pub(crate) cpu_seconds: f64,
    /// Processor time of each worker's thread.
    pub(crate) workers_cpu_seconds: Vec<f64>,
    /// Bytes that the kernel's TCP holds for all sockets of the host.
    pub(crate) kernel_tcp_bytes: u64,
    /// Files open in all file tables of the process.
    pub(crate) files_open: u64,
}
