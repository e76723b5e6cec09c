//! The rate at which one stream is sent events: what it may be sent now, and when it may be sent more.
//!
//! ```text
//! live ── more events than its credit ──► held: reads nothing until its credit is back
//!   ▲                                       │
//!   └── has read all ◄── the policy decides which of them it reads
//! ```
//!
//! Credit comes with time, up to a burst. An event is sent while any credit in bytes is left, however large
//! it is, and the debt is waited for before the next. Only streams of a class with a rate have this state.
//! Knows no clock.

use crate::base::settings::{RatePolicy, StreamRateSettings};

/// Units of credit for one event or byte: credit comes each millisecond.
const UNITS: u64 = 1_000;

/// Credit of one kind.
#[derive(Clone, Copy, Debug)]
struct Credit {
    per_second: u64,
    most: i64,
    units: i64,
}

impl Credit {
    fn new(per_second: u64, burst: u64) -> Credit {
        let most = burst.saturating_mul(UNITS).min(i64::MAX as u64 / 2) as i64;
        Credit { per_second, most, units: most }
    }

    fn refill(&mut self, elapsed_ms: u64) {
        let more = elapsed_ms.saturating_mul(self.per_second).min(i64::MAX as u64 / 2) as i64;
        self.units = self.units.saturating_add(more).min(self.most);
    }

    /// Milliseconds until so many units are there.
    fn wait_ms(&self, wanted: i64) -> u64 {
        match u64::try_from(wanted - self.units) {
            Ok(missing) if self.per_second > 0 => missing.div_ceil(self.per_second),
            Ok(_) | Err(_) => 0,
        }
    }
}

/// The rate of one stream.
#[derive(Debug)]
pub(crate) struct StreamRate {
    policy: RatePolicy,
    events: Option<Credit>,
    bytes: Option<Credit>,
    at_ms: u64,
    /// It has had to wait, and has not read everything since.
    held: bool,
}

impl StreamRate {
    /// A rate with all of its credit.
    pub(crate) fn new(rules: StreamRateSettings, now_ms: u64) -> StreamRate {
        let StreamRateSettings { events_per_second, bytes_per_second, burst, policy } = rules;
        let burst = if burst == 0 { events_per_second } else { burst };
        let events = (events_per_second > 0).then(|| Credit::new(events_per_second, burst));
        let bytes = (bytes_per_second > 0).then(|| Credit::new(bytes_per_second, bytes_per_second));
        StreamRate { policy, events, bytes, at_ms: now_ms, held: false }
    }

    /// Returns the number of events that may be sent now.
    pub(crate) fn events_now(&mut self, now_ms: u64) -> usize {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms);
        self.at_ms = now_ms;
        for credit in [&mut self.events, &mut self.bytes].into_iter().flatten() {
            credit.refill(elapsed_ms);
        }
        if self.bytes.is_some_and(|credit| credit.units <= 0) {
            return 0;
        }
        self.events.map_or(usize::MAX, |credit| usize::try_from(credit.units / UNITS as i64).unwrap_or(0))
    }

    /// Returns whether a live stream may be sent so many events now, and charges them if so.
    pub(crate) fn admit(&mut self, events: usize, bytes: usize, now_ms: u64) -> bool {
        let fits = !self.held && events <= self.events_now(now_ms);
        let admitted = fits && (events == 1 || bytes <= self.bytes_left());
        if admitted {
            self.spend(events, bytes);
        }
        admitted
    }

    /// Bytes that may be sent now, and the rest of the event in which they end.
    pub(crate) fn bytes_left(&self) -> usize {
        self.bytes.map_or(usize::MAX, |credit| usize::try_from(credit.units / UNITS as i64).unwrap_or(0))
    }

    /// Whether it counts bytes.
    pub(crate) fn counts_bytes(&self) -> bool {
        self.bytes.is_some()
    }

    /// Charges events that are sent.
    pub(crate) fn spend(&mut self, events: usize, bytes: usize) {
        for (credit, number) in [(&mut self.events, events), (&mut self.bytes, bytes)] {
            if let Some(credit) = credit {
                credit.units = credit.units.saturating_sub(number as i64 * UNITS as i64);
            }
        }
    }

    /// Milliseconds until an event may be sent.
    pub(crate) fn wait_ms(&self) -> u64 {
        let events = self.events.map_or(0, |credit| credit.wait_ms(UNITS as i64));
        events.max(self.bytes.map_or(0, |credit| credit.wait_ms(1))).max(1)
    }

    /// Notes that the stream has to wait.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Notes that the stream has read everything. Returns whether it had been held.
    pub(crate) fn release(&mut self) -> bool {
        std::mem::take(&mut self.held)
    }

    /// The treatment of the events for which it had to wait, while it has not read everything.
    pub(crate) fn held_policy(&self) -> Option<RatePolicy> {
        self.held.then_some(self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(events_per_second: u64, bytes_per_second: u64, burst: u64) -> StreamRate {
        let policy = RatePolicy::Delay;
        StreamRate::new(StreamRateSettings { events_per_second, bytes_per_second, burst, policy }, 1_000)
    }

    #[test]
    fn credit_comes_with_time_up_to_a_burst() {
        let mut rate = rate(20, 0, 5);
        assert!(rate.admit(5, 100, 1_000) && !rate.admit(1, 100, 1_000));
        assert_eq!((rate.wait_ms(), rate.events_now(1_049)), (50, 0));
        assert!(rate.admit(1, 100, 1_050) && !rate.admit(1, 100, 1_099));
        assert_eq!(rate.events_now(9_000), 5, "no more than the burst");
        assert_eq!(rate.events_now(9_000), 5);
    }

    #[test]
    fn an_event_of_any_size_is_sent_and_its_bytes_are_waited_for() {
        let mut rate = rate(0, 1_000, 0);
        assert!(!rate.admit(3, 5_000, 1_000) && rate.bytes_left() == 1_000, "one at a time");
        assert!(rate.admit(1, 5_000, 1_000), "some credit is left");
        assert_eq!((rate.events_now(4_999), rate.wait_ms()), (0, 2));
        assert_eq!(rate.events_now(5_001), usize::MAX);
    }

    #[test]
    fn one_that_is_held_is_sent_nothing_as_a_live_stream() {
        let mut rate = rate(10, 0, 0);
        assert_eq!((rate.held_policy(), rate.events_now(1_000)), (None, 10), "a second's worth");
        rate.hold();
        assert!(!rate.admit(1, 1, 9_000) && rate.held_policy() == Some(RatePolicy::Delay));
        assert!(rate.release() && rate.admit(1, 1, 9_000) && !rate.release());
    }
}
