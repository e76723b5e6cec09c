//! A reader of event streams that trusts nothing: chunk framing, one frame one chunk, field syntax, no blank
//! line after comments, no torn frame, ids that only rise. Any violation fails the test on the spot.
//!
//! Owns one stream and its newest id. Knows nothing of the published events.

use super::{Conn, End, Fail, Response, SOON};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number pair of an event id, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(pub u64, pub u64);

impl Id {
    /// Reads `<unix ms>-<n>`.
    pub fn parse(text: &str) -> Id {
        let pair = text.split_once('-').and_then(|(ms, n)| Some((ms.parse().ok()?, n.parse().ok()?)));
        let id = pair.map(|(ms, n)| Id(ms, n)).unwrap_or_else(|| panic!("not an id: {text:?}"));
        assert_eq!(format!("{}-{}", id.0, id.1), text, "not the canonical form of an id");
        id
    }
}

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The id's text; control events have none.
    pub id: Option<String>,
    /// The name, if there is one.
    pub name: Option<String>,
    /// The data lines, joined.
    pub data: String,
    /// A reconnection time inside the frame.
    pub retry: Option<u64>,
}

impl Event {
    /// Whether this is the server's `fanwheel.gap`.
    pub fn is_gap(&self) -> bool {
        self.id.is_none() && self.name.as_deref() == Some("fanwheel.gap")
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// After a whole frame, with the last chunk where there are chunks.
    Clean,
    /// Without the last chunk, but after a whole frame.
    Cut,
    /// Within a frame.
    Torn,
}

/// An item of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A comment's text.
    Comment(String),
    /// A `retry:` line outside of events.
    Retry(u64),
    /// An event.
    Event(Event),
    /// An id alone, for clients that are told their position.
    Position(String),
    /// The end.
    End(Finish),
}

/// An open stream.
pub struct Stream {
    conn: Conn,
    /// The answer's head.
    pub head: Response,
    chunked: bool,
    /// It is told its position.
    primed: bool,
    newest: Option<Id>,
    waiting: VecDeque<Item>,
    bare: Vec<u8>,
    finish: Option<Finish>,
}

impl Stream {
    /// Asks for a stream and reads the head, which must be that of a stream, and the greeting.
    pub fn open(mut conn: Conn, query: &str, headers: &str) -> Stream {
        let request = format!(
            "GET /events?{query} HTTP/1.1\r\nHost: fan.test\r\nAccept: text/event-stream\r\n{headers}\r\n"
        );
        let browser = headers.contains("Mozilla/") && !query.contains("prime=0");
        conn.send(request);
        let mut stream = Stream::from(conn);
        stream.primed = query.contains("prime=1") || browser;
        stream.greeting();
        stream
    }

    /// Reads the head of a stream that was asked for.
    pub fn from(mut conn: Conn) -> Stream {
        let head = conn.head(SOON).unwrap_or_else(|fail| panic!("{fail:?} instead of a stream"));
        Stream::after(conn, head)
    }

    /// The stream behind a head that was read already.
    pub fn after(conn: Conn, head: Response) -> Stream {
        let shown = String::from_utf8_lossy(&head.head).into_owned();
        assert_eq!(head.status, 200, "{shown}{}", String::from_utf8_lossy(conn.buffered()));
        let essence = head.header("content-type").and_then(|value| value.split(';').next());
        assert_eq!(essence, Some("text/event-stream"), "{shown}");
        assert_eq!(head.header("content-length"), None, "{shown}");
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let waiting = VecDeque::new();
        Stream { conn, head, chunked, primed: false, newest: None, waiting, bare: Vec::new(), finish: None }
    }

    /// Reads the greeting; the reconnection time in it.
    pub fn greeting(&mut self) -> u64 {
        assert_eq!(self.next(SOON), Item::Comment("ok".to_owned()), "the greeting comes first");
        match self.next(SOON) {
            Item::Retry(retry) => retry,
            other => panic!("{other:?} instead of the greeting's retry line"),
        }
    }

    /// The connection under the stream.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// The text of the newest id seen.
    pub fn newest(&self) -> Option<String> {
        self.newest.map(|id| format!("{}-{}", id.0, id.1))
    }

    /// Gives the connection back.
    pub fn into_conn(self) -> Conn {
        self.conn
    }

    /// The next item, which must come in time.
    pub fn next(&mut self, within: Duration) -> Item {
        self.try_next(within).unwrap_or_else(|| panic!("nothing on the stream for {within:?}"))
    }

