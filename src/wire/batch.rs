//! An NDJSON batch: one JSON object a line, each an event to publish.
//!
//! All or nothing: one bad line spoils the batch. A value other than a string is kept as it was written, but
//! for white space: numbers keep their digits, objects the order of their keys.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::base::limits::BATCH_POSTS_MAX;
use crate::wire::problem::Problem;
use crate::wire::rules;

/// Levels of arrays and objects in one batch line; as many as serde_json allows where it recurses.
const JSON_DEPTH_MAX: usize = 128;
/// Characters of serde's words that are told back: they may quote a key of any length.
const JSON_REASON_CHARS_MAX: usize = 200;

/// One event of a batch, from one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEvent {
    /// At least one; order kept, duplicates dropped.
    pub topics: Vec<Box<str>>,
    /// Event name; never empty.
    pub event: Option<Box<str>>,
    /// Key for latest-per-key; never empty.
    pub key: Option<Box<str>>,
    /// Reconnection time to tell subscribers with the event.
    pub(crate) retry_ms: Option<u64>,
    /// Age from which nobody gets the event any more.
    pub(crate) ttl_ms: Option<NonZeroU32>,
    /// Payload of the event.
    pub data: String,
}

/// A line as it stands. An unknown or repeated key is an error: it is a misspelt `event` or worse.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchLine<'a> {
    #[serde(borrow)]
    topic: &'a RawValue,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    retry: Option<u64>,
    #[serde(default)]
    ttl_ms: Option<u64>,
    /// `null` is a payload, so it must not read as absent.
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads a whole batch. `topics_max` bounds the topics of one line. Blank lines may stand at the end only.
///
/// Errors: [`Problem::BadBatchLine`], [`Problem::ReservedEvent`] and [`Problem::ReservedTopic`] with the
/// line's number, [`Problem::EmptyBatch`], and [`Problem::BatchTooLong`] when the events, counted once per
/// topic, are more than `BATCH_POSTS_MAX`.
pub fn parse(body: &[u8], topics_max: usize) -> Result<Vec<BatchEvent>, Problem> {
    let body = body.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(body);
    let Some(last) = body.iter().rposition(|b| !is_space(b)) else { return Err(Problem::EmptyBatch) };
    let body = &body[..=last];
    let mut posts = Vec::new();
    let mut events = 0;
    for (index, line) in body.split(|&b| b == b'\n').enumerate() {
        let bad = |reason| Problem::BadBatchLine { line: index + 1, reason };
        let post = parse_line(line, topics_max).map_err(bad)?;
        if post.event.as_deref().is_some_and(rules::is_reserved_event) {
            return Err(Problem::ReservedEvent { line: Some(index + 1) });
        }
        if post.topics.iter().any(|topic| rules::is_reserved_topic(topic)) {
            return Err(Problem::ReservedTopic { line: Some(index + 1) });
        }
        events += post.topics.len();
        if events > BATCH_POSTS_MAX {
            return Err(Problem::BatchTooLong { posts_max: BATCH_POSTS_MAX });
        }
        posts.push(post);
    }
    Ok(posts)
}

/// A mark that editors write in front of UTF-8; it is no part of a JSON text (RFC 8259 §8.1).
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A warning about the first name that needs one, with its line: blank ones stand only behind the last event.
pub(crate) fn warn_of_events(events: &[BatchEvent]) -> Option<String> {
    let names = events.iter().map(|event| event.event.as_deref().unwrap_or_default());
    let mut warnings =
        names.enumerate().filter_map(|(index, name)| Some((index, rules::warn_of_event(name)?)));
    warnings.next().map(|(index, warning)| format!("Line {}: {warning}", index + 1))
}

