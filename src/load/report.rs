//! The report of a run: numbers with their units in the name, as JSON and as one table for people.

use serde::{Deserialize, Serialize};

use crate::base::number_text::short_number;
use crate::load::histogram::LatencyHistogram;
use crate::load::tally::LossCounts;

/// A latency's distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LatencyFigures {
    /// The number of values.
    pub(crate) count: u64,
    /// The median of all values.
    pub(crate) p50_ms: f64,
    /// The 99th percentile of all values.
    pub(crate) p99_ms: f64,
    /// The 99.9th percentile of all values.
    pub(crate) p999_ms: f64,
    /// The largest of all values.
    pub(crate) max_ms: f64,
}

impl LatencyFigures {
    /// Reads the percentiles of a histogram.
    pub(crate) fn of(histogram: &LatencyHistogram) -> LatencyFigures {
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
            short_number(*p50_ms),
            short_number(*p99_ms),
            short_number(*p999_ms),
            short_number(*max_ms)
        )
    }
}

/// Figures of opening all subscribers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OpenFigures {
    /// Subscribers that were asked for.
    pub(crate) wanted: u64,
    /// Streams open at the end.
    pub(crate) open: u64,
    /// The time that it took.
    pub(crate) seconds: f64,
    /// Connections opened a second.
    pub(crate) per_second: f64,
    /// Latency from connecting to the response head.
    pub(crate) latency: LatencyFigures,
    /// Processor time of the measured processes for each, in microseconds.
    pub(crate) cpu_us_each: Option<f64>,
    /// Growth of their resident memory for each, in bytes.
    pub(crate) resident_bytes_each: Option<f64>,
    /// Growth of the kernel's memory (slabs and TCP buffers) for each, in bytes; on loopback, of both ends.
    /// Only with so many that it stands out from the rest of the host.
    pub(crate) kernel_bytes_each: Option<f64>,
}

/// Figures of holding subscribers without an event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct IdleFigures {
    /// The time of holding.
    pub(crate) seconds: f64,
    /// Comment lines received meanwhile.
    pub(crate) heartbeats: u64,
    /// Share of one processor that the measured processes took, in per cent.
    pub(crate) cpu_percent: Option<f64>,
    /// Their processor time for each heartbeat, in microseconds.
    pub(crate) cpu_us_each: Option<f64>,
    /// Their resident memory at the end, in bytes.
    pub(crate) resident_bytes: Option<u64>,
}

/// Figures of publishing and delivery.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeliveryFigures {
    /// Events that the server took.
    pub(crate) events: u64,
    /// Requests that the server took.
    pub(crate) requests: u64,
    /// Requests refused with 503 or 429, each tried again.
    pub(crate) refused: u64,
    /// Requests that failed otherwise, each tried again.
    pub(crate) failed: u64,
    /// Events that were due and could not be sent.
    pub(crate) unsent: u64,
    /// Events that subscribers received.
    pub(crate) deliveries: u64,
    /// Deliveries left out for a newer event of the same key.
    pub(crate) superseded: u64,
    /// Deliveries that were due.
    pub(crate) expected: u64,
    /// From the first event to the last delivery.
    pub(crate) seconds: f64,
    /// Events that the server took a second.
    pub(crate) events_per_second: f64,
    /// Events that subscribers received a second.
    pub(crate) deliveries_per_second: f64,
    /// Events in one read, on average: the server's coalescing.
    pub(crate) events_per_read: f64,
    /// Latency from the moment an event was due to each delivery.
    pub(crate) latency: LatencyFigures,
    /// Latency to the last delivery of an event.
    pub(crate) to_last: LatencyFigures,
    /// Latency from sending a publish to its answer.
    pub(crate) answered: LatencyFigures,
    /// The longest that a due event waited for a free connection, in milliseconds.
    pub(crate) late_ms_max: f64,
    /// Processor time of the measured processes, in seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Their processor time for each delivery, in microseconds.
    pub(crate) cpu_us_per_delivery: Option<f64>,
    /// Their processor time for each event, publish and deliveries together, in microseconds.
    pub(crate) cpu_us_per_event: Option<f64>,
    /// Their share of one processor, in per cent.
    pub(crate) cpu_percent: Option<f64>,
    /// The share of the processors this load may use that it did use, in per cent.
    pub(crate) client_cpu_percent: f64,
}

/// Figures of the return after a cut.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ReturnFigures {
    /// Subscribers that were cut.
    pub(crate) subscribers: u64,
    /// Events that were published during the cut.
    pub(crate) missed: u64,
    /// Subscribers that had every missed event in the end.
    pub(crate) caught_up: u64,
    /// The time until all of them had it.
    pub(crate) seconds: f64,
    /// Latency from connecting to the last missed event.
    pub(crate) latency: LatencyFigures,
    /// Processor time of the measured processes for each, in microseconds.
    pub(crate) cpu_us_each: Option<f64>,
}

