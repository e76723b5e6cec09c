//! What a run has found, as numbers with their units in the name, as JSON and as one table for people.

use serde::{Deserialize, Serialize};

use crate::load::histogram::LatencyHistogram;
use crate::load::tally::LossCounts;

/// A latency's distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// Values.
    pub count: u64,
    /// Half are at most this.
    pub p50_ms: f64,
    /// 99 % are.
    pub p99_ms: f64,
    /// 99.9 % are.
    pub p999_ms: f64,
    /// All are.
    pub max_ms: f64,
}

impl LatencyFigures {
    /// The distribution of a histogram.
    pub fn of(histogram: &LatencyHistogram) -> LatencyFigures {
        LatencyFigures {
            count: histogram.count(),
            p50_ms: histogram.ms(0.5),
            p99_ms: histogram.ms(0.99),
            p999_ms: histogram.ms(0.999),
            max_ms: histogram.max_ms(),
        }
    }

    fn percentiles_text(&self) -> String {
        let LatencyFigures { p50_ms, p99_ms, p999_ms, max_ms, .. } = self;
        format!(
            "p50 {} · p99 {} · p99.9 {} · max {} ms",
            short(*p50_ms),
            short(*p99_ms),
            short(*p999_ms),
            short(*max_ms)
        )
    }
}

/// Opening all subscribers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OpenFigures {
    /// Subscribers asked for.
    pub wanted: u64,
    /// Streams open at the end.
    pub open: u64,
    /// How long it took.
    pub seconds: f64,
    /// Connections a second.
    pub per_second: f64,
    /// From connecting to the response head.
    pub latency: LatencyFigures,
    /// Processor time of the measured processes for each, in microseconds.
    pub cpu_us_each: Option<f64>,
    /// Growth of their resident memory for each, in bytes.
    pub resident_bytes_each: Option<f64>,
    /// Growth of the kernel's memory (slabs and TCP buffers) for each, in bytes; on loopback, of both ends.
    pub kernel_bytes_each: f64,
}

/// Holding them without an event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IdleFigures {
    /// How long.
    pub seconds: f64,
    /// Comment lines received meanwhile.
    pub heartbeats: u64,
    /// Share of one processor that the measured processes took, in per cent.
    pub cpu_percent: Option<f64>,
    /// Their processor time for each heartbeat, in microseconds.
    pub cpu_us_each: Option<f64>,
    /// Their resident memory at the end, in bytes.
    pub resident_bytes: Option<u64>,
}

/// Publishing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeliveryFigures {
    /// Events that the server took.
    pub events: u64,
    /// Requests they took.
    pub requests: u64,
    /// Requests refused with 503 or 429, each tried again.
    pub refused: u64,
    /// Requests that failed otherwise, each tried again.
    pub failed: u64,
    /// Events that were due and could not be sent.
    pub unsent: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Deliveries that were due.
    pub expected: u64,
    /// From the first event to the last delivery.
    pub seconds: f64,
    /// Events a second.
    pub events_per_second: f64,
    /// Deliveries a second.
    pub deliveries_per_second: f64,
    /// Events in one read, on average: what the server put together.
    pub events_per_read: f64,
    /// From the moment an event was due to each delivery.
    pub latency: LatencyFigures,
    /// To its last delivery.
    pub to_last: LatencyFigures,
    /// From sending a publish to its answer.
    pub answered: LatencyFigures,
    /// The longest that a due event waited for a free connection, in milliseconds.
    pub late_ms_max: f64,
    /// Processor time of the measured processes, in seconds.
    pub cpu_seconds: Option<f64>,
    /// The same for each delivery, in microseconds.
    pub cpu_us_per_delivery: Option<f64>,
    /// The same for each event, publish and deliveries together, in microseconds.
    pub cpu_us_per_event: Option<f64>,
    /// Their share of one processor, in per cent.
    pub cpu_percent: Option<f64>,
    /// The share of the processors this load may use that it did use, in per cent.
    pub client_cpu_percent: f64,
}

