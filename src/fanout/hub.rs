//! The hub: topics, their logs, the workers that are interested, and the node's one publish order.
//!
//! One short lock gives an event its id, appends it to its topics' logs and pushes it into the mailboxes of
//! the interested workers, so everyone sees one order. A subscribe takes the same lock: history and live
//! stream meet without hole or duplicate. Nothing is sent here, and no subscriber is stored here.
//!
//! A topic lives while it has subscribers, kept frames, or had a subscriber a moment ago. What a removed
//! topic may have lost is remembered in one id for all of them, `removed_floor`: a returning subscriber may
//! be told a gap without need, but never loses silently. What goes when is in `retention`.

mod classes;
mod event_walk;
mod forgetting;
mod hold;
mod key_retention;
mod messages;
mod order;
mod pattern_losses;
mod pattern_sets;
mod patterns;
mod restore;
mod resume;
mod retention;
mod rows;
mod subscribers;
pub(super) mod ticket;
mod topic_table;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};

use self::classes::HubClasses;
pub(crate) use self::event_walk::{FollowedTopics, WalkStep, search_steps_max};
pub(crate) use self::forgetting::TopicForgetting;
use self::hold::HoldMeter;
pub use self::hold::{HoldClock, HubGuard};
use self::key_retention::RetainedKeys;
pub use self::messages::{
    HubSizes, NewEvent, PublishOutcome, SubscribeOutcome, WantedTopics, WorkerInterest,
};
use self::order::OrderDesk;
pub use self::order::{
    Acceptance, CommitOutcome, CommitStop, OrderKey, OrderRequest, OrderedEvent, OrderedPublish, Orderer,
};
pub(crate) use self::pattern_losses::LossMark;
use self::pattern_sets::PatternSet;
use self::patterns::PatternTable;
pub use self::restore::RestoredKey;
use self::retention::TopicMaker;
pub use self::ticket::Ticket;
use self::topic_table::TopicTable;
use super::class_table::{ClassSlot, ClassTable};
use super::hash::SeededHash;
pub use super::idempotency::PublishReceipt;
use super::idempotency::{IdempotencyKey, IdempotencyTable};
use super::journals::{Journals, share_journal};
use super::mail::{self, ControlMessage, MailboxItem, MailboxProbe, MailboxSender};
use super::shared_frame::{FrameMeter, SharedFrame, TopicRef, Topics, is_pattern};
use super::topic_lists::TopicLists;
use super::topic_log::{LogView, TopicLog};
use crate::base::counters::RefusalReason;
use crate::base::histogram::Distribution;
use crate::base::id::EventId;
use crate::base::limits::{
    EVICTIONS_PER_CALL, IN_FLIGHT_BYTES_MAX, ORDER_BYTES_MAX, SHED_PAUSE_MS, SWEEP_CALLS_PER_TURN,
};
use crate::base::settings::Settings;
use crate::base::time::{Now, Tick};
use crate::wire::rules;

#[derive(Debug)]
struct HubTopic {
    name: Arc<str>,
    log: TopicLog,
    /// One bit for each worker that has subscribers.
    interest: u64,
    subscribers: u32,
    /// Tells this topic from a later one in the same slot.
    incarnation: u32,
    /// Tick in which the last subscriber left, plus 1; 0 when none ever came.
    abandoned: Tick,
    /// Patterns that match it.
    patterns: PatternSet,
    /// It has an entry in `lingering`.
    lingers: bool,
    /// An event was published to it. Else only subscribers have named it, and it counts for them alone.
    published: bool,
    /// It is one of the server's own.
    reserved: bool,
    /// Events of its log may stand in several journals.
    mixed: bool,
    /// The newest event that its log has let go was forgotten because the operator asked.
    forgot: bool,
    class: ClassSlot,
}

impl HubTopic {
    /// Names it by its index in the slab, so that it can be known again later.
    fn as_ref(&self, index: u32) -> TopicRef {
        TopicRef { index, incarnation: self.incarnation }
    }
}

