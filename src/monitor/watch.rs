//! The figures of the last five minutes, and few of an hour and a day: takes one sample a second, and returns
//! rates, trends and judgements.
//!
//! Owns the rings of samples and the metrics of alert rules. Knows no clock, since each sample carries its
//! time, and no page.

mod figures;
mod insights;
mod memory;
mod minute;
mod points;
mod spans;

pub(crate) use self::figures::{metric_named, metrics};
pub(crate) use self::insights::Insight;
use self::memory::LeakJudge;
pub(crate) use self::memory::{LeakJudgement, LeakReport, MemoryTrend};
use self::minute::MinuteWindow;
pub(crate) use self::minute::WorkerRates;
use self::points::PointRing;
pub(crate) use self::points::{RateWindow, SecondPoint, WindowRates};
pub(crate) use self::spans::{SpanPoint, SpanRing};
use super::alerts::{AlertNotice, AlertRule, AlertRules};
use crate::base::counters::{CloseReason, Count, DistributionTotals};
use crate::base::histogram::Distribution;
use crate::base::snapshot::{HostReading, LatencyPeaks, ReadinessVerdict, Snapshot};
use crate::base::time::Now;

/// All figures of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchSample {
    /// Wall clock in Unix milliseconds.
    pub(crate) wall_ms: u64,
    /// Milliseconds since the start, from the monotonic clock.
    pub(crate) mono_ms: u64,
    /// The counts of the node.
    pub(crate) snapshot: Snapshot,
    /// The greatest values since the sample before.
    pub(crate) peaks: LatencyPeaks,
    /// Readings of process and host.
    pub(crate) host: HostReading,
    /// The verdict whether events pass through every worker.
    pub(crate) readiness: ReadinessVerdict,
}

/// Limits that do not change while the server runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WatchBounds {
    /// Resident bytes above which newcomers are refused.
    pub(crate) memory_limit_bytes: u64,
    /// Connections at which a worker stops listening.
    pub(crate) worker_files_max: usize,
    /// Time without other bytes after which a subscriber gets a heartbeat.
    pub(crate) heartbeat_ms: u64,
    /// Topics beyond which new ones are refused.
    pub(crate) topics_max: usize,
    /// Idempotency keys beyond which publishes with one are refused.
    pub(crate) idempotency_keys_max: usize,
    /// Start of the process, in Unix milliseconds.
    pub(crate) started_ms: u64,
}

/// Time from a publish until the kernel had the event, over the last minute, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LatencyQuantiles {
    /// The time that half of them took at most.
    pub(crate) p50_ms: f64,
    /// The time that 99 of 100 took at most.
    pub(crate) p99_ms: f64,
    /// The longest time of all.
    pub(crate) max_ms: f64,
}

/// Points of the last minute, one a second.
const MINUTE_POINTS: usize = 60;

/// Connections whose memory exceeds the rest of a process by far, so that their mean says something.
const CONNECTIONS_MIN_FOR_ESTIMATE: u64 = 1_000;

/// The samples of the last five minutes and everything that is derived from them.
#[derive(Debug)]
pub(crate) struct Watch {
    bounds: WatchBounds,
    ring: PointRing,
    hour: SpanRing,
    day: SpanRing,
    minute: MinuteWindow,
    leaks: LeakJudge,
    last: WatchSample,
    /// Resident bytes of the first sample, when there was no connection.
    empty_server_bytes: Option<u64>,
    /// Unix milliseconds of the first sample of a drain.
    draining_since_ms: Option<u64>,
    alerts: AlertRules,
}

impl Watch {
    /// Creates a watch without samples.
    pub(crate) fn new(bounds: WatchBounds) -> Watch {
        Watch {
            bounds,
            ring: PointRing::default(),
            hour: SpanRing::hour(),
            day: SpanRing::day(),
            minute: MinuteWindow::default(),
            leaks: LeakJudge::default(),
            last: WatchSample::default(),
            empty_server_bytes: None,
            draining_since_ms: None,
            alerts: AlertRules::default(),
        }
    }

