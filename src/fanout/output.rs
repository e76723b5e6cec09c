//! Output that belongs to one connection: answers, greetings, the rest of a half-sent frame, and frames from
//! the hub's log for streams that are behind. Also applies the outcome of every send to its connection.
//!
//! A stream leaves this path when it has read the log to its end: under the hub's lock nothing newer existed,
//! and all that came since is in the worker's mailbox with a higher id. If the log does not reach back to it,
//! it reads the frames that this worker has still to offer, and leaves at the end of those.

use std::sync::Arc;

use super::batch::{PlannedSend, SendBatch, SendOutcome};
use super::conn::{Conn, ConnState, Stream};
use super::hub::HubGuard;
use super::lanes::WriteLane;
use super::log_read::{BEGINNING, LogRead, LogReader, MissedRead, ORDINARY, StreamAdvance, read_fresh};
use super::seam::{CloseMode, Io, SendResult};
use super::topic_log::SharedFrame;
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count, Counters};
use crate::base::id::EventId;
use crate::base::limits::{BATCH_BYTES_MAX, BATCH_SENDS_MAX, LOG_STEPS_PER_TURN, REPLAY_BYTES_BESIDE_ROUNDS};

/// Offer to one connection: its own bytes, then frames from the log.
struct OutputItem {
    slot: u32,
    /// Indices of the frames in the batch's own list.
    frames: std::ops::Range<usize>,
    advance: StreamAdvance,
}

impl Worker {
    /// Sends one batch of own output.
    pub(super) fn write_own_output(&mut self, io: &mut impl Io) {
        self.log_read = false;
        if self.roster.queued_writes() == 0 {
            return;
        }
        let mut kept: Vec<Arc<SharedFrame>> = Vec::new();
        let (items, evicted) = self.collect_output(&mut kept);
        for slot in evicted {
            self.close(io, slot, CloseMode::Reset, CloseReason::SlowEvicted);
        }
        let mut batch = SendBatch::default();
        let mut idle = Vec::new();
        for item in &items {
            let start = batch.cursor();
            let (own, chunked, replaying) = match &self.roster.conn(item.slot).state {
                ConnState::Idle => (0, true, false),
                ConnState::Requesting(exchange) => {
                    let rest = Some(&exchange.out[exchange.sent..]).filter(|rest| !rest.is_empty());
                    (batch.add_own(rest.into_iter()), true, false)
                }
                ConnState::Streaming(stream) => {
                    let parts = stream.pending.iter().flat_map(|pending| pending.parts(stream.chunked()));
                    (batch.add_own(parts), stream.chunked(), stream.replaying)
                }
            };
            batch.add_frames(kept[item.frames.clone()].iter(), chunked);
            let parts = start..batch.cursor();
            let OutputItem { slot, advance, .. } = *item;
            let last = kept[item.frames.clone()].last().map(|frame| frame.id());
            let beyond = is_beyond(self.roster.conn(slot), advance, last);
            if parts.is_empty() {
                idle.push((slot, advance, beyond));
                continue;
            }
            let bytes = batch.bytes_of(parts.clone());
            let StreamAdvance { upto, caught_up } = advance;
            batch.add(PlannedSend { slot, parts, bytes, own, upto, caught_up, replaying, beyond });
        }
        let ages = &self.node.counters(self.index).delivery_each;
        let outcomes = if batch.is_empty() { Vec::new() } else { batch.send(io, ages) };
        for (slot, advance, beyond) in idle {
            self.roster.conn_mut(slot).note_ids(0, beyond);
            self.finish_or_advance(io, slot, advance);
        }
        let now_us = io.mono_us();
        self.apply_outcomes(io, outcomes, now_us);
    }

