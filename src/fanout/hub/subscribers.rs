//! Subscribers join topics and patterns, and leave them.
//!
//! A topic or a pattern that somebody listens to is a channel: it has subscribers, and interested workers. No
//! subscriber is stored here.

use super::event_walk::{NewestSearch, SearchProgress};
use super::messages::{SubscribeOutcome, WantedTopics, WorkerInterest};
use super::patterns::{ChannelReach, MATCHES_PER_HOLD};
use super::retention::TopicMaker;
use super::{Hub, HubGuard, HubState, HubTopic};
use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::base::limits::{EVICTIONS_PER_CALL, SEARCH_STEPS_PER_HOLD};
use crate::base::time::Now;
use crate::base::topic::TopicPattern;
use crate::fanout::class_table::ClassSlot;
use crate::fanout::shared_frame::{TopicRef, is_pattern};
use crate::wire::subscription::StreamStart;

impl Hub {
    /// Joins a subscriber of `worker` to topics and patterns (each distinct) and finds its position.
    pub(crate) fn subscribe(
        &self,
        worker: usize,
        wanted: WantedTopics<'_>,
        start: &StreamStart,
        now: Now,
    ) -> Result<SubscribeOutcome, RefusalReason> {
        let WantedTopics { names, patterns } = wanted;
        let (mut inner, found, mut steps) = self.lock_with_patterns(patterns, now)?;
        let new_topics = names.iter().filter(|name| inner.find_topic(name).is_none()).count();
        if new_topics > 0
            && inner.topics.len() + new_topics > inner.bounds.topics_max
            && !inner.make_topic_room(names.iter().map(|name| &**name).collect(), TopicMaker::Subscriber)
        {
            return Err(RefusalReason::Topics);
        }
        let mut channels: Vec<u32> = names.iter().map(|name| inner.find_or_create(name)).collect();
        channels.extend(found);
        channels.iter().for_each(|&channel| inner.join(channel, worker));
        inner.subscriptions += channels.len();
        let topics = inner.topics_of(&channels);
        steps += topics.len();
        let mut newest = EventId::ZERO;
        let count = match *start {
            StreamStart::Newest(count) | StreamStart::Snapshot { changes: count } => count,
            StreamStart::Now | StreamStart::After(_) | StreamStart::Unknown(_) => 0,
        };
        if count > 0 {
            let mut search = NewestSearch::new(count);
            newest = loop {
                match search.run(&inner, &inner.topics_of(&channels), SEARCH_STEPS_PER_HOLD) {
                    SearchProgress::Found(position) => break position,
                    SearchProgress::More(more) => steps += more,
                }
                // It has joined already, so it misses nothing while others have the lock.
                drop(inner);
                inner = self.lock();
            };
        }
        let placed = inner.place_subscriber(channels, start, newest, now.wall_ms);
        let snapshot_until = if count > 0 { newest } else { EventId::MAX };
        Ok(SubscribeOutcome { steps, snapshot_until, ..placed })
    }

    /// Takes the lock when all topics have been held against these patterns, which may take several holds.
    /// Returns the indices of the patterns, and the steps that it took.
    fn lock_with_patterns(
        &self,
        patterns: &[TopicPattern],
        now: Now,
    ) -> Result<(HubGuard<'_>, Vec<u32>, usize), RefusalReason> {
        let mut steps = 0;
        loop {
            let mut inner = self.lock();
            inner.expire(now, EVICTIONS_PER_CALL);
            if !inner.patterns.make_room(patterns) {
                return Err(RefusalReason::Patterns);
            }
            let mut found = Vec::with_capacity(patterns.len());
            for pattern in patterns {
                found.extend(inner.find_pattern(pattern, now)?);
            }
            if found.len() == patterns.len() {
                return Ok((inner, found, steps));
            }
            steps += MATCHES_PER_HOLD as usize;
        }
    }

    /// A subscriber of `worker` leaves a topic or a pattern.
    pub(crate) fn unsubscribe(&self, worker: usize, channel: u32, interest: WorkerInterest, now: Now) {
        let mut inner = self.lock();
        inner.subscriptions -= 1;
        inner.leave(channel, worker, interest, now);
    }
}

