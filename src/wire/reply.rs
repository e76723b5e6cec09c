//! Answers, whole, as bytes: status line, fields, body; the heads of streams; the frames the server itself
//! puts into streams.
//!
//! Appends to the caller's buffer and decides nothing: status, closing and texts are arguments. Every answer
//! is framed so that its end is certain: by length, by chunks, or by the end of the connection.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use crate::base::id::EventId;
use crate::base::snapshot::{EmbeddedFile, MetricsFormat};
use crate::wire::cors::Cors;
use crate::wire::fields::{ListLines, is_token_byte};
use crate::wire::frame::FrameForm;
use crate::wire::problem::Problem;

/// The last millisecond of the year 9999: the form of `Date` has no later years.
const DATE_MS_MAX: u64 = 253_402_300_799_999;
/// `Content-Type` of JSON answers.
const TYPE_JSON: &str = "application/json";
/// `Content-Type` of streams. An event stream is UTF-8 whatever a parameter says (WHATWG HTML §9.2.5), but
/// clients that know only HTTP read a text without one as Latin-1.
const TYPE_STREAM: &str = "text/event-stream; charset=utf-8";
/// `Content-Type` of plain texts.
const TYPE_TEXT: &str = "text/plain; charset=utf-8";
/// `Content-Type` of `/metrics` in the OpenMetrics format.
const TYPE_OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// `Content-Type` of `/metrics` in the Prometheus text format.
const TYPE_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The interim answer to `Expect: 100-continue`.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Value of `Content-Type` for `/metrics`.
pub(crate) fn metrics_type(format: MetricsFormat) -> &'static str {
    match format {
        MetricsFormat::Prometheus => TYPE_METRICS,
        MetricsFormat::OpenMetrics => TYPE_OPENMETRICS,
    }
}

/// Facts that all answers to one request share.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Status code of the answer.
    pub status: u16,
    /// The request was HTTP/1.1.
    pub http11: bool,
    /// The connection stays open; otherwise the answer says `Connection: close`.
    pub keep_alive: bool,
    /// How long it then waits for the next request: clients that know it send none into a closing connection.
    pub idle_ms: u64,
    /// The request was `HEAD`: all of the head, none of the body.
    pub head_only: bool,
    /// Origins that may read the answer.
    pub cors: &'a Cors,
    /// Value of the request's `Origin`.
    pub origin: Option<&'a [u8]>,
    /// `Retry-After` in seconds; jitter it.
    pub retry_after_s: Option<u64>,
    /// Value of `Allow`, the methods of the path.
    pub allow: Option<&'static str>,
    /// Value of `WWW-Authenticate`.
    pub challenge: Option<&'static str>,
    /// Time for `Date`, Unix milliseconds.
    pub wall_ms: u64,
}

/// An answer with any body.
pub(crate) fn append_body(out: &mut Vec<u8>, reply: &Reply<'_>, content_type: &str, body: &[u8]) {
    append_start(out, reply);
    append_field(out, "Content-Type", content_type);
    push_fmt(out, format_args!("Content-Length: {}\r\n\r\n", body.len()));
    if !reply.head_only {
        out.extend_from_slice(body);
    }
}

