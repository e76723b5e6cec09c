//! The fingerprint of a publish: what tells a repeat from another request with the same `Idempotency-Key`.
//!
//! It outlives the process, on disk or at other nodes, so it is the same for every build, machine and run:
//! SipHash-1-3 without a secret, over parts with their lengths. A publisher that looks for two requests with
//! one fingerprint deceives nobody but itself.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

/// The fingerprint of the parts so far.
#[derive(Debug, Default)]
pub(super) struct Fingerprint(SipHasher13);

impl Fingerprint {
    /// Adds a part of any length.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.add_number(part.len() as u64);
        self.0.write(part);
    }

    /// Adds a part that may be missing; none is not the same as an empty one.
    pub(super) fn add_optional(&mut self, part: Option<&[u8]>) {
        self.add_number(u64::from(part.is_some()));
        part.into_iter().for_each(|part| self.add(part));
    }

    /// Adds a number.
    pub(super) fn add_number(&mut self, number: u64) {
        self.0.write(&number.to_le_bytes());
    }

    /// Returns the fingerprint.
    pub(super) fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut fingerprint = Fingerprint::default();
        parts.iter().for_each(|part| fingerprint.add(part));
        fingerprint.finish()
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_build_and_knows_where_its_parts_end() {
        assert_eq!(of(&[b"a", b"body"]), 3_473_289_865_962_755_727);
        assert_ne!(of(&[b"ab", b""]), of(&[b"a", b"b"]));
        let [none, empty] = [None, Some(b"".as_slice())].map(|part| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.add_optional(part);
            fingerprint.finish()
        });
        assert_ne!(none, empty);
    }
}
