//! The data of one connection: plain, small, and all there is. No behaviour beyond its own consistency.
//!
//! ```text
//!            first bytes        subscribe
//! Waiting ───────────► Talking ──────────► Streaming ──► (closed)
//!    ▲                    │ answered, kept alive
//!    └────────────────────┘
//! ```
//!
//! A stream is a position. It is *live* while the worker's rounds reach it; it is *behind* while it reads the
//! hub's log on the individual path; *full* while its socket takes nothing. Full implies behind.

use std::borrow::Cow;
use std::sync::Arc;

use super::request_input::RequestInput;
use super::survey_request::PendingSurvey;
use super::topic_log::SharedFrame;
use crate::base::counters::CloseReason;
use crate::base::id::EventId;
use crate::base::settings::ListenerKind;
use crate::base::time::Tick;
use crate::wire::body::ChunkedDecoder;
use crate::wire::request::{BatchRequest, PublishRequest};

/// A connection's slot and generation: a stale one never reaches the slot's new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnToken(pub u64);

impl ConnToken {
    /// The token of a slot's present owner.
    pub fn new(slot: u32, generation: u32) -> ConnToken {
        ConnToken(u64::from(generation) << 32 | u64::from(slot))
    }

    /// The slot.
    pub fn slot(self) -> u32 {
        self.0 as u32
    }

    /// The generation.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One connection of a worker. Pinned to 64 bytes.
#[derive(Debug)]
pub struct Conn {
    /// Tells this connection from an earlier one in the same slot.
    pub generation: u32,
    /// When it was accepted.
    pub opened: Tick,
    /// Its user agent, a number of the worker's [`Agents`](super::user_agents::Agents).
    pub agent: u16,
    /// Which listener it came through.
    pub listener: ListenerKind,
    /// Bits of [`flag`].
    pub flags: u8,
    /// What it is doing.
    pub state: ConnState,
}

/// Bits of `Conn::flags`: what a worker's queues know about the connection.
pub mod flag {
    /// Waits in the worker's queue of connections to write to.
    pub const TO_WRITE: u8 = 1;
    /// Waits in the worker's queue of connections to read from.
    pub const TO_READ: u8 = 2;
    /// Part of the batch that is being put together.
    pub const IN_BATCH: u8 = 4;
    /// The socket has bytes that were not read because an answer still waits.
    pub const UNREAD: u8 = 8;
    /// Over the node's connection limit: gets a refusal.
    pub const OVER_NODE: u8 = 16;
    /// Over its address's connection limit: gets a refusal.
    pub const OVER_ADDRESS: u8 = 32;
    /// The socket took less than was offered; writable readiness will tell.
    pub const FULL: u8 = 64;
    /// The poll has said that the peer has finished or is gone, and it says so only once: what waits is read
    /// to its end, however short a read was.
    pub const ENDED: u8 = 128;
}

/// What a connection is doing.
#[derive(Debug)]
pub enum ConnState {
    /// Nothing of the next request has arrived.
    Idle,
    /// A request is arriving, being answered, or the connection is on its way out.
    Requesting(Box<HttpExchange>),
    /// A subscriber.
    Streaming(Stream),
}

/// A subscriber.
#[derive(Debug)]
pub struct Stream {
    /// Everything up to this id has been handed to the kernel or to `pending`.
    pub position: EventId,
    /// Bytes that must be sent before anything else.
    pub pending: Option<Box<PendingOutput>>,
    /// Several topics or a filter: the individual path.
    pub selection: Option<Box<StreamSelection>>,
    /// The worker's index of its topic, and its place in that topic's list. Unused with `selection`.
    pub place: SubscriberPlace,
    /// When the socket last took bytes, or when it began to refuse them.
    pub last_write: Tick,
    /// When the stream is to be ended: longest life, or departure in a drain.
    pub end_due: Tick,
    /// Bytes received after the request, in units of 64, each read rounded up.
    pub upstream: u16,
    /// Bits of [`mode`].
    pub mode: u8,
    /// It has asked for history and has not been live since: what it is sent is a replay. A `bool`, so that
    /// [`ConnState`] finds room for its tag in here.
    pub replaying: bool,
    /// Events of that replay so far.
    pub replayed: u32,
}

/// Bits of `Stream::mode`.
pub mod mode {
    /// HTTP/1.1: frames are chunks.
    pub const CHUNKED: u8 = 1;
    /// Heartbeats carry the time.
    pub const CLOCK: u8 = 2;
    /// Reads the hub's log; rounds pass it by.
    pub const BEHIND: u8 = 4;
    /// `pending` ends the stream.
    pub const ENDING: u8 = 8;
    /// Has had no heartbeat: its first one comes early by chance, so that those who came together part.
    pub const NEWCOMER: u8 = 16;
    /// Its socket was full, and it has not caught up since: counted in `Counters::lagging`.
    pub const LAGGING: u8 = 32;
    /// The operator ends it.
    pub const ENDED_BY_OPERATOR: u8 = 64;
    /// Under the policy `latest`: history has passed it by, and it has not caught up since.
    pub const PASSED_BY: u8 = 128;
}

/// A subscriber's entry in a topic's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberPlace {
    /// The worker's index of the topic.
    pub topic: u32,
    /// Index in its list of subscribers.
    pub index: u32,
}

