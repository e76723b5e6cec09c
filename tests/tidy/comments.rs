//! Reads the comments of one source file as prose: its words, its doc comments, its vague words.
//!
//! Knows no limit.

use super::lexer::Source;

/// Words that usually stand where a noun of the field belongs.
const VAGUE: [&str; 4] = ["what", "who", "whom", "whoever"];
/// Beginnings of doc comments that send the reader elsewhere or say nothing.
const EMPTY_BEGINNINGS: [&[&str]; 4] = [&["See", "the"], &["The", "same"], &["What"], &["Whoever"]];

/// The doc comment of one item, its lines joined.
#[derive(Debug, PartialEq, Eq)]
pub struct DocComment {
    /// The line where it begins.
    pub line: usize,
    pub text: String,
}

impl DocComment {
    pub fn words(&self) -> usize {
        words(&self.text).count()
    }

    pub fn begins_empty(&self) -> bool {
        EMPTY_BEGINNINGS.iter().any(|beginning| {
            let mut words =
                words(&self.text).map(|word| word.trim_end_matches(|c: char| !c.is_alphanumeric()));
            beginning.iter().all(|expected| words.next() == Some(expected))
        })
    }
}

/// The words of a text; lone punctuation is none.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric))
}

/// Item docs: `///` lines that follow each other are one.
pub fn doc_comments(source: &Source) -> Vec<DocComment> {
    let mut found: Vec<DocComment> = Vec::new();
    let mut last_line = 0;
    for comment in &source.comments {
        let Some(text) = comment.text.strip_prefix("///").filter(|text| !text.starts_with('/')) else {
            continue;
        };
        match found.last_mut().filter(|_| last_line + 1 == comment.line) {
            Some(doc) => doc.text.push_str(text),
            None => found.push(DocComment { line: comment.line, text: text.to_owned() }),
        }
        last_line = comment.line;
    }
    found
}

/// How many words all comments have.
pub fn word_count(source: &Source) -> usize {
    source.comments.iter().map(|comment| words(prose(&comment.text)).count()).sum()
}

/// Lines with vague words, a line once for each.
pub fn vague_lines(source: &Source) -> Vec<usize> {
    let is_vague = |word: &str| VAGUE.contains(&word.to_lowercase().as_str());
    let in_line = |text: &str| {
        prose(text).split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| is_vague(word)).count()
    };
    source.comments.iter().flat_map(|c| std::iter::repeat_n(c.line, in_line(&c.text))).collect()
}

fn prose(comment: &str) -> &str {
    comment.trim_start_matches('/').trim_start_matches('!')
}

#[test]
fn doc_comments_are_read_by_the_item() {
    let text = "//! What the file owns.\n/// One\n/// and two.\nfn a() {}\n/// Three.\nfn b() {} // no doc\n\
                //// A ruler.\nfn c() { g(\"/// no\") }\n";
    let source = Source::new("src/x.rs", text);
    let docs: Vec<(usize, usize)> = doc_comments(&source).iter().map(|doc| (doc.line, doc.words())).collect();
    assert_eq!(docs, [(2, 3), (5, 1)]);
    assert_eq!(word_count(&source), 4 + 1 + 2 + 1 + 2 + 2);
}

#[test]
fn empty_beginnings_are_found() {
    let rows = [
        ("See the module.", true),
        ("The same, for all.", true),
        ("What it says.", true),
        ("Whoever asks.", true),
        ("Whether it is so.", false),
        ("The sameness of things.", false),
        ("See [`Worker`] for its order.", false),
        ("", false),
    ];
    for (text, expected) in rows {
        let doc = DocComment { line: 1, text: text.to_owned() };
        assert_eq!(doc.begins_empty(), expected, "{text}");
    }
}

#[test]
fn vague_words_are_counted_in_comments_only() {
    let text =
        "//! What it is, and who.\nlet what = \"who\"; // Whoever: what?\n/// somewhat, `what_is`, whose\n";
    let source = Source::new("src/x.rs", text);
    assert_eq!(vague_lines(&source), [1, 1, 2, 2]);
}
