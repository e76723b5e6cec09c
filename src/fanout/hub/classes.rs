//! Classes of topics in the hub: the class of each topic, the bounds that follow from it, and a reload.
//!
//! A topic is held against patterns when it is made, and once more after a reload, some topics in each hold
//! of the lock. Until then it keeps its slot, which means the class of the same name, else the default class.
//! Events that are kept stay in their journals.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Hub, HubGuard, HubState, HubTopic};
use crate::base::limits::{EVICTIONS_PER_CALL, RESERVED_TOPIC_EVENTS};
use crate::base::settings::Settings;
use crate::base::snapshot::ClassSnapshot;
use crate::base::time::Now;
use crate::fanout::class_table::{ClassSlot, ClassTable, StreamRules};
use crate::fanout::journal::Journal;
use crate::fanout::shared_frame::{SharedFrame, TopicRef, is_pattern};
use crate::fanout::windows::{WindowContent, WindowRules};
use crate::wire::rules;

/// Topics that are sorted in one hold of the lock, each held against up to `CLASS_PATTERNS_MAX` patterns.
const SORTS_PER_HOLD: u32 = 256;

/// Figures of the topics that have a slot.
#[derive(Clone, Debug, Default)]
struct ClassCounts {
    topics: usize,
    subscriptions: usize,
    published: u64,
}

/// The classes in force.
#[derive(Debug)]
pub(super) struct HubClasses {
    table: ClassTable,
    /// By slot, those of gone classes included.
    counts: Vec<ClassCounts>,
    /// Index from which topics are still to be sorted, while a reload is under way.
    unsorted_from: Option<u32>,
    /// Slot from which patterns are still to be sorted.
    unsorted_patterns_from: Option<usize>,
}

impl HubClasses {
    /// Puts a first table in force.
    pub(super) fn new(table: ClassTable) -> HubClasses {
        let counts = vec![ClassCounts::default(); table.slots()];
        HubClasses { table, counts, unsorted_from: None, unsorted_patterns_from: None }
    }

    /// Returns the table in force.
    pub(super) fn table(&self) -> &ClassTable {
        &self.table
    }

    /// Counts a topic that was made, or came from another class.
    pub(super) fn add_topic(&mut self, slot: ClassSlot, subscribers: u32) {
        let counts = &mut self.counts[slot.index()];
        counts.topics += 1;
        counts.subscriptions += subscribers as usize;
    }

    /// Takes back a topic that was removed, or went to another class.
    pub(super) fn remove_topic(&mut self, slot: ClassSlot, subscribers: u32) {
        let counts = &mut self.counts[slot.index()];
        counts.topics -= 1;
        counts.subscriptions -= subscribers as usize;
    }

    /// Counts a subscriber of a topic.
    pub(super) fn add_subscription(&mut self, slot: ClassSlot) {
        self.counts[slot.index()].subscriptions += 1;
    }

    /// Takes back a subscriber of a topic.
    pub(super) fn remove_subscription(&mut self, slot: ClassSlot) {
        self.counts[slot.index()].subscriptions -= 1;
    }

    /// Puts the classes of newer settings in force. A slot that another class gets counts its events anew.
    fn replace(&mut self, settings: &Settings) {
        let table = self.table.successor(settings);
        self.counts.resize(table.slots().max(self.counts.len()), ClassCounts::default());
        for slot in table.in_order().filter(|slot| self.table.name(*slot) != table.name(*slot)) {
            self.counts[slot.index()].published = 0;
        }
        (self.table, self.unsorted_from, self.unsorted_patterns_from) = (table, Some(0), Some(0));
    }
}

impl HubTopic {
    /// Whether its log keeps more than its class allows.
    fn is_over_bounds(&self, table: &ClassTable) -> bool {
        let class = table.settings(self.class);
        let events_max = if self.reserved { RESERVED_TOPIC_EVENTS } else { class.history_events };
        self.log.len() > events_max || self.log.bytes() > class.history_topic_bytes_max
    }

