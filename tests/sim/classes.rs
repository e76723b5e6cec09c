//! Classes of topics in a run: those of its start, those that reloads bring, and the values that a topic may
//! have had.
//!
//! While a reload is under way, and of streams that outlive one, nobody knows which table held. So the judges
//! get the loosest or the strictest value of all tables. Where one table was in force from beginning to end,
//! the name of an event and the end of a stream are judged by it alone.

use fanwheel::base::class::{ClassSettings, NamedClass};
use fanwheel::base::prng::Prng;
use fanwheel::base::settings::{Settings, SlowPolicy};
use fanwheel::base::topic::TopicPattern;

use crate::cover::Branch;
use crate::session::topic_of;
use crate::setup::pick;
use crate::world::World;

/// Keys of events in a run.
pub const KEYS: [&str; 3] = ["k1", "k2", "ключ"];

/// Patterns that match some of the topics of a run.
const PATTERNS: [&str; 6] = ["t0", "t4", "quo\"te", "ü/*", "ü/**", "*"];

/// The table in force at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableInForce {
    /// Its number.
    table: usize,
    /// Reloads so far, begun and finished: odd while topics are sorted.
    changes: u64,
}

impl TableInForce {
    /// Whether all topics are in its classes.
    pub fn is_settled(self) -> bool {
        self.changes.is_multiple_of(2)
    }

    /// A reload begins.
    fn begin(&mut self, table: usize) {
        *self = TableInForce { table, changes: (self.changes + 1) | 1 };
    }

    /// All topics have been sorted.
    fn settle(&mut self) {
        self.changes += 1;
    }

    /// A server begins with the settings of the start.
    pub fn restart(&mut self) {
        *self = TableInForce { table: 0, changes: (self.changes | 1) + 1 };
    }
}

/// The name of an event that was submitted without one, if the table of that moment is still in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameInForce {
    pub in_force: TableInForce,
    pub name: Option<String>,
}

/// Times after which a stream ends, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct StreamEnds {
    /// Its longest life.
    pub life_ms: Option<u64>,
    /// Its longest silence.
    pub idle_ms: Option<u64>,
}

/// The classes of each moment of a run.
#[derive(Clone, Debug)]
pub struct ClassPlan {
    /// The classes at the start, then those of each reload, which are drawn.
    tables: Vec<Vec<NamedClass>>,
    default: ClassSettings,
}

impl ClassPlan {
    /// No class but the default one.
    pub fn plain(settings: &Settings) -> ClassPlan {
        ClassPlan { tables: vec![Vec::new()], default: ClassSettings::of_node(settings) }
    }

    /// Some classes, with values like those of `settings`. Puts those of the start into `settings`.
    pub fn draw(settings: &mut Settings, prng: &mut Prng) -> ClassPlan {
        let tables = pick(prng, &[1, 1, 2, 3]);
        settings.event_from_topic = prng.below(8) == 0;
        settings.max_idle_ms = pick(prng, &[0, 0, 0, 1_000]);
        let default = ClassSettings::of_node(settings);
        let mut plan =
            ClassPlan { tables: (0..tables).map(|_| draw_table(default, prng)).collect(), default };
        plan.tables.iter_mut().flatten().for_each(|class| draw_conflation(&mut class.settings, prng));
        draw_conflation(&mut plan.default, prng);
        settings.windows.throttle_ms = plan.default.windows.throttle_ms;
        settings.history_keys = plan.default.history_keys;
        settings.classes = plan.tables[0].clone();
        plan
    }

    /// Whether reloads bring others.
    pub fn changes(&self) -> bool {
        self.tables.len() > 1
    }

