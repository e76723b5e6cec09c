//! `/topics` and `/connections`: rows that were found, as JSON. Texts of strangers are escaped by serde_json.

use serde_json::{Map, Value, json};

use crate::base::survey::{ConnectionRow, ConnectionsPage, TopicRow, TopicsPage};

/// The page of topics.
pub fn topics(page: &TopicsPage) -> String {
    let mut object = json!({
        "total": page.total,
        "offset": page.query.paging.offset,
        "limit": page.query.paging.limit,
        "topics": page.rows.iter().map(topic).collect::<Vec<_>>(),
    });
    if page.incomplete {
        object["incomplete"] = json!(["topics"]);
    }
    object.to_string()
}

fn topic(row: &TopicRow) -> Value {
    json!({
        "topic": *row.topic,
        "subscribers": row.subscribers,
        "events": row.events,
        "bytes": row.bytes,
        "oldest": row.oldest.map(|id| id.to_string()),
        "newest": row.newest.map(|id| id.to_string()),
    })
}

/// The page of connections.
pub fn connections(page: &ConnectionsPage) -> String {
    let mut object = json!({
        "total": page.total,
        "offset": page.query.paging.offset,
        "limit": page.query.paging.limit,
        "connections": page.rows.iter().map(|row| connection(row, page.query.info)).collect::<Vec<_>>(),
    });
    if !page.incomplete.is_empty() {
        let missing = page.incomplete.iter().map(|worker| format!("worker {worker}"));
        object["incomplete"] = missing.collect();
    }
    object.to_string()
}

fn connection(row: &ConnectionRow, info: bool) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    set("id", json!(row.id.to_string()));
    set("worker", json!(row.id.worker));
    set("address", json!(row.address.map(|address| address.to_string())));
    set("user_agent", json!(row.user_agent));
    set("topics", json!(row.topics));
    if row.topics_more > 0 {
        set("topics_more", json!(row.topics_more));
    }
    set("age_ms", json!(row.age_ms));
    set("lag_ms", json!(row.lag_ms));
    set("lag_events", json!(row.lag_events));
    set("bytes", json!(row.traffic.map(|traffic| traffic.bytes_sent)));
    set("state", json!(row.state.name()));
    if let Some(traffic) = row.traffic.filter(|_| info) {
        set("rtt_us", json!(traffic.rtt_us));
        set("unacked", json!(traffic.unacked));
        set("unsent_bytes", json!(traffic.unsent_bytes));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::survey::*;

    #[test]
    fn a_page_is_one_object_whatever_strangers_wrote() {
        let hostile = "\"}]</script>\u{2028}\n\u{0}";
        let row = ConnectionRow {
            id: ConnectionId { worker: 1, slot: 2, generation: 3 },
            address: Some("[2001:db8::1]:5".parse().expect("an address")),
            user_agent: Some(hostile.into()),
            topics: vec![hostile.into()],
            topics_more: 4,
            age_ms: 1,
            lag_ms: 2,
            lag_events: 3,
            state: ConnectionState::Full,
            traffic: Some(Traffic { bytes_sent: 9, rtt_us: 8, unacked: 7, unsent_bytes: 6 }),
        };
        let bare = ConnectionRow { topics_more: 0, traffic: None, address: None, ..row.clone() };
        let paging = Paging { limit: 10, offset: 20 };
        let query = ConnectionsQuery { sort: ConnectionSort::Lag, paging, info: true };
        let page = ConnectionsPage { query, total: 22, rows: vec![row, bare], incomplete: vec![3] };
        let page: Value = serde_json::from_str(&connections(&page)).expect("JSON");
        assert_eq!((&page["total"], &page["offset"], &page["limit"]), (&json!(22), &json!(20), &json!(10)));
        assert_eq!(page["incomplete"], json!(["worker 3"]));
        let first = &page["connections"][0];
        assert_eq!((&first["id"], &first["user_agent"]), (&json!("1-2-3"), &json!(hostile)));
        assert_eq!((&first["address"], &first["topics_more"]), (&json!("[2001:db8::1]:5"), &json!(4)));
        assert_eq!((&first["bytes"], &first["state"]), (&json!(9), &json!("full")));
        assert_eq!(page["connections"][1].get("rtt_us"), None);
        assert_eq!(page["connections"][1]["address"], Value::Null);
    }
}
