//! What the running server tells about itself at one moment, and the pages that are made of it.
//!
//! The core fills a [`Snapshot`]; `ops` turns one into text; neither knows the other: the program hands the
//! core a [`Pages`]. Plain data, no I/O. Nothing here grows with topics, clients or user agents.

use crate::base::counters::Totals;

/// The node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Sums over all workers.
    pub totals: Totals,
    /// Threads that serve connections.
    pub workers: usize,
    /// Connections the node holds before it refuses newcomers.
    pub connections_max: usize,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// The server ends its streams and takes no newcomers.
    pub draining: bool,
    /// Resident memory is above its limit and newcomers are refused.
    pub memory_full: bool,
    /// Topics that exist.
    pub topics: usize,
    /// Events kept for returning subscribers, each topic's copy counted.
    pub history_events: usize,
    /// Bytes of those events.
    pub history_bytes: usize,
    /// Bytes of publish bodies that are being received.
    pub bodies_bytes: usize,
    /// Idempotency keys remembered.
    pub idempotency_keys: usize,
}

/// The pages of the control listener that are made of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// `/metrics`, the Prometheus text format.
    pub metrics: fn(&Snapshot) -> String,
    /// `/status`, one JSON object.
    pub status: fn(&Snapshot) -> String,
}
