//! What a survey reads of the hub's topics: a row each, by index, so that it can go through them in slices.

use std::sync::Arc;

use super::HubState;
use crate::base::survey::TopicRow;

impl HubState {
    /// Topics by index are below this.
    pub(crate) fn topic_slots(&self) -> usize {
        self.topics.index_end()
    }

    /// What there is to tell of the topic with an index, if there is one.
    pub(crate) fn topic_row(&self, index: u32) -> Option<TopicRow> {
        let topic = self.topics.get(index)?;
        Some(TopicRow {
            topic: Arc::clone(&topic.name),
            subscribers: u64::from(topic.subscribers),
            events: topic.log.len() as u64,
            bytes: topic.log.bytes() as u64,
            oldest: topic.log.oldest(),
            newest: topic.log.newest(),
        })
    }
}
