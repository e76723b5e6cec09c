//! `/status`: the same numbers as `/metrics`, as one JSON object for people and scripts.

use serde_json::{Map, Value, json};

use crate::base::counters::{CLOSED_NAMES, COUNT_NAMES, REFUSED_NAMES};
use crate::base::snapshot::Snapshot;

/// The page.
pub fn page(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": if snapshot.draining { "draining" } else { "serving" },
        "uptime_ms": snapshot.uptime_ms,
        "workers": snapshot.workers,
        "connections": { "open": totals.connections_open, "max": snapshot.connections_max },
        "subscribers": { "open": totals.subscribers_open },
        "topics": snapshot.topics,
        "history": { "events": snapshot.history_events, "bytes": snapshot.history_bytes },
        "bodies_bytes": snapshot.bodies_bytes,
        "idempotency_keys": snapshot.idempotency_keys,
        "memory_full": snapshot.memory_full,
        "counts": named(&COUNT_NAMES, &totals.counts),
        "refused": named(&REFUSED_NAMES, &totals.refused),
        "closed": named(&CLOSED_NAMES, &totals.closed),
    })
    .to_string()
}

fn named(names: &[&str], values: &[u64]) -> Map<String, Value> {
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_object_with_the_numbers_in_place() {
        let mut snapshot = Snapshot { topics: 2, connections_max: 10, ..Snapshot::default() };
        snapshot.totals.counts[0] = 5;
        snapshot.totals.connections_open = 3;
        let page: Value = serde_json::from_str(&page(&snapshot)).expect("JSON");
        assert_eq!(page["state"], "serving");
        assert_eq!(page["topics"], 2);
        assert_eq!(page["counts"]["accepted"], 5);
        assert_eq!(page["connections"], json!({ "open": 3, "max": 10 }));
        assert_eq!(page["closed"].as_object().map(Map::len), Some(CLOSED_NAMES.len()));
    }
}
