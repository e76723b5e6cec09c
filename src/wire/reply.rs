//! Answers, whole, as bytes: status line, fields, body; the heads of streams; the frames the server itself
//! puts into streams.
//!
//! Appends to the caller's buffer and decides nothing: status, closing and texts are arguments.

use crate::base::id::EventId;
use crate::wire::cors::Cors;
use crate::wire::problem::Problem;

/// `Content-Type` of JSON answers.
pub const TYPE_JSON: &str = "application/json";
/// `Content-Type` of plain texts.
pub const TYPE_TEXT: &str = "text/plain; charset=utf-8";
/// `Content-Type` of `/metrics`.
pub const TYPE_OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// `Content-Type` of `/metrics` (the Prometheus text format).
pub const TYPE_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The interim answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// A heartbeat as one chunk: a comment line without a blank line after it.
pub const HEARTBEAT_CHUNKED: &[u8] = b"2\r\n:\n\r\n";
/// A heartbeat for an HTTP/1.0 stream.
pub const HEARTBEAT_BARE: &[u8] = b":\n";
/// The end of a chunked stream.
pub const END_CHUNKED: &[u8] = b"0\r\n\r\n";

/// What all answers to one request have in common.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Status code.
    pub status: u16,
    /// The request was HTTP/1.1.
    pub http11: bool,
    /// The connection stays open; otherwise the answer says `Connection: close`.
    pub keep_alive: bool,
    /// The request was `HEAD`: all of the head, none of the body.
    pub head_only: bool,
    /// Who may read the answer.
    pub cors: &'a Cors,
    /// The request's `Origin`.
    pub origin: Option<&'a [u8]>,
    /// `Retry-After` in seconds; jitter it.
    pub retry_after_s: Option<u64>,
    /// `Allow`
    pub allow: Option<&'static str>,
}

/// An answer with any body.
pub fn body(out: &mut Vec<u8>, reply: &Reply<'_>, content_type: &str, body: &[u8]) {
    let _ = (out, reply, content_type, body);
}

/// A JSON answer; `text` is the JSON.
pub fn json(out: &mut Vec<u8>, reply: &Reply<'_>, text: &str) {
    body(out, reply, TYPE_JSON, text.as_bytes());
}

/// The answer to a publish: 202 with the id and the number of subscribers it went to.
pub fn accepted(out: &mut Vec<u8>, reply: &Reply<'_>, id: EventId, subscribers: usize) {
    let _ = (out, reply, id, subscribers);
}

/// A problem's answer. Status and `Allow` come from the problem; the connection closes if the problem or
/// `reply` says so.
pub fn problem(out: &mut Vec<u8>, problem: &Problem, reply: &Reply<'_>) {
    let _ = (out, problem, reply);
}

/// 204 to a CORS preflight, or to any other `OPTIONS` of the path.
pub fn preflight(out: &mut Vec<u8>, reply: &Reply<'_>, allow: &'static str) {
    let _ = (out, reply, allow);
}

/// The head of a stream and its greeting `:ok\nretry: N\n`, which is the first chunk.
pub fn stream_head(out: &mut Vec<u8>, chunked: bool, cors: &Cors, origin: Option<&[u8]>, retry_ms: u64) {
    let _ = (out, chunked, cors, origin, retry_ms);
}

/// The head of a stream alone, as `HEAD` gets it. `keep_alive` as in [`Reply`].
pub fn stream_head_only(
    out: &mut Vec<u8>,
    chunked: bool,
    cors: &Cors,
    origin: Option<&[u8]>,
    keep_alive: bool,
) {
    let _ = (out, chunked, cors, origin, keep_alive);
}

/// A whole stream that only says when to come back: what a browser's EventSource gets instead of a 503,
/// after which it would never come back. The connection closes after it.
pub fn overload_stream(out: &mut Vec<u8>, chunked: bool, cors: &Cors, origin: Option<&[u8]>, retry_ms: u64) {
    let _ = (out, chunked, cors, origin, retry_ms);
}

/// The line `retry: N`, without a blank line.
pub fn retry_line(out: &mut Vec<u8>, chunked: bool, retry_ms: u64) {
    let _ = (out, chunked, retry_ms);
}

/// `event: fanwheel.gap`: events of `topic` after `after` may be missing; `oldest` is the oldest one kept.
pub fn gap_event(out: &mut Vec<u8>, chunked: bool, topic: &str, after: &str, oldest: Option<EventId>) {
    let _ = (out, chunked, topic, after, oldest);
}

/// `event: fanwheel.clock` with the server's time in Unix milliseconds.
pub fn clock_event(out: &mut Vec<u8>, chunked: bool, now_ms: u64) {
    let _ = (out, chunked, now_ms);
}

/// Appends `text` as a JSON string with its quotes.
pub fn json_string(out: &mut Vec<u8>, text: &str) {
    let _ = (out, text);
}

/// Broadcast-benchmark profile: the head of a stream with its first body bytes `:ok\n\n`.
pub fn bench_stream_head(out: &mut Vec<u8>, chunked: bool) {
    let _ = (out, chunked);
}

/// Broadcast-benchmark profile: the number of open streams; closes.
pub fn bench_connections(out: &mut Vec<u8>, streams: u64) {
    let _ = (out, streams);
}

/// Broadcast-benchmark profile: 204; closes.
pub fn bench_options(out: &mut Vec<u8>) {
    let _ = out;
}

/// Broadcast-benchmark profile: 202 to a broadcast. `keep_alive` and `http11` as in [`Reply`].
pub fn bench_accepted(out: &mut Vec<u8>, http11: bool, keep_alive: bool) {
    let _ = (out, http11, keep_alive);
}