    /// Takes the next sample, once a second.
    pub(crate) fn push(&mut self, sample: WatchSample) {
        self.minute.push(&sample);
        let p99 =
            |of: fn(&DistributionTotals) -> &Distribution| self.minute.added_last_second(of).quantile(0.99);
        let second = SecondPoint {
            each_p99_us: p99(|distributions| &distributions.delivery_each),
            last_p99_us: p99(|distributions| &distributions.delivery_last),
            ..SecondPoint::of(&sample)
        };
        self.ring.push(second);
        self.hour.push(&second);
        self.day.push(&second);
        self.leaks.push(&sample);
        self.empty_server_bytes.get_or_insert(sample.host.resident_bytes);
        if sample.snapshot.draining {
            self.draining_since_ms.get_or_insert(sample.wall_ms);
        }
        self.last = sample;
    }

    /// Evaluates the alert rules against the newest sample; returns the messages to send.
    pub(crate) fn evaluate_alerts(&mut self, now: Now) -> Vec<AlertNotice> {
        let mut alerts = std::mem::take(&mut self.alerts);
        let notices = alerts.evaluate(now, |metric| (self.value(metric), self.explain(metric)));
        self.alerts = alerts;
        notices
    }

    /// Replaces the alert rules; returns the messages of those that are removed.
    pub(crate) fn replace_rules(&mut self, rules: Vec<AlertRule>, now: Now) -> Vec<AlertNotice> {
        self.alerts.replace(rules, now)
    }

    /// Returns the alert rules with their states.
    pub(crate) fn alerts(&self) -> &AlertRules {
        &self.alerts
    }

    /// Returns the limits that do not change.
    pub(crate) fn bounds(&self) -> &WatchBounds {
        &self.bounds
    }

    /// Returns the beginning of the drain in Unix milliseconds; none while the server serves.
    pub(crate) fn draining_since_ms(&self) -> Option<u64> {
        self.draining_since_ms
    }

    /// Returns the newest sample.
    pub(crate) fn last(&self) -> &WatchSample {
        &self.last
    }

    /// Returns the rates a second over a window that ends with the newest sample.
    pub(crate) fn rates(&self, window: RateWindow) -> WindowRates {
        self.ring.rates(window)
    }

    /// Returns the growth of a count in a window.
    pub(crate) fn count_in_window(&self, what: Count, window: RateWindow) -> u64 {
        self.ring.added(window, |point| point.count(what))
    }

    /// Counts the connections that ended for a reason in a window.
    pub(crate) fn closed_in_window(&self, reason: CloseReason, window: RateWindow) -> u64 {
        self.ring.added(window, |point| point.closed(reason))
    }

    /// Returns the growth of a count in each of the last minutes, the newest first; none if the server has
    /// not run through all of them.
    pub(crate) fn count_by_minute(&self, what: Count, minutes: usize) -> Option<Vec<u64>> {
        let newest_ms = self.ring.points().last()?.mono_ms;
        let count = |age: u64| {
            let at_ms = newest_ms.checked_sub(age * RateWindow::Minute.ms())?;
            Some(self.ring.points().rev().find(|point| point.mono_ms <= at_ms)?.count(what))
        };
        let counts: Option<Vec<u64>> = (0..=minutes as u64).map(count).collect();
        Some(counts?.windows(2).map(|pair| pair[0].saturating_sub(pair[1])).collect())
    }

    /// Counts the refused newcomers and publishes of the last five minutes, for each reason.
    pub(crate) fn refused_by_reason(&self) -> Vec<u64> {
        let Some((from, to)) = self.ring.window_ends(RateWindow::FiveMinutes) else { return Vec::new() };
        to.refused.iter().zip(from.refused).map(|(to, from)| to.saturating_sub(from)).collect()
    }

    /// Returns the rates of each worker, by index.
    pub(crate) fn workers(&self) -> Vec<WorkerRates> {
        self.minute.workers()
    }

