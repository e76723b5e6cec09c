//! The waiting event whose place a newer one takes: of each key and event name only the newest is offered.
//!
//! Events without a key give way to none. Those of another name are other events to a page: a stream that
//! asks for one name must hear of each key of it. Knows neither windows nor rounds.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use super::hash::SeededHash;
use super::shared_frame::{SharedFrame, first_after};
use crate::base::id::EventId;

/// The newest waiting event of each key and name, by their hash.
#[derive(Debug, Default)]
pub(crate) struct NewestByKey(Option<HashMap<u64, EventId, SeededHash>>);

impl NewestByKey {
    /// Notes an event that is about to wait behind `waiting`. Returns the place of the event there that it
    /// supersedes.
    pub(crate) fn note(
        &mut self,
        hash: &SeededHash,
        event: &SharedFrame,
        waiting: &VecDeque<Arc<SharedFrame>>,
    ) -> Option<usize> {
        let key = event.key()?;
        let newest = self.0.get_or_insert_with(|| HashMap::with_hasher(hash.clone()));
        let older = newest.insert(hash.hash_one((key, event.name())), event.id())?;
        let place = first_after(waiting, older.preceding());
        let found = waiting.get(place)?;
        // Another key may have the same hash. Then both are offered.
        let same = found.id() == older && found.key() == Some(key) && found.name() == event.name();
        same.then_some(place)
    }

    /// Forgets all, because none of them waits any longer.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::shared_frame::{FrameMeter, Topics};
    use crate::wire::frame::Draft;

    /// Has events wait, each as `name key`, where `-` is none. Returns the numbers of those left.
    fn waiting(events: &[&str]) -> Vec<u64> {
        let (meter, hash) = (Arc::new(FrameMeter::default()), SeededHash::new(1));
        let (mut newest, mut waiting) = (NewestByKey::default(), VecDeque::new());
        for (nth, event) in events.iter().enumerate() {
            let (name, key) = event.split_once(' ').expect("two words");
            let given = |text: &'static str| Some(text).filter(|text| *text != "-");
            let (name, key) = (given(String::leak(name.into())), given(String::leak(key.into())));
            let frame = Draft::new(name, None, "x", key.map(Box::from)).seal(EventId::at_ms(nth as u64 + 1));
            let frame = SharedFrame::new(frame, &meter, 0, Topics::none(), 0);
            if let Some(place) = newest.note(&hash, &frame, &waiting) {
                waiting.remove(place);
            }
            waiting.push_back(frame);
        }
        waiting.iter().map(|frame| frame.id().ms()).collect()
    }

    #[test]
    fn the_newest_of_each_key_and_name_waits_in_publish_order() {
        let rows: [(&[&str], &[u64]); 5] = [
            (&["- a", "- a", "- a"], &[3]),
            (&["- a", "- b", "- a", "- c"], &[2, 3, 4]),
            (&["- -", "- -", "- a", "- -"], &[1, 2, 3, 4]),
            (&["x a", "y a", "x a", "- a"], &[2, 3, 4]),
            (&["- a", "- b", "- b", "- a", "- a", "- b"], &[5, 6]),
        ];
        for (events, expected) in rows {
            assert_eq!(waiting(events), expected, "{events:?}");
        }
    }
}
