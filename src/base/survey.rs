//! Questions of an operator about topics and single connections, and their answers. Plain data.
//!
//! Unlike a snapshot an answer names topics and clients, so each is bounded by its question: so many rows, so
//! much text a row.

use std::fmt;
use std::net::IpAddr;

use super::id::EventId;
use super::listener::ListenerKind;
use super::peers::ClientAddress;

/// Order of the rows of `/connections`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ConnectionSort {
    /// Age of the oldest event that it has not been sent, oldest first.
    #[default]
    Lag,
    /// The oldest connection comes first.
    Age,
    /// Most bytes sent first.
    Bytes,
    /// Whose socket has taken nothing for longest first.
    Slow,
    /// By client address, ascending.
    Address,
}

/// Order of the rows of `/topics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TopicSort {
    /// The topic with most subscribers, by name and by pattern, comes first.
    #[default]
    Subscribers,
    /// Most kept events first.
    Events,
    /// Most kept bytes first.
    Bytes,
    /// Most events a second first.
    Rate,
    /// By name, ascending by bytes.
    Name,
}

/// Which rows of a sorted list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageRange {
    /// At most so many.
    pub(crate) limit: usize,
    /// Passed over before the first.
    pub(crate) offset: usize,
}

/// Bytes of a search text: those of the longest topic.
pub(crate) const SEARCH_BYTES_MAX: usize = 128;

/// A text to look for in names, without regard to the case of ASCII letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchText(Box<str>);

impl SearchText {
    /// Takes a text; none if it is empty, which every name holds, or too long.
    pub(crate) fn new(text: &str) -> Option<SearchText> {
        (1..=SEARCH_BYTES_MAX).contains(&text.len()).then(|| SearchText(text.into()))
    }

    /// Whether a name holds the text.
    pub(crate) fn is_in(&self, name: &str) -> bool {
        let wanted = self.0.as_bytes();
        name.as_bytes().windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
    }
}

/// The connections that a page may show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionFilter {
    /// Only those that this listener accepted.
    pub(crate) listener: Option<ListenerKind>,
    /// Only those whose address, user agent or one of whose topics holds a text.
    pub(crate) search: Option<SearchText>,
}

/// Parameters of `GET /connections`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionsQuery {
    /// Order of the rows.
    pub(crate) sort: ConnectionSort,
    /// Restriction to some connections.
    pub(crate) filter: ConnectionFilter,
    /// Section of the sorted rows.
    pub(crate) paging: PageRange,
    /// With round-trip times and the bytes under way.
    pub(crate) info: bool,
}

/// Parameters of `GET /topics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsQuery {
    /// Order of the rows.
    pub(crate) sort: TopicSort,
    /// Only topics whose name holds a text.
    pub(crate) search: Option<SearchText>,
    /// Section of the sorted rows.
    pub(crate) paging: PageRange,
}

/// Names one connection of the node for as long as it lives, and no other one afterwards:
/// `<worker>-<slot>-<generation>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Index of its worker.
    pub(crate) worker: u32,
    /// Slot in that worker's tables.
    pub(crate) slot: u32,
    /// Tells it from earlier ones in that slot.
    pub(crate) generation: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.worker, self.slot, self.generation)
    }
}

impl ConnectionId {
    /// Reads an id exactly as it is displayed.
    pub(crate) fn parse(text: &[u8]) -> Option<ConnectionId> {
        let text = std::str::from_utf8(text).ok()?;
        let mut numbers = text.split('-').map(|number| number.parse::<u32>().ok());
        let (worker, slot, generation) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let id = ConnectionId { worker, slot, generation };
        (id.to_string() == text).then_some(id)
    }
}

/// Activity of a connection at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// A stream that gets events as they come.
    Live,
    /// A stream that reads the events it has missed.
    Behind,
    /// A stream whose socket takes nothing.
    Full,
    /// No stream: a request and its answer, or none at the moment.
    Talking,
}

impl ConnectionState {
    /// Its word in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ConnectionState::Live => "live",
            ConnectionState::Behind => "behind",
            ConnectionState::Full => "full",
            ConnectionState::Talking => "talking",
        }
    }
}

/// Traffic of a connection, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTraffic {
    /// Bytes sent, each once.
    pub bytes_sent: u64,
    /// Round-trip time, microseconds, smoothed.
    pub rtt_us: u32,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Bytes accepted from this server and not yet sent.
    pub unsent_bytes: u32,
}

/// Events that a connection is sent at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentEvents {
    /// All that it asks for.
    All,
    /// The newest of each key: its topics are throttled, or it is slow under the policy `latest`.
    Newest,
}

