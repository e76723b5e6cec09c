//! Alert rules as the configuration file writes them: `[[alerts]]`, one table for each rule, laid over the
//! defaults.
//!
//! Owns their keys and their checks. A rule with the name of a default inherits the keys that it leaves out.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::base::limits::ALERT_MS_MAX;
use crate::base::logfmt::shown;
use crate::base::quantity::{QuantityUnit, parse_quantity};
use crate::base::suggest::nearest;
use crate::config::refusal::SettingsRefusal;
use crate::monitor::alerts::{
    AlertBound, AlertMetric, AlertRule, DEFAULT_RULES, DefaultRule, SEVERITY_NAMES, Severity,
};
use crate::monitor::watch::{metric_named, metrics};

/// Alert rules: each is evaluated once a second under the lock of the pages.
const ALERT_RULES_MAX: usize = 64;
/// Bytes of a rule's name: it stands in a mail's subject and in each line of the log.
const ALERT_NAME_BYTES_MAX: usize = 64;

/// The key of the file under which rules stand.
pub(crate) const KEY: &str = "alerts";
const KEYS: [&str; 8] = ["name", "metric", "above", "below", "for_ms", "severity", "cooldown_ms", "enabled"];

/// A rule with its origin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleEntry {
    /// Its unique name.
    pub(crate) name: String,
    /// The metric that it watches.
    pub(crate) metric: &'static AlertMetric,
    /// Its bound; none only while it is off.
    pub(crate) bound: Option<AlertBound>,
    /// Time as in [`AlertRule::for_ms`].
    pub(crate) for_ms: u64,
    /// Weight as in [`AlertRule::severity`].
    pub(crate) severity: Severity,
    /// Its cool-down; none for the setting `alert_cooldown_ms`.
    pub(crate) cooldown_ms: Option<u64>,
    /// Whether it is watched.
    pub(crate) enabled: bool,
    /// Its origin: `default`, or file and line.
    pub(crate) place: String,
}

impl RuleEntry {
    fn of_default(rule: &DefaultRule) -> RuleEntry {
        let DefaultRule { name, metric, bound, for_ms, severity } = *rule;
        RuleEntry {
            name: name.to_owned(),
            metric: metric_named(metric).expect("a test holds the defaults against the metrics"),
            bound,
            for_ms,
            severity,
            cooldown_ms: None,
            enabled: bound.is_some(),
            place: "default".to_owned(),
        }
    }

    /// Returns the rule to watch, if it is on.
    pub(crate) fn rule(&self, alert_cooldown_ms: u64) -> Option<AlertRule> {
        let (name, bound) = (self.name.clone(), self.bound.filter(|_| self.enabled)?);
        let RuleEntry { metric, for_ms, severity, .. } = *self;
        let cooldown_ms = self.cooldown_ms.unwrap_or(alert_cooldown_ms);
        Some(AlertRule { name, metric, bound, for_ms, severity, cooldown_ms })
    }
}

/// Merges written rules with the defaults: the defaults in their order, each replaced by the rule of its
/// name, then the other rules.
pub(crate) fn merge_with_defaults(mut written: Vec<RuleEntry>) -> Vec<RuleEntry> {
    let mut all = Vec::new();
    for default in DEFAULT_RULES {
        let own = written.iter().position(|entry| entry.name == default.name);
        all.push(own.map_or_else(|| RuleEntry::of_default(default), |at| written.remove(at)));
    }
    all.extend(written);
    all
}

/// The file around a value, for refusals.
pub(crate) struct ConfigText<'a> {
    /// The whole text of the file.
    pub(crate) text: &'a str,
    /// Returns file and line of a part of it.
    pub(crate) place: &'a dyn Fn(Range<usize>) -> String,
}

