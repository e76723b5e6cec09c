//! One batch of sends: what is offered to whom, and what came of it.
//!
//! Frames and bytes are borrowed while the kernel reads them; what must be remembered of a result is an
//! [`Outcome`] that borrows nothing. Knows sizes and ids, not connections.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::delivery_age::Ages;
use super::seam::{Io, Send, Sent};
use super::topic_log::Kept;
use crate::base::histogram::AtomicHistogram;
use crate::base::id::EventId;
use crate::base::limits::{BATCH_BYTES_MAX, BATCH_SENDS_MAX};

/// A batch that is being put together.
#[derive(Default)]
pub struct Batch<'a> {
    slices: Vec<IoSlice<'a>>,
    /// For each slice the frame it is, or none for bytes of the connection's own.
    frames: Vec<Option<&'a Arc<Kept>>>,
    picks: Vec<Pick>,
    bytes: usize,
}

/// One send of the batch.
#[derive(Clone, Debug)]
pub struct Pick {
    /// The connection.
    pub slot: u32,
    /// Its slices, own bytes first.
    pub parts: Range<usize>,
    /// Bytes in all slices.
    pub bytes: usize,
    /// Bytes of its own in front of the frames.
    pub own: usize,
    /// The position that it has reached when everything was taken.
    pub upto: EventId,
    /// Nothing newer waited for it when the batch was put together that rounds would not offer it.
    pub caught_up: bool,
    /// What it holds is history to the connection: its age tells nothing of the server.
    pub replays: bool,
}

/// What came of one send.
#[derive(Debug)]
pub struct Outcome {
    /// The connection.
    pub slot: u32,
    /// What the kernel said.
    pub result: Sent,
    /// Everything was taken.
    pub whole: bool,
    /// Bytes taken of its own.
    pub own_taken: usize,
    /// Frames taken whole.
    pub delivered: u64,
    /// The position reached by the frames taken; none when no frame was begun and not everything was taken.
    pub position: Option<EventId>,
    /// A frame of which part was taken, and how much.
    pub half: Option<(Arc<Kept>, usize)>,
    /// See [`Pick::caught_up`].
    pub caught_up: bool,
}

impl<'a> Batch<'a> {
    /// Whether another send may be added.
    pub fn has_room(&self) -> bool {
        self.picks.len() < BATCH_SENDS_MAX && self.bytes < BATCH_BYTES_MAX
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// Adds frames that several sends may share. Returns their slices.
    pub fn add_frames(&mut self, frames: impl Iterator<Item = &'a Arc<Kept>>, chunked: bool) -> Range<usize> {
        let start = self.slices.len();
        for frame in frames {
            self.slices.push(IoSlice::new(frame.form(chunked)));
            self.frames.push(Some(frame));
        }
        start..self.slices.len()
    }

    /// Adds bytes of a connection's own. Returns how many.
    pub fn add_own(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut bytes = 0;
        for part in parts {
            bytes += part.len();
            self.slices.push(IoSlice::new(part));
            self.frames.push(None);
        }
        bytes
    }

    /// Where the next slice goes.
    pub fn cursor(&self) -> usize {
        self.slices.len()
    }

    /// Bytes in some slices.
    pub fn bytes_of(&self, parts: Range<usize>) -> usize {
        self.slices[parts].iter().map(|slice| slice.len()).sum()
    }

    /// The id of the frame in a slice.
    pub fn frame_id(&self, part: usize) -> Option<EventId> {
        self.frames[part].map(|frame| frame.id())
    }

    /// Adds a send; it must have a part.
    pub fn add(&mut self, pick: Pick) {
        debug_assert!(!pick.parts.is_empty() && pick.own <= pick.bytes, "a send offers something");
        self.bytes += pick.bytes;
        self.picks.push(pick);
    }

    /// Offers the batch to the kernel, and counts into `ages` how old each event was that it took whole.
    pub fn send(self, io: &mut impl Io, ages: &AtomicHistogram) -> Vec<Outcome> {
        let offer = |pick: &Pick| Send {
            slot: pick.slot,
            parts: &self.slices[pick.parts.clone()],
            result: Sent::Full,
        };
        let mut sends: Vec<Send<'_>> = self.picks.iter().map(offer).collect();
        io.send_all(&mut sends);
        let mut ages = Ages::new(ages, io.mono_us());
        let outcome = |(pick, send): (&Pick, &Send<'_>)| self.outcome(pick, send.result, &mut ages);
        let outcomes = self.picks.iter().zip(&sends).map(outcome).collect();
        self.count_whole(&sends, &mut ages);
        outcomes
    }

    /// Counts the frames of sends that were taken whole; those who share their slices are counted together.
    fn count_whole(&self, sends: &[Send<'_>], ages: &mut Ages<'_>) {
        let whole =
            |(pick, send): &(&Pick, &Send<'_>)| !pick.replays && send.result == Sent::Bytes(pick.bytes);
        let (mut parts, mut count) = (0..0, 0);
        let mut flush = |parts: Range<usize>, count| {
            self.frames[parts].iter().flatten().for_each(|frame| ages.add(frame.at_us(), count));
        };
        for (pick, _) in self.picks.iter().zip(sends).filter(whole) {
            if pick.parts != parts {
                flush(std::mem::replace(&mut parts, pick.parts.clone()), count);
                count = 0;
            }
            count += 1;
        }
        flush(parts, count);
    }

    fn outcome(&self, pick: &Pick, result: Sent, ages: &mut Ages<'_>) -> Outcome {
        let taken = match result {
            Sent::Bytes(taken) => taken,
            Sent::Full | Sent::Broken => 0,
        };
        assert!(taken <= pick.bytes, "the kernel cannot take more than was offered");
        let mut outcome = Outcome {
            slot: pick.slot,
            result,
            whole: taken == pick.bytes,
            own_taken: taken.min(pick.own),
            delivered: 0,
            position: None,
            half: None,
            caught_up: pick.caught_up,
        };
        if outcome.whole {
            let whole = self.frames[pick.parts.clone()].iter().filter(|frame| frame.is_some()).count();
            outcome.delivered = whole as u64;
            outcome.position = Some(pick.upto);
        } else if taken > pick.own {
            self.walk(pick, taken - pick.own, &mut outcome, ages);
        }
        outcome
    }

    /// Finds which frames a partial send has taken.
    fn walk(&self, pick: &Pick, mut taken: usize, outcome: &mut Outcome, ages: &mut Ages<'_>) {
        for part in pick.parts.clone() {
            let (Some(frame), len) = (self.frames[part], self.slices[part].len()) else { continue };
            if taken == 0 {
                break;
            }
            outcome.position = Some(frame.id());
            if taken < len {
                outcome.half = Some((Arc::clone(frame), taken));
                break;
            }
            outcome.delivered += 1;
            if !pick.replays {
                ages.add(frame.at_us(), 1);
            }
            taken -= len;
        }
    }
}
