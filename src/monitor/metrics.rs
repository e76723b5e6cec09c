//! `/metrics`: the numbers that are exposed, and their names. Its size is bounded: labels come from enums,
//! from the workers and from the classes of topics, of which there are at most 64 each.

use crate::base::counters::{
    CLIENT_CAUSE_NAMES, CLIENT_COUNT_NAMES, CLOSED_NAMES, COUNT_NAMES, Count, REFUSED_NAMES, STEP_NAMES,
    SUPERSEDED_NAMES,
};
use crate::base::snapshot::{BackplaneSnapshot, ClassSnapshot, MetricsFormat, Snapshot, WorkerSnapshot};
use crate::monitor::error_classes;
use crate::monitor::exposition::{Exposition, SampleValue};
use crate::monitor::watch::{RateWindow, Watch};

/// The meaning of each count, in the order of [`COUNT_NAMES`].
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
    "Sends that completed at least one event; delivered by these is the coalescing factor.",
    "Batches in which sends were offered to the kernel.",
    "Heartbeats written.",
    "Requests answered, streams included.",
    "Requests answered 4xx for what they were: malformed, unknown, too large; not timeouts.",
    "Slow subscribers moved to the newest event.",
    "Times a subscriber's socket was full, so that it fell behind.",
    "Events of the history among those delivered, to subscribers that had come back or asked for them.",
    "Windows of waiting events that ended; window_events by these is the mean batch.",
    "Windows that ended early because too much waited.",
    "Events that left at the end of a window, once for each worker with subscribers.",
    "Times a subscriber had to wait for its rate.",
    "Turns of the workers.",
    "Times a worker slept until something came or was due.",
    "Times a worker stopped listening because it had no files left.",
    "Connections that could not be accepted for another reason.",
    "Sockets that could not be registered with epoll.",
    "Events that topics forgot because you asked, once for each topic.",
    "Log lines dropped because the log's output was behind or full.",
    "Messages of alerts that a webhook, the command or sendmail took.",
    "Messages of alerts given up after the last try, or because too many waited.",
    "Reloads refused for a mistake in the configuration; the settings before stay in force.",
    "Long polls answered, with events or without.",
    "Headers of the PROXY protocol that were believed.",
    "Questions to the application behind authorize_url.",
    "Requests decided by an answer of the application that was kept.",
];
/// The meaning of each figure of pages, in the order of [`CLIENT_COUNT_NAMES`].
const CLIENT_COUNT_HELP: [&str; CLIENT_COUNT_NAMES.len()] = [
    "Beacons of pages that were taken.",
    "Beacons of pages beyond the rate that is taken.",
    "Streams that pages opened, by their beacons.",
    "Time that pages took to open them, by their beacons.",
    "Time with an open stream of pages, by their beacons.",
    "Time that the beacons of pages tell of.",
    "Events that pages got, by their beacons.",
    "Bytes of the streams of pages, by their beacons.",
    "Gaps that pages were told, by their beacons.",
    "Events that came to pages again and were dropped, by their beacons.",
];

const MICROSECONDS: u64 = 1_000_000;
const MILLISECONDS: u64 = 1_000;

/// Writes the page. Counts come from the snapshot; readings of the host come from the watch and are at most a
/// second old.
pub(crate) fn page(snapshot: &Snapshot, watch: &Watch, format: MetricsFormat) -> String {
    let mut page = Exposition::new(format);
    counts(&mut page, snapshot);
    distributions(&mut page, snapshot);
    gauges(&mut page, snapshot, watch);
    hub_gauges(&mut page, snapshot);
    workers(&mut page, snapshot);
    classes(&mut page, snapshot);
    snapshot.backplane.iter().for_each(|backplane| add_backplane(&mut page, backplane));
    process(&mut page, watch);
    page.finish()
}

