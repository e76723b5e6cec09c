//! The events that were submitted, and the ids they were given: the truth by which streams are judged.
//!
//! Ids are learnt from the peers' bytes alone, from an answer or from the first stream that shows the event.
//! Every payload is unique and names its submission, so a frame is compared with its event.

use std::collections::BTreeMap;
use std::ops::Range;

use fanwheel::base::id::EventId;

use crate::classes::{NameInForce, TableInForce};
use crate::items::Event;

/// Ids that fit into a millisecond, and as many tags of runs: the number behind the hyphen is count * 1 024 +
/// tag.
pub const IDS_PER_MS: u64 = 1_024;
/// Bytes of a frame beyond its payload and name, at most: framing, id, and the server's own record of it.
const FRAME_OVERHEAD: usize = 400;
/// Milliseconds by which ids may run ahead of the clock: a batch of many events takes several.
const IDS_AHEAD_MS: u64 = 50;

/// One event as submitted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Topics, by number.
    pub topics: Vec<usize>,
    /// Event name, if its publisher gave one.
    pub name: Option<String>,
    /// Names that its event may have; one of them, once it has been seen.
    pub names: Vec<Option<String>>,
    /// The name that it has if the classes have not changed when it is published.
    pub exact_name: Option<NameInForce>,
    /// Key for latest-per-key.
    pub key: Option<String>,
    /// Reconnection time.
    pub retry: Option<u64>,
    /// Age from which nobody gets it any more, milliseconds.
    pub ttl_ms: Option<u64>,
    /// Payload, line ends made LF.
    pub data: String,
    /// Ids it was given; several only when an idempotency key was forgotten in between.
    pub ids: Vec<EventId>,
    /// Its request; set when it is submitted.
    pub group: usize,
}

/// One request: a publish or a batch.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its submissions.
    pub events: Range<usize>,
    /// It has an idempotency key.
    pub keyed: bool,
    /// When its first byte was sent, and how long its key is remembered.
    pub sent_ms: u64,
    /// It must not be published: it is malformed, was never sent whole, or was refused for good.
    pub forbidden: bool,
    /// All of its bytes have been sent at least once.
    pub sent_whole: bool,
    /// An answer said that it was accepted.
    pub accepted: bool,
    /// How often it was sent.
    pub attempts: u64,
}

/// A published event.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Which submission.
    pub submission: usize,
    /// When it was published, or earlier.
    pub since_ms: u64,
    /// When it was known to be published.
    pub until_ms: u64,
    /// Bytes it may take in a log, at most.
    pub bytes_max: usize,
}

/// A request that a topic forgets its events.
#[derive(Clone, Copy, Debug)]
pub struct Forgetting {
    /// The topic's number.
    pub topic: usize,
    /// When it was asked.
    pub asked_ms: u64,
    /// The node's newest id when it was asked.
    pub asked_at: EventId,
    /// The node's newest id when it was answered, if it was: nothing newer is forgotten.
    pub answered_at: Option<EventId>,
}

/// All submissions of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Everything submitted.
    pub submissions: Vec<Submission>,
    /// Requests.
    pub groups: Vec<Group>,
    /// Published events by id, for each topic.
    pub topics: Vec<BTreeMap<EventId, Known>>,
    /// Ids up to which everything was lost that nobody had been sent.
    pub losses: Vec<EventId>,
    /// When servers began that know the history of the one before.
    pub restarts_ms: Vec<u64>,
    /// Requests that topics forget their events.
    pub forgettings: Vec<Forgetting>,
    /// The newest id of the node before such a request that was answered, by topic: nothing up to there is
    /// kept. A server that begins anew may know it again.
    pub forgotten: BTreeMap<usize, EventId>,
    /// The classes in force.
    pub in_force: TableInForce,
    by_id: BTreeMap<EventId, usize>,
    idempotency_ms: u64,
}

impl Ledger {
    /// A ledger of so many topics.
    pub fn new(topics: usize, idempotency_ms: u64) -> Ledger {
        Ledger { topics: vec![BTreeMap::new(); topics], idempotency_ms, ..Ledger::default() }
    }

    /// A request to forget was answered by a server whose newest id is `head`.
    pub fn note_forgotten(&mut self, nth: usize, head: EventId) {
        let forgetting = &mut self.forgettings[nth];
        forgetting.answered_at = Some(head);
        let upto = self.forgotten.entry(forgetting.topic).or_default();
        *upto = forgetting.asked_at.max(*upto);
    }

