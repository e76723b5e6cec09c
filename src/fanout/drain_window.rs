//! The drain or stop of one worker as data: the window of the whole, and the part of it in which streams end.

use crate::base::limits::DRAIN_STREAMS_FULL;
use crate::base::time::Tick;

/// How far a worker is with its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shutdown {
    /// The drain in progress.
    pub(super) window: Option<DrainWindow>,
    /// Everything ends now, or has ended.
    pub(super) stopping: bool,
}

impl Shutdown {
    /// Whether the worker drains: it has told its streams when to end.
    pub(super) fn is_draining(self) -> bool {
        self.window.is_some()
    }

    /// Tick in which connections that are left are cut; none while nothing ends.
    pub(super) fn deadline(self) -> Option<Tick> {
        self.window.map(|window| window.deadline).or(self.stopping.then_some(0))
    }
}

/// A drain in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrainWindow {
    /// Tick in which all that is left is cut.
    pub(crate) deadline: Tick,
    /// Tick until which connections between two requests are kept.
    pub(crate) idle_until: Tick,
}

/// Milliseconds of a drain within which so many streams of the node end: the fewer, the sooner their clients
/// may come back together. The last fifth of `drain_ms` is for those that are slow to take their end.
pub(super) fn drain_ends_within_ms(drain_ms: u64, streams: u64) -> u64 {
    drain_ms * 4 / 5 * streams.min(DRAIN_STREAMS_FULL) / DRAIN_STREAMS_FULL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_takes_as_long_as_its_streams_would_hurt() {
        let rows = [(0, 0), (1, 0), (10, 8), (1_000, 800), (10_000, 8_000), (1_000_000, 8_000)];
        for (streams, expected_ms) in rows {
            assert_eq!(drain_ends_within_ms(10_000, streams), expected_ms, "{streams}");
        }
        assert_eq!(drain_ends_within_ms(0, 10_000), 0);
    }
}
