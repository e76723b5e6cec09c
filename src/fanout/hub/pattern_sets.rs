//! Sets of patterns by number: topics that match the same ones share a set, and store its number alone.
//!
//! A set is immutable, and lives while topics have it. Knows no topic and no pattern.

use std::collections::HashMap;

use slab::Slab;

use crate::fanout::hash::SeededHash;
use crate::fanout::shared_frame::TopicRef;

/// The patterns of one topic, as a number of the table's sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PatternSet(u32);

#[derive(Debug)]
struct SharedSet {
    members: Box<[TopicRef]>,
    topics: usize,
}

/// All sets that topics have. The empty one has the number 0, and is not counted.
#[derive(Debug)]
pub(super) struct PatternSets {
    /// By number, less 1.
    sets: Slab<SharedSet>,
    numbers: HashMap<Box<[TopicRef]>, PatternSet, SeededHash>,
}

impl PatternSets {
    /// No set but the empty one. Subscribers choose patterns, so `hash` is keyed.
    pub(super) fn new(hash: SeededHash) -> PatternSets {
        PatternSets { sets: Slab::new(), numbers: HashMap::with_hasher(hash) }
    }

    /// Returns the members of a set that some topic has.
    pub(super) fn members(&self, set: PatternSet) -> &[TopicRef] {
        match set.0 {
            0 => &[],
            number => &self.sets[number as usize - 1].members,
        }
    }

    /// Gives one more topic the set of these members. Returns its number.
    pub(super) fn enter(&mut self, members: &[TopicRef]) -> PatternSet {
        if members.is_empty() {
            return PatternSet::default();
        }
        if let Some(&set) = self.numbers.get(members) {
            self.sets[set.0 as usize - 1].topics += 1;
            return set;
        }
        let slot = self.sets.insert(SharedSet { members: members.into(), topics: 1 });
        let set = PatternSet(slot as u32 + 1);
        self.numbers.insert(members.into(), set);
        set
    }

    /// Takes a set from one topic. It goes with its last topic.
    pub(super) fn leave(&mut self, set: PatternSet) {
        let Some(slot) = (set.0 as usize).checked_sub(1) else { return };
        self.sets[slot].topics -= 1;
        if self.sets[slot].topics == 0 {
            let gone = self.sets.remove(slot);
            self.numbers.remove(&gone.members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_one_until_their_last_topic_leaves() {
        let mut sets = PatternSets::new(SeededHash::new(1));
        let refs = [1, 2].map(|index| TopicRef { index, incarnation: 7 });
        assert_eq!((sets.enter(&[]), sets.members(PatternSet::default())), (PatternSet::default(), &[][..]));
        let one = sets.enter(&refs[..1]);
        let both = sets.enter(&refs);
        assert_eq!((sets.enter(&refs), sets.members(one), sets.members(both)), (both, &refs[..1], &refs[..]));
        sets.leave(PatternSet::default());
        sets.leave(both);
        sets.leave(one);
        assert_eq!((sets.members(both), sets.sets.len()), (&refs[..], 1));
        sets.leave(both);
        assert_eq!((sets.sets.len(), sets.numbers.len()), (0, 0));
    }
}
