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

/// Tests that the attacks of SECURITY.md name and that do not exist, and rows that name none; with the number
/// of rows. `files` are paths and contents of all texts.
pub fn judge_attacks(document: &str, files: &[(String, String)]) -> AttackRows {
    let rows = document.lines().filter(|line| line.starts_with("| ") && line.matches(" | ").count() == 2);
    let rows = rows.filter(|line| !line.starts_with("| ---") && !line.starts_with("| attack |"));
    let mut judged = AttackRows::default();
    for row in rows {
        let name = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default().trim_matches('`');
        judged.rows += 1;
        if !is_test(name, files) {
            judged.faults.push(format!("no test {name}: {row}"));
        }
    }
    judged
}

/// The attacks of a document.
#[derive(Debug, Default)]
pub struct AttackRows {
    pub rows: usize,
    pub faults: Vec<String>,
}

/// Whether a file of this name, or in a folder of it, has a test of that name: of Rust, or of a Python suite,
/// whose tests are functions that its runner lists.
fn is_test(name: &str, files: &[(String, String)]) -> bool {
    let Some((file, test)) = name.split_once("::") else { return false };
    files.iter().any(|(path, text)| {
        let named = path.split(['/', '.']).any(|part| part == file);
        let rust = path.ends_with(".rs") && text.contains(&format!("#[test]\nfn {test}("));
        let unit = path.ends_with(".rs") && text.contains(&format!("#[test]\n    fn {test}("));
        let python = path.ends_with(".py") && text.contains(&format!("\ndef {test}("));
        named && (rust || unit || python)
    })
}

#[test]
fn attacks_without_a_test_are_found() {
    let files = [
        ("tests/blackbox/order.rs", "//! x\n#[test]\nfn a_fact() {}\nfn helper() {}\n"),
        ("src/wire/x/tests.rs", "#[cfg(test)]\nmod tests {\n    #[test]\n    fn a_fact() {}\n}\n"),
        ("tests/proxies/checks.py", "import os\ndef nothing_passes(world):\n"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let document = "| attack | what happens | test |\n| --- | --- | --- |\n| a | b | `order::a_fact` |\n\
                    | a | b | `x::a_fact` |\n| a | b | `checks::nothing_passes` |\n| two | cells |\n";
    let judged = judge_attacks(document, &files);
    assert_eq!((judged.rows, judged.faults), (3, Vec::new()));
    for name in ["order::helper", "order::a_fac", "wheel::a_fact", "a_fact", ""] {
        let judged = judge_attacks(&format!("| a | b | `{name}` |\n"), &files);
        assert_eq!((judged.rows, judged.faults.len()), (1, 1), "{name}");
    }
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