fn counts(page: &mut Exposition, snapshot: &Snapshot) {
    let totals = &snapshot.totals;
    for ((name, help), value) in COUNT_NAMES.iter().zip(COUNT_HELP).zip(totals.counts) {
        page.counter(&format!("fanwheel_{name}"), help, value);
    }
    let refused = REFUSED_NAMES.iter().zip(totals.refused);
    page.counters("fanwheel_refused", "Newcomers and publishes refused.", "reason", refused);
    let closed = CLOSED_NAMES.iter().zip(totals.closed);
    page.counters("fanwheel_closed", "Connections ended.", "reason", closed);
    let help =
        "Faults that well-behaved clients on a healthy host do not cause; neither resets nor refusals.";
    page.counters("fanwheel_errors", help, "class", error_classes::count_by_class(totals));
    for ((name, help), value) in CLIENT_COUNT_NAMES.iter().zip(CLIENT_COUNT_HELP).zip(totals.client_counts) {
        let name = format!("fanwheel_client_{name}");
        match name.ends_with("_seconds") {
            true => page.counter(&name, help, value as f64 / MILLISECONDS as f64),
            false => page.counter(&name, help, value),
        }
    }
    let ended = CLIENT_CAUSE_NAMES.iter().zip(totals.client_causes);
    let help = "Ends of streams and failed attempts of pages, by their beacons.";
    page.counters("fanwheel_client_reconnects", help, "cause", ended);
    let superseded = SUPERSEDED_NAMES.iter().zip(totals.superseded);
    let help = "Events left out for a newer one of their key: once for each slow subscriber, or worker of a \
                throttled topic.";
    page.counters("fanwheel_superseded", help, "reason", superseded);
    let help = "Turns in which a step left work for the next turn, its budget used up.";
    page.counters("fanwheel_budget_exhausted", help, "step", STEP_NAMES.iter().zip(totals.exhausted));
}

fn distributions(page: &mut Exposition, snapshot: &Snapshot) {
    let distributions = &snapshot.distributions;
    page.histogram(
        "fanwheel_delivery_seconds",
        "Time from a publish until the kernel had the event's bytes for one subscriber; replays do not \
         count.",
        &distributions.delivery_each,
        MICROSECONDS,
    );
    page.histogram(
        "fanwheel_delivery_last_seconds",
        "Time from a publish until the kernel had the event's bytes for the last of its live subscribers; \
         those that are behind are not waited for.",
        &distributions.delivery_last,
        MICROSECONDS,
    );
    let help = "Time of a worker's turn, in which everyone else on the worker waits.";
    page.histogram("fanwheel_turn_seconds", help, &distributions.turn, MICROSECONDS);
    let help = "Time for which the lock of topics and publish order was held; publishes and subscribes wait \
                for it.";
    page.histogram("fanwheel_hub_hold_seconds", help, &distributions.hub_hold, MICROSECONDS);
    let help = "Time from the opening of a connection to its end, to 32 ms.";
    page.histogram("fanwheel_connection_duration_seconds", help, &distributions.duration, MILLISECONDS);
    let help = "Events of the history that a subscriber got before it was live.";
    page.histogram("fanwheel_replay_events", help, &distributions.replay, 1);
    let help = "Time from a publish to the listener in a page, by the beacons of pages; in their classes.";
    page.histogram("fanwheel_client_delay_seconds", help, &distributions.client_delay, MICROSECONDS);
}

