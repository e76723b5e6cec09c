//! Early closing of idle connections of the operator's listeners when files run short, and the answer to
//! newcomers that find no room.
//!
//! Nothing else bounds those connections. Without this, a client that reaches that listener could lock out
//! the operator and the public by opening connections alone.
//!
//! Knows neither files nor limits: the shell says when, and how many sockets it wants closed.

use super::closing::close;
use super::conn::{Conn, ConnState};
use super::exchange::ExchangePhase;
use super::node::Node;
use super::roster::Roster;
use super::seam::{CloseMode, Io};
use super::topics::LocalTopics;
use super::turn_context::{CarriedState, TurnContext};
use crate::base::counters::{CloseReason, RefusalReason};
use crate::base::listener::ListenerKind;
use crate::base::time::{Now, TICK_MS, Tick, ticks_of_ms};
use crate::wire::problem::Problem;
use crate::wire::reply::{self, Reply};

/// Idle connections of the operator's listeners that are closed in one tick when files run short: about 1 ms.
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

/// A connection that may be closed for room. The least is closed first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct IdleConnection {
    /// It is younger than [`FRESH_MS`].
    fresh: bool,
    /// Tick of its timer, which comes sooner for one that never sent a request.
    due: Tick,
    slot: u32,
}

/// Whether a connection of an operator's listener waits for its peer and has nothing under way.
fn is_idle(conn: &Conn) -> bool {
    let waits = match &conn.state {
        ConnState::Idle => true,
        ConnState::Requesting(exchange) => {
            matches!(exchange.phase, ExchangePhase::Head) && exchange.out.is_empty()
        }
        ConnState::Streaming(_) => false,
    };
    waits && conn.listener.is_operators() && !conn.is_in_read_queue()
}

/// The times of closing for room: a look at all connections costs, so there is one in a tick.
#[derive(Debug)]
pub(super) struct IdleEviction {
    looked_at: Option<Tick>,
}

impl IdleEviction {
    /// Begins without a look.
    pub(super) fn new() -> IdleEviction {
        IdleEviction { looked_at: None }
    }

    /// Closes idle connections of the operator's listeners in the order of their timers: those that never
    /// sent a request come before those that did. Fresh ones come last. Looks at all connections, so at most
    /// once a tick. Returns the milliseconds after which another call may close more.
    pub(super) fn evict(
        &mut self,
        roster: &mut Roster,
        topics: &mut LocalTopics,
        turn: &mut TurnContext<'_, impl Io>,
        wanted: EvictionRequest,
    ) -> Option<u64> {
        if roster.control_connections() <= wanted.keep {
            return None;
        }
        let tick = turn.tick();
        if self.looked_at.replace(tick) == Some(tick) {
            return Some(TICK_MS);
        }
        let fresh = |conn: &Conn| tick.saturating_sub(conn.opened) < ticks_of_ms(FRESH_MS);
        let idle = roster.iter().filter(|(_, conn)| is_idle(conn));
        let due = |slot| roster.wheel().due(slot);
        let idle = idle.map(|(slot, conn)| IdleConnection { fresh: fresh(conn), due: due(slot), slot });
        let mut idle: Vec<IdleConnection> = idle.collect();
        let most = idle.len().saturating_sub(wanted.keep).min(wanted.sockets).min(ROOM_CLOSES_PER_TICK);
        idle.sort_unstable();
        for &IdleConnection { slot, .. } in &idle[..most] {
            close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Idle);
        }
        (most > 0).then_some(if most < wanted.sockets { TICK_MS } else { 0 })
    }
}

/// Counts the refusal of a newcomer that finds no room. Returns the answer to any request of it.
pub(super) fn refuse_newcomer(
    node: &Node,
    worker: usize,
    carried: &mut CarriedState,
    now: Now,
    listener: ListenerKind,
) -> Vec<u8> {
    let draining = node.is_draining();
    let why = if draining { RefusalReason::Draining } else { RefusalReason::Connections };
    node.counters(worker).refuse(why);
    let reply = Reply {
        status: 503,
        http11: true,
        keep_alive: false,
        idle_ms: 0,
        head_only: false,
        cors: &node.policy(listener).cors,
        origin: None,
        retry_after_s: Some(carried.draw_retry_after_s()),
        allow: None,
        challenge: None,
        wall_ms: now.wall_ms,
    };
    let mut answer = Vec::new();
    reply::append_problem(&mut answer, &Problem::Refused(why), &reply);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::Settings;
    use crate::fanout::lanes::ReadLane;
    use crate::fanout::stage_tests::Stage;

    #[test]
    fn idle_ones_of_the_operator_go_first_the_fresh_last_and_none_twice_a_tick() {
        let mut stage = Stage::new(Settings::default());
        let old = [(); 2].map(|()| stage.open(ListenerKind::Control));
        let public = stage.open(ListenerKind::Public);
        stage.now_ms += FRESH_MS + 100;
        let fresh = stage.open(ListenerKind::Control);
        stage
            .step(|roster, _, _| while roster.next_read(&[ReadLane::Control, ReadLane::Public]).is_some() {});
        let mut eviction = IdleEviction::new();
        let mut evict = |stage: &mut Stage, sockets, keep| {
            let wanted = EvictionRequest { sockets, keep };
            stage.step(|roster, topics, turn| eviction.evict(roster, topics, turn, wanted))
        };
        assert_eq!(evict(&mut stage, 9, 3), None, "so many are to be kept");
        assert_eq!(evict(&mut stage, 2, 0), Some(0));
        assert_eq!(stage.io.closed, old.map(|slot| (slot, CloseMode::Orderly)));
        assert_eq!(evict(&mut stage, 1, 0), Some(TICK_MS), "it has looked in this tick");
        stage.now_ms += TICK_MS;
        assert_eq!(evict(&mut stage, 9, 0), Some(TICK_MS));
        assert_eq!(stage.io.closed.last(), Some(&(fresh, CloseMode::Orderly)));
        assert!(stage.roster.find(public).is_some());
    }
}
