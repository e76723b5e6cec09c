//! One worker: its topics, and the order of work in a turn.
//!
//! ```text
//! turn: control → some reads → wakes of others → mail → one batch of own output → one batch of the rounds
//!       → timers → a slice of a survey
//! ```
//!
//! Every step has a budget, and that of the reads is small while a round runs: a health check, a publish or a
//! newcomer waits for one batch and never for a whole broadcast, and a crowd of newcomers costs each batch of
//! existing subscribers a few reads. The connections are in `roster`; the steps are in `rounds`, `http`,
//! `upload`, `stream` and `output`.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use super::conn::ConnToken;
use super::conn::{Conn, ConnState};
use super::conn_trace::ConnTrace;
use super::drain_window::{DrainWindow, drain_ends_within_ms};
use super::exchange::ExchangePhase;
use super::hash::SeededHash;
use super::lanes::ReadLane;
use super::mail::{ControlMessage, MailboxItem, MailboxReceiver};
use super::node::Node;
use super::roster::{Arrival, Roster};
use super::seam::{CloseMode, Io};
use super::survey_progress::SurveyWalk;
use super::topics::LocalTopics;
use crate::base::counters::{CloseReason, Count, Counters, TurnStep};
use crate::base::limits::{
    BATCH_SENDS_MAX, DRAIN_IDLE_MS, FRESH_FRAMES_MAX, MAIL_FRAMES_BESIDE_READERS, MAIL_FRAMES_PER_TURN,
    READ_BYTES_PER_TURN, READS_BESIDE_ROUNDS, READS_PER_TURN, REQUESTS_PER_TURN, SCRATCH_BYTES, SWEEP_MS,
    TIMERS_PER_TURN,
};
use crate::base::prng::Prng;
use crate::base::settings::ListenerKind;
use crate::base::time::{Now, TICK_MS, Tick, ticks_of_ms};

/// Readiness of one connection, as the poll reports it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PollReadiness {
    /// Bytes wait, or the peer has finished.
    pub readable: bool,
    /// The socket takes bytes again.
    pub writable: bool,
    /// The peer has finished or is gone; a read will tell which.
    pub ended: bool,
}

/// Requests of a turn to the driver, in the order of [`Worker`]'s contract.
#[derive(Clone, Copy, Debug)]
pub struct TurnOutcome {
    /// The operator has asked for a drain of the whole server.
    pub drain_requested: bool,
    /// Everything has ended: no further turn.
    pub finished: bool,
    /// Newcomers may be accepted.
    pub listening: bool,
    /// A round goes on: few newcomers may be accepted.
    pub(crate) rounds_left: bool,
    /// Work is left: poll without waiting.
    pub more: bool,
    /// Longest wait when no work is left; none for a wait without end.
    pub due_in_ms: Option<u64>,
}

/// One worker of a node. It has no thread, clock or socket of its own: a driver lends it all three. That is
/// a thread with its sockets in the server, and the simulator in tests.
///
/// The driver repeats these calls, in this order:
///
/// 1. [`note_readiness`](Worker::note_readiness) for each readiness since the last turn. Readinesses may be
///    edges, come late, be false or bear a stale token.
/// 2. [`turn`](Worker::turn), with a time that never goes back. It sends, reads and closes through [`Io`];
///    [`Io::close`] is the last call for its slot. The [`TurnOutcome`] names the steps that follow.
/// 3. Passes on `drain_requested`, and stops here if `finished`.
/// 4. While `listening`, [`open`](Worker::open) for each accepted socket; few of them if `rounds_left`.
///    `None`: closes the socket. A token: keeps the socket in the token's slot until [`Io::close`], or calls
///    [`register_failed`](Worker::register_failed) and drops it. After a token the next turn must not wait.
/// 5. Waits. Not at all if `more`, or if [`fall_asleep`](Worker::fall_asleep) returns false; else until a
///    readiness, a wake by another worker, or `due_in_ms`.
/// 6. [`wake_up`](Worker::wake_up), even if there was no wait.
///
/// `evict_idle` and `refusal` serve a driver that runs out of files, `set_tracing` and `take_traces` its log:
/// all between two turns. [`connections`](Worker::connections), [`lagging`](Worker::lagging) and
/// [`counters`](Worker::counters) only look.
#[derive(Debug)]
pub struct Worker {
    pub(super) node: Arc<Node>,
    pub(super) index: usize,
    pub(super) inbox: MailboxReceiver,
    pub(super) prng: Prng,
    pub(super) now: Now,
    pub(super) roster: Roster,
    pub(super) topics: LocalTopics,
    pub(super) scratch: Vec<u8>,
    /// Workers that were sent mail since the last wake, a bit each.
    pub(super) mailed: u64,
    pub(super) drain_requested: bool,
    pub(super) drain: Option<DrainWindow>,
    pub(super) stopping: bool,
    due: Vec<u32>,
    /// Requests handled and events published in this turn.
    pub(super) requests_taken: usize,
    /// Tick in which it last looked for idle ones among them.
    pub(super) evicted_at: Tick,
    sweep_at_ms: u64,
    /// Surveys that it takes part in, each a slice in turn.
    pub(super) walks: VecDeque<SurveyWalk>,
    /// Whether a stream read the log in the last turn.
    pub(super) log_read: bool,
    /// For tables whose keys clients choose.
    pub(super) hash: SeededHash,
    pub(super) tracing: bool,
    /// Addresses of peers by slot, while traces are wanted: after a reset the kernel cannot tell.
    pub(super) peer_addresses: BTreeMap<u32, IpAddr>,
    pub(super) traces: Vec<ConnTrace>,
}

