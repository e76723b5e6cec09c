//! The items of a stream, read strictly: each item whole, its lines in the one order of the contract.
//!
//! Written against the contract alone. A panic is a verdict: the server sent bytes that no client
//! should see.

use fanwheel::base::id::EventId;

/// One item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `:ok` and the reconnection time.
    Greeting(u64),
    /// The comment line.
    Heartbeat,
    /// A reconnection time alone.
    Retry(u64),
    /// A published event.
    Event(Event),
    /// `fanwheel.gap`
    Gap(Gap),
    /// `fanwheel.clock`
    Clock(u64),
    /// An id alone.
    Position(EventId),
    /// `fanwheel.snapshot-end`
    SnapshotEnd {
        /// Topics of the stream.
        topics: u64,
        /// Events of the snapshot.
        events: u64,
    },
}

/// A published event as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id.
    pub id: EventId,
    /// The name, if one was sent.
    pub name: Option<String>,
    /// The reconnection time, if one was sent.
    pub retry: Option<u64>,
    /// The data lines joined by LF.
    pub data: String,
}

/// A gap as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which topics.
    pub topics: Vec<String>,
    /// After which id.
    pub after: String,
    /// The oldest id that is kept.
    pub oldest: Option<EventId>,
    /// Why.
    pub reason: String,
}

/// Bytes of the item at the start of `buf`, if it is whole. `scanned` bytes are known to hold no blank line.
pub fn item_len(buf: &[u8], scanned: usize) -> Option<usize> {
    let line_end = |from: usize| buf[from..].iter().position(|&b| b == b'\n').map(|at| from + at + 1);
    match buf.first()? {
        b':' => match line_end(0)? {
            4 if buf.starts_with(b":ok") => line_end(4),
            end => Some(end),
        },
        b'r' => line_end(0),
        _ => {
            let mut at = scanned.saturating_sub(1);
            loop {
                at = line_end(at)?;
                if buf.get(at)? == &b'\n' {
                    return Some(at + 1);
                }
            }
        }
    }
}

/// Reads one whole item.
pub fn parse(item: &[u8]) -> Item {
    let text = std::str::from_utf8(item).expect("a stream is UTF-8");
    assert_eq!(item_len(item, 0), Some(item.len()), "not exactly one item: {text:?}");
    if text == ":\n" {
        return Item::Heartbeat;
    }
    if let Some(retry) = text.strip_prefix(":ok\nretry: ") {
        return Item::Greeting(number(retry.strip_suffix('\n').expect("a whole line")));
    }
    if let Some(retry) = text.strip_prefix("retry: ") {
        return Item::Retry(number(retry.strip_suffix('\n').expect("a whole line")));
    }
    let body = text.strip_suffix("\n\n").expect("an event ends with a blank line");
    match body.strip_prefix("event: fanwheel.") {
        Some(own) => parse_own(own),
        None if !body.contains('\n') => Item::Position(parse_id(body)),
        None => Item::Event(parse_event(body)),
    }
}

fn parse_id(line: &str) -> EventId {
    let id = line.strip_prefix("id: ").expect("an event begins with its id");
    EventId::parse(id.as_bytes()).expect("an id of ours")
}

fn parse_own(own: &str) -> Item {
    let (name, json) = own.split_once("\ndata: ").expect("a control event has data");
    assert!(!json.contains('\n'), "a control event has one line of data: {own:?}");
    let json: serde_json::Value = serde_json::from_str(json).expect("its data is JSON");
    match name {
        "gap" => Item::Gap(parse_gap(&json)),
        "snapshot-end" => Item::SnapshotEnd {
            topics: json["topics"].as_u64().expect("a number"),
            events: json["events"].as_u64().expect("a number"),
        },
        "clock" => Item::Clock(json["now_ms"].as_u64().expect("a time")),
        other => panic!("unknown control event {other:?}"),
    }
}

fn parse_gap(json: &serde_json::Value) -> Gap {
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let topics = match json.get("topics") {
        Some(topics) => topics.as_array().expect("a list").iter().map(text).collect(),
        None => vec![text(&json["topic"])],
    };
    assert_eq!(topics.len() == 1, json.get("topics").is_none(), "a list is for several: {json}");
    Gap {
        topics,
        after: text(&json["after"]),
        oldest: json["oldest"].as_str().map(|id| EventId::parse(id.as_bytes()).expect("our id")),
        reason: text(&json["reason"]),
    }
}

fn parse_event(body: &str) -> Event {
    let mut lines = body.split('\n').peekable();
    let id = parse_id(lines.next().expect("a line"));
    let mut field = |prefix: &str| {
        let line = lines.next_if(|line| line.starts_with(prefix))?;
        Some(line[prefix.len()..].to_owned())
    };
    let name = field("event: ");
    let retry = field("retry: ").map(|retry| number(&retry));
    let data: Vec<&str> =
        lines.map(|line| line.strip_prefix("data: ").expect("only data lines follow")).collect();
    assert!(!data.is_empty(), "an event without data");
    Event { id, name, retry, data: data.join("\n") }
}

fn number(digits: &str) -> u64 {
    assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()), "{digits:?} is no number");
    digits.parse().expect("digits that fit")
}
