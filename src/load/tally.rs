//! What receivers have counted: plain numbers that add up over threads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::load::histogram::LatencyHistogram;

/// The counts of one part of a run.
#[derive(Clone, Default)]
pub struct ReceiverTally {
    /// Events received, repeats left out.
    pub deliveries: u64,
    /// Reads that brought something.
    pub reads: u64,
    /// Comment lines, the heartbeats among them.
    pub comments: u64,
    /// What must not happen.
    pub losses: LossCounts,
    /// From publishing to reading.
    pub latency: LatencyHistogram,
    /// From publishing to the reading of an event's last subscriber.
    pub to_last: LatencyHistogram,
    /// From connecting to the response head.
    pub opening: LatencyHistogram,
    /// From connecting again to the last event that was missed.
    pub resuming: LatencyHistogram,
}

impl ReceiverTally {
    /// Adds another.
    pub fn add(&mut self, other: &ReceiverTally) {
        self.deliveries += other.deliveries;
        self.reads += other.reads;
        self.comments += other.comments;
        self.losses.add(&other.losses);
        self.latency.merge(&other.latency);
        self.to_last.merge(&other.to_last);
        self.opening.merge(&other.opening);
        self.resuming.merge(&other.resuming);
    }
}

/// What must not happen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LossCounts {
    /// Events missing between two others, or at the end, with no word about it.
    pub lost: u64,
    /// Events missing behind a gap that the server told.
    pub told: u64,
    /// Events with a number not above the last one: repeated, or out of order.
    pub repeated: u64,
    /// Events that this run has not published.
    pub foreign: u64,
    /// Streams that the server ended.
    pub ended: u64,
    /// Attempts to subscribe that came to nothing, by what happened.
    pub failed: BTreeMap<String, u64>,
}

impl LossCounts {
    /// Adds those of a part.
    pub fn add(&mut self, other: &LossCounts) {
        let LossCounts { lost, told, repeated, foreign, ended, failed } = other;
        self.lost += lost;
        self.told += told;
        self.repeated += repeated;
        self.foreign += foreign;
        self.ended += ended;
        for (what, count) in failed {
            *self.failed.entry(what.clone()).or_default() += count;
        }
    }

    /// Counts an attempt that came to nothing.
    pub fn count_failed(&mut self, what: impl Into<String>) {
        *self.failed.entry(what.into()).or_default() += 1;
    }
}
