//! A topic's log: the frames that are kept, oldest first, and the floor below which something may be missing.
//!
//! Knows nothing of subscribers: they are positions that read from here.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use super::hash::SeededHash;
use crate::base::id::EventId;
use crate::wire::frame::Frame;

/// Bytes of all frames that are alive anywhere: in logs, mailboxes and half-sent to somebody.
#[derive(Debug, Default)]
pub(crate) struct FrameMeter(AtomicUsize);

impl FrameMeter {
    /// The bytes now.
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A topic at one time: its index in the hub and the number of its incarnation, which tells it from a later
/// topic at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicRef {
    /// The hub's index.
    pub(crate) index: u32,
    /// Counts the topics that the hub has made; wraps.
    pub(crate) incarnation: u32,
}

/// The topics of one event, distinct. One needs no memory of its own.
#[derive(Debug)]
pub(crate) enum Topics {
    /// The usual case.
    One(TopicRef),
    /// Several, or none.
    Many(Box<[TopicRef]>),
}

impl Topics {
    /// Takes the topics of an event.
    pub(crate) fn new(refs: &[TopicRef]) -> Topics {
        match refs {
            &[only] => Topics::One(only),
            several => Topics::Many(several.into()),
        }
    }

    /// No topic, for events that only tests look at.
    #[cfg(test)]
    pub(crate) fn none() -> Topics {
        Topics::Many(Box::default())
    }

    /// Returns them in the order in which the publisher named them.
    pub(crate) fn as_slice(&self) -> &[TopicRef] {
        match self {
            Topics::One(only) => std::slice::from_ref(only),
            Topics::Many(several) => several,
        }
    }
}

/// An event that is counted as long as anyone holds it. There is one for all of its topics.
#[derive(Debug)]
pub(crate) struct SharedFrame {
    frame: Frame,
    meter: Arc<FrameMeter>,
    topics: Topics,
    /// Its place in the journal.
    sequence: u64,
    /// When it was published, microseconds since the start; negative for an event of an earlier run.
    at_us: i64,
    /// Topics whose logs hold it. Changed under the hub's lock only.
    logs: AtomicU32,
    /// Rounds that have not offered it to all of their live subscribers: one for each mail, and on the worker
    /// that takes the mail one for each of its topics there.
    rounds_left: AtomicU32,
}

/// Bytes that each further topic of an event takes: its entry in the event, and its place in that topic's
/// log, which grows by doubling.
const TOPIC_BYTES: usize = size_of::<TopicRef>() + 2 * size_of::<Arc<SharedFrame>>();

impl SharedFrame {
    /// Starts to count `frame`, published to `topics` at `at_us`, in `meter`.
    pub(crate) fn new(
        frame: Frame,
        meter: &Arc<FrameMeter>,
        at_us: i64,
        topics: Topics,
        sequence: u64,
    ) -> Arc<SharedFrame> {
        let kept = SharedFrame {
            frame,
            meter: Arc::clone(meter),
            topics,
            sequence,
            at_us,
            logs: AtomicU32::new(0),
            rounds_left: AtomicU32::new(0),
        };
        meter.0.fetch_add(kept.memory_bytes(), Relaxed);
        Arc::new(kept)
    }

    /// Bytes of memory that an event of these topics takes beyond its frame.
    pub(crate) fn topics_bytes(topics: usize) -> usize {
        topics.saturating_sub(1) * TOPIC_BYTES
    }

