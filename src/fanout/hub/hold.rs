//! The hub's lock with the time for which it is held: publishers and subscribers wait for that.
//!
//! Owns the guard and the histogram. The clock is lent by the driver; without one nothing is measured.

use std::ops::{Deref, DerefMut};
use std::sync::{MutexGuard, OnceLock};

use super::HubState;
use crate::base::histogram::{AtomicHistogram, Distribution, HistogramScale};

/// Returns microseconds of a monotonic clock.
pub type HoldClock = fn() -> u64;

/// Distribution of the times for which the lock was held.
#[derive(Debug)]
pub(super) struct HoldMeter {
    clock: OnceLock<HoldClock>,
    /// Written by holders of the lock only, so that there is one writer at a time.
    holds_us: AtomicHistogram,
}

impl HoldMeter {
    /// A meter without a clock.
    pub(super) fn new() -> HoldMeter {
        HoldMeter { clock: OnceLock::new(), holds_us: AtomicHistogram::new(HistogramScale::Spans) }
    }

    /// Measures by `clock` from now on. A second clock changes nothing.
    pub(super) fn start(&self, clock: HoldClock) {
        let _ = self.clock.set(clock);
    }

    /// Returns the histogram, for readers.
    pub(super) fn holds_us(&self) -> &AtomicHistogram {
        &self.holds_us
    }

    /// Returns all holds so far.
    pub(super) fn distribution(&self) -> Distribution {
        let mut sum = Distribution::default();
        self.holds_us.add_to(&mut sum);
        sum
    }
}

/// Access to everything under the hub's lock, until it is dropped.
#[derive(Debug)]
pub struct HubGuard<'a> {
    state: MutexGuard<'a, HubState>,
    /// Start of the hold, and the clock that told it.
    began: Option<(HoldClock, u64)>,
    meter: &'a HoldMeter,
}

impl<'a> HubGuard<'a> {
    /// Begins to measure a hold of the lock that was just taken.
    pub(super) fn new(state: MutexGuard<'a, HubState>, meter: &'a HoldMeter) -> HubGuard<'a> {
        let began = meter.clock.get().map(|&clock| (clock, clock()));
        HubGuard { state, began, meter }
    }
}

impl Drop for HubGuard<'_> {
    // The lock itself is released after this, with the field.
    fn drop(&mut self) {
        if let Some((clock, began_us)) = self.began {
            self.meter.holds_us.add(clock().saturating_sub(began_us), 1);
        }
    }
}

impl Deref for HubGuard<'_> {
    type Target = HubState;
    fn deref(&self) -> &HubState {
        &self.state
    }
}

impl DerefMut for HubGuard<'_> {
    fn deref_mut(&mut self) -> &mut HubState {
        &mut self.state
    }
}
