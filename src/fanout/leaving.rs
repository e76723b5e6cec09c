//! The end of streams and of the worker: a stream's last bytes, the drain, and streams shed for their memory.
//!
//! Connections are closed in `closing`; here it is decided which, and when.

use super::closing::close;
use super::conn::{Conn, ConnState, Stream};
use super::drain_window::{DrainWindow, drain_ends_within_ms};
use super::node::TickSettings;
use super::output::write_own_output;
use super::poll_answer::{PolledFrames, answer_poll};
use super::publish_answer::finish_all_tickets;
use super::roster::Roster;
use super::seam::{CloseMode, Io};
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use super::upload::refuse_upload;
use crate::base::counters::CloseReason;
use crate::base::id::EventId;
use crate::base::limits::{BATCH_SENDS_MAX, DRAIN_IDLE_MS};
use crate::base::settings::UrlProfile;
use crate::base::time::{Tick, ticks_of_ms};
use crate::wire::reply;

/// Milliseconds that a stream which the operator ends may take to accept the bytes on their way to it. A
/// stream ended by hand is often one that reads nothing, and the operator waits.
const OPERATOR_PATIENCE_MS: u64 = 1_000;
/// Milliseconds for which a stream that has reached its age waits for frames on their way to anyone, and for
/// those that it has still to read: on a busy worker there are always some. It gets the rest when it comes
/// back.
const END_PATIENCE_MS: u64 = 1_000;
/// Milliseconds after which a stream that could not be ended yet is looked at again.
const END_RETRY_MS: u64 = 100;

/// Ends a stream after a whole frame, with a time to come back; later, if it still has frames to get. The
/// operator does not wait for one that is behind.
pub(super) fn end_stream(
    roster: &mut Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let tick = turn.tick();
    let ConnState::Streaming(stream) = &roster.conn(slot).state else { return };
    let patient = turn.carried.shutdown.is_draining()
        || tick < stream.end_due.saturating_add(ticks_of_ms(END_PATIENCE_MS));
    let mail_waits = topics.has_rounds() || !turn.inbox.frames.is_empty();
    let by_operator = stream.is_ended_by_operator();
    let owed = mail_waits || !(stream.is_live() || by_operator);
    if patient && owed {
        roster.arm(slot, turn.tick_after_ms(END_RETRY_MS));
    } else {
        queue_stream_end(roster, turn, slot);
    }
}

/// Ends a connection for the operator. A stream is first sent all output on its way, and a time to come back;
/// any other connection ends at once.
pub(super) fn end_by_operator(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let ConnState::Streaming(stream) = &mut roster.conn_mut(slot).state else {
        return close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Operator);
    };
    // A stream that is ending keeps its reason.
    if stream.end_by_operator(turn.tick()) {
        end_stream(roster, topics, turn, slot);
    }
}

/// Queues the end of a stream behind bytes that wait; it reads no further frames.
fn queue_stream_end(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    let tick = turn.tick();
    let retry_ms = turn.draw_retry_ms();
    let conn = roster.conn_mut(slot);
    let full = conn.is_full();
    let owes_id = conn.take_owed_id();
    let ConnState::Streaming(stream) = &mut conn.state else { return };
    if stream.is_ending() {
        return;
    }
    if stream.waits() {
        answer_poll(roster, turn, slot, PolledFrames::NONE);
        return roster.queue_write(slot);
    }
    let form = stream.form();
    if owes_id {
        stream.queue_position();
    }
    if turn.node.settings.profile == UrlProfile::Standard {
        reply::append_retry_line(stream.own_output_mut(), form, retry_ms);
    }
    stream.own_output_mut().extend_from_slice(reply::stream_end(form));
    stream.mark_ending();
    // A stream that takes nothing gets no more time because it ends, but for the operator's moment.
    if !full || stream.is_ended_by_operator() {
        stream.last_write = tick;
    }
    let due = stream.last_write.saturating_add(write_patience(stream, &turn.node.ticks));
    roster.arm(slot, due.max(tick + 1));
    roster.queue_write(slot);
}

