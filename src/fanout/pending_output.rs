//! Bytes on their way to one subscriber alone, ahead of all further frames: the rest of a half-sent frame,
//! then bytes of its own, then the frames of an answer that has a length.
//!
//! Owns the order of these parts and how much of them was sent. Knows no connection.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::shared_frame::SharedFrame;
use crate::wire::frame::FrameForm;

/// Bytes on their way to one subscriber alone: the rest of a frame, then bytes of its own.
#[derive(Debug, Default)]
pub(crate) struct PendingOutput {
    /// A frame of which part was sent, and the offset of the rest.
    pub(crate) frame: Option<(Arc<SharedFrame>, usize)>,
    /// Own bytes: head, greeting, gap events, the end.
    pub(crate) bytes: Cow<'static, [u8]>,
    /// Length of the part of `bytes` that has been sent.
    pub(crate) sent: usize,
    /// Frames that the head among `bytes` has promised; no others follow them.
    pub(crate) frames: VecDeque<Arc<SharedFrame>>,
    /// Length of the part of the first of them that has been sent.
    pub(crate) frame_sent: usize,
    /// Own bytes among them.
    pub(crate) mark: Vec<u8>,
    /// Number of the frames that go ahead of `mark`.
    pub(crate) ahead_of_mark: usize,
}

impl PendingOutput {
    /// The unsent parts, in order; none is empty.
    pub(crate) fn parts(&self, form: FrameForm) -> impl Iterator<Item = &[u8]> {
        let rest = self.frame.as_ref().map(|(frame, sent)| &frame.form(form)[*sent..]);
        let cut = |nth| if nth == 0 { self.frame_sent } else { 0 };
        let frame = move |nth: usize| &self.frames[nth].form(form)[cut(nth)..];
        let ahead = (0..self.ahead_of_mark).map(frame);
        let behind = (self.ahead_of_mark..self.frames.len()).map(frame);
        let (own, mark) = ([&self.bytes[self.sent..]], [&self.mark[..]]);
        let parts = rest.into_iter().chain(own).chain(ahead).chain(mark).chain(behind);
        parts.filter(|part| !part.is_empty())
    }

    /// Moves past `taken` bytes. Calls `completed` with the moment of the publish of each frame that they
    /// complete.
    pub(crate) fn advance(&mut self, mut taken: usize, form: FrameForm, mut completed: impl FnMut(u64)) {
        if let Some((frame, sent)) = &mut self.frame {
            let rest = frame.form(form).len() - *sent;
            let here = taken.min(rest);
            *sent += here;
            taken -= here;
            if here == rest {
                completed(frame.at_us());
                self.frame = None;
            }
        }
        let own = taken.min(self.bytes.len() - self.sent);
        self.sent += own;
        taken -= own;
        taken -= self.pass_mark(taken);
        while let Some(frame) = self.frames.front().filter(|_| taken > 0) {
            let rest = frame.form(form).len() - self.frame_sent;
            if taken < rest {
                self.frame_sent += taken;
                return;
            }
            taken -= rest;
            self.frame_sent = 0;
            completed(frame.at_us());
            self.frames.pop_front();
            self.ahead_of_mark = self.ahead_of_mark.saturating_sub(1);
            taken -= self.pass_mark(taken);
        }
        assert_eq!(taken, 0, "the kernel cannot take more than was offered");
    }

    /// Moves past bytes of the mark, if it is next. Returns how many.
    fn pass_mark(&mut self, taken: usize) -> usize {
        let here = if self.ahead_of_mark == 0 { taken.min(self.mark.len()) } else { 0 };
        self.mark.drain(..here);
        here
    }

    /// The oldest frame that it holds.
    pub(crate) fn oldest_frame(&self) -> Option<&SharedFrame> {
        let half = self.frame.as_ref().map(|(frame, _)| frame);
        half.or(self.frames.front()).map(|frame| &**frame)
    }

    /// Whether everything has been sent.
    pub(crate) fn is_done(&self) -> bool {
        self.frame.is_none()
            && self.sent == self.bytes.len()
            && self.frames.is_empty()
            && self.mark.is_empty()
    }
}
