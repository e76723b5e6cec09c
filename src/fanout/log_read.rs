//! Which frames come next for a stream: from the hub's log for one that is behind, or from those that this
//! worker has still to offer. Sends nothing and changes no queue.
//!
//! A stream that the log has passed by reads the frames that were not offered here yet; else those still
//! kept, after a gap. All reads are bounded in frames, bytes and steps.

use std::sync::Arc;

use super::conn::Stream;
use super::hub::{FollowedTopics, HubState, LossMark, WalkStep};
use super::node::Node;
use super::shared_frame::{SharedFrame, first_after, is_pattern};
use super::stream_rate::StreamRate;
use super::subscriber_list::SubscriberPlace;
use super::topics::LocalTopics;
use crate::base::counters::{Count, Counters, SupersededReason};
use crate::base::id::EventId;
use crate::base::limits::{READ_BYTES_SHORT, READ_FRAMES_MAX, READ_FRAMES_SHORT};
use crate::base::settings::{RatePolicy, SlowPolicy};
use crate::wire::gap::{GapReason, TopicGap, append_gap_events};
use crate::wire::reply;

/// Point to which a stream gets when it has taken all that it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamAdvance {
    /// The position that it has then.
    pub(crate) upto: EventId,
    /// Nothing newer waits for it then, or rounds offer it the rest.
    pub(crate) caught_up: bool,
}

impl StreamAdvance {
    /// The advance of a connection that is offered no frames.
    pub(super) const NONE: StreamAdvance = StreamAdvance { upto: EventId::ZERO, caught_up: false };

    /// Whether nothing up to an id is left for it.
    pub(super) fn is_beyond(self, id: EventId) -> bool {
        self.caught_up || self.upto > id
    }
}

/// Limit of one read: not more than so many frames, and none after so many bytes.
#[derive(Clone, Copy)]
pub(super) struct ReadLimit {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// Limit of a replay's first read.
pub(super) const BEGINNING: ReadLimit = ReadLimit { frames: READ_FRAMES_SHORT, bytes: READ_BYTES_SHORT };
/// Limit of all other reads.
pub(super) const ORDINARY: ReadLimit = ReadLimit { frames: READ_FRAMES_MAX, bytes: usize::MAX };

/// Least steps of a read, so that a stream with many topics gets on however little of a turn is left.
const READ_STEPS_MIN: usize = 256;

/// Result of a stream's read of frames that it has still to get.
pub(super) enum LogRead {
    /// Frames, if any, were appended. They lead so far.
    Upto(StreamAdvance),
    /// The next frame is no longer held.
    Missed,
}

/// A read by a stream that the log has passed by.
pub(super) struct MissedRead<'a> {
    pub(super) node: &'a Node,
    /// Index of the stream's worker.
    pub(super) worker: usize,
    /// The stream's client is told its position.
    pub(super) primed: bool,
}

impl MissedRead<'_> {
    /// Appends the next frames, at most `most`. They are frames that were not offered here yet; else those
    /// still kept, after a gap, or those that the stream's policy leaves a slow one. [`LogRead::Missed`]:
    /// the stream must be ended.
    pub(super) fn read_on(
        &self,
        stream: &mut Stream,
        topics: &LocalTopics,
        log: &mut LogReader<'_>,
        most: ReadLimit,
        kept: &mut Vec<Arc<SharedFrame>>,
    ) -> LogRead {
        if let Some(end) = read_fresh(stream, topics, most, kept) {
            return end;
        }
        let counters = self.node.counters(self.worker);
        // A reader is not slow because the operator has taken the history away, or the orderer has lost it.
        let slow = stream.is_lagging() && !has_been_forgotten(stream, topics, log.hub);
        let policy = slow.then(|| log.hub.stream_rules(hub_topics(stream, topics)).slow_policy);
        if let Some(policy) = policy {
            match policy {
                SlowPolicy::Disconnect => return LogRead::Missed,
                SlowPolicy::Skip => {}
                SlowPolicy::Latest => stream.mark_passed_by(),
            }
            counters.count(Count::Skipped);
        }
        let gaps = skip_missed(stream, topics, log.hub, policy == Some(SlowPolicy::Skip));
        counters.add(Count::Gaps, gaps);
        if self.primed {
            stream.queue_position();
        }
        // A gap has just been told under the same lock, so this time nothing is missed.
        log.read(stream, topics, most, kept)
    }
}