impl HubState {
    /// A subscriber of `worker` joins a channel.
    fn join(&mut self, channel: u32, worker: usize) {
        let class = self.channel_class(channel);
        self.classes.add_subscription(class);
        if is_pattern(channel) {
            let pattern = self.patterns.get_mut(channel);
            pattern.interest |= 1 << worker;
            pattern.subscribers += 1;
        } else {
            let topic = &mut self.topics[channel];
            topic.interest |= 1 << worker;
            topic.subscribers += 1;
        }
    }

    /// A subscriber of `worker` leaves a channel.
    fn leave(&mut self, channel: u32, worker: usize, interest: WorkerInterest, now: Now) {
        let class = self.channel_class(channel);
        self.classes.remove_subscription(class);
        let keep = match interest {
            WorkerInterest::Ends => !(1 << worker),
            WorkerInterest::Stays => u64::MAX,
        };
        let reach = if is_pattern(channel) {
            let pattern = self.patterns.get_mut(channel);
            pattern.subscribers -= 1;
            pattern.interest &= keep;
            pattern.reach()
        } else {
            let topic = &mut self.topics[channel];
            topic.subscribers -= 1;
            topic.interest &= keep;
            topic.reach()
        };
        assert!(reach.subscribers > 0 || reach.interest == 0, "interest without subscribers");
        if reach.subscribers > 0 {
            return;
        }
        if is_pattern(channel) {
            return self.patterns.get_mut(channel).abandon(now);
        }
        self.topics[channel].abandoned = now.tick() + 1;
        self.retire_if_idle(channel, now);
    }

    /// Returns those that an event of a channel reaches.
    pub(super) fn reach_of(&self, channel: u32) -> ChannelReach {
        match is_pattern(channel) {
            true => self.patterns.get(channel).reach(),
            false => self.topics[channel].reach(),
        }
    }

    /// Returns the workers that an event of a topic of this name reaches, a bit each. `found` is the topic's
    /// index, if there is one.
    pub(super) fn interest_in(&self, name: &str, found: Option<u32>) -> u64 {
        let of = |patterns: &mut dyn Iterator<Item = TopicRef>| {
            patterns.fold(0, |mask, pattern| mask | self.reach_of(pattern.index).interest)
        };
        match found {
            Some(index) => {
                let topic = &self.topics[index];
                topic.interest | of(&mut self.patterns.members(topic.patterns))
            }
            None => of(&mut self.patterns.matching(name).into_iter()),
        }
    }

    /// Returns the subscribers that an event of topics with these names reaches, each topic's and pattern's
    /// counted.
    pub(super) fn count_event_subscribers(&self, names: &[Box<str>]) -> u64 {
        let mut channels: Vec<u32> = Vec::new();
        for name in names {
            let index = self.find_topic(name);
            let known = index.map(|index| self.patterns.members(self.topics[index].patterns));
            channels.extend(index);
            match known {
                Some(patterns) => channels.extend(patterns.map(|pattern| pattern.index)),
                None => channels.extend(self.patterns.matching(name).iter().map(|pattern| pattern.index)),
            }
        }
        channels.sort_unstable();
        channels.dedup();
        channels.iter().map(|&channel| u64::from(self.reach_of(channel).subscribers)).sum()
    }

    /// Returns the class of a topic or a pattern.
    pub(super) fn channel_class(&self, channel: u32) -> ClassSlot {
        match is_pattern(channel) {
            true => self.patterns.get(channel).class,
            false => self.topics[channel].class,
        }
    }

    /// Returns the reference to a topic or a pattern.
    pub(super) fn channel_ref(&self, channel: u32) -> TopicRef {
        match is_pattern(channel) {
            true => self.patterns.reference(channel),
            false => self.topics[channel].as_ref(channel),
        }
    }
}

impl HubTopic {
    fn reach(&self) -> ChannelReach {
        ChannelReach { interest: self.interest, subscribers: self.subscribers }
    }
}
