//! The outcome of each send applied to its connection: a stream that has moved on, lags, ends or is gone.
//! Counts all deliveries.
//!
//! ```text
//! taken whole ──► position moves; live if nothing newer waits, else behind; closed if that was its end
//! cut short   ──► full and behind: the half-sent frame is kept, the position is that of the last frame begun
//! gone        ──► closed
//! ```

use super::answers::apply_answer_outcome;
use super::batch::SendOutcome;
use super::closing::{close, close_timed_out};
use super::conn::{ConnState, Stream};
use super::lanes::WriteLane;
use super::log_read::StreamAdvance;
use super::poll_answer::finish_poll;
use super::roster::Roster;
use super::seam::{CloseMode, Io, SendResult};
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, Count, Counters};
use crate::base::id::EventId;

/// Applies to each connection the outcome of its send, which ended at `now_us`.
pub(super) fn apply_outcomes(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    outcomes: Vec<SendOutcome>,
    now_us: u64,
) {
    if outcomes.is_empty() {
        return;
    }
    let (mut delivered, mut event_sends, mut bytes, mut full) = (0, 0, 0, 0);
    let sends = outcomes.len() as u64;
    for outcome in outcomes {
        delivered += outcome.delivered;
        event_sends += u64::from(outcome.delivered > 0);
        if let SendResult::Bytes(taken) = outcome.result {
            bytes += taken as u64;
        }
        full += u64::from(!outcome.whole);
        let conn = roster.conn_mut(outcome.slot);
        conn.leave_batch();
        if outcome.beyond {
            conn.owe_id();
        } else if outcome.delivered > 0 || outcome.half.is_some() {
            conn.settle_id();
        }
        match outcome.result {
            SendResult::Broken => {
                close(roster, topics, turn, outcome.slot, CloseMode::Reset, CloseReason::Reset);
                continue;
            }
            SendResult::TimedOut => {
                close_timed_out(roster, topics, turn, outcome.slot);
                continue;
            }
            SendResult::Bytes(_) | SendResult::Full => {}
        }
        match &conn.state {
            ConnState::Streaming(_) => apply_stream_outcome(roster, topics, turn, outcome, now_us),
            ConnState::Requesting(_) => apply_answer_outcome(roster, turn, &outcome),
            ConnState::Idle => unreachable!("nothing is sent to a connection that waits"),
        }
    }
    let counters = turn.counters();
    counters.add(Count::Sends, sends);
    counters.add(Count::SendsFull, full);
    counters.add(Count::EventSends, event_sends);
    counters.count(Count::Batches);
    counters.add(Count::Delivered, delivered);
    counters.add(Count::BytesSent, bytes);
}

/// Applies the outcome of a send to a stream, which ended at `now_us`.
fn apply_stream_outcome(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    outcome: SendOutcome,
    now_us: u64,
) {
    let tick = turn.tick();
    let slot = outcome.slot;
    let conn = roster.conn_mut(slot);
    let was_full = conn.is_full();
    let ConnState::Streaming(stream) = &mut conn.state else { return };
    let form = stream.form();
    let taken = matches!(outcome.result, SendResult::Bytes(_));
    if taken || !was_full {
        stream.last_write = tick;
    }
    let mut completed: Vec<u64> = Vec::new();
    if let Some(pending) = &mut stream.pending {
        pending.advance(outcome.own_taken, form, |at_us| completed.push(at_us));
        if pending.is_done() {
            stream.pending = None;
        }
    }
    let replaying = stream.replaying;
    if replaying {
        let replayed = outcome.delivered + completed.len() as u64;
        stream.replayed = stream.replayed.saturating_add(replayed as u32);
        turn.counters().add(Count::Replayed, replayed);
    }
    if outcome.whole {
        let upto = outcome.position.unwrap_or(EventId::ZERO);
        finish_or_advance(roster, topics, turn, slot, StreamAdvance { upto, caught_up: outcome.caught_up });
    } else {
        stream.position = stream.position.max(outcome.position.unwrap_or(EventId::ZERO));
        if stream.mark_lagging() {
            turn.counters().lagging(1);
            turn.counters().count(Count::Lagged);
        }
        if let Some(half) = outcome.half {
            assert!(stream.pending.is_none(), "frames follow own bytes");
            stream.pending.get_or_insert_default().frame = Some(half);
        }
        // Not only its slowness: once the socket takes bytes again, the next heartbeat may be due first.
        let wait = turn.node.ticks.stall.min(turn.node.ticks.heartbeat);
        let due = tick.saturating_add(wait).min(stream.end_due);
        conn.mark_full();
        roster.arm(slot, due);
    }
    for at_us in completed {
        turn.counters().count(Count::Delivered);
        if !replaying {
            turn.counters().delivery_each.add(now_us.saturating_sub(at_us), 1);
        }
    }
}