/// A JSON answer; `text` is the JSON. A line end follows it, so that a terminal's prompt does not.
pub(crate) fn append_json(out: &mut Vec<u8>, reply: &Reply<'_>, text: &str) {
    append_start(out, reply);
    append_field(out, "Content-Type", TYPE_JSON);
    push_fmt(out, format_args!("Content-Length: {}\r\n\r\n", text.len() + 1));
    if !reply.head_only {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}

/// The answer to people who look at the public listener with a browser. It names neither version nor address:
/// strangers read it, too.
pub(crate) fn append_landing(out: &mut Vec<u8>, reply: &Reply<'_>) {
    append_body(out, reply, TYPE_TEXT, LANDING.as_bytes());
}

const LANDING: &str = "This is fanwheel, a server for event streams (Server-Sent Events).\n\
    Streams are at /events?topic=NAME on this address.\n\
    In a page: new EventSource('/events?topic=NAME')\n";

/// Rights of the dashboard in a browser: its own scripts, styles and requests, and nothing from elsewhere.
/// Nobody may frame it, and no text can become markup (`require-trusted-types-for`).
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// A part of the dashboard, or 304 when the client has it already. It is asked for again each time, so that
/// page and server are always of one version.
pub(crate) fn append_asset(
    out: &mut Vec<u8>,
    reply: &Reply<'_>,
    asset: &EmbeddedFile,
    if_none_match: Option<&[u8]>,
) {
    let known = if_none_match.is_some_and(|tags| has_tag(tags, &asset.etag));
    let reply = Reply { status: if known { 304 } else { 200 }, ..*reply };
    append_cached_start(out, &reply, "no-cache");
    append_field(out, "ETag", &asset.etag);
    append_field(out, "Content-Security-Policy", CONTENT_POLICY);
    append_field(out, "X-Content-Type-Options", "nosniff");
    append_field(out, "Referrer-Policy", "no-referrer");
    append_field(out, "Cross-Origin-Resource-Policy", "same-origin");
    append_file(out, &reply, asset);
}

/// The client library of pages, or 304 when the client has it already. A page of any origin may load it. One
/// that names the `version` it was made for may keep it for a year; any other asks each time.
pub(crate) fn append_client_library(
    out: &mut Vec<u8>,
    reply: &Reply<'_>,
    file: &EmbeddedFile,
    version: &[u8],
    if_none_match: Option<&[u8]>,
) {
    let known = if_none_match.is_some_and(|tags| has_tag(tags, &file.etag));
    let is_named = file.etag.trim_matches('"').as_bytes() == version;
    let reply = Reply { status: if known { 304 } else { 200 }, cors: &Cors::Any, ..*reply };
    append_cached_start(
        out,
        &reply,
        if is_named { "public, max-age=31536000, immutable" } else { "no-cache" },
    );
    append_field(out, "ETag", &file.etag);
    append_field(out, "X-Content-Type-Options", "nosniff");
    append_field(out, "Cross-Origin-Resource-Policy", "cross-origin");
    append_file(out, &reply, file);
}

/// The end of the head of an answer with a file, and the file unless the client has it already.
fn append_file(out: &mut Vec<u8>, reply: &Reply<'_>, file: &EmbeddedFile) {
    if reply.status == 304 {
        return out.extend_from_slice(b"\r\n");
    }
    append_field(out, "Content-Type", file.content_type);
    push_fmt(out, format_args!("Content-Length: {}\r\n\r\n", file.bytes.len()));
    if !reply.head_only {
        out.extend_from_slice(file.bytes);
    }
}

/// Whether a list of entity tags names this one; weak tags compare as strong ones (RFC 9110 §13.1.2).
fn has_tag(tags: &[u8], tag: &str) -> bool {
    tags.split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}

/// Outcome of a publish that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Id of its event, of the last one for a batch.
    pub(crate) id: EventId,
    /// Events of a batch.
    pub(crate) events: Option<u64>,
    /// Subscribers of its topics, summed over topics.
    pub(crate) subscribers: u64,
    /// One sentence about something that will surprise the publisher.
    pub(crate) warning: Option<String>,
}

/// The answer to a publish: 202 with its outcome.
pub(crate) fn append_accepted(out: &mut Vec<u8>, reply: &Reply<'_>, accepted: &Accepted) {
    let mut text = format!("{{\"id\":\"{}\"", accepted.id).into_bytes();
    if let Some(events) = accepted.events {
        push_fmt(&mut text, format_args!(",\"events\":{events}"));
    }
    push_fmt(&mut text, format_args!(",\"subscribers\":{}", accepted.subscribers));
    if let Some(warning) = &accepted.warning {
        text.extend_from_slice(b",\"warning\":");
        append_json_string(&mut text, warning);
    }
    text.extend_from_slice(b"}\n");
    append_body(out, &Reply { status: 202, ..*reply }, TYPE_JSON, &text);
}

/// A problem's answer. Status and `Allow` come from the problem; the connection closes if the problem or
/// `reply` says so.
pub fn append_problem(out: &mut Vec<u8>, problem: &Problem, reply: &Reply<'_>) {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(b"{\"error\":");
    append_json_string(&mut text, problem.code());
    text.extend_from_slice(b",\"message\":");
    append_json_string(&mut text, &problem.message());
    text.extend_from_slice(b"}\n");
    let reply = Reply {
        status: problem.status(),
        keep_alive: reply.keep_alive && !problem.closes(),
        allow: problem.allow(),
        challenge: problem.challenge(),
        ..*reply
    };
    append_body(out, &reply, TYPE_JSON, &text);
}

