//! The answers that a repeated `Idempotency-Key` gets: a bounded map that forgets in the order of arrival.
//!
//! Keys are kept as 128 bits of a seeded hash, so the table's size does not depend on what publishers send.
//! The seed is that of the run: whoever keeps keys over a restart keeps their text.

use std::collections::VecDeque;
use std::hash::Hasher;

use super::hash::SeededHash;
use super::sharded_table::ShardedTable;
use crate::base::counters::RefusalReason;
use crate::base::id::EventId;

/// The answer of a publish that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishReceipt {
    /// The last event's id.
    pub id: EventId,
    /// Events published.
    pub events: u64,
    /// Subscribers of their topics at that moment, summed over topics.
    pub subscribers: u64,
}

/// A publisher's key and the request that it stands for.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyKey<'a> {
    /// The key as it came.
    pub(crate) text: &'a [u8],
    /// Hash of all else that the request would publish.
    pub(crate) fingerprint: u64,
}

/// Shards of the answers: of a million, a thousand each.
const ANSWER_SHARDS: usize = 1_024;
/// Arrivals of one block: the most that a new one allocates at once.
const BLOCK_ARRIVALS: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct KnownAnswer {
    digest: u128,
    receipt: PublishReceipt,
    fingerprint: u64,
}

/// A key in the order in which keys are forgotten.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// When it is forgotten, monotonic milliseconds.
    until_ms: u64,
    digest: u128,
}

/// The hash of a digest, which is one already.
fn hash_of(digest: u128) -> u64 {
    digest as u64
}

/// See the module.
#[derive(Debug)]
pub(crate) struct IdempotencyTable {
    answers: ShardedTable<KnownAnswer>,
    /// In blocks, so that one more moves no others.
    arrivals: VecDeque<VecDeque<Arrival>>,
    seed: SeededHash,
    keys_max: usize,
    keep_ms: u64,
}

impl IdempotencyTable {
    /// An empty table.
    pub(crate) fn new(seed: SeededHash, keys_max: usize, keep_ms: u64) -> IdempotencyTable {
        let answers = ShardedTable::new(ANSWER_SHARDS);
        IdempotencyTable { answers, arrivals: VecDeque::new(), seed, keys_max, keep_ms }
    }

    /// The digest under which a key is remembered.
    fn digest(&self, key: &[u8]) -> u128 {
        let half = |salt: u8| {
            let mut hasher = self.seed.hasher(salt);
            hasher.write(key);
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }

    /// Returns the answer given before under this key; an error if it was given to another request.
    pub(crate) fn find(&self, key: IdempotencyKey<'_>) -> Option<Result<PublishReceipt, RefusalReason>> {
        let digest = self.digest(key.text);
        let known = self.answers.find(hash_of(digest), |known| known.digest == digest)?;
        let same = known.fingerprint == key.fingerprint;
        Some(if same { Ok(known.receipt) } else { Err(RefusalReason::KeyReused) })
    }

    /// Whether one more key can be remembered beside `coming` that are on their way.
    pub(crate) fn has_room(&self, coming: usize) -> bool {
        self.answers.len().saturating_add(coming) < self.keys_max
    }

    /// Keys remembered.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Remembers an answer that is `age_ms` old for the rest of its time. A key that is known keeps its
    /// answer, and the oldest key goes where there is no room. Answers must come oldest first.
    pub(crate) fn remember(
        &mut self,
        key: IdempotencyKey<'_>,
        receipt: PublishReceipt,
        age_ms: u64,
        mono_ms: u64,
    ) {
        if age_ms >= self.keep_ms || self.find(key).is_some() {
            return;
        }
        while !self.has_room(0) && self.forget_oldest() {}
        let until_ms = mono_ms + self.keep_ms - age_ms;
        let digest = self.digest(key.text);
        let known = KnownAnswer { digest, receipt, fingerprint: key.fingerprint };
        self.answers.insert(hash_of(digest), known, |known| hash_of(known.digest));
        if self.arrivals.back().is_none_or(|block| block.len() == BLOCK_ARRIVALS) {
            self.arrivals.push_back(VecDeque::with_capacity(BLOCK_ARRIVALS));
        }
        let newest = self.arrivals.back_mut().expect("pushed above, or it has room");
        newest.push_back(Arrival { until_ms, digest });
    }

    /// Forgets at most `most` answers that are older than the table keeps them. Returns whether more are.
    pub(crate) fn expire(&mut self, mono_ms: u64, most: usize) -> bool {
        for _ in 0..most {
            let Some(block) = self.arrivals.front_mut() else { return false };
            if block.front().is_some_and(|oldest| oldest.until_ms > mono_ms) {
                return false;
            }
            self.forget_oldest();
        }
        true
    }

    /// Forgets the oldest answer, or gives an empty block back. Returns false when there is neither.
    fn forget_oldest(&mut self) -> bool {
        let Some(block) = self.arrivals.front_mut() else { return false };
        let Some(Arrival { digest, .. }) = block.pop_front() else {
            self.arrivals.pop_front();
            return true;
        };
        let is_it = |known: &KnownAnswer| known.digest == digest;
        self.answers.remove(hash_of(digest), is_it, |known| hash_of(known.digest));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &[u8]) -> IdempotencyKey<'_> {
        IdempotencyKey { text, fingerprint: 7 }
    }