    /// Whether it retains events that its class does not allow, by their number or their bytes.
    fn retains_too_much(&self, table: &ClassTable) -> bool {
        let class = table.settings(self.class);
        let retained = self.log.retained();
        retained > class.history_keys || retained > 0 && self.log.bytes() > class.history_topic_bytes_max
    }
}

/// Whether an event has reached an age.
pub(super) fn is_older(event: &SharedFrame, age_ms: u64, now: Now) -> bool {
    event.age_ms(now.mono_ms) >= age_ms
}

impl HubState {
    /// Returns the class in whose journal an event of these topics is kept: the one that keeps it longest.
    pub(super) fn journal_class(&self, topics: &[TopicRef]) -> ClassSlot {
        if let [only] = topics {
            return self.topics[only.index].class;
        }
        let classes = topics.iter().map(|topic| self.topics[topic.index].class);
        classes.max_by_key(|slot| self.classes.table.settings(*slot).history_ms).unwrap_or_default()
    }

    /// Returns the values that hold for a stream of these topics.
    pub(crate) fn stream_rules(&self, topics: impl Iterator<Item = u32>) -> StreamRules {
        self.classes.table.stream_rules(topics.map(|index| self.channel_class(index)))
    }

    /// Returns the window of a topic. The server's own topics have none.
    pub(crate) fn window_rules(&self, index: u32) -> Option<WindowRules> {
        let reserved = !is_pattern(index) && self.topics[index].reserved;
        if reserved { None } else { self.classes.table.window_rules(self.channel_class(index)) }
    }

    /// Whether events of a topic give way to newer ones of their key for everyone.
    pub(crate) fn is_throttled(&self, index: u32) -> bool {
        self.window_rules(index).is_some_and(|rules| rules.content == WindowContent::Newest)
    }

    /// Counts an event of these topics, once for each of their classes. The server's own events do not count.
    pub(super) fn count_published(&mut self, topics: &[TopicRef]) {
        let mut counted = 0u128;
        for topic in topics {
            let topic = &self.topics[topic.index];
            if topic.reserved {
                continue;
            }
            let slot = topic.class.index();
            self.classes.counts[slot].published += u64::from(counted & (1 << slot) == 0);
            counted |= 1 << slot;
        }
    }

    /// Returns the name that an event of these topics gets if it has none: the first topic of a class that
    /// names events so, unless an event must not have that name.
    pub(crate) fn name_from_topics<'a>(&self, topics: &'a [Box<str>]) -> Option<&'a str> {
        let table = &self.classes.table;
        let class = |topic: &str| match self.find_topic(topic) {
            Some(index) => self.topics[index].class,
            None => table.class_of(topic),
        };
        let found = topics.iter().find(|topic| table.settings(class(topic)).event_from_topic)?;
        rules::check_event(found).is_ok().then_some(&**found)
    }

    /// Drops the oldest events of a topic that is over the bounds of its class, `most` at most. Returns the
    /// drops.
    pub(super) fn trim_topic(&mut self, index: u32, most: usize) -> usize {
        let mut drops = 0;
        while drops < most {
            let (topic, table) = (&self.topics[index], &self.classes.table);
            if topic.retains_too_much(table) {
                self.evict_retained(index);
            } else if topic.is_over_bounds(table) {
                self.evict_from_topic(index, self.key_fate(index));
            } else {
                break;
            }
            drops += 1;
        }
        drops
    }

    /// Returns the most events that a publish drops from a topic by its class. All that is too much, unless
    /// bounds have just been lowered: then the sorting drops the rest, in many holds.
    pub(super) fn trims_max(&self) -> usize {
        if self.classes.unsorted_from.is_some() { EVICTIONS_PER_CALL } else { usize::MAX }
    }

    /// Gives some patterns the class that the table in force has for them. Returns false if none was left.
    fn sort_patterns(&mut self) -> bool {
        let HubState { patterns, classes, .. } = self;
        let from = classes.unsorted_patterns_from.filter(|_| patterns.len() > 0);
        let Some(from) = from else { return false };
        let end = patterns.slots_end();
        let upto = end.min(from + SORTS_PER_HOLD as usize);
        for slot in from..upto {
            let Some(entry) = patterns.at_slot(slot) else { continue };
            let class = classes.table.class_of_pattern(&entry.pattern);
            let before = std::mem::replace(&mut entry.class, class);
            classes.counts[before.index()].subscriptions -= entry.subscribers as usize;
            classes.counts[class.index()].subscriptions += entry.subscribers as usize;
        }
        classes.unsorted_patterns_from = (upto < end).then_some(upto);
        true
    }

    /// Gives some topics the class that the table in force has for them, and drops events that this class
    /// does not keep. Returns whether more are left.
    fn sort_some(&mut self, now: Now) -> bool {
        if self.sort_patterns() {
            return true;
        }
        let Some(from) = self.classes.unsorted_from else { return false };
        let end = self.topics.index_end() as u32;
        let upto = end.min(from.saturating_add(SORTS_PER_HOLD));
        let mut left = EVICTIONS_PER_CALL;
        for index in from..upto {
            let Some(topic) = self.topics.get_mut(index) else { continue };
            let class = self.classes.table.class_of(&topic.name);
            let (before, subscribers) = (std::mem::replace(&mut topic.class, class), topic.subscribers);
            self.classes.remove_topic(before, subscribers);
            self.classes.add_topic(class, subscribers);
            left -= self.trim_topic(index, left);
            self.retire_if_idle(index, now);
            if left == 0 {
                self.classes.unsorted_from = Some(index);
                return true;
            }
        }
        self.classes.unsorted_from = (upto < end).then_some(upto);
        upto < end
    }
}

