//! Where a stream begins: how far the id that a client comes with is believed.
//!
//! | the client comes with | position | a gap in each topic that | reason |
//! | --- | --- | --- | --- |
//! | an id of this run | the id | has lost events after it | evicted |
//! | a moment of this run, or one ahead | the moment, or now | has lost events after it | evicted |
//! | a moment from before this run | the moment | it names | restart |
//! | an id of another run, or from before this run | before everything kept | it names | restart |
//! | an id of the fleet that this node has not come to | the id | none | |
//! | an id from the future, or that no run gives; no id | before everything kept | it names | unknown id |
//!
//! An id of another run is older or newer than ours by chance alone: the clock may have been stepped back in
//! between, or the other run goes on behind the same balancer. So its order is never compared with ours.

use super::{HubState, SubscribeOutcome};
use crate::base::id::EventId;
use crate::fanout::shared_frame::{TopicRef, is_pattern};
use crate::wire::gap::GapReason;
use crate::wire::subscription::StreamStart;

/// Milliseconds by which the clocks of two servers, or of two runs, may differ. An id further ahead is none
/// that was given.
const CLOCKS_APART_MS: u64 = 3_600_000;

impl HubState {
    /// Finds where a subscriber that has just joined starts. `newest` is the position before the newest
    /// events that it has asked for, if it has.
    pub(super) fn place_subscriber(
        &self,
        topics: Vec<u32>,
        start: &StreamStart,
        newest: EventId,
        wall_ms: u64,
    ) -> SubscribeOutcome {
        let floors: Vec<EventId> = topics.iter().map(|&index| self.floor(index)).collect();
        let gap_reason = self.gap_reason(start, wall_ms);
        let mut gaps = Vec::new();
        let mut position = match (start, gap_reason) {
            (StreamStart::Now, _) => self.head,
            (StreamStart::Newest(_), _) => newest,
            (StreamStart::Snapshot { .. }, _) => EventId::ZERO,
            (&StreamStart::After(moment), _) if moment.is_moment() => moment.min(self.head),
            (&StreamStart::After(id), GapReason::Evicted) => id,
            // Whatever is kept may be new to the client.
            (StreamStart::After(_) | StreamStart::Unknown(_), _) => EventId::ZERO,
        };
        if matches!(start, StreamStart::After(_) | StreamStart::Unknown(_)) {
            let missed = |&(_, floor): &(usize, &EventId)| *floor > position;
            gaps.extend(
                floors
                    .iter()
                    .enumerate()
                    .filter(missed)
                    .map(|(i, _)| (i, self.next_after(topics[i], position))),
            );
        }
        let state_position = self.latest_state_position(&topics, position);
        // Of a pattern, other topics may keep older events.
        if let ([only], [floor]) = (&topics[..], &floors[..])
            && !is_pattern(*only)
        {
            position = position.max(*floor);
        }
        let position = self.latest_position(&topics, position);
        let rules = self.stream_rules(topics.iter().copied());
        let windows = topics.iter().map(|&index| self.window_rules(index)).collect();
        let told_losses = topics.iter().map(|&index| self.loss_mark(index)).collect();
        let topics: Vec<TopicRef> = topics.iter().map(|&index| self.channel_ref(index)).collect();
        let losses_ahead = floors.iter().any(|floor| *floor > position);
        SubscribeOutcome {
            topics,
            position,
            state_position,
            head: self.head,
            told_losses,
            losses_ahead,
            gaps,
            gap_reason,
            snapshot_until: EventId::MAX,
            steps: 0,
            rules,
            windows,
        }
    }

    /// The latest position from which the same events of these topics follow: an id of this run, before which
    /// nothing is kept that a gap has not told. A client may be ahead of this node, and stays there.
    pub(crate) fn latest_position(&self, topics: &[u32], position: EventId) -> EventId {
        let next = |&index: &u32| self.log(index).after(position).next().map(|frame| frame.id());
        let topics = self.topics_of(topics);
        topics.iter().filter_map(next).min().map_or(self.head.max(position), EventId::preceding)
    }

    /// Returns that position for a stream that reads retained events, too.
    pub(crate) fn latest_state_position(&self, topics: &[u32], position: EventId) -> EventId {
        let retained = |&index: &u32| self.log(index).retained_after(position).next().map(|event| event.id());
        let later = self.latest_position(topics, position);
        let topics = self.topics_of(topics);
        topics.iter().filter_map(retained).min().map_or(later, |oldest| later.min(oldest.preceding()))
    }

    /// The position after which exactly the newest event of these topics follows; zero if it is the only one.
    pub(crate) fn position_before_last(&self, topics: &[u32]) -> EventId {
        let newest =
            |&index: &u32| self.log(index).after(EventId::ZERO).rev().take(2).map(|frame| frame.id());
        let mut ids: Vec<EventId> = self.topics_of(topics).iter().flat_map(newest).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().rev().nth(1).copied().unwrap_or(EventId::ZERO)
    }

    /// Why events that follow `start` would be missing. Evicted: it is a place in the order of this run.
    fn gap_reason(&self, start: &StreamStart, wall_ms: u64) -> GapReason {
        let future = wall_ms.max(self.head.ms()).saturating_add(CLOCKS_APART_MS);
        match *start {
            StreamStart::Now | StreamStart::Newest(_) | StreamStart::Snapshot { .. } => GapReason::Evicted,
            StreamStart::Unknown(_) => GapReason::UnknownId,
            StreamStart::After(id) if id.is_moment() && id >= self.start => GapReason::Evicted,
            StreamStart::After(id) if id.is_moment() => GapReason::Restart,
            StreamStart::After(id) if id.tag().is_none() || id.ms() > future => GapReason::UnknownId,
            StreamStart::After(id) if id.tag() != self.start.tag() || id < self.start => GapReason::Restart,
            // Another node has come to it before this one.
            StreamStart::After(id) if id > self.head && !self.has_orderer => GapReason::UnknownId,
            StreamStart::After(_) => GapReason::Evicted,
        }
    }
}