/// Reads the value of `alerts`, which stands at `span`.
pub(crate) fn read_rules(
    page: &ConfigText<'_>,
    span: Range<usize>,
    value: &DeValue<'_>,
) -> Result<Vec<RuleEntry>, SettingsRefusal> {
    let no_list = || {
        let place = (page.place)(span.clone());
        SettingsRefusal::Contradiction(format!(
            "{place}: write each rule as a table of its own, under [[{KEY}]]"
        ))
    };
    let DeValue::Array(items) = value else { return Err(no_list()) };
    let mut entries: Vec<RuleEntry> = Vec::new();
    for item in items {
        let DeValue::Table(table) = item.get_ref() else { return Err(no_list()) };
        let entry = RuleReader { page, table, place: (page.place)(item.span()) }.read_entry()?;
        if let Some(earlier) = entries.iter().find(|earlier| earlier.name == entry.name) {
            let words = format!("{}: alert {} stands also at {}", entry.place, entry.name, earlier.place);
            return Err(SettingsRefusal::Contradiction(words));
        }
        entries.push(entry);
    }
    if entries.len() + DEFAULT_RULES.len() > ALERT_RULES_MAX {
        let most = ALERT_RULES_MAX - DEFAULT_RULES.len();
        let words = format!("{}: more than {most} rules of alerts", (page.place)(span));
        return Err(SettingsRefusal::Contradiction(words));
    }
    Ok(entries)
}

/// Reads one table of a rule.
struct RuleReader<'a> {
    page: &'a ConfigText<'a>,
    table: &'a DeTable<'a>,
    place: String,
}

impl RuleReader<'_> {
    fn read_entry(self) -> Result<RuleEntry, SettingsRefusal> {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !KEYS.contains(&name) {
                let place = (self.page.place)(key.span());
                let hint = match nearest(name, KEYS.into_iter()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("an alert has {}", KEYS.join(", ")),
                };
                let words = format!("{place}: unknown setting {} of an alert; {hint}", shown(name));
                return Err(SettingsRefusal::Contradiction(words));
            }
        }
        let name = self.read_name()?;
        let default = DEFAULT_RULES.iter().find(|default| default.name == name).map(RuleEntry::of_default);
        let metric = self.read_metric()?.or(default.as_ref().map(|default| default.metric));
        let enabled = self.read_value("enabled", "true or false", |value| value.as_bool())?.unwrap_or(true);
        let bound = self.read_bound(&name)?.or(default.as_ref().and_then(|default| default.bound));
        let (Some(metric), true) = (metric, bound.is_some() || !enabled) else {
            let wanted = if metric.is_none() { "metric, and above or below" } else { "above or below" };
            let words = format!("{}: alert {name} needs {wanted}", self.place);
            return Err(SettingsRefusal::Contradiction(words));
        };
        let severity = self.read_choice("severity", Severity::named, &SEVERITY_NAMES)?;
        let for_ms = self.read_milliseconds("for_ms")?;
        let inherited = |value: fn(&RuleEntry) -> u64| default.as_ref().map_or(0, value);
        Ok(RuleEntry {
            metric,
            bound,
            for_ms: for_ms.unwrap_or_else(|| inherited(|default| default.for_ms)),
            severity: severity
                .unwrap_or(default.as_ref().map_or(Severity::Warning, |default| default.severity)),
            cooldown_ms: self.read_milliseconds("cooldown_ms")?,
            enabled,
            name,
            place: self.place,
        })
    }

    fn read_name(&self) -> Result<String, SettingsRefusal> {
        let good = |name: &str| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            !name.is_empty() && name.len() <= ALERT_NAME_BYTES_MAX && name.bytes().all(plain)
        };
        let allowed = format!(
            "a text of 1 to {ALERT_NAME_BYTES_MAX} lower-case letters, digits and underscores, in quotes"
        );
        let name = self.read_value("name", &allowed, |value| {
            value.as_str().filter(|name| good(name)).map(str::to_owned)
        })?;
        name.ok_or_else(|| SettingsRefusal::Contradiction(format!("{}: this alert needs a name", self.place)))
    }

    fn read_metric(&self) -> Result<Option<&'static AlertMetric>, SettingsRefusal> {
        let names: Vec<&str> = metrics().map(|metric| metric.name).collect();
        self.read_choice("metric", metric_named, &names)
    }

    fn read_bound(&self, name: &str) -> Result<Option<AlertBound>, SettingsRefusal> {
        let number = |key| self.read_value(key, "a number, without quotes", parse_number);
        match (number("above")?, number("below")?) {
            (Some(_), Some(_)) => {
                let words =
                    format!("{}: alert {name} has both above and below; write two alerts", self.place);
                Err(SettingsRefusal::Contradiction(words))
            }
            (above, below) => Ok(above.map(AlertBound::Above).or(below.map(AlertBound::Below))),
        }
    }

    fn read_milliseconds(&self, key: &'static str) -> Result<Option<u64>, SettingsRefusal> {
        let number = |value: &DeValue<'_>| match value {
            DeValue::Integer(number) => {
                u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
            }
            value => parse_quantity(value.as_str()?, QuantityUnit::Milliseconds),
        };
        let bounded = |value: &DeValue<'_>| number(value).filter(|&number| number <= ALERT_MS_MAX);
        let spellings = QuantityUnit::Milliseconds.spellings();
        let allowed =
            format!("a whole number from 0 to {ALERT_MS_MAX}, or in quotes one such as {spellings}");
        self.read_value(key, &allowed, bounded)
    }

    fn read_choice<T>(
        &self,
        key: &'static str,
        named: impl Fn(&str) -> Option<T>,
        names: &[&str],
    ) -> Result<Option<T>, SettingsRefusal> {
        let typed = self.table.get(key).and_then(|value| value.get_ref().as_str()).unwrap_or_default();
        let hint = nearest(typed, names.iter().copied())
            .map_or(String::new(), |near| format!("; did you mean {near}?"));
        let allowed = format!("one of {}{hint}", names.join(", "));
        self.read_value(key, &allowed, |value| value.as_str().and_then(&named))
    }

    /// Reads the value of a key, if it is there.
    fn read_value<T>(
        &self,
        key: &'static str,
        allowed: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Result<Option<T>, SettingsRefusal> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        read(value.get_ref()).map(Some).ok_or_else(|| SettingsRefusal::Value {
            place: (self.page.place)(value.span()),
            name: key,
            value: shown(self.page.text.get(value.span()).unwrap_or_default()),
            allowed: allowed.to_owned(),
        })
    }
}

