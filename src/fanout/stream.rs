//! The life of a stream beside its frames: heartbeats, slowness, and bytes that its client should not send.

use super::closing::{close, close_timed_out};
use super::conn::{Conn, ConnState, Stream};
use super::joining::end_due;
use super::leaving::{end_stream, write_patience};
use super::log_read::hub_topics;
use super::node::Node;
use super::poll_answer::handle_poll_timer;
use super::roster::Roster;
use super::seam::{CloseMode, Io, ReadResult};
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, Count};
use crate::base::limits::KIB;
use crate::base::settings::SlowPolicy;
use crate::base::time::Tick;
use crate::wire::reply;

/// Bytes a subscriber may send upstream after its request before it is cut.
const UPSTREAM_BYTES_MAX: usize = 64 * KIB;
/// Bytes that each piece counts as, at least, which a subscriber sends after its request.
const UPSTREAM_UNIT_BYTES: usize = 64;
const _: () = assert!(UPSTREAM_BYTES_MAX / UPSTREAM_UNIT_BYTES < u16::MAX as usize, "counted in 16 bits");

/// Reads bytes that a subscriber sends after its request, which mean nothing, until they are too many or
/// it ends. Returns how many bytes were read.
pub(super) fn read_upstream(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    scratch: &mut [u8],
    slot: u32,
) -> usize {
    match turn.io.read(slot, scratch) {
        ReadResult::Bytes(bytes) => {
            let Some(stream) = roster.stream_mut(slot) else { return bytes };
            stream.upstream = stream.upstream.saturating_add(bytes.div_ceil(UPSTREAM_UNIT_BYTES) as u16);
            if usize::from(stream.upstream) > UPSTREAM_BYTES_MAX / UPSTREAM_UNIT_BYTES {
                close(roster, topics, turn, slot, CloseMode::Reset, CloseReason::Upstream);
            } else {
                roster.queue_read_again(slot, bytes, scratch.len());
            }
            return bytes;
        }
        ReadResult::Empty => roster.conn_mut(slot).clear_ended(),
        ReadResult::End => close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Peer),
        ReadResult::Broken => close(roster, topics, turn, slot, CloseMode::Reset, CloseReason::Reset),
        ReadResult::TimedOut => close_timed_out(roster, topics, turn, slot),
    }
    0
}

/// Acts on a stream's timer: its end, its slowness or its heartbeat, if due. Then arms the next one.
pub(super) fn handle_stream_timer(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let tick = turn.tick();
    let ticks = turn.node.ticks;
    let conn = roster.conn_mut(slot);
    let full = conn.is_full();
    let ConnState::Streaming(stream) = &mut conn.state else { return };
    if stream.waits() && !full {
        return handle_poll_timer(roster, turn, slot);
    }
    let ending = stream.is_ending();
    let patience = write_patience(stream, &ticks);
    let stalled = full && tick >= stream.last_write.saturating_add(patience);
    if stalled && (ending || !stays_when_slow(turn.node, stream, topics)) {
        let by_operator = stream.is_ended_by_operator();
        let why = if by_operator { CloseReason::Operator } else { CloseReason::SlowStalled };
        return close(roster, topics, turn, slot, CloseMode::Reset, why);
    }
    let held = stream.held_policy().is_some();
    if held {
        // It looks whether its credit is back, or whether a drain waits for no rate.
        roster.queue_write(slot);
    }
    let stream = roster.stream_mut(slot).expect("it was one above");
    if tick >= stream.end_due && !ending {
        match postponed_end(roster, topics, turn, slot) {
            None => return end_stream(roster, topics, turn, slot),
            Some(due) => roster.stream_mut(slot).expect("it was one above").end_due = due,
        }
    }
    let conn = roster.conn_mut(slot);
    let ConnState::Streaming(stream) = &mut conn.state else { return };
    let newcomer = stream.take_newcomer();
    let silence = if newcomer { ticks.heartbeat / 2 } else { ticks.heartbeat - (ticks.together - 1) };
    if !full && (stream.is_live() || held) && tick >= stream.last_write.saturating_add(silence) {
        queue_heartbeat(conn, turn.now.wall_ms, tick);
        turn.counters().count(Count::Heartbeats);
        roster.queue_write(slot);
    }
    let ConnState::Streaming(stream) = &roster.conn(slot).state else { return };
    let next = if stalled {
        tick.saturating_add(ticks.heartbeat)
    } else if full {
        stream.last_write.saturating_add(patience).min(tick.saturating_add(ticks.heartbeat))
    } else {
        let due = stream.last_write.saturating_add(ticks.heartbeat);
        due - due % ticks.together
    };
    let ends = if ending { Tick::MAX } else { stream.end_due };
    roster.arm(slot, next.max(tick + 1).min(ends));
}

