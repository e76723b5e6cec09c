//! The life of a stream beside its frames: joining, heartbeats, slowness, its end.

use std::sync::Arc;

use super::conn::{Conn, ConnState, Stream, StreamMode, StreamSelection, SubscriberPlace};
use super::hub::SubscribeOutcome;
use super::log_read::hub_topics;
use super::node::{Node, TickSettings};
use super::output::mark_live;
use super::seam::{CloseMode, Io, ReadResult};
use super::topics::LocalTopics;
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count, RefusalReason};
use crate::base::limits::{KIB, RETRY_JITTER_PERCENT, SUBSCRIBE_STEPS_PER_REQUEST};
use crate::base::settings::{SlowPolicy, UrlProfile};
use crate::base::time::{Tick, ticks_of_ms};
use crate::wire::gap::{TopicGap, append_gap_events};
use crate::wire::reply;
use crate::wire::request::{StreamStart, SubscribeRequest};

/// Milliseconds that a stream which the operator ends may take to accept the bytes on their way to it. A
/// stream ended by hand is often one that reads nothing, and the operator waits.
const OPERATOR_PATIENCE_MS: u64 = 1_000;
/// Per cent by which a stream's longest life differs from the setting.
const LIFE_JITTER_PERCENT: u64 = 10;
/// Milliseconds for which a stream that has reached its age waits for frames on their way to anyone, and for
/// those that it has still to read: on a busy worker there are always some. It gets the rest when it comes
/// back.
const END_PATIENCE_MS: u64 = 1_000;
/// Bytes a subscriber may send upstream after its request before it is cut.
const UPSTREAM_BYTES_MAX: usize = 64 * KIB;
/// Bytes that each piece counts as, at least, which a subscriber sends after its request.
const UPSTREAM_UNIT_BYTES: usize = 64;
const _: () = assert!(UPSTREAM_BYTES_MAX / UPSTREAM_UNIT_BYTES < u16::MAX as usize, "counted in 16 bits");

/// Milliseconds after which a stream that could not be ended yet is looked at again.
const END_RETRY_MS: u64 = 100;

/// A subscription about to become a stream.
pub(super) struct StreamOpening {
    /// Bytes that precede the stream: earlier answers, the head, the greeting.
    pub(crate) bytes: Vec<u8>,
    /// Topics, filter and place to start from.
    pub(crate) subscribe: SubscribeRequest,
}

impl Worker {
    /// Turns a connection with a request into a stream. Refused: the connection is as it was.
    pub(super) fn begin_stream(&mut self, slot: u32, opening: StreamOpening) -> Result<(), RefusalReason> {
        let StreamOpening { bytes, subscribe } = opening;
        let node = Arc::clone(&self.node);
        let joined = node.hub.subscribe(self.index, &subscribe.topics, &subscribe.start, self.now)?;
        self.requests_taken += joined.steps / SUBSCRIBE_STEPS_PER_REQUEST;
        let places: Vec<SubscriberPlace> = joined
            .topics
            .iter()
            .map(|&hub| {
                let (topic, index) = self.topics.add_subscriber(hub, slot, joined.head);
                SubscriberPlace { topic, index }
            })
            .collect();
        let plain = places.len() == 1 && subscribe.events.is_empty();
        let selection = (!plain).then(|| {
            let names = subscribe.events.clone().into_boxed_slice();
            let reported_floors = joined.reported_floors.clone().into_boxed_slice();
            Box::new(StreamSelection { places: places.clone().into_boxed_slice(), reported_floors, names })
        });
        let tick = self.now.tick();
        let mut stream = Stream {
            position: joined.position,
            pending: None,
            selection,
            place: places[0],
            last_write: tick,
            end_due: self.draw_end_due(tick, joined.life_ms),
            upstream: 0,
            mode: StreamMode::joining(subscribe.chunked, subscribe.clock),
            replaying: subscribe.start != StreamStart::Now,
            replayed: 0,
        };
        self.write_greeting(&mut stream, bytes, &subscribe, &joined);
        let half = node.ticks.heartbeat / 2;
        let wait = half + self.prng.below(u64::from(half) + 1) as Tick;
        let due = tick.saturating_add(wait).max(tick + 1).min(stream.end_due);
        let conn = self.roster.conn_mut(slot);
        conn.state = ConnState::Streaming(stream);
        if subscribe.prime {
            conn.prime();
        }
        self.roster.arm(slot, due);
        self.roster.queue_write(slot);
        self.counters().subscribers(1);
        self.counters().count(Count::Subscribed);
        self.trace_stream(slot);
        Ok(())
    }

