//! Losses of a pattern: the ids that its topics have let go, as far as somebody may have missed them.
//!
//! ```text
//! lost in this order    5 9 7 3 4
//! kept                    9 7   4       each with its number; the greatest of the last n is one of these
//! ```
//!
//! Topics let go in any order of ids, so one floor cannot tell what was lost after a gap was told.

use std::collections::VecDeque;

use crate::base::id::EventId;

/// Losses that are told apart. Beyond them a gap may be told again without need.
const LOSSES_MAX: usize = 64;

/// Up to which losses of a topic or a pattern a stream has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossMark {
    /// All in a topic with ids up to this floor.
    Floor(EventId),
    /// The first so many of a pattern: of all its events, and of states.
    Losses { all: u64, states: u64 },
}

/// Losses in the order in which they came, as far as they are told apart.
#[derive(Debug)]
pub(super) struct PatternLosses {
    /// Number and id of losses: numbers rise, ids fall.
    greatest: VecDeque<(u64, EventId)>,
    count: u64,
    /// The newest loss was forgotten because the operator asked.
    forgot: bool,
}

impl PatternLosses {
    /// Everything up to an id may be lost.
    pub(super) fn up_to(floor: EventId) -> PatternLosses {
        PatternLosses { greatest: [(1, floor)].into(), count: 1, forgot: false }
    }

    /// Notes that events up to an id are lost.
    pub(super) fn add(&mut self, upto: EventId) {
        self.count += 1;
        self.forgot &= upto < self.floor();
        while self.greatest.back().is_some_and(|(_, id)| *id <= upto) {
            self.greatest.pop_back();
        }
        self.greatest.push_back((self.count, upto));
        if self.greatest.len() > LOSSES_MAX {
            // The two oldest become one, of the later number and the greater id.
            let (_, id) = self.greatest.pop_front().expect("many are there");
            self.greatest[0].1 = id;
        }
    }

    /// The greatest id that is lost.
    pub(super) fn floor(&self) -> EventId {
        self.greatest.front().map_or(EventId::ZERO, |(_, id)| *id)
    }

    /// Number of losses so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The greatest id that was lost after the first so many losses.
    pub(super) fn since(&self, told: u64) -> EventId {
        let later = self.greatest.partition_point(|(number, _)| *number <= told);
        self.greatest.get(later).map_or(EventId::ZERO, |(_, id)| *id)
    }

    /// Notes that the loss with an id, if it is the greatest, was forgotten because the operator asked.
    pub(super) fn mark_forgotten(&mut self, upto: EventId) {
        self.forgot |= upto == self.floor();
    }

    /// Whether the greatest loss was forgotten because the operator asked.
    pub(super) fn is_forgotten(&self) -> bool {
        self.forgot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn the_greatest_loss_since_a_mark_is_found_and_never_too_small_beyond_the_bound() {
        for seed in 0..200 {
            let mut prng = Prng::new(seed);
            let mut losses = PatternLosses::up_to(EventId::at_ms(10));
            let mut twin = vec![EventId::at_ms(10)];
            // Falling ids need the most room.
            let falls = seed % 2 == 0;
            for nth in 0..300 {
                let ms = if falls { 1_000 - nth } else { prng.below(50) };
                losses.add(EventId::at_ms(ms));
                twin.push(EventId::at_ms(ms));
                let told = prng.below(twin.len() as u64 + 1);
                let expected = twin[told as usize..].iter().max().copied().unwrap_or_default();
                let found = losses.since(told);
                assert!(found >= expected && losses.greatest.len() <= LOSSES_MAX, "seed {seed}, {nth}");
                assert!(found == expected || falls, "seed {seed}, {nth}: {found} is not {expected}");
                assert_eq!(Some(losses.floor()), twin.iter().max().copied());
            }
            assert_eq!(losses.since(twin.len() as u64), EventId::ZERO);
        }
    }
}
