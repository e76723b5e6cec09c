//! Parameters of a query that several requests take, and the rules that all of them share.

use crate::wire::problem::Problem;
use crate::wire::query::utf8_text;
use crate::wire::rules;

/// Takes a text that follows a rule.
pub(crate) fn parse_checked(
    name: &'static str,
    value: &[u8],
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Box<str>, Problem> {
    let value = utf8_text(value)?;
    check(value).map_err(|rule| Problem::BadParameter { name, rule })?;
    Ok(value.into())
}

/// Adds a topic that is not there yet to a list of at most `topics_max`.
pub(crate) fn push_topic(topics: &mut Vec<Box<str>>, value: &[u8], topics_max: usize) -> Result<(), Problem> {
    let topic = parse_checked("topic", value, rules::check_topic)?;
    rules::push_unique(topics, &topic);
    if topics.len() > topics_max { Err(Problem::TooManyTopics { topics_max }) } else { Ok(()) }
}

/// Notes the value of a parameter that may be given only once.
pub(crate) fn set_once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), Problem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::BadParameter { name, rule: "may be given only once" }),
    }
}
