//! `fanwheel config`: the effective settings, as a file that can be fed back, or as JSON. Pure text.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::base::settings::{SettingKind, split_list};
use crate::base::topic::TopicPattern;
use crate::config::alert_rules::{self, RuleEntry};
use crate::config::class_report::{class_as_json, write_class};
use crate::config::class_tables;
use crate::config::resolved::{ResolvedEntry, ResolvedSettings};
use crate::config::token_tables::{self, TokenEntry, TokenSource};
use crate::monitor::alerts::AlertBound;

/// Writes the effective settings as a configuration file, each value with its meaning, bounds and source.
pub(crate) fn as_toml(resolved: &ResolvedSettings) -> String {
    let mut out = String::from("# fanwheel: effective settings; each value with where it came from.\n");
    for entry in resolved.entries() {
        let spec = entry.spec;
        let bounds = match spec.kind {
            SettingKind::Int { min, max } => format!(" ({min} to {max})"),
            SettingKind::Choice(words) => format!(" ({})", words.join(", ")),
            SettingKind::Text | SettingKind::List | SettingKind::Urls | SettingKind::Backplane => {
                String::new()
            }
        };
        let reload = if spec.reloadable { "; changed by SIGHUP" } else { "" };
        let place = comment(&entry.place());
        let written = writeln!(out, "\n# {}{bounds}{reload}", spec.help)
            .and_then(|()| writeln!(out, "{} = {} # {place}", spec.name, toml_value(entry)));
        written.expect("writing to a String cannot fail");
    }
    out.push_str("\n# rules of alerts; one with the name of a default replaces it; changed by SIGHUP\n");
    for entry in resolved.alerts() {
        write_rule(&mut out, entry).expect("writing to a String cannot fail");
    }
    if !resolved.classes().is_empty() {
        out.push_str("\n# classes of topics; the first that matches holds\n");
    }
    for entry in resolved.classes() {
        write_class(&mut out, resolved, entry).expect("writing to a String cannot fail");
    }
    if !resolved.tokens().is_empty() {
        out.push_str("\n# tokens of the public listener; changed by SIGHUP\n");
    }
    for entry in resolved.tokens() {
        write_token(&mut out, entry).expect("writing to a String cannot fail");
    }
    out
}

fn write_rule(out: &mut String, entry: &RuleEntry) -> std::fmt::Result {
    writeln!(out, "\n[[{}]] # {}\nname = {}", alert_rules::KEY, comment(&entry.place), quoted(&entry.name))?;
    writeln!(out, "metric = {}", quoted(entry.metric.name))?;
    if let Some(bound) = entry.bound {
        writeln!(out, "{} = {}", bound.side(), bound.limit())?;
    }
    writeln!(out, "for_ms = {}\nseverity = {}", entry.for_ms, quoted(entry.severity.name()))?;
    if let Some(cooldown_ms) = entry.cooldown_ms {
        writeln!(out, "cooldown_ms = {cooldown_ms}")?;
    }
    writeln!(out, "enabled = {}", entry.enabled)
}

/// Writes one token as a table of the file. Its hash is masked: whoever has it may try guesses.
fn write_token(out: &mut String, entry: &TokenEntry) -> std::fmt::Result {
    let place = comment(&entry.place);
    writeln!(out, "\n[[{}]] # {place}\nname = {}", token_tables::KEY, quoted(&entry.name))?;
    match &entry.source {
        TokenSource::Hash(_) => writeln!(out, "hash = \"***\"")?,
        TokenSource::File(path) => writeln!(out, "file = {}", quoted(&path.to_string_lossy()))?,
    }
    for (key, patterns) in [("subscribe", &entry.grant.subscribe), ("publish", &entry.grant.publish)] {
        let patterns: Vec<String> = patterns.iter().map(|pattern| quoted(pattern.text())).collect();
        writeln!(out, "{key} = [{}]", patterns.join(", "))?;
    }
    Ok(())
}

fn token_json(entry: &TokenEntry) -> Value {
    let texts = |patterns: &[TopicPattern]| {
        patterns.iter().map(|pattern| pattern.text().to_owned()).collect::<Vec<_>>()
    };
    let (subscribe, publish) = (texts(&entry.grant.subscribe), texts(&entry.grant.publish));
    json!({ "name": entry.name, "subscribe": subscribe, "publish": publish, "source": entry.place })
}