impl SentEvents {
    /// The word for it on pages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            SentEvents::All => "all",
            SentEvents::Newest => "newest",
        }
    }
}

/// One connection as a row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionRow {
    /// Name as used in paths and logs.
    pub(crate) id: ConnectionId,
    /// Its client; none for a Unix socket.
    pub(crate) address: Option<ClientAddress>,
    /// `User-Agent` of its first request, cut.
    pub(crate) user_agent: Option<Box<str>>,
    /// Some of its topics.
    pub(crate) topics: Vec<Box<str>>,
    /// How many more it has.
    pub(crate) topics_more: usize,
    /// Milliseconds since it was accepted.
    pub(crate) age_ms: u64,
    /// Age of the oldest event that it has not been sent.
    pub(crate) lag_ms: u64,
    /// Kept events of its topics that it has not been sent, before any filter.
    pub(crate) lag_events: u64,
    /// Its activity at the moment.
    pub(crate) state: ConnectionState,
    /// Which events it is sent.
    pub(crate) events: SentEvents,
    /// Milliseconds for which its socket has taken nothing; none while the socket takes bytes.
    pub(crate) stalled_ms: Option<u64>,
    /// The listener that accepted it.
    pub(crate) listener: ListenerKind,
    /// None where the kernel has no such figures.
    pub(crate) traffic: Option<ConnectionTraffic>,
}

/// The answer to [`ConnectionsQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionsPage {
    /// The question that was answered.
    pub(crate) query: ConnectionsQuery,
    /// Connections that were found.
    pub(crate) total: u64,
    /// The rows, in order.
    pub(crate) rows: Vec<ConnectionRow>,
    /// Workers that have not answered in time.
    pub(crate) incomplete: Vec<usize>,
}

/// One topic as a row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicRow {
    /// Name of the topic.
    pub(crate) topic: std::sync::Arc<str>,
    /// Name of its class.
    pub(crate) class: std::sync::Arc<str>,
    /// Subscribers that name it, on all workers.
    pub(crate) subscribers: u64,
    /// Subscribers of each pattern that matches it.
    pub(crate) pattern_subscribers: u64,
    /// Events that are kept of it.
    pub(crate) events: u64,
    /// Bytes of memory that they take.
    pub(crate) bytes: u64,
    /// Id of the oldest kept event.
    pub(crate) oldest: Option<EventId>,
    /// Id of the newest kept event.
    pub(crate) newest: Option<EventId>,
    /// Its newest events, for its rate.
    pub(crate) recent: RecentEvents,
}

/// The events of a topic in a span that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecentEvents {
    /// Number of events.
    pub(crate) events: u64,
    /// Length of the span, milliseconds; never 0.
    pub(crate) span_ms: u64,
}

impl RecentEvents {
    /// Returns the events in a thousand seconds.
    pub(crate) fn per_thousand_seconds(self) -> u64 {
        self.events.saturating_mul(1_000_000) / self.span_ms
    }
}

/// The answer to [`TopicsQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsPage {
    /// The question that was answered.
    pub(crate) query: TopicsQuery,
    /// Topics that were found.
    pub(crate) total: u64,
    /// The rows, in order.
    pub(crate) rows: Vec<TopicRow>,
    /// Not all topics were looked at in time.
    pub(crate) incomplete: bool,
}

/// An address, or a /64 of IPv6, and how many connections come from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressCount {
    /// Address of the clients.
    pub address: IpAddr,
    /// Connections: exact while a worker's connections come from few addresses, else at least so many.
    pub connections: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_only_as_they_are_shown() {
        let id = ConnectionId { worker: 3, slot: 0, generation: u32::MAX };
        assert_eq!(ConnectionId::parse(id.to_string().as_bytes()), Some(id));
        for text in
            ["", "1-2", "1-2-3-4", "01-2-3", "+1-2-3", "1-2-4294967296", "1--3", "a-b-c", " 1-2-3", "1-2-3 "]
        {
            assert_eq!(ConnectionId::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(ConnectionId::parse(b"1-2-\xff"), None);
    }

    #[test]
    fn a_text_is_found_anywhere_in_a_name_and_no_empty_one_is_looked_for() {
        let search = SearchText::new("Prices.é").expect("a text");
        for (name, found) in [("eu.prices.éa", true), ("PRICES.é", true), ("prices.É", false), ("", false)]
        {
            assert_eq!(search.is_in(name), found, "{name}");
        }
        assert_eq!(SearchText::new(""), None);
        assert_eq!(SearchText::new(&"x".repeat(SEARCH_BYTES_MAX + 1)), None);
        assert!(SearchText::new(&"x".repeat(SEARCH_BYTES_MAX)).is_some());
    }
}
