//! A root folder with files as the kernel would show them. For tests alone; removed when dropped.

use std::fs;
use std::path::{Path, PathBuf};

/// A root folder with fake files of the kernel.
pub(crate) struct FakeRoot(PathBuf);

impl FakeRoot {
    /// Writes the files: paths below the root, and texts. `name` tells it from those of other tests.
    pub(crate) fn new(name: &str, files: &[(&str, &str)]) -> FakeRoot {
        let root = std::env::temp_dir().join(format!("fanwheel-{}-root-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("it is writable");
            fs::write(path, text).expect("it is writable");
        }
        FakeRoot(root)
    }

    /// Returns the path of the root folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for FakeRoot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
