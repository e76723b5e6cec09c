//! The rate at which a worker takes beacons of pages. Knows nothing of their contents.

use crate::base::limits::BEACONS_PER_SECOND_MAX;

/// Beacons that a worker took in the current second.
#[derive(Debug, Default)]
pub(super) struct BeaconRate {
    second: u64,
    taken: u32,
}

impl BeaconRate {
    /// Takes one more; false when the second has had its share.
    pub(super) fn try_take(&mut self, now_ms: u64) -> bool {
        let second = now_ms / 1_000;
        if self.second != second {
            *self = BeaconRate { second, taken: 0 };
        }
        let has_room = self.taken < BEACONS_PER_SECOND_MAX;
        self.taken += u32::from(has_room);
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_share_of_beacons() {
        let mut rate = BeaconRate::default();
        for (now_ms, expected) in [(999, BEACONS_PER_SECOND_MAX), (1_000, BEACONS_PER_SECOND_MAX), (1_999, 0)]
        {
            let taken = (0..2 * BEACONS_PER_SECOND_MAX).filter(|_| rate.try_take(now_ms)).count();
            assert_eq!(taken, expected as usize, "at {now_ms}");
        }
    }
}
