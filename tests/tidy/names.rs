//! Finds the types that a source file declares, outside of its tests. Knows no limit.

use super::lexer::{Source, end_of_item};

const KEYWORDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// Names of declared types; associated types are none, since their trait names them.
pub fn declared_types(source: &Source) -> Vec<&str> {
    let tokens = &source.tokens;
    let bodies = associated_bodies(source);
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [keyword, name] = pair else { continue };
        let associated = keyword.text == "type" && bodies.iter().any(|&(from, to)| (from..to).contains(&at));
        let declares = KEYWORDS.contains(&keyword.text.as_str()) && !associated;
        if declares && name.text.starts_with(char::is_uppercase) && !source.is_test(keyword.line) {
            found.push(name.text.as_str());
        }
    }
    found
}

/// Token ranges of `impl` blocks and traits.
fn associated_bodies(source: &Source) -> Vec<(usize, usize)> {
    let tokens = &source.tokens;
    let openers = ["}", ";", "]", "{", "unsafe"];
    let opens_item = |at: usize| at == 0 || openers.contains(&tokens[at - 1].text.as_str());
    let is_body = |at: usize| match tokens[at].text.as_str() {
        "impl" => opens_item(at),
        "trait" => true,
        _ => false,
    };
    (0..tokens.len()).filter(|&at| is_body(at)).map(|at| (at, end_of_item(tokens, at))).collect()
}

/// Whether a name in camel case has one hump: `Frame`, `Http`, `IO`, but not `FrameBytes`.
pub fn is_one_word(name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    let begins_word = |at: usize| {
        let after_lower = !chars[at - 1].is_uppercase();
        let before_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        chars[at].is_uppercase() && (after_lower || before_lower)
    };
    !(1..chars.len()).any(begins_word)
}

#[test]
fn types_are_found_where_they_are_declared() {
    let text = "struct A;\npub(crate) enum B<T> { C(T) }\ntrait D { type E; }\n\
                impl D for A { type E = u8; }\ntype F = u8;\nfn f(x: impl D) -> impl D { struct G; x }\n\
                // struct H;\nlet type_of = \"enum I {}\";\n#[cfg(test)]\nmod tests { struct J; }\n\
                union K { a: u8 }";
    let source = Source::new("src/x.rs", text);
    assert_eq!(declared_types(&source), ["A", "B", "D", "F", "G", "K"]);
    assert!(declared_types(&Source::new("src/x_tests.rs", text)).is_empty());
}

#[test]
fn humps_are_counted() {
    let rows = [("Frame", true), ("IO", true), ("Http2", true), ("FrameBytes", false), ("HTTPHead", false)];
    for (name, expected) in rows {
        assert_eq!(is_one_word(name), expected, "{name}");
    }
}
