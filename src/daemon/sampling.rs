//! The work of each second in the main thread: reads the node and the host, pushes a sample into the
//! [`Watch`], checks resident memory.
//!
//! The watch is shared with the pages, which any worker may ask for; the lock is held only while a sample is
//! pushed or a page is written.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::backplane::BackplaneView;
use crate::base::counters::Count;
use crate::base::snapshot::{Pages, Snapshot};
use crate::daemon::logging::{self, tail::LogTail};
use crate::daemon::notify::{self, AlertNotifier};
use crate::daemon::reload;
use crate::daemon::running_settings::SettingsInForce;
use crate::daemon::status_stream::StatusStream;
use crate::fanout::node::Node;
use crate::fanout::survey_mail;
use crate::host::memory::{HeapTrim, MemoryLimit};
use crate::host::own_process::ProcessReader;
use crate::monitor;
use crate::monitor::alerts::AlertRule;
use crate::monitor::refusal_lines::RefusalLines;
use crate::monitor::summary::MinuteSummary;
use crate::monitor::watch::{Watch, WatchBounds, WatchSample};
use crate::reactor::{Clock, Wakers};
use crate::sys::process;

/// Shortest pause, milliseconds, between two counts of connections by address while somebody looks. It is as
/// many milliseconds as there are connections, so that asking the kernel about each costs some 0.1 % of a
/// processor, however many there are.
const ADDRESS_SURVEY_MS_MIN: u64 = 5_000;
/// Longest such pause, milliseconds, so that the figures are never old.
const ADDRESS_SURVEY_MS_MAX: u64 = 60_000;

/// The interval between two samples.
const SAMPLE_MS: u64 = 1_000;
/// Samples between two lines of summary.
const SUMMARY_SAMPLES: u64 = 60;

/// The watch, as the pages and the main thread share it.
#[derive(Clone, Debug)]
pub(crate) struct SharedWatch {
    watch: Arc<Mutex<Watch>>,
    /// Whether `/status` was read since addresses were last counted. Counting asks the kernel about each
    /// connection, so it waits for a reader.
    status_was_read: Arc<AtomicBool>,
    /// Set once, when the node has joined its fleet.
    backplane: Arc<OnceLock<BackplaneView>>,
}

impl SharedWatch {
    /// Makes a watch without samples.
    pub(crate) fn new(bounds: WatchBounds) -> SharedWatch {
        SharedWatch {
            watch: Arc::new(Mutex::new(Watch::new(bounds))),
            status_was_read: Arc::default(),
            backplane: Arc::default(),
        }
    }

    /// Shows a backplane on all pages from now on.
    pub(crate) fn show_backplane(&self, backplane: BackplaneView) {
        self.backplane.get_or_init(|| backplane);
    }

    /// Adds the figures that belong to the process and not to a worker: those of the log, of alerts and of
    /// the backplane.
    fn complete(&self, mut snapshot: Snapshot) -> Snapshot {
        let counts = &mut snapshot.totals.counts;
        counts[Count::LogDropped as usize] += logging::lines_dropped();
        counts[Count::AlertsSent as usize] += notify::messages_sent();
        counts[Count::AlertsFailed as usize] += notify::messages_failed();
        counts[Count::ReloadsRefused as usize] += reload::reloads_refused();
        snapshot.backplane = self.backplane.get().map(BackplaneView::snapshot);
        snapshot
    }

    /// Locks the watch; hold it briefly.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().expect("a panic ends the process, so the lock is never poisoned")
    }

    /// Notes that the state was read.
    pub(crate) fn note_status_reader(&self) {
        self.status_was_read.store(true, Relaxed);
    }

    /// Returns all pages: those that read the watch, and the others.
    pub(crate) fn pages(&self, settings: SettingsInForce, log_tail: LogTail) -> Pages {
        let (metrics, status) = (self.clone(), self.clone());
        Pages {
            metrics: Box::new(move |snapshot, format| {
                monitor::metrics::page(&metrics.complete(snapshot.clone()), &metrics.lock(), format)
            }),
            status: Box::new(move |snapshot, query| {
                status.note_status_reader();
                monitor::status::page(&status.complete(snapshot.clone()), &status.lock(), query)
            }),
            settings: Box::new(move || settings.current().page()),
            log: Box::new(move || log_tail.page()),
            topics: Box::new(monitor::listing::topics),
            connections: Box::new(monitor::listing::connections),
            asset: monitor::dashboard::asset,
            client_library: monitor::dashboard::client_library,
        }
    }
}

/// Takes the samples of the main thread.
pub(crate) struct HostSampler {
    node: Arc<Node>,
    clock: Clock,
    wakers: Wakers,
    next_address_survey: Instant,
    shared: SharedWatch,
    process_reader: ProcessReader,
    memory_limit: MemoryLimit,
    heap_trim: HeapTrim,
    summary: MinuteSummary,
    refusal_lines: RefusalLines,
    status_stream: StatusStream,
    samples: u64,
    notifier: AlertNotifier,
    next: Instant,
}

