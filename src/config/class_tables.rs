//! Classes of topics as the configuration file writes them: `[[class]]`, one table for each, in their order.
//!
//! Owns their keys and all that can be wrong with them. A class takes the settings that it does not name from
//! the node.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::base::class::{
    CLASS_NAME_BYTES_MAX, CLASS_PATTERNS_MAX, ClassSettings, DEFAULT_CLASS_NAME, NAMED_CLASSES_MAX,
    NamedClass,
};
use crate::base::logfmt::shown;
use crate::base::settings::{self, BatchForm, RatePolicy, SettingSpec, Settings, SlowPolicy, TABLE};
use crate::base::suggest::nearest;
use crate::base::topic::TopicPattern;
use crate::config::alert_rules::ConfigText;
use crate::config::file::value_text;
use crate::config::refusal::{
    POLICY_NEEDS_RATE, RATE_NEEDS_POLICY, SettingsRefusal, TWO_WINDOWS, WAITS_TOO_LONG,
};
use crate::config::resolved::{ResolvedSettings, SettingSource};

/// The key of the file under which classes stand.
pub(crate) const KEY: &str = "class";

/// One setting that a class has of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassValue {
    /// The name of the setting.
    pub(crate) name: &'static str,
    /// Its text, as the table of settings allows it.
    pub(crate) text: String,
    /// File and line.
    pub(crate) place: String,
}

/// A class as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassEntry {
    /// Its unique name.
    pub(crate) name: String,
    /// Patterns of its topics, at least one.
    pub(crate) patterns: Vec<TopicPattern>,
    /// Settings that it has of its own, in the order of the table of settings.
    pub(crate) values: Vec<ClassValue>,
    /// File and line.
    pub(crate) place: String,
}

impl ClassEntry {
    /// Returns its own value of a setting.
    pub(crate) fn value(&self, name: &str) -> Option<&ClassValue> {
        self.values.iter().find(|value| value.name == name)
    }

    /// Returns the class with all its values; those that it does not have are the node's.
    pub(crate) fn named_class(&self, node: &ResolvedSettings) -> NamedClass {
        let text = |name: &str| match self.value(name) {
            Some(own) => own.text.as_str(),
            None => node.entry(name).text.as_str(),
        };
        // Any other setting of the node is the same for all classes.
        let settings = ClassSettings::of_node(&Settings::from_texts(text));
        NamedClass { name: self.name.as_str().into(), patterns: self.patterns.clone(), settings }
    }
}

/// Settings that a class can have of its own.
pub(crate) fn class_specs() -> impl Iterator<Item = &'static SettingSpec> {
    TABLE.iter().filter(|spec| spec.per_class)
}

fn refuse<T>(words: String) -> Result<T, SettingsRefusal> {
    Err(SettingsRefusal::Contradiction(words))
}

/// Reads the value of `class`, which stands at `span`.
pub(crate) fn read_classes(
    page: &ConfigText<'_>,
    span: Range<usize>,
    value: &DeValue<'_>,
) -> Result<Vec<ClassEntry>, SettingsRefusal> {
    let no_list =
        || format!("{}: write each class as a table of its own, under [[{KEY}]]", (page.place)(span));
    let DeValue::Array(items) = value else { return refuse(no_list()) };
    let mut entries: Vec<ClassEntry> = Vec::new();
    for item in items {
        let DeValue::Table(table) = item.get_ref() else { return refuse(no_list()) };
        let reader = ClassReader { page, table, place: (page.place)(item.span()) };
        let entry = reader.read_entry()?;
        if let Some(earlier) = entries.iter().find(|earlier| earlier.name == entry.name) {
            let ClassEntry { name, place, .. } = &entry;
            return refuse(format!("{place}: class {name} stands also at {}", earlier.place));
        }
        refuse_hidden(&entries, &entry)?;
        entries.push(entry);
        let patterns: usize = entries.iter().map(|entry| entry.patterns.len()).sum();
        if entries.len() > NAMED_CLASSES_MAX || patterns > CLASS_PATTERNS_MAX {
            let place = (page.place)(item.span());
            return refuse(format!(
                "{place}: more than {NAMED_CLASSES_MAX} classes, or {CLASS_PATTERNS_MAX} patterns together"
            ));
        }
    }
    Ok(entries)
}

