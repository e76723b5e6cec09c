//! The classes of topics that the hub runs on.
//!
//! Each class has a slot, a small number that topics store. A name keeps its slot when the settings are read
//! again. So a topic's slot means the same class before and after, until the topic is sorted anew. The slot
//! of a class that has gone stands for the default class. Knows no topic that exists.

use std::sync::Arc;

use super::windows::{WindowContent, WindowRules};
use crate::base::class::{ClassSettings, DEFAULT_CLASS_NAME, NAMED_CLASSES_MAX, NamedClass};
use crate::base::settings::{RatePolicy, Settings, SlowPolicy, StreamRateSettings};
use crate::base::topic::{TopicPattern, is_reserved_topic};

/// Slots: those of two tables that have no name in common, and the default's.
const SLOTS_MAX: usize = 2 * NAMED_CLASSES_MAX + 1;
const _: () = assert!(SLOTS_MAX <= u8::MAX as usize, "slots are stored in a byte");

/// A class's place in the table. The default class has the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassSlot(u8);

impl ClassSlot {
    /// The slot at an index.
    pub(crate) fn at(index: usize) -> ClassSlot {
        ClassSlot(u8::try_from(index).expect("at most SLOTS_MAX"))
    }

    /// Its index in lists by slot.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Values that hold for a stream. Of topics of several classes it gets the strictest: the shortest life, and
/// the slow policy that loses least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamRules {
    /// Treatment when it is slow.
    pub(crate) slow_policy: SlowPolicy,
    /// Milliseconds of its longest life; 0 for no end.
    pub(crate) life_ms: u64,
    /// Milliseconds without an event of its topics after which it ends; 0 for no end.
    pub(crate) idle_ms: u64,
    /// Its rate, if it has one.
    pub(crate) rate: Option<StreamRateSettings>,
}

/// All classes, immutable. A reload makes another table.
#[derive(Debug)]
pub(crate) struct ClassTable {
    /// By slot, the default class first; none where no class has the slot.
    slots: Vec<Option<NamedClass>>,
    /// The other classes, in the order in which their patterns are tried.
    order: Vec<ClassSlot>,
}

impl ClassTable {
    /// The classes of some settings.
    pub(crate) fn new(settings: &Settings) -> ClassTable {
        ClassTable { slots: Vec::new(), order: Vec::new() }.successor(settings)
    }

    /// The classes of newer settings; a name that is here keeps its slot.
    pub(crate) fn successor(&self, settings: &Settings) -> ClassTable {
        let default = NamedClass {
            name: DEFAULT_CLASS_NAME.into(),
            patterns: Vec::new(),
            settings: ClassSettings::of_node(settings),
        };
        let mut slots = vec![Some(default)];
        let mut order = Vec::new();
        for class in &settings.classes {
            let taken = |slots: &[Option<NamedClass>], at: usize| {
                let here = self.slots.get(at).is_some_and(Option::is_some);
                here || slots.get(at).is_some_and(Option::is_some)
            };
            let own =
                self.slots.iter().position(|slot| slot.as_ref().is_some_and(|old| old.name == class.name));
            let at = own.or_else(|| (1..SLOTS_MAX).find(|&at| !taken(&slots, at)));
            let at = at.expect("two tables of named classes fit");
            slots.resize_with(slots.len().max(at + 1), || None);
            slots[at] = Some(class.clone());
            order.push(ClassSlot::at(at));
        }
        ClassTable { slots, order }
    }

    /// Whether there is no class but the default.
    pub(crate) fn is_plain(&self) -> bool {
        self.order.is_empty()
    }

    /// Number of slots, those without a class included.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The class of a topic. The server's own topics have the default class.
    pub(crate) fn class_of(&self, topic: &str) -> ClassSlot {
        if self.is_plain() || is_reserved_topic(topic) {
            return ClassSlot::default();
        }
        let matches =
            |slot: &&ClassSlot| self.slots[slot.index()].as_ref().is_some_and(|class| class.matches(topic));
        self.order.iter().find(matches).copied().unwrap_or_default()
    }

    /// The class of a pattern: the first that has every topic which the pattern can match.
    pub(crate) fn class_of_pattern(&self, pattern: &TopicPattern) -> ClassSlot {
        let covers =
            |slot: &&ClassSlot| self.slots[slot.index()].as_ref().is_some_and(|class| class.covers(pattern));
        self.order.iter().find(covers).copied().unwrap_or_default()
    }

    /// Whether a slot is that of a class, and not that of a gone one.
    pub(crate) fn has(&self, slot: ClassSlot) -> bool {
        self.slots.get(slot.index()).is_some_and(Option::is_some)
    }

    fn class(&self, slot: ClassSlot) -> &NamedClass {
        let own = self.slots.get(slot.index()).and_then(Option::as_ref);
        own.or(self.slots[0].as_ref()).expect("the default class is always there")
    }

    /// The values of a slot's class.
    pub(crate) fn settings(&self, slot: ClassSlot) -> &ClassSettings {
        &self.class(slot).settings
    }

    /// The name of a slot's class.
    pub(crate) fn name(&self, slot: ClassSlot) -> &Arc<str> {
        &self.class(slot).name
    }

