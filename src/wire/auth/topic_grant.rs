//! Grants: the topics that the owner of a credential may use, as patterns. Knows no credential.

use crate::base::topic::TopicPattern;

/// The way in which a topic is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicUse {
    /// Its events are received.
    Subscribe,
    /// Events are sent to it.
    Publish,
}

/// Patterns of the topics that a credential opens, by use. Without a pattern it opens none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicGrant {
    /// Topics that its owner may subscribe to.
    pub(crate) subscribe: Vec<TopicPattern>,
    /// Topics that its owner may publish to.
    pub(crate) publish: Vec<TopicPattern>,
}

impl TopicGrant {
    /// Returns the patterns for one use.
    pub(crate) fn patterns(&self, of: TopicUse) -> &[TopicPattern] {
        match of {
            TopicUse::Subscribe => &self.subscribe,
            TopicUse::Publish => &self.publish,
        }
    }

    /// Returns the first pattern that opens a topic.
    pub(crate) fn find(&self, of: TopicUse, topic: &str) -> Option<&TopicPattern> {
        self.patterns(of).iter().find(|pattern| pattern.matches(topic))
    }

    /// Whether it opens every topic that these patterns can match: each of them lies within one of its own.
    pub(crate) fn opens_all<'a>(
        &self,
        of: TopicUse,
        patterns: impl IntoIterator<Item = &'a TopicPattern>,
    ) -> bool {
        let covered = |pattern| self.patterns(of).iter().any(|own| own.covers(pattern));
        patterns.into_iter().all(covered)
    }

    /// Whether it opens all of these topics.
    pub(crate) fn opens<'a>(&self, of: TopicUse, topics: impl IntoIterator<Item = &'a str>) -> bool {
        topics.into_iter().all(|topic| self.find(of, topic).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_opens_what_its_patterns_match_and_for_one_use_only() {
        let pattern = |text: &str| TopicPattern::parse(text).expect("a pattern");
        let grant = TopicGrant {
            subscribe: vec![pattern("news.**")],
            publish: vec![pattern("news.eu"), pattern("a")],
        };
        assert!(grant.opens(TopicUse::Subscribe, ["news.eu", "news.eu.de"]));
        assert!(!grant.opens(TopicUse::Subscribe, ["news.eu", "a"]), "all of them, or none");
        assert!(
            grant.opens(TopicUse::Publish, ["a", "news.eu"]) && !grant.opens(TopicUse::Publish, ["news.us"])
        );
        assert!(!TopicGrant::default().opens(TopicUse::Subscribe, ["a"]));
        let all = |texts: &[&str]| {
            let patterns: Vec<_> = texts.iter().map(|text| pattern(text)).collect();
            grant.opens_all(TopicUse::Subscribe, &patterns)
        };
        assert!(all(&["news.*", "news.**", "news.*.de"]));
        assert!(!all(&["news.*", "*.eu"]) && !all(&["**"]) && !all(&["*"]));
    }
}
