//! A topic's log: the frames that are kept, oldest first, and the floor below which something may be missing.
//! It has their sequence numbers; the journals hold the frames.
//!
//! ```text
//! retained   k1 · · k3 ·         newest events of their keys, kept although the log has let them go
//! log                  │ k2 – k4 –
//!                      ▲ floor: a client that resumes may miss something before it
//! ```
//!
//! Who wants only the newest event of each key misses something up to the *state floor*: the newest id that
//! left without a newer event of its key. Knows nothing of subscribers: they are positions that read from
//! here.

use std::collections::{BTreeMap, HashMap, VecDeque, btree_map};
use std::ops::{Bound, Deref};
use std::sync::Arc;

use super::hash::SeededHash;
use super::journals::Journals;
use super::shared_frame::SharedFrame;
use crate::base::id::EventId;
use crate::wire::frame::Frame;

/// Sequence numbers of a log's events, oldest first. Four bytes each while they lie close together, as those
/// of one journal do.
#[derive(Debug)]
enum SequenceRing {
    Near { base: u64, offsets: VecDeque<u32> },
    Far(VecDeque<u64>),
}

impl Default for SequenceRing {
    fn default() -> SequenceRing {
        SequenceRing::Near { base: 0, offsets: VecDeque::new() }
    }
}

impl SequenceRing {
    fn len(&self) -> usize {
        match self {
            SequenceRing::Near { offsets, .. } => offsets.len(),
            SequenceRing::Far(sequences) => sequences.len(),
        }
    }

    fn get(&self, nth: usize) -> Option<u64> {
        match self {
            SequenceRing::Near { base, offsets } => offsets.get(nth).map(|&offset| base + u64::from(offset)),
            SequenceRing::Far(sequences) => sequences.get(nth).copied(),
        }
    }

    fn push(&mut self, sequence: u64) {
        if let SequenceRing::Near { base, offsets } = self {
            if offsets.is_empty() {
                *base = sequence;
            }
            let offset = sequence.checked_sub(*base).and_then(|offset| u32::try_from(offset).ok());
            if let Some(offset) = offset {
                return push_tight(offsets, offset);
            }
            *self = SequenceRing::Far(offsets.iter().map(|&offset| *base + u64::from(offset)).collect());
        }
        if let SequenceRing::Far(sequences) = self {
            push_tight(sequences, sequence);
        }
    }

    fn pop_front(&mut self) -> Option<u64> {
        match self {
            SequenceRing::Near { base, offsets } => {
                pop_tight(offsets).map(|offset| *base + u64::from(offset))
            }
            SequenceRing::Far(sequences) => pop_tight(sequences),
        }
    }
}

/// Adds to a ring that grows by a quarter, not by doubling: a log has many places, and most of them stay.
fn push_tight<T>(ring: &mut VecDeque<T>, entry: T) {
    if ring.len() == ring.capacity() {
        ring.reserve_exact(4.max(ring.len() / 4));
    }
    ring.push_back(entry);
}

/// Takes from a ring that gives memory back when half of it is empty.
fn pop_tight<T>(ring: &mut VecDeque<T>) -> Option<T> {
    let entry = ring.pop_front()?;
    if ring.capacity() > 16 && ring.len() < ring.capacity() / 2 {
        ring.shrink_to(ring.len() + ring.len() / 4);
    }
    Some(entry)
}

/// The kept frames of one topic, ids strictly increasing; the journals hold them. Small while nothing is
/// kept: most topics of many keep nothing most of the time.
#[derive(Debug)]
pub(crate) struct TopicLog {
    floor: EventId,
    kept: Option<Box<KeptFrames>>,
}

const _: () = assert!(size_of::<TopicLog>() <= 16);

