//! Windows: the time for which events of a topic wait for one another, so that they leave in one send.
//!
//! ```text
//!          an event                         its end, `batch_events`, or too much waits
//! (none) ───────────► open, events wait ──────────────────────────────────────► a round offers them
//!                          ▲            more came meanwhile                       │
//!                          └──────────────────────────────────────────────────────┘
//! ```
//!
//! Events wait on the worker, in the list of fresh frames of their topic, so a window costs nothing for each
//! subscriber. The hub has kept and ordered them before: who reads the log gets them earlier, and its
//! position keeps it from getting them twice.
//!
//! A round offers what an ended window has let go, and nothing that comes meanwhile. A window that throttles
//! keeps the newest event of each key, and ends a whole length after the one before. Knows no subscriber.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::conflation::NewestByKey;
use super::hash::SeededHash;
use super::shared_frame::SharedFrame;
use crate::base::limits::{ARRAY_BYTES_MAX, SEND_FRAMES_MAX, WAITING_BYTES_MAX, WAITING_EVENTS_MAX};
use crate::base::settings::BatchForm;
use crate::wire::event_array::array_of;

/// Window of the topics of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowRules {
    /// Milliseconds from the first event that waits to the end.
    pub(crate) ms: u64,
    /// Events that end it early.
    pub(crate) events_max: usize,
    /// Which of the events leave at its end.
    pub(crate) content: WindowContent,
    /// How live streams of the topic alone get them.
    pub(crate) form: BatchForm,
}

/// Events that leave at the end of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowContent {
    /// All.
    All,
    /// The newest of each key and name, and all without a key.
    Newest,
}

/// Window of one topic.
#[derive(Debug)]
pub(crate) struct TopicWindow {
    /// Its length.
    pub(crate) rules: WindowRules,
    /// Moment of its end, monotonic milliseconds, while events wait.
    pub(crate) ends_ms: Option<u64>,
    /// Events that wait.
    pub(crate) waiting: EventSum,
    /// Events that an ended window has let go and that no round has offered to all.
    pub(crate) released: usize,
    /// Moment of its last end.
    ended_ms: u64,
    newest: NewestByKey,
    /// The events of the running round as one, where the class wants that.
    pub(crate) array: Option<Arc<SharedFrame>>,
}

impl TopicWindow {
    /// A window in which nothing waits.
    pub(crate) fn new(rules: WindowRules) -> TopicWindow {
        let (waiting, newest) = (EventSum::default(), NewestByKey::default());
        TopicWindow { rules, ends_ms: None, waiting, released: 0, ended_ms: 0, newest, array: None }
    }

    /// Returns the place in `fresh` of the event that gives way to a new one, if one does.
    pub(crate) fn superseded_by(
        &mut self,
        hash: &SeededHash,
        event: &SharedFrame,
        fresh: &VecDeque<Arc<SharedFrame>>,
    ) -> Option<usize> {
        match self.rules.content {
            WindowContent::All => None,
            WindowContent::Newest => self.newest.note(hash, event, fresh),
        }
    }

    /// Returns the number of events of the next round, of those released, and makes those of them that live
    /// at `now_ms` one if need be.
    pub(crate) fn begin_round(&mut self, fresh: &VecDeque<Arc<SharedFrame>>, now_ms: u64) -> usize {
        let most = self.released.min(SEND_FRAMES_MAX);
        let BatchForm::Array = self.rules.form else { return most };
        let mut bytes = 0;
        let fits = |frame: &&Arc<SharedFrame>| {
            bytes += frame.memory_bytes();
            bytes <= ARRAY_BYTES_MAX
        };
        let frames = fresh.iter().take(most).take_while(fits).count().max(1);
        let living = || fresh.range(..frames).filter(move |frame| !frame.is_past(now_ms));
        let ends_ms = living().filter_map(|frame| frame.ends_ms()).min();
        let array = || fresh[0].stand_in(array_of(living().map(|frame| &***frame)), ends_ms);
        self.array = living().next().map(|_| array());
        frames
    }

    /// Moment in which it ends, if its first event came at `since_ms`.
    fn end_after(&self, since_ms: u64) -> u64 {
        match self.rules.content {
            WindowContent::All => since_ms + self.rules.ms,
            WindowContent::Newest => since_ms.max(self.ended_ms).saturating_add(self.rules.ms),
        }
    }
}

