//! Where a stream begins: how far the id that a client comes with is believed.
//!
//! | the client comes with | position | a gap in each topic that |
//! | --- | --- | --- |
//! | an id of this run | the id | has lost events after it |
//! | a moment, `<ms>-0` | the moment, or now if it lies ahead | has lost events after it |
//! | anything else | before everything kept | it names |
//!
//! An id of another run is older or newer than ours by chance alone: the clock may have been stepped back in
//! between, or the other run goes on behind the same balancer. So its order is never compared with ours.

use super::{HubState, SubscribeOutcome};
use crate::base::id::EventId;
use crate::fanout::topic_log::TopicRef;
use crate::wire::request::StreamStart;

impl HubState {
    /// Finds where a subscriber that has just joined starts.
    pub(super) fn place_subscriber(&self, topics: Vec<u32>, start: &StreamStart) -> SubscribeOutcome {
        let floors: Vec<EventId> = topics.iter().map(|&index| self.topic(index).log.floor()).collect();
        let mut gaps = Vec::new();
        let mut position = match *start {
            StreamStart::Now => self.head,
            StreamStart::Newest(count) => self.position_before_newest(&topics, count),
            StreamStart::After(moment) if moment.is_moment() => moment.min(self.head),
            StreamStart::After(id) if self.has_given(id) => id,
            // Whatever is kept may be new to the client.
            StreamStart::After(_) | StreamStart::Unknown(_) => EventId::ZERO,
        };
        if matches!(start, StreamStart::After(_) | StreamStart::Unknown(_)) {
            let missed = |&(_, floor): &(usize, &EventId)| *floor > position;
            gaps.extend(floors.iter().enumerate().filter(missed).map(|(i, _)| (i, self.oldest(topics[i]))));
        }
        if let [floor] = floors[..] {
            position = position.max(floor);
        }
        let topic_ref = |&index: &u32| self.topic(index).as_ref(index);
        let topics: Vec<TopicRef> = topics.iter().map(topic_ref).collect();
        SubscribeOutcome { topics, position, head: self.head, reported_floors: floors, gaps }
    }

    /// Whether this run has given an id, or could have.
    fn has_given(&self, id: EventId) -> bool {
        id.tag() == self.start.tag() && (self.start..=self.head).contains(&id)
    }
}
