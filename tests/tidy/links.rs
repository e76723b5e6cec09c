//! Links of Markdown documents: relative ones name a file, and a heading in it where they have a fragment.
//!
//! Links to other hosts are none of its business. Knows no other rule.

/// A link whose target is missing.
#[derive(Debug, PartialEq, Eq)]
pub struct BrokenLink {
    /// The line of the document.
    pub line: usize,
    /// The target as it is written.
    pub target: String,
}

/// Broken links of the document at `path`. `exists` knows every file of the tree, `read` the documents.
pub fn judge(
    path: &str,
    document: &str,
    exists: impl Fn(&str) -> bool,
    read: impl Fn(&str) -> Option<String>,
) -> Vec<BrokenLink> {
    let mut broken = Vec::new();
    for (line, target) in targets(document) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { Some(path.to_owned()) } else { resolve(path, file) };
        let sound = file.is_some_and(|file| match fragment {
            "" => exists(&file),
            _ if file == path => anchors(document).iter().any(|anchor| anchor == fragment),
            _ => read(&file).is_some_and(|text| anchors(&text).iter().any(|anchor| anchor == fragment)),
        });
        if !sound {
            broken.push(BrokenLink { line, target: target.to_owned() });
        }
    }
    broken
}

/// A path relative to the folder of a document; none when it leaves the tree.
fn resolve(document: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Targets of links and pictures outside of code.
fn targets(document: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, text) in prose(document) {
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("](") {
            let in_code = before.matches('`').count() % 2 == 1;
            let end = after.find(')').unwrap_or(after.len());
            let target = after[..end].split_whitespace().next().unwrap_or_default();
            if !in_code {
                found.push((line, target.trim_matches(['<', '>'])));
            }
            // Marks before the link are even for the rest, unless the link stands inside of a code span.
            rest = if in_code { after } else { &after[end..] };
        }
    }
    found
}

/// Numbered lines outside of fenced blocks.
fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    document.lines().enumerate().filter_map(move |(index, text)| {
        let fence = text.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, text))
    })
}

/// Fragments of all headings, as forges make them: lower case, hyphens for spaces, a number for repeats.
fn anchors(document: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (_, text) in prose(document) {
        let title = text.trim_start_matches('#');
        if !text.starts_with('#') || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let plain: String = title.trim().chars().filter(kept).collect();
        let anchor = plain.to_lowercase().replace(' ', "-");
        let repeats = found.iter().filter(|known| **known == anchor).count();
        found.push(if repeats == 0 { anchor } else { format!("{anchor}-{repeats}") });
    }
    found
}

#[test]
fn broken_links_are_found() {
    let document = "# One\n[a](b.md) [c](b.md#two-things) [d](#one)\n![p](../p.png)\n";
    let exists = |path: &str| ["docs/a.md", "docs/b.md", "p.png", "docs"].contains(&path);
    let read = |path: &str| (path == "docs/b.md").then(|| "## Two `things`!\n## Two things\n".to_owned());
    let rows: &[(&str, &[(usize, &str)])] = &[
        (document, &[]),
        ("[a](no.md)", &[(1, "no.md")]),
        ("x\n\n[a](b.md#three) [b](no.md#one)", &[(3, "b.md#three"), (3, "no.md#one")]),
        ("# One\n[a](#two), [b](#one)", &[(2, "#two")]),
        ("![a](p.png)", &[(1, "p.png")]),
        ("[a](b.md#two-things-1) [b](b.md#two-things-2)", &[(1, "b.md#two-things-2")]),
        ("[a](../../p.png) [b](<b.md>) [c](b.md \"title\")", &[(1, "../../p.png")]),
        ("```text\n[a](no.md)\n```\n`[a](no.md)` [b](../docs/)", &[]),
        ("`x` [a](no.md) and `[b](no.md)` then [c](https://example.org/#x)", &[(1, "no.md")]),
    ];
    for (document, expected) in rows {
        let found = judge("docs/a.md", document, exists, read);
        let found: Vec<(usize, &str)> = found.iter().map(|link| (link.line, link.target.as_str())).collect();
        assert_eq!(found, *expected, "{document}");
    }
}
