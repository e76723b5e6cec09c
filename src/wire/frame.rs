//! One event as the bytes that every subscriber gets: encoded once, shared by all.
//!
//! A [`Draft`] is everything but the id; sealing it writes the id and the chunk size into room left in front,
//! so that the hub holds its lock for a few stores only. Owns the layout of an event on the wire (WHATWG HTML
//! §9.2, RFC 9112 §7.1); knows nothing of topics or subscribers.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::ops::Range;

use crate::base::id::{EVENT_ID_TEXT_BYTES_MAX, EventId};
use crate::base::limits::KEPT_OVERHEAD_BYTES;
use crate::wire::rules::UNNAMED_EVENT;

/// Room for the chunk size (8 hex digits, CRLF) and the id line in front of a draft's bytes.
const HEADROOM: usize = 8 + 2 + "id: \n".len() + EVENT_ID_TEXT_BYTES_MAX;
/// Digits of the longest reconnection time.
const RETRY_DIGITS_MAX: usize = 20;
/// Line end behind the data of a chunk.
const CHUNK_END: &[u8] = b"\r\n";

/// An encoded event without its id.
#[derive(Clone, Debug)]
pub struct Draft {
    bytes: Vec<u8>,
    name: Range<u32>,
    key: Option<Box<str>>,
    ttl_ms: Option<NonZeroU32>,
    numbered: bool,
}

/// An event as its publisher gave it, but for the line ends of its data, which are all LF.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DraftParts<'a> {
    /// Name of the event, if it has one.
    pub(crate) name: Option<&'a str>,
    /// Reconnection time, if it tells one.
    pub(crate) retry_ms: Option<u64>,
    /// Payload.
    pub(crate) data: String,
    /// Key under which only the newest event matters, if it has one.
    pub(crate) key: Option<&'a str>,
    /// Age from which nobody gets it any more, if it has one.
    pub(crate) ttl_ms: Option<NonZeroU32>,
}

/// An encoded event, complete and immutable.
#[derive(Debug)]
pub struct Frame {
    id: EventId,
    bytes: Box<[u8]>,
    start: u8,
    bare_start: u8,
    name: Range<u32>,
    key: Option<Box<str>>,
    life_ms: u32,
}

/// Life of an event without an end.
const ENDLESS: u32 = u32::MAX;

impl Draft {
    /// Encodes an event. `name` and `key` hold no control characters (their parser saw to it); `data` is any
    /// text and becomes one `data` line for each of its lines, ended by CRLF, CR or LF.
    pub fn new(name: Option<&str>, retry_ms: Option<u64>, data: &str, key: Option<Box<str>>) -> Draft {
        debug_assert!(!name.unwrap_or("").bytes().any(|b| b < b' '), "a name with a line end forges lines");
        let lines = 1 + data.bytes().filter(|b| matches!(b, b'\n' | b'\r')).count();
        // Exact for one line, so that no hole is left behind each frame when it shrinks.
        let fields = name.map_or(0, |name| "event: \n".len() + name.len())
            + retry_ms.map_or(0, |_| "retry: \n".len() + RETRY_DIGITS_MAX);
        let room = HEADROOM + fields + data.len() + lines * "data: \n".len() + "\n".len() + CHUNK_END.len();
        let mut bytes = Vec::with_capacity(room);
        bytes.resize(HEADROOM, 0);
        let mut name_range = 0..0;
        if let Some(name) = name {
            bytes.extend_from_slice(b"event: ");
            let start = bytes.len() as u32;
            bytes.extend_from_slice(name.as_bytes());
            name_range = start..bytes.len() as u32;
            bytes.push(b'\n');
        }
        if let Some(retry_ms) = retry_ms {
            writeln!(bytes, "retry: {retry_ms}").expect("writing to a Vec cannot fail");
        }
        push_data_lines(&mut bytes, data.as_bytes());
        bytes.extend_from_slice(b"\n");
        bytes.extend_from_slice(CHUNK_END);
        // Here, and not when it is sealed under the hub's lock.
        bytes.shrink_to_fit();
        Draft { bytes, name: name_range, key, ttl_ms: None, numbered: true }
    }

    /// Gives the event an age from which nobody gets it any more, or none.
    pub fn with_ttl_ms(self, ttl_ms: Option<NonZeroU32>) -> Draft {
        Draft { ttl_ms, ..self }
    }

    /// Encodes an event that is sent without its id: the broadcast-benchmark form, `data: <body>` and a blank
    /// line, and the server's own events, after which no client shall resume.
    pub(crate) fn unnumbered(name: Option<&str>, body: &str) -> Draft {
        let mut draft = Draft::new(name, None, body, None);
        draft.numbered = false;
        draft
    }

