//! Rates of many keys in bounded memory: each key may take so many units a second, a second's worth ahead.
//!
//! Shared by all workers without a lock: a look and a change of one word. Each key has a place among the few
//! of its set, which a keyed hash chooses, and a tag of 16 bits. A key that takes nothing for a while has no
//! place. When more keys are busy than there are places, the one that is nearest to being forgotten is
//! forgotten early: too many strangers make the table lenient, never strict towards others.
//!
//! ```text
//! cell:  tag (16 bits) | microsecond at which all that was taken is paid for (48 bits)
//! ```
//!
//! Knows neither addresses nor tokens.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::hash::SeededHash;

/// Sets of a table; with their places half a mebibyte.
const RATE_SETS: usize = 16_384;
/// Places of a set.
const SET_PLACES: usize = 4;
/// Bits of a moment; in microseconds nine years.
const MOMENT_BITS: u32 = 48;
const MOMENT_MASK: u64 = (1 << MOMENT_BITS) - 1;
/// Microseconds that a key may take ahead: after a quiet second it may take a second's worth at once.
const AHEAD_US: u64 = 1_000_000;
/// Microseconds for which a key may be in debt, by units that were charged and not asked for.
const DEBT_US_MAX: u64 = 60_000_000;

/// The rates of all keys of one kind.
#[derive(Debug)]
pub(crate) struct RateTable {
    cells: Box<[AtomicU64]>,
    unit_us: u64,
    hash: SeededHash,
}

/// The place of a key, and the moment at which it has paid.
struct RatePlace {
    index: usize,
    cell: u64,
    paid_at_us: u64,
}

impl RateTable {
    /// A table in which each key may take `per_second` units; none for 0, which is no limit.
    pub(crate) fn new(per_second: u64, hash: SeededHash) -> Option<RateTable> {
        let unit_us = AHEAD_US.checked_div(per_second)?.max(1);
        let cells = (0..RATE_SETS * SET_PLACES).map(|_| AtomicU64::new(0)).collect();
        Some(RateTable { cells, unit_us, hash })
    }

    /// Takes a unit for a key. Returns false, and takes none, if the key has taken too many.
    pub(crate) fn try_take(&self, key: &impl Hash, now_us: u64) -> bool {
        self.change(key, now_us, |paid_at_us| (paid_at_us <= now_us + AHEAD_US).then_some(1))
    }

    /// Charges a key with units that it has taken already.
    pub(crate) fn charge(&self, key: &impl Hash, units: u64, now_us: u64) {
        self.change(key, now_us, |_| Some(units));
    }

    /// Adds the units that `units` returns for the moment at which the key has paid.
    fn change(&self, key: &impl Hash, now_us: u64, units: impl Fn(u64) -> Option<u64>) -> bool {
        let hash = self.hash_of(key);
        loop {
            let RatePlace { index, cell, paid_at_us } = self.find_place(hash, now_us);
            let Some(units) = units(paid_at_us) else { return false };
            let longest = paid_at_us.max(now_us + DEBT_US_MAX);
            let next = paid_at_us.saturating_add(units.saturating_mul(self.unit_us)).min(longest);
            let changed = tag_of(hash) | (next & MOMENT_MASK);
            if self.cells[index].compare_exchange_weak(cell, changed, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Finds the place of a key: its own, else the one that is forgotten first.
    fn find_place(&self, hash: u64, now_us: u64) -> RatePlace {
        let first = (hash as usize % RATE_SETS) * SET_PLACES;
        let mut place = RatePlace { index: first, cell: 0, paid_at_us: now_us };
        let mut soonest = u64::MAX;
        for index in first..first + SET_PLACES {
            let cell = self.cells[index].load(Relaxed);
            let paid_at_us = cell & MOMENT_MASK;
            if cell & !MOMENT_MASK == tag_of(hash) && paid_at_us > now_us {
                return RatePlace { index, cell, paid_at_us };
            }
            if paid_at_us < soonest {
                soonest = paid_at_us;
                place = RatePlace { index, cell, paid_at_us: now_us };
            }
        }
        place
    }

    fn hash_of(&self, key: &impl Hash) -> u64 {
        let mut hasher = self.hash.hasher(0);
        key.hash(&mut hasher);
        hasher.finish()
    }
}

/// The tag of a key: bits of its hash that do not choose the set.
fn tag_of(hash: u64) -> u64 {
    hash & !MOMENT_MASK
}

const _: () =
    assert!(RATE_SETS.is_power_of_two() && RATE_SETS <= 1 << MOMENT_BITS, "a tag tells keys of a set");
const _: () = assert!(RATE_SETS * SET_PLACES * size_of::<u64>() <= crate::base::limits::MIB);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::prng::Prng;

    const START_US: u64 = 5_000_000;

    fn table(per_second: u64) -> RateTable {
        RateTable::new(per_second, SeededHash::new(3)).expect("a limit")
    }

    #[test]
    fn a_second_may_be_taken_ahead_and_then_only_its_rate() {
        for per_second in [1, 10, 1_000] {
            let table = table(per_second);
            let take = |now_us| (0..).take_while(|_| table.try_take(&"a", now_us)).count() as u64;
            assert_eq!(take(START_US), per_second + 1);
            assert_eq!(take(START_US + 500_000), per_second / 2);
            assert_eq!(take(START_US + 60_000_000), per_second + 1, "no more is saved up");
            assert!(table.try_take(&"b", START_US), "others have rates of their own");
        }
    }

    #[test]
    fn no_limit_needs_no_table_and_charges_are_paid_for_a_minute_at_most() {
        assert!(RateTable::new(0, SeededHash::new(3)).is_none());
        let table = table(10);
        assert!(table.try_take(&"a", START_US));
        table.charge(&"a", 29, START_US);
        assert!(!table.try_take(&"a", START_US + 1_990_000) && table.try_take(&"a", START_US + 2_000_000));
        table.charge(&"a", u64::MAX, START_US + 2_000_000);
        assert!(!table.try_take(&"a", START_US + 2_000_000 + DEBT_US_MAX - AHEAD_US - 1));
        assert!(table.try_take(&"a", START_US + 2_000_000 + DEBT_US_MAX - AHEAD_US));
    }

    /// The slow, obvious twin: a list without a bound.
    #[test]
    fn each_of_a_few_thousand_keys_has_its_rate_exactly() {
        let (table, mut twin) = (table(5), BTreeMap::<u64, u64>::new());
        let mut prng = Prng::new(9);
        let mut now_us = START_US;
        for _ in 0..40_000 {
            now_us += prng.below(2_000);
            let key = prng.below(40) * prng.below(40);
            let paid = twin.get(&key).copied().unwrap_or(0).max(now_us);
            let expected = paid <= now_us + AHEAD_US;
            if expected {
                twin.insert(key, paid + 200_000);
            }
            assert_eq!(table.try_take(&key, now_us), expected, "{key} at {now_us}");
        }
    }

    #[test]
    fn a_million_keys_take_no_memory_and_refuse_nobody_new() {
        let table = table(1);
        let mut refused = 0;
        for key in 0..1_000_000_u32 {
            refused += u32::from(!table.try_take(&key, START_US));
        }
        assert!(refused < 300, "a tag of 16 bits among four: {refused}");
        assert!(table.try_take(&"a newcomer", START_US));
    }
}
