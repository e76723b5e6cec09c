//! The ring of one-second points and the rates over its end.

use std::collections::VecDeque;

use super::Sample;
use crate::base::counters::{Closed, Count, Totals};

/// Points kept: five minutes, and one more so that there is a difference over five minutes.
const POINTS_MAX: usize = 301;

/// A sliding window that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 1 s
    Second,
    /// 1 min
    Minute,
    /// 5 min
    FiveMinutes,
}

/// What happened in each second of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the names of the counters")]
pub struct Rates {
    pub published: f64,
    pub deliveries: f64,
    pub bytes: f64,
    pub accepted: f64,
    pub closed: f64,
    pub refused: f64,
    pub errors: f64,
    /// Processor time, 100 for one processor that is never idle.
    pub cpu_percent: f64,
}

/// What is kept of a sample: counts since the start, and figures of the moment.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names of the counters")]
pub struct Point {
    pub wall_ms: u64,
    pub mono_ms: u64,
    pub published: u64,
    pub deliveries: u64,
    pub bytes: u64,
    pub accepted: u64,
    pub closed: u64,
    pub refused: u64,
    pub errors: u64,
    pub cpu_seconds: f64,
    pub connections: u64,
    pub resident_bytes: u64,
}

/// Closings that are somebody's fault: neither an ordinary end nor a drain.
const FAULTS: [Closed; 9] = [
    Closed::Reset,
    Closed::BadRequest,
    Closed::HeadTimeout,
    Closed::BodyTimeout,
    Closed::AnswerTimeout,
    Closed::SlowStalled,
    Closed::SlowEvicted,
    Closed::Upstream,
    Closed::Host,
];

fn errors(totals: &Totals) -> u64 {
    let closed: u64 = FAULTS.iter().map(|why| totals.closed[*why as usize]).sum();
    let counts = [Count::RequestsBad, Count::AcceptErrors, Count::RegisterErrors];
    closed + counts.iter().map(|what| totals.counts[*what as usize]).sum::<u64>()
}

impl Point {
    /// What is kept of a sample.
    pub fn of(sample: &Sample) -> Point {
        let totals = &sample.snapshot.totals;
        let count = |what: Count| totals.counts[what as usize];
        Point {
            wall_ms: sample.wall_ms,
            mono_ms: sample.mono_ms,
            published: count(Count::Published),
            deliveries: count(Count::Delivered),
            bytes: count(Count::BytesSent),
            accepted: count(Count::Accepted),
            closed: totals.closed.iter().sum(),
            refused: totals.refused.iter().sum(),
            errors: errors(totals),
            cpu_seconds: sample.host.cpu_seconds,
            connections: totals.connections_open,
            resident_bytes: sample.host.resident_bytes,
        }
    }
}

impl Window {
    /// Its length.
    pub fn ms(self) -> u64 {
        match self {
            Window::Second => 1_000,
            Window::Minute => 60_000,
            Window::FiveMinutes => 300_000,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<Point>);

impl Ring {
    pub fn push(&mut self, point: Point) {
        if self.0.len() == POINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    pub fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.0.iter()
    }

    /// The youngest point that is at least as old as the window, or the oldest there is.
    fn start_of(&self, window: Window) -> Option<&Point> {
        let newest = self.0.back()?;
        // The main thread is a little late at times; a point that is nearly old enough is meant.
        let least_ms = newest.mono_ms.saturating_sub(window.ms() - 200);
        let older = self.0.partition_point(|point| point.mono_ms <= least_ms);
        self.0.get(older.saturating_sub(1))
    }

    pub fn rates(&self, window: Window) -> Rates {
        let (Some(from), Some(to)) = (self.start_of(window), self.0.back()) else { return Rates::default() };
        let seconds = (to.mono_ms - from.mono_ms) as f64 / 1_000.0;
        if seconds <= 0.0 {
            return Rates::default();
        }
        let rate = |of: fn(&Point) -> u64| of(to).wrapping_sub(of(from)) as f64 / seconds;
        Rates {
            published: rate(|point| point.published),
            deliveries: rate(|point| point.deliveries),
            bytes: rate(|point| point.bytes),
            accepted: rate(|point| point.accepted),
            closed: rate(|point| point.closed),
            refused: rate(|point| point.refused),
            errors: rate(|point| point.errors),
            cpu_percent: (to.cpu_seconds - from.cpu_seconds).max(0.0) / seconds * 100.0,
        }
    }
}
