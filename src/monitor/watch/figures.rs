//! The metrics that alert rules may watch: name, unit, meaning, and the function that reads each from the
//! watch. Knows no rule.

use super::{LeakJudgement, RateWindow, Watch, WindowRates};
use crate::base::counters::Count;
use crate::base::snapshot::WorkerSnapshot;
use crate::monitor::alerts::{AlertMetric, MetricUnit};

struct MetricSource {
    metric: AlertMetric,
    /// Reads the value; none while there is none.
    value: fn(&Watch) -> Option<f64>,
}

const fn metric_source(
    name: &'static str,
    unit: MetricUnit,
    means: &'static str,
    value: fn(&Watch) -> Option<f64>,
) -> MetricSource {
    MetricSource { metric: AlertMetric { name, unit, means }, value }
}

static METRIC_SOURCES: &[MetricSource] = &[
    metric_source("connections_open", MetricUnit::Count, "the number of open connections", |watch| {
        Some(watch.last.snapshot.totals.connections_open as f64)
    }),
    metric_source("connections_share", MetricUnit::Share, "the share of connections_max in use", |watch| {
        share(watch.last.snapshot.totals.connections_open, watch.last.snapshot.connections_max as u64)
    }),
    metric_source("subscribers_open", MetricUnit::Count, "the number of open streams", |watch| {
        Some(watch.last.snapshot.totals.subscribers_open as f64)
    }),
    metric_source("memory_resident_bytes", MetricUnit::Bytes, "resident memory", |watch| {
        Some(watch.last.host.resident_bytes as f64)
    }),
    metric_source("memory_share", MetricUnit::Share, "resident memory as a share of its limit", |watch| {
        share(watch.last.host.resident_bytes, watch.bounds.memory_limit_bytes)
    }),
    metric_source(
        "messages_per_second",
        MetricUnit::PerSecond,
        "the rate of deliveries over a minute",
        |watch| Some(rates_of_minute(watch).deliveries),
    ),
    metric_source(
        "published_per_second",
        MetricUnit::PerSecond,
        "the rate of published events over a minute",
        |watch| Some(rates_of_minute(watch).published),
    ),
    metric_source(
        "delivery_p99_ms",
        MetricUnit::Milliseconds,
        "p99 from publish to each subscriber over a minute",
        |watch| watch.latency_each().map(|latency| latency.p99_ms),
    ),
    metric_source(
        "delivery_last_p99_ms",
        MetricUnit::Milliseconds,
        "p99 from publish to the last subscriber over a minute",
        |watch| watch.latency_last().map(|latency| latency.p99_ms),
    ),
    metric_source("lagging_share", MetricUnit::Share, "the share of subscribers that lag behind", |watch| {
        share(watch.last.snapshot.totals.lagging, watch.last.snapshot.totals.subscribers_open)
    }),
    metric_source("errors_per_second", MetricUnit::PerSecond, "the rate of errors over a minute", |watch| {
        Some(rates_of_minute(watch).errors)
    }),
    metric_source(
        "refused_per_second",
        MetricUnit::PerSecond,
        "the rate of refusals over a minute",
        |watch| Some(rates_of_minute(watch).refused),
    ),
    metric_source(
        "leak_bytes_per_minute",
        MetricUnit::BytesPerMinute,
        "growth of memory that nothing explains",
        |watch| Some(watch.leak().bytes_per_minute),
    ),
    metric_source("ready", MetricUnit::YesNo, "readiness", |watch| {
        Some(f64::from(u8::from(watch.last.readiness.ok)))
    }),
    metric_source("cpu_percent", MetricUnit::Percent, "processor time over a minute", |watch| {
        Some(rates_of_minute(watch).cpu_percent)
    }),
    metric_source(
        "log_dropped",
        MetricUnit::Count,
        "the number of log lines dropped since the start",
        |watch| Some(watch.last.snapshot.totals.counts[Count::LogDropped as usize] as f64),
    ),
    metric_source(
        "accepted_per_second",
        MetricUnit::PerSecond,
        "the rate of new connections over a minute",
        |watch| Some(rates_of_minute(watch).accepted),
    ),
    metric_source(
        "closed_per_second",
        MetricUnit::PerSecond,
        "the rate of connections that end over a minute",
        |watch| Some(rates_of_minute(watch).closed),
    ),
    metric_source(
        "bytes_per_second",
        MetricUnit::PerSecond,
        "the rate of bytes sent over a minute",
        |watch| Some(rates_of_minute(watch).bytes),
    ),
    metric_source("gaps_per_second", MetricUnit::PerSecond, "the rate of gaps told over a minute", |watch| {
        Some(rates_of_minute(watch).gaps)
    }),
    metric_source(
        "skipped_per_second",
        MetricUnit::PerSecond,
        "the rate of slow subscribers moved on over a minute",
        |watch| Some(rates_of_minute(watch).skipped),
    ),
    metric_source(
        "lagged_per_second",
        MetricUnit::PerSecond,
        "the rate at which subscribers fall behind over a minute",
        |watch| Some(rates_of_minute(watch).lagged),
    ),
    metric_source(
        "replayed_per_second",
        MetricUnit::PerSecond,
        "the rate of replayed events over a minute",
        |watch| Some(rates_of_minute(watch).replayed),
    ),
    metric_source("lagging", MetricUnit::Count, "the number of subscribers that lag behind", |watch| {
        Some(watch.last.snapshot.totals.lagging as f64)
    }),
    metric_source("topics", MetricUnit::Count, "the number of topics", |watch| {
        Some(watch.last.snapshot.topics as f64)
    }),
    metric_source(
        "subscriptions",
        MetricUnit::Count,
        "the number of topics that streams listen to, each stream's counted",
        |watch| Some(watch.last.snapshot.subscriptions as f64),
    ),
    metric_source("history_bytes", MetricUnit::Bytes, "the history", |watch| {
        Some(watch.last.snapshot.history_bytes as f64)
    }),
    metric_source("bodies_bytes", MetricUnit::Bytes, "the publish bodies that are being received", |watch| {
        Some(watch.last.snapshot.bodies_bytes as f64)
    }),
    metric_source("idempotency_keys", MetricUnit::Count, "the number of idempotency keys", |watch| {
        Some(watch.last.snapshot.idempotency_keys as f64)
    }),
    metric_source("kernel_tcp_bytes", MetricUnit::Bytes, "the kernel's TCP memory of this host", |watch| {
        Some(watch.last.host.kernel_tcp_bytes as f64)
    }),
    metric_source("connection_bytes", MetricUnit::Bytes, "resident memory for each connection", |watch| {
        watch.bytes_per_connection().map(|bytes| bytes as f64)
    }),
    metric_source("files_open", MetricUnit::Count, "the number of open files", |watch| {
        Some(watch.last.host.files_open as f64)
    }),
    metric_source(
        "worker_files_share",
        MetricUnit::Share,
        "the share of files in use of the worker that has most",
        worker_files_share,
    ),
    metric_source(
        "worker_mailbox_events",
        MetricUnit::Count,
        "the number of events in the fullest mailbox",
        |watch| max_over_workers(watch, |worker| worker.mailbox as u64),
    ),
    metric_source(
        "worker_wheel_lag_ms",
        MetricUnit::Milliseconds,
        "how late the latest worker is with its timers",
        |watch| max_over_workers(watch, |worker| worker.wheel_lag_ms),
    ),
    metric_source("turn_max_ms", MetricUnit::Milliseconds, "the longest turn of a minute", |watch| {
        Some(watch.turn_max_us() as f64 / 1_000.0)
    }),
    metric_source("uptime_seconds", MetricUnit::Count, "the number of seconds since the start", |watch| {
        Some(watch.last.mono_ms as f64 / 1_000.0)
    }),
];

