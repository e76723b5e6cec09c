//! An event that logs, mailboxes and connections share, with its topics, and the meter of all that are alive.
//!
//! Knows neither what keeps it nor what sends it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::base::id::EventId;
use crate::wire::frame::Frame;

/// Bytes of all frames that are alive anywhere: in logs, mailboxes and half-sent to somebody.
#[derive(Debug, Default)]
pub(crate) struct FrameMeter {
    bytes: AtomicUsize,
    list_bytes: AtomicUsize,
}

impl FrameMeter {
    /// The bytes now, without those of lists.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Bytes of the lists of topics that frames have.
    pub(crate) fn list_bytes(&self) -> usize {
        self.list_bytes.load(Relaxed)
    }
}

/// A topic at one time: its index in the hub and the number of its incarnation, which tells it from a later
/// topic at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TopicRef {
    /// The hub's index.
    pub(crate) index: u32,
    /// Counts the topics that the hub has made; wraps.
    pub(crate) incarnation: u32,
}

/// Bit of an index that tells a pattern from a topic.
pub(crate) const PATTERN_BIT: u32 = 1 << 31;

/// Whether an index is that of a pattern, and not of a topic.
pub(crate) fn is_pattern(index: u32) -> bool {
    index & PATTERN_BIT != 0
}

/// A list of topics, and of patterns behind them, that events share, as publishers name the same ones again
/// and again. Its memory is
/// counted as long as an event has it.
#[derive(Debug)]
pub(crate) struct TopicList {
    refs: Box<[TopicRef]>,
    /// Those of them that are topics: the first.
    topics: usize,
    meter: Arc<FrameMeter>,
}

impl TopicList {
    /// Counts a list in `meter`.
    pub(crate) fn new(refs: &[TopicRef], meter: &Arc<FrameMeter>) -> TopicList {
        let topics = refs.iter().take_while(|channel| !is_pattern(channel.index)).count();
        let list = TopicList { refs: refs.into(), topics, meter: Arc::clone(meter) };
        meter.list_bytes.fetch_add(list.memory_bytes(), Relaxed);
        list
    }

    /// Its topics.
    pub(crate) fn refs(&self) -> &[TopicRef] {
        &self.refs
    }

    fn memory_bytes(&self) -> usize {
        TOPIC_LIST_BYTES + size_of_val(&*self.refs)
    }
}

impl Drop for TopicList {
    fn drop(&mut self) {
        self.meter.list_bytes.fetch_sub(self.memory_bytes(), Relaxed);
    }
}

/// Bytes of memory that a list takes beside its topics, the allocator's part included.
const TOPIC_LIST_BYTES: usize = 80;

/// The topics of one event, distinct. One needs no memory of its own.
#[derive(Debug)]
pub(crate) enum Topics {
    /// The usual case.
    One(TopicRef),
    /// Several.
    Many(Arc<TopicList>),
    /// None, for events that only tests look at.
    #[cfg(test)]
    None,
}

impl Topics {
    /// No topic, for events that only tests look at.
    #[cfg(test)]
    pub(crate) fn none() -> Topics {
        Topics::None
    }

    /// Returns them in the order in which the publisher named them.
    pub(crate) fn as_slice(&self) -> &[TopicRef] {
        match self {
            Topics::One(only) => std::slice::from_ref(only),
            Topics::Many(several) => &several.refs()[..several.topics],
            #[cfg(test)]
            Topics::None => &[],
        }
    }

    /// Returns the topics, and behind them the patterns that match some of them.
    pub(crate) fn with_patterns(&self) -> &[TopicRef] {
        match self {
            Topics::One(only) => std::slice::from_ref(only),
            Topics::Many(several) => several.refs(),
            #[cfg(test)]
            Topics::None => &[],
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

/// Bytes that each further topic of an event takes: its place in that topic's log, which grows by a quarter.
/// The list of the topics is counted by itself.
const TOPIC_BYTES: usize = size_of::<u32>() + size_of::<u32>() / 4;

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
        meter.bytes.fetch_add(kept.memory_bytes(), Relaxed);
        Arc::new(kept)
    }

    /// Counts a frame that stands for this event and newer ones. It is as old, and its life ends at
    /// `ends_ms`, monotonic milliseconds.
    pub(crate) fn stand_in(&self, frame: Frame, ends_ms: Option<u64>) -> Arc<SharedFrame> {
        let life_ms = |ends_ms: u64| ends_ms.saturating_sub(self.at_us() / 1_000) as u32;
        let frame = frame.with_life_ms(ends_ms.map(life_ms));
        SharedFrame::new(frame, &self.meter, self.at_us, Topics::One(self.topics()[0]), self.sequence)
    }

    /// Bytes of memory that an event of these topics takes beyond its frame.
    pub(crate) fn topics_bytes(topics: usize) -> usize {
        topics.saturating_sub(1) * TOPIC_BYTES
    }

    /// Bytes of memory that it takes, once for all of its topics.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.frame.memory_bytes() + SharedFrame::topics_bytes(self.topics().len())
    }

    /// Its topics, and the patterns that streams listened to and that matched one of them when it was
    /// published.
    pub(crate) fn channels(&self) -> &[TopicRef] {
        self.topics.with_patterns()
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

    /// Moment at which its life ends, monotonic milliseconds; none if it has no end.
    pub(crate) fn ends_ms(&self) -> Option<u64> {
        let life_ms = self.frame.life_ms()?;
        Some(self.at_us.div_euclid(1_000).saturating_add(life_ms.into()).max(0) as u64)
    }

    /// Whether its life is over: nobody gets it any more.
    pub(crate) fn is_past(&self, mono_ms: u64) -> bool {
        self.ends_ms().is_some_and(|ends_ms| ends_ms <= mono_ms)
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
        self.meter.bytes.fetch_sub(self.memory_bytes(), Relaxed);
    }
}

impl Deref for SharedFrame {
    type Target = Frame;
    fn deref(&self) -> &Frame {
        &self.frame
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
    fn a_list_of_topics_counts_while_an_event_has_it() {
        let meter = Arc::new(FrameMeter::default());
        let refs: Vec<TopicRef> = (0..3).map(|index| TopicRef { index, incarnation: 1 }).collect();
        let list = Arc::new(TopicList::new(&refs, &meter));
        let events: Vec<_> = (1..3)
            .map(|ms| {
                let frame = Draft::new(None, None, "x", None).seal(EventId::at_ms(ms));
                SharedFrame::new(frame, &meter, 0, Topics::Many(Arc::clone(&list)), ms)
            })
            .collect();
        drop(list);
        assert_eq!(meter.list_bytes(), TOPIC_LIST_BYTES + 24);
        drop(events);
        assert_eq!((meter.list_bytes(), meter.bytes()), (0, 0));
    }
}
