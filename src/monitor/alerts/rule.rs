//! Alert rules as plain values: metric, bound, defaults and their words. `watch` owns the list of metrics.

use std::fmt;

use crate::base::number_text::byte_unit;

/// The unit in which a metric's value is written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricUnit {
    /// A plain number without a unit.
    Count,
    /// A share from 0 to 1, written in per cent.
    Share,
    /// A size in bytes.
    Bytes,
    /// A growth in bytes each minute.
    BytesPerMinute,
    /// A time in milliseconds.
    Milliseconds,
    /// A number of times each second.
    PerSecond,
    /// Processor time; 100 is one processor that is never idle.
    Percent,
    /// A condition, 1 or 0.
    YesNo,
}

/// A metric that rules may watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlertMetric {
    /// Its name, as rules write it.
    pub(crate) name: &'static str,
    /// The unit of its values.
    pub(crate) unit: MetricUnit,
    /// Its meaning, as the subject of a sentence.
    pub(crate) means: &'static str,
}

/// The weight of an alert or an insight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// A fact that is good to know.
    Info,
    /// Trouble to look at today.
    Warning,
    /// Trouble to look at now.
    Critical,
}

/// Words of [`Severity`], in its order.
pub(crate) const SEVERITY_NAMES: [&str; 3] = ["info", "warning", "critical"];

impl Severity {
    /// Returns its word in rules and messages.
    pub(crate) fn name(self) -> &'static str {
        SEVERITY_NAMES[self as usize]
    }

    /// Finds the severity that a word names.
    pub(crate) fn named(name: &str) -> Option<Severity> {
        [Severity::Info, Severity::Warning, Severity::Critical].into_iter().find(|one| one.name() == name)
    }
}

/// The side of a limit on which a value is bad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum AlertBound {
    /// Values above this number.
    Above(f64),
    /// Values below this number.
    Below(f64),
}

impl AlertBound {
    /// Returns whether a value is on the bad side; NaN never is.
    pub(crate) fn is_crossed_by(self, value: f64) -> bool {
        match self {
            AlertBound::Above(limit) => value > limit,
            AlertBound::Below(limit) => value < limit,
        }
    }

    /// Returns `above` or `below`.
    pub(crate) fn side(self) -> &'static str {
        match self {
            AlertBound::Above(_) => "above",
            AlertBound::Below(_) => "below",
        }
    }

    /// Returns the number of the limit.
    pub(crate) fn limit(self) -> f64 {
        match self {
            AlertBound::Above(limit) | AlertBound::Below(limit) => limit,
        }
    }
}

/// A rule: its alert fires when the metric has been on the bad side of the bound for long enough.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AlertRule {
    /// Its unique name: letters, digits and underscores.
    pub(crate) name: String,
    /// The metric that it watches.
    pub(crate) metric: &'static AlertMetric,
    /// The bound that must not be crossed.
    pub(crate) bound: AlertBound,
    /// Time for which the bound must be crossed before it fires, and not crossed before it is resolved.
    pub(crate) for_ms: u64,
    /// The weight of its alert.
    pub(crate) severity: Severity,
    /// Least time between two messages that it fires.
    pub(crate) cooldown_ms: u64,
}

impl AlertRule {
    /// Returns whether both rules fire and end at the same times.
    pub(crate) fn has_same_condition(&self, other: &AlertRule) -> bool {
        let question = |rule: &AlertRule| (rule.metric.name, rule.bound, rule.for_ms);
        self.name == other.name && question(self) == question(other)
    }
}

/// A rule that holds unless the configuration says otherwise. The cool-down is a setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultRule {
    /// The name of the rule.
    pub(crate) name: &'static str,
    /// The name of its metric.
    pub(crate) metric: &'static str,
    /// Its bound; none where only the operator can know one, and the rule is off.
    pub(crate) bound: Option<AlertBound>,
    /// Time as in [`AlertRule::for_ms`].
    pub(crate) for_ms: u64,
    /// Weight as in [`AlertRule::severity`].
    pub(crate) severity: Severity,
}

const fn default_rule(
    name: &'static str,
    metric: &'static str,
    bound: Option<AlertBound>,
    for_ms: u64,
    severity: Severity,
) -> DefaultRule {
    DefaultRule { name, metric, bound, for_ms, severity }
}

