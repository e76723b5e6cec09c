//! A run from its first connection to its report: starts the threads, gives the orders, takes the samples.
//!
//! Phases, in order: open · idle · stall · warm up · measure · cut and come back · judge. An interrupted run
//! reports the phases that were done.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver as Inbox, Sender, bounded, unbounded};
use mio::{Poll, Waker};

use crate::host::processes;
use crate::load::check;
use crate::load::histogram::LatencyHistogram;
use crate::load::plan::{LoadFault, LoadPlan, PublishPace};
use crate::load::publisher::{LoadPublisher, PublishPhase, PublishPhaseOutcome};
use crate::load::receiver::{LastNumbers, LoadReceiver, ReceiverOrder, ReceiverShare, WAKER};
use crate::load::report::{LatencyFigures, LoadReport};
use crate::load::run_state::RunState;
use crate::load::sample::UsageSample;
use crate::load::tally::ReceiverTally;
use crate::load::topic_spread::TopicSpread;
use crate::sys::process;

/// Longest wait for the counts of a receiver: it may be in the middle of a turn on a processor that has
/// others to serve.
const LOAD_COUNTS_TIMEOUT: Duration = Duration::from_secs(10);

/// The interval between two checks of a phase's progress.
const LOOK: Duration = Duration::from_millis(2);
/// The interval between two reports of progress.
pub(super) const SAY: Duration = Duration::from_millis(250);

/// The progress of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadProgress {
    /// The name of the phase.
    pub(crate) part: &'static str,
    /// The amount that is done.
    pub(crate) done: u64,
    /// The amount to do; `u64::MAX` when it is open.
    pub(crate) of: u64,
}

/// Returns the deliveries due for events published since `before`.
fn deliveries_due(numbers: &[u32], before: &[u32], audience: &[u32]) -> u64 {
    let news = |(at, &number): (usize, &u32)| {
        let new = number - before[at];
        u64::from(new) * u64::from(audience[at % audience.len()])
    };
    numbers.iter().enumerate().map(news).sum()
}

struct ReceiverThread {
    orders: Sender<ReceiverOrder>,
    waker: Arc<Waker>,
    thread: JoinHandle<std::io::Result<()>>,
}

/// A run under way.
pub(super) struct LoadRun<'a> {
    pub(super) plan: Arc<LoadPlan>,
    pub(super) state: Arc<RunState>,
    receivers: Vec<ReceiverThread>,
    parts: Sender<PublishPhase>,
    publishing: JoinHandle<std::io::Result<()>>,
    pub(super) say: &'a mut dyn FnMut(LoadProgress),
    said: Instant,
    /// The sample from before anything was opened.
    pub(super) before: UsageSample,
    /// The last numbers published.
    pub(super) numbers: LastNumbers,
    /// Deliveries due so far.
    pub(super) due: u64,
    /// Whether the share that reconnects is cut.
    pub(super) cut: bool,
    /// Whether the server refused to publish for good, so that nothing more is due.
    pub(super) refused: bool,
    /// Time from the end of each stream to the next, over all phases.
    away: LatencyHistogram,
    pub(super) report: LoadReport,
}

/// Runs the load of a plan.
///
/// # Errors
/// Before anything is opened, when this host cannot do it.
pub(crate) fn run_load(
    plan: LoadPlan,
    stop: Arc<AtomicBool>,
    say: &mut dyn FnMut(LoadProgress),
) -> Result<LoadReport, LoadFault> {
    let files = check::raise_file_limit(&plan)?;
    let threads = check::check_host(&plan, files)?;
    let numbers = Arc::new(vec![0; plan.publishers * plan.topics]);
    let plan = Arc::new(plan);
    let system = |what: &'static str| move |os: std::io::Error| LoadFault::System(what, os);
    let poll = Poll::new().map_err(system("cannot make a poll"))?;
    let waker = Waker::new(poll.registry(), WAKER).map_err(system("cannot make a waker"))?;
    let state = Arc::new(RunState::new(threads, waker, stop));
    let (parts, orders) = unbounded();
    let publisher = LoadPublisher::new(plan.clone(), state.clone(), poll, orders);
    let before = UsageSample::take(&plan);
    let receivers = start_receivers(&plan, &state, threads)?;
    let publishing = std::thread::Builder::new()
        .name("publisher".to_owned())
        .spawn(move || publisher.run())
        .map_err(system("cannot start a thread"))?;
    let mut run = LoadRun {
        plan,
        state,
        receivers,
        parts,
        publishing,
        say,
        said: Instant::now(),
        before,
        numbers,
        due: 0,
        cut: false,
        refused: false,
        away: LatencyHistogram::default(),
        report: LoadReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: processes::kernel_release(),
            ..LoadReport::default()
        },
    };
    run.run_phases();
    Ok(run.finish())
}

