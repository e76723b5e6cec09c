//! Classes of topics: which settings hold for which topics.
//!
//! Owns what a class is. A topic belongs to the first that has a matching pattern, else to the default class,
//! whose values are the settings of the whole node. Knows no file and no topic that exists.

use std::sync::Arc;

use crate::base::settings::{Settings, SlowPolicy, StreamRateSettings, SubscribeAccess, WindowSettings};
use crate::base::topic::TopicPattern;

/// Classes that an operator may name. Each is a value of labels in the metrics, and each has a journal of its
/// own in the hub.
pub const NAMED_CLASSES_MAX: usize = 63;
/// Patterns of all classes: a topic that is created is held against each, under the hub's lock.
pub const CLASS_PATTERNS_MAX: usize = 256;
/// Bytes of a class's name: it stands in labels and in lines of the log.
pub(crate) const CLASS_NAME_BYTES_MAX: usize = 64;
/// Name of the class of topics that no other class matches.
pub const DEFAULT_CLASS_NAME: &str = "default";

/// The values that hold for the topics of one class. Each field is the setting of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClassSettings {
    pub history_events: usize,
    pub history_ms: u64,
    pub history_topic_bytes_max: usize,
    pub slow_policy: SlowPolicy,
    pub max_connection_ms: u64,
    pub max_idle_ms: u64,
    pub event_from_topic: bool,
    pub subscribe: SubscribeAccess,
    pub windows: WindowSettings,
    pub stream_rate: StreamRateSettings,
    pub history_keys: usize,
}

/// A class that an operator has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedClass {
    /// Its name, for logs and metrics.
    pub name: Arc<str>,
    /// Patterns of its topics.
    pub patterns: Vec<TopicPattern>,
    /// Values that hold for them.
    pub settings: ClassSettings,
}

impl NamedClass {
    /// Whether a topic of this name belongs to it, if no class before it takes the topic.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether every topic that a pattern can match belongs to it, if no class before it takes the topic.
    pub(crate) fn covers(&self, pattern: &TopicPattern) -> bool {
        self.patterns.iter().any(|own| own.covers(pattern))
    }
}

impl Settings {
    /// Whether all topics have the same classes with the same values under other settings.
    pub(crate) fn same_classes(&self, other: &Settings) -> bool {
        self.classes == other.classes && ClassSettings::of_node(self) == ClassSettings::of_node(other)
    }
}

impl ClassSettings {
    /// The values of the default class.
    pub fn of_node(settings: &Settings) -> ClassSettings {
        ClassSettings {
            history_events: settings.history_events,
            history_ms: settings.history_ms,
            history_topic_bytes_max: settings.history_topic_bytes_max,
            slow_policy: settings.slow_policy,
            max_connection_ms: settings.max_connection_ms,
            max_idle_ms: settings.max_idle_ms,
            event_from_topic: settings.event_from_topic,
            subscribe: settings.subscribe,
            windows: settings.windows,
            stream_rate: settings.stream_rate,
            history_keys: settings.history_keys,
        }
    }
}
