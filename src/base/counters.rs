//! The cells that everything is counted in. What is counted stands in `count_names`.
//!
//! Each worker owns one [`Counters`] and is its only writer, so a count costs a load and a store. Readers
//! (`/metrics`, `/status`) add the workers up and may see a moment between two counts, never a torn one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(crate) use super::count_names::{
    CLIENT_CAUSE_NAMES, CLIENT_COUNT_NAMES, CLOSED_NAMES, COUNT_NAMES, ClientCause, ClientCount,
    REFUSED_NAMES, STEP_NAMES, SUPERSEDED_NAMES, TurnStep,
};
pub use super::count_names::{CloseReason, Count, RefusalReason, SupersededReason};
use super::histogram::{AtomicHistogram, Distribution, HistogramScale, bump};

/// The cells of one worker. Written by that worker only, and aligned so that no other one writes to the same
/// cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    counts: [AtomicU64; COUNT_NAMES.len()],
    refused: [AtomicU64; REFUSED_NAMES.len()],
    closed: [AtomicU64; CLOSED_NAMES.len()],
    exhausted: [AtomicU64; STEP_NAMES.len()],
    superseded: [AtomicU64; SUPERSEDED_NAMES.len()],
    client_counts: [AtomicU64; CLIENT_COUNT_NAMES.len()],
    client_causes: [AtomicU64; CLIENT_CAUSE_NAMES.len()],
    /// Connections open now, of any kind.
    pub connections_open: AtomicU64,
    /// Event streams open now.
    pub(crate) subscribers_open: AtomicU64,
    /// Streams whose socket was full and that have not caught up since.
    pub(crate) lagging: AtomicU64,
    /// Events that wait in windows.
    pub(crate) waiting_events: AtomicU64,
    /// Connections whose proxy has still to name the client.
    pub(crate) lobby: AtomicU64,
    /// Sockets that the worker holds.
    pub(crate) files: AtomicU64,
    /// How late the worker is with its timers, milliseconds.
    pub(crate) wheel_lag_ms: AtomicU64,
    /// From a publish until the kernel had the event for one subscriber, microseconds. Replays do not count.
    pub(crate) delivery_each: AtomicHistogram,
    /// From a publish until the kernel had the event for the last live subscriber of the node, microseconds.
    pub(crate) delivery_last: AtomicHistogram,
    /// Time of a turn, microseconds.
    pub(crate) turn: AtomicHistogram,
    /// Time from a connection's opening to its closing, milliseconds.
    pub(crate) duration: AtomicHistogram,
    /// Events of the history that one subscriber got before it was live.
    pub(crate) replay: AtomicHistogram,
    /// From a publish to the listener in a page, as the beacons of pages tell, microseconds.
    pub(crate) client_delay: AtomicHistogram,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            counts: [const { AtomicU64::new(0) }; COUNT_NAMES.len()],
            refused: [const { AtomicU64::new(0) }; REFUSED_NAMES.len()],
            closed: [const { AtomicU64::new(0) }; CLOSED_NAMES.len()],
            exhausted: [const { AtomicU64::new(0) }; STEP_NAMES.len()],
            superseded: [const { AtomicU64::new(0) }; SUPERSEDED_NAMES.len()],
            client_counts: [const { AtomicU64::new(0) }; CLIENT_COUNT_NAMES.len()],
            client_causes: [const { AtomicU64::new(0) }; CLIENT_CAUSE_NAMES.len()],
            connections_open: AtomicU64::new(0),
            subscribers_open: AtomicU64::new(0),
            lagging: AtomicU64::new(0),
            lobby: AtomicU64::new(0),
            files: AtomicU64::new(0),
            waiting_events: AtomicU64::new(0),
            wheel_lag_ms: AtomicU64::new(0),
            delivery_each: AtomicHistogram::new(HistogramScale::Spans),
            delivery_last: AtomicHistogram::new(HistogramScale::Spans),
            turn: AtomicHistogram::new(HistogramScale::Spans),
            duration: AtomicHistogram::new(HistogramScale::Spans),
            replay: AtomicHistogram::new(HistogramScale::Sizes),
            client_delay: AtomicHistogram::new(HistogramScale::Spans),
        }
    }
}

impl Counters {
    /// Adds one to a counter.
    pub(crate) fn count(&self, what: Count) {
        bump(&self.counts[what as usize], 1);
    }

    /// Adds `by` to a counter.
    pub(crate) fn add(&self, what: Count, by: u64) {
        bump(&self.counts[what as usize], by);
    }

    /// Counts one refusal with its reason.
    pub(crate) fn refuse(&self, why: RefusalReason) {
        bump(&self.refused[why as usize], 1);
    }

    /// Counts one closing with its reason.
    pub(crate) fn close(&self, why: CloseReason) {
        bump(&self.closed[why as usize], 1);
    }

    /// A step's budget was used up while work for it was left.
    pub(crate) fn exhaust(&self, step: TurnStep) {
        bump(&self.exhausted[step as usize], 1);
    }

    /// Counts events left out for newer ones of their keys.
    pub(crate) fn supersede(&self, why: SupersededReason, events: u64) {
        bump(&self.superseded[why as usize], events);
    }

    /// Adds `by` to a figure of pages.
    pub(crate) fn add_client(&self, what: ClientCount, by: u64) {
        bump(&self.client_counts[what as usize], by);
    }