    /// The values of all classes that a run may have.
    fn all(&self) -> impl Iterator<Item = ClassSettings> + '_ {
        self.tables.iter().flatten().map(|class| class.settings).chain([self.default])
    }

    /// The values that a topic has in each table.
    fn of_topic(&self, topic: usize) -> impl Iterator<Item = ClassSettings> + use<> {
        let tables = 0..self.tables.len();
        tables.map(|table| self.in_table(table, topic)).collect::<Vec<_>>().into_iter()
    }

    fn in_table(&self, table: usize, topic: usize) -> ClassSettings {
        let name = topic_of(topic);
        let matches = |class: &&NamedClass| class.patterns.iter().any(|pattern| pattern.matches(&name));
        self.tables[table].iter().find(matches).map_or(self.default, |class| class.settings)
    }

    /// Whether the slow policy of a stream of these topics may be this one at some time.
    pub fn may_have(&self, topics: &[usize], policy: SlowPolicy) -> bool {
        let policies = |&topic: &usize| self.of_topic(topic).map(|class| class.slow_policy);
        let may_be_as_lax = |topic: &usize| policies(topic).any(|of_topic| of_topic >= policy);
        topics.iter().all(may_be_as_lax) && topics.iter().flat_map(policies).any(|other| other == policy)
    }

    /// Whether every stream is ended when it is slow.
    pub fn ends_all_slow(&self) -> bool {
        self.all().all(|class| class.slow_policy == SlowPolicy::Disconnect)
    }

    /// Longest window of a class: an event waits so long at most.
    pub fn longest_window_ms(&self) -> u64 {
        self.all().map(|class| class.windows.batch_ms.max(class.windows.throttle_ms)).max().unwrap_or(0)
    }

    /// Whether events of a topic may give way to newer ones of their key for everyone.
    pub fn throttles(&self, topic: usize) -> bool {
        self.of_topic(topic).any(|class| class.windows.throttle_ms > 0)
    }

    /// The window in which a topic brings one event of each key; none when it may have another.
    pub fn throttle_of(&self, topic: usize) -> Option<u64> {
        let throttle_ms = self.of_topic(topic).map(|class| class.windows.throttle_ms).max();
        throttle_ms.filter(|&ms| ms > 0 && !self.changes())
    }

    /// Whether some stream may end by its age or its silence.
    pub fn ends_by_age(&self) -> bool {
        self.all().any(|class| class.max_connection_ms > 0 || class.max_idle_ms > 0)
    }

    /// The times that end a stream of these topics which was asked for under `since`; none when a reload may
    /// have changed them.
    pub fn ends_of(&self, topics: &[usize], since: TableInForce, now: TableInForce) -> Option<StreamEnds> {
        let shortest = |of: fn(ClassSettings) -> u64| {
            topics.iter().map(|&topic| of(self.in_table(now.table, topic))).filter(|&ms| ms > 0).min()
        };
        (since == now && now.is_settled()).then(|| StreamEnds {
            life_ms: shortest(|class| class.max_connection_ms),
            idle_ms: shortest(|class| class.max_idle_ms),
        })
    }

    /// Whether events without a name may get that of a topic.
    pub fn names_events(&self) -> bool {
        self.all().any(|class| class.event_from_topic)
    }

    /// Names that an event of these topics may have which was published without one.
    pub fn names_of(&self, topics: &[usize]) -> Vec<Option<String>> {
        let name = |&topic: &usize| Some(topic_of(topic));
        if self.changes() && self.names_events() {
            // A topic that is not sorted yet may have any class.
            return topics.iter().map(name).chain([None]).collect();
        }
        let named = |topic: &&usize| self.of_topic(**topic).all(|class| class.event_from_topic);
        vec![topics.iter().find(named).and_then(name)]
    }

    /// The name that an event of these topics gets now if it is published without one; none while topics are
    /// sorted.
    pub fn name_in_force(&self, topics: &[usize], in_force: TableInForce) -> Option<NameInForce> {
        let names = |topic: &&usize| self.in_table(in_force.table, **topic).event_from_topic;
        let name = topics.iter().find(names).map(|&topic| topic_of(topic));
        in_force.is_settled().then_some(NameInForce { in_force, name })
    }

    /// Whether a topic keeps the newest event of each key at any time, as far as memory goes.
    pub fn keeps_keys(&self, topic: usize) -> bool {
        self.of_topic(topic).all(|class| class.history_keys >= KEYS.len())
    }

    /// Values that a topic's history has at least at any time. After a reload an event may still stand in the
    /// journal of another class.
    pub fn least(&self, topic: usize) -> ClassSettings {
        let tables = || self.of_topic(topic);
        ClassSettings {
            history_events: tables().map(|class| class.history_events).min().unwrap_or(0),
            history_topic_bytes_max: tables().map(|class| class.history_topic_bytes_max).min().unwrap_or(0),
            history_ms: match self.changes() {
                true => self.all().map(|class| class.history_ms).min(),
                false => tables().map(|class| class.history_ms).min(),
            }
            .unwrap_or(0),
            ..self.default
        }
    }

    /// Most events that a topic keeps at any time.
    pub fn most_events(&self, topic: usize) -> usize {
        self.of_topic(topic).map(|class| class.history_events).max().unwrap_or(0)
    }

    /// Values of a topic's history that no topic exceeds.
    pub fn most(&self) -> ClassSettings {
        ClassSettings {
            history_events: self.all().map(|class| class.history_events).max().unwrap_or(0),
            history_topic_bytes_max: self.all().map(|class| class.history_topic_bytes_max).max().unwrap_or(0),
            history_ms: self.all().map(|class| class.history_ms).max().unwrap_or(0),
            ..self.default
        }
    }
}

