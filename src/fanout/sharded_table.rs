//! A hash table in shards. One shard grows at a time, so that no insertion moves more than a few thousand
//! entries, however many there are.
//!
//! Entries hold or find their own keys: the caller hashes, and compares. Knows neither.

use hashbrown::HashTable;

/// First bit of a hash that chooses the shard. A shard itself uses the lowest bits and the highest seven.
const SHARD_BIT: u32 = 40;
/// Entries of a shard up to which it never gives memory back.
const KEPT_CAPACITY: usize = 64;

/// Entries by hash, each once.
#[derive(Debug)]
pub(crate) struct ShardedTable<T> {
    shards: Box<[HashTable<T>]>,
    len: usize,
}

impl<T> ShardedTable<T> {
    /// An empty table of so many shards, a power of two.
    pub(crate) fn new(shards: usize) -> ShardedTable<T> {
        assert!(shards.is_power_of_two() && shards <= 1 << 16, "{shards} shards");
        ShardedTable { shards: (0..shards).map(|_| HashTable::new()).collect(), len: 0 }
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn shard(&self, hash: u64) -> usize {
        (hash >> SHARD_BIT) as usize & (self.shards.len() - 1)
    }

    /// Returns the entry with this hash that `is_it` tells.
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.shards[self.shard(hash)].find(hash, is_it)
    }

    /// Adds an entry that is not there. `hash_of` hashes those that have to move.
    pub(crate) fn insert(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) {
        let shard = self.shard(hash);
        self.shards[shard].insert_unique(hash, entry, hash_of);
        self.len += 1;
    }

    /// Removes the entry with this hash that `is_it` tells, and returns it. A shard that is mostly empty then
    /// gives memory back.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let shard = self.shard(hash);
        let shard = &mut self.shards[shard];
        let (entry, _) = shard.find_entry(hash, is_it).ok()?.remove();
        self.len -= 1;
        if shard.capacity() > KEPT_CAPACITY && shard.len() < shard.capacity() / 8 {
            shard.shrink_to(shard.len() * 2, hash_of);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::fanout::hash::SeededHash;
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    #[test]
    fn it_finds_what_it_holds_and_moves_few_entries_at_a_time() {
        let (seeded, mut prng) = (SeededHash::new(7), Prng::new(7));
        let moved = std::cell::Cell::new(0);
        let hash_of = |entry: &u64| {
            moved.set(moved.get() + 1);
            seeded.hash_one(entry)
        };
        let (mut table, mut twin) = (ShardedTable::new(64), BTreeSet::new());
        for step in 0..200_000_u64 {
            // It fills for three quarters of the time, and empties.
            let entry = prng.below(150_000);
            let hash = seeded.hash_one(entry);
            moved.set(0);
            if step < 150_000 {
                if twin.insert(entry) {
                    table.insert(hash, entry, hash_of);
                }
            } else if let Some(entry) = twin.pop_first() {
                let gone = table.remove(seeded.hash_one(entry), |it| *it == entry, hash_of);
                assert_eq!(gone, Some(entry));
            }
            assert!(moved.get() <= 4_096, "{} entries moved by one step", moved.get());
            let found = table.find(hash, |it| *it == entry).copied();
            assert_eq!((found, table.len()), (twin.get(&entry).copied(), twin.len()), "step {step}");
        }
        while let Some(entry) = twin.pop_first() {
            table.remove(seeded.hash_one(entry), |it| *it == entry, hash_of);
        }
        let capacity: usize = table.shards.iter().map(HashTable::capacity).sum();
        assert!(table.len() == 0 && capacity <= 64 * KEPT_CAPACITY * 2, "{capacity} places are kept");
    }
}
