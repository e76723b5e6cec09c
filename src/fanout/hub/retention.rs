//! What the hub keeps and when it goes: history within its bounds, topics while somebody needs them.
//!
//! | what | goes when |
//! | --- | --- |
//! | an event in a topic | the topic is over a bound of events or bytes; the oldest first |
//! | an event | no topic keeps it, or the node is over its bound of bytes; the oldest of all first |
//! | an event | it is too old for its class; the oldest of its journal first |
//! | an event of one topic | its life is over, and it is the oldest of its journal and its topic |
//! | an event in a topic | the operator asks: `forgetting` |
//! | the newest event of a key | not with any of these, where its class retains keys: `key_retention` |
//! | a topic | nobody listens, nothing is kept, and its last subscriber left `TOPIC_LINGER_MS` ago |
//! | one that lingers | earlier, if others need its place |
//!
//! At most `topics_max` topics have events. Those that only subscribers have named may be as many while both
//! together are no more; so they refuse each other, and never a publisher.
//!
//! Everything here happens under the hub's lock, a bounded amount at a time. Knows nothing of mailboxes.

use std::sync::Arc;

use super::classes::is_older;
use super::{HubState, HubTopic};
use crate::base::limits::{EVICTIONS_PER_CALL, KEPT_OVERHEAD_BYTES, LINGERING_TOPICS_MAX, TOPIC_LINGER_MS};
use crate::base::time::{Now, TICK_MS};
use crate::fanout::shared_frame::{SharedFrame, TopicRef};
use crate::fanout::topic_log::{KeyFate, LogView};

/// Bytes that an allocator adds to a block, rounding and header: 16 in the worst ordinary case.
const BLOCK_BYTES: usize = 16;
/// A ring that has just grown is half empty.
const RING_SLOTS: usize = 2;
/// Slots of the journal that one event holds when its neighbours have left: its own, and an empty one.
const JOURNAL_SLOTS: usize = 2;
const _: () = assert!(
    size_of::<SharedFrame>()
        + 2 * size_of::<usize>()
        + 2 * BLOCK_BYTES
        + (RING_SLOTS + JOURNAL_SLOTS) * size_of::<Arc<SharedFrame>>()
        <= KEPT_OVERHEAD_BYTES,
    "what a kept event takes beside its bytes"
);

/// Reason to make a topic that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopicMaker {
    /// An event is to be published to it.
    Publisher,
    /// A stream listens to it.
    Subscriber,
}

impl HubTopic {
    /// Whether somebody listens or something is kept.
    fn is_in_use(&self) -> bool {
        self.subscribers > 0 || !self.log.is_empty()
    }
}

impl HubState {
    /// Brings the topics of the newest event, and the node, back within their bounds. Not before it is in the
    /// logs of all of them: a topic that cannot keep it may be retired, and one made after that would begin
    /// above the event.
    pub(super) fn trim(&mut self, newest: &SharedFrame, now: Now) {
        let (most, bytes) = (self.trims_max(), self.bounds.bytes);
        for topic in newest.topics() {
            self.trim_topic(topic.index, most);
        }
        // An event larger than its topic may keep is gone at once, and its topic with it if nobody listens.
        newest.topics().iter().for_each(|topic| self.retire_if_idle(topic.index, now));
        while self.history_bytes() > bytes && self.evict_oldest(now) {}
    }

    /// Drops the oldest event of the node from all topics that keep it, or a retained one where these are too
    /// many. False when none was found.
    fn evict_oldest(&mut self, now: Now) -> bool {
        if self.is_retaining_too_much() || self.journals.is_empty() {
            return self.evict_oldest_retained(now);
        }
        if let Some(event) = self.journals.oldest().map(Arc::clone) {
            self.evict(&event, now, EVICTIONS_PER_CALL, KeyFate::Retained);
        }
        true
    }

    /// Drops at most `most` of the kept events, of all classes, oldest first. Returns whether more is kept.
    pub(super) fn drop_kept(&mut self, now: Now, most: usize) -> bool {
        let mut left = most;
        while left > 0 && self.evict_oldest_retained(now) {
            left -= 1;
        }
        while left > 0
            && let Some(event) = self.journals.oldest().map(Arc::clone)
        {
            left = left.saturating_sub(self.evict(&event, now, left, KeyFate::Gone));
        }
        self.retained.events() > 0 || !self.journals.is_empty()
    }

    /// Drops an event that is the oldest of its journal from all topics that keep it, with the older ones of
    /// these topics: they stand in journals that keep them longer, for another topic. After `most` drops it
    /// stays for a later call. Newest events of keys have this fate, if their topic retains any. Returns the
    /// drops, at least one.
    pub(super) fn evict(&mut self, event: &SharedFrame, now: Now, most: usize, fate: KeyFate) -> usize {
        let mut drops = 0;
        for &TopicRef { index, .. } in event.topics() {
            // A newer topic at the same index keeps nothing as old.
            let keeps = |hub: &HubState, topic: &HubTopic| {
                LogView::new(&topic.log, &hub.journals).oldest().is_some_and(|oldest| oldest <= event.id())
            };
            while self.topics.get(index).is_some_and(|topic| keeps(self, topic)) {
                if drops >= most.max(event.topics().len()) {
                    return drops;
                }
                let fate = if fate == KeyFate::Retained { self.key_fate(index) } else { fate };
                self.evict_from_topic(index, fate);
                self.retire_if_idle(index, now);
                drops += 1;
            }
        }
        assert!(!self.journals.keeps(event.sequence()), "an event that no topic keeps has left its journal");
        drops.max(1)
    }

