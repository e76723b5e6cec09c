//! Rounds: fresh frames to the live subscribers of their topics, one send each for all frames of the turn.
//!
//! A subscriber of one topic without a filter shares its slices with all others of the topic. One with
//! several topics or a filter gets its own selection, merged in id order from the fresh frames of its topics;
//! the mailbox is in publish order, so nothing older can come later. A subscriber that is behind is left out:
//! it reads the log, and its position keeps it from getting a frame twice.

use std::ops::Range;
use std::sync::Arc;

use super::batch::{PlannedSend, SendBatch};
use super::conn::{ConnState, Stream};
use super::delivery_age::DeliveryAges;
use super::log_read::{StreamAdvance, gather_fresh};
use super::outcomes::apply_outcomes;
use super::roster::Roster;
use super::seam::Io;
use super::shared_frame::{SharedFrame, first_after};
use super::subscriber_list::SubscriberPlace;
use super::topics::{LocalTopic, LocalTopics, RoundLength};
use super::turn_context::TurnContext;
use crate::base::id::EventId;
use crate::base::limits::{LOOKS_PER_BATCH, SEND_FRAMES_MAX};
use crate::wire::frame::FrameForm;

/// Fresh frames that a filter sees for the price of one look at a subscriber, whose data has left the caches.
const FRAMES_PER_LOOK: usize = 8;

/// The slices of one topic's fresh frames that still live within a batch, in each form, made on first use.
#[derive(Default)]
struct SharedSlices {
    /// Number of these frames, those whose life is over included.
    offered: usize,
    /// The newest of them.
    newest: EventId,
    chunked: Option<Range<usize>>,
    bare: Option<Range<usize>>,
    array: [Option<Range<usize>>; 2],
}

/// A round's progress within one batch.
struct RoundProgress {
    topic: u32,
    cursor: usize,
}

/// Sends one batch of the rounds.
pub(super) fn send_rounds(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
) {
    if !topics.has_rounds() {
        return;
    }
    let mut batch = SendBatch::default();
    let mut progress = Vec::new();
    let mut looks = LOOKS_PER_BATCH;
    for length in [RoundLength::Short, RoundLength::Long] {
        // Short rounds go first, and leave half to the long ones.
        let shared = length == RoundLength::Short && !topics.rounds(RoundLength::Long).is_empty();
        let (parts, kept_looks) = if shared { (2, LOOKS_PER_BATCH / 2) } else { (1, 0) };
        looks -= kept_looks;
        for &topic in topics.rounds(length) {
            let local = topics.get(topic);
            let cursor = fill_batch(&mut batch, parts, topics, local, roster, &mut looks, turn.now.mono_ms);
            progress.push(RoundProgress { topic, cursor });
            if cursor < local.subscribers.len() || !batch.has_room(parts) {
                break;
            }
        }
        looks += kept_looks;
    }
    let counters = turn.counters();
    let outcomes = if batch.is_empty() { Vec::new() } else { batch.send(turn.io, &counters.delivery_each) };
    let now_us = turn.io.mono_us();
    let mut ages = DeliveryAges::new(&counters.delivery_last, now_us);
    for RoundProgress { topic, cursor } in progress {
        topics.advance_round(topic, cursor, |frame| ages.add(frame.at_us(), 1));
    }
    drop(ages);
    apply_outcomes(roster, topics, turn, outcomes, now_us);
}

