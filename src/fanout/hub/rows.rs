//! What a survey reads of the hub's topics: a row each, by index, so that it can go through them in slices.

use std::sync::Arc;

use super::HubState;
use crate::base::id::EventId;
use crate::base::survey::{RecentEvents, TopicRow};
use crate::fanout::shared_frame::TopicRef;
use crate::fanout::topic_log::LogView;

/// Span over which a topic's rate is taken, as far as its log reaches back.
const RATE_SPAN_MS: u64 = 60_000;
/// Least such span: a rate over less would be that of one burst.
const RATE_SPAN_MS_MIN: u64 = 1_000;

impl HubState {
    /// Topics by index are below this.
    pub(crate) fn topic_slots(&self) -> usize {
        self.topics.index_end()
    }

    /// What there is to tell of the topic with an index, if there is one.
    pub(crate) fn topic_row(&self, index: u32, wall_ms: u64) -> Option<TopicRow> {
        let topic = self.topics.get(index)?;
        let log = LogView::new(&topic.log, &self.journals);
        let patterns = self.patterns.members(topic.patterns);
        let by_pattern = |pattern: TopicRef| u64::from(self.reach_of(pattern.index).subscribers);
        Some(TopicRow {
            topic: Arc::clone(&topic.name),
            class: Arc::clone(self.classes.table().name(topic.class)),
            subscribers: u64::from(topic.subscribers),
            pattern_subscribers: patterns.map(by_pattern).sum(),
            events: log.len() as u64,
            bytes: log.bytes() as u64,
            oldest: log.oldest(),
            newest: log.newest(),
            recent: recent_events(log, wall_ms),
        })
    }
}

/// Counts the newest events of a log. What it has let go is unknown, so the span begins after that.
fn recent_events(log: LogView<'_>, wall_ms: u64) -> RecentEvents {
    let from = log.floor().max(EventId::at_ms(wall_ms.saturating_sub(RATE_SPAN_MS)));
    let span_ms = wall_ms.saturating_sub(from.ms()).clamp(RATE_SPAN_MS_MIN, RATE_SPAN_MS);
    RecentEvents { events: log.count_after(from) as u64, span_ms }
}
