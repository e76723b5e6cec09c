//! Distributions in fixed buckets: cells that one worker writes and anyone reads, and their sums.
//!
//! Two scales. That of spans has ten steps a decade, so that a percentile read off it is right to a third at
//! worst; one in three of its bounds is published. That of sizes is coarse. Knows no unit of time: the name
//! of a histogram's field says whether a span is in microseconds or milliseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const DECADES: usize = 8;
const STEPS: [u64; 10] = [10, 13, 16, 20, 25, 32, 40, 50, 64, 80];
const SPANS: [u64; DECADES * STEPS.len()] = spans();
const SIZES: [u64; 15] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

const fn spans() -> [u64; DECADES * STEPS.len()] {
    let mut bounds = [0; DECADES * STEPS.len()];
    let (mut at, mut unit) = (0, 1);
    while at < bounds.len() {
        bounds[at] = STEPS[at % STEPS.len()] * unit;
        at += 1;
        if at % STEPS.len() == 0 {
            unit *= 10;
        }
    }
    bounds
}

/// Adds to a cell that has one writer: a load and a store, no locked instruction.
pub(super) fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Which bounds a distribution has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HistogramScale {
    /// 10 to 800 000 000 units: 10 µs to 13 minutes, or 10 ms to 9 days.
    #[default]
    Spans,
    /// 1 to 50 000.
    Sizes,
}

impl HistogramScale {
    /// The upper bounds, inclusive, rising. One more bucket is for values above all of them.
    pub(crate) fn bounds(self) -> &'static [u64] {
        match self {
            HistogramScale::Spans => &SPANS,
            HistogramScale::Sizes => &SIZES,
        }
    }

    /// Indices of the bounds that are published: 1, 2 and 5 of each decade.
    pub(crate) fn published(self) -> impl Iterator<Item = usize> {
        let bounds = self.bounds();
        (0..bounds.len()).filter(move |&at| {
            let first = bounds[at] / 10_u64.pow(bounds[at].ilog10());
            let exact = bounds[at] == first * 10_u64.pow(bounds[at].ilog10());
            exact && matches!(first, 1 | 2 | 5)
        })
    }
}

/// The cells of one distribution of one worker. Written by that worker only, but for the peak.
#[derive(Debug)]
pub(crate) struct AtomicHistogram {
    scale: HistogramScale,
    cells: Box<[AtomicU64]>,
    sum: AtomicU64,
    peak: AtomicU64,
}

impl AtomicHistogram {
    /// An empty histogram of that scale.
    pub(crate) fn new(scale: HistogramScale) -> AtomicHistogram {
        let cells = (0..=scale.bounds().len()).map(|_| AtomicU64::new(0)).collect();
        AtomicHistogram { scale, cells, sum: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    /// Counts `value` so many times.
    pub(crate) fn add(&self, value: u64, times: u64) {
        let bucket = self.scale.bounds().partition_point(|&bound| bound < value);
        bump(&self.cells[bucket], times);
        bump(&self.sum, value.wrapping_mul(times));
        // Somebody may take the peak between these two: then this value counts for the next one.
        if value > self.peak.load(Relaxed) {
            self.peak.store(value, Relaxed);
        }
    }

    /// The greatest value since the last time this was asked.
    pub(crate) fn take_peak(&self) -> u64 {
        self.peak.swap(0, Relaxed)
    }

    /// Sum of all values counted.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// Adds its counts to a sum over workers.
    pub(crate) fn add_to(&self, sum: &mut Distribution) {
        sum.scale = self.scale;
        sum.counts.resize(self.cells.len(), 0);
        for (total, cell) in sum.counts.iter_mut().zip(&self.cells) {
            *total += cell.load(Relaxed);
        }
        sum.sum += self.sum.load(Relaxed);
    }
}

/// A distribution at one moment, or the values added to one between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Scale that its bounds are of.
    pub(crate) scale: HistogramScale,
    /// For each bucket how many values fell into it; empty when nothing is known.
    pub(crate) counts: Vec<u64>,
    /// Sum of all values.
    pub(crate) sum: u64,
}

impl Distribution {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the values that have come since an earlier moment.
    pub(crate) fn since(&self, earlier: &Distribution) -> Distribution {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        let counts = self.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before));
        let counts = counts.collect();
        Distribution { scale: self.scale, counts, sum: self.sum.wrapping_sub(earlier.sum) }
    }

    /// The mean; none without values.
    pub(crate) fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The value that the given share of all values does not exceed, as if those of a bucket were spread
    /// evenly over it; none without values. Values above all bounds count as the last bound.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let bounds = self.scale.bounds();
        let rank = share * count as f64;
        let mut below = 0;
        for (bucket, &here) in self.counts.iter().enumerate().filter(|(_, here)| **here > 0) {
            if (below + here) as f64 >= rank {
                let Some(&upper) = bounds.get(bucket) else { break };
                let lower = bucket.checked_sub(1).map_or(0, |lower| bounds[lower]);
                let part = ((rank - below as f64) / here as f64).clamp(0.0, 1.0);
                return Some(lower as f64 + part * (upper - lower) as f64);
            }
            below += here;
        }
        let last = bounds.last().expect("a scale has bounds");
        (count > 0).then_some(*last as f64)
    }

    /// The upper bound of the lowest bucket that holds something.
    pub(crate) fn least(&self) -> Option<u64> {
        let bucket = self.counts.iter().position(|&count| count > 0)?;
        let bounds = self.scale.bounds();
        Some(bounds[bucket.min(bounds.len() - 1)])
    }
}

