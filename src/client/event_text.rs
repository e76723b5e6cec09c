//! Events as text: for people, as JSON for machines, or their bare data. A publisher's text must not command
//! a terminal, so control characters are escaped in all forms but the bare one.

use std::io::Write;

use serde::Serialize;

use crate::base::logfmt::{EscapedText, is_control};
use crate::wire::sse::SseEvent;

/// The form in which events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventFormat {
    /// `ID NAME: DATA`, further lines of the data indented.
    Plain,
    /// One JSON object a line; an event without an id of its own has `null`.
    Json,
    /// The data and a line end, as it is.
    Raw,
}

/// The fields of an event in a line of JSON.
#[derive(Serialize)]
struct JsonEvent<'a> {
    id: Option<&'a str>,
    event: &'a str,
    data: &'a str,
}

/// Appends an event to the output in the given form.
pub(crate) fn append_event(out: &mut Vec<u8>, event: &SseEvent<'_>, form: EventFormat) {
    let data = String::from_utf8_lossy(event.data);
    let name = String::from_utf8_lossy(event.name);
    let id = event.id_given.then(|| String::from_utf8_lossy(event.id));
    let written = match form {
        EventFormat::Raw => out.write_all(event.data).and_then(|()| out.write_all(b"\n")),
        EventFormat::Json => {
            writeln!(out, "{}", json_line(&JsonEvent { id: id.as_deref(), event: &name, data: &data }))
        }
        EventFormat::Plain => {
            let mut lines = data.split('\n');
            let first = lines.next().unwrap_or_default();
            let head = writeln!(
                out,
                "{} {}: {}",
                EscapedText(id.as_deref().unwrap_or("-")),
                EscapedText(&name),
                EscapedText(first)
            );
            lines
                .try_fold(head, |_, line| writeln!(out, "  {}", EscapedText(line)).map(Ok))
                .and_then(|done| done)
        }
    };
    written.expect("writing to a Vec cannot fail");
}

/// Writes JSON that is safe to print. JSON escapes only C0; other characters that a terminal obeys stand
/// inside strings and are escaped here in the same way.
fn json_line(line: &JsonEvent<'_>) -> String {
    let text = serde_json::to_string(line).expect("strings are always JSON");
    if !text.contains(is_control) {
        return text;
    }
    // All of them lie below U+10000, so one escape each is enough.
    let escape = |c: char| if is_control(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(event: &SseEvent<'_>, form: EventFormat, expected: &str) {
        let mut out = Vec::new();
        append_event(&mut out, event, form);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn each_form_is_what_it_promises() {
        let event = SseEvent { name: b"likes", data: b"a \x1b[2J\n\n\"b\"", id: b"1-0", id_given: true };
        check(&event, EventFormat::Plain, "1-0 likes: a \\x1b[2J\n  \n  \"b\"\n");
        check(
            &event,
            EventFormat::Json,
            "{\"id\":\"1-0\",\"event\":\"likes\",\"data\":\"a \\u001b[2J\\n\\n\\\"b\\\"\"}\n",
        );
        check(&event, EventFormat::Raw, "a \x1b[2J\n\n\"b\"\n");
    }

    #[test]
    fn json_is_safe_to_print_and_says_the_same() {
        let data = "\u{9b}2J\u{7f}\u{202e}\u{2028}ü";
        let event = SseEvent { name: b"x", data: data.as_bytes(), id: b"", id_given: false };
        let mut out = Vec::new();
        append_event(&mut out, &event, EventFormat::Json);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.trim_end().contains(is_control), "{text}");
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["data"], data);
    }

    #[test]
    fn an_earlier_event_s_id_is_not_taken_for_this_one_s() {
        let gap = SseEvent { name: b"fanwheel.gap", data: b"{}", id: b"1-0", id_given: false };
        check(&gap, EventFormat::Plain, "- fanwheel.gap: {}\n");
        check(&gap, EventFormat::Json, "{\"id\":null,\"event\":\"fanwheel.gap\",\"data\":\"{}\"}\n");
    }
}
