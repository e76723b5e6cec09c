//! The layers: what each may import and which words it never contains. ARCHITECTURE.md's table, executable.

use std::collections::BTreeMap;

use super::lexer::Source;
use super::rules::Violation;

/// A folder of `src/`.
struct Layer {
    name: &'static str,
    imports: &'static [&'static str],
    /// Paths of the code that it never contains, `::` between words.
    never: &'static [&'static str],
    /// Parts of names, and of texts in quotes, that it never contains.
    foreign: &'static [&'static str],
}

const SOCKETS: [&str; 9] = [
    "mio",
    "libc",
    "socket2",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "io_uring",
];
const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];
const HOST: [&str; 4] = ["std::thread", "std::fs", "std::env", "std::process"];
/// The default hasher takes its keys from the operating system; the core's seed is an argument.
const RANDOMNESS: [&str; 6] = [
    "RandomState",
    "getrandom",
    "HashMap::new",
    "HashMap::with_capacity",
    "HashSet::new",
    "HashSet::with_capacity",
];

#[rustfmt::skip]
const LAYERS: &[Layer] = &[
    Layer { name: "base", imports: &[], foreign: &[],
            never: &["*sockets", "*clocks", "*host", "*randomness"] },
    Layer { name: "wire", imports: &["base"], never: &["*sockets", "*clocks", "*host"], foreign: &[] },
    Layer { name: "fanout", imports: &["base", "wire"], foreign: &[],
            never: &["*sockets", "*clocks", "*host", "*randomness"] },
    Layer { name: "sys", imports: &["base"], never: &[], foreign: &[] },
    Layer { name: "reactor", imports: &["base", "fanout", "sys"], never: &["httparse"],
            foreign: &["http", "sse", "event-stream"] },
    Layer { name: "host", imports: &["base", "sys"], foreign: &[],
            never: &["mio", "libc", "socket2", "TcpStream", "TcpListener"] },
    Layer { name: "monitor", imports: &["base", "wire"], foreign: &[],
            never: &["*sockets", "*clocks", "*host"] },
    Layer { name: "config", imports: &["base", "wire", "host", "monitor"], foreign: &[],
            never: &["*sockets", "*clocks"] },
    Layer { name: "planner", imports: &["base", "wire"], foreign: &[],
            never: &["*sockets", "*clocks", "*host"] },
    Layer { name: "load", imports: &["base", "wire", "sys", "host"], never: &[], foreign: &[] },
    Layer { name: "client", imports: &["base", "wire", "host"], never: &["libc", "mio"], foreign: &[] },
    Layer { name: "doctor", imports: &["base", "wire", "sys", "host", "planner", "client"],
            never: &[], foreign: &[] },
    Layer { name: "backplane", imports: &["base", "wire", "fanout", "reactor"],
            never: &[], foreign: &[] },
    Layer { name: "daemon", never: &[], foreign: &[],
            imports: &[
                "base", "wire", "fanout", "sys", "reactor", "backplane", "host", "config", "monitor",
            ] },
    Layer { name: "cli", never: &[], foreign: &[],
            imports: &["base", "host", "config", "planner", "load", "doctor", "client", "daemon"] },
];

/// The command line parser, which belongs to `cli`: the other layers take plain options.
const COMMAND_LINE: &str = "clap";

/// Where other people's servers are written with what those servers use, to be measured beside this one.
const PEERS: &str = "benches/peers/";
/// Words that nothing else contains: this server has no async runtime.
const NOWHERE: [&str; 7] = ["tokio", "async_std", "smol", "futures", "async", "await", "hyper"];

fn layer_of(path: &str) -> Option<&str> {
    path.strip_prefix("src/")?.split_once('/').map(|(layer, _)| layer)
}

