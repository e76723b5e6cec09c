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
//! position keeps it from getting them twice. Knows no subscriber and no frame.

use std::collections::BTreeSet;

use crate::base::limits::{WAITING_BYTES_MAX, WAITING_EVENTS_MAX};

/// Window of the topics of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowRules {
    /// Milliseconds from the first event that waits to the end.
    pub(crate) ms: u64,
    /// Events that end it early.
    pub(crate) events_max: usize,
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
}

impl TopicWindow {
    /// A window in which nothing waits.
    pub(crate) fn new(rules: WindowRules) -> TopicWindow {
        TopicWindow { rules, ends_ms: None, waiting: EventSum::default() }
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
}

impl OpenWindows {
    /// Adds events to those that wait in a topic's window; opens it, up to `ends_ms`, if none waited so far.
    pub(crate) fn add(&mut self, topic: u32, window: &mut TopicWindow, ends_ms: u64, more: EventSum) {
        if window.ends_ms.is_none() {
            window.ends_ms = Some(ends_ms);
            self.ends.insert((ends_ms, topic));
        }
        for sum in [&mut window.waiting, &mut self.waiting] {
            sum.events += more.events;
            sum.bytes += more.bytes;
        }
    }

    /// Ends a topic's window. Returns the number of events that waited in it.
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

    /// Counts a window that has ended with a round of so many events.
    pub(crate) fn count_end(&mut self, events: usize) {
        self.ended.windows += 1;
        self.ended.events += events as u64;
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
