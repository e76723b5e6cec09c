//! The oracle of events left out for newer ones of their key: which may be, and how often a key may come.

use fanwheel::base::id::EventId;

use crate::classes::ClassPlan;
use crate::ledger::Ledger;
use crate::session::{Begin, Entry, Session};

impl Session {
    /// Looks at the pace of a stream of one topic, up to a time: of each key and name comes at most one event
    /// in each window, and one more for each time that its socket was full, because it reads the history
    /// then. Returns how many pairs of events were held against a window.
    pub fn judge_pace(&self, ledger: &Ledger, classes: &ClassPlan, fulls: u64, upto_ms: u64) -> u64 {
        let &[topic] = &self.topics[..] else { return 0 };
        let throttle_ms = classes.throttle_of(topic);
        let live = self.begin == Begin::Now && !self.snapshot && ledger.losses.is_empty();
        let Some(throttle_ms) = throttle_ms.filter(|_| live) else { return 0 };
        let event = |(entry, &at_ms): (&Entry, &u64)| match entry {
            Entry::Event(id) if at_ms < upto_ms => Some((*id, at_ms)),
            Entry::Event(_) | Entry::Gap(_) | Entry::Position(_) | Entry::SnapshotEnd(_) => None,
        };
        let events: Vec<(EventId, u64)> =
            self.entries.iter().zip(&self.entries_ms).filter_map(event).collect();
        let key = |id: EventId| {
            let known = ledger.topics[topic][&id];
            let submission = &ledger.submissions[known.submission];
            Some((submission.key.clone()?, submission.names.clone()))
        };
        let mut judged = 0;
        for (nth, &(id, at_ms)) in events.iter().enumerate() {
            let Some(own) = key(id) else { continue };
            let before: Vec<EventId> = events[..nth]
                .iter()
                .map(|(id, _)| *id)
                .filter(|id| key(*id).as_ref() == Some(&own))
                .collect();
            for (distance, earlier) in before.iter().rev().enumerate() {
                let since_ms = ledger.topics[topic][earlier].since_ms;
                let windows = (distance as u64 + 1).saturating_sub(fulls);
                judged += u64::from(windows > 0);
                let least_ms = windows * throttle_ms;
                assert!(
                    at_ms - since_ms >= least_ms,
                    "event {id} came too early after {earlier}, of which its key had to wait: {self:#?}"
                );
            }
        }
        judged
    }
}
