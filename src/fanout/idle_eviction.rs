//! Early closing of idle connections of the operator's listener when files run short, and the answer to
//! newcomers that find no room.
//!
//! Nothing else bounds those connections. Without this, a client that reaches that listener could lock out
//! the operator and the public by opening connections alone.
//!
//! Knows neither files nor limits: the shell says when, and how many sockets it wants closed.

use super::conn::{Conn, ConnState};
use super::exchange::ExchangePhase;
use super::seam::{CloseMode, Io};
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count, RefusalReason};
use crate::base::limits::RETRY_AFTER_S;
use crate::base::settings::ListenerKind;
use crate::base::time::{Now, TICK_MS, Tick, ticks_of_ms};
use crate::wire::problem::Problem;
use crate::wire::reply::{self, Reply};

/// Idle connections of the operator's listener that are closed in one tick when files run short: about 1 ms.
const ROOM_CLOSES_PER_TICK: usize = 256;
/// Milliseconds within which a connected client sends its request, even on a busy machine. A younger
/// connection is closed for room only when no older one is idle: else idle ones would keep newcomers out.
const FRESH_MS: u64 = 1_000;

/// Sockets that a worker with too many of them wants closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EvictionRequest {
    /// Number of sockets to close.
    pub(crate) sockets: usize,
    /// Idle connections to keep all the same: as many as find room beside the public's.
    pub(crate) keep: usize,
}

/// Whether a connection of the operator's listener waits for its peer and has nothing under way.
fn is_idle(conn: &Conn) -> bool {
    let waits = match &conn.state {
        ConnState::Idle => true,
        ConnState::Requesting(exchange) => {
            matches!(exchange.phase, ExchangePhase::Head) && exchange.out.is_empty()
        }
        ConnState::Streaming(_) => false,
    };
    waits && conn.listener == ListenerKind::Control && !conn.is_in_read_queue()
}

impl Worker {
    /// Closes idle connections of the operator's listener in the order of their timers: those that never sent
    /// a request come before those that did. Fresh ones come last. Looks at all connections, so at most once
    /// a tick. Returns the milliseconds after which another call may close more.
    pub(crate) fn evict_idle(&mut self, io: &mut impl Io, now: Now, wanted: EvictionRequest) -> Option<u64> {
        if self.roster.control_connections() <= wanted.keep {
            return None;
        }
        if self.evicted_at == now.tick() {
            return Some(TICK_MS);
        }
        self.evicted_at = now.tick();
        let fresh = |conn: &Conn| now.tick().saturating_sub(conn.opened) < ticks_of_ms(FRESH_MS);
        let idle = self.roster.iter().filter(|(_, conn)| is_idle(conn));
        let idle = idle.map(|(slot, conn)| (fresh(conn), self.roster.wheel().due(slot), slot));
        let mut idle: Vec<(bool, Tick, u32)> = idle.collect();
        let most = idle.len().saturating_sub(wanted.keep).min(wanted.sockets).min(ROOM_CLOSES_PER_TICK);
        idle.sort_unstable();
        for &(_, _, slot) in &idle[..most] {
            self.close(io, slot, CloseMode::Orderly, CloseReason::Idle);
        }
        (most > 0).then_some(if most < wanted.sockets { TICK_MS } else { 0 })
    }

    /// Counts the refusal of a newcomer that finds no room. Returns the answer to any request of it.
    pub(crate) fn refuse_newcomer(&mut self, now: Now, listener: ListenerKind) -> Vec<u8> {
        let draining = self.node.is_draining();
        let why = if draining { RefusalReason::Draining } else { RefusalReason::Connections };
        self.counters().refuse(why);
        let span = RETRY_AFTER_S.end - RETRY_AFTER_S.start;
        let retry_after_s = RETRY_AFTER_S.start + self.prng.below(span);
        let reply = Reply {
            status: 503,
            http11: true,
            keep_alive: false,
            idle_ms: 0,
            head_only: false,
            cors: &self.node.policy(listener).cors,
            origin: None,
            retry_after_s: Some(retry_after_s),
            allow: None,
            wall_ms: now.wall_ms,
        };
        let mut answer = Vec::new();
        reply::append_problem(&mut answer, &Problem::Refused(why), &reply);
        answer
    }

    /// Counts a newcomer that was accepted only to be refused.
    pub(crate) fn count_turned_away(&self) {
        self.counters().count(Count::Accepted);
        self.counters().close(CloseReason::Refused);
    }
}