    /// Bytes of memory that it takes, once for all of its topics.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.frame.memory_bytes() + SharedFrame::topics_bytes(self.topics().len())
    }

    /// Its topics, distinct.
    pub(crate) fn topics(&self) -> &[TopicRef] {
        self.topics.as_slice()
    }

    /// Its place in the journal.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was published, microseconds since the start; 0 for an event of an earlier run.
    pub(crate) fn at_us(&self) -> u64 {
        self.at_us.max(0) as u64
    }

    /// Milliseconds since it was published.
    pub(crate) fn age_ms(&self, mono_ms: u64) -> u64 {
        mono_ms.saturating_add_signed(-self.at_us.div_euclid(1_000))
    }

    /// Notes that so many logs hold it. To be said under the hub's lock.
    pub(crate) fn enter_logs(&self, logs: u32) {
        self.logs.store(logs, Relaxed);
    }

    /// One log has let it go; true when that was the last one.
    pub(crate) fn leave_log(&self) -> bool {
        self.logs.fetch_sub(1, Relaxed) == 1
    }

    /// Expects so many more rounds. For mails, to be said before the first goes out.
    pub(crate) fn expect_rounds(&self, rounds: u32) {
        self.rounds_left.fetch_add(rounds, Relaxed);
    }

    /// A round has offered it to every subscriber concerned; true when that was the last one.
    pub(crate) fn finish_round(&self) -> bool {
        self.rounds_left.fetch_sub(1, Relaxed) == 1
    }
}

impl Drop for SharedFrame {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.memory_bytes(), Relaxed);
    }
}

impl Deref for SharedFrame {
    type Target = Frame;
    fn deref(&self) -> &Frame {
        &self.frame
    }
}

/// The kept frames of one topic, ids strictly increasing. Small while nothing is kept: most topics of many
/// keep nothing most of the time.
#[derive(Debug)]
pub(crate) struct TopicLog {
    floor: EventId,
    kept: Option<Box<KeptFrames>>,
}

const _: () = assert!(size_of::<TopicLog>() <= 16);

#[derive(Debug, Default)]
struct KeptFrames {
    frames: VecDeque<Arc<SharedFrame>>,
    bytes: usize,
    /// The newest kept id of each key; only where somebody reads by it.
    newest_by_key: Option<HashMap<Box<str>, EventId, SeededHash>>,
    /// Memory of those keys.
    key_bytes: usize,
}

/// The frames of a log that keeps none.
static NO_FRAMES: VecDeque<Arc<SharedFrame>> = VecDeque::new();

/// Bytes of memory that a key in `newest_by_key` takes beside its text: its entry, in a table that is half
/// empty, and the allocator's part.
const KEY_OVERHEAD_BYTES: usize = 2 * (size_of::<Box<str>>() + size_of::<EventId>() + 1) + 16;

impl TopicLog {
    /// An empty log in which anything up to `floor` may be missing.
    pub(crate) fn new(floor: EventId) -> TopicLog {
        TopicLog { floor, kept: None }
    }

    /// Adds the newest frame. With `by_key` the log knows the newest frame of each key.
    pub(crate) fn append(&mut self, frame: Arc<SharedFrame>, by_key: Option<&SeededHash>) {
        assert!(frame.id() > self.floor, "ids rise");
        assert!(self.newest().is_none_or(|newest| newest < frame.id()), "ids rise");
        let kept = self.kept.get_or_insert_default();
        kept.bytes += frame.memory_bytes();
        if let (Some(hash), Some(key)) = (by_key, frame.key()) {
            let newest = kept.newest_by_key.get_or_insert_with(|| HashMap::with_hasher(hash.clone()));
            if newest.insert(key.into(), frame.id()).is_none() {
                kept.key_bytes += key.len() + KEY_OVERHEAD_BYTES;
            }
        }
        kept.frames.push_back(frame);
    }

    /// Drops the oldest frame, raises the floor to it, and returns it.
    pub(crate) fn evict_oldest(&mut self) -> Option<Arc<SharedFrame>> {
        let kept = self.kept.as_mut()?;
        let frame = kept.frames.pop_front()?;
        self.floor = frame.id();
        kept.bytes -= frame.memory_bytes();
        if let (Some(newest), Some(key)) = (&mut kept.newest_by_key, frame.key())
            && newest.get(key) == Some(&frame.id())
        {
            newest.remove(key);
            kept.key_bytes -= key.len() + KEY_OVERHEAD_BYTES;
        }
        if kept.frames.is_empty() {
            self.kept = None;
        } else if kept.frames.len() < kept.frames.capacity() / 8 {
            kept.frames.shrink_to(kept.frames.len() * 2);
        }
        Some(frame)
    }

