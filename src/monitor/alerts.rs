//! Alerts: evaluates rules against metrics once a second, and makes messages when one fires or is resolved.
//!
//! Owns the state of each rule and the history. Knows no clock and no delivery: time is an argument, and
//! `daemon/notify` chooses the destinations.
//!
//! | state | bound crossed | not crossed |
//! | --- | --- | --- |
//! | quiet | pending, or firing when `for_ms` is 0 | stays |
//! | pending | firing after `for_ms` | quiet |
//! | firing | stays | quiet after `for_ms`: resolved |
//!
//! The history has every change. An alert sends at most one message that it fires in a `cooldown_ms`. One
//! that fires again too early sends it when that time is over, if it still fires then. A resolved alert sends
//! a message if it has sent one that it fires.

mod notice;
mod rule;

use std::collections::VecDeque;

use serde_json::{Value, json};

pub(crate) use self::notice::{AlertChange, AlertNotice, describe_alert};
pub(crate) use self::rule::{
    AlertBound, AlertMetric, AlertRule, DEFAULT_RULES, DefaultRule, MetricUnit, MetricValue, SEVERITY_NAMES,
    Severity,
};
use crate::base::time::Now;

/// Changes in the history: a day of a nervous rule, and a page of `/status`.
const ALERT_HISTORY_MAX: usize = 100;
/// Characters of the reason that an alert gives beyond its value: a mail's subject holds it, and with all
/// else it fits the smallest pipe.
const ALERT_WHY_CHARS_MAX: usize = 400;

/// The watched rules with their states, and the history of their changes.
#[derive(Debug, Default)]
pub(crate) struct AlertRules {
    watched: Vec<RuleState>,
    history: VecDeque<PastChange>,
}

/// A rule, its phase and its last value.
#[derive(Debug)]
struct RuleState {
    rule: AlertRule,
    phase: AlertPhase,
    value: Option<f64>,
    why: Option<String>,
    /// Monotonic time of the last message that the alert fires.
    notified_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AlertPhase {
    Quiet,
    Pending {
        since_ms: u64,
    },
    Firing {
        /// Unix milliseconds of the change to firing.
        since_wall_ms: u64,
        /// Time since which the bound has not been crossed.
        clear_since_ms: Option<u64>,
        notified: bool,
    },
}

/// An entry of the history.
#[derive(Debug)]
struct PastChange {
    name: String,
    severity: Severity,
    change: AlertChange,
    at_ms: u64,
    value: Option<f64>,
    unit: MetricUnit,
}

impl AlertRules {
    /// Evaluates every rule and returns the messages to send. `figure` gives a metric's value and, where
    /// there is one, an explanation of it.
    pub(crate) fn evaluate(
        &mut self,
        now: Now,
        figure: impl Fn(&str) -> (Option<f64>, Option<String>),
    ) -> Vec<AlertNotice> {
        let mut notices = Vec::new();
        for watched in &mut self.watched {
            let (value, why) = figure(watched.rule.metric.name);
            watched.value = value.filter(|value| value.is_finite());
            watched.why = why.map(|why| why.chars().take(ALERT_WHY_CHARS_MAX).collect());
            if let Some(change) = watched.advance_phase(now, &mut notices) {
                record_change(&mut self.history, watched, change, now);
            }
        }
        notices
    }

    /// Replaces all rules and returns the messages to send. A rule with the same condition keeps its state;
    /// its severity and cool-down may differ. A firing rule without such a successor is resolved.
    pub(crate) fn replace(&mut self, rules: Vec<AlertRule>, now: Now) -> Vec<AlertNotice> {
        let mut notices = Vec::new();
        let mut before = std::mem::take(&mut self.watched);
        for rule in rules {
            let kept = before.iter().position(|watched| watched.rule.has_same_condition(&rule));
            let phase = kept.map(|at| before.swap_remove(at));
            self.watched.push(match phase {
                Some(watched) => RuleState { rule, ..watched },
                None => RuleState::new(rule),
            });
        }
        for mut gone in before {
            if let Some(change) = gone.resolve(now, &mut notices) {
                record_change(&mut self.history, &gone, change, now);
            }
        }
        notices
    }

    /// Counts the alerts that fire now.
    pub(crate) fn firing_count(&self) -> usize {
        self.watched.iter().filter(|watched| matches!(watched.phase, AlertPhase::Firing { .. })).count()
    }

