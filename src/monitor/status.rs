//! `/status`: the numbers of `/metrics` and the figures of the last minutes, as one JSON object for people,
//! scripts and the dashboard.

use serde_json::{Map, Value, json};

use super::page_figures;
use super::series;
use super::watch::{LatencyQuantiles, RateWindow, Watch, WindowRates, WorkerRates};
use crate::base::counters::{CLOSED_NAMES, COUNT_NAMES, Count, REFUSED_NAMES};
use crate::base::snapshot::{
    BackplaneSnapshot, ClassSnapshot, FleetNode, Snapshot, StatusQuery, WorkerSnapshot,
};

/// Writes the page. Counts come from the snapshot; everything over time comes from the watch.
pub(crate) fn page(snapshot: &Snapshot, watch: &Watch, query: StatusQuery) -> String {
    let mut page = object(snapshot, watch);
    if let Some(range) = query.series {
        page["series"] = series::object(watch, range);
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
        "started_ms": watch.bounds().started_ms,
        "draining_since_ms": watch.draining_since_ms(),
        "ready": {
            "ok": last.readiness.ok,
            "reason": last.readiness.reason,
            "since_ms": last.readiness.since_ms,
        },
        "workers": workers(snapshot, watch),
        "connections": {
            "open": totals.connections_open,
            "max": snapshot.connections_max,
            "accepted_per_minute": watch.count_in_window(Count::Accepted, RateWindow::Minute),
            "duration_ms_mean": snapshot.distributions.duration.mean().map(rounded),
            "by_address": by_address(snapshot),
        },
        "subscribers": {
            "open": totals.subscribers_open,
            "lagging": totals.lagging,
            "messages_per_connection_mean": messages_per_connection(snapshot),
        },
        "rates": {
            "1s": rates(watch.rates(RateWindow::Second)),
            "1m": rates(watch.rates(RateWindow::Minute)),
            "5m": rates(watch.rates(RateWindow::FiveMinutes)),
        },
        "latency_ms": {
            "each": latency(watch.latency_each()),
            "last": latency(watch.latency_last()),
            "1s": newest_latency(watch),
        },
        "turn_ms": turns(watch),
        "hub_hold_ms": hub_holds(watch),
        "cpu_percent": rounded(watch.rates(RateWindow::Second).cpu_percent),
        "memory": memory(snapshot, watch),
        "topics": snapshot.topics,
        "patterns": snapshot.patterns,
        "subscriptions": snapshot.subscriptions,
        "history": {
            "events": snapshot.history_events, "keys": snapshot.history_keys, "bytes": snapshot.history_bytes
        },
        "classes": snapshot.classes.iter().map(class).collect::<Vec<Value>>(),
        "pages": page_figures::object(snapshot, watch),
        "bodies_bytes": snapshot.bodies_bytes,
        "idempotency_keys": snapshot.idempotency_keys,
        "memory_full": snapshot.memory_full,
        "backplane": snapshot.backplane.as_ref().map(backplane),
        "nodes": snapshot.backplane.as_ref().map(nodes),
        "counts": named(&COUNT_NAMES, &totals.counts),
        "refused": named(&REFUSED_NAMES, &totals.refused),
        "closed": named(&CLOSED_NAMES, &totals.closed),
        "insights": insights(watch),
        "alerts": watch.alerts().status(),
    })
}

fn workers(snapshot: &Snapshot, watch: &Watch) -> Vec<Value> {
    let rates = watch.workers();
    let row = |(index, worker): (usize, &WorkerSnapshot)| {
        let rates: WorkerRates = rates.get(index).copied().unwrap_or_default();
        json!({
            "index": index,
            "connections": worker.connections,
            "subscribers": worker.subscribers,
            "deliveries_per_second": rounded(rates.deliveries_per_second),
            "turn_ms_mean": rates.turn_us_mean.map(|us| rounded(us / 1_000.0)),
            "turn_ms_max": rounded(rates.turn_us_max as f64 / 1_000.0),
            "mailbox": worker.mailbox,
            "window_events": worker.waiting,
            "files": worker.files,
            "files_max": watch.bounds().worker_files_max,
            "budget_exhausted": worker.exhausted,
            "cpu_percent": rounded(rates.cpu_percent),
        })
    };
    snapshot.workers.iter().enumerate().map(row).collect()
}

fn backplane(backplane: &BackplaneSnapshot) -> Value {
    json!({
        "address": backplane.address,
        "up": backplane.up,
        "fault": backplane.fault,
        "round_trip_ms": rounded(backplane.round_trip_us as f64 / 1_000.0),
        "publishes_waiting": backplane.publishes_waiting,
        "connects": { "writer": backplane.writer_connects, "reader": backplane.reader_connects },
        "entries_skipped": backplane.entries_skipped,
        "losses": backplane.losses,
    })
}

fn nodes(backplane: &BackplaneSnapshot) -> Vec<Value> {
    let row = |node: &FleetNode| {
        json!({
            // As text: scripts of pages know whole numbers of 53 bits.
            "id": format!("{:x}", node.id),
            "name": node.name,
            "self": node.is_self,
            "subscribers": node.subscribers,
            "round_trip_ms": node.round_trip_ms,
            "draining": node.draining,
            "position": node.position,
            "heard_ms": node.heard_ms,
        })
    };
    backplane.nodes.iter().map(row).collect()
}

fn class(class: &ClassSnapshot) -> Value {
    json!({
        "name": &*class.name,
        "topics": class.topics,
        "subscriptions": class.subscriptions,
        "published": class.published,
        "history": { "events": class.history_events, "bytes": class.history_bytes },
    })
}

