//! What an earlier run left: events, and the greatest id that it gave. They are put back before anybody
//! joins.
//!
//! The run goes on where the earlier one ended: [`Node::new`](crate::fanout::node::Node::new) gets the
//! position before the oldest event that is known, with the tag of the store, so a client resumes over the
//! restart as if there had been none. Events up to that position are gone, and a client that comes with an
//! older id is told so.

use super::{Hub, OrderedEvent};
use crate::base::id::EventId;
use crate::base::time::Now;

impl Hub {
    /// Keeps events of an earlier run, oldest first, as far as the bounds of history let it. Ids must rise
    /// and follow the position at which this run begins. Nobody gets mail of them. Ages are told by their
    /// ids; what is older than the process counts from its start on.
    pub fn restore(&self, events: impl IntoIterator<Item = OrderedEvent>, now: Now) {
        for OrderedEvent { id, event } in events {
            let mut inner = self.lock();
            assert_eq!(inner.subscriptions, 0, "history is restored before anybody joins");
            assert!(id > inner.head, "ids rise");
            let age_ms = now.wall_ms.saturating_sub(id.ms());
            let since = Now { mono_us: now.mono_us.saturating_sub(age_ms.saturating_mul(1_000)), ..now };
            inner.head = id;
            if age_ms >= inner.history_ms_of(&event.topics) {
                inner.removed_floor = id;
                continue;
            }
            let kept = inner.keep(event, id, &self.meter, since);
            inner.trim(&kept, now);
        }
    }

    /// Notes the greatest id that an earlier run gave: every new one follows it.
    pub fn restore_head(&self, head: EventId) {
        let mut inner = self.lock();
        inner.head = inner.head.max(head);
    }
}
