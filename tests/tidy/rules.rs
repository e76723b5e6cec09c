//! Rules for one file at a time: sizes, headers, leftovers, unwrap, unsafe, paths of a machine.

use std::fmt;

use super::lexer::Source;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 110;
/// How far above an unsafe block its reason may begin.
const SAFETY_LINES: usize = 12;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    pub line: usize,
    pub words: String,
}

impl Violation {
    pub fn new(source: &Source, line: usize, words: String) -> Violation {
        Violation { path: source.path.clone(), line, words }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.words)
    }
}

/// Every rule for Rust files but those of the layers.
pub fn judge(source: &Source) -> Vec<Violation> {
    let mut faults = text(&source.path, &source.text);
    faults.extend(size(source));
    faults.extend(leftovers(source));
    faults.extend(unwraps(source));
    faults.extend(unsafes(source));
    faults
}

/// Rules for any text file. The words are put together here so that this file does not contain them.
pub fn text(path: &str, text: &str) -> Vec<Violation> {
    let machine =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let ours = [".rs", ".sh", ".js", ".css", ".html"].iter().any(|ending| path.ends_with(ending));
    let wide = ours && !path.starts_with("vendor/") && !path.ends_with(".min.js");
    let mut faults = Vec::new();
    let mut fault =
        |line: usize, words: String| faults.push(Violation { path: path.to_owned(), line, words });
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        if wide && columns > COLUMNS_MAX {
            fault(index + 1, format!("{columns} columns; at most {COLUMNS_MAX}"));
        }
        for mark in [concat!("FIX", "ME"), concat!("XX", "X:"), concat!("TO", "DO")] {
            if line.contains(mark) {
                fault(index + 1, format!("{mark}: finish it or write an issue"));
            }
        }
        for machine in machine.iter().filter(|machine| line.contains(**machine)) {
            fault(index + 1, format!("{machine} is a path of one machine"));
        }
    }
    faults
}

fn size(source: &Source) -> Vec<Violation> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//!") {
        faults.push(Violation::new(
            source,
            1,
            "no //! header: say what it owns and must never know".to_owned(),
        ));
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(Violation::new(source, lines, format!("{lines} lines; at most {FILE_LINES_MAX}")));
    }
    for &(from, to) in &source.functions {
        let (first, last) = (source.tokens[from].line, source.tokens[to].line);
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = &source.tokens[from + 1].text;
            let words = format!("function {name} has {lines} lines; at most {FUNCTION_LINES_MAX}");
            faults.push(Violation::new(source, first, words));
        }
    }
    faults
}

fn leftovers(source: &Source) -> Vec<Violation> {
    let mut faults = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        for leftover in ["todo", "dbg", "unimplemented"] {
            if source.stands(at, &[leftover, "!"]) {
                faults.push(Violation::new(source, token.line, format!("{leftover}! is unfinished work")));
            }
        }
    }
    faults
}

fn unwraps(source: &Source) -> Vec<Violation> {
    let mut faults = Vec::new();
    for (at, token) in source.tokens.iter().enumerate() {
        if source.stands(at, &[".", "unwrap", "(", ")"]) && !source.is_test(token.line) {
            let words = "unwrap: write expect with the reason it cannot fail".to_owned();
            faults.push(Violation::new(source, token.line, words));
        }
    }
    faults
}

fn unsafes(source: &Source) -> Vec<Violation> {
    let mut faults = Vec::new();
    let lines: Vec<&str> = source.text.lines().collect();
    let in_sys = source.path.starts_with("src/sys/");
    for (at, token) in source.tokens.iter().enumerate() {
        if !in_sys && ["unsafe", "unsafe_code"].contains(&token.text.as_str()) {
            faults.push(Violation::new(source, token.line, "unsafe belongs to src/sys".to_owned()));
        }
        let above = &lines[token.line.saturating_sub(SAFETY_LINES)..token.line];
        let reasoned = above.iter().any(|line| line.contains("SAFETY:"));
        if in_sys && source.stands(at, &["unsafe", "{"]) && !reasoned {
            faults.push(Violation::new(source, token.line, "unsafe without a SAFETY comment".to_owned()));
        }
    }
    faults
}
