//! `fanwheel config --topic`: which class a topic belongs to, and why. Pure text.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::base::class::DEFAULT_CLASS_NAME;
use crate::base::logfmt::{EscapedText, shown};
use crate::base::settings::SettingKind;
use crate::base::topic::{TopicPattern, check_topic, is_reserved_topic};
use crate::config::class_tables::{ClassEntry, class_specs};
use crate::config::resolved::ResolvedSettings;

/// The class of one topic.
struct TopicVerdict<'a> {
    /// Classes before it, none of whose patterns matches.
    passed: &'a [ClassEntry],
    /// The class and the pattern that matches; none for the default class.
    found: Option<(&'a ClassEntry, &'a TopicPattern)>,
}

impl<'a> TopicVerdict<'a> {
    fn of(resolved: &'a ResolvedSettings, topic: &str) -> TopicVerdict<'a> {
        let classes = resolved.classes();
        let matching = |entry: &'a ClassEntry| {
            entry.patterns.iter().find(|pattern| pattern.matches(topic)).map(|pattern| (entry, pattern))
        };
        // The server's own topics take no settings of an operator.
        let own = is_reserved_topic(topic);
        let at = classes.iter().position(|entry| !own && matching(entry).is_some());
        let passed = &classes[..at.unwrap_or(if own { 0 } else { classes.len() })];
        TopicVerdict { passed, found: at.and_then(|at| matching(&classes[at])) }
    }

    fn class_name(&self) -> &str {
        self.found.map_or(DEFAULT_CLASS_NAME, |(entry, _)| &entry.name)
    }

    fn reason(&self, topic: &str) -> String {
        match self.found {
            Some((entry, pattern)) => {
                format!("its pattern {} matches ({})", shown(pattern.text()), entry.place)
            }
            None if is_reserved_topic(topic) => "it is a topic of the server's own".to_owned(),
            None => "no pattern matches".to_owned(),
        }
    }
}

fn pattern_list(entry: &ClassEntry) -> String {
    entry.patterns.iter().map(|pattern| shown(pattern.text())).collect::<Vec<_>>().join(", ")
}

/// A class setting with its value and source for one class.
struct EffectiveValue<'a> {
    name: &'static str,
    kind: SettingKind,
    text: &'a str,
    source: String,
}

impl EffectiveValue<'_> {
    fn json(&self) -> Value {
        match self.kind {
            SettingKind::Int { .. } => json!(self.text.parse::<u64>().expect("checked against the table")),
            _ => json!(self.text),
        }
    }

    fn toml(&self) -> String {
        match self.kind {
            SettingKind::Int { .. } => self.text.to_owned(),
            _ => toml::Value::String(self.text.to_owned()).to_string(),
        }
    }
}

fn effective_values<'a>(
    resolved: &'a ResolvedSettings,
    entry: Option<&'a ClassEntry>,
) -> impl Iterator<Item = EffectiveValue<'a>> {
    class_specs().map(move |spec| {
        let own = entry.and_then(|entry| entry.value(spec.name));
        let node = resolved.entry(spec.name);
        let (text, source) = match own {
            Some(own) => (own.text.as_str(), own.place.clone()),
            None => (node.text.as_str(), node.place()),
        };
        EffectiveValue { name: spec.name, kind: spec.kind, text, source }
    })
}

/// Returns the value of a class setting for a topic, and its source.
pub(crate) fn class_value(resolved: &ResolvedSettings, topic: &str, name: &str) -> (String, String) {
    let found = TopicVerdict::of(resolved, topic).found;
    let value = effective_values(resolved, found.map(|(entry, _)| entry)).find(|value| value.name == name);
    let value = value.expect("a setting of classes");
    (value.text.to_owned(), value.source)
}

/// Says which class applies to a topic, and its settings.
///
/// # Errors
/// When no topic can have that name, in one line.
pub(crate) fn topic_as_text(resolved: &ResolvedSettings, topic: &str) -> Result<String, String> {
    check_topic(topic).map_err(|rule| format!("--topic: {} {rule}", shown(topic)))?;
    let verdict = TopicVerdict::of(resolved, topic);
    let mut out =
        format!("topic {}\nclass {}: {}\n", shown(topic), verdict.class_name(), verdict.reason(topic));
    for entry in verdict.passed {
        let line = format!("not class {} ({}): {}", entry.name, entry.place, pattern_list(entry));
        writeln!(out, "{}", EscapedText(&line)).expect("writing to a String cannot fail");
    }
    out.push('\n');
    for value in effective_values(resolved, verdict.found.map(|(entry, _)| entry)) {
        let source = EscapedText(&value.source);
        writeln!(out, "{} = {} # {source}", value.name, value.toml())
            .expect("writing to a String cannot fail");
    }
    Ok(out)
}

