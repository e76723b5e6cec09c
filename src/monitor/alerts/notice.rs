//! The message of an alert: as a sentence, as JSON, as variables, as a mail. Owns its words and names.

use serde_json::{Value, json};

use super::rule::{AlertBound, AlertRule, MetricUnit, MetricValue};
use crate::base::logfmt::EscapedText;

/// The direction of a change of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlertChange {
    /// The alert has begun to fire.
    Firing,
    /// The alert no longer fires.
    Resolved,
}

impl AlertChange {
    /// Returns its word in messages and on `/status`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            AlertChange::Firing => "firing",
            AlertChange::Resolved => "resolved",
        }
    }
}

/// One message of an alert.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlertNotice {
    /// The rule that changed.
    pub(crate) rule: AlertRule,
    /// The change of the alert.
    pub(crate) change: AlertChange,
    /// The metric's value; none when it is not known any more.
    pub(crate) value: Option<f64>,
    /// An explanation of the value, such as the worker or the growth.
    pub(crate) why: Option<String>,
    /// Unix milliseconds of the change.
    pub(crate) at_ms: u64,
    /// Unix milliseconds of the moment when it fired.
    pub(crate) since_ms: u64,
}

/// Describes a rule that fires or has fired: `the share of connections_max in use is 91 %, above 85 %`.
pub(crate) fn describe_alert(rule: &AlertRule, value: Option<f64>, why: Option<&str>) -> String {
    let why = why.map_or(String::new(), |why| format!(" ({why})"));
    format!("{}{why}", describe_value(rule, value))
}

fn describe_value(rule: &AlertRule, value: Option<f64>) -> String {
    let AlertRule { metric, bound, .. } = rule;
    let now = value.map_or("unknown".to_owned(), |value| MetricValue(metric.unit, value).to_string());
    if metric.unit == MetricUnit::YesNo {
        return format!("{} is {now}", metric.means);
    }
    let limit = MetricValue(metric.unit, bound.limit());
    let side = match (bound, value) {
        (AlertBound::Above(_), Some(value)) if bound.is_crossed_by(value) => "above",
        (AlertBound::Below(_), Some(value)) if bound.is_crossed_by(value) => "below",
        (AlertBound::Above(_), _) => "allowed up to",
        (AlertBound::Below(_), _) => "wanted at least",
    };
    format!("{} is {now}, {side} {limit}", metric.means)
}

impl AlertNotice {
    /// Returns one line for people: a mail's subject and body, a chat's message. `host` names this machine.
    pub(crate) fn text(&self, host: &str) -> String {
        let AlertNotice { rule, change, value, why, at_ms, since_ms } = self;
        // It becomes a line of a mail's head.
        let sentence = EscapedText(&describe_alert(rule, *value, why.as_deref())).to_string();
        match change {
            AlertChange::Firing => {
                format!("{} alert {} on {host}: {sentence}", rule.severity.name(), rule.name)
            }
            AlertChange::Resolved => {
                let seconds = at_ms.saturating_sub(*since_ms) / 1_000;
                format!("resolved alert {} on {host} after {seconds} s: {sentence}", rule.name)
            }
        }
    }

    /// Returns the message of webhooks and commands. Chats that take Slack's messages show only `text`, so
    /// their markup is escaped there.
    pub(crate) fn json(&self, host: &str) -> Value {
        let text = self.text(host).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        json!({
            "text": text,
            "name": self.rule.name,
            "state": self.change.name(),
            "severity": self.rule.severity.name(),
            "metric": self.rule.metric.name,
            "value": self.value,
            "why": self.why,
            "side": self.rule.bound.side(),
            "threshold": self.rule.bound.limit(),
            "since_ms": self.since_ms,
            "at_ms": self.at_ms,
            "host": host,
        })
    }

    /// Returns the JSON fields as variables, such as `ALERT_NAME`; names with `FANWHEEL_` are those of
    /// settings.
    pub(crate) fn variables(&self, host: &str) -> Vec<(String, String)> {
        let Value::Object(fields) = self.json(host) else { return Vec::new() };
        let text_of = |(name, value): (String, Value)| {
            let value = match value {
                // Only chats need the markup escaped.
                _ if name == "text" => self.text(host),
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            };
            (format!("ALERT_{}", name.to_uppercase()), value)
        };
        fields.into_iter().map(text_of).collect()
    }

    /// Returns a mail with its head, for `sendmail`. Its lines end as programs on this host expect.
    pub(crate) fn mail(&self, to: &[String], host: &str) -> String {
        let text = self.text(host);
        let mut rows = String::new();
        for (name, value) in self.variables(host) {
            let name = name.trim_start_matches("ALERT_").to_lowercase();
            if name != "text" {
                rows.push_str(&format!("{name}: {value}\n"));
            }
        }
        format!(
            "To: {}\nSubject: [fanwheel] {text}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: 8bit\nAuto-Submitted: auto-generated\n\n{text}\n\n{rows}",
            to.join(", ")
        )
    }
}
