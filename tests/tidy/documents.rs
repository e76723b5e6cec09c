//! What ARCHITECTURE.md says of the tree is held against the tree: the names it gives in backticks exist, and
//! its code maps leave no file out. Knows no other rule.

/// What is wrong, a line each; `files` are paths and contents of all texts, `exists` knows other files too.
pub fn judge(document: &str, files: &[(String, String)], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let names = quoted(document);
    let mut faults = Vec::new();
    for name in names.iter().filter(|name| is_path(name)) {
        if !exists(name) && !files.iter().any(|(path, _)| format!("/{path}").contains(&format!("/{name}"))) {
            faults.push(format!("there is no file {name}"));
        }
    }
    let sources = || files.iter().filter(|(path, _)| path.ends_with(".rs"));
    for part in names.iter().filter(|name| is_symbol(name)).flat_map(|name| name.split("::")) {
        if !sources().any(|(path, text)| path.contains(part) || text.contains(part)) {
            faults.push(format!("nothing is called {part}"));
        }
    }
    for (path, name) in sources().filter_map(|(path, _)| Some((path, mapped_name(path)?))) {
        let behind_folder = format!("/{name}");
        if !names.iter().any(|quoted| *quoted == name || quoted.ends_with(&behind_folder)) {
            faults.push(format!("{path} is in no code map"));
        }
    }
    faults
}

/// The name under which a map should have a file: files directly in a layer, but for `mod.rs` and tests.
fn mapped_name(path: &str) -> Option<&str> {
    let (_, name) = path.strip_prefix("src/")?.split_once('/')?;
    let wanted = !name.contains('/') && name.ends_with(".rs") && !name.ends_with("_tests.rs");
    (wanted && !["mod.rs", "tests.rs"].contains(&name)).then_some(name)
}

/// Everything between backticks, code blocks left out.
fn quoted(document: &str) -> Vec<&str> {
    let prose = document.split("```").step_by(2);
    prose.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// A source file, or something with a folder of ours in front.
fn is_path(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
    plain && !name.starts_with('/') && (name.ends_with(".rs") || name.trim_end_matches('/').contains('/'))
}

/// A path of Rust's.
fn is_symbol(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    name.contains("::") && name.split("::").all(part)
}

#[test]
fn stale_names_and_missing_files_are_found() {
    let files = [("src/fanout/hub.rs", "fn publish() {}"), ("src/fanout/log.rs", ""), ("src/sys/a/x.rs", "")];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let rows: &[(&str, &[&str])] = &[
        ("`hub.rs`, `log.rs`, `hub::publish`, `/var/lib/x`, `fanout/`, `src/sys/a/x.rs`", &[]),
        ("`hub.rs`, `fanout/log.rs`, `wheel.rs`", &["there is no file wheel.rs"]),
        ("`hub.rs`, `log.rs`, `reactor/accept`", &["there is no file reactor/accept"]),
        ("`hub.rs`, `log.rs`, `hub::vanished`", &["nothing is called vanished"]),
        ("`hub.rs`\n```text\n`log.rs`\n```\n", &["src/fanout/log.rs is in no code map"]),
    ];
    for (document, expected) in rows {
        assert_eq!(judge(document, &files, |_| false), *expected, "{document}");
    }
}
