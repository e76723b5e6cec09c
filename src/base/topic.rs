//! Rules for the names of topics, and patterns that match names.
//!
//! Segments of a name end at `.`, `/` or `:`. In a pattern `*` stands for one segment, which may be empty,
//! and `**` at the end stands for all that follows. Everything else stands for itself, the ends of segments
//! included: `a.*` matches `a.b`, and neither `a/b` nor `a`.

/// Bytes of a topic's percent-decoded name. Long enough for a path with ids, short enough to store a million.
pub const TOPIC_BYTES_MAX: usize = 128;

/// Beginning of the names of the server's own events and topics.
pub(crate) const RESERVED_PREFIX: &str = "fanwheel.";

const _: () = assert!(TOPIC_BYTES_MAX == 128, "text below");

/// A topic: 1 to 128 bytes without control characters (C0, DEL, C1).
pub(crate) fn check_topic(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("must not be empty");
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err("must be at most 128 bytes");
    }
    check_controls(text)
}

/// Refuses control characters in a text that stands in lines of an event stream.
pub(crate) fn check_controls(text: &str) -> Result<(), &'static str> {
    // `is_control` is exactly C0, DEL and C1.
    if text.chars().any(char::is_control) { Err("must not hold control characters") } else { Ok(()) }
}

/// Whether a topic is one of the server's own, which no publisher may use and only the control listener
/// serves: it may tell addresses and names of clients.
pub(crate) fn is_reserved_topic(text: &str) -> bool {
    text.starts_with(RESERVED_PREFIX)
}

/// A pattern that some topic can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern {
    text: Box<str>,
    /// Bytes before the first wildcard, with which every matching name begins.
    literal: usize,
}

/// A text up to the end of its first segment, and the rest with that end in front.
fn split_segment(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| b"./:".contains(b)).unwrap_or(text.len()))
}

impl TopicPattern {
    /// Takes a pattern in its written form.
    ///
    /// # Errors
    /// The rule that it breaks, in words that follow "must be".
    pub fn parse(text: &str) -> Result<TopicPattern, &'static str> {
        let mut literal = text.len();
        let mut rest = text.as_bytes();
        loop {
            let (segment, behind) = split_segment(rest);
            if segment.contains(&b'*') {
                literal = literal.min(text.len() - rest.len());
            }
            match segment {
                b"**" if !behind.is_empty() => return Err("a pattern with ** at its end only, as in a.**"),
                b"*" | b"**" => {}
                _ if segment.contains(&b'*') => {
                    return Err("a pattern in which * is a whole segment, as in a.*");
                }
                _ => {}
            }
            match behind {
                [] => break,
                [_, next @ ..] => rest = next,
            }
        }
        let shortest = text.bytes().filter(|&b| b != b'*').count();
        if text.is_empty() || shortest > TOPIC_BYTES_MAX || check_controls(text).is_err() {
            return Err("a pattern that a topic can match: 1 to 128 bytes without control characters");
        }
        if text[..literal].starts_with(RESERVED_PREFIX) {
            return Err("a pattern of your topics: those under fanwheel. are the server's own");
        }
        Ok(TopicPattern { text: text.into(), literal })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches a topic's name.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.text.as_bytes(), name.as_bytes());
        // Most names differ early from most patterns.
        if !name.starts_with(&pattern[..self.literal]) {
            return false;
        }
        agree(&pattern[self.literal..], &name[self.literal..], Wildcards::OfFirst)
    }

    /// Whether it matches every name that `other` matches.
    pub fn covers(&self, other: &TopicPattern) -> bool {
        agree(self.text.as_bytes(), other.text.as_bytes(), Wildcards::OfFirst)
            && (self.is_open() || !other.is_open())
    }

    /// Whether some name matches both.
    pub fn overlaps(&self, other: &TopicPattern) -> bool {
        agree(self.text.as_bytes(), other.text.as_bytes(), Wildcards::OfBoth)
    }

    /// Whether names of any length match it.
    fn is_open(&self) -> bool {
        self.text.ends_with("**")
    }
}

/// Whose wildcards stand for other segments, where two texts are compared. Others stand for themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wildcards {
    OfFirst,
    OfBoth,
}

