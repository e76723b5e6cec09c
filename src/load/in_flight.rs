//! Events on their way, and the moment at which each one's last subscriber has it. Shared by the publisher,
//! which begins events, and the receivers, which count arrivals; no thread waits for another.
//!
//! Events lie in a ring by their index. An event that is still open when the ring comes round is forgotten:
//! it never counts as complete, and the subscribers' own accounts still tell whether it was lost. Complete
//! events are counted from the latest part's first one on, so that no part waits for another's losses.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Release};

/// Events on their way that are followed at most: beyond a second of a fast publisher, a server is behind
/// by so much that the last subscriber's time says nothing new.
const LOAD_FLIGHT_EVENTS_MAX: usize = 1 << 16;

struct FlightSlot {
    /// The event's index plus one; 0 for none.
    event: AtomicU64,
    sent_ns: AtomicU64,
    /// Subscribers that have not received it.
    left: AtomicU32,
}

/// A ring of the events on their way.
pub(crate) struct EventsInFlight {
    slots: Box<[FlightSlot]>,
    /// Index of the latest part's first event.
    first: AtomicU64,
    complete: AtomicU64,
}

impl EventsInFlight {
    /// Makes an empty ring.
    pub(crate) fn new() -> EventsInFlight {
        let slot =
            |_| FlightSlot { event: AtomicU64::new(0), sent_ns: AtomicU64::new(0), left: AtomicU32::new(0) };
        let slots = (0..LOAD_FLIGHT_EVENTS_MAX).map(slot).collect();
        EventsInFlight { slots, first: AtomicU64::new(0), complete: AtomicU64::new(0) }
    }

    /// Counts complete events anew, those from `first` on.
    pub(crate) fn begin_phase(&self, first: u64) {
        self.first.store(first, Release);
        self.complete.store(0, Release);
    }

    fn slot(&self, index: u64) -> &FlightSlot {
        &self.slots[index as usize % LOAD_FLIGHT_EVENTS_MAX]
    }

    /// Begins an event before it is sent; `audience` subscribers shall get it. With none it is complete.
    pub(crate) fn begin_event(&self, index: u64, audience: u32, sent_ns: u64) {
        let slot = self.slot(index);
        slot.sent_ns.store(sent_ns, Release);
        slot.left.store(audience, Release);
        slot.event.store(index + 1, Release);
        if audience == 0 {
            self.count_complete(index);
        }
    }

    /// Counts arrivals of an event. If they were the last, returns when it was sent, in nanoseconds.
    pub(crate) fn count_arrivals(&self, index: u64, count: u32) -> Option<u64> {
        let slot = self.slot(index);
        if slot.event.load(Acquire) != index + 1 {
            return None;
        }
        let sent_ns = slot.sent_ns.load(Acquire);
        // Nothing is left of an event that a subscriber gets again after it came back.
        let before =
            slot.left.fetch_update(AcqRel, Acquire, |left| (left > 0).then(|| left.saturating_sub(count)));
        let last = before.is_ok_and(|left| left <= count);
        if last {
            self.count_complete(index);
        }
        last.then_some(sent_ns)
    }

    fn count_complete(&self, index: u64) {
        if index >= self.first.load(Acquire) {
            self.complete.fetch_add(1, AcqRel);
        }
    }

    /// Returns the events of the latest phase that have reached all their subscribers.
    pub(crate) fn complete_events(&self) -> u64 {
        self.complete.load(Acquire)
    }
}

impl Default for EventsInFlight {
    fn default() -> EventsInFlight {
        EventsInFlight::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_complete_once_with_its_last_arrival() {
        let flight = EventsInFlight::new();
        flight.begin_event(0, 3, 77);
        assert_eq!(flight.count_arrivals(0, 2), None);
        assert_eq!(flight.count_arrivals(1, 2), None, "not begun");
        assert_eq!(
            (flight.complete_events(), flight.count_arrivals(0, 1), flight.complete_events()),
            (0, Some(77), 1)
        );
        assert_eq!(
            (flight.count_arrivals(0, 1), flight.complete_events()),
            (None, 1),
            "again after a return"
        );
        flight.begin_event(1, 0, 78);
        assert_eq!(flight.complete_events(), 2);
    }

    #[test]
    fn what_an_earlier_part_lost_does_not_count_in_a_later_one() {
        let flight = EventsInFlight::new();
        flight.begin_event(0, 1, 1);
        flight.begin_event(1, 1, 2);
        assert_eq!((flight.count_arrivals(0, 1), flight.complete_events()), (Some(1), 1));
        flight.begin_phase(2);
        flight.begin_event(2, 1, 3);
        assert_eq!((flight.count_arrivals(1, 1), flight.complete_events()), (Some(2), 0), "late");
        assert_eq!((flight.count_arrivals(2, 1), flight.complete_events()), (Some(3), 1));
    }

    #[test]
    fn an_event_that_the_ring_has_passed_is_forgotten() {
        let flight = EventsInFlight::new();
        flight.begin_event(5, 1, 1);
        flight.begin_event(5 + LOAD_FLIGHT_EVENTS_MAX as u64, 1, 2);
        assert_eq!(flight.count_arrivals(5, 1), None);
        assert_eq!(flight.count_arrivals(5 + LOAD_FLIGHT_EVENTS_MAX as u64, 1), Some(2));
    }
}