    /// Returns `{"active":[…],"history":[…]}`, the newest change first.
    pub(crate) fn status(&self) -> Value {
        let active = self.watched.iter().filter_map(|watched| {
            let AlertPhase::Firing { since_wall_ms, .. } = watched.phase else { return None };
            let rule = &watched.rule;
            Some(json!({
                "name": rule.name,
                "severity": rule.severity.name(),
                "since_ms": since_wall_ms,
                "value": watched.value,
                "threshold": rule.bound.limit(),
                "text": describe_alert(rule, watched.value, watched.why.as_deref()),
            }))
        });
        let past = |past: &PastChange| {
            json!({
                "name": past.name,
                "severity": past.severity.name(),
                "state": past.change.name(),
                "at_ms": past.at_ms,
                "value": past.value,
                "value_text": past.value.map(|value| MetricValue(past.unit, value).to_string()),
            })
        };
        json!({
            "active": active.collect::<Vec<_>>(),
            "history": self.history.iter().rev().map(past).collect::<Vec<_>>(),
        })
    }
}

fn record_change(history: &mut VecDeque<PastChange>, watched: &RuleState, change: AlertChange, now: Now) {
    if history.len() == ALERT_HISTORY_MAX {
        history.pop_front();
    }
    let RuleState { rule: AlertRule { name, severity, metric, .. }, value, .. } = watched;
    let (name, severity, value, unit) = (name.clone(), *severity, *value, metric.unit);
    history.push_back(PastChange { name, severity, change, at_ms: now.wall_ms, value, unit });
}

impl RuleState {
    fn new(rule: AlertRule) -> RuleState {
        RuleState { rule, phase: AlertPhase::Quiet, value: None, why: None, notified_ms: None }
    }

    /// Moves to the next phase by the table above; returns the change, if there is one.
    fn advance_phase(&mut self, now: Now, notices: &mut Vec<AlertNotice>) -> Option<AlertChange> {
        let AlertRule { bound, for_ms, .. } = self.rule;
        let crossed = self.value.is_some_and(|value| bound.is_crossed_by(value));
        let long_enough = |since_ms: u64| now.mono_ms.saturating_sub(since_ms) >= for_ms;
        if !crossed {
            let AlertPhase::Firing { clear_since_ms, .. } = &mut self.phase else {
                self.phase = AlertPhase::Quiet;
                return None;
            };
            let clear = *clear_since_ms.get_or_insert(now.mono_ms);
            return if long_enough(clear) { self.resolve(now, notices) } else { None };
        }
        let mut change = None;
        if self.phase == AlertPhase::Quiet {
            self.phase = AlertPhase::Pending { since_ms: now.mono_ms };
        }
        if let AlertPhase::Pending { since_ms } = self.phase
            && long_enough(since_ms)
        {
            let since_wall_ms = now.wall_ms;
            self.phase = AlertPhase::Firing { since_wall_ms, clear_since_ms: None, notified: false };
            change = Some(AlertChange::Firing);
        }
        if let AlertPhase::Firing { since_wall_ms, clear_since_ms, notified } = &mut self.phase {
            *clear_since_ms = None;
            let since_wall_ms = *since_wall_ms;
            let waits = |notified_ms: u64| now.mono_ms.saturating_sub(notified_ms) < self.rule.cooldown_ms;
            if !*notified && !self.notified_ms.is_some_and(waits) {
                *notified = true;
                self.notified_ms = Some(now.mono_ms);
                notices.push(self.new_notice(AlertChange::Firing, now, since_wall_ms));
            }
        }
        change
    }

    /// Ends a firing alert; returns the change, if it fired.
    fn resolve(&mut self, now: Now, notices: &mut Vec<AlertNotice>) -> Option<AlertChange> {
        let AlertPhase::Firing { since_wall_ms, notified, .. } = self.phase else { return None };
        self.phase = AlertPhase::Quiet;
        if notified {
            notices.push(self.new_notice(AlertChange::Resolved, now, since_wall_ms));
        }
        Some(AlertChange::Resolved)
    }

    fn new_notice(&self, change: AlertChange, now: Now, since_ms: u64) -> AlertNotice {
        let (rule, value, why) = (self.rule.clone(), self.value, self.why.clone());
        AlertNotice { rule, change, value, why, at_ms: now.wall_ms, since_ms }
    }
}

#[cfg(test)]
#[path = "alerts/default_tests.rs"]
mod default_tests;
#[cfg(test)]
#[path = "alerts/tests.rs"]
mod tests;
