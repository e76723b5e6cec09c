//! The configuration file: TOML at the top level, each key the name of a setting, each with its line; and
//! `[[alerts]]` and `[[class]]`.
//!
//! Owns the file's syntax and its types. Whether a value is in its bounds is decided where the sources meet.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::base::limits::MIB;
use crate::base::logfmt::shown;
use crate::base::quantity::QuantityUnit;
use crate::base::settings::{self, SettingKind, SettingSpec, TABLE};
use crate::base::suggest::nearest;
use crate::config::alert_rules::{self, ConfigText, RuleEntry};
use crate::config::class_tables::{self, ClassEntry};
use crate::config::refusal::SettingsRefusal;
use crate::config::token_tables::{self, TokenEntry};
use crate::config::{familiar_names, missing_quotes};
use crate::host::named_file::{PipeWait, read_named_file};

/// Bytes of a configuration file: a wrong path (a log, a device) must not be read into memory.
const CONFIG_FILE_BYTES_MAX: usize = MIB;

/// One key of the file.
#[derive(Clone, Debug)]
pub(crate) struct FileEntry {
    /// The setting that it names.
    pub(crate) spec: &'static SettingSpec,
    /// Its value in the text form of the table.
    pub(crate) text: String,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// The contents of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileContents {
    /// Settings in the order of lines.
    pub(crate) entries: Vec<FileEntry>,
    /// Alert rules in their order.
    pub(crate) alerts: Vec<RuleEntry>,
    /// Classes of topics in their order.
    pub(crate) classes: Vec<ClassEntry>,
    /// Tokens in their order.
    pub(crate) tokens: Vec<TokenEntry>,
}

/// Reads a file, and checks its names and types.
pub(crate) fn read(path: &Path, wait: PipeWait) -> Result<FileContents, SettingsRefusal> {
    let unreadable = |reason: String| SettingsRefusal::FileUnreadable(path.to_owned(), reason);
    let bytes = read_named_file(path, CONFIG_FILE_BYTES_MAX, wait);
    let bytes = bytes.map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".to_owned()))?;
    parse(path, &text)
}

/// Checks the names and types of a text.
pub(crate) fn parse(path: &Path, text: &str) -> Result<FileContents, SettingsRefusal> {
    let place = |span: Range<usize>| format!("{}:{}", path.display(), line_of(text, span.start));
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let reason = missing_quotes::explain_line(text, span.start)
            .unwrap_or_else(|| error.message().lines().collect::<Vec<_>>().join(", "));
        SettingsRefusal::FileSyntax(place(span), reason)
    })?;
    let page = ConfigText { text, place: &place };
    let mut contents = FileContents::default();
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        if name == alert_rules::KEY {
            contents.alerts = alert_rules::read_rules(&page, key.span(), value.get_ref())?;
            continue;
        }
        if name == class_tables::KEY {
            contents.classes = class_tables::read_classes(&page, key.span(), value.get_ref())?;
            continue;
        }
        if name == token_tables::KEY {
            contents.tokens = token_tables::read_tokens(&page, key.span(), value.get_ref())?;
            continue;
        }
        if value.get_ref().is_table() {
            let (place, name) = (place(key.span()), shown(name));
            let words = format!("{place}: unknown section {name}; settings stand at the top, in no section");
            return Err(SettingsRefusal::Contradiction(words));
        }
        let spec = settings::find_spec(name).ok_or_else(|| SettingsRefusal::UnknownName {
            place: place(key.span()),
            name: name.to_owned(),
            nearest: nearest_key(name),
        })?;
        let text_of_value = value_text(spec, value.get_ref()).map_err(|allowed| SettingsRefusal::Value {
            place: place(key.span()),
            name: spec.name,
            value: shown(&spec.shown(text.get(value.span()).unwrap_or_default())),
            allowed,
        })?;
        let line = line_of(text, key.span().start);
        contents.entries.push(FileEntry { spec, text: text_of_value, line });
    }
    contents.entries.sort_by_key(|entry| entry.line);
    Ok(contents)
}

