//! Parameters of `/status`, `/topics`, `/connections` and `/connections/{id}`: curves, order, paging, topic,
//! id.
//!
//! A word that is not known is refused with the words that are, so that a misspelt order is never taken for
//! the usual one. Further parameters are passed over, but for those of `DELETE`: one that was meant to spare
//! something must not be passed over.

use crate::base::listener::ListenerKind;
use crate::base::number_text::parse_decimal;
use crate::base::snapshot::{SeriesRange, StatusQuery};
use crate::base::survey::{
    ConnectionFilter, ConnectionId, ConnectionSort, ConnectionsQuery, PageRange, SEARCH_BYTES_MAX,
    SearchText, TopicSort, TopicsQuery,
};
use crate::wire::head::{Head, Method};
use crate::wire::parameters::parse_checked;
use crate::wire::problem::Problem;
use crate::wire::query::{pairs, utf8_text};
use crate::wire::request::{Request, unknown_parameter};
use crate::wire::rules;

/// Rows of one page of `/topics` or `/connections`.
const PAGE_ROWS_MAX: usize = 1_000;
/// Rows of a page that does not say how many.
const PAGE_ROWS_DEFAULT: usize = 50;
/// Rows that a page may pass over: each worker keeps so many and a page more of the best while it looks. The
/// other end of a list is reached by sorting it otherwise.
const PAGE_OFFSET_MAX: usize = 9_000;
const _: () = assert!(PAGE_ROWS_DEFAULT <= PAGE_ROWS_MAX);

/// Beginning of the path of one connection.
pub(crate) const CONNECTION: &[u8] = b"/connections/";

const CONNECTION_SORTS: [(&str, ConnectionSort); 5] = [
    ("lag", ConnectionSort::Lag),
    ("age", ConnectionSort::Age),
    ("bytes", ConnectionSort::Bytes),
    ("slow", ConnectionSort::Slow),
    ("address", ConnectionSort::Address),
];
const TOPIC_SORTS: [(&str, TopicSort); 5] = [
    ("subscribers", TopicSort::Subscribers),
    ("events", TopicSort::Events),
    ("bytes", TopicSort::Bytes),
    ("rate", TopicSort::Rate),
    ("name", TopicSort::Name),
];

const TOPICS_METHODS: &str = "GET, HEAD, DELETE";
const FORGETTING_TAKES: &str = "only topic says what is forgotten";

/// Routes a request for `/topics` by its method.
pub(crate) fn route_topics(head: &Head<'_>) -> Result<Request, Problem> {
    match head.method {
        Method::Get | Method::Head => parse_topics(head.query).map(Request::Topics),
        Method::Delete => parse_forgotten_topic(head.query).map(Request::ForgetTopic),
        _ => Err(Problem::MethodNotAllowed(TOPICS_METHODS)),
    }
}

/// Reads the one topic that is to be forgotten.
fn parse_forgotten_topic(query: &[u8]) -> Result<Box<str>, Problem> {
    let mut topic = None;
    for pair in pairs(query) {
        if *pair.name != *b"topic" {
            return Err(unknown_parameter(&pair.name, None, FORGETTING_TAKES));
        }
        let name = parse_checked("topic", &pair.value()?, rules::check_topic)?;
        set_once(&mut topic, "topic", Ok(name))?;
    }
    match topic {
        None => Err(Problem::NoTopic),
        Some(topic) if rules::is_reserved_topic(&topic) => Err(Problem::ReservedTopic { line: None }),
        Some(topic) => Ok(topic),
    }
}

/// The query of `GET /topics`.
fn parse_topics(query: &[u8]) -> Result<TopicsQuery, Problem> {
    let rule = "must be one of subscribers, events, bytes, rate, name";
    let listing = ListingQuery::parse(query, &TOPIC_SORTS, rule)?;
    Ok(TopicsQuery { sort: listing.sort.unwrap_or_default(), search: listing.search, paging: listing.paging })
}

/// The query of `/connections`.
pub(crate) fn parse_connections(query: &[u8]) -> Result<ConnectionsQuery, Problem> {
    let rule = "must be one of lag, age, bytes, slow, address";
    let listing = ListingQuery::parse(query, &CONNECTION_SORTS, rule)?;
    Ok(ConnectionsQuery {
        sort: listing.sort.unwrap_or_default(),
        filter: ConnectionFilter { listener: listing.listener, search: listing.search },
        paging: listing.paging,
        info: listing.info.unwrap_or(false),
    })
}