/// What only subscribers with several topics or filters need.
#[derive(Debug)]
pub struct StreamSelection {
    /// One entry for each topic.
    pub places: Box<[SubscriberPlace]>,
    /// For each topic the floor up to which losses have been told.
    pub reported_floors: Box<[EventId]>,
    /// Only events of these names; empty for all.
    pub names: Box<[Box<str>]>,
}

/// Bytes on their way to one subscriber alone: the rest of a frame, then bytes of its own.
#[derive(Debug, Default)]
pub struct PendingOutput {
    /// A frame of which part was sent, and the offset of the rest.
    pub frame: Option<(Arc<SharedFrame>, usize)>,
    /// Own bytes: head, greeting, gap events, the end.
    pub bytes: Cow<'static, [u8]>,
    /// How many of `bytes` have been sent.
    pub sent: usize,
}

/// A connection between its request and its answer.
#[derive(Debug)]
pub struct HttpExchange {
    /// Bytes received and not yet understood.
    pub input: RequestInput,
    /// What they belong to.
    pub phase: ExchangePhase,
    /// Answer bytes.
    pub out: Vec<u8>,
    /// How many of `out` have been sent.
    pub sent: usize,
    /// What follows when `out` is sent.
    pub after: AfterAnswer,
}

/// What a talking connection waits for.
#[derive(Debug)]
pub enum ExchangePhase {
    /// The rest of a head.
    Head,
    /// The rest of a publish body.
    Body(Box<PublishUpload>),
    /// The workers to answer its question.
    Surveying(Box<PendingSurvey>),
    /// The client to take its answer.
    Answering,
    /// Its turn to have further requests in `input` handled.
    Queued,
    /// The peer to close: it has been answered, and what it still sends is thrown away, so many bytes of it.
    Lingering(usize),
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// The next request.
    KeepAlive,
    /// The end, after reading on for a while: a reset would eat the answer.
    Linger(CloseReason),
}

/// A publish body that arrives in pieces.
#[derive(Debug)]
pub struct PublishUpload {
    /// What to do with it.
    pub kind: UploadKind,
    /// The body so far.
    pub body: Vec<u8>,
    /// How it is framed.
    pub framing: UploadFraming,
    /// Bytes charged to the node's budget.
    pub charged: usize,
    /// The request was HTTP/1.1.
    pub http11: bool,
    /// The request asked to keep the connection.
    pub keep_alive: bool,
}

/// Which publish a body belongs to.
#[derive(Debug)]
pub enum UploadKind {
    /// `POST /publish`
    Publish(Box<PublishRequest>),
    /// `POST /publish/batch`
    Batch(Box<BatchRequest>),
    /// `POST /broadcast` of the benchmark profile.
    Broadcast,
}