fn gauges(page: &mut Exposition, snapshot: &Snapshot, watch: &Watch) {
    let (totals, last) = (&snapshot.totals, watch.last());
    let rows: [(&str, &str, u64); 14] = [
        ("connections", "Connections open now.", totals.connections_open),
        (
            "connections_max",
            "Connections held before newcomers are refused.",
            snapshot.connections_max as u64,
        ),
        ("subscribers", "Streams open now.", totals.subscribers_open),
        ("lagging", "Streams whose socket was full and that have not caught up since.", totals.lagging),
        ("lobby_connections", "Connections whose PROXY header has not come yet.", totals.lobby),
        ("bodies_bytes", "Bytes of publish bodies that are being received.", snapshot.bodies_bytes as u64),
        ("idempotency_keys", "Idempotency keys remembered.", snapshot.idempotency_keys as u64),
        ("workers", "Threads that serve connections.", snapshot.workers.len() as u64),
        ("draining", "1 while the server ends its streams.", u64::from(snapshot.draining)),
        ("alerts_firing", "Alerts that fire now.", watch.alerts().firing_count() as u64),
        ("memory_full", "1 while newcomers are refused for memory.", u64::from(snapshot.memory_full)),
        (
            "memory_limit_bytes",
            "Resident bytes above which newcomers are refused.",
            watch.bounds().memory_limit_bytes,
        ),
        (
            "kernel_tcp_bytes",
            "Bytes that the kernel's TCP holds for all sockets of this host.",
            last.host.kernel_tcp_bytes,
        ),
        ("ready", "1 while events pass through every worker in time.", u64::from(last.readiness.ok)),
    ];
    for (name, help, value) in rows {
        page.gauge(&format!("fanwheel_{name}"), help, value);
    }
    let help = "Resident bytes for each connection beyond those of an empty server and of history; 0 while \
                there are fewer than 1 000.";
    page.gauge("fanwheel_connection_bytes", help, watch.bytes_per_connection().unwrap_or(0));
    let help = "Growth of resident memory in a minute that nothing explains which the server is asked to \
                hold; 0 unless it is judged to be a leak.";
    page.gauge("fanwheel_leak_bytes_per_minute", help, watch.leak().bytes_per_minute.round());
    let accepted = watch.count_in_window(Count::Accepted, RateWindow::Minute);
    page.gauge("fanwheel_accepted_per_minute", "Connections accepted in the last minute.", accepted);
    page.gauge("fanwheel_uptime_seconds", "Time since the start.", snapshot.uptime_ms as f64 / 1_000.0);
    page.info(
        "fanwheel_build",
        "Always 1; the version is in the label.",
        "version",
        env!("CARGO_PKG_VERSION"),
    );
}

/// Topics, those that listen to them, and what is kept.
fn hub_gauges(page: &mut Exposition, snapshot: &Snapshot) {
    let rows: [(&str, &str, usize); 7] = [
        ("topics", "Topics that exist.", snapshot.topics),
        ("topics_unpublished", "Topics that only subscribers have named.", snapshot.unpublished_topics),
        ("patterns", "Patterns that streams listen to, or did in the last half minute.", snapshot.patterns),
        (
            "subscriptions",
            "Topics and patterns that streams listen to, each stream's counted.",
            snapshot.subscriptions,
        ),
        ("history_events", "Events kept for returning subscribers.", snapshot.history_events),
        (
            "history_keys",
            "Newest events of keys that are kept although history has let them go.",
            snapshot.history_keys,
        ),
        ("history_bytes", "Bytes of the kept events.", snapshot.history_bytes),
    ];
    for (name, help, value) in rows {
        page.gauge(&format!("fanwheel_{name}"), help, value as u64);
    }
}

fn workers(page: &mut Exposition, snapshot: &Snapshot) {
    type WorkerMetric = (&'static str, &'static str, fn(&WorkerSnapshot) -> SampleValue);
    let numbered = |of: fn(&WorkerSnapshot) -> SampleValue| {
        let rows = snapshot.workers.iter().enumerate();
        rows.map(move |(index, worker)| (index.to_string(), of(worker)))
    };
    let counters: [WorkerMetric; 2] = [
        ("delivered", "Events handed whole to the kernel by a worker.", |worker| worker.delivered.into()),
        ("turns", "Turns of a worker.", |worker| worker.turns.into()),
    ];
    for (name, help, of) in counters {
        page.counters(&format!("fanwheel_worker_{name}"), help, "worker", numbered(of));
    }
    let gauges: [WorkerMetric; 6] = [
        ("connections", "Connections of a worker, of any kind.", |worker| worker.connections.into()),
        ("subscribers", "Streams of a worker.", |worker| worker.subscribers.into()),
        ("files", "Sockets that a worker holds.", |worker| worker.files.into()),
        ("mailbox_events", "Events that wait in a worker's mailbox.", |worker| {
            (worker.mailbox as u64).into()
        }),
        ("window_events", "Events that wait in windows of a worker.", |worker| worker.waiting.into()),
        ("wheel_lag_seconds", "How late a worker is with its timers.", |worker| {
            (worker.wheel_lag_ms as f64 / 1_000.0).into()
        }),
    ];
    for (name, help, of) in gauges {
        page.gauges(&format!("fanwheel_worker_{name}"), help, "worker", numbered(of));
    }
}