/// JSON's white space; `trim_ascii` would also forgive a form feed.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn parse_line(line: &[u8], topics_max: usize) -> Result<BatchEvent, String> {
    let line = std::str::from_utf8(line).map_err(|_| "is not valid UTF-8")?;
    // Files that were joined have one in the middle, too.
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_matches([' ', '\t', '\r']);
    if line.is_empty() {
        return Err("is blank".to_owned());
    }
    // Serde would also take an array of the values in order.
    if !line.starts_with('{') {
        return Err("is not a JSON object".to_owned());
    }
    let line: BatchLine<'_> = serde_json::from_str(line).map_err(|error| reason_of(&error))?;
    let data = line.data.ok_or("missing field `data`")?;
    Ok(BatchEvent {
        topics: parse_topics(line.topic, topics_max)?,
        event: check_optional("event", line.event, rules::check_event)?,
        key: check_optional("key", line.key, rules::check_key)?,
        retry_ms: line
            .retry
            .map(rules::check_retry_ms)
            .transpose()
            .map_err(|rule| format!("retry {rule}"))?,
        ttl_ms: line.ttl_ms.map(rules::check_ttl_ms).transpose().map_err(|rule| format!("ttl_ms {rule}"))?,
        data: payload_text(data)?,
    })
}

/// Serde's message with the column alone: its line is always the first, which would mislead.
fn reason_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let mut words: String = text[..end].chars().take(JSON_REASON_CHARS_MAX).collect();
    if error.column() > 0 {
        words.push_str(&format!(" at column {}", error.column()));
    }
    words
}

fn parse_topics(raw: &RawValue, topics_max: usize) -> Result<Vec<Box<str>>, String> {
    let wrong = |_| "topic must be a string or an array of strings".to_owned();
    let names: Vec<String> = if raw.get().starts_with('"') {
        vec![serde_json::from_str(raw.get()).map_err(wrong)?]
    } else {
        serde_json::from_str(raw.get()).map_err(wrong)?
    };
    let mut topics = Vec::new();
    for name in &names {
        rules::check_topic(name).map_err(|rule| format!("topic {rule}"))?;
        rules::push_unique(&mut topics, name);
        if topics.len() > topics_max {
            return Err(format!("at most {topics_max} topics may be named"));
        }
    }
    if topics.is_empty() {
        return Err("topic must name at least one topic".to_owned());
    }
    Ok(topics)
}

fn check_optional(
    name: &str,
    text: Option<String>,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Option<Box<str>>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    check(&text).map_err(|rule| format!("{name} {rule}"))?;
    Ok(Some(text.into()))
}

/// A string is its text; anything else its JSON without white space.
fn payload_text(raw: &RawValue) -> Result<String, String> {
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get()).map_err(|error| format!("data: {}", reason_of(&error)));
    }
    compact_json(raw.get())
}

