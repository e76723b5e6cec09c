//! Patterns that streams listen to: the topics that each matches, and the floor below which some of their
//! events may be missing.
//!
//! A topic is held against patterns when it is made, and against a pattern when that is made, some topics in
//! each hold of the lock. Each topic knows its patterns, so an event finds them without a comparison, and
//! bears their references beside those of its topics. Workers learn of a new topic by its first event.
//!
//! A pattern keeps no events. Its history is that of its topics, and it loses what one of them lets go. Knows
//! no stream and no mailbox.

use std::collections::{BTreeSet, HashMap};

use slab::Slab;

use super::HubState;
use super::pattern_losses::{LossMark, PatternLosses};
use super::pattern_sets::{PatternSet, PatternSets};
use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::base::limits::TOPIC_LINGER_MS;
use crate::base::settings::Settings;
use crate::base::time::Now;
use crate::base::topic::TopicPattern;
use crate::fanout::class_table::ClassSlot;
use crate::fanout::hash::SeededHash;
use crate::fanout::shared_frame::{PATTERN_BIT, TopicRef, is_pattern};

/// Topics that are held against a new pattern in one hold of the lock.
pub(super) const MATCHES_PER_HOLD: u32 = 1_024;

/// Those that an event of a channel reaches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChannelReach {
    /// Interested workers, a bit each.
    pub(super) interest: u64,
    /// Subscribers of the channel.
    pub(super) subscribers: u32,
}

/// The part of a topic that an event takes with it when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// That event alone: a newer one of its key is known.
    Event,
    /// The newest event of its key, or one without a key.
    State,
}

/// A pattern that somebody listens to, or did a moment ago.
#[derive(Debug)]
pub(super) struct HubPattern {
    pub(super) pattern: TopicPattern,
    /// Indices of the topics that it matches.
    topics: BTreeSet<u32>,
    losses: PatternLosses,
    /// Those of them that took the newest event of some key, or one without a key.
    state_losses: PatternLosses,
    /// One bit for each worker that has subscribers.
    pub(super) interest: u64,
    pub(super) subscribers: u32,
    /// Tells this pattern from a later one in the same slot.
    incarnation: u32,
    /// When the last subscriber left, or it was made, monotonic milliseconds.
    abandoned_ms: u64,
    /// Index from which topics are still to be held against it; none when all have been.
    unmatched_from: Option<u32>,
    pub(super) class: ClassSlot,
}

impl HubPattern {
    fn as_ref(&self, slot: usize) -> TopicRef {
        TopicRef { index: slot as u32 | PATTERN_BIT, incarnation: self.incarnation }
    }

    /// Those that an event of its topics reaches.
    pub(super) fn reach(&self) -> ChannelReach {
        ChannelReach { interest: self.interest, subscribers: self.subscribers }
    }

    /// Notes that events up to an id are missing, and states with them.
    pub(super) fn lose(&mut self, upto: EventId) {
        self.lose_event(upto, Loss::State);
    }

    fn lose_event(&mut self, upto: EventId, loss: Loss) {
        self.losses.add(upto);
        if loss == Loss::State {
            self.state_losses.add(upto);
        }
    }

    /// Notes that its last subscriber has left.
    pub(super) fn abandon(&mut self, now: Now) {
        self.abandoned_ms = now.mono_ms;
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> &str {
        self.pattern.text()
    }
}

/// All patterns of the node.
#[derive(Debug)]
pub(super) struct PatternTable {
    patterns: Slab<HubPattern>,
    by_text: HashMap<Box<str>, u32, SeededHash>,
    incarnation: u32,
    sets: PatternSets,
    patterns_max: usize,
    /// Topics that a pattern may match for a newcomer.
    topics_max: usize,
}

impl PatternTable {
    /// An empty table. Subscribers choose patterns, so `hash` is keyed.
    pub(super) fn new(settings: &Settings, hash: SeededHash) -> PatternTable {
        PatternTable {
            patterns: Slab::new(),
            by_text: HashMap::with_hasher(hash.clone()),
            incarnation: 0,
            sets: PatternSets::new(hash),
            patterns_max: settings.patterns_max,
            topics_max: settings.pattern_topics_max,
        }
    }

    /// Number of patterns.
    pub(super) fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Returns the pattern with an index.
    pub(super) fn get(&self, index: u32) -> &HubPattern {
        &self.patterns[(index & !PATTERN_BIT) as usize]
    }

