//! A worker's topics: which of its subscribers listen to each, and the frames not yet offered to all of them.
//!
//! ```text
//! subscribers  [ s0 s1 s2 │ s3 s4 s5 ]     a round goes through the list once, in batches
//!                served   ▲ not yet         cursor
//! fresh        [ f0 f1 f2 │ f3 ]           frames 0..round are dropped when the round ends:
//!                         ▲ round           everyone has been offered them by then
//! ```
//!
//! Rounds stand in two queues. A short one, of a topic with few subscribers, waits for no long one; long ones
//! take turns, a batch each, so that no topic waits for the whole round of another.
//!
//! Frames that come during a round are offered to those not yet served as well; a subscriber's position
//! tells what it has had. Removing a subscriber must not move an unserved one before the cursor.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

use slab::Slab;

use super::hash::SeededHash;
use super::hub::WorkerInterest;
use super::sharded_table::ShardedTable;
use super::shared_frame::{SharedFrame, TopicRef};
use super::subscriber_list::{SubscriberList, SubscriberPlace};
use super::windows::{EndedWindows, EventSum, OpenWindows, TopicWindow, WindowRules};
use crate::base::id::EventId;
use crate::base::limits::{BATCH_SENDS_MAX, FRESH_FRAMES_MAX, SEND_FRAMES_MAX};
use crate::base::time::{TICK_MS, Tick};

/// Subscribers up to which a topic's round is short: half of a batch.
const SHORT_ROUND_SUBSCRIBERS: usize = BATCH_SENDS_MAX / 2;

/// Shards of the indices. Each worker has them, and a turn of many thousand moved entries would be felt.
const INDEX_SHARDS: usize = 256;

/// Windows that a worker asks the hub for in one turn after a reload, in one hold of its lock.
const STALE_WINDOWS_PER_TURN: usize = 256;

/// The queue in which a topic's round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundLength {
    /// One batch serves its subscribers.
    Short,
    /// Its subscribers need several batches.
    Long,
}

/// One topic with subscribers on this worker, or one pattern.
#[derive(Debug)]
pub(crate) struct LocalTopic {
    /// The hub's index.
    pub(crate) hub: u32,
    /// Which of the hub's topics at that index it is.
    pub(crate) incarnation: u32,
    /// Slots of its subscribers.
    pub(crate) subscribers: SubscriberList,
    /// Subscribers before it have been served in the running round.
    pub(crate) cursor: usize,
    /// Frames that not everyone has been offered, in id order.
    pub(crate) fresh: VecDeque<Arc<SharedFrame>>,
    /// Whatever is newer than this, and not lost, waits in `fresh` or in the mailbox.
    dropped_up_to: EventId,
    /// Tick of its newest event since it came to this worker; 0 before.
    pub(crate) last_event: Tick,
    /// Frames at the front of `fresh` that the running round drops at its end.
    round: u16,
    queued: Option<RoundLength>,
    /// Its window, if it has one.
    window: Option<Box<TopicWindow>>,
}

const _: () = assert!(SEND_FRAMES_MAX <= u16::MAX as usize, "counted in `round`");

const _: () = assert!(size_of::<LocalTopic>() <= 96, "a topic with one subscriber on this worker");

impl LocalTopic {
    /// Whether a round is running. Without one, the fresh frames wait in the topic's window.
    pub(crate) fn has_round(&self) -> bool {
        self.queued.is_some()
    }

    /// Number of fresh frames that a send may carry, from the first on. In a topic with a window, frames that
    /// come during a round wait for the next window.
    pub(crate) fn offered_frames(&self) -> usize {
        if self.window.is_some() { usize::from(self.round) } else { self.fresh.len() }
    }

    /// The frames of the running round as one, for streams that have got none of them.
    pub(crate) fn array(&self) -> Option<&Arc<SharedFrame>> {
        self.window.as_ref()?.array.as_ref()
    }

    /// Makes a round of the fresh frames, up to so many.
    fn size_round(&mut self, clock_ms: u64) {
        self.round = match &mut self.window {
            Some(window) => window.begin_round(&self.fresh, clock_ms) as u16,
            None => self.fresh.len().min(SEND_FRAMES_MAX) as u16,
        };
    }
}

/// A subscriber's leave of one topic, as the hub has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalDeparture {
    /// The hub's index of the topic.
    pub(crate) hub: u32,
    /// Whether others of this worker stay.
    pub(crate) interest: WorkerInterest,
}