    /// Takes connections from the queue and reads the log for those that are behind. Also returns the slots
    /// of those that must be ended: they were slow, and the log has passed them by.
    fn collect_output(&mut self, kept: &mut Vec<Arc<SharedFrame>>) -> (Vec<OutputItem>, Vec<u32>) {
        let (mut items, mut evicted) = (Vec::new(), Vec::new());
        let node = Arc::clone(&self.node);
        let mut lock: Option<HubGuard<'_>> = None;
        let (mut bytes, mut steps, mut replayed) = (0, 0, 0);
        let rounds_wait = self.topics.has_rounds();
        let replay_max = if rounds_wait { REPLAY_BYTES_BESIDE_ROUNDS } else { BATCH_BYTES_MAX };
        while items.len() + evicted.len() < BATCH_SENDS_MAX
            && bytes < BATCH_BYTES_MAX
            && steps < LOG_STEPS_PER_TURN
        {
            let half = bytes - replayed >= BATCH_BYTES_MAX / 2 || items.len() >= BATCH_SENDS_MAX / 2;
            let lanes: &[WriteLane] = match (replayed >= replay_max, half) {
                (true, _) => &[WriteLane::Short],
                (false, true) => &[WriteLane::Long, WriteLane::Short],
                (false, false) => &[WriteLane::Short, WriteLane::Long],
            };
            let Some((slot, lane)) = self.roster.next_write(lanes) else { break };
            let conn = self.roster.conn_mut(slot);
            let from = kept.len();
            let left = LOG_STEPS_PER_TURN - steps;
            let primed = conn.is_primed();
            let end = match &mut conn.state {
                ConnState::Streaming(stream) if stream.reads_log() => {
                    let begins = lane == WriteLane::Short && stream.replaying;
                    let most = if begins { BEGINNING } else { ORDINARY };
                    // After a greeting or a heartbeat nothing is missing here, so the hub is not asked.
                    let on_time = !stream.replaying && !stream.is_lagging();
                    let fresh = if on_time { read_fresh(stream, &self.topics, most, kept) } else { None };
                    fresh.unwrap_or_else(|| {
                        let hub = lock.get_or_insert_with(|| node.hub.lock());
                        let mut log = LogReader { hub, steps_max: left, steps: 0 };
                        let end = match log.read(stream, &self.topics, most, kept) {
                            LogRead::Missed => {
                                // A filter or a merge looks at all of them.
                                let all = stream.selection.is_some();
                                log.steps += if all { self.topics.fresh_frames() } else { 0 };
                                let missed = MissedRead { node: &node, worker: self.index, primed };
                                missed.read_on(stream, &self.topics, &mut log, most, kept)
                            }
                            end @ LogRead::Upto(_) => end,
                        };
                        steps += log.steps;
                        end
                    })
                }
                _ => LogRead::Upto(StreamAdvance::NONE),
            };
            let LogRead::Upto(advance) = end else {
                evicted.push(slot);
                continue;
            };
            let read = kept[from..].iter().map(|frame| frame.chunked().len()).sum::<usize>();
            bytes += read;
            replayed += if lane == WriteLane::Long { read } else { 0 };
            items.push(OutputItem { slot, frames: from..kept.len(), advance });
        }
        self.log_read = steps > 0;
        (items, evicted)
    }

    /// Ends streams whose half-sent frame is no longer kept: history has passed them by, and together they
    /// hold more memory than history may.
    pub(super) fn shed_passed_by(&mut self, io: &mut impl Io) {
        // Publishers wait for a look at the streams that hold a frame, not at all connections.
        let holders = self.roster.iter().filter(|(_, conn)| half_sent(conn).is_some());
        let holders: Vec<u32> = holders.map(|(slot, _)| slot).collect();
        let node = Arc::clone(&self.node);
        let hub = node.hub.lock();
        let passed_by = |slot: &u32| {
            half_sent(self.roster.conn(*slot)).is_some_and(|(stream, id)| {
                !stream.places().iter().any(|at| hub.log(self.topics.get(at.topic).hub).keeps(id))
            })
        };
        let slots: Vec<u32> = holders.into_iter().filter(passed_by).collect();
        drop(hub);
        for slot in slots {
            self.close(io, slot, CloseMode::Reset, CloseReason::SlowEvicted);
        }
    }

