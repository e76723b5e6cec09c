//! Every command in the documents, tried as a reader would type it: `sh` blocks against a running server,
//! `toml` blocks as configuration files.
//!
//! Commands that would change the host, build for minutes or need another machine are checked as far as that
//! goes without running them: make targets, scripts and their flags, test programs, the shell's grammar. A
//! program that is in none of these lists is a fault, so that nothing stays untried by accident. Links are
//! the business of `tests/tidy`.

#[path = "documents/blocks.rs"]
mod blocks;
#[path = "documents/check.rs"]
mod check;
#[path = "documents/sandbox.rs"]
mod sandbox;
#[path = "documents/shell.rs"]
mod shell;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use blocks::Block;
use sandbox::Sandbox;

/// Folders with documents, beside the root.
const FOLDERS: [&str; 10] = [
    ".",
    "docs",
    "tuning",
    "monitoring",
    "packaging",
    "benches/peers",
    "clients/js",
    "examples/browser",
    "examples/publish",
    "examples/load",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Paths relative to the root.
fn documents() -> Vec<String> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root().join(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".md") {
                found
                    .push(Path::new(folder).join(name).to_string_lossy().trim_start_matches("./").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Faults of a document, a line each.
fn judge(path: &str, document: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for block in blocks::find(document) {
        let found = match block.language.as_str() {
            "sh" => judge_shell(&block),
            "toml" => judge_configuration(&block),
            _ => Vec::new(),
        };
        faults.extend(found.into_iter().map(|(line, words)| format!("{path}:{line}: {words}")));
    }
    faults
}

/// A block has a server of its own, so that one command may end it or need the one before.
fn judge_shell(block: &Block) -> Vec<(usize, String)> {
    let mut sandbox = None;
    let mut faults = Vec::new();
    for typed in block.commands() {
        if let Err(words) = shell::check_grammar(&typed.text) {
            faults.push((typed.line, words));
            continue;
        }
        for step in shell::steps(&typed.text) {
            let result = if step.commands.iter().all(check::is_runnable) {
                sandbox.get_or_insert_with(Sandbox::new).run(&step.text, check::curls(&step)).map(drop)
            } else {
                step.commands.iter().try_for_each(|command| {
                    if check::is_runnable(command) {
                        let sandbox = sandbox.get_or_insert_with(Sandbox::new);
                        return sandbox.run(&command.text, usize::from(check::is_curl(command))).map(drop);
                    }
                    check::judge(command, &root())
                })
            };
            faults.extend(result.err().map(|words| (typed.line, words)));
        }
    }
    faults
}

fn judge_configuration(block: &Block) -> Vec<(usize, String)> {
    let sandbox = Sandbox::without_server();
    // An ellipsis stands for the rest of a secret address.
    sandbox.write("block.toml", &block.text.replace('…', "x"));
    let result = sandbox.run("fanwheel config --config block.toml >/dev/null", 0);
    result.err().map(|words| (block.line, words)).into_iter().collect()
}

#[test]
fn every_command_in_the_documents_works() {
    let documents = documents();
    for expected in ["README.md", "docs/http-api.md", "CONTRIBUTING.md", "tuning/README.md"] {
        assert!(documents.iter().any(|path| path == expected), "{expected} is not among {documents:?}");
    }
    let faults: Vec<String> = thread::scope(|scope| {
        let judges: Vec<_> = documents
            .iter()
            .map(|path| {
                scope.spawn(move || {
                    let text = fs::read_to_string(root().join(path)).expect("a readable document");
                    judge(path, &text)
                })
            })
            .collect();
        judges.into_iter().flat_map(|judge| judge.join().expect("a judge does not panic")).collect()
    });
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The text with each number as one `0`, so that ids and times of two runs are equal.
fn without_numbers(text: &str) -> String {
    let mut found = String::new();
    for c in text.chars() {
        match (c.is_ascii_digit(), found.ends_with('0')) {
            (true, true) => {}
            (true, false) => found.push('0'),
            (false, _) => found.push(c),
        }
    }
    found
}

#[test]
fn the_first_event_looks_as_the_readme_shows_it() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the project has a README");
    let blocks = blocks::find(&readme);
    let typed: Vec<String> = blocks
        .iter()
        .filter(|block| block.language == "sh")
        .flat_map(Block::commands)
        .flat_map(|typed| shell::steps(&typed.text))
        .map(|step| step.text.trim().to_owned())
        .collect();
    let command = |beginning: &str| {
        typed.iter().find(|text| text.starts_with(beginning)).expect("one of the README's first commands")
    };
    // The sandbox listens, too.
    let listening = "curl http://127.0.0.1:8081/topics | grep -q '\"subscribers\":2'";
    let script = format!(
        "{} &\nuntil {listening}; do sleep 0.05; done\n{} >/dev/null\nwait",
        command("curl -N"),
        command("curl -d")
    );
    let output = Sandbox::new().run(&script, 3).expect("the first commands work");
    let shown = blocks.iter().find(|block| block.language == "text" && block.text.starts_with(":ok"));
    let shown = shown.expect("the README shows the output");
    assert_eq!(without_numbers(output.trim()), without_numbers(shown.text.trim()));
}

#[test]
fn the_start_prints_the_hint_that_the_readme_shows() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the project has a README");
    let blocks = blocks::find(&readme);
    let shown = blocks.iter().find(|block| block.text.starts_with("dashboard="));
    let shown = shown.expect("the README shows the start");
    let words: Vec<&str> = shown.text.split_whitespace().collect();
    assert_eq!(without_numbers(Sandbox::new().hint()), without_numbers(&words.join(" ")));
}

/// An answer behind the commands that it belongs to: JSON after a shell block, a sentence at most between.
fn answers(document: &str) -> Vec<(Block, Block)> {
    let mut found = Vec::new();
    let mut last: Option<Block> = None;
    for block in blocks::find(document) {
        if let Some(commands) = last.take().filter(|_| block.language == "json") {
            let between = block.line - 1 - (commands.line + commands.text.lines().count());
            if commands.language == "sh" && between <= 4 {
                found.push((commands, block));
                continue;
            }
        }
        last = Some(block);
    }
    found
}

#[test]
fn answers_look_as_the_page_of_the_api_shows_them() {
    let page = fs::read_to_string(root().join("docs/http-api.md")).expect("the API has a page");
    let answers = answers(&page);
    assert!(answers.len() >= 2, "a publish and a batch show their answers");
    for (commands, shown) in answers {
        let last = commands.commands().pop().expect("a shell block has a command");
        let output = Sandbox::new().run(&last.text, 1).expect("tried by another test");
        let shape = |text: &str| {
            let mut value: serde_json::Value = serde_json::from_str(text).expect("JSON");
            value["id"] = without_numbers(value["id"].as_str().expect("an id")).into();
            value
        };
        assert_eq!(shape(&output), shape(&shown.text), "line {}", shown.line);
    }
}

#[test]
fn the_page_of_proxies_shows_the_configurations_that_are_tested() {
    let page = fs::read_to_string(root().join("docs/proxies.md")).expect("proxies have a page");
    let shown = blocks::find(&page);
    for name in ["nginx.conf", "haproxy.cfg", "Caddyfile"] {
        let file = fs::read_to_string(root().join("deploy").join(name)).expect("it is deployed");
        assert!(shown.iter().any(|block| block.text == file), "docs/proxies.md shows another {name}");
    }
}

/// A newcomer trusts the list of missing things, so each of them stands there until it has a setting.
#[test]
fn the_readme_lists_what_is_missing_and_nothing_else() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let settings = fs::read_to_string(root().join("docs/configuration.md")).expect("settings have a page");
    let (_, missing) = readme.split_once("| missing | until then |").expect("the README has the list");
    let missing = missing.split_once("\n\n").expect("the list ends").0;
    let rows = [
        ("TLS", "tls_"),
        ("credentials", "token"),
        ("several nodes with one order", "backplane"),
        ("history on disk", "history_dir"),
    ];
    let is_listed = |thing: &str| missing.contains(&format!("\n| {thing} |"));
    for (thing, setting) in rows {
        let is_setting = |form: String| settings.contains(&form);
        let built = is_setting(format!("\n| `{setting}")) || is_setting(format!("[[{setting}]]"));
        assert_eq!(is_listed(thing), !built, "{thing}");
    }
    let listed = missing.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).count();
    assert_eq!(
        listed,
        rows.iter().filter(|(thing, _)| is_listed(thing)).count(),
        "a row that is not checked"
    );
}

