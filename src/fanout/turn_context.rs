//! The context of a running turn: the node, the moment, the seam to sockets, and state that steps leave for
//! later ones.
//!
//! Owns no connection and no topic.

use std::net::IpAddr;

use super::beacon_rate::BeaconRate;
use super::conn::Conn;
use super::conn_trace::ConnTraces;
use super::drain_window::Shutdown;
use super::hub::TopicForgetting;
use super::mail::MailboxReceiver;
use super::node::Node;
use super::roster::Roster;
use super::seam::Io;
use super::token::{Asker, ConnToken};
use crate::base::counters::{Counters, TurnStep};
use crate::base::limits::{RETRY_AFTER_S, RETRY_JITTER_PERCENT};
use crate::base::peers::ClientAddress;
use crate::base::prng::Prng;
use crate::base::survey::ConnectionId;
use crate::base::time::{Now, TICK_MS, Tick};

/// The turn that is running on one worker.
#[derive(Debug)]
pub(super) struct TurnContext<'a, I> {
    /// State that all workers share.
    pub(super) node: &'a Node,
    /// Index of the worker.
    pub(super) index: usize,
    /// The worker's mailboxes.
    pub(super) inbox: &'a MailboxReceiver,
    /// The moment of the turn.
    pub(super) now: Now,
    /// Sockets, or their fakes.
    pub(super) io: &'a mut I,
    /// State of the worker that outlives the turn.
    pub(super) carried: &'a mut CarriedState,
}

/// State that steps leave for later ones, of this turn or of another.
#[derive(Debug)]
pub(super) struct CarriedState {
    /// The drain or the stop of this worker.
    pub(super) shutdown: Shutdown,
    /// Traces of connections for the debug log.
    pub(super) traces: ConnTraces,
    /// Beacons of pages in this second.
    pub(super) beacons: BeaconRate,
    /// The last batch of own output served a stream that is behind.
    pub(super) log_was_read: bool,
    prng: Prng,
    /// Workers that were sent mail since the last wake, a bit each.
    mailed: u64,
    drain_requested: bool,
    /// Topics that have forgotten their events, for the log.
    forgotten: Vec<TopicForgetting>,
    /// Requests handled and events published in this turn.
    requests_taken: usize,
    /// The request that is read now may cost much: it is its turn.
    admits_costly: bool,
}

impl CarriedState {
    /// The state of a worker before its first turn. `seed` drives its jitter.
    pub(super) fn new(seed: u64) -> CarriedState {
        CarriedState {
            shutdown: Shutdown::default(),
            traces: ConnTraces::default(),
            beacons: BeaconRate::default(),
            log_was_read: false,
            prng: Prng::new(seed),
            mailed: 0,
            drain_requested: false,
            forgotten: Vec::new(),
            requests_taken: 0,
            admits_costly: false,
        }
    }

    /// Notes workers that were sent mail, a bit each.
    pub(super) fn note_mailed(&mut self, mask: u64) {
        self.mailed |= mask;
    }

    /// Returns the workers that were sent mail since the last call.
    pub(super) fn take_mailed(&mut self) -> u64 {
        std::mem::take(&mut self.mailed)
    }

    /// Notes that the operator asks for a drain of the whole server.
    pub(super) fn request_drain(&mut self) {
        self.drain_requested = true;
    }

    /// Returns whether a drain was asked for since the last call.
    pub(super) fn take_drain_request(&mut self) -> bool {
        std::mem::take(&mut self.drain_requested)
    }

    /// Notes a topic that has forgotten its events.
    pub(super) fn note_forgotten(&mut self, topic: TopicForgetting) {
        self.forgotten.push(topic);
    }

    /// Returns the topics noted since the last call: one a turn at most.
    pub(super) fn take_forgotten(&mut self) -> Vec<TopicForgetting> {
        std::mem::take(&mut self.forgotten)
    }

    /// Counts requests that were handled, events that were published, and work that weighs as much.
    pub(super) fn count_requests(&mut self, count: usize) {
        self.requests_taken += count;
    }

