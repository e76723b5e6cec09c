//! Values in log lines, error lines and terminals: text of a peer or an operator must not become a second
//! line, a forged field or a terminal command.
//!
//! Owns the escaping, nothing else. A log message is `key=value` pairs; wrap each value that did not come
//! from this program in [`LogValue`].

use std::fmt::{self, Write};

/// A logfmt value: bare where it can be, else in quotes with `"`, `\` and control characters escaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogValue<'a>(pub(crate) &'a str);

/// Text with control characters escaped and nothing else changed; for messages that are sentences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EscapedText<'a>(pub(crate) &'a str);

/// Whether a terminal or a log reader could take the character for a command: C0, DEL, C1, the two Unicode
/// line ends, and the marks that turn the reading direction (a line would show other words than it holds).
pub(crate) fn is_control(c: char) -> bool {
    let line_end = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || line_end || turns
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c if u32::from(c) < 0x100 => write!(f, "\\x{:02x}", u32::from(c)),
        c => write!(f, "\\u{{{:x}}}", u32::from(c)),
    }
}

impl fmt::Display for EscapedText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_control(c) { write_escaped(f, c)? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

impl fmt::Display for LogValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |c: char| !is_control(c) && !c.is_whitespace() && !matches!(c, '"' | '=' | '\\');
        if !self.0.is_empty() && self.0.chars().all(bare) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c if is_control(c) => write_escaped(f, c)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// A text of the operator's in an error line: on one line, and not a page of it.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 160;
    let escaped = EscapedText(text).to_string();
    match escaped.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None if escaped.is_empty() => "\"\"".to_owned(),
        None => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_one_field_of_one_line() {
        let rows: &[(&str, &str)] = &[
            ("likes", "likes"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("say \"hi\"", "\"say \\\"hi\\\"\""),
            ("back\\slash", "\"back\\\\slash\""),
            ("x\nlevel=error forged", "\"x\\nlevel=error forged\""),
            ("\r\t\0", "\"\\r\\t\\x00\""),
            ("\u{1b}[2J", "\"\\x1b[2J\""),
            ("\u{9b}2J", "\"\\x9b2J\""),
            ("a\u{2028}b", "\"a\\u{2028}b\""),
            ("abc\u{202e}txt", "\"abc\\u{202e}txt\""),
            ("grüße-☃", "grüße-☃"),
        ];
        for (text, expected) in rows {
            assert_eq!(LogValue(text).to_string(), *expected, "{text:?}");
        }
    }

    #[test]
    fn plain_text_keeps_its_quotes_and_loses_its_commands() {
        assert_eq!(EscapedText("say \"hi\"\n\u{1b}[31m").to_string(), "say \"hi\"\\n\\x1b[31m");
    }
}
