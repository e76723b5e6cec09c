//! Readiness: each second a probe goes through the hub and every mailbox, as events do. Its fate is the
//! verdict that `/readyz` repeats.
//!
//! | state of the probe | leaves it when |
//! | --- | --- |
//! | `NotDue`: none under way, the next one has a time | it is due: pushed into all mailboxes, or into none |
//! | `BlockedByFullMailboxes`: not sent | there is room in all of them |
//! | `InFlight`: a bit for each worker that has not seen it | all workers have seen it |
//!
//! In the last two states the verdict turns red after `PROBE_MS`. Only the main thread sends and judges. It
//! sends one probe at a time, so that a worker that stands still does not find thousands.
//!
//! The driver's contract: the main thread calls [`ReadinessMonitor::check`] several times a second and wakes
//! the workers that it returns. Workers call [`ReadinessMonitor::verdict`] for each `/readyz`. It repeats the
//! verdict, or says that the verdict is old: then the main thread stands still.

use std::sync::{Arc, Mutex, MutexGuard};

use super::hub::Hub;
use super::mail::MailboxProbe;
use crate::base::counters::{Count, Counters};
use crate::base::limits::{PROBE_MS, PROBE_PERIOD_MS};
use crate::base::snapshot::ReadinessVerdict;
use crate::base::time::Now;

/// Milliseconds after which a verdict is too old to be repeated. The main thread judges twenty times a
/// second.
const VERDICT_MS: u64 = 2_500;

/// The probe, and the verdict drawn from it, for all threads.
#[derive(Debug, Default)]
pub(crate) struct ReadinessMonitor {
    state: Mutex<MonitorState>,
}

/// Workers as the monitor sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObservedWorkers<'a> {
    /// The hub that sends the probes.
    pub(crate) hub: &'a Hub,
    /// Counters of each worker.
    pub(crate) counters: &'a [Counters],
    /// The server ends its streams.
    pub(crate) draining: bool,
}

#[derive(Debug)]
struct MonitorState {
    probe: ProbeState,
    readiness: ReadinessVerdict,
    /// Moment of the last judgement, in milliseconds of uptime.
    judged_ms: u64,
    /// A bit for each worker that has taken no turn since a late probe was sent to it.
    stuck_workers: u64,
    /// Whether any probe has passed through every worker.
    has_passed: bool,
}

#[derive(Debug)]
enum ProbeState {
    NotDue { due_ms: u64 },
    BlockedByFullMailboxes { since: ProbeWait, full_mailboxes: u64 },
    InFlight { since: ProbeWait, probe: Arc<MailboxProbe> },
}

/// The beginning of a wait, and the turns that each worker had taken by then.
#[derive(Clone, Debug)]
struct ProbeWait {
    ms: u64,
    turns: Vec<u64>,
}

const STARTING: &str = "starting: no probe has passed through every worker yet";

/// Faults of the host that the probe cannot show.
#[derive(Clone, Debug, Default)]
pub struct HostConditions {
    /// Whether lines of the log are being lost.
    pub(crate) log_fails: bool,
    /// Why no events come or go through the backplane, in words; none where they do, or without one.
    pub(crate) backplane_fault: Option<String>,
}

impl Default for MonitorState {
    /// Not ready: no probe has passed yet.
    fn default() -> MonitorState {
        let readiness = ReadinessVerdict { ok: false, reason: Some(STARTING.to_owned()), since_ms: 0 };
        MonitorState {
            probe: ProbeState::NotDue { due_ms: 0 },
            readiness,
            judged_ms: 0,
            stuck_workers: 0,
            has_passed: false,
        }
    }
}