#[test]
fn planted_faults_are_found() {
    let rows = [
        ("curl http://127.0.0.1:8081/statuss", "404"),
        ("curl -d x 'http://127.0.0.1:8080/publish?topic=a'", "403"),
        ("curl -N 'http://127.0.0.1:8080/events?topik=a'", "400"),
        ("curl http://127.0.0.1:1/healthz", "000"),
        ("curl http://127.0.0.1:8081/healthz && curl http://127.0.0.1:8081/no", "404"),
        ("curl --no-such-flag http://127.0.0.1:8081/healthz", "no-such-flag"),
        ("fanwheel subscribe news --lasst 3", "--lasst"),
        ("fanwheel serve --heartbeat-ms 5", "heartbeat_ms = 5 is not allowed"),
        ("fanwheel load --subscribers many", "--subscribers"),
        ("fanwheel doctor --url 'https://example.org/' --no-such", "--no-such"),
        ("fanwheel plan --connections -1", "--connections"),
        ("fanwheel fly", "unknown subcommand fly"),
        ("make no-such-target", "no target no-such-target"),
        ("make build && make run ARG=1", "no variable ARG"),
        ("sudo tuning/aply.sh", "no script tuning/aply.sh"),
        ("sudo tuning/apply.sh --connection-count 5", "knows no --connection-count"),
        ("cargo test --test no_such", "no_such"),
        ("frobnicate --all", "frobnicate"),
        ("echo 'open", "grammar"),
    ];
    thread::scope(|scope| {
        for (command, expected) in rows {
            scope.spawn(move || {
                let faults = judge("x.md", &format!("Text.\n\n```sh\n{command}\n```\n"));
                assert_eq!(faults.len(), 1, "{command}: {faults:?}");
                assert!(faults[0].starts_with("x.md:4: "), "{command}: {faults:?}");
                assert!(faults[0].contains(expected), "{command}: {faults:?}");
            });
        }
    });
    let faults = judge("x.md", "```toml\nheartbeat_m = 5\n```\n");
    assert!(faults.len() == 1 && faults[0].contains("heartbeat_m"), "{faults:?}");
}

