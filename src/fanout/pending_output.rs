//! Bytes on their way to one subscriber alone, ahead of all further frames: the rest of a half-sent frame,
//! then bytes of its own.
//!
//! Owns the order of these parts and how much of them was sent. Knows no connection.

use std::borrow::Cow;
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
}

impl PendingOutput {
    /// The unsent parts, in order; none is empty.
    pub(crate) fn parts(&self, form: FrameForm) -> impl Iterator<Item = &[u8]> {
        let frame = self.frame.as_ref().map(|(frame, sent)| &frame.form(form)[*sent..]);
        frame.into_iter().chain([&self.bytes[self.sent..]]).filter(|part| !part.is_empty())
    }

    /// Moves past `taken` bytes. If they completed a frame, returns the moment of its publish.
    pub(crate) fn advance(&mut self, mut taken: usize, form: FrameForm) -> Option<u64> {
        let mut completed = None;
        if let Some((frame, sent)) = &mut self.frame {
            let rest = frame.form(form).len() - *sent;
            let here = taken.min(rest);
            *sent += here;
            taken -= here;
            completed = (here == rest).then(|| frame.at_us());
        }
        if completed.is_some() {
            self.frame = None;
        }
        self.sent += taken;
        assert!(self.sent <= self.bytes.len(), "the kernel cannot take more than was offered");
        completed
    }

    /// Whether everything has been sent.
    pub(crate) fn is_done(&self) -> bool {
        self.frame.is_none() && self.sent == self.bytes.len()
    }
}
