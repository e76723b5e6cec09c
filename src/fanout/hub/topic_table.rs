//! The hub's topics by index and by name, so that neither making nor forgetting one moves many.
//!
//! ```text
//! blocks  [ 4 096 topics ] [ 4 096 topics ] [ … ]      index = block × 4 096 + place
//! names   hash of a name → index; the name itself is in the topic, once
//! ```

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::HubTopic;
use crate::fanout::hash::SeededHash;
use crate::fanout::sharded_table::ShardedTable;

const _: () = assert!(size_of::<HubTopic>() <= 64, "a topic that keeps nothing");

/// Topics of one block: the most that are moved when a block grows.
const BLOCK_TOPICS: usize = 4_096;
/// Shards of the names: of a million, a thousand each.
const NAME_SHARDS: usize = 1_024;

/// A topic by the hash of its name, of which it keeps what a shard looks at: so moving entries needs no name.
#[derive(Clone, Copy, Debug)]
struct NameEntry {
    index: u32,
    folded: u32,
}

/// Lowest bits of a hash that are kept; the rest of the entry's 32 bits are the hash's highest.
const LOW_BITS: u32 = 25;

impl NameEntry {
    fn new(index: u32, hash: u64) -> NameEntry {
        let low = hash as u32 & ((1 << LOW_BITS) - 1);
        NameEntry { index, folded: ((hash >> (32 + LOW_BITS)) as u32) << LOW_BITS | low }
    }

    /// A hash that a shard takes for the whole one.
    fn hash(&self) -> u64 {
        let low = u64::from(self.folded) & ((1 << LOW_BITS) - 1);
        u64::from(self.folded >> LOW_BITS) << (32 + LOW_BITS) | low
    }
}

/// All topics.
#[derive(Debug)]
pub(super) struct TopicTable {
    blocks: Vec<Slab<HubTopic>>,
    /// Blocks that have room.
    open: BTreeSet<u32>,
    names: ShardedTable<NameEntry>,
    hash: SeededHash,
}

impl TopicTable {
    /// An empty table. Strangers choose names, so `hash` is keyed.
    pub(super) fn new(hash: SeededHash) -> TopicTable {
        let names = ShardedTable::new(NAME_SHARDS);
        TopicTable { blocks: Vec::new(), open: BTreeSet::new(), names, hash }
    }

    /// Number of topics.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// All indices are below this.
    pub(super) fn index_end(&self) -> usize {
        self.blocks.len() * BLOCK_TOPICS
    }

    /// Returns the index of the topic with that name.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let is_it = |entry: &NameEntry| *self[entry.index].name == *name;
        self.names.find(self.hash.hash_one(name), is_it).map(|entry| entry.index)
    }

    /// Returns the topic at an index, if there is one.
    pub(super) fn get(&self, index: u32) -> Option<&HubTopic> {
        let (block, place) = split(index);
        self.blocks.get(block)?.get(place)
    }

    /// Returns the topic at an index, if there is one, to be changed.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut HubTopic> {
        let (block, place) = split(index);
        self.blocks.get_mut(block)?.get_mut(place)
    }

    /// Adds a topic whose name is not there. Returns its index, the lowest that is free in its block.
    pub(super) fn insert(&mut self, topic: HubTopic) -> u32 {
        let block = match self.open.first() {
            Some(&block) => block as usize,
            None => {
                self.blocks.push(Slab::new());
                self.open.insert(self.blocks.len() as u32 - 1);
                self.blocks.len() - 1
            }
        };
        let hash = self.hash.hash_one(&*topic.name);
        let place = self.blocks[block].insert(topic);
        if self.blocks[block].len() == BLOCK_TOPICS {
            self.open.remove(&(block as u32));
        }
        let index = (block * BLOCK_TOPICS + place) as u32;
        self.names.insert(hash, NameEntry::new(index, hash), NameEntry::hash);
        index
    }

    /// Removes the topic at an index, which must be there.
    pub(super) fn remove(&mut self, index: u32) -> HubTopic {
        let hash = self.hash.hash_one(&*self[index].name);
        let gone = self.names.remove(hash, |entry| entry.index == index, NameEntry::hash);
        assert!(gone.is_some(), "each topic has its name");
        let (block, place) = split(index);
        let topic = self.blocks[block].remove(place);
        self.open.insert(block as u32);
        if self.blocks[block].is_empty() {
            self.blocks[block] = Slab::new();
            while self.blocks.last().is_some_and(Slab::is_empty) {
                self.blocks.pop();
                self.open.remove(&(self.blocks.len() as u32));
            }
        }
        topic
    }
}

fn split(index: u32) -> (usize, usize) {
    (index as usize / BLOCK_TOPICS, index as usize % BLOCK_TOPICS)
}

impl Index<u32> for TopicTable {
    type Output = HubTopic;
    fn index(&self, index: u32) -> &HubTopic {
        let (block, place) = split(index);
        &self.blocks[block][place]
    }
}

impl IndexMut<u32> for TopicTable {
    fn index_mut(&mut self, index: u32) -> &mut HubTopic {
        let (block, place) = split(index);
        &mut self.blocks[block][place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_what_its_shard_looks_at() {
        for hash in [0, u64::MAX, 0x1234_5678_9abc_def0] {
            let kept = NameEntry::new(3, hash).hash();
            assert_eq!((kept >> 57, kept & 0x1ff_ffff), (hash >> 57, hash & 0x1ff_ffff), "{hash:x}");
        }
    }
}
