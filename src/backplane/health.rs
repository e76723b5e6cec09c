//! The state of the links to Redis, for those who publish, judge readiness and read pages.
//!
//! | state of a link | publishes | leaves it when |
//! | --- | --- | --- |
//! | up | are taken | a call is refused, cut or late |
//! | away, since a moment and for a reason | are refused at once | a call goes well |

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::base::limits::PROBE_PERIOD_MS;
use crate::base::logfmt::LogValue;

/// Time from one probe's return to the next before the node is not ready: a second between two of them, and
/// the patience of the probe through the workers.
const PROBE_TIME: Duration = Duration::from_millis(PROBE_PERIOD_MS + 1_200);
/// Probes under way that are remembered.
const PROBES_MAX: usize = 16;

/// The state of one link.
#[derive(Debug)]
pub(super) struct LinkHealth {
    name: &'static str,
    up: AtomicBool,
    fault: Mutex<Option<LinkOutage>>,
    connects: AtomicU64,
}

/// A time without the link.
#[derive(Clone, Debug)]
struct LinkOutage {
    since: Instant,
    words: String,
}

impl LinkHealth {
    /// Makes the state of a link that is up.
    pub(super) fn new(name: &'static str) -> LinkHealth {
        LinkHealth { name, up: AtomicBool::new(true), fault: Mutex::default(), connects: 0.into() }
    }

    /// Whether it is up.
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Times that it was connected.
    pub(super) fn connects(&self) -> u64 {
        self.connects.load(Relaxed)
    }

    /// Notes a connection.
    pub(super) fn note_connect(&self) {
        self.connects.fetch_add(1, Relaxed);
    }

    /// Notes that a call went well.
    pub(super) fn mark_up(&self) {
        if self.is_up() {
            return;
        }
        let outage = self.lock().take();
        self.up.store(true, Relaxed);
        let ms = outage.map_or(0, |outage| outage.since.elapsed().as_millis());
        info!("event=backplane_back link={} after_ms={ms}", self.name);
    }

    /// Notes that it is of no use for now. The log has a line for each new reason.
    pub(super) fn mark_away(&self, words: String) {
        let mut fault = self.lock();
        self.up.store(false, Relaxed);
        if fault.as_ref().is_some_and(|outage| outage.words == words) {
            return;
        }
        warn!("event=backplane_away link={} reason={}", self.name, LogValue(&words));
        let since = fault.as_ref().map_or_else(Instant::now, |outage| outage.since);
        *fault = Some(LinkOutage { since, words });
    }

    /// Returns the reason for which it is away, if it is.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().as_ref().map(|outage| outage.words.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<LinkOutage>> {
        self.fault.lock().expect("a panic ends the process")
    }
}

/// Probes on their way through Redis: from the writer to the reader.
#[derive(Debug)]
pub(super) struct RoundTrips {
    state: Mutex<RoundTripState>,
}

#[derive(Debug)]
struct RoundTripState {
    sent: VecDeque<SentProbe>,
    returned: Instant,
    latest: Duration,
}

#[derive(Clone, Copy, Debug)]
struct SentProbe {
    number: u64,
    at: Instant,
}

impl RoundTrips {
    /// Makes the state before the first probe.
    pub(super) fn new() -> RoundTrips {
        let state =
            RoundTripState { sent: VecDeque::new(), returned: Instant::now(), latest: Duration::ZERO };
        RoundTrips { state: Mutex::new(state) }
    }

    /// Notes that a probe is sent.
    pub(super) fn note_sent(&self, number: u64) {
        let mut state = self.lock();
        if state.sent.len() == PROBES_MAX {
            state.sent.pop_front();
        }
        state.sent.push_back(SentProbe { number, at: Instant::now() });
    }

    /// Notes that an entry of this node was read, whether or not it is a probe.
    pub(super) fn note_read(&self, number: u64) {
        let mut state = self.lock();
        let Some(at) = state.sent.iter().position(|probe| probe.number == number) else { return };
        let probe = state.sent.drain(..=at).next_back().expect("the one that was found");
        state.returned = Instant::now();
        state.latest = probe.at.elapsed();
    }

    /// The time that the latest probe took.
    pub(super) fn latest(&self) -> Duration {
        self.lock().latest
    }

    /// Returns for how long no probe has come round, if that is too long.
    pub(super) fn overdue(&self) -> Option<Duration> {
        Some(self.lock().returned.elapsed()).filter(|silence| *silence > PROBE_TIME)
    }

    fn lock(&self) -> MutexGuard<'_, RoundTripState> {
        self.state.lock().expect("a panic ends the process")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_away_from_its_fault_until_a_call_goes_well() {
        let link = LinkHealth::new("writer");
        assert!(link.is_up() && link.fault().is_none());
        link.mark_away("OOM".to_owned());
        link.mark_away("LOADING".to_owned());
        assert!(!link.is_up() && link.fault().as_deref() == Some("LOADING"));
        link.mark_up();
        assert!(link.is_up() && link.fault().is_none());
    }

    #[test]
    fn a_probe_that_was_overtaken_counts_as_returned_with_its_successor() {
        let trips = RoundTrips::new();
        (0..40).for_each(|number| trips.note_sent(number));
        trips.note_read(38);
        trips.note_read(37);
        trips.note_read(99);
        assert_eq!(trips.lock().sent.len(), 1, "the last one is under way");
        assert_eq!(trips.overdue(), None);
        trips.lock().returned -= 2 * PROBE_TIME;
        assert!(trips.overdue().is_some());
    }
}