/// The bounds of the node, from the settings of the same names. Those of single topics are in their classes.
#[derive(Clone, Debug)]
struct HubBounds {
    topics_max: usize,
    bytes: usize,
}

/// Everything under the lock.
#[derive(Debug)]
pub struct HubState {
    head: EventId,
    /// The position at which this run began; its tag is that of all ids of the run.
    start: EventId,
    removed_floor: EventId,
    topics: TopicTable,
    /// Topics that an event was published to.
    published_topics: usize,
    /// The sum of all topics' subscribers.
    subscriptions: usize,
    incarnation: u32,
    /// Every event that some topic keeps, once.
    journals: Journals,
    topic_lists: TopicLists,
    patterns: PatternTable,
    meter: Arc<FrameMeter>,
    /// Moment of the newest call that told it, monotonic milliseconds: for the lives of events that leave.
    now_ms: u64,
    classes: HubClasses,
    /// Memory of the keys that topics know the newest event of.
    key_bytes: usize,
    retained: RetainedKeys,
    /// Topics to look at again because they lost their last subscriber, one entry each: when to look, and
    /// which.
    lingering: VecDeque<(u64, TopicRef)>,
    idempotency: IdempotencyTable,
    draining: bool,
    /// Ids are given outside of the hub.
    has_orderer: bool,
    /// When the workers were last told to shed, monotonic milliseconds.
    shed_ms: u64,
    bounds: HubBounds,
    /// Hash of the keys of which logs know the newest event.
    key_hash: SeededHash,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    inner: Mutex<HubState>,
    mailboxes: Vec<MailboxSender>,
    meter: Arc<FrameMeter>,
    holds: HoldMeter,
    desk: OrderDesk,
    /// Whether some class names events after topics.
    names_events: AtomicBool,
    /// Times that all topics were sorted into classes.
    sortings: AtomicU32,
}

impl Hub {
    /// A hub for the workers behind `mailboxes`. Ids follow `start` and bear its tag.
    pub(crate) fn new(settings: &Settings, mailboxes: Vec<MailboxSender>, start: EventId, seed: u64) -> Hub {
        assert!(start.tag().is_some(), "a run has a tag");
        let hash = SeededHash::new(seed);
        let keys_max = settings.idempotency_keys_max;
        let table = ClassTable::new(settings);
        let meter = Arc::<FrameMeter>::default();
        let names_events = table.names_events().into();
        let inner = HubState {
            head: start,
            start,
            removed_floor: start,
            topics: TopicTable::new(hash.clone()),
            published_topics: 0,
            subscriptions: 0,
            incarnation: 0,
            journals: Journals::new(table.slots()),
            topic_lists: TopicLists::new(hash.clone()),
            patterns: PatternTable::new(settings, hash.clone()),
            meter: Arc::clone(&meter),
            now_ms: 0,
            classes: HubClasses::new(table),
            key_bytes: 0,
            retained: RetainedKeys::default(),
            lingering: VecDeque::new(),
            key_hash: hash.clone(),
            idempotency: IdempotencyTable::new(hash, keys_max, settings.idempotency_ms),
            draining: false,
            has_orderer: false,
            shed_ms: 0,
            bounds: HubBounds { topics_max: settings.topics_max, bytes: settings.history_bytes_max },
        };
        let (holds, desk) = (HoldMeter::new(), OrderDesk::new(ORDER_BYTES_MAX));
        Hub { inner: Mutex::new(inner), mailboxes, meter, holds, desk, names_events, sortings: 0.into() }
    }