    /// Takes the event apart again, for a place that keeps no frames.
    pub(crate) fn parts(&self) -> DraftParts<'_> {
        let body = &self.bytes[HEADROOM..self.bytes.len() - CHUNK_END.len()];
        let text = std::str::from_utf8(body).expect("made of texts and line ends");
        let name = &self.bytes[self.name.start as usize..self.name.end as usize];
        let mut data = String::with_capacity(text.len());
        let mut retry_ms = None;
        for line in text.split('\n') {
            if let Some(line) = line.strip_prefix("data: ") {
                data.push_str(line);
                data.push('\n');
            } else if let Some(digits) = line.strip_prefix("retry: ") {
                retry_ms = digits.parse().ok();
            }
        }
        data.pop();
        DraftParts {
            name: (!name.is_empty()).then(|| std::str::from_utf8(name).expect("made of a text")),
            retry_ms,
            data,
            key: self.key.as_deref(),
            ttl_ms: self.ttl_ms,
        }
    }

    /// Bytes of memory that the sealed frame will take.
    pub(crate) fn memory_bytes(&self) -> usize {
        memory_bytes(&self.bytes, self.key.as_deref())
    }

    /// Gives the event its id, without allocating: the draft has the room and no more.
    pub fn seal(mut self, id: EventId) -> Frame {
        let mut front = [0u8; HEADROOM];
        let mut bare_start = HEADROOM;
        if self.numbered {
            let room = front.len();
            let mut cursor = &mut front[..];
            writeln!(cursor, "id: {id}").expect("the headroom holds the longest id");
            let len = room - cursor.len();
            bare_start -= len;
            self.bytes[bare_start..HEADROOM].copy_from_slice(&front[..len]);
        }
        let chunk_bytes = self.bytes.len() - bare_start - CHUNK_END.len();
        let room = front.len();
        let mut cursor = &mut front[..];
        write!(cursor, "{chunk_bytes:x}\r\n").expect("the headroom holds eight digits");
        let len = room - cursor.len();
        let start = bare_start - len;
        self.bytes[start..bare_start].copy_from_slice(&front[..len]);
        Frame {
            id,
            bytes: self.bytes.into_boxed_slice(),
            start: start as u8,
            bare_start: bare_start as u8,
            name: self.name,
            key: self.key,
            life_ms: self.ttl_ms.map_or(ENDLESS, NonZeroU32::get),
        }
    }
}

fn push_data_lines(bytes: &mut Vec<u8>, data: &[u8]) {
    let mut rest = data;
    loop {
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
        bytes.extend_from_slice(b"data: ");
        bytes.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        bytes.push(b'\n');
        let Some(end) = end else { return };
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + if crlf { 2 } else { 1 }..];
    }
}

fn memory_bytes(bytes: &[u8], key: Option<&str>) -> usize {
    bytes.len() + key.map_or(0, str::len) + KEPT_OVERHEAD_BYTES
}

/// The form in which a stream gets its frames, and the server's own events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameForm {
    /// Each is one HTTP/1.1 chunk.
    Chunk,
    /// The bytes alone, for HTTP/1.0: the end of the connection is the end of the stream.
    Bare,
}

impl Frame {
    /// Returns the id of the event.
    pub(crate) fn id(&self) -> EventId {
        self.id
    }

    /// The frame as one HTTP/1.1 chunk.
    pub(crate) fn chunked(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }

    /// The frame alone, for HTTP/1.0.
    pub(crate) fn bare(&self) -> &[u8] {
        &self.bytes[usize::from(self.bare_start)..self.bytes.len() - CHUNK_END.len()]
    }

    /// The bytes that a connection gets.
    pub(crate) fn form(&self, form: FrameForm) -> &[u8] {
        match form {
            FrameForm::Chunk => self.chunked(),
            FrameForm::Bare => self.bare(),
        }
    }

    /// The event's name; `message` when it has none, as clients see it.
    pub(crate) fn name(&self) -> &[u8] {
        let name = &self.bytes[self.name.start as usize..self.name.end as usize];
        if name.is_empty() { UNNAMED_EVENT.as_bytes() } else { name }
    }

