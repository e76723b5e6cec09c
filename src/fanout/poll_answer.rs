//! Answers to long polls: when one is given, its bytes, and the connection's fate after it.
//!
//! | a poll is answered when | with |
//! | --- | --- |
//! | it reads frames, after its id at once or later when a round wakes it | the frames, up to a bound |
//! | something is missing after its id, or history has passed it by | the gap, and frames |
//! | its time is over, its class ends streams of its age, or the server drains | a reconnection time alone |
//!
//! The frames of an answer are those of all subscribers, and it holds them until the kernel has taken them.

use std::sync::Arc;

use super::answers::{finish_answers, reply_to};
use super::closing::leave_topics;
use super::conn::{ConnState, Stream};
use super::exchange::{AfterAnswer, ExchangePhase, HttpExchange};
use super::log_read::ReadLimit;
use super::roster::Roster;
use super::seam::Io;
use super::shared_frame::SharedFrame;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, Count};
use crate::base::id::EventId;
use crate::base::limits::{POLL_BYTES, READ_FRAMES_MAX};
use crate::base::time::Tick;
use crate::wire::frame::FrameForm;
use crate::wire::reply;

/// Limit of the frames in one answer.
pub(super) const ANSWER: ReadLimit = ReadLimit { frames: READ_FRAMES_MAX, bytes: POLL_BYTES };

/// The snapshot in an answer.
#[derive(Clone, Copy)]
pub(super) struct PolledSnapshot {
    /// Number of its frames.
    pub(super) events: usize,
    /// Number of its topics.
    pub(super) topics: usize,
}

/// Frames that an answer brings.
pub(super) struct PolledFrames {
    pub(super) frames: Vec<Arc<SharedFrame>>,
    /// The position that they lead to.
    pub(super) upto: EventId,
    /// The snapshot that they begin with, if they do.
    pub(super) snapshot: Option<PolledSnapshot>,
}

impl PolledFrames {
    /// None, wherever the stream is.
    pub(super) const NONE: PolledFrames =
        PolledFrames { frames: Vec::new(), upto: EventId::ZERO, snapshot: None };
}

/// Whether a stream is a poll that must be answered now even without frames.
pub(super) fn is_due(stream: &Stream, tick: Tick) -> bool {
    stream.poll().is_some_and(|poll| !poll.preface.is_empty() || tick >= poll.due.min(stream.end_due))
}

/// Acts on the timer of a poll that waits: has it read what there is and answer, once its time is over.
pub(super) fn handle_poll_timer(roster: &mut Roster, turn: &TurnContext<'_, impl Io>, slot: u32) {
    let tick = turn.tick();
    let Some(stream) = roster.stream_mut(slot) else { return };
    let Some(poll) = stream.poll() else { return };
    let due = poll.due.min(stream.end_due);
    if tick < due {
        return roster.arm(slot, due);
    }
    stream.fall_behind();
    roster.arm(slot, turn.tick_after(turn.node.ticks.stall));
    roster.queue_write(slot);
}

/// Puts the answer to a poll that waits behind earlier answers of its connection. It reads no further frames.
pub(super) fn answer_poll(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    polled: PolledFrames,
) {
    let tick = turn.tick();
    let retry_ms = turn.draw_retry_ms();
    let form = FrameForm::Bare;
    let conn = roster.conn_mut(slot);
    let (full, listener) = (conn.is_full(), conn.listener);
    let ConnState::Streaming(stream) = &mut conn.state else { return };
    let mut body = Vec::new();
    reply::append_retry_line(&mut body, form, retry_ms);
    if stream.has_clock() {
        reply::append_clock_event(&mut body, form, turn.now.wall_ms);
    }
    let PolledFrames { frames, upto, snapshot } = polled;
    let mut mark = Vec::new();
    if let Some(PolledSnapshot { events, topics }) = snapshot {
        reply::append_snapshot_end(&mut mark, form, topics, events as u64);
    }
    let position = if frames.is_empty() { stream.position.max(upto) } else { stream.position };
    let unread = stream.upstream > 0;
    let Some(poll) = stream.poll_mut() else { return };
    body.append(&mut poll.preface);
    if poll.primed {
        reply::append_position(&mut body, form, position);
    }
    poll.keep_alive &= !unread && !turn.carried.shutdown.is_draining();
    let frame_bytes = frames.iter().map(|frame| frame.form(form).len()).sum::<usize>();
    let bytes = body.len() + frame_bytes + mark.len();
    let mut head = Vec::new();
    reply::append_poll_head(&mut head, &reply_to(turn, listener, poll.context()), bytes);
    let pending = stream.pending.get_or_insert_default();
    pending.bytes.to_mut().extend(head.into_iter().chain(body));
    (pending.frames, pending.mark) = (frames.into(), mark);
    pending.ahead_of_mark = snapshot.map_or(0, |snapshot| snapshot.events);
    stream.mark_ending();
    if !full {
        stream.last_write = tick;
    }
    let due = stream.last_write.saturating_add(turn.node.ticks.stall);
    roster.arm(slot, due.max(tick + 1));
    turn.counters().count(Count::Polls);
}

