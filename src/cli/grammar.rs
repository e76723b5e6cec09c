//! The small pieces of subcommands' grammars.

use std::ffi::OsStr;
use std::ops::RangeInclusive;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};

use crate::base::quantity::{QuantityUnit, parse_quantity, parse_real, parse_within};

/// A flag without a value.
pub(crate) fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A flag with a text, for which a shell offers nothing.
pub(crate) fn option(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).value_hint(ValueHint::Other).help(help)
}

/// A flag with the name of a file, for which a shell offers files.
pub(crate) fn file(name: &'static str, help: &'static str) -> Arg {
    option(name, "FILE", help).value_hint(ValueHint::FilePath)
}

/// Takes any text; a shell offers the words. The text is checked elsewhere.
#[derive(Clone)]
pub(crate) struct OfferedWords(pub(crate) &'static [&'static str]);

impl TypedValueParser for OfferedWords {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|word| PossibleValue::new(*word))))
    }
}

/// The flag that names certificates to trust.
pub(crate) fn ca_file() -> Arg {
    file("ca-file", "certificates to trust (PEM) [the system's]")
}

/// The variable that names a file with a token; the flag of the same name is stronger.
pub(crate) const TOKEN_FILE_VARIABLE: &str = "FANWHEEL_TOKEN_FILE";

/// The flag that names a file with a token. A token itself never stands on a command line.
pub(crate) fn token_file() -> Arg {
    file("token-file", "sends the token in this file [$FANWHEEL_TOKEN_FILE]")
}

/// The file with a token that the flag names, else the variable.
pub(crate) fn chosen_token_file(matches: &ArgMatches) -> Option<String> {
    let named = matches.get_one::<String>("token-file").cloned();
    named.or_else(|| std::env::var(TOKEN_FILE_VARIABLE).ok()).filter(|path| !path.is_empty())
}

/// The flag that adds fields to requests, named as curl names it.
pub(crate) fn header() -> Arg {
    option("header", "'NAME: VALUE'", "adds a field to each request (repeatable)")
        .short('H')
        .action(ArgAction::Append)
}

/// A flag with a whole number of at least `least`. Its name tells the unit.
pub(crate) fn number(name: &'static str, least: u64, help: &'static str) -> Arg {
    number_within(name, least..=u64::MAX, help)
}

/// A flag with a whole number within bounds, which its refusal names. Its name tells the unit.
pub(crate) fn number_within(name: &'static str, allowed: RangeInclusive<u64>, help: &'static str) -> Arg {
    quantity(name, "N", QuantityUnit::of_name(name), allowed, help)
}

/// A flag with a whole number of a unit within bounds.
pub(crate) fn quantity(
    name: &'static str,
    value_name: &'static str,
    unit: QuantityUnit,
    allowed: RangeInclusive<u64>,
    help: &'static str,
) -> Arg {
    let parse =
        move |text: &str| parse_within(text, unit, allowed.clone()).map_err(|rule| format!("must be {rule}"));
    option(name, value_name, help).allow_negative_numbers(true).value_parser(parse)
}

/// A flag with a number that need not be whole. Its name tells the unit.
pub(crate) fn real(name: &'static str, help: &'static str) -> Arg {
    let unit = QuantityUnit::of_name(name);
    let parse = move |text: &str| {
        let bare = if name.ends_with("percent") { text.strip_suffix('%').unwrap_or(text) } else { text };
        let with_unit = || parse_quantity(text, unit).map(|number| number as f64);
        match unit {
            QuantityUnit::Count => parse_real(bare).ok_or("must be a number, such as 0.5 or 20k".to_owned()),
            _ => bare
                .parse()
                .ok()
                .filter(|value: &f64| value.is_finite())
                .or_else(with_unit)
                .ok_or_else(|| format!("must be a number, or written as {}", unit.spellings())),
        }
    };
    option(name, "N", help).allow_negative_numbers(true).value_parser(parse)
}
