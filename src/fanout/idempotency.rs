//! The answers that a repeated `Idempotency-Key` gets: a bounded map that forgets in the order of arrival.
//!
//! Keys are kept as 128 bits of a seeded hash, so the table's size does not depend on what publishers send.

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
    at_ms: u64,
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
    pub(crate) fn digest(&self, key: &[u8]) -> u128 {
        let half = |salt: u8| {
            let mut hasher = self.seed.hasher(salt);
            hasher.write(key);
            u128::from(hasher.finish())
        };
        half(1) << 64 | half(2)
    }

    /// Returns the answer given before under this key; an error if it was given to another request.
    pub(crate) fn find(
        &self,
        digest: u128,
        key: IdempotencyKey<'_>,
    ) -> Option<Result<PublishReceipt, RefusalReason>> {
        let known = self.answers.find(hash_of(digest), |known| known.digest == digest)?;
        let same = known.fingerprint == key.fingerprint;
        Some(if same { Ok(known.receipt) } else { Err(RefusalReason::KeyReused) })
    }

    /// Whether one more key can be remembered now.
    pub(crate) fn has_room(&self) -> bool {
        self.answers.len() < self.keys_max
    }

    /// Keys remembered.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Remembers an answer.
    pub(crate) fn remember(
        &mut self,
        digest: u128,
        key: IdempotencyKey<'_>,
        receipt: PublishReceipt,
        mono_ms: u64,
    ) {
        let known = KnownAnswer { digest, receipt, fingerprint: key.fingerprint };
        self.answers.insert(hash_of(digest), known, |known| hash_of(known.digest));
        if self.arrivals.back().is_none_or(|block| block.len() == BLOCK_ARRIVALS) {
            self.arrivals.push_back(VecDeque::with_capacity(BLOCK_ARRIVALS));
        }
        let newest = self.arrivals.back_mut().expect("pushed above, or it has room");
        newest.push_back(Arrival { at_ms: mono_ms, digest });
    }

    /// Forgets at most `most` answers that are older than the table keeps them. Returns whether more are.
    pub(crate) fn expire(&mut self, mono_ms: u64, most: usize) -> bool {
        for _ in 0..most {
            let Some(block) = self.arrivals.front_mut() else { return false };
            let Some(&Arrival { at_ms, digest }) = block.front() else {
                self.arrivals.pop_front();
                continue;
            };
            if at_ms + self.keep_ms > mono_ms {
                return false;
            }
            block.pop_front();
            let is_it = |known: &KnownAnswer| known.digest == digest;
            self.answers.remove(hash_of(digest), is_it, |known| hash_of(known.digest));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_remembered_for_their_time_and_not_beyond_the_bound() {
        let mut table = IdempotencyTable::new(SeededHash::new(7), 2, 100);
        let answer = PublishReceipt { id: EventId::at_ms(1), events: 1, subscribers: 3 };
        let (a, b) = (table.digest(b"a"), table.digest(b"b"));
        assert_ne!(a, b);
        let key = IdempotencyKey { text: b"", fingerprint: 7 };
        table.remember(a, key, answer, 0);
        table.remember(b, key, answer, 50);
        assert!(!table.has_room());
        assert_eq!(table.find(a, key), Some(Ok(answer)));
        let other_request = IdempotencyKey { fingerprint: 8, ..key };
        assert_eq!(table.find(a, other_request), Some(Err(RefusalReason::KeyReused)));
        assert!(!table.expire(99, 10));
        assert_eq!(table.find(a, key), Some(Ok(answer)));
        assert!(!table.expire(100, 10));
        assert_eq!((table.find(a, key), table.find(b, key)), (None, Some(Ok(answer))));
        assert!(table.has_room());
    }
}