/// Appends the next frames for a stream from those that were not offered to everyone here, at most `most`;
/// frames that are not among them are still in the mailbox. None: some of them were here and are gone.
pub(super) fn read_fresh(
    stream: &Stream,
    topics: &LocalTopics,
    most: ReadLimit,
    kept: &mut Vec<Arc<SharedFrame>>,
) -> Option<LogRead> {
    let has_all = |place: &SubscriberPlace| topics.has_all_after(place.topic, stream.position);
    if stream.is_passed_by() || !stream.places().iter().all(has_all) {
        return None;
    }
    let mut found = Vec::new();
    let nothing_new = StreamAdvance { upto: stream.position, caught_up: true };
    // Without a round, frames wait in windows, whose end brings them to a live stream.
    let offered = stream.places().iter().any(|place| topics.get(place.topic).has_round());
    let gathered = offered.then(|| gather_fresh(topics, stream, most.frames, &mut found)).flatten();
    let advance = gathered.unwrap_or(nothing_new);
    kept.extend(found.into_iter().map(Arc::clone));
    Some(LogRead::Upto(advance))
}

/// Reads the hub's logs for those that are behind, under its lock.
pub(super) struct LogReader<'a> {
    pub(super) hub: &'a HubState,
    /// Moment of the read, monotonic milliseconds.
    pub(super) now_ms: u64,
    /// Steps after which a read is cut short.
    pub(super) steps_max: usize,
    /// Topics and frames that were looked at, also for nothing.
    pub(super) steps: usize,
    /// Counters of the worker.
    pub(super) counters: &'a Counters,
}

impl LogReader<'_> {
    /// Appends the next frames of the log for a stream, at most `most`, in id order.
    pub(super) fn read(
        &mut self,
        stream: &Stream,
        topics: &LocalTopics,
        most: ReadLimit,
        kept: &mut Vec<Arc<SharedFrame>>,
    ) -> LogRead {
        let hub = self.hub;
        let mut indices = Vec::with_capacity(stream.places().len());
        let all = reads_all_state(stream, topics, hub);
        let reads_state = |index: u32| reads_state(stream, hub, all, index);
        let mut moved_on = false;
        for (nth, place) in stream.places().iter().enumerate() {
            let index = topics.get(place.topic).hub;
            let told = told_losses(stream, nth);
            let lost = hub.has_lost(index, stream.position, told);
            moved_on |= lost;
            if lost && (!reads_state(index) || hub.has_lost_state(index, stream.position, told)) {
                return LogRead::Missed;
            }
            indices.push(index);
        }
        self.steps += indices.len();
        let mut walk = hub.walk_after(&indices, stream.position, reads_state);
        let steps_max = walk.steps() + self.steps_max.max(READ_STEPS_MIN);
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut upto = stream.position;
        let snapshot = stream.snapshot();
        // A poll gets state and changes in one answer.
        let ends_at = snapshot.filter(|_| !stream.waits()).map_or(EventId::MAX, |snapshot| snapshot.until);
        let more = loop {
            let full = found.len() == most.frames || bytes >= most.bytes;
            match walk.step(steps_max) {
                WalkStep::End => break false,
                WalkStep::Enough => {
                    upto = walk.seen();
                    break true;
                }
                WalkStep::Event(frame) if frame.id() > ends_at => break false,
                WalkStep::Event(frame) if frame.is_past(self.now_ms) => upto = frame.id(),
                WalkStep::Event(_) if full => break true,
                WalkStep::Event(frame)
                    if snapshot.is_some_and(|s| s.leaves_out(hub, walk.topics(), frame)) =>
                {
                    upto = frame.id();
                }
                WalkStep::Event(frame) => {
                    bytes += frame.chunked().len();
                    upto = frame.id();
                    found.push(frame);
                }
            }
        };
        let upto = if more { upto } else { hub.head().min(ends_at) };
        // A client that was away is not slow: of the frames that it has missed none is left out.
        let slow = stream.is_passed_by() || (more || moved_on) && !stream.replaying;
        let slow_latest = slow && hub.stream_rules(indices.iter().copied()).slow_policy == SlowPolicy::Latest;
        let newest_only = slow_latest || is_held_for_newest(stream);
        found.retain(|frame| stream.wants(frame));
        if newest_only || indices.iter().any(|&index| hub.is_throttled(index)) {
            let all = found.len();
            let gives_way = |index: u32| newest_only || hub.is_throttled(index);
            found.retain(|frame| !is_superseded(stream, hub, walk.topics(), frame, gives_way));
            let why = superseded_reason(slow_latest, newest_only);
            self.counters.supersede(why, (all - found.len()) as u64);
        }
        kept.extend(found.into_iter().map(Arc::clone));
        self.steps += walk.steps();
        LogRead::Upto(StreamAdvance { upto, caught_up: !more })
    }
}

/// Returns why a stream leaves events out: it is slow, or gets the newest only for its rate or its topics.
fn superseded_reason(slow: bool, newest_only: bool) -> SupersededReason {
    match (slow, newest_only) {
        (true, _) => SupersededReason::Slow,
        (false, true) => SupersededReason::Rate,
        (false, false) => SupersededReason::Throttle,
    }
}

