//! SIGHUP: reads the settings again, applies those that a running server can change and reports the others.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use log::{error, info, warn};

use crate::base::logfmt::LogValue;
use crate::base::settings::SettingSpec;
use crate::config::resolve::SettingInputs;
use crate::config::resolved::ResolvedSettings;
use crate::daemon::logging::parse_level;

/// Reloads that were refused.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of reloads that were refused.
pub(crate) fn reloads_refused() -> u64 {
    REFUSED.load(Relaxed)
}

/// A setting whose text differs from the one in force.
#[derive(Debug)]
struct SettingChange<'a> {
    spec: &'static SettingSpec,
    running: &'a str,
    wanted: &'a str,
}

/// Reads, applies and reports; returns the settings in force afterwards. A setting that needs a restart keeps
/// its text, so that the next reload reports it again.
pub(crate) fn reload_settings(inputs: &SettingInputs, running: &ResolvedSettings) -> ResolvedSettings {
    let wanted = match ResolvedSettings::read_again(inputs) {
        Ok(wanted) => wanted,
        Err(refusal) => {
            REFUSED.fetch_add(1, Relaxed);
            error!("event=reload_refused reason={}", LogValue(&refusal.to_string()));
            return running.clone();
        }
    };
    let changes = changed_settings(running, &wanted);
    for SettingChange { spec, running, wanted } in &changes {
        let (running, wanted) = (spec.shown(running), spec.shown(wanted));
        let (name, running, wanted) = (spec.name, LogValue(&running), LogValue(&wanted));
        if spec.reloadable {
            info!("event=reloaded setting={name} was={running} is={wanted}");
        } else {
            warn!("event=reload_needs_restart setting={name} running={running} wanted={wanted}");
        }
    }
    let rules_changed = running.rules() != wanted.rules();
    if rules_changed {
        info!("event=reloaded setting=alerts rules={}", wanted.rules().len());
    }
    let classes_changed = running.classes() != wanted.classes();
    if classes_changed {
        info!("event=reloaded setting=class classes={}", wanted.classes().len());
    }
    if changes.is_empty() && !rules_changed && !classes_changed {
        info!("event=reloaded changes=0");
    }
    let after = running.updated(&wanted, |spec| spec.reloadable);
    log::set_max_level(parse_level(&after.entry("log_level").text));
    after
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
        let first = ResolvedSettings::read(&inputs(&file, "log_level = 'info'\nworkers = 2\n")).unwrap();
        let again = inputs(&file, "log_level = 'debug'\nworkers = 3\n");
        let wanted = ResolvedSettings::read(&again).unwrap();
        let names: Vec<&str> =
            changed_settings(&first, &wanted).iter().map(|change| change.spec.name).collect();
        assert_eq!(names, ["workers", "log_level"]);

        let after = reload_settings(&again, &first);
        assert_eq!((after.settings().workers, after.settings().log_level.as_str()), (2, "debug"));
        let broken = inputs(&file, "log_level = 'loud'\n");
        assert_eq!(reload_settings(&broken, &after).settings().log_level, "debug");
        let class = "log_level = 'warn'\n[[class]]\nname = 'a'\ntopics = ['a']\nhistory_events = 5\n";
        let classed = reload_settings(&inputs(&file, class), &after);
        assert_eq!(classed.settings().classes[0].settings.history_events, 5);
        let hidden = format!("{class}[[class]]\nname = 'b'\ntopics = ['a']\n");
        let kept = reload_settings(&inputs(&file, &hidden), &classed);
        assert!(kept.settings().same_classes(&classed.settings()) && reloads_refused() == 2);
        let _ = std::fs::remove_file(&file);
    }
}