    /// Applies to each connection the outcome of its send, which ended at `now_us`.
    pub(super) fn apply_outcomes(&mut self, io: &mut impl Io, outcomes: Vec<SendOutcome>, now_us: u64) {
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
            let conn = self.roster.conn_mut(outcome.slot);
            conn.leave_batch();
            conn.note_ids(outcome.delivered + u64::from(outcome.half.is_some()), outcome.beyond);
            match outcome.result {
                SendResult::Broken => {
                    self.close(io, outcome.slot, CloseMode::Reset, CloseReason::Reset);
                    continue;
                }
                SendResult::TimedOut => {
                    self.close_timed_out(io, outcome.slot);
                    continue;
                }
                SendResult::Bytes(_) | SendResult::Full => {}
            }
            match &conn.state {
                ConnState::Streaming(_) => self.apply_stream_outcome(io, outcome, now_us),
                ConnState::Requesting(_) => self.apply_answer_outcome(io, outcome),
                ConnState::Idle => unreachable!("nothing is sent to a connection that waits"),
            }
        }
        let counters = self.counters();
        counters.add(Count::Sends, sends);
        counters.add(Count::SendsFull, full);
        counters.add(Count::EventSends, event_sends);
        counters.count(Count::Batches);
        counters.add(Count::Delivered, delivered);
        counters.add(Count::BytesSent, bytes);
    }

    fn apply_stream_outcome(&mut self, io: &mut impl Io, outcome: SendOutcome, now_us: u64) {
        let tick = self.now.tick();
        let slot = outcome.slot;
        let conn = self.roster.conn_mut(slot);
        let was_full = conn.is_full();
        let ConnState::Streaming(stream) = &mut conn.state else { return };
        let chunked = stream.chunked();
        let taken = matches!(outcome.result, SendResult::Bytes(_));
        if taken || !was_full {
            stream.last_write = tick;
        }
        let mut completed = None;
        if let Some(pending) = &mut stream.pending {
            completed = pending.advance(outcome.own_taken, chunked);
            if pending.is_done() {
                stream.pending = None;
            }
        }
        let replaying = stream.replaying;
        if replaying {
            let replayed = outcome.delivered + u64::from(completed.is_some());
            stream.replayed = stream.replayed.saturating_add(replayed as u32);
            self.node.counters(self.index).add(Count::Replayed, replayed);
        }
        if outcome.whole {
            let upto = outcome.position.unwrap_or(EventId::ZERO);
            self.finish_or_advance(io, slot, StreamAdvance { upto, caught_up: outcome.caught_up });
        } else {
            stream.position = stream.position.max(outcome.position.unwrap_or(EventId::ZERO));
            if stream.mark_lagging() {
                self.node.counters(self.index).lagging(1);
                self.node.counters(self.index).count(Count::Lagged);
            }
            if let Some(half) = outcome.half {
                assert!(stream.pending.is_none(), "frames follow own bytes");
                stream.pending.get_or_insert_default().frame = Some(half);
            }
            // Not only its slowness: once the socket takes bytes again, the next heartbeat may be due first.
            let wait = self.node.ticks.stall.min(self.node.ticks.heartbeat);
            let due = tick.saturating_add(wait).min(stream.end_due);
            conn.mark_full();
            self.roster.arm(slot, due);
        }
        if let Some(at_us) = completed {
            self.counters().count(Count::Delivered);
            if !replaying {
                self.counters().delivery_each.add(now_us.saturating_sub(at_us), 1);
            }
        }
    }

    /// Closes a stream that has sent its end, or moves another one on. An end may have no bytes: over
    /// HTTP/1.0 in the benchmark's profile.
    fn finish_or_advance(&mut self, io: &mut impl Io, slot: u32, advance: StreamAdvance) {
        let ends = |stream: &Stream| stream.is_ending().then(|| stream.is_ended_by_operator());
        let by_operator = match &self.roster.conn(slot).state {
            ConnState::Streaming(stream) => ends(stream),
            ConnState::Idle | ConnState::Requesting(_) => None,
        };
        let why = match by_operator {
            None => return self.advance_stream(slot, advance),
            Some(true) => CloseReason::Operator,
            Some(false) if self.drain.is_some() => CloseReason::Drain,
            Some(false) => CloseReason::Life,
        };
        self.close(io, slot, CloseMode::Orderly, why);
    }

    /// Moves a stream on when it has taken all that it was offered; if nothing newer waits, rounds take over.
    fn advance_stream(&mut self, slot: u32, StreamAdvance { upto, caught_up }: StreamAdvance) {
        if let ConnState::Streaming(stream) = &mut self.roster.conn_mut(slot).state {
            stream.position = stream.position.max(upto);
            if caught_up && stream.pending.is_none() {
                stream.catch_up();
                if stream.is_recovering() {
                    mark_live(stream, self.node.counters(self.index));
                }
            } else {
                stream.fall_behind();
                let long = stream.replaying && !caught_up;
                self.roster.queue_output(slot, if long { WriteLane::Long } else { WriteLane::Short });
            }
        }
    }
}

/// Whether an advance leads a primed stream beyond the frames sent with it, of which the last has this id.
fn is_beyond(conn: &Conn, advance: StreamAdvance, last: Option<EventId>) -> bool {
    match &conn.state {
        ConnState::Streaming(stream) if conn.is_primed() => advance.upto > last.unwrap_or(stream.position),
        ConnState::Idle | ConnState::Requesting(_) | ConnState::Streaming(_) => false,
    }
}

/// The stream of a connection that has been sent part of a frame, and the frame's id.
fn half_sent(conn: &Conn) -> Option<(&Stream, EventId)> {
    let ConnState::Streaming(stream) = &conn.state else { return None };
    let (frame, _) = stream.pending.as_ref()?.frame.as_ref()?;
    Some((stream, frame.id()))
}

/// Ends the lag and the replay of a stream that is live again or ends, and counts both.
pub(super) fn mark_live(stream: &mut Stream, counters: &Counters) {
    if stream.stop_lagging() {
        counters.lagging(-1);
    }
    if std::mem::take(&mut stream.replaying) {
        counters.replay.add(u64::from(stream.replayed), 1);
    }
}
