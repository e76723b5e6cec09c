//! Reads a Markdown document as prose: its sentences and the cells of its tables. Knows no limit.
//!
//! Code blocks, headings and pictures are skipped; a list item is a paragraph of its own.

use super::comments::words;

/// Words that end in a full stop without ending a sentence.
const ABBREVIATIONS: [&str; 7] = ["e.g.", "i.e.", "etc.", "vs.", "cf.", "approx.", "No."];

/// A sentence or a table cell, with the line where its paragraph begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Passage {
    pub line: usize,
    pub text: String,
}

impl Passage {
    pub fn words(&self) -> usize {
        words(&self.text).count()
    }
}

/// Every sentence of the running text and of lists.
pub fn sentences(document: &str) -> Vec<Passage> {
    let mut found = Vec::new();
    let mut paragraph = Passage { line: 1, text: String::new() };
    for (line, text) in lines_of_prose(document) {
        let text = text.trim();
        let own = text.is_empty() || is_table_row(text) || text.starts_with('#');
        let item = list_item(text);
        if own || item.is_some() {
            found.extend(split(&paragraph));
            paragraph = Passage { line, text: String::new() };
        }
        if !own {
            paragraph.text.push_str(item.unwrap_or(text).trim_start_matches('>'));
            paragraph.text.push(' ');
        }
        if own {
            paragraph.line = line + 1;
        }
    }
    found.extend(split(&paragraph));
    found
}

/// Every cell of every table, without the rulers.
pub fn table_cells(document: &str) -> Vec<Passage> {
    let rows = lines_of_prose(document).into_iter().filter(|(_, text)| is_table_row(text.trim()));
    rows.flat_map(|(line, text)| {
        let text = plain(&text.replace("\\|", "_"));
        let cells: Vec<String> = text.trim().trim_matches('|').split('|').map(str::to_owned).collect();
        cells.into_iter().map(move |text| Passage { line, text })
    })
    .collect()
}

/// Numbered lines outside of fenced blocks.
fn lines_of_prose(document: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (index, text) in document.lines().enumerate() {
        let fence = text.trim_start().starts_with("```");
        fenced ^= fence;
        // A fence ends the paragraph before it, as an empty line does.
        found.push((index + 1, if fenced || fence { "" } else { text }));
    }
    found
}

fn is_table_row(text: &str) -> bool {
    text.starts_with('|')
}

/// The text of a list item behind its mark.
fn list_item(text: &str) -> Option<&str> {
    let bullet = ["- ", "* ", "+ "].iter().find_map(|mark| text.strip_prefix(mark));
    let numbered = || text.split_once(". ").filter(|(number, _)| number.parse::<u8>().is_ok());
    bullet.or_else(|| numbered().map(|(_, rest)| rest))
}

/// Splits a paragraph where a word ends in a mark and the next does not begin small.
fn split(paragraph: &Passage) -> Vec<Passage> {
    let text = plain(&paragraph.text);
    let all: Vec<&str> = text.split_whitespace().collect();
    let mut found = Vec::new();
    let mut first = 0;
    for at in 0..all.len() {
        let next = all.get(at + 1);
        let next_begins = next.is_none_or(|next| !next.starts_with(char::is_lowercase));
        if next.is_none() || (ends_sentence(all[at]) && next_begins) {
            let sentence = Passage { line: paragraph.line, text: all[first..=at].join(" ") };
            found.extend(Some(sentence).filter(|sentence| sentence.words() > 0));
            first = at + 1;
        }
    }
    found
}

fn ends_sentence(word: &str) -> bool {
    let bare = word.trim_end_matches([')', '"', '\'', '*', '_', '”', '’']);
    let mark = bare.ends_with(['.', '!', '?']);
    mark && !ABBREVIATIONS.contains(&bare.trim_start_matches(['(', '"']))
}

/// The text as it is read: links without their targets, pictures gone, marks inside code spans harmless.
fn plain(text: &str) -> String {
    let mut code = false;
    let text: String = text
        .chars()
        .map(|c| {
            code ^= c == '`';
            if code && ".!?[](|".contains(c) { '_' } else { c }
        })
        .collect();
    let mut found = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("](") {
        let target_end = after.find(')').map_or(after.len(), |end| end + 1);
        let opening = before.rfind('[').unwrap_or(before.len());
        let picture = before[..opening].ends_with('!');
        found.push_str(before[..opening].trim_end_matches('!'));
        if !picture {
            found.push_str(before.get(opening + 1..).unwrap_or_default());
        }
        rest = &after[target_end..];
    }
    found + rest
}

#[test]
fn sentences_end_where_a_reader_ends_them() {
    let rows: &[(&str, &[usize])] = &[
        ("One two. Three four five!\nSix?", &[2, 3, 1]),
        ("Needs 1.88 or later, e.g. Debian's. See `a.b. C d` and main.rs of it.", &[6, 8]),
        ("# A heading. Of two\n\nOne\ntwo.\n\n```sh\nls -l. Two\n```\nThree", &[2, 1]),
        ("- one two\n- three. Four\n  five\n1. six\n\n> seven eight", &[2, 1, 2, 1, 2]),
        ("| a | b c |\n| --- | --- |\n\nOne (two three.) Four.", &[3, 1]),
        ("A [link of five](docs/x.md#a.b) here. ![picture text](x.png)", &[5]),
        ("An end (of 3 kB) stands — alone. \"Quoted.\" *Strong.* End", &[7, 1, 1, 1]),
    ];
    for (document, expected) in rows {
        let counts: Vec<usize> = sentences(document).iter().map(Passage::words).collect();
        assert_eq!(counts, *expected, "{document}");
    }
}

#[test]
fn cells_are_counted_without_rulers_and_code_blocks() {
    let document =
        "text | here\n\n| a | b `c \\| d` |\n| --- | :-: |\n| [one two](x) | |\n```\n| no |\n```\n";
    let cells: Vec<(usize, usize)> =
        table_cells(document).iter().map(|cell| (cell.line, cell.words())).collect();
    assert_eq!(cells, [(3, 1), (3, 3), (4, 0), (4, 0), (5, 2), (5, 0)]);
}

#[test]
fn lines_of_sentences_are_those_of_their_paragraphs() {
    let lines: Vec<usize> =
        sentences("# A\n\nOne. Two.\nThree.\n\n- four\n").iter().map(|found| found.line).collect();
    assert_eq!(lines, [3, 3, 3, 6]);
}
