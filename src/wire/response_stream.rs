//! One subscriber's side of an answer: response head, transfer coding, event stream; any server's, in any
//! pieces. Knows nothing of sockets. Strict only where a browser is.

use crate::base::limits::{KIB, LOAD_HEADERS_MAX, MIB};
use crate::wire::sse::{SseEvent, SseParser};

/// Bytes of an answer's head; any server is to be measured, so more than this one's.
const LOAD_HEAD_BYTES_MAX: usize = 16 * KIB;
/// Bytes of one event that a subscriber takes.
const LOAD_EVENT_BYTES_MAX: usize = 16 * MIB;

/// A part of the answer that came whole.
#[derive(Debug)]
pub(crate) enum StreamItem<'a> {
    /// The head of an event stream.
    Opened,
    /// An event of the stream.
    Event(SseEvent<'a>),
    /// The end of a chunked body.
    End,
}

/// Why reading goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamFault {
    /// Another status than 200.
    Status(u16),
    /// 200, but no event stream.
    NoStream,
    /// No HTTP, no chunk, or beyond a bound.
    Broken,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum ResponseFraming {
    #[default]
    Head,
    /// A chunk's size comes.
    Size,
    /// So many bytes of the chunk, then its line end, are to come.
    Chunk(usize),
    /// The two bytes behind a chunk, or the rest of them.
    ChunkEnd(u8),
    /// Everything until the connection ends.
    Bare,
    Ended,
}

/// The state of one answer.
pub(crate) struct ResponseStream {
    framing: ResponseFraming,
    /// The beginning of a head or of a size line that has not come whole.
    rest: Vec<u8>,
    parser: SseParser,
}

impl Default for ResponseStream {
    fn default() -> ResponseStream {
        ResponseStream {
            framing: ResponseFraming::Head,
            rest: Vec::new(),
            parser: SseParser::new(LOAD_EVENT_BYTES_MAX),
        }
    }
}

impl ResponseStream {
    /// The id to resume after; empty for none.
    pub(crate) fn last_event_id(&self) -> &[u8] {
        self.parser.last_event_id()
    }

    /// Comments that came, the heartbeats among them.
    pub(crate) fn comments(&self) -> u64 {
        self.parser.comments()
    }

    /// Takes in the bytes that were read. A fault is final.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        take: &mut impl FnMut(StreamItem<'_>),
    ) -> Result<(), StreamFault> {
        while !bytes.is_empty() {
            bytes = match self.framing {
                ResponseFraming::Head => self.read_head(bytes, take)?,
                ResponseFraming::Size => self.read_chunk_size(bytes, take)?,
                ResponseFraming::Chunk(left) => {
                    let (piece, behind) = bytes.split_at(left.min(bytes.len()));
                    self.read_body(piece, take)?;
                    let left = left - piece.len();
                    self.framing =
                        if left > 0 { ResponseFraming::Chunk(left) } else { ResponseFraming::ChunkEnd(2) };
                    behind
                }
                ResponseFraming::ChunkEnd(left) => {
                    let wanted = if left == 2 { b'\r' } else { b'\n' };
                    if bytes[0] != wanted {
                        return Err(StreamFault::Broken);
                    }
                    self.framing =
                        if left == 2 { ResponseFraming::ChunkEnd(1) } else { ResponseFraming::Size };
                    &bytes[1..]
                }
                ResponseFraming::Bare => {
                    self.read_body(bytes, take)?;
                    &[]
                }
                // Behind the last chunk there may be trailers, which mean nothing here.
                ResponseFraming::Ended => &[],
            };
        }
        Ok(())
    }

    fn read_body(&mut self, piece: &[u8], take: &mut impl FnMut(StreamItem<'_>)) -> Result<(), StreamFault> {
        self.parser.feed(piece, |event| take(StreamItem::Event(event))).map_err(|_| StreamFault::Broken)
    }

    fn read_head<'b>(
        &mut self,
        bytes: &'b [u8],
        take: &mut impl FnMut(StreamItem<'_>),
    ) -> Result<&'b [u8], StreamFault> {
        let before = self.rest.len();
        self.rest.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; LOAD_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.rest).map_err(|_| StreamFault::Broken)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial if self.rest.len() > LOAD_HEAD_BYTES_MAX => {
                return Err(StreamFault::Broken);
            }
            httparse::Status::Partial => return Ok(&[]),
        };
        match response.code {
            Some(200) => {}
            code => return Err(StreamFault::Status(code.unwrap_or(0))),
        }
        let has = |name: &str, value: &str| {
            let named = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            named.is_some_and(|header| {
                header
                    .value
                    .to_ascii_lowercase()
                    .windows(value.len())
                    .any(|window| window == value.as_bytes())
            })
        };
        if !has("content-type", "text/event-stream") {
            return Err(StreamFault::NoStream);
        }
        self.framing =
            if has("transfer-encoding", "chunked") { ResponseFraming::Size } else { ResponseFraming::Bare };
        // No server of many streams sends a body so early that its end could lie in an earlier piece.
        self.rest = Vec::new();
        take(StreamItem::Opened);
        Ok(&bytes[length - before..])
    }

    fn read_chunk_size<'b>(
        &mut self,
        bytes: &'b [u8],
        take: &mut impl FnMut(StreamItem<'_>),
    ) -> Result<&'b [u8], StreamFault> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            if self.rest.len() + bytes.len() > LOAD_HEAD_BYTES_MAX {
                return Err(StreamFault::Broken);
            }
            self.rest.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let size = if self.rest.is_empty() {
            parse_chunk_size(&bytes[..end])
        } else {
            self.rest.extend_from_slice(&bytes[..end]);
            let size = parse_chunk_size(&self.rest);
            self.rest.clear();
            size
        };
        self.framing = match size.ok_or(StreamFault::Broken)? {
            0 => {
                take(StreamItem::End);
                ResponseFraming::Ended
            }
            size => ResponseFraming::Chunk(size),
        };
        Ok(&bytes[end + 1..])
    }
}