    /// Returns the pattern with an index, to be changed.
    pub(super) fn get_mut(&mut self, index: u32) -> &mut HubPattern {
        &mut self.patterns[(index & !PATTERN_BIT) as usize]
    }

    /// Returns the reference to the pattern with an index.
    pub(super) fn reference(&self, index: u32) -> TopicRef {
        TopicRef { index, incarnation: self.get(index).incarnation }
    }

    fn is_current(&self, pattern: TopicRef) -> bool {
        let slot = (pattern.index & !PATTERN_BIT) as usize;
        self.patterns.get(slot).is_some_and(|entry| entry.incarnation == pattern.incarnation)
    }

    /// Returns the patterns of a set that still exist.
    pub(super) fn members(&self, set: PatternSet) -> impl Iterator<Item = TopicRef> + '_ {
        self.sets.members(set).iter().copied().filter(|pattern| self.is_current(*pattern))
    }

    /// Returns all patterns that match a name.
    pub(super) fn matching(&self, name: &str) -> Vec<TopicRef> {
        let matches =
            |(slot, entry): (usize, &HubPattern)| entry.pattern.matches(name).then(|| entry.as_ref(slot));
        self.patterns.iter().filter_map(matches).collect()
    }

    /// Takes a topic in that was just made. Returns its patterns.
    pub(super) fn add_topic(&mut self, index: u32, name: &str) -> PatternSet {
        let matching = self.matching(name);
        for pattern in &matching {
            self.get_mut(pattern.index).topics.insert(index);
        }
        self.sets.enter(&matching)
    }

    /// Takes a topic out that is removed.
    pub(super) fn remove_topic(&mut self, index: u32, set: PatternSet) {
        let members: Vec<TopicRef> = self.members(set).collect();
        for pattern in members {
            self.get_mut(pattern.index).topics.remove(&index);
        }
        self.sets.leave(set);
    }

    /// Adds a pattern to a topic. Returns the topic's patterns.
    fn link(&mut self, pattern: TopicRef, topic: u32, set: PatternSet) -> PatternSet {
        self.get_mut(pattern.index).topics.insert(topic);
        let all: Vec<TopicRef> = self.members(set).chain([pattern]).collect();
        let grown = self.sets.enter(&all);
        self.sets.leave(set);
        grown
    }

    /// A topic with these patterns has let its events go up to an id.
    pub(super) fn lose(&mut self, set: PatternSet, upto: EventId, loss: Loss) {
        let PatternTable { patterns, sets, .. } = self;
        for member in sets.members(set) {
            let entry = patterns.get_mut((member.index & !PATTERN_BIT) as usize);
            if let Some(entry) = entry.filter(|entry| entry.incarnation == member.incarnation) {
                entry.lose_event(upto, loss);
            }
        }
    }

    /// The last event that a topic with these patterns has let go was forgotten because the operator asked.
    pub(super) fn mark_forgotten(&mut self, set: PatternSet, upto: EventId) {
        let members: Vec<TopicRef> = self.members(set).collect();
        for pattern in members {
            self.get_mut(pattern.index).losses.mark_forgotten(upto);
        }
    }

    /// Returns the index of a pattern, which is made if need be: no topic has then been held against it.
    /// `floor` is that of a topic made now.
    fn find_or_create(&mut self, pattern: &TopicPattern, class: ClassSlot, floor: EventId, now: Now) -> u32 {
        if let Some(&slot) = self.by_text.get(pattern.text()) {
            return slot | PATTERN_BIT;
        }
        self.incarnation = self.incarnation.wrapping_add(1);
        let slot = self.patterns.insert(HubPattern {
            pattern: pattern.clone(),
            topics: BTreeSet::new(),
            losses: PatternLosses::up_to(floor),
            state_losses: PatternLosses::up_to(floor),
            interest: 0,
            subscribers: 0,
            incarnation: self.incarnation,
            abandoned_ms: now.mono_ms,
            unmatched_from: Some(0),
            class,
        });
        self.by_text.insert(pattern.text().into(), slot as u32);
        slot as u32 | PATTERN_BIT
    }