/// Reads a list of patterns, or a single one.
///
/// # Errors
/// Where one that is none stands, and the rule that it breaks.
pub(crate) fn parse_patterns(
    value: &toml::Spanned<DeValue<'_>>,
) -> Result<Vec<TopicPattern>, (Range<usize>, &'static str)> {
    let items: Vec<(Option<&str>, Range<usize>)> = match value.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| (item.get_ref().as_str(), item.span())).collect(),
        single => vec![(single.as_str(), value.span())],
    };
    let parse = |(text, span): (Option<&str>, Range<usize>)| {
        let parsed = text.map_or(Err("a list of patterns in quotes"), TopicPattern::parse);
        parsed.map_err(|rule| (span, rule))
    };
    items.into_iter().map(parse).collect()
}

/// Refuses a class of which an earlier one takes all topics of a pattern.
fn refuse_hidden(earlier: &[ClassEntry], entry: &ClassEntry) -> Result<(), SettingsRefusal> {
    for pattern in &entry.patterns {
        let covers = |other: &&ClassEntry| other.patterns.iter().any(|wide| wide.covers(pattern));
        if let Some(other) = earlier.iter().find(covers) {
            return refuse(format!(
                "{}: class {}: the pattern {} never matches, because class {} ({}) takes all its topics",
                entry.place,
                entry.name,
                shown(pattern.text()),
                other.name,
                other.place
            ));
        }
    }
    Ok(())
}

/// Reads one table of a class.
struct ClassReader<'a> {
    page: &'a ConfigText<'a>,
    table: &'a DeTable<'a>,
    place: String,
}

impl ClassReader<'_> {
    fn read_entry(self) -> Result<ClassEntry, SettingsRefusal> {
        let name = self.read_name()?;
        let patterns = self.read_patterns(&name)?;
        let mut values = Vec::new();
        for (key, value) in self.table {
            let key_name: &str = key.get_ref();
            if !["name", "topics"].contains(&key_name) {
                values.push(self.read_setting(&name, key_name, (self.page.place)(key.span()), value)?);
            }
        }
        values.sort_by_key(|value| TABLE.iter().position(|spec| spec.name == value.name));
        Ok(ClassEntry { name, patterns, values, place: self.place })
    }

    fn read_name(&self) -> Result<String, SettingsRefusal> {
        let Some(value) = self.table.get("name") else {
            return refuse(format!("{}: this class needs a name", self.place));
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        let good =
            |name: &&str| !name.is_empty() && name.len() <= CLASS_NAME_BYTES_MAX && name.bytes().all(plain);
        let Some(name) = value.get_ref().as_str().filter(good) else {
            return Err(SettingsRefusal::Value {
                place: (self.page.place)(value.span()),
                name: "name",
                value: self.written(value.span()),
                allowed: format!(
                    "a text of 1 to {CLASS_NAME_BYTES_MAX} lower-case letters, digits, underscores and \
                     hyphens, in quotes"
                ),
            });
        };
        if name == DEFAULT_CLASS_NAME {
            let place = (self.page.place)(value.span());
            return refuse(format!(
                "{place}: class {name} is that of all other topics; set its values outside of [[{KEY}]]"
            ));
        }
        Ok(name.to_owned())
    }

    fn read_patterns(&self, class: &str) -> Result<Vec<TopicPattern>, SettingsRefusal> {
        let no_topics =
            || format!("{}: class {class} names no topic; write topics = [\"{class}.*\"]", self.place);
        let Some(value) = self.table.get("topics") else { return refuse(no_topics()) };
        let patterns = parse_patterns(value).map_err(|(span, allowed)| {
            let place = (self.page.place)(span.clone());
            self.refused_value(class, "topics", place, span, allowed)
        })?;
        if patterns.is_empty() { refuse(no_topics()) } else { Ok(patterns) }
    }

    fn read_setting(
        &self,
        class: &str,
        name: &str,
        place: String,
        value: &toml::Spanned<DeValue<'_>>,
    ) -> Result<ClassValue, SettingsRefusal> {
        let spec = match settings::find_spec(name) {
            Some(spec) if spec.per_class => spec,
            Some(_) => {
                return refuse(format!(
                    "{place}: class {class}: {name} is a setting of the whole node; \
                     set it outside of [[{KEY}]]"
                ));
            }
            None => {
                let names = class_specs().map(|spec| spec.name).chain(["name", "topics"]);
                let names: Vec<&str> = names.collect();
                let hint = match nearest(name, names.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("a class has {}", names.join(", ")),
                };
                return refuse(format!("{place}: class {class}: unknown setting {}; {hint}", shown(name)));
            }
        };
        let span = value.span();
        let text = value_text(spec, value.get_ref())
            .map_err(|allowed| self.refused_value(class, spec.name, place.clone(), span.clone(), &allowed))?;
        let text = spec
            .normalize(&text)
            .map_err(|allowed| self.refused_value(class, spec.name, place.clone(), span, &allowed))?;
        Ok(ClassValue { name: spec.name, text, place })
    }

    fn refused_value(
        &self,
        class: &str,
        name: &str,
        place: String,
        span: Range<usize>,
        allowed: &str,
    ) -> SettingsRefusal {
        let written = self.written(span);
        SettingsRefusal::Contradiction(format!(
            "{place}: class {class}: {name} = {written} is not allowed: must be {allowed}"
        ))
    }

    fn written(&self, span: Range<usize>) -> String {
        shown(self.page.text.get(span).unwrap_or_default())
    }
}

