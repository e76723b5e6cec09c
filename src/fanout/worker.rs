//! One worker: the order of work in a turn, and nothing else. The parts do the work.
//!
//! ```text
//! turn: control → some reads → wakes of others → mail → a slice of a loss → ends of windows
//!       → one batch of own output → one batch of the rounds → timers → a slice of a survey
//! ```
//!
//! Every step has a budget, and that of the reads is small while a round runs: a health check, a publish or a
//! newcomer waits for one batch and never for a whole broadcast, and a crowd of newcomers costs each batch of
//! existing subscribers a few reads.
//!
//! The parts know each other one way only, each line those above it:
//!
//! ```text
//! roster (connections)   topics (their topics)   turn_context (node, moment, seam)
//! closing   answers   log_read   survey_row   application_answer
//! admission   lobby   outcomes   publish_answer   survey_request   joining
//! upload
//! output   rounds   serve
//! leaving   http
//! stream   survey_walk   loss_walk   revocation   idle_eviction
//! ```

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::application_answer::take_verdicts;
use super::closing::{close, count_closed};
pub use super::conn::ConnToken;
use super::conn::{Conn, ConnState};
use super::conn_trace::{ConnTrace, TraceEvent, TracedClient};
use super::hash::SeededHash;
use super::http::{handle_request_timer, read_connection};
use super::hub::TopicForgetting;
use super::idle_eviction::{EvictionRequest, IdleEviction, refuse_newcomer};
use super::lanes::ReadLane;
use super::leaving::{begin_drain, is_finished, shed_passed_by};
use super::lobby::close_late;
use super::loss_walk::LossWalk;
use super::mail::{ControlMessage, MailboxItem, MailboxReceiver};
use super::node::Node;
use super::output::write_own_output;
use super::publish_answer::take_settlements;
use super::revocation::RevocationWalk;
use super::roster::{Arrival, Roster};
use super::rounds::send_rounds;
use super::seam::{CloseMode, Io};
use super::stream::handle_stream_timer;
use super::survey_request::answer_completed_survey;
use super::survey_walk::SurveyWalks;
use super::topics::LocalTopics;
use super::turn_context::{CarriedState, TurnContext};
use super::windows::EndedWindows;
use crate::base::counters::{CloseReason, Count, Counters, SupersededReason, TurnStep};
use crate::base::limits::{
    FRESH_FRAMES_MAX, MAIL_FRAMES_BESIDE_READERS, MAIL_FRAMES_PER_TURN, READ_BYTES_PER_TURN,
    READS_BESIDE_ROUNDS, READS_PER_TURN, REQUESTS_PER_TURN, SCRATCH_BYTES, SWEEP_MS, TIMERS_PER_TURN,
};
use crate::base::listener::ListenerKind;
use crate::base::settings::ProxyProtocol;
use crate::base::survey::ConnectionId;
use crate::base::time::{Now, TICK_MS};

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
/// `evict_idle` and `refuse_newcomer` serve a driver that runs out of files, `set_tracing`, `take_traces` and
/// `take_forgotten` its log: all between two turns. [`connections`](Worker::connections),
/// [`lagging`](Worker::lagging) and [`counters`](Worker::counters) only look.
#[derive(Debug)]
pub struct Worker {
    node: Arc<Node>,
    index: usize,
    inbox: MailboxReceiver,
    roster: Roster,
    topics: LocalTopics,
    carried: CarriedState,
    surveys: SurveyWalks,
    losses: LossWalk,
    revocation: RevocationWalk,
    eviction: IdleEviction,
    /// Bytes of the read that is being handled.
    scratch: Vec<u8>,
    /// Slots whose timers have expired.
    due: Vec<u32>,
    sweep_at_ms: u64,
}

impl Worker {
    /// Worker `index` of the node. `seed` drives its jitter.
    pub fn new(node: Arc<Node>, index: usize, inbox: MailboxReceiver, seed: u64) -> Worker {
        // For tables whose keys clients choose. Not the draws of the jitter: clients see some of each in
        // their reconnection times.
        let hash = SeededHash::new(!seed);
        Worker {
            node,
            index,
            inbox,
            roster: Roster::new(hash.clone()),
            topics: LocalTopics::new(hash.clone()),
            carried: CarriedState::new(seed),
            surveys: SurveyWalks::new(hash),
            losses: LossWalk::default(),
            revocation: RevocationWalk::default(),
            eviction: IdleEviction::new(),
            scratch: vec![0; SCRATCH_BYTES],
            due: Vec::new(),
            sweep_at_ms: 0,
        }
    }