    /// Makes room for these patterns: others without a subscriber give way, the longest abandoned first.
    /// Returns whether all of them may be there.
    pub(super) fn make_room(&mut self, wanted: &[TopicPattern]) -> bool {
        let new = wanted.iter().filter(|pattern| !self.by_text.contains_key(pattern.text())).count();
        while self.patterns.len() + new > self.patterns_max {
            // One that is being held against topics was asked for a moment ago.
            let gives_way = |(_, entry): &(usize, &HubPattern)| {
                entry.subscribers == 0 && entry.unmatched_from.is_none() && !wanted.contains(&entry.pattern)
            };
            let idle = self.patterns.iter().filter(gives_way);
            let Some((slot, _)) = idle.min_by_key(|(_, entry)| entry.abandoned_ms) else { return false };
            self.remove(slot);
        }
        true
    }

    /// Removes a pattern. Topics find out by its incarnation.
    fn remove(&mut self, slot: usize) -> HubPattern {
        let gone = self.patterns.remove(slot);
        self.by_text.remove(gone.text());
        gone
    }

    /// Removes patterns whose last subscriber left `TOPIC_LINGER_MS` ago. Returns them, to be dropped without
    /// the lock.
    pub(super) fn retire(&mut self, now: Now) -> Vec<HubPattern> {
        let idle = |(slot, entry): (usize, &HubPattern)| {
            (entry.subscribers == 0 && entry.abandoned_ms + TOPIC_LINGER_MS <= now.mono_ms).then_some(slot)
        };
        let slots: Vec<usize> = self.patterns.iter().filter_map(idle).collect();
        slots.into_iter().map(|slot| self.remove(slot)).collect()
    }

    /// All slots are below this.
    pub(super) fn slots_end(&self) -> usize {
        self.patterns.capacity()
    }

    /// Returns the pattern in a slot, if there is one, to be changed.
    pub(super) fn at_slot(&mut self, slot: usize) -> Option<&mut HubPattern> {
        self.patterns.get_mut(slot)
    }
}

impl HubState {
    /// Makes a pattern if need be, and holds some topics against it. Returns its index once all have been.
    pub(super) fn find_pattern(
        &mut self,
        pattern: &TopicPattern,
        now: Now,
    ) -> Result<Option<u32>, RefusalReason> {
        let class = self.classes.table().class_of_pattern(pattern);
        let index = self.patterns.find_or_create(pattern, class, self.removed_floor, now);
        let entry = self.patterns.get(index);
        let (itself, from) = (self.patterns.reference(index), entry.unmatched_from);
        if let Some(from) = from {
            let end = self.topics.index_end() as u32;
            let upto = end.min(from.saturating_add(MATCHES_PER_HOLD));
            (from..upto).for_each(|topic| self.match_topic(itself, topic));
            let floor = self.removed_floor;
            let entry = self.patterns.get_mut(index);
            // Topics that went meanwhile.
            entry.lose(floor);
            entry.unmatched_from = (upto < end).then_some(upto);
        }
        let entry = self.patterns.get(index);
        if entry.topics.len() > self.patterns.topics_max {
            if entry.subscribers == 0 {
                self.patterns.remove((index & !PATTERN_BIT) as usize);
            }
            return Err(RefusalReason::PatternTopics);
        }
        Ok(entry.unmatched_from.is_none().then_some(index))
    }

    /// Holds a topic, if there is one with this index, against a pattern.
    fn match_topic(&mut self, pattern: TopicRef, index: u32) {
        let Some(topic) = self.topics.get_mut(index).filter(|topic| !topic.reserved) else { return };
        let entry = self.patterns.get_mut(pattern.index);
        // One that was made meanwhile has been held against it.
        if entry.pattern.matches(&topic.name) && !entry.topics.contains(&index) {
            entry.lose_event(topic.log.own_floor(), Loss::Event);
            entry.state_losses.add(topic.log.own_state_floor());
            topic.patterns = self.patterns.link(pattern, index, topic.patterns);
        }
    }

    /// Returns the topics of an event, and behind them the patterns that match one of them and `further`
    /// ones, each once.
    pub(super) fn with_patterns(&self, topics: Vec<TopicRef>, further: &[TopicRef]) -> Vec<TopicRef> {
        let (named, mut channels) = (topics.len(), topics);
        channels.extend(further);
        for nth in 0..named {
            for pattern in self.patterns.members(self.topics[channels[nth].index].patterns) {
                if !channels[named..].contains(&pattern) {
                    channels.push(pattern);
                }
            }
        }
        channels
    }

