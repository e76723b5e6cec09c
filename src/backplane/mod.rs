//! Other nodes, by Redis: one stream that all nodes of a fleet write and read, and thereby one order.
//!
//! ```text
//! publisher ──► Hub::publish ──► Backplane::submit ──► writer ──► publish.lua ──► stream
//!     ▲                                                                             │
//!     │ 202 when its event has come back                                            │ XREAD
//! its worker ◄── Hub::commit ◄── reader ◄───────────────────────────────────────────┘
//! ```
//!
//! Ids, history, idempotency keys and gaps are those of the fleet. Each thread has a connection of its own.
//! Nothing here runs, and nothing is asked, on a node without a backplane.

mod entry;
mod fleet;
mod flights;
mod health;
mod join;
mod keys;
mod link;
mod reader;
mod retry;
mod script;
mod shared;
mod writer;

use std::fmt;
use std::sync::Arc;

use crossbeam_channel::Sender;

pub(crate) use self::join::{JoinOptions, JoinedFleet};
use self::shared::SharedState;
use crate::base::counters::RefusalReason;
use crate::base::snapshot::BackplaneSnapshot;
use crate::fanout::hub::{OrderRequest, Orderer};

/// The orderer of a node that has a backplane.
struct Backplane {
    shared: Arc<SharedState>,
    requests: Sender<OrderRequest>,
}

impl Orderer for Backplane {
    fn submit(&self, request: OrderRequest) -> Result<(), RefusalReason> {
        // What Redis holds and this node cannot read would reach nobody here.
        if !self.shared.writer.is_up() || !self.shared.reader.is_up() {
            return Err(RefusalReason::BackplaneAway);
        }
        self.requests.send(request).map_err(|_| RefusalReason::BackplaneAway)
    }
}

impl fmt::Debug for Backplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backplane").finish_non_exhaustive()
    }
}

/// A view of the backplane for readiness and pages.
#[derive(Clone)]
pub(crate) struct BackplaneView(Arc<SharedState>);

impl BackplaneView {
    /// Returns the reason for which the node should get no newcomers, if there is one.
    pub(crate) fn fault(&self) -> Option<String> {
        self.0.fault()
    }

    /// Returns the figures for pages.
    pub(crate) fn snapshot(&self) -> BackplaneSnapshot {
        self.0.snapshot()
    }
}

impl fmt::Debug for BackplaneView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackplaneView").finish_non_exhaustive()
    }
}
