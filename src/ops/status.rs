//! `/status`: the numbers of `/metrics`, and what the last minutes were like, as one JSON object for people,
//! scripts and the dashboard.

use serde_json::{Map, Value, json};

use super::watch::{Point, Rates, Watch, Window};
use crate::base::counters::{CLOSED_NAMES, COUNT_NAMES, REFUSED_NAMES};
use crate::base::snapshot::{Snapshot, StatusQuery};

/// The page: counts are the snapshot's, everything over time is the watch's.
pub fn page(snapshot: &Snapshot, watch: &Watch, query: StatusQuery) -> String {
    let mut page = object(snapshot, watch);
    if query.series {
        page["series"] = series(watch);
    }
    page.to_string()
}

fn object(snapshot: &Snapshot, watch: &Watch) -> Value {
    let totals = &snapshot.totals;
    let last = watch.last();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": if snapshot.draining { "draining" } else { "serving" },
        "now_ms": last.wall_ms,
        "uptime_ms": snapshot.uptime_ms,
        "ready": {
            "ok": last.readiness.ok,
            "reason": last.readiness.reason,
            "since_ms": last.readiness.since_ms,
        },
        "workers": workers(snapshot, watch),
        "connections": {
            "open": totals.connections_open,
            "max": snapshot.connections_max,
            "accepted_per_minute": rounded(watch.rates(Window::Minute).accepted * 60.0),
            "duration_ms_mean": null,
            "by_address": by_address(snapshot),
        },
        "subscribers": {
            "open": totals.subscribers_open,
            "lagging": 0,
            "messages_per_connection_mean": null,
        },
        "rates": {
            "1s": rates(watch.rates(Window::Second)),
            "1m": rates(watch.rates(Window::Minute)),
            "5m": rates(watch.rates(Window::FiveMinutes)),
        },
        "latency_ms": {
            "each": { "p50": null, "p99": null, "max": null },
            "last": { "p50": null, "p99": null, "max": null },
        },
        "turn_ms": { "min": null, "mean": null, "max": null },
        "cpu_percent": rounded(watch.rates(Window::Second).cpu_percent),
        "memory": memory(snapshot, watch),
        "topics": snapshot.topics,
        "history": { "events": snapshot.history_events, "bytes": snapshot.history_bytes },
        "bodies_bytes": snapshot.bodies_bytes,
        "idempotency_keys": snapshot.idempotency_keys,
        "memory_full": snapshot.memory_full,
        "counts": named(&COUNT_NAMES, &totals.counts),
        "refused": named(&REFUSED_NAMES, &totals.refused),
        "closed": named(&CLOSED_NAMES, &totals.closed),
        "insights": [],
        "alerts": { "active": [], "history": [] },
    })
}

fn workers(snapshot: &Snapshot, watch: &Watch) -> Vec<Value> {
    let rates = watch.worker_rates();
    let row = |(index, worker): (usize, &crate::base::snapshot::WorkerSnapshot)| {
        let rates = rates.get(index).copied().unwrap_or_default();
        json!({
            "index": index,
            "connections": worker.connections,
            "subscribers": worker.subscribers,
            "deliveries_per_second": rounded(rates.deliveries),
            "turn_ms_mean": null,
            "turn_ms_max": null,
            "mailbox": worker.mailbox,
            "files": worker.connections,
            "files_max": watch.bounds().worker_files_max,
            "budget_exhausted": 0,
            "cpu_percent": rounded(rates.cpu_percent),
        })
    };
    snapshot.workers.iter().enumerate().map(row).collect()
}

fn by_address(snapshot: &Snapshot) -> Vec<Value> {
    let counts = snapshot.top_addresses.iter();
    counts.map(|count| json!({ "address": count.address, "connections": count.connections })).collect()
}

fn rates(rates: Rates) -> Value {
    json!({
        "published": rounded(rates.published),
        "deliveries": rounded(rates.deliveries),
        "bytes": rounded(rates.bytes),
        "accepted": rounded(rates.accepted),
        "closed": rounded(rates.closed),
        "refused": rounded(rates.refused),
        "errors": rounded(rates.errors),
    })
}

fn memory(snapshot: &Snapshot, watch: &Watch) -> Value {
    let host = &watch.last().host;
    let connections = snapshot.totals.connections_open;
    json!({
        "resident_bytes": host.resident_bytes,
        "limit_bytes": watch.bounds().memory_limit_bytes,
        "history_bytes": snapshot.history_bytes,
        "bytes_per_connection": host.resident_bytes.checked_div(connections),
        "kernel_tcp_bytes": host.kernel_tcp_bytes,
        "trend": { "average_bytes": null, "min_bytes": null, "max_bytes": null, "spikes": 0 },
        "leak": { "judgement": "learning", "bytes_per_minute": 0, "why": "" },
    })
}

/// One value for each second, oldest first.
fn series(watch: &Watch) -> Value {
    let of = |value: fn(&Point) -> u64| -> Vec<u64> { watch.points().map(value).collect() };
    let nothing = || vec![Value::Null; watch.points().len()];
    json!({
        "step_ms": 1_000,
        "at_ms": of(|point| point.wall_ms),
        "connections": of(|point| point.connections),
        "deliveries": differences(watch, |point| point.deliveries as f64),
        "latency_p99_ms": nothing(),
        "latency_last_p99_ms": nothing(),
        "cpu_percent": differences(watch, |point| point.cpu_seconds * 100.0),
        "resident_bytes": of(|point| point.resident_bytes),
        "lagging": vec![0; watch.points().len()],
    })
}

/// What was added in each second; nothing is known of the first.
fn differences(watch: &Watch, value: fn(&Point) -> f64) -> Vec<Option<f64>> {
    let mut before: Option<&Point> = None;
    let difference = |point| {
        let before = before.replace(point)?;
        let seconds = (point.mono_ms - before.mono_ms).max(1) as f64 / 1_000.0;
        Some(rounded((value(point) - value(before)).max(0.0) / seconds))
    };
    watch.points().map(difference).collect()
}

/// Three digits after the point are enough for anyone.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn named(names: &[&str], values: &[u64]) -> Map<String, Value> {
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::watch::{Bounds, Sample};

    #[test]
    fn it_is_one_object_with_the_numbers_in_place() {
        let mut snapshot = Snapshot { topics: 2, connections_max: 10, ..Snapshot::default() };
        snapshot.totals.counts[0] = 5;
        snapshot.totals.connections_open = 3;
        let mut watch = Watch::new(Bounds::default());
        watch.push(Sample { snapshot: snapshot.clone(), ..Sample::default() });
        let page: Value =
            serde_json::from_str(&page(&snapshot, &watch, StatusQuery { series: true })).expect("JSON");
        assert_eq!(page["state"], "serving");
        assert_eq!(page["topics"], 2);
        assert_eq!(page["counts"]["accepted"], 5);
        assert_eq!((&page["connections"]["open"], &page["connections"]["max"]), (&json!(3), &json!(10)));
        assert_eq!(page["closed"].as_object().map(Map::len), Some(CLOSED_NAMES.len()));
        assert_eq!(page["series"]["at_ms"].as_array().map(Vec::len), Some(1));
    }
}
