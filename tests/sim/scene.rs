//! The state that all actors share: the plan, the time, chance, the ledger, the streams so far.
//!
//! Knows no sockets and no workers. Also keeps the trace that a failure prints.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fanwheel::base::id::EventId;
use fanwheel::base::prng::Prng;
use fanwheel::base::time::{Now, TICK_MS};

use crate::cover::{Branch, Cover};
use crate::ledger::Ledger;
use crate::session::Session;
use crate::setup::{Finale, Plan, one_in};

/// The time of day at which a run begins, Unix milliseconds.
pub const START_MS: u64 = 1_700_000_000_000;

/// Topics there may be; those beyond the plan's come and go.
pub const TOPICS: usize = 40;

thread_local! {
    /// Lines for a failure; none when nobody will print them.
    static TRACE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// From now on this thread's runs are traced.
pub fn start_trace() {
    TRACE.set(Some(Vec::new()));
}

/// The lines since then; ends the trace.
pub fn take_trace() -> Vec<String> {
    TRACE.take().unwrap_or_default()
}

/// The state that all actors share.
pub struct Scene {
    /// The run's plan.
    pub plan: Arc<Plan>,
    /// Chance.
    pub prng: Prng,
    /// The time.
    pub now: Now,
    /// The node's newest id after the last turn.
    pub head: EventId,
    /// The events that were submitted.
    pub ledger: Ledger,
    /// All streams, in the order of their beginning.
    pub sessions: Vec<Session>,
    /// Long polls that are over.
    pub polled: Vec<Session>,
    /// Topics of the long polls that are not, by connection.
    pub polls: BTreeMap<usize, Vec<usize>>,
    /// Branches hit.
    pub cover: Cover,
    /// Nothing new is begun, everyone reads and sends all.
    pub calm: bool,
    /// The node drains or stops.
    pub ending: bool,
    /// Connections that the operator has asked to end.
    pub operated: BTreeSet<usize>,
    /// Large payloads or batches published so far.
    pub heavy: usize,
    /// When the drain's window has passed.
    pub drained_ms: u64,
}

impl Scene {
    /// Notes a line, if anybody will read it.
    pub fn trace(&self, line: impl FnOnce() -> String) {
        TRACE.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.push(format!("{:>7} {}", self.now.mono_ms, line()));
            }
        });
    }

    /// Notes a hit.
    pub fn hit(&mut self, branch: Branch) {
        self.cover.hit(branch);
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        one_in(&mut self.prng, n)
    }

    /// Whether one more large payload or batch may be published; counts it.
    pub fn take_heavy(&mut self) -> bool {
        self.heavy += 1;
        self.heavy <= self.plan.heavy
    }

    /// Whether the run's end is a stop, which may cut anything.
    pub fn stops(&self) -> bool {
        self.ending && self.plan.finale == Finale::Stop
    }

    /// Whether a drain's window may have passed; workers count in ticks.
    pub fn may_be_drained(&self) -> bool {
        self.now.mono_ms + TICK_MS >= self.drained_ms
    }

    /// Whether all of these topics have one event, where subscribers may have patterns.
    pub fn has_appeared(&self, topics: &[usize]) -> bool {
        self.plan.patterns && topics.iter().all(|&topic| self.ledger.topics[topic].len() == 1)
    }

    /// Some distinct topics, mostly of the plan's own.
    pub fn draw_topics(&mut self, most: u64) -> Vec<usize> {
        let count = 1 + self.prng.below(most);
        let mut topics = Vec::new();
        for _ in 0..count {
            let range = if self.one_in(10) { TOPICS } else { self.plan.topics };
            let topic = self.prng.below(range as u64) as usize;
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }
}

/// A text for a query.
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let one = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}