/// Starts the receivers. Every poll and waker is made before the first thread parts with the common files.
fn start_receivers(
    plan: &Arc<LoadPlan>,
    state: &Arc<RunState>,
    threads: usize,
) -> Result<Vec<ReceiverThread>, LoadFault> {
    let mut prepared = Vec::new();
    let mut first = 0;
    for index in 0..threads {
        let count = plan.subscribers / threads + usize::from(index < plan.subscribers % threads);
        let poll = Poll::new().map_err(|os| LoadFault::System("cannot make a poll", os))?;
        let waker =
            Waker::new(poll.registry(), WAKER).map_err(|os| LoadFault::System("cannot make a waker", os))?;
        let (orders, inbox) = unbounded();
        prepared.push((
            LoadReceiver::new(
                plan.clone(),
                state.clone(),
                ReceiverShare { index, first, count },
                poll,
                inbox,
            ),
            orders,
            Arc::new(waker),
        ));
        first += count as u64;
    }
    let start = |(receiver, orders, waker): (LoadReceiver, Sender<ReceiverOrder>, Arc<Waker>)| {
        let work = move || {
            process::unshare_files()?;
            receiver.run()
        };
        let thread = std::thread::Builder::new().name("receiver".to_owned()).spawn(work);
        let thread = thread.map_err(|os| LoadFault::System("cannot start a thread", os))?;
        Ok(ReceiverThread { orders, waker, thread })
    };
    prepared.into_iter().map(start).collect()
}

