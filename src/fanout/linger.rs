//! Reading on after an answer that ends the connection: unread bytes would cause a reset, which could reach
//! the client before the answer.
//!
//! A client that sends its whole body before it reads sees the answer only if all of that is read. So bytes
//! are thrown away as long as they come, for `LINGER_TOTAL_MS`. The first `LINGER_FREE_BYTES` cost nothing,
//! the rest is charged to a budget of the node until the connection closes.

use std::sync::Arc;

use super::budget::{BudgetShare, SharedBudget};
use crate::base::limits::{KIB, LINGER_FREE_BYTES, LINGER_MS, LINGER_TOTAL_MS};
use crate::base::time::{Tick, ticks_of_ms};

/// Largest read of a lingering connection without a larger window for the rest of its body.
const SMALL_REST_BYTES: usize = 64 * KIB;

/// A connection that was answered and is read on.
#[derive(Debug)]
pub(crate) struct Linger {
    thrown: usize,
    charge: Option<BudgetShare>,
    /// It is closed then at the latest.
    until: Tick,
}

impl Linger {
    /// Begins at `now`.
    pub(super) fn begin(now: Tick) -> Linger {
        Linger::lasting(now, LINGER_TOTAL_MS)
    }

    /// Begins at `now` for a connection that gets no time beyond the first silence.
    pub(super) fn begin_brief(now: Tick) -> Linger {
        Linger::lasting(now, LINGER_MS)
    }

    fn lasting(now: Tick, time_ms: u64) -> Linger {
        Linger { thrown: 0, charge: None, until: now.saturating_add(ticks_of_ms(time_ms)) }
    }

    /// Tick at which it is closed unless bytes come before.
    pub(super) fn due(&self, now: Tick) -> Tick {
        now.saturating_add(ticks_of_ms(LINGER_MS)).min(self.until)
    }

    /// Counts bytes that were thrown away. False when `budget` has no room for so many.
    pub(super) fn try_throw(&mut self, bytes: usize, budget: &Arc<SharedBudget>) -> bool {
        self.thrown += bytes;
        let cost = self.thrown.saturating_sub(LINGER_FREE_BYTES);
        BudgetShare::try_cover(&mut self.charge, budget, cost)
    }

    /// Whether so much has come that the rest should come faster.
    pub(super) fn is_long(&self) -> bool {
        self.thrown > SMALL_REST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_rest_is_free_and_all_long_ones_share_a_budget() {
        let budget = Arc::new(SharedBudget::new(1_000));
        let [mut first, mut second] = [Linger::begin(0), Linger::begin(0)];
        assert!(first.try_throw(LINGER_FREE_BYTES, &budget) && !first.try_throw(1_001, &budget));
        assert!(second.try_throw(LINGER_FREE_BYTES + 600, &budget) && second.is_long());
        assert!(!second.try_throw(401, &budget));
        drop(second);
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn bytes_move_the_end_up_to_a_bound_and_not_when_it_is_to_be_brief() {
        let (silence, total) = (ticks_of_ms(LINGER_MS), ticks_of_ms(LINGER_TOTAL_MS));
        for (at, expected) in [(0, silence), (10, 10 + silence), (total - 1, total)] {
            assert_eq!(Linger::begin(0).due(at), expected, "{at}");
        }
        assert_eq!(Linger::begin_brief(0).due(10), silence);
    }
}
