//! The curves of an hour and of a day: rings of points that each sum up a span of seconds.
//!
//! Owns the rings, and the rule by which seconds become a point: means of connections and rates, but the
//! worst second of all that an operator looks for.

use std::collections::VecDeque;

use super::SecondPoint;
use crate::base::counters::Count;
use crate::base::limits::KIB;

/// Points of the last hour.
const HOUR_POINTS_MAX: usize = 240;
/// Time that one of them sums up.
const HOUR_STEP_MS: u64 = 15_000;
/// Points of the last day.
const DAY_POINTS_MAX: usize = 720;
/// Time that one of them sums up.
const DAY_STEP_MS: u64 = 120_000;

const _: () = assert!(HOUR_POINTS_MAX as u64 * HOUR_STEP_MS == 3_600_000);
const _: () = assert!(DAY_POINTS_MAX as u64 * DAY_STEP_MS == 86_400_000);
// Documented with `series` of `/status`.
const _: () = assert!((HOUR_POINTS_MAX + DAY_POINTS_MAX) * size_of::<SpanPoint>() <= 30 * KIB);

/// The figures of one span. Single precision keeps seven digits, more than a curve shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SpanPoint {
    /// Monotonic seconds since the start, at the end of the span.
    pub(crate) end_s: u32,
    /// Mean number of open connections.
    pub(crate) connections: f32,
    /// Mean number of deliveries a second.
    pub(crate) deliveries: f32,
    /// Mean processor time, 100 for one processor that is never idle.
    pub(crate) cpu_percent: f32,
    /// The greatest of the seconds' 99th percentiles, to each subscriber; not a number without deliveries.
    pub(crate) each_p99_us: f32,
    /// The greatest of the seconds' 99th percentiles, to the last subscriber.
    pub(crate) last_p99_us: f32,
    /// Most bytes of this process that were in memory.
    pub(crate) resident_bytes: f32,
    /// Most subscribers that were behind.
    pub(crate) lagging: f32,
}

/// Running sums at the end of a second.
#[derive(Clone, Copy, Debug, Default)]
struct RunningSums {
    mono_ms: u64,
    delivered: u64,
    cpu_seconds: f64,
}

/// The span that the newest second is in.
#[derive(Clone, Copy, Debug)]
struct OpenSpan {
    before: RunningSums,
    newest: RunningSums,
    seconds: u64,
    connections: u64,
    each_p99_us: f32,
    last_p99_us: f32,
    resident_bytes: u64,
    lagging: u64,
}

/// The last spans of one length, oldest first.
#[derive(Debug)]
pub(crate) struct SpanRing {
    step_ms: u64,
    points_max: usize,
    finished: VecDeque<SpanPoint>,
    open: OpenSpan,
}

impl OpenSpan {
    fn after(before: RunningSums) -> OpenSpan {
        OpenSpan {
            before,
            newest: before,
            seconds: 0,
            connections: 0,
            each_p99_us: f32::NAN,
            last_p99_us: f32::NAN,
            resident_bytes: 0,
            lagging: 0,
        }
    }

    fn add(&mut self, second: &SecondPoint) {
        self.newest = RunningSums {
            mono_ms: second.mono_ms,
            delivered: second.count(Count::Delivered),
            cpu_seconds: second.cpu_seconds,
        };
        self.seconds += 1;
        self.connections += second.connections;
        // The greater of a number and no number is the number.
        let greater = |most: f32, us: Option<f64>| us.map_or(most, |us| most.max(us as f32));
        self.each_p99_us = greater(self.each_p99_us, second.each_p99_us);
        self.last_p99_us = greater(self.last_p99_us, second.last_p99_us);
        self.resident_bytes = self.resident_bytes.max(second.resident_bytes);
        self.lagging = self.lagging.max(second.lagging);
    }

    /// Returns the point of the seconds so far; none before the first.
    fn point(&self) -> Option<SpanPoint> {
        let (before, newest) = (&self.before, &self.newest);
        let seconds = newest.mono_ms.saturating_sub(before.mono_ms).max(1) as f64 / 1_000.0;
        (self.seconds > 0).then(|| SpanPoint {
            end_s: u32::try_from(newest.mono_ms / 1_000).unwrap_or(u32::MAX),
            connections: (self.connections as f64 / self.seconds as f64) as f32,
            deliveries: (newest.delivered.saturating_sub(before.delivered) as f64 / seconds) as f32,
            cpu_percent: ((newest.cpu_seconds - before.cpu_seconds).max(0.0) * 100.0 / seconds) as f32,
            each_p99_us: self.each_p99_us,
            last_p99_us: self.last_p99_us,
            resident_bytes: self.resident_bytes as f32,
            lagging: self.lagging as f32,
        })
    }
}