    /// Returns topics and patterns, given by index, as topics: each once, in the order of their indices if
    /// there is a pattern.
    pub(crate) fn topics_of(&self, channels: &[u32]) -> Vec<u32> {
        if !channels.iter().any(|&index| is_pattern(index)) {
            return channels.to_vec();
        }
        let mut topics = Vec::new();
        for &index in channels {
            match is_pattern(index) {
                true => topics.extend(&self.patterns.get(index).topics),
                false => topics.push(index),
            }
        }
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// Number of topics that a list of topics and patterns stands for.
    pub(crate) fn count_topics(&self, channels: &[u32]) -> usize {
        match channels {
            [only] if !is_pattern(*only) => 1,
            several => self.topics_of(several).len(),
        }
    }

    /// The id up to which events of a topic, or of a pattern's topics, may be missing.
    pub(crate) fn floor(&self, channel: u32) -> EventId {
        match is_pattern(channel) {
            true => self.patterns.get(channel).losses.floor().max(self.journals.floor()),
            false => self.log(channel).floor(),
        }
    }

    /// The id up to which the newest event of some key may be missing, too.
    pub(crate) fn state_floor(&self, channel: u32) -> EventId {
        match is_pattern(channel) {
            true => self.patterns.get(channel).state_losses.floor().max(self.journals.floor()),
            false => self.log(channel).state_floor(),
        }
    }

    /// Returns a mark for a stream that is told of all losses so far.
    pub(crate) fn loss_mark(&self, channel: u32) -> LossMark {
        match is_pattern(channel) {
            true => {
                let pattern = self.patterns.get(channel);
                LossMark::Losses { all: pattern.losses.count(), states: pattern.state_losses.count() }
            }
            false => LossMark::Floor(self.floor(channel)),
        }
    }

    /// Whether something after a position is lost that a stream has not been told of.
    pub(crate) fn has_lost(&self, channel: u32, position: EventId, told: Option<LossMark>) -> bool {
        match told {
            None => self.floor(channel) > position,
            Some(LossMark::Floor(told)) => self.floor(channel) > position.max(told),
            Some(LossMark::Losses { all, .. }) => {
                let losses = &self.patterns.get(channel).losses;
                losses.since(all).max(self.journals.floor()) > position
            }
        }
    }

    /// Whether that is so for a reader of states, which needs the newest event of each key alone.
    pub(crate) fn has_lost_state(&self, channel: u32, position: EventId, told: Option<LossMark>) -> bool {
        match told {
            None => self.state_floor(channel) > position,
            Some(LossMark::Floor(told)) => self.state_floor(channel) > position.max(told),
            Some(LossMark::Losses { states, .. }) => {
                let losses = &self.patterns.get(channel).state_losses;
                losses.since(states).max(self.journals.floor()) > position
            }
        }
    }

    /// Whether that is lost because the operator has asked, or with all other events.
    pub(crate) fn has_forgotten(&self, channel: u32, position: EventId, told: Option<LossMark>) -> bool {
        if !is_pattern(channel) {
            let told = match told {
                Some(LossMark::Floor(told)) => position.max(told),
                Some(LossMark::Losses { .. }) | None => position,
            };
            return self.forgotten_up_to(channel).is_some_and(|floor| floor > told);
        }
        let (losses, lost) = (&self.patterns.get(channel).losses, self.journals.floor());
        self.has_lost(channel, position, told) && (losses.floor() <= lost || losses.is_forgotten())
    }

    /// The oldest kept id after a position.
    pub(crate) fn next_after(&self, channel: u32, position: EventId) -> Option<EventId> {
        let next = |&topic: &u32| self.log(topic).after(position).next().map(|frame| frame.id());
        self.topics_of(&[channel]).iter().filter_map(next).min()
    }

    /// The oldest retained id after a position.
    pub(crate) fn next_retained_after(&self, channel: u32, position: EventId) -> Option<EventId> {
        let next = |&topic: &u32| self.log(topic).retained_after(position).next().map(|event| event.id());
        self.topics_of(&[channel]).iter().filter_map(next).min()
    }

    /// Whether an event is kept.
    pub(crate) fn keeps(&self, channel: u32, id: EventId) -> bool {
        self.topics_of(&[channel]).iter().any(|&topic| self.log(topic).keeps(id))
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
