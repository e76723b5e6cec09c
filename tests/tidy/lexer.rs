//! Enough of Rust's lexical grammar to judge a file without being fooled by comments and strings.
//!
//! Owns the reading of one file; knows no rule. Lines are counted from 1.

/// A word or a punctuation character of the code proper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// One file, read.
#[derive(Debug)]
pub struct Source {
    /// Relative to the repository, with `/`.
    pub path: String,
    pub text: String,
    /// The code: no comments, strings emptied.
    pub tokens: Vec<Token>,
    /// What stands in string literals, with the line where each begins.
    pub strings: Vec<Token>,
    /// Line comments with their slashes, a token a line.
    pub comments: Vec<Token>,
    /// Token ranges of functions: the `fn` and the closing brace, or the semicolon.
    pub functions: Vec<(usize, usize)>,
    /// Line ranges, both ends included, of items under `#[cfg(test)]`.
    pub test_lines: Vec<(usize, usize)>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let (tokens, strings, comments) = lex(text);
        let functions = functions(&tokens);
        let test_lines = test_items(&tokens);
        let (path, text) = (path.to_owned(), text.to_owned());
        Source { path, text, tokens, strings, comments, functions, test_lines }
    }

    /// Whether a line belongs to test code.
    pub fn is_test(&self, line: usize) -> bool {
        let test_file = !self.path.starts_with("src/") || self.path.ends_with("tests.rs");
        test_file || self.test_lines.iter().any(|&(first, last)| (first..=last).contains(&line))
    }

    /// Whether these tokens stand one behind the other from `at` on.
    pub fn stands(&self, at: usize, words: &[&str]) -> bool {
        let tokens = self.tokens.get(at..at + words.len());
        tokens.is_some_and(|tokens| tokens.iter().zip(words).all(|(token, word)| token.text == *word))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Splits a text into code tokens, string contents and line comments.
fn lex(text: &str) -> (Vec<Token>, Vec<Token>, Vec<Token>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut strings, mut comments) = (Vec::new(), Vec::new(), Vec::new());
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let next = chars.get(at + 1).copied().unwrap_or('\0');
        match chars[at] {
            '/' if next == '/' => {
                at = end_of_line(&chars, at);
                comments.push(Token { text: chars[start..at].iter().collect(), line });
            }
            '/' if next == '*' => at = end_of_block_comment(&chars, at),
            '\'' => at = end_of_quote(&chars, at),
            '"' => {
                at = end_of_string(&chars, at);
                strings.push(Token { text: chars[start..at].iter().collect(), line });
            }
            c if is_word(c) => {
                at = (at..chars.len()).find(|&i| !is_word(chars[i])).unwrap_or(chars.len());
                let word: String = chars[start..at].iter().collect();
                match raw_string_end(&chars, at, &word) {
                    Some(end) => {
                        at = end;
                        strings.push(Token { text: chars[start..at].iter().collect(), line });
                    }
                    None => tokens.push(Token { text: word, line }),
                }
            }
            c if c.is_whitespace() => at += 1,
            c => {
                at += 1;
                tokens.push(Token { text: c.to_string(), line });
            }
        }
        line += chars[start..at].iter().filter(|&&c| c == '\n').count();
    }
    (tokens, strings, comments)
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0, start);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// A character literal to its end, or the tick of a lifetime.
fn end_of_quote(chars: &[char], start: usize) -> usize {
    let escaped = chars.get(start + 1) == Some(&'\\');
    if !escaped && chars.get(start + 2) != Some(&'\'') {
        return start + 1;
    }
    let from = if escaped { start + 3 } else { start + 2 };
    (from..chars.len()).find(|&i| chars[i] == '\'').map_or(chars.len(), |end| end + 1)
}

/// The end of a raw string whose prefix is the word before `at`; none when it is not one.
fn raw_string_end(chars: &[char], at: usize, word: &str) -> Option<usize> {
    if !["r", "br", "cr"].contains(&word) {
        return None;
    }
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closes = |i: usize| {
        chars[i] == '"'
            && chars[i + 1..].len() >= hashes
            && chars[i + 1..][..hashes].iter().all(|&c| c == '#')
    };
    let end = (at + hashes + 1..chars.len()).find(|&i| closes(i));
    Some(end.map_or(chars.len(), |end| end + 1 + hashes))
}

/// The token that ends the item whose head begins at `from`: a semicolon or the brace that closes its body.
pub fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let (mut brackets, mut braces) = (0usize, 0usize);
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 {
                    return at;
                }
            }
            ";" if brackets == 0 && braces == 0 => return at,
            _ => {}
        }
    }
    tokens.len().saturating_sub(1)
}

fn functions(tokens: &[Token]) -> Vec<(usize, usize)> {
    let named = |at: usize| tokens.get(at + 1).is_some_and(|token| token.text.starts_with(is_word));
    let starts = (0..tokens.len()).filter(|&at| tokens[at].text == "fn" && named(at));
    starts.map(|at| (at, end_of_item(tokens, at))).collect()
}

fn test_items(tokens: &[Token]) -> Vec<(usize, usize)> {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let found = tokens
        .windows(attribute.len())
        .enumerate()
        .filter(|(_, window)| window.iter().zip(attribute).all(|(token, expected)| token.text == expected));
    found
        .map(|(at, _)| {
            let end = end_of_item(tokens, at + attribute.len());
            (tokens[at].line, tokens[end].line)
        })
        .collect()
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    let text = "let a = \"fn b() { \\\" }\"; // fn c()\n/* fn d() /* { */ */ let e = '\"'; \
                let f: &'static str = r#\"x\"y\"#; '\\''; b\"z\"; '{'";
    let source = Source::new("src/x.rs", text);
    let words: Vec<&str> =
        source.tokens.iter().map(|token| token.text.as_str()).filter(|t| t.len() > 1).collect();
    assert_eq!(words, ["let", "let", "let", "static", "str"]);
    let strings: Vec<&str> = source.strings.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(strings, ["\"fn b() { \\\" }\"", "r#\"x\"y\"#", "\"z\""]);
    let comments: Vec<(&str, usize)> = source.comments.iter().map(|c| (c.text.as_str(), c.line)).collect();
    assert_eq!(comments, [("// fn c()", 1)]);
    assert!(source.functions.is_empty());
    assert_eq!(source.tokens.last().map(|token| token.line), Some(2));
}

#[test]
fn functions_and_test_items_are_found_with_their_ends() {
    let text = "fn a(x: [u8; 2]) -> fn(u8) {\n  fn b() {}\n}\ntrait T { fn c(); }\n\
                #[cfg(test)]\nmod tests {\n}\nfn d() {}";
    let source = Source::new("src/x.rs", text);
    let lines: Vec<(usize, usize)> = source
        .functions
        .iter()
        .map(|&(from, to)| (source.tokens[from].line, source.tokens[to].line))
        .collect();
    assert_eq!(lines, [(1, 3), (2, 2), (4, 4), (8, 8)]);
    assert_eq!(source.test_lines, [(5, 7)]);
    assert!(source.is_test(6) && !source.is_test(8));
}
