//! Patterns of topics, the first two lines, and a name, the third: no panic; matching, covering and
//! overlapping agree with each other and with a slow twin.
#![no_main]

use fanwheel::base::topic::TopicPattern;
use libfuzzer_sys::fuzz_target;

/// Segments, each with the end that stands before it.
fn segments(text: &str) -> Vec<(char, String)> {
    let mut segments = vec![('^', String::new())];
    for c in text.chars() {
        match c {
            '.' | '/' | ':' => segments.push((c, String::new())),
            _ => segments.last_mut().expect("never empty").1.push(c),
        }
    }
    segments
}

/// The meaning of a pattern.
fn matches_slowly(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (segments(pattern), segments(name));
    let (is_open, fixed) = match pattern.split_last() {
        Some(((_, last), before)) if last == "**" => (true, before.len()),
        _ => (false, pattern.len()),
    };
    let long_enough = if is_open { name.len() > fixed } else { name.len() == fixed };
    let ends_agree = pattern.iter().zip(&name).all(|((end, _), (other, _))| end == other);
    let texts_agree =
        pattern[..fixed].iter().zip(&name).all(|((_, wanted), (_, text))| wanted == "*" || wanted == text);
    long_enough && ends_agree && texts_agree
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(3, '\n');
    let Ok(one) = TopicPattern::parse(lines.next().unwrap_or_default()) else { return };
    assert!(one.covers(&one) && one.overlaps(&one));
    let Ok(two) = TopicPattern::parse(lines.next().unwrap_or_default()) else { return };
    assert_eq!(one.overlaps(&two), two.overlaps(&one));
    assert!(!one.covers(&two) || one.overlaps(&two));
    let name = lines.next().unwrap_or_default();
    let [in_one, in_two] = [&one, &two].map(|pattern| pattern.matches(name));
    for (pattern, found) in [(&one, in_one), (&two, in_two)] {
        assert_eq!(found, matches_slowly(pattern.text(), name), "{} and {name}", pattern.text());
    }
    assert!(one.overlaps(&two) || !(in_one && in_two));
    assert!(!one.covers(&two) || in_one || !in_two);
});
