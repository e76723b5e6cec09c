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
pub struct FrameMeter(AtomicUsize);

impl FrameMeter {
    /// The bytes now.
    pub fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A frame that is counted as long as anyone holds it.
#[derive(Debug)]
pub struct SharedFrame {
    frame: Frame,
    meter: Arc<FrameMeter>,
    /// When it was published, microseconds since the start.
    at_us: u64,
    /// Mails of it whose workers have not offered it to all of their live subscribers.
    rounds_left: AtomicU32,
}

impl SharedFrame {
    /// Starts to count `frame`, published at `at_us`, in `meter`.
    pub fn new(frame: Frame, meter: &Arc<FrameMeter>, at_us: u64) -> Arc<SharedFrame> {
        meter.0.fetch_add(frame.memory_bytes(), Relaxed);
        Arc::new(SharedFrame { frame, meter: Arc::clone(meter), at_us, rounds_left: AtomicU32::new(0) })
    }

    /// When it was published, microseconds since the start.
    pub fn at_us(&self) -> u64 {
        self.at_us
    }

    /// It will be mailed so many times. To be said before the first mail goes out.
    pub fn expect_rounds(&self, mails: u32) {
        self.rounds_left.store(mails, Relaxed);
    }

    /// One of its mails has been offered to all whom it concerns, or concerned nobody. Whether it was the
    /// last.
    pub fn finish_round(&self) -> bool {
        self.rounds_left.fetch_sub(1, Relaxed) == 1
    }
}

impl Drop for SharedFrame {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.frame.memory_bytes(), Relaxed);
    }
}

impl Deref for SharedFrame {
    type Target = Frame;
    fn deref(&self) -> &Frame {
        &self.frame
    }
}

/// The kept frames of one topic, ids strictly increasing.
#[derive(Debug)]
pub struct TopicLog {
    frames: VecDeque<Arc<SharedFrame>>,
    bytes: usize,
    floor: EventId,
    /// The newest kept id of each key; only where somebody reads by it.
    newest_by_key: Option<HashMap<Box<str>, EventId, SeededHash>>,
}

impl TopicLog {
    /// An empty log in which anything up to `floor` may be missing. With `by_key` it knows the newest frame
    /// of each key.
    pub fn new(floor: EventId, by_key: Option<SeededHash>) -> TopicLog {
        let newest_by_key = by_key.map(HashMap::with_hasher);
        TopicLog { frames: VecDeque::new(), bytes: 0, floor, newest_by_key }
    }

    /// Adds the newest frame.
    pub fn append(&mut self, frame: Arc<SharedFrame>) {
        assert!(frame.id() > self.floor, "ids rise");
        assert!(self.frames.back().is_none_or(|newest| newest.id() < frame.id()), "ids rise");
        self.bytes += frame.memory_bytes();
        if let (Some(newest), Some(key)) = (&mut self.newest_by_key, frame.key()) {
            newest.insert(key.into(), frame.id());
        }
        self.frames.push_back(frame);
    }

    /// Drops the oldest frame and raises the floor to it. Returns its memory in bytes.
    pub fn evict_oldest(&mut self) -> Option<usize> {
        let frame = self.frames.pop_front()?;
        self.floor = frame.id();
        let freed = frame.memory_bytes();
        self.bytes -= freed;
        if let (Some(newest), Some(key)) = (&mut self.newest_by_key, frame.key())
            && newest.get(key) == Some(&frame.id())
        {
            newest.remove(key);
        }
        if self.frames.len() < self.frames.capacity() / 8 {
            self.frames.shrink_to(self.frames.len() * 2);
        }
        Some(freed)
    }

    /// The newest kept frame with the same key, if it is newer.
    pub fn superseder(&self, frame: &Frame) -> Option<&Arc<SharedFrame>> {
        let id = *self.newest_by_key.as_ref().zip(frame.key()).and_then(|(newest, key)| newest.get(key))?;
        let found = self.frames.binary_search_by_key(&id, |frame| frame.id()).ok()?;
        Some(&self.frames[found]).filter(|newest| newest.id() > frame.id())
    }

    /// The id up to which something may be missing: a position at or above it has missed nothing.
    pub fn floor(&self) -> EventId {
        self.floor
    }

    /// The oldest kept id.
    pub fn oldest(&self) -> Option<EventId> {
        self.frames.front().map(|frame| frame.id())
    }

    /// Whether the frame with this id is kept.
    pub fn keeps(&self, id: EventId) -> bool {
        self.frames.binary_search_by_key(&id, |frame| frame.id()).is_ok()
    }

    /// Frames kept.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many frames are newer than `position`.
    pub fn count_after(&self, position: EventId) -> usize {
        self.frames.len() - first_after(&self.frames, position)
    }

    /// The newest kept id.
    pub fn newest(&self) -> Option<EventId> {
        self.frames.back().map(|frame| frame.id())
    }

    /// The frames newer than `position`, oldest first.
    pub fn after(&self, position: EventId) -> impl DoubleEndedIterator<Item = &Arc<SharedFrame>> + Clone {
        self.frames.range(first_after(&self.frames, position)..)
    }
}

/// Index of the first frame newer than `position`.
pub fn first_after(frames: &VecDeque<Arc<SharedFrame>>, position: EventId) -> usize {
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
        let mut log = TopicLog::new(EventId::at_ms(10), None);
        let ids: Vec<EventId> = (11..15).map(EventId::at_ms).collect();
        for &id in &ids {
            log.append(SharedFrame::new(Draft::new(None, None, "x", None).seal(id), &meter, 0));
        }
        assert_eq!(log.after(ids[1]).map(|frame| frame.id()).collect::<Vec<_>>(), ids[2..]);
        assert_eq!(log.after(EventId::ZERO).count(), 4);
        log.evict_oldest();
        assert_eq!((log.floor(), log.oldest()), (ids[0], Some(ids[1])));
        while log.evict_oldest().is_some() {}
        assert_eq!((log.bytes(), meter.bytes(), log.floor()), (0, 0, ids[3]));
    }
}
