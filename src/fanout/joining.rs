//! A subscription becomes a stream: it joins its topics, and its first bytes are made.

use super::class_table::StreamRules;
use super::conn::{ConnState, Stream, StreamMode};
use super::conn_tracing::trace_stream;
use super::hub::{SubscribeOutcome, WantedTopics};
use super::long_poll::LongPoll;
use super::pending_output::PendingOutput;
use super::roster::{Roster, StreamAccess};
use super::seam::Io;
use super::snapshot_read::SnapshotRead;
use super::stream_rate::StreamRate;
use super::stream_selection::StreamSelection;
use super::subscriber_list::SubscriberPlace;
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
    let StreamOpening { bytes, mut subscribe, poll } = opening;
    let node = turn.node;
    let wanted = WantedTopics { names: &subscribe.topics, patterns: &subscribe.patterns };
    let joined = node.hub.subscribe(turn.index, wanted, &subscribe.start, turn.now)?;
    turn.carried.count_requests(joined.steps / SUBSCRIBE_STEPS_PER_REQUEST);
    let places: Vec<SubscriberPlace> =
        joined.topics.iter().map(|&hub| topics.add_subscriber(hub, slot, joined.head)).collect();
    let poll_due = poll.as_ref().map_or(Tick::MAX, |poll| poll.due);
    let snapshot = snapshot_of(&subscribe, &joined, poll.is_some());
    let rate = rate_of(&joined, poll.is_some(), turn.now.mono_ms);
    for (place, window) in places.iter().zip(&joined.windows) {
        topics.set_window(place.topic, *window);
    }
    let selection = selection_of(&subscribe, &joined, &places, poll, snapshot, rate);
    let tick = turn.tick();
    // Not before: a client that comes back at once must find that the credential has ended.
    let left_ms = |ends_ms: u64| ends_ms.saturating_sub(turn.now.wall_ms).saturating_add(TICK_MS);
    let ends = |ends_ms: u64| turn.tick_after_ms(left_ms(ends_ms));
    let access = subscribe
        .access
        .take()
        .map(|owner| StreamAccess { ends: owner.ends_ms.map_or(Tick::MAX, ends), owner: Box::new(owner) });
    roster.set_access(slot, access);
    let mode = StreamMode::joining(subscribe.form);
    let mut stream = Stream {
        position: match &snapshot {
            Some(snapshot) if snapshot.newest_only => joined.state_position,
            Some(_) | None => joined.position,
        },
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

/// Returns the part of a stream that a plain one has not.
fn selection_of(
    subscribe: &SubscribeRequest,
    joined: &SubscribeOutcome,
    places: &[SubscriberPlace],
    poll: Option<Box<LongPoll>>,
    snapshot: Option<SnapshotRead>,
    rate: Option<Box<StreamRate>>,
) -> Option<Box<StreamSelection>> {
    let plain = places.len() == 1
        && !joined.losses_ahead
        && subscribe.events.is_empty()
        && poll.is_none()
        && snapshot.is_none()
        && rate.is_none();
    (!plain).then(|| {
        let names = subscribe.events.clone().into_boxed_slice();
        let told_losses = joined.told_losses.clone().into_boxed_slice();
        Box::new(StreamSelection { places: places.into(), told_losses, names, poll, snapshot, rate })
    })
}

/// Returns the rate of a stream, if its classes have one. The answer to a poll has no pace.
fn rate_of(joined: &SubscribeOutcome, polls: bool, now_ms: u64) -> Option<Box<StreamRate>> {
    let rules = joined.rules.rate.filter(|_| !polls)?;
    Some(Box::new(StreamRate::new(rules, now_ms)))
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
    let position = stream.position;
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
        let gap = |&(nth, oldest): &(usize, _)| TopicGap { topic: subscribe.channel(nth), oldest };
        let mut gaps: Vec<TopicGap<'_>> = joined.gaps.iter().map(gap).collect();
        append_gap_events(own, form, &after, joined.gap_reason, &mut gaps);
    }
    if subscribe.prime && !polls {
        reply::append_position(own, form, position);
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
        patterns: Vec::new(),
        events: Vec::new(),
        start: StreamStart::Now,
        clock: false,
        buffered: false,
        form,
        event_source: false,
        prime: false,
        wait_ms: None,
        access: None,
        snapshot: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::{Settings, SlowPolicy};
    use crate::fanout::stage_tests::Stage;
    use crate::wire::auth::access::CredentialOwner;

    /// Subscribes with `query`. Returns the connection and the bytes behind the head of its answer.
    fn join(stage: &mut Stage, query: &str) -> (u32, String) {
        let slot = stage.subscribe(query);
        let sent = stage.take_sent(slot);
        let (_, body) = sent.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {sent}"));
        (slot, body.to_owned())
    }

    /// Joins by the request itself, as one whose credential ends at a moment.
    fn join_until(stage: &mut Stage, access_ends_ms: u64) -> u32 {
        let slot = stage.open(ListenerKind::Public);
        let mut subscribe = bench_subscription(FrameForm::Bare);
        subscribe.access = Some(CredentialOwner::of_url(access_ends_ms));
        let opening = StreamOpening { bytes: Vec::new(), subscribe, poll: None };
        let joined = stage.step(|roster, topics, turn| begin_stream(roster, topics, turn, slot, opening));
        joined.expect("room for a few");
        slot
    }

    #[test]
    fn only_a_stream_that_wants_something_special_takes_memory_of_its_own() {
        let mut stage = Stage::new(Settings::default());
        for (query, special) in [
            ("topic=a", false),
            ("topic=a&clock=1&prime=1&last=3", false),
            ("topic=a&topic=b", true),
            ("topic=a&event=x", true),
            ("topic=a&wait_ms=1000", true),
        ] {
            let slot = stage.subscribe(query);
            assert_eq!(stage.stream(slot).selection.is_some(), special, "{query}");
        }
    }

    #[test]
    fn a_refused_subscription_leaves_the_connection_as_it_was() {
        let mut stage = Stage::new(Settings { topics_max: 1, ..Settings::default() });
        let (kept, _) = join(&mut stage, "topic=a");
        let (over, told) = join(&mut stage, "topic=b");
        assert!(told.contains("topics_full"), "{told}");
        assert!(matches!(stage.roster.conn(over).state, ConnState::Idle), "it may ask for another topic");
        assert_eq!((stage.node.totals().subscribers_open, stage.count(Count::Subscribed)), (1, 1));
        assert!(stage.stream(kept).is_live());
    }

    #[test]
    fn greeting_tells_the_time_then_the_gap_then_the_position() {
        let mut stage = Stage::new(Settings::default());
        let (_, told) = join(&mut stage, "topic=a&clock=1&prime=1&last_event_id=1-1");
        let places =
            [":ok", "event: fanwheel.clock", "event: fanwheel.gap", "id: "].map(|part| told.find(part));
        assert!(places.is_sorted() && places[0].is_some(), "{places:?} {told}");
        assert_eq!((stage.count(Count::Resumed), stage.count(Count::Gaps)), (1, 1));
        let (_, plain) = join(&mut stage, "topic=a");
        assert!(plain.contains(":ok") && !plain.contains("event: ") && !plain.contains("id: "), "{plain}");
    }

    #[test]
    fn a_poll_is_told_nothing_before_its_answer_and_is_due_with_it() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.subscribe("topic=a&wait_ms=1000&clock=1");
        assert_eq!(stage.take_sent(slot), "", "its answer begins with a length");
        let due = stage.stream(slot).poll().expect("a poll").due;
        assert!(due <= stage.step(|_, _, turn| turn.tick_after_ms(1_000)));
        assert_eq!(stage.roster.wheel().due(slot), due, "it has no heartbeat");
    }

    #[test]
    fn first_heartbeats_are_spread_over_half_an_interval() {
        let mut stage = Stage::with_connections(Settings::default(), 200);
        let whole = stage.node.ticks.heartbeat;
        let now = stage.step(|_, _, turn| turn.tick());
        let mut waits: Vec<Tick> = Vec::new();
        for _ in 0..200 {
            let slot = stage.subscribe("topic=a");
            waits.push(stage.roster.wheel().due(slot) - now);
        }
        assert!(waits.iter().all(|wait| (whole / 2..=whole).contains(wait)), "{waits:?}");
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 100, "they would beat together: {waits:?}");
    }

    #[test]
    fn the_earliest_of_life_silence_and_credential_ends_a_stream() {
        let mut stage = Stage::new(Settings::default());
        let plain = stage.subscribe("topic=a");
        let bounded = join_until(&mut stage, 61_000);
        let due = |slot, life_ms, idle_ms| {
            let rules = StreamRules { slow_policy: SlowPolicy::Disconnect, life_ms, idle_ms, rate: None };
            end_due(&stage.roster, slot, rules, [1_000, 2_000])
        };
        let near = |from: Tick, ms: u64| {
            let tenth = ms * END_JITTER_PERCENT / 100;
            from + ticks_of_ms(ms - tenth)..=from + ticks_of_ms(ms + tenth)
        };
        assert_eq!(due(plain, 0, 0), Tick::MAX);
        assert!(near(1_000, 80_000).contains(&due(plain, 80_000, 0)));
        assert!(near(2_000, 32_000).contains(&due(plain, 80_000, 32_000)));
        assert!(near(1_000, 32_000).contains(&due(plain, 32_000, 80_000)));
        assert_eq!(due(plain, 80_000, 0), due(plain, 80_000, 0), "a connection has one jitter");
        let credential = stage.roster.access_end(bounded);
        assert_eq!(due(bounded, 0, 0), credential);
        assert_eq!(due(bounded, 80_000_000, 80_000_000), credential);
    }

    #[test]
    fn a_stream_does_not_end_before_its_credential() {
        let mut stage = Stage::new(Settings::default());
        for ends_ms in [0, 1_000, 1_001, 5_000, 5_017, 5_031] {
            let slot = join_until(&mut stage, ends_ms);
            let ended_ms = u64::from(stage.stream(slot).end_due) * TICK_MS;
            let not_before = ends_ms.max(stage.now_ms);
            let late = not_before + 2 * TICK_MS;
            assert!((not_before..=late).contains(&ended_ms), "{ends_ms}: {ended_ms}");
        }
    }
}
