//! The small pieces that subcommands' grammars are made of.

use clap::{Arg, ArgAction, value_parser};

/// A flag without a value.
pub fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// A flag with a text.
pub fn option(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

/// A flag with a whole number of at least `least`.
pub fn number(name: &'static str, least: u64, help: &'static str) -> Arg {
    option(name, "N", help).value_parser(value_parser!(u64).range(least..))
}