#[derive(Debug, Default)]
struct KeptFrames {
    sequences: SequenceRing,
    newest: EventId,
    bytes: usize,
    /// The newest kept id of each key; none while no event has one.
    newest_by_key: Option<HashMap<Box<str>, EventId, SeededHash>>,
    /// Memory of those keys.
    key_bytes: usize,
    /// Newest events of their keys that the log has let go.
    retained: BTreeMap<EventId, Arc<SharedFrame>>,
    /// Memory of those events.
    retained_bytes: usize,
    /// The newest id that left without a newer event of its key.
    state_floor: EventId,
    key_names: KeyNames,
    /// Kept frames whose life has an end.
    mortal: u32,
}

/// Names of the events that have a key.
#[derive(Debug, Default)]
enum KeyNames {
    /// There was no such event.
    #[default]
    Unknown,
    /// All have this one.
    One(Box<[u8]>),
    /// They differ.
    Several,
}

impl KeyNames {
    fn note(&mut self, name: &[u8]) {
        match self {
            KeyNames::Unknown => *self = KeyNames::One(name.into()),
            KeyNames::One(one) if **one != *name => *self = KeyNames::Several,
            KeyNames::One(_) | KeyNames::Several => {}
        }
    }
}

impl KeptFrames {
    fn new(state_floor: EventId) -> KeptFrames {
        KeptFrames { state_floor, ..KeptFrames::default() }
    }

    fn is_newest_of_key(&self, frame: &SharedFrame) -> bool {
        let newest = |key| self.newest_by_key.as_ref()?.get(key);
        frame.key().and_then(newest) == Some(&frame.id())
    }

    /// Whether a newer event of its key is known.
    fn is_superseded(&self, frame: &SharedFrame) -> bool {
        frame.key().is_some() && !self.is_newest_of_key(frame)
    }

    /// Notes that an event is gone, and its key with it if none newer is known. Nobody misses one whose life
    /// is over.
    fn forget(&mut self, frame: &SharedFrame, now_ms: u64) {
        if self.is_superseded(frame) {
            return;
        }
        if !frame.is_past(now_ms) {
            self.state_floor = self.state_floor.max(frame.id());
        }
        if let (Some(newest), Some(key)) = (&mut self.newest_by_key, frame.key()) {
            newest.remove(key);
            self.key_bytes -= key.len() + KEY_OVERHEAD_BYTES;
        }
    }

    fn take_retained(&mut self, id: EventId) -> Option<Arc<SharedFrame>> {
        let frame = self.retained.remove(&id)?;
        self.retained_bytes -= retained_bytes(&frame);
        Some(frame)
    }
}

/// Fate of the newest event of a key that leaves a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFate {
    /// It is retained.
    Retained,
    /// It goes like any other.
    Gone,
    /// Its life was over before it went, as that of any event may be: nobody misses it.
    Past,
}

/// An event that has left a log.
#[derive(Debug)]
pub(crate) struct Evicted {
    /// The event.
    pub(crate) event: Arc<SharedFrame>,
    /// Whether it is kept as the newest of its key, or missed.
    pub(crate) fate: KeyFate,
}

/// Bytes of memory that a retained event takes beside those of any kept one: its places by topic and by age.
const RETAINED_OVERHEAD_BYTES: usize = 96;

/// Bytes of memory of a retained event.
pub(crate) fn retained_bytes(event: &SharedFrame) -> usize {
    event.memory_bytes() + RETAINED_OVERHEAD_BYTES
}

/// Bytes of memory that a key in `newest_by_key` takes beside its text: its entry, in a table that is half
/// empty, and the allocator's part.
const KEY_OVERHEAD_BYTES: usize = 2 * (size_of::<Box<str>>() + size_of::<EventId>() + 1) + 16;

impl TopicLog {
    /// An empty log in which anything up to `floor` may be missing.
    pub(crate) fn new(floor: EventId) -> TopicLog {
        TopicLog { floor, kept: None }
    }

