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

/// Topics of one block: the most that are moved when a block grows.
const BLOCK_TOPICS: usize = 4_096;
/// Shards of the names: of a million, a thousand each.
const NAME_SHARDS: usize = 1_024;

/// All topics.
#[derive(Debug)]
pub(super) struct TopicTable {
    blocks: Vec<Slab<HubTopic>>,
    /// Blocks that have room.
    open: BTreeSet<u32>,
    names: ShardedTable<u32>,
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
        let is_it = |&index: &u32| *self[index].name == *name;
        self.names.find(self.hash.hash_one(name), is_it).copied()
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
        let TopicTable { blocks, names, hash: seeded, .. } = self;
        names.insert(hash, index, |&other| hash_of(blocks, seeded, other));
        index
    }

    /// Removes the topic at an index, which must be there.
    pub(super) fn remove(&mut self, index: u32) -> HubTopic {
        let TopicTable { blocks, names, hash: seeded, .. } = self;
        let hash = hash_of(blocks, seeded, index);
        let gone = names.remove(hash, |&other| other == index, |&other| hash_of(blocks, seeded, other));
        assert_eq!(gone, Some(index), "each topic has its name");
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

fn hash_of(blocks: &[Slab<HubTopic>], hash: &SeededHash, index: u32) -> u64 {
    let (block, place) = split(index);
    hash.hash_one(&*blocks[block][place].name)
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