fn classes(page: &mut Exposition, snapshot: &Snapshot) {
    type ClassMetric = (&'static str, &'static str, fn(&ClassSnapshot) -> usize);
    let rows = || snapshot.classes.iter();
    let published = rows().map(|class| (&class.name, class.published));
    let help = "Events published to topics of a class, each once.";
    page.counters("fanwheel_class_published", help, "class", published);
    let gauges: [ClassMetric; 4] = [
        ("topics", "Topics of a class.", |class| class.topics),
        ("subscriptions", "Topics of a class that streams listen to, each stream's counted.", |class| {
            class.subscriptions
        }),
        ("history_events", "Events that a class keeps.", |class| class.history_events),
        ("history_bytes", "Bytes of the events that a class keeps.", |class| class.history_bytes),
    ];
    for (name, help, of) in gauges {
        let values = rows().map(|class| (&class.name, of(class) as u64));
        page.gauges(&format!("fanwheel_class_{name}"), help, "class", values);
    }
}

/// Writes the figures of the backplane, which only nodes with one have.
fn add_backplane(page: &mut Exposition, backplane: &BackplaneSnapshot) {
    let help = "1 while the backplane takes events and can be read.";
    page.gauge("fanwheel_backplane_up", help, u64::from(backplane.up));
    let help = "Time of the latest probe from this node through the stream and back.";
    page.gauge("fanwheel_backplane_round_trip_seconds", help, backplane.round_trip_us as f64 / 1_000_000.0);
    let help = "Publishes of this node that the backplane has and that have not come back.";
    page.gauge("fanwheel_backplane_publishes_waiting", help, backplane.publishes_waiting as u64);
    let connects = [("writer", backplane.writer_connects), ("reader", backplane.reader_connects)];
    page.counters("fanwheel_backplane_connects", "Connections made to the backplane.", "link", connects);
    let help = "Entries of the stream that are none of this version's.";
    page.counter("fanwheel_backplane_entries_skipped", help, backplane.entries_skipped);
    let help = "Times that events were gone before this node had read them, and all streams were told a gap.";
    page.counter("fanwheel_backplane_losses", help, backplane.losses);
    let help = "Nodes of the fleet that are alive.";
    page.gauge("fanwheel_backplane_nodes", help, backplane.nodes.len() as u64);
}

