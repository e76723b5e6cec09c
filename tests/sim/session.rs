//! One stream as its peer received it, and the verdict on it: order, truth, no loss untold, no gap untrue.
//!
//! Items are checked as they come against what is known then; losses are looked for when the world is at
//! rest or at its end, when everything that was published is known.

use std::collections::BTreeMap;

use fanwheel::base::id::EventId;
use fanwheel::base::limits::TOPIC_LINGER_MS;
use fanwheel::base::settings::{Settings, SlowPolicy};

use crate::classes::{ClassPlan, TableInForce};
use crate::items::{Event, Gap};
use crate::ledger::{IDS_PER_MS, Ledger};
use crate::scene::{START_MS, Scene};
use crate::setup::Plan;

/// Where a stream was asked to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the next event.
    Now,
    /// With the newest so many.
    Newest(usize),
    /// After an id of this node.
    After(EventId),
    /// After something that is no id of this node: a gap must be told for every topic.
    Foreign(String),
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on.
    Open,
    /// After a whole frame, with a reconnection time.
    Clean,
    /// In order, but without saying so.
    Torn,
    /// Reset by the server or the network.
    Reset,
    /// By its peer.
    Left,
}

/// An item of a stream, as far as losses depend on it.
#[derive(Clone, Debug)]
pub enum Entry {
    /// An event.
    Event(EventId),
    /// A gap.
    Gap(Told),
    /// An id alone: nothing up to it is missing that was not told.
    Position(EventId),
    /// The end of the snapshot.
    SnapshotEnd(SnapshotEnd),
}

/// The end of a snapshot, as it was received.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotEnd {
    /// The node's newest id then.
    pub head: EventId,
    /// The time then.
    pub at_ms: u64,
}

/// A gap that was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The topic's number.
    pub topic: usize,
    /// After which id; none when it is not an id of ours.
    pub after: Option<EventId>,
    /// The oldest event that still comes, according to the server.
    pub oldest: Option<EventId>,
    /// The node's newest id when the gap was received.
    pub head: EventId,
    /// The position that was told after it: what is lost beyond is another loss.
    pub position: Option<EventId>,
    /// The time then.
    pub at_ms: u64,
    /// It answers the position the stream was asked to begin after.
    pub at_resume: bool,
    /// It was told of a pattern, so of this topic or another one.
    pub of_pattern: bool,
}

/// Primed streams of the same topics, each of which went on where the one before stopped.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// When the last of them was asked for.
    pub asked_ms: u64,
    /// The gaps that they told.
    pub told: Vec<Told>,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Session {
    /// The connection.
    pub conn: usize,
    /// Topics, by number.
    pub topics: Vec<usize>,
    /// Event names it asked for; empty for all.
    pub filter: Vec<String>,
    /// `clock=1`
    pub clock: bool,
    /// `snapshot=1`
    pub snapshot: bool,
    /// It is told its position.
    pub primed: bool,
    /// HTTP/1.1.
    pub http11: bool,
    /// Where it began.
    pub begin: Begin,
    /// The node's newest id before it was asked for.
    pub head_before: EventId,
    /// The node's newest id when it had begun; none before its first byte was sent.
    pub greeted: Option<EventId>,
    /// The items that it brought.
    pub entries: Vec<Entry>,
    /// When each was received.
    pub entries_ms: Vec<u64>,
    /// The last event or position received.
    pub last: Option<EventId>,
    /// When it was asked for.
    pub asked_ms: u64,
    /// The classes in force then.
    pub in_force: TableInForce,
    /// When its first byte was read.
    pub begun_ms: u64,
    /// Ids up to which topics had forgotten their events when it was asked for.
    pub forgotten: BTreeMap<usize, EventId>,
    /// The streams before it, if it goes on where the last of them stopped.
    pub earlier: Option<Earlier>,
    /// A gap has been told and no position since.
    pub owes_position: bool,
    /// The greeting has been received.
    pub is_open: bool,
    /// A reconnection time alone has been received: the end is near.
    pub farewell: bool,
    /// How it ended.
    pub ending: Ending,
    /// When the last item was received.
    pub item_ms: u64,
    /// Heartbeats received, in either form.
    pub heartbeats: u64,
}