    /// The name that its publisher has given it.
    pub(crate) fn given_name(&self) -> Option<&str> {
        let name = &self.bytes[self.name.start as usize..self.name.end as usize];
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// The payload as its readers get it, lines ended by LF.
    pub(crate) fn payload(&self) -> String {
        let lines = self.bare().split(|byte| *byte == b'\n');
        let data: Vec<&[u8]> = lines.filter_map(|line| line.strip_prefix(b"data: ")).collect();
        String::from_utf8_lossy(&data.join(&b'\n')).into_owned()
    }

    /// The key under which only the newest event matters, if any.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Milliseconds of its life that are left, counted from its commit; none if it has no end.
    pub(crate) fn life_ms(&self) -> Option<u32> {
        Some(self.life_ms).filter(|life_ms| *life_ms != ENDLESS)
    }

    /// Shortens its life, if it has an end, by what was over before its commit.
    pub(crate) fn spend_life(&mut self, lived_ms: u64) {
        if self.life_ms != ENDLESS {
            self.life_ms = self.life_ms.saturating_sub(lived_ms.min(ENDLESS.into()) as u32);
        }
    }

    /// Gives it a life with an end, or without one.
    pub(crate) fn with_life_ms(self, life_ms: Option<u32>) -> Frame {
        Frame { life_ms: life_ms.unwrap_or(ENDLESS), ..self }
    }

    /// Bytes of memory it takes where it is kept; history bounds count these.
    pub(crate) fn memory_bytes(&self) -> usize {
        memory_bytes(&self.bytes, self.key.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: Option<&str>, retry_ms: Option<u64>, data: &str, expected: &str) {
        let frame = Draft::new(name, retry_ms, data, None).seal(EventId::at_ms(1_700_000_000_000));
        let expected = format!("id: 1700000000000-0\n{expected}\n");
        assert_eq!(String::from_utf8_lossy(frame.bare()), expected);
        let chunk = format!("{:x}\r\n{expected}\r\n", expected.len());
        assert_eq!(String::from_utf8_lossy(frame.chunked()), chunk);
    }

    #[test]
    fn payload_lines_become_data_lines_whatever_ends_them() {
        check(None, None, "hello", "data: hello\n");
        check(None, None, "", "data: \n");
        check(None, None, "a\nb\rc\r\nd", "data: a\ndata: b\ndata: c\ndata: d\n");
        check(None, None, "\r\r\n\n", "data: \ndata: \ndata: \ndata: \n");
        check(None, None, "x\n\ndata: pwned\n\n", "data: x\ndata: \ndata: data: pwned\ndata: \ndata: \n");
        check(None, None, "  indented", "data:   indented\n");
        check(None, None, "\u{feff}bom\u{2028}", "data: \u{feff}bom\u{2028}\n");
        check(Some("likes"), None, "1", "event: likes\ndata: 1\n");
        check(Some("likes"), Some(5), "1", "event: likes\nretry: 5\ndata: 1\n");
    }

    #[test]
    fn an_event_is_taken_apart_as_it_was_put_together() {
        let rows = [
            (None, None, "", None, None),
            (Some("likes"), Some(5), "a\n\nb", Some("k"), NonZeroU32::new(9)),
            (Some("x"), None, "data: y\nretry: 7\n", None, NonZeroU32::new(u32::MAX)),
        ];
        for (name, retry_ms, data, key, ttl_ms) in rows {
            let draft = Draft::new(name, retry_ms, data, key.map(Into::into)).with_ttl_ms(ttl_ms);
            assert_eq!(draft.parts(), DraftParts { name, retry_ms, data: data.to_owned(), key, ttl_ms });
        }
        assert_eq!(Draft::new(None, None, "a\rb\r\nc", None).parts().data, "a\nb\nc");
    }

    #[test]
    fn names_and_ids_are_found_again() {
        let id = EventId::parse(b"17592186044415-1048575").expect("the largest id");
        let frame = Draft::new(Some("likes"), None, &"x".repeat(300_000), Some("k".into())).seal(id);
        assert_eq!(frame.name(), b"likes");
        assert_eq!(frame.key(), Some("k"));
        assert!(frame.bare().starts_with(b"id: 17592186044415-1048575\nevent: likes\ndata: x"));
        assert_eq!(Draft::new(None, None, "", None).seal(EventId::ZERO).name(), b"message");
    }

    #[test]
    fn unnumbered_frames_hold_only_data() {
        let own = Draft::unnumbered(Some("fanwheel.x"), "1").seal(EventId::at_ms(5));
        assert_eq!(own.chunked(), b"1b\r\nevent: fanwheel.x\ndata: 1\n\n\r\n");
        assert_eq!(Draft::unnumbered(None, "42").seal(EventId::at_ms(5)).chunked(), b"a\r\ndata: 42\n\n\r\n");
    }
}