/// Takes a stream through its snapshot, after a read that has `found` frames or none. At its end the client
/// is told so, and a primed one its position. Returns the advance that holds: a snapshot's end is not that of
/// the log.
pub(super) fn settle_snapshot(
    stream: &mut Stream,
    advance: StreamAdvance,
    found: bool,
    primed: bool,
    topics: impl FnOnce(&Stream) -> usize,
) -> StreamAdvance {
    let Some(snapshot) = stream.selection.as_mut().and_then(|selection| selection.snapshot.as_mut()) else {
        return advance;
    };
    if !advance.caught_up {
        return advance;
    }
    if found {
        // What comes while they are sent is newer than the snapshot.
        snapshot.until = snapshot.until.min(advance.upto);
    } else {
        let topics = topics(stream);
        let half = stream.pending.as_ref().is_some_and(|pending| pending.frame.is_some());
        let events = u64::from(stream.replayed) + u64::from(half);
        let form = stream.form();
        stream.position = stream.position.max(advance.upto);
        reply::append_snapshot_end(stream.own_output_mut(), form, topics, events);
        if primed {
            stream.queue_position();
        }
        stream.leave_snapshot();
    }
    StreamAdvance { caught_up: false, ..advance }
}

/// Returns the hub's indices of a stream's topics.
pub(super) fn hub_topics<'a>(stream: &'a Stream, topics: &'a LocalTopics) -> impl Iterator<Item = u32> + 'a {
    stream.places().iter().map(|place| topics.get(place.topic).hub)
}

/// Whether a stream misses events of some topic that it could not have read in time, however fast it is.
fn has_been_forgotten(stream: &Stream, topics: &LocalTopics, hub: &HubState) -> bool {
    let forgotten = |(nth, index)| hub.has_forgotten(index, stream.position, told_losses(stream, nth));
    hub_topics(stream, topics).enumerate().any(forgotten)
}

/// Returns the losses that a stream has been told of in its nth topic.
fn told_losses(stream: &Stream, nth: usize) -> Option<LossMark> {
    stream.selection.as_ref().map(|selection| selection.told_losses[nth])
}

/// Whether a newer frame with the same key comes later in each of its topics: one that the stream's filter
/// lets through. `gives_way` tells in which topics it may give way.
fn is_superseded(
    stream: &Stream,
    hub: &HubState,
    topics: &FollowedTopics,
    frame: &SharedFrame,
    gives_way: impl Fn(u32) -> bool,
) -> bool {
    let newer = |index| hub.log(index).superseder(frame).is_some_and(|newer| stream.wants(newer));
    topics.keeping(hub, frame).all(|index| gives_way(index) && newer(index))
}

/// Whether a stream is sent the newest events of keys in all of its topics, retained ones included: it begins
/// with a snapshot, or is slow or beyond its rate under the policy `latest`. Others are so in throttled
/// topics.
pub(super) fn reads_all_state(stream: &Stream, topics: &LocalTopics, hub: &HubState) -> bool {
    let latest = || hub.stream_rules(hub_topics(stream, topics)).slow_policy == SlowPolicy::Latest;
    stream.snapshot().is_some_and(|snapshot| snapshot.newest_only)
        || is_held_for_newest(stream)
        || stream.is_lagging() && !stream.replaying && latest()
}

/// Whether a stream is sent the newest events of keys in a topic, or in `all`. A filter may keep the newest
/// event of a key away, so beside a snapshot all of them must have one name.
fn reads_state(stream: &Stream, hub: &HubState, all: bool, index: u32) -> bool {
    let begins = stream.snapshot().is_some_and(|snapshot| snapshot.newest_only);
    let filtered = stream.selection.as_ref().is_some_and(|selection| !selection.names.is_empty());
    // Names of keys are known of topics alone.
    let one_name = || !is_pattern(index) && hub.log(index).has_one_key_name();
    (all || hub.is_throttled(index)) && (begins || !filtered || one_name())
}

impl Stream {
    /// Its rate, if its class has one.
    pub(crate) fn rate(&self) -> Option<&StreamRate> {
        self.selection.as_ref()?.rate.as_deref()
    }

    /// Its rate, to be changed.
    pub(crate) fn rate_mut(&mut self) -> Option<&mut StreamRate> {
        self.selection.as_mut()?.rate.as_deref_mut()
    }

    /// The treatment of events for which it has to wait, beyond its rate, until it has read everything.
    pub(crate) fn held_policy(&self) -> Option<RatePolicy> {
        self.rate()?.held_policy()
    }
}

/// Whether a stream has had to wait for its rate, and gets the newest event of each key for it.
fn is_held_for_newest(stream: &Stream) -> bool {
    stream.held_policy() == Some(RatePolicy::Latest) && stream.snapshot().is_none()
}

