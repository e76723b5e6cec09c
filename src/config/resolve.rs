//! The sources of settings laid over each other, weakest first: default, profile, file, environment, flag.
//!
//! Owns their order. Knows nothing of what a setting is for, except that a profile moves the default port;
//! what contradicts what is in `contradictions`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::base::settings::{SettingSpec, TABLE};
use crate::config::alert_rules::laid_over_defaults;
use crate::config::contradictions;
use crate::config::file::{self, Contents, FileEntry};
use crate::config::refusal::{Refusal, nearest_setting};
use crate::config::resolved::{Entry, Resolved, Source, VARIABLE_PREFIX, variable_name};

/// The variable that names the configuration file; a flag of the same name is stronger.
pub const CONFIG_VARIABLE: &str = "FANWHEEL_CONFIG";
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

    fn lay(inputs: &Inputs, path: &Path, in_file: Contents) -> Result<Resolved, Refusal> {
        let entry = |spec| Entry { spec, text: spec.default.to_owned(), source: Source::Default };
        let alerts = laid_over_defaults(in_file.alerts);
        let mut resolved = Resolved::new(TABLE.iter().map(entry).collect(), alerts);
        for FileEntry { spec, text, line } in in_file.entries {
            let source = Source::File { path: path.to_owned(), line };
            resolved.entry_mut(spec.name).put(text, source)?;
        }
        for (name, value) in &inputs.environment {
            let Some(spec) = spec_of_variable(name)? else { continue };
            let text = value.to_str().ok_or_else(|| Refusal::Value {
                place: variable_name(spec.name),
                name: spec.name,
                value: spec.shown(&value.to_string_lossy()),
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
}

/// The setting a variable names; none when it is not ours or only names the file.
fn spec_of_variable(name: &OsStr) -> Result<Option<&'static SettingSpec>, Refusal> {
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

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