    /// Takes in an accepted connection. `None`: drop its socket at once, there is not even room to refuse.
    /// The connection is read in the next turn without waiting for a readiness.
    pub fn open(&mut self, now: Now, listener: ListenerKind, peer: Option<IpAddr>) -> Option<ConnToken> {
        let counters = self.node.counters(self.index);
        counters.count(Count::Accepted);
        let arrival = self.arrival(now, listener, peer);
        let Some(token) = self.roster.open(&self.node.connections, &arrival) else {
            counters.close(CloseReason::Refused);
            return None;
        };
        counters.connections(1);
        let traces = &mut self.carried.traces;
        // One in the lobby is traced when its client is known.
        if traces.is_on() && !arrival.in_lobby {
            let (slot, generation) = (token.slot(), token.generation());
            traces.remember_client(slot, peer);
            let client = TracedClient { address: peer, proxy: None };
            let id = ConnectionId { worker: self.index as u32, slot, generation };
            traces.push(counters, ConnTrace { id, listener, event: TraceEvent::Opened(client) });
        }
        Some(token)
    }

    /// Describes a newcomer to the roster. A trusted proxy is no client: it does not count as an address.
    fn arrival(&self, now: Now, listener: ListenerKind, peer: Option<IpAddr>) -> Arrival {
        let Node { ticks, trusted, settings, .. } = &*self.node;
        let is_proxy = listener == ListenerKind::Public && trusted.contains(peer);
        let in_lobby = match settings.proxy_protocol {
            ProxyProtocol::Off => false,
            ProxyProtocol::Accept => is_proxy,
            ProxyProtocol::Require => listener == ListenerKind::Public,
        };
        let peer = peer.filter(|_| !is_proxy);
        let counted = peer.filter(|_| listener == ListenerKind::Public && !in_lobby);
        let over = counted.and_then(|peer| self.node.judge_newcomer(peer, now));
        let (head_wait, refusal_wait) = (ticks.head, ticks.refusal);
        Arrival { listener, peer, over, in_lobby, tick: now.tick(), head_wait, refusal_wait }
    }