/// Coming back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReturnFigures {
    /// Subscribers that were cut.
    pub subscribers: u64,
    /// Events published meanwhile.
    pub missed: u64,
    /// Those that had everything in the end.
    pub caught_up: u64,
    /// How long it took all of them.
    pub seconds: f64,
    /// From connecting to the last missed event.
    pub latency: LatencyFigures,
    /// Processor time of the measured processes for each, in microseconds.
    pub cpu_us_each: Option<f64>,
}

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoadReport {
    /// What was asked, as a command line.
    pub command: String,
    /// The kernel.
    pub kernel: String,
    /// The target's version is not known to a load generator; this is its own.
    pub version: String,
    /// The parts, as far as the run came.
    pub opened: OpenFigures,
    /// Holding, if asked.
    pub idled: Option<IdleFigures>,
    /// Publishing, if asked.
    pub delivered: Option<DeliveryFigures>,
    /// Coming back, if asked.
    pub returned: Option<ReturnFigures>,
    /// What must not happen.
    pub losses: LossCounts,
    /// In words: what limits the meaning of these numbers.
    pub notes: Vec<String>,
    /// In words: what went wrong.
    pub faults: Vec<String>,
    /// The run was interrupted.
    pub interrupted: bool,
}

impl LoadReport {
    /// Whether everything arrived, once, in order, and nothing failed.
    pub fn is_clean(&self) -> bool {
        let LossCounts { lost, told, repeated, foreign, ended, .. } = self.losses;
        !self.interrupted && self.faults.is_empty() && [lost, told, repeated, foreign, ended] == [0; 5]
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |what: &str, value: String| rows.push((what.to_owned(), value));
        self.opened.rows(&mut row);
        if let Some(part) = &self.idled {
            part.rows(&mut row);
        }
        if let Some(part) = &self.delivered {
            part.rows(&mut row);
        }
        if let Some(part) = &self.returned {
            part.rows(&mut row);
        }
        self.losses.rows(&mut row);
        let mut text: String = rows.iter().map(|(what, value)| format!("{what:<30}  {value}\n")).collect();
        self.notes.iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
        self.faults.iter().for_each(|fault| text.push_str(&format!("fault: {fault}\n")));
        if self.interrupted {
            text.push_str("interrupted: the numbers are those of what was done until then\n");
        }
        text
    }
}

impl OpenFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let OpenFigures { wanted, open, seconds, per_second, .. } = self;
        row(
            "subscribers open",
            format!("{open} of {wanted} in {} s ({per_second:.0} a second)", short(*seconds)),
        );
        row("  to the response head", self.latency.percentiles_text());
        optional_row(row, "  server CPU each", self.cpu_us_each, "µs");
        optional_row(row, "  resident memory each", self.resident_bytes_each, "B");
        row("  kernel memory each, both ends", format!("{} B", short(self.kernel_bytes_each)));
    }
}

impl IdleFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        row("idle", format!("{} s, {} heartbeats", short(self.seconds), self.heartbeats));
        optional_row(row, "  server CPU", self.cpu_percent, "% of one processor");
        optional_row(row, "  server CPU per heartbeat", self.cpu_us_each, "µs");
    }
}

impl DeliveryFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let DeliveryFigures { events, deliveries, expected, seconds, refused, failed, unsent, .. } = self;
        row("events", format!("{events} in {} s ({:.0} a second)", short(*seconds), self.events_per_second));
        if refused + failed + unsent > 0 {
            row("  publishes", format!("{refused} refused, {failed} failed, {unsent} events not sent"));
        }
        row("deliveries", format!("{deliveries} of {expected} ({:.0} a second)", self.deliveries_per_second));
        row("  events in one read", short(self.events_per_read));
        row("  latency", self.latency.percentiles_text());
        row("  to the last subscriber", self.to_last.percentiles_text());
        row("  publish answered", self.answered.percentiles_text());
        optional_row(row, "  server CPU per delivery", self.cpu_us_per_delivery, "µs");
        optional_row(row, "  server CPU", self.cpu_seconds, "s");
        optional_row(row, "  of one processor", self.cpu_percent, "%");
    }
}

impl ReturnFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let ReturnFigures { subscribers, missed, caught_up, seconds, .. } = self;
        row(
            "came back",
            format!("{caught_up} of {subscribers} in {} s, {missed} events missed", short(*seconds)),
        );
        row("  to the last missed event", self.latency.percentiles_text());
        optional_row(row, "  server CPU each", self.cpu_us_each, "µs");
    }
}

impl LossCounts {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let LossCounts { lost, told, repeated, foreign, ended, .. } = self;
        row("lost", format!("{lost} silently, {told} behind a gap that was told"));
        row("repeated, foreign, cut", format!("{repeated}, {foreign}, {ended}"));
        for (what, count) in &self.failed {
            row("  subscribing failed", format!("{count} × {what}"));
        }
    }
}

fn optional_row(row: &mut impl FnMut(&str, String), what: &str, value: Option<f64>, unit: &str) {
    if let Some(value) = value {
        row(what, format!("{} {unit}", short(value)));
    }
}

/// A number with as many digits as help.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