    /// Adds the newest frame, which its journal must get, too. `key_hash` is for keys, which publishers
    /// choose. Returns the retained event whose place it takes, if it does.
    pub(crate) fn append(&mut self, frame: &SharedFrame, key_hash: &SeededHash) -> Option<Arc<SharedFrame>> {
        assert!(frame.id() > self.floor, "ids rise");
        assert!(self.newest().is_none_or(|newest| newest < frame.id()), "ids rise");
        let kept = self.kept.get_or_insert_with(|| Box::new(KeptFrames::new(self.floor)));
        kept.bytes += frame.memory_bytes();
        let mut older = None;
        if let Some(key) = frame.key() {
            let newest = kept.newest_by_key.get_or_insert_with(|| HashMap::with_hasher(key_hash.clone()));
            older = newest.insert(key.into(), frame.id());
            kept.key_names.note(frame.name());
            if older.is_none() {
                kept.key_bytes += key.len() + KEY_OVERHEAD_BYTES;
            }
        }
        kept.newest = frame.id();
        kept.mortal += u32::from(frame.life_ms().is_some());
        kept.sequences.push(frame.sequence());
        kept.take_retained(older?)
    }

    /// Drops the oldest frame, raises the floor to it unless its life is over, and returns it. As the newest
    /// of its key it has this fate.
    pub(crate) fn evict_oldest(
        &mut self,
        journals: &Journals,
        fate: KeyFate,
        now_ms: u64,
    ) -> Option<Evicted> {
        let kept = self.kept.as_mut()?;
        let event = Arc::clone(frame_of(journals, kept.sequences.pop_front()?));
        let past = event.is_past(now_ms);
        if !past {
            self.floor = event.id();
        }
        kept.bytes -= event.memory_bytes();
        kept.mortal -= u32::from(event.life_ms().is_some());
        let fate = match (past, kept.is_newest_of_key(&event)) {
            (true, _) => KeyFate::Past,
            (false, true) => fate,
            (false, false) => KeyFate::Gone,
        };
        match fate {
            KeyFate::Retained => {
                kept.retained_bytes += retained_bytes(&event);
                kept.retained.insert(event.id(), Arc::clone(&event));
            }
            KeyFate::Gone | KeyFate::Past => kept.forget(&event, now_ms),
        }
        self.drop_if_empty();
        Some(Evicted { event, fate })
    }

    /// Drops the oldest retained event, and returns it.
    pub(crate) fn evict_retained(&mut self, now_ms: u64) -> Option<Arc<SharedFrame>> {
        let kept = self.kept.as_mut()?;
        let oldest = *kept.retained.first_key_value()?.0;
        let event = kept.take_retained(oldest)?;
        kept.forget(&event, now_ms);
        self.drop_if_empty();
        Some(event)
    }

    fn drop_if_empty(&mut self) {
        if self.kept.as_ref().is_some_and(|kept| kept.sequences.len() == 0 && kept.retained.is_empty()) {
            self.kept = None;
        }
    }

    /// Number of retained events.
    pub(crate) fn retained(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.retained.len())
    }

    /// The id up to which something may be missing by this log alone; [`LogView::floor`] knows all.
    pub(crate) fn own_floor(&self) -> EventId {
        self.floor
    }

    /// The id up to which the newest event of some key may be missing by this log alone.
    pub(crate) fn own_state_floor(&self) -> EventId {
        self.kept.as_ref().map_or(self.floor, |kept| kept.state_floor)
    }

    /// Frames kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.sequences.len())
    }

    /// Whether nothing is kept, retained events included.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_none()
    }

    /// Bytes kept, retained events and the keys that it knows included.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes + kept.key_bytes + kept.retained_bytes)
    }

    /// Bytes of the keys that it knows.
    pub(crate) fn key_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.key_bytes)
    }

    /// The newest kept id.
    pub(crate) fn newest(&self) -> Option<EventId> {
        self.kept.as_ref().map(|kept| kept.newest)
    }

    /// Whether the life of some kept frame has an end.
    pub(crate) fn has_mortal(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.mortal > 0)
    }

    /// The sequence number of a kept frame, counted from the oldest.
    pub(crate) fn sequence(&self, nth: usize) -> Option<u64> {
        self.kept.as_ref()?.sequences.get(nth)
    }

    /// The sequence number of the newest kept frame.
    pub(crate) fn newest_sequence(&self) -> Option<u64> {
        self.sequence(self.len().checked_sub(1)?)
    }
}