/// All topics of one worker.
#[derive(Debug)]
pub(crate) struct LocalTopics {
    topics: Slab<LocalTopic>,
    /// The worker's indices by the hub's. Not a list by the hub's index: of a million topics with a
    /// subscriber each, all would take room in every one of up to 64 workers.
    by_hub: ShardedTable<u32>,
    /// Of the hub's indices, for `by_hub`.
    hash: SeededHash,
    /// Topics whose short round is not finished, in the order in which they became so.
    short_rounds: VecDeque<u32>,
    /// Topics whose long round is not finished; the first is next.
    long_rounds: VecDeque<u32>,
    fresh_frames: usize,
    /// Events up to this id are lost where they wait nowhere here.
    lost_up_to: EventId,
    windows: OpenWindows,
    /// Moment up to which windows have ended.
    now_ms: u64,
    /// Moment of the turn, for the lives of events.
    clock_ms: u64,
    /// The hub's number of sortings for which windows were asked for.
    sortings: u32,
    /// Index from which windows are still to be asked for anew.
    stale_from: Option<usize>,
}

impl LocalTopics {
    /// None yet. Subscribers choose topics, so they could choose indices that collide without a keyed `hash`.
    pub(crate) fn new(hash: SeededHash) -> LocalTopics {
        LocalTopics {
            topics: Slab::new(),
            by_hub: ShardedTable::new(INDEX_SHARDS),
            hash,
            short_rounds: VecDeque::new(),
            long_rounds: VecDeque::new(),
            fresh_frames: 0,
            lost_up_to: EventId::ZERO,
            windows: OpenWindows::default(),
            now_ms: 0,
            clock_ms: 0,
            sortings: 0,
            stale_from: None,
        }
    }

    /// The topic with this worker's index.
    pub(crate) fn get(&self, topic: u32) -> &LocalTopic {
        &self.topics[topic as usize]
    }

    /// Notes the moment of a turn, monotonic milliseconds.
    pub(crate) fn note_time(&mut self, now_ms: u64) {
        self.clock_ms = now_ms;
    }

    /// Moment of the turn, monotonic milliseconds.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Frames of all rounds that are running. Those that wait in windows do not count.
    pub(crate) fn fresh_frames(&self) -> usize {
        self.fresh_frames
    }

    /// Topics of which a round of this length is running, the next one first.
    pub(crate) fn rounds(&self, length: RoundLength) -> &VecDeque<u32> {
        match length {
            RoundLength::Short => &self.short_rounds,
            RoundLength::Long => &self.long_rounds,
        }
    }

    /// Returns true while a round of any topic is running.
    pub(crate) fn has_rounds(&self) -> bool {
        !self.short_rounds.is_empty() || !self.long_rounds.is_empty()
    }

    /// Events that wait in windows.
    pub(crate) fn waiting_events(&self) -> usize {
        self.windows.events()
    }

    /// Moment in which the first window ends, monotonic milliseconds.
    pub(crate) fn window_ends_ms(&self) -> Option<u64> {
        self.windows.first_end_ms()
    }

    /// Gives a topic its window, or none. A window in which events wait ends.
    pub(crate) fn set_window(&mut self, topic: u32, rules: Option<WindowRules>) {
        let entry = &self.topics[topic as usize];
        if entry.window.as_ref().map(|window| window.rules) == rules {
            return;
        }
        self.end_window(topic);
        let window = rules.map(|rules| Box::new(TopicWindow::new(rules)));
        self.topics[topic as usize].window = window;
    }

    /// Returns topics whose windows are to be asked for, a few at a time, after topics were sorted anew:
    /// `sortings` is the hub's number of times.
    pub(crate) fn next_stale_windows(&mut self, sortings: u32) -> Vec<u32> {
        if self.sortings != sortings {
            (self.sortings, self.stale_from) = (sortings, Some(0));
        }
        let Some(from) = self.stale_from else { return Vec::new() };
        let end = self.topics.capacity();
        let upto = end.min(from + STALE_WINDOWS_PER_TURN);
        self.stale_from = (upto < end).then_some(upto);
        (from..upto).filter(|&topic| self.topics.contains(topic)).map(|topic| topic as u32).collect()
    }

    /// Whether windows are still to be asked for.
    pub(crate) fn has_stale_windows(&self) -> bool {
        self.stale_from.is_some()
    }

    /// Ends the windows whose moment has come, and more if too much waits, while rounds have room for their
    /// events. Returns the windows that have ended since the last call.
    pub(crate) fn end_windows(&mut self, now_ms: u64) -> EndedWindows {
        self.now_ms = now_ms;
        while self.fresh_frames < FRESH_FRAMES_MAX
            && let Some(topic) = self.windows.next_to_end(now_ms)
        {
            self.end_window(topic);
        }
        self.windows.take_ended()
    }

    /// Ends a topic's window, if events wait in it, with a round of them.
    fn end_window(&mut self, topic: u32) {
        let entry = &mut self.topics[topic as usize];
        if entry.window.as_ref().is_some_and(|window| window.ends_ms.is_some()) {
            self.begin_round(topic);
        }
    }

