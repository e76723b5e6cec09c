//! A text that stands in the file without quotes, which TOML refuses in words of its own.
//!
//! Owns the guess that quotes are missing. Reads one line, and never the meaning of its key beyond the table
//! of settings.

use toml::de::DeTable;

use crate::base::settings::{SettingKind, find_spec};

/// Keys of alerts and classes whose values are texts.
const TEXT_KEYS: [&str; 4] = ["name", "topics", "metric", "severity"];

/// Returns the mistake of the line at an offset: it with its value in quotes, if that makes it good, or the
/// rule of a number whose unit nobody knows.
pub(super) fn explain_line(text: &str, offset: usize) -> Option<String> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), without_comment(value).trim());
    if value.is_empty() || value.contains(['"', '\'']) {
        return None;
    }
    let quoted = match value.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')) {
        Some(inside) => format!("[{}]", inside.split(',').map(quote_item).collect::<Vec<_>>().join(", ")),
        None => quote_item(value),
    };
    let (written, mended) = (format!("{key} = {value}"), format!("{key} = {quoted}"));
    let is_good = |line: &str| DeTable::parse(line).is_ok();
    if is_good(&written) || !is_good(&mended) {
        return None;
    }
    match find_spec(key) {
        Some(spec) if matches!(spec.kind, SettingKind::Int { .. }) => match spec.normalize(value) {
            Ok(_) => Some(quotes_needed(&mended)),
            // Two numbers in a row are no number with a unit.
            Err(_) if value.contains(char::is_whitespace) => None,
            Err(allowed) => Some(format!("{written} is not allowed: must be {allowed}")),
        },
        Some(_) => Some(quotes_needed(&mended)),
        None => (TEXT_KEYS.contains(&key) || key.ends_with("_ms")).then(|| quotes_needed(&mended)),
    }
}

fn quotes_needed(mended: &str) -> String {
    format!("a text needs quotes: {mended}")
}

/// Returns the value without a comment. A `#` inside of a text has no space before it.
fn without_comment(value: &str) -> &str {
    value.find(" #").map_or(value, |at| &value[..at])
}

fn quote_item(item: &str) -> String {
    toml::Value::String(item.trim().to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_mended_only_where_quotes_make_it_good() {
        let rows = [
            ("log_level = warn", Some("log_level = \"warn\"")),
            ("log_level=warn # all", Some("log_level = \"warn\"")),
            ("heartbeat_ms = 15s", Some("heartbeat_ms = \"15s\"")),
            ("heartbeat_ms = 1 2", None),
            ("listen = [0.0.0.0:80, unix:/run/x]", Some("listen = [\"0.0.0.0:80\", \"unix:/run/x\"]")),
            ("listen = [80]", None),
            ("log_file = /var/log/x", Some("log_file = \"/var/log/x\"")),
            ("log_file = \"/var/log/x", None),
            ("topics = [prices.*]", Some("topics = [\"prices.*\"]")),
            ("for_ms = 15s", Some("for_ms = \"15s\"")),
            ("above = 5x", None),
            ("log level = warn", None),
            ("log_level =", None),
            ("log_level", None),
        ];
        for (line, expected) in rows {
            let expected = expected.map(quotes_needed);
            assert_eq!(explain_line(line, 0), expected, "{line}");
        }
        let text = "workers = 1\nlog_level = warn\nretry_ms = 5";
        assert_eq!(explain_line(text, 24), Some(quotes_needed("log_level = \"warn\"")));
        assert_eq!(explain_line("log_level = wärn", 14), None, "not at a character");
        let unknown = explain_line("heartbeat_ms = 1h30m", 0).expect("explained");
        assert!(unknown.starts_with("heartbeat_ms = 1h30m is not allowed: must be a whole number from"));
        assert!(unknown.ends_with("or written as 250ms, 15s, 2m or 1h"), "{unknown}");
    }
}