/// The size in a chunk's first line, given without its LF (RFC 9112 §7.1).
fn parse_chunk_size(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\r")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !matches!(line.get(digits), None | Some(b';' | b' ' | b'\t')) {
        return None;
    }
    usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a stream given in pieces.
    fn read(bytes: &[u8], piece: usize) -> (Vec<String>, Result<(), StreamFault>) {
        let (mut stream, mut items) = (ResponseStream::default(), Vec::new());
        for part in bytes.chunks(piece) {
            let fed = stream.feed(part, &mut |item| {
                items.push(match item {
                    StreamItem::Opened => "opened".to_owned(),
                    StreamItem::Event(event) => String::from_utf8_lossy(event.data).into_owned(),
                    StreamItem::End => "end".to_owned(),
                });
            });
            if fed.is_err() {
                return (items, fed);
            }
        }
        (items, Ok(()))
    }

    fn check(answer: &str, items: &[&str], end: Result<(), StreamFault>) {
        for piece in 1..=answer.len() {
            let (found, ended) = read(answer.as_bytes(), piece);
            assert_eq!(
                (found, ended),
                (items.iter().map(|&item| item.to_owned()).collect(), end),
                "{answer:?}/{piece}"
            );
        }
    }

    #[test]
    fn any_servers_answer_is_read_in_any_pieces() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n";
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        let bare = format!("{head}\r\n");
        check(&format!("{bare}:ok\n\ndata: a\n\ndata: b\n\n"), &["opened", "a", "b"], Ok(()));
        check(&format!("{chunked}5\r\n:ok\n\n\r\n0a;x=1\r\ndata: ab\n\n\r\n"), &["opened", "ab"], Ok(()));
        check(&format!("{chunked}6\r\ndata: \r\n3\r\na\n\n\r\n0\r\n\r\n"), &["opened", "a", "end"], Ok(()));
        check(&format!("{chunked}x\r\n"), &["opened"], Err(StreamFault::Broken));
        check(&format!("{chunked}2\r\n:\nX\n"), &["opened"], Err(StreamFault::Broken));
        check("HTTP/1.1 503 Busy\r\n\r\n", &[], Err(StreamFault::Status(503)));
        check("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", &[], Err(StreamFault::NoStream));
        check("SSH-2.0-x\r\n", &[], Err(StreamFault::Broken));
    }
}