/// Adds sends for a topic's unserved subscribers while this part of the batch has room and `looks` are left.
/// A subscriber costs one look, and one for each topic that is merged and for each few frames that its filter
/// sees. Returns the new cursor.
fn fill_batch<'a>(
    batch: &mut SendBatch<'a>,
    parts: usize,
    topics: &'a LocalTopics,
    topic: &'a LocalTopic,
    roster: &mut Roster,
    looks: &mut usize,
    now_ms: u64,
) -> usize {
    let newest_of = |frames: usize| topic.fresh.range(..frames).next_back().map_or(EventId::ZERO, |f| f.id());
    let offered = topic.offered_frames().min(SEND_FRAMES_MAX);
    let mut shared = SharedSlices { offered, newest: newest_of(offered), ..SharedSlices::default() };
    let mut merged = Vec::new();
    let mut cursor = topic.cursor;
    let newest = newest_of(topic.offered_frames());
    let mut left = *looks;
    while cursor < topic.subscribers.len() && left > 0 && batch.has_room(parts) {
        let slot = topic.subscribers[cursor];
        cursor += 1;
        left -= 1;
        let conn = roster.conn_mut(slot);
        let in_batch = conn.is_in_batch();
        let ConnState::Streaming(stream) = &mut conn.state else {
            unreachable!("only streams are in topics' lists");
        };
        if !stream.is_live() || in_batch {
            continue;
        }
        let planned_send = match &stream.selection {
            None => plan_shared(batch, &mut shared, topic, slot, stream, now_ms),
            // It has had all of them with those of another topic.
            Some(_) if stream.position >= newest => None,
            Some(selection) => {
                let seen =
                    |place: &SubscriberPlace| 1 + topics.get(place.topic).fresh.len() / FRAMES_PER_LOOK;
                left = left.saturating_sub(selection.places.iter().map(seen).sum());
                plan_selected(batch, topics, slot, stream, &mut merged)
            }
        };
        match planned_send {
            Some(planned_send) if planned_send.parts.is_empty() => {
                stream.position = stream.position.max(planned_send.upto);
                conn.owe_id();
            }
            // It reads them with all that come until its turn, as one answer.
            Some(_) if stream.waits() => {
                stream.fall_behind();
                roster.queue_write(slot);
            }
            // It waits for its rate, and reads on from the log.
            Some(planned_send) if !admits(stream, &planned_send, now_ms) => {
                stream.fall_behind();
                roster.queue_write(slot);
            }
            Some(planned_send) => {
                conn.join_batch();
                batch.add(planned_send);
            }
            None => {}
        }
    }
    *looks = left;
    cursor
}

/// Whether a stream's rate, if it has one, lets it have a send now.
fn admits(stream: &mut Stream, planned_send: &PlannedSend, now_ms: u64) -> bool {
    let PlannedSend { parts, bytes, .. } = planned_send;
    stream.rate_mut().is_none_or(|rate| rate.admit(parts.len(), *bytes, now_ms))
}

/// Plans a send to a plain subscriber: the shared slices from its position on.
fn plan_shared<'a>(
    batch: &mut SendBatch<'a>,
    shared: &mut SharedSlices,
    topic: &'a LocalTopic,
    slot: u32,
    stream: &Stream,
    now_ms: u64,
) -> Option<PlannedSend> {
    let form = stream.form();
    let upto = shared.newest;
    if stream.position >= upto {
        return None;
    }
    if let Some(array) = topic.array().filter(|array| !array.is_past(now_ms))
        && first_after(&topic.fresh, stream.position) == 0
    {
        let slices = &mut shared.array[usize::from(form == FrameForm::Bare)];
        let parts = slices.get_or_insert_with(|| batch.add_frames(std::iter::once(array), form)).clone();
        let bytes = batch.bytes_of(parts.clone());
        let (caught_up, replaying, beyond) = (true, false, array.id() < upto);
        return Some(PlannedSend { slot, parts, bytes, own: 0, upto, caught_up, replaying, beyond });
    }
    let slices = match form {
        FrameForm::Chunk => &mut shared.chunked,
        FrameForm::Bare => &mut shared.bare,
    };
    let all = slices
        .get_or_insert_with(|| {
            let living = topic.fresh.range(..shared.offered).filter(|frame| !frame.is_past(now_ms));
            batch.add_frames(living, form)
        })
        .clone();
    let parts = batch.parts_after(all, stream.position);
    let bytes = batch.bytes_of(parts.clone());
    let beyond = parts.clone().last().and_then(|last| batch.frame_id(last)) < Some(upto);
    Some(PlannedSend { slot, parts, bytes, own: 0, upto, caught_up: true, replaying: false, beyond })
}

