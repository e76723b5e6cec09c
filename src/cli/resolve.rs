//! Effective settings: for each row of the table a text and where it came from, weakest source first:
//! default, profile, file, environment, flag.
//!
//! Owns the order of the sources and the words of a refusal. Knows nothing of what a setting is for, except
//! that a profile moves the default port; what contradicts what is in `contradictions`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::logfmt::Plain;
use crate::base::settings::{Settings, Spec, TABLE};
use crate::cli::contradictions;
use crate::cli::file::{self, FileEntry};
use crate::cli::suggest::nearest;

/// The variable that names the configuration file; a flag of the same name is stronger.
pub const CONFIG_VARIABLE: &str = "FANWHEEL_CONFIG";
const VARIABLE_PREFIX: &str = "FANWHEEL_";
/// The public address of the benchmark profile, whose contract fixes the port.
const BENCHMARK_LISTEN: &str = "0.0.0.0:1942";

/// What the sources say, unread and unchecked.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// Settings given as flags, by setting name; several texts only for lists.
    pub flags: BTreeMap<&'static str, Vec<String>>,
    /// The environment, all of it.
    pub environment: Vec<(OsString, OsString)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The table.
    Default,
    /// The table, moved by `profile`.
    Profile,
    /// A line of the configuration file.
    File {
        /// As it was named.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A variable.
    Environment,
    /// A flag.
    Flag,
}

/// One setting's effective text.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its row.
    pub spec: &'static Spec,
    /// The text, lists separated by commas; passed [`Spec::check`].
    pub text: String,
    /// Where it came from.
    pub source: Source,
}

/// All settings, in the order of the table.
#[derive(Clone, Debug)]
pub struct Resolved {
    entries: Vec<Entry>,
}

/// Why the settings can't be used. The text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::FileUnreadable(path, reason) => {
                write!(f, "cannot read the configuration file {}: {reason}", shown(&path.to_string_lossy()))
            }
            Refusal::FileSyntax(place, reason) => write!(f, "{}: {}", shown(place), Plain(reason)),
            Refusal::UnknownName { place, name, nearest } => {
                write!(f, "{}: unknown setting {}", shown(place), shown(name))?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean {nearest}?"),
                    None => write!(f, "; `fanwheel config` lists all settings"),
                }
            }
            Refusal::Value { place, name, value, allowed } => {
                write!(f, "{}: {name} = {} is not allowed: must be {allowed}", shown(place), shown(value))
            }
            Refusal::Contradiction(words) => write!(f, "{}", Plain(words)),
        }
    }
}

/// A text of the operator's in an error line: on one line, and not a page of it.
pub fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 160;
    let escaped = Plain(text).to_string();
    match escaped.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None if escaped.is_empty() => "\"\"".to_owned(),
        None => escaped,
    }
}

/// `FANWHEEL_HEARTBEAT_MS` of `heartbeat_ms`.
pub fn variable_name(setting: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", setting.to_uppercase())
}

/// `--heartbeat-ms` of `heartbeat_ms`.
pub fn flag_name(setting: &str) -> String {
    format!("--{}", setting.replace('_', "-"))
}

impl Entry {
    /// Where the value came from, as it stands in error lines and in `fanwheel config`.
    pub fn place(&self) -> String {
        match &self.source {
            Source::Default => "default".to_owned(),
            Source::Profile => "default of the profile".to_owned(),
            Source::File { path, line } => format!("{}:{line}", path.display()),
            Source::Environment => variable_name(self.spec.name),
            Source::Flag => flag_name(self.spec.name),
        }
    }

    fn put(&mut self, text: String, source: Source) -> Result<(), Refusal> {
        let given = Entry { spec: self.spec, text, source };
        if let Err(allowed) = given.spec.check(&given.text) {
            let (place, value) = (given.place(), given.text);
            return Err(Refusal::Value { place, name: given.spec.name, value, allowed });
        }
        *self = given;
        Ok(())
    }
}

