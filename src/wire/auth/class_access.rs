//! Topics that need a credential: by their class, the first whose pattern matches. Knows no credential.

use crate::base::class::NamedClass;
use crate::base::settings::{Settings, SubscribeAccess};
use crate::base::topic::TopicPattern;

/// The setting `subscribe` of all classes.
#[derive(Clone, Debug)]
pub struct ClassAccess {
    /// The classes in their order.
    classes: Vec<NamedClass>,
    /// That of all other topics.
    default: SubscribeAccess,
    asks_anywhere: bool,
}

impl ClassAccess {
    /// Takes the classes of some settings.
    pub fn new(settings: &Settings) -> ClassAccess {
        let all = settings.classes.iter().map(|class| class.settings.subscribe);
        ClassAccess {
            asks_anywhere: all.chain([settings.subscribe]).any(|access| access == SubscribeAccess::Token),
            classes: settings.classes.clone(),
            default: settings.subscribe,
        }
    }

    /// Whether some topic needs a credential.
    pub(crate) fn asks_anywhere(&self) -> bool {
        self.asks_anywhere
    }

    /// Whether a subscription to a topic needs a credential.
    pub(crate) fn asks_for(&self, topic: &str) -> bool {
        let class = || self.classes.iter().find(|class| class.matches(topic));
        let access = || class().map_or(self.default, |class| class.settings.subscribe);
        self.asks_anywhere && access() == SubscribeAccess::Token
    }

    /// Whether a subscription to some topic that a pattern can match may need a credential. What one class
    /// covers no class behind it decides.
    pub(crate) fn asks_for_some(&self, pattern: &TopicPattern) -> bool {
        if !self.asks_anywhere {
            return false;
        }
        for class in &self.classes {
            let asks = class.settings.subscribe == SubscribeAccess::Token;
            if asks && class.patterns.iter().any(|own| own.overlaps(pattern)) {
                return true;
            }
            if class.covers(pattern) {
                return asks;
            }
        }
        self.default == SubscribeAccess::Token
    }
}

impl Default for ClassAccess {
    fn default() -> ClassAccess {
        ClassAccess { classes: Vec::new(), default: SubscribeAccess::Anyone, asks_anywhere: false }
    }
}