impl Session {
    /// A session that has just asked, over HTTP/1.1 and for nothing special; `begin` is where it begins.
    pub fn new(scene: &Scene, conn: usize, topics: &[usize], filter: &[String], begin: Begin) -> Session {
        Session {
            conn,
            topics: topics.to_vec(),
            filter: filter.to_vec(),
            clock: false,
            snapshot: false,
            primed: false,
            http11: true,
            begin,
            head_before: scene.head,
            greeted: None,
            entries: Vec::new(),
            entries_ms: Vec::new(),
            last: None,
            asked_ms: scene.now.mono_ms,
            in_force: scene.ledger.in_force,
            begun_ms: 0,
            forgotten: scene.ledger.forgotten.clone(),
            earlier: None,
            owes_position: false,
            is_open: false,
            farewell: false,
            ending: Ending::Open,
            item_ms: 0,
            heartbeats: 0,
        }
    }

    /// Adds an item that has just been received.
    pub fn add_entry(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.entries_ms.push(self.item_ms);
    }

    /// Whether an event of this name is asked for.
    pub fn wants(&self, name: Option<&str>) -> bool {
        let name = name.filter(|name| !name.is_empty()).unwrap_or("message");
        self.filter.is_empty() || self.filter.iter().any(|wanted| wanted == name)
    }

    /// Whether an event is asked for, whichever of these names it has.
    fn wants_all(&self, names: &[Option<String>]) -> bool {
        names.iter().all(|name| self.wants(name.as_deref()))
    }

    /// Checks an event on arrival. `topics` are those it was published to.
    pub fn event(&mut self, event: &Event, topics: &[usize]) {
        let id = event.id;
        assert!(self.is_open && !self.farewell, "event {id} outside of the stream");
        assert!(
            topics.iter().any(|topic| self.topics.contains(topic)),
            "event {id} of a topic not asked for"
        );
        assert!(self.wants(event.name.as_deref()), "event {id} of a name not asked for");
        assert!(self.last.is_none_or(|last| last < id), "event {id} after {:?}", self.last);
        self.check_told(&format!("event {id}"));
        match self.begin {
            Begin::Now if self.snapshot => {}
            Begin::Now => assert!(id > self.head_before, "event {id} is from before the request"),
            Begin::After(after) => assert!(id > after, "event {id} is not after {after}"),
            Begin::Newest(_) | Begin::Foreign(_) => {}
        }
        let forgotten = |topic: &usize| self.forgotten.get(topic).is_some_and(|upto| id <= *upto);
        let mut own = topics.iter().filter(|topic| self.topics.contains(topic));
        assert!(own.any(|topic| !forgotten(topic)), "event {id} was forgotten before {self:#?}");
        self.last = Some(id);
        self.add_entry(Entry::Event(id));
    }

    /// Checks a position on arrival. `head` is the node's newest id.
    pub fn position(&mut self, id: EventId, head: EventId) {
        assert!(self.primed && self.is_open && !self.farewell, "position {id} out of place");
        assert!(id <= head && id.n() % IDS_PER_MS == head.n() % IDS_PER_MS, "{id} is no place in this run");
        assert!(self.last.is_none_or(|last| last <= id), "position {id} after {:?}", self.last);
        self.last = Some(id);
        self.owes_position = false;
        for entry in self.entries.iter_mut().rev() {
            let Entry::Gap(told) = entry else { break };
            told.position = Some(id);
        }
        self.add_entry(Entry::Position(id));
    }

    /// A primed stream tells its position before anything but gaps, and after each gap.
    pub fn check_told(&self, item: &str) {
        assert!(!self.primed || self.last.is_some() && !self.owes_position, "{item} before the position");
    }

    /// These streams, for one that goes on after them.
    pub fn as_earlier(&self) -> Earlier {
        let foreign = matches!(self.begin, Begin::Foreign(_));
        let own = self.entries.iter().filter_map(|entry| match entry {
            Entry::Gap(told) if told.at_resume && foreign => Some(Told { after: None, ..told.clone() }),
            Entry::Gap(told) => Some(told.clone()),
            Entry::Event(_) | Entry::Position(_) | Entry::SnapshotEnd(_) => None,
        });
        let before = self.earlier.iter().flat_map(|earlier| earlier.told.iter().cloned());
        // The last may have been cut between a gap and its position.
        let told = if self.owes_position { before.collect() } else { before.chain(own).collect() };
        Earlier { asked_ms: self.asked_ms, told }
    }

