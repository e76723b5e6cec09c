//! Files of credentials that change while the server runs: an issuer replaces its keys when it likes, and
//! nobody sends SIGHUP then.
//!
//! Looks at the files once a second, and reads them again when one has changed. Decides about no request.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::credentials::credential_files;
use crate::config::resolved::ResolvedSettings;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The state of a file that changes with its contents: device, node, length and time of change.
type FileStamp = Option<(u64, u64, u64, i64, i64)>;

/// The files that the settings name, as they were at the last look.
#[derive(Debug)]
pub(crate) struct CredentialWatch {
    stamps: Vec<(PathBuf, FileStamp)>,
    next: Instant,
}

impl CredentialWatch {
    /// Begins with the files as they are.
    pub(crate) fn new(resolved: &ResolvedSettings, now: Instant) -> CredentialWatch {
        CredentialWatch { stamps: stamps_of(resolved), next: now + LOOK_EVERY }
    }

    /// Looks at the files if it is time. Returns whether one has changed since the last look.
    pub(crate) fn has_changed(&mut self, resolved: &ResolvedSettings, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + LOOK_EVERY;
        let stamps = stamps_of(resolved);
        let changed = stamps != self.stamps;
        self.stamps = stamps;
        changed
    }
}

fn stamps_of(resolved: &ResolvedSettings) -> Vec<(PathBuf, FileStamp)> {
    let stamp = |path: PathBuf| {
        let file = std::fs::metadata(&path).ok();
        let stamp = file.map(|file| (file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()));
        (path, stamp)
    };
    credential_files(resolved).into_iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::SettingInputs;

    #[test]
    fn a_change_is_seen_once_and_not_before_its_time() {
        let file = std::env::temp_dir().join(format!("fanwheel-{}-watched.key", std::process::id()));
        std::fs::write(&file, "0123456789abcdef0123456789abcdef").expect("a writable temporary directory");
        let mut inputs = SettingInputs::default();
        inputs.flags.insert("signing_key_file", vec![file.display().to_string()]);
        let resolved = ResolvedSettings::read(&inputs).expect("good");
        let mut now = Instant::now();
        let mut watch = CredentialWatch::new(&resolved, now);
        let mut look = |seconds| {
            now += Duration::from_secs(seconds);
            watch.has_changed(&resolved, now)
        };
        assert!(!look(1), "nothing has changed");
        std::fs::write(&file, "another").expect("a writable temporary directory");
        assert!(!look(0), "too early");
        assert!(look(1) && !look(1));
        let _ = std::fs::remove_file(&file);
        assert!(look(1) && !look(1), "a file that is gone");
    }
}