impl Worker {
    /// Worker `index` of the node. `seed` drives its jitter.
    pub fn new(node: Arc<Node>, index: usize, inbox: MailboxReceiver, seed: u64) -> Worker {
        // Not the draws of `prng`: clients see some of each in their reconnection times.
        let hash = SeededHash::new(!seed);
        Worker {
            node,
            index,
            inbox,
            prng: Prng::new(seed),
            now: Now { mono_ms: 0, mono_us: 0, wall_ms: 0 },
            roster: Roster::new(hash.clone()),
            topics: LocalTopics::new(hash.clone()),
            scratch: vec![0; SCRATCH_BYTES],
            mailed: 0,
            drain_requested: false,
            drain: None,
            stopping: false,
            due: Vec::new(),
            requests_taken: 0,
            evicted_at: Tick::MAX,
            sweep_at_ms: 0,
            walks: VecDeque::new(),
            log_read: false,
            hash,
            tracing: false,
            peer_addresses: BTreeMap::new(),
            traces: Vec::new(),
        }
    }

    /// Takes in an accepted connection. `None`: drop its socket at once, there is not even room to refuse.
    /// The connection is read in the next turn without waiting for a readiness.
    pub fn open(&mut self, now: Now, listener: ListenerKind, peer: Option<IpAddr>) -> Option<ConnToken> {
        self.now = now;
        self.counters().count(Count::Accepted);
        let ticks = &self.node.ticks;
        let arrival =
            Arrival { listener, peer, tick: now.tick(), head_wait: ticks.head, refusal_wait: ticks.refusal };
        let Some(token) = self.roster.open(&self.node.connections, &arrival) else {
            self.counters().close(CloseReason::Refused);
            return None;
        };
        self.counters().connections(1);
        self.trace_opened(token.slot(), peer);
        Some(token)
    }

    /// Gives a connection's slot back: the driver could not register its socket and has dropped it.
    pub fn register_failed(&mut self, token: ConnToken) {
        if self.roster.owns(token) {
            self.counters().count(Count::RegisterErrors);
            self.release_connection(token.slot(), CloseReason::Host);
        }
    }

    /// Queues a connection for its reads and writes of the next turn. Stale tokens are ignored.
    pub fn note_readiness(&mut self, token: ConnToken, readiness: PollReadiness) {
        if !self.roster.owns(token) {
            return;
        }
        let slot = token.slot();
        let conn = self.roster.conn_mut(slot);
        if readiness.ended {
            conn.mark_ended();
        }
        if readiness.writable && conn.mark_writable() {
            self.roster.queue_write(slot);
        }
        if readiness.readable || readiness.ended {
            self.roster.queue_read(slot);
        }
    }

    /// Makes one pass through the steps at the head of this file.
    pub fn turn(&mut self, io: &mut impl Io, now: Now) -> TurnOutcome {
        self.now = now;
        self.counters().count(Count::Turns);
        self.take_control(io);
        self.read_ready(io);
        // Now and not at the end of the turn: they need not wait for this worker's own subscribers.
        self.wake_mailed(io);
        self.count_exhausted(TurnStep::Reads, self.roster.has_reads());
        self.take_mail();
        self.count_exhausted(TurnStep::Mail, !self.inbox.frames.is_empty());
        self.write_own_output(io);
        self.count_exhausted(TurnStep::Output, self.roster.queued_writes() > 0);
        self.send_rounds(io);
        self.count_exhausted(TurnStep::Rounds, self.topics.has_rounds());
        let timers_left = self.expire_timers(io);
        self.count_exhausted(TurnStep::Timers, timers_left);
        self.continue_walk(io);
        self.wake_mailed(io);
        if self.index == 0 && now.mono_ms >= self.sweep_at_ms {
            let more = self.node.hub.sweep(now);
            self.sweep_at_ms = now.mono_ms + if more { 0 } else { SWEEP_MS };
        }
        let finished = self.is_finished(io);
        let more = timers_left || self.has_work();
        TurnOutcome {
            drain_requested: std::mem::take(&mut self.drain_requested),
            finished,
            listening: !self.stopping,
            rounds_left: self.topics.has_rounds(),
            more,
            due_in_ms: if more { Some(0) } else { self.due_in_ms() },
        }
    }

