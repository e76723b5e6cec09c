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
}

/// Ticks that cover at least `ms`; never 0, so that a deadline lies ahead.
pub(crate) fn ticks_of_ms(ms: u64) -> Tick {
    ms.div_ceil(TICK_MS).clamp(1, u64::from(Tick::MAX / 2)) as Tick
}