#[test]
fn sound_commands_pass() {
    let document = "```sh\n\
        # A comment alone.\n\
        curl http://127.0.0.1:8080/readyz   # a comment behind\n\
        curl -N 'http://127.0.0.1:8080/events?topic=a&last=1' | head -n 2\n\
        curl -H 'Content-Type: application/x-ndjson' --data-binary @- \\\n  \
        http://127.0.0.1:8081/publish/batch <<'END'\n\
        {\"topic\":\"a\",\"data\":\"it's; & | one\"}\n\
        END\n\
        curl -X DELETE http://127.0.0.1:8081/connections/0-17-4242\n\
        fanwheel publish a b && fanwheel subscribe a --last 1 --count 1\n\
        for n in 1 2; do echo \"$n\"; done | fanwheel publish a\n\
        sudo make deb && sudo dpkg -i target/deb/*.deb\n\
        tuning/apply.sh --connections 5 --dry-run\n\
        ssh -L 8081:127.0.0.1:8081 HOST\n\
        curl -N 'https://example.org/events?topic=a'\n\
        SIM_SEED=5 cargo test --test sim\n\
        fanwheel load --pid \"$(pidof fanwheel)\" --rate 5\n\
        curl -X POST http://127.0.0.1:8081/drain\n\
        ```\n\
        ```text\nfrobnicate\n```\n\
        ```toml\nheartbeat_ms = 5000\n\n[[alerts]]\nname = \"memory_leak\"\nenabled = false\n```\n";
    assert_eq!(judge("x.md", document), Vec::<String>::new());
}
