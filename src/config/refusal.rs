//! Why settings are refused, in one line each.
//!
//! Owns the words. Knows nothing of where settings come from but what it is told.

use std::fmt;
use std::path::PathBuf;

use crate::base::failure::CommandFailure;
use crate::base::logfmt::{EscapedText, shown};
use crate::base::settings::TABLE;
use crate::base::suggest::nearest;

/// Why the settings can't be used. The text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsRefusal {
    /// The file can't be read; with the reason.
    FileUnreadable(PathBuf, String),
    /// The file is not TOML: place and reason.
    FileSyntax(String, String),
    /// A name that is not in the table.
    UnknownName {
        /// File and line, or the variable.
        place: String,
        /// As written.
        name: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A value of another type than the setting's, or one out of its bounds.
    Value {
        /// File and line, variable or flag.
        place: String,
        /// The setting.
        name: &'static str,
        /// As written.
        value: String,
        /// What is allowed, in words.
        allowed: String,
    },
    /// Two settings that exclude each other, in words that name both, with their values and places.
    Contradiction(String),
}

impl From<SettingsRefusal> for CommandFailure {
    fn from(refusal: SettingsRefusal) -> CommandFailure {
        CommandFailure::Usage(refusal.to_string())
    }
}

impl fmt::Display for SettingsRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsRefusal::FileUnreadable(path, reason) => {
                write!(f, "cannot read the configuration file {}: {reason}", shown(&path.to_string_lossy()))
            }
            SettingsRefusal::FileSyntax(place, reason) => {
                write!(f, "{}: {}", shown(place), EscapedText(reason))
            }
            SettingsRefusal::UnknownName { place, name, nearest } => {
                write!(f, "{}: unknown setting {}", shown(place), shown(name))?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean {nearest}?"),
                    None => write!(f, "; `fanwheel config` lists all settings"),
                }
            }
            SettingsRefusal::Value { place, name, value, allowed } => {
                write!(f, "{}: {name} = {} is not allowed: must be {allowed}", shown(place), shown(value))
            }
            SettingsRefusal::Contradiction(words) => write!(f, "{}", EscapedText(words)),
        }
    }
}

/// The setting whose name is nearest to a mistyped one.
pub fn nearest_setting(typed: &str) -> Option<&'static str> {
    nearest(typed, TABLE.iter().map(|spec| spec.name))
}