    const ANSWER: PublishReceipt = PublishReceipt { id: EventId::ZERO, events: 1, subscribers: 3 };

    #[test]
    fn keys_are_remembered_for_their_time_and_not_beyond_the_bound() {
        let mut table = IdempotencyTable::new(SeededHash::new(7), 2, 100);
        let (a, b) = (key(b"a"), key(b"b"));
        assert_ne!(table.digest(b"a"), table.digest(b"b"));
        table.remember(a, ANSWER, 0, 0);
        assert!(table.has_room(0) && !table.has_room(1));
        table.remember(b, ANSWER, 0, 50);
        assert!(!table.has_room(0));
        assert_eq!(table.find(a), Some(Ok(ANSWER)));
        let other_request = IdempotencyKey { fingerprint: 8, ..a };
        assert_eq!(table.find(other_request), Some(Err(RefusalReason::KeyReused)));
        assert!(!table.expire(99, 10));
        assert_eq!(table.find(a), Some(Ok(ANSWER)));
        assert!(!table.expire(100, 10));
        assert_eq!((table.find(a), table.find(b)), (None, Some(Ok(ANSWER))));
        assert!(table.has_room(0));
    }

    #[test]
    fn a_restored_key_is_remembered_for_the_rest_of_its_time() {
        let mut table = IdempotencyTable::new(SeededHash::new(7), 3, 100);
        for (text, age_ms) in [(b"old", 100), (b"mid", 99), (b"mid", 5), (b"new", 30)] {
            table.remember(key(text), ANSWER, age_ms, 10);
        }
        let known =
            |table: &IdempotencyTable| [b"old", b"mid", b"new"].map(|text| table.find(key(text)).is_some());
        assert_eq!(known(&table), [false, true, true]);
        table.expire(11, 10);
        assert_eq!(known(&table), [false, false, true]);
        table.expire(79, 10);
        assert_eq!(known(&table), [false, false, true]);
        table.expire(80, 10);
        assert_eq!((known(&table), table.len()), ([false; 3], 0));
    }

    #[test]
    fn a_key_that_cannot_be_refused_takes_the_place_of_the_oldest() {
        let mut table = IdempotencyTable::new(SeededHash::new(7), 2, 100);
        [b"a", b"b", b"c"].iter().zip(0..).for_each(|(text, ms)| table.remember(key(*text), ANSWER, 0, ms));
        let known = [b"a", b"b", b"c"].map(|text| table.find(key(text)).is_some());
        assert_eq!((known, table.len()), ([false, true, true], 2));
    }
}