    /// Counts when a step has left work for the next turn.
    fn count_exhausted(&self, step: TurnStep, left: bool) {
        if left {
            self.counters().exhaust(step);
        }
    }

    /// Wakes those workers that sleep over mail of this one. A sleeper is taken only here, where the wake
    /// follows at once: to others it would seem awake meanwhile.
    fn wake_mailed(&mut self, io: &mut impl Io) {
        let mailed = std::mem::take(&mut self.mailed);
        let sleepers = if mailed == 0 { 0 } else { self.node.hub.claim_sleepers(mailed) };
        if sleepers != 0 {
            io.wake(sleepers);
        }
    }

    /// Announces a wait. Returns false if mail came meanwhile: the driver must not block.
    pub fn fall_asleep(&self) -> bool {
        self.node.hub.mailbox(self.index).fall_asleep()
    }

    /// Notes that the wait is over: other workers need not wake this one.
    pub fn wake_up(&self) {
        self.node.hub.mailbox(self.index).wake_up();
    }

    /// Number of connections, streams among them.
    pub fn connections(&self) -> usize {
        self.roster.len()
    }

    /// Streams that lag, counted one by one: for checks that the gauge never drifts.
    pub fn lagging(&self) -> usize {
        let lags = |conn: &Conn| match &conn.state {
            ConnState::Streaming(stream) => stream.is_lagging(),
            ConnState::Idle | ConnState::Requesting(_) => false,
        };
        self.roster.iter().filter(|(_, conn)| lags(conn)).count()
    }

    /// Its counters; the worker is their only writer.
    pub fn counters(&self) -> &Counters {
        self.node.counters(self.index)
    }

    fn has_work(&self) -> bool {
        let inbox = &self.inbox;
        let mail = !inbox.frames.is_empty() || !inbox.control.is_empty() || !inbox.settlements.is_empty();
        let output = self.topics.has_rounds() || self.roster.queued_writes() > 0;
        mail || output || self.roster.has_reads() || !self.walks.is_empty()
    }

    fn due_in_ms(&self) -> Option<u64> {
        let timer = self.roster.wheel().next_due().map(|tick| u64::from(tick) * TICK_MS);
        let sweep = (self.index == 0).then_some(self.sweep_at_ms);
        let drain = self.drain.map(|drain| u64::from(drain.deadline) * TICK_MS);
        let due = [timer, sweep, drain].into_iter().flatten().min()?;
        Some(due.saturating_sub(self.now.mono_ms))
    }

    /// Takes frames into their topics and marks probes; stops when too much waits to be offered, so that a
    /// publisher that outruns this worker fills the mailbox and is refused.
    fn take_mail(&mut self) {
        let most = if self.drain.is_some() || self.stopping {
            // At the end nothing more is published, and the time for all that was is short.
            usize::MAX
        } else if self.log_read && self.inbox.frames.len() > MAIL_FRAMES_PER_TURN {
            // Streams that return or were full for a moment must not be passed by while they read.
            MAIL_FRAMES_BESIDE_READERS
        } else {
            MAIL_FRAMES_PER_TURN
        };
        for _ in 0..most {
            if self.topics.fresh_frames() >= FRESH_FRAMES_MAX {
                return;
            }
            match self.inbox.frames.try_recv() {
                Ok(MailboxItem::Frame(frame)) => self.topics.deliver(&frame),
                Ok(MailboxItem::Probe(probe)) => probe.mark_seen(self.index),
                Err(_) => return,
            }
        }
    }

    fn take_control(&mut self, io: &mut impl Io) {
        while let Ok(control) = self.inbox.control.try_recv() {
            match control {
                ControlMessage::Shed => self.shed_passed_by(io),
                ControlMessage::Survey(survey) => self.begin_walk(io, survey),
                ControlMessage::Surveyed(token, survey) => self.answer_completed_survey(token, &survey),
                ControlMessage::Drain | ControlMessage::Stop => {}
            }
        }
        self.take_settlements();
        self.stopping |= self.node.is_stopping();
        if self.node.is_draining() && !self.stopping {
            self.begin_drain();
        }
    }

    fn read_ready(&mut self, io: &mut impl Io) {
        let busy = self.topics.has_rounds();
        let mut bytes = 0;
        self.requests_taken = 0;
        for nth in 0..if busy { READS_BESIDE_ROUNDS } else { READS_PER_TURN } {
            if bytes >= READ_BYTES_PER_TURN || self.requests_taken >= REQUESTS_PER_TURN {
                return;
            }
            let lanes = match nth % 2 {
                0 => [ReadLane::Control, ReadLane::Public],
                _ => [ReadLane::Public, ReadLane::Control],
            };
            let Some(slot) = self.roster.next_read(&lanes) else { return };
            bytes += self.read_connection(io, slot);
        }
    }

