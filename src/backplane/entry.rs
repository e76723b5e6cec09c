//! Entries of the stream: publishes and news of nodes, as Redis keeps them and as values.
//!
//! | field | holds |
//! | --- | --- |
//! | `v` | version, `1` |
//! | `p` | id of the entry before it, so that a hole shows |
//! | `e` | JSON: the node, the number that it gave to the publish, the events, or the state of the node |
//!
//! The entry's own id is that of its last event; those before it have the ids that lead up to it. Nothing of
//! an entry is believed: whatever no node of ours writes is foreign, and never reaches a frame.

use std::borrow::Cow;

use redis::Value;
use serde::{Deserialize, Serialize};

use super::script::VERSION;
use crate::base::id::EventId;
use crate::base::limits::{BATCH_POSTS_MAX, PUBLISH_BYTES_MAX};
use crate::fanout::hub::NewEvent;
use crate::wire::frame::Draft;
use crate::wire::rules;

/// Topics of one event: the most that `topics_per_connection_max` can be.
const TOPICS_MAX: usize = 1_024;
/// Bytes of the name of a node.
const NODE_NAME_BYTES_MAX: usize = 128;

/// The id of any entry of a stream, whoever wrote it: only Redis compares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamId(pub(super) Vec<u8>);

impl StreamId {
    /// Returns it as an id of ours, if it can be one.
    pub(super) fn as_event_id(&self) -> Option<EventId> {
        EventId::parse(&self.0)
    }
}

/// An entry of ours.
#[derive(Debug)]
pub(super) struct Entry {
    /// Id of its last event.
    pub(super) id: EventId,
    /// Id of the entry before it.
    pub(super) previous: EventId,
    /// The node that wrote it.
    pub(super) node: u64,
    /// The number that this node gave to it.
    pub(super) number: u64,
    /// Its events; none when it only takes a place in the order.
    pub(super) events: Vec<NewEvent>,
    /// News of the node, if it brings any.
    pub(super) state: Option<NodeState>,
}

/// A node as it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeState {
    /// Its host and port, for people.
    pub(super) name: String,
    /// Streams that it has.
    pub(super) subscribers: u64,
    /// The last time from its write to its read of an entry, milliseconds.
    pub(super) round_trip_ms: u64,
    /// It ends its streams.
    pub(super) draining: bool,
}

/// The payload of an entry, as JSON.
#[derive(Serialize, Deserialize)]
struct EntryText<'a> {
    node: u64,
    number: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventText<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Cow<'a, NodeState>>,
}

/// An event as JSON.
#[derive(Serialize, Deserialize)]
struct EventText<'a> {
    topics: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    data: Cow<'a, str>,
}

/// Writes the payload of a publish.
pub(super) fn encode_events(node: u64, number: u64, events: &[NewEvent]) -> Vec<u8> {
    let texts = events.iter().map(|event| {
        let parts = event.draft.parts();
        EventText {
            topics: event.topics.iter().map(|topic| Cow::Borrowed(&**topic)).collect(),
            event: parts.name.map(Cow::Borrowed),
            key: parts.key.map(Cow::Borrowed),
            retry: parts.retry_ms,
            ttl_ms: parts.ttl_ms.map(|ttl_ms| ttl_ms.get().into()),
            data: Cow::Owned(parts.data),
        }
    });
    encode(&EntryText { node, number, events: texts.collect(), state: None })
}

/// Writes a payload that takes a place in the order, and tells of the node if it has news.
pub(super) fn encode_mark(node: u64, number: u64, state: Option<&NodeState>) -> Vec<u8> {
    encode(&EntryText { node, number, events: Vec::new(), state: state.map(Cow::Borrowed) })
}

fn encode(text: &EntryText<'_>) -> Vec<u8> {
    serde_json::to_vec(text).expect("texts and numbers can be written as JSON")
}

/// An entry as it came.
#[derive(Debug)]
pub(super) struct ReadEntry {
    /// Its id.
    pub(super) id: StreamId,
    /// Bytes of its payload.
    pub(super) bytes: usize,
    /// Its contents; none when it is foreign or broken.
    pub(super) entry: Option<Entry>,
}

/// Reads the entries of `XRANGE`, `XREVRANGE`, or of one stream of `XREAD`.
pub(super) fn read_entries(value: Value) -> Vec<ReadEntry> {
    let Value::Array(items) = value else { return Vec::new() };
    items.into_iter().filter_map(read_entry).collect()
}

