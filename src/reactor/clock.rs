//! The two clocks of the shell: the only place that reads time for the core.

use crate::base::time::Now;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Counts from the moment it was made. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Reads both clocks. A wall clock before 1970 reads 0.
    pub(crate) fn now(self) -> Now {
        let mono_us = self.mono_us();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms: mono_us / 1_000, mono_us, wall_ms }
    }

    /// Reads the monotonic clock, in microseconds.
    pub(crate) fn mono_us(self) -> u64 {
        us_since(self.start)
    }
}

fn us_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Start of [`hold_clock_us`].
static HOLD_CLOCK_START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Reads a monotonic clock that any thread may use, in microseconds since its first reading.
pub(crate) fn hold_clock_us() -> u64 {
    us_since(*HOLD_CLOCK_START)
}