/// Writes one object: the name of each setting, with its value and source.
pub(crate) fn as_json(resolved: &ResolvedSettings) -> String {
    let rows = resolved.entries().iter().map(|entry| {
        let value = match entry.spec.kind {
            SettingKind::Int { .. } => json!(number(entry)),
            SettingKind::List | SettingKind::Urls => json!(split_list(&entry.shown())),
            SettingKind::Choice(_) | SettingKind::Text | SettingKind::Backplane => json!(entry.shown()),
        };
        (entry.spec.name.to_owned(), json!({ "value": value, "source": entry.place() }))
    });
    let alerts = resolved.alerts().iter().map(alert_json);
    let alerts = (alert_rules::KEY.to_owned(), Value::Array(alerts.collect()));
    let classes = resolved.classes().iter().map(|entry| class_as_json(resolved, entry));
    let classes = (class_tables::KEY.to_owned(), Value::Array(classes.collect()));
    let tokens = resolved.tokens().iter().map(token_json);
    let tokens = (token_tables::KEY.to_owned(), Value::Array(tokens.collect()));
    format!("{}\n", Value::Object(rows.chain([alerts, classes, tokens]).collect::<Map<_, _>>()))
}

fn alert_json(entry: &RuleEntry) -> Value {
    json!({
        "name": entry.name,
        "metric": entry.metric.name,
        "above": entry.bound.filter(|bound| bound.side() == "above").map(AlertBound::limit),
        "below": entry.bound.filter(|bound| bound.side() == "below").map(AlertBound::limit),
        "for_ms": entry.for_ms,
        "severity": entry.severity.name(),
        "cooldown_ms": entry.cooldown_ms,
        "enabled": entry.enabled,
        "source": entry.place,
    })
}

fn number(entry: &ResolvedEntry) -> u64 {
    entry.text.parse().expect("checked against the table")
}

fn toml_value(entry: &ResolvedEntry) -> String {
    match entry.spec.kind {
        SettingKind::Int { .. } => number(entry).to_string(),
        SettingKind::Choice(_) | SettingKind::Text | SettingKind::Backplane => quoted(&entry.shown()),
        SettingKind::List | SettingKind::Urls => {
            let items: Vec<String> = split_list(&entry.shown()).iter().map(|item| quoted(item)).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// Writes a TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Escapes the control characters of a comment.
fn comment(text: &str) -> String {
    crate::base::logfmt::EscapedText(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::TABLE;
    use crate::config::resolve::SettingInputs;

    fn resolved(flags: &[(&'static str, &str)]) -> ResolvedSettings {
        let mut inputs = SettingInputs::default();
        for (name, text) in flags {
            inputs.flags.insert(name, vec![(*text).to_owned()]);
        }
        ResolvedSettings::read(&inputs).expect("good")
    }

    #[test]
    fn what_is_printed_can_be_fed_back_and_means_the_same() {
        let first = resolved(&[
            ("listen", "127.0.0.1:1,unix:/run/\"q\"\\x"),
            ("log_file", "/var/log/a\tb\u{7f}\n\u{1b}.log"),
            ("slow_policy", "skip"),
            ("heartbeat_ms", "100"),
        ]);
        let path = std::env::temp_dir().join(format!("fanwheel-{}-fed-back.toml", std::process::id()));
        std::fs::write(&path, as_toml(&first)).expect("a writable temporary directory");
        let inputs = SettingInputs { config: Some(path.clone()), ..SettingInputs::default() };
        let second = ResolvedSettings::read(&inputs).expect("what `config` prints is a good file");
        let _ = std::fs::remove_file(&path);
        for (before, after) in first.entries().iter().zip(second.entries()) {
            assert_eq!(before.text, after.text, "{}", before.spec.name);
        }
        assert_eq!(first.rules(), second.rules());
        assert_eq!(first.alerts().len(), second.alerts().len());
    }

    #[test]
    fn secrets_are_masked_and_the_mask_is_no_address() {
        let secret = resolved(&[("alert_webhook", "https://hooks.example/T0/secret")]);
        for text in [as_toml(&secret), as_json(&secret)] {
            assert!(text.contains("https://hooks.example/***") && !text.contains("T0"), "{text}");
        }
        let mut inputs = SettingInputs::default();
        inputs.flags.insert("alert_webhook", vec!["https://hooks.example/***".to_owned()]);
        assert!(ResolvedSettings::read(&inputs).is_err());
    }

    #[test]
    fn values_stand_with_their_meaning_and_their_source() {
        let text = as_toml(&resolved(&[("heartbeat_ms", "500")]));
        assert!(text.contains("(100 to 3600000)\nheartbeat_ms = 500 # --heartbeat-ms\n"), "{text}");
        assert!(text.contains("; changed by SIGHUP\nlog_level = \"info\" # default\n"), "{text}");
        let json: Value =
            serde_json::from_str(&as_json(&resolved(&[("heartbeat_ms", "500")]))).expect("JSON");
        assert_eq!(json["heartbeat_ms"], json!({ "value": 500, "source": "--heartbeat-ms" }));
        assert_eq!(json["listen"], json!({ "value": ["0.0.0.0:8080"], "source": "default" }));
        assert_eq!(json.as_object().map(Map::len), Some(TABLE.len() + 3));
        assert_eq!(json["alerts"][0]["above"], json!(0.85));
    }
}