    /// Returns the time from publish to each subscriber; none without deliveries.
    pub(crate) fn latency_each(&self) -> Option<LatencyQuantiles> {
        let max_us = self.ring.points().rev().take(MINUTE_POINTS).map(|point| point.each_max_us).max();
        latency(&self.minute.added_last_minute(|distributions| &distributions.delivery_each), max_us)
    }

    /// Returns the time from publish to the last live subscriber; none without deliveries.
    pub(crate) fn latency_last(&self) -> Option<LatencyQuantiles> {
        let max_us = self.ring.points().rev().take(MINUTE_POINTS).map(|point| point.last_max_us).max();
        latency(&self.minute.added_last_minute(|distributions| &distributions.delivery_last), max_us)
    }

    /// Returns the times of turns in the last minute, in microseconds.
    pub(crate) fn turns(&self) -> Distribution {
        self.minute.added_last_minute(|distributions| &distributions.turn)
    }

    /// Returns the longest turn of the last minute, in microseconds.
    pub(crate) fn turn_max_us(&self) -> u64 {
        self.ring.points().rev().take(MINUTE_POINTS).map(|point| point.turn_max_us).max().unwrap_or(0)
    }

    /// Returns the holds of the hub's lock in the last minute, in microseconds.
    pub(crate) fn hub_holds(&self) -> Distribution {
        self.minute.added_last_minute(|distributions| &distributions.hub_hold)
    }

    /// Returns the longest of them, in microseconds.
    pub(crate) fn hub_hold_max_us(&self) -> u64 {
        self.ring.points().rev().take(MINUTE_POINTS).map(|point| point.hub_hold_max_us).max().unwrap_or(0)
    }

    /// Returns the delays of events that pages told in the last minute, in microseconds.
    pub(crate) fn client_delays(&self) -> Distribution {
        self.minute.added_last_minute(|distributions| &distributions.client_delay)
    }

    /// Returns the trend of resident memory over the last five minutes.
    pub(crate) fn trend(&self) -> MemoryTrend {
        let points: Vec<&SecondPoint> = self.points().collect();
        MemoryTrend::of(points.iter().copied())
    }

    /// Returns the resident bytes of each connection: the growth since the start without history and bodies.
    /// None with so few connections that other memory would count for more.
    pub(crate) fn bytes_per_connection(&self) -> Option<u64> {
        let (snapshot, connections) = (&self.last.snapshot, self.last.snapshot.totals.connections_open);
        let else_held = self.empty_server_bytes? + (snapshot.history_bytes + snapshot.bodies_bytes) as u64;
        let held = self.last.host.resident_bytes.saturating_sub(else_held);
        (connections >= CONNECTIONS_MIN_FOR_ESTIMATE).then(|| held / connections)
    }

    /// Returns the judgement whether resident memory leaks.
    pub(crate) fn leak(&self) -> &LeakReport {
        self.leaks.leak()
    }

    /// Returns the insights for an operator, most severe first.
    pub(crate) fn insights(&self) -> Vec<Insight> {
        insights::find_insights(self)
    }

    /// Returns the spans of the last hour.
    pub(crate) fn hour(&self) -> &SpanRing {
        &self.hour
    }

    /// Returns the spans of the last day.
    pub(crate) fn day(&self) -> &SpanRing {
        &self.day
    }

    /// Returns the points of all kept seconds, oldest first.
    pub(crate) fn points(&self) -> impl DoubleEndedIterator<Item = &SecondPoint> + ExactSizeIterator {
        self.ring.points()
    }
}

