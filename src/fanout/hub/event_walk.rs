//! The kept events of several topics in id order, each once, by the shorter of two ways.
//!
//! ```text
//! a journal    · t1 · t1,t2 · · t2 · ·     every event of a class: for topics that share most of it
//! the logs     t1: e4 e9   t2: e9 e20      the least of the next ones: for topics among many others
//! ```
//!
//! Steps count what was looked at, not what was found, so that the holder of the lock can stop in time. Knows
//! no stream: a position and the topics' indices are arguments.

use std::iter::Peekable;
use std::sync::Arc;

use super::HubState;
use crate::base::id::EventId;
use crate::fanout::shared_frame::{SharedFrame, TopicRef};
use crate::fanout::topic_log::{LogView, RetainedEvents};

/// Slots of the journal that are as cheap as one frame in a log.
const SLOTS_PER_FRAME: u64 = 2;
/// Topics of an event that are looked up for the price of one step, and logs compared for it.
const LOOKS_PER_STEP: usize = 8;

/// Topics of one reader, by the hub's index, with the floor of each.
#[derive(Debug)]
pub(crate) struct FollowedTopics(Vec<(TopicRef, EventId)>);

impl FollowedTopics {
    fn new(hub: &HubState, indices: &[u32]) -> FollowedTopics {
        let followed = |&index: &u32| (hub.topic(index).as_ref(index), hub.log(index).floor());
        let mut topics: Vec<_> = indices.iter().map(followed).collect();
        topics.sort_unstable_by_key(|(topic, _)| topic.index);
        FollowedTopics(topics)
    }

    /// Returns those topics that keep an event, or retain it.
    pub(crate) fn keeping<'a>(
        &'a self,
        hub: &'a HubState,
        event: &'a SharedFrame,
    ) -> impl Iterator<Item = u32> + 'a {
        event.topics().iter().filter_map(move |topic| {
            let found = self.0.binary_search_by_key(&topic.index, |(followed, _)| followed.index).ok()?;
            let (followed, floor) = self.0[found];
            let keeps = || event.id() > floor || hub.log(topic.index).retains(event.id());
            (followed == *topic && keeps()).then_some(topic.index)
        })
    }

    /// Whether the log of some topic has an event.
    fn log(&self, event: &SharedFrame) -> bool {
        event.topics().iter().any(|topic| {
            let found = self.0.binary_search_by_key(&topic.index, |(followed, _)| followed.index);
            found.is_ok_and(|at| self.0[at].0 == *topic && event.id() > self.0[at].1)
        })
    }
}

/// Next event of a walk.
pub(crate) enum WalkStep<'a> {
    /// An event that some of the topics keep.
    Event(&'a Arc<SharedFrame>),
    /// Nothing newer is kept.
    End,
    /// So many steps were made that the walk has to go on another time.
    Enough,
}

/// A walk towards newer events.
pub(crate) struct EventWalk<'a> {
    hub: &'a HubState,
    topics: FollowedTopics,
    way: Way<'a>,
    /// Everything up to here was looked at.
    seen: EventId,
    steps: usize,
}

enum Way<'a> {
    /// Sequence numbers of the journal.
    Journal { next: u64, end: u64 },
    /// The rest of each log that has one.
    Logs(Vec<LogRest<'a>>),
}

struct LogRest<'a> {
    /// Retained events, which come before those of the log.
    retained: Peekable<RetainedEvents<'a>>,
    log: LogView<'a>,
    next: usize,
    id: EventId,
}

impl<'a> LogRest<'a> {
    /// Takes the next event. Returns it with the id of the one after it.
    fn take(&mut self) -> (Option<&'a Arc<SharedFrame>>, Option<EventId>) {
        let taken = self.retained.next().or_else(|| {
            self.next += 1;
            self.log.frame(self.next - 1)
        });
        let following = self.retained.peek().map(|event| event.id());
        (taken, following.or_else(|| self.log.id(self.next)))
    }
}

