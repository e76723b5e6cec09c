//! Rule: a struct that would be everybody's room keeps its fields to itself, and its methods in one file.

use super::lexer::Source;

/// Fields of the struct `name` that are visible beyond its file.
pub fn visible_fields<'a>(source: &'a Source, name: &str) -> Vec<&'a str> {
    let tokens = &source.tokens;
    let Some(start) = (0..tokens.len()).find(|&at| source.stands(at, &["struct", name, "{"])) else {
        return Vec::new();
    };
    let (mut depth, mut found) = (0, Vec::new());
    for at in start + 2..tokens.len() {
        match tokens[at].text.as_str() {
            "{" | "(" => depth += 1,
            "}" | ")" => depth -= 1,
            "pub" if depth == 1 => {
                let scoped = source.stands(at + 1, &["("]);
                let end = |at: &usize| tokens[*at].text == ")";
                let field = if scoped { (at..tokens.len()).find(end).map(|at| at + 1) } else { Some(at + 1) };
                found.extend(field.and_then(|at| tokens.get(at)).map(|token| token.text.as_str()));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Whether a file has methods of the type `name`, outside of its tests.
pub fn has_methods(source: &Source, name: &str) -> bool {
    let tokens = &source.tokens;
    (0..tokens.len()).any(|at| source.stands(at, &["impl", name, "{"]) && !source.is_test(tokens[at].line))
}

#[test]
fn fields_and_methods_of_others_are_left_out() {
    let text = "struct Desk { pub(super) a: u8, b: Vec<(u8, u8)>, pub c: u8, pub(crate) d: Box<u8> }\n\
                struct Other { pub e: u8 }\nimpl Desk { pub fn f() {} }";
    let source = Source::new("src/fanout/x.rs", text);
    assert_eq!(visible_fields(&source, "Desk"), ["a", "c", "d"]);
    assert_eq!(visible_fields(&source, "Chair"), [""; 0]);
    assert_eq!((has_methods(&source, "Desk"), has_methods(&source, "Other")), (true, false));
    let test = Source::new("src/fanout/x.rs", "#[cfg(test)]\nmod tests { impl Desk { fn g() {} } }");
    assert!(!has_methods(&test, "Desk"));
}