/// The report of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoadReport {
    /// The command line of the run.
    pub(crate) command: String,
    /// The release of the kernel.
    pub(crate) kernel: String,
    /// The load generator's version; it does not know the target's.
    pub(crate) version: String,
    /// Figures of opening all subscribers.
    pub(crate) opened: OpenFigures,
    /// Figures of holding, if asked for.
    pub(crate) idled: Option<IdleFigures>,
    /// Figures of publishing, if asked for.
    pub(crate) delivered: Option<DeliveryFigures>,
    /// Figures of the return, if asked for.
    pub(crate) returned: Option<ReturnFigures>,
    /// Whether servers were allowed to restart meanwhile.
    pub(crate) through_restarts: bool,
    /// Time from the end of a stream to the response head of the next.
    pub(crate) away: LatencyFigures,
    /// Lost, repeated and foreign events, and failed subscriptions.
    pub(crate) losses: LossCounts,
    /// Limits to the meaning of these numbers, in words.
    pub(crate) notes: Vec<String>,
    /// Failures of the run, in words.
    pub(crate) faults: Vec<String>,
    /// Whether the run was interrupted.
    pub(crate) interrupted: bool,
}

impl LoadReport {
    /// Whether everything arrived, once, in order, and nothing failed.
    pub fn is_clean(&self) -> bool {
        let LossCounts { lost, told, repeated, foreign, ended, .. } = self.losses;
        let cut = if self.through_restarts { 0 } else { ended };
        !self.interrupted && self.faults.is_empty() && [lost, told, repeated, foreign, cut] == [0; 5]
    }

    /// Writes the table for people.
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
        latency_row(&mut row, "  from cut to open again", &self.away);
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
            format!("{open} of {wanted} in {} s ({per_second:.0} a second)", short_number(*seconds)),
        );
        latency_row(row, "  to the response head", &self.latency);
        optional_row(row, "  server CPU each", self.cpu_us_each, "µs");
        optional_row(row, "  resident memory each", self.resident_bytes_each, "B");
        optional_row(row, "  kernel memory each, both ends", self.kernel_bytes_each, "B");
    }
}

impl IdleFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        row("idle", format!("{} s, {} heartbeats", short_number(self.seconds), self.heartbeats));
        optional_row(row, "  server CPU", self.cpu_percent, "% of one processor");
        optional_row(row, "  server CPU per heartbeat", self.cpu_us_each, "µs");
    }
}

impl DeliveryFigures {
    fn rows(&self, row: &mut impl FnMut(&str, String)) {
        let DeliveryFigures { events, deliveries, expected, seconds, refused, failed, unsent, .. } = self;
        row(
            "events",
            format!("{events} in {} s ({:.0} a second)", short_number(*seconds), self.events_per_second),
        );
        if refused + failed + unsent > 0 {
            row("  publishes", format!("{refused} refused, {failed} failed, {unsent} events not sent"));
        }
        row("deliveries", format!("{deliveries} of {expected} ({:.0} a second)", self.deliveries_per_second));
        if self.superseded > 0 {
            row("  gave way to newer ones", self.superseded.to_string());
        }
        optional_row(row, "  events in one read", Some(self.events_per_read).filter(|_| *deliveries > 0), "");
        latency_row(row, "  latency", &self.latency);
        latency_row(row, "  to the last subscriber", &self.to_last);
        latency_row(row, "  publish answered", &self.answered);
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
            format!("{caught_up} of {subscribers} in {} s, {missed} events missed", short_number(*seconds)),
        );
        latency_row(row, "  to the last missed event", &self.latency);
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

/// Writes a row of a latency that was measured at least once.
fn latency_row(row: &mut impl FnMut(&str, String), what: &str, latency: &LatencyFigures) {
    if latency.count > 0 {
        row(what, latency.percentiles_text());
    }
}

fn optional_row(row: &mut impl FnMut(&str, String), what: &str, value: Option<f64>, unit: &str) {
    if let Some(value) = value {
        row(what, format!("{} {unit}", short_number(value)).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_a_run_that_measured_nothing_has_no_figure() {
        let opened = OpenFigures { wanted: 3, seconds: 0.1, ..OpenFigures::default() };
        let delivered = Some(DeliveryFigures { expected: 3, seconds: 0.1, ..DeliveryFigures::default() });
        let table = LoadReport { opened, delivered, ..LoadReport::default() }.table();
        for absent in ["kernel memory", "response head", "latency", "answered", "one read", "CPU"] {
            assert!(!table.contains(absent), "{absent} in {table}");
        }
        assert!(table.contains("0 of 3"), "{table}");
    }
}