/// Takes the white space out of valid JSON, and bounds its depth: a subscriber's parser may recurse.
fn compact_json(json: &str) -> Result<String, String> {
    let mut compacted = String::with_capacity(json.len());
    let mut depth = 0;
    let mut quoted = false;
    let mut escaped = false;
    // Only ASCII is looked at and dropped, so the text between stays whole.
    let mut kept_to = 0;
    for (at, byte) in json.bytes().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b' ' | b'\t' | b'\r' | b'\n' => {
                compacted.push_str(&json[kept_to..at]);
                kept_to = at + 1;
            }
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return Err(format!("data is nested deeper than {JSON_DEPTH_MAX} levels"));
        }
    }
    compacted.push_str(&json[kept_to..]);
    Ok(compacted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY_RULE: &str = "retry must be a whole number of milliseconds from 1 to 3600000";

    fn reason(line: &str) -> String {
        match parse(line.as_bytes(), 4) {
            Err(Problem::BadBatchLine { line: 1, reason }) => reason,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    fn data(json: &str) -> String {
        let line = format!("{{\"topic\":\"t\",\"data\":{json}}}");
        let posts = parse(line.as_bytes(), 4).unwrap_or_else(|problem| panic!("{json:?}: {problem:?}"));
        posts[0].data.clone()
    }

    #[test]
    fn a_warning_names_the_first_line_that_needs_it() {
        let warning = |body: &str| warn_of_events(&parse(body.as_bytes(), 4).expect("good"));
        let line = |event: &str| format!("{{\"topic\":\"a\",\"data\":1,\"event\":\"{event}\"}}\n");
        assert_eq!(warning(&line("likes")), None);
        let warned = warning(&[line("likes"), line("open"), line("error")].concat()).expect("a warning");
        assert!(warned.starts_with("Line 2: An event named open"), "{warned}");
    }

    #[test]
    fn a_topic_of_the_server_spoils_the_batch() {
        let body = b"{\"topic\":\"a\",\"data\":1}\n{\"topic\":[\"a\",\"fanwheel.status\"],\"data\":1}";
        assert_eq!(parse(body, 4), Err(Problem::ReservedTopic { line: Some(2) }));
    }

    #[test]
    fn lines_become_posts_in_order() {
        let body = "{\"topic\":\"a\",\"data\":\"x\"}\r\n\
                    {\"data\":1,\"retry\":250,\"key\":\"k\",\"event\":\"e\",\
                    \"topic\":[\"b\",\"c\",\"b\"]}\n \r\n\n";
        let posts = parse(body.as_bytes(), 4).expect("good");
        assert_eq!(posts.len(), 2);
        assert_eq!(posts[0].topics, ["a".into()] as [Box<str>; 1]);
        assert_eq!((&posts[0].event, &posts[0].key, posts[0].retry_ms), (&None, &None, None));
        assert_eq!(posts[0].data, "x");
        assert_eq!(posts[1].topics, ["b".into(), "c".into()] as [Box<str>; 2]);
        assert_eq!(posts[1].event.as_deref(), Some("e"));
        assert_eq!(posts[1].key.as_deref(), Some("k"));
        assert_eq!(posts[1].retry_ms, Some(250));
        assert_eq!(posts[1].data, "1");
        let marked =
            "\u{feff}{\"topic\":\"a\",\"data\":1}\r\n\u{feff}{\"topic\":\"a\",\"data\":\"\u{feff}\"}";
        let posts = parse(marked.as_bytes(), 4).expect("byte order marks are ignored");
        assert_eq!((posts[0].data.as_str(), posts[1].data.as_str()), ("1", "\u{feff}"));
        assert_eq!(parse("\u{feff}\n".as_bytes(), 4), Err(Problem::EmptyBatch));
        let nulls = parse(b"{\"topic\":\"a\",\"data\":\"\",\"event\":null,\"key\":\"\",\"retry\":null}", 4);
        let nulls = nulls.expect("good");
        assert_eq!((&nulls[0].event, &nulls[0].key, nulls[0].retry_ms), (&None, &None, None));
    }

    #[test]
    fn payloads_are_texts_or_what_the_publisher_wrote_without_white_space() {
        let rows = [
            ("\"\"", ""),
            ("\"a\\nb\\u0000\\ud83d\\ude00\"", "a\nb\0😀"),
            ("\" {\\\"a\\\": 1} \"", " {\"a\": 1} "),
            ("null", "null"),
            ("true", "true"),
            ("1.0", "1.0"),
            ("-0", "-0"),
            ("1e400", "1e400"),
            ("123456789012345678901234567890.10", "123456789012345678901234567890.10"),
            ("{ \"z\" : 1 ,\t\"a\" : [ 1 , 2 ] }", "{\"z\":1,\"a\":[1,2]}"),
            ("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}"),
            ("[ \" a \\\" b \\\\\" , \"ä \\u00e4\" ]", "[\" a \\\" b \\\\\",\"ä \\u00e4\"]"),
            ("[]", "[]"),
            ("[\r]", "[]"),
        ];
        for (json, expected) in rows {
            assert_eq!(data(json), expected, "{json}");
        }
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(data(&deep(128)), deep(128));
        let too_deep = format!("{{\"topic\":\"t\",\"data\":{}}}", deep(129));
        assert_eq!(reason(&too_deep), "data is nested deeper than 128 levels");
        let far_too_deep = format!("{{\"topic\":\"t\",\"data\":{}}}", deep(100_000));
        assert_eq!(reason(&far_too_deep), "data is nested deeper than 128 levels");
        assert_eq!(
            data(&format!("[\"{}\"]", "[".repeat(200))).len(),
            204,
            "brackets in strings nest nothing"
        );
    }

    #[test]
    fn a_bad_line_is_named_with_its_reason() {
        let rows = [
            ("[\"t\",null,null,null,1]", "is not a JSON object"),
            ("\"t\"", "is not a JSON object"),
            ("\u{feff}{}", "missing field `topic` at column 2"),
            (" \u{feff}{}", "is not a JSON object"),
            ("{}", "missing field `topic` at column 2"),
            ("{\"topic\":\"t\"}", "missing field `data`"),
            ("{\"data\":1}", "missing field `topic` at column 10"),
            ("{\"topic\":\"t\",\"data\":1,\"data\":2}", "duplicate field `data` at column 28"),
            ("{\"topic\":[],\"data\":1}", "topic must name at least one topic"),
            ("{\"topic\":7,\"data\":1}", "topic must be a string or an array of strings"),
            ("{\"topic\":[\"a\",7],\"data\":1}", "topic must be a string or an array of strings"),
            ("{\"topic\":null,\"data\":1}", "topic must be a string or an array of strings"),
            ("{\"topic\":\"\",\"data\":1}", "topic must not be empty"),
            ("{\"topic\":\"a\\n\",\"data\":1}", "topic must not hold control characters"),
            ("{\"topic\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"data\":1}", "at most 4 topics may be named"),
            ("{\"topic\":\"t\",\"data\":1,\"event\":\"a\\rb\"}", "event must not hold control characters"),
            ("{\"topic\":\"t\",\"data\":1,\"key\":\"\\u0000\"}", "key must not hold control characters"),
            ("{\"topic\":\"t\",\"data\":1,\"retry\":0}", RETRY_RULE),
            ("{\"topic\":\"t\",\"data\":1,\"retry\":3600001}", RETRY_RULE),
        ];
        for (line, expected) in rows {
            assert_eq!(reason(line), expected, "{line}");
        }
        let unknown = reason("{\"topic\":\"t\",\"data\":1,\"evnet\":\"x\"}");
        assert!(unknown.starts_with("unknown field `evnet`, expected one of"), "{unknown}");
        for line in [
            "{\"topic\":\"t\",\"data\":}",
            "{\"topic\":\"t\",\"data\":1",
            "{\"topic\":\"t\",\"data\":1} {}",
            "{\"topic\":\"t\",\"data\":\"\\ud800\"}",
            "{\"topic\":\"t\",\"data\":01}",
            "{\"topic\":\"t\",\"data\":NaN}",
            "{\"topic\":\"t\",\"data\":1,\"retry\":\"5\"}",
            "{\"topic\":\"t\",\"data\":1,\"retry\":-5}",
            "{\"topic\":\"t\",\"data\":1,\"retry\":1.5}",
            "{\"topic\":\"t\",\"data\":1,\"event\":7}",
            "{\"topic\":\"t\",\"data\":\"a\tb\"}",
            "{'topic':'t','data':1}",
            "{\"topic\":\"t\",\"data\":1}\x0c",
            "\x0c{\"topic\":\"t\",\"data\":1}",
        ] {
            assert!(!reason(line).is_empty());
        }
        let long = reason(&format!("{{\"topic\":\"t\",\"data\":1,\"{}\":1}}", "x".repeat(100_000)));
        assert!(long.len() < 300, "{}", long.len());
    }

    #[test]
    fn the_line_is_counted_from_one_and_the_batch_is_bounded() {
        let good = "{\"topic\":\"t\",\"data\":1}\n";
        let rows: &[(Vec<u8>, Problem)] = &[
            (b"".to_vec(), Problem::EmptyBatch),
            (b"\r\n\n ".to_vec(), Problem::EmptyBatch),
            (
                format!("{good}\n{good}").into_bytes(),
                Problem::BadBatchLine { line: 2, reason: "is blank".to_owned() },
            ),
            (
                [good.as_bytes(), good.as_bytes(), b"{\"topic\":\"\xff\",\"data\":1}"].concat(),
                Problem::BadBatchLine { line: 3, reason: "is not valid UTF-8".to_owned() },
            ),
            (good.repeat(2_049).into_bytes(), Problem::BatchTooLong { posts_max: 2_048 }),
            (
                "{\"topic\":[\"a\",\"b\",\"c\"],\"data\":1}\n".repeat(683).into_bytes(),
                Problem::BatchTooLong { posts_max: 2_048 },
            ),
        ];
        for (body, expected) in rows {
            assert_eq!(parse(body, 4).as_ref(), Err(expected));
        }
        assert_eq!(parse(good.repeat(2_048).as_bytes(), 4).map(|posts| posts.len()), Ok(2_048));
        assert_eq!(parse(b"\n{\"topic\":\"t\",\"data\":1}", 4).map_err(|problem| problem.status()), Err(400));
    }
}
