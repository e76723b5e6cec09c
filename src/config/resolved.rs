//! Effective settings: a text and its source for each row of the table.
//!
//! Owns the names that a setting has in each source. How the sources come together is in `resolve`.

use std::path::PathBuf;

use crate::base::settings::{SettingSpec, Settings};
use crate::config::alert_rules::RuleEntry;
use crate::config::class_tables::ClassEntry;
use crate::config::refusal::SettingsRefusal;
use crate::config::token_tables::TokenEntry;
use crate::monitor::alerts::AlertRule;

/// Prefix of the variables of all settings.
pub(crate) const VARIABLE_PREFIX: &str = "FANWHEEL_";

/// The source of an address whose socket was passed at the start.
const PASSED_PLACE: &str = "socket passed at the start";

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SettingSource {
    /// The default of the table.
    Default,
    /// The default of the profile.
    Profile,
    /// A line of the configuration file.
    File {
        /// The path as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment,
    /// A flag of the command line.
    Flag,
}

/// The effective text of a setting.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedEntry {
    /// Its row in the table.
    pub(crate) spec: &'static SettingSpec,
    /// Its text in the form of [`SettingSpec::normalize`], with commas between items of a list.
    pub(crate) text: String,
    /// The source of the text.
    pub(crate) source: SettingSource,
    /// Addresses of sockets that were passed at the start. They go beside what was written, and in the place
    /// of a default.
    pub(crate) passed: Vec<String>,
}

/// All settings, in the order of the table, the alert rules, the classes of topics and the tokens.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedSettings {
    entries: Vec<ResolvedEntry>,
    alerts: Vec<RuleEntry>,
    classes: Vec<ClassEntry>,
    tokens: Vec<TokenEntry>,
}

/// Returns `FANWHEEL_HEARTBEAT_MS` for `heartbeat_ms`.
pub(crate) fn variable_name(setting: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", setting.to_uppercase())
}

/// Returns `--heartbeat-ms` for `heartbeat_ms`.
pub(crate) fn flag_name(setting: &str) -> String {
    format!("--{}", setting.replace('_', "-"))
}

impl ResolvedEntry {
    /// Returns the source of the value for error lines and `fanwheel config`.
    pub(crate) fn place(&self) -> String {
        match (self.passed.is_empty(), self.is_default()) {
            (true, _) => self.written_place(),
            (false, true) => PASSED_PLACE.to_owned(),
            (false, false) => format!("{} and {PASSED_PLACE}", self.written_place()),
        }
    }

    fn written_place(&self) -> String {
        match &self.source {
            SettingSource::Default => "default".to_owned(),
            SettingSource::Profile => "default of the profile".to_owned(),
            SettingSource::File { path, line } => format!("{}:{line}", path.display()),
            SettingSource::Environment => variable_name(self.spec.name),
            SettingSource::Flag => flag_name(self.spec.name),
        }
    }

    /// Whether nobody has written it.
    pub(crate) fn is_default(&self) -> bool {
        matches!(self.source, SettingSource::Default | SettingSource::Profile)
    }

    /// Returns the text without secrets, and the addresses of passed sockets.
    pub(crate) fn shown(&self) -> String {
        let passed = self.passed.join(",");
        match (self.passed.is_empty(), self.is_default() || self.text.is_empty()) {
            (true, _) => self.spec.shown(&self.text),
            (false, true) => passed,
            (false, false) => format!("{},{passed}", self.spec.shown(&self.text)),
        }
    }

    /// Takes a text from a stronger source if the table allows it.
    pub(crate) fn set_text(&mut self, text: String, source: SettingSource) -> Result<(), SettingsRefusal> {
        let mut given = ResolvedEntry { spec: self.spec, text, source, passed: Vec::new() };
        given.text = given.spec.normalize(&given.text).map_err(|allowed| SettingsRefusal::Value {
            place: given.place(),
            name: given.spec.name,
            value: given.shown(),
            allowed,
        })?;
        *self = given;
        Ok(())
    }
}

impl ResolvedSettings {
    /// Takes one entry for each row, in the order of the table, all alert rules, all classes and all
    /// tokens.
    pub(crate) fn new(
        entries: Vec<ResolvedEntry>,
        alerts: Vec<RuleEntry>,
        classes: Vec<ClassEntry>,
        tokens: Vec<TokenEntry>,
    ) -> ResolvedSettings {
        ResolvedSettings { entries, alerts, classes, tokens }
    }

    /// Returns the tokens, in their order.
    pub(crate) fn tokens(&self) -> &[TokenEntry] {
        &self.tokens
    }

    /// Returns the classes of topics, in their order.
    pub(crate) fn classes(&self) -> &[ClassEntry] {
        &self.classes
    }

    /// Returns all alert rules, those that are off as well.
    pub(crate) fn alerts(&self) -> &[RuleEntry] {
        &self.alerts
    }

    /// Returns the alert rules to watch.
    pub(crate) fn rules(&self) -> Vec<AlertRule> {
        let cooldown_ms = self.settings().alert_cooldown_ms;
        self.alerts.iter().filter_map(|entry| entry.rule(cooldown_ms)).collect()
    }

    /// Returns one setting by name, to change it.
    pub(crate) fn entry_mut(&mut self, name: &str) -> &mut ResolvedEntry {
        let found = self.entries.iter_mut().find(|entry| entry.spec.name == name);
        found.expect("one entry a row, and names come from the table")
    }

    /// Returns one setting by name.
    pub(crate) fn entry(&self, name: &str) -> &ResolvedEntry {
        let found = self.entries.iter().find(|entry| entry.spec.name == name);
        found.expect("one entry a row, and names come from the table")
    }

    /// Returns all settings, in the order of the table.
    pub(crate) fn entries(&self) -> &[ResolvedEntry] {
        &self.entries
    }

    /// Returns these settings, with all alert rules, classes, tokens and the settings chosen by `takes` from
    /// another reading.
    pub(crate) fn updated(
        &self,
        newer: &ResolvedSettings,
        takes: impl Fn(&SettingSpec) -> bool,
    ) -> ResolvedSettings {
        let pairs = self.entries.iter().zip(&newer.entries);
        let pick = |(old, new): (&ResolvedEntry, &ResolvedEntry)| {
            if takes(old.spec) { new.clone() } else { old.clone() }
        };
        ResolvedSettings {
            entries: pairs.map(pick).collect(),
            alerts: newer.alerts.clone(),
            classes: newer.classes.clone(),
            tokens: newer.tokens.clone(),
        }
    }

    /// Returns the typed values.
    pub(crate) fn settings(&self) -> Settings {
        let classes = self.classes.iter().map(|entry| entry.named_class(self)).collect();
        Settings { classes, ..Settings::from_texts(|name| &self.entry(name).text) }
    }
}
