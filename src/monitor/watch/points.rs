//! The ring of one-second points and the rates over its end.

use std::collections::VecDeque;

use super::WatchSample;
use crate::base::counters::{CLOSED_NAMES, COUNT_NAMES, CloseReason, Count, CounterTotals, REFUSED_NAMES};
use crate::base::limits::MINUTE_MS;
use crate::monitor::error_classes;

/// Seconds of figures that are kept: five minutes, and one more so that there is a difference over five
/// minutes.
const WATCH_POINTS_MAX: usize = 301;

/// Time by which a point may be too young for a window: the main thread is a little late at times.
const SLACK_MS: u64 = 200;

/// Seconds that a rate needs at least to mean anything.
pub(super) const RATE_SECONDS_MIN: f64 = 0.5;

/// A sliding window that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateWindow {
    /// The last second.
    Second,
    /// The last minute.
    Minute,
    /// The last five minutes.
    FiveMinutes,
}

/// Rates a second over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the names of the counters")]
pub(crate) struct WindowRates {
    pub(crate) published: f64,
    pub(crate) deliveries: f64,
    pub(crate) bytes: f64,
    pub(crate) accepted: f64,
    pub(crate) closed: f64,
    pub(crate) refused: f64,
    pub(crate) errors: f64,
    pub(crate) gaps: f64,
    pub(crate) skipped: f64,
    pub(crate) lagged: f64,
    pub(crate) replayed: f64,
    /// Processor time, 100 for one processor that is never idle.
    pub(crate) cpu_percent: f64,
}

/// The part of a sample that is kept for five minutes: counts since the start, and figures of the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondPoint {
    /// Monotonic milliseconds since the start.
    pub(crate) mono_ms: u64,
    /// Counts in the order of [`COUNT_NAMES`].
    pub(crate) counts: [u64; COUNT_NAMES.len()],
    /// Refusals in the order of [`REFUSED_NAMES`].
    pub(crate) refused: [u64; REFUSED_NAMES.len()],
    /// Closings in the order of [`CLOSED_NAMES`].
    pub(crate) closed: [u64; CLOSED_NAMES.len()],
    /// Errors of all classes.
    pub(crate) errors: u64,
    /// Processor time of the process since its start.
    pub(crate) cpu_seconds: f64,
    /// Connections that are open.
    pub(crate) connections: u64,
    /// Subscribers that are behind.
    pub(crate) lagging: u64,
    /// Bytes of this process that are in memory.
    pub(crate) resident_bytes: u64,
    /// 99th percentile of the time from publish to each subscriber, in the second before.
    pub(crate) each_p99_us: Option<f64>,
    /// 99th percentile of the time from publish to the last subscriber, in the second before.
    pub(crate) last_p99_us: Option<f64>,
    /// Greatest time to each subscriber in the second before.
    pub(crate) each_max_us: u64,
    /// Greatest time to the last subscriber in the second before.
    pub(crate) last_max_us: u64,
    /// The longest turn of any worker in the second before.
    pub(crate) turn_max_us: u64,
    /// The longest hold of the hub's lock in the second before.
    pub(crate) hub_hold_max_us: u64,
}

impl Default for SecondPoint {
    // Not derived: the standard library knows defaults of 32 elements at most.
    fn default() -> SecondPoint {
        SecondPoint {
            mono_ms: 0,
            counts: [0; COUNT_NAMES.len()],
            refused: [0; REFUSED_NAMES.len()],
            closed: [0; CLOSED_NAMES.len()],
            errors: 0,
            cpu_seconds: 0.0,
            connections: 0,
            lagging: 0,
            resident_bytes: 0,
            each_p99_us: None,
            last_p99_us: None,
            each_max_us: 0,
            last_max_us: 0,
            turn_max_us: 0,
            hub_hold_max_us: 0,
        }
    }
}

impl SecondPoint {
    /// Takes a sample; the caller fills in the percentiles.
    pub(crate) fn of(sample: &WatchSample) -> SecondPoint {
        let totals: &CounterTotals = &sample.snapshot.totals;
        SecondPoint {
            mono_ms: sample.mono_ms,
            counts: totals.counts,
            refused: totals.refused,
            closed: totals.closed,
            errors: error_classes::count_all(totals),
            cpu_seconds: sample.host.cpu_seconds,
            connections: totals.connections_open,
            lagging: totals.lagging,
            resident_bytes: sample.host.resident_bytes,
            each_p99_us: None,
            last_p99_us: None,
            each_max_us: sample.peaks.each_us,
            last_max_us: sample.peaks.last_us,
            hub_hold_max_us: sample.peaks.hub_hold_us,
            turn_max_us: sample.peaks.turns_us.iter().copied().max().unwrap_or(0),
        }
    }