/// Rules that fit every server. No rate is too low for every server, since an idle one is no fault, so
/// `message_rate_low` waits for a number. It watches publishes, since deliveries also fall when subscribers
/// go home.
pub(crate) const DEFAULT_RULES: &[DefaultRule] = &[
    default_rule(
        "connections_near_cap",
        "connections_share",
        Some(AlertBound::Above(0.85)),
        30_000,
        Severity::Warning,
    ),
    default_rule("memory_high", "memory_share", Some(AlertBound::Above(0.9)), 30_000, Severity::Warning),
    default_rule("message_rate_low", "published_per_second", None, 60_000, Severity::Warning),
    default_rule(
        "delivery_slow",
        "delivery_p99_ms",
        Some(AlertBound::Above(1_000.0)),
        30_000,
        Severity::Warning,
    ),
    default_rule(
        "subscribers_lagging",
        "lagging_share",
        Some(AlertBound::Above(0.1)),
        60_000,
        Severity::Warning,
    ),
    default_rule("errors", "errors_per_second", Some(AlertBound::Above(1.0)), 60_000, Severity::Warning),
    default_rule(
        "memory_leak",
        "leak_bytes_per_minute",
        Some(AlertBound::Above(0.0)),
        60_000,
        Severity::Warning,
    ),
    default_rule("not_ready", "ready", Some(AlertBound::Below(1.0)), 3_000, Severity::Critical),
];

/// A value with its unit, as text for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricValue(pub(crate) MetricUnit, pub(crate) f64);

impl fmt::Display for MetricValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MetricValue(unit, value) = *self;
        match unit {
            MetricUnit::Count => write!(f, "{}", round_to_hundredths(value)),
            MetricUnit::Share => write!(f, "{} %", round_to_hundredths(value * 100.0)),
            MetricUnit::Bytes => write_bytes(f, value),
            MetricUnit::BytesPerMinute => write_bytes(f, value).and_then(|()| f.write_str(" a minute")),
            MetricUnit::Milliseconds => write!(f, "{} ms", round_to_hundredths(value)),
            MetricUnit::PerSecond => write!(f, "{}/s", round_to_hundredths(value)),
            MetricUnit::Percent => write!(f, "{} %", round_to_hundredths(value)),
            MetricUnit::YesNo => f.write_str(if value > 0.0 { "yes" } else { "no" }),
        }
    }
}

/// Rounds to two decimals, which are enough for a sentence.
fn round_to_hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn write_bytes(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let unit = byte_unit(value);
    write!(f, "{} {}", round_to_hundredths(value / unit.bytes as f64), unit.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_with_their_unit() {
        let rows = [
            (MetricUnit::Count, 12.0, "12"),
            (MetricUnit::Share, 0.914, "91.4 %"),
            (MetricUnit::Bytes, 1_610_612_736.0, "1.5 GiB"),
            (MetricUnit::Bytes, 12.0, "12 B"),
            (MetricUnit::BytesPerMinute, 2_048.0, "2 KiB a minute"),
            (MetricUnit::Milliseconds, 1_234.567, "1234.57 ms"),
            (MetricUnit::PerSecond, 0.5, "0.5/s"),
            (MetricUnit::Percent, 99.0, "99 %"),
            (MetricUnit::YesNo, 0.0, "no"),
            (MetricUnit::YesNo, 1.0, "yes"),
        ];
        for (unit, value, expected) in rows {
            assert_eq!(MetricValue(unit, value).to_string(), expected);
        }
    }

    #[test]
    fn a_bound_is_crossed_beyond_it_and_never_by_what_is_no_number() {
        assert!(AlertBound::Above(1.0).is_crossed_by(1.1) && !AlertBound::Above(1.0).is_crossed_by(1.0));
        assert!(AlertBound::Below(1.0).is_crossed_by(0.9) && !AlertBound::Below(1.0).is_crossed_by(1.0));
        assert!(
            !AlertBound::Above(1.0).is_crossed_by(f64::NAN)
                && !AlertBound::Below(1.0).is_crossed_by(f64::NAN)
        );
    }
}