impl SpanRing {
    /// Makes the ring of an hour.
    pub(super) fn hour() -> SpanRing {
        SpanRing::new(HOUR_STEP_MS, HOUR_POINTS_MAX)
    }

    /// Makes the ring of a day.
    pub(super) fn day() -> SpanRing {
        SpanRing::new(DAY_STEP_MS, DAY_POINTS_MAX)
    }

    /// Takes its memory at once, so that it is no growth later.
    fn new(step_ms: u64, points_max: usize) -> SpanRing {
        let finished = VecDeque::with_capacity(points_max);
        SpanRing { step_ms, points_max, finished, open: OpenSpan::after(RunningSums::default()) }
    }

    /// Takes the next second. Spans end at multiples of the step, by the server's monotonic clock.
    pub(super) fn push(&mut self, second: &SecondPoint) {
        let newest_ms = self.open.newest.mono_ms;
        if second.mono_ms / self.step_ms != newest_ms / self.step_ms
            && let Some(point) = self.open.point()
        {
            if self.finished.len() == self.points_max {
                self.finished.pop_front();
            }
            self.finished.push_back(point);
            self.open = OpenSpan::after(self.open.newest);
        }
        self.open.add(second);
    }

    /// Returns the time that a point sums up.
    pub(crate) fn step_ms(&self) -> u64 {
        self.step_ms
    }

    /// Returns all points, oldest first; the newest may sum up less than a whole span.
    pub(crate) fn points(&self) -> impl Iterator<Item = SpanPoint> {
        self.finished.iter().copied().chain(self.open.point())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> SecondPoint {
        let mut point =
            SecondPoint { mono_ms: second * 1_000, connections: second, ..SecondPoint::default() };
        point.counts[Count::Delivered as usize] = 7 * second;
        point.cpu_seconds = second as f64 / 4.0;
        point.each_p99_us = (second == 20).then_some(4_000.0);
        point.lagging = if second == 16 { 9 } else { 1 };
        point
    }

    #[test]
    fn a_span_has_means_of_loads_and_the_worst_of_its_seconds() {
        let mut ring = SpanRing::hour();
        assert_eq!(ring.points().count(), 0);
        (1..=31).for_each(|at| ring.push(&second(at)));
        let points: Vec<SpanPoint> = ring.points().collect();
        assert_eq!(points.iter().map(|point| point.end_s).collect::<Vec<u32>>(), [14, 29, 31]);
        let whole = points[1];
        assert_eq!((whole.connections, whole.deliveries, whole.cpu_percent), (22.0, 7.0, 25.0));
        assert_eq!((whole.each_p99_us, whole.lagging), (4_000.0, 9.0));
        assert!(whole.last_p99_us.is_nan() && points[0].each_p99_us.is_nan());
        assert_eq!((points[2].deliveries, points[2].lagging), (7.0, 1.0));
    }

    #[test]
    fn rings_hold_an_hour_and_a_day_and_never_grow() {
        for (mut ring, span_s) in [(SpanRing::hour(), 3_600), (SpanRing::day(), 86_400)] {
            let room = ring.finished.capacity();
            (0..2 * span_s + 600).for_each(|at| ring.push(&second(at)));
            let ends: Vec<u32> = ring.points().map(|point| point.end_s).collect();
            let shown = u64::from(ends[ends.len() - 1] - ends[0]);
            assert!(shown.abs_diff(span_s) <= ring.step_ms() / 1_000, "{shown} of {span_s}");
            assert_eq!(ring.finished.capacity(), room);
        }
    }

    #[test]
    fn time_without_samples_makes_one_span_of_its_own_rate() {
        let mut ring = SpanRing::hour();
        ring.push(&second(1));
        ring.push(&second(1_000));
        let ends: Vec<(u32, f32)> = ring.points().map(|point| (point.end_s, point.deliveries)).collect();
        assert_eq!(ends, [(1, 7.0), (1_000, 7.0)]);
    }
}
