//! Running settings: everything that the server was told, as one value that SIGHUP replaces whole.
//!
//! Owns the value in force. A reader keeps the one that it has taken, so it never sees half of a reload.
//! What follows from a value (the log's level, rules of alerts, classes of topics) is applied by the main
//! thread alone.

use std::sync::{Arc, Mutex};

use log::LevelFilter;

use crate::base::settings::Settings;
use crate::config::contradictions;
use crate::config::refusal::SettingsRefusal;
use crate::config::render;
use crate::config::resolved::ResolvedSettings;
use crate::daemon::logging::parse_level;
use crate::daemon::notify::DESTINATIONS;
use crate::monitor::alerts::AlertRule;

/// One value of all settings, with all that is made of their texts.
#[derive(Debug)]
pub(crate) struct RunningSettings {
    resolved: ResolvedSettings,
    settings: Settings,
    rules: Vec<AlertRule>,
}

impl RunningSettings {
    /// Makes the values of checked texts.
    pub(crate) fn new(resolved: ResolvedSettings) -> RunningSettings {
        let (settings, rules) = (resolved.settings(), resolved.rules());
        RunningSettings { resolved, settings, rules }
    }

    /// Returns these settings with everything of a newer reading that a running server can change. A setting
    /// that needs a restart keeps its text, so that the next reload reports it again.
    ///
    /// # Errors
    /// When a new value contradicts one that stays.
    pub(crate) fn reloaded(&self, wanted: &ResolvedSettings) -> Result<RunningSettings, SettingsRefusal> {
        let mut resolved = self.resolved.updated(wanted, |spec| spec.reloadable);
        contradictions::check_running(&mut resolved)?;
        Ok(RunningSettings::new(resolved))
    }

    /// Returns the texts and their sources.
    pub(crate) fn resolved(&self) -> &ResolvedSettings {
        &self.resolved
    }

    /// Returns the typed values.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the alert rules to watch.
    pub(crate) fn rules(&self) -> &[AlertRule] {
        &self.rules
    }

    /// Returns the level of the log.
    pub(crate) fn log_level(&self) -> LevelFilter {
        parse_level(&self.settings.log_level)
    }

    /// Whether alerts go where they went before.
    pub(crate) fn same_destinations(&self, other: &RunningSettings) -> bool {
        let text = |of: &RunningSettings, name: &str| of.resolved.entry(name).text.clone();
        DESTINATIONS.iter().all(|name| text(self, name) == text(other, name))
    }

    /// Returns the page `/settings`, as `fanwheel config --json` prints it. An answer ends its line itself.
    pub(crate) fn page(&self) -> String {
        render::as_json(&self.resolved).trim_end().to_owned()
    }
}

/// The settings in force, shared by the main thread, which replaces them, and the pages.
#[derive(Clone, Debug)]
pub(crate) struct SettingsInForce(Arc<Mutex<Arc<RunningSettings>>>);

impl SettingsInForce {
    /// Puts the settings of the start in force.
    pub(crate) fn new(settings: RunningSettings) -> SettingsInForce {
        SettingsInForce(Arc::new(Mutex::new(Arc::new(settings))))
    }

    /// Returns the value in force.
    pub(crate) fn current(&self) -> Arc<RunningSettings> {
        Arc::clone(&self.0.lock().expect("a panic ends the process, so the lock is never poisoned"))
    }

    /// Puts a value in force, and returns the one that it replaces.
    pub(crate) fn replace(&self, settings: Arc<RunningSettings>) -> Arc<RunningSettings> {
        let mut current = self.0.lock().expect("a panic ends the process, so the lock is never poisoned");
        std::mem::replace(&mut current, settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::SettingInputs;
    use serde_json::{Value, json};

    fn running(name: &'static str, text: &str) -> RunningSettings {
        let mut inputs = SettingInputs::default();
        inputs.flags.insert(name, vec![text.to_owned()]);
        RunningSettings::new(ResolvedSettings::read(&inputs).expect("good"))
    }

    #[test]
    fn a_reload_is_seen_by_every_reader_and_secrets_by_none() {
        let in_force = SettingsInForce::new(running("heartbeat_ms", "500"));
        let reader = in_force.clone();
        let json = || serde_json::from_str::<Value>(&reader.current().page()).expect("JSON");
        assert_eq!(json()["heartbeat_ms"], json!({ "value": 500, "source": "--heartbeat-ms" }));
        let kept = reader.current();
        let webhook = running("alert_webhook", "https://hooks.example/T0/secret");
        let before = in_force.replace(Arc::new(webhook));
        assert_eq!((before.settings().heartbeat_ms, kept.settings().heartbeat_ms), (500, 500));
        assert_eq!(json()["heartbeat_ms"]["source"], "default");
        assert_eq!(json()["alert_webhook"]["value"], json!(["https://hooks.example/***"]));
    }

    #[test]
    fn new_values_are_held_against_those_that_need_a_restart() {
        let at_start = running("publish_bytes_max", "100000");
        let read = |topic_bytes: &str, publish_bytes: &str| {
            let mut inputs = SettingInputs::default();
            inputs.flags.insert("history_topic_bytes_max", vec![topic_bytes.to_owned()]);
            inputs.flags.insert("publish_bytes_max", vec![publish_bytes.to_owned()]);
            at_start.reloaded(&ResolvedSettings::read(&inputs).expect("good in itself"))
        };
        let after = read("300000", "200000").expect("an event fits");
        let bytes =
            |of: &RunningSettings| (of.settings.publish_bytes_max, of.settings.history_topic_bytes_max);
        assert_eq!(bytes(&after), (100_000, 300_000));
        let text = read("5000", "4500").expect_err("the running server takes larger events").to_string();
        assert!(text.contains("publish_bytes_max = 100000 (--publish-bytes-max) is larger than"), "{text}");
    }

    #[test]
    fn a_default_that_needs_a_restart_gives_way_to_no_reload() {
        let at_start = running("workers", "1");
        let wanted = running("history_topic_bytes_max", "5000");
        assert_eq!(wanted.settings.publish_bytes_max, 5_000, "at a start the default gives way");
        let text = at_start.reloaded(&wanted.resolved).expect_err("it takes larger events").to_string();
        assert!(text.contains("publish_bytes_max = 262144 (default) is larger than"), "{text}");
        let at_start = running("history_bytes_max", "500000");
        let after = at_start.reloaded(&running("workers", "1").resolved).expect("a default gives way");
        assert_eq!(after.settings.history_topic_bytes_max, 500_000);
    }
}