    /// The newest kept frame with the same key, if it is newer.
    pub(crate) fn superseder(&self, frame: &Frame) -> Option<&Arc<SharedFrame>> {
        let kept = self.kept.as_ref()?;
        let id = *kept.newest_by_key.as_ref().zip(frame.key()).and_then(|(newest, key)| newest.get(key))?;
        let found = kept.frames.binary_search_by_key(&id, |frame| frame.id()).ok()?;
        Some(&kept.frames[found]).filter(|newest| newest.id() > frame.id())
    }

    /// The id up to which something may be missing: a position at or above it has missed nothing.
    pub(crate) fn floor(&self) -> EventId {
        self.floor
    }

    /// The oldest kept id.
    pub(crate) fn oldest(&self) -> Option<EventId> {
        self.frames().front().map(|frame| frame.id())
    }

    /// Whether the frame with this id is kept.
    pub(crate) fn keeps(&self, id: EventId) -> bool {
        self.frames().binary_search_by_key(&id, |frame| frame.id()).is_ok()
    }

    /// Frames kept.
    pub(crate) fn len(&self) -> usize {
        self.frames().len()
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_none()
    }

    /// Bytes kept, the keys that it knows included.
    pub(crate) fn bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes + kept.key_bytes)
    }

    /// Bytes of the keys that it knows.
    pub(crate) fn key_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.key_bytes)
    }

    /// How many frames are newer than `position`.
    pub(crate) fn count_after(&self, position: EventId) -> usize {
        self.len() - first_after(self.frames(), position)
    }

    /// The newest kept id.
    pub(crate) fn newest(&self) -> Option<EventId> {
        self.frames().back().map(|frame| frame.id())
    }

    /// All kept frames, oldest first.
    pub(crate) fn frames(&self) -> &VecDeque<Arc<SharedFrame>> {
        self.kept.as_ref().map_or(&NO_FRAMES, |kept| &kept.frames)
    }

    /// The frames newer than `position`, oldest first.
    pub(crate) fn after(
        &self,
        position: EventId,
    ) -> impl DoubleEndedIterator<Item = &Arc<SharedFrame>> + Clone {
        self.frames().range(first_after(self.frames(), position)..)
    }
}

/// Index of the first frame newer than `position`.
pub(crate) fn first_after(frames: &VecDeque<Arc<SharedFrame>>, position: EventId) -> usize {
    match (frames.front(), frames.back()) {
        (Some(oldest), _) if oldest.id() > position => 0,
        (_, Some(newest)) if newest.id() <= position => frames.len(),
        _ => frames.partition_point(|frame| frame.id() <= position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Draft;

    #[test]
    fn floor_rises_with_eviction_and_bytes_return_to_zero() {
        let meter = Arc::new(FrameMeter::default());
        let mut log = TopicLog::new(EventId::at_ms(10));
        let ids: Vec<EventId> = (11..15).map(EventId::at_ms).collect();
        for &id in &ids {
            let frame = Draft::new(None, None, "x", None).seal(id);
            log.append(SharedFrame::new(frame, &meter, 0, Topics::none(), 0), None);
        }
        assert_eq!(log.after(ids[1]).map(|frame| frame.id()).collect::<Vec<_>>(), ids[2..]);
        assert_eq!(log.after(EventId::ZERO).count(), 4);
        log.evict_oldest();
        assert_eq!((log.floor(), log.oldest()), (ids[0], Some(ids[1])));
        while log.evict_oldest().is_some() {}
        assert_eq!((log.bytes(), meter.bytes(), log.floor()), (0, 0, ids[3]));
    }
}
