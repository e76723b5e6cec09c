//! Newest events of keys that outlive the history of their topics, so that a late `snapshot=1` finds each
//! key.
//!
//! Each topic retains as many as its class says. All of them together, by age: when memory runs short, those
//! of the node beyond their share go first, oldest first; then the history; then the rest. A topic that keeps
//! nothing else gives way to a publisher that needs its place. Knows no stream.

use std::collections::BTreeSet;

use super::HubState;
use super::patterns::Loss;
use crate::base::id::EventId;
use crate::base::limits::RETAINED_SHARE;
use crate::base::time::Now;
use crate::fanout::shared_frame::SharedFrame;
use crate::fanout::topic_log::{KeyFate, retained_bytes};

/// Retained events of all topics.
#[derive(Debug, Default)]
pub(super) struct RetainedKeys {
    /// The id of each, and the index of its topic.
    by_age: BTreeSet<(EventId, u32)>,
    bytes: usize,
}

impl RetainedKeys {
    /// Number of events, once for each topic.
    pub(super) fn events(&self) -> usize {
        self.by_age.len()
    }

    /// Their bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Index of the topic that retains the oldest.
    pub(super) fn oldest_topic(&self) -> Option<u32> {
        self.by_age.first().map(|&(_, topic)| topic)
    }

    fn insert(&mut self, topic: u32, event: &SharedFrame) {
        let new = self.by_age.insert((event.id(), topic));
        debug_assert!(new, "a log lets an event go once");
        self.bytes += retained_bytes(event);
    }

    /// Takes out an event that its topic no longer retains.
    pub(super) fn remove(&mut self, topic: u32, event: &SharedFrame) {
        let known = self.by_age.remove(&(event.id(), topic));
        debug_assert!(known, "each retained event is listed");
        self.bytes -= retained_bytes(event);
    }
}

impl HubState {
    /// Drops the oldest event of a topic; from the journal, too, when no other topic keeps it.
    pub(super) fn evict_from_topic(&mut self, index: u32, fate: KeyFate) {
        let topic = &mut self.topics[index];
        topic.forgot = false;
        let log = &mut topic.log;
        let before = log.key_bytes();
        let evicted = log.evict_oldest(&self.journals, fate, self.now_ms);
        self.key_bytes -= before - log.key_bytes();
        let Some(evicted) = evicted else { return };
        let loss = if log.own_state_floor() >= evicted.event.id() { Loss::State } else { Loss::Event };
        if evicted.fate != KeyFate::Past {
            self.patterns.lose(topic.patterns, evicted.event.id(), loss);
        }
        if evicted.event.leave_log() {
            self.journals.remove(evicted.event.sequence());
        }
        if evicted.fate == KeyFate::Retained {
            self.retained.insert(index, &evicted.event);
            let topic = &self.topics[index];
            if topic.log.retained() > self.classes.table().settings(topic.class).history_keys {
                self.evict_retained(index);
            }
        }
    }

    /// Returns the fate of a key's newest event when the history of its topic moves on.
    pub(super) fn key_fate(&self, index: u32) -> KeyFate {
        match self.classes.table().settings(self.topics[index].class).history_keys {
            0 => KeyFate::Gone,
            _ => KeyFate::Retained,
        }
    }

    /// Drops the oldest retained event of a topic. Returns false if it has none.
    pub(super) fn evict_retained(&mut self, index: u32) -> bool {
        let topic = &mut self.topics[index];
        let before = topic.log.key_bytes();
        let evicted = topic.log.evict_retained(self.now_ms);
        self.key_bytes -= before - topic.log.key_bytes();
        let Some(event) = evicted else { return false };
        if !event.is_past(self.now_ms) {
            self.patterns.lose(topic.patterns, event.id(), Loss::State);
        }
        self.retained.remove(index, &event);
        true
    }

    /// Drops the oldest retained event of the node. Returns false if there is none.
    pub(super) fn evict_oldest_retained(&mut self, now: Now) -> bool {
        let Some(index) = self.retained.oldest_topic() else { return false };
        self.evict_retained(index);
        self.retire_if_idle(index, now);
        true
    }

    /// Whether retained events take more than their share of the memory for history.
    pub(super) fn is_retaining_too_much(&self) -> bool {
        self.retained.bytes > self.bounds.bytes / RETAINED_SHARE
    }
}

#[cfg(test)]
#[path = "key_retention_tests.rs"]
mod tests;