/// Time for which a stream may take nothing.
pub(super) fn write_patience(stream: &Stream, ticks: &TickSettings) -> Tick {
    match stream.is_ended_by_operator() {
        true => ticks.stall.min(ticks_of_ms(OPERATOR_PATIENCE_MS)),
        false => ticks.stall,
    }
}

/// Begins a drain, once: each stream gets a moment for its end.
pub(super) fn begin_drain(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>) {
    if turn.carried.shutdown.is_draining() {
        return;
    }
    let drain_ms = turn.node.settings.drain_ms;
    let ends_within_ms = drain_ends_within_ms(drain_ms, turn.node.totals().subscribers_open);
    let idle_until = turn.tick_after_ms(DRAIN_IDLE_MS);
    let deadline = turn.tick_after_ms(drain_ms);
    turn.carried.shutdown.window = Some(DrainWindow { deadline, idle_until });
    for slot in roster.used_slots() {
        match &mut roster.conn_mut(slot).state {
            ConnState::Streaming(stream) => {
                let wait = turn.carried.draw_below(ends_within_ms + 1);
                stream.end_due = turn.tick_after_ms(wait);
                let ends = stream.end_due;
                roster.arm(slot, ends);
            }
            // A request may be under way, and its sender could not tell whether it was handled.
            ConnState::Idle => roster.arm(slot, idle_until),
            ConnState::Requesting(_) => refuse_upload(roster, turn, slot),
        }
    }
}

/// Whether a drain or stop has come to its end; then ends the connections that are left.
pub(super) fn is_finished(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
) -> bool {
    let shutdown = turn.carried.shutdown;
    let Some(deadline) = shutdown.deadline() else { return false };
    let kept = shutdown.window.is_some_and(|window| turn.tick() < window.idle_until);
    let in_use = |conn: &Conn| match &conn.state {
        ConnState::Idle => kept || conn.is_in_read_queue(),
        ConnState::Requesting(_) | ConnState::Streaming(_) => true,
    };
    let over = shutdown.stopping || turn.tick() >= deadline;
    if !over && roster.iter().any(|(_, conn)| in_use(conn)) {
        return false;
    }
    if !shutdown.stopping {
        end_remaining(roster, topics, turn);
    }
    for slot in roster.used_slots() {
        close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Drain);
    }
    turn.carried.shutdown.stopping = true;
    true
}

/// Sends streams their end when the window has passed: after a frame that is begun, and only if they take
/// it at once. Frames that a stream had still to read it gets where it comes back.
fn end_remaining(roster: &mut Roster, topics: &mut LocalTopics, turn: &mut TurnContext<'_, impl Io>) {
    finish_all_tickets(roster, turn);
    for slot in roster.used_slots() {
        queue_stream_end(roster, turn, slot);
    }
    for _ in 0..=roster.queued_writes() / BATCH_SENDS_MAX {
        write_own_output(roster, topics, turn);
    }
}

/// Ends streams whose half-sent frame is no longer kept: history has passed them by, and together they
/// hold more memory than history may.
pub(super) fn shed_passed_by(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
) {
    // Publishers wait for a look at the streams that hold a frame, not at all connections.
    let holders = roster.iter().filter(|(_, conn)| half_sent(conn).is_some());
    let holders: Vec<u32> = holders.map(|(slot, _)| slot).collect();
    let hub = turn.node.hub.lock();
    let passed_by = |slot: &u32| {
        half_sent(roster.conn(*slot)).is_some_and(|(stream, id)| {
            !stream.places().iter().any(|at| hub.keeps(topics.get(at.topic).hub, id))
        })
    };
    let slots: Vec<u32> = holders.into_iter().filter(passed_by).collect();
    drop(hub);
    for slot in slots {
        close(roster, topics, turn, slot, CloseMode::Reset, CloseReason::SlowEvicted);
    }
}

