//! A keyed hash for tables whose keys outsiders choose: SipHash with a secret block in front of every key.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// Builds hashers that depend on a secret seed, so that nobody outside can choose keys that collide.
#[derive(Clone, Debug)]
pub(crate) struct SeededHash([u64; 2]);

impl SeededHash {
    /// Derives the secret block from `seed`.
    pub(crate) fn new(seed: u64) -> SeededHash {
        let mut prng = crate::base::prng::Prng::new(seed);
        SeededHash([prng.next_u64(), prng.next_u64()])
    }

    /// Returns a hasher that is independent of those with another `salt`.
    pub(crate) fn hasher(&self, salt: u8) -> DefaultHasher {
        let mut hasher = self.build_hasher();
        hasher.write_u8(salt);
        hasher
    }
}

impl BuildHasher for SeededHash {
    type Hasher = DefaultHasher;
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        self.0.iter().for_each(|&word| hasher.write_u64(word));
        hasher
    }
}