fn frame_of(journals: &Journals, sequence: u64) -> &Arc<SharedFrame> {
    journals.get(sequence).expect("a frame that a log keeps is in its journal")
}

/// A log with the journals in which its frames stand.
#[derive(Clone, Copy)]
pub(crate) struct LogView<'a> {
    log: &'a TopicLog,
    journals: &'a Journals,
}

impl<'a> LogView<'a> {
    /// Looks at a log of these journals.
    pub(crate) fn new(log: &'a TopicLog, journals: &'a Journals) -> LogView<'a> {
        LogView { log, journals }
    }

    /// The id up to which something may be missing: a position at or above it has missed nothing.
    pub(crate) fn floor(self) -> EventId {
        self.log.own_floor().max(self.journals.floor())
    }

    /// The id up to which the newest event of some key may be missing, or one without a key.
    pub(crate) fn state_floor(self) -> EventId {
        self.log.own_state_floor().max(self.journals.floor())
    }

    /// Whether all events with a key have one name: whoever wants an event wants the newer ones of its key.
    pub(crate) fn has_one_key_name(self) -> bool {
        self.log.kept.as_ref().is_none_or(|kept| !matches!(kept.key_names, KeyNames::Several))
    }

    /// The retained events newer than `position`, oldest first.
    pub(crate) fn retained_after(self, position: EventId) -> RetainedEvents<'a> {
        let after = (Bound::Excluded(position), Bound::Unbounded);
        RetainedEvents(self.log.kept.as_ref().map(|kept| kept.retained.range(after)))
    }

    /// Whether the event with this id is retained.
    pub(crate) fn retains(self, id: EventId) -> bool {
        self.log.kept.as_ref().is_some_and(|kept| kept.retained.contains_key(&id))
    }

    /// A kept frame, counted from the oldest.
    pub(crate) fn frame(self, nth: usize) -> Option<&'a Arc<SharedFrame>> {
        self.log.sequence(nth).map(|sequence| frame_of(self.journals, sequence))
    }

    /// The id of a kept frame, counted from the oldest.
    pub(crate) fn id(self, nth: usize) -> Option<EventId> {
        self.frame(nth).map(|frame| frame.id())
    }

    /// The oldest kept id.
    pub(crate) fn oldest(self) -> Option<EventId> {
        self.id(0)
    }

    /// Index of the first frame newer than `position`.
    pub(crate) fn first_after(self, position: EventId) -> usize {
        let len = self.log.len();
        if self.log.newest().is_none_or(|newest| newest <= position) {
            return len;
        }
        let (mut first, mut end) = (0, len);
        while first < end {
            let middle = first + (end - first) / 2;
            if self.id(middle) <= Some(position) { first = middle + 1 } else { end = middle }
        }
        first
    }

    /// The frames newer than `position`, oldest first.
    pub(crate) fn after(
        self,
        position: EventId,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<SharedFrame>> + Clone {
        (self.first_after(position)..self.log.len()).filter_map(move |nth| self.frame(nth))
    }

    /// How many frames are newer than `position`.
    pub(crate) fn count_after(self, position: EventId) -> usize {
        self.log.len() - self.first_after(position)
    }

    /// Whether the frame with this id is kept.
    pub(crate) fn keeps(self, id: EventId) -> bool {
        self.find(id).is_some()
    }

    /// The newest kept frame with the same key, if it is newer.
    pub(crate) fn superseder(self, frame: &Frame) -> Option<&'a Arc<SharedFrame>> {
        let newest_by_key = self.log.kept.as_ref()?.newest_by_key.as_ref()?;
        self.find(*newest_by_key.get(frame.key()?)?).filter(|newest| newest.id() > frame.id())
    }

    fn find(self, id: EventId) -> Option<&'a Arc<SharedFrame>> {
        self.frame(self.first_after(id.preceding())).filter(|frame| frame.id() == id)
    }
}

