//! Output that belongs to one connection: answers, greetings, the rest of a half-sent frame, and frames from
//! the hub's log for streams that are behind.
//!
//! A stream leaves this path when it has read the log to its end: under the hub's lock nothing newer existed,
//! and all that came since is in the worker's mailbox with a higher id. If the log does not reach back to it,
//! it reads the frames that this worker has still to offer, and leaves at the end of those.

use std::sync::Arc;

use super::batch::{PlannedSend, SendBatch};
use super::closing::close;
use super::conn::{Conn, ConnState, Stream};
use super::hub::{HubGuard, HubState};
use super::lanes::WriteLane;
use super::log_read::{
    BEGINNING, LogRead, LogReader, MissedRead, ORDINARY, ReadLimit, StreamAdvance, hub_topics, read_fresh,
    settle_snapshot, skip_held,
};
use super::node::Node;
use super::outcomes::{apply_outcomes, finish_or_advance};
use super::poll_answer::{ANSWER, PolledFrames, PolledSnapshot, answer_poll, is_due};
use super::roster::Roster;
use super::seam::{CloseMode, Io};
use super::shared_frame::SharedFrame;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, Count};
use crate::base::id::EventId;
use crate::base::limits::{BATCH_BYTES_MAX, BATCH_SENDS_MAX, LOG_STEPS_PER_TURN, REPLAY_BYTES_BESIDE_ROUNDS};
use crate::base::time::Tick;
use crate::wire::frame::FrameForm;

/// Offer to one connection: its own bytes, then frames from the log.
struct OutputItem {
    slot: u32,
    /// Indices of the frames in the batch's own list.
    frames: std::ops::Range<usize>,
    advance: StreamAdvance,
}

/// Offers that make up a batch of own output.
struct CollectedOutput {
    items: Vec<OutputItem>,
    /// Slots of streams that must be ended: they were slow, and the log has passed them by.
    evicted: Vec<u32>,
    /// A stream read the log.
    log_read: bool,
}

/// Sends one batch of own output. Returns whether a stream read the log for it.
pub(super) fn write_own_output(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
) -> bool {
    if roster.queued_writes() == 0 {
        return false;
    }
    let mut kept: Vec<Arc<SharedFrame>> = Vec::new();
    let CollectedOutput { mut items, evicted, log_read } = collect_output(roster, topics, turn, &mut kept);
    for slot in evicted {
        close(roster, topics, turn, slot, CloseMode::Reset, CloseReason::SlowEvicted);
    }
    items.iter_mut().for_each(|item| answer_if_due(roster, topics, turn, item, &kept));
    let mut batch = SendBatch::default();
    let mut idle = Vec::new();
    for item in &items {
        let start = batch.cursor();
        let (own, form, replaying) = match &roster.conn(item.slot).state {
            ConnState::Idle => (0, FrameForm::Bare, false),
            ConnState::Requesting(exchange) => {
                let rest = Some(&exchange.out[exchange.sent..]).filter(|rest| !rest.is_empty());
                (batch.add_own(rest.into_iter()), FrameForm::Bare, false)
            }
            ConnState::Streaming(stream) => {
                let parts = stream.pending.iter().flat_map(|pending| pending.parts(stream.form()));
                (batch.add_own(parts), stream.form(), stream.replaying)
            }
        };
        batch.add_frames(kept[item.frames.clone()].iter(), form);
        let parts = start..batch.cursor();
        let OutputItem { slot, advance, .. } = *item;
        let last = kept[item.frames.clone()].last().map(|frame| frame.id());
        let beyond = is_beyond(roster.conn(slot), advance, last);
        if parts.is_empty() {
            idle.push((slot, advance, beyond));
            continue;
        }
        let bytes = batch.bytes_of(parts.clone());
        let StreamAdvance { upto, caught_up } = advance;
        batch.add(PlannedSend { slot, parts, bytes, own, upto, caught_up, replaying, beyond });
    }
    let ages = &turn.counters().delivery_each;
    let outcomes = if batch.is_empty() { Vec::new() } else { batch.send(turn.io, ages) };
    for (slot, advance, beyond) in idle {
        if beyond {
            roster.conn_mut(slot).owe_id();
        }
        finish_or_advance(roster, topics, turn, slot, advance);
    }
    let now_us = turn.io.mono_us();
    apply_outcomes(roster, topics, turn, outcomes, now_us);
    log_read
}

