//! The age of events when the kernel takes them, counted by the run. Events of one turn of their publisher
//! carry the same moment, so thousands of deliveries cost a few counts.

use crate::base::histogram::AtomicHistogram;

/// A run of deliveries not yet counted into the histogram, all as of one moment; flushed on drop.
#[derive(Debug)]
pub(crate) struct DeliveryAges<'a> {
    histogram: &'a AtomicHistogram,
    now_us: u64,
    /// Moment at which the events of the run were published.
    at_us: u64,
    /// Deliveries in the run.
    count: u64,
}

impl<'a> DeliveryAges<'a> {
    /// Begins with an empty run.
    pub(crate) fn new(histogram: &'a AtomicHistogram, now_us: u64) -> DeliveryAges<'a> {
        DeliveryAges { histogram, now_us, at_us: 0, count: 0 }
    }

    /// Counts `count` deliveries of events that were published at `at_us`.
    pub(crate) fn add(&mut self, at_us: u64, count: u64) {
        if at_us != self.at_us {
            self.flush();
            self.at_us = at_us;
        }
        self.count += count;
    }

    fn flush(&mut self) {
        if self.count > 0 {
            self.histogram.add(self.now_us.saturating_sub(self.at_us), self.count);
            self.count = 0;
        }
    }
}

impl Drop for DeliveryAges<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::{Distribution, HistogramScale};

    #[test]
    fn runs_count_as_if_each_had_been_counted_alone() {
        let (runs, single) =
            (AtomicHistogram::new(HistogramScale::Spans), AtomicHistogram::new(HistogramScale::Spans));
        let published = [(5, 3), (5, 1), (70, 2), (5, 1), (2_000, 1), (2_000, 4)];
        let mut ages = DeliveryAges::new(&runs, 1_000);
        for (at_us, count) in published {
            ages.add(at_us, count);
            (0..count).for_each(|_| single.add(1_000_u64.saturating_sub(at_us), 1));
        }
        drop(ages);
        let [runs, single] = [runs, single].map(|histogram| {
            let mut sum = Distribution::default();
            histogram.add_to(&mut sum);
            sum
        });
        assert_eq!((runs.count(), &runs), (12, &single));
    }
}