/// The parameters of `/status`.
pub(crate) fn parse_status(query: &[u8]) -> Result<StatusQuery, Problem> {
    let mut series = None;
    for pair in pairs(query) {
        if *pair.name == *b"series" {
            set_once(&mut series, "series", parse_range(&pair.value()?))?;
        }
    }
    Ok(StatusQuery { series: series.flatten() })
}

/// The connection that a path names.
pub(crate) fn parse_connection_path(path: &[u8]) -> Result<ConnectionId, Problem> {
    path.strip_prefix(CONNECTION).and_then(ConnectionId::parse).ok_or(Problem::NoSuchConnection)
}

struct ListingQuery<Sort> {
    sort: Option<Sort>,
    paging: PageRange,
    info: Option<bool>,
    listener: Option<ListenerKind>,
    search: Option<SearchText>,
}

impl<Sort: Copy> ListingQuery<Sort> {
    fn parse(
        query: &[u8],
        sorts: &[(&str, Sort)],
        sort_rule: &'static str,
    ) -> Result<ListingQuery<Sort>, Problem> {
        let (mut sort, mut limit, mut offset, mut info) = (None, None, None, None);
        let (mut listener, mut search) = (None, None);
        for pair in pairs(query) {
            match &*pair.name {
                b"sort" => {
                    let value = pair.value()?;
                    let known = sorts.iter().find(|(word, _)| word.as_bytes() == &*value);
                    set_once(&mut sort, "sort", known.map(|(_, sort)| *sort).ok_or(sort_rule))?;
                }
                b"limit" => set_once(&mut limit, "limit", parse_limit(&pair.value()?))?,
                b"offset" => set_once(&mut offset, "offset", parse_offset(&pair.value()?))?,
                b"info" => set_once(&mut info, "info", parse_switch(&pair.value()?))?,
                b"listener" => set_once(&mut listener, "listener", parse_listener(&pair.value()?))?,
                b"q" => set_once(&mut search, "q", parse_search(utf8_text(&pair.value()?)?))?,
                _ => {}
            }
        }
        let paging = PageRange { limit: limit.unwrap_or(PAGE_ROWS_DEFAULT), offset: offset.unwrap_or(0) };
        Ok(ListingQuery { sort, paging, info, listener, search: search.flatten() })
    }
}

fn set_once<T>(
    place: &mut Option<T>,
    name: &'static str,
    value: Result<T, &'static str>,
) -> Result<(), Problem> {
    let broken = |rule| Problem::BadParameter { name, rule };
    match place.replace(value.map_err(broken)?) {
        None => Ok(()),
        Some(_) => Err(broken("may be given only once")),
    }
}

fn parse_number(value: &[u8]) -> Option<usize> {
    parse_decimal(value).and_then(|number| usize::try_from(number).ok())
}

fn parse_limit(value: &[u8]) -> Result<usize, &'static str> {
    const _: () = assert!(PAGE_ROWS_MAX == 1_000, "text below");
    let limit = parse_number(value).filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
    limit.ok_or("must be a whole number from 1 to 1000")
}

fn parse_offset(value: &[u8]) -> Result<usize, &'static str> {
    const _: () = assert!(PAGE_OFFSET_MAX == 9_000, "text below");
    let offset = parse_number(value).filter(|&offset| offset <= PAGE_OFFSET_MAX);
    offset.ok_or("must be a whole number up to 9000; sort otherwise to see the other end of the list")
}

fn parse_listener(value: &[u8]) -> Result<ListenerKind, &'static str> {
    let mut known = ListenerKind::ALL.into_iter();
    known.find(|kind| kind.name().as_bytes() == value).ok_or("must be public, control or metrics")
}

/// Reads the text of a search; an empty one asks for everything, as an empty search field does.
fn parse_search(value: &str) -> Result<Option<SearchText>, &'static str> {
    const _: () = assert!(SEARCH_BYTES_MAX == 128, "text below");
    let search = SearchText::new(value);
    if search.is_some() || value.is_empty() { Ok(search) } else { Err("must be at most 128 bytes") }
}

fn parse_range(value: &[u8]) -> Result<Option<SeriesRange>, &'static str> {
    match value {
        b"0" => Ok(None),
        b"1" => Ok(Some(SeriesRange::FiveMinutes)),
        b"hour" => Ok(Some(SeriesRange::Hour)),
        b"day" => Ok(Some(SeriesRange::Day)),
        _ => Err("must be 0, 1, hour or day"),
    }
}