fn parse_number(value: &DeValue<'_>) -> Option<f64> {
    let number: f64 = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace('_', "").parse().ok()?,
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    fn rules(text: &str) -> Result<Vec<RuleEntry>, String> {
        file::parse(Path::new("f.toml"), text)
            .map(|contents| merge_with_defaults(contents.alerts))
            .map_err(|refusal| refusal.to_string())
    }

    fn named<'a>(rules: &'a [RuleEntry], name: &str) -> &'a RuleEntry {
        rules.iter().find(|rule| rule.name == name).expect("there")
    }

    #[test]
    fn without_tables_the_defaults_hold_and_only_the_rate_is_off() {
        let rules = rules("workers = 1").expect("good");
        assert_eq!(rules.len(), DEFAULT_RULES.len());
        let off: Vec<&str> =
            rules.iter().filter(|rule| !rule.enabled).map(|rule| rule.name.as_str()).collect();
        assert_eq!(off, ["message_rate_low"]);
        assert_eq!(rules.iter().filter_map(|rule| rule.rule(7)).count(), DEFAULT_RULES.len() - 1);
    }

    #[test]
    fn a_written_rule_takes_the_rest_from_the_default_of_its_name() {
        let text = "[[alerts]]\nname = 'message_rate_low'\nbelow = 5\n\n[[alerts]]\nname = 'not_ready'\n\
                    enabled = false\n\n[[alerts]]\nname = 'crowd'\nmetric = 'subscribers_open'\n\
                    above = 1_000.5\nfor_ms = '10ms'\ncooldown_ms = 20\nseverity = 'info'\n";
        let rules = rules(text).expect("good");
        let low = named(&rules, "message_rate_low");
        assert_eq!((low.bound, low.for_ms, low.enabled), (Some(AlertBound::Below(5.0)), 60_000, true));
        assert_eq!((low.metric.name, low.place.as_str()), ("published_per_second", "f.toml:1"));
        assert_eq!(low.rule(7).map(|rule| rule.cooldown_ms), Some(7));
        assert_eq!(named(&rules, "not_ready").rule(7), None);
        let crowd = named(&rules, "crowd").rule(7).expect("on");
        assert_eq!((crowd.bound, crowd.for_ms, crowd.cooldown_ms), (AlertBound::Above(1_000.5), 10, 20));
        assert_eq!((crowd.severity, rules.len()), (Severity::Info, DEFAULT_RULES.len() + 1));
    }

    #[test]
    fn mistakes_are_one_line_with_the_place() {
        let rows = [
            ("[alerts]\nname = 'x'", "f.toml:1: write each rule as a table of its own, under [[alerts]]"),
            ("alerts = [1]", "f.toml:1: write each rule as a table of its own, under [[alerts]]"),
            ("[[alert]]\nname = 'x'", "f.toml:1: unknown setting alert; did you mean alerts?"),
            ("[[alerts]]\nmetric = 'ready'", "f.toml:1: this alert needs a name"),
            (
                "[[alerts]]\nname = 'x'\ntreshold = 1",
                "f.toml:3: unknown setting treshold of an alert; an alert has name, metric, above, below, \
                 for_ms, severity, cooldown_ms, enabled",
            ),
            (
                "[[alerts]]\nname = 'x'\nfor_s = 1",
                "f.toml:3: unknown setting for_s of an alert; did you mean for_ms?",
            ),
            ("[[alerts]]\nname = 'x'", "f.toml:1: alert x needs metric, and above or below"),
            (
                "[[alerts]]\nname = 'message_rate_low'",
                "f.toml:1: alert message_rate_low needs above or below",
            ),
            (
                "[[alerts]]\nname = 'x'\nmetric = 'ready'\nabove = 1\nbelow = 2",
                "f.toml:1: alert x has both above and below; write two alerts",
            ),
            (
                "[[alerts]]\nname = 'x'\nmetric = 'ready'\nabove = '1'",
                "f.toml:4: above = '1' is not allowed: must be a number, without quotes",
            ),
            (
                "[[alerts]]\nname = 'x'\nmetric = 'ready'\nabove = inf",
                "f.toml:4: above = inf is not allowed: must be a number, without quotes",
            ),
            (
                "[[alerts]]\nname = 'not_ready'\nseverity = 'warn'",
                "f.toml:3: severity = 'warn' is not allowed: must be one of info, warning, critical",
            ),
            (
                "[[alerts]]\nname = 'not_ready'\nfor_ms = -1",
                "f.toml:3: for_ms = -1 is not allowed: must be a whole number from 0 to 86400000, or in \
                 quotes one such as 250ms, 15s, 2m or 1h",
            ),
            (
                "[[alerts]]\nname = 'Not Ready'",
                "f.toml:2: name = 'Not Ready' is not allowed: must be a text of 1 to 64 lower-case letters, \
                 digits and underscores, in quotes",
            ),
            (
                "[[alerts]]\nname = 'errors'\n[[alerts]]\nname = 'errors'",
                "f.toml:3: alert errors stands also at f.toml:1",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(rules(text).expect_err(text), expected);
        }
        let line = rules("[[alerts]]\nname = 'x'\nmetric = 'redy'\nabove = 1").expect_err("refused");
        assert!(
            line.starts_with("f.toml:3: metric = 'redy' is not allowed: must be one of connections_open, ")
        );
        assert!(line.ends_with("; did you mean ready?"), "{line}");
    }
}