/// How a body is framed.
#[derive(Debug)]
pub enum UploadFraming {
    /// `Content-Length`.
    Bytes(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked(ChunkedDecoder),
}

const _: () = assert!(size_of::<Conn>() <= 64, "an idle subscriber on one topic");

impl AfterAnswer {
    /// Why the connection ends, if it does.
    pub fn reason(self) -> CloseReason {
        match self {
            AfterAnswer::KeepAlive => CloseReason::Peer,
            AfterAnswer::Linger(why) => why,
        }
    }
}

impl Conn {
    /// Whether all bits are set.
    pub fn has(&self, bits: u8) -> bool {
        self.flags & bits == bits
    }
}

impl Stream {
    /// Whether rounds send to it. Whatever has bytes of its own to send is behind.
    pub fn is_live(&self) -> bool {
        debug_assert!(self.pending.is_none() || self.mode & mode::BEHIND != 0, "own bytes go first");
        self.mode & mode::BEHIND == 0
    }

    /// Whether its filter, if it has one, lets a frame through.
    pub fn wants(&self, frame: &SharedFrame) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.wants(frame))
    }

    /// Whether it has to read the log to go on.
    pub fn reads_log(&self) -> bool {
        self.mode & (mode::BEHIND | mode::ENDING) == mode::BEHIND
    }

    /// Whether frames go out as chunks.
    pub fn chunked(&self) -> bool {
        self.mode & mode::CHUNKED != 0
    }

    /// Its places in topics' lists.
    pub fn places(&self) -> &[SubscriberPlace] {
        match &self.selection {
            Some(selection) => &selection.places,
            None => std::slice::from_ref(&self.place),
        }
    }

    /// The same, to be moved.
    pub fn place_mut(&mut self, topic: u32) -> &mut SubscriberPlace {
        match &mut self.selection {
            None => &mut self.place,
            Some(selection) => {
                let found = selection.places.iter_mut().find(|place| place.topic == topic);
                found.expect("a subscriber in a topic's list knows the topic")
            }
        }
    }

    /// Bytes that must go out before any further frame, for appending. Puts the stream behind.
    pub fn own_output_mut(&mut self) -> &mut Vec<u8> {
        self.mode |= mode::BEHIND;
        self.pending.get_or_insert_default().bytes.to_mut()
    }

    /// Sends fixed bytes before any further frame. Puts the stream behind.
    pub fn queue_static(&mut self, bytes: &'static [u8]) {
        match &self.pending {
            Some(_) => self.own_output_mut().extend_from_slice(bytes),
            None => {
                self.pending =
                    Some(Box::new(PendingOutput { bytes: Cow::Borrowed(bytes), ..PendingOutput::default() }))
            }
        }
        self.mode |= mode::BEHIND;
    }
}

impl StreamSelection {
    /// Whether the subscriber's filter lets a frame through.
    pub fn wants(&self, frame: &SharedFrame) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name.as_bytes() == frame.name())
    }
}

impl PendingOutput {
    /// The unsent parts, in order; none is empty.
    pub fn parts(&self, chunked: bool) -> impl Iterator<Item = &[u8]> {
        let frame = self.frame.as_ref().map(|(frame, sent)| &frame.form(chunked)[*sent..]);
        frame.into_iter().chain([&self.bytes[self.sent..]]).filter(|part| !part.is_empty())
    }

    /// Moves past `taken` bytes. Returns when the frame that they completed was published, if they did one.
    pub fn advance(&mut self, mut taken: usize, chunked: bool) -> Option<u64> {
        let mut completed = None;
        if let Some((frame, sent)) = &mut self.frame {
            let rest = frame.form(chunked).len() - *sent;
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
    pub fn is_done(&self) -> bool {
        self.frame.is_none() && self.sent == self.bytes.len()
    }
}
