//! Rule: the files of a folder of `src/` import each other without circles.
//!
//! A file in a folder of its own kind (`hub/order.rs`) may know its parent (`hub.rs`), as Rust has it. Tests
//! count for nothing.

use std::collections::{BTreeMap, BTreeSet};

/// A circle among the files of the layer, with its modules; `files` are paths and contents.
pub fn find(layer: &str, files: &[(String, String)]) -> Option<String> {
    let prefix = format!("src/{layer}/");
    let modules: BTreeMap<String, &str> = files
        .iter()
        .filter_map(|(path, text)| Some((module_of(path.strip_prefix(&prefix)?)?, text.as_str())))
        .collect();
    let edges: BTreeMap<&str, BTreeSet<String>> = modules
        .iter()
        .map(|(module, text)| (module.as_str(), imports(layer, module, text, &modules)))
        .collect();
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| walk(&edges, &mut vec![(*start).to_owned()], &mut done))
}

fn walk(
    edges: &BTreeMap<&str, BTreeSet<String>>,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<String> {
    let here = path.last().expect("starts with one").clone();
    if done.contains(&here) {
        return None;
    }
    for next in edges.get(here.as_str()).into_iter().flatten() {
        if let Some(start) = path.iter().position(|module| module == next) {
            path.push(next.clone());
            return Some(path[start..].join(" → "));
        }
        path.push(next.clone());
        if let Some(found) = walk(edges, path, done) {
            return Some(found);
        }
        path.pop();
    }
    done.insert(here);
    None
}

/// `hub::order` of `hub/order.rs`; none for tests and for the layer's own `mod.rs`.
fn module_of(path: &str) -> Option<String> {
    let name = path.strip_suffix(".rs")?;
    let name = name.strip_suffix("/mod").unwrap_or(name);
    (name != "mod" && !name.ends_with("tests")).then(|| name.replace('/', "::"))
}

/// Modules of the layer that a module imports, its parents left out.
fn imports(layer: &str, module: &str, text: &str, modules: &BTreeMap<String, &str>) -> BTreeSet<String> {
    let code: String = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .into_iter()
        .flat_map(str::lines)
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect();
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let mut paths = Vec::new();
    let own = format!("crate::{layer}::");
    for (at, _) in code.match_indices(&own) {
        expand("", &code[at + own.len()..], &mut paths);
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let (mut base, mut rest) = (module, &code[at..]);
        while let Some(left) = rest.strip_prefix("super::") {
            (base, rest) = (base.rsplit_once("::").map_or("", |(parent, _)| parent), left);
        }
        expand(base, rest, &mut paths);
    }
    let known = |path: String| {
        let mut path = path.as_str();
        while !modules.contains_key(path) {
            path = path.rsplit_once("::")?.0;
        }
        Some(path.to_owned())
    };
    let parent_of = |other: &String| module == other || module.starts_with(&format!("{other}::"));
    paths.into_iter().filter_map(known).filter(|other| !parent_of(other)).collect()
}

/// Appends the paths that begin a text: `a::b`, or one for each member of `a::{b, c::d}`.
fn expand(base: &str, text: &str, paths: &mut Vec<String>) {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    let joined = [base, head.trim_end_matches(':')].into_iter().filter(|part| !part.is_empty());
    let path = joined.collect::<Vec<_>>().join("::");
    let Some(group) = rest.strip_prefix('{').filter(|_| head.is_empty() || head.ends_with("::")) else {
        return paths.push(path);
    };
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                expand(&path, &group[start..at], paths);
                start = at + 1;
                if c == '}' {
                    return;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

#[test]
fn circles_of_files_are_found() {
    type Files<'a> = &'a [(&'a str, &'a str)];
    let rows: &[(Files<'_>, Option<&str>)] = &[
        (&[("a", "use super::b::B;"), ("b", "use super::c::{C, D};"), ("c", "")], None),
        (&[("a", "use super::b::B;"), ("b", "use crate::fanout::a::A;")], Some("a → b → a")),
        (&[("a", "use super::{b::B, c::C};"), ("b", ""), ("c", "use super::a;")], Some("a → c → a")),
        (&[("a", "fn f(b: super::b::B) {}"), ("b", "fn f(a: super::a::A) {}")], Some("a → b → a")),
        (&[("a", "use self::x::X;"), ("a/x", "use super::{A, y::Y};"), ("a/y", "")], None),
        (&[("a/x", "use super::y::Y;"), ("a/y", "use super::x::X;")], Some("a::x → a::y → a::x")),
        (&[("a", "use super::b;"), ("b", "\n#[cfg(test)]\nmod tests {\n use crate::fanout::a;")], None),
        (&[("a", "use super::b;"), ("b", "// as super::a does\n")], None),
        (&[("a", "use super::b;"), ("b_tests", "use super::a;"), ("b", "")], None),
    ];
    for (files, expected) in rows {
        let file = |(name, text): &(&str, &str)| (format!("src/fanout/{name}.rs"), (*text).to_owned());
        let files: Vec<_> = files.iter().map(file).collect();
        assert_eq!(find("fanout", &files).as_deref(), *expected, "{files:?}");
    }
}
