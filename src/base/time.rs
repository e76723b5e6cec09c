//! Time as an argument: one reading of two clocks, which the shell hands to the core.

/// One reading of both clocks, taken once a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the process started, from the monotonic clock. Timers use only this one.
    pub mono_ms: u64,
    /// Microseconds of the same clock: measurements use them, no decision does.
    pub mono_us: u64,
    /// Unix milliseconds; may step in either direction. Event ids and `Date`-like texts use it.
    pub wall_ms: u64,
}

/// Milliseconds in one tick, the wheel's resolution.
pub const TICK_MS: u64 = 32;

/// A moment in ticks since the process started; 32 bits last for 4 years.
pub(crate) type Tick = u32;

impl Now {
    /// The tick that is running.
    pub(crate) fn tick(self) -> Tick {
        (self.mono_ms / TICK_MS) as Tick
    }

    /// The first tick that begins `ms` from now or later: never early, and never the running one.
    pub(crate) fn tick_after_ms(self, ms: u64) -> Tick {
        let due = self.mono_ms.saturating_add(ms).div_ceil(TICK_MS);
        due.clamp(u64::from(self.tick()) + 1, u64::from(Tick::MAX / 2)) as Tick
    }
}

/// Ticks that cover at least `ms`; never 0, so that a deadline lies ahead.
pub(crate) fn ticks_of_ms(ms: u64) -> Tick {
    ms.div_ceil(TICK_MS).clamp(1, u64::from(Tick::MAX / 2)) as Tick
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_less_than_a_tick_late() {
        for mono_ms in 0..3 * TICK_MS {
            let now = Now { mono_ms, mono_us: 0, wall_ms: 0 };
            for ms in 1..200 {
                let due_ms = u64::from(now.tick_after_ms(ms)) * TICK_MS;
                assert!((ms..ms + TICK_MS).contains(&(due_ms - mono_ms)), "{ms} ms from {mono_ms}: {due_ms}");
            }
            assert_eq!(now.tick_after_ms(0), now.tick() + 1, "what is due at once waits for the next tick");
        }
    }
}