/// Describes a value of the node.
fn describe_node_value(resolved: &ResolvedSettings, name: &str) -> String {
    let entry = resolved.entry(name);
    format!("{name} = {} ({})", shown(&entry.text), entry.place())
}

impl ClassEntry {
    /// Describes its own value of a setting, if it has one.
    fn describe_value(&self, name: &str) -> Option<String> {
        let value = self.value(name)?;
        Some(format!("{}: class {}: {name} = {}", value.place, self.name, shown(&value.text)))
    }
}

/// Refuses windows of a class that are too long, have no effect or exclude each other.
fn check_class_windows(resolved: &ResolvedSettings, entry: &ClassEntry) -> Result<(), SettingsRefusal> {
    let class = entry.named_class(resolved).settings;
    let own = |name: &str| entry.describe_value(name);
    let heartbeat_ms = resolved.settings().heartbeat_ms;
    for (name, ms) in [("batch_ms", class.windows.batch_ms), ("throttle_ms", class.windows.throttle_ms)] {
        if let Some(window) = own(name).filter(|_| ms >= heartbeat_ms) {
            let heartbeat = describe_node_value(resolved, "heartbeat_ms");
            return refuse(format!("{window} is not below {heartbeat}: {WAITS_TOO_LONG}"));
        }
    }
    if class.windows.batch_ms > 0
        && class.windows.throttle_ms > 0
        && let Some(window) = own("throttle_ms").or_else(|| own("batch_ms"))
    {
        let other = if own("throttle_ms").is_some() { "batch_ms" } else { "throttle_ms" };
        let other = own(other).unwrap_or_else(|| describe_node_value(resolved, other));
        return refuse(format!("{window}, and {other}: {TWO_WINDOWS}"));
    }
    let windowless = class.windows.batch_ms == 0 && class.windows.throttle_ms == 0;
    if let Some(form) =
        own("batch_form").filter(|_| windowless && class.windows.batch_form == BatchForm::Array)
    {
        return refuse(format!("{form} has no effect without a window: set batch_ms or throttle_ms, too"));
    }
    if let Some(events) = own("batch_events").filter(|_| class.windows.batch_ms == 0) {
        return refuse(format!("{events} has no effect without batch_ms: set batch_ms, too"));
    }
    Ok(())
}

