//! The house rules, as a test: layers and their imports, sizes, leftovers, unsafe, the table of settings,
//! links of documents, the names in ARCHITECTURE.md, and the words of names, comments and documents.
//!
//! Each rule is also tried on a planted fault, so that a rule that has gone blind is noticed.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/comments.rs"]
mod comments;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/parts.rs"]
mod parts;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

use fanwheel::base::settings::{SettingKind, SettingSpec, TABLE};
use lexer::Source;
use rules::Violation;

fn judge(path: &str, text: &str) -> Vec<Violation> {
    let source = Source::new(path, text);
    let mut faults = rules::judge(&source);
    faults.extend(layers::judge(&source));
    faults
}

#[test]
fn the_tree_obeys_the_rules() {
    let mut faults = Vec::new();
    for (path, text) in tree::texts() {
        let found = if path.ends_with(".rs") { judge(&path, &text) } else { rules::text(&path, &text) };
        faults.extend(found.iter().map(Violation::to_string));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_layers_form_no_circle() {
    let texts = tree::texts().into_iter().filter(|(path, _)| path.ends_with(".rs"));
    let sources: Vec<Source> = texts.map(|(path, text)| Source::new(&path, &text)).collect();
    assert_eq!(layers::cycle(&sources), None);
}

#[test]
fn the_files_of_the_core_form_no_circle() {
    assert_eq!(circles::find("fanout", &tree::texts()), None);
}

#[test]
fn the_worker_keeps_its_fields_and_its_methods_to_one_file() {
    let core = tree::texts().into_iter().filter(|(path, _)| path.starts_with("src/fanout/"));
    let core: Vec<Source> = core.map(|(path, text)| Source::new(&path, &text)).collect();
    let homes: Vec<&str> = core
        .iter()
        .filter(|source| parts::has_methods(source, "Worker"))
        .map(|source| source.path.as_str())
        .collect();
    assert_eq!(
        homes,
        ["src/fanout/worker.rs"],
        "the parts do the work: functions over the state they change"
    );
    let visible: Vec<&str> = core.iter().flat_map(|source| parts::visible_fields(source, "Worker")).collect();
    assert_eq!(visible, [""; 0], "fields that other files see");
}

#[test]
fn what_is_vendored_is_what_was_fetched() {
    let folder = tree::root().join("vendor/uplot");
    let mut check = std::process::Command::new("sha256sum");
    let check = check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(&folder);
    let output = check.output().expect("sha256sum is part of every Debian");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let listed =
        std::fs::read_to_string(folder.join("SHA256SUMS")).expect("the list of sums").lines().count();
    let present = std::fs::read_dir(folder).expect("the folder").count();
    assert_eq!(present, listed + 2, "every file but the list itself and the script that fetches has a sum");
}

#[test]
fn the_architecture_names_what_there_is() {
    let path = tree::root().join("ARCHITECTURE.md");
    let document = std::fs::read_to_string(path).expect("the project has an ARCHITECTURE.md");
    let faults = documents::judge(&document, &tree::texts(), |name| tree::root().join(name).exists());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_attack_of_the_security_page_names_a_test_that_exists() {
    let files = tree::texts();
    let (_, page) = files.iter().find(|(path, _)| path == "SECURITY.md").expect("it has a page");
    let (_, attacks) = page.split_once("## Attacks").expect("a table of attacks");
    let (attacks, _) = attacks.split_once("\n## ").expect("a section behind it");
    let judged = documents::judge_attacks(attacks, &files);
    assert!(judged.faults.is_empty(), "\n{}\n", judged.faults.join("\n"));
    assert!(judged.rows >= 60, "{} attacks", judged.rows);
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let read = |path: &str| std::fs::read_to_string(tree::root().join(path)).ok();
    let mut faults = Vec::new();
    let documents = tree::texts().into_iter();
    for (path, text) in documents.filter(|(path, _)| path.ends_with(".md") && !path.starts_with("vendor/")) {
        let broken = links::judge(&path, &text, |file| tree::root().join(file).exists(), read);
        faults.extend(broken.iter().map(|link| format!("{path}:{}: no {}", link.line, link.target)));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The row that docs/configuration.md has for a setting, with the words that it may be if those are few.
fn settings_row(spec: &SettingSpec) -> String {
    let default = if spec.default.is_empty() { "(empty)".to_owned() } else { format!("`{}`", spec.default) };
    let words = match spec.kind {
        SettingKind::Choice(words) => format!(": {}", words.join(", ")),
        _ => String::new(),
    };
    format!("| `{}` | {default} | {}{words} |", spec.name, spec.help)
}

#[test]
fn the_configuration_page_has_every_setting_with_its_default() {
    let path = tree::root().join("docs/configuration.md");
    let page = std::fs::read_to_string(path).expect("the settings have a page");
    let is_missing = |row: &String| !page.lines().any(|line| line == row);
    let missing: Vec<String> = TABLE.iter().map(settings_row).filter(is_missing).collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks these rows:\n{}\n", missing.join("\n"));
    let strangers: Vec<&str> = page.lines().filter(|line| is_settings_row(line)).collect();
    assert_eq!(
        strangers.len(),
        TABLE.len(),
        "rows twice or of settings that no longer exist: {strangers:#?}"
    );
}

/// A row with three cells whose first is one name in backticks with an underscore, or a known setting.
fn is_settings_row(line: &str) -> bool {
    let name = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |")).map(|(name, _)| name);
    let like_a_setting =
        |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !name.is_empty();
    let known = |name: &str| TABLE.iter().any(|spec| spec.name == name);
    name.is_some_and(|name| like_a_setting(name) && (name.contains('_') || known(name)))
}

#[test]
fn planted_faults_are_found() {
    let long_function = format!("//! x\nfn long() {{\n{}}}\n", "    x();\n".repeat(69));
    let long_file = format!("//! x\n{}", "// y\n".repeat(600));
    let wide = format!("//! x\n// {}\n", "w".repeat(108));
    let rows: &[(&str, &str, &str)] = &[
        ("src/fanout/x.rs", "//! x\nuse crate::reactor::Clock;", "fanout must not import reactor"),
        ("src/wire/x.rs", "//! x\nuse crate::{base::id, fanout::seam};", "wire must not import fanout"),
        ("src/reactor/x.rs", "//! x\nfn f() { crate::wire::head::parse() }", "reactor must not import wire"),
        ("src/load/x.rs", "//! x\nuse crate::fanout::node::Node;", "load must not import fanout"),
        ("src/base/x.rs", "//! x\nuse crate::wire;", "base must not import wire"),
        ("src/attic/x.rs", "//! x", "layer attic is missing"),
        ("src/fanout/x.rs", "//! x\nuse super::super::reactor;", "super::super hides an import"),
        ("src/fanout/x.rs", "//! x\nuse std::time::Instant;", "fanout must not contain Instant"),
        (
            "src/fanout/x.rs",
            "//! x\nfn f() { std::thread::yield_now() }",
            "fanout must not contain std::thread",
        ),
        ("src/fanout/x.rs", "//! x\nuse std::net::TcpStream;", "fanout must not contain TcpStream"),
        ("src/fanout/x.rs", "//! x\nuse mio::Token;", "fanout must not contain mio"),
        ("src/fanout/x.rs", "//! x\nfn f() { HashMap::new() }", "fanout must not contain HashMap::new"),
        ("src/wire/x.rs", "//! x\nuse std::time::SystemTime;", "wire must not contain SystemTime"),
        ("src/monitor/x.rs", "//! x\nuse std::net::TcpStream;", "monitor must not contain TcpStream"),
        ("src/client/x.rs", "//! x\nuse crate::daemon::serve;", "client must not import daemon"),
        ("src/client/x.rs", "//! x\nuse clap::ArgMatches;", "client must not contain clap"),
        ("src/daemon/x.rs", "//! x\nfn f(matches: &clap::ArgMatches) {}", "daemon must not contain clap"),
        ("src/cli/x.rs", "//! x\nuse crate::fanout::hub;", "cli must not import fanout"),
        ("src/reactor/x.rs", "//! x\nfn parse_http_head() {}", "reactor must know nothing of http"),
        ("src/reactor/x.rs", "//! x\nstruct SseFrame;", "reactor must know nothing of sse"),
        ("src/reactor/x.rs", "//! x\nconst A: &str = \"text/event-stream\";", "nothing of event-stream"),
        ("src/reactor/x.rs", "//! x\nconst A: &str = \"HTTP/1.1 200\";", "nothing of http"),
        ("src/cli/x.rs", "//! x\nasync fn f() {}", "async has no place here"),
        ("tests/x.rs", "//! x\nuse tokio::net;", "tokio has no place here"),
        ("src/cli/x.rs", "//! x\nfn f() { todo!() }", "todo! is unfinished work"),
        ("src/cli/x.rs", "//! x\nfn f() { dbg!(1) }", "dbg! is unfinished work"),
        ("tests/x.rs", "//! x\nfn f() { unimplemented!() }", "unimplemented! is unfinished work"),
        ("src/cli/x.rs", concat!("//! x\n// FIX", "ME later"), "finish it"),
        ("src/cli/x.rs", "//! x\nfn f() { g().unwrap() }", "unwrap: write expect"),
        ("src/cli/x.rs", "//! x\nfn f() { unsafe { g() } }", "unsafe belongs to src/sys"),
        ("tests/x.rs", "//! x\n#![allow(unsafe_code)]", "unsafe belongs to src/sys"),
        ("src/sys/x.rs", "//! x\nfn f() { unsafe { g() } }", "unsafe without a SAFETY comment"),
        ("src/cli/x.rs", concat!("//! x\n// see /wo", "rk/main"), "is a path of one machine"),
        ("src/cli/x.rs", "fn f() {}", "no //! header"),
        ("src/cli/x.rs", &long_function, "function long has 71 lines"),
        ("src/cli/x.rs", &long_file, "601 lines"),
        ("src/cli/x.rs", &wide, "111 columns"),
    ];
    for (path, text, expected) in rows {
        let faults = judge(path, text);
        let found = faults.iter().any(|fault| fault.words.contains(expected));
        assert!(found, "{path}: {text:.60}: expected {expected:?}, found {faults:?}");
        assert_eq!(faults.len(), 1, "{path}: {text:.60}: {faults:?}");
    }
}

#[test]
fn good_code_is_left_alone() {
    let rows = [
        ("src/fanout/x.rs", "//! x\nuse crate::{base::id::EventId, wire::frame};\nuse std::net::IpAddr;"),
        ("src/fanout/x.rs", "//! x\n// std::thread, mio and Instant in a comment\nfn f() { g(\"mio\") }"),
        (
            "src/fanout/x.rs",
            "//! x\n#[cfg(test)]\nmod tests {\n use std::thread;\n fn f() { g().unwrap() }\n}",
        ),
        ("src/fanout/x_tests.rs", "//! x\nfn f() { g().unwrap() }"),
        ("src/reactor/x.rs", "//! x\nfn assert_classes() { assert!(processed); }"),
        ("src/sys/x.rs", "//! x\nfn f() {\n // SAFETY: no pointers.\n unsafe { g() }\n}"),
        ("src/cli/x.rs", "//! x\nfn f() { g().unwrap_or(1); h.unwrap_or_default() }"),
        ("src/cli/x.rs", "//! x\nuse clap::ArgMatches;"),
        ("src/cli/x.rs", "//! x\nuse crate::{base, host, config, planner, doctor, client, daemon, load};"),
        ("tests/x.rs", "//! x\nfn f() { g().unwrap() }"),
        ("benches/peers/x/src/main.rs", "//! x\nuse tokio::net;\nasync fn f() {}"),
    ];
    for (path, text) in rows {
        assert_eq!(judge(path, text), [], "{text}");
    }
}

#[test]
fn circles_are_found() {
    let a = Source::new("src/base/x.rs", "use crate::wire::x;");
    let b = Source::new("src/wire/x.rs", "use crate::{monitor::x};");
    let c = Source::new("src/monitor/x.rs", "use crate::base;");
    assert_eq!(layers::cycle(&[a, b, c]).as_deref(), Some("base → wire → monitor → base"));
}

#[test]
fn rows_of_settings_are_told_from_other_tables() {
    let rows = [
        ("| `heartbeat_ms` | `15000` | x |", true),
        ("| `listen` | `0.0.0.0:8080` | x |", true),
        ("| `old_setting` | `1` | x |", true),
        ("| `serve` | runs the server |", false),
        ("| heartbeat_ms | x |", false),
        ("plain text", false),
    ];
    for (line, expected) in rows {
        assert_eq!(is_settings_row(line), expected, "{line}");
    }
}
