//! The query of a target as name–value pairs, decoded as a form is (WHATWG URL §5.1): `+` is a space.
//!
//! Stricter than the standard: a broken escape in a value is an error, not text. A value is decoded only
//! where its parameter is known: foreign parameters come with every link, and may hold anything.

use std::borrow::Cow;

use crate::wire::problem::Problem;

/// One parameter of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryPair<'a> {
    /// The decoded name; as it stands where an escape is broken, for no parameter of ours is written so.
    pub name: Cow<'a, [u8]>,
    value: &'a [u8],
}

impl<'a> QueryPair<'a> {
    /// The decoded value, borrowed where nothing was escaped.
    pub fn value(&self) -> Result<Cow<'a, [u8]>, Problem> {
        decode(self.value)
    }
}

/// The pairs of a query, in order; empty ones (`a&&b`) are passed over. Without `=` the value is empty.
#[derive(Clone, Debug)]
pub struct QueryPairs<'a> {
    rest: Option<&'a [u8]>,
}

/// Iterates over `query`, without its `?`.
pub fn pairs(query: &[u8]) -> QueryPairs<'_> {
    QueryPairs { rest: Some(query) }
}

impl<'a> Iterator for QueryPairs<'a> {
    type Item = QueryPair<'a>;

    fn next(&mut self) -> Option<QueryPair<'a>> {
        loop {
            let (pair, rest) = split_at_byte(self.rest?, b'&');
            self.rest = rest;
            if pair.is_empty() {
                continue;
            }
            let (name, value) = split_at_byte(pair, b'=');
            let name = decode(name).unwrap_or(Cow::Borrowed(name));
            return Some(QueryPair { name, value: value.unwrap_or_default() });
        }
    }
}

fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&b| b == byte) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Undoes form encoding; [`Problem::BadQuery`] for `%` without two hexadecimal digits.
pub fn decode(text: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let Some(first) = text.iter().position(|&b| b == b'%' || b == b'+') else {
        return Ok(Cow::Borrowed(text));
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest
                    .split_at_checked(2)
                    .ok_or(Problem::BadQuery("An escape of the query is cut off."))?;
                rest = after;
                match (hex(digits[0]), hex(digits[1])) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => {
                        return Err(Problem::BadQuery(
                            "An escape of the query has no two hexadecimal digits.",
                        ));
                    }
                }
            }
            other => other,
        });
    }
    Ok(Cow::Owned(decoded))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The text of a decoded part; [`Problem::BadQuery`] when it is not UTF-8.
pub(crate) fn utf8_text(part: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(part).map_err(|_| Problem::BadQuery("A value of the query is not valid UTF-8."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The decoded pairs as `name=value` joined by `|`, with `!` for a value that cannot be decoded.
    fn shown(query: &str) -> String {
        let mut shown = Vec::new();
        for pair in pairs(query.as_bytes()) {
            let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
            let value = pair.value().map_or_else(
                |problem| {
                    assert!(problem.status() == 400 && !problem.closes());
                    "!".to_owned()
                },
                |value| text(&value),
            );
            shown.push(format!("{}={value}", text(&pair.name)));
        }
        shown.join("|")
    }

    #[test]
    fn queries_are_decoded_as_forms() {
        let rows = [
            ("", ""),
            ("a=b", "a=b"),
            ("a", "a="),
            ("a=", "a="),
            ("=b", "=b"),
            ("=", "="),
            ("a=b=c", "a=b=c"),
            ("a=b&c=d", "a=b|c=d"),
            ("&&a=b&&", "a=b"),
            ("a=b;c=d", "a=b;c=d"),
            ("a=b+c%20d", "a=b c d"),
            ("a=%2b%2B", "a=++"),
            ("%61=%62", "a=b"),
            ("a=%26%3D%25", "a=&=%"),
            ("a=%2541", "a=%41"),
            ("a=%00%0a%0D", "a=\0\n\r"),
            ("a=%e4", "a=\u{fffd}"),
            ("a=%c3%A4", "a=ä"),
            ("a=%zz", "a=!"),
            ("a=%", "a=!"),
            ("a=%4", "a=!"),
            ("a=%4&b=1", "a=!|b=1"),
            ("%g1=a", "%g1=a"),
            ("%", "%="),
            ("a=%-1", "a=!"),
            ("a=%+1", "a=!"),
            ("a=%u0041", "a=!"),
            ("a=b?c", "a=b?c"),
        ];
        for (query, expected) in rows {
            assert_eq!(shown(query), expected, "{query:?}");
        }
    }

    #[test]
    fn what_holds_no_escape_is_borrowed() {
        assert!(matches!(decode(b"plain"), Ok(Cow::Borrowed(b"plain"))));
        assert!(matches!(decode(b"a+b"), Ok(Cow::Owned(_))));
        assert!(utf8_text(b"\xff").is_err());
        assert_eq!(utf8_text("ä".as_bytes()), Ok("ä"));
    }
}