    /// The next item, if one comes in time.
    pub fn try_next(&mut self, within: Duration) -> Option<Item> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(item) = self.waiting.pop_front() {
                return Some(item);
            }
            if let Some(finish) = self.finish {
                return Some(Item::End(finish));
            }
            let more = if self.chunked { self.read_chunk(deadline) } else { self.read_bare(deadline) };
            match more {
                Ok(()) => {}
                Err(Fail::Quiet) => return None,
                Err(Fail::Bad(why)) => panic!("malformed stream: {why}"),
                Err(Fail::Ended(_)) => {
                    let torn = !self.conn.buffered().is_empty() || !self.bare.is_empty();
                    self.finish = Some(if torn {
                        Finish::Torn
                    } else if self.chunked {
                        Finish::Cut
                    } else {
                        Finish::Clean
                    });
                }
            }
        }
    }

    fn read_chunk(&mut self, deadline: Instant) -> Result<(), Fail> {
        match self.conn.chunk(deadline)? {
            Some(chunk) => {
                let items = parse_chunk(&chunk).unwrap_or_else(|why| {
                    panic!("{why} in the chunk {:?}", String::from_utf8_lossy(&chunk));
                });
                items.into_iter().for_each(|item| self.admit(item));
            }
            None => {
                let (after, end) = self.conn.rest(SOON);
                assert!(after.is_empty(), "bytes after the last chunk: {}", String::from_utf8_lossy(&after));
                assert!(end.is_ok(), "no end of the connection after the last chunk");
                self.finish = Some(Finish::Clean);
            }
        }
        Ok(())
    }

    fn read_bare(&mut self, deadline: Instant) -> Result<(), Fail> {
        let count = self.conn.buffered().len();
        if count == 0 {
            self.conn.fill(deadline)?;
            return Ok(());
        }
        let bytes = self.conn.take(count, deadline)?;
        self.bare.extend_from_slice(&bytes);
        while let Some((length, item)) = first_bare_item(&self.bare) {
            let item =
                item.unwrap_or_else(|why| panic!("{why} in {:?}", String::from_utf8_lossy(&self.bare)));
            self.bare.drain(..length);
            self.admit(item);
        }
        Ok(())
    }

    fn admit(&mut self, item: Item) {
        if let Item::Position(text) = &item {
            let id = Id::parse(text);
            assert!(self.primed, "position {text}, not asked for");
            assert!(self.newest <= Some(id), "position {text} after {:?}", self.newest);
            self.newest = Some(id);
        }
        if let Item::Event(event) = &item {
            match &event.id {
                Some(text) => {
                    let id = Id::parse(text);
                    assert!(self.newest < Some(id), "id {text} after {:?}", self.newest);
                    self.newest = Some(id);
                }
                None => {
                    let name = event.name.as_deref();
                    let own = ["fanwheel.gap", "fanwheel.clock", "fanwheel.status", "fanwheel.snapshot-end"];
                    assert!(name.is_some_and(|name| own.contains(&name)), "no id: {event:?}");
                }
            }
        }
        self.waiting.push_back(item);
    }

    /// The next event with an id; comments, retry lines and clock events are passed over.
    pub fn event(&mut self) -> Event {
        let event = self.any_event(SOON);
        assert!(event.id.is_some(), "a published event was expected, not {event:?}");
        event
    }

    /// The next event, control events included except the clock.
    pub fn any_event(&mut self, within: Duration) -> Event {
        self.try_event(within).unwrap_or_else(|| panic!("no event for {within:?}, finish {:?}", self.finish))
    }

    /// The next event if one comes in time; `None` also at the stream's end.
    pub fn try_event(&mut self, within: Duration) -> Option<Event> {
        let deadline = Instant::now() + within;
        loop {
            match self.try_next(deadline.saturating_duration_since(Instant::now()))? {
                Item::Event(event) if event.id.is_some() || event.is_gap() => return Some(event),
                Item::End(_) => return None,
                _ => {}
            }
        }
    }

    /// The data of the next `count` events.
    pub fn data(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.event().data).collect()
    }

    /// Fails if an event comes within the time.
    pub fn assert_quiet(&mut self, within: Duration) {
        let event = self.try_event(within);
        assert!(event.is_none() && self.finish.is_none(), "{event:?}, {:?} on a quiet stream", self.finish);
    }

    /// Reads to the end of the stream: all items and how it ended.
    pub fn read_to_end(&mut self, within: Duration) -> (Vec<Item>, Finish) {
        let deadline = Instant::now() + within;
        let mut items = Vec::new();
        loop {
            match self.try_next(deadline.saturating_duration_since(Instant::now())) {
                Some(Item::End(finish)) => return (items, finish),
                Some(item) => items.push(item),
                None => panic!("the stream goes on after {within:?} and {} items", items.len()),
            }
        }
    }

    /// Whether the peer ended the connection within the time, whatever came before.
    pub fn ends_within(&mut self, within: Duration) -> bool {
        matches!(self.conn.rest(within).1, Ok(End::Fin | End::Reset))
    }
}

