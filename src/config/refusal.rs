//! Reasons that settings are refused, in one line each.
//!
//! Owns the words. Places come to it as text, so it knows no source of settings.

use std::fmt;
use std::path::PathBuf;

use crate::base::failure::CommandFailure;
use crate::base::logfmt::{EscapedText, shown};
use crate::base::settings::TABLE;
use crate::base::suggest::nearest;

/// Why a window must be shorter than a heartbeat.
pub(crate) const WAITS_TOO_LONG: &str = "an event would wait longer than a heartbeat";
/// Words for a rate without a policy.
pub(crate) const RATE_NEEDS_POLICY: &str = "needs rate_policy: delay, latest or drop";
/// Words for a policy without a rate.
pub(crate) const POLICY_NEEDS_RATE: &str =
    "has no effect without a rate: set rate_events_per_second or rate_bytes_per_second, too";
/// Why a topic cannot have both windows.
pub(crate) const TWO_WINDOWS: &str = "an event waits in one window; set one of them to 0";

/// The reason that settings can't be used. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingsRefusal {
    /// A file that can't be read, with the reason.
    FileUnreadable(PathBuf, String),
    /// A file that is not TOML: place and reason.
    FileSyntax(String, String),
    /// A name that is not in the table.
    UnknownName {
        /// Its file and line, or its variable.
        place: String,
        /// The name as written.
        name: String,
        /// The known name that is nearest.
        nearest: Option<String>,
    },
    /// A value of another type than the setting's, or one out of its bounds.
    Value {
        /// Its file and line, variable or flag.
        place: String,
        /// The name of the setting.
        name: &'static str,
        /// The value as written.
        value: String,
        /// The allowed values, in words.
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

/// Finds the setting whose name is nearest to a mistyped one.
pub(crate) fn nearest_setting(typed: &str) -> Option<&'static str> {
    nearest(typed, TABLE.iter().map(|spec| spec.name))
}