impl ReadinessMonitor {
    /// Sends the next probe if it is due, and judges. Returns the workers to wake.
    pub(crate) fn check(&self, workers: &ObservedWorkers<'_>, now: Now, conditions: HostConditions) -> u64 {
        // The hub's lock is never taken under the monitor's: `/readyz` must answer while the hub is locked.
        let is_due = match &self.lock().probe {
            ProbeState::NotDue { due_ms } => now.mono_ms >= *due_ms,
            ProbeState::BlockedByFullMailboxes { .. } => true,
            ProbeState::InFlight { .. } => false,
        };
        let sent = (is_due && !workers.draining).then(|| workers.send_probe());
        let mut monitor = self.lock();
        let mut wake = 0;
        match (sent, &monitor.probe) {
            (Some(Ok((probe, woken))), _) => {
                wake = woken;
                monitor.probe = ProbeState::InFlight { since: workers.begin_wait(now), probe };
            }
            (Some(Err(full_mailboxes)), ProbeState::BlockedByFullMailboxes { since, .. }) => {
                let since = since.clone();
                monitor.probe = ProbeState::BlockedByFullMailboxes { since, full_mailboxes }
            }
            (Some(Err(full_mailboxes)), _) => {
                let since = workers.begin_wait(now);
                monitor.probe = ProbeState::BlockedByFullMailboxes { since, full_mailboxes }
            }
            (None, ProbeState::InFlight { since, probe }) if probe.unseen_workers() == 0 => {
                monitor.probe = ProbeState::NotDue { due_ms: since.ms + PROBE_PERIOD_MS };
                monitor.has_passed = true;
            }
            (None, _) => {}
        }
        monitor.judge(workers, now.mono_ms, conditions);
        wake
    }

    /// Returns the verdict, as it is now.
    pub(crate) fn verdict(&self, now_ms: u64) -> ReadinessVerdict {
        let monitor = self.lock();
        let old_ms = now_ms.saturating_sub(monitor.judged_ms);
        if old_ms < VERDICT_MS {
            return monitor.readiness.clone();
        }
        let reason = Some(format!("judge_late: the main thread has not looked for {old_ms} ms"));
        ReadinessVerdict { ok: false, reason, since_ms: monitor.judged_ms }
    }

    /// Whether a worker stands still: it takes no turns, so it is not merely busy.
    pub(crate) fn has_stuck_worker(&self) -> bool {
        self.lock().stuck_workers != 0
    }

    fn lock(&self) -> MutexGuard<'_, MonitorState> {
        self.state.lock().expect("a panic ends the process")
    }
}

impl ObservedWorkers<'_> {
    fn send_probe(&self) -> Result<(Arc<MailboxProbe>, u64), u64> {
        let probe = Arc::new(MailboxProbe::new(self.counters.len()));
        let wake = self.hub.push_probe(&probe)?;
        Ok((probe, wake))
    }

    fn begin_wait(&self, now: Now) -> ProbeWait {
        ProbeWait { ms: now.mono_ms, turns: self.counters.iter().map(turns_taken).collect() }
    }

    /// Returns the workers of a mask that have taken no turn since the wait began.
    fn standing_still(&self, since: &ProbeWait, mask: u64) -> u64 {
        let pairs = since.turns.iter().zip(self.counters).enumerate();
        let still = pairs.filter(|(worker, (turns, counters))| {
            mask & 1 << worker != 0 && **turns == turns_taken(counters)
        });
        still.fold(0, |mask, (worker, _)| mask | 1 << worker)
    }
}

impl MonitorState {
    fn judge(&mut self, workers: &ObservedWorkers<'_>, now_ms: u64, conditions: HostConditions) {
        let late = |since: &ProbeWait| now_ms.saturating_sub(since.ms) >= PROBE_MS;
        let mut reasons = Vec::new();
        self.stuck_workers = 0;
        match &self.probe {
            ProbeState::BlockedByFullMailboxes { since, full_mailboxes } if late(since) => {
                let full = *full_mailboxes;
                self.stuck_workers = workers.standing_still(since, full);
                let (names, delay) = (name_workers(full), describe_delay(self.stuck_workers, full));
                reasons.push(format!("mailbox_full: no room for a probe at {names}, {delay}"));
            }
            ProbeState::InFlight { since, probe } if late(since) => {
                let left = probe.unseen_workers();
                self.stuck_workers = workers.standing_still(since, left);
                let (names, delay) = (name_workers(left), describe_delay(self.stuck_workers, left));
                let ms = now_ms - since.ms;
                reasons.push(format!("worker_late: a probe waits for {ms} ms at {names}, {delay}"));
                let full = workers.hub.full_mailboxes();
                if full != 0 {
                    reasons.push(format!("mailbox_full: no room for an event at {}", name_workers(full)));
                }
            }
            _ if !self.has_passed => reasons.push(STARTING.to_owned()),
            _ => {}
        }
        if conditions.log_fails {
            reasons.push("log_failing: the log's lines are lost, its disk may be full".to_owned());
        }
        reasons.extend(conditions.backplane_fault);
        if workers.draining {
            // Workers that have ended take no turns either; the drain has a deadline of its own.
            self.stuck_workers = 0;
            reasons = vec!["draining: the server ends its streams".to_owned()];
        }
        let (ok, reason) = (reasons.is_empty(), reasons.join("; "));
        // While the main thread stood still, the node was not ready, as every answer said.
        let judge_was_late = now_ms.saturating_sub(self.judged_ms) >= VERDICT_MS;
        if self.readiness.ok != ok || ok && judge_was_late {
            self.readiness.since_ms = now_ms;
        }
        self.readiness.ok = ok;
        self.readiness.reason = (!ok).then_some(reason);
        self.judged_ms = now_ms;
    }
}