/// Closes a stream that has sent its end, or moves another one on. An end may have no bytes: over
/// HTTP/1.0 in the benchmark's profile.
pub(super) fn finish_or_advance(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    advance: StreamAdvance,
) {
    let ends = |stream: &Stream| stream.is_ending().then(|| stream.is_ended_by_operator());
    let polled = roster.stream_mut(slot).is_some_and(|stream| stream.poll().is_some());
    let by_operator = match &roster.conn(slot).state {
        ConnState::Streaming(stream) => ends(stream),
        ConnState::Idle | ConnState::Requesting(_) => None,
    };
    let why = match by_operator {
        None => return advance_stream(roster, turn.counters(), slot, advance),
        Some(true) => CloseReason::Operator,
        Some(false) if polled => return finish_poll(roster, topics, turn, slot),
        Some(false) if turn.carried.shutdown.is_draining() => CloseReason::Drain,
        Some(false) if roster.access_end(slot) <= turn.tick() => CloseReason::TokenExpired,
        Some(false) => CloseReason::Life,
    };
    close(roster, topics, turn, slot, CloseMode::Orderly, why);
}

/// Moves a stream on when it has taken all that it was offered; if nothing newer waits, rounds take over.
fn advance_stream(roster: &mut Roster, counters: &Counters, slot: u32, advance: StreamAdvance) {
    let StreamAdvance { upto, caught_up } = advance;
    if let Some(stream) = roster.stream_mut(slot) {
        stream.position = stream.position.max(upto);
        if caught_up && stream.pending.is_none() {
            stream.catch_up();
            if stream.is_recovering() {
                stream.mark_live(counters);
            }
        } else {
            stream.fall_behind();
            let long = stream.replaying && !caught_up;
            roster.queue_output(slot, if long { WriteLane::Long } else { WriteLane::Short });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::Settings;
    use crate::fanout::stage_tests::Stage;

    /// A stream on topic `a` that is live, and the event `x` offered to it with this result.
    fn offered(result: SendResult) -> (Stage, u32) {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.subscribe("topic=a");
        stage.take_sent(slot);
        stage.publish("a", "x");
        stage.io.next.insert(slot, result);
        stage.send_rounds();
        (stage, slot)
    }

    #[test]
    fn a_send_that_is_cut_short_leaves_the_rest_of_its_frame_and_a_lag() {
        let (mut stage, slot) = offered(SendResult::Bytes(5));
        let stream = stage.stream(slot);
        assert!(stream.is_lagging() && !stream.is_live() && stage.roster.conn(slot).is_full());
        assert!(stream.pending.as_ref().is_some_and(|pending| pending.frame.is_some()));
        assert_eq!((stage.count(Count::Lagged), stage.count(Count::Delivered)), (1, 0));
        stage.roster.conn_mut(slot).mark_writable();
        stage.roster.queue_write(slot);
        stage.write();
        let stream = stage.stream(slot);
        assert!(stream.is_live() && !stream.is_lagging(), "nothing newer waits");
        assert_eq!((stage.count(Count::Delivered), stage.node.totals().lagging), (1, 0));
        assert_eq!(stage.take_sent(slot).matches("data: x").count(), 1, "sent once, in two parts");
    }

    #[test]
    fn a_socket_that_takes_nothing_keeps_its_stream_where_it_was() {
        let (stage, slot) = offered(SendResult::Full);
        let stream = stage.stream(slot);
        assert!(stream.pending.is_none() && stream.is_lagging() && stage.roster.conn(slot).is_full());
        assert_eq!((stage.count(Count::SendsFull), stage.count(Count::Delivered)), (1, 0));
    }

    #[test]
    fn one_that_is_gone_is_closed_for_the_reason_that_the_kernel_tells() {
        let rows = [
            (SendResult::Broken, CloseReason::Reset),
            (SendResult::TimedOut, CloseReason::SlowUnacknowledged),
        ];
        for (result, why) in rows {
            let (stage, slot) = offered(result);
            assert_eq!(stage.io.closed, [(slot, CloseMode::Reset)]);
            assert_eq!((stage.closed_for(why), stage.node.totals().subscribers_open), (1, 0), "{result:?}");
        }
    }
}
