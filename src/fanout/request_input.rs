//! Bytes of a connection's requests that are not parsed yet, and the charge for long ones.
//!
//! The first `FREE_BYTES` cost nothing: every client in the middle of a head has some. The rest of a head is
//! charged to a budget of the node while it arrives, so that long heads that never end are bounded together.
//! The charge is given back wherever the bytes go.

use std::sync::Arc;

use super::budget::{BudgetShare, SharedBudget};
use crate::base::limits::{KIB, PUBLIC_READ_BYTES};

/// Bytes of a head for which nothing is charged: twenty thousand slow heads of them are 20 MiB.
const FREE_BYTES: usize = KIB;

/// Bytes received and not parsed yet.
#[derive(Debug, Default)]
pub(crate) struct RequestInput {
    bytes: Vec<u8>,
    charge: Option<BudgetShare>,
}

impl RequestInput {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether `more` bytes can neither end the head nor exceed `limit`, and parsing all of it again for each
    /// such piece would cost a peer that sends single bytes far less than the server.
    pub(crate) fn only_grows(&self, more: &[u8], limit: usize) -> bool {
        let total = self.bytes.len() + more.len();
        self.bytes.len() >= PUBLIC_READ_BYTES && total < limit && !more.contains(&b'\n')
    }

    /// Takes all bytes out.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.charge = None;
        std::mem::take(&mut self.bytes)
    }

    /// Keeps bytes until it is their turn; they came with requests that were served.
    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        *self = RequestInput { bytes: bytes.to_vec(), charge: None };
    }

    /// Adds bytes of a head that is still arriving. False when `budget` has no room for them.
    pub(crate) fn try_add(&mut self, more: &[u8], budget: &Arc<SharedBudget>) -> bool {
        let wanted = self.bytes.len() + more.len();
        if wanted > self.bytes.capacity() {
            // Exact while it is short, which most are and all slow ones should be.
            let spare = if wanted > FREE_BYTES { wanted / 4 } else { 0 };
            self.bytes.reserve_exact(more.len() + spare);
        }
        self.bytes.extend_from_slice(more);
        let cost = self.bytes.capacity().saturating_sub(FREE_BYTES);
        BudgetShare::try_cover(&mut self.charge, budget, cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_heads_share_a_budget_that_is_given_back_wherever_they_go() {
        let budget = Arc::new(SharedBudget::new(10_000));
        let mut slow = RequestInput::default();
        assert!((0..FREE_BYTES).all(|_| slow.try_add(b"x", &budget)));
        assert_eq!((budget.taken(), slow.bytes.capacity()), (0, FREE_BYTES), "no more than it has sent");
        let mut long = RequestInput::default();
        assert!(long.try_add(&[b'x'; 4_000], &budget) && long.try_add(&[b'x'; 4_000], &budget));
        let taken = budget.taken();
        assert!((7_000 - 24..=10_000).contains(&taken), "{taken}");
        let mut other = RequestInput::default();
        assert!(!other.try_add(&[b'x'; 6_000], &budget));
        assert_eq!(budget.taken(), taken, "a refusal takes nothing");
        assert_eq!(long.take().len(), 8_000);
        assert_eq!(budget.taken(), 0);
        assert!(other.try_add(b"x", &budget));
        drop(other);
        assert!(long.is_empty() && long.try_add(&[b'x'; 6_000], &budget));
        long.keep(b"GET");
        assert_eq!((budget.taken(), long.take()), (0, b"GET".to_vec()));
    }

    #[test]
    fn a_piece_of_a_long_line_is_not_worth_a_parse() {
        let budget = Arc::new(SharedBudget::new(100_000));
        let mut input = RequestInput::default();
        assert!(input.try_add(&[b'x'; PUBLIC_READ_BYTES - 1], &budget));
        assert!(!input.only_grows(b"x", 8_192), "short");
        assert!(input.try_add(b"x", &budget) && input.only_grows(b"x", 8_192));
        assert!(!input.only_grows(b"x\n", 8_192), "may end it");
        assert!(!input.only_grows(&[b'x'; PUBLIC_READ_BYTES], 8_192), "the limit is to be told");
    }
}