/// 204: done, and there is nothing more to say.
pub(crate) fn append_no_content(out: &mut Vec<u8>, reply: &Reply<'_>) {
    append_start(out, &Reply { status: 204, ..*reply });
    out.extend_from_slice(b"\r\n");
}

/// 204 to a CORS preflight, or to any other `OPTIONS` of the path. Allows the fields of event stream clients,
/// and those that are `asked` for: tracing libraries add fields to each request, which must not break a page.
pub(crate) fn append_preflight(
    out: &mut Vec<u8>,
    reply: &Reply<'_>,
    allow: &'static str,
    asked: &ListLines<'_>,
) {
    append_start(out, &Reply { status: 204, allow: Some(allow), ..*reply });
    append_field(out, "Access-Control-Allow-Methods", allow);
    out.extend_from_slice(b"Access-Control-Allow-Headers: ");
    out.extend_from_slice(PREFLIGHT_NAMES.join(", ").as_bytes());
    let usual = |name: &[u8]| PREFLIGHT_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    // A `*` would allow everything at once.
    let named = |name: &[u8]| {
        name.len() <= PREFLIGHT_NAME_BYTES_MAX && name.iter().all(|&b| is_token_byte(b) && b != b'*')
    };
    for name in asked.members().filter(|name| named(name) && !usual(name)).take(PREFLIGHT_NAMES_MAX) {
        out.extend_from_slice(b", ");
        out.extend_from_slice(name);
    }
    out.extend_from_slice(b"\r\n");
    reply.cors.append_exposed(out, reply.origin);
    out.extend_from_slice(b"Access-Control-Max-Age: 86400\r\n\r\n");
}

/// Further fields that one preflight may ask for: a page with all tracing libraries has ten.
const PREFLIGHT_NAMES_MAX: usize = 32;
/// Bytes of each of their names.
const PREFLIGHT_NAME_BYTES_MAX: usize = 64;
/// Fields that event stream clients send.
const PREFLIGHT_NAMES: [&str; 4] = ["last-event-id", "authorization", "cache-control", "content-type"];

/// Status line and the fields that every answer has.
fn append_start(out: &mut Vec<u8>, reply: &Reply<'_>) {
    append_cached_start(out, reply, "no-store");
}

fn append_cached_start(out: &mut Vec<u8>, reply: &Reply<'_>, cache_control: &str) {
    append_status_line(out, reply.status, reply.wall_ms);
    append_field(out, "Cache-Control", cache_control);
    append_persistence(out, reply);
    reply.cors.append(out, reply.origin);
    if let Some(seconds) = reply.retry_after_s {
        push_fmt(out, format_args!("Retry-After: {seconds}\r\n"));
        reply.cors.append_exposed(out, reply.origin);
    }
    if let Some(allow) = reply.allow {
        append_field(out, "Allow", allow);
    }
    if let Some(challenge) = reply.challenge {
        append_field(out, "WWW-Authenticate", challenge);
    }
}

/// The status line, and the `Date` that a server with a clock must tell (RFC 9110 §6.6.1).
fn append_status_line(out: &mut Vec<u8>, status: u16, wall_ms: u64) {
    let now = HttpDate::from(UNIX_EPOCH + Duration::from_millis(wall_ms.min(DATE_MS_MAX)));
    push_fmt(out, format_args!("HTTP/1.1 {status} {}\r\nDate: {now}\r\n", reason_phrase(status)));
}

/// Says whether the connection is kept, and for how long.
fn append_persistence(out: &mut Vec<u8>, reply: &Reply<'_>) {
    match reply.idle_ms / 1_000 {
        seconds @ 1.. if reply.keep_alive => {
            // The field belongs to the connection, so `Connection` has to name it (RFC 9110 §7.6.1).
            push_fmt(out, format_args!("Connection: keep-alive\r\nKeep-Alive: timeout={seconds}\r\n"));
        }
        _ => append_connection(out, reply.http11, reply.keep_alive),
    }
}

