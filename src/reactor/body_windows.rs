//! Which connections of a worker have a receive window for a publish body, and which one gives its own up.
//!
//! Knows slots and their order, neither sockets nor bodies.

use std::collections::VecDeque;

/// Connections of one worker with such a window at once: 10 MiB of kernel memory when none of them is read.
/// The one that got it first loses it to the next.
const BODY_WINDOWS_MAX: usize = 16;

/// Slots with a window for bodies, the one that has had it longest first. A connection keeps it from body to
/// body until it closes: a publisher sends many.
#[derive(Debug, Default)]
pub(crate) struct BodyWindows(VecDeque<u32>);

impl BodyWindows {
    /// Adds a slot; false if it is here already.
    pub(crate) fn add(&mut self, slot: u32) -> bool {
        let is_new = !self.0.contains(&slot);
        if is_new {
            self.0.push_back(slot);
        }
        is_new
    }

    /// Takes out the slot that is one too many, if there is one.
    pub(crate) fn take_surplus(&mut self) -> Option<u32> {
        if self.0.len() > BODY_WINDOWS_MAX { self.0.pop_front() } else { None }
    }

    /// Forgets a slot that has closed.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.0.retain(|&held| held != slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_a_closed_slot_makes_room() {
        let mut windows = BodyWindows::default();
        for slot in 0..BODY_WINDOWS_MAX as u32 {
            assert!(windows.add(slot) && !windows.add(slot));
            assert_eq!(windows.take_surplus(), None);
        }
        windows.remove(0);
        assert!(windows.add(1_000));
        assert_eq!(windows.take_surplus(), None);
        assert!(windows.add(1_001));
        assert_eq!((windows.take_surplus(), windows.take_surplus()), (Some(1), None));
        assert!(windows.add(1), "its window is small again");
    }
}