/// The items of one chunk: comment and retry lines only, or exactly one event.
fn parse_chunk(chunk: &[u8]) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = chunk;
    while !rest.is_empty() {
        let (length, item) = first_bare_item(rest).ok_or("a torn frame")?;
        items.push(item?);
        rest = &rest[length..];
    }
    let events = items.iter().filter(|item| matches!(item, Item::Event(_) | Item::Position(_))).count();
    if events > 1 || (events == 1 && items.len() > 1) {
        return Err(format!("{} items", items.len()));
    }
    Ok(items)
}

/// The first whole item of unframed bytes and its length.
fn first_bare_item(bytes: &[u8]) -> Option<(usize, Result<Item, String>)> {
    let line_end = bytes.iter().position(|&b| b == b'\n')?;
    let line = &bytes[..line_end];
    if line.is_empty() {
        return Some((1, Err("a blank line outside of an event".to_owned())));
    }
    if let Some(comment) = line.strip_prefix(b":") {
        let text = String::from_utf8_lossy(comment).into_owned();
        return Some((line_end + 1, Ok(Item::Comment(text))));
    }
    if line.starts_with(b"retry: ") {
        return Some((line_end + 1, digits(&line[7..]).map(Item::Retry)));
    }
    let end = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let block = &bytes[..end];
    let item = match block.strip_prefix(b"id: ").filter(|id| !id.contains(&b'\n')) {
        Some(id) => Ok(Item::Position(String::from_utf8_lossy(id).into_owned())),
        None => parse_event(block).map(Item::Event),
    };
    Some((end + 2, item))
}

fn digits(bytes: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(bytes).unwrap_or("");
    let all = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = all.then(|| text.parse().ok()).flatten();
    value.ok_or_else(|| format!("reconnection time {:?}", String::from_utf8_lossy(bytes)))
}

fn parse_event(bytes: &[u8]) -> Result<Event, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a frame that is not UTF-8")?;
    let (mut id, mut name, mut retry, mut data) = (None, None, None, Vec::new());
    for line in text.split('\n') {
        if line.contains('\r') {
            return Err(format!("CR in {line:?}"));
        }
        let (field, value) = line.split_once(": ").or_else(|| line.split_once(':')).unwrap_or((line, ""));
        match field {
            "id" if id.is_none() && data.is_empty() => id = Some(value.to_owned()),
            "event" if name.is_none() && data.is_empty() => name = Some(value.to_owned()),
            "retry" if retry.is_none() => retry = Some(digits(value.as_bytes())?),
            "data" => data.push(value),
            _ => return Err(format!("field {line:?}")),
        }
    }
    if data.is_empty() {
        return Err("a frame without data".to_owned());
    }
    Ok(Event { id, name, data: data.join("\n"), retry })
}

#[cfg(test)]
mod tests {
    use super::{Item, parse_chunk};

    #[test]
    fn the_reader_itself_refuses_what_it_must() {
        for good in
            [":ok\nretry: 5\n", ":\n", "id: 1-1\n\n", "id: 1-0\nevent: a\ndata: x\ndata: \n\n", "data:\n\n"]
        {
            assert!(parse_chunk(good.as_bytes()).is_ok(), "{good:?}");
        }
        let torn = ["id: 1-0\ndata: x\n", "data: x", ":ok"];
        let wrong = [
            ":\n\n",
            "id: 1-0\nevent: a\n\n",
            "data: a\n\ndata: b\n\n",
            "da: x\n\n",
            "data: a\rb\n\n",
            "retry: 5s\n",
        ];
        for bad in torn.iter().chain(&wrong) {
            assert!(parse_chunk(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let items = parse_chunk(b"id: 1-0\ndata:  x\ndata: \n\n").expect("good");
        assert!(matches!(&items[0], Item::Event(event) if event.data == " x\n"));
    }
}