/// Says the same as one JSON object.
///
/// # Errors
/// When no topic can have that name, in one line.
pub(crate) fn topic_as_json(resolved: &ResolvedSettings, topic: &str) -> Result<String, String> {
    check_topic(topic).map_err(|rule| format!("--topic: {} {rule}", shown(topic)))?;
    let verdict = TopicVerdict::of(resolved, topic);
    let passed = verdict.passed.iter().map(|entry| json!({ "class": entry.name, "source": entry.place }));
    let report = json!({
        "topic": topic,
        "class": verdict.class_name(),
        "pattern": verdict.found.map(|(_, pattern)| pattern.text()),
        "reason": verdict.reason(topic),
        "not": passed.collect::<Vec<_>>(),
        "settings": settings_json(resolved, verdict.found.map(|(entry, _)| entry)),
    });
    Ok(format!("{report}\n"))
}

fn settings_json(resolved: &ResolvedSettings, entry: Option<&ClassEntry>) -> Value {
    let rows = effective_values(resolved, entry)
        .map(|value| (value.name.to_owned(), json!({ "value": value.json(), "source": value.source })));
    Value::Object(rows.collect::<Map<_, _>>())
}

/// One class for the JSON form of `fanwheel config`.
pub(crate) fn class_as_json(resolved: &ResolvedSettings, entry: &ClassEntry) -> Value {
    let topics: Vec<&str> = entry.patterns.iter().map(TopicPattern::text).collect();
    let settings = settings_json(resolved, Some(entry));
    json!({ "name": entry.name, "topics": topics, "source": entry.place, "settings": settings })
}

