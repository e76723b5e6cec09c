//! The data of a long poll: a subscription whose first events come as one answer with a length.
//!
//! ```text
//!          joins its topics                answered              taken by the kernel
//! request ─────────────────► waits, live ───────────► ends ─────────────────────────► Idle, or closed
//! ```
//!
//! It is a stream like any other while it waits, but nothing is sent to it. `poll_answer` decides when it is
//! answered, and makes the answer.

use super::reply_context::ReplyContext;
use crate::base::time::Tick;

/// The part of a stream that only a long poll needs.
#[derive(Debug)]
pub(crate) struct LongPoll {
    /// Tick by which it is answered, with events or without.
    pub(crate) due: Tick,
    /// Events of the server's own that its answer begins with: gaps.
    pub(crate) preface: Vec<u8>,
    /// The answer tells the client its position.
    pub(crate) primed: bool,
    /// The connection stays after the answer: the client wants it, and has not sent more than its request.
    pub(crate) keep_alive: bool,
    /// The request was HTTP/1.1.
    pub(crate) http11: bool,
    /// Value of its `Origin` field.
    pub(crate) origin: Option<Box<[u8]>>,
}

impl LongPoll {
    /// The poll of a request with this context, to be answered by `due`.
    pub(crate) fn new(context: ReplyContext<'_>, due: Tick, primed: bool) -> LongPoll {
        let ReplyContext { http11, keep_alive, head_only: _, origin } = context;
        LongPoll { due, preface: Vec::new(), primed, keep_alive, http11, origin: origin.map(Box::from) }
    }

    /// The parts of its request that shape the answer.
    pub(crate) fn context(&self) -> ReplyContext<'_> {
        let LongPoll { http11, keep_alive, origin, .. } = self;
        ReplyContext { http11: *http11, keep_alive: *keep_alive, head_only: false, origin: origin.as_deref() }
    }
}
