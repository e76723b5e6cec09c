//! The fields of a request head that mean something to this server, collected and checked as they come.
//!
//! Owns the rules for each field's value and how often it may stand (RFC 9110, RFC 9112 §6.3). Knows neither
//! the request line nor how lines are cut.

use crate::base::number_text::parse_decimal;
use crate::wire::accept::AcceptHeader;
use crate::wire::problem::Problem;

/// How long the body is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// Neither `Content-Length` nor `Transfer-Encoding`: no body.
    #[default]
    None,
    /// So many bytes, by `Content-Length`.
    Bytes(u64),
    /// Chunks up to an empty one, by `Transfer-Encoding`.
    Chunked,
}

/// Lines of a list field that are read, such as `If-None-Match`: clients send one, a proxy may split it.
const LIST_LINES_MAX: usize = 4;

/// The lines of a list field, which may be repeated (RFC 9110 §5.3); the first `LIST_LINES_MAX` of them, or
/// the last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListLines<'a> {
    lines: [&'a [u8]; LIST_LINES_MAX],
    count: usize,
}

impl<'a> ListLines<'a> {
    fn push(&mut self, value: &'a [u8]) {
        if let Some(free) = self.lines.get_mut(self.count) {
            *free = value;
            self.count += 1;
        }
    }

    /// The lines in order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.lines.into_iter().take(self.count)
    }

    /// Adds a line of a field whose last lines count.
    pub(crate) fn push_last(&mut self, value: &'a [u8]) {
        if self.count == LIST_LINES_MAX {
            self.lines.rotate_left(1);
            self.count -= 1;
        }
        self.push(value);
    }

    /// Whether the field is missing.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All members, trimmed, in order; empty ones are passed over.
    pub(crate) fn members(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let lines = self.lines;
        lines.into_iter().take(self.count).flat_map(members)
    }

    /// The lines as one, or none if the field is missing.
    pub(crate) fn joined(&self) -> Option<Box<[u8]>> {
        (self.count > 0).then(|| self.lines[..self.count].join(&b", "[..]).into())
    }
}

impl<'a> FromIterator<&'a [u8]> for ListLines<'a> {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(values: I) -> ListLines<'a> {
        let mut lines = ListLines::default();
        values.into_iter().for_each(|value| lines.push(value));
        lines
    }
}

/// Values that the server acts upon.
#[derive(Clone, Copy, Debug, Default)]
pub struct FieldValues<'a> {
    /// Value of `Host`, which is valid or empty (RFC 9112 §3.2).
    pub host: Option<&'a [u8]>,
    /// Value of `Authorization`, as it came.
    pub(crate) authorization: Option<&'a [u8]>,
    /// All lines of `Cookie`: a browser sends one, a proxy may split it.
    pub(crate) cookie: ListLines<'a>,
    /// Value of `Origin`, as it came.
    pub origin: Option<&'a [u8]>,
    /// All `Accept` lines, judged together.
    pub(crate) accept: AcceptHeader,
    /// Value of `Content-Type`, as it came.
    pub content_type: Option<&'a [u8]>,
    /// Value of the first `Last-Event-ID`.
    pub last_event_id: Option<&'a [u8]>,
    /// There was a second `Last-Event-ID`.
    pub(crate) last_event_id_repeated: bool,
    /// Value of `Idempotency-Key`, as it came.
    pub(crate) idempotency_key: Option<&'a [u8]>,
    /// All lines of `If-None-Match`.
    pub(crate) if_none_match: ListLines<'a>,
    /// All lines of `Access-Control-Request-Headers`.
    pub(crate) request_headers: ListLines<'a>,
    /// `Cache-Control` has `no-cache`.
    pub(crate) no_cache: bool,
    /// `Content-Encoding` names a coding other than `identity`.
    pub(crate) encoded: bool,
    /// The first `User-Agent`; believed by nobody, so a second one hurts nobody.
    pub(crate) user_agent: Option<&'a [u8]>,
    /// Value of `Sec-Fetch-Site`, as it came.
    pub(crate) fetch_site: Option<&'a [u8]>,
    /// Value of `Sec-Fetch-Mode`, as it came.
    pub(crate) fetch_mode: Option<&'a [u8]>,
    /// The last lines of `X-Forwarded-For`.
    pub(crate) forwarded_for: ListLines<'a>,
    /// The last lines of `Forwarded`.
    pub(crate) forwarded: ListLines<'a>,
}