    /// Removes a topic that has neither subscribers nor frames, at once or after it has lingered.
    pub(super) fn retire_if_idle(&mut self, index: u32, now: Now) {
        // It may have given way to one that was retired a moment ago.
        let Some(topic) = self.topics.get_mut(index).filter(|topic| !topic.is_in_use()) else {
            return;
        };
        let due_ms = u64::from(topic.abandoned.saturating_sub(1)) * TICK_MS + TOPIC_LINGER_MS;
        if topic.abandoned == 0 || due_ms <= now.mono_ms {
            self.remove(index);
        } else if !topic.lingers {
            topic.lingers = true;
            self.lingering.push_back((due_ms, topic.as_ref(index)));
            if self.lingering.len() > LINGERING_TOPICS_MAX {
                self.remove_lingering();
            }
        }
    }

    fn remove(&mut self, index: u32) {
        let topic = self.topics.remove(index);
        self.published_topics -= usize::from(topic.published);
        self.classes.remove_topic(topic.class, topic.subscribers);
        self.patterns.remove_topic(index, topic.patterns);
        self.removed_floor = self.removed_floor.max(topic.log.own_floor());
    }

    /// Takes the oldest entry of `lingering`; returns the topic, unless it is gone.
    fn take_lingering(&mut self) -> Option<u32> {
        let (_, topic) = self.lingering.pop_front()?;
        let found = self.topics.get_mut(topic.index)?;
        let same = found.incarnation == topic.incarnation;
        found.lingers &= !same;
        same.then_some(topic.index)
    }

    /// Removes the topic that has lingered longest; false when none does.
    fn remove_lingering(&mut self) -> bool {
        while !self.lingering.is_empty() {
            if let Some(index) = self.take_lingering().filter(|&index| !self.topics[index].is_in_use()) {
                self.remove(index);
                return true;
            }
        }
        false
    }

    /// Makes room for these topics beside those in use. Topics that only linger give way first: a gap told
    /// without need is better than a refusal. Returns whether `maker` may have all of them.
    pub(super) fn make_topic_room(&mut self, mut names: Vec<&str>, maker: TopicMaker) -> bool {
        names.sort_unstable();
        names.dedup();
        // Not all that linger in one hold: where many publishers have made topics, many may be too many.
        let mut most = names.len() + EVICTIONS_PER_CALL;
        loop {
            // Counted anew, because a name may be that of a topic that has just given way.
            let made = names.iter().filter(|name| self.find_topic(name).is_none()).count();
            let excess = (self.topics.len() + made).saturating_sub(self.bounds.topics_max);
            let go = excess.min(most);
            most -= go;
            if go == 0 || !(0..go).all(|_| self.give_topic_way(maker)) {
                return excess == 0 || self.may_exceed_topics(&names, maker);
            }
        }
    }

    /// Removes a topic that only lingers, or brings one nearer to its end that only retains events. Returns
    /// false when none can give way to this maker.
    fn give_topic_way(&mut self, maker: TopicMaker) -> bool {
        if self.remove_lingering() {
            return true;
        }
        let Some(index) = self.retained.oldest_topic().filter(|_| maker == TopicMaker::Publisher) else {
            return false;
        };
        self.evict_retained(index);
        if !self.topics[index].is_in_use() {
            self.remove(index);
        }
        true
    }

    /// Whether a maker may have these topics although more than `topics_max` exist then: those that only
    /// subscribers have named do not count against a publisher.
    fn may_exceed_topics(&self, names: &[&str], maker: TopicMaker) -> bool {
        let published = |name: &&str| self.find_topic(name).is_some_and(|index| self.topics[index].published);
        let made = names.iter().filter(|name| !published(name)).count();
        maker == TopicMaker::Publisher && self.published_topics + made <= self.bounds.topics_max
    }

    /// Drops at most `most` of everything that is too old. Returns whether more is.
    pub(super) fn expire(&mut self, now: Now, most: usize) -> bool {
        self.now_ms = now.mono_ms;
        let mut left = most;
        for slot in self.journals.slots() {
            let age_ms = self.classes.table().settings(slot).history_ms;
            let is_due =
                |event: &&Arc<SharedFrame>| is_older(event, age_ms, now) || event.is_past(now.mono_ms);
            while left > 0
                && let Some(event) = self.journals.oldest_of(slot).filter(is_due).map(Arc::clone)
                && (is_older(&event, age_ms, now) || self.leaves_with_its_life(&event))
            {
                left = left.saturating_sub(self.evict(&event, now, left, KeyFate::Retained));
            }
        }
        // A retained event takes more memory than it did in the history.
        while left > 0 && self.history_bytes() > self.bounds.bytes && self.evict_oldest(now) {
            left -= 1;
        }
        while left > 0 && self.lingering.front().is_some_and(|&(due_ms, ..)| due_ms <= now.mono_ms) {
            if let Some(index) = self.take_lingering() {
                self.retire_if_idle(index, now);
            }
            left -= 1;
        }
        let more = self.idempotency.expire(now.mono_ms, most) || left == 0;
        if !more {
            self.shrink_tables();
        }
        more
    }

    /// Whether an event whose life is over can go before its age: nothing older of its topic goes with it.
    fn leaves_with_its_life(&self, event: &SharedFrame) -> bool {
        matches!(event.topics(), [only] if self.log(only.index).oldest() == Some(event.id()))
    }

    /// Returns memory that a burst of short-lived topics took, when most of it is unused.
    fn shrink_tables(&mut self) {
        self.journals.give_back();
        if self.lingering.capacity() > 4_096 && self.lingering.len() < self.lingering.capacity() / 8 {
            self.lingering.shrink_to(self.lingering.len() * 2);
        }
    }
}