impl<'a> EventWalk<'a> {
    /// Number of steps so far.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// The id up to which the walk has come.
    pub(crate) fn seen(&self) -> EventId {
        self.seen
    }

    /// The topics that it is about.
    pub(crate) fn topics(&self) -> &FollowedTopics {
        &self.topics
    }

    /// Goes on to the next event, while fewer than `steps_max` steps were made.
    pub(crate) fn step(&mut self, steps_max: usize) -> WalkStep<'a> {
        match &mut self.way {
            Way::Logs(rests) => {
                let Some(id) = rests.iter().map(|rest| rest.id).min() else { return WalkStep::End };
                if self.steps >= steps_max {
                    return WalkStep::Enough;
                }
                self.steps += 1 + rests.len() / LOOKS_PER_STEP;
                self.seen = id;
                let mut found = None;
                let mut ended = false;
                for rest in rests.iter_mut().filter(|rest| rest.id == id) {
                    let (taken, following) = rest.take();
                    found = taken;
                    self.steps += 1;
                    // No event has the last possible id.
                    rest.id = following.unwrap_or(EventId::MAX);
                    ended |= following.is_none();
                }
                if ended {
                    rests.retain(|rest| rest.id < EventId::MAX);
                }
                found.map_or(WalkStep::End, WalkStep::Event)
            }
            Way::Journal { next, end } => {
                while *next < *end {
                    if self.steps >= steps_max {
                        return WalkStep::Enough;
                    }
                    let event = self.hub.journals.get(*next);
                    *next += 1;
                    self.steps += 1;
                    let Some(event) = event else { continue };
                    self.steps += event.topics().len() / LOOKS_PER_STEP;
                    self.seen = event.id();
                    if self.topics.log(event) {
                        return WalkStep::Event(event);
                    }
                }
                WalkStep::End
            }
        }
    }
}

impl HubState {
    /// Begins a walk over all that the topics keep after a position, and over what those topics retain of
    /// which `with_retained` is true.
    pub(crate) fn walk_after(
        &self,
        indices: &[u32],
        position: EventId,
        with_retained: impl Fn(u32) -> bool,
    ) -> EventWalk<'_> {
        let indices = &self.topics_of(indices)[..];
        let (mut frames, mut rests) = (0, Vec::new());
        let (mut first, mut end, mut apart) = (u64::MAX, 0, false);
        for &index in indices {
            let topic = self.topic(index);
            let log = self.log(index);
            let next = log.first_after(position);
            // Nothing retained is as new as the last possible id.
            let after = if with_retained(index) { position } else { EventId::MAX };
            let mut retained = log.retained_after(after).peekable();
            let oldest = retained.peek().map(|event| event.id());
            if let (Some(frame), Some(newest)) = (log.frame(next), log.newest_sequence()) {
                frames += (log.len() - next) as u64;
                first = first.min(frame.sequence());
                end = end.max(newest + 1);
            }
            apart |= topic.mixed || oldest.is_some();
            if let Some(id) = oldest.or_else(|| log.id(next)) {
                rests.push(LogRest { retained, log, next, id });
            }
        }
        // Numbers of different journals are far apart.
        let by_journal = rests.len() > 1 && !apart && end - first <= SLOTS_PER_FRAME * frames;
        let way = if by_journal { Way::Journal { next: first, end } } else { Way::Logs(rests) };
        let topics = FollowedTopics::new(self, indices);
        EventWalk { hub: self, topics, way, seen: position, steps: indices.len() }
    }
}

/// A search for the position after which exactly so many events of some topics follow. It goes from the
/// newest to older ones in slices, between which the lock is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewestSearch {
    /// Events still to be found.
    left: usize,
    /// All found so far have this id or a later one. None: nothing was found.
    below: Option<EventId>,
}

/// Steps that a search for the newest `count` events of so many topics takes, about and at most.
pub(crate) fn search_steps_max(topics: usize, count: usize) -> usize {
    // A single log knows the place.
    if topics == 1 { 1 } else { topics + count * (1 + topics / LOOKS_PER_STEP) }
}

