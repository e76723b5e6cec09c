//! `/metrics`: the Prometheus text format, version 0.0.4. Its size is constant: labels come from enums only.

use std::fmt::Write;

use crate::base::counters::{CLOSED_NAMES, COUNT_NAMES, REFUSED_NAMES};
use crate::base::snapshot::{Format, Snapshot};

/// What each count means, in the order of [`COUNT_NAMES`].
const COUNT_HELP: [&str; COUNT_NAMES.len()] = [
    "Connections accepted.",
    "Streams opened.",
    "Streams opened with a position to resume from.",
    "Gap events written: history a subscriber needed was no longer kept.",
    "Events accepted, once each, whatever the number of topics.",
    "Publishes answered from an idempotency key.",
    "Events handed whole to the kernel, one for each subscriber.",
    "Bytes handed to the kernel.",
    "Sends offered to the kernel.",
    "Sends that found a socket full or took only part.",
    "Heartbeats written.",
    "Requests answered, streams included.",
    "Requests answered 4xx for what they were: malformed, unknown, too large; not timeouts.",
    "Slow subscribers moved to the newest event.",
    "Turns of the workers.",
    "Times a worker stopped listening because it had no files left.",
    "Connections that could not be accepted for another reason.",
    "Sockets that could not be registered with epoll.",
    "Log lines dropped because the log's output was behind or full.",
];

/// The page.
pub fn page(snapshot: &Snapshot, _format: Format) -> String {
    let mut out = String::with_capacity(8 * 1_024);
    let totals = &snapshot.totals;
    for ((name, help), value) in COUNT_NAMES.iter().zip(COUNT_HELP).zip(totals.counts) {
        head(&mut out, &format!("{name}_total"), "counter", help);
        line(&mut out, &format!("fanwheel_{name}_total {value}"));
    }
    labelled(&mut out, "refused", "Newcomers and publishes refused.", &REFUSED_NAMES, &totals.refused);
    labelled(&mut out, "closed", "Connections ended.", &CLOSED_NAMES, &totals.closed);
    for (name, help, value) in gauges(snapshot) {
        head(&mut out, name, "gauge", help);
        line(&mut out, &format!("fanwheel_{name} {value}"));
    }
    head(&mut out, "uptime_seconds", "gauge", "Time since the start.");
    let (seconds, ms) = (snapshot.uptime_ms / 1_000, snapshot.uptime_ms % 1_000);
    line(&mut out, &format!("fanwheel_uptime_seconds {seconds}.{ms:03}"));
    head(&mut out, "build_info", "gauge", "Always 1; the version is in the label.");
    line(&mut out, &format!("fanwheel_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    out
}

fn gauges(snapshot: &Snapshot) -> [(&'static str, &'static str, u64); 11] {
    let totals = &snapshot.totals;
    [
        ("connections", "Connections open now.", totals.connections_open),
        (
            "connections_max",
            "Connections held before newcomers are refused.",
            snapshot.connections_max as u64,
        ),
        ("subscribers", "Streams open now.", totals.subscribers_open),
        ("topics", "Topics that exist.", snapshot.topics as u64),
        ("history_events", "Events kept for returning subscribers.", snapshot.history_events as u64),
        ("history_bytes", "Bytes of the kept events.", snapshot.history_bytes as u64),
        ("bodies_bytes", "Bytes of publish bodies that are being received.", snapshot.bodies_bytes as u64),
        ("idempotency_keys", "Idempotency keys remembered.", snapshot.idempotency_keys as u64),
        ("workers", "Threads that serve connections.", snapshot.workers.len() as u64),
        ("draining", "1 while the server ends its streams.", u64::from(snapshot.draining)),
        ("memory_full", "1 while newcomers are refused for memory.", u64::from(snapshot.memory_full)),
    ]
}

fn labelled(out: &mut String, name: &str, help: &str, reasons: &[&str], values: &[u64]) {
    head(out, &format!("{name}_total"), "counter", help);
    for (reason, value) in reasons.iter().zip(values) {
        line(out, &format!("fanwheel_{name}_total{{reason=\"{reason}\"}} {value}"));
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    line(out, &format!("# HELP fanwheel_{name} {help}"));
    line(out, &format!("# TYPE fanwheel_{name} {kind}"));
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::counters::{Closed, Count, Refused};
    use crate::base::snapshot::WorkerSnapshot;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot {
            workers: vec![WorkerSnapshot::default(); 4],
            uptime_ms: 61_005,
            draining: true,
            ..Snapshot::default()
        };
        snapshot.totals.counts[Count::Delivered as usize] = u64::MAX;
        snapshot.totals.counts[Count::LogDropped as usize] = 3;
        snapshot.totals.refused[Refused::Memory as usize] = 5;
        snapshot.totals.closed[Closed::SlowStalled as usize] = 7;
        snapshot.totals.subscribers_open = 9;
        snapshot
    }

    #[test]
    fn numbers_stand_under_their_names() {
        let page = page(&snapshot(), Format::Prometheus);
        for expected in [
            "fanwheel_delivered_total 18446744073709551615",
            "fanwheel_log_dropped_total 3",
            "fanwheel_refused_total{reason=\"memory_full\"} 5",
            "fanwheel_closed_total{reason=\"slow_stalled\"} 7",
            "fanwheel_subscribers 9",
            "fanwheel_workers 4",
            "fanwheel_draining 1",
            "fanwheel_memory_full 0",
            "fanwheel_uptime_seconds 61.005",
        ] {
            assert!(page.lines().any(|line| line == expected), "{expected}\n{page}");
        }
    }

    /// The grammar of the exposition format, read strictly.
    #[test]
    fn every_line_parses_and_every_metric_is_announced_once() {
        let page = page(&snapshot(), Format::Prometheus);
        let mut announced = BTreeSet::new();
        let mut series = BTreeSet::new();
        assert!(page.ends_with('\n'));
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("name and kind");
                assert!(["counter", "gauge"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert!(announced.insert(name.to_owned()), "{line}");
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            let (key, value) = line.rsplit_once(' ').expect("series and value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(key.to_owned()), "{line}");
            let name = key.split('{').next().expect("a name");
            assert!(announced.contains(name), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let label = key.strip_prefix(name).expect("its own prefix");
            let quoted = label.strip_prefix('{').and_then(|label| label.strip_suffix("\"}"));
            assert!(label.is_empty() || quoted.is_some_and(|label| label.contains("=\"")), "{line}");
        }
    }

    #[test]
    fn help_stands_beside_its_name() {
        for (name, word) in
            [("log_dropped", "Log"), ("gaps", "Gap"), ("turns", "Turns"), ("accepted", "accepted")]
        {
            let index = COUNT_NAMES.iter().position(|count| *count == name).expect("a count");
            assert!(COUNT_HELP[index].contains(word), "{name}: {}", COUNT_HELP[index]);
        }
    }
}
