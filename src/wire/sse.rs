//! A client's side of the event stream (WHATWG HTML §9.2.6): bytes in, events out, in any fragmentation.
//!
//! Used by `subscribe` and the load generator. Knows nothing of HTTP: its input is the decoded body. Lines
//! that come whole are read where they lie; only a line that is cut is copied.

use crate::base::number_text::parse_decimal;
use crate::wire::rules::UNNAMED_EVENT;

/// A dispatched event. Bytes are UTF-8 if the server keeps to the standard; decode lossily to show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The type; `message` when none was given.
    pub name: &'a [u8],
    /// The data lines, joined by LF.
    pub data: &'a [u8],
    /// The last event id, of this event or an earlier one.
    pub id: &'a [u8],
    /// Whether this event carried an id itself.
    pub id_given: bool,
}

/// An event or a line is longer than the parser's bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLong;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A parser for one stream; after a reconnection make a new one and keep the last event id yourself.
#[derive(Clone, Debug)]
pub struct SseParser {
    bytes_max: usize,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// A CR ended the last line, so an LF right after it belongs to that line end.
    after_cr: bool,
    /// No line has ended yet, so a byte order mark may lead.
    at_start: bool,
    name: Vec<u8>,
    /// Data lines of the running event, each with an LF after it.
    data: Vec<u8>,
    /// The id that the next blank line makes the last event id.
    id: Vec<u8>,
    id_given: bool,
    last_event_id: Vec<u8>,
    retry_ms: Option<u64>,
    comments: u64,
}

impl SseParser {
    /// A parser that holds at most `bytes_max` bytes of one event.
    pub fn new(bytes_max: usize) -> SseParser {
        SseParser {
            bytes_max,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            name: Vec::new(),
            data: Vec::new(),
            id: Vec::new(),
            id_given: false,
            last_event_id: Vec::new(),
            retry_ms: None,
            comments: 0,
        }
    }