/// The stream of a connection that holds a frame, sent in part or to be sent, and the frame's id.
fn half_sent(conn: &Conn) -> Option<(&Stream, EventId)> {
    let ConnState::Streaming(stream) = &conn.state else { return None };
    Some((stream, stream.pending.as_ref()?.oldest_frame()?.id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::lanes::ReadLane;
    use crate::fanout::mail::ControlMessage;
    use crate::fanout::seam::SendResult;
    use crate::fanout::stage_tests::Stage;

    /// Lets the timer of a stream come.
    fn end(stage: &mut Stage, slot: u32) {
        stage.step(|roster, topics, turn| end_stream(roster, topics, turn, slot));
        stage.write();
    }

    #[test]
    fn a_drain_gives_each_stream_its_moment_and_a_clean_end() {
        let mut stage = Stage::new(Settings::default());
        let slots = [(); 3].map(|()| stage.subscribe("topic=a"));
        let idle = stage.open(ListenerKind::Public);
        slots.iter().for_each(|&slot| drop(stage.take_sent(slot)));
        stage.node.shut_down(&ControlMessage::Drain);
        stage.step(|roster, _, turn| begin_drain(roster, turn));
        let ends = slots.map(|slot| stage.stream(slot).end_due);
        stage.step(|roster, _, turn| begin_drain(roster, turn));
        assert_eq!(ends, slots.map(|slot| stage.stream(slot).end_due), "a drain begins once");
        assert!(!stage.step(is_finished));
        for slot in slots {
            end(&mut stage, slot);
            let sent = stage.take_sent(slot);
            assert!(sent.contains("retry: ") && sent.ends_with("0\r\n\r\n"), "{sent}");
        }
        assert_eq!(stage.closed_for(CloseReason::Drain), 3);
        assert!(!stage.step(is_finished), "a connection between two requests is kept for a while");
        stage.now_ms += DRAIN_IDLE_MS + 100;
        while stage.step(|roster, _, _| roster.next_read(&[ReadLane::Public])).is_some() {}
        assert!(stage.step(is_finished) && stage.io.closed.contains(&(idle, CloseMode::Orderly)));
    }

    #[test]
    fn a_stream_is_not_ended_while_frames_are_on_their_way_to_it() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.subscribe("topic=a");
        stage.publish("a", "x");
        end(&mut stage, slot);
        assert!(!stage.stream(slot).is_ending(), "a round is still to come");
        stage.send_rounds();
        assert!(stage.take_sent(slot).contains("data: x"));
        end(&mut stage, slot);
        assert_eq!(stage.closed_for(CloseReason::Life), 1);
    }

    #[test]
    fn the_operator_waits_for_no_stream_that_is_behind() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.subscribe("topic=a");
        stage.publish("a", "x");
        stage.io.next.insert(slot, SendResult::Full);
        stage.send_rounds();
        stage.step(|roster, topics, turn| {
            assert!(roster.stream_mut(slot).expect("a stream").end_by_operator(turn.tick()));
            end_stream(roster, topics, turn, slot);
        });
        assert!(stage.stream(slot).is_ending() && stage.roster.conn(slot).is_full());
        let short = ticks_of_ms(OPERATOR_PATIENCE_MS);
        assert_eq!(write_patience(stage.stream(slot), &stage.node.ticks), short.min(stage.node.ticks.stall));
    }

    #[test]
    fn only_a_half_sent_frame_that_history_no_longer_keeps_is_shed() {
        let mut stage = Stage::new(Settings { history_events: 2, ..Settings::default() });
        let slot = stage.subscribe("topic=a");
        stage.publish("a", "x");
        stage.io.next.insert(slot, SendResult::Bytes(5));
        stage.send_rounds();
        stage.step(shed_passed_by);
        assert_eq!(stage.closed_for(CloseReason::SlowEvicted), 0, "it is kept");
        for _ in 0..2 {
            stage.publish("a", "y");
        }
        stage.step(shed_passed_by);
        assert_eq!(stage.closed_for(CloseReason::SlowEvicted), 1);
    }
}