fn parse_switch(value: &[u8]) -> Result<bool, &'static str> {
    match value {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err("must be 0 or 1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_asked_for_by_their_range() {
        let series = |query| parse_status(query).map(|query| query.series);
        assert_eq!(series(b""), Ok(None));
        assert_eq!(series(b"series=0&else=x"), Ok(None));
        assert_eq!(series(b"series=1"), Ok(Some(SeriesRange::FiveMinutes)));
        assert_eq!(series(b"series=hour"), Ok(Some(SeriesRange::Hour)));
        assert_eq!(series(b"series=day"), Ok(Some(SeriesRange::Day)));
        for refused in [&b"series=week"[..], b"series=", b"series=1&series=day"] {
            assert_eq!(series(refused).expect_err("refused").code(), "bad_parameter");
        }
    }

    #[test]
    fn what_is_asked_is_read_and_what_is_not_known_is_refused_in_words() {
        let asked = parse_connections(b"sort=slow&limit=7&offset=30&info=1&listener=public&q=A%20b&else=x")
            .expect("well-formed");
        let paging = PageRange { limit: 7, offset: 30 };
        let filter =
            ConnectionFilter { listener: Some(ListenerKind::Public), search: SearchText::new("A b") };
        assert_eq!(asked, ConnectionsQuery { sort: ConnectionSort::Slow, filter, paging, info: true });
        let asked = parse_topics(b"q=").expect("well-formed");
        let paging = PageRange { limit: PAGE_ROWS_DEFAULT, offset: 0 };
        assert_eq!(asked, TopicsQuery { sort: TopicSort::Subscribers, search: None, paging });
        let long = [&b"q="[..], &[b'x'; 129]].concat();
        let rows: [(&[u8], &str); 15] = [
            (b"sort=lagg", "sort must be one of lag, age, bytes, slow, address."),
            (b"sort=", "sort must be one of lag, age, bytes, slow, address."),
            (b"sort=lag&sort=age", "sort may be given only once."),
            (b"limit=0", "limit must be a whole number from 1 to 1000."),
            (b"limit=1001", "limit must be a whole number from 1 to 1000."),
            (b"limit=-1", "limit must be a whole number from 1 to 1000."),
            (b"limit=1e2", "limit must be a whole number from 1 to 1000."),
            (b"limit=99999999999999999999", "limit must be a whole number from 1 to 1000."),
            (b"offset=x", "offset must be a whole number up to 9000"),
            (b"offset=9001", "offset must be a whole number up to 9000"),
            (b"info=yes", "info must be 0 or 1."),
            (b"listener=both", "listener must be public, control or metrics."),
            (&long, "q must be at most 128 bytes."),
            (b"q=%ff", "A value of the query is not valid UTF-8."),
            (b"sort=%zz", "An escape"),
        ];
        for (query, words) in rows {
            let problem = parse_connections(query).expect_err("refused");
            assert_eq!((problem.status(), problem.closes()), (400, false));
            assert!(problem.message().starts_with(words), "{words} {}", problem.message());
        }
        assert_eq!(parse_topics(b"sort=lag").expect_err("of the other list").code(), "bad_parameter");
    }

    #[test]
    fn one_topic_is_forgotten_and_never_one_that_was_not_meant() {
        assert_eq!(parse_forgotten_topic(b"topic=a%2Fb"), Ok("a/b".into()));
        let rows: [(&[u8], &str); 6] = [
            (b"", "no_topic"),
            (b"topic=", "bad_topic"),
            (b"topic=a&topic=b", "bad_topic"),
            (b"topic=a&older_than_ms=5", "unknown_parameter"),
            (b"topic=a%0a", "bad_topic"),
            (b"topic=fanwheel.status", "topic_reserved"),
        ];
        for (query, code) in rows {
            let problem = parse_forgotten_topic(query).expect_err("refused");
            assert_eq!((problem.status(), problem.code()), (400, code));
        }
    }

    #[test]
    fn a_path_names_one_connection_or_none() {
        let id = ConnectionId { worker: 1, slot: 2, generation: 3 };
        assert_eq!(parse_connection_path(b"/connections/1-2-3"), Ok(id));
        for path in ["/connections/", "/connections/1-2-3/", "/connections/1-2-3%20", "/connections/all"] {
            assert_eq!(parse_connection_path(path.as_bytes()), Err(Problem::NoSuchConnection), "{path}");
        }
    }
}