fn draw_table(default: ClassSettings, prng: &mut Prng) -> Vec<NamedClass> {
    let mut table: Vec<NamedClass> = Vec::new();
    for name in ["a", "b", "c"] {
        if prng.below(4) == 0 {
            continue;
        }
        let mut settings = default;
        if prng.below(2) == 0 {
            settings.history_events = pick(prng, &[1, 3, 30, 400]);
        }
        if prng.below(2) == 0 {
            settings.history_ms = pick(prng, &[40, 700, 5_000, 400_000]);
        }
        if prng.below(2) == 0 {
            settings.slow_policy =
                pick(prng, &[SlowPolicy::Disconnect, SlowPolicy::Skip, SlowPolicy::Latest]);
        }
        if prng.below(5) == 0 {
            settings.max_connection_ms = pick(prng, &[0, 100, 1_000]);
        }
        if prng.below(4) == 0 {
            settings.max_idle_ms = pick(prng, &[0, 100, 400, 2_000]);
        }
        if prng.below(3) == 0 {
            settings.event_from_topic = !settings.event_from_topic;
        }
        if prng.below(2) == 0 {
            settings.windows.batch_ms = pick(prng, &[1, 20, 90]);
            settings.windows.batch_events = pick(prng, &[2, 20, 256]);
        }
        let patterns = (0..1 + prng.below(2)).map(|_| pick(prng, &PATTERNS));
        let parse = |text| TopicPattern::parse(text).expect("a pattern");
        table.push(NamedClass { name: name.into(), patterns: patterns.map(parse).collect(), settings });
    }
    table
}

/// Values under which events give way to newer ones. Drawn last, so that all else is as without.
fn draw_conflation(settings: &mut ClassSettings, prng: &mut Prng) {
    if prng.below(3) == 0 {
        (settings.windows.batch_ms, settings.windows.throttle_ms) = (0, pick(prng, &[1, 20, 90, 400]));
    }
    if prng.below(2) == 0 {
        settings.history_keys = pick(prng, &[1, 2, 100, 100]);
    }
}

impl World {
    /// Reads the settings again, which have other classes now.
    pub fn reload_classes(&mut self) {
        let tables = &self.scene.plan.classes.tables;
        let table = self.scene.prng.below(tables.len() as u64) as usize;
        let classes = tables[table].clone();
        self.scene.trace(|| format!("a reload: {classes:#?}"));
        self.node.hub.replace_classes(&Settings { classes, ..self.scene.plan.settings.clone() });
        self.scene.hit(Branch::Reloaded);
        self.scene.ledger.in_force.begin(table);
    }

    /// Has no class retain events any longer, so that everything goes in time.
    pub fn retain_nothing(&mut self) {
        let settings = Settings { history_keys: 0, classes: Vec::new(), ..self.scene.plan.settings.clone() };
        self.node.hub.replace_classes(&settings);
        while self.node.hub.sort_topics(self.scene.now) {}
    }

    /// Sorts some topics into the classes of the last reload, or all of them.
    pub fn sort_topics(&mut self, all: bool) {
        while self.is_sorting() && (all || self.scene.one_in(8)) {
            if !self.node.hub.sort_topics(self.scene.now) {
                self.scene.ledger.in_force.settle();
            }
        }
    }

    /// Whether topics are still to be sorted into the classes of a reload.
    pub fn is_sorting(&self) -> bool {
        !self.scene.ledger.in_force.is_settled()
    }

    /// Asserts that the figures of classes are those of the node, taken apart.
    pub fn judge_classes(&self) {
        let (sizes, snapshot) = (self.node.hub.sizes(), self.node.snapshot(self.scene.now.mono_ms));
        let classes = &snapshot.classes;
        assert_eq!(classes.iter().map(|class| class.topics).sum::<usize>(), sizes.topics, "{classes:?}");
        assert_eq!(classes.iter().map(|class| class.history_events).sum::<usize>(), sizes.frames);
    }
}