/// Ends a poll whose answer has been sent: its connection waits for the next request, or lingers.
pub(super) fn finish_poll(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let exchange = HttpExchange { phase: ExchangePhase::Answering, ..HttpExchange::default() };
    let state = ConnState::Requesting(Box::new(exchange));
    let ConnState::Streaming(stream) = std::mem::replace(&mut roster.conn_mut(slot).state, state) else {
        unreachable!("a poll is a stream");
    };
    let kept = stream.upstream == 0 && stream.poll().is_some_and(|poll| poll.keep_alive);
    leave_topics(roster, topics, turn, stream);
    if !kept || turn.carried.shutdown.is_draining() {
        roster.exchange_mut(slot).after = AfterAnswer::Linger(CloseReason::Answered);
    }
    finish_answers(roster, turn, slot);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::seam::SendResult;
    use crate::fanout::stage_tests::Stage;

    /// The body of an answer whose length its head tells.
    fn body(answer: &str) -> &str {
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        body
    }

    #[test]
    fn the_first_events_come_as_one_answer_and_the_connection_is_idle_again() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.subscribe("topic=a&wait_ms=1000");
        assert_eq!(stage.take_sent(slot), "", "it waits");
        stage.publish("a", "x");
        stage.publish("a", "y");
        stage.send_rounds();
        assert_eq!(stage.take_sent(slot), "", "rounds only wake it");
        stage.write();
        let sent = stage.take_sent(slot);
        let body = body(&sent);
        assert!(body.starts_with("retry: ") && body.ends_with("data: y\n\n"), "{body}");
        assert_eq!(body.matches("data: ").count(), 2);
        assert!(matches!(stage.roster.conn(slot).state, ConnState::Idle));
        assert_eq!((stage.node.totals().subscribers_open, stage.count(Count::Delivered)), (0, 2));
        stage.publish("a", "z");
        assert!(!stage.topics.has_rounds(), "its topic has nobody");
    }

    #[test]
    fn a_poll_whose_time_is_over_is_told_when_to_come_back_and_no_more() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.subscribe("topic=a&topic=b&event=x&wait_ms=1000");
        stage.publish("b", "of another name");
        stage.send_rounds();
        stage.write();
        assert_eq!(stage.take_sent(slot), "");
        stage.now_ms += 1_100;
        stage.step(|roster, _, turn| handle_poll_timer(roster, turn, slot));
        stage.write();
        let sent = stage.take_sent(slot);
        let retry = body(&sent).strip_prefix("retry: ").expect("a line");
        assert!(retry.ends_with('\n') && retry.lines().count() == 1, "{sent}");
    }

    #[test]
    fn an_answer_that_is_cut_short_goes_on_with_the_frames_that_its_head_has_promised() {
        let settings = Settings { history_events: 1, ..Settings::default() };
        let mut stage = Stage::new(settings);
        let slot = stage.open(ListenerKind::Public);
        let data = ["x".repeat(900), "y".repeat(900)];
        data.iter().for_each(|data| stage.publish("a", data));
        stage.receive(slot, "GET /events?topic=a&last=1&wait_ms=0 HTTP/1.1\r\nHost: a\r\n\r\n");
        stage.io.next.insert(slot, SendResult::Bytes(700));
        stage.write();
        let first = stage.take_sent(slot);
        stage.publish("a", "it takes the other's place");
        stage.roster.conn_mut(slot).mark_writable();
        stage.roster.queue_write(slot);
        stage.write();
        let whole = first + &stage.take_sent(slot);
        assert!(body(&whole).ends_with(&format!("data: {}\n\n", data[1])), "{whole}");
        assert_eq!((stage.count(Count::Delivered), stage.node.totals().lagging), (1, 0));
    }

    #[test]
    fn bytes_behind_the_request_end_its_connection_after_the_answer() {
        let mut stage = Stage::new(Settings::default());
        let request = "GET /events?topic=a&wait_ms=0 HTTP/1.1\r\nHost: a\r\n\r\n";
        let [pipelines, http10] = [stage.open(ListenerKind::Public), stage.open(ListenerKind::Public)];
        stage.receive(pipelines, &format!("{request}{request}"));
        stage.receive(http10, &request.replace("1.1", "1.0"));
        stage.write();
        for slot in [pipelines, http10] {
            assert!(stage.take_sent(slot).contains("\r\nConnection: close\r\n"));
            let ConnState::Requesting(exchange) = &stage.roster.conn(slot).state else {
                panic!("it lingers")
            };
            assert!(matches!(exchange.phase, ExchangePhase::Lingering(_)));
        }
    }
}
