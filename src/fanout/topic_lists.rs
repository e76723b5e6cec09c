//! Lists of topics by their content: publishers name the same ones again and again, and events share them.
//!
//! Keeps no list alive, and looks only for those that came up lately.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Weak};

use super::hash::SeededHash;
use super::shared_frame::{FrameMeter, TopicList, TopicRef};

/// Lists that are looked for: those of publishers, and of topics that match patterns. With more of them, few
/// are shared.
const LISTS_MAX: usize = 4_096;

/// The lists that events may share.
#[derive(Debug)]
pub(crate) struct TopicLists {
    /// By the hash of their content; one of two with the same hash is not shared.
    lists: HashMap<u64, Weak<TopicList>, SeededHash>,
    hash: SeededHash,
}

impl TopicLists {
    /// Knows no list. Strangers choose lists, so `hash` is keyed.
    pub(crate) fn new(hash: SeededHash) -> TopicLists {
        TopicLists { lists: HashMap::with_hasher(hash.clone()), hash }
    }

    /// Returns the list of these topics: that of an earlier event, or a new one.
    pub(crate) fn share(&mut self, refs: &[TopicRef], meter: &Arc<FrameMeter>) -> Arc<TopicList> {
        let key = self.hash.hash_one(refs);
        let known = self.lists.get(&key).and_then(Weak::upgrade);
        if let Some(list) = known.filter(|list| list.refs() == refs) {
            return list;
        }
        if self.lists.len() == LISTS_MAX {
            self.lists.retain(|_, list| list.strong_count() > 0);
            if self.lists.len() == LISTS_MAX {
                self.lists.clear();
            }
        }
        let list = Arc::new(TopicList::new(refs, meter));
        self.lists.insert(key, Arc::downgrade(&list));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one_and_no_more_are_known_than_may_be() {
        let (mut lists, meter) = (TopicLists::new(SeededHash::new(7)), Arc::default());
        let refs = |first: u32| [first, first + 1].map(|index| TopicRef { index, incarnation: 1 });
        let first = lists.share(&refs(0), &meter);
        assert!(Arc::ptr_eq(&first, &lists.share(&refs(0), &meter)));
        let [one, two] = refs(0);
        assert!(!Arc::ptr_eq(&first, &lists.share(&[two, one], &meter)), "in the order of the publisher");
        let kept: Vec<_> = (0..2 * LISTS_MAX as u32).map(|first| lists.share(&refs(first), &meter)).collect();
        assert!(lists.lists.len() <= LISTS_MAX);
        drop((kept, first));
        lists.share(&refs(0), &meter);
        assert_eq!(meter.list_bytes(), 0);
    }
}
