//! The phases of a run: the work of each one, and the meaning of its numbers. The machinery is `run`'s.

use std::time::{Duration, Instant};

use crate::load::plan::PublishPace;
use crate::load::receiver::ReceiverOrder;
use crate::load::report::{DeliveryFigures, IdleFigures, LatencyFigures, OpenFigures, ReturnFigures};
use crate::load::run::{LoadProgress, LoadRun, SAY};
use crate::load::sample::{UsageSample, UsageSpan};

/// The kernel gives memory back a little later than it is given up.
const SETTLE: Duration = Duration::from_millis(200);
/// A client that is busier than this, in per cent, may be the limit itself.
const CLIENT_BUSY: f64 = 90.0;
/// A server that is less busy than this, in per cent of one processor, was not the limit.
const SERVER_BUSY: f64 = 90.0;
/// Subscribers from which on the kernel's growth is theirs: with fewer, that of the whole host is larger.
const KERNEL_SUBSCRIBERS_MIN: u64 = 1_000;
/// Missed events are published so many at a time.
const MISSED_WINDOW: u64 = 16;

impl LoadRun<'_> {
    /// Opens every subscriber and reports the cost of each.
    pub(super) fn open_subscribers(&mut self) {
        let (wanted, start) = (self.plan.subscribers as u64, Instant::now());
        self.send_order(|| ReceiverOrder::Open);
        if !self.wait_until("opening", wanted, |state| state.sum(|cell| &cell.open))
            && !self.state.is_stopped()
        {
            let open = self.state.sum(|cell| &cell.open);
            let patience = self.plan.patience.as_secs();
            let fault = match self.state.opening_fault.get().filter(|_| open == 0) {
                Some(words) => format!("subscribing at {}: {words}", self.plan.subscribe.address),
                None => format!("{open} of {wanted} subscribers open, and no more for {patience} s"),
            };
            self.report.faults.push(fault);
        }
        let seconds = start.elapsed().as_secs_f64();
        std::thread::sleep(SETTLE);
        let span = UsageSample::take(&self.plan).since(&self.before);
        let tally = self.take();
        let open = self.state.sum(|cell| &cell.open);
        // What shrank meanwhile, or is shared by too few, tells nothing of one subscriber.
        let grown = |total: f64, least: u64| (total > 0.0 && open >= least).then(|| total / open as f64);
        self.report.opened = OpenFigures {
            wanted,
            open,
            seconds,
            per_second: open as f64 / seconds,
            latency: LatencyFigures::of(&tally.opening),
            cpu_us_each: span.cpu_us.and_then(|us| grown(us, 1)),
            resident_bytes_each: span.resident_bytes.and_then(|bytes| grown(bytes, 1)),
            kernel_bytes_each: grown(span.kernel_bytes, KERNEL_SUBSCRIBERS_MIN),
        };
    }

    /// Holds all subscribers and publishes nothing.
    pub(super) fn hold_idle(&mut self) {
        let (before, start) = (UsageSample::take(&self.plan), Instant::now());
        let of = self.plan.idle.as_secs();
        while start.elapsed() < self.plan.idle && !self.state.is_stopped() {
            std::thread::sleep(SAY.min(self.plan.idle));
            (self.say)(LoadProgress { part: "idle", done: start.elapsed().as_secs().min(of), of });
        }
        let (tally, after) = (self.take(), UsageSample::take(&self.plan));
        let span = after.since(&before);
        let heartbeats = tally.comments;
        self.report.idled = Some(IdleFigures {
            seconds: span.seconds,
            heartbeats,
            cpu_percent: percent(&span),
            cpu_us_each: span.cpu_us.filter(|_| heartbeats > 0).map(|cpu| cpu / heartbeats as f64),
            resident_bytes: span.cpu_us.map(|_| after.usage.resident_bytes),
        });
    }

    /// Publishes and waits for the last delivery.
    pub(super) fn measure_deliveries(&mut self) {
        let (before, due) = (UsageSample::take(&self.plan), self.due);
        let time = if self.plan.seconds.is_zero() { Duration::MAX } else { self.plan.seconds };
        let published = self.publish_phase("publishing", self.plan.events, time, self.plan.pace);
        if self.refused {
            // Nothing was measured, so there is no figure.
            return;
        }
        self.wait_for_arrivals();
        let span = UsageSample::take(&self.plan).since(&before);
        let tally = self.take();
        let deliveries = tally.deliveries;
        self.report.delivered = Some(DeliveryFigures {
            events: published.accepted,
            requests: published.requests,
            refused: published.refused,
            failed: published.wrong,
            unsent: published.unsent,
            deliveries,
            superseded: tally.superseded,
            expected: self.due - due,
            seconds: span.seconds,
            events_per_second: published.accepted as f64 / span.seconds,
            deliveries_per_second: deliveries as f64 / span.seconds,
            events_per_read: deliveries as f64 / tally.reads.max(1) as f64,
            latency: LatencyFigures::of(&tally.latency),
            to_last: LatencyFigures::of(&tally.to_last),
            answered: LatencyFigures::of(&published.answered),
            late_ms_max: published.late_ns as f64 / 1e6,
            cpu_seconds: span.cpu_us.map(|cpu| cpu / 1e6),
            cpu_us_per_delivery: span.cpu_us.filter(|_| deliveries > 0).map(|cpu| cpu / deliveries as f64),
            cpu_us_per_event: span
                .cpu_us
                .filter(|_| published.accepted > 0)
                .map(|cpu| cpu / published.accepted as f64),
            cpu_percent: percent(&span),
            client_cpu_percent: span.client_percent,
        });
        self.note_limit(&span);
    }

    fn note_limit(&mut self, span: &UsageSpan) {
        let (client, server) = (span.client_percent, percent(span));
        if client > CLIENT_BUSY && server.is_none_or(|server| server < SERVER_BUSY) {
            let server = server.map_or("not measured".to_owned(), |server| format!("{server:.0} % of one"));
            self.report.notes.push(format!(
                "the client was the limit: it used {client:.0} % of its processors, the server {server}"
            ));
        }
    }

    /// Cuts a share, publishes the events that it misses, and lets it come back all at once.
    pub(super) fn measure_return(&mut self) {
        if self.numbers.iter().all(|&number| number == 0) {
            // No subscriber has an id yet with which to resume.
            let events = self.plan.topics as u64;
            self.publish_phase("giving ids", events, Duration::MAX, PublishPace::Window(MISSED_WINDOW));
            self.wait_for_arrivals();
        }
        let open = self.state.sum(|cell| &cell.open);
        self.cut = true;
        self.send_order(|| ReceiverOrder::Cut);
        let stay = self.subscribers_staying();
        self.wait_until("cutting", 1, |state| u64::from(state.sum(|cell| &cell.open) <= stay));
        if self.plan.missed > 0 {
            self.publish_phase(
                "missing",
                self.plan.missed,
                Duration::MAX,
                PublishPace::Window(MISSED_WINDOW),
            );
            self.wait_for_arrivals();
        }
        // The work that follows a cut ends before the return is measured.
        std::thread::sleep(SETTLE);
        self.cut = false;
        let subscribers = open.saturating_sub(stay);
        self.take();
        let before = UsageSample::take(&self.plan);
        let numbers = self.numbers.clone();
        self.send_order(|| ReceiverOrder::Return(numbers.clone()));
        if !self.wait_until("coming back", subscribers, |state| state.sum(|cell| &cell.caught_up)) {
            self.report.faults.push("not every subscriber came back to what it had missed".to_owned());
        }
        let span = UsageSample::take(&self.plan).since(&before);
        let tally = self.take();
        self.report.returned = Some(ReturnFigures {
            subscribers,
            missed: self.plan.missed,
            caught_up: self.state.sum(|cell| &cell.caught_up),
            seconds: span.seconds,
            latency: LatencyFigures::of(&tally.resuming),
            cpu_us_each: span.cpu_us.filter(|_| subscribers > 0).map(|cpu| cpu / subscribers as f64),
        });
    }

    /// Returns the subscribers that a cut leaves open, whether they read or stall.
    fn subscribers_staying(&self) -> u64 {
        let (stalling, reconnecting) = (self.plan.stalling(), self.plan.reconnecting());
        let stays = |index: &u64| stalling.has(*index) || !reconnecting.has(*index);
        (0..self.plan.subscribers as u64).filter(stays).count() as u64
    }
}

/// Returns the share of one processor, in per cent.
fn percent(span: &UsageSpan) -> Option<f64> {
    span.cpu_us.map(|cpu| cpu / span.seconds / 10_000.0)
}