/// Retained events of one topic, oldest first.
#[derive(Clone)]
pub(crate) struct RetainedEvents<'a>(Option<btree_map::Range<'a, EventId, Arc<SharedFrame>>>);

impl<'a> Iterator for RetainedEvents<'a> {
    type Item = &'a Arc<SharedFrame>;
    fn next(&mut self) -> Option<&'a Arc<SharedFrame>> {
        self.0.as_mut()?.next().map(|(_, event)| event)
    }
}

impl Deref for LogView<'_> {
    type Target = TopicLog;
    fn deref(&self) -> &TopicLog {
        self.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::fanout::class_table::ClassSlot;
    use crate::fanout::shared_frame::{FrameMeter, Topics};
    use crate::wire::frame::Draft;

    #[test]
    fn floor_rises_with_eviction_and_bytes_return_to_zero() {
        let meter = Arc::new(FrameMeter::default());
        let (mut log, mut journals) = (TopicLog::new(EventId::at_ms(10)), Journals::new(1));
        let ids: Vec<EventId> = (11..15).map(EventId::at_ms).collect();
        for &id in &ids {
            let frame = Draft::new(None, None, "x", None).seal(id);
            let sequence = journals.next_sequence(ClassSlot::default());
            let frame = SharedFrame::new(frame, &meter, 0, Topics::none(), sequence);
            log.append(&frame, &SeededHash::new(1));
            journals.push(frame);
        }
        let view = LogView::new(&log, &journals);
        assert_eq!(view.after(ids[1]).map(|frame| frame.id()).collect::<Vec<_>>(), ids[2..]);
        assert_eq!((view.after(EventId::ZERO).count(), view.count_after(ids[3])), (4, 0));
        assert!(view.keeps(ids[2]) && !view.keeps(EventId::at_ms(10)) && !view.keeps(EventId::at_ms(15)));
        log.evict_oldest(&journals, KeyFate::Gone, 0);
        assert_eq!((log.own_floor(), LogView::new(&log, &journals).oldest()), (ids[0], Some(ids[1])));
        while log.evict_oldest(&journals, KeyFate::Gone, 0).is_some() {}
        assert_eq!((log.bytes(), log.own_floor(), log.newest()), (0, ids[3], None));
        drop(journals);
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    fn a_ring_gives_back_what_it_was_given_and_holds_little_more_than_that() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let (mut ring, mut twin, mut next) = (SequenceRing::default(), VecDeque::new(), 0);
            for step in 0..2_000 {
                if prng.below(100) < if step < 1_200 { 70 } else { 30 } {
                    next += 1 + if prng.below(200) == 0 { 1 << 31 } else { prng.below(9) };
                    // Another journal, now and then of some seeds.
                    let other = if seed % 2 == 1 && prng.below(300) == 0 { 1 << 56 } else { 0 };
                    ring.push(next + other);
                    twin.push_back(next + other);
                } else {
                    assert_eq!(ring.pop_front(), twin.pop_front(), "seed {seed}, step {step}");
                }
                let nth = prng.below(twin.len() as u64 + 1) as usize;
                assert_eq!((ring.len(), ring.get(nth)), (twin.len(), twin.get(nth).copied()));
                let capacity = match &ring {
                    SequenceRing::Near { offsets, .. } => offsets.capacity(),
                    SequenceRing::Far(sequences) => sequences.capacity(),
                };
                assert!(capacity <= (2 * twin.len() + 1).max(16), "{capacity} places for {}", twin.len());
            }
        }
    }
}