    fn write_greeting(
        &self,
        stream: &mut Stream,
        bytes: Vec<u8>,
        subscribe: &SubscribeRequest,
        joined: &SubscribeOutcome,
    ) {
        let chunked = stream.chunked();
        let own = stream.own_output_mut();
        *own = bytes;
        if subscribe.clock {
            reply::append_clock_event(own, chunked, self.now.wall_ms);
        }
        let after = match &subscribe.start {
            StreamStart::After(id) => Some(id.to_string()),
            StreamStart::Unknown(text) => Some(text.clone()),
            StreamStart::Now | StreamStart::Newest(_) => None,
        };
        if let Some(after) = after {
            self.counters().count(Count::Resumed);
            self.counters().add(Count::Gaps, joined.gaps.len() as u64);
            let gap = |&(nth, oldest): &(usize, _)| TopicGap { topic: &subscribe.topics[nth], oldest };
            let mut gaps: Vec<TopicGap<'_>> = joined.gaps.iter().map(gap).collect();
            append_gap_events(own, chunked, &after, joined.gap_reason, &mut gaps);
        }
        if subscribe.prime {
            reply::append_position(own, chunked, joined.position);
        }
    }

    fn draw_end_due(&mut self, tick: Tick, life_ms: u64) -> Tick {
        match life_ms {
            0 => Tick::MAX,
            life_ms => tick.saturating_add(ticks_of_ms(self.prng.jittered(life_ms, LIFE_JITTER_PERCENT))),
        }
    }

    /// Draws the reconnection time of one client.
    pub(super) fn draw_retry_ms(&mut self) -> u64 {
        self.prng.jittered(self.node.settings.retry_ms, RETRY_JITTER_PERCENT)
    }

    /// Takes an ended stream out of its topics.
    pub(super) fn leave_topics(&mut self, mut stream: Stream) {
        mark_live(&mut stream, self.counters());
        self.counters().subscribers(-1);
        for place in stream.places() {
            let roster = &mut self.roster;
            let (hub, last) = self.topics.remove_subscriber(place.topic, place.index, |slot, index| {
                if let Some(moved) = roster.stream_mut(slot) {
                    moved.place_mut(place.topic).index = index;
                }
            });
            self.node.hub.unsubscribe(self.index, hub, last, self.now);
        }
    }

    /// Reads bytes that a subscriber sends after its request, which mean nothing, until they are too many or
    /// it ends. Returns how many bytes were read.
    pub(super) fn read_upstream(&mut self, io: &mut impl Io, slot: u32) -> usize {
        let read = io.read(slot, &mut self.scratch);
        match read {
            ReadResult::Bytes(bytes) => {
                let most = self.scratch.len();
                let ConnState::Streaming(stream) = &mut self.roster.conn_mut(slot).state else {
                    return bytes;
                };
                stream.upstream = stream.upstream.saturating_add(bytes.div_ceil(UPSTREAM_UNIT_BYTES) as u16);
                if usize::from(stream.upstream) > UPSTREAM_BYTES_MAX / UPSTREAM_UNIT_BYTES {
                    self.close(io, slot, CloseMode::Reset, CloseReason::Upstream);
                } else {
                    self.roster.queue_read_again(slot, bytes, most);
                }
                return bytes;
            }
            ReadResult::Empty => self.roster.conn_mut(slot).clear_ended(),
            ReadResult::End => self.close(io, slot, CloseMode::Orderly, CloseReason::Peer),
            ReadResult::Broken => self.close(io, slot, CloseMode::Reset, CloseReason::Reset),
            ReadResult::TimedOut => self.close_timed_out(io, slot),
        }
        0
    }

    /// Closes a connection that the kernel has given up on. A subscriber there was slow: it took nothing.
    pub(super) fn close_timed_out(&mut self, io: &mut impl Io, slot: u32) {
        let why = match &self.roster.conn(slot).state {
            ConnState::Streaming(_) => CloseReason::SlowUnacknowledged,
            ConnState::Idle | ConnState::Requesting(_) => CloseReason::Reset,
        };
        self.close(io, slot, CloseMode::Reset, why);
    }

    /// Acts on a stream's timer: its end, its slowness or its heartbeat, if due. Then arms the next one.
    pub(super) fn handle_stream_timer(&mut self, io: &mut impl Io, slot: u32) {
        let tick = self.now.tick();
        let ticks = self.node.ticks;
        let conn = self.roster.conn_mut(slot);
        let full = conn.is_full();
        let ConnState::Streaming(stream) = &mut conn.state else { return };
        let ending = stream.is_ending();
        let patience = write_patience(stream, &ticks);
        let stalled = full && tick >= stream.last_write.saturating_add(patience);
        if stalled && (ending || !stays_when_slow(&self.node, stream, &self.topics)) {
            let by_operator = stream.is_ended_by_operator();
            let why = if by_operator { CloseReason::Operator } else { CloseReason::SlowStalled };
            return self.close(io, slot, CloseMode::Reset, why);
        }
        if tick >= stream.end_due && !ending {
            return self.end_stream(slot);
        }
        let newcomer = stream.take_newcomer();
        let silence = if newcomer { ticks.heartbeat / 2 } else { ticks.heartbeat - (ticks.together - 1) };
        if !full && stream.is_live() && tick >= stream.last_write.saturating_add(silence) {
            queue_heartbeat(conn, self.now.wall_ms, tick);
            self.counters().count(Count::Heartbeats);
            self.roster.queue_write(slot);
        }
        let ConnState::Streaming(stream) = &self.roster.conn(slot).state else { return };
        let next = if stalled {
            tick.saturating_add(ticks.heartbeat)
        } else if full {
            stream.last_write.saturating_add(patience).min(tick.saturating_add(ticks.heartbeat))
        } else {
            let due = stream.last_write.saturating_add(ticks.heartbeat);
            due - due % ticks.together
        };
        let ends = if ending { Tick::MAX } else { stream.end_due };
        self.roster.arm(slot, next.max(tick + 1).min(ends));
    }