/// The way to the hub's logs in one turn: its lock is taken with the first need, and kept.
struct LogAccess<'a> {
    node: &'a Node,
    /// Index of the worker.
    worker: usize,
    /// Moment of the turn, monotonic milliseconds.
    now_ms: u64,
    lock: Option<HubGuard<'a>>,
    /// Topics and frames that were looked at.
    steps: usize,
}

impl LogAccess<'_> {
    /// Reads the next frames for a stream that is behind, at most `most`, into `kept`.
    fn read_next(
        &mut self,
        stream: &mut Stream,
        topics: &LocalTopics,
        primed: bool,
        most: ReadLimit,
        kept: &mut Vec<Arc<SharedFrame>>,
    ) -> LogRead {
        let from = kept.len();
        // After a greeting or a heartbeat nothing is missing here, so the hub is not asked.
        let paced = stream.rate().is_some_and(|rate| rate.counts_bytes() || rate.held_policy().is_some());
        let on_time = !stream.replaying && !stream.is_lagging() && !stream.waits() && !paced;
        if on_time && let Some(fresh) = read_fresh(stream, topics, most, kept) {
            return fresh;
        }
        let hub = self.lock.get_or_insert_with(|| self.node.hub.lock());
        let (steps_max, counters) = (LOG_STEPS_PER_TURN - self.steps, self.node.counters(self.worker));
        counters.add(Count::Gaps, skip_held(stream, topics, hub, primed));
        let mut log = LogReader { hub, now_ms: self.now_ms, steps_max, steps: 0, counters };
        let end = match log.read(stream, topics, most, kept) {
            LogRead::Missed => {
                // A filter or a merge looks at all of them.
                let all = stream.selection.is_some();
                log.steps += if all { topics.fresh_frames() } else { 0 };
                let missed = MissedRead { node: self.node, worker: self.worker, primed };
                missed.read_on(stream, topics, &mut log, most, kept)
            }
            end @ LogRead::Upto(_) => end,
        };
        self.steps += log.steps;
        match end {
            // The end of its snapshot stands in a poll's answer.
            LogRead::Upto(advance) if !stream.waits() => {
                let count = |stream: &Stream| count_topics(hub, stream, topics);
                LogRead::Upto(settle_snapshot(stream, advance, kept.len() > from, primed, count))
            }
            end => end,
        }
    }
}

/// Number of a stream's topics, those that its patterns match included.
fn count_topics(hub: &HubState, stream: &Stream, topics: &LocalTopics) -> usize {
    hub.count_topics(&hub_topics(stream, topics).collect::<Vec<u32>>())
}

/// Answers a poll that has frames, or must be answered without: its own output holds the frames then.
fn answer_if_due(
    roster: &mut Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    item: &mut OutputItem,
    kept: &[Arc<SharedFrame>],
) {
    let Some(stream) = roster.stream_mut(item.slot).filter(|stream| stream.waits()) else { return };
    let frames = &kept[item.frames.clone()];
    let snapshot = stream.snapshot().filter(|snapshot| item.advance.is_beyond(snapshot.until));
    let snapshot = snapshot.map(|snapshot| PolledSnapshot {
        events: frames.partition_point(|frame| frame.id() <= snapshot.until),
        topics: count_topics(&turn.node.hub.lock(), stream, topics),
    });
    if !frames.is_empty() || snapshot.is_some() || is_due(stream, turn.tick()) {
        let frames = frames.to_vec();
        item.frames = 0..0;
        let upto = std::mem::replace(&mut item.advance, StreamAdvance::NONE).upto;
        answer_poll(roster, turn, item.slot, PolledFrames { frames, upto, snapshot });
    }
}

