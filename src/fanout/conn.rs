//! The data of one connection: plain, small, and all there is. No behaviour beyond its own consistency.
//!
//! ```text
//!         first bytes           subscribe
//! Idle ───────────────► Requesting ────────► Streaming ──► (closed)
//!   ▲                       │ answered, kept alive
//!   └───────────────────────┘
//! ```
//!
//! A stream is a position. It is *live* while the worker's rounds reach it; it is *behind* while it reads the
//! hub's log on the individual path; *full* while its socket takes nothing. Full implies behind.
//!
//! Bits change in the methods named here and nowhere else.
//!
//! ```text
//! Conn::flags  set by                              cleared by                        implies
//! ------------ ----------------------------------- --------------------------------- ----------------------
//! TO_WRITE     enter_write_queue: has output       leave_write_queue: its turn came  token in `write_queue`
//! TO_READ      enter_read_queue: bytes may wait    leave_read_queue: its turn came   token in `read_queue`
//! IN_BATCH     join_batch: a round plans a send    leave_batch: the send's outcome   a live stream
//! UNREAD       defer_read: an answer still waits   take_deferred_read: all answered  not `Idle`
//! OVER_LIMIT   new, mark_over: a number of three    never                             here to be refused
//!              bits, the limit that it is over
//! IN_LOBBY     enter_lobby: a proxy has still to    leave_lobby: its header is whole  no stream; none of its
//!              name its client                                                        bytes are a request's
//! FULL         mark_full: a send was cut short     mark_writable: a readiness, only  no send; stream: BEHIND
//! ENDED        mark_ended: the poll says so, once  clear_ended: a read found nothing any read is followed by
//!                                                                                    another, however short
//! PRIMED       prime: is told its position         never                             a stream
//! ID_OWED      owe_id: its position has passed the take_owed_id: told; settle_id: a  PRIMED
//!              last id sent                        frame with that id was sent
//!
//! Stream::mode set by                              cleared by                        implies
//! ------------ ----------------------------------- --------------------------------- ----------------------
//! CHUNKED      joining, for HTTP/1.1               never                             frames go as chunks
//! CLOCK        with_clock, if asked for             never                             heartbeats tell time
//! BEHIND       joining; fall_behind; mark_lagging; catch_up: log read to its end,    rounds pass it by
//!              own_output_mut; queue_static        nothing pending
//! ENDING       mark_ending: its end is queued      never                             BEHIND; reads no log
//! NEWCOMER     joining                             take_newcomer: its first timer    no heartbeat so far
//! LAGGING      mark_lagging: its socket was full   stop_lagging: caught up, or gone  BEHIND; counted in
//!                                                                                    `Counters::lagging`
//! PASSED_BY    mark_passed_by: history is gone,    stop_lagging                      LAGGING
//!              under the policy `latest`
//! ENDED_BY_    end_by_operator                     never                             its patience is short
//!   OPERATOR
//! ```

use std::borrow::Cow;

use super::exchange::HttpExchange;
use super::hub::LossMark;
use super::long_poll::LongPoll;
use super::pending_output::PendingOutput;
use super::shared_frame::SharedFrame;
use super::snapshot_read::SnapshotRead;
use super::stream_selection::StreamSelection;
use super::subscriber_list::SubscriberPlace;
pub use super::token::ConnToken;
use super::user_agents::NO_USER_AGENT;
use crate::base::counters::Counters;
use crate::base::id::EventId;
use crate::base::listener::ListenerKind;
use crate::base::time::Tick;
use crate::wire::frame::FrameForm;
use crate::wire::reply;

/// One connection of a worker. Pinned to 64 bytes.
#[derive(Debug)]
pub(crate) struct Conn {
    /// Tells this connection from an earlier one in the same slot.
    pub(crate) generation: u32,
    /// Tick in which it was accepted.
    pub(crate) opened: Tick,
    /// Its user agent, a number of the worker's [`UserAgents`](super::user_agents::UserAgents).
    pub(crate) agent: u16,
    /// Listener that accepted it.
    pub(crate) listener: ListenerKind,
    /// Bits of [`flag`], changed by methods only.
    flags: u16,
    /// Its place between two requests, in one, or as a stream.
    pub(crate) state: ConnState,
}

/// A limit on public connections that a newcomer is over: it is here only to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnLimit {
    /// Connections of the node.
    Node,
    /// Connections of one client address.
    Address,
    /// New connections of one client address in a second.
    ConnectRate,
    /// None at all: its address is banned.
    Banned,
}

