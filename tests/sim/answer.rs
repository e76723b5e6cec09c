//! Answers as a strict client reads them: heads, bodies by length, streams by chunk, in any fragmentation.
//!
//! Owns HTTP framing on the client's side. Knows requests only as far as framing depends on them.

use std::collections::VecDeque;

use crate::items::{self, Item};

/// A request, as far as its answer's framing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AwaitedAnswer {
    /// The asker's own number for it.
    pub tag: usize,
    /// `HEAD`.
    pub head_only: bool,
    /// HTTP/1.1.
    pub http11: bool,
}

/// An answer that is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of its request.
    pub tag: usize,
    /// Status code.
    pub status: u16,
    /// The body.
    pub body: String,
    /// The server will end the connection.
    pub closes: bool,
}

/// An item that the bytes so far complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// An answer.
    Answer(Answer),
    /// `100 Continue`
    Interim,
    /// The head of a stream.
    Stream,
    /// An item of it.
    Item(Item),
    /// The end of a chunked stream.
    StreamEnd,
    /// The head of an answer that holds the items of a stream and has a length.
    Poll,
    /// Its end.
    PollEnd {
        /// The server will end the connection.
        closes: bool,
    },
}

enum ReaderState {
    Head,
    Body(Answer, usize),
    Chunks,
    Bare,
    /// So many bytes of items are left; the connection ends after them.
    Items(usize, bool),
    Ended,
}

/// The reader of one connection.
pub struct Reader {
    asked: VecDeque<AwaitedAnswer>,
    state: ReaderState,
    buf: Vec<u8>,
    scanned: usize,
}

impl Reader {
    /// A reader of a new connection.
    pub fn new() -> Reader {
        Reader { asked: VecDeque::new(), state: ReaderState::Head, buf: Vec::new(), scanned: 0 }
    }

    /// A request has been sent, or begun.
    pub fn ask(&mut self, asked: AwaitedAnswer) {
        self.asked.push_back(asked);
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> impl Iterator<Item = usize> + '_ {
        self.asked.iter().map(|asked| asked.tag)
    }

    /// Whether nothing is half received.
    pub fn is_between(&self) -> bool {
        self.buf.is_empty() && !matches!(self.state, ReaderState::Body(..) | ReaderState::Items(..))
    }

