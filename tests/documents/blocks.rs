//! Finds the fenced blocks of a Markdown document, and in those of a shell the commands as one types them.
//!
//! Knows no program and runs nothing.

use super::shell;

/// A fenced block.
pub struct Block {
    /// The word behind the opening fence.
    pub language: String,
    /// Number of its first line of text, counted from 1.
    pub line: usize,
    /// Its lines.
    pub text: String,
}

/// Lines that the shell takes as one input: continued ones, and a here-document, belong together.
pub struct Typed {
    /// Number of the first of them in the document.
    pub line: usize,
    /// The lines.
    pub text: String,
}

/// All blocks of a document, in order.
pub fn find(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in document.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let language = language.trim().to_owned();
                open = Some(Block { language, line: index + 2, text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

impl Block {
    /// Its commands; empty lines and comments that stand alone are none.
    pub fn commands(&self) -> Vec<Typed> {
        let mut found = Vec::new();
        let mut text = String::new();
        let mut first = self.line;
        for (index, line) in self.text.lines().enumerate() {
            if text.is_empty() {
                if line.trim().is_empty() || line.trim_start().starts_with('#') {
                    continue;
                }
                first = self.line + index;
            }
            text.push_str(line);
            text.push('\n');
            if shell::is_complete(&text) {
                found.push(Typed { line: first, text: std::mem::take(&mut text) });
            }
        }
        if !text.is_empty() {
            found.push(Typed { line: first, text });
        }
        found
    }
}

#[test]
fn blocks_and_commands_have_the_lines_of_the_document() {
    let document =
        "a\n```sh\none\n\n# no\ntwo \\\n  three\nfour <<'END'\n# text\nEND\nsix 'a\nb'\n```\n```\nx\n```\n";
    let blocks = find(document);
    let shown: Vec<(&str, usize)> =
        blocks.iter().map(|block| (block.language.as_str(), block.line)).collect();
    assert_eq!(shown, [("sh", 3), ("", 15)]);
    let commands = blocks[0].commands();
    let shown: Vec<(usize, &str)> = commands.iter().map(|typed| (typed.line, typed.text.as_str())).collect();
    assert_eq!(
        shown,
        [(3, "one\n"), (6, "two \\\n  three\n"), (8, "four <<'END'\n# text\nEND\n"), (11, "six 'a\nb'\n"),]
    );
}