fn turns_taken(counters: &Counters) -> u64 {
    counters.get(Count::Turns)
}

fn describe_delay(stuck_workers: u64, all: u64) -> &'static str {
    if stuck_workers == all { "standing still" } else { "behind with its frames" }
}

/// Names the workers of a mask: `worker 1` or `worker 0, worker 2`.
fn name_workers(mask: u64) -> String {
    let names =
        (0..u64::BITS).filter(|worker| mask & 1 << worker != 0).map(|worker| format!("worker {worker}"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::{EventId, IdTag};
    use crate::base::limits::MAILBOX_FRAMES_MAX;
    use crate::base::settings::Settings;
    use crate::base::snapshot::Pages;
    use crate::fanout::hub::{NewEvent, WantedTopics};
    use crate::fanout::mail::{MailboxItem, MailboxReceiver};
    use crate::fanout::node::Node;
    use crate::wire::frame::Draft;
    use crate::wire::subscription::StreamStart;

    const WELL: HostConditions = HostConditions { log_fails: false, backplane_fault: None };

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 1_000 + mono_ms, mono_us: mono_ms * 1_000 }
    }

    /// A node of two workers that take mail only when told to.
    fn node() -> (Arc<Node>, Vec<MailboxReceiver>) {
        let start = EventId::start_of_run(1_000, IdTag::from_random(7));
        Node::new(Settings::default(), 2, 10, Pages::default(), start, 7)
    }

    fn take_mail(inbox: &MailboxReceiver, worker: usize) {
        for mail in inbox.frames.try_iter() {
            if let MailboxItem::Probe(probe) = mail {
                probe.mark_seen(worker);
            }
        }
    }

    /// First word of the reason at a moment; empty when ready.
    fn verdict(node: &Node, ms: u64) -> String {
        node.check_readiness(at(ms), WELL);
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
        node.hub
            .subscribe(1, WantedTopics { names: &["a".into()], patterns: &[] }, &StreamStart::Now, at(0))
            .expect("there is room");
        let post = || NewEvent { topics: vec!["a".into()], draft: Draft::new(None, None, "x", None) };
        let posts = (0..MAILBOX_FRAMES_MAX).map(|_| post()).collect();
        node.hub.publish_at_once(posts, None, at(0)).expect("there is room");
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
        node.check_readiness(at(2), HostConditions { log_fails: true, ..WELL });
        assert!(node.readiness(2).reason.is_some_and(|reason| reason.starts_with("log_failing")));
        assert_eq!(verdict(&node, 3), "");
        let old = node.readiness(3 + VERDICT_MS);
        assert!(!old.ok && old.reason.is_some_and(|reason| reason.starts_with("judge_late")));
        verdict(&node, 5_000);
        (0..2).for_each(|worker| take_mail(&inboxes[worker], worker));
        assert_eq!(verdict(&node, 5_001), "");
        assert_eq!(node.readiness(5_001).since_ms, 5_000, "ready again since somebody judges again");
        node.shut_down(&crate::fanout::mail::ControlMessage::Drain);
        assert_eq!(verdict(&node, 9_000), "draining");
        assert!(!node.has_stuck_worker(), "who has ended takes no turns either");
    }
}