    /// Begins a round of a topic's fresh frames, which ends its window.
    fn begin_round(&mut self, topic: u32) {
        let entry = &mut self.topics[topic as usize];
        if let Some(window) = &mut entry.window {
            self.windows.release(topic, window, entry.fresh.len(), self.now_ms);
        }
        self.start_round(topic);
    }

    /// Starts a round of the frames that may be offered.
    fn start_round(&mut self, topic: u32) {
        let entry = &mut self.topics[topic as usize];
        self.fresh_frames += entry.fresh.len();
        entry.size_round(self.clock_ms);
        self.queue_round(topic);
    }

    /// Has a topic's fresh frames, which no round offers, wait in its window, or else begins their round. So
    /// many of them, `new`, have not waited so far.
    fn wait_or_offer(&mut self, topic: u32, new: usize) {
        let entry = &mut self.topics[topic as usize];
        let fresh = entry.fresh.len();
        match &mut entry.window {
            Some(window) if fresh < window.rules.events_max => {
                let since_ms = entry.fresh[0].at_us() / 1_000;
                let sum = EventSum::of(entry.fresh.range(fresh - new..));
                self.windows.add(topic, window, since_ms, sum);
            }
            Some(_) | None => self.begin_round(topic),
        }
    }

    fn queue_of(&mut self, length: RoundLength) -> &mut VecDeque<u32> {
        match length {
            RoundLength::Short => &mut self.short_rounds,
            RoundLength::Long => &mut self.long_rounds,
        }
    }

    /// Puts a topic with fresh frames behind all others of its length.
    fn queue_round(&mut self, topic: u32) {
        let entry = &mut self.topics[topic as usize];
        let short = entry.subscribers.len() <= SHORT_ROUND_SUBSCRIBERS;
        let length = if short { RoundLength::Short } else { RoundLength::Long };
        entry.queued = Some(length);
        self.queue_of(length).push_back(topic);
    }

    /// Adds a subscriber to the topic with the hub's index; what is newer than `head` comes by mail. Returns
    /// its place.
    pub(crate) fn add_subscriber(&mut self, hub: TopicRef, slot: u32, head: EventId) -> SubscriberPlace {
        let topic = self.find(hub.index).unwrap_or_else(|| self.insert(hub, head));
        let subscribers = &mut self.topics[topic as usize].subscribers;
        subscribers.push(slot);
        SubscriberPlace { topic, index: subscribers.len() as u32 - 1 }
    }

    /// Returns this worker's index of the topic with the hub's index.
    fn find(&self, hub: u32) -> Option<u32> {
        let is_it = |&topic: &u32| self.topics[topic as usize].hub == hub;
        self.by_hub.find(self.hash.hash_one(hub), is_it).copied()
    }

    fn insert(&mut self, hub: TopicRef, head: EventId) -> u32 {
        let topic = self.topics.insert(LocalTopic {
            hub: hub.index,
            incarnation: hub.incarnation,
            subscribers: SubscriberList::new(),
            cursor: 0,
            fresh: VecDeque::new(),
            dropped_up_to: head,
            last_event: 0,
            round: 0,
            queued: None,
            window: None,
        }) as u32;
        let LocalTopics { topics, by_hub, hash, .. } = self;
        let hash_of = |&topic: &u32| hash.hash_one(topics[topic as usize].hub);
        by_hub.insert(hash.hash_one(hub.index), topic, hash_of);
        topic
    }

    /// Removes the subscriber at a place; `moved(slot, index)` is called for each one that changes its place.
    pub(crate) fn remove_subscriber(
        &mut self,
        SubscriberPlace { topic, index }: SubscriberPlace,
        mut moved: impl FnMut(u32, u32),
    ) -> LocalDeparture {
        let entry = &mut self.topics[topic as usize];
        let mut hole = index as usize;
        if hole < entry.cursor {
            // Fill the hole with a served subscriber, so that the unserved one from the end lands behind
            // the cursor.
            entry.cursor -= 1;
            if hole != entry.cursor {
                entry.subscribers[hole] = entry.subscribers[entry.cursor];
                moved(entry.subscribers[hole], hole as u32);
                hole = entry.cursor;
            }
        }
        entry.subscribers.swap_remove(hole);
        if let Some(&slot) = entry.subscribers.get(hole) {
            moved(slot, hole as u32);
        }
        let (hub, last) = (entry.hub, entry.subscribers.is_empty());
        if last {
            self.remove(topic);
        }
        let interest = if last { WorkerInterest::Ends } else { WorkerInterest::Stays };
        LocalDeparture { hub, interest }
    }