    /// Requests counted since [`CarriedState::forget_requests`].
    pub(super) fn requests_taken(&self) -> usize {
        self.requests_taken
    }

    /// Says whether the requests that are read from now on may cost much.
    pub(super) fn admit_costly(&mut self, admits: bool) {
        self.admits_costly = admits;
    }

    /// Whether requests that are read now may cost much.
    pub(super) fn admits_costly(&self) -> bool {
        self.admits_costly
    }

    /// Begins to count requests anew.
    pub(super) fn forget_requests(&mut self) {
        self.requests_taken = 0;
    }

    /// Draws a number below `bound`.
    pub(super) fn draw_below(&mut self, bound: u64) -> u64 {
        self.prng.below(bound)
    }

    /// Draws a number that differs from `value` by at most so many per cent.
    pub(super) fn draw_near(&mut self, value: u64, percent: u64) -> u64 {
        self.prng.jittered(value, percent)
    }

    /// Draws the seconds after which a client that was refused is to try again.
    pub(super) fn draw_retry_after_s(&mut self) -> u64 {
        RETRY_AFTER_S.start + self.prng.below(RETRY_AFTER_S.end - RETRY_AFTER_S.start)
    }
}

impl<'a, I: Io> TurnContext<'a, I> {
    /// Counters of the worker, which is their only writer.
    pub(super) fn counters(&self) -> &'a Counters {
        self.node.counters(self.index)
    }

    /// Counts when a step has left work for the next turn.
    pub(super) fn count_exhausted(&self, step: TurnStep, left: bool) {
        if left {
            self.counters().exhaust(step);
        }
    }

    /// The tick that is running.
    pub(super) fn tick(&self) -> Tick {
        self.now.tick()
    }

    /// The tick that comes so many ticks later.
    pub(super) fn tick_after(&self, ticks: Tick) -> Tick {
        self.tick().saturating_add(ticks)
    }

    /// The first tick at least so many milliseconds later.
    pub(super) fn tick_after_ms(&self, ms: u64) -> Tick {
        self.now.tick_after_ms(ms)
    }

    /// Milliseconds since a tick.
    pub(super) fn ms_since(&self, tick: Tick) -> u64 {
        u64::from(self.tick().saturating_sub(tick)) * TICK_MS
    }

    /// Draws the reconnection time of one client.
    pub(super) fn draw_retry_ms(&mut self) -> u64 {
        self.carried.draw_near(self.node.settings.retry_ms, RETRY_JITTER_PERCENT)
    }

    /// The id that names a connection of this worker to the operator.
    pub(super) fn connection_id(&self, slot: u32, conn: &Conn) -> ConnectionId {
        ConnectionId { worker: self.index as u32, slot, generation: conn.generation }
    }

    /// The address of a connection's client: as a trusted proxy has named it, else the peer's.
    pub(super) fn client_address(&mut self, roster: &Roster, slot: u32) -> Option<ClientAddress> {
        let peer =
            |io: &mut I| io.peer_address(slot).map(|peer| ClientAddress::new(peer.ip(), Some(peer.port())));
        roster.named_client(slot).or_else(|| peer(self.io))
    }

    /// The address under which a connection's client has its rates; none where only its proxy's is known.
    pub(super) fn counted_client(&mut self, roster: &Roster, slot: u32) -> Option<IpAddr> {
        let client = self.client_address(roster, slot)?.ip;
        let trusted = &self.node.trusted;
        (trusted.is_empty() || !trusted.contains(Some(client))).then_some(client)
    }

    /// Names a connection of this worker to the workers that answer it later.
    pub(super) fn asker(&self, token: ConnToken) -> Asker {
        Asker { worker: self.index, token }
    }

    /// Wakes those workers that sleep over mail of this one. A sleeper is taken only here, where the wake
    /// follows at once: to others it would seem awake meanwhile.
    pub(super) fn wake_mailed(&mut self) {
        let mailed = self.carried.take_mailed();
        let sleepers = if mailed == 0 { 0 } else { self.node.hub.claim_sleepers(mailed) };
        if sleepers != 0 {
            self.io.wake(sleepers);
        }
    }
}
