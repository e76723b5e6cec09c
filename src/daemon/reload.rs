//! SIGHUP: reads the settings again, and reports which of the changes a running server can apply.
//!
//! A reading with a mistake is refused whole and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use log::{error, info, warn};

use crate::base::logfmt::LogValue;
use crate::base::settings::SettingSpec;
use crate::config::credentials::load_access;
use crate::config::refusal::SettingsRefusal;
use crate::config::resolve::SettingInputs;
use crate::config::resolved::ResolvedSettings;
use crate::daemon::running_settings::RunningSettings;
use crate::host::named_file::PipeWait;
use crate::wire::auth::access::AccessRules;

/// Reloads that were refused.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of reloads that were refused.
pub(crate) fn reloads_refused() -> u64 {
    REFUSED.load(Relaxed)
}

/// A reading that may be put in force.
#[derive(Debug)]
pub(crate) struct SettingsReload {
    /// The value to put in force.
    pub(crate) next: Arc<RunningSettings>,
    /// Its credentials, read from their files.
    pub(crate) access: Arc<AccessRules>,
    /// Everything that the sources say, settings that need a restart among it.
    wanted: ResolvedSettings,
}

/// A setting whose text differs from the one in force.
#[derive(Debug)]
struct SettingChange<'a> {
    spec: &'static SettingSpec,
    running: &'a str,
    wanted: &'a str,
}

/// Reads the settings again. Returns none when a mistake refuses the reading: then the old value stays whole.
pub(crate) fn read_reload(inputs: &SettingInputs, running: &RunningSettings) -> Option<SettingsReload> {
    let refuse = |refusal: SettingsRefusal, hint: &str| {
        REFUSED.fetch_add(1, Relaxed);
        error!("event=reload_refused reason={}", LogValue(&format!("{refusal}{hint}")));
    };
    let wanted = ResolvedSettings::read_again(inputs).map_err(|refusal| refuse(refusal, "")).ok()?;
    // A contradiction is between a new value and one that needs a restart.
    let next =
        running.reloaded(&wanted).map_err(|refusal| refuse(refusal, "; a restart applies both")).ok()?;
    let access = load_access(next.resolved(), PipeWait::Refused);
    let access = access.map_err(|refusal| refuse(refusal, "")).ok()?;
    Some(SettingsReload { next: Arc::new(next), access: Arc::new(access), wanted })
}

impl SettingsReload {
    /// Writes a line for each change. Call it when the changes are in force.
    pub(crate) fn report_changes(&self, before: &RunningSettings) {
        let (running, wanted) = (before.resolved(), &self.wanted);
        let changes = changed_settings(running, wanted);
        for SettingChange { spec, running, wanted } in &changes {
            let (running, wanted) = (spec.shown(running), spec.shown(wanted));
            let (name, running, wanted) = (spec.name, LogValue(&running), LogValue(&wanted));
            if spec.reloadable {
                info!("event=reloaded setting={name} was={running} is={wanted}");
            } else {
                warn!("event=reload_needs_restart setting={name} running={running} wanted={wanted}");
            }
        }
        let rules_changed = before.rules() != self.next.rules();
        if rules_changed {
            info!("event=reloaded setting=alerts rules={}", self.next.rules().len());
        }
        let classes_changed = running.classes() != wanted.classes();
        if classes_changed {
            info!("event=reloaded setting=class classes={}", wanted.classes().len());
        }
        let tokens_changed = running.tokens() != wanted.tokens();
        if tokens_changed {
            info!("event=reloaded setting=token tokens={}", wanted.tokens().len());
        }
        if changes.is_empty() && !rules_changed && !classes_changed && !tokens_changed {
            info!("event=reloaded changes=0");
        }
    }
}

fn changed_settings<'a>(
    running: &'a ResolvedSettings,
    wanted: &'a ResolvedSettings,
) -> Vec<SettingChange<'a>> {
    let pairs = running.entries().iter().zip(wanted.entries());
    pairs
        .filter(|(running, wanted)| running.text != wanted.text)
        .map(|(running, wanted)| SettingChange {
            spec: running.spec,
            running: &running.text,
            wanted: &wanted.text,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(file: &std::path::Path, text: &str) -> SettingInputs {
        std::fs::write(file, text).unwrap();
        SettingInputs { config: Some(file.to_owned()), ..SettingInputs::default() }
    }

    #[test]
    fn what_needs_a_restart_is_kept_and_what_does_not_is_applied() {
        let file = std::env::temp_dir().join(format!("fanwheel-{}-reload.toml", std::process::id()));
        let read = |text: &str| ResolvedSettings::read(&inputs(&file, text)).unwrap();
        let first = RunningSettings::new(read("log_level = 'info'\nworkers = 2\n"));
        let again = "log_level = 'debug'\nworkers = 3\n";
        let wanted = read(again);
        let names: Vec<&str> =
            changed_settings(first.resolved(), &wanted).iter().map(|change| change.spec.name).collect();
        assert_eq!(names, ["workers", "log_level"]);

        let reload =
            |text: &str, running: &RunningSettings| Some(read_reload(&inputs(&file, text), running)?.next);
        let after = reload(again, &first).expect("no mistake");
        assert_eq!((after.settings().workers, after.log_level()), (2, log::LevelFilter::Debug));
        let class = "log_level = 'warn'\n[[class]]\nname = 'a'\ntopics = ['a']\nhistory_events = 5\n";
        let classed = reload(class, &after).expect("no mistake");
        assert_eq!(classed.settings().classes[0].settings.history_events, 5);

        let hidden = format!("{class}[[class]]\nname = 'b'\ntopics = ['a']\n");
        let running_contradicts = "history_topic_bytes_max = 5000\n";
        for refused in ["log_level = 'loud'\n", &hidden, running_contradicts] {
            assert!(reload(refused, &classed).is_none(), "{refused}");
        }
        assert_eq!(reloads_refused(), 3);
        let _ = std::fs::remove_file(&file);
    }
}