/// Reads the answer to `XREAD` of one stream.
pub(super) fn read_stream(value: Value) -> Vec<ReadEntry> {
    let Value::Array(mut streams) = value else { return Vec::new() };
    match streams.pop() {
        Some(Value::Array(mut pair)) => pair.pop().map(read_entries).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn read_entry(item: Value) -> Option<ReadEntry> {
    let Value::Array(mut pair) = item else { return None };
    let fields = pair.pop()?;
    let Some(Value::BulkString(id)) = pair.pop() else { return None };
    let id = StreamId(id);
    let payload = payload_of(&fields);
    let bytes = payload.map_or(0, |(_, payload)| payload.len());
    let entry = id.as_event_id().zip(payload).and_then(|(id, (previous, payload))| {
        let previous = EventId::parse(previous)?;
        decode(id, previous, payload)
    });
    Some(ReadEntry { id, bytes, entry })
}

/// Finds the id of the entry before, and the payload, in the fields of an entry of our version.
fn payload_of(fields: &Value) -> Option<(&[u8], &[u8])> {
    let Value::Array(fields) = fields else { return None };
    let [v, version, p, previous, e, payload] = fields.as_slice() else { return None };
    let names = [text(v)?, text(p)?, text(e)?];
    (names == [b"v", b"p", b"e"] && text(version)? == VERSION).then_some((text(previous)?, text(payload)?))
}

fn text(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        _ => None,
    }
}

fn decode(id: EventId, previous: EventId, payload: &[u8]) -> Option<Entry> {
    // Serde would also take an array of the values in order.
    let object = Some(payload).filter(|payload| payload.starts_with(b"{"))?;
    let EntryText { node, number, events, state } = serde_json::from_slice(object).ok()?;
    let places: usize = events.iter().map(|event| event.topics.len()).sum();
    if places > BATCH_POSTS_MAX {
        return None;
    }
    let events = events.into_iter().map(check_event).collect::<Option<Vec<NewEvent>>>()?;
    let state = state.map(Cow::into_owned);
    if state.as_ref().is_some_and(|state| {
        state.name.len() > NODE_NAME_BYTES_MAX || state.name.chars().any(char::is_control)
    }) {
        return None;
    }
    Some(Entry { id, previous, node, number, events, state })
}

/// Makes an event of its text, if it keeps all rules of a publish.
fn check_event(text: EventText<'_>) -> Option<NewEvent> {
    let EventText { topics, event, key, retry, ttl_ms, data } = text;
    if topics.is_empty() || topics.len() > TOPICS_MAX || data.len() > PUBLISH_BYTES_MAX {
        return None;
    }
    let mut names: Vec<Box<str>> = Vec::with_capacity(topics.len());
    for topic in &topics {
        if rules::check_topic(topic).is_err() || rules::is_reserved_topic(topic) {
            return None;
        }
        rules::push_unique(&mut names, topic);
    }
    let is_bad = |name: &str| rules::check_event(name).is_err() || rules::is_reserved_event(name);
    if event.as_deref().is_some_and(|name| name.is_empty() || is_bad(name))
        || key.as_deref().is_some_and(|key| key.is_empty() || rules::check_key(key).is_err())
        || retry.is_some_and(|retry| rules::check_retry_ms(retry).is_err())
    {
        return None;
    }
    let ttl_ms = ttl_ms.map(rules::check_ttl_ms).transpose().ok()?;
    let draft = Draft::new(event.as_deref(), retry, &data, key.map(|key| key.into_owned().into_boxed_str()));
    Some(NewEvent { topics: names, draft: draft.with_ttl_ms(ttl_ms) })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn id(text: &str) -> EventId {
        EventId::parse(text.as_bytes()).expect("an id")
    }

    fn item(id: &str, fields: &[&[u8]]) -> Value {
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        Value::Array(vec![
            text(id.as_bytes()),
            Value::Array(fields.iter().map(|field| text(field)).collect()),
        ])
    }

    fn read(payload: &[u8]) -> Option<Entry> {
        let fields: [&[u8]; 6] = [b"v", b"1", b"p", b"4-7", b"e", payload];
        read_entries(Value::Array(vec![item("5-7", &fields)])).remove(0).entry
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let draft = |name, retry, data, key: Option<&str>| Draft::new(name, retry, data, key.map(Into::into));
        let event = |topics: &[&str], draft| NewEvent {
            topics: topics.iter().map(|&topic| topic.into()).collect(),
            draft,
        };
        let events = [
            event(&["a", "b.ü"], draft(Some("likes"), Some(5), "x\ny\"\\ \u{1}", Some("k"))),
            event(&["a"], draft(None, None, "", None)),
            event(&["a"], draft(None, None, "data: y\n\nid: 4\n", None).with_ttl_ms(NonZeroU32::new(7))),
        ];
        let entry = read(&encode_events(9, 3, &events)).expect("an entry of ours");
        assert_eq!((entry.id, entry.previous, entry.node, entry.number), (id("5-7"), id("4-7"), 9, 3));
        assert_eq!(entry.events.len(), events.len());
        for (read, written) in entry.events.iter().zip(&events) {
            let [read_frame, frame] = [read, written].map(|event| event.draft.clone().seal(id("5-7")));
            assert_eq!(read.topics, written.topics);
            assert_eq!((read_frame.bare(), read_frame.key()), (frame.bare(), frame.key()));
            assert_eq!(read_frame.life_ms(), frame.life_ms());
        }
    }

    #[test]
    fn news_of_a_node_come_out_as_they_went_in() {
        let state = NodeState { name: "h:1".to_owned(), subscribers: 7, round_trip_ms: 2, draining: true };
        let entry = read(&encode_mark(1, 2, Some(&state))).expect("an entry of ours");
        assert_eq!((entry.events.len(), entry.state), (0, Some(state)));
        assert_eq!(read(&encode_mark(1, 2, None)).expect("an entry of ours").state, None);
    }

    #[test]
    fn foreign_and_broken_entries_are_none_and_keep_their_ids() {
        let event = |rest: &str| format!("{{\"node\":1,\"number\":1,\"events\":[{{{rest}}}]}}").into_bytes();
        assert!(read(&event("\"topics\":[\"a\"],\"data\":\"x\"")).is_some());
        for rest in [
            "\"topics\":[],\"data\":\"x\"",
            "\"topics\":[\"\"],\"data\":\"x\"",
            "\"topics\":[\"a\\n\"],\"data\":\"x\"",
            "\"topics\":[\"fanwheel.status\"],\"data\":\"x\"",
            "\"topics\":[\"a\"]",
            "\"topics\":[\"a\"],\"data\":\"x\",\"event\":\"a\\r\\ndata: y\"",
            "\"topics\":[\"a\"],\"data\":\"x\",\"event\":\"fanwheel.gap\"",
            "\"topics\":[\"a\"],\"data\":\"x\",\"event\":\"retry: 1\"",
            "\"topics\":[\"a\"],\"data\":\"x\",\"key\":\"\\u0000\"",
            "\"topics\":[\"a\"],\"data\":\"x\",\"retry\":0",
            "\"topics\":[\"a\"],\"data\":\"x\",\"ttl_ms\":0",
            "\"topics\":[\"a\"],\"data\":7",
        ] {
            assert!(read(&event(rest)).is_none(), "{rest}");
        }
        let many = vec!["{\"topics\":[\"a\"],\"data\":\"\"}"; BATCH_POSTS_MAX + 1].join(",");
        assert!(read(format!("{{\"node\":1,\"number\":1,\"events\":[{many}]}}").as_bytes()).is_none());
        for payload in [&b""[..], b"{}", b"[1,2]", b"\xff", &b"[".repeat(100_000)] {
            assert!(read(payload).is_none());
        }
        let good = encode_mark(1, 2, None);
        let rows: [&[&[u8]]; 5] = [
            &[b"x", b"y"],
            &[b"v", b"2", b"p", b"4-7", b"e", &good],
            &[b"v", b"1", b"p", b"4", b"e", &good],
            &[b"v", b"1", b"e", &good],
            &[],
        ];
        for fields in rows {
            let entry = read_entries(Value::Array(vec![item("9-18446744073709551615", fields)])).remove(0);
            assert!(entry.entry.is_none() && entry.id.0 == b"9-18446744073709551615");
        }
        assert!(read_stream(Value::Nil).is_empty() && read_entries(Value::Int(1)).is_empty());
    }
}