    /// Takes in bytes and calls `on_event` for each event that they complete. An error is final.
    pub fn feed(&mut self, bytes: &[u8], mut on_event: impl FnMut(SseEvent<'_>)) -> Result<(), EventTooLong> {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|&b| b == b'\n' || b == b'\r') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            if rest[end] == b'\r' {
                self.after_cr = after.is_empty();
                rest = after.strip_prefix(b"\n").unwrap_or(after);
            } else {
                rest = after;
            }
            if self.line.is_empty() {
                self.take_line(line, &mut on_event)?;
            } else {
                self.hold_line(line)?;
                let line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut on_event)?;
                self.line = line;
                self.line.clear();
            }
        }
        self.hold_line(rest)
    }

    /// The last event id to send as `Last-Event-ID`; empty for none.
    pub fn last_event_id(&self) -> &[u8] {
        &self.last_event_id
    }

    /// The reconnection time the server told last.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Comment lines seen, the heartbeats among them.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    fn hold_line(&mut self, part: &[u8]) -> Result<(), EventTooLong> {
        self.check_room(self.line.len() + part.len())?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn check_room(&self, line_bytes: usize) -> Result<(), EventTooLong> {
        let held = self.data.len() + self.name.len() + self.id.len();
        if line_bytes.saturating_add(held) > self.bytes_max { Err(EventTooLong) } else { Ok(()) }
    }

    fn take_line(
        &mut self,
        line: &[u8],
        on_event: &mut impl FnMut(SseEvent<'_>),
    ) -> Result<(), EventTooLong> {
        self.check_room(line.len())?;
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(unmarked) if self.at_start => unmarked,
            _ => line,
        };
        self.at_start = false;
        if line.is_empty() {
            self.dispatch(on_event);
            return Ok(());
        }
        let (field, value) = match line.iter().position(|&b| b == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" => self.comments += 1,
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => overwrite(&mut self.name, value),
            b"id" if !value.contains(&0) => {
                overwrite(&mut self.id, value);
                self.id_given = true;
            }
            b"retry" => self.retry_ms = parse_decimal(value).or(self.retry_ms),
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, on_event: &mut impl FnMut(SseEvent<'_>)) {
        if self.id_given {
            overwrite(&mut self.last_event_id, &self.id);
        }
        // Every data line left an LF, so no data line is told apart from an empty one.
        if let Some((_, data)) = self.data.split_last() {
            let name = if self.name.is_empty() { UNNAMED_EVENT.as_bytes() } else { &self.name[..] };
            on_event(SseEvent { name, data, id: &self.last_event_id, id_given: self.id_given });
        }
        self.id_given = false;
        self.name.clear();
        self.data.clear();
    }
}

fn overwrite(text: &mut Vec<u8>, by: &[u8]) {
    text.clear();
    text.extend_from_slice(by);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events as `name|data|id` with `!` where the id is the event's own, then retry and last event id.
    fn read(stream: &[u8], piece: usize) -> (Vec<String>, Option<u64>, String, u64) {
        let mut parser = SseParser::new(1_000);
        let mut events = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for part in stream.chunks(piece) {
            let fed = parser.feed(part, |event| {
                let own = if event.id_given { "!" } else { "" };
                events.push(format!("{}|{}|{}{own}", text(event.name), text(event.data), text(event.id)));
            });
            assert_eq!(fed, Ok(()));
        }
        (events, parser.retry_ms(), text(parser.last_event_id()), parser.comments())
    }

    fn check(stream: &str, events: &[&str], retry_ms: Option<u64>, last_event_id: &str) {
        let whole = read(stream.as_bytes(), stream.len().max(1));
        assert_eq!(whole.0, events, "{stream:?}");
        assert_eq!(whole.1, retry_ms, "{stream:?}");
        assert_eq!(whole.2, last_event_id, "{stream:?}");
        for piece in [1, 2, 3, 5] {
            assert_eq!(read(stream.as_bytes(), piece), whole, "{stream:?} in pieces of {piece}");
        }
        // Line ends are worth the same.
        if !stream.contains('\r') {
            let first = |end: &str| read(stream.replace('\n', end).as_bytes(), 3);
            assert_eq!(first("\r"), whole, "{stream:?} with CR");
            assert_eq!(first("\r\n"), whole, "{stream:?} with CRLF");
        }
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let rows: &[(&str, &[&str])] = &[
            ("", &[]),
            ("data: a\n\n", &["message|a|"]),
            ("data:a\n\n", &["message|a|"]),
            ("data:  a\n\n", &["message| a|"]),
            ("data: a\ndata: b\n\n", &["message|a\nb|"]),
            ("data\n\n", &["message||"]),
            ("data:\n\n", &["message||"]),
            ("data\ndata\n\n", &["message|\n|"]),
            ("data: a\n\n\n\ndata: b\n\n", &["message|a|", "message|b|"]),
            ("event: x\ndata: a\n\ndata: b\n\n", &["x|a|", "message|b|"]),
            ("event: x\n\ndata: b\n\n", &["message|b|"]),
            ("event: x\nevent\ndata: b\n\n", &["message|b|"]),
            (":ok\nretry\n:\n\n", &[]),
            (":ok\ndata: a\n:\n: data: b\n\n", &["message|a|"]),
            ("data: a\nfoo: b\nDATA: c\n data: d\n\n", &["message|a|"]),
            ("data: a:b\n\n", &["message|a:b|"]),
            ("data: a", &[]),
            ("data: a\n", &[]),
            ("\u{feff}data: a\n\n", &["message|a|"]),
            ("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &["message|b|"]),
            ("\n\u{feff}data: a\n\n", &[]),
            ("data: \u{feff}a\u{2028}\0\n\n", &["message|\u{feff}a\u{2028}\0|"]),
        ];
        for (stream, events) in rows {
            check(stream, events, None, "");
        }
        check("data: a\rdata: b\r\ndata: c\n\rdata: d\n\n", &["message|a\nb\nc|", "message|d|"], None, "");
        check("data: a\r\n\r\ndata: b\r\r", &["message|a|", "message|b|"], None, "");
        check("data: a\r\r\ndata: b\n\n", &["message|a|", "message|b|"], None, "");
    }

    #[test]
    fn ids_are_taken_at_the_blank_line_and_stay() {
        check("id: 1\ndata: a\n\ndata: b\n\n", &["message|a|1!", "message|b|1"], None, "1");
        check("id: 1\n\n", &[], None, "1");
        check("id: 1\n", &[], None, "");
        check("id: 1\ndata: a\n\nid: 2\ndata: b\n", &["message|a|1!"], None, "1");
        check("id: 1\n\nid: 2\0\ndata: a\n\n", &["message|a|1"], None, "1");
        check("id: 1\n\nid\ndata: a\n\n", &["message|a|!"], None, "");
        check("id: 1\nid: 2\ndata: a\n\n", &["message|a|2!"], None, "2");
    }

    #[test]
    fn retry_is_digits_and_counts_at_once() {
        check("retry: 5\n", &[], Some(5), "");
        check("retry: 5\nretry: 7\n", &[], Some(7), "");
        for wrong in ["", "-5", "+5", "5 ", " 5", "5.0", "x", "99999999999999999999"] {
            check(&format!("retry: 5\nretry: {wrong}\n"), &[], Some(5), "");
        }
        assert_eq!(read(b":\n:x\ndata\n: \n", 4).3, 3);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let rows: &[(&str, bool)] = &[
            ("data: 1234\n\n", true),
            ("data: 12345", false),
            ("data: 12345\n\n", false),
            (":123456789\n:123456789\n", true),
            (":1234567890\n", false),
            ("data:1\ndata:2\n\ndata:3\ndata:4\n\n", true),
            ("data:1\ndata:2\ndata:3\n\n", true),
            ("data:1\ndata:2\ndata:3\ndata:4\n\n", false),
            ("id:12345\ndata:1\n\n", false),
        ];
        for (stream, fits) in rows {
            for piece in [100, 1] {
                let mut parser = SseParser::new(10);
                let fed = stream.as_bytes().chunks(piece).try_for_each(|part| parser.feed(part, |_| ()));
                assert_eq!(fed.is_ok(), *fits, "{stream:?} in pieces of {piece}");
            }
        }
    }
}
