//! The answers that a repeated `Idempotency-Key` gets: a bounded map that forgets in the order of arrival.
//!
//! Keys are kept as 128 bits of a seeded hash, so the table's size does not depend on what publishers send.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;

use super::hash::SeededHash;
use crate::base::counters::RefusalReason;
use crate::base::id::EventId;

/// The answer of a publish that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishReceipt {
    /// The last event's id.
    pub(crate) id: EventId,
    /// Events published.
    pub(crate) events: u64,
    /// Subscribers of their topics at that moment, summed over topics.
    pub(crate) subscribers: u64,
}

/// A publisher's key and the request that it stands for.
#[derive(Clone, Copy, Debug)]
pub struct IdempotencyKey<'a> {
    /// The key as it came.
    pub(crate) text: &'a [u8],
    /// Hash of all else that the request would publish.
    pub(crate) fingerprint: u64,
}

#[derive(Clone, Copy, Debug)]
struct KnownAnswer {
    receipt: PublishReceipt,
    fingerprint: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct IdempotencyTable {
    answers: HashMap<u128, KnownAnswer, SeededHash>,
    arrivals: VecDeque<(u64, u128)>,
    seed: SeededHash,
    keys_max: usize,
    keep_ms: u64,
}

impl IdempotencyTable {
    /// An empty table.
    pub(crate) fn new(seed: SeededHash, keys_max: usize, keep_ms: u64) -> IdempotencyTable {
        let answers = HashMap::with_hasher(seed.clone());
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
        let known = self.answers.get(&digest)?;
        let same = known.fingerprint == key.fingerprint;
        Some(if same { Ok(known.receipt) } else { Err(RefusalReason::KeyReused) })
    }

    /// Whether one more key can be remembered now.
    pub(crate) fn has_room(&self) -> bool {
        self.arrivals.len() < self.keys_max
    }

    /// Keys remembered.
    pub(crate) fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Remembers an answer.
    pub(crate) fn remember(
        &mut self,
        digest: u128,
        key: IdempotencyKey<'_>,
        receipt: PublishReceipt,
        mono_ms: u64,
    ) {
        self.answers.insert(digest, KnownAnswer { receipt, fingerprint: key.fingerprint });
        self.arrivals.push_back((mono_ms, digest));
    }

    /// Forgets at most `most` answers that are older than the table keeps them. Returns whether more are.
    pub(crate) fn expire(&mut self, mono_ms: u64, most: usize) -> bool {
        for _ in 0..most {
            match self.arrivals.front() {
                Some(&(at_ms, digest)) if at_ms + self.keep_ms <= mono_ms => {
                    self.answers.remove(&digest);
                    self.arrivals.pop_front();
                }
                _ => return self.shrink_tables(),
            }
        }
        true
    }

    fn shrink_tables(&mut self) -> bool {
        if self.arrivals.capacity() > 1_024 && self.arrivals.len() < self.arrivals.capacity() / 8 {
            self.arrivals.shrink_to(self.arrivals.len() * 2);
            self.answers.shrink_to(self.answers.len() * 2);
        }
        false
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
