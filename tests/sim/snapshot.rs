//! The oracle of snapshots: of each topic and key the newest event, none that another takes the place of, and
//! one end, which tells how many there were.

use fanwheel::base::id::EventId;
use fanwheel::base::settings::Settings;

use crate::ledger::{Ledger, Submission};
use crate::session::{Begin, Entry, Session, SnapshotEnd, Told, covers, topic_of};
use crate::setup::Plan;

impl Session {
    /// Whether it begins with the state of its topics: no id says what its client has.
    pub fn is_told_state(&self) -> bool {
        let told = |entry: &Entry| matches!(entry, Entry::Gap(told) if told.at_resume);
        let begins = matches!(self.begin, Begin::Now | Begin::Newest(_));
        self.snapshot && (begins || self.entries.iter().any(told))
    }

    /// Checks the end of a snapshot on arrival.
    pub fn end_snapshot(&mut self, topics: u64, events: u64, end: SnapshotEnd) {
        assert!(self.snapshot && self.is_open && !self.farewell, "a snapshot's end out of place");
        assert!(self.snapshot_end().is_none(), "the snapshot ends twice");
        self.check_told("the end of a snapshot");
        let brought = self.entries.iter().filter(|entry| matches!(entry, Entry::Event(_))).count();
        assert_eq!((topics, events), (self.topics.len() as u64, brought as u64), "{self:#?}");
        self.add_entry(Entry::SnapshotEnd(end));
    }

    /// The end of its snapshot, with its place among the entries.
    pub fn snapshot_end(&self) -> Option<(usize, SnapshotEnd)> {
        self.entries.iter().enumerate().find_map(|(nth, entry)| match entry {
            Entry::SnapshotEnd(end) => Some((nth, *end)),
            Entry::Event(_) | Entry::Gap(_) | Entry::Position(_) => None,
        })
    }

    /// Looks at the state that it was told.
    pub fn judge_snapshot(&self, ledger: &Ledger, plan: &Plan) {
        if !self.is_told_state() {
            return;
        }
        let end = self.snapshot_end();
        let state = &self.entries[..end.map_or(self.entries.len(), |(nth, _)| nth)];
        let from_first = |topic: &usize| match (ledger.topics[*topic].keys().next(), end) {
            (Some(&first), Some((_, end))) => self.surely_kept(ledger, plan, *topic, first, end),
            (None, _) => true,
            (_, None) => false,
        };
        // Where the log has passed it by, a stream gets more than the state: all that the worker still has.
        let whole = self.topics.iter().all(from_first);
        for entry in state.iter().filter(|_| whole) {
            let Entry::Event(id) = entry else { continue };
            let gives_way = |topic: &usize| {
                let Some(own) = ledger.topics[*topic].get(id) else { return true };
                let newer = ledger.topics[*topic].range(*id..=self.head_before.max(*id)).skip(1);
                let own = &ledger.submissions[own.submission];
                newer
                    .map(|(_, known)| &ledger.submissions[known.submission])
                    .any(|other| replaces(own, other))
            };
            let stays = !self.topics.iter().all(gives_way);
            assert!(stays, "event {id} is no state: a newer one has taken its place in {self:#?}");
        }
        if let Some((_, end)) = end {
            self.topics.iter().for_each(|&topic| self.judge_state(ledger, plan, topic, end));
        }
    }

    /// Looks for events of a topic that certainly were its state, and did not come.
    fn judge_state(&self, ledger: &Ledger, plan: &Plan, topic: usize, end: SnapshotEnd) {
        if self.entries.iter().any(|entry| matches!(entry, Entry::Gap(told) if !told.at_resume)) {
            return;
        }
        let known = &ledger.topics[topic];
        let from = match self.begin {
            Begin::After(after) => after,
            Begin::Now | Begin::Newest(_) | Begin::Foreign(_) => EventId::ZERO,
        };
        for (&id, event) in known.range(from..=self.head_before.max(from)).filter(|(id, _)| **id > from) {
            let own = &ledger.submissions[event.submission];
            let mut newer = known.range(id..=end.head.max(id)).skip(1);
            let unseen = ledger.unseen(topic).any(|other| replaces(own, other));
            if unseen
                || ledger.may_be_past(event, end.at_ms)
                || self.may_come_as_change(id)
                || newer.any(|(_, other)| replaces(own, &ledger.submissions[other.submission]))
                || !self.wants(own.name.as_deref())
            {
                continue;
            }
            let came = self.entries.iter().any(|entry| matches!(entry, Entry::Event(other) if *other == id));
            let name = topic_of(topic);
            let kept = self.surely_kept(ledger, plan, topic, id, end)
                || own.key.is_some() && surely_retained(ledger, plan, topic);
            assert!(came || !kept, "event {id} of {name:?} is state: {self:#?}");
        }
    }

    /// Whether an event may be a change that comes behind what was received. A poll that has got nothing gets
    /// no more than that.
    fn may_come_as_change(&self, id: EventId) -> bool {
        let goes_on = self.greeted.is_some() || self.last.is_some();
        matches!(self.begin, Begin::Newest(_)) && goes_on && self.last.is_none_or(|last| id > last)
    }

    /// Whether a topic certainly kept all from an event on when the snapshot ended.
    fn surely_kept(
        &self,
        ledger: &Ledger,
        plan: &Plan,
        topic: usize,
        from: EventId,
        end: SnapshotEnd,
    ) -> bool {
        let (head, at_ms) = (end.head.max(from), end.at_ms);
        let (after, oldest, position) = (None, None, None);
        let (at_resume, of_pattern) = (false, false);
        let kept = Told { topic, after, oldest, head, position, at_ms, at_resume, of_pattern };
        covers(ledger, plan, &kept, from) && !ledger.may_have_forgotten(topic, EventId::ZERO, at_ms)
    }
}

/// Whether a topic certainly retains the newest event of each key: memory is ample, and nothing is ever lost
/// or forgotten.
fn surely_retained(ledger: &Ledger, plan: &Plan, topic: usize) -> bool {
    let (settings, ample) = (&plan.settings, Settings::default());
    let known = &ledger.topics[topic];
    let all = known.values().map(|event| event.bytes_max).sum::<usize>();
    plan.classes.keeps_keys(topic)
        && settings.history_bytes_max >= ample.history_bytes_max
        && all <= plan.classes.least(topic).history_topic_bytes_max
        && settings.topics_max >= ample.topics_max
        && ledger.losses.is_empty()
        && ledger.restarts_ms.is_empty()
        && !ledger.may_have_forgotten(topic, EventId::ZERO, u64::MAX)
}

/// Whether an event takes the place of an earlier one of the same topic.
fn replaces(earlier: &Submission, later: &Submission) -> bool {
    earlier.key.is_none() || earlier.key == later.key
}
