//! The sources of settings laid over each other, weakest first: default, profile, file, environment, flag.
//!
//! Owns their order. Knows no meaning of a setting, except that a profile moves the default port.
//! Contradictions have their own file.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::base::settings::{SettingSpec, TABLE};
use crate::config::alert_rules::merge_with_defaults;
use crate::config::contradictions;
use crate::config::familiar_names::{self, FamiliarName};
use crate::config::file::{self, FileContents, FileEntry};
use crate::config::refusal::{SettingsRefusal, nearest_setting};
use crate::config::render::as_toml;
use crate::config::resolved::{
    ResolvedEntry, ResolvedSettings, SettingSource, VARIABLE_PREFIX, variable_name,
};
use crate::config::service_links::is_service_link;
use crate::host::named_file::PipeWait;

/// The variable that names the configuration file; a flag of the same name is stronger.
pub(crate) const CONFIG_VARIABLE: &str = "FANWHEEL_CONFIG";
/// The variable that names the token file of the one-shot clients.
const CLIENT_TOKEN_VARIABLE: &str = "FANWHEEL_TOKEN_FILE";
/// The public address of the benchmark profile, whose contract fixes the port.
const BENCHMARK_LISTEN: &str = "0.0.0.0:1942";

/// The sources of settings, unread and unchecked.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingInputs {
    /// The file that `--config` names.
    pub(crate) config: Option<PathBuf>,
    /// Settings given as flags, by setting name; several texts only for lists.
    pub(crate) flags: BTreeMap<&'static str, Vec<String>>,
    /// All variables of the environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl ResolvedSettings {
    /// Reads the file, if one is named, and merges the sources.
    pub(crate) fn read(inputs: &SettingInputs) -> Result<ResolvedSettings, SettingsRefusal> {
        ResolvedSettings::read_sources(inputs, PipeWait::Allowed)
    }

    /// Does the same for a running server, which waits for no pipe.
    pub(crate) fn read_again(inputs: &SettingInputs) -> Result<ResolvedSettings, SettingsRefusal> {
        ResolvedSettings::read_sources(inputs, PipeWait::Refused)
    }

    fn read_sources(inputs: &SettingInputs, wait: PipeWait) -> Result<ResolvedSettings, SettingsRefusal> {
        let in_environment = inputs.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        let path = inputs.config.as_deref().or(in_environment.map(|(_, path)| Path::new(path)));
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let in_file = path.map(|path| file::read(path, wait)).transpose()?.unwrap_or_default();
        let mut resolved = ResolvedSettings::merge_sources(inputs, path.unwrap_or(Path::new("")), in_file)?;
        contradictions::check(&mut resolved)?;
        Ok(resolved)
    }

    fn merge_sources(
        inputs: &SettingInputs,
        path: &Path,
        in_file: FileContents,
    ) -> Result<ResolvedSettings, SettingsRefusal> {
        let entry = |spec| ResolvedEntry {
            spec,
            text: spec.default.to_owned(),
            source: SettingSource::Default,
            passed: Vec::new(),
        };
        let alerts = merge_with_defaults(in_file.alerts);
        let mut resolved =
            ResolvedSettings::new(TABLE.iter().map(entry).collect(), alerts, in_file.classes, in_file.tokens);
        for FileEntry { spec, text, line } in in_file.entries {
            let source = SettingSource::File { path: path.to_owned(), line };
            resolved.entry_mut(spec.name).set_text(text, source)?;
        }
        for (name, value) in &inputs.environment {
            let Some(spec) = spec_of_variable(name, value)? else { continue };
            let text = value.to_str().ok_or_else(|| SettingsRefusal::Value {
                place: variable_name(spec.name),
                name: spec.name,
                value: spec.shown(&value.to_string_lossy()),
                allowed: "UTF-8 text".to_owned(),
            })?;
            resolved.entry_mut(spec.name).set_text(text.to_owned(), SettingSource::Environment)?;
        }
        for (name, texts) in &inputs.flags {
            resolved.entry_mut(name).set_text(texts.join(","), SettingSource::Flag)?;
        }
        let listen_untouched = resolved.entry("listen").source == SettingSource::Default;
        if resolved.entry("profile").text == "broadcast-benchmark" && listen_untouched {
            resolved.entry_mut("listen").set_text(BENCHMARK_LISTEN.to_owned(), SettingSource::Profile)?;
        }
        Ok(resolved)
    }
}

/// Reads the text of a configuration file as a start would, with no other source of settings, and returns the
/// effective settings as such a text.
///
/// # Errors
/// The refusal in words.
pub fn effective_text(text: &str) -> Result<String, String> {
    let path = Path::new("fanwheel.toml");
    let effective = || {
        let in_file = file::parse(path, text)?;
        let mut resolved = ResolvedSettings::merge_sources(&SettingInputs::default(), path, in_file)?;
        contradictions::check(&mut resolved)?;
        Ok(as_toml(&resolved))
    };
    effective().map_err(|refusal: SettingsRefusal| refusal.to_string())
}

/// The setting a variable names; none when it is not ours, comes from Kubernetes, only names the file,
/// or is for clients.
fn spec_of_variable(name: &OsStr, value: &OsStr) -> Result<Option<&'static SettingSpec>, SettingsRefusal> {
    let name = name.to_string_lossy();
    let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { return Ok(None) };
    if name == CONFIG_VARIABLE || name == CLIENT_TOKEN_VARIABLE {
        return Ok(None);
    }
    let found = TABLE.iter().find(|spec| variable_name(spec.name) == name);
    let behind_name = &name[VARIABLE_PREFIX.len() - 1..];
    if found.is_none() && is_service_link(behind_name, &value.to_string_lossy()) {
        return Ok(None);
    }
    found.map(Some).ok_or_else(|| SettingsRefusal::UnknownName {
        place: "environment".to_owned(),
        name: name.clone().into_owned(),
        nearest: nearest_variable(&rest.to_lowercase()),
    })
}

/// Returns the variable that was most likely meant by a name without its prefix.
fn nearest_variable(rest: &str) -> Option<String> {
    let familiar = familiar_names::setting_of(rest).map(FamiliarName::as_variable);
    familiar.or_else(|| nearest_setting(rest).map(variable_name))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