/// Takes connections from the queue and reads the log for those that are behind, into `kept`.
fn collect_output(
    roster: &mut Roster,
    topics: &LocalTopics,
    turn: &TurnContext<'_, impl Io>,
    kept: &mut Vec<Arc<SharedFrame>>,
) -> CollectedOutput {
    let (mut items, mut evicted) = (Vec::new(), Vec::new());
    let (node, worker, now_ms) = (turn.node, turn.index, turn.now.mono_ms);
    let mut access = LogAccess { node, worker, now_ms, lock: None, steps: 0 };
    let (mut bytes, mut replayed) = (0, 0);
    let rounds_wait = topics.has_rounds();
    let replay_max = if rounds_wait { REPLAY_BYTES_BESIDE_ROUNDS } else { BATCH_BYTES_MAX };
    while items.len() + evicted.len() < BATCH_SENDS_MAX
        && bytes < BATCH_BYTES_MAX
        && access.steps < LOG_STEPS_PER_TURN
    {
        let half = bytes - replayed >= BATCH_BYTES_MAX / 2 || items.len() >= BATCH_SENDS_MAX / 2;
        let lanes: &[WriteLane] = match (replayed >= replay_max, half) {
            (true, _) => &[WriteLane::Short],
            (false, true) => &[WriteLane::Long, WriteLane::Short],
            (false, false) => &[WriteLane::Short, WriteLane::Long],
        };
        let Some((slot, lane)) = roster.next_write(lanes) else { break };
        let conn = roster.conn_mut(slot);
        let from = kept.len();
        let primed = conn.is_primed();
        let end = match &mut conn.state {
            ConnState::Streaming(stream) if stream.reads_log() => {
                let begins = lane == WriteLane::Short && stream.replaying;
                let most = match (stream.waits(), begins) {
                    (true, _) => ANSWER,
                    (false, true) => BEGINNING,
                    (false, false) => ORDINARY,
                };
                match limit_to_rate(stream, turn, most) {
                    PacedRead::Now(most) => access.read_next(stream, topics, primed, most, kept),
                    PacedRead::At(due) => {
                        let has_own = stream.pending.is_some();
                        roster.arm(slot, due);
                        if !has_own {
                            continue;
                        }
                        LogRead::Upto(StreamAdvance::NONE)
                    }
                }
            }
            _ => LogRead::Upto(StreamAdvance::NONE),
        };
        let LogRead::Upto(advance) = end else {
            evicted.push(slot);
            continue;
        };
        let read = kept[from..].iter().map(|frame| frame.chunked().len()).sum::<usize>();
        charge_rate(roster, slot, kept.len() - from, read, advance);
        bytes += read;
        replayed += if lane == WriteLane::Long { read } else { 0 };
        items.push(OutputItem { slot, frames: from..kept.len(), advance });
    }
    CollectedOutput { items, evicted, log_read: access.steps > 0 }
}

/// A read of the log under a stream's rate.
enum PacedRead {
    /// It may read so much.
    Now(ReadLimit),
    /// It has to wait, and looks again in this tick.
    At(Tick),
}

/// Limits a read to the credit of a stream's rate, if it has one. A drain waits for no rate.
fn limit_to_rate(stream: &mut Stream, turn: &TurnContext<'_, impl Io>, most: ReadLimit) -> PacedRead {
    let latest_due = stream.end_due.min(turn.tick_after(turn.node.ticks.heartbeat));
    let rate = stream.rate_mut().filter(|_| !turn.carried.shutdown.is_draining());
    let Some(rate) = rate else { return PacedRead::Now(most) };
    match rate.events_now(turn.now.mono_ms) {
        0 => {
            rate.hold();
            turn.counters().count(Count::RateHolds);
            PacedRead::At(turn.tick_after_ms(rate.wait_ms()).min(latest_due).max(turn.tick() + 1))
        }
        frames => {
            let bytes = most.bytes.min(rate.bytes_left().max(1));
            PacedRead::Now(ReadLimit { frames: most.frames.min(frames), bytes })
        }
    }
}

/// Charges a stream's rate, if it has one, for frames that it is sent.
fn charge_rate(roster: &mut Roster, slot: u32, frames: usize, bytes: usize, advance: StreamAdvance) {
    let Some(rate) = roster.stream_mut(slot).and_then(Stream::rate_mut) else { return };
    rate.spend(frames, bytes);
    if advance.caught_up {
        rate.release();
    }
}

/// Whether an advance leads a primed stream beyond the frames sent with it, of which the last has this id.
fn is_beyond(conn: &Conn, advance: StreamAdvance, last: Option<EventId>) -> bool {
    match &conn.state {
        ConnState::Streaming(stream) if conn.is_primed() => advance.upto > last.unwrap_or(stream.position),
        ConnState::Idle | ConnState::Requesting(_) | ConnState::Streaming(_) => false,
    }
}