/// The field lines seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadFields<'a> {
    /// Values that the server acts upon.
    pub(crate) values: FieldValues<'a>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    /// An `Expect` other than `100-continue`.
    expect_other: bool,
}

/// Framing that fields and version give together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageFraming {
    /// How long the body is.
    pub(crate) body: BodyLength,
    /// Another request may follow.
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue`.
    pub(crate) expect_continue: bool,
}

impl<'a> HeadFields<'a> {
    /// Takes in one field line; `value` is trimmed and holds no CR, LF, NUL or other control but HTAB.
    pub(crate) fn add(&mut self, name: &str, value: &'a [u8]) -> Result<(), Problem> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => {
                if !value.is_empty() && !is_authority(value) {
                    return Err(Problem::BadHost("Host is not a host with an optional port."));
                }
                set_field(&mut self.values.host, value, Problem::BadHost("Host is given twice."))
            }
            6 if is("accept") => {
                self.values.accept.add(value);
                Ok(())
            }
            6 if is("origin") => set_field_once(&mut self.values.origin, value),
            6 if is("cookie") => {
                self.values.cookie.push(value);
                Ok(())
            }
            6 if is("expect") => {
                let known = value.eq_ignore_ascii_case(b"100-continue");
                *(if known { &mut self.expect_continue } else { &mut self.expect_other }) = true;
                Ok(())
            }
            10 if is("user-agent") => {
                self.values.user_agent.get_or_insert(value);
                Ok(())
            }
            10 if is("connection") => {
                self.add_connection(value);
                Ok(())
            }
            12 if is("content-type") => set_field_once(&mut self.values.content_type, value),
            13 if is("last-event-id") => {
                self.values.last_event_id_repeated = self.values.last_event_id.is_some();
                self.values.last_event_id.get_or_insert(value);
                Ok(())
            }
            13 if is("if-none-match") => {
                self.values.if_none_match.push(value);
                Ok(())
            }
            13 if is("cache-control") => {
                self.values.no_cache |= members(value).any(|one| one.eq_ignore_ascii_case(b"no-cache"));
                Ok(())
            }
            13 if is("authorization") => set_field_once(&mut self.values.authorization, value),
            14 if is("content-length") => {
                let length =
                    parse_decimal(value).ok_or(Problem::BadFraming("Content-Length is not a number."))?;
                set_field(&mut self.length, length, Problem::BadFraming("Content-Length is given twice."))
            }
            14 if is("sec-fetch-site") => set_field_once(&mut self.values.fetch_site, value),
            14 if is("sec-fetch-mode") => set_field_once(&mut self.values.fetch_mode, value),
            15 if is("idempotency-key") => set_field_once(&mut self.values.idempotency_key, value),
            16 if is("content-encoding") => {
                self.values.encoded |= members(value).any(|one| !one.eq_ignore_ascii_case(b"identity"));
                Ok(())
            }
            30 if is("access-control-request-headers") => {
                self.values.request_headers.push(value);
                Ok(())
            }
            17 if is("transfer-encoding") => self.add_coding(value),
            _ => {
                self.add_forwarded(name, value);
                Ok(())
            }
        }
    }

    /// Takes in a line by which a proxy names the client, if it is one.
    fn add_forwarded(&mut self, name: &str, value: &'a [u8]) {
        if name.eq_ignore_ascii_case("x-forwarded-for") {
            self.values.forwarded_for.push_last(value);
        } else if name.eq_ignore_ascii_case("forwarded") {
            self.values.forwarded.push_last(value);
        }
    }

    fn add_connection(&mut self, value: &[u8]) {
        for token in members(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn add_coding(&mut self, value: &[u8]) -> Result<(), Problem> {
        if self.chunked {
            return Err(Problem::BadFraming("Transfer-Encoding is given twice."));
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        // A clean list of coding names is understood and refused; anything else is an attempt at something.
        let listed = |b: &u8| is_token_byte(*b) || matches!(b, b',' | b' ' | b'\t');
        if !value.is_empty() && value.iter().all(listed) {
            Err(Problem::CodingNotImplemented)
        } else {
            Err(Problem::BadFraming("Transfer-Encoding is not a list of codings."))
        }
    }

    /// Judges all fields together. The order is fixed, so that a request with several faults
    /// always gets the same answer.
    pub(crate) fn judge_framing(&self, http11: bool) -> Result<MessageFraming, Problem> {
        if self.chunked && self.length.is_some() {
            return Err(Problem::BadFraming("Content-Length and Transfer-Encoding exclude each other."));
        }
        if self.chunked && !http11 {
            return Err(Problem::BadFraming("HTTP/1.0 has no Transfer-Encoding."));
        }
        if http11 && self.values.host.is_none() {
            return Err(Problem::BadHost("HTTP/1.1 needs Host."));
        }
        if self.expect_other {
            return Err(Problem::ExpectationFailed);
        }
        let body = match self.length {
            _ if self.chunked => BodyLength::Chunked,
            Some(bytes) => BodyLength::Bytes(bytes),
            None => BodyLength::None,
        };
        Ok(MessageFraming {
            body,
            keep_alive: !self.close && (http11 || self.keep_alive),
            // A client of version 1.0 cannot take an interim answer (RFC 9110 §10.1.1).
            expect_continue: self.expect_continue && http11,
        })
    }
}

/// The members of one line of a list, trimmed; empty ones are passed over (RFC 9110 §5.6.1).
fn members(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

fn set_field<T>(field: &mut Option<T>, value: T, twice: Problem) -> Result<(), Problem> {
    if field.replace(value).is_some() { Err(twice) } else { Ok(()) }
}

fn set_field_once<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Problem> {
    set_field(field, value, Problem::Malformed("A header field that may stand once is given twice."))
}

/// Whether a byte may stand in a token: a method or a field name (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|'
        | b'~'
        | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

/// Whether `text` is a host with an optional port: a name, an IPv4 address, or an IPv6 address in brackets.
/// Narrower than RFC 3986 §3.2.2: no escapes, no sub-delimiters, no user.
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = split_port(text);
    let port_ok = port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit));
    let host_ok = match host.strip_prefix(b"[") {
        Some(inside) => {
            let address = inside.strip_suffix(b"]").and_then(|address| std::str::from_utf8(address).ok());
            address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        }
        None => {
            let name_byte = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
            !host.is_empty() && host.iter().all(name_byte)
        }
    };
    port_ok && host_ok
}

/// Host and port of an authority; the host keeps its brackets.
pub(crate) fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_brackets = authority.iter().rposition(|&b| b == b']').map_or(0, |at| at + 1);
    match authority[after_brackets..].iter().position(|&b| b == b':') {
        Some(colon) => (&authority[..after_brackets + colon], Some(&authority[after_brackets + colon + 1..])),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_hosts_with_an_optional_port() {
        let rows: &[(&str, bool)] = &[
            ("example.com", true),
            ("example.com:8080", true),
            ("example.com:", true),
            ("127.0.0.1:1", true),
            ("my_host-1", true),
            ("[::1]", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("", false),
            (":80", false),
            ("a b", false),
            ("a,b", false),
            ("a/b", false),
            ("a@b", false),
            ("a:b@c", false),
            ("a:80:80", false),
            ("a:123456", false),
            ("a:-1", false),
            ("[::1", false),
            ("::1", false),
            ("[]", false),
            ("[::1]x", false),
            ("[::1%25eth0]", false),
            ("ä.de", false),
            ("a\tb", false),
            ("a%00", false),
        ];
        for (text, ok) in rows {
            assert_eq!(is_authority(text.as_bytes()), *ok, "{text:?}");
        }
    }
}
