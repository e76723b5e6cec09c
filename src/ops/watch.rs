//! What the last five minutes were like: one sample a second goes in, rates and trends come out.
//!
//! Owns the ring of samples. Plain values, no clock: whoever pushes says when it was. Knows no page.

mod points;

use std::collections::VecDeque;

use self::points::Ring;
pub use self::points::{Point, Rates, Window};
use crate::base::snapshot::{Readiness, Snapshot, WorkerSnapshot};

/// What was read of the process and the host. What could not be read is 0.
#[derive(Clone, Debug, Default)]
pub struct HostReading {
    /// Bytes of this process that are in memory.
    pub resident_bytes: u64,
    /// Processor time of the process since its start.
    pub cpu_seconds: f64,
    /// The same of each worker's thread.
    pub workers_cpu_seconds: Vec<f64>,
    /// Bytes that the kernel's TCP holds for all sockets of the host.
    pub kernel_tcp_bytes: u64,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// Milliseconds since the start, from the monotonic clock.
    pub mono_ms: u64,
    /// The node.
    pub snapshot: Snapshot,
    /// The process and the host.
    pub host: HostReading,
    /// Whether events pass through every worker.
    pub readiness: Readiness,
}

/// What does not change while the server runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Resident bytes above which newcomers are refused.
    pub memory_limit_bytes: u64,
    /// Connections at which a worker stops listening.
    pub worker_files_max: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    bounds: Bounds,
    ring: Ring,
    /// Rows of the workers in the last minute, newest last.
    workers: VecDeque<WorkerRows>,
    last: Sample,
}

#[derive(Debug)]
struct WorkerRows {
    mono_ms: u64,
    rows: Vec<WorkerSnapshot>,
    cpu_seconds: Vec<f64>,
}

/// What a worker did in each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerRates {
    /// Frames handed whole to the kernel.
    pub deliveries: f64,
    /// Processor time, 100 for a processor that is never idle.
    pub cpu_percent: f64,
}

/// Samples of the workers that are kept: a minute and one, so that there is a difference over a minute.
const WORKER_ROWS_MAX: usize = 61;

impl Watch {
    /// Nothing has been seen yet.
    pub fn new(bounds: Bounds) -> Watch {
        Watch { bounds, ring: Ring::default(), workers: VecDeque::new(), last: Sample::default() }
    }

    /// Takes in the next sample; once a second.
    pub fn push(&mut self, sample: Sample) {
        self.ring.push(Point::of(&sample));
        if self.workers.len() == WORKER_ROWS_MAX {
            self.workers.pop_front();
        }
        self.workers.push_back(WorkerRows {
            mono_ms: sample.mono_ms,
            rows: sample.snapshot.workers.clone(),
            cpu_seconds: sample.host.workers_cpu_seconds.clone(),
        });
        self.last = sample;
    }

    /// What does not change.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The newest sample.
    pub fn last(&self) -> &Sample {
        &self.last
    }

    /// What happened in each second of a window that ends with the newest sample.
    pub fn rates(&self, window: Window) -> Rates {
        self.ring.rates(window)
    }

    /// What each worker did in each of the last seconds, by index.
    pub fn worker_rates(&self) -> Vec<WorkerRates> {
        let (Some(to), Some(from)) = (self.workers.back(), self.workers.iter().nth_back(1)) else {
            return Vec::new();
        };
        let seconds = to.mono_ms.saturating_sub(from.mono_ms).max(1) as f64 / 1_000.0;
        let cpu_seconds = |rows: &WorkerRows, index| rows.cpu_seconds.get(index).copied().unwrap_or(0.0);
        let rates = |(index, (to_row, from_row)): (usize, (&WorkerSnapshot, &WorkerSnapshot))| WorkerRates {
            deliveries: (to_row.delivered - from_row.delivered) as f64 / seconds,
            cpu_percent: (cpu_seconds(to, index) - cpu_seconds(from, index)).max(0.0) / seconds * 100.0,
        };
        to.rows.iter().zip(&from.rows).enumerate().map(rates).collect()
    }

    /// The samples, oldest first.
    pub fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.ring.points()
    }

    /// A named figure for alert rules; none for an unknown name and while nothing is known.
    pub fn value(&self, metric: &str) -> Option<f64> {
        let Sample { snapshot, host, readiness, .. } = &self.last;
        let totals = &snapshot.totals;
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let minute = self.rates(Window::Minute);
        match metric {
            "connections_open" => Some(totals.connections_open as f64),
            "connections_share" => share(totals.connections_open, snapshot.connections_max as u64),
            "subscribers_open" => Some(totals.subscribers_open as f64),
            "memory_resident_bytes" => Some(host.resident_bytes as f64),
            "memory_share" => share(host.resident_bytes, self.bounds.memory_limit_bytes),
            "messages_per_second" => Some(minute.deliveries),
            "published_per_second" => Some(minute.published),
            "errors_per_second" => Some(minute.errors),
            "refused_per_second" => Some(minute.refused),
            "cpu_percent" => Some(self.rates(Window::Second).cpu_percent),
            "ready" => Some(f64::from(u8::from(readiness.ok))),
            "log_dropped" => Some(totals.counts[crate::base::counters::Count::LogDropped as usize] as f64),
            "leak_bytes_per_minute" => Some(0.0),
            _ => None,
        }
    }
}