impl ConnLimit {
    const ALL: [ConnLimit; 4] =
        [ConnLimit::Node, ConnLimit::Address, ConnLimit::ConnectRate, ConnLimit::Banned];

    /// Its bits of `Conn::flags`.
    fn bits(self) -> u16 {
        (self as u16 + 1) << flag::OVER_LIMIT.trailing_zeros()
    }
}

/// Bits of `Conn::flags`, as in the table at the head of this file.
mod flag {
    pub(crate) const TO_WRITE: u16 = 1;
    pub(crate) const TO_READ: u16 = 2;
    pub(crate) const IN_BATCH: u16 = 4;
    pub(crate) const UNREAD: u16 = 8;
    pub(crate) const OVER_LIMIT: u16 = 16 | 32 | 64;
    pub(crate) const FULL: u16 = 128;
    pub(crate) const ENDED: u16 = 256;
    pub(crate) const PRIMED: u16 = 512;
    pub(crate) const ID_OWED: u16 = 1_024;
    pub(crate) const IN_LOBBY: u16 = 2_048;
}

/// States of a connection, as drawn at the head of this file.
#[derive(Debug)]
pub(crate) enum ConnState {
    /// Nothing of the next request has arrived.
    Idle,
    /// A request is arriving, being answered, or the connection is on its way out.
    Requesting(Box<HttpExchange>),
    /// A subscriber takes events.
    Streaming(Stream),
}

/// A subscriber: its position, and bytes on their way to it.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Everything up to this id has been handed to the kernel or to `pending`.
    pub(crate) position: EventId,
    /// Bytes that must be sent before anything else.
    pub(crate) pending: Option<Box<PendingOutput>>,
    /// Several topics or a filter: the individual path.
    pub(crate) selection: Option<Box<StreamSelection>>,
    /// The worker's index of its topic, and its place in that topic's list. Unused with `selection`.
    pub(crate) place: SubscriberPlace,
    /// Tick in which the socket last took bytes, or began to refuse them.
    pub(crate) last_write: Tick,
    /// Tick in which the stream is to be ended: longest life, or departure in a drain.
    pub(crate) end_due: Tick,
    /// Bytes received after the request, in units of 64, each read rounded up.
    pub(crate) upstream: u16,
    /// Bits of the stream, changed by its methods.
    pub(crate) mode: StreamMode,
    /// It has asked for history and has not been live since: all it is sent is a replay. A `bool`, so that
    /// [`ConnState`] finds room for its tag in here.
    pub(crate) replaying: bool,
    /// Events of that replay so far.
    pub(crate) replayed: u32,
}

/// Bits of a stream: only `Stream`'s methods change them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamMode(u8);

/// Bits of `Stream::mode`, as in the table at the head of this file.
mod mode {
    pub(crate) const CHUNKED: u8 = 1;
    pub(crate) const CLOCK: u8 = 2;
    pub(crate) const BEHIND: u8 = 4;
    pub(crate) const ENDING: u8 = 8;
    pub(crate) const NEWCOMER: u8 = 16;
    pub(crate) const LAGGING: u8 = 32;
    pub(crate) const ENDED_BY_OPERATOR: u8 = 64;
    pub(crate) const PASSED_BY: u8 = 128;
}

const _: () = assert!(size_of::<Conn>() <= 64, "an idle subscriber on one topic");

impl Conn {
    /// A connection just accepted, with the limit that it is over, if any.
    pub(crate) fn new(
        generation: u32,
        opened: Tick,
        listener: ListenerKind,
        over: Option<ConnLimit>,
    ) -> Conn {
        let flags = over.map_or(0, ConnLimit::bits);
        Conn { generation, opened, agent: NO_USER_AGENT, listener, flags, state: ConnState::Idle }
    }

    /// The exchange of a connection that is no stream, begun if need be.
    pub(crate) fn exchange_mut(&mut self) -> &mut HttpExchange {
        if let ConnState::Idle = self.state {
            self.state = ConnState::Requesting(Box::default());
        }
        match &mut self.state {
            ConnState::Requesting(exchange) => exchange,
            ConnState::Idle | ConnState::Streaming(_) => unreachable!("streams do not answer requests"),
        }
    }

    /// The limit that it was over when it was accepted.
    pub(crate) fn over_limit(&self) -> Option<ConnLimit> {
        let bits = self.flags & flag::OVER_LIMIT;
        ConnLimit::ALL.into_iter().find(|limit| limit.bits() == bits)
    }