/// Plans a send to a subscriber with several topics or a filter. One without parts only moves its position.
/// `frames` is room to merge in, emptied first: one for all of a batch, not one for each delivery.
fn plan_selected<'a>(
    batch: &mut SendBatch<'a>,
    topics: &'a LocalTopics,
    slot: u32,
    stream: &Stream,
    frames: &mut Vec<&'a Arc<SharedFrame>>,
) -> Option<PlannedSend> {
    let StreamAdvance { upto, caught_up } = gather_fresh(topics, stream, SEND_FRAMES_MAX, frames)?;
    let parts = batch.add_frames(frames.iter().copied(), stream.form());
    let bytes = batch.bytes_of(parts.clone());
    let beyond = frames.last().is_some_and(|frame| frame.id() < upto);
    Some(PlannedSend { slot, parts, bytes, own: 0, upto, caught_up, replaying: false, beyond })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::conn::StreamMode;
    use crate::fanout::hash::SeededHash;
    use crate::fanout::hub::LossMark;
    use crate::fanout::shared_frame::{FrameMeter, TopicRef, Topics};
    use crate::fanout::stream_selection::StreamSelection;
    use crate::wire::frame::Draft;

    /// Offers fresh frames with these names, ids from 1, to a stream at `position` that wants `b`; the last
    /// `apart` of them are in a topic of their own. Expects a send of so many frames, up to this id, and
    /// whether rounds carry on from there.
    fn check_topics(names: &[&str], apart: usize, position: u64, expected: Option<(usize, u64, bool)>) {
        let (mut topics, meter) = (LocalTopics::new(SeededHash::new(7)), Arc::new(FrameMeter::default()));
        let refs = [0, 1].map(|index| TopicRef { index, incarnation: 1 });
        let places = refs.map(|hub| topics.add_subscriber(hub, 0, EventId::ZERO));
        for (nth, name) in names.iter().enumerate() {
            let frame = Draft::new(Some(name), None, "x", None).seal(EventId::at_ms(nth as u64 + 1));
            let topic = Topics::One(refs[usize::from(nth >= names.len() - apart)]);
            topics.deliver(&SharedFrame::new(frame, &meter, 0, topic, 0));
        }
        let selection = StreamSelection {
            places: places.into(),
            told_losses: [LossMark::Floor(EventId::ZERO); 2].into(),
            names: [Box::from("b")].into(),
            poll: None,
            snapshot: None,
            rate: None,
        };
        let stream = Stream {
            position: EventId::at_ms(position),
            pending: None,
            selection: Some(Box::new(selection)),
            place: places[0],
            last_write: 0,
            end_due: 0,
            upstream: 0,
            mode: StreamMode::joining(FrameForm::Chunk),
            replaying: false,
            replayed: 0,
        };
        let mut batch = SendBatch::default();
        let planned_send = plan_selected(&mut batch, &topics, 0, &stream, &mut Vec::new());
        let got = planned_send
            .map(|planned_send| (planned_send.parts.len(), planned_send.upto, planned_send.caught_up));
        assert_eq!(got, expected.map(|(count, upto, all)| (count, EventId::at_ms(upto), all)));
    }

    fn check(names: &[&str], position: u64, expected: Option<(usize, u64, bool)>) {
        check_topics(names, 0, position, expected);
    }

    #[test]
    fn a_stream_that_a_round_would_leave_behind_reads_on_by_itself() {
        let most = SEND_FRAMES_MAX as u64;
        // The round of the second topic drops its frame, which one send had no room for.
        check_topics(&vec!["b"; SEND_FRAMES_MAX + 1], 1, 0, Some((SEND_FRAMES_MAX, most, false)));
        check_topics(&vec!["b"; SEND_FRAMES_MAX + 1], 1, 1, Some((SEND_FRAMES_MAX, most + 1, true)));
        check_topics(&vec!["b"; SEND_FRAMES_MAX + 1], 0, 0, Some((SEND_FRAMES_MAX, most, true)));
    }

    #[test]
    fn a_filter_is_applied_before_frames_beyond_one_send_are_cut_off() {
        let most = SEND_FRAMES_MAX as u64;
        let many = SEND_FRAMES_MAX + 50;
        let unwanted_first = [vec!["a"; SEND_FRAMES_MAX], vec!["b"; 50]].concat();
        check(&unwanted_first, 0, Some((50, most + 50, true)));
        check(&vec!["a"; many], 0, Some((0, most + 50, true)));
        check(&vec!["b"; many], 0, Some((SEND_FRAMES_MAX, most, true)));
        check(&vec!["b"; many], most, Some((50, most + 50, true)));
        check(&["a", "b", "a"], 1, Some((1, 3, true)));
        check(&["b"], 1, None);
    }
}