/// Returns the key that was most likely meant, for a name of another server with an example of its value.
fn nearest_key(name: &str) -> Option<String> {
    if let Some(familiar) = familiar_names::setting_of(name) {
        return Some(familiar.as_toml());
    }
    let names =
        TABLE.iter().map(|spec| spec.name).chain([alert_rules::KEY, class_tables::KEY, token_tables::KEY]);
    nearest(name, names).map(str::to_owned)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// Returns the text of a value of the right type. A number in quotes may have a unit.
///
/// # Errors
/// The type that it should have, in words.
pub(crate) fn value_text(spec: &SettingSpec, value: &DeValue<'_>) -> Result<String, String> {
    match (spec.kind, value) {
        (SettingKind::Int { .. }, DeValue::Integer(number)) => {
            let digits = number.as_str().replace('_', "");
            let parsed = i128::from_str_radix(&digits, number.radix());
            Ok(parsed.map_or(digits, |number| number.to_string()))
        }
        (SettingKind::Int { .. }, DeValue::String(text)) => Ok(text.clone().into_owned()),
        (SettingKind::Int { .. }, _) => {
            let spellings = QuantityUnit::of_name(spec.name).spellings();
            Err(format!("a whole number, or in quotes one such as {spellings}"))
        }
        (
            SettingKind::Choice(_)
            | SettingKind::Text
            | SettingKind::List
            | SettingKind::Urls
            | SettingKind::Backplane,
            DeValue::String(text),
        ) => Ok(text.clone().into_owned()),
        (SettingKind::Choice(words), DeValue::Boolean(on)) if words.contains(&"on") => Ok(on.to_string()),
        (SettingKind::Choice(words), _) => Err(format!("one of {}, in quotes", words.join(", "))),
        (SettingKind::Text | SettingKind::Backplane, _) => Err("a text in quotes".to_owned()),
        (SettingKind::List | SettingKind::Urls, DeValue::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(",")).ok_or("a list of texts in quotes".to_owned())
        }
        (SettingKind::List | SettingKind::Urls, _) => Err("a text in quotes, or a list of them".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[(&str, &str, usize)], &str>) {
        let contents = parse(Path::new("f.toml"), text);
        let got = contents.map(|contents| contents.entries).map_err(|refusal| refusal.to_string());
        match (&got, expected) {
            (Ok(entries), Ok(expected)) => {
                let rows: Vec<_> =
                    entries.iter().map(|entry| (entry.spec.name, entry.text.as_str(), entry.line)).collect();
                assert_eq!(rows, expected, "{text:?}");
            }
            (Err(line), Err(expected)) => assert_eq!(line, expected, "{text:?}"),
            _ => panic!("{text:?}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn keys_become_texts_with_their_lines() {
        check("", Ok(&[]));
        check("# only a comment\n", Ok(&[]));
        check(
            "\nheartbeat_ms = 5_000\nlisten = ['127.0.0.1:1', \"unix:/run/x\"]\n\nlog_level='debug'",
            Ok(&[
                ("heartbeat_ms", "5000", 2),
                ("listen", "127.0.0.1:1,unix:/run/x", 3),
                ("log_level", "debug", 5),
            ]),
        );
        check(
            "heartbeat_ms = '15s'\nhistory_bytes_max = \"64MiB\"\nlanding = false",
            Ok(&[("heartbeat_ms", "15s", 1), ("history_bytes_max", "64MiB", 2), ("landing", "false", 3)]),
        );
        check("workers = 0x10", Ok(&[("workers", "16", 1)]));
        check("workers = -1", Ok(&[("workers", "-1", 1)]));
        check("listen = '0.0.0.0:80'", Ok(&[("listen", "0.0.0.0:80", 1)]));
        check("listen = []", Ok(&[("listen", "", 1)]));
    }

    #[test]
    fn wrong_names_and_types_are_refused_with_their_line() {
        check("\n\nheartbeat = 1", Err("f.toml:3: unknown setting heartbeat; did you mean heartbeat_ms?"));
        check(
            "[server]\nlisten='a'",
            Err("f.toml:1: unknown section server; settings stand at the top, in no section"),
        );
        check(
            "heartbeat_ms = 1.5",
            Err(
                "f.toml:1: heartbeat_ms = 1.5 is not allowed: must be a whole number, or in quotes one such \
                 as 250ms, 15s, 2m or 1h",
            ),
        );
        check("port = 80", Err("f.toml:1: unknown setting port; did you mean listen = \"127.0.0.1:PORT\"?"));
        check(
            "log_level = 3",
            Err(
                "f.toml:1: log_level = 3 is not allowed: must be one of error, warn, info, debug, trace, in \
                 quotes",
            ),
        );
        check("log_file = 3", Err("f.toml:1: log_file = 3 is not allowed: must be a text in quotes"));
        check(
            "listen = 80",
            Err("f.toml:1: listen = 80 is not allowed: must be a text in quotes, or a list of them"),
        );
        check("unheard = 1", Err("f.toml:1: unknown setting unheard; `fanwheel config` lists all settings"));
        check(
            "listen = [1]",
            Err("f.toml:1: listen = [1] is not allowed: must be a list of texts in quotes"),
        );
    }

    #[test]
    fn a_text_without_quotes_is_shown_with_them() {
        check("\nlog_level = warn", Err("f.toml:2: a text needs quotes: log_level = \"warn\""));
        check("heartbeat_ms = 15s", Err("f.toml:1: a text needs quotes: heartbeat_ms = \"15s\""));
        check("listen = [:8080]", Err("f.toml:1: a text needs quotes: listen = [\":8080\"]"));
    }

    #[test]
    fn broken_toml_is_one_line_with_its_place() {
        for text in
            ["heartbeat_ms", "heartbeat_ms = ", "a = 1\na = 2", "x = \"\u{7}", "=", "[[", "workers = 1 2"]
        {
            let line = parse(Path::new("f.toml"), text).expect_err("not TOML").to_string();
            assert!(line.starts_with("f.toml:"), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