/// Says only that which is not the default: 1.1 keeps the connection, 1.0 has to be told (RFC 9112 §9.3).
fn append_connection(out: &mut Vec<u8>, http11: bool, keep_alive: bool) {
    match (keep_alive, http11) {
        (false, _) => append_field(out, "Connection", "close"),
        (true, false) => append_field(out, "Connection", "keep-alive"),
        (true, true) => {}
    }
}

fn append_field(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(!value.bytes().any(|b| b < b' '), "a value with a line end forges fields");
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn push_fmt(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// The parts of a stream's first bytes that differ from one stream to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamGreeting {
    /// Form of the stream's frames.
    pub(crate) form: FrameForm,
    /// Proxies may hold it back: it does not ask them to pass it on at once.
    pub(crate) buffered: bool,
    /// Reconnection time that it tells.
    pub(crate) retry_ms: u64,
}

/// The head of a stream and its greeting `:ok\nretry: N\n`, which is the first chunk: no blank line, or some
/// clients would deliver an empty message.
pub(crate) fn append_stream_head(out: &mut Vec<u8>, reply: &Reply<'_>, greeting: &StreamGreeting) {
    let StreamGreeting { form, buffered, retry_ms } = *greeting;
    append_stream_start(out, reply, buffered);
    append_stream_framing(out, form, false);
    append_chunk(out, form, |out| push_fmt(out, format_args!(":ok\nretry: {retry_ms}\n")));
}

/// The head of a long poll's answer, whose body has so many bytes.
pub(crate) fn append_poll_head(out: &mut Vec<u8>, reply: &Reply<'_>, bytes: usize) {
    append_stream_start(out, reply, false);
    append_persistence(out, reply);
    push_fmt(out, format_args!("Content-Length: {bytes}\r\n\r\n"));
}

/// The head of a stream alone, as `HEAD` gets it. A stream that is not chunked ends with its connection,
/// whatever `reply` says.
pub(crate) fn append_stream_head_only(out: &mut Vec<u8>, reply: &Reply<'_>, form: FrameForm) {
    append_stream_start(out, reply, false);
    append_stream_framing(out, form, reply.keep_alive);
}

/// The head of a stream but for its framing.
fn append_stream_start(out: &mut Vec<u8>, reply: &Reply<'_>, buffered: bool) {
    append_status_line(out, 200, reply.wall_ms);
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(TYPE_STREAM.as_bytes());
    out.extend_from_slice(b"\r\nCache-Control: no-cache, no-transform\r\n");
    if !buffered {
        append_field(out, "X-Accel-Buffering", "no");
    }
    reply.cors.append(out, reply.origin);
}

/// Ends the head of a stream. Only the answer to `HEAD` and the benchmark's streams may leave the connection
/// open: any other stream takes its connection with it, and a pool of connections must know that beforehand.
fn append_stream_framing(out: &mut Vec<u8>, form: FrameForm, keep_alive: bool) {
    let chunked = form == FrameForm::Chunk;
    if chunked {
        append_field(out, "Transfer-Encoding", "chunked");
    }
    append_connection(out, chunked, keep_alive && chunked);
    out.extend_from_slice(b"\r\n");
}

/// A whole stream that only says when to come back. A browser's EventSource gets it instead of a 503,
/// after which it would never come back. The connection closes after it.
pub(crate) fn append_overload_stream(out: &mut Vec<u8>, reply: &Reply<'_>, form: FrameForm, retry_ms: u64) {
    append_stream_head_only(out, &Reply { keep_alive: false, ..*reply }, form);
    append_retry_line(out, form, retry_ms);
    out.extend_from_slice(stream_end(form));
}

/// The bytes that end a stream.
pub(crate) fn stream_end(form: FrameForm) -> &'static [u8] {
    match form {
        FrameForm::Chunk => b"0\r\n\r\n",
        FrameForm::Bare => b"",
    }
}

/// The comment that tells a silent stream's client that the server is there.
pub(crate) fn heartbeat(form: FrameForm) -> &'static [u8] {
    match form {
        FrameForm::Chunk => b"2\r\n:\n\r\n",
        FrameForm::Bare => b":\n",
    }
}