fn by_address(snapshot: &Snapshot) -> Vec<Value> {
    let counts = snapshot.top_addresses.iter();
    counts.map(|count| json!({ "address": count.address, "connections": count.connections })).collect()
}

/// Returns the mean number of events of a stream, over all streams since the start.
fn messages_per_connection(snapshot: &Snapshot) -> Option<f64> {
    let count = |what: Count| snapshot.totals.counts[what as usize];
    let streams = count(Count::Subscribed);
    (streams > 0).then(|| rounded(count(Count::Delivered) as f64 / streams as f64))
}

/// Returns the newest values of the series of latencies.
fn newest_latency(watch: &Watch) -> Value {
    let newest = watch.points().last();
    let ms = |us: Option<f64>| us.map(|us| rounded(us / 1_000.0));
    json!({
        "each_p99": ms(newest.and_then(|point| point.each_p99_us)),
        "last_p99": ms(newest.and_then(|point| point.last_p99_us)),
    })
}

fn latency(latency: Option<LatencyQuantiles>) -> Value {
    let of = |value: fn(LatencyQuantiles) -> f64| latency.map(|latency| rounded(value(latency)));
    json!({
        "p50": of(|latency| latency.p50_ms),
        "p99": of(|latency| latency.p99_ms),
        "max": of(|latency| latency.max_ms),
    })
}

/// Returns the turns of the last minute. The least is exact to a third only.
fn turns(watch: &Watch) -> Value {
    let turns = watch.turns();
    let ms = |us: f64| rounded(us / 1_000.0);
    json!({
        "min": turns.least().map(|us| ms(us as f64)),
        "mean": turns.mean().map(ms),
        "max": turns.mean().map(|_| ms(watch.turn_max_us() as f64)),
    })
}

/// Returns the holds of the hub's lock in the last minute.
fn hub_holds(watch: &Watch) -> Value {
    let holds = watch.hub_holds();
    let max_us = watch.hub_hold_max_us();
    // Within its bucket a percentile is a guess; it never exceeds the greatest value.
    let quantile = |share| holds.quantile(share).map(|us| rounded(us.min(max_us as f64) / 1_000.0));
    json!({
        "p99": quantile(0.99),
        "p999": quantile(0.999),
        "max": holds.mean().map(|_| rounded(max_us as f64 / 1_000.0)),
    })
}

fn insights(watch: &Watch) -> Vec<Value> {
    let insights = watch.insights().into_iter();
    insights
        .map(|it| json!({ "severity": it.severity.name(), "text": it.text, "advice": it.advice }))
        .collect()
}

fn rates(rates: WindowRates) -> Value {
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
    let (trend, leak) = (watch.trend(), watch.leak());
    json!({
        "resident_bytes": host.resident_bytes,
        "limit_bytes": watch.bounds().memory_limit_bytes,
        "history_bytes": snapshot.history_bytes,
        "bytes_per_connection": watch.bytes_per_connection(),
        "kernel_tcp_bytes": host.kernel_tcp_bytes,
        "trend": {
            "average_bytes": trend.average_bytes,
            "min_bytes": trend.min_bytes,
            "max_bytes": trend.max_bytes,
            "spikes": trend.spikes,
        },
        "leak": {
            "judgement": leak.judgement.name(),
            "bytes_per_minute": leak.bytes_per_minute.round(),
            "why": leak.why,
        },
    })
}

/// Rounds to three decimals, which keep the page short.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Returns values under their names.
pub(super) fn named(names: &[&str], values: &[u64]) -> Map<String, Value> {
    names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::snapshot::SeriesRange;
    use crate::monitor::watch::{WatchBounds, WatchSample};

    #[test]
    fn start_and_drain_have_moments_that_stay() {
        let mut watch = Watch::new(WatchBounds { started_ms: 50_000, ..WatchBounds::default() });
        let mut moments = |draining: bool, wall_ms: u64| {
            let snapshot = Snapshot { draining, ..Snapshot::default() };
            watch.push(WatchSample { wall_ms, snapshot: snapshot.clone(), ..WatchSample::default() });
            let page = object(&snapshot, &watch);
            [page["started_ms"].clone(), page["draining_since_ms"].clone()]
        };
        assert_eq!(moments(false, 51_000), [json!(50_000), Value::Null]);
        assert_eq!(moments(true, 52_000), [json!(50_000), json!(52_000)]);
        assert_eq!(moments(true, 53_000), [json!(50_000), json!(52_000)]);
    }

    #[test]
    fn it_is_one_object_with_the_numbers_in_place() {
        let mut snapshot = Snapshot { topics: 2, connections_max: 10, ..Snapshot::default() };
        snapshot.totals.counts[0] = 5;
        snapshot.totals.connections_open = 3;
        let mut watch = Watch::new(WatchBounds::default());
        watch.push(WatchSample { snapshot: snapshot.clone(), ..WatchSample::default() });
        let page: Value = serde_json::from_str(&page(
            &snapshot,
            &watch,
            StatusQuery { series: Some(SeriesRange::FiveMinutes) },
        ))
        .expect("JSON");
        assert_eq!(page["state"], "serving");
        assert_eq!(page["topics"], 2);
        assert_eq!(page["counts"]["accepted"], 5);
        assert_eq!((&page["connections"]["open"], &page["connections"]["max"]), (&json!(3), &json!(10)));
        assert_eq!(page["closed"].as_object().map(Map::len), Some(CLOSED_NAMES.len()));
        assert_eq!(page["series"]["at_ms"].as_array().map(Vec::len), Some(1));
    }
}