/// Whether two texts agree segment by segment.
fn agree(mut one: &[u8], mut two: &[u8], wildcards: Wildcards) -> bool {
    loop {
        let ((segment, rest), (other, other_rest)) = (split_segment(one), split_segment(two));
        let holds =
            |wildcard: &[u8]| segment == wildcard || wildcards == Wildcards::OfBoth && other == wildcard;
        if holds(b"**") {
            return true;
        }
        if segment != other && !holds(b"*") {
            return false;
        }
        match (rest, other_rest) {
            ([], []) => return true,
            ([end, next @ ..], [other_end, other_next @ ..]) if end == other_end => {
                (one, two) = (next, other_next);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn topics_are_short_texts_without_controls() {
        let long = "x".repeat(128);
        let longer = "x".repeat(129);
        let rows: &[(&str, bool)] = &[
            ("a", true),
            (" a ", true),
            ("../", true),
            ("<script>", true),
            ("*", true),
            ("%25", true),
            ("ä€😀", true),
            ("\u{a0}\u{2028}\u{feff}", true),
            (&long, true),
            ("", false),
            (&longer, false),
            ("a\n", false),
            ("x\r\nFLUSHALL", false),
            ("\0", false),
            ("a\tb", false),
            ("a\x1bb", false),
            ("\x7f", false),
            ("\u{80}", false),
            ("\u{85}", false),
            ("\u{9f}", false),
        ];
        for (text, ok) in rows {
            assert_eq!(check_topic(text).is_ok(), *ok, "{text:?}");
        }
    }

    #[test]
    fn wildcards_stand_for_whole_segments() {
        let rows = [
            ("a.*", "a.b", true),
            ("a.*", "a.", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.*", "a/b", false),
            ("a.*", "a.b:c", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("*:*", "user:7", true),
            ("*/b", "a/b", true),
            ("*/b", "a/c", false),
            ("a.**", "a.b", true),
            ("a.**", "a.b/c:d", true),
            ("a.**", "a.", true),
            ("a.**", "a", false),
            ("a.**", "ab", false),
            ("**", "anything at all", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.**", "a.b", false),
            ("a.*.**", "a.b.c.d", true),
            ("prices", "prices", true),
            ("prices", "prices.eu", false),
            ("ä.*", "ä.€", true),
        ];
        for (pattern, name, expected) in rows {
            let parsed = TopicPattern::parse(pattern).expect("a pattern");
            assert_eq!(parsed.matches(name), expected, "{pattern} and {name}");
        }
    }

    #[test]
    fn patterns_overlap_when_some_name_matches_both() {
        let rows = [
            ("a.*", "*.b", true),
            ("a.*", "b.*", false),
            ("a.*", "a.b.c", false),
            ("a.**", "a.b.c", true),
            ("a.**", "*.*", true),
            ("a.**", "a", false),
            ("**", "x", true),
            ("a.*.c", "a.b.*", true),
            ("a.*.c", "a.b.d", false),
            ("*/b", "*.b", false),
        ];
        for (one, two, expected) in rows {
            let [parsed, other] = [one, two].map(|text| TopicPattern::parse(text).expect("a pattern"));
            assert_eq!(parsed.overlaps(&other), expected, "{one} and {two}");
        }
    }

    #[test]
    fn patterns_that_no_topic_can_match_are_refused() {
        let long = "x".repeat(129);
        let of_many_segments = "*.".repeat(128) + "x";
        for text in
            ["", "a*", "*a.b", "***", "**.a", "a.**.b", "a\n", &long, &of_many_segments, "fanwheel.status"]
        {
            assert!(TopicPattern::parse(text).is_err(), "{text:?}");
        }
        assert!(TopicPattern::parse("fanwheel.**").is_err());
        assert!(TopicPattern::parse("fanwheel").is_ok() && TopicPattern::parse("*.status").is_ok());
    }

    /// The pattern's meaning, segment by segment from the end of a list.
    fn matches_slowly(pattern: &str, name: &str) -> bool {
        let parts = |text: &str| -> Vec<String> {
            let mut parts = vec![String::new()];
            for c in text.chars() {
                if "./:".contains(c) {
                    parts.extend([c.to_string(), String::new()]);
                } else {
                    parts.last_mut().expect("never empty").push(c);
                }
            }
            parts
        };
        let (pattern, name) = (parts(pattern), parts(name));
        let many = pattern.last().is_some_and(|last| last == "**");
        let fixed = if many { &pattern[..pattern.len() - 1] } else { &pattern[..] };
        let long_enough = if many { name.len() > fixed.len() } else { name.len() == fixed.len() };
        long_enough && fixed.iter().zip(&name).all(|(wanted, part)| wanted == "*" || wanted == part)
    }

    /// A text of these pieces.
    fn text_of(prng: &mut Prng, pieces: &[&str]) -> String {
        (0..prng.below(7)).map(|_| pieces[prng.below(pieces.len() as u64) as usize]).collect()
    }

    #[test]
    fn matching_and_covering_agree_with_a_slow_twin() {
        let mut prng = Prng::new(7);
        let names: Vec<String> = (0..400).map(|_| text_of(&mut prng, &["a", "b", ".", "/", ":"])).collect();
        let mut patterns: Vec<TopicPattern> = Vec::new();
        while patterns.len() < 300 {
            let text = text_of(&mut prng, &["a", "b", ".", "/", ":", "*", "**"]);
            patterns.extend(TopicPattern::parse(&text));
        }
        for pattern in &patterns {
            for name in &names {
                let expected = matches_slowly(pattern.text(), name);
                assert_eq!(pattern.matches(name), expected, "{} and {name}", pattern.text());
            }
        }
        // Segments that no pattern writes, so that only wildcards match them.
        let tails = ["", "x", "x.x", "x/x", "x:x"];
        for wide in &patterns {
            for narrow in &patterns {
                let name = |tail| narrow.text().replace("**", tail).replace('*', "x");
                let expected = tails.iter().all(|tail| wide.matches(&name(tail)));
                assert_eq!(wide.covers(narrow), expected, "{} and {}", wide.text(), narrow.text());
                let overlap = wide.overlaps(narrow);
                assert_eq!(overlap, narrow.overlaps(wide), "{} and {}", wide.text(), narrow.text());
                let shared = names.iter().any(|name| wide.matches(name) && narrow.matches(name));
                assert!(overlap || !(expected || shared), "{} and {}", wide.text(), narrow.text());
            }
        }
    }
}