/// Writes the process metrics under the names that every Prometheus client library uses.
fn process(page: &mut Exposition, watch: &Watch) {
    let host = &watch.last().host;
    page.counter("process_cpu_seconds", "Processor time of all threads.", host.cpu_seconds);
    page.gauge("process_resident_memory_bytes", "Bytes of this process in memory.", host.resident_bytes);
    page.gauge(
        "process_open_fds",
        "Files in the main thread's table, and the sockets of all workers.",
        host.files_open,
    );
    let started_seconds = watch.bounds().started_ms as f64 / 1_000.0;
    page.gauge("process_start_time_seconds", "When this process started, Unix time.", started_seconds);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::class::{CLASS_NAME_BYTES_MAX, NAMED_CLASSES_MAX};
    use crate::base::counters::{CloseReason, Count, RefusalReason};
    use crate::base::limits::WORKERS_MAX;
    use crate::base::snapshot::HostReading;
    use crate::monitor::watch::{WatchBounds, WatchSample};

    fn snapshot(workers: usize) -> Snapshot {
        let worker = WorkerSnapshot { mailbox: 12, files: 100_000, ..WorkerSnapshot::default() };
        let mut snapshot = Snapshot {
            workers: vec![worker; workers],
            uptime_ms: 61_005,
            draining: true,
            ..Snapshot::default()
        };
        let name = |nth: usize| format!("{nth:n>CLASS_NAME_BYTES_MAX$}").into();
        let class = |nth| ClassSnapshot { name: name(nth), published: 70, ..ClassSnapshot::default() };
        snapshot.classes = (0..workers).map(class).collect();
        snapshot.backplane = Some(BackplaneSnapshot { round_trip_us: 1_500, ..BackplaneSnapshot::default() });
        snapshot.totals.counts[Count::Delivered as usize] = u64::MAX;
        snapshot.totals.counts[Count::LogDropped as usize] = 3;
        snapshot.totals.refused[RefusalReason::Memory as usize] = 5;
        snapshot.totals.closed[CloseReason::SlowStalled as usize] = 7;
        snapshot.totals.subscribers_open = 9;
        snapshot.totals.exhausted[0] = 11;
        snapshot
    }

    fn text(workers: usize, format: MetricsFormat) -> String {
        let mut watch = Watch::new(WatchBounds { started_ms: 1_700_000_000_500, ..WatchBounds::default() });
        let host = HostReading { cpu_seconds: 2.5, resident_bytes: 4_096, ..HostReading::default() };
        watch.push(WatchSample { host, ..WatchSample::default() });
        page(&snapshot(workers), &watch, format)
    }

    #[test]
    fn numbers_stand_under_their_names() {
        let page = text(4, MetricsFormat::Prometheus);
        for expected in [
            "fanwheel_delivered_total 18446744073709551615",
            "fanwheel_log_dropped_total 3",
            "fanwheel_refused_total{reason=\"memory_full\"} 5",
            "fanwheel_closed_total{reason=\"slow_stalled\"} 7",
            "fanwheel_errors_total{class=\"slow\"} 7",
            "fanwheel_budget_exhausted_total{step=\"reads\"} 11",
            "fanwheel_subscribers 9",
            "fanwheel_workers 4",
            "fanwheel_draining 1",
            "fanwheel_memory_full 0",
            "fanwheel_backplane_up 0",
            "fanwheel_backplane_round_trip_seconds 0.0015",
            "fanwheel_backplane_connects_total{link=\"reader\"} 0",
            "fanwheel_ready 1",
            "fanwheel_uptime_seconds 61.005",
            "fanwheel_worker_mailbox_events{worker=\"3\"} 12",
            "process_cpu_seconds_total 2.5",
            "process_start_time_seconds 1700000000.5",
        ] {
            assert!(page.lines().any(|line| line == expected), "{expected}\n{page}");
        }
    }

    /// The grammar of the exposition format, read strictly.
    #[test]
    fn every_line_parses_and_every_metric_is_announced_once() {
        let page = text(2, MetricsFormat::Prometheus);
        let mut announced = BTreeSet::new();
        let mut series = BTreeSet::new();
        assert!(page.ends_with('\n'));
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("name and kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
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
            let parts = ["_bucket", "_sum", "_count"];
            let family = parts.iter().find_map(|part| name.strip_suffix(part));
            assert!(announced.contains(name) || family.is_some_and(|it| announced.contains(it)), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            let label = key.strip_prefix(name).expect("its own prefix");
            let quoted = label.strip_prefix('{').and_then(|label| label.strip_suffix("\"}"));
            assert!(label.is_empty() || quoted.is_some_and(|label| label.contains("=\"")), "{line}");
        }
    }

    #[test]
    fn help_stands_beside_its_name() {
        for (name, word) in [
            ("log_dropped", "Log"),
            ("gaps", "Gap"),
            ("turns", "Turns"),
            ("accepted", "accepted"),
            ("event_sends", "coalescing"),
            ("batches", "Batches"),
            ("lagged", "fell behind"),
            ("replayed", "history"),
            ("wakeups", "slept"),
        ] {
            let index = COUNT_NAMES.iter().position(|count| *count == name).expect("a count");
            assert!(COUNT_HELP[index].contains(word), "{name}: {}", COUNT_HELP[index]);
        }
    }

    #[test]
    fn the_page_is_small_with_as_many_workers_and_classes_as_there_can_be() {
        let classes_bytes = (1 + NAMED_CLASSES_MAX) * 600;
        for format in [MetricsFormat::Prometheus, MetricsFormat::OpenMetrics] {
            let bytes = text(WORKERS_MAX, format).len();
            assert!(bytes < 60_000 + classes_bytes, "{bytes}");
        }
    }
}
