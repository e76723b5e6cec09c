//! The counts of receivers: plain numbers that add up over threads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::load::histogram::LatencyHistogram;

/// The counts of one part of a run.
#[derive(Clone, Default)]
pub(crate) struct ReceiverTally {
    /// Events received, repeats left out.
    pub(crate) deliveries: u64,
    /// Events left out for a newer one of their key.
    pub(crate) superseded: u64,
    /// Reads that brought something.
    pub(crate) reads: u64,
    /// Comment lines, the heartbeats among them.
    pub(crate) comments: u64,
    /// Events and streams that were lost.
    pub(crate) losses: LossCounts,
    /// Latency from publishing to reading.
    pub(crate) latency: LatencyHistogram,
    /// Latency from publishing to the reading of an event's last subscriber.
    pub(crate) to_last: LatencyHistogram,
    /// Latency from connecting to the response head.
    pub(crate) opening: LatencyHistogram,
    /// Latency from connecting again to the last missed event.
    pub(crate) resuming: LatencyHistogram,
    /// Time from the end of a stream to the response head of the next.
    pub(crate) away: LatencyHistogram,
}

impl ReceiverTally {
    /// Adds another thread's counts.
    pub(crate) fn add(&mut self, other: &ReceiverTally) {
        self.deliveries += other.deliveries;
        self.superseded += other.superseded;
        self.reads += other.reads;
        self.comments += other.comments;
        self.losses.add(&other.losses);
        self.latency.merge(&other.latency);
        self.to_last.merge(&other.to_last);
        self.opening.merge(&other.opening);
        self.resuming.merge(&other.resuming);
        self.away.merge(&other.away);
    }
}

/// Events that were lost, repeated or foreign, and streams that failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LossCounts {
    /// Events missing between two others, or at the end, without an announced gap.
    pub(crate) lost: u64,
    /// Events missing behind a gap that the server announced.
    pub(crate) told: u64,
    /// Events with a number not above the last one: repeated, or out of order.
    pub(crate) repeated: u64,
    /// Events that this run has not published.
    pub(crate) foreign: u64,
    /// Streams that the server ended.
    pub(crate) ended: u64,
    /// Failed attempts to subscribe, by cause.
    pub(crate) failed: BTreeMap<String, u64>,
}

impl LossCounts {
    /// Adds the losses of a phase.
    pub(crate) fn add(&mut self, other: &LossCounts) {
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

    /// Counts a failed attempt to subscribe.
    pub(crate) fn count_failed(&mut self, what: impl Into<String>) {
        *self.failed.entry(what.into()).or_default() += 1;
    }
}