/// Progress of a [`NewestSearch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchProgress {
    /// The position; zero when the topics keep no more than that.
    Found(EventId),
    /// So many steps were made; the next slice goes on.
    More(usize),
}

impl NewestSearch {
    /// A search for the newest `count` events.
    pub(crate) fn new(count: usize) -> NewestSearch {
        NewestSearch { left: count, below: None }
    }

    /// Goes on, in about `steps_max` steps.
    pub(crate) fn run(&mut self, hub: &HubState, indices: &[u32], steps_max: usize) -> SearchProgress {
        // The logs without what was found.
        let older = |index: u32| {
            let log = hub.log(index);
            let end = self.below.map_or(log.len(), |below| log.first_after(below.preceding()));
            (log, end)
        };
        let mut logs: Vec<_> =
            indices.iter().map(|&index| older(index)).filter(|(_, end)| *end > 0).collect();
        let frames: usize = logs.iter().map(|(_, end)| end).sum();
        if self.left >= frames {
            return SearchProgress::Found(EventId::ZERO);
        }
        if let [(log, end)] = logs[..]
            && !log.has_mortal()
        {
            return SearchProgress::Found(log.id(end - 1 - self.left).unwrap_or_default());
        }
        let first = logs.iter().filter_map(|(log, _)| log.sequence(0)).min().unwrap_or(0);
        let newest = logs.iter().filter_map(|(log, end)| log.sequence(end - 1)).max().unwrap_or(0);
        let mixed = indices.iter().any(|&index| hub.topic(index).mixed);
        if !mixed && newest - first < SLOTS_PER_FRAME * frames as u64 {
            return self.run_by_journal(hub, indices, (first, newest), steps_max);
        }
        let mut steps = 0;
        let newest_of = |(log, end): &(LogView<'_>, usize)| log.id(end - 1).unwrap_or_default();
        let is_past = |(log, end): &(LogView<'_>, usize)| {
            log.frame(end - 1).is_some_and(|frame| frame.is_past(hub.now_ms))
        };
        let mut ids: Vec<EventId> = logs.iter().map(newest_of).collect();
        while let Some(id) = ids.iter().copied().max() {
            let past = ids.iter().position(|other| *other == id).is_some_and(|nth| is_past(&logs[nth]));
            if self.left == 0 && !past {
                return SearchProgress::Found(id);
            }
            if steps >= steps_max {
                return SearchProgress::More(steps);
            }
            (self.left, self.below) = (self.left - usize::from(!past), Some(id));
            steps += 1 + ids.len() / LOOKS_PER_STEP;
            let mut nth = 0;
            while nth < ids.len() {
                if ids[nth] == id {
                    steps += 1;
                    logs[nth].1 -= 1;
                    if logs[nth].1 == 0 {
                        logs.swap_remove(nth);
                        ids.swap_remove(nth);
                        continue;
                    }
                    ids[nth] = newest_of(&logs[nth]);
                }
                nth += 1;
            }
        }
        SearchProgress::Found(EventId::ZERO)
    }

    fn run_by_journal(
        &mut self,
        hub: &HubState,
        indices: &[u32],
        (first, newest): (u64, u64),
        steps_max: usize,
    ) -> SearchProgress {
        let topics = FollowedTopics::new(hub, indices);
        let mut steps = 0;
        for sequence in (first..=newest).rev() {
            steps += 1;
            let Some(event) = hub.journals.get(sequence) else { continue };
            steps += event.topics().len() / LOOKS_PER_STEP;
            if !topics.log(event) {
                continue;
            }
            let past = event.is_past(hub.now_ms);
            if self.left == 0 && !past {
                return SearchProgress::Found(event.id());
            }
            (self.left, self.below) = (self.left - usize::from(!past), Some(event.id()));
            if steps >= steps_max {
                return SearchProgress::More(steps);
            }
        }
        SearchProgress::Found(EventId::ZERO)
    }
}

#[cfg(test)]
#[path = "event_walk_tests.rs"]
mod tests;
