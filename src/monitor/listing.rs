//! `/topics` and `/connections`: the rows of a survey as JSON. serde_json escapes the texts of strangers.

use serde::Serialize;

use crate::base::survey::{ConnectionRow, ConnectionsPage, TopicRow, TopicsPage};

/// Writes the page of topics.
pub fn topics(page: &TopicsPage) -> String {
    let paging = page.query.paging;
    text(&TopicsJson {
        total: page.total,
        offset: paging.offset,
        limit: paging.limit,
        topics: page.rows.iter().map(topic).collect(),
        incomplete: page.incomplete.then_some(["topics"]),
    })
}

/// Writes the page of connections.
pub fn connections(page: &ConnectionsPage) -> String {
    let paging = page.query.paging;
    let missing = page.incomplete.iter().map(|worker| format!("worker {worker}"));
    text(&ConnectionsJson {
        total: page.total,
        offset: paging.offset,
        limit: paging.limit,
        connections: page.rows.iter().map(|row| connection(row, page.query.info)).collect(),
        incomplete: missing.collect(),
    })
}

fn text(page: &impl Serialize) -> String {
    serde_json::to_string(page).expect("plain data with text for keys")
}

#[derive(Serialize)]
struct TopicsJson<'a> {
    total: u64,
    offset: usize,
    limit: usize,
    topics: Vec<TopicJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<[&'static str; 1]>,
}

#[derive(Serialize)]
struct TopicJson<'a> {
    topic: &'a str,
    class: &'a str,
    subscribers: u64,
    pattern_subscribers: u64,
    events: u64,
    bytes: u64,
    oldest: Option<String>,
    newest: Option<String>,
    events_per_second: f64,
}

fn topic(row: &TopicRow) -> TopicJson<'_> {
    TopicJson {
        topic: &row.topic,
        class: &row.class,
        subscribers: row.subscribers,
        pattern_subscribers: row.pattern_subscribers,
        events: row.events,
        bytes: row.bytes,
        oldest: row.oldest.map(|id| id.to_string()),
        newest: row.newest.map(|id| id.to_string()),
        events_per_second: row.recent.per_thousand_seconds() as f64 / 1_000.0,
    }
}

#[derive(Serialize)]
struct ConnectionsJson<'a> {
    total: u64,
    offset: usize,
    limit: usize,
    connections: Vec<ConnectionJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

#[derive(Serialize)]
struct ConnectionJson<'a> {
    id: String,
    worker: u32,
    address: Option<String>,
    user_agent: Option<&'a str>,
    topics: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    topics_more: Option<usize>,
    age_ms: u64,
    lag_ms: u64,
    lag_events: u64,
    bytes: Option<u64>,
    state: &'static str,
    events: &'static str,
    stalled_ms: Option<u64>,
    listener: &'static str,
    #[serde(flatten)]
    info: Option<TcpInfoJson>,
}

#[derive(Serialize)]
struct TcpInfoJson {
    rtt_us: u32,
    unacked: u32,
    unsent_bytes: u32,
}

fn connection(row: &ConnectionRow, info: bool) -> ConnectionJson<'_> {
    ConnectionJson {
        id: row.id.to_string(),
        worker: row.id.worker,
        address: row.address.map(|address| address.to_string()),
        user_agent: row.user_agent.as_deref(),
        topics: &row.topics,
        topics_more: (row.topics_more > 0).then_some(row.topics_more),
        age_ms: row.age_ms,
        lag_ms: row.lag_ms,
        lag_events: row.lag_events,
        bytes: row.traffic.map(|traffic| traffic.bytes_sent),
        state: row.state.name(),
        events: row.events.name(),
        stalled_ms: row.stalled_ms,
        listener: row.listener.name(),
        info: row.traffic.filter(|_| info).map(|traffic| TcpInfoJson {
            rtt_us: traffic.rtt_us,
            unacked: traffic.unacked,
            unsent_bytes: traffic.unsent_bytes,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::peers::ClientAddress;
    use crate::base::survey::{
        ConnectionFilter, ConnectionId, ConnectionSort, ConnectionState, ConnectionTraffic, ConnectionsQuery,
        PageRange, SentEvents,
    };

    #[test]
    fn a_page_is_one_object_whatever_strangers_wrote() {
        let hostile = "\"}]</script>\u{2028}\n\u{0}";
        let row = ConnectionRow {
            id: ConnectionId { worker: 1, slot: 2, generation: 3 },
            address: Some(ClientAddress::new("2001:db8::1".parse().expect("an address"), Some(5))),
            user_agent: Some(hostile.into()),
            topics: vec![hostile.into()],
            topics_more: 4,
            age_ms: 1,
            lag_ms: 2,
            lag_events: 3,
            state: ConnectionState::Full,
            events: SentEvents::Newest,
            stalled_ms: Some(5),
            listener: ListenerKind::Control,
            traffic: Some(ConnectionTraffic { bytes_sent: 9, rtt_us: 8, unacked: 7, unsent_bytes: 6 }),
        };
        let bare = ConnectionRow { topics_more: 0, traffic: None, address: None, ..row.clone() };
        let paging = PageRange { limit: 10, offset: 20 };
        let filter = ConnectionFilter::default();
        let query = ConnectionsQuery { sort: ConnectionSort::Lag, filter, paging, info: true };
        let page = ConnectionsPage { query, total: 22, rows: vec![row, bare], incomplete: vec![3] };
        let page: Value = serde_json::from_str(&connections(&page)).expect("JSON");
        assert_eq!((&page["total"], &page["offset"], &page["limit"]), (&json!(22), &json!(20), &json!(10)));
        assert_eq!(page["incomplete"], json!(["worker 3"]));
        let first = &page["connections"][0];
        assert_eq!((&first["id"], &first["user_agent"]), (&json!("1-2-3"), &json!(hostile)));
        assert_eq!((&first["address"], &first["topics_more"]), (&json!("[2001:db8::1]:5"), &json!(4)));
        assert_eq!((&first["bytes"], &first["state"]), (&json!(9), &json!("full")));
        assert_eq!(first["events"], "newest");
        assert_eq!((&first["stalled_ms"], &first["listener"]), (&json!(5), &json!("control")));
        assert_eq!(page["connections"][1].get("rtt_us"), None);
        assert_eq!(page["connections"][1]["address"], Value::Null);
    }
}