    /// Slots of all classes: the default, then the others in their order.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = ClassSlot> + '_ {
        [ClassSlot::default()].into_iter().chain(self.order.iter().copied())
    }

    /// The window of a class's topics, if it has one.
    pub(crate) fn window_rules(&self, slot: ClassSlot) -> Option<WindowRules> {
        let class = self.settings(slot);
        let (ms, events_max, content) = match class.windows.throttle_ms {
            0 => (class.windows.batch_ms, class.windows.batch_events, WindowContent::All),
            // Ended early, it would let an event of each key go more often.
            ms => (ms, usize::MAX, WindowContent::Newest),
        };
        (ms > 0).then_some(WindowRules { ms, events_max, content, form: class.windows.batch_form })
    }

    /// Whether some class names events after topics.
    pub(crate) fn names_events(&self) -> bool {
        self.slots.iter().flatten().any(|class| class.settings.event_from_topic)
    }

    /// The values for a stream of topics of these classes, at least one.
    pub(crate) fn stream_rules(&self, classes: impl IntoIterator<Item = ClassSlot>) -> StreamRules {
        let of_class = |slot| {
            let class = self.settings(slot);
            StreamRules {
                slow_policy: class.slow_policy,
                life_ms: class.max_connection_ms,
                idle_ms: class.max_idle_ms,
                rate: rate_rules(class),
            }
        };
        let strictest = |a: StreamRules, b: StreamRules| StreamRules {
            slow_policy: a.slow_policy.min(b.slow_policy),
            life_ms: shorter(a.life_ms, b.life_ms),
            idle_ms: shorter(a.idle_ms, b.idle_ms),
            rate: lower_rate(a.rate, b.rate),
        };
        let rules = classes.into_iter().map(of_class).reduce(strictest);
        rules.unwrap_or_else(|| of_class(ClassSlot::default()))
    }
}

/// Returns the rate of a class, if it has one.
fn rate_rules(class: &ClassSettings) -> Option<StreamRateSettings> {
    let rules = class.stream_rate;
    (rules.limits() && rules.policy != RatePolicy::None).then_some(rules)
}

/// Returns the lower of two rates, with the policy that loses least.
fn lower_rate(a: Option<StreamRateSettings>, b: Option<StreamRateSettings>) -> Option<StreamRateSettings> {
    let (Some(first), Some(second)) = (a, b) else { return a.or(b) };
    Some(StreamRateSettings {
        events_per_second: shorter(first.events_per_second, second.events_per_second),
        bytes_per_second: shorter(first.bytes_per_second, second.bytes_per_second),
        burst: shorter(first.burst, second.burst),
        policy: first.policy.min(second.policy),
    })
}

/// The smaller of two values, of which 0 is none.
fn shorter(a: u64, b: u64) -> u64 {
    match (a, b) {
        (0, other) | (other, 0) => other,
        (a, b) => a.min(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, pattern: &str, edit: impl FnOnce(&mut ClassSettings)) -> NamedClass {
        let mut settings = ClassSettings::of_node(&Settings::default());
        edit(&mut settings);
        let patterns = vec![TopicPattern::parse(pattern).expect("a pattern")];
        NamedClass { name: name.into(), patterns, settings }
    }

    fn table(classes: Vec<NamedClass>) -> (ClassTable, Settings) {
        let settings = Settings { classes, ..Settings::default() };
        (ClassTable::new(&settings), settings)
    }

    #[test]
    fn names_keep_their_slots_and_gone_slots_stand_for_the_default() {
        let (first, mut settings) = table(vec![class("a", "a", |_| {}), class("b", "b", |_| {})]);
        let [a, b] = ["a", "b"].map(|topic| first.class_of(topic));
        settings.classes = vec![class("c", "c", |_| {}), class("b", "b", |_| {})];
        let second = first.successor(&settings);
        assert_eq!((second.class_of("b"), &**second.name(a)), (b, "default"));
        let c = second.class_of("c");
        assert!(c != a && c != b && c != ClassSlot::default(), "the slot of a may still be stored");
        settings.classes = vec![class("d", "d", |_| {})];
        assert_eq!(second.successor(&settings).class_of("d"), a);
        assert_eq!(second.class_of("fanwheel.status"), ClassSlot::default());
    }

    #[test]
    fn two_tables_without_a_common_name_have_room() {
        let named = |prefix: &str| -> Vec<NamedClass> {
            (0..NAMED_CLASSES_MAX).map(|nth| class(&format!("{prefix}{nth}"), "x", |_| {})).collect()
        };
        let (mut last, mut settings) = table(named("a"));
        for prefix in ["b", "c", "a"] {
            settings.classes = named(prefix);
            last = last.successor(&settings);
            assert!(last.slots() <= SLOTS_MAX && last.in_order().count() == NAMED_CLASSES_MAX + 1);
        }
    }

    #[test]
    fn a_stream_of_several_classes_has_the_strictest_values() {
        let (table, _) = table(vec![
            class("a", "a", |a| (a.slow_policy, a.max_connection_ms) = (SlowPolicy::Latest, 500)),
            class("b", "b", |b| (b.slow_policy, b.max_idle_ms) = (SlowPolicy::Skip, 70)),
            class("c", "c", |c| (c.slow_policy, c.max_connection_ms) = (SlowPolicy::Latest, 400)),
        ]);
        let rules = |topics: &[&str]| {
            let rules = table.stream_rules(topics.iter().map(|topic| table.class_of(topic)));
            (rules.slow_policy, rules.life_ms, rules.idle_ms)
        };
        assert_eq!(rules(&["a", "c"]), (SlowPolicy::Latest, 400, 0));
        assert_eq!(rules(&["b", "a"]), (SlowPolicy::Skip, 500, 70));
        assert_eq!(rules(&["b", "other"]), (SlowPolicy::Disconnect, 0, 70));
    }
}