    /// Counts ends of streams and attempts of pages with their cause.
    pub(crate) fn end_client_streams(&self, cause: ClientCause, times: u64) {
        bump(&self.client_causes[cause as usize], times);
    }

    /// A stream fell behind (+1), caught up or ended (-1).
    pub(crate) fn lagging(&self, by: i64) {
        bump(&self.lagging, by as u64);
    }

    /// A stream opened (+1) or ended (-1).
    pub(crate) fn subscribers(&self, by: i64) {
        bump(&self.subscribers_open, by as u64);
    }

    /// A connection opened (+1) or ended (-1).
    pub(crate) fn connections(&self, by: i64) {
        bump(&self.connections_open, by as u64);
    }

    /// Returns the value of one counter.
    pub fn get(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Relaxed)
    }

    /// Returns how many closings had that reason.
    pub fn get_closed(&self, why: CloseReason) -> u64 {
        self.closed[why as usize].load(Relaxed)
    }

    /// Steps that left work for the next turn.
    pub fn exhausted(&self) -> u64 {
        self.exhausted.iter().map(|cell| cell.load(Relaxed)).sum()
    }

    /// Adds this worker's cells to a sum over workers.
    pub(crate) fn add_to(&self, sum: &mut CounterTotals) {
        for (total, cell) in sum.counts.iter_mut().zip(&self.counts) {
            *total += cell.load(Relaxed);
        }
        for (total, cell) in sum.refused.iter_mut().zip(&self.refused) {
            *total += cell.load(Relaxed);
        }
        for (total, cell) in sum.closed.iter_mut().zip(&self.closed) {
            *total += cell.load(Relaxed);
        }
        for (total, cell) in sum.exhausted.iter_mut().zip(&self.exhausted) {
            *total += cell.load(Relaxed);
        }
        for (total, cell) in sum.superseded.iter_mut().zip(&self.superseded) {
            *total += cell.load(Relaxed);
        }
        for (total, cell) in sum.client_counts.iter_mut().zip(&self.client_counts) {
            *total += cell.load(Relaxed);
        }
        for (total, cell) in sum.client_causes.iter_mut().zip(&self.client_causes) {
            *total += cell.load(Relaxed);
        }
        sum.connections_open += self.connections_open.load(Relaxed);
        sum.subscribers_open += self.subscribers_open.load(Relaxed);
        sum.lagging += self.lagging.load(Relaxed);
        sum.lobby += self.lobby.load(Relaxed);
    }

    /// Adds this worker's distributions to sums over workers.
    pub(crate) fn add_distributions_to(&self, sum: &mut DistributionTotals) {
        self.delivery_each.add_to(&mut sum.delivery_each);
        self.delivery_last.add_to(&mut sum.delivery_last);
        self.turn.add_to(&mut sum.turn);
        self.duration.add_to(&mut sum.duration);
        self.replay.add_to(&mut sum.replay);
        self.client_delay.add_to(&mut sum.client_delay);
    }
}

/// A sum over workers at one moment, for the metrics and status pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterTotals {
    /// In the order of [`COUNT_NAMES`].
    pub counts: [u64; COUNT_NAMES.len()],
    /// In the order of [`REFUSED_NAMES`].
    pub refused: [u64; REFUSED_NAMES.len()],
    /// In the order of [`CLOSED_NAMES`].
    pub closed: [u64; CLOSED_NAMES.len()],
    /// In the order of [`STEP_NAMES`].
    pub(crate) exhausted: [u64; STEP_NAMES.len()],
    /// In the order of [`SUPERSEDED_NAMES`].
    pub superseded: [u64; SUPERSEDED_NAMES.len()],
    /// In the order of [`CLIENT_COUNT_NAMES`].
    pub(crate) client_counts: [u64; CLIENT_COUNT_NAMES.len()],
    /// In the order of [`CLIENT_CAUSE_NAMES`].
    pub(crate) client_causes: [u64; CLIENT_CAUSE_NAMES.len()],
    /// Connections open now, of any kind.
    pub connections_open: u64,
    /// Event streams open now.
    pub subscribers_open: u64,
    /// Streams that are behind.
    pub(crate) lagging: u64,
    /// Connections whose proxy has still to name the client.
    pub lobby: u64,
}

impl Default for CounterTotals {
    // Not derived: the standard library knows defaults of 32 elements at most.
    fn default() -> CounterTotals {
        CounterTotals {
            counts: [0; COUNT_NAMES.len()],
            refused: [0; REFUSED_NAMES.len()],
            closed: [0; CLOSED_NAMES.len()],
            exhausted: [0; STEP_NAMES.len()],
            superseded: [0; SUPERSEDED_NAMES.len()],
            client_counts: [0; CLIENT_COUNT_NAMES.len()],
            client_causes: [0; CLIENT_CAUSE_NAMES.len()],
            connections_open: 0,
            subscribers_open: 0,
            lagging: 0,
            lobby: 0,
        }
    }
}

/// Sums of the distributions over workers. The fields are those of [`Counters`], and `hub_hold`: for how long
/// the hub's lock was held each time, microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "see there")]
pub struct DistributionTotals {
    pub delivery_each: Distribution,
    pub delivery_last: Distribution,
    pub(crate) turn: Distribution,
    pub(crate) duration: Distribution,
    pub(crate) replay: Distribution,
    pub(crate) client_delay: Distribution,
    pub(crate) hub_hold: Distribution,
}
