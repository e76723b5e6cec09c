//! One batch of sends: the slices offered to each connection, and the outcome of each send.
//!
//! Frames and bytes are borrowed while the kernel reads them. A result is kept as a [`SendOutcome`], which
//! borrows nothing. Knows sizes and ids, not connections.
//!
//! The driver's contract: while `has_room`, add slices (`add_own` first, then `add_frames`) and a
//! [`PlannedSend`] over them; then call `send`, which ends the batch.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::delivery_age::DeliveryAges;
use super::seam::{Io, SendOp, SendResult};
use super::shared_frame::SharedFrame;
use crate::base::histogram::AtomicHistogram;
use crate::base::id::EventId;
use crate::base::limits::{BATCH_BYTES_MAX, BATCH_SENDS_MAX};
use crate::wire::frame::FrameForm;

/// A batch that is being put together.
#[derive(Default)]
pub(crate) struct SendBatch<'a> {
    slices: Vec<IoSlice<'a>>,
    /// The frame of each slice; none for a connection's own bytes.
    frames: Vec<Option<&'a Arc<SharedFrame>>>,
    planned: Vec<PlannedSend>,
    bytes: usize,
}

/// One send of the batch.
#[derive(Clone, Debug)]
pub(crate) struct PlannedSend {
    /// Slot of the connection.
    pub(crate) slot: u32,
    /// Indices of its slices, own bytes first.
    pub(crate) parts: Range<usize>,
    /// Bytes in all slices.
    pub(crate) bytes: usize,
    /// Bytes in the slices of its own, which precede the frames.
    pub(crate) own: usize,
    /// The stream's position once the kernel has taken all slices.
    pub(crate) upto: EventId,
    /// Rounds offer everything newer than `upto`: nothing else waited when the batch was put together.
    pub(crate) caught_up: bool,
    /// The frames are a replay: their age tells nothing of the server.
    pub(crate) replaying: bool,
    /// `upto` lies beyond the id of the last frame.
    pub(crate) beyond: bool,
}

/// The outcome of one send.
#[derive(Debug)]
pub(crate) struct SendOutcome {
    /// Slot of the connection.
    pub(crate) slot: u32,
    /// Result from the kernel.
    pub(crate) result: SendResult,
    /// The kernel took all slices.
    pub(crate) whole: bool,
    /// Bytes taken of the connection's own.
    pub(crate) own_taken: usize,
    /// Number of frames taken whole.
    pub(crate) delivered: u64,
    /// The position that the taken frames reach; none if no frame was begun and slices are left.
    pub(crate) position: Option<EventId>,
    /// A frame that was taken in part, and the bytes of it that were.
    pub(crate) half: Option<(Arc<SharedFrame>, usize)>,
    /// Copied from [`PlannedSend::caught_up`].
    pub(crate) caught_up: bool,
    /// Copied from [`PlannedSend::beyond`], when the kernel took all slices.
    pub(crate) beyond: bool,
}

impl<'a> SendBatch<'a> {
    /// Returns true while another send may be added to one of so many equal parts of the batch.
    pub(crate) fn has_room(&self, parts: usize) -> bool {
        self.planned.len() < BATCH_SENDS_MAX / parts && self.bytes < BATCH_BYTES_MAX / parts
    }

    /// Whether nothing is to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// Adds frames that several sends may share. Returns the indices of their slices.
    pub(crate) fn add_frames(
        &mut self,
        frames: impl Iterator<Item = &'a Arc<SharedFrame>>,
        form: FrameForm,
    ) -> Range<usize> {
        let start = self.slices.len();
        for frame in frames {
            self.slices.push(IoSlice::new(frame.form(form)));
            self.frames.push(Some(frame));
        }
        start..self.slices.len()
    }

    /// Adds a connection's own bytes. Returns their number.
    pub(crate) fn add_own(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut bytes = 0;
        for part in parts {
            bytes += part.len();
            self.slices.push(IoSlice::new(part));
            self.frames.push(None);
        }
        bytes
    }

    /// Index that the next slice will have.
    pub(crate) fn cursor(&self) -> usize {
        self.slices.len()
    }

    /// Sum of the bytes in a range of slices.
    pub(crate) fn bytes_of(&self, parts: Range<usize>) -> usize {
        self.slices[parts].iter().map(|slice| slice.len()).sum()
    }

    /// Those of a range of frames' slices that are newer than a position.
    pub(crate) fn parts_after(&self, parts: Range<usize>, position: EventId) -> Range<usize> {
        let frames = &self.frames[parts.clone()];
        let is_old = |frame: &Option<&Arc<SharedFrame>>| frame.is_some_and(|frame| frame.id() <= position);
        match (frames.first(), frames.last()) {
            (Some(oldest), _) if !is_old(oldest) => parts,
            (_, Some(newest)) if is_old(newest) => parts.end..parts.end,
            _ => parts.start + frames.partition_point(is_old)..parts.end,
        }
    }

    /// Id of the frame in a slice; none for own bytes.
    pub(crate) fn frame_id(&self, part: usize) -> Option<EventId> {
        self.frames[part].map(|frame| frame.id())
    }

    /// Adds a send of at least one slice.
    pub(crate) fn add(&mut self, planned_send: PlannedSend) {
        debug_assert!(
            !planned_send.parts.is_empty() && planned_send.own <= planned_send.bytes,
            "a send offers something"
        );
        self.bytes += planned_send.bytes;
        self.planned.push(planned_send);
    }

    /// Offers the batch to the kernel. Counts into `ages` the age of each event that the kernel took whole.
    pub(crate) fn send(self, io: &mut impl Io, ages: &AtomicHistogram) -> Vec<SendOutcome> {
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

    /// Counts the frames of sends that were taken whole; sends with the same slices are counted together.
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
            SendResult::Full | SendResult::Broken | SendResult::TimedOut => 0,
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
            beyond: taken == planned_send.bytes && planned_send.beyond,
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
