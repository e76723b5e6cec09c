//! The addresses with the most connections, counted in bounded memory (Misra and Gries 1982).
//!
//! Of `n` connections a count is too low by at most `n / (COUNTED_ADDRESSES_MAX + 1)`, and exact while there
//! are no more addresses than that. Never too high.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::hash::SeededHash;
use crate::base::survey::AddressCount;

/// Addresses that each worker counts connections of at once.
const COUNTED_ADDRESSES_MAX: usize = 256;

/// Connections of one worker by address, in bounded memory.
#[derive(Debug)]
pub(crate) struct HeavyHitters(HashMap<IpAddr, u64, SeededHash>);

impl HeavyHitters {
    /// Begins with no address counted.
    pub(crate) fn new(hash: SeededHash) -> HeavyHitters {
        HeavyHitters(HashMap::with_hasher(hash))
    }

    /// Counts one more connection of an address.
    pub(crate) fn add(&mut self, address: IpAddr) {
        if let Some(count) = self.0.get_mut(&address) {
            *count += 1;
        } else if self.0.len() < COUNTED_ADDRESSES_MAX {
            self.0.insert(address, 1);
        } else {
            self.0.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// Returns the counts, in no order.
    pub(crate) fn into_counts(self) -> Vec<AddressCount> {
        self.0.into_iter().map(|(address, connections)| AddressCount { address, connections }).collect()
    }
}

/// Returns the `most` largest sums over all workers, largest first.
pub(crate) fn select_largest(mut counts: Vec<AddressCount>, most: usize) -> Vec<AddressCount> {
    counts.sort_unstable_by_key(|count| count.address);
    counts.dedup_by(|next, sum| {
        let same = next.address == sum.address;
        sum.connections += if same { next.connections } else { 0 };
        same
    });
    counts.sort_by_key(|count| Reverse(count.connections));
    counts.truncate(most);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(nth: u32) -> IpAddr {
        IpAddr::V4(nth.into())
    }

    #[test]
    fn few_addresses_are_counted_exactly_over_all_workers() {
        let counts = (0..4).flat_map(|_| {
            let mut hitters = HeavyHitters::new(SeededHash::new(1));
            (0..100).for_each(|nth| (0..=nth).for_each(|_| hitters.add(address(nth))));
            hitters.into_counts()
        });
        let largest = select_largest(counts.collect(), 2);
        let expected = [(99, 400), (98, 396)];
        let expected = expected.map(|(nth, connections)| AddressCount { address: address(nth), connections });
        assert_eq!(largest, expected);
    }

    #[test]
    fn one_that_has_many_is_found_among_very_many_that_have_one() {
        let mut hitters = HeavyHitters::new(SeededHash::new(1));
        for nth in 0..100_000 {
            hitters.add(address(nth + 10));
            if nth % 10 == 0 {
                hitters.add(address(1));
            }
        }
        let counts = hitters.into_counts();
        assert!(counts.len() <= COUNTED_ADDRESSES_MAX);
        let found = select_largest(counts, 1)[0];
        let error = 110_000 / (COUNTED_ADDRESSES_MAX as u64 + 1);
        assert_eq!(found.address, address(1));
        assert!((10_000 - error..=10_000).contains(&found.connections), "{found:?}");
    }
}