    fn expire_timers(&mut self, io: &mut impl Io) -> bool {
        let mut due = std::mem::take(&mut self.due);
        let more = self.roster.expire(self.now.tick(), TIMERS_PER_TURN, &mut due);
        for slot in due.drain(..) {
            self.handle_timer(io, slot);
        }
        self.due = due;
        let lag_ms = u64::from(self.roster.wheel().lag(self.now.tick())) * TICK_MS;
        self.counters().wheel_lag_ms.store(lag_ms, Ordering::Relaxed);
        more
    }

    /// Acts on a timer. Streams decide whether anything is really due; requests are late.
    fn handle_timer(&mut self, io: &mut impl Io, slot: u32) {
        match &self.roster.conn(slot).state {
            ConnState::Streaming(_) => self.handle_stream_timer(io, slot),
            ConnState::Idle => {
                let why = if self.drain.is_some() { CloseReason::Drain } else { CloseReason::Idle };
                self.close(io, slot, CloseMode::Orderly, why);
            }
            ConnState::Requesting(_) => self.handle_request_timer(io, slot),
        }
    }

    fn begin_drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        let drain_ms = self.node.settings.drain_ms;
        let ends_within_ms = drain_ends_within_ms(drain_ms, self.node.totals().subscribers_open);
        let idle_until = self.now.tick().saturating_add(ticks_of_ms(DRAIN_IDLE_MS));
        let deadline = self.now.tick().saturating_add(ticks_of_ms(drain_ms));
        self.drain = Some(DrainWindow { deadline, idle_until });
        for slot in self.roster.used_slots() {
            match &mut self.roster.conn_mut(slot).state {
                ConnState::Streaming(stream) => {
                    let wait = self.prng.below(ends_within_ms + 1);
                    stream.end_due = self.now.tick().saturating_add(ticks_of_ms(wait));
                    let ends = stream.end_due;
                    self.roster.arm(slot, ends);
                }
                // A request may be under way, and its sender could not tell whether it was handled.
                ConnState::Idle => self.roster.arm(slot, idle_until),
                ConnState::Requesting(_) => self.refuse_upload(slot),
            }
        }
    }

    /// Whether a drain or stop has come to its end; then ends the connections that are left.
    fn is_finished(&mut self, io: &mut impl Io) -> bool {
        let Some(deadline) = self.drain.map(|drain| drain.deadline).or(self.stopping.then_some(0)) else {
            return false;
        };
        let kept = self.drain.is_some_and(|drain| self.now.tick() < drain.idle_until);
        let in_use = |conn: &Conn| match &conn.state {
            ConnState::Idle => kept || conn.is_in_read_queue(),
            ConnState::Requesting(_) | ConnState::Streaming(_) => true,
        };
        let over = self.stopping || self.now.tick() >= deadline;
        if !over && self.roster.iter().any(|(_, conn)| in_use(conn)) {
            return false;
        }
        if !self.stopping {
            self.end_remaining(io);
        }
        for slot in self.roster.used_slots() {
            self.close(io, slot, CloseMode::Orderly, CloseReason::Drain);
        }
        self.stopping = true;
        true
    }

    /// Sends streams their end when the window has passed: after a frame that is begun, and only if they take
    /// it at once. Frames that a stream had still to read it gets where it comes back.
    fn end_remaining(&mut self, io: &mut impl Io) {
        self.finish_all_tickets();
        for slot in self.roster.used_slots() {
            self.queue_stream_end(slot);
        }
        for _ in 0..=self.roster.queued_writes() / BATCH_SENDS_MAX {
            self.write_own_output(io);
        }
    }

    /// Closes a connection and frees its slot.
    pub(super) fn close(&mut self, io: &mut impl Io, slot: u32, how: CloseMode, why: CloseReason) {
        self.trace_closed(io, slot, why);
        self.release_connection(slot, why);
        io.close(slot, how);
    }

    /// Gives back everything a connection holds but its socket.
    fn release_connection(&mut self, slot: u32, why: CloseReason) {
        let conn = self.roster.release(&self.node.connections, slot);
        self.counters().close(why);
        self.counters().connections(-1);
        let age = self.now.tick().saturating_sub(conn.opened);
        self.counters().duration.add(u64::from(age) * TICK_MS, 1);
        match conn.state {
            ConnState::Idle => {}
            ConnState::Requesting(exchange) => {
                if let ExchangePhase::Body(upload) = &exchange.phase {
                    self.node.bodies.release(upload.charged);
                }
            }
            ConnState::Streaming(stream) => self.leave_topics(stream),
        }
    }
}