/// A number of events, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventSum {
    /// Their number.
    pub(crate) events: usize,
    /// Their bytes of memory.
    pub(crate) bytes: usize,
}

impl EventSum {
    /// The sum of these events.
    pub(crate) fn of<'a>(frames: impl Iterator<Item = &'a Arc<SharedFrame>>) -> EventSum {
        frames.fold(EventSum::default(), |sum, frame| EventSum {
            events: sum.events + 1,
            bytes: sum.bytes + frame.memory_bytes(),
        })
    }
}

/// All windows of a worker in which events wait, by their ends, and what waits in them together.
#[derive(Debug, Default)]
pub(crate) struct OpenWindows {
    ends: BTreeSet<(u64, u32)>,
    waiting: EventSum,
    ended: EndedWindows,
}

/// Windows that have ended with a round of their events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedWindows {
    /// Their number.
    pub(crate) windows: u64,
    /// Those of them that ended early because too much waited.
    pub(crate) cut: u64,
    /// Events that they offered.
    pub(crate) events: u64,
    /// Events that they left out for newer ones.
    pub(crate) superseded: u64,
}

impl OpenWindows {
    /// Adds events to those that wait in a topic's window; opens it if none waited so far, of which the first
    /// came at `since_ms`.
    pub(crate) fn add(&mut self, topic: u32, window: &mut TopicWindow, since_ms: u64, more: EventSum) {
        if window.ends_ms.is_none() {
            let ends_ms = window.end_after(since_ms);
            window.ends_ms = Some(ends_ms);
            self.ends.insert((ends_ms, topic));
        }
        for sum in [&mut window.waiting, &mut self.waiting] {
            sum.events += more.events;
            sum.bytes += more.bytes;
        }
    }

    /// Takes an event back that has given way to a newer one. It waits, or else stands behind a round.
    pub(crate) fn supersede(&mut self, window: &mut TopicWindow, gone: EventSum) {
        self.ended.superseded += gone.events as u64;
        if window.ends_ms.is_some() {
            for sum in [&mut window.waiting, &mut self.waiting] {
                sum.events -= gone.events;
                sum.bytes -= gone.bytes;
            }
        }
    }

    /// Notes the end of a topic's window now, with a round of so many events.
    pub(crate) fn release(&mut self, topic: u32, window: &mut TopicWindow, events: usize, now_ms: u64) {
        self.end(topic, window);
        window.newest.clear();
        (window.released, window.ended_ms) = (events, now_ms);
        self.ended.windows += 1;
        self.ended.events += events as u64;
    }

    /// Closes a topic's window. Returns the number of events that waited in it.
    pub(crate) fn end(&mut self, topic: u32, window: &mut TopicWindow) -> usize {
        let Some(ends_ms) = window.ends_ms.take() else { return 0 };
        let known = self.ends.remove(&(ends_ms, topic));
        debug_assert!(known, "a window in which events wait is listed");
        let EventSum { events, bytes } = std::mem::take(&mut window.waiting);
        self.waiting.events -= events;
        self.waiting.bytes -= bytes;
        events
    }

    /// Topic of the window that is to end now: its moment has come, or too much waits.
    pub(crate) fn next_to_end(&mut self, now_ms: u64) -> Option<u32> {
        let &(ends_ms, topic) = self.ends.first()?;
        let cut = ends_ms > now_ms && self.is_over_budget();
        self.ended.cut += u64::from(cut);
        (cut || ends_ms <= now_ms).then_some(topic)
    }

    /// Returns the windows that have ended since the last call.
    pub(crate) fn take_ended(&mut self) -> EndedWindows {
        std::mem::take(&mut self.ended)
    }

    /// Moment of the first end.
    pub(crate) fn first_end_ms(&self) -> Option<u64> {
        self.ends.first().map(|&(ends_ms, _)| ends_ms)
    }

    fn is_over_budget(&self) -> bool {
        self.waiting.events > WAITING_EVENTS_MAX || self.waiting.bytes > WAITING_BYTES_MAX
    }

    /// Events that wait.
    pub(crate) fn events(&self) -> usize {
        self.waiting.events
    }
}