/// The line `retry: N`, without a blank line.
pub(crate) fn append_retry_line(out: &mut Vec<u8>, form: FrameForm, retry_ms: u64) {
    append_chunk(out, form, |out| push_fmt(out, format_args!("retry: {retry_ms}\n")));
}

/// A block that holds the id alone: it sets the client's last id, and no event is dispatched for it (WHATWG
/// HTML §9.2.6).
pub(crate) fn append_position(out: &mut Vec<u8>, form: FrameForm, position: EventId) {
    append_chunk(out, form, |out| push_fmt(out, format_args!("id: {position}\n\n")));
}

/// `event: fanwheel.clock` with the server's time in Unix milliseconds.
pub(crate) fn append_clock_event(out: &mut Vec<u8>, form: FrameForm, now_ms: u64) {
    append_chunk(out, form, |out| {
        push_fmt(out, format_args!("event: fanwheel.clock\ndata: {{\"now_ms\":{now_ms}}}\n\n"));
    });
}

/// `event: fanwheel.snapshot-end` behind a snapshot of so many events of so many topics.
pub(crate) fn append_snapshot_end(out: &mut Vec<u8>, form: FrameForm, topics: usize, events: u64) {
    append_chunk(out, form, |out| {
        let data = format_args!("{{\"topics\":{topics},\"events\":{events}}}");
        push_fmt(out, format_args!("event: fanwheel.snapshot-end\ndata: {data}\n\n"));
    });
}

/// Appends the bytes of `content` in a form.
pub(super) fn append_chunk(out: &mut Vec<u8>, form: FrameForm, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    content(out);
    if form == FrameForm::Bare {
        return;
    }
    let mut size = Vec::with_capacity(18);
    push_fmt(&mut size, format_args!("{:x}\r\n", out.len() - start));
    out.splice(start..start, size);
    out.extend_from_slice(b"\r\n");
}

/// Appends `text` as a JSON string with its quotes. Control characters, DEL and C1 included, and the line
/// separators of JavaScript are escaped, so that the string is one line wherever it is shown.
pub fn append_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{2028}' | '\u{2029}' => push_fmt(out, format_args!("\\u{:04x}", u32::from(character))),
            control if control.is_control() => push_fmt(out, format_args!("\\u{:04x}", u32::from(control))),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

const BENCH_CORS: &str = "Access-Control-Allow-Origin: *\r\n";

/// Broadcast-benchmark profile: the head of a stream with its first body bytes `:ok\n\n`.
pub(crate) fn append_bench_stream_head(out: &mut Vec<u8>, form: FrameForm) {
    out.extend_from_slice(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n",
    );
    out.extend_from_slice(BENCH_CORS.as_bytes());
    append_stream_framing(out, form, true);
    append_chunk(out, form, |out| out.extend_from_slice(b":ok\n\n"));
}

/// Broadcast-benchmark profile: the number of open streams; closes.
pub(crate) fn append_bench_connections(out: &mut Vec<u8>, streams: u64) {
    append_bench_text(out, 200, &streams.to_string(), true, false);
}

/// Broadcast-benchmark profile: 204; closes.
pub(crate) fn append_bench_options(out: &mut Vec<u8>) {
    push_fmt(out, format_args!("HTTP/1.1 204 No Content\r\n{BENCH_CORS}Connection: close\r\n\r\n"));
}

/// Broadcast-benchmark profile: 202 to a broadcast. `keep_alive` and `http11` as in [`Reply`]; that profile's
/// own test expects the connection to close.
pub(crate) fn append_bench_accepted(out: &mut Vec<u8>, reply: &Reply<'_>) {
    append_bench_text(out, 202, "", reply.http11, reply.keep_alive);
}

fn append_bench_text(out: &mut Vec<u8>, status: u16, text: &str, http11: bool, keep_alive: bool) {
    push_fmt(
        out,
        format_args!("HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\n", reason_phrase(status)),
    );
    push_fmt(out, format_args!("Cache-Control: no-cache\r\n{BENCH_CORS}"));
    append_connection(out, http11, keep_alive);
    push_fmt(out, format_args!("Content-Length: {}\r\n\r\n{text}", text.len()));
}

#[cfg(test)]
mod tests;