impl HostSampler {
    /// Makes a sampler without alerts, whose first sample is due at once.
    pub(crate) fn new(
        node: Arc<Node>,
        clock: Clock,
        wakers: Wakers,
        shared: SharedWatch,
        memory_limit: MemoryLimit,
    ) -> HostSampler {
        let (reader, now) = (ProcessReader::real(node.workers()), Instant::now());
        HostSampler {
            status_stream: StatusStream::new(Arc::clone(&node), wakers.clone()),
            node,
            clock,
            wakers,
            next_address_survey: now,
            shared,
            process_reader: reader,
            memory_limit,
            heap_trim: HeapTrim::default(),
            summary: MinuteSummary::default(),
            refusal_lines: RefusalLines::default(),
            samples: 0,
            notifier: AlertNotifier::default(),
            next: now,
        }
    }

    /// Replaces the alert rules, and the destinations if there are new ones. Messages that wait for old
    /// destinations are still sent.
    pub(crate) fn replace_alerts(&mut self, rules: &[AlertRule], notifier: Option<AlertNotifier>) {
        if let Some(notifier) = notifier {
            self.notifier = notifier;
        }
        let notices = self.shared.lock().replace_rules(rules.to_vec(), self.clock.now());
        self.notifier.send_notices(&notices);
    }

    /// Takes a sample if a second has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        self.next = next_sample_at(self.next, now);
        self.survey_addresses_if_read(now);
        let time = self.clock.now();
        let snapshot = self.shared.complete(self.node.snapshot(time.mono_ms));
        let host = self.process_reader.read(snapshot.workers.iter().map(|worker| worker.files).sum());
        self.check_memory(host.resident_bytes);
        for line in self.refusal_lines.lines(&snapshot.totals) {
            info!("{line}");
        }
        let draining = snapshot.draining;
        let sample = WatchSample {
            wall_ms: time.wall_ms,
            mono_ms: time.mono_ms,
            snapshot,
            peaks: self.node.take_peaks(),
            host,
            readiness: self.node.readiness(time.mono_ms),
        };
        let mut watch = self.shared.lock();
        watch.push(sample);
        self.samples += 1;
        let line = self.samples.is_multiple_of(SUMMARY_SAMPLES).then(|| self.summary.line(&watch)).flatten();
        // While the server drains, the conditions that alerts watch for are normal.
        let notices = if draining { Vec::new() } else { watch.evaluate_alerts(time) };
        drop(watch);
        self.notifier.send_notices(&notices);
        if let Some(line) = line {
            info!("{line}");
        }
        self.status_stream.publish_status(&self.shared, time);
    }

    /// Counts connections by address while `/status` is read. Old counts are dropped rather than shown as
    /// new; the next reader waits a second for fresh ones.
    fn survey_addresses_if_read(&mut self, now: Instant) {
        let Some(overdue) = now.checked_duration_since(self.next_address_survey) else { return };
        if self.shared.status_was_read.swap(false, Relaxed) {
            let connections = self.node.totals().connections_open;
            let pause_ms = connections.clamp(ADDRESS_SURVEY_MS_MIN, ADDRESS_SURVEY_MS_MAX);
            self.next_address_survey = now + Duration::from_millis(pause_ms);
            self.wakers.wake(survey_mail::count_addresses(&self.node));
        } else if overdue >= Duration::from_millis(ADDRESS_SURVEY_MS_MAX) {
            self.node.forget_addresses();
        }
    }

    fn check_memory(&mut self, resident_bytes: u64) {
        if self.heap_trim.take_reading(self.node.live_bytes()) {
            process::give_memory_back();
        }
        if let Some(full) = self.memory_limit.take_reading(resident_bytes) {
            self.node.set_memory_full(full);
            let limit = self.memory_limit.limit_bytes();
            warn!("event=memory full={full} resident_bytes={resident_bytes} limit_bytes={limit}");
        }
    }
}

/// Returns when the next sample is due. A sample that comes a whole period late does not make up for missed
/// ones: two samples a moment apart would give enormous rates.
fn next_sample_at(due: Instant, now: Instant) -> Instant {
    let period = Duration::from_millis(SAMPLE_MS);
    let next = due + period;
    if next > now { next } else { now + period }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_keep_their_rhythm_and_two_never_come_together() {
        let due = Instant::now();
        let after = |late_ms| next_sample_at(due, due + Duration::from_millis(late_ms)) - due;
        let rows = [(0, 1_000), (300, 1_000), (999, 1_000), (1_000, 2_000), (9_000, 10_000)];
        for (late_ms, expected_ms) in rows {
            assert_eq!(after(late_ms), Duration::from_millis(expected_ms), "{late_ms} ms late");
        }
    }
}
