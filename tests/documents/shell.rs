//! The little of the shell's grammar that tells which programs a line runs: quotes, pipes, lists, loops.
//!
//! Knows no program. Whether a line is grammatical is bash's word.

use std::process::{Command, Stdio};

/// Words that begin a compound command, which stays whole.
const COMPOUND: [&str; 4] = ["for", "while", "until", "if"];
/// Words in front of a command inside of one, and words that change nothing about which program it is.
const PREFIXES: [&str; 8] = ["do", "then", "else", "while", "until", "if", "sudo", "!"];

/// One program with its arguments.
#[derive(Debug)]
pub struct Simple {
    /// Its words without quotes; redirections are among them.
    pub words: Vec<String>,
    /// The words as they were typed.
    pub text: String,
}

/// A pipeline, or a whole compound command: the least that can be run by itself.
pub struct Step {
    /// Its text, with its here-document.
    pub text: String,
    /// Its commands.
    pub commands: Vec<Simple>,
}

impl Simple {
    /// The words from the program on; empty for the end of a loop and the like.
    pub fn call(&self) -> &[String] {
        let is_prefix = |word: &String| PREFIXES.contains(&word.as_str()) || is_assignment(word);
        let from = self.words.iter().position(|word| !is_prefix(word)).unwrap_or(self.words.len());
        match self.words.get(from).map(String::as_str) {
            None | Some("for" | "done" | "fi") => &[],
            Some(_) => &self.words[from..],
        }
    }
}

