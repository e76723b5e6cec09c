//! Decides which commands are run, and judges those that are not: make targets, scripts and their flags,
//! cargo's targets.
//!
//! Runs nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::shell::{Simple, Step};

/// Programs that the sandbox runs: ours, curl, and tools that only read or print.
const RUN: [&str; 14] = [
    "fanwheel",
    "target/release/fanwheel",
    "curl",
    "echo",
    "printf",
    "cat",
    "head",
    "tail",
    "grep",
    "sort",
    "wc",
    "seq",
    "sleep",
    "timeout",
];
/// Programs that change the host, reach other hosts, or are not on every host: only their grammar is judged.
const ELSEWHERE: [&str; 27] = [
    "apt-get",
    "cd",
    "chown",
    "chmod",
    "docker",
    "dpkg",
    "git",
    "install",
    "jq",
    "journalctl",
    "kill",
    "logrotate",
    "mkdir",
    "nginx",
    "npm",
    "nstat",
    "pidof",
    "promtool",
    "sha256sum",
    "ss",
    "ssh",
    "sysctl",
    "systemctl",
    "systemd-analyze",
    "tar",
    "top",
    "ulimit",
];
/// Where a package or an installation puts the scripts of the tree.
const INSTALLED: [&str; 2] = ["/usr/share/fanwheel/", "/usr/local/share/fanwheel/"];
const CARGO: [&str; 8] = ["bench", "build", "check", "clippy", "deny", "fmt", "run", "test"];

pub fn is_curl(command: &Simple) -> bool {
    command.call().first().is_some_and(|program| program == "curl")
}

/// How many of the commands are curl.
pub fn curls(step: &Step) -> usize {
    step.commands.iter().filter(|command| is_curl(command)).count()
}

/// Whether the sandbox can run it: a known program that stays on this host.
pub fn is_runnable(command: &Simple) -> bool {
    let call = command.call();
    let Some(program) = call.first() else { return true };
    RUN.contains(&program.as_str()) && !(is_curl(command) && call.iter().any(|word| is_remote(word)))
}

/// An address of another host, or a place holder.
fn is_remote(word: &str) -> bool {
    let local = ["://127.0.0.1", "://localhost", "://[::1]"];
    word.contains('…') || (word.contains("://") && !local.iter().any(|local| word.contains(local)))
}

/// Judges a command that is not run.
pub fn judge(command: &Simple, root: &Path) -> Result<(), String> {
    let Some((program, arguments)) = command.call().split_first() else { return Ok(()) };
    match program.as_str() {
        "make" => judge_make(arguments, root),
        "cargo" => judge_cargo(arguments, root),
        "curl" => Ok(()),
        "k6" | "npx" => judge_load_script(arguments, root),
        other if ELSEWHERE.contains(&other) => Ok(()),
        path if path.contains('/') => judge_script(path, arguments, root),
        other => Err(format!("nothing here knows how to try {other}: see tests/documents/check.rs")),
    }
}

fn judge_make(arguments: &[String], root: &Path) -> Result<(), String> {
    let makefile = fs::read_to_string(root.join("Makefile")).expect("the project has a Makefile");
    for argument in arguments.iter().filter(|argument| !argument.starts_with('-')) {
        let (name, kind, beginnings) = match argument.split_once('=') {
            Some((name, _)) => (name, "variable", [format!("{name} ?="), format!("{name} =")]),
            None => (argument.as_str(), "target", [format!("{argument}:"), format!("{argument} :")]),
        };
        let known = |line: &str| beginnings.iter().any(|beginning| line.starts_with(beginning));
        // A variable may also be one that only a recipe reads.
        let read = kind == "variable" && makefile.contains(&format!("$({name})"));
        if !makefile.lines().any(known) && !read {
            return Err(format!("the Makefile has no {kind} {name}"));
        }
    }
    Ok(())
}

fn judge_cargo(arguments: &[String], root: &Path) -> Result<(), String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the project has a Cargo.toml");
    let subcommand = arguments.first().map_or("", String::as_str);
    if !CARGO.contains(&subcommand) {
        return Err(format!("cargo {subcommand} is not a subcommand that is known here"));
    }
    for pair in arguments.windows(2) {
        let folder = match pair[0].as_str() {
            "--test" => "tests",
            "--example" => "examples",
            "--bench" => "benches",
            _ => continue,
        };
        let name = &pair[1];
        let paths = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")];
        let named = manifest.contains(&format!("name = \"{name}\""));
        if !named && !paths.iter().any(|path| root.join(path).is_file()) {
            return Err(format!("cargo finds no {} {name}", pair[0]));
        }
    }
    Ok(())
}

/// A script for a tool that measures: it exists, and reads every variable that it is given.
fn judge_load_script(arguments: &[String], root: &Path) -> Result<(), String> {
    let path = arguments.last().map_or("", String::as_str);
    let text = fs::read_to_string(root.join(path)).map_err(|_| format!("there is no script {path}"))?;
    let given = arguments.windows(2).filter(|pair| pair[0] == "-e");
    let mut names = given.filter_map(|pair| pair[1].split('=').next());
    match names.find(|name| !text.contains(&format!("__ENV.{name} "))) {
        Some(name) => Err(format!("{path} reads no {name}")),
        None => Ok(()),
    }
}

/// A script of the tree: it exists, it may be run, and its text knows every flag.
fn judge_script(path: &str, arguments: &[String], root: &Path) -> Result<(), String> {
    let inside = INSTALLED.iter().find_map(|folder| path.strip_prefix(folder)).unwrap_or(path);
    let file = root.join(inside.trim_start_matches("./"));
    let text = fs::read_to_string(&file).map_err(|_| format!("there is no script {path}"))?;
    let mode = file.metadata().map_err(|error| format!("{path}: {error}"))?.permissions().mode();
    if mode & 0o111 == 0 {
        return Err(format!("{path} is not executable"));
    }
    let unknown = |flag: &&String| {
        let name = flag.split('=').next().unwrap_or_default();
        name.starts_with("--") && !text.contains(name)
    };
    match arguments.iter().find(unknown) {
        Some(flag) => Err(format!("{path} knows no {flag}")),
        None => Ok(()),
    }
}