/// Returns the tick to which the end of a stream is put off: it is due for silence alone, and there was an
/// event meanwhile. Its life counts from the opening of its connection then.
fn postponed_end(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &TurnContext<'_, impl Io>,
    slot: u32,
) -> Option<Tick> {
    let conn = roster.conn(slot);
    let ConnState::Streaming(stream) = &conn.state else { return None };
    if turn.carried.shutdown.is_draining() || stream.is_ended_by_operator() {
        return None;
    }
    let rules = turn.node.hub.lock().stream_rules(hub_topics(stream, topics));
    let last_event = stream.places().iter().map(|place| topics.get(place.topic).last_event).max()?;
    let due = end_due(roster, slot, rules, [conn.opened, last_event]);
    (rules.idle_ms > 0 && due > turn.tick()).then_some(due)
}

/// Whether a stream that takes nothing stays. Then it costs no memory beyond the log, and the kernel gives up
/// on a peer that never reads.
fn stays_when_slow(node: &Node, stream: &Stream, topics: &LocalTopics) -> bool {
    node.hub.lock().stream_rules(hub_topics(stream, topics)).slow_policy != SlowPolicy::Disconnect
}

/// Puts a heartbeat in front of a live stream's next frame, after the position that its client has still to
/// be told.
fn queue_heartbeat(conn: &mut Conn, wall_ms: u64, tick: Tick) {
    let owes_id = conn.take_owed_id();
    let ConnState::Streaming(stream) = &mut conn.state else { return };
    stream.last_write = tick;
    let form = stream.form();
    if owes_id {
        stream.queue_position();
    }
    if stream.has_clock() {
        reply::append_clock_event(stream.own_output_mut(), form, wall_ms);
    } else {
        stream.queue_static(reply::heartbeat(form));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::settings::{Settings, SubscribeAccess};
    use crate::base::time::ticks_of_ms;
    use crate::fanout::stage_tests::Stage;
    use crate::wire::auth::access::AccessRules;
    use crate::wire::auth::class_access::ClassAccess;
    use crate::wire::auth::signed_url::SigningKey;

    /// Milliseconds of the stage's clock in which the signed URL ends.
    const ENDS_MS: u64 = 60_000;

    fn stage(max_idle_ms: u64) -> (Stage, u32) {
        let settings = Settings { max_idle_ms, subscribe: SubscribeAccess::Token, ..Settings::default() };
        let key = SigningKey::new(b"0123456789abcdef0123456789abcdef");
        let signature = key.sign("/events", &[("topic", "a"), ("expires", "60")]);
        let classes = ClassAccess::new(&settings);
        let mut stage = Stage::new(settings);
        let rules = AccessRules { signing_keys: vec![key], classes, ..AccessRules::default() };
        stage.node.replace_access(Arc::new(rules));
        let slot = stage.subscribe(&format!("topic=a&expires=60&signature={signature}"));
        (stage, slot)
    }

    fn timer(stage: &mut Stage, slot: u32, now_ms: u64) {
        stage.now_ms = now_ms;
        stage.step(|roster, topics, turn| handle_stream_timer(roster, topics, turn, slot));
        stage.write();
    }

    #[test]
    fn a_stream_ends_with_its_credential_and_no_event_puts_that_off() {
        let (mut stage, slot) = stage(40_000);
        stage.now_ms = 30_000;
        stage.publish("a", "x");
        stage.send_rounds();
        // Its silence would be over by now, but for the event; with it only after the credential's end.
        timer(&mut stage, slot, 50_000);
        let due = ticks_of_ms(ENDS_MS);
        assert!(!stage.stream(slot).is_ending() && stage.stream(slot).end_due <= due + 2);
        timer(&mut stage, slot, ENDS_MS + 64);
        assert_eq!(
            (stage.closed_for(CloseReason::TokenExpired), stage.closed_for(CloseReason::Life)),
            (1, 0)
        );
        assert!(stage.take_sent(slot).ends_with("0\r\n\r\n"));
    }

    #[test]
    fn the_next_owner_of_a_slot_has_no_end_of_another() {
        let (mut stage, slot) = stage(0);
        timer(&mut stage, slot, ENDS_MS + 64);
        stage.node.replace_access(Arc::default());
        let next = stage.subscribe("topic=a");
        assert_eq!((next, stage.stream(next).end_due), (slot, Tick::MAX));
    }
}
