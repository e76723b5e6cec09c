//! Pauses between tries: longer each time, jittered, and never so long that a server which is back waits.

use std::time::Duration;

use crate::base::prng::Prng;

/// The first pause, milliseconds.
const PAUSE_MS_MIN: u64 = 20;
/// The longest pause, milliseconds: with the time of a connect it stays below a second.
const PAUSE_MS_MAX: u64 = 500;

/// The pauses of one connection.
#[derive(Debug)]
pub(super) struct RetryPauses {
    prng: Prng,
    next_ms: u64,
}

impl RetryPauses {
    /// Makes pauses that begin short; `seed` decides their jitter.
    pub(super) fn new(seed: u64) -> RetryPauses {
        RetryPauses { prng: Prng::new(seed), next_ms: PAUSE_MS_MIN }
    }

    /// Begins with short pauses again: a try went well.
    pub(super) fn reset(&mut self) {
        self.next_ms = PAUSE_MS_MIN;
    }

    /// Returns the next pause: between half of the present one and all of it.
    pub(super) fn next_pause(&mut self) -> Duration {
        let most_ms = self.next_ms;
        self.next_ms = (most_ms * 2).min(PAUSE_MS_MAX);
        Duration::from_millis(most_ms / 2 + self.prng.below(most_ms / 2 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_short_after_a_success() {
        let mut pauses = RetryPauses::new(7);
        let drawn: Vec<u128> = (0..20).map(|_| pauses.next_pause().as_millis()).collect();
        assert!((10..=20).contains(&drawn[0]) && (20..=40).contains(&drawn[1]), "{drawn:?}");
        assert!(drawn[6..].iter().all(|ms| (250..=500).contains(ms)), "{drawn:?}");
        assert!(drawn[6..].iter().any(|ms| *ms != drawn[6]), "jittered: {drawn:?}");
        pauses.reset();
        assert!(pauses.next_pause().as_millis() <= 20);
    }
}
