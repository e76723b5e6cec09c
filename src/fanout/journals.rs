//! One journal for each class of topics, so that the order of publishing is the order of expiry within each,
//! although classes keep events for different times. Together they hold every kept event of the node once.
//!
//! Sequence numbers of different journals lie far apart, so a number also tells its journal. Knows neither
//! topics nor time.

use std::sync::Arc;

use super::class_table::ClassSlot;
use super::journal::Journal;
use super::shared_frame::SharedFrame;
use crate::base::id::EventId;

/// Bits of a sequence number below those that tell the journal: a million events a second for two thousand
/// years.
const NUMBER_BITS: u32 = 56;

/// The journals of all classes, and their sums.
#[derive(Debug)]
pub(crate) struct Journals {
    by_slot: Vec<Journal>,
    /// Everything up to this id has been lost at once, for all topics.
    floor: EventId,
    events: usize,
    bytes: usize,
}

/// Returns the index of the journal in which an event stands.
fn index_of(sequence: u64) -> usize {
    (sequence >> NUMBER_BITS) as usize
}

/// Whether two sequence numbers are of one journal.
pub(crate) fn share_journal(a: u64, b: u64) -> bool {
    index_of(a) == index_of(b)
}

impl Journals {
    /// Empty journals for so many slots.
    pub(crate) fn new(slots: usize) -> Journals {
        let mut journals = Journals { by_slot: Vec::new(), floor: EventId::ZERO, events: 0, bytes: 0 };
        journals.ensure_slots(slots);
        journals
    }

    /// Makes journals for so many slots, at least.
    pub(crate) fn ensure_slots(&mut self, slots: usize) {
        for slot in self.by_slot.len()..slots {
            self.by_slot.push(Journal::numbered_from((slot as u64) << NUMBER_BITS));
        }
    }

    /// Slots that have a journal.
    pub(crate) fn slots(&self) -> impl Iterator<Item = ClassSlot> + use<> {
        (0..self.by_slot.len()).map(ClassSlot::at)
    }

    /// The id up to which something may be missing of every topic.
    pub(crate) fn floor(&self) -> EventId {
        self.floor
    }

    /// Notes that everything up to an id is lost. Nothing is kept at this moment.
    pub(crate) fn raise_floor(&mut self, floor: EventId) {
        assert!(self.is_empty() && floor >= self.floor, "a floor rises, below all that is kept");
        self.floor = floor;
    }

    /// Events kept.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Bytes of memory of the events kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The journal of a class, if it has one.
    pub(crate) fn of_class(&self, slot: ClassSlot) -> Option<&Journal> {
        self.by_slot.get(slot.index())
    }

    /// The sequence number that the next event of a class gets.
    pub(crate) fn next_sequence(&self, slot: ClassSlot) -> u64 {
        self.by_slot[slot.index()].next_sequence()
    }

    /// Adds the newest event; its sequence number tells the journal.
    pub(crate) fn push(&mut self, event: Arc<SharedFrame>) {
        self.events += 1;
        self.bytes += event.memory_bytes();
        self.by_slot[index_of(event.sequence())].push(event);
    }

    /// Returns the event with a sequence number; none if it has left, or is still to come.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Arc<SharedFrame>> {
        self.by_slot.get(index_of(sequence))?.get(sequence)
    }

    /// Removes an event that no topic keeps any more.
    pub(crate) fn remove(&mut self, sequence: u64) {
        let event = self.by_slot[index_of(sequence)].remove(sequence);
        self.events -= 1;
        self.bytes -= event.memory_bytes();
    }

    /// Whether the event with this sequence number is kept.
    pub(crate) fn keeps(&self, sequence: u64) -> bool {
        self.get(sequence).is_some()
    }

    /// Returns the oldest event of a class. `None` as of [`Journal::oldest`].
    pub(crate) fn oldest_of(&mut self, slot: ClassSlot) -> Option<&Arc<SharedFrame>> {
        self.by_slot[slot.index()].oldest()
    }

    /// Returns the oldest event of all classes. `None` as of [`Journal::oldest`].
    pub(crate) fn oldest(&mut self) -> Option<&Arc<SharedFrame>> {
        self.by_slot.iter_mut().filter_map(Journal::oldest).min_by_key(|event| event.id())
    }

    /// Returns true when nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Returns memory that a burst took, when most of it is unused.
    pub(crate) fn give_back(&mut self) {
        self.by_slot.iter_mut().for_each(Journal::give_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::shared_frame::{FrameMeter, Topics};
    use crate::wire::frame::Draft;

    #[test]
    fn events_find_their_journal_and_the_oldest_of_all_is_found() {
        let meter = Arc::new(FrameMeter::default());
        let mut journals = Journals::new(3);
        let push = |journals: &mut Journals, slot: usize, ms: u64| {
            let frame = Draft::new(None, None, "x", None).seal(EventId::at_ms(ms));
            let sequence = journals.next_sequence(ClassSlot::at(slot));
            journals.push(SharedFrame::new(frame, &meter, 0, Topics::none(), sequence));
            sequence
        };
        let all = [(2, 10), (0, 20), (1, 30), (2, 40), (0, 50)];
        let sequences = all.map(|(slot, ms)| push(&mut journals, slot, ms));
        assert_eq!(journals.events(), 5);
        for ((slot, ms), sequence) in all.into_iter().zip(sequences) {
            assert_eq!(journals.oldest().map(|event| event.id()), Some(EventId::at_ms(ms)));
            assert_eq!(journals.oldest_of(ClassSlot::at(slot)).map(|event| event.sequence()), Some(sequence));
            assert_eq!(journals.get(sequence).map(|event| event.id()), Some(EventId::at_ms(ms)));
            journals.remove(sequence);
            assert!(journals.get(sequence).is_none());
        }
        assert!(journals.is_empty() && journals.oldest().is_none() && journals.bytes() == 0);
    }
}
