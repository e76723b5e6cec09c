//! State that the threads of a run share: the clock's start, events on their way, and each receiver's counts.
//! Plain atomics; no thread holds up another.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mio::Waker;

use crate::load::in_flight::EventsInFlight;

/// The counts of one receiver, written by it alone.
#[derive(Default)]
pub(crate) struct ReceiverCounts {
    /// Streams that are open now.
    pub(crate) open: AtomicU64,
    /// Events received so far, those left out for newer ones included.
    pub(crate) deliveries: AtomicU64,
    /// Returned subscribers that have all they missed.
    pub(crate) caught_up: AtomicU64,
}

/// State that all threads of a run share.
pub(crate) struct RunState {
    start: Instant,
    /// Shared by the publisher, which adds, and the receivers, which take away.
    pub(crate) in_flight: EventsInFlight,
    /// The counts of each receiver.
    pub(crate) receiver_counts: Vec<ReceiverCounts>,
    /// Why the first subscribers cannot be opened, when another try would fail as well.
    pub(crate) opening_fault: OnceLock<String>,
    publisher_sleeps: AtomicBool,
    publisher: Waker,
    /// Whether the run was interrupted.
    pub(crate) stop: Arc<AtomicBool>,
}

impl RunState {
    /// Makes the state for so many receivers and the publisher behind the waker `publisher`.
    pub(crate) fn new(receivers: usize, publisher: Waker, stop: Arc<AtomicBool>) -> RunState {
        RunState {
            start: Instant::now(),
            in_flight: EventsInFlight::new(),
            receiver_counts: (0..receivers).map(|_| ReceiverCounts::default()).collect(),
            opening_fault: OnceLock::new(),
            publisher_sleeps: AtomicBool::new(false),
            publisher,
            stop,
        }
    }

    /// Returns the nanoseconds since the run began.
    pub(crate) fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Sums one count over all receivers.
    pub(crate) fn sum(&self, count: impl Fn(&ReceiverCounts) -> &AtomicU64) -> u64 {
        self.receiver_counts.iter().map(|cell| count(cell).load(Relaxed)).sum()
    }

    /// Whether the run was interrupted.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Announces that the publisher is about to wait; it checks once more after that.
    pub(crate) fn set_publisher_sleeps(&self, sleeps: bool) {
        self.publisher_sleeps.store(sleeps, SeqCst);
    }

    /// Wakes the publisher if it waits for completed events.
    pub(crate) fn wake_sleeping_publisher(&self) {
        if self.publisher_sleeps.swap(false, SeqCst) {
            // It looks again by itself after a while, so a lost wake-up costs time only.
            let _ = self.publisher.wake();
        }
    }

    /// Wakes the publisher for an order.
    pub(crate) fn wake_publisher(&self) {
        let _ = self.publisher.wake();
    }
}