/// Writes one class as a table of the file. Values of the node stand in comments, so that what is printed can
/// be fed back and means the same.
pub(crate) fn write_class(
    out: &mut String,
    resolved: &ResolvedSettings,
    entry: &ClassEntry,
) -> std::fmt::Result {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let topics: Vec<String> = entry.patterns.iter().map(|pattern| quoted(pattern.text())).collect();
    let place = EscapedText(&entry.place);
    writeln!(out, "\n[[{}]] # {place}\nname = {}", crate::config::class_tables::KEY, quoted(&entry.name))?;
    writeln!(out, "topics = [{}]", topics.join(", "))?;
    for value in effective_values(resolved, Some(entry)) {
        let own = if entry.value(value.name).is_some() { "" } else { "#" };
        let source = EscapedText(&value.source);
        writeln!(out, "{own}{} = {} # {source}", value.name, value.toml())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::render;
    use crate::config::resolve::SettingInputs;

    /// Settings of a file of this test process.
    fn resolved(name: &str, text: &str) -> Result<ResolvedSettings, String> {
        let path = std::env::temp_dir().join(format!("fanwheel-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("a writable temporary directory");
        let inputs = SettingInputs { config: Some(path.clone()), ..SettingInputs::default() };
        let resolved = ResolvedSettings::read(&inputs);
        let _ = std::fs::remove_file(&path);
        let place = path.display().to_string();
        resolved.map_err(|refusal| refusal.to_string().replace(&place, "f.toml"))
    }

    const TWO_CLASSES: &str = "history_ms = 9000\n\
        [[class]]\nname = 'orders'\ntopics = ['orders.new', 'shop/*']\nhistory_events = 3\n\
        [[class]]\nname = 'all-orders'\ntopics = ['orders.**']\nslow_policy = 'skip'\n";

    #[test]
    fn the_first_class_that_matches_holds_and_the_report_says_why() {
        let resolved = resolved("report", TWO_CLASSES).expect("good");
        let rows = [
            ("orders.new", "orders", "its pattern orders.new matches"),
            ("shop/7", "orders", "its pattern shop/* matches"),
            ("orders.old", "all-orders", "its pattern orders.** matches"),
            ("shop/7/8", "default", "no pattern matches"),
            ("fanwheel.status", "default", "it is a topic of the server's own"),
        ];
        for (topic, class, reason) in rows {
            let text = topic_as_text(&resolved, topic).expect("a topic");
            assert!(text.contains(&format!("\nclass {class}: {reason}")), "{text}");
            let json: Value =
                serde_json::from_str(&topic_as_json(&resolved, topic).expect("a topic")).expect("JSON");
            assert_eq!(json["class"], json!(class));
        }
        let text = topic_as_text(&resolved, "orders.old").expect("a topic");
        assert!(text.contains("\nnot class orders ("), "{text}");
        assert!(text.contains("): orders.new, shop/*\n") && text.contains("\nslow_policy = \"skip\" # "));
        assert!(text.contains("\nhistory_events = 10000 # default\n"), "{text}");
        let line = topic_as_text(&resolved, "a\nb").expect_err("no topic");
        assert_eq!(line, "--topic: a\\nb must not hold control characters");
    }

    #[test]
    fn classes_that_are_printed_can_be_fed_back_and_mean_the_same() {
        let first = resolved("first", TWO_CLASSES).expect("good");
        let text = render::as_toml(&first);
        assert!(text.contains("\n#history_ms = 9000 # "), "{text}");
        let second = resolved("second", &text).expect("what `config` prints is a good file");
        assert_eq!(first.settings().classes, second.settings().classes);
        assert_eq!(first.settings().classes[1].settings.history_ms, 9_000);
        let json: Value = serde_json::from_str(&render::as_json(&first)).expect("JSON");
        assert_eq!(json["class"][0]["topics"], json!(["orders.new", "shop/*"]));
        assert_eq!(json["class"][0]["settings"]["history_events"]["value"], json!(3));
    }

    #[test]
    fn a_class_must_fit_the_settings_of_the_node() {
        let class = "[[class]]\nname = 'a'\ntopics = ['a']\n";
        let rows = [
            (
                format!("history_bytes_max = 100_000\n{class}history_topic_bytes_max = 200000"),
                "f.toml:5: class a: history_topic_bytes_max = 200000 is larger than \
                 history_bytes_max = 100000 (f.toml:1): one topic cannot keep more than all topics together",
            ),
            (
                format!("publish_bytes_max = 100_000\n{class}history_topic_bytes_max = 5000"),
                "f.toml:5: class a: history_topic_bytes_max = 5000 is smaller than \
                 publish_bytes_max = 100000 (f.toml:1): an event must fit its topic's history",
            ),
            (
                format!("heartbeat_ms = 5000\n{class}batch_ms = 5000"),
                "f.toml:5: class a: batch_ms = 5000 is not below heartbeat_ms = 5000 (f.toml:1): \
                 an event would wait longer than a heartbeat",
            ),
            (
                format!("batch_ms = 20000\n{class}history_events = 3"),
                "batch_ms = 20000 (f.toml:1) is not below heartbeat_ms = 15000 (default): \
                 an event would wait longer than a heartbeat",
            ),
            (
                format!("batch_ms = 50\n{class}throttle_ms = 250"),
                "f.toml:5: class a: throttle_ms = 250, and batch_ms = 50 (f.toml:1): an event waits in one \
                 window; set one of them to 0",
            ),
            (
                format!("{class}batch_form = 'array'"),
                "f.toml:4: class a: batch_form = array has no effect without a window: set batch_ms or \
                 throttle_ms, too",
            ),
            (
                format!("{class}rate_events_per_second = 20"),
                "f.toml:4: class a: rate_events_per_second = 20 needs rate_policy: delay, latest or drop",
            ),
            (
                format!("{class}rate_policy = 'drop'"),
                "f.toml:4: class a: rate_policy = drop has no effect without a rate: set \
                 rate_events_per_second or rate_bytes_per_second, too",
            ),
            (
                format!("{class}rate_burst = 9"),
                "f.toml:4: class a: rate_burst = 9 has no effect without rate_events_per_second: set it, too",
            ),
            (
                format!("{class}throttle_ms = 20000"),
                "f.toml:4: class a: throttle_ms = 20000 is not below heartbeat_ms = 15000 (default): an \
                 event would wait longer than a heartbeat",
            ),
            (
                format!("{class}batch_events = 3"),
                "f.toml:4: class a: batch_events = 3 has no effect without batch_ms: set batch_ms, too",
            ),
            (
                format!("stall_ms = 9000\nuser_timeout_ms = 9000\n{class}slow_policy = 'latest'"),
                "f.toml:6: class a: slow_policy = latest could never act, because \
                 stall_ms = 9000 (f.toml:1) is not below user_timeout_ms = 9000 (f.toml:2): \
                 the kernel cuts first",
            ),
        ];
        for (text, expected) in &rows {
            assert_eq!(resolved("misfit", text).expect_err(text), *expected);
        }
    }
}
