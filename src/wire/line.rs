//! The request line (RFC 9112 §3), judged byte by byte as it comes, so that noise is refused at once.
//!
//! Owns methods, versions and the forms of a target. Knows no field and no path.

use crate::wire::fields::{is_authority, is_token_byte};
use crate::wire::problem::Problem;

/// Bytes of a method: longer than any that is registered, so that noise is refused early.
const METHOD_BYTES_MAX: usize = 32;

/// The methods that some path knows. Compared by case (RFC 9110 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in HTTP; `Other` is any other token")]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Options,
    Delete,
    Other,
}

impl Method {
    /// Its name as in HTTP; nothing for a token that names no method of ours.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Options => "OPTIONS",
            Method::Delete => "DELETE",
            Method::Other => "",
        }
    }
}

/// A whole request line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine<'a> {
    /// Method of the request.
    pub(crate) method: Method,
    /// Begins with `/`, or is `*`.
    pub(crate) path: &'a [u8],
    /// Text after the first `?`, undecoded.
    pub(crate) query: &'a [u8],
    /// The authority of an absolute target.
    pub(crate) authority: Option<&'a [u8]>,
    /// The version is HTTP/1.1, not 1.0.
    pub(crate) http11: bool,
    /// Bytes of the line with its CRLF.
    pub(crate) bytes: usize,
}

const TOO_LONG_METHOD: Problem = Problem::Malformed("The method is too long.");
const NO_METHOD: Problem = Problem::Malformed("The request does not begin with a method.");
const NO_VERSION: Problem = Problem::Malformed("The request line does not end with an HTTP version.");

/// Reads the line at the start of `buf`; `None` while it is not whole and nothing is wrong with it yet.
/// Each byte is judged in order, so the verdict does not depend on how many came at once.
pub(crate) fn parse(buf: &[u8]) -> Result<Option<RequestLine<'_>>, Problem> {
    let Some(method_end) = find_method_end(buf)? else { return Ok(None) };
    let Some(target_end) = find_target_end(buf, method_end + 1)? else { return Ok(None) };
    let Some(http11) = parse_version(buf, target_end + 1)? else { return Ok(None) };
    let method = match &buf[..method_end] {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"OPTIONS" => Method::Options,
        b"DELETE" => Method::Delete,
        _ => Method::Other,
    };
    let (authority, rest) = split_target(&buf[method_end + 1..target_end])?;
    let (path, query) = match rest.iter().position(|&b| b == b'?') {
        Some(mark) => (&rest[..mark], &rest[mark + 1..]),
        None => (rest, &rest[rest.len()..]),
    };
    let path = if path.is_empty() { b"/" } else { path };
    if path == b"*" && method != Method::Options {
        return Err(Problem::BadTarget("The target * belongs to OPTIONS."));
    }
    let bytes = target_end + 1 + VERSION_BYTES;
    Ok(Some(RequestLine { method, path, query, authority, http11, bytes }))
}

fn find_method_end(buf: &[u8]) -> Result<Option<usize>, Problem> {
    for (at, &byte) in buf.iter().enumerate() {
        if byte == b' ' && at > 0 {
            return Ok(Some(at));
        }
        if !is_token_byte(byte) {
            return Err(NO_METHOD);
        }
        if at == METHOD_BYTES_MAX {
            return Err(TOO_LONG_METHOD);
        }
    }
    Ok(None)
}

/// The first byte already tells the forms that are served from others: a PROXY line, an authority for
/// CONNECT, a second space.
fn find_target_end(buf: &[u8], start: usize) -> Result<Option<usize>, Problem> {
    match buf.get(start) {
        None | Some(b'/' | b'*' | b'h' | b'H') => {}
        Some(_) => return Err(Problem::BadTarget("The target is neither a path nor an http URL.")),
    }
    for (at, &byte) in buf.iter().enumerate().skip(start) {
        match byte {
            b' ' => return Ok(Some(at)),
            b'\r' | b'\n' => return Err(NO_VERSION),
            // Browsers leave a backslash in a query as it is (WHATWG URL, the query percent-encode set).
            b'\\' if buf[start..at].contains(&b'?') => {}
            b'#' | b'\\' => {
                return Err(Problem::BadTarget("The target has a character that must be escaped."));
            }
            0x21..=0x7e => {}
            _ => return Err(Problem::BadTarget("The target has a byte that must be escaped.")),
        }
    }
    Ok(None)
}

/// Bytes of `HTTP/x.y` with its CRLF.
const VERSION_BYTES: usize = 10;

fn parse_version(buf: &[u8], start: usize) -> Result<Option<bool>, Problem> {
    let got = &buf[start..buf.len().min(start + VERSION_BYTES)];
    for (&byte, &form) in got.iter().zip(b"HTTP/0.0\r\n") {
        let fits = if form == b'0' { byte.is_ascii_digit() } else { byte == form };
        if !fits {
            return Err(NO_VERSION);
        }
    }
    if got.len() < VERSION_BYTES {
        return Ok(None);
    }
    match &got[5..8] {
        b"1.1" => Ok(Some(true)),
        b"1.0" => Ok(Some(false)),
        _ => Err(Problem::VersionNotSupported),
    }
}

/// Takes scheme and authority off an absolute target (RFC 9112 §3.2.2).
fn split_target(target: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Problem> {
    if target[0] == b'/' || target == b"*" {
        return Ok((None, target));
    }
    let after_scheme = [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(|scheme| &target[scheme.len()..])
        .ok_or(Problem::BadTarget("The target is neither a path nor an http URL."))?;
    let end = after_scheme.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(after_scheme.len());
    let (authority, rest) = after_scheme.split_at(end);
    if !is_authority(authority) {
        return Err(Problem::BadTarget("The target's authority is not a host with an optional port."));
    }
    Ok((Some(authority), rest))
}