    /// Gives the slot of a connection back that was opened since the last turn: the driver could not register
    /// its socket and has dropped it.
    pub fn register_failed(&mut self, token: ConnToken) {
        if self.roster.owns(token) {
            let conn = self.roster.release(&self.node.connections, token.slot());
            debug_assert!(matches!(conn.state, ConnState::Idle), "there was no turn since it was opened");
            self.counters().count(Count::RegisterErrors);
            count_closed(self.counters(), &conn, conn.opened, CloseReason::Host);
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
        let Worker { node, index, inbox, roster, topics, carried, surveys, losses, revocation, .. } = self;
        let turn = &mut TurnContext { node, index: *index, inbox, now, io, carried };
        turn.counters().count(Count::Turns);
        topics.note_time(now.mono_ms);
        take_control(roster, topics, surveys, turn);
        read_ready(roster, topics, turn, &mut self.scratch);
        // Now and not at the end of the turn: they need not wait for this worker's own subscribers.
        turn.wake_mailed();
        turn.count_exhausted(TurnStep::Reads, roster.has_reads());
        refresh_windows(topics, turn);
        take_mail(topics, losses, turn);
        losses.continue_walk(roster);
        turn.count_exhausted(TurnStep::Mail, !turn.inbox.frames.is_empty());
        end_windows(topics, turn);
        turn.carried.log_was_read = write_own_output(roster, topics, turn);
        turn.count_exhausted(TurnStep::Output, roster.queued_writes() > 0);
        send_rounds(roster, topics, turn);
        turn.count_exhausted(TurnStep::Rounds, topics.has_rounds());
        let timers_left = expire_timers(roster, topics, turn, &mut self.due);
        turn.count_exhausted(TurnStep::Timers, timers_left);
        surveys.continue_walk(roster, topics, turn);
        revocation.continue_walk(roster, topics, turn);
        turn.wake_mailed();
        if turn.index == 0 && now.mono_ms >= self.sweep_at_ms {
            let more = turn.node.hub.sweep(now);
            self.sweep_at_ms = now.mono_ms + if more { 0 } else { SWEEP_MS };
        }
        turn.counters().lobby.store(roster.lobby_connections() as u64, Ordering::Relaxed);
        let finished = is_finished(roster, topics, turn);
        let more = timers_left || self.has_work();
        TurnOutcome {
            drain_requested: self.carried.take_drain_request(),
            finished,
            listening: !self.carried.shutdown.stopping,
            rounds_left: self.topics.has_rounds(),
            more,
            due_in_ms: if more { Some(0) } else { self.due_in_ms(now) },
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

    /// Closes idle connections of the operator's listeners, as [`IdleEviction::evict`] says.
    pub(crate) fn evict_idle(&mut self, io: &mut impl Io, now: Now, wanted: EvictionRequest) -> Option<u64> {
        let Worker { node, index, inbox, roster, topics, carried, eviction, .. } = self;
        let mut turn = TurnContext { node, index: *index, inbox, now, io, carried };
        eviction.evict(roster, topics, &mut turn, wanted)
    }

    /// Counts the refusal of a newcomer that finds no room. Returns the answer to any request of it.
    pub(crate) fn refuse_newcomer(&mut self, now: Now, listener: ListenerKind) -> Vec<u8> {
        refuse_newcomer(&self.node, self.index, &mut self.carried, now, listener)
    }

    /// Counts a newcomer that was accepted only to be refused.
    pub(crate) fn count_turned_away(&self) {
        self.counters().count(Count::Accepted);
        self.counters().close(CloseReason::Refused);
    }

    /// Turns tracing on or off.
    pub(crate) fn set_tracing(&mut self, tracing: bool) {
        self.carried.traces.set_on(tracing);
    }

    /// Returns the traces since the last call.
    pub(crate) fn take_traces(&mut self) -> Vec<ConnTrace> {
        self.carried.traces.take()
    }

    /// Returns the topics that have forgotten their events since the last call.
    pub(crate) fn take_forgotten(&mut self) -> Vec<TopicForgetting> {
        self.carried.take_forgotten()
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
        let answers = !inbox.settlements.is_empty() || !inbox.verdicts.is_empty();
        let mail = !inbox.frames.is_empty() || !inbox.control.is_empty() || answers;
        let output = self.topics.has_rounds() || self.roster.queued_writes() > 0;
        let windows = self.topics.has_stale_windows();
        let walks = !self.surveys.is_empty() || self.losses.is_walking() || self.revocation.is_walking();
        mail || output || windows || self.roster.has_reads() || walks
    }

    fn due_in_ms(&self, now: Now) -> Option<u64> {
        let timer = self.roster.wheel().next_due().map(|tick| u64::from(tick) * TICK_MS);
        let window = self.topics.window_ends_ms();
        let sweep = (self.index == 0).then_some(self.sweep_at_ms);
        let drain = self.carried.shutdown.window.map(|window| u64::from(window.deadline) * TICK_MS);
        let due = [timer, window, sweep, drain].into_iter().flatten().min()?;
        Some(due.saturating_sub(now.mono_ms))
    }
}

/// Takes frames into their topics and marks probes; stops when too much waits to be offered, so that a
/// publisher that outruns this worker fills the mailbox and is refused.
fn take_mail(topics: &mut LocalTopics, losses: &mut LossWalk, turn: &TurnContext<'_, impl Io>) {
    let shutdown = turn.carried.shutdown;
    let most = if shutdown.is_draining() || shutdown.stopping {
        // At the end nothing more is published, and the time for all that was is short.
        usize::MAX
    } else if turn.carried.log_was_read && turn.inbox.frames.len() > MAIL_FRAMES_PER_TURN {
        // Streams that return or were full for a moment must not be passed by while they read.
        MAIL_FRAMES_BESIDE_READERS
    } else {
        MAIL_FRAMES_PER_TURN
    };
    for _ in 0..most {
        if topics.fresh_frames() >= FRESH_FRAMES_MAX || losses.is_walking() {
            return;
        }
        match turn.inbox.frames.try_recv() {
            Ok(MailboxItem::Frame(frame)) => topics.deliver(&frame),
            Ok(MailboxItem::Probe(probe)) => probe.mark_seen(turn.index),
            Ok(MailboxItem::Loss(upto)) => losses.begin_walk(topics, upto),
            Err(_) => return,
        }
    }
}

/// Has the rounds of windows begin whose moment has come: all of them at the end of the server.
fn end_windows(topics: &mut LocalTopics, turn: &TurnContext<'_, impl Io>) {
    let shutdown = turn.carried.shutdown;
    let ending = shutdown.is_draining() || shutdown.stopping;
    let EndedWindows { windows, cut, events, superseded } =
        topics.end_windows(if ending { u64::MAX } else { turn.now.mono_ms });
    let counters = turn.counters();
    counters.add(Count::Windows, windows);
    counters.add(Count::WindowsCut, cut);
    counters.add(Count::WindowEvents, events);
    counters.supersede(SupersededReason::Throttle, superseded);
    counters.waiting_events.store(topics.waiting_events() as u64, Ordering::Relaxed);
}

/// Gives topics the windows that a reload has brought.
fn refresh_windows(topics: &mut LocalTopics, turn: &TurnContext<'_, impl Io>) {
    let stale = topics.next_stale_windows(turn.node.hub.sortings());
    if stale.is_empty() {
        return;
    }
    let hub = turn.node.hub.lock();
    let rules: Vec<_> = stale.iter().map(|&topic| hub.window_rules(topics.get(topic).hub)).collect();
    drop(hub);
    for (topic, rules) in stale.into_iter().zip(rules) {
        topics.set_window(topic, rules);
    }
}

fn take_control(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    surveys: &mut SurveyWalks,
    turn: &mut TurnContext<'_, impl Io>,
) {
    while let Ok(control) = turn.inbox.control.try_recv() {
        match control {
            ControlMessage::Shed => shed_passed_by(roster, topics, turn),
            ControlMessage::Survey(survey) => surveys.begin_walk(roster, topics, turn, survey),
            ControlMessage::Surveyed(token, survey) => answer_completed_survey(roster, turn, token, &survey),
            ControlMessage::Revoke | ControlMessage::Drain | ControlMessage::Stop => {}
        }
    }
    take_settlements(roster, turn);
    take_verdicts(roster, turn);
    turn.carried.shutdown.stopping |= turn.node.is_stopping();
    if turn.node.is_draining() && !turn.carried.shutdown.stopping {
        begin_drain(roster, turn);
    }
}

fn read_ready(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    scratch: &mut [u8],
) {
    let busy = topics.has_rounds();
    let mut bytes = 0;
    turn.carried.forget_requests();
    for nth in 0..if busy { READS_BESIDE_ROUNDS } else { READS_PER_TURN } {
        if bytes >= READ_BYTES_PER_TURN || turn.carried.requests_taken() >= REQUESTS_PER_TURN {
            break;
        }
        let lanes = match nth % 2 {
            0 => [ReadLane::Control, ReadLane::Public],
            _ => [ReadLane::Public, ReadLane::Control],
        };
        let Some(slot) = roster.next_read(&lanes) else { break };
        bytes += read_connection(roster, topics, turn, scratch, slot);
    }
    // One a turn, after all that ask for little, and however many of those there are.
    if let Some(slot) = roster.next_read(&[ReadLane::Costly]) {
        turn.carried.admit_costly(true);
        read_connection(roster, topics, turn, scratch, slot);
        turn.carried.admit_costly(false);
    }
}

/// Acts on the timers that are due. Returns whether more of them are left. `due` is room for their slots.
fn expire_timers(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    due: &mut Vec<u32>,
) -> bool {
    let more = roster.expire(turn.tick(), TIMERS_PER_TURN, due);
    for slot in due.drain(..) {
        handle_timer(roster, topics, turn, slot);
    }
    let lag_ms = u64::from(roster.wheel().lag(turn.tick())) * TICK_MS;
    turn.counters().wheel_lag_ms.store(lag_ms, Ordering::Relaxed);
    more
}

/// Acts on a timer. Streams decide whether anything is really due; requests are late.
fn handle_timer(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    if roster.conn(slot).is_in_lobby() {
        return close_late(roster, topics, turn, slot);
    }
    match &roster.conn(slot).state {
        ConnState::Streaming(_) => handle_stream_timer(roster, topics, turn, slot),
        ConnState::Idle => {
            let draining = turn.carried.shutdown.is_draining();
            let why = if draining { CloseReason::Drain } else { CloseReason::Idle };
            close(roster, topics, turn, slot, CloseMode::Orderly, why);
        }
        ConnState::Requesting(_) => handle_request_timer(roster, topics, turn, slot),
    }
}
