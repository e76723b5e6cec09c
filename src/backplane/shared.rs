//! State that the threads of the backplane share with each other and with pages.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::fleet::FleetNodes;
use super::flights::Flights;
use super::health::{LinkHealth, RoundTrips};
use super::keys::FleetKeys;
use super::link::LinkTarget;
use crate::base::id::EventId;
use crate::base::snapshot::BackplaneSnapshot;
use crate::fanout::node::Node;
use crate::reactor::{Clock, Wakers};

/// Everything that several threads look at.
pub(super) struct SharedState {
    /// Tells this run of this node from all others.
    pub(super) own: u64,
    /// Address without its password.
    pub(super) address: String,
    /// Name of the node for people.
    pub(super) name: String,
    /// Places and login for connections.
    pub(super) target: LinkTarget,
    /// Names of keys.
    pub(super) keys: FleetKeys,
    /// Position at which the run began; its tag is the fleet's.
    pub(super) start: EventId,
    /// Publishes under way.
    pub(super) flights: Flights,
    /// The connection that publishes.
    pub(super) writer: LinkHealth,
    /// The connection that reads.
    pub(super) reader: LinkHealth,
    /// Probes under way.
    pub(super) trips: RoundTrips,
    /// Nodes that were heard of.
    pub(super) fleet: Mutex<FleetNodes>,
    /// Entries that were foreign or broken.
    pub(super) skipped: AtomicU64,
    /// Times that something could not be read any more.
    pub(super) losses: AtomicU64,
}

impl SharedState {
    /// Returns the reason for which the node should get no newcomers, if there is one.
    pub(super) fn fault(&self) -> Option<String> {
        if let Some(words) = self.writer.fault().or_else(|| self.reader.fault()) {
            return Some(format!("backplane_away: {words}"));
        }
        let silence = self.trips.overdue()?;
        Some(format!("backplane_late: no probe has come round for {} ms", silence.as_millis()))
    }

    /// Returns the figures for pages.
    pub(super) fn snapshot(&self) -> BackplaneSnapshot {
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        BackplaneSnapshot {
            address: self.address.clone(),
            up: self.writer.is_up() && self.reader.is_up(),
            fault: self.fault(),
            publishes_waiting: self.flights.len(),
            round_trip_us: micros(self.trips.latest()),
            writer_connects: self.writer.connects(),
            reader_connects: self.reader.connects(),
            entries_skipped: self.skipped.load(Relaxed),
            losses: self.losses.load(Relaxed),
            nodes: self.fleet.lock().expect("a panic ends the process").list(self.own, Instant::now()),
        }
    }
}

/// The node that a thread works for.
#[derive(Clone)]
pub(super) struct ServedNode {
    /// Its hub and counters.
    pub(super) node: Arc<Node>,
    /// Its clock.
    pub(super) clock: Clock,
    /// Its workers.
    pub(super) wakers: Wakers,
}

impl ServedNode {
    /// Wakes those workers of a mask that sleep.
    pub(super) fn wake(&self, mailed: u64) {
        self.wakers.wake(self.node.hub.claim_sleepers(mailed));
    }
}
