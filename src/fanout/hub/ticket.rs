//! A publisher's claim to one answer, and that answer on its way. Data only: `order` gives and settles them.

use super::messages::PublishOutcome;
use crate::base::counters::RefusalReason;
use crate::fanout::budget::BudgetShare;
use crate::fanout::token::{Asker, ConnToken};

/// The claim of one publisher to one answer. Cannot be copied, so nobody is answered twice.
#[derive(Debug)]
pub struct Ticket {
    /// The publisher's connection. None: the server itself publishes, and waits for nothing.
    pub(super) asker: Option<Asker>,
    /// Tells it from other tickets of the connection.
    pub(super) number: u64,
    /// The publish's share of `ORDER_BYTES_MAX`.
    pub(super) share: BudgetShare,
    /// Room for its idempotency key, until the key is remembered.
    pub(super) _key_share: Option<BudgetShare>,
}

/// The answer to a ticket on its way to the publisher's worker.
#[derive(Debug)]
pub(crate) struct OrderSettlement {
    /// The publisher's connection, which may be gone.
    pub(crate) token: ConnToken,
    /// Tells this ticket from later ones of the same connection.
    pub(crate) number: u64,
    /// The answer.
    pub(crate) outcome: Result<PublishOutcome, RefusalReason>,
    /// Held until the worker has taken the answer, so that mail of this kind is bounded, too.
    pub(super) _share: BudgetShare,
}
