//! Measures the words of the tree and holds them to limits: names of types, comments, documents.
//!
//! `make words` prints the table of all figures; with `OFFENDERS=1` each figure is followed by its places.

use std::collections::BTreeMap;
use std::fmt;

use super::lexer::Source;
use super::{comments, names, prose, tree};

/// Type names that stand in more than one file.
const SHARED_NAMES_MAX: f64 = 10.0;
/// Types with a name of one word, in percent of all.
const ONE_WORD_NAMES_MAX: f64 = 40.0;
/// Doc comments of three words or fewer, in percent of all.
const SHORT_DOCS_MAX: f64 = 5.0;
/// Doc comments that begin with "See the", "The same", "What" or "Whoever". To reach: 0.
const EMPTY_BEGINNINGS_MAX: f64 = 10.0;
/// "what", "who", "whom" and "whoever" in 1 000 words of comments.
const VAGUE_WORDS_MAX: f64 = 2.0;
/// Lines of README.md.
const README_LINES_MAX: f64 = 180.0;
/// Words in the longest table cell of README.md and docs/.
const CELL_WORDS_MAX: f64 = 25.0;
/// Sentences of more than 25 words in README.md and docs/, in percent of all.
const LONG_SENTENCES_MAX: f64 = 5.0;

const DOC_WORDS_SHORT: usize = 3;
const CELL_WORDS: usize = 25;
const SENTENCE_WORDS: usize = 25;

/// One measured property of the tree, with the places that make it large.
struct Figure {
    name: &'static str,
    reached: f64,
    max: f64,
    places: Vec<String>,
}

impl Figure {
    /// Counts places.
    fn count(name: &'static str, max: f64, places: Vec<String>) -> Figure {
        Figure { name, reached: places.len() as f64, max, places }
    }

    /// Relates places to a whole: how many there are in `unit` of it.
    fn share(name: &'static str, max: f64, places: Vec<String>, whole: usize, unit: f64) -> Figure {
        Figure { name, reached: places.len() as f64 * unit / whole.max(1) as f64, max, places }
    }

    fn holds(&self) -> bool {
        self.reached <= self.max
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<58} {:>7.1} {:>7.1} {:>7}", self.name, self.reached, self.max, self.places.len())
    }
}

/// Figures of names and comments, from the sources of the program.
fn source_figures(sources: &[Source]) -> Vec<Figure> {
    let mut files_by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (source, name) in
        sources.iter().flat_map(|s| names::declared_types(s).into_iter().map(move |n| (s, n)))
    {
        files_by_name.entry(name).or_default().push(&source.path);
    }
    let declared: usize = files_by_name.values().map(Vec::len).sum();
    let one_word = files_by_name.iter().filter(|(name, _)| names::is_one_word(name));
    let one_word = one_word.flat_map(|(name, files)| files.iter().map(move |file| format!("{name}: {file}")));
    let one_word = one_word.collect();
    for files in files_by_name.values_mut() {
        files.dedup();
    }
    let shared = files_by_name.iter().filter(|(_, files)| files.len() > 1);
    let shared = shared.map(|(name, files)| format!("{name}: {}", files.join(", "))).collect();

    let docs: Vec<(&str, comments::DocComment)> = sources
        .iter()
        .flat_map(|source| comments::doc_comments(source).into_iter().map(|doc| (source.path.as_str(), doc)))
        .collect();
    let place = |(path, doc): &&(&str, comments::DocComment)| format!("{path}:{}:{}", doc.line, doc.text);
    let short = docs.iter().filter(|(_, doc)| doc.words() <= DOC_WORDS_SHORT);
    let empty = docs.iter().filter(|(_, doc)| doc.begins_empty());
    let words = sources.iter().map(comments::word_count).sum();
    let vague = sources
        .iter()
        .flat_map(|s| comments::vague_lines(s).into_iter().map(|line| format!("{}:{line}", s.path)));
    vec![
        Figure::count("type names in more than one file", SHARED_NAMES_MAX, shared),
        Figure::share("types with a name of one word, %", ONE_WORD_NAMES_MAX, one_word, declared, 100.0),
        Figure::share(
            "doc comments of three words or fewer, %",
            SHORT_DOCS_MAX,
            short.map(|doc| place(&doc)).collect(),
            docs.len(),
            100.0,
        ),
        Figure::count(
            "doc comments that begin with See the, The same, What ...",
            EMPTY_BEGINNINGS_MAX,
            empty.map(|doc| place(&doc)).collect(),
        ),
        Figure::share(
            "what, who, whom, whoever in 1000 words of comments",
            VAGUE_WORDS_MAX,
            vague.collect(),
            words,
            1000.0,
        ),
    ]
}