    /// Returns one count since the start.
    pub(crate) fn count(&self, what: Count) -> u64 {
        self.counts[what as usize]
    }

    /// Returns the connections that ended for one reason.
    pub(crate) fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}

impl RateWindow {
    /// Returns its length in milliseconds.
    pub(crate) fn ms(self) -> u64 {
        match self {
            RateWindow::Second => 1_000,
            RateWindow::Minute => MINUTE_MS,
            RateWindow::FiveMinutes => 5 * MINUTE_MS,
        }
    }
}

/// The points of the last five minutes, oldest first.
#[derive(Debug, Default)]
pub(super) struct PointRing(VecDeque<SecondPoint>);

impl PointRing {
    pub(crate) fn push(&mut self, point: SecondPoint) {
        if self.0.len() == WATCH_POINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    pub(crate) fn points(&self) -> impl DoubleEndedIterator<Item = &SecondPoint> + ExactSizeIterator {
        self.0.iter()
    }

    /// Returns the point at the start of a window and the newest one. A window that is older than the server
    /// begins with the start, when everything was 0.
    pub(crate) fn window_ends(&self, window: RateWindow) -> Option<(SecondPoint, &SecondPoint)> {
        let newest = self.0.back()?;
        let least_ms = newest.mono_ms.saturating_sub(window.ms() - SLACK_MS);
        let older = self.0.partition_point(|point| point.mono_ms <= least_ms);
        let from = match older.checked_sub(1) {
            Some(index) => self.0[index],
            None if self.0.len() == WATCH_POINTS_MAX => self.0[0],
            None => SecondPoint::default(),
        };
        Some((from, newest))
    }

    /// Returns the growth of a running sum in a window.
    pub(crate) fn added(&self, window: RateWindow, sum: impl Fn(&SecondPoint) -> u64) -> u64 {
        self.window_ends(window).map_or(0, |(from, to)| sum(to).saturating_sub(sum(&from)))
    }

    pub(crate) fn rates(&self, window: RateWindow) -> WindowRates {
        let Some((from, to)) = self.window_ends(window) else { return WindowRates::default() };
        let seconds = (to.mono_ms - from.mono_ms) as f64 / 1_000.0;
        if seconds < RATE_SECONDS_MIN {
            return WindowRates::default();
        }
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        let count = |what: Count| rate(from.count(what), to.count(what));
        WindowRates {
            published: count(Count::Published),
            deliveries: count(Count::Delivered),
            bytes: count(Count::BytesSent),
            accepted: count(Count::Accepted),
            closed: rate(from.closed.iter().sum(), to.closed.iter().sum()),
            refused: rate(from.refused.iter().sum(), to.refused.iter().sum()),
            errors: rate(from.errors, to.errors),
            gaps: count(Count::Gaps),
            skipped: count(Count::Skipped),
            lagged: count(Count::Lagged),
            replayed: count(Count::Replayed),
            cpu_percent: (to.cpu_seconds - from.cpu_seconds).max(0.0) / seconds * 100.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: u64, published: u64) -> SecondPoint {
        let mut point = SecondPoint { mono_ms: second * 1_000 + second % 7, ..SecondPoint::default() };
        point.counts[Count::Published as usize] = published;
        point
    }

    fn published(ring: &PointRing) -> [f64; 3] {
        [RateWindow::Second, RateWindow::Minute, RateWindow::FiveMinutes]
            .map(|window| ring.rates(window).published)
    }

    #[test]
    fn rates_are_those_of_their_windows() {
        let mut ring = PointRing::default();
        assert_eq!(published(&ring), [0.0; 3], "nothing is known");
        ring.push(point(0, 10));
        assert_eq!(published(&ring), [0.0; 3], "no time has passed");
        // 100 a second for 1 000 s, and then 1 000 a second for 30 s.
        (1..=1_000).for_each(|second| ring.push(point(second, 10 + 100 * second)));
        (1..=30).for_each(|second| ring.push(point(1_000 + second, 100_010 + 1_000 * second)));
        let expected = [1_000.0, 550.0, 190.0];
        for (rate, expected) in published(&ring).into_iter().zip(expected) {
            assert!((rate / expected - 1.0).abs() < 0.01, "{rate} for {expected}");
        }
        assert_eq!(ring.points().len(), WATCH_POINTS_MAX);
    }

    #[test]
    fn a_young_server_has_rates_over_what_there_is() {
        let mut ring = PointRing::default();
        // Counts from before the first sample are included.
        (1..=5).for_each(|second| ring.push(point(second, 50 * second)));
        let [last, minute, five] = published(&ring);
        assert_eq!(minute, five);
        assert!((minute - 50.0).abs() < 1.0 && (last - 50.0).abs() < 1.0, "{last} {minute}");
    }
}