impl Hub {
    /// Puts the classes of newer settings in force. [`Hub::sort_topics`] must follow until nothing is left.
    pub fn replace_classes(&self, settings: &Settings) {
        let mut inner = self.lock();
        inner.classes.replace(settings);
        let slots = inner.classes.table.slots();
        inner.journals.ensure_slots(slots);
        self.names_events.store(inner.classes.table.names_events(), Relaxed);
    }

    /// Returns the figures of all classes, the default class first. It has those of gone classes, too.
    pub(crate) fn class_figures(&self) -> Vec<ClassSnapshot> {
        let inner = self.lock();
        let HubClasses { table, counts, .. } = &inner.classes;
        let add = |figures: &mut ClassSnapshot, slot: ClassSlot| {
            let (counts, journal) = (&counts[slot.index()], inner.journals.of_class(slot));
            figures.topics += counts.topics;
            figures.subscriptions += counts.subscriptions;
            figures.history_events += journal.map_or(0, Journal::events);
            figures.history_bytes += journal.map_or(0, Journal::bytes);
        };
        let of_class = |slot: ClassSlot| {
            let (name, published) = (Arc::clone(table.name(slot)), counts[slot.index()].published);
            let mut figures = ClassSnapshot { name, published, ..ClassSnapshot::default() };
            add(&mut figures, slot);
            figures
        };
        let mut all: Vec<ClassSnapshot> = table.in_order().map(of_class).collect();
        let gone = (0..counts.len()).map(ClassSlot::at).filter(|slot| !table.has(*slot));
        gone.for_each(|slot| add(&mut all[0], slot));
        all
    }

    /// Takes the lock for [`HubState::name_from_topics`]; none while no class names events.
    pub(crate) fn lock_for_names(&self) -> Option<HubGuard<'_>> {
        self.names_events.load(Relaxed).then(|| self.lock())
    }

    /// Sorts some topics into the classes in force, in one short hold of the lock. Returns whether more are
    /// left.
    pub fn sort_topics(&self, now: Now) -> bool {
        let more = self.lock().sort_some(now);
        if !more {
            self.sortings.fetch_add(1, Relaxed);
        }
        more
    }

    /// Number of times that topics were sorted to the end: with another number, windows may be others.
    pub(crate) fn sortings(&self) -> u32 {
        self.sortings.load(Relaxed)
    }
}

#[cfg(test)]
#[path = "class_tests.rs"]
pub(super) mod tests;