    /// Ends a stream after a whole frame, with a time to come back; later, if it still has frames to get. The
    /// operator does not wait for one that is behind.
    pub(super) fn end_stream(&mut self, slot: u32) {
        let tick = self.now.tick();
        let ConnState::Streaming(stream) = &self.roster.conn(slot).state else { return };
        let patient =
            self.drain.is_some() || tick < stream.end_due.saturating_add(ticks_of_ms(END_PATIENCE_MS));
        let mail_waits = self.topics.has_rounds() || !self.inbox.frames.is_empty();
        let by_operator = stream.is_ended_by_operator();
        let owed = mail_waits || !(stream.is_live() || by_operator);
        if patient && owed {
            self.roster.arm(slot, tick.saturating_add(ticks_of_ms(END_RETRY_MS)));
        } else {
            self.queue_stream_end(slot);
        }
    }

    /// Queues the end of a stream behind bytes that wait; it reads no further frames.
    pub(super) fn queue_stream_end(&mut self, slot: u32) {
        let tick = self.now.tick();
        let retry_ms = self.draw_retry_ms();
        let conn = self.roster.conn_mut(slot);
        let full = conn.is_full();
        let owes_id = conn.take_owed_id();
        let ConnState::Streaming(stream) = &mut conn.state else { return };
        if stream.is_ending() {
            return;
        }
        let chunked = stream.chunked();
        if owes_id {
            stream.queue_position();
        }
        if self.node.settings.profile == UrlProfile::Standard {
            reply::append_retry_line(stream.own_output_mut(), chunked, retry_ms);
        }
        stream.own_output_mut().extend_from_slice(if chunked { reply::END_CHUNKED } else { b"" });
        stream.mark_ending();
        // A stream that takes nothing gets no more time because it ends, but for the operator's moment.
        if !full || stream.is_ended_by_operator() {
            stream.last_write = tick;
        }
        let due = stream.last_write.saturating_add(write_patience(stream, &self.node.ticks));
        self.roster.arm(slot, due.max(tick + 1));
        self.roster.queue_write(slot);
    }
}

/// Whether a stream that takes nothing stays. Then it costs no memory beyond the log, and the kernel gives up
/// on a peer that never reads.
fn stays_when_slow(node: &Node, stream: &Stream, topics: &LocalTopics) -> bool {
    node.hub.lock().stream_rules(hub_topics(stream, topics)).slow_policy != SlowPolicy::Disconnect
}

/// Time for which a stream may take nothing.
fn write_patience(stream: &Stream, ticks: &TickSettings) -> Tick {
    match stream.is_ended_by_operator() {
        true => ticks.stall.min(ticks_of_ms(OPERATOR_PATIENCE_MS)),
        false => ticks.stall,
    }
}

/// Puts a heartbeat in front of a live stream's next frame, after the position that its client has still to
/// be told.
fn queue_heartbeat(conn: &mut Conn, wall_ms: u64, tick: Tick) {
    let owes_id = conn.take_owed_id();
    let ConnState::Streaming(stream) = &mut conn.state else { return };
    stream.last_write = tick;
    let chunked = stream.chunked();
    if owes_id {
        stream.queue_position();
    }
    if stream.has_clock() {
        reply::append_clock_event(stream.own_output_mut(), chunked, wall_ms);
    } else {
        stream.queue_static(if chunked { reply::HEARTBEAT_CHUNKED } else { reply::HEARTBEAT_BARE });
    }
}

/// A topic name that no client can subscribe to: names have no control characters.
pub(super) const BENCH_TOPIC: &str = "\u{1}broadcast";

/// The subscription of the broadcast-benchmark profile.
pub(super) fn bench_subscription(chunked: bool) -> SubscribeRequest {
    SubscribeRequest {
        topics: vec![BENCH_TOPIC.into()],
        events: Vec::new(),
        start: StreamStart::Now,
        clock: false,
        buffered: false,
        chunked,
        event_source: false,
        prime: false,
    }
}