fn latency(added: &Distribution, max_us: Option<u64>) -> Option<LatencyQuantiles> {
    let ms = |us: f64| us / 1_000.0;
    let max_us = max_us.unwrap_or(0) as f64;
    // Within its bucket a percentile is a guess; it never exceeds the greatest value.
    let quantile = |share| added.quantile(share).map(|us| if max_us > 0.0 { us.min(max_us) } else { us });
    Some(LatencyQuantiles { p50_ms: ms(quantile(0.5)?), p99_ms: ms(quantile(0.99)?), max_ms: ms(max_us) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::{AtomicHistogram, HistogramScale};
    use crate::base::snapshot::WorkerSnapshot;

    /// A busy node, at a second.
    fn sample(second: u64, each: &AtomicHistogram) -> WatchSample {
        let mut sample = WatchSample { mono_ms: second * 1_000, ..WatchSample::default() };
        let totals = &mut sample.snapshot.totals;
        totals.connections_open = 90;
        totals.subscribers_open = 80;
        totals.lagging = 20;
        totals.counts[Count::Delivered as usize] = 80 * second;
        totals.counts[Count::Published as usize] = second;
        totals.counts[Count::RequestsBad as usize] = 2 * second;
        totals.refused[0] = 3 * second;
        sample.snapshot.connections_max = 100;
        each.add(2_000, 80);
        each.add_to(&mut sample.snapshot.distributions.delivery_each);
        sample.peaks.each_us = each.take_peak();
        let per_second = [(Count::Accepted, 4), (Count::BytesSent, 6), (Count::Gaps, 7), (Count::Skipped, 8)];
        for (what, rate) in per_second.into_iter().chain([(Count::Lagged, 9), (Count::Replayed, 10)]) {
            totals.counts[what as usize] = rate * second;
        }
        totals.closed[0] = 5 * second;
        let snapshot = &mut sample.snapshot;
        (snapshot.topics, snapshot.subscriptions) = (11, 12);
        (snapshot.history_bytes, snapshot.bodies_bytes, snapshot.idempotency_keys) = (13, 14, 15);
        let worker = WorkerSnapshot { files: 8, mailbox: 18, wheel_lag_ms: 19, ..WorkerSnapshot::default() };
        snapshot.workers = vec![WorkerSnapshot::default(), worker];
        (sample.host.kernel_tcp_bytes, sample.host.files_open) = (16, 17);
        sample.peaks.turns_us = vec![3_000, 2_000];
        sample.host.resident_bytes = 50;
        sample.host.cpu_seconds = second as f64 / 2.0;
        sample
    }

    #[test]
    fn every_figure_has_its_value() {
        let bounds = WatchBounds { memory_limit_bytes: 200, worker_files_max: 8, ..WatchBounds::default() };
        let mut watch = Watch::new(bounds);
        assert_eq!(watch.value("delivery_p99_ms"), None, "nothing was delivered");
        let each = AtomicHistogram::new(HistogramScale::Spans);
        (0..70).for_each(|second| watch.push(sample(second, &each)));
        let values: Vec<Option<f64>> =
            metrics().map(|metric| watch.value(metric.name).map(f64::round)).collect();
        let rounded = |metric: &str| watch.value(metric).expect(metric);
        assert_eq!(
            (rounded("connections_share"), rounded("memory_share"), rounded("lagging_share")),
            (0.9, 0.25, 0.25)
        );
        let expected = [
            Some(90.0),
            Some(1.0),
            Some(80.0),
            Some(50.0),
            Some(0.0),
            Some(80.0),
            Some(1.0),
            Some(2.0),
            None,
            Some(0.0),
            Some(2.0),
            Some(3.0),
            Some(0.0),
            Some(1.0),
            Some(50.0),
            Some(0.0),
            Some(4.0),
            Some(5.0),
            Some(6.0),
            Some(7.0),
            Some(8.0),
            Some(9.0),
            Some(10.0),
            Some(20.0),
            Some(11.0),
            Some(12.0),
            Some(13.0),
            Some(14.0),
            Some(15.0),
            Some(16.0),
            None,
            Some(17.0),
            Some(1.0),
            Some(18.0),
            Some(19.0),
            Some(3.0),
            Some(69.0),
        ];
        assert_eq!(values, expected);
        assert_eq!(watch.value("unheard_of"), None);
    }
}