    /// Checks a gap on arrival.
    pub fn gap(&mut self, gap: &Gap, topic: usize, head: EventId, at_ms: u64) -> bool {
        assert!(self.is_open && !self.farewell, "a gap outside of the stream");
        assert!(self.topics.contains(&topic), "a gap in a topic not asked for: {gap:?}");
        let asked_after = match &self.begin {
            Begin::Now | Begin::Newest(_) => None,
            Begin::After(after) => Some(after.to_string()),
            Begin::Foreign(text) => Some(text.clone()),
        };
        let earlier = |entry: &Entry| match entry {
            Entry::Event(_) | Entry::Position(_) | Entry::SnapshotEnd(_) => true,
            Entry::Gap(told) => told.topic == topic,
        };
        let at_resume = asked_after.as_ref() == Some(&gap.after) && !self.entries.iter().any(earlier);
        let after = EventId::parse(gap.after.as_bytes());
        if !at_resume {
            let after = after.unwrap_or_else(|| panic!("a gap after no id of ours: {gap:?}"));
            assert!(self.last.is_none_or(|last| last <= after), "{gap:?} told after {:?}", self.last);
        }
        assert_eq!(gap.reason, self.gap_reason(at_resume, head), "{gap:?} in {self:#?}");
        let oldest = gap.oldest;
        self.owes_position = self.primed;
        let told = Told { topic, after, oldest, head, position: None, at_ms, at_resume, of_pattern: false };
        self.add_entry(Entry::Gap(told));
        at_resume
    }

    /// The last gap was told of a pattern.
    pub fn mark_pattern_gap(&mut self) {
        if let Some(Entry::Gap(told)) = self.entries.last_mut() {
            told.of_pattern = true;
        }
    }

