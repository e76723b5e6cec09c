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

/// Whether the `index`-th subscriber is one of a share of so many per cent, evenly over the indices.
pub(crate) fn in_share(index: u64, percent: f64) -> bool {
    let upto = |count: u64| (count as f64 * percent / 100.0 + 1e-9).floor();
    upto(index + 1) > upto(index)
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
    fn a_share_is_exact_and_even() {
        for (percent, wanted) in [(0.0, 0), (1.0, 100), (33.3, 3_330), (100.0, 10_000)] {
            assert_eq!((0..10_000).filter(|&index| in_share(index, percent)).count(), wanted, "{percent}");
        }
        assert_eq!((0..300).filter(|&index| in_share(index, 1.0)).collect::<Vec<_>>(), [99, 199, 299]);
    }
}