    /// Notes that its client is over a limit of its address, which only a proxy could tell.
    pub(crate) fn mark_over(&mut self, limit: ConnLimit) {
        debug_assert!(self.over_limit().is_none(), "one reason is enough");
        self.flags |= limit.bits();
    }

    /// Whether its first bytes are a proxy's, and have not all come.
    pub(crate) fn is_in_lobby(&self) -> bool {
        self.flags & flag::IN_LOBBY != 0
    }

    /// Notes that its first bytes are a proxy's.
    pub(crate) fn enter_lobby(&mut self) {
        debug_assert!(matches!(self.state, ConnState::Idle), "nothing has come");
        self.flags |= flag::IN_LOBBY;
    }

    /// Notes that further bytes are the client's.
    pub(crate) fn leave_lobby(&mut self) {
        self.flags &= !flag::IN_LOBBY;
    }

    /// Whether the socket took less than it was offered, and has not been writable since.
    pub(crate) fn is_full(&self) -> bool {
        self.flags & flag::FULL != 0
    }

    /// Notes that the socket took less than it was offered: nothing is sent until it is writable.
    pub(crate) fn mark_full(&mut self) {
        self.flags |= flag::FULL;
    }

    /// Notes that the socket is writable. Returns whether it was full.
    pub(crate) fn mark_writable(&mut self) -> bool {
        self.take_flag(flag::FULL)
    }

    /// Whether the poll has said that the peer has finished, and reads have not come to the end.
    pub(crate) fn has_ended(&self) -> bool {
        self.flags & flag::ENDED != 0
    }

    /// Notes that the peer has finished or is gone. The poll says so once, so reads go on to the end.
    pub(crate) fn mark_ended(&mut self) {
        self.flags |= flag::ENDED;
    }

    /// Notes that a read found nothing.
    pub(crate) fn clear_ended(&mut self) {
        self.flags &= !flag::ENDED;
    }

    /// Whether it waits for its turn to be read.
    pub(crate) fn is_in_read_queue(&self) -> bool {
        self.flags & flag::TO_READ != 0
    }

    /// Notes that it is to be read. Returns whether its token has to be queued: it is not there yet.
    pub(crate) fn enter_read_queue(&mut self) -> bool {
        let enters = self.flags & flag::TO_READ == 0;
        self.flags |= flag::TO_READ;
        enters
    }

    /// Notes that its token was taken from the queue of reads.
    pub(crate) fn leave_read_queue(&mut self) {
        self.flags &= !flag::TO_READ;
    }

    /// Notes that bytes may wait which are not read while an answer does.
    pub(crate) fn defer_read(&mut self) {
        self.flags |= flag::UNREAD;
    }

    /// Returns whether a read was deferred; it no longer is.
    pub(crate) fn take_deferred_read(&mut self) -> bool {
        self.take_flag(flag::UNREAD)
    }

    /// Notes that it has output. Returns whether its token has to be queued: it is not there yet, and its
    /// socket is not full.
    pub(crate) fn enter_write_queue(&mut self) -> bool {
        let enters = self.flags & (flag::TO_WRITE | flag::FULL) == 0;
        if enters {
            self.flags |= flag::TO_WRITE;
        }
        enters
    }

    /// Notes that its token was taken from the queue of writes.
    pub(crate) fn leave_write_queue(&mut self) {
        self.flags &= !flag::TO_WRITE;
    }

    /// Whether a send to it is part of the batch that is being put together.
    pub(crate) fn is_in_batch(&self) -> bool {
        self.flags & flag::IN_BATCH != 0
    }

    /// Notes that a round has planned a send to it.
    pub(crate) fn join_batch(&mut self) {
        self.flags |= flag::IN_BATCH;
    }

    /// Notes that the batch has been sent.
    pub(crate) fn leave_batch(&mut self) {
        self.flags &= !flag::IN_BATCH;
    }

    /// Notes that the client of its stream is told its position by blocks that hold an id alone.
    pub(crate) fn prime(&mut self) {
        self.flags |= flag::PRIMED;
    }

    /// Whether the client of its stream is told its position.
    pub(crate) fn is_primed(&self) -> bool {
        self.flags & flag::PRIMED != 0
    }

    /// Notes that its position has passed the last id sent.
    pub(crate) fn owe_id(&mut self) {
        if self.is_primed() {
            self.flags |= flag::ID_OWED;
        }
    }

    /// Notes that it was sent a frame whose id is its position.
    pub(crate) fn settle_id(&mut self) {
        self.flags &= !flag::ID_OWED;
    }

