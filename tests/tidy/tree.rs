//! Finds the files of the repository. Knows no rule.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are made, not written.
const SKIPPED: [&str; 8] =
    [".git", "target", "node_modules", "__pycache__", ".venv", "corpus", "artifacts", "playwright-report"];
const TEXT_ENDINGS: [&str; 14] = [
    ".rs", ".md", ".toml", ".sh", ".py", ".js", ".mjs", ".ts", ".yml", ".yaml", ".service", ".conf", ".html",
    ".css",
];
const TEXT_NAMES: [&str; 4] = ["Makefile", "Dockerfile", "run", "setup"];

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Text files, as paths relative to the root, with their contents.
pub fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    assert!(found.iter().any(|(path, _)| path == "src/lib.rs"), "the tree was not found");
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a readable folder").flatten().collect();
    entries.sort_by_key(|entry| entry.file_name());
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("a readable entry");
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(&entry.path(), &format!("{path}/"), found);
        }
        let is_text =
            TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending)) || TEXT_NAMES.contains(&name.as_str());
        if kind.is_file() && is_text {
            found.push((path, fs::read_to_string(entry.path()).expect("UTF-8 text")));
        }
    }
}
