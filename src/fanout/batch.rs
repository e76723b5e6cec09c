//! One batch of sends: what is offered to whom, and what came of it.
//!
//! Frames and bytes are borrowed while the kernel reads them; what must be remembered of a result is an
//! [`SendOutcome`] that borrows nothing. Knows sizes and ids, not connections.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::delivery_age::DeliveryAges;
use super::seam::{Io, SendOp, SendResult};
use super::topic_log::SharedFrame;
use crate::base::histogram::AtomicHistogram;
use crate::base::id::EventId;
use crate::base::limits::{BATCH_BYTES_MAX, BATCH_SENDS_MAX};

/// A batch that is being put together.
#[derive(Default)]
pub struct SendBatch<'a> {
    slices: Vec<IoSlice<'a>>,
    /// For each slice the frame it is, or none for bytes of the connection's own.
    frames: Vec<Option<&'a Arc<SharedFrame>>>,
    planned: Vec<PlannedSend>,
    bytes: usize,
}

/// One send of the batch.
#[derive(Clone, Debug)]
pub struct PlannedSend {
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
    pub replaying: bool,
}

/// What came of one send.
#[derive(Debug)]
pub struct SendOutcome {
    /// The connection.
    pub slot: u32,
    /// What the kernel said.
    pub result: SendResult,
    /// Everything was taken.
    pub whole: bool,
    /// Bytes taken of its own.
    pub own_taken: usize,
    /// Frames taken whole.
    pub delivered: u64,
    /// The position reached by the frames taken; none when no frame was begun and not everything was taken.
    pub position: Option<EventId>,
    /// A frame of which part was taken, and how much.
    pub half: Option<(Arc<SharedFrame>, usize)>,
    /// See [`PlannedSend::caught_up`].
    pub caught_up: bool,
}

impl<'a> SendBatch<'a> {
    /// Whether another send may be added.
    pub fn has_room(&self) -> bool {
        self.planned.len() < BATCH_SENDS_MAX && self.bytes < BATCH_BYTES_MAX
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// Adds frames that several sends may share. Returns their slices.
    pub fn add_frames(
        &mut self,
        frames: impl Iterator<Item = &'a Arc<SharedFrame>>,
        chunked: bool,
    ) -> Range<usize> {
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
    pub fn add(&mut self, planned_send: PlannedSend) {
        debug_assert!(
            !planned_send.parts.is_empty() && planned_send.own <= planned_send.bytes,
            "a send offers something"
        );
        self.bytes += planned_send.bytes;
        self.planned.push(planned_send);
    }

    /// Offers the batch to the kernel, and counts into `ages` how old each event was that it took whole.
    pub fn send(self, io: &mut impl Io, ages: &AtomicHistogram) -> Vec<SendOutcome> {
        let offer = |planned_send: &PlannedSend| SendOp {
            slot: planned_send.slot,
            parts: &self.slices[planned_send.parts.clone()],
            result: SendResult::Full,
        };
        let mut sends: Vec<SendOp<'_>> = self.planned.iter().map(offer).collect();
        io.send_all(&mut sends);
        let mut ages = DeliveryAges::new(ages, io.mono_us());
        let outcome = |(planned_send, send): (&PlannedSend, &SendOp<'_>)| {
            self.outcome_of(planned_send, send.result, &mut ages)
        };
        let outcomes = self.planned.iter().zip(&sends).map(outcome).collect();
        self.count_whole(&sends, &mut ages);
        outcomes
    }

    /// Counts the frames of sends that were taken whole; those who share their slices are counted together.
    fn count_whole(&self, sends: &[SendOp<'_>], ages: &mut DeliveryAges<'_>) {
        let whole = |(planned_send, send): &(&PlannedSend, &SendOp<'_>)| {
            !planned_send.replaying && send.result == SendResult::Bytes(planned_send.bytes)
        };
        let (mut parts, mut count) = (0..0, 0);
        let mut flush = |parts: Range<usize>, count| {
            self.frames[parts].iter().flatten().for_each(|frame| ages.add(frame.at_us(), count));
        };
        for (planned_send, _) in self.planned.iter().zip(sends).filter(whole) {
            if planned_send.parts != parts {
                flush(std::mem::replace(&mut parts, planned_send.parts.clone()), count);
                count = 0;
            }
            count += 1;
        }
        flush(parts, count);
    }

    fn outcome_of(
        &self,
        planned_send: &PlannedSend,
        result: SendResult,
        ages: &mut DeliveryAges<'_>,
    ) -> SendOutcome {
        let taken = match result {
            SendResult::Bytes(taken) => taken,
            SendResult::Full | SendResult::Broken => 0,
        };
        assert!(taken <= planned_send.bytes, "the kernel cannot take more than was offered");
        let mut outcome = SendOutcome {
            slot: planned_send.slot,
            result,
            whole: taken == planned_send.bytes,
            own_taken: taken.min(planned_send.own),
            delivered: 0,
            position: None,
            half: None,
            caught_up: planned_send.caught_up,
        };
        if outcome.whole {
            let whole =
                self.frames[planned_send.parts.clone()].iter().filter(|frame| frame.is_some()).count();
            outcome.delivered = whole as u64;
            outcome.position = Some(planned_send.upto);
        } else if taken > planned_send.own {
            self.apply_partial_send(planned_send, taken - planned_send.own, &mut outcome, ages);
        }
        outcome
    }

    /// Finds which frames a partial send has taken.
    fn apply_partial_send(
        &self,
        planned_send: &PlannedSend,
        mut taken: usize,
        outcome: &mut SendOutcome,
        ages: &mut DeliveryAges<'_>,
    ) {
        for part in planned_send.parts.clone() {
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
            if !planned_send.replaying {
                ages.add(frame.at_us(), 1);
            }
            taken -= len;
        }
    }
}