fn layer(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

/// The layers that a file names, with the line: `crate::x`, `crate::{x, y}`, and the same from outside.
fn imported(source: &Source) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let tokens = &source.tokens;
    for at in 0..tokens.len() {
        let root = ["crate", "fanwheel"].iter().any(|root| source.stands(at, &[root, ":", ":"]));
        if !root {
            continue;
        }
        if !source.stands(at + 3, &["{"]) {
            found.extend(tokens.get(at + 3).map(|token| (token.text.clone(), token.line)));
            continue;
        }
        let mut depth = 0;
        for (behind, token) in tokens.iter().enumerate().skip(at + 3) {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ if depth == 1 && ["{", ","].contains(&tokens[behind - 1].text.as_str()) => {
                    found.push((token.text.clone(), token.line));
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// The import table, the banned words and what only the whole crate may do.
pub fn judge(source: &Source) -> Vec<Violation> {
    let mut faults = nowhere(source);
    let Some(name) = layer_of(&source.path) else { return faults };
    let Some(layer) = layer(name) else {
        faults.push(Violation::new(
            source,
            1,
            format!("layer {name} is missing from the table in tests/tidy"),
        ));
        return faults;
    };
    for (import, line) in imported(source) {
        let is_layer = LAYERS.iter().any(|layer| layer.name == import);
        if is_layer && import != name && !layer.imports.contains(&import.as_str()) {
            faults.push(Violation::new(source, line, format!("{name} must not import {import}")));
        }
    }
    for at in 0..source.tokens.len() {
        let line = source.tokens[at].line;
        if source.stands(at, &["super", ":", ":", "super"]) {
            faults.push(Violation::new(
                source,
                line,
                "super::super hides an import: write crate::".to_owned(),
            ));
        }
        if layer.name != "cli" && path_stands(source, at, COMMAND_LINE) {
            faults.push(Violation::new(source, line, format!("{name} must not contain {COMMAND_LINE}")));
        }
        for words in layer.never.iter().flat_map(|group| expand(group)) {
            if !source.is_test(line) && path_stands(source, at, words) {
                faults.push(Violation::new(source, line, format!("{name} must not contain {words}")));
            }
        }
    }
    faults.extend(foreign(source, layer));
    faults
}

fn expand(group: &'static &'static str) -> &'static [&'static str] {
    match *group {
        "*sockets" => &SOCKETS,
        "*clocks" => &CLOCKS,
        "*host" => &HOST,
        "*randomness" => &RANDOMNESS,
        _ => std::slice::from_ref(group),
    }
}

fn path_stands(source: &Source, at: usize, path: &str) -> bool {
    // Most tokens are no word of the path at all: told without taking it apart.
    if !path.starts_with(source.tokens[at].text.as_str()) {
        return false;
    }
    let words: Vec<&str> = path.split("::").flat_map(|word| [":", ":", word]).skip(2).collect();
    source.stands(at, &words)
}

fn nowhere(source: &Source) -> Vec<Violation> {
    if source.path.starts_with(PEERS) {
        return Vec::new();
    }
    let banned = source.tokens.iter().filter(|token| NOWHERE.contains(&token.text.as_str()));
    banned
        .map(|token| Violation::new(source, token.line, format!("{} has no place here", token.text)))
        .collect()
}

/// Names are compared by their parts, so that `assert` does not contain `sse`.
fn foreign(source: &Source, layer: &Layer) -> Vec<Violation> {
    let mut faults = Vec::new();
    for token in source.tokens.iter().chain(&source.strings) {
        let parts = parts(&token.text);
        for word in layer.foreign {
            let whole = token.text.to_lowercase().contains(word) && word.contains('-');
            if whole || parts.iter().any(|part| part == word) {
                let words = format!("{} must know nothing of {word}: {}", layer.name, token.text.trim());
                faults.push(Violation::new(source, token.line, words));
            }
        }
    }
    faults
}

/// `parse`, `http`, `head` of `parseHttpHead` or `parse_http_head`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let boundary = !c.is_alphanumeric() || (c.is_uppercase() && was_lower);
        if boundary {
            parts.push(String::new());
        }
        if c.is_alphanumeric() {
            parts.last_mut().expect("never empty").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    parts
}

/// A circle among the folders of `src/`, by what their files really import.
pub fn cycle(sources: &[Source]) -> Option<String> {
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources {
        let Some(from) = layer_of(&source.path) else { continue };
        let to = imported(source).into_iter().map(|(to, _)| to).filter(|to| to != from);
        edges.entry(from.to_owned()).or_default().extend(to);
    }
    fn walk(edges: &BTreeMap<String, Vec<String>>, path: &mut Vec<String>) -> Option<String> {
        let here = path.last().expect("starts with one").clone();
        for next in edges.get(&here).into_iter().flatten() {
            let seen = path.contains(next);
            path.push(next.clone());
            if seen {
                return Some(path.join(" → "));
            }
            if let Some(found) = walk(edges, path) {
                return Some(found);
            }
            path.pop();
        }
        None
    }
    edges.keys().find_map(|start| walk(&edges, &mut vec![start.clone()]))
}
