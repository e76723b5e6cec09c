//! The end of what was let in by rules that are no longer: streams whose credential was taken back, and all
//! connections of banned addresses.
//!
//! ```text
//! Node::replace_access ── Revoke ──► each worker: a slice of slots a turn ──► end_stream, end_by_operator
//! ```
//!
//! A change that comes during a walk begins it anew. Connections that come meanwhile are judged by the new
//! rules. Owns no rule.

use super::conn::ConnState;
use super::leaving::{end_by_operator, end_stream};
use super::roster::Roster;
use super::seam::Io;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::listener::ListenerKind;
use crate::wire::auth::access::AccessRules;

/// Slots looked at in one turn, so that subscribers wait for a quarter of a batch.
const REVOCATION_LOOKS_PER_TURN: usize = 4_096;
/// Looks that a question to the kernel for an address counts for, or the end of a connection.
const COSTLY_LOOKS: usize = 24;

/// A walk over a worker's connections.
#[derive(Debug, Default)]
pub(super) struct RevocationWalk {
    /// Changes of rules that a walk has begun for.
    seen: u64,
    /// The next slot to look at, while there is a walk.
    next: Option<u32>,
}

impl RevocationWalk {
    /// Whether slots are left.
    pub(super) fn is_walking(&self) -> bool {
        self.next.is_some()
    }

    /// Looks at the next slots, if rules have changed.
    pub(super) fn continue_walk(
        &mut self,
        roster: &mut Roster,
        topics: &mut LocalTopics,
        turn: &mut TurnContext<'_, impl Io>,
    ) {
        let changes = turn.node.revocations();
        if changes != self.seen {
            self.seen = changes;
            self.next = Some(0);
        }
        let Some(first) = self.next else { return };
        let rules = turn.node.access_rules();
        let (mut slot, mut looks) = (first, 0);
        while looks < REVOCATION_LOOKS_PER_TURN {
            if slot as usize >= roster.slots() {
                self.next = None;
                return;
            }
            looks += judge_slot(roster, topics, turn, slot, &rules);
            slot += 1;
        }
        self.next = Some(slot);
    }
}

/// Ends the owner of a slot if the rules want it. Returns the cost, in looks.
fn judge_slot(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    rules: &AccessRules,
) -> usize {
    let Some(conn) = roster.find(slot).filter(|conn| conn.listener == ListenerKind::Public) else { return 1 };
    let outside = conn.is_in_lobby() || conn.over_limit().is_some();
    if roster.access(slot).is_some_and(|access| !rules.keeps(&access.owner)) {
        end_access(roster, topics, turn, slot);
        return COSTLY_LOOKS;
    }
    if outside || !rules.bans.has_addresses() {
        return 1;
    }
    if turn.counted_client(roster, slot).is_some_and(|client| rules.bans.bans_address(client)) {
        end_by_operator(roster, topics, turn, slot);
    }
    COSTLY_LOOKS
}

/// Ends a stream as if its credential had come to its end.
fn end_access(roster: &mut Roster, topics: &LocalTopics, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    let tick = turn.tick();
    roster.end_access(slot, tick);
    let ConnState::Streaming(stream) = &mut roster.conn_mut(slot).state else { return };
    if !stream.is_ending() {
        stream.end_due = stream.end_due.min(tick);
        end_stream(roster, topics, turn, slot);
    }
}
