//! The small pieces of subcommands' grammars.

use std::ops::RangeInclusive;

use clap::{Arg, ArgAction};

/// A flag without a value.
pub(crate) fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A flag with a text.
pub(crate) fn option(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

/// The flag that adds fields to requests, named as curl names it.
pub(crate) fn header() -> Arg {
    option("header", "'NAME: VALUE'", "adds a field to each request (repeatable)")
        .short('H')
        .action(ArgAction::Append)
}

/// A flag with a whole number of at least `least`.
pub(crate) fn number(name: &'static str, least: u64, help: &'static str) -> Arg {
    option(name, "N", help).allow_negative_numbers(true).value_parser(whole(least..=u64::MAX))
}

/// Parses whole numbers within bounds; the refusal of anything else names the bounds.
pub(crate) fn whole(
    allowed: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<u64, String> + Clone + Send + Sync {
    move |text| {
        let taken = text.parse().ok().filter(|number| allowed.contains(number));
        taken.ok_or_else(|| match (allowed.start(), allowed.end()) {
            (least, &u64::MAX) => format!("must be a whole number of at least {least}"),
            (least, most) => format!("must be a whole number from {least} to {most}"),
        })
    }
}