#[cfg(test)]
impl Distribution {
    /// Of these values, one each.
    pub(crate) fn of(scale: HistogramScale, values: &[u64]) -> Distribution {
        let histogram = AtomicHistogram::new(scale);
        values.iter().for_each(|&value| histogram.add(value, 1));
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn bounds_rise_and_are_inclusive() {
        for scale in [HistogramScale::Spans, HistogramScale::Sizes] {
            assert!(scale.bounds().is_sorted_by(|a, b| a < b));
            for (bucket, &bound) in scale.bounds().iter().enumerate() {
                for (value, expected) in [(bound, bucket), (bound + 1, bucket + 1)] {
                    let counts = Distribution::of(scale, &[value]).counts;
                    assert_eq!(counts.iter().position(|&count| count == 1), Some(expected), "{value}");
                }
            }
        }
        assert_eq!((SPANS[0], SPANS[SPANS.len() - 1]), (10, 800_000_000));
        let published: Vec<u64> = HistogramScale::Spans.published().map(|at| SPANS[at]).collect();
        assert_eq!((published[..4].to_vec(), published.len()), (vec![10, 20, 50, 100], 3 * DECADES));
        assert_eq!(HistogramScale::Sizes.published().count(), SIZES.len());
    }

    #[test]
    fn percentiles_are_right_to_a_third() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let mut value = || {
                let most = 1 << prng.below(29);
                11 + prng.below(most)
            };
            let mut values: Vec<u64> = (0..1 + 60 * seed).map(|_| value()).collect();
            let all = Distribution::of(HistogramScale::Spans, &values);
            values.sort_unstable();
            assert_eq!((all.count(), all.sum), (values.len() as u64, values.iter().sum()));
            for share in [0.01, 0.5, 0.9, 0.99, 1.0] {
                let rank = (share * values.len() as f64).ceil() as usize;
                let exact = values[rank.max(1) - 1] as f64;
                let read = all.quantile(share).expect("there are values");
                assert!((read / exact - 1.0).abs() < 0.31, "seed {seed}, {share}: {read} for {exact}");
            }
        }
    }

    #[test]
    fn what_came_between_two_moments_is_their_difference() {
        let histogram = AtomicHistogram::new(HistogramScale::Spans);
        let read = || {
            let mut sum = Distribution::default();
            histogram.add_to(&mut sum);
            sum
        };
        assert_eq!(
            (read().mean(), read().quantile(0.5), read().least()),
            (None, None, None),
            "nothing is nothing"
        );
        histogram.add(1_000_000, 5);
        let before = read();
        histogram.add(100, 3);
        histogram.add(u64::from(u32::MAX), 1);
        let between = read().since(&before);
        assert_eq!((between.count(), between.sum), (4, 300 + u64::from(u32::MAX)));
        assert_eq!((between.least(), between.quantile(1.0)), (Some(100), Some(800_000_000.0)));
        assert_eq!(read().since(&Distribution::default()), read());
        assert_eq!((histogram.take_peak(), histogram.take_peak()), (u64::from(u32::MAX), 0));
    }
}
