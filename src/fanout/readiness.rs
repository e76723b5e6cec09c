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
use crate::base::limits::{PROBE_MS, PROBE_PERIOD_MS};
use crate::base::snapshot::ReadinessVerdict;
use crate::base::time::Now;

/// Milliseconds after which a verdict on readiness is too old to be repeated: the main thread looks twenty
/// times a second.
const VERDICT_MS: u64 = 2_500;

/// See the module.
#[derive(Debug)]
pub struct Vigil {
    probe: State,
    readiness: ReadinessVerdict,
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
    KeptOut(Since, u64),
    UnderWay(Since, Arc<Probe>),
}

/// When a wait began, and how many turns each worker had taken by then.
#[derive(Clone, Debug)]
struct Since {
    ms: u64,
    turns: Vec<u64>,
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
        let readiness = ReadinessVerdict { ok: false, reason: Some(STARTING.to_owned()), since_ms: 0 };
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
            State::KeptOut(..) => true,
            State::UnderWay(..) => false,
        };
        let sent = (is_due && !self.is_draining()).then(|| self.send_probe());
        let mut vigil = self.vigil();
        let mut wake = 0;
        match (sent, &vigil.probe) {
            (Some(Ok((probe, woken))), _) => {
                wake = woken;
                vigil.probe = State::UnderWay(self.since(now), probe);
            }
            (Some(Err(full)), State::KeptOut(since, _)) => vigil.probe = State::KeptOut(since.clone(), full),
            (Some(Err(full)), _) => vigil.probe = State::KeptOut(self.since(now), full),
            (None, State::UnderWay(since, probe)) if probe.left() == 0 => {
                vigil.probe = State::Due(since.ms + PROBE_PERIOD_MS);
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

    fn since(&self, now: Now) -> Since {
        Since { ms: now.mono_ms, turns: (0..self.workers()).map(|worker| self.turns(worker)).collect() }
    }

    fn judge(&self, vigil: &mut Vigil, now_ms: u64, surroundings: Surroundings) {
        let late = |since: &Since| now_ms.saturating_sub(since.ms) >= PROBE_MS;
        let mut reasons = Vec::new();
        vigil.stuck = 0;
        match &vigil.probe {
            State::KeptOut(since, full) if late(since) => {
                vigil.stuck = self.standing_still(since, *full);
                let (who, how) = (named(*full), how(vigil.stuck, *full));
                reasons.push(format!("mailbox_full: no room for a probe at {who}, {how}"));
            }
            State::UnderWay(since, probe) if late(since) => {
                let left = probe.left();
                vigil.stuck = self.standing_still(since, left);
                let (ms, who, how) = (now_ms - since.ms, named(left), how(vigil.stuck, left));
                reasons.push(format!("worker_late: a probe waits for {ms} ms at {who}, {how}"));
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
        // While nobody judged, it was not ready either, as every reader was told.
        let judge_was_late = now_ms.saturating_sub(vigil.judged_ms) >= VERDICT_MS;
        if vigil.readiness.ok != ok || ok && judge_was_late {
            vigil.readiness.since_ms = now_ms;
        }
        vigil.readiness.ok = ok;
        vigil.readiness.reason = (!ok).then_some(reason);
        vigil.judged_ms = now_ms;
    }

    /// Which workers of a mask have taken no turn since.
    fn standing_still(&self, since: &Since, mask: u64) -> u64 {
        let turns = since.turns.iter().enumerate();
        let still = turns.filter(|(worker, turns)| mask & 1 << worker != 0 && **turns == self.turns(*worker));
        still.fold(0, |mask, (worker, _)| mask | 1 << worker)
    }

    fn turns(&self, worker: usize) -> u64 {
        self.counters(worker).get(Count::Turns)
    }

    /// The verdict, as it is now.
    pub fn readiness(&self, now_ms: u64) -> ReadinessVerdict {
        let vigil = self.vigil();
        let old_ms = now_ms.saturating_sub(vigil.judged_ms);
        if old_ms < VERDICT_MS {
            return vigil.readiness.clone();
        }
        let reason = Some(format!("judge_late: the main thread has not looked for {old_ms} ms"));
        ReadinessVerdict { ok: false, reason, since_ms: vigil.judged_ms }
    }

    /// Whether a worker takes no turns: not busy, but standing still.
    pub fn has_stuck_worker(&self) -> bool {
        self.vigil().stuck != 0
    }
}

fn how(stuck: u64, all: u64) -> &'static str {
    if stuck == all { "standing still" } else { "behind with its frames" }
}

/// The workers of a mask: `worker 1` or `worker 0, worker 2`.
fn named(mask: u64) -> String {
    let names =
        (0..u64::BITS).filter(|worker| mask & 1 << worker != 0).map(|worker| format!("worker {worker}"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::MAILBOX_FRAMES_MAX;
    use crate::base::settings::Settings;
    use crate::base::snapshot::Pages;
    use crate::fanout::hub::Post;
    use crate::fanout::mail::{Inbox, Mail};
    use crate::wire::frame::Draft;
    use crate::wire::request::StreamStart;

    const WELL: Surroundings = Surroundings { log_fails: false };

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 1_000 + mono_ms, mono_us: mono_ms * 1_000 }
    }

    /// A node of two workers that take mail only when told to.
    fn node() -> (Arc<Node>, Vec<Inbox>) {
        Node::new(Settings::default(), 2, 10, Pages::default(), 1_000, 7)
    }

    fn take_mail(inbox: &Inbox, worker: usize) {
        for mail in inbox.frames.try_iter() {
            if let Mail::Probe(probe) = mail {
                probe.pass(worker);
            }
        }
    }

    /// What begins the reason at a moment; nothing when ready.
    fn verdict(node: &Node, ms: u64) -> String {
        node.keep_vigil(at(ms), WELL);
        node.readiness(ms).reason.unwrap_or_default().split_once(':').map_or("", |(word, _)| word).to_owned()
    }

    #[test]
    fn ready_is_who_has_let_a_probe_pass_and_late_is_who_does_not() {
        let (node, inboxes) = node();
        assert_eq!(verdict(&node, 0), "starting");
        take_mail(&inboxes[0], 0);
        assert_eq!(verdict(&node, 1), "starting");
        take_mail(&inboxes[1], 1);
        assert_eq!(verdict(&node, 2), "");
        assert_eq!(verdict(&node, PROBE_PERIOD_MS), "");
        take_mail(&inboxes[0], 0);
        assert_eq!(verdict(&node, PROBE_PERIOD_MS + PROBE_MS - 1), "");
        assert_eq!(verdict(&node, PROBE_PERIOD_MS + PROBE_MS), "worker_late");
        let reason = node.readiness(PROBE_PERIOD_MS + PROBE_MS).reason.unwrap_or_default();
        assert!(reason.contains("at worker 1, standing still"), "{reason}");
        assert!(node.has_stuck_worker() && !reason.contains("worker 0"));
        node.counters(1).count(Count::Turns);
        assert_eq!(verdict(&node, 4_000), "worker_late");
        assert!(!node.has_stuck_worker(), "it only has much to do");
        assert_eq!(inboxes[1].frames.len(), 1, "one probe at a time");
        take_mail(&inboxes[1], 1);
        assert_eq!(verdict(&node, 4_001), "");
    }

    #[test]
    fn a_probe_that_finds_no_room_names_whose_mailbox_is_full() {
        let (node, inboxes) = node();
        node.hub.subscribe(1, &["a".into()], &StreamStart::Now, at(0)).expect("there is room");
        let post = || Post { topics: vec!["a".into()], draft: Draft::new(None, None, "x", None) };
        let posts = (0..MAILBOX_FRAMES_MAX).map(|_| post()).collect();
        node.hub.publish(posts, None, at(0)).expect("there is room");
        assert_eq!(verdict(&node, 0), "starting");
        assert_eq!(verdict(&node, PROBE_MS), "mailbox_full");
        let reason = node.readiness(PROBE_MS).reason.unwrap_or_default();
        assert!(reason.contains("at worker 1, standing still") && node.has_stuck_worker(), "{reason}");
        take_mail(&inboxes[1], 1);
        assert_eq!(verdict(&node, PROBE_MS + 1), "starting");
        (0..2).for_each(|worker| take_mail(&inboxes[worker], worker));
        assert_eq!(verdict(&node, PROBE_MS + 2), "");
    }

    #[test]
    fn a_log_that_fails_an_old_verdict_and_a_drain_are_not_ready() {
        let (node, inboxes) = node();
        verdict(&node, 0);
        (0..2).for_each(|worker| take_mail(&inboxes[worker], worker));
        assert_eq!(verdict(&node, 1), "");
        node.keep_vigil(at(2), Surroundings { log_fails: true });
        assert!(node.readiness(2).reason.is_some_and(|reason| reason.starts_with("log_failing")));
        assert_eq!(verdict(&node, 3), "");
        let old = node.readiness(3 + VERDICT_MS);
        assert!(!old.ok && old.reason.is_some_and(|reason| reason.starts_with("judge_late")));
        verdict(&node, 5_000);
        (0..2).for_each(|worker| take_mail(&inboxes[worker], worker));
        assert_eq!(verdict(&node, 5_001), "");
        assert_eq!(node.readiness(5_001).since_ms, 5_000, "ready again since somebody judges again");
        node.control(&crate::fanout::mail::Control::Drain);
        assert_eq!(verdict(&node, 9_000), "draining");
        assert!(!node.has_stuck_worker(), "who has ended takes no turns either");
    }
}