/// `NAME=value`.
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// Whether bash would take the text as it stands.
pub fn check_grammar(text: &str) -> Result<(), String> {
    let mut bash = Command::new("bash");
    let output = bash.args(["-n", "-c", text]).stdin(Stdio::null()).output().expect("every host has bash");
    // A here-document without an end is only a warning.
    if output.status.success() && output.stderr.is_empty() {
        return Ok(());
    }
    Err(format!("the shell's grammar: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Whether no further line belongs to the text.
pub fn is_complete(text: &str) -> bool {
    let Some(first) = here_document(text) else { return !text.ends_with("\\\n") && !is_quote_open(text) };
    let end = first.end;
    text.lines().skip(first.lines).any(|line| line == end)
}

/// The number of lines before a here-document, and the word that ends it.
struct HereDocument {
    lines: usize,
    end: String,
}

fn here_document(text: &str) -> Option<HereDocument> {
    let line = text.lines().position(|line| line.contains("<<"))?;
    let (_, word) = text.lines().nth(line)?.split_once("<<")?;
    let word = word.trim_start_matches('-').split_whitespace().next()?;
    Some(HereDocument { lines: line + 1, end: word.trim_matches(['\'', '"']).to_owned() })
}

fn is_quote_open(text: &str) -> bool {
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    quote.is_some()
}

/// The parts of one input that can be run one after the other.
pub fn steps(text: &str) -> Vec<Step> {
    let whole = here_document(text);
    let code = match &whole {
        Some(document) => text.lines().take(document.lines).collect::<Vec<_>>().join("\n"),
        None => text.to_owned(),
    };
    let mut reader = Reader::default();
    reader.read(&code);
    let compound = code.split_whitespace().next().is_some_and(|word| COMPOUND.contains(&word));
    if whole.is_some() || compound {
        let commands = reader.steps.into_iter().flat_map(|step| step.commands).collect();
        return vec![Step { text: text.to_owned(), commands }];
    }
    reader.steps
}

#[derive(Default)]
struct Reader {
    steps: Vec<Step>,
    commands: Vec<Simple>,
    words: Vec<String>,
    word: Option<String>,
    /// The current command, and the current step, as typed.
    command_text: String,
    step_text: String,
}

impl Reader {
    fn read(&mut self, code: &str) {
        let chars: Vec<char> = code.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let next = chars.get(at + 1).copied().unwrap_or('\n');
            let before = at.checked_sub(1).map_or(' ', |before| chars[before]);
            match chars[at] {
                '#' if self.word.is_none() => {
                    while at < chars.len() && chars[at] != '\n' {
                        at += 1;
                    }
                    continue;
                }
                '\\' if next == '\n' => self.end_word(),
                '\\' => self.push(next),
                quote @ ('\'' | '"') => {
                    at = self.quoted(&chars, at, quote);
                    continue;
                }
                '$' if next == '(' => {
                    at = self.substitution(&chars, at);
                    continue;
                }
                '|' if next != '|' => self.end_command(),
                '&' if next == '>' || before == '>' => self.push('&'),
                '|' | '&' | ';' | '\n' => {
                    self.end_step();
                    at += if next == chars[at] && next != '\n' { 2 } else { 1 };
                    continue;
                }
                ' ' | '\t' => self.end_word(),
                other => self.push(other),
            }
            let width = if chars[at] == '\\' { 2 } else { 1 };
            self.keep(&chars[at..(at + width).min(chars.len())]);
            at += width;
        }
        self.end_step();
    }

    /// Takes in a quoted part; returns where it ends.
    fn quoted(&mut self, chars: &[char], from: usize, quote: char) -> usize {
        let mut at = from + 1;
        self.word.get_or_insert_default();
        while at < chars.len() && chars[at] != quote {
            if quote == '"' && chars[at] == '\\' {
                at += 1;
            }
            if let Some(&c) = chars.get(at) {
                self.push(c);
            }
            at += 1;
        }
        let end = (at + 1).min(chars.len());
        self.keep(&chars[from..end]);
        end
    }

    /// Takes in `$(…)` as it stands; returns where it ends.
    fn substitution(&mut self, chars: &[char], from: usize) -> usize {
        let end =
            chars[from..].iter().position(|&c| c == ')').map_or(chars.len(), |length| from + length + 1);
        chars[from..end].iter().for_each(|&c| self.push(c));
        self.keep(&chars[from..end]);
        end
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn keep(&mut self, typed: &[char]) {
        if !self.command_text.is_empty() || typed != ['|'] {
            self.command_text.extend(typed);
        }
        self.step_text.extend(typed);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        let text = std::mem::take(&mut self.command_text);
        if !self.words.is_empty() {
            self.commands.push(Simple { words: std::mem::take(&mut self.words), text });
        }
    }

    fn end_step(&mut self) {
        self.end_command();
        let text = std::mem::take(&mut self.step_text);
        if !self.commands.is_empty() {
            self.steps.push(Step { text, commands: std::mem::take(&mut self.commands) });
        }
    }
}

#[test]
fn lines_are_cut_into_steps_and_programs() {
    // A line, and for each step the first words of its commands.
    let rows: &[(&str, &[&[&str]])] = &[
        ("a b", &[&["a"]]),
        ("a 'b | c' \"d && e\" # f | g", &[&["a"]]),
        ("a | b && sudo c; X=1 d & e || f", &[&["a", "b"], &["c"], &["d"], &["e"], &["f"]]),
        ("a 2>&1 | b", &[&["a", "b"]]),
        ("a \\\n  b\\ c", &[&["a"]]),
        ("a $(b | c) \"$(d)\"", &[&["a"]]),
        ("for n in 1 2; do a \"$n\"; done | b", &[&["", "a", "", "b"]]),
        ("a <<'END'\nb | c\nEND\n", &[&["a"]]),
    ];
    for (line, expected) in rows {
        let steps = steps(line);
        let found: Vec<Vec<&str>> = steps
            .iter()
            .map(|step| step.commands.iter().map(|c| c.call().first().map_or("", String::as_str)).collect())
            .collect();
        assert_eq!(found, *expected, "{line}");
    }
    let steps = steps("a 'b c' | d e && f");
    let texts: Vec<&str> = steps.iter().map(|step| step.text.trim()).collect();
    assert_eq!(texts, ["a 'b c' | d e", "f"]);
    let texts: Vec<&str> = steps[0].commands.iter().map(|command| command.text.trim()).collect();
    assert_eq!(texts, ["a 'b c'", "d e"]);
    assert_eq!(steps[0].commands[0].words, ["a", "b c"]);
}
