//! The oracle of a stream's end by its class: after its longest life or silence, neither before nor long
//! after.
//!
//! Both differ by a tenth, the same for a connection at all times. Only a stream whose classes have not
//! changed is judged.

use fanwheel::base::time::TICK_MS;

use crate::classes::{ClassPlan, StreamEnds};
use crate::ledger::Ledger;
use crate::session::{Entry, Session};

/// By how much an end may be late: a stream waits a second for events that are on their way to it, and is
/// looked at every tenth of a second meanwhile.
const LATE_MS: u64 = 1_100 + 3 * TICK_MS;

impl Session {
    /// The times that end it; none when a reload may have changed them.
    pub fn ends(&self, ledger: &Ledger, classes: &ClassPlan) -> Option<StreamEnds> {
        classes.ends_of(&self.topics, self.in_force, ledger.in_force)
    }

    /// Looks at a clean end that nobody has asked for, read at a time: the stream has lived too long, or been
    /// silent too long. Returns whether it was its silence.
    pub fn judge_end(&self, ledger: &Ledger, classes: &ClassPlan, read_ms: u64) -> bool {
        let Some(StreamEnds { life_ms, idle_ms }) = self.ends(ledger, classes) else { return false };
        let published_ms = |entry: &Entry| match entry {
            Entry::Event(id) => {
                self.topics.iter().find_map(|&topic| Some(ledger.topics[topic].get(id)?.since_ms))
            }
            Entry::Gap(_) | Entry::Position(_) | Entry::SnapshotEnd(_) => None,
        };
        let last_ms = self.entries.iter().filter_map(published_ms).chain([self.asked_ms]).max();
        let silent_ms = read_ms - last_ms.expect("it was asked for");
        let is_over =
            |passed_ms: u64, most: Option<u64>| most.is_some_and(|most| passed_ms + TICK_MS >= most * 9 / 10);
        let lived = is_over(read_ms - self.asked_ms, life_ms);
        let silent = is_over(silent_ms, idle_ms);
        assert!(lived || silent, "ended for nothing, after {silent_ms} ms of silence: {self:#?}");
        silent && !lived
    }

    /// Asserts that a stream which is open with everything at rest was not to end long ago.
    pub fn judge_overdue(&self, ledger: &Ledger, classes: &ClassPlan, now_ms: u64) {
        let Some(StreamEnds { life_ms, idle_ms }) = self.ends(ledger, classes) else { return };
        let is_late = |since_ms: u64, most: Option<u64>| {
            most.is_some_and(|most| now_ms > since_ms + most * 11 / 10 + LATE_MS)
        };
        assert!(!is_late(self.begun_ms, life_ms), "it lives too long: {self:#?}");
        if self.topics.iter().any(|&topic| ledger.unseen(topic).next().is_some()) {
            // Nobody knows whether they are published, and when.
            return;
        }
        let newest = self.topics.iter().filter_map(|&topic| ledger.newest_known_ms(topic));
        let since_ms = newest.chain([self.begun_ms]).max().expect("it has begun");
        assert!(!is_late(since_ms, idle_ms), "it is silent for too long, since {since_ms} ms: {self:#?}");
    }
}