impl Resolved {
    /// Reads the file, if one is named, and lays the sources over each other.
    pub fn read(inputs: &Inputs) -> Result<Resolved, Refusal> {
        let in_environment = inputs.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        let path = inputs.config.as_deref().or(in_environment.map(|(_, path)| Path::new(path)));
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let in_file = path.map(file::read).transpose()?.unwrap_or_default();
        let mut resolved = Resolved::lay(inputs, path.unwrap_or(Path::new("")), in_file)?;
        contradictions::check(&mut resolved)?;
        Ok(resolved)
    }

    fn lay(inputs: &Inputs, path: &Path, in_file: Vec<FileEntry>) -> Result<Resolved, Refusal> {
        let entry = |spec| Entry { spec, text: spec.default.to_owned(), source: Source::Default };
        let mut resolved = Resolved { entries: TABLE.iter().map(entry).collect() };
        for FileEntry { spec, text, line } in in_file {
            let source = Source::File { path: path.to_owned(), line };
            resolved.entry_mut(spec.name).put(text, source)?;
        }
        for (name, value) in &inputs.environment {
            let Some(spec) = spec_of_variable(name)? else { continue };
            let text = value.to_str().ok_or_else(|| Refusal::Value {
                place: variable_name(spec.name),
                name: spec.name,
                value: value.to_string_lossy().into_owned(),
                allowed: "UTF-8 text".to_owned(),
            })?;
            resolved.entry_mut(spec.name).put(text.to_owned(), Source::Environment)?;
        }
        for (name, texts) in &inputs.flags {
            resolved.entry_mut(name).put(texts.join(","), Source::Flag)?;
        }
        let listen_untouched = resolved.entry("listen").source == Source::Default;
        if resolved.entry("profile").text == "broadcast-benchmark" && listen_untouched {
            resolved.entry_mut("listen").put(BENCHMARK_LISTEN.to_owned(), Source::Profile)?;
        }
        Ok(resolved)
    }

    /// A setting, to be changed.
    pub fn entry_mut(&mut self, name: &str) -> &mut Entry {
        let found = self.entries.iter_mut().find(|entry| entry.spec.name == name);
        found.expect("one entry a row, and names come from the table")
    }

    /// One setting by name.
    pub fn entry(&self, name: &str) -> &Entry {
        let found = self.entries.iter().find(|entry| entry.spec.name == name);
        found.expect("one entry a row, and names come from the table")
    }

    /// All settings, in the order of the table.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// These settings, with those that `takes` says from another reading.
    pub fn updated(&self, newer: &Resolved, takes: impl Fn(&Spec) -> bool) -> Resolved {
        let pairs = self.entries.iter().zip(&newer.entries);
        let pick = |(old, new): (&Entry, &Entry)| if takes(old.spec) { new.clone() } else { old.clone() };
        Resolved { entries: pairs.map(pick).collect() }
    }

    /// The typed values.
    pub fn settings(&self) -> Settings {
        Settings::from_texts(|name| &self.entry(name).text)
    }
}

/// The setting a variable names; none when it is not ours or only names the file.
fn spec_of_variable(name: &OsStr) -> Result<Option<&'static Spec>, Refusal> {
    let name = name.to_string_lossy();
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return Ok(None) };
    if name == CONFIG_VARIABLE {
        return Ok(None);
    }
    let found = TABLE.iter().find(|spec| variable_name(spec.name) == name);
    found.map(Some).ok_or_else(|| Refusal::UnknownName {
        place: "environment".to_owned(),
        name: name.clone().into_owned(),
        nearest: nearest_setting(&rest.to_lowercase()).map(variable_name),
    })
}

/// The setting whose name is nearest to a mistyped one.
pub fn nearest_setting(typed: &str) -> Option<&'static str> {
    nearest(typed, TABLE.iter().map(|spec| spec.name))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