/// Moves a stream that has had to wait for its rate to the newest event, if its policy says so, and tells it
/// the gap. Returns the gaps told.
pub(super) fn skip_held(stream: &mut Stream, topics: &LocalTopics, hub: &HubState, primed: bool) -> u64 {
    if stream.held_policy() != Some(RatePolicy::Drop) || stream.snapshot().is_some() {
        return 0;
    }
    let gaps = skip_missed(stream, topics, hub, true);
    if primed && gaps > 0 {
        stream.queue_position();
    }
    gaps
}

/// Tells a stream that the log has passed it by and moves it on: to the oldest kept event of its topics, or
/// to the newest, which it still gets. `oldest` of the gap is the next frame's id. Returns the gaps told.
fn skip_missed(stream: &mut Stream, topics: &LocalTopics, hub: &HubState, to_newest: bool) -> u64 {
    let after = stream.position;
    let form = stream.form();
    let places: Vec<u32> = hub_topics(stream, topics).collect();
    if to_newest {
        stream.position = after.max(hub.position_before_last(&places));
    }
    let mut gaps = Vec::new();
    let all = reads_all_state(stream, topics, hub);
    let reads = |&index: &u32| !to_newest && reads_state(stream, hub, all, index);
    let reads_state: Vec<bool> = places.iter().map(reads).collect();
    for (nth, &index) in places.iter().enumerate() {
        let state = reads_state[nth];
        let floor = if state { hub.state_floor(index) } else { hub.floor(index) };
        // Of a pattern, other topics may keep older events.
        let from = if is_pattern(index) { stream.position } else { stream.position.max(floor) };
        let retained = hub.next_retained_after(index, from).filter(|_| state);
        let oldest = retained.or(hub.next_after(index, from));
        let passed_over = hub.next_after(index, after).is_some_and(|id| id <= stream.position);
        let told = told_losses(stream, nth);
        let lost = match state {
            true => hub.has_lost_state(index, after, told),
            false => hub.has_lost(index, after, told),
        };
        if passed_over || lost {
            gaps.push(TopicGap { topic: hub.name(index), oldest });
        }
        let mark = if is_pattern(index) { hub.loss_mark(index) } else { LossMark::Floor(floor) };
        // A reader of states that has missed none has been told of no other loss of a pattern.
        let is_told = !is_pattern(index) || passed_over || lost;
        if let Some(selection) = stream.selection.as_mut().filter(|_| is_told) {
            selection.told_losses[nth] = mark;
        }
        if places.len() == 1 && !is_pattern(index) {
            stream.position = stream.position.max(floor);
        }
    }
    stream.position = match reads_state.contains(&true) {
        true => hub.latest_state_position(&places, stream.position),
        false => hub.latest_position(&places, stream.position),
    };
    if let [only] = places[..]
        && hub.floor(only) > stream.position
    {
        stream.note_told(hub.loss_mark(only));
    }
    let told = gaps.len() as u64;
    if told > 0 {
        let own = stream.own_output_mut();
        append_gap_events(own, form, &after.to_string(), GapReason::Evicted, &mut gaps);
    }
    told
}

/// Puts the fresh frames of its topics that a stream wants into `frames`, in id order, at most `most`.
/// Returns how far they lead; none if nothing is new to the stream.
pub(super) fn gather_fresh<'a>(
    topics: &'a LocalTopics,
    stream: &Stream,
    most: usize,
    frames: &mut Vec<&'a Arc<SharedFrame>>,
) -> Option<StreamAdvance> {
    frames.clear();
    // Only a filter or a merge has to see all.
    let looks = if stream.selection.is_some() { usize::MAX } else { most + 1 };
    let lives = |frame: &Arc<SharedFrame>| !frame.is_past(topics.clock_ms());
    let alone = stream.places().len() == 1;
    for place in stream.places() {
        let topic = topics.get(place.topic);
        // What waits goes with newer events of other topics, so that ids stay in order.
        let end = if alone { topic.offered_frames() } else { topic.fresh.len() };
        let first = first_after(&topic.fresh, stream.position).min(end);
        let mut left = looks;
        frames.extend(topic.fresh.range(first..end).take_while(|frame| {
            let looked = left > 0;
            left -= usize::from(looked && lives(frame));
            looked
        }));
    }
    frames.sort_unstable_by_key(|frame| frame.id());
    frames.dedup_by_key(|frame| frame.id());
    let newest = frames.last()?.id();
    // Filter before the cut: a pick without parts is not offered again, so it must have seen all.
    frames.retain(|frame| lives(frame) && stream.wants(frame));
    let all = frames.len() <= most;
    frames.truncate(most);
    let upto = frames.last().filter(|_| !all).map_or(newest, |frame| frame.id());
    let carried = |place: &SubscriberPlace| topics.carries_on_from(place.topic, upto);
    Some(StreamAdvance { upto, caught_up: all || stream.places().iter().all(carried) })
}