    /// The lock, for several reads in one go.
    pub fn lock(&self) -> HubGuard<'_> {
        let state = self.inner.lock().expect("a panic ends the process, so the lock is never poisoned");
        HubGuard::new(state, &self.holds)
    }

    /// Measures from now on how long the lock is held.
    pub fn measure_holds(&self, clock: HoldClock) {
        self.holds.start(clock);
    }

    /// Returns how long the lock was held each time, microseconds.
    pub fn holds_us(&self) -> Distribution {
        self.holds.distribution()
    }

    /// Returns the longest hold since the last call, microseconds; for one caller only.
    pub(crate) fn take_hold_peak_us(&self) -> u64 {
        self.holds.holds_us().take_peak()
    }

    /// The mailboxes of a worker.
    pub fn mailbox(&self, worker: usize) -> &MailboxSender {
        &self.mailboxes[worker]
    }

    /// Orders and keeps the posts, all or none, and hands them to the interested workers.
    pub fn publish_at_once(
        &self,
        posts: Vec<NewEvent>,
        key: Option<IdempotencyKey<'_>>,
        now: Now,
    ) -> Result<PublishOutcome, RefusalReason> {
        let mut inner = self.lock();
        inner.expire(now, EVICTIONS_PER_CALL);
        if let Some(known) = key.and_then(|key| inner.idempotency.find(key)) {
            return Ok(PublishOutcome { receipt: known?, repeated: true, mailed: 0 });
        }
        self.admit(&mut inner, &posts, key.is_some())?;
        let mut receipt = PublishReceipt { id: inner.head, events: posts.len() as u64, subscribers: 0 };
        let mut interested = 0;
        for post in posts {
            receipt.id = inner.head.next_after(now.wall_ms);
            let (workers, subscribers) = self.commit_event(&mut inner, receipt.id, post, &[], now);
            receipt.subscribers += subscribers;
            interested |= workers;
        }
        if let Some(key) = key {
            inner.idempotency.remember(key, receipt, 0, now.mono_ms);
        }
        drop(inner);
        Ok(PublishOutcome { receipt, repeated: false, mailed: interested })
    }

    /// Keeps an event under the next id of the publish order and mails it to each interested worker once.
    /// `patterns` get it besides those that match its topics. Returns the workers, a bit each, and the
    /// subscribers of its topics and patterns, summed.
    fn commit_event(
        &self,
        inner: &mut HubState,
        id: EventId,
        event: NewEvent,
        patterns: &[TopicRef],
        now: Now,
    ) -> (u64, u64) {
        assert!(id > inner.head, "ids rise");
        inner.head = id;
        // The order may be older than its commit. Else the id is not behind the clock.
        let lived_ms = now.wall_ms.saturating_sub(id.ms());
        let kept = inner.keep(event, id, now.mono_us as i64, lived_ms, patterns);
        inner.count_published(kept.topics());
        let (mut interested, mut subscribers) = (0, 0);
        for channel in kept.channels() {
            let reach = inner.reach_of(channel.index);
            interested |= reach.interest;
            subscribers += u64::from(reach.subscribers);
        }
        kept.expect_rounds(interested.count_ones());
        for worker in set_bits(interested) {
            self.mailboxes[worker].push(MailboxItem::Frame(Arc::clone(&kept)));
        }
        inner.trim(&kept, now);
        (interested, subscribers)
    }

    /// Refuses before anything is published, so that a publish happens whole or not at all.
    fn admit(&self, inner: &mut HubState, posts: &[NewEvent], keyed: bool) -> Result<(), RefusalReason> {
        if inner.draining {
            return Err(RefusalReason::Draining);
        }
        if keyed && !inner.idempotency.has_room(self.desk.keys()) {
            return Err(RefusalReason::IdempotencyKeys);
        }
        let bytes: usize = posts.iter().map(NewEvent::memory_bytes).sum();
        if self.meter.bytes() + bytes > inner.bounds.bytes + IN_FLIGHT_BYTES_MAX {
            return Err(RefusalReason::Overload);
        }
        let mut wanted = vec![0usize; self.mailboxes.len()];
        let mut new_topics = 0;
        for post in posts {
            let mut interested = 0;
            for name in &post.topics {
                let found = inner.find_topic(name);
                interested |= inner.interest_in(name, found);
                new_topics += usize::from(found.is_none_or(|index| !inner.topics[index].published));
            }
            set_bits(interested).for_each(|worker| wanted[worker] += 1);
        }
        let names = || posts.iter().flat_map(|post| &post.topics).map(|name| &**name);
        if new_topics > 0
            && inner.topics.len() + new_topics > inner.bounds.topics_max
            && !inner.make_topic_room(names().collect(), TopicMaker::Publisher)
        {
            return Err(RefusalReason::Topics);
        }
        if self.has_mail_room(&wanted) { Ok(()) } else { Err(RefusalReason::Overload) }
    }

    /// Whether each worker's mailbox takes so many frames, by the worker's index.
    fn has_mail_room(&self, wanted: &[usize]) -> bool {
        let fits = |(mailbox, wanted): (&MailboxSender, &usize)| mailbox.free_slots() >= *wanted;
        self.mailboxes.iter().zip(wanted).all(fits)
    }

    /// Sends a probe through every mailbox. Returns the workers to wake; when mailboxes are full, or during a
    /// drain, it is sent to nobody, and the full ones are returned.
    pub(crate) fn push_probe(&self, probe: &Arc<MailboxProbe>) -> Result<u64, u64> {
        let inner = self.lock();
        let full = self.full_mailboxes();
        if inner.draining || full != 0 {
            return Err(full);
        }
        self.mailboxes.iter().for_each(|mailbox| mailbox.push(MailboxItem::Probe(Arc::clone(probe))));
        drop(inner);
        Ok(self.claim_sleepers(u64::MAX))
    }

    /// Workers whose mailbox has no room, a bit each.
    pub(crate) fn full_mailboxes(&self) -> u64 {
        let full = self.mailboxes.iter().enumerate().filter(|(_, mailbox)| mailbox.free_slots() == 0);
        full.fold(0, |mask, (worker, _)| mask | 1 << worker)
    }

    /// When frames that have left the history leave no room for new ones, tells the workers to shed the
    /// streams that hold them; once a second at most. Returns the workers that have mail, a bit each.
    pub(crate) fn request_shedding(&self, now: Now) -> u64 {
        let mut inner = self.lock();
        let in_flight = self.meter.bytes().saturating_sub(inner.journals.bytes());
        if in_flight < IN_FLIGHT_BYTES_MAX / 2 || now.mono_ms < inner.shed_ms + SHED_PAUSE_MS {
            return 0;
        }
        inner.shed_ms = now.mono_ms;
        drop(inner);
        for mailbox in &self.mailboxes {
            mailbox.send_control(ControlMessage::Shed);
        }
        mail::all_workers(self.mailboxes.len())
    }

    /// From now on nothing is published.
    pub(crate) fn refuse_publishes(&self) {
        self.lock().draining = true;
    }

    /// Which of the workers in `mask` sleep. Each is reported once, and must be woken at once: nobody else
    /// will do it.
    pub fn claim_sleepers(&self, mask: u64) -> u64 {
        let asleep = |worker: &usize| mask & (1 << worker) != 0 && self.mailboxes[*worker].claim_sleep();
        (0..self.mailboxes.len()).filter(asleep).fold(0, |wake, worker| wake | 1 << worker)
    }

    /// Drops some of what has expired, with a pause for others between one hold of the lock and the next.
    /// Returns whether more is left.
    pub fn sweep(&self, now: Now) -> bool {
        // Dropped when the lock is free: they may know many topics.
        let _retired = self.lock().patterns.retire(now);
        (0..SWEEP_CALLS_PER_TURN).all(|_| self.lock().expire(now, EVICTIONS_PER_CALL))
    }

    /// Whether somebody listens to a topic.
    pub(crate) fn has_subscribers(&self, name: &str) -> bool {
        let inner = self.lock();
        inner.find_topic(name).is_some_and(|index| inner.topics[index].subscribers > 0)
    }

    /// Returns the subscribers of each event's topics and patterns, summed.
    pub(crate) fn count_subscribers(&self, events: &[NewEvent]) -> u64 {
        let inner = self.lock();
        events.iter().map(|event| inner.count_event_subscribers(&event.topics)).sum()
    }

    /// The hub's sizes.
    pub fn sizes(&self) -> HubSizes {
        let inner = self.lock();
        HubSizes {
            topics: inner.topics.len(),
            unpublished_topics: inner.topics.len() - inner.published_topics,
            patterns: inner.patterns.len(),
            subscriptions: inner.subscriptions,
            frames: inner.journals.events(),
            retained: inner.retained.events(),
            bytes: inner.history_bytes(),
            list_bytes: self.meter.list_bytes(),
            alive_bytes: self.meter.bytes() + self.meter.list_bytes(),
            idempotency_keys: inner.idempotency.len(),
        }
    }
}

