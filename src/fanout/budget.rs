//! Budgets of the node: atomics that threads take from before they use something, and give back to after.
//!
//! No race exceeds a limit. Knows no resource.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A budget that several threads take from.
#[derive(Debug, Default)]
pub struct SharedBudget {
    taken: AtomicUsize,
    limit: usize,
}

impl SharedBudget {
    /// A budget of which nothing is taken.
    pub(crate) fn new(limit: usize) -> SharedBudget {
        SharedBudget { taken: AtomicUsize::new(0), limit }
    }

    /// Takes `amount` if so much is left. Returns whether it did.
    pub(crate) fn try_take(&self, amount: usize) -> bool {
        let grown = |taken: usize| taken.checked_add(amount).filter(|&taken| taken <= self.limit);
        self.taken.fetch_update(Relaxed, Relaxed, grown).is_ok()
    }

    /// Gives a taken `amount` back.
    pub(crate) fn release(&self, amount: usize) {
        let before = self.taken.fetch_sub(amount, Relaxed);
        debug_assert!(before >= amount, "only what was taken is given back");
    }

    /// Returns the amount taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// Returns the most that can be taken.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// An amount taken from a budget. Dropping it gives the amount back.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: Arc<SharedBudget>,
    amount: usize,
}

impl BudgetShare {
    /// Takes `amount` if so much is left.
    pub(crate) fn try_take(budget: &Arc<SharedBudget>, amount: usize) -> Option<BudgetShare> {
        budget.try_take(amount).then(|| BudgetShare { budget: Arc::clone(budget), amount })
    }

    /// Makes sure that `share` holds at least `amount`; there is none while nothing is held. Returns whether
    /// so much was left.
    pub(crate) fn try_cover(
        share: &mut Option<BudgetShare>,
        budget: &Arc<SharedBudget>,
        amount: usize,
    ) -> bool {
        match share {
            Some(share) => share.try_grow_to(amount),
            None if amount == 0 => true,
            None => {
                *share = BudgetShare::try_take(budget, amount);
                share.is_some()
            }
        }
    }

    /// Takes what is missing to `amount`. Returns whether so much was left.
    fn try_grow_to(&mut self, amount: usize) -> bool {
        let grows = self.budget.try_take(amount.saturating_sub(self.amount));
        if grows {
            self.amount = self.amount.max(amount);
        }
        grows
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.release(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_within_the_limit_and_is_given_back_whole() {
        let budget = Arc::new(SharedBudget::new(10));
        let mut share = BudgetShare::try_take(&budget, 4).expect("so much is left");
        assert!(BudgetShare::try_take(&budget, 7).is_none());
        assert!(share.try_grow_to(10) && share.try_grow_to(3) && !share.try_grow_to(11));
        assert_eq!((budget.taken(), budget.limit()), (10, 10));
        drop(share);
        assert_eq!(budget.taken(), 0);
    }
}