    /// Whether a gap after this id, told then, may tell of events that were forgotten.
    pub fn may_have_forgotten(&self, topic: usize, after: EventId, told_ms: u64) -> bool {
        self.forgettings.iter().any(|one| {
            let newer = one.answered_at.is_none_or(|upto| upto > after);
            one.topic == topic && one.asked_ms <= told_ms && newer
        })
    }

    /// The number that the next submission will have.
    pub fn next(&self) -> usize {
        self.submissions.len()
    }

    /// Opens a request of the given submissions.
    pub fn submit(&mut self, events: Vec<Submission>, keyed: bool, now_ms: u64) -> usize {
        let group = self.groups.len();
        let start = self.submissions.len();
        self.submissions.extend(events.into_iter().map(|event| Submission { group, ..event }));
        let events = start..self.submissions.len();
        self.groups.push(Group {
            events,
            keyed,
            sent_ms: now_ms,
            forbidden: false,
            sent_whole: false,
            accepted: false,
            attempts: 0,
        });
        group
    }

    /// The request will not and must not be published.
    pub fn forbid(&mut self, group: usize, why: &str) {
        let entry = &mut self.groups[group];
        let published = self.submissions[entry.events.clone()].iter().any(|event| !event.ids.is_empty());
        assert!(!published, "published although {why}: {:?}", self.submissions[entry.events.start]);
        entry.forbidden = true;
    }

    /// An answer said that the request was accepted; `id` is that of its last event.
    pub fn accept(&mut self, group: usize, id: EventId, now_ms: u64) {
        self.groups[group].accepted = true;
        let events = self.groups[group].events.clone();
        // One lock, one clock reading: a batch has consecutive ids.
        let after = events.len() as u64 - 1;
        for (nth, submission) in events.enumerate() {
            if !self.groups[group].keyed {
                self.settle_name(submission);
            }
            self.assign(submission, back(id, after - nth as u64), now_ms);
        }
    }

    /// A stream has shown an event. Checks it against its submission, whose number is returned.
    pub fn sight(&mut self, event: &Event, now_ms: u64) -> usize {
        let token = event.data.trim_start_matches(['[', '"']).strip_prefix('e');
        let digits = token.and_then(|rest| rest.split_once('.')).map(|(digits, _)| digits);
        let number = digits.and_then(|digits| digits.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("nobody published {event:?}"));
        let submission = &self.submissions[number];
        assert_eq!(event.data, submission.data, "payload of event {}", event.id);
        assert!(submission.names.contains(&event.name), "name of event {event:?}: {submission:?}");
        let exact = submission.exact_name.as_ref().filter(|exact| exact.in_force == self.in_force);
        let is_exact = exact.is_none_or(|exact| exact.name == event.name);
        assert!(is_exact, "name of event {event:?} under one table: {submission:?}");
        assert_eq!(event.retry, submission.retry, "reconnection time of event {}", event.id);
        // Published again, it might get another name after a reload.
        if !self.groups[submission.group].keyed {
            self.submissions[number].names = vec![event.name.clone()];
        }
        self.assign(number, event.id, now_ms);
        number
    }

    /// A stream has shown an event in bytes that were sent not before a moment: its life was not over then.
    /// Checks it as [`Ledger::sight`] does.
    pub fn sight_alive(&mut self, event: &Event, now_ms: u64, sent_since_ms: u64) -> usize {
        let (number, id) = (self.sight(event, now_ms), event.id);
        let submission = &self.submissions[number];
        let known = &self.topics[submission.topics[0]][&id];
        let ends_ms = submission.ttl_ms.map(|ttl_ms| known.until_ms + ttl_ms + IDS_AHEAD_MS);
        let over = ends_ms.is_some_and(|ends_ms| ends_ms <= sent_since_ms);
        assert!(!over, "event {id} came after {sent_since_ms} ms, past its life: {submission:?} {known:?}");
        number
    }

    /// Whether the life of a known event may have been over at a moment.
    pub fn may_be_past(&self, known: &Known, at_ms: u64) -> bool {
        let ttl_ms = self.submissions[known.submission].ttl_ms;
        ttl_ms.is_some_and(|ttl_ms| known.since_ms + ttl_ms <= at_ms)
    }

    /// An event was published. If the classes are those of its submission, so is its name.
    fn settle_name(&mut self, number: usize) {
        let submission = &mut self.submissions[number];
        if let Some(exact) = submission.exact_name.take_if(|exact| exact.in_force == self.in_force) {
            submission.names = vec![exact.name];
        }
    }

