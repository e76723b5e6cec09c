//! The last minute in detail: distributions and workers, from which differences are taken.

use std::collections::VecDeque;

use super::WatchSample;
use super::points::RATE_SECONDS_MIN;
use crate::base::counters::DistributionTotals;
use crate::base::histogram::Distribution;
use crate::base::snapshot::WorkerSnapshot;

/// Samples of distributions that are kept: a minute and one, so that there is a difference over a minute.
const WATCH_MINUTE_SAMPLES_MAX: usize = 61;

/// The rates of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WorkerRates {
    /// Frames handed whole to the kernel in the last second.
    pub(crate) deliveries_per_second: f64,
    /// Processor time in the last second, 100 for a processor that is never idle.
    pub(crate) cpu_percent: f64,
    /// Mean time of a turn in the last minute; none without turns.
    pub(crate) turn_us_mean: Option<f64>,
    /// The longest turn of the last minute.
    pub(crate) turn_us_max: u64,
}

/// The part of a sample that is kept for a minute.
#[derive(Debug, Default)]
struct MinuteSample {
    mono_ms: u64,
    distributions: DistributionTotals,
    workers: Vec<WorkerSnapshot>,
    workers_cpu_seconds: Vec<f64>,
    turns_max_us: Vec<u64>,
}

/// The samples of the last minute, oldest first.
#[derive(Debug, Default)]
pub(super) struct MinuteWindow(VecDeque<MinuteSample>);

impl MinuteWindow {
    pub(crate) fn push(&mut self, sample: &WatchSample) {
        if self.0.len() == WATCH_MINUTE_SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(MinuteSample {
            mono_ms: sample.mono_ms,
            distributions: sample.snapshot.distributions.clone(),
            workers: sample.snapshot.workers.clone(),
            workers_cpu_seconds: sample.host.workers_cpu_seconds.clone(),
            turns_max_us: sample.peaks.turns_us.clone(),
        });
    }

    /// Returns the values that a distribution gained in the last minute.
    pub(crate) fn added_last_minute(
        &self,
        of: impl Fn(&DistributionTotals) -> &Distribution,
    ) -> Distribution {
        self.difference(self.sample_a_minute_ago(), of)
    }

    /// Returns the values that a distribution gained in the last second.
    pub(crate) fn added_last_second(
        &self,
        of: impl Fn(&DistributionTotals) -> &Distribution,
    ) -> Distribution {
        self.difference(self.sample_before_last(), of)
    }

    /// Returns the sample of a minute ago; none when the server is younger, and began with zeros.
    fn sample_a_minute_ago(&self) -> Option<&MinuteSample> {
        self.0.front().filter(|_| self.0.len() == WATCH_MINUTE_SAMPLES_MAX)
    }

    fn sample_before_last(&self) -> Option<&MinuteSample> {
        self.0.iter().nth_back(1)
    }

    fn difference(
        &self,
        from: Option<&MinuteSample>,
        of: impl Fn(&DistributionTotals) -> &Distribution,
    ) -> Distribution {
        let Some(to) = self.0.back() else { return Distribution::default() };
        from.map_or_else(
            || of(&to.distributions).clone(),
            |from| of(&to.distributions).since(of(&from.distributions)),
        )
    }

    /// Returns the rates of the workers, by index.
    pub(crate) fn workers(&self) -> Vec<WorkerRates> {
        let Some(to) = self.0.back() else { return Vec::new() };
        let start = MinuteSample::default();
        let (before, first) =
            (self.sample_before_last().unwrap_or(&start), self.sample_a_minute_ago().unwrap_or(&start));
        // The second sample follows the first at once, which would give enormous rates.
        let seconds = (to.mono_ms.saturating_sub(before.mono_ms) as f64 / 1_000.0).max(RATE_SECONDS_MIN);
        let cpu_seconds = |detail: &MinuteSample, index: usize| {
            detail.workers_cpu_seconds.get(index).copied().unwrap_or(0.0)
        };
        let rates = |(index, now): (usize, &WorkerSnapshot)| {
            let row = |detail: &MinuteSample| detail.workers.get(index).cloned().unwrap_or_default();
            let (before_row, first_row) = (row(before), row(first));
            let turns = now.turns.saturating_sub(first_row.turns);
            let turns_us = now.turns_us.saturating_sub(first_row.turns_us);
            let peaks = self.0.iter().filter_map(|detail| detail.turns_max_us.get(index));
            WorkerRates {
                deliveries_per_second: now.delivered.saturating_sub(before_row.delivered) as f64 / seconds,
                cpu_percent: (cpu_seconds(to, index) - cpu_seconds(before, index)).max(0.0) / seconds * 100.0,
                turn_us_mean: (turns > 0).then(|| turns_us as f64 / turns as f64),
                turn_us_max: peaks.copied().max().unwrap_or(0),
            }
        };
        to.workers.iter().enumerate().map(rates).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::{AtomicHistogram, HistogramScale};
    use crate::base::snapshot::HostReading;
    use crate::base::snapshot::{LatencyPeaks, Snapshot};

    #[test]
    fn distributions_and_workers_are_differences_over_a_minute() {
        let histogram = AtomicHistogram::new(HistogramScale::Spans);
        let mut minute = MinuteWindow::default();
        assert_eq!(minute.added_last_minute(|distributions| &distributions.turn).count(), 0);
        for second in 0..100_u64 {
            // A slow first quarter of a minute, which is forgotten in the end.
            histogram.add(if second < 15 { 1_000_000 } else { 100 }, 10);
            let mut distributions = DistributionTotals::default();
            histogram.add_to(&mut distributions.delivery_each);
            let worker = WorkerSnapshot {
                delivered: second * second,
                turns: 4 * second,
                turns_us: 40 * second,
                ..WorkerSnapshot::default()
            };
            minute.push(&WatchSample {
                mono_ms: second * 1_000,
                snapshot: Snapshot { distributions, workers: vec![worker], ..Snapshot::default() },
                host: HostReading {
                    workers_cpu_seconds: vec![second as f64 / 4.0],
                    ..HostReading::default()
                },
                peaks: LatencyPeaks { turns_us: vec![second % 60], ..LatencyPeaks::default() },
                ..WatchSample::default()
            });
        }
        let added = minute.added_last_minute(|distributions| &distributions.delivery_each);
        assert_eq!((added.count(), added.quantile(0.99).map(f64::round)), (600, Some(100.0)));
        assert_eq!(minute.added_last_second(|distributions| &distributions.delivery_each).count(), 10);
        let expected = WorkerRates {
            deliveries_per_second: (99 * 99 - 98 * 98) as f64,
            cpu_percent: 25.0,
            turn_us_mean: Some(10.0),
            turn_us_max: 59,
        };
        assert_eq!(minute.workers(), [expected]);
    }
}