/// The numbers of the set bits.
fn set_bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(bit)
    })
}

impl HubState {
    fn find_topic(&self, name: &str) -> Option<u32> {
        self.topics.find(name)
    }

    fn find_or_create(&mut self, name: &str) -> u32 {
        if let Some(index) = self.find_topic(name) {
            return index;
        }
        self.incarnation = self.incarnation.wrapping_add(1);
        let class = self.classes.table().class_of(name);
        self.classes.add_topic(class, 0);
        let reserved = rules::is_reserved_topic(name);
        let index = self.topics.insert(HubTopic {
            name: Arc::from(name),
            log: TopicLog::new(self.removed_floor),
            interest: 0,
            subscribers: 0,
            incarnation: self.incarnation,
            abandoned: 0,
            patterns: PatternSet::default(),
            lingers: false,
            published: false,
            reserved,
            mixed: false,
            forgot: false,
            class,
        });
        if !reserved && self.patterns.len() > 0 {
            self.topics[index].patterns = self.patterns.add_topic(index, name);
        }
        index
    }

    /// Counts a topic among those with events.
    fn mark_published(&mut self, index: u32) {
        let published = &mut self.topics[index].published;
        self.published_topics += usize::from(!std::mem::replace(published, true));
    }

    /// Seals an event that was published at `at_us`, when so much of its life was over, and puts it into the
    /// journal and the logs of its topics; `trim` must follow.
    fn keep(
        &mut self,
        event: NewEvent,
        id: EventId,
        at_us: i64,
        lived_ms: u64,
        patterns: &[TopicRef],
    ) -> Arc<SharedFrame> {
        let mut topic_ref = |name: &str| {
            let index = self.find_or_create(name);
            self.mark_published(index);
            self.topics[index].as_ref(index)
        };
        let topics: Vec<TopicRef> = event.topics.iter().map(|name| topic_ref(name)).collect();
        let mut frame = event.draft.seal(id);
        frame.spend_life(lived_ms);
        let sequence = self.journals.next_sequence(self.journal_class(&topics));
        let named = topics.len();
        let channels = self.with_patterns(topics, patterns);
        let topics = &channels[..named];
        let several = match channels[..] {
            [only] => Topics::One(only),
            _ => Topics::Many(self.topic_lists.share(&channels, &self.meter)),
        };
        let kept = SharedFrame::new(frame, &self.meter, at_us, several, sequence);
        kept.enter_logs(topics.len() as u32);
        for topic in topics {
            let HubTopic { log, mixed, .. } = &mut self.topics[topic.index];
            let before = log.key_bytes();
            *mixed = log.newest_sequence().is_some_and(|newest| *mixed || !share_journal(newest, sequence));
            let replaced = log.append(&kept, &self.key_hash);
            self.key_bytes += log.key_bytes() - before;
            if let Some(replaced) = replaced {
                self.retained.remove(topic.index, &replaced);
            }
        }
        if named > 0 {
            self.journals.push(Arc::clone(&kept));
        }
        kept
    }

    /// Bytes of memory of all that is kept.
    fn history_bytes(&self) -> usize {
        self.journals.bytes() + self.key_bytes + self.retained.bytes() + self.meter.list_bytes()
    }

    fn topic(&self, index: u32) -> &HubTopic {
        &self.topics[index]
    }

    /// The newest id of the node.
    pub fn head(&self) -> EventId {
        self.head
    }

    /// The name of a topic, or the text of a pattern.
    pub(crate) fn name(&self, channel: u32) -> &str {
        if is_pattern(channel) { self.patterns.get(channel).text() } else { &self.topic(channel).name }
    }

    /// The log of a topic.
    pub(crate) fn log(&self, index: u32) -> LogView<'_> {
        LogView::new(&self.topic(index).log, &self.journals)
    }
}

#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod tests;
