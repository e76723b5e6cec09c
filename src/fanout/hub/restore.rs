//! What an earlier run left: events, idempotency keys, and the greatest id that it gave. They are put back
//! before anybody joins.
//!
//! The run goes on where the earlier one ended: [`Node::new`](crate::fanout::node::Node::new) gets the
//! position before the oldest event that is known, with the tag of the store, so a client resumes over the
//! restart as if there had been none. Events up to that position are gone, and a client that comes with an
//! older id is told so.

use super::{Hub, OrderKey, OrderedEvent, PublishReceipt};
use crate::base::id::EventId;
use crate::base::time::Now;
use crate::fanout::topic_log::KeyFate;

/// An idempotency key of an earlier run with the answer that it stands for.
#[derive(Clone, Debug)]
pub struct RestoredKey {
    /// The key, and the hash of its request.
    pub key: OrderKey,
    /// The answer that a repeat gets.
    pub receipt: PublishReceipt,
    /// Time since that answer, milliseconds.
    pub age_ms: u64,
}

impl Hub {
    /// Keeps events of an earlier run, oldest first, as far as the bounds of history let it. Ids must rise
    /// and follow the position at which this run begins. Nobody gets mail of them. Ages are told by their
    /// ids.
    pub fn restore(&self, events: impl IntoIterator<Item = OrderedEvent>, now: Now) {
        for OrderedEvent { id, mut event } in events {
            let mut inner = self.lock();
            assert_eq!(inner.subscriptions, 0, "history is restored before anybody joins");
            assert!(id > inner.head, "ids rise");
            inner.head = id;
            let age_ms = now.wall_ms.saturating_sub(id.ms());
            if !inner.leave_topics_with_room(&mut event).is_empty() {
                inner.removed_floor = id;
            }
            if event.topics.is_empty() {
                continue;
            }
            // Before the start of the process, as a rule.
            let at_us = now.mono_us as i64 - age_ms.saturating_mul(1_000) as i64;
            inner.now_ms = now.mono_ms;
            let kept = inner.keep(event, id, at_us, 0, &[]);
            let class = inner.journal_class(kept.topics());
            let history_ms = inner.classes.table().settings(class).history_ms;
            inner.trim(&kept, now);
            if age_ms >= history_ms {
                // Not left out at once: its topics may keep older events, in journals of longer ages, and
                // would have a hole that nobody is told of.
                inner.evict(&kept, now, usize::MAX, KeyFate::Retained);
            }
        }
    }

    /// Remembers idempotency keys of an earlier run, oldest first, each for the rest of its time. Of more
    /// than `idempotency_keys_max` the newest stay.
    pub fn restore_keys(&self, keys: impl IntoIterator<Item = RestoredKey>, now: Now) {
        for RestoredKey { key, receipt, age_ms } in keys {
            self.lock().idempotency.remember(key.as_key(), receipt, age_ms, now.mono_ms);
        }
    }

    /// Notes the greatest id that an earlier run gave: every new one follows it.
    pub fn restore_head(&self, head: EventId) {
        let mut inner = self.lock();
        inner.head = inner.head.max(head);
    }
}