    /// Takes in bytes.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Got>) {
        self.buf.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((got, used)) = self.next(at) {
            at += used;
            self.scanned = 0;
            out.extend(got);
        }
        self.buf.drain(..at);
        self.scanned = if matches!(self.state, ReaderState::Bare) { self.buf.len() } else { 0 };
    }

    /// Returns the item that the bytes from `at` on complete, and its length; `None` when more must come.
    fn next(&mut self, at: usize) -> Option<(Option<Got>, usize)> {
        let rest = &self.buf[at..];
        match &self.state {
            ReaderState::Head => self.head(at),
            ReaderState::Body(_, length) if rest.len() < *length => None,
            ReaderState::Body(..) => {
                let ReaderState::Body(mut answer, length) =
                    std::mem::replace(&mut self.state, ReaderState::Head)
                else {
                    unreachable!("it was just seen");
                };
                answer.body = String::from_utf8(self.buf[at..at + length].to_vec()).expect("UTF-8");
                check_body(&answer);
                Some((Some(Got::Answer(answer)), length))
            }
            ReaderState::Chunks => {
                let (chunk, used) = take_chunk(rest)?;
                if chunk.is_empty() {
                    self.state = ReaderState::Ended;
                    return Some((Some(Got::StreamEnd), used));
                }
                Some((Some(Got::Item(items::parse(chunk))), used))
            }
            ReaderState::Bare => {
                let length = items::item_len(rest, self.scanned)?;
                Some((Some(Got::Item(items::parse(&rest[..length]))), length))
            }
            &ReaderState::Items(0, closes) => {
                self.state = if closes { ReaderState::Ended } else { ReaderState::Head };
                Some((Some(Got::PollEnd { closes }), 0))
            }
            &ReaderState::Items(left, closes) => {
                let length = items::item_len(&rest[..rest.len().min(left)], 0)?;
                self.state = ReaderState::Items(left - length, closes);
                Some((Some(Got::Item(items::parse(&rest[..length]))), length))
            }
            ReaderState::Ended => {
                assert!(rest.is_empty(), "bytes after the end of a stream: {rest:?}");
                None
            }
        }
    }

    fn head(&mut self, at: usize) -> Option<(Option<Got>, usize)> {
        let rest = &self.buf[at..];
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&rest[..end + 2]).expect("a head is text").to_owned();
        let used = end + 4;
        let (status, fields) = split_head(&head);
        let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        if status == 100 {
            return Some((Some(Got::Interim), used));
        }
        let asked = self.asked.pop_front().expect("an answer that nobody asked for");
        let closes = field("Connection") == Some("close");
        let stream = field("Content-Type") == Some("text/event-stream; charset=utf-8");
        if stream {
            assert_eq!(status, 200);
            assert_eq!(field("Cache-Control"), Some("no-cache, no-transform"));
            assert_eq!(field("X-Accel-Buffering"), Some("no"));
            if let Some(length) = field("Content-Length") {
                assert_eq!(field("Transfer-Encoding"), None);
                self.state = ReaderState::Items(length.parse().expect("a length"), closes);
                return Some((Some(Got::Poll), used));
            }
            assert_eq!(field("Transfer-Encoding"), asked.http11.then_some("chunked"));
            assert!(closes || asked.head_only, "a stream takes its connection with it");
        }
        let answer = Answer { tag: asked.tag, status, body: String::new(), closes };
        if stream && !asked.head_only {
            self.state = if asked.http11 { ReaderState::Chunks } else { ReaderState::Bare };
            return Some((Some(Got::Stream), used));
        }
        let length = field("Content-Length").map(|length| length.parse::<usize>().expect("a length"));
        assert!(length.is_some() || status == 204 || stream, "an answer without a length: {head:?}");
        if status == 503 {
            let seconds: u64 = field("Retry-After").expect("a 503 says when").parse().expect("seconds");
            assert!((1..8).contains(&seconds));
        }
        if asked.head_only || status == 204 {
            return Some((Some(Got::Answer(answer)), used));
        }
        self.state = ReaderState::Body(answer, length.expect("it was just checked"));
        Some((None, used))
    }
}

/// Status and fields of a head.
fn split_head(head: &str) -> (u16, Vec<(&str, &str)>) {
    let mut lines = head.strip_suffix("\r\n").expect("a whole head").split("\r\n");
    let status_line = lines.next().expect("a status line");
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status.unwrap_or_else(|| panic!("bad status line {status_line:?}"));
    let fields = lines.map(|line| line.split_once(": ").expect("a field line")).collect();
    (status.parse().expect("a status code"), fields)
}

/// The chunk at the start of `buf`, if it is whole, and the bytes it takes up.
fn take_chunk(buf: &[u8]) -> Option<(&[u8], usize)> {
    let line = buf.windows(2).take(12).position(|window| window == b"\r\n");
    let Some(line) = line else {
        assert!(buf.len() < 12, "no chunk size: {:?}", &buf[..12]);
        return None;
    };
    let digits = std::str::from_utf8(&buf[..line]).expect("a chunk size is text");
    let canonical = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    assert!(canonical && (digits == "0" || !digits.starts_with('0')), "bad chunk size {digits:?}");
    let size = usize::from_str_radix(digits, 16).expect("a chunk size");
    let end = line + 2 + size;
    if buf.len() < end + 2 {
        return None;
    }
    assert_eq!(&buf[end..end + 2], b"\r\n", "a chunk does not end where it says");
    Some((&buf[line + 2..end], end + 2))
}

fn check_body(answer: &Answer) {
    if answer.status < 400 {
        return;
    }
    let json: serde_json::Value = serde_json::from_str(&answer.body).expect("a problem is JSON");
    assert!(json["error"].is_string() && json["message"].is_string(), "{}", answer.body);
}
