//! The page `/settings`: the settings in force and their sources, as `fanwheel config --json` prints them.
//!
//! Owns the text, which the main thread writes anew at each reload and any worker reads.

use std::sync::{Arc, Mutex};

use crate::config::render;
use crate::config::resolved::ResolvedSettings;

/// The text of the page, shared by the main thread and the workers.
#[derive(Clone, Debug)]
pub(crate) struct SettingsPage(Arc<Mutex<String>>);

impl SettingsPage {
    /// Makes the page of the settings at the start.
    pub(crate) fn new(resolved: &ResolvedSettings) -> SettingsPage {
        SettingsPage(Arc::new(Mutex::new(render_page(resolved))))
    }

    /// Replaces the text after a reload.
    pub(crate) fn replace(&self, resolved: &ResolvedSettings) {
        let text = render_page(resolved);
        *self.lock() = text;
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> String {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, String> {
        self.0.lock().expect("a panic ends the process, so the lock is never poisoned")
    }
}

/// An answer ends its line itself.
fn render_page(resolved: &ResolvedSettings) -> String {
    render::as_json(resolved).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::SettingInputs;
    use serde_json::{Value, json};

    #[test]
    fn a_reload_is_seen_by_every_reader_and_secrets_by_none() {
        let resolved = |name, text: &str| {
            let mut inputs = SettingInputs::default();
            inputs.flags.insert(name, vec![text.to_owned()]);
            ResolvedSettings::read(&inputs).expect("good")
        };
        let page = SettingsPage::new(&resolved("heartbeat_ms", "500"));
        let reader = page.clone();
        let json = || serde_json::from_str::<Value>(&reader.text()).expect("JSON");
        assert_eq!(json()["heartbeat_ms"], json!({ "value": 500, "source": "--heartbeat-ms" }));
        page.replace(&resolved("alert_webhook", "https://hooks.example/T0/secret"));
        assert_eq!(json()["heartbeat_ms"]["source"], "default");
        assert_eq!(json()["alert_webhook"]["value"], json!(["https://hooks.example/***"]));
    }
}
