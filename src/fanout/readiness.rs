//! Whether events pass: a probe goes through the hub and every mailbox each second, and what became of it is
//! the verdict that `/readyz` repeats.
//!
//! | state of the probe | leaves it when |
//! | --- | --- |
//! | none under way, next one due in `PROBE_PERIOD_MS` | it is due: pushed into all mailboxes, or into none |
//! | kept out by full mailboxes | there is room in all of them |
//! | under way, a bit for each worker that has not seen it | all have |
//!
//! In the last two states the verdict turns red after `PROBE_MS`. Only the main thread sends and judges, and
//! never more than one probe at a time, so that a worker that stands still does not find thousands. A worker
//! only repeats the verdict, and says so when it is old: then the main thread stands still.

use std::sync::Arc;

use super::mail::Probe;
use super::node::Node;
use crate::base::counters::Count;
use crate::base::limits::{PROBE_MS, PROBE_PERIOD_MS, VERDICT_MS};
use crate::base::snapshot::Readiness;
use crate::base::time::Now;

/// See the module.
#[derive(Debug)]
pub struct Vigil {
    probe: State,
    readiness: Readiness,
    /// When the verdict was last looked at, milliseconds of uptime.
    judged_ms: u64,
    /// Workers that have taken no turn since a probe that is late was sent to them.
    stuck: u64,
    /// A probe has passed through every worker.
    passed: bool,
}

#[derive(Debug)]
enum State {
    Due(u64),
    KeptOut { since_ms: u64, full: u64 },
    UnderWay { since_ms: u64, probe: Arc<Probe>, turns: Vec<u64> },
}

const STARTING: &str = "starting: no probe has passed through every worker yet";

/// What the host says beside the probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// Lines of the log are being lost.
    pub log_fails: bool,
}

impl Default for Vigil {
    /// Nothing has passed yet.
    fn default() -> Vigil {
        let readiness = Readiness { ok: false, reason: Some(STARTING.to_owned()), since_ms: 0 };
        Vigil { probe: State::Due(0), readiness, judged_ms: 0, stuck: 0, passed: false }
    }
}

impl Node {
    /// Sends the next probe if it is due, and judges. For the main thread, several times a second. Returns
    /// the workers to wake.
    pub fn keep_vigil(&self, now: Now, surroundings: Surroundings) -> u64 {
        // The hub's lock is not taken under the other one: `/readyz` must answer whoever holds the hub.
        let is_due = match &self.vigil().probe {
            State::Due(due_ms) => now.mono_ms >= *due_ms,
            State::KeptOut { .. } => true,
            State::UnderWay { .. } => false,
        };
        let sent = (is_due && !self.is_draining()).then(|| self.send_probe());
        let mut vigil = self.vigil();
        let mut wake = 0;
        match (sent, &vigil.probe) {
            (Some(Ok((probe, woken))), _) => {
                wake = woken;
                let turns = (0..self.workers()).map(|worker| self.turns(worker)).collect();
                vigil.probe = State::UnderWay { since_ms: now.mono_ms, probe, turns };
            }
            (Some(Err(full)), State::KeptOut { since_ms, .. }) => {
                vigil.probe = State::KeptOut { since_ms: *since_ms, full };
            }
            (Some(Err(full)), _) => vigil.probe = State::KeptOut { since_ms: now.mono_ms, full },
            (None, State::UnderWay { since_ms, probe, .. }) if probe.left() == 0 => {
                vigil.probe = State::Due(since_ms + PROBE_PERIOD_MS);
                vigil.passed = true;
            }
            (None, _) => {}
        }
        self.judge(&mut vigil, now.mono_ms, surroundings);
        wake
    }

    fn send_probe(&self) -> Result<(Arc<Probe>, u64), u64> {
        let probe = Arc::new(Probe::new(self.workers()));
        let wake = self.hub.probe(&probe)?;
        Ok((probe, wake))
    }

    fn judge(&self, vigil: &mut Vigil, now_ms: u64, surroundings: Surroundings) {
        let late = |since_ms: u64| now_ms.saturating_sub(since_ms) >= PROBE_MS;
        let mut reasons = Vec::new();
        vigil.stuck = 0;
        match &vigil.probe {
            State::KeptOut { since_ms, full } if late(*since_ms) => {
                reasons.push(format!("mailbox_full: no room for a probe at {}", named(*full)));
            }
            State::UnderWay { since_ms, probe, turns } if late(*since_ms) => {
                let left = probe.left();
                let stands = |worker: &usize| {
                    left & 1 << worker != 0 && turns.get(*worker) == Some(&self.turns(*worker))
                };
                vigil.stuck = (0..self.workers()).filter(stands).fold(0, |mask, worker| mask | 1 << worker);
                let how = if vigil.stuck == left { "standing still" } else { "behind with its frames" };
                let ms = now_ms - since_ms;
                reasons.push(format!("worker_late: a probe waits for {ms} ms at {}, {how}", named(left)));
                let full = self.hub.full_mailboxes();
                if full != 0 {
                    reasons.push(format!("mailbox_full: no room for an event at {}", named(full)));
                }
            }
            _ if !vigil.passed => reasons.push(STARTING.to_owned()),
            _ => {}
        }
        if surroundings.log_fails {
            reasons.push("log_failing: the log's lines are lost, its disk may be full".to_owned());
        }
        if self.is_draining() {
            // Workers that have ended take no turns either; the drain has a deadline of its own.
            vigil.stuck = 0;
            reasons = vec!["draining: the server ends its streams".to_owned()];
        }
        let (ok, reason) = (reasons.is_empty(), reasons.join("; "));
        if vigil.readiness.ok != ok {
            vigil.readiness.since_ms = now_ms;
        }
        vigil.readiness.ok = ok;
        vigil.readiness.reason = (!ok).then_some(reason);
        vigil.judged_ms = now_ms;
    }

    fn turns(&self, worker: usize) -> u64 {
        self.counters(worker).get(Count::Turns)
    }

    /// The verdict, as it is now.
    pub fn readiness(&self, now_ms: u64) -> Readiness {
        let vigil = self.vigil();
        let old_ms = now_ms.saturating_sub(vigil.judged_ms);
        if old_ms < VERDICT_MS {
            return vigil.readiness.clone();
        }
        let reason = Some(format!("judge_late: the main thread has not looked for {old_ms} ms"));
        Readiness { ok: false, reason, since_ms: vigil.judged_ms }
    }

    /// Whether a worker takes no turns: not busy, but standing still.
    pub fn has_stuck_worker(&self) -> bool {
        self.vigil().stuck != 0
    }
}

/// The workers of a mask: `worker 1` or `worker 0, worker 2`.
fn named(mask: u64) -> String {
    let names =
        (0..u64::BITS).filter(|worker| mask & 1 << worker != 0).map(|worker| format!("worker {worker}"));
    names.collect::<Vec<_>>().join(", ")
}