/// Refuses a rate of a class that has no policy, and parts of one that have no effect.
fn check_class_rate(resolved: &ResolvedSettings, entry: &ClassEntry) -> Result<(), SettingsRefusal> {
    let class = entry.named_class(resolved).settings;
    let own = |name: &str| entry.describe_value(name);
    let (rate_settings, limits) = (class.stream_rate, class.stream_rate.limits());
    let rate = own("rate_events_per_second").or_else(|| own("rate_bytes_per_second"));
    if let Some(rate) = rate.filter(|_| limits && rate_settings.policy == RatePolicy::None) {
        return refuse(format!("{rate} {RATE_NEEDS_POLICY}"));
    }
    if let Some(policy) = own("rate_policy").filter(|_| !limits && rate_settings.policy != RatePolicy::None) {
        return refuse(format!("{policy} {POLICY_NEEDS_RATE}"));
    }
    if let Some(burst) = own("rate_burst").filter(|_| rate_settings.events_per_second == 0) {
        return refuse(format!("{burst} has no effect without rate_events_per_second: set it, too"));
    }
    Ok(())
}

/// Refuses the first value of a class that contradicts a setting of the node.
pub(crate) fn check_classes(resolved: &ResolvedSettings) -> Result<(), SettingsRefusal> {
    let node = |name: &str| describe_node_value(resolved, name);
    let written = |name: &str| resolved.entry(name).source != SettingSource::Default;
    let settings = resolved.settings();
    for entry in resolved.classes() {
        let class = entry.named_class(resolved).settings;
        let own = |name: &str| entry.describe_value(name);
        check_class_windows(resolved, entry)?;
        check_class_rate(resolved, entry)?;
        if let Some(bytes) = own("history_topic_bytes_max") {
            if class.history_topic_bytes_max > settings.history_bytes_max {
                return refuse(format!(
                    "{bytes} is larger than {}: one topic cannot keep more than all topics together",
                    node("history_bytes_max")
                ));
            }
            if class.history_topic_bytes_max < settings.publish_bytes_max && written("publish_bytes_max") {
                return refuse(format!(
                    "{bytes} is smaller than {}: an event must fit its topic's history",
                    node("publish_bytes_max")
                ));
            }
        }
        if let Some(policy) = own("slow_policy")
            && class.slow_policy != SlowPolicy::Disconnect
            && settings.stall_ms >= settings.user_timeout_ms
            && written("stall_ms")
            && written("user_timeout_ms")
        {
            return refuse(format!(
                "{policy} could never act, because {} is not below {}: the kernel cuts first",
                node("stall_ms"),
                node("user_timeout_ms")
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file;

    fn classes(text: &str) -> Result<Vec<ClassEntry>, String> {
        let contents = file::parse(Path::new("f.toml"), text);
        contents.map(|contents| contents.classes).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_class_has_a_name_patterns_and_some_values_each_with_its_line() {
        let text = "[[class]]\nname = 'prices'\ntopics = ['prices.*', 'fx.**']\nhistory_ms = '1s'\n\
                    history_events = 5\n\n[[class]]\nname = 'chat-1'\ntopics = 'chat:**'\n";
        let classes = classes(text).expect("good");
        let [prices, chat] = &classes[..] else { panic!("{classes:?}") };
        let values: Vec<(&str, &str, &str)> =
            prices.values.iter().map(|value| (value.name, &*value.text, &*value.place)).collect();
        assert_eq!(
            values,
            [("history_events", "5", "f.toml:5"), ("history_ms", "1000", "f.toml:4")],
            "in the order of the table"
        );
        assert_eq!((prices.place.as_str(), chat.name.as_str()), ("f.toml:1", "chat-1"));
        assert_eq!(chat.patterns.iter().map(TopicPattern::text).collect::<Vec<_>>(), ["chat:**"]);
    }

    #[test]
    fn mistakes_are_one_line_with_class_key_value_and_place() {
        let class = |body: &str| format!("[[class]]\nname = 'a'\n{body}");
        let rows = [
            (
                "[class]\nname = 'a'".to_owned(),
                "f.toml:1: write each class as a table of its own, under [[class]]",
            ),
            ("[[class]]\ntopics = ['a']".to_owned(), "f.toml:1: this class needs a name"),
            (
                "[[class]]\nname = 'A b'".to_owned(),
                "f.toml:2: name = 'A b' is not allowed: must be a text of 1 to 64 lower-case letters, \
                 digits, underscores and hyphens, in quotes",
            ),
            (
                "[[class]]\nname = 'default'\ntopics = ['a']".to_owned(),
                "f.toml:2: class default is that of all other topics; set its values outside of [[class]]",
            ),
            (class(""), "f.toml:1: class a names no topic; write topics = [\"a.*\"]"),
            (class("topics = []"), "f.toml:1: class a names no topic; write topics = [\"a.*\"]"),
            (
                class("topics = ['x*']"),
                "f.toml:3: class a: topics = 'x*' is not allowed: must be a pattern in which * is a whole \
                 segment, as in a.*",
            ),
            (
                class("topics = [3]"),
                "f.toml:3: class a: topics = 3 is not allowed: must be a list of patterns in quotes",
            ),
            (
                class("topics = ['x']\nhistry_ms = 4"),
                "f.toml:4: class a: unknown setting histry_ms; did you mean history_ms?",
            ),
            (
                class("topics = ['x']\nheartbeat_ms = 4000"),
                "f.toml:4: class a: heartbeat_ms is a setting of the whole node; set it outside of [[class]]",
            ),
            (
                class("topics = ['x']\nhistory_events = 0"),
                "f.toml:4: class a: history_events = 0 is not allowed: must be a whole number from 1 to \
                 1000000",
            ),
            (
                class("topics = ['x']\nhistory_events = '5m'"),
                "f.toml:4: class a: history_events = '5m' is not allowed: must be a whole number from 1 to \
                 1000000, or written as 500k or 2M (k is 1000)",
            ),
            (
                class("topics = ['x']\nhistory_events = 0.5"),
                "f.toml:4: class a: history_events = 0.5 is not allowed: must be a whole number, or in \
                 quotes one such as 500k or 2M (k is 1000)",
            ),
            (
                class("topics = ['x']\n[[class]]\nname = 'a'\ntopics = ['y']"),
                "f.toml:4: class a stands also at f.toml:1",
            ),
            (
                class("topics = ['x.**']\n[[class]]\nname = 'b'\ntopics = ['y', 'x.*']"),
                "f.toml:4: class b: the pattern x.* never matches, because class a (f.toml:1) takes all \
                 its topics",
            ),
        ];
        for (text, expected) in &rows {
            assert_eq!(classes(text).expect_err(text), *expected, "{text}");
        }
    }

    #[test]
    fn classes_and_patterns_are_bounded() {
        let class = |nth: usize| format!("[[class]]\nname = 'c{nth}'\ntopics = ['t{nth}']\n");
        let most: String = (0..NAMED_CLASSES_MAX).map(class).collect();
        assert_eq!(classes(&most).map(|classes| classes.len()), Ok(NAMED_CLASSES_MAX));
        let line = classes(&(most + &class(NAMED_CLASSES_MAX))).expect_err("one too many");
        assert!(line.ends_with("more than 63 classes, or 256 patterns together"), "{line}");
        let patterns: Vec<String> = (0..=CLASS_PATTERNS_MAX).map(|nth| format!("'t{nth}'")).collect();
        assert!(classes(&format!("[[class]]\nname = 'a'\ntopics = [{}]", patterns.join(","))).is_err());
    }
}