impl LoadRun<'_> {
    fn run_phases(&mut self) {
        self.open_subscribers();
        let whole = self.report.opened.open == self.report.opened.wanted;
        if whole && !self.plan.idle.is_zero() {
            self.hold_idle();
        }
        if whole && self.plan.stall_percent > 0.0 {
            self.send_order(|| ReceiverOrder::Stall);
        }
        if whole && (self.plan.events > 0 || !self.plan.seconds.is_zero()) {
            if self.plan.warm_up > 0 {
                self.publish_phase("warming up", self.plan.warm_up, Duration::MAX, self.plan.pace);
                self.wait_for_arrivals();
                self.take();
            }
            if !self.refused {
                self.measure_deliveries();
            }
        }
        if whole && !self.refused && self.plan.reconnect_percent > 0.0 {
            self.measure_return();
        }
    }

    pub(super) fn send_order(&self, order: impl Fn() -> ReceiverOrder) {
        for receiver in &self.receivers {
            // A receiver that is gone is told of at the end.
            let _ = receiver.orders.send(order());
            let _ = receiver.waker.wake();
        }
    }

    /// Waits until `reached` says so; false when there was no progress for too long, or an interruption.
    pub(super) fn wait_until(
        &mut self,
        part: &'static str,
        of: u64,
        reached: impl Fn(&RunState) -> u64,
    ) -> bool {
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            let done = reached(&self.state);
            if self.said.elapsed() > SAY || done >= of {
                self.said = Instant::now();
                (self.say)(LoadProgress { part, done: done.min(of), of });
            }
            if done >= of {
                return true;
            }
            if done != last {
                (last, moved) = (done, Instant::now());
            }
            let vain = done == 0 && self.state.opening_fault.get().is_some();
            if moved.elapsed() > self.plan.patience || self.state.is_stopped() || self.refused || vain {
                return false;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Publishes the events of a phase; the last ones are still on their way when this returns.
    pub(super) fn publish_phase(
        &mut self,
        part: &'static str,
        events: u64,
        time: Duration,
        pace: PublishPace,
    ) -> PublishPhaseOutcome {
        let (to, done) = bounded(1);
        let events = if events == 0 { u64::MAX } else { events };
        let audience = Arc::new(self.audience());
        let _ = self.parts.send(PublishPhase { events, time, pace, audience: audience.clone(), done: to });
        self.state.wake_publisher();
        let start = Instant::now();
        loop {
            match done.recv_timeout(SAY) {
                Ok(published) => {
                    self.refused |= published.refused_for_good;
                    if !self.refused {
                        self.due += deliveries_due(&published.numbers, &self.numbers, &audience);
                        self.numbers = published.numbers.clone();
                    }
                    let excused = self.plan.through_restarts && !published.refused_for_good;
                    if let Some(words) = published.wrong_words.as_ref().filter(|_| !excused) {
                        let to = self.plan.publishing().address;
                        self.report.faults.push(format!("publishing to {to}: {words}"));
                    }
                    return published;
                }
                Err(error) if error.is_disconnected() => return PublishPhaseOutcome::default(),
                Err(_) if time < Duration::MAX => {
                    let (done, of) = (start.elapsed().as_secs(), time.as_secs());
                    (self.say)(LoadProgress { part, done: done.min(of), of });
                }
                Err(_) => {
                    let done = self.state.in_flight.complete_events().min(events);
                    (self.say)(LoadProgress { part, done, of: events });
                }
            }
        }
    }

    /// Returns the subscribers of each topic that read now.
    fn audience(&self) -> Vec<u32> {
        let spread = TopicSpread::new(self.plan.topics, self.plan.shape);
        let (stalling, reconnecting) = (self.plan.stalling(), self.plan.reconnecting());
        let mut audience = vec![0; self.plan.topics];
        for index in 0..self.plan.subscribers as u64 {
            let stalled = stalling.has(index);
            let cut = self.cut && reconnecting.has(index);
            audience[spread.topic(index, self.plan.seed)] += u32::from(!stalled && !cut);
        }
        audience
    }

    /// Waits until everything published has arrived.
    pub(super) fn wait_for_arrivals(&mut self) {
        let due = self.due;
        self.wait_until("arriving", due, |state| state.sum(|cell| &cell.deliveries));
    }

    /// Takes the counts of all receivers since the last time, and adds their losses to the report.
    pub(super) fn take(&mut self) -> ReceiverTally {
        let (to, tallies) = unbounded();
        self.send_order(|| ReceiverOrder::Take(to.clone()));
        self.collect(to, &tallies)
    }

    fn collect(&mut self, to: Sender<ReceiverTally>, tallies: &Inbox<ReceiverTally>) -> ReceiverTally {
        drop(to);
        let mut sum = ReceiverTally::default();
        for _ in &self.receivers {
            // A receiver that is gone answers nothing, and is told of at the end.
            if let Ok(tally) = tallies.recv_timeout(LOAD_COUNTS_TIMEOUT) {
                sum.add(&tally);
            }
        }
        self.report.losses.add(&sum.losses);
        self.away.merge(&sum.away);
        sum
    }

    /// Counts the events that never arrived, and ends the threads.
    fn finish(mut self) -> LoadReport {
        let (to, tallies) = unbounded();
        let numbers = self.numbers.clone();
        self.send_order(|| ReceiverOrder::Judge(numbers.clone(), to.clone()));
        self.collect(to, &tallies);
        self.report.interrupted = self.state.is_stopped();
        self.report.away = LatencyFigures::of(&self.away);
        self.report.through_restarts = self.plan.through_restarts;
        let LoadRun { receivers, parts, publishing, mut report, .. } = self;
        drop(parts);
        let mut threads = vec![publishing];
        for ReceiverThread { orders, waker, thread } in receivers {
            drop(orders);
            let _ = waker.wake();
            threads.push(thread);
        }
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(os)) => report.faults.push(format!("a thread of the load ended: {os}")),
                Err(_) => report.faults.push("a thread of the load broke".to_owned()),
            }
        }
        report
    }
}
