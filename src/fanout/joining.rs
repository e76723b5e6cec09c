//! A subscription becomes a stream: it joins its topics, and its first bytes are made.

use super::class_table::StreamRules;
use super::conn::{ConnState, Stream, StreamMode, StreamSelection, SubscriberPlace};
use super::conn_tracing::trace_stream;
use super::hub::SubscribeOutcome;
use super::long_poll::LongPoll;
use super::pending_output::PendingOutput;
use super::roster::Roster;
use super::seam::Io;
use super::snapshot_read::SnapshotRead;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::{Count, RefusalReason};
use crate::base::limits::SUBSCRIBE_STEPS_PER_REQUEST;
use crate::base::prng::Prng;
use crate::base::time::{TICK_MS, Tick, ticks_of_ms};
use crate::wire::frame::FrameForm;
use crate::wire::gap::{TopicGap, append_gap_events};
use crate::wire::reply;
use crate::wire::subscription::{StreamStart, SubscribeRequest};

/// Per cent by which a stream's longest life, or silence, differs from the setting.
const END_JITTER_PERCENT: u64 = 10;

/// A subscription about to become a stream.
pub(super) struct StreamOpening {
    /// Bytes that precede the stream: earlier answers, the head, the greeting.
    pub(crate) bytes: Vec<u8>,
    /// Topics, filter and place to start from.
    pub(crate) subscribe: SubscribeRequest,
    /// It gets one answer.
    pub(crate) poll: Option<Box<LongPoll>>,
}

/// Turns a connection with a request into a stream. Refused: the connection is as it was.
pub(super) fn begin_stream(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    opening: StreamOpening,
) -> Result<(), RefusalReason> {
    let StreamOpening { bytes, subscribe, poll } = opening;
    let node = turn.node;
    let joined = node.hub.subscribe(turn.index, &subscribe.topics, &subscribe.start, turn.now)?;
    turn.carried.count_requests(joined.steps / SUBSCRIBE_STEPS_PER_REQUEST);
    let places: Vec<SubscriberPlace> =
        joined.topics.iter().map(|&hub| topics.add_subscriber(hub, slot, joined.head)).collect();
    let poll_due = poll.as_ref().map_or(Tick::MAX, |poll| poll.due);
    let snapshot = snapshot_of(&subscribe, &joined, poll.is_some());
    let plain = places.len() == 1 && subscribe.events.is_empty() && poll.is_none() && snapshot.is_none();
    for (place, window) in places.iter().zip(&joined.windows) {
        topics.set_window(place.topic, *window);
    }
    let selection = (!plain).then(|| {
        let names = subscribe.events.clone().into_boxed_slice();
        let reported_floors = joined.reported_floors.clone().into_boxed_slice();
        let places = places.clone().into_boxed_slice();
        Box::new(StreamSelection { places, reported_floors, names, poll, snapshot })
    });
    let tick = turn.tick();
    // Not before: a client that comes back at once must find that the credential has ended.
    let left_ms = |ends_ms: u64| ends_ms.saturating_sub(turn.now.wall_ms).saturating_add(TICK_MS);
    roster.set_access_end(slot, subscribe.access_ends_ms.map(|ends_ms| turn.tick_after_ms(left_ms(ends_ms))));
    let mode = StreamMode::joining(subscribe.form);
    let mut stream = Stream {
        position: joined.position,
        pending: None,
        selection,
        place: places[0],
        last_write: tick,
        end_due: end_due(roster, slot, joined.rules, [tick, tick]),
        upstream: 0,
        mode: if subscribe.clock { mode.with_clock() } else { mode },
        replaying: subscribe.start != StreamStart::Now,
        replayed: 0,
    };
    write_greeting(turn, &mut stream, bytes, &subscribe, &joined);
    let half = node.ticks.heartbeat / 2;
    let wait = half + turn.carried.draw_below(u64::from(half) + 1) as Tick;
    let beats = tick.saturating_add(wait).max(tick + 1);
    let due = if stream.waits() { poll_due } else { beats }.min(stream.end_due);
    let is_primed = subscribe.prime && !stream.waits();
    let conn = roster.conn_mut(slot);
    conn.state = ConnState::Streaming(stream);
    if is_primed {
        conn.prime();
    }
    roster.arm(slot, due);
    roster.queue_write(slot);
    turn.counters().subscribers(1);
    turn.counters().count(Count::Subscribed);
    trace_stream(roster, topics, turn, slot);
    Ok(())
}