    /// Returns whether the client has still to be told its position; it is then taken as told.
    pub(crate) fn take_owed_id(&mut self) -> bool {
        self.take_flag(flag::ID_OWED)
    }

    fn take_flag(&mut self, bit: u16) -> bool {
        let was_set = self.flags & bit != 0;
        self.flags &= !bit;
        was_set
    }
}

impl StreamMode {
    /// Bits of a stream that joins: it is behind until it has read the log to its end.
    pub(crate) fn joining(form: FrameForm) -> StreamMode {
        let chunked = match form {
            FrameForm::Chunk => mode::CHUNKED,
            FrameForm::Bare => 0,
        };
        StreamMode(mode::BEHIND | mode::NEWCOMER | chunked)
    }

    /// Adds heartbeats that carry the time.
    pub(crate) fn with_clock(self) -> StreamMode {
        StreamMode(self.0 | mode::CLOCK)
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl Stream {
    /// Whether rounds send to it. A stream with bytes of its own to send is behind.
    pub(crate) fn is_live(&self) -> bool {
        debug_assert!(self.pending.is_none() || self.mode.has(mode::BEHIND), "own bytes go first");
        !self.mode.has(mode::BEHIND)
    }

    /// Leaves the rounds: it reads the log from its position on.
    pub(crate) fn fall_behind(&mut self) {
        self.mode.0 |= mode::BEHIND;
    }

    /// Joins the rounds: it has read the log to its end. If [`is_recovering`](Stream::is_recovering), that
    /// ends, too.
    pub(crate) fn catch_up(&mut self) {
        debug_assert!(self.pending.is_none(), "own bytes go first");
        self.mode.0 &= !mode::BEHIND;
        self.drop_needless_selection();
    }

    /// Whether its socket was full and it has not caught up since.
    pub(crate) fn is_lagging(&self) -> bool {
        self.mode.has(mode::LAGGING)
    }

    /// Notes that its socket took less than it was offered. Returns whether it lags only since now.
    pub(crate) fn mark_lagging(&mut self) -> bool {
        let begins = !self.is_lagging();
        self.mode.0 |= mode::BEHIND | mode::LAGGING;
        begins
    }

    /// Notes that it has caught up or is gone. Returns whether it lagged.
    pub(crate) fn stop_lagging(&mut self) -> bool {
        let lagged = self.is_lagging();
        self.mode.0 &= !(mode::LAGGING | mode::PASSED_BY);
        lagged
    }

    /// Whether it has lost history under the policy `latest` and has not caught up since.
    pub(crate) fn is_passed_by(&self) -> bool {
        self.mode.has(mode::PASSED_BY)
    }

    /// Notes that history is gone which a lagging stream had still to read.
    pub(crate) fn mark_passed_by(&mut self) {
        debug_assert!(self.is_lagging(), "only a slow stream leaves out superseded frames");
        self.mode.0 |= mode::PASSED_BY;
    }

    /// Ends the lag and the replay of a stream that is live again or ends, and counts both.
    pub(crate) fn mark_live(&mut self, counters: &Counters) {
        if self.stop_lagging() {
            counters.lagging(-1);
        }
        if std::mem::take(&mut self.replaying) {
            counters.replay.add(u64::from(self.replayed), 1);
        }
    }

    /// Whether its next catching up ends a replay or a lag.
    pub(crate) fn is_recovering(&self) -> bool {
        self.replaying || self.mode.has(mode::LAGGING | mode::PASSED_BY)
    }

    /// Whether its last bytes are queued.
    pub(crate) fn is_ending(&self) -> bool {
        self.mode.has(mode::ENDING)
    }

    /// Notes that its last bytes are queued: it reads no further frames.
    pub(crate) fn mark_ending(&mut self) {
        self.mode.0 |= mode::BEHIND | mode::ENDING;
    }

    /// Whether the operator ends it.
    pub(crate) fn is_ended_by_operator(&self) -> bool {
        self.mode.has(mode::ENDED_BY_OPERATOR)
    }

    /// Notes that the operator ends it. Returns false for a stream on its way out, which keeps its reason. A
    /// poll has none: its connection would go on after its answer.
    pub(crate) fn end_by_operator(&mut self, now: Tick) -> bool {
        let leaves = self.is_ending() && self.poll().is_none();
        let begins = !leaves && !self.is_ended_by_operator();
        if begins {
            self.mode.0 |= mode::ENDED_BY_OPERATOR;
            self.end_due = now;
        }
        begins
    }

    /// Returns whether this is its first timer: that heartbeat comes early by chance, so that streams which
    /// came together part.
    pub(crate) fn take_newcomer(&mut self) -> bool {
        let newcomer = self.mode.has(mode::NEWCOMER);
        self.mode.0 &= !mode::NEWCOMER;
        newcomer
    }

    /// Whether heartbeats carry the time.
    pub(crate) fn has_clock(&self) -> bool {
        self.mode.has(mode::CLOCK)
    }

    /// Whether its filter, if it has one, lets a frame through.
    pub(crate) fn wants(&self, frame: &SharedFrame) -> bool {
        self.selection.as_ref().is_none_or(|selection| selection.wants(frame))
    }

    /// Whether it has to read the log to go on.
    pub(crate) fn reads_log(&self) -> bool {
        self.mode.has(mode::BEHIND) && !self.mode.has(mode::ENDING)
    }

    /// The form in which frames go out.
    pub(crate) fn form(&self) -> FrameForm {
        if self.mode.has(mode::CHUNKED) { FrameForm::Chunk } else { FrameForm::Bare }
    }

    /// Its places in topics' lists.
    pub(crate) fn places(&self) -> &[SubscriberPlace] {
        match &self.selection {
            Some(selection) => &selection.places,
            None => std::slice::from_ref(&self.place),
        }
    }

    /// Its place in the list of one of its topics, to be moved.
    pub(crate) fn place_mut(&mut self, topic: u32) -> &mut SubscriberPlace {
        match &mut self.selection {
            None => &mut self.place,
            Some(selection) => {
                let found = selection.places.iter_mut().find(|place| place.topic == topic);
                found.expect("a subscriber in a topic's list knows the topic")
            }
        }
    }

    /// Its long poll, answered or not, if it is one.
    pub(crate) fn poll(&self) -> Option<&LongPoll> {
        self.selection.as_ref()?.poll.as_deref()
    }

    /// The same, to be changed.
    pub(crate) fn poll_mut(&mut self) -> Option<&mut LongPoll> {
        self.selection.as_mut()?.poll.as_deref_mut()
    }

    /// The snapshot that it is being sent, if it is.
    pub(crate) fn snapshot(&self) -> Option<&SnapshotRead> {
        self.selection.as_ref()?.snapshot.as_ref()
    }

    /// Goes on without a snapshot.
    pub(crate) fn leave_snapshot(&mut self) {
        if let Some(selection) = &mut self.selection {
            selection.snapshot = None;
        }
    }

    /// Goes on without a selection, if it has one of which nothing is needed: what it has been told counts
    /// until it has read on.
    fn drop_needless_selection(&mut self) {
        let Some(selection) = &self.selection else { return };
        if let [only] = selection.places[..]
            && selection.names.is_empty()
            && selection.poll.is_none()
            && selection.snapshot.is_none()
            && selection.rate.is_none()
        {
            (self.place, self.selection) = (only, None);
        }
    }

    /// Notes losses of its only topic that it has been told.
    pub(crate) fn note_told(&mut self, told: LossMark) {
        if self.selection.is_none() {
            self.selection = Some(Box::new(StreamSelection {
                places: [self.place].into(),
                told_losses: [told].into(),
                names: [].into(),
                poll: None,
                snapshot: None,
                rate: None,
            }));
        }
    }

    /// Whether it is a long poll without an answer: no byte of its own may be sent.
    pub(crate) fn waits(&self) -> bool {
        self.poll().is_some() && !self.is_ending()
    }

    /// Bytes that must go out before any further frame, for appending. Puts the stream behind.
    pub(crate) fn own_output_mut(&mut self) -> &mut Vec<u8> {
        self.fall_behind();
        if self.waits() {
            return &mut self.poll_mut().expect("it was just seen").preface;
        }
        self.pending.get_or_insert_default().bytes.to_mut()
    }

    /// Tells the client its position, before any further frame. Puts the stream behind.
    pub(crate) fn queue_position(&mut self) {
        let (form, position) = (self.form(), self.position);
        reply::append_position(self.own_output_mut(), form, position);
    }

    /// Sends fixed bytes before any further frame. Puts the stream behind.
    pub(crate) fn queue_static(&mut self, bytes: &'static [u8]) {
        match &self.pending {
            Some(_) => self.own_output_mut().extend_from_slice(bytes),
            None => {
                self.pending =
                    Some(Box::new(PendingOutput { bytes: Cow::Borrowed(bytes), ..PendingOutput::default() }))
            }
        }
        self.fall_behind();
    }
}
