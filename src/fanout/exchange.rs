//! The data of a connection between a request and its answer, and of a publish body that is still coming.
//!
//! ```text
//!        whole head                          answers sent
//! Head ─────────────► (handled) ──► Answering ───────────► Idle, Queued (more requests wait) or Lingering
//!   │ body to come         ▲ whole
//!   ├─────────► Body ──────┤
//!   │ needs another thread │ settled, or too late
//!   ├─────────► Awaiting ──┤
//!   │ the application is asked                    │ its turn came
//!   └─────────► Awaiting ──► Decided ─────────────┘
//! ```

use super::awaited::Awaited;
use super::linger::Linger;
use super::reply_context::ReplyContext;
use super::request_input::RequestInput;
use crate::base::counters::CloseReason;
use crate::wire::auth::application::ApplicationVerdict;
use crate::wire::body::ChunkedDecoder;
use crate::wire::request::{BatchRequest, PublishRequest};

/// A connection between its request and its answer.
#[derive(Debug, Default)]
pub(crate) struct HttpExchange {
    /// Bytes received and not yet understood.
    pub(crate) input: RequestInput,
    /// Part of the exchange that `input` belongs to.
    pub(crate) phase: ExchangePhase,
    /// Bytes of answers, sent or not.
    pub(crate) out: Vec<u8>,
    /// Length of the part of `out` that has been sent.
    pub(crate) sent: usize,
    /// Fate of the connection when `out` is sent.
    pub(crate) after: AfterAnswer,
}

/// Phases of an exchange, each named after the thing it waits for or does.
#[derive(Debug, Default)]
pub(crate) enum ExchangePhase {
    /// Waits for the rest of a head.
    #[default]
    Head,
    /// Waits for the rest of a publish body.
    Body(Box<PublishUpload>),
    /// Waits for somebody else, until its deadline.
    Awaiting(Awaited),
    /// Waits for the client to take its answer.
    Answering,
    /// Waits for its turn to have further requests in `input` handled.
    Queued,
    /// Waits for its turn to have the first request in `input` handled, with the word of the application.
    Decided(Box<ApplicationVerdict>),
    /// Waits for the peer to close. It has been answered; bytes that come are thrown away.
    Lingering(Linger),
}

/// Fate of a connection after its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AfterAnswer {
    /// It stays for the next request.
    #[default]
    KeepAlive,
    /// It ends, after reading on for a while: a reset would eat the answer.
    Linger(CloseReason),
}

/// A publish body that arrives in pieces.
#[derive(Debug)]
pub(crate) struct PublishUpload {
    /// Request that the body belongs to.
    pub(crate) kind: UploadKind,
    /// Bytes of the body so far.
    pub(crate) body: Vec<u8>,
    /// Marks of its end.
    pub(crate) framing: UploadFraming,
    /// Bytes charged to the node's budget.
    pub(crate) charged: usize,
    /// Shape of the answer; publishers get no `Origin`.
    pub(crate) context: ReplyContext<'static>,
}

/// Requests that publish, by their path.
#[derive(Debug)]
pub(crate) enum UploadKind {
    /// `POST /publish`, one event.
    Publish(Box<PublishRequest>),
    /// `POST /publish/batch`, an event a line.
    Batch(Box<BatchRequest>),
    /// `POST /broadcast` of the benchmark profile.
    Broadcast,
    /// `POST /client-metrics`, which publishes nothing.
    Beacon,
}

/// Ways in which a request tells where its body ends (RFC 9112 §6).
#[derive(Debug)]
pub(crate) enum UploadFraming {
    /// `Content-Length`, with its value.
    Bytes(usize),
    /// `Transfer-Encoding: chunked`, decoded as it comes.
    Chunked(ChunkedDecoder),
}

impl AfterAnswer {
    /// Reason of the connection's end, if it ends.
    pub(crate) fn reason(self) -> CloseReason {
        match self {
            AfterAnswer::KeepAlive => CloseReason::Peer,
            AfterAnswer::Linger(why) => why,
        }
    }
}