/// Figures of the documents, from README.md and the pages of docs/.
fn document_figures(documents: &[(String, String)]) -> Vec<Figure> {
    let readme = documents.iter().find(|(path, _)| path == "README.md");
    let readme_lines = readme.map_or(0, |(_, text)| text.lines().count());
    let place = |path: &str, found: &prose::Passage| {
        format!("{path}:{}: {} words: {}", found.line, found.words(), found.text.trim())
    };
    let (mut cells, mut long, mut sentences, mut cell_words) = (Vec::new(), Vec::new(), 0, 0);
    for (path, text) in documents {
        for cell in prose::table_cells(text) {
            cell_words = cell_words.max(cell.words());
            cells.extend(Some(place(path, &cell)).filter(|_| cell.words() > CELL_WORDS));
        }
        for sentence in prose::sentences(text) {
            sentences += 1;
            long.extend(Some(place(path, &sentence)).filter(|_| sentence.words() > SENTENCE_WORDS));
        }
    }
    vec![
        Figure {
            name: "README.md, lines",
            reached: readme_lines as f64,
            max: README_LINES_MAX,
            places: Vec::new(),
        },
        Figure {
            name: "README.md and docs/: words in the longest table cell",
            reached: cell_words as f64,
            max: CELL_WORDS_MAX,
            places: cells,
        },
        Figure::share(
            "README.md and docs/: sentences over 25 words, %",
            LONG_SENTENCES_MAX,
            long,
            sentences,
            100.0,
        ),
    ]
}

fn is_measured_document(path: &str) -> bool {
    path == "README.md" || (path.starts_with("docs/") && path.ends_with(".md"))
}

fn figures(texts: Vec<(String, String)>) -> Vec<Figure> {
    let (documents, sources): (Vec<_>, Vec<_>) =
        texts.into_iter().partition(|(path, _)| is_measured_document(path));
    let sources = sources.iter().filter(|(path, _)| path.starts_with("src/") && path.ends_with(".rs"));
    let sources: Vec<Source> = sources.map(|(path, text)| Source::new(path, text)).collect();
    let mut figures = source_figures(&sources);
    figures.extend(document_figures(&documents));
    figures
}

#[test]
fn the_words_stay_within_their_limits() {
    let figures = figures(tree::texts());
    println!("\n{:<58} {:>7} {:>7} {:>7}", "figure", "reached", "at most", "places");
    for figure in &figures {
        println!("{figure}");
        if std::env::var_os("OFFENDERS").is_some() {
            println!("    {}\n", figure.places.join("\n    "));
        }
    }
    let broken: Vec<String> = figures
        .iter()
        .filter(|figure| !figure.holds())
        .map(|figure| format!("{figure}\n    {}", figure.places.join("\n    ")))
        .collect();
    assert!(broken.is_empty(), "over the limit:\n{}\n", broken.join("\n"));
}

#[test]
fn planted_words_are_measured() {
    let long = "word ".repeat(26);
    let texts = [
        ("src/a.rs", "//! What it owns.\n/// One two three.\nstruct Same;\nstruct Other;\n".to_owned()),
        (
            "src/b.rs",
            "//! It owns\n/// What is the second.\nstruct Same;\n/// One two three four.\nenum TwoWords {}\n"
                .to_owned(),
        ),
        ("tests/c.rs", "/// Who.\nstruct Same;\nstruct Other;\n".to_owned()),
        ("README.md", format!("# A\n\n{long}\n\nShort. Short.\n\n| {long} | a |\n| --- | --- |\n")),
        ("docs/b.md", "Short.\n".to_owned()),
        ("ARCHITECTURE.md", format!("{long}\n")),
    ];
    let texts = texts.map(|(path, text)| (path.to_owned(), text)).to_vec();
    let reached: Vec<(f64, usize)> =
        figures(texts).iter().map(|f| ((f.reached * 10.0).round() / 10.0, f.places.len())).collect();
    // 16 words of comments, 2 of them vague; four types of which three have one word.
    let expected = [(1.0, 1), (75.0, 3), (33.3, 1), (1.0, 1), (125.0, 2), (8.0, 0), (26.0, 1), (25.0, 1)];
    assert_eq!(reached, expected);
}

#[test]
fn a_figure_over_its_limit_does_not_hold() {
    let figure = |count: usize| Figure::count("x", 2.0, vec!["here".to_owned(); count]);
    assert!(figure(2).holds());
    assert!(!figure(3).holds());
}
