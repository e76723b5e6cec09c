//! A loss of history, told to the streams of a worker: some slots in each turn.
//!
//! Each stream is sent to the log, where it finds its gap. A live stream that the walk has not reached would
//! take a later event and never learn of the loss, so the mail waits until the walk is over. Streams that
//! come meanwhile begin behind the loss.

use super::roster::Roster;
use super::topics::LocalTopics;
use crate::base::id::EventId;

/// Slots looked at in one turn, so that subscribers wait for a quarter of a batch.
const LOSS_LOOKS_PER_TURN: u32 = 4_096;

/// A walk over a worker's streams.
#[derive(Debug, Default)]
pub(super) struct LossWalk {
    /// The next slot to look at, while there is a walk.
    next: Option<u32>,
}

impl LossWalk {
    /// Whether slots are left. No mail may be taken then.
    pub(super) fn is_walking(&self) -> bool {
        self.next.is_some()
    }

    /// Begins to tell that everything up to an id is lost.
    pub(super) fn begin_walk(&mut self, topics: &mut LocalTopics, upto: EventId) {
        assert!(!self.is_walking(), "the mail of a loss was taken during a walk");
        topics.note_loss(upto);
        self.next = Some(0);
    }

    /// Has the streams in the next slots read the log.
    pub(super) fn continue_walk(&mut self, roster: &mut Roster) {
        let Some(first) = self.next else { return };
        let all = roster.slots() as u32;
        let end = all.min(first + LOSS_LOOKS_PER_TURN);
        for slot in first..end {
            if let Some(stream) = roster.stream_mut(slot) {
                stream.fall_behind();
                roster.queue_write(slot);
            }
        }
        self.next = (end < all).then_some(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::Settings;
    use crate::fanout::stage_tests::Stage;

    #[test]
    fn a_turn_sends_a_bounded_number_of_streams_to_the_log_and_the_last_turn_all_of_them() {
        let most = LOSS_LOOKS_PER_TURN as usize;
        let mut stage = Stage::with_connections(Settings::default(), 3 * most);
        let streams: Vec<u32> = (0..2 * most + 10).map(|_| stage.subscribe("topic=t")).collect();
        let mut walk = LossWalk::default();
        walk.begin_walk(&mut stage.topics, EventId::at_ms(2_000));
        for told in [most, 2 * most, streams.len()] {
            walk.continue_walk(&mut stage.roster);
            let behind = streams.iter().filter(|slot| !stage.stream(**slot).is_live()).count();
            assert_eq!(behind, told);
        }
        // Slots without an owner are left.
        walk.continue_walk(&mut stage.roster);
        assert!(!walk.is_walking());
    }
}