    fn remove(&mut self, topic: u32) {
        let LocalTopics { topics, by_hub, hash, .. } = self;
        let hash_of = |&topic: &u32| hash.hash_one(topics[topic as usize].hub);
        by_hub.remove(hash_of(&topic), |&other| other == topic, hash_of);
        let mut entry = self.topics.remove(topic as usize);
        let waited = entry.window.as_mut().map_or(0, |window| self.windows.end(topic, window));
        self.fresh_frames -= entry.fresh.len() - waited;
        for frame in entry.fresh {
            frame.finish_round();
        }
        if let Some(length) = entry.queued {
            self.queue_of(length).retain(|&queued| queued != topic);
        }
    }

    /// Takes in an event from the mailbox, for each of its topics and patterns that has subscribers here.
    pub(crate) fn deliver(&mut self, event: &Arc<SharedFrame>) {
        let mut rounds = 0;
        for topic in event.channels() {
            let Some(local) = self.find(topic.index) else { continue };
            if self.topics[local as usize].incarnation == topic.incarnation {
                rounds += 1;
                // The mail stands for one round.
                event.expect_rounds(u32::from(rounds > 1));
                self.offer(local, Arc::clone(event));
            }
        }
        if rounds == 0 {
            event.finish_round();
        }
    }

    /// Notes that everything up to an id which waits nowhere here is lost. Fresh frames before it are not
    /// offered to those that read on from here.
    pub(crate) fn note_loss(&mut self, upto: EventId) {
        self.lost_up_to = self.lost_up_to.max(upto);
    }

    /// Whether everything of a topic that is newer than `position` waits here or in the mailbox.
    pub(crate) fn has_all_after(&self, topic: u32, position: EventId) -> bool {
        self.get(topic).dropped_up_to.max(self.lost_up_to) <= position
    }

    /// Whether everything of a topic that is newer than `position` will be offered by rounds that have not
    /// begun.
    pub(crate) fn carries_on_from(&self, topic: u32, position: EventId) -> bool {
        let entry = self.get(topic);
        let running = entry.fresh.range(..usize::from(entry.round)).next_back();
        running.is_none_or(|frame| frame.id() <= position) && self.has_all_after(topic, position)
    }

    fn offer(&mut self, topic: u32, event: Arc<SharedFrame>) {
        let entry = &mut self.topics[topic as usize];
        entry.last_event = (event.at_us() / 1_000 / TICK_MS) as Tick;
        if let Some(window) = &mut entry.window
            && let Some(place) = window.superseded_by(&self.hash, &event, &entry.fresh)
            && let Some(older) = entry.fresh.remove(place)
        {
            older.finish_round();
            self.fresh_frames -= usize::from(entry.queued.is_some());
            self.windows.supersede(window, EventSum::of([older].iter()));
        }
        entry.fresh.push_back(event);
        if !entry.has_round() {
            return self.wait_or_offer(topic, 1);
        }
        self.fresh_frames += 1;
        if entry.cursor == 0 && entry.window.is_none() {
            entry.size_round(self.clock_ms);
        }
    }

    /// Notes that the next round of its length has come to `cursor`. A long round that is not at its end lets
    /// the other long ones go first. At the end of the list the round's frames are dropped, and the topic
    /// starts over behind all others if newer ones wait. `last` is called for each frame dropped that no
    /// other worker has still to offer to anyone.
    pub(crate) fn advance_round(&mut self, topic: u32, cursor: usize, mut last: impl FnMut(&SharedFrame)) {
        let entry = &mut self.topics[topic as usize];
        entry.cursor = cursor;
        let length = entry.queued.expect("a topic whose round advances is queued");
        let at_end = cursor >= entry.subscribers.len();
        let queue = self.queue_of(length);
        debug_assert_eq!(queue.front(), Some(&topic), "rounds advance in order");
        if !at_end {
            if length == RoundLength::Long {
                queue.rotate_left(1);
            }
            return;
        }
        queue.pop_front();
        let entry = &mut self.topics[topic as usize];
        entry.queued = None;
        let round = usize::from(entry.round);
        entry.dropped_up_to = entry.dropped_up_to.max(entry.fresh[round - 1].id());
        // Those behind the round are new to the next one, or to the window.
        self.fresh_frames -= entry.fresh.len();
        entry.fresh.drain(..round).filter(|frame| frame.finish_round()).for_each(|frame| last(&frame));
        (entry.cursor, entry.round) = (0, 0);
        let left = entry.fresh.len();
        let released = entry.window.as_mut().map_or(0, |window| {
            window.array = None;
            window.released = window.released.saturating_sub(round);
            window.released
        });
        if released > 0 {
            self.start_round(topic);
        } else if left > 0 {
            self.wait_or_offer(topic, left);
        } else if entry.fresh.capacity() > 64 {
            entry.fresh.shrink_to_fit();
        }
    }
}

#[cfg(test)]
#[path = "topics_tests.rs"]
mod tests;