/// Returns all metrics that rules may watch.
pub(crate) fn metrics() -> impl Iterator<Item = &'static AlertMetric> {
    METRIC_SOURCES.iter().map(|figure| &figure.metric)
}

/// Finds the metric of a name.
pub(crate) fn metric_named(name: &str) -> Option<&'static AlertMetric> {
    metrics().find(|metric| metric.name == name)
}

fn rates_of_minute(watch: &Watch) -> WindowRates {
    watch.rates(RateWindow::Minute)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Returns the greatest value of any worker.
fn max_over_workers(watch: &Watch, of: fn(&WorkerSnapshot) -> u64) -> Option<f64> {
    watch.last.snapshot.workers.iter().map(of).max().map(|it| it as f64)
}

fn worker_files_share(watch: &Watch) -> Option<f64> {
    let files_max = watch.bounds.worker_files_max;
    max_over_workers(watch, |worker| worker.files)
        .filter(|_| files_max > 0)
        .map(|files| files / files_max as f64)
}

impl Watch {
    /// Returns the value of a metric; none for an unknown name, and while there is no value.
    pub(crate) fn value(&self, metric: &str) -> Option<f64> {
        let figure = METRIC_SOURCES.iter().find(|figure| figure.metric.name == metric)?;
        (figure.value)(self)
    }

    /// Explains the value of a metric in words, where there is an explanation.
    pub(super) fn explain(&self, metric: &str) -> Option<String> {
        match metric {
            "ready" => self.last.readiness.reason.clone(),
            "leak_bytes_per_minute" => {
                let leak = self.leak();
                (leak.judgement == LeakJudgement::Suspected).then(|| leak.why.clone())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::alerts::DEFAULT_RULES;

    #[test]
    fn default_rules_look_at_metrics_that_exist() {
        for rule in DEFAULT_RULES {
            assert!(metric_named(rule.metric).is_some(), "{}", rule.name);
        }
    }

    #[test]
    fn each_metric_is_in_the_document_for_operators() {
        let document = include_str!("../../../docs/monitoring.md");
        for metric in metrics() {
            assert!(document.contains(&format!("`{}`", metric.name)), "{}", metric.name);
        }
    }
}