    fn assign(&mut self, number: usize, id: EventId, now_ms: u64) {
        let submission = &mut self.submissions[number];
        if submission.ids.contains(&id) {
            return;
        }
        let group = &self.groups[submission.group];
        assert!(!group.forbidden, "published although it must not be: {submission:?} as {id}");
        let forgotten = group.keyed && now_ms >= group.sent_ms + self.idempotency_ms;
        assert!(submission.ids.is_empty() || forgotten, "published twice: {submission:?} and {id}");
        submission.ids.push(id);
        let bytes_max = submission.data.len()
            + submission.data.matches('\n').count() * 7
            + submission.names.iter().flatten().map(String::len).max().unwrap_or(0)
            + submission.key.as_ref().map_or(0, String::len)
            + FRAME_OVERHEAD;
        let (since_ms, until_ms) = (group.sent_ms, now_ms);
        let known = Known { submission: number, since_ms, until_ms, bytes_max };
        for &topic in &submission.topics {
            self.topics[topic].insert(id, known);
        }
        let other = self.by_id.insert(id, number);
        assert_eq!(other, None, "one id for two events");
    }

    /// Ids of all known events.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = EventId> + '_ {
        self.by_id.keys().copied()
    }

    /// Whether something was lost for all topics, up to an id after `after` and up to `upto`.
    pub fn has_loss(&self, after: EventId, upto: EventId) -> bool {
        self.losses.iter().any(|&loss| after < loss && loss <= upto)
    }

    /// Ids after `after` and up to `upto` up to which a client of a topic may miss something: those of its
    /// events, and those of losses.
    pub fn missable(&self, topic: usize, after: EventId, upto: EventId) -> Vec<EventId> {
        let events = self.topics[topic].range(after..=upto).map(|(&id, _)| id);
        let losses = self.losses.iter().copied().filter(|&id| id <= upto);
        let mut ids: Vec<EventId> = events.chain(losses).filter(|&id| id > after).collect();
        ids.sort_unstable();
        ids
    }

    /// Known events, by id, within a range of ids.
    pub fn bytes_between(&self, from: EventId, to: EventId) -> usize {
        let cost = |number: usize| {
            let submission = &self.submissions[number];
            let known = submission.ids.first().map(|id| &self.topics[submission.topics[0]][id]);
            known.map_or(0, |known| known.bytes_max) * submission.topics.len()
        };
        self.by_id.range(from..=to).map(|(_, &number)| cost(number)).sum()
    }

    /// Events that may have been published without anybody's knowledge: those of requests that were sent
    /// whole but neither answered nor seen, and of repeats whose key may have been forgotten.
    pub fn uncertain(&self, now_ms: u64) -> u64 {
        let attempts = |group: &Group| {
            let seen = self.submissions[group.events.clone()].iter().all(|event| !event.ids.is_empty());
            if group.forbidden || !group.sent_whole {
                0
            } else if group.keyed && now_ms >= group.sent_ms + self.idempotency_ms {
                group.attempts
            } else {
                u64::from(!group.accepted && !seen)
            }
        };
        self.groups.iter().map(|group| attempts(group) * group.events.len() as u64).sum()
    }

    /// Submissions to a topic that may have been published though nobody has told: their publisher left
    /// before its answer, and every stream that was to bring them ended.
    pub fn unseen(&self, topic: usize) -> impl Iterator<Item = &Submission> {
        let may_be = move |other: &&Submission| {
            let group = &self.groups[other.group];
            other.ids.is_empty() && group.sent_whole && !group.forbidden && other.topics.contains(&topic)
        };
        self.submissions.iter().filter(may_be)
    }

    /// When all events of a topic that are known were published at the latest.
    pub fn newest_known_ms(&self, topic: usize) -> Option<u64> {
        self.topics[topic].values().map(|known| known.until_ms).max()
    }

    /// Events known to be published.
    pub fn known(&self) -> u64 {
        self.by_id.len() as u64
    }
}

/// The id so many places before `id`.
fn back(id: EventId, places: u64) -> EventId {
    let (counts, tag) = (id.ms() * IDS_PER_MS + id.n() / IDS_PER_MS - places, id.n() % IDS_PER_MS);
    let n = counts % IDS_PER_MS * IDS_PER_MS + tag;
    EventId::parse(format!("{}-{n}", counts / IDS_PER_MS).as_bytes()).expect("an id before a good one")
}