/// Returns the snapshot that a stream begins with. After an id the client gets all that it missed, unless
/// some of that is gone. A poll that goes on after an id has had its snapshot.
fn snapshot_of(subscribe: &SubscribeRequest, joined: &SubscribeOutcome, polls: bool) -> Option<SnapshotRead> {
    let begins = matches!(subscribe.start, StreamStart::Snapshot { .. });
    let newest_only = begins || !joined.gaps.is_empty();
    let snapshot = SnapshotRead { until: joined.snapshot_until, newest_only };
    (subscribe.snapshot && (begins || !polls)).then_some(snapshot)
}

fn write_greeting(
    turn: &TurnContext<'_, impl Io>,
    stream: &mut Stream,
    bytes: Vec<u8>,
    subscribe: &SubscribeRequest,
    joined: &SubscribeOutcome,
) {
    let form = stream.form();
    if !bytes.is_empty() {
        stream.pending = Some(Box::new(PendingOutput { bytes: bytes.into(), ..PendingOutput::default() }));
    }
    // What a poll is told stands in its answer.
    let polls = stream.waits();
    let own = stream.own_output_mut();
    if subscribe.clock && !polls {
        reply::append_clock_event(own, form, turn.now.wall_ms);
    }
    let after = match &subscribe.start {
        StreamStart::After(id) => Some(id.to_string()),
        StreamStart::Unknown(text) => Some(text.clone()),
        StreamStart::Now | StreamStart::Newest(_) | StreamStart::Snapshot { .. } => None,
    };
    if let Some(after) = after {
        turn.counters().count(Count::Resumed);
        turn.counters().add(Count::Gaps, joined.gaps.len() as u64);
        let gap = |&(nth, oldest): &(usize, _)| TopicGap { topic: &subscribe.topics[nth], oldest };
        let mut gaps: Vec<TopicGap<'_>> = joined.gaps.iter().map(gap).collect();
        append_gap_events(own, form, &after, joined.gap_reason, &mut gaps);
    }
    if subscribe.prime && !polls {
        reply::append_position(own, form, joined.position);
    }
}

/// Returns the tick in which a stream of these rules is to be ended: with its credential, by its longest
/// life, counted from the first of `since`, or for silence, counted from the second. The jitter of a
/// connection is always the same.
pub(super) fn end_due(roster: &Roster, slot: u32, rules: StreamRules, since: [Tick; 2]) -> Tick {
    let conn = roster.conn(slot);
    let due = |(since, ms): (Tick, u64)| match ms {
        0 => Tick::MAX,
        ms => {
            let jittered = Prng::new(conn.generation.into()).jittered(ms, END_JITTER_PERCENT);
            since.saturating_add(ticks_of_ms(jittered))
        }
    };
    let [life, idle] = since;
    due((life, rules.life_ms)).min(due((idle, rules.idle_ms))).min(roster.access_end(slot))
}

/// A topic name that no client can subscribe to: names have no control characters.
pub(super) const BENCH_TOPIC: &str = "\u{1}broadcast";

/// The subscription of the broadcast-benchmark profile.
pub(super) fn bench_subscription(form: FrameForm) -> SubscribeRequest {
    SubscribeRequest {
        topics: vec![BENCH_TOPIC.into()],
        events: Vec::new(),
        start: StreamStart::Now,
        clock: false,
        buffered: false,
        form,
        event_source: false,
        prime: false,
        wait_ms: None,
        access_ends_ms: None,
        snapshot: false,
    }
}
