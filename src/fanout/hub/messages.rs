//! What goes into the hub and what comes out of it. Plain data.

use super::pattern_losses::LossMark;
use crate::base::id::EventId;
use crate::base::topic::TopicPattern;
use crate::fanout::class_table::StreamRules;
use crate::fanout::idempotency::PublishReceipt;
use crate::fanout::shared_frame::{SharedFrame, TopicRef};
use crate::fanout::windows::WindowRules;
use crate::wire::frame::Draft;
use crate::wire::gap::GapReason;

/// An event on its way in: its topics (distinct, at least one) and its encoded form.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Names, distinct.
    pub topics: Vec<Box<str>>,
    /// All but the id.
    pub draft: Draft,
}

impl NewEvent {
    /// Bytes of memory that it will take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.draft.memory_bytes() + SharedFrame::topics_bytes(self.topics.len())
    }
}

/// Topics and patterns that a subscriber asks for, each distinct.
#[derive(Clone, Copy, Debug, Default)]
pub struct WantedTopics<'a> {
    /// Names of topics.
    pub(crate) names: &'a [Box<str>],
    /// Patterns of further topics.
    pub(crate) patterns: &'a [TopicPattern],
}

/// What a publish came to.
#[derive(Clone, Copy, Debug)]
pub struct PublishOutcome {
    /// What the publisher is told.
    pub(crate) receipt: PublishReceipt,
    /// The answer was given before; nothing was published now.
    pub(crate) repeated: bool,
    /// Workers that have mail of it, a bit each: those of them that sleep are to be woken.
    pub(crate) mailed: u64,
}

/// A subscriber that has joined its topics.
#[derive(Debug)]
pub struct SubscribeOutcome {
    /// The hub's topics in the order of the names, then its patterns in theirs.
    pub(crate) topics: Vec<TopicRef>,
    /// Everything newer than this is still to be delivered.
    pub(crate) position: EventId,
    /// That position for a subscriber that is sent the newest event of each key, retained ones included.
    pub(crate) state_position: EventId,
    /// The node's newest id at that moment: what is newer comes by mail.
    pub(crate) head: EventId,
    /// For each topic and pattern the losses that the subscriber has been told of, or has no claim to.
    pub(crate) told_losses: Vec<LossMark>,
    /// They include some after its position: older events of other topics still come.
    pub(crate) losses_ahead: bool,
    /// Topics and patterns in which something may be missing, by index into `topics`, with the oldest id that
    /// still comes.
    pub(crate) gaps: Vec<(usize, Option<EventId>)>,
    /// Cause of them, if there are any.
    pub(crate) gap_reason: GapReason,
    /// The position before the newest events that it has asked for; the last possible one if it has not.
    pub(crate) snapshot_until: EventId,
    /// Topics and events that were looked at for it.
    pub(crate) steps: usize,
    /// The values that hold for it, by the classes of its topics.
    pub(crate) rules: StreamRules,
    /// Window of each topic, if it has one.
    pub(crate) windows: Vec<Option<WindowRules>>,
}

/// What the hub holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubSizes {
    /// Topics that exist.
    pub topics: usize,
    /// Those of them that no event was published to: only subscribers have named them.
    pub unpublished_topics: usize,
    /// Patterns that streams listen to, or did a moment ago.
    pub(crate) patterns: usize,
    /// Topics and patterns that streams listen to, each stream's counted.
    pub(crate) subscriptions: usize,
    /// Frames kept in logs.
    pub frames: usize,
    /// Newest events of keys that logs have let go, once for each topic.
    pub retained: usize,
    /// Bytes of all of these, and of the keys that logs know.
    pub bytes: usize,
    /// Those of these bytes that hold lists of topics: no single topic counts them as its own.
    pub list_bytes: usize,
    /// Bytes of all frames alive, logs included.
    pub alive_bytes: usize,
    /// Idempotency keys remembered.
    pub idempotency_keys: usize,
}

/// The interest of a worker in a topic after one of its subscribers there has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerInterest {
    /// Other subscribers of the worker stay.
    Stays,
    /// That was its last one.
    Ends,
}
