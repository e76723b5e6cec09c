//! The credential that a request presents, as its bytes stand in the head. Judges none.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::wire::auth::token_hash::is_token_char;
use crate::wire::head::Head;

/// The value of a scheme in `Authorization` (RFC 9110 §11.4); none for another scheme.
fn scheme_value<'a>(head: &Head<'a>, scheme: &str) -> Option<&'a [u8]> {
    let value = head.fields.authorization?;
    let (name, rest) = value.split_at_checked(scheme.len())?;
    let ends = rest.first().is_none_or(|&byte| byte == b' ');
    (name.eq_ignore_ascii_case(scheme.as_bytes()) && ends).then(|| rest.trim_ascii_start())
}

/// Returns the token of `Authorization: Bearer` (RFC 6750 §2.1). One that cannot be a token is empty, which
/// no token is.
pub(crate) fn bearer_token<'a>(head: &Head<'a>) -> Option<&'a [u8]> {
    let token = scheme_value(head, "Bearer")?;
    let sound = token.iter().all(|&byte| is_token_char(byte));
    Some(if sound { token } else { &[] })
}

/// A token as it came with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PresentedToken<'a> {
    /// Its bytes; empty if they cannot be a token.
    pub(crate) token: &'a [u8],
    /// A browser added it to the request, whichever page made that.
    pub(crate) is_cookie: bool,
}

/// Returns the token that a request presents: in `Authorization`, else in the cookie of a name.
pub(crate) fn presented_token<'a>(head: &Head<'a>, cookie: Option<&[u8]>) -> Option<PresentedToken<'a>> {
    let bearer = || bearer_token(head).map(|token| PresentedToken { token, is_cookie: false });
    let cookie = || cookie_token(head, cookie?).map(|token| PresentedToken { token, is_cookie: true });
    bearer().or_else(cookie)
}

/// Returns the value of a cookie (RFC 6265 §5.4). Of several that differ nobody knows which is meant: another
/// host of the same domain can add one.
fn cookie_token<'a>(head: &Head<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let pairs = head.fields.cookie.lines().flat_map(|line| line.split(|&byte| byte == b';'));
    let value = |pair: &'a [u8]| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=");
    let mut values = pairs.filter_map(value);
    let first = values.next()?;
    let sound = first.iter().all(|&byte| is_token_char(byte)) && values.all(|other| other == first);
    Some(if sound { first } else { &[] })
}

/// Returns the password of `Authorization: Basic` (RFC 7617), for browsers, which ask people for one. The
/// user's name says nothing.
pub(crate) fn basic_password(head: &Head<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let encoded = scheme_value(head, "Basic")?;
    let mut pair = Zeroizing::new(BASE64_STANDARD.decode(encoded).unwrap_or_default());
    let password_at = pair.iter().position(|&byte| byte == b':').map_or(pair.len(), |colon| colon + 1);
    pair.drain(..password_at);
    Some(pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::head::{HeadLimits, ParsedHead, parse};

    fn with_head<R>(fields: &str, look: impl Fn(&Head<'_>) -> R) -> R {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        match parse(text.as_bytes(), HeadLimits { bytes_max: 8_192, headers_max: 64 }) {
            ParsedHead::Head(head, _) => look(&head),
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_bearer_token_stands_alone_behind_its_scheme() {
        let rows = [
            ("", None),
            ("Authorization: Bearer abc\r\n", Some("abc")),
            ("authorization: bEARER   a.b-c_d~e+f/g==\r\n", Some("a.b-c_d~e+f/g==")),
            ("Authorization: Bearer\r\n", Some("")),
            ("Authorization: Bearer a b\r\n", Some("")),
            ("Authorization: Bearer Bearer abc\r\n", Some("")),
            ("Authorization: Bearer a,b\r\n", Some("")),
            ("Authorization: Bearer\tabc\r\n", None),
            ("Authorization: Bearerabc\r\n", None),
            ("Authorization: Basic YTpi\r\n", None),
            ("Authorization: abc\r\n", None),
            ("Authorization:\r\n", None),
        ];
        for (fields, expected) in rows {
            let found = with_head(fields, |head| {
                bearer_token(head).map(|token| String::from_utf8_lossy(token).into_owned())
            });
            assert_eq!(found.as_deref(), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_cookie_counts_where_no_bearer_token_is_and_must_not_be_ambiguous() {
        let cookie = |token| Some((token, true));
        let rows = [
            ("Cookie: token=abc\r\n", cookie("abc")),
            ("Cookie: a=b; token=abc;c=d\r\n", cookie("abc")),
            ("Cookie: a=b\r\nCookie: token=abc\r\n", cookie("abc")),
            ("Cookie: token=abc; token=abc\r\n", cookie("abc")),
            ("Cookie: token=abc; token=abd\r\n", cookie("")),
            ("Cookie: token=\r\n", cookie("")),
            ("Cookie: token=a b\r\n", cookie("")),
            ("Cookie: xtoken=abc\r\n", None),
            ("Cookie: Token=abc\r\n", None),
            ("Cookie: tokens=abc\r\n", None),
            ("Cookie: token\r\n", None),
            ("Cookie: token=abc\r\nAuthorization: Bearer xyz\r\n", Some(("xyz", false))),
            ("Cookie: token=abc\r\nAuthorization: Basic YTpi\r\n", cookie("abc")),
        ];
        for (fields, expected) in rows {
            let found = with_head(fields, |head| {
                let presented = presented_token(head, Some(b"token"))?;
                Some((String::from_utf8_lossy(presented.token).into_owned(), presented.is_cookie))
            });
            let found = found.as_ref().map(|(token, is_cookie)| (token.as_str(), *is_cookie));
            assert_eq!(found, expected, "{fields:?}");
        }
        assert!(with_head("Cookie: token=abc\r\n", |head| presented_token(head, None).is_none()));
    }

    #[test]
    fn a_basic_password_follows_the_first_colon() {
        let rows = [
            ("Authorization: Basic YTpi\r\n", Some("b")),
            ("Authorization: basic b3BzOnNlY3JldDp4\r\n", Some("secret:x")),
            ("Authorization: Basic YWJj\r\n", Some("")),
            ("Authorization: Basic %%%\r\n", Some("")),
            ("Authorization: Basic\r\n", Some("")),
            ("Authorization: Bearer YTpi\r\n", None),
            ("", None),
        ];
        for (fields, expected) in rows {
            let found = with_head(fields, |head| {
                basic_password(head).map(|password| String::from_utf8_lossy(&password).into_owned())
            });
            assert_eq!(found.as_deref(), expected, "{fields:?}");
        }
    }
}