    /// The reason that a gap must give.
    fn gap_reason(&self, at_resume: bool, head: EventId) -> &'static str {
        match &self.begin {
            Begin::Foreign(text) if at_resume => match EventId::parse(text.as_bytes()) {
                Some(id) if id.ms() <= head.ms() => "restart",
                _ => "unknown_id",
            },
            // The run began later in that millisecond.
            Begin::After(id) if at_resume && *id == EventId::at_ms(START_MS) => "restart",
            Begin::Now | Begin::Newest(_) | Begin::After(_) | Begin::Foreign(_) => "evicted",
        }
    }

    /// Looks for losses that were not told. `upto` is the node's newest id if the stream is open, is read
    /// and everything is at rest; otherwise its end is the last event it brought.
    /// Returns how many events were left out for a newer one with the same key.
    pub fn judge_losses(&self, ledger: &Ledger, classes: &ClassPlan, upto: Option<EventId>) -> u64 {
        let latest = classes.may_have(&self.topics, SlowPolicy::Latest);
        let may_leave_out = |topic: usize| latest || classes.throttles(topic);
        match (self.lower_bound(), upto.or(self.last)) {
            (Some(begin), Some(upto)) if begin < upto => self
                .topics
                .iter()
                .map(|&topic| self.judge_topic(ledger, may_leave_out(topic), topic, begin, upto))
                .sum(),
            _ => 0,
        }
    }

    /// Everything newer than this was to be brought.
    fn lower_bound(&self) -> Option<EventId> {
        let mut entries = self.entries.iter();
        if self.is_told_state() {
            // Of what came before, something newer may have taken the place.
            entries.find(|entry| matches!(entry, Entry::SnapshotEnd(_)))?;
        }
        let first = entries.find_map(|entry| match entry {
            Entry::Event(id) | Entry::Position(id) => Some(*id),
            Entry::Gap(_) | Entry::SnapshotEnd(_) => None,
        });
        match self.begin {
            // Of the events that were kept, which come as changes, some may have gone before.
            Begin::Newest(_) if self.snapshot => first.max(self.greeted),
            _ if self.is_told_state() => first,
            Begin::After(after) => Some(after),
            Begin::Now if self.primed => first,
            Begin::Foreign(_) => Some(EventId::ZERO),
            Begin::Now => match (self.greeted, first) {
                (Some(greeted), Some(first)) => Some(greeted.min(first)),
                (greeted, first) => greeted.or(first),
            },
            // Of earlier events only the kept ones had to come.
            Begin::Newest(_) => self.greeted.or(first),
        }
    }

    fn judge_topic(
        &self,
        ledger: &Ledger,
        conflates: bool,
        topic: usize,
        begin: EventId,
        upto: EventId,
    ) -> u64 {
        let known = &ledger.topics[topic];
        let mut gaps: Vec<&Told> = Vec::new();
        let mut superseded_events = 0;
        let mut rest = self.entries.iter().peekable();
        for (&id, event) in known.range(begin..=upto).filter(|(id, _)| **id > begin) {
            let submission = &ledger.submissions[event.submission];
            if !self.wants_all(&submission.names) {
                continue;
            }
            // A gap tells of this event if no later event of its topic came before the gap.
            let later = |entry: &Entry| match entry {
                Entry::Event(other) => *other >= id && known.contains_key(other),
                Entry::Position(other) => *other >= id,
                Entry::Gap(_) | Entry::SnapshotEnd(_) => false,
            };
            while let Some(entry) = rest.next_if(|entry| !later(entry)) {
                match entry {
                    Entry::Gap(gap) if gap.topic == topic => gaps.push(gap),
                    Entry::Gap(_) | Entry::Event(_) | Entry::Position(_) | Entry::SnapshotEnd(_) => {}
                }
            }
            let received = matches!(rest.peek(), Some(Entry::Event(next)) if *next == id);
            if received || gaps.iter().any(|gap| self.tells_of(gap, id)) {
                continue;
            }
            let passed_ms = self.passed_ms(id);
            if ledger.may_be_past(event, passed_ms) {
                continue;
            }
            let after = known.range(id..).skip(1).map(|(_, other)| &ledger.submissions[other.submission]);
            let key = submission.key.as_ref();
            let superseded = conflates
                && key.is_some()
                && after.chain(ledger.unseen(topic)).any(|other| {
                    // Left out for one that the filter keeps away, the key would never be heard of.
                    other.key.as_ref() == key && other.names.iter().any(|name| self.wants(name.as_deref()))
                });
            let name = topic_of(topic);
            superseded_events += 1;
            assert!(superseded, "event {id} of topic {name:?} was lost silently in {self:#?}");
        }
        superseded_events
    }

    /// When the first item that goes beyond an event was received; the last moment if none was.
    fn passed_ms(&self, id: EventId) -> u64 {
        let beyond = |(entry, at_ms): (&Entry, &u64)| match entry {
            Entry::Event(other) | Entry::Position(other) if *other >= id => Some(*at_ms),
            Entry::Event(_) | Entry::Position(_) | Entry::Gap(_) | Entry::SnapshotEnd(_) => None,
        };
        self.entries.iter().zip(&self.entries_ms).find_map(beyond).unwrap_or(u64::MAX)
    }

    /// Whether a gap says that this event of its topic is missing.
    fn tells_of(&self, gap: &Told, id: EventId) -> bool {
        let foreign = gap.at_resume && matches!(self.begin, Begin::Foreign(_));
        let after = foreign || gap.after.is_some_and(|after| id > after);
        // The event that was announced as the oldest comes.
        let kept = match gap.of_pattern {
            // Older than what others have lost it may be, and kept.
            true => gap.oldest == Some(id),
            false => gap.oldest.is_some_and(|oldest| id >= oldest),
        };
        after && id <= gap.head && !kept
    }

    /// Looks at the gaps: each must have had a reason. Returns how many had none but that a topic was
    /// forgotten.
    pub fn judge_gaps(&self, ledger: &Ledger, plan: &Plan) -> u64 {
        let settings = &plan.settings;
        let mut needless = 0;
        for entry in &self.entries {
            let Entry::Gap(gap) = entry else { continue };
            let Some(after) = gap.after else { continue };
            if gap.at_resume && matches!(self.begin, Begin::Foreign(_)) {
                continue;
            }
            if gap.of_pattern {
                self.judge_pattern_gap(ledger, plan, gap, after);
                continue;
            }
            let known = &ledger.topics[gap.topic];
            let name = topic_of(gap.topic);
            let missed = !ledger.missable(gap.topic, after, gap.head).is_empty();
            needless += u64::from(!missed);
            assert!(missed || gap.at_resume, "nothing of {name:?} is newer than {gap:?}");
            if gap.at_resume {
                self.judge_return(ledger, settings, gap, after);
            }
            // A skip passes over events that are kept.
            let jumps = plan.classes.may_have(&self.topics, SlowPolicy::Skip)
                && (!gap.at_resume || self.topics.len() > 1);
            let forgotten = ledger.may_have_forgotten(gap.topic, after, gap.at_ms);
            assert!(
                jumps || forgotten || !covers(ledger, plan, gap, after),
                "{name:?} had it all: {gap:?} in {self:#?}"
            );
            let oldest = gap.oldest.is_none_or(|oldest| oldest > after && known.contains_key(&oldest));
            assert!(oldest, "{name:?} never had the event that is said to come next: {gap:?}");
        }
        needless
    }

    /// Looks at a gap that was told of a pattern: some topic of it has lost something.
    fn judge_pattern_gap(&self, ledger: &Ledger, plan: &Plan, gap: &Told, after: EventId) {
        let jumps = plan.classes.may_have(&self.topics, SlowPolicy::Skip);
        let had_it_all = |&topic: &usize| covers(ledger, plan, &Told { topic, ..gap.clone() }, after);
        let had_none = |topic: &usize| ledger.missable(*topic, after, gap.head).is_empty() && !gap.at_resume;
        let reason = self.topics.iter().any(|topic| !had_it_all(topic) && !had_none(topic));
        assert!(jumps || reason, "a pattern's topics had it all: {gap:?} in {self:#?}");
        let known = |oldest| self.topics.iter().any(|&topic| ledger.topics[topic].contains_key(&oldest));
        let oldest = gap.oldest.is_none_or(|oldest| oldest > after && known(oldest));
        assert!(oldest, "no topic ever had the event that is said to come next: {gap:?}");
    }

    /// Looks at a gap that was told to a primed client that came back with its last id: something was lost,
    /// and no earlier gap had told it.
    fn judge_return(&self, ledger: &Ledger, settings: &Settings, gap: &Told, after: EventId) {
        let Some(earlier) = &self.earlier else { return };
        let few = settings.topics_max < Settings::default().topics_max;
        let restarted = ledger.restarts_ms.iter().any(|at_ms| (earlier.asked_ms..=gap.at_ms).contains(at_ms));
        if few || restarted || gap.at_ms >= earlier.asked_ms + TOPIC_LINGER_MS {
            // The topic may have been forgotten.
            return;
        }
        let later = |topic: usize| ledger.missable(topic, after, gap.head).into_iter();
        let told = |id: EventId| {
            let tells = |told: &Told| {
                let from = told.after.is_none_or(|after| id > after);
                told.topic == gap.topic
                    && from
                    && id <= told.position.unwrap_or(told.head)
                    && told.oldest.is_none_or(|oldest| id < oldest)
            };
            earlier.told.iter().any(tells)
        };
        // It was cut before it had read what comes before the loss in other topics.
        let unread = |id: EventId| {
            self.topics
                .iter()
                .any(|&topic| topic != gap.topic && later(topic).next().is_some_and(|first| first <= id))
        };
        let lost = later(gap.topic).any(|id| !told(id) || unread(id));
        assert!(lost, "told again, or for nothing: {gap:?} in {self:#?}");
    }

    /// A stream that began after an id that is not ours must have told a gap for every topic before its
    /// first event.
    pub fn judge_foreign(&self) {
        if !matches!(self.begin, Begin::Foreign(_)) || self.last.is_none() {
            return;
        }
        let first = self.entries.iter().take_while(|entry| matches!(entry, Entry::Gap(_)));
        let told: Vec<usize> = first
            .filter_map(|entry| match entry {
                Entry::Gap(gap) => Some(gap.topic),
                Entry::Event(_) | Entry::Position(_) | Entry::SnapshotEnd(_) => None,
            })
            .collect();
        assert!(self.topics.iter().all(|topic| told.contains(topic)), "no gap for a foreign id in {self:#?}");
    }

    /// At most as many old events as were asked for, and as the topic's class keeps.
    pub fn judge_newest(&self, classes: &ClassPlan) {
        let Begin::Newest(count) = self.begin else { return };
        if self.snapshot {
            return;
        }
        let old = |entry: &&Entry| matches!(entry, Entry::Event(id) if *id <= self.head_before);
        let old = self.entries.iter().filter(old).count();
        let most: usize = self.topics.iter().map(|&topic| classes.most_events(topic)).sum();
        assert!(old <= count.min(most), "{old} old events instead of {count} in {self:#?}");
    }
}

/// Bytes of the server's own events that are kept, at most.
const STATUS_BYTES_MAX: usize = 2 * 400;

/// Whether a topic's log certainly held everything after an id at the time of a gap: its newest event up to
/// there was still kept, by every bound.
pub fn covers(ledger: &Ledger, plan: &Plan, gap: &Told, after: EventId) -> bool {
    let class = plan.classes.least(gap.topic);
    let known = &ledger.topics[gap.topic];
    let Some((&base, oldest)) = known.range(..=after).next_back() else { return false };
    let since: Vec<_> = known.range(base..=gap.head).collect();
    let bytes: usize = since.iter().map(|(_, event)| event.bytes_max).sum();
    !ledger.has_loss(base, gap.head)
        && since.len() <= class.history_events
        && bytes <= class.history_topic_bytes_max
        && gap.at_ms < oldest.since_ms + class.history_ms
        && ledger.bytes_between(base, gap.head) + STATUS_BYTES_MAX <= plan.settings.history_bytes_max
}

/// The name of a topic.
pub fn topic_of(number: usize) -> String {
    match number {
        1 => "quo\"te".to_owned(),
        2 => "ü/ä b".to_owned(),
        3 => "a&b=c+d".to_owned(),
        _ => format!("t{number}"),
    }
}
