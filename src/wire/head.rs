//! One HTTP/1 request head, strictly (RFC 9112): bytes in, a borrowed view or a [`Problem`] out.
//!
//! Allocates nothing. Knows no path, no topic and no setting but its two limits. A head that two servers
//! could read in two ways is refused. `httparse` cuts the field lines; all that it forgives (bare LF, 8-bit
//! targets, many empty lines before the request) is refused before it sees it.

use std::mem::MaybeUninit;

use crate::base::limits::HEADERS_MAX;
use crate::wire::fields::{FieldValues, HeadFields};
use crate::wire::line::{self, RequestLine};
use crate::wire::problem::Problem;

pub(crate) use crate::wire::fields::BodyLength;
pub(crate) use crate::wire::line::Method;

/// Bounds of one head; both are settings.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head with its empty line.
    pub bytes_max: usize,
    /// Field lines; more than `HEADERS_MAX` counts as that.
    pub headers_max: usize,
}

/// Contents of the buffer.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "heads are parsed without allocating")]
pub enum ParsedHead<'a> {
    /// Not a whole head yet, and nothing wrong so far. Never returned for `bytes_max` bytes or more.
    More,
    /// A head, and the bytes it takes up at the start of the buffer.
    Head(Head<'a>, usize),
    /// Never going to be a request that is served; answer and close.
    Bad(Problem),
}

/// A request head. All slices borrow from the buffer and hold no CR, LF or NUL.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Method of the request.
    pub(crate) method: Method,
    /// The path as it came, undecoded, without query; begins with `/`, or is `*`.
    pub path: &'a [u8],
    /// Text after the first `?`, undecoded; empty without one.
    pub query: &'a [u8],
    /// The version is HTTP/1.1, not 1.0.
    pub http11: bool,
    /// The client allows another request on this connection.
    pub(crate) keep_alive: bool,
    /// How long the body is.
    pub(crate) body: BodyLength,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expect_continue: bool,
    /// Values of the fields; the host is the target's authority if it has one. Only HTTP/1.0 may lack it.
    pub fields: FieldValues<'a>,
}

impl Head<'_> {
    /// Whether body bytes follow the head. A request that is answered without reading them ends its
    /// connection.
    pub(crate) fn has_body(&self) -> bool {
        !matches!(self.body, BodyLength::None | BodyLength::Bytes(0))
    }
}

/// Parses the head at the start of `buf`. Call again with more bytes after [`ParsedHead::More`]. Whether a
/// head is good does not depend on how its bytes were cut; a bad one is refused as soon as it
/// cannot become good.
pub fn parse(buf: &[u8], limits: HeadLimits) -> ParsedHead<'_> {
    match try_parse(buf, limits) {
        Ok(Some((head, bytes))) => ParsedHead::Head(head, bytes),
        Ok(None) => ParsedHead::More,
        Err(problem) => ParsedHead::Bad(problem),
    }
}

fn try_parse(buf: &[u8], limits: HeadLimits) -> Result<Option<(Head<'_>, usize)>, Problem> {
    let buf = &buf[..buf.len().min(limits.bytes_max)];
    // Some clients send an empty line after a body; one is passed over (RFC 9112 §2.2).
    let start = match buf {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let HeadLimits { bytes_max, .. } = limits;
    let Some(line) = line::parse(&buf[start..])? else {
        return if buf.len() < bytes_max { Ok(None) } else { Err(Problem::RequestLineTooLong { bytes_max }) };
    };
    let fields_start = start + line.bytes;
    let fields_bytes = scan_lines(&buf[fields_start..])?;
    let end = fields_bytes.map_or(buf.len(), |bytes| fields_start + bytes);
    let mut storage = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let storage = &mut storage[..limits.headers_max.min(HEADERS_MAX)];
    let mut request = httparse::Request::new(&mut []);
    let status = request
        .parse_with_uninit_headers(&buf[start..end], storage)
        .map_err(|error| problem_of(error, limits.headers_max))?;
    if fields_bytes.is_none() || status.is_partial() {
        return if buf.len() < bytes_max { Ok(None) } else { Err(Problem::HeadTooLarge { bytes_max }) };
    }
    let mut fields = HeadFields::default();
    for header in request.headers.iter() {
        fields.add(header.name, header.value)?;
    }
    Ok(Some((build_head(line, fields)?, end)))
}

fn problem_of(error: httparse::Error, headers_max: usize) -> Problem {
    match error {
        httparse::Error::TooManyHeaders => Problem::TooManyHeaders { headers_max },
        httparse::Error::HeaderName => Problem::Malformed("A header name is broken."),
        _ => Problem::Malformed("The request head is broken."),
    }
}

/// Finds the end of the field lines, past their empty line, and refuses what must not stand in any of them:
/// control characters, a CR or LF alone. Field values may hold 8-bit bytes; names are `httparse`'s to check.
fn scan_lines(bytes: &[u8]) -> Result<Option<usize>, Problem> {
    let mut line_start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= b' ' && byte != 0x7f || byte == b'\t' {
            continue;
        }
        match byte {
            b'\r' if bytes.get(at + 1).is_none_or(|&next| next == b'\n') => {}
            b'\n' if at > 0 && bytes[at - 1] == b'\r' => {
                if at == line_start + 1 {
                    return Ok(Some(at + 1));
                }
                line_start = at + 1;
            }
            b'\r' | b'\n' => return Err(Problem::Malformed("A line of the head does not end with CR LF.")),
            _ => return Err(Problem::Malformed("The head has a control character.")),
        }
    }
    Ok(None)
}

fn build_head<'a>(line: RequestLine<'a>, fields: HeadFields<'a>) -> Result<Head<'a>, Problem> {
    let verdict = fields.judge_framing(line.http11)?;
    Ok(Head {
        method: line.method,
        path: line.path,
        query: line.query,
        http11: line.http11,
        keep_alive: verdict.keep_alive,
        body: verdict.body,
        expect_continue: verdict.expect_continue,
        fields: FieldValues { host: line.authority.or(fields.values.host), ..fields.values },
    })
}

#[cfg(test)]
mod tests;
