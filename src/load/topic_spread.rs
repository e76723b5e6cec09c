//! The spread of subscribers and events over topics. Owns the topic of each subscriber and of each event.

use crate::base::prng::Prng;

/// The shape of a spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpreadShape {
    /// One topic after the other, in a round.
    Even,
    /// The k-th topic has a share that goes with 1/k, in subscribers as in events (Zipf's law).
    Zipf,
}

/// A spread over a number of topics.
#[derive(Clone)]
pub(crate) struct TopicSpread {
    topics: usize,
    /// Sums of the shares up to each topic; empty when even.
    sums: Vec<f64>,
}

impl TopicSpread {
    /// Makes a spread over `topics`, at least one.
    pub(crate) fn new(topics: usize, shape: SpreadShape) -> TopicSpread {
        let topics = topics.max(1);
        let share = |sum: &mut f64, rank: usize| {
            *sum += 1.0 / (rank + 1) as f64;
            Some(*sum)
        };
        let sums = match shape {
            SpreadShape::Even => Vec::new(),
            SpreadShape::Zipf => (0..topics).scan(0.0, share).collect(),
        };
        TopicSpread { topics, sums }
    }

    /// Returns the topic of the `index`-th subscriber or event; `seed` tells runs apart.
    pub(crate) fn topic(&self, index: u64, seed: u64) -> usize {
        let Some(whole) = self.sums.last() else { return (index % self.topics as u64) as usize };
        let draw = Prng::new(seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next_u64();
        let wanted = (draw >> 11) as f64 / (1_u64 << 53) as f64 * whole;
        self.sums.partition_point(|sum| *sum <= wanted).min(self.topics - 1)
    }
}

/// A share of all subscribers, drawn at random: a round spread would otherwise put it all on some topics.
/// Every thread draws the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrawnShare {
    /// Its size, in per cent.
    pub(crate) percent: f64,
    /// The number of all subscribers.
    pub(crate) subscribers: u64,
    /// The seed; the same seed, the same share.
    pub(crate) seed: u64,
}

impl DrawnShare {
    /// Whether the `index`-th subscriber is one of the share. The indices are cut into runs, and each run
    /// gives one, so that the size is exact.
    pub(crate) fn has(&self, index: u64) -> bool {
        if self.percent <= 0.0 {
            return false;
        }
        let mut run = (index as f64 * self.percent / 100.0) as u64;
        // Rounding may put it one run off.
        while self.run_start(run) > index {
            run -= 1;
        }
        while self.run_start(run + 1) <= index {
            run += 1;
        }
        let (start, end) = (self.run_start(run), self.run_start(run + 1));
        let drawn = Prng::new(self.seed ^ run.wrapping_mul(0x9E37_79B9_7F4A_7C15)).below(end - start);
        end <= self.subscribers && start + drawn == index
    }

    fn run_start(&self, run: u64) -> u64 {
        (run as f64 * 100.0 / self.percent - 1e-9).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_gives_the_first_topic_its_share_and_every_index_a_topic() {
        let spread = TopicSpread::new(100, SpreadShape::Zipf);
        let mut counts = [0_u32; 100];
        (0..100_000).for_each(|index| counts[spread.topic(index, 7)] += 1);
        // 1 / H(100) = 0.193.
        assert!((18_000..20_500).contains(&counts[0]), "{}", counts[0]);
        assert!(counts[99] > 100);
    }

    #[test]
    fn even_goes_round() {
        let spread = TopicSpread::new(3, SpreadShape::Even);
        assert_eq!((0..5).map(|index| spread.topic(index, 1)).collect::<Vec<_>>(), [0, 1, 2, 0, 1]);
    }

    #[test]
    fn a_share_is_exact_and_the_same_for_the_same_seed() {
        let drawn = |percent, seed| {
            let share = DrawnShare { percent, subscribers: 10_000, seed };
            (0..10_000).filter(|&index| share.has(index)).collect::<Vec<u64>>()
        };
        for (percent, wanted) in
            [(0.0, 0), (0.5, 50), (1.0, 100), (33.3, 3_330), (70.0, 7_000), (100.0, 10_000)]
        {
            assert_eq!(drawn(percent, 1).len(), wanted, "{percent}");
        }
        assert_eq!(drawn(1.0, 1), drawn(1.0, 1));
        assert_ne!(drawn(1.0, 1), drawn(1.0, 2));
        let one = DrawnShare { percent: 1.0, subscribers: 99, seed: 1 };
        assert!(!(0..99).any(|index| one.has(index)), "less than one of them");
    }

    #[test]
    fn a_share_falls_on_all_topics() {
        let share = DrawnShare { percent: 1.0, subscribers: 10_000, seed: 1 };
        let spread = TopicSpread::new(10, SpreadShape::Even);
        let mut counts = [0_u32; 10];
        (0..10_000).filter(|&index| share.has(index)).for_each(|index| counts[spread.topic(index, 1)] += 1);
        assert!(counts.iter().all(|count| (2..30).contains(count)), "{counts:?}");
    }
}
