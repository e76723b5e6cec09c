//! Effective settings: for each row of the table a text and where it came from.
//!
//! Owns the names that a setting has in each source. How the sources come together is in `resolve`.

use std::path::PathBuf;

use crate::base::settings::{SettingSpec, Settings};
use crate::config::alert_rules::RuleEntry;
use crate::config::refusal::SettingsRefusal;
use crate::monitor::alerts::AlertRule;

/// What the variables of all settings begin with.
pub const VARIABLE_PREFIX: &str = "FANWHEEL_";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingSource {
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
pub struct ResolvedEntry {
    /// Its row.
    pub spec: &'static SettingSpec,
    /// The text, lists separated by commas; passed [`SettingSpec::check`].
    pub text: String,
    /// Where it came from.
    pub source: SettingSource,
}

/// All settings, in the order of the table, and the alert rules.
#[derive(Clone, Debug)]
pub struct ResolvedSettings {
    entries: Vec<ResolvedEntry>,
    alerts: Vec<RuleEntry>,
}

/// `FANWHEEL_HEARTBEAT_MS` of `heartbeat_ms`.
pub fn variable_name(setting: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", setting.to_uppercase())
}

/// `--heartbeat-ms` of `heartbeat_ms`.
pub fn flag_name(setting: &str) -> String {
    format!("--{}", setting.replace('_', "-"))
}

impl ResolvedEntry {
    /// Where the value came from, as it stands in error lines and in `fanwheel config`.
    pub fn place(&self) -> String {
        match &self.source {
            SettingSource::Default => "default".to_owned(),
            SettingSource::Profile => "default of the profile".to_owned(),
            SettingSource::File { path, line } => format!("{}:{line}", path.display()),
            SettingSource::Environment => variable_name(self.spec.name),
            SettingSource::Flag => flag_name(self.spec.name),
        }
    }

    /// The text as it may be shown to anyone.
    pub fn shown(&self) -> String {
        self.spec.shown(&self.text)
    }

    /// Takes a text from a stronger source if the table allows it.
    pub fn set_text(&mut self, text: String, source: SettingSource) -> Result<(), SettingsRefusal> {
        let given = ResolvedEntry { spec: self.spec, text, source };
        if let Err(allowed) = given.spec.check(&given.text) {
            let (place, value) = (given.place(), given.shown());
            return Err(SettingsRefusal::Value { place, name: given.spec.name, value, allowed });
        }
        *self = given;
        Ok(())
    }
}

impl ResolvedSettings {
    /// From one entry for each row, in the order of the table, and all alert rules.
    pub fn new(entries: Vec<ResolvedEntry>, alerts: Vec<RuleEntry>) -> ResolvedSettings {
        ResolvedSettings { entries, alerts }
    }

    /// All alert rules, those that are off as well.
    pub fn alerts(&self) -> &[RuleEntry] {
        &self.alerts
    }

    /// The alert rules to be watched.
    pub fn rules(&self) -> Vec<AlertRule> {
        let cooldown_ms = self.settings().alert_cooldown_ms;
        self.alerts.iter().filter_map(|entry| entry.rule(cooldown_ms)).collect()
    }

    /// A setting, to be changed.
    pub fn entry_mut(&mut self, name: &str) -> &mut ResolvedEntry {
        let found = self.entries.iter_mut().find(|entry| entry.spec.name == name);
        found.expect("one entry a row, and names come from the table")
    }

    /// One setting by name.
    pub fn entry(&self, name: &str) -> &ResolvedEntry {
        let found = self.entries.iter().find(|entry| entry.spec.name == name);
        found.expect("one entry a row, and names come from the table")
    }

    /// All settings, in the order of the table.
    pub fn entries(&self) -> &[ResolvedEntry] {
        &self.entries
    }

    /// These settings, with those that `takes` says and all alert rules from another reading.
    pub fn updated(
        &self,
        newer: &ResolvedSettings,
        takes: impl Fn(&SettingSpec) -> bool,
    ) -> ResolvedSettings {
        let pairs = self.entries.iter().zip(&newer.entries);
        let pick = |(old, new): (&ResolvedEntry, &ResolvedEntry)| {
            if takes(old.spec) { new.clone() } else { old.clone() }
        };
        ResolvedSettings { entries: pairs.map(pick).collect(), alerts: newer.alerts.clone() }
    }

    /// The typed values.
    pub fn settings(&self) -> Settings {
        Settings::from_texts(|name| &self.entry(name).text)
    }
}
