//! One worker's thread: waits, tells the core of readinesses, lets it take a turn, takes newcomers in.
//!
//! Owns the poll, the sockets and the listeners of its thread; holds no decision that is not about waiting.
//! Existing connections come before newcomers, and a turn is never longer than the core's budgets allow, so
//! the loop has none of its own but the one on accepting.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::Sender;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::base::counters::Count;
use crate::base::time::Now;
use crate::fanout::node::Node;
use crate::fanout::worker::{self as core, PollReadiness, TurnOutcome};
use crate::reactor::accept::{
    ACCEPTS_BESIDE_ROUNDS, ACCEPTS_PER_TURN, AcceptTurn, Newcomer, WorkerListeners,
};
use crate::reactor::clock::Clock;
use crate::reactor::io::Sockets;
use crate::reactor::notices::WorkerNotice;
use crate::reactor::reserve;
use crate::reactor::trace_lines;

/// Most readinesses taken from the kernel at once: all are noted before anything else of a turn.
const READINESSES_PER_WAIT_MAX: usize = 16_384;

/// The waker's token. The core never gives this one, nor those of the listeners, just below.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The first listener's token.
pub(crate) const FIRST_LISTENER: usize = usize::MAX - 1_024;
/// Readinesses taken from the kernel at once, at first; doubled whenever there were as many.
const EVENTS_MIN: usize = 256;
/// Pause after a wait that failed for no known reason, so that a failing kernel isn't asked in a circle.
const FAILED_WAIT: Duration = Duration::from_millis(10);

/// A wait that took as long as this is followed by another look, which costs a microsecond.
const OLD_LOOK_US: u64 = 100_000;

/// All of a worker that lives in its thread.
#[derive(Debug)]
pub(crate) struct WorkerShell {
    /// Index of the worker.
    pub(crate) index: usize,
    /// Other workers wait for this one's processor.
    pub(crate) crowded: bool,
    /// The shared state of the node, for this worker's counters.
    pub(crate) node: Arc<Node>,
    /// The part that decides.
    pub(crate) core: core::Worker,
    /// The epoll of the thread.
    pub(crate) poll: Poll,
    /// Sockets of its connections.
    pub(crate) sockets: Sockets,
    /// Listeners of this worker.
    pub(crate) listeners: WorkerListeners,
    /// Clock that all workers share.
    pub(crate) clock: Clock,
    /// To the main thread.
    pub(crate) notices: Sender<WorkerNotice>,
}

impl WorkerShell {
    /// Runs until the core has finished.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MIN);
        let mut events_max = EVENTS_MIN;
        let mut wait_ms = Some(0);
        let mut drain_told = false;
        let mut ended_us = self.clock.mono_us();
        loop {
            if self.crowded && wait_ms == Some(0) {
                // Or a client of another worker waits for the kernel's ticks to pass the processor on.
                std::thread::yield_now();
            }
            let (ready, now) = self.wait_for_events(&mut events, wait_ms, ended_us);
            self.core.set_tracing(log::log_enabled!(log::Level::Debug));
            let turn = self.core.turn(&mut self.sockets, now);
            if turn.drain_requested && !drain_told {
                drain_told = true;
                // A main thread that listens no more is on its way out.
                let _ = self.notices.send(WorkerNotice::DrainRequested);
            }
            if turn.finished {
                return self.end(now);
            }
            wait_ms = self.accept_newcomers(now, &turn);
            ended_us = self.count_turn(now);
            self.log_traces();
            if ready == events_max && events_max < READINESSES_PER_WAIT_MAX {
                events_max *= 2;
                events = Events::with_capacity(events_max);
            }
        }
    }

    /// Answers newcomers that nobody will take in, and writes the last lines.
    fn end(&mut self, now: Now) {
        let WorkerShell { core, poll, sockets, listeners, .. } = self;
        let registry = poll.registry();
        listeners.refuse_last(|newcomer| {
            admit_newcomer(core, sockets, registry, now, newcomer);
            sockets.open_count()
        });
        self.log_traces();
    }

    fn log_traces(&mut self) {
        for trace in self.core.take_traces() {
            log::debug!("{}", trace_lines::format_trace(&trace));
        }
        for forgotten in self.core.take_forgotten() {
            log::info!("{}", trace_lines::format_forgotten(&forgotten));
        }
    }

    /// Counts the turn that began then; returns when it ended.
    fn count_turn(&self, began: Now) -> u64 {
        let ended_us = self.clock.mono_us();
        let counters = self.node.counters(self.index);
        counters.turn.add(ended_us.saturating_sub(began.mono_us), 1);
        counters.files.store(self.sockets.open_count() as u64, Relaxed);
        ended_us
    }

    /// Waits for up to `wait_ms`, without end if there is none, when the last turn ended at `begun_us`.
    /// Returns how many were ready at once, and when that was so. A process that is stopped mostly stands
    /// still on its way out of the wait: readinesses are old then, and timers would find that peers
    /// have done nothing for all that time.
    fn wait_for_events(&mut self, events: &mut Events, wait_ms: Option<u64>, begun_us: u64) -> (usize, Now) {
        let (mut ready, mut wait_ms, mut begun_us) = (0, wait_ms, begun_us);
        loop {
            ready = ready.max(self.poll_once(events, wait_ms));
            let now = self.clock.now();
            if now.mono_us - begun_us < OLD_LOOK_US {
                return (ready, now);
            }
            (wait_ms, begun_us) = (Some(0), now.mono_us);
        }
    }

    /// Waits once; tells the core and the listeners of readinesses.
    fn poll_once(&mut self, events: &mut Events, wait_ms: Option<u64>) -> usize {
        // Between the announcement and the wait others wake this worker with a write that the wait sees.
        let may_block = wait_ms != Some(0) && self.core.fall_asleep();
        let timeout = if may_block { wait_ms.map(Duration::from_millis) } else { Some(Duration::ZERO) };
        let result = self.poll.poll(events, timeout);
        self.core.wake_up();
        if may_block {
            self.core.counters().count(Count::Wakeups);
        }
        match result {
            Ok(()) => {}
            // A failed wait leaves no events behind.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return 0,
            Err(error) => {
                log::error!("event=epoll_wait_failed worker={} error=\"{error}\"", self.index);
                std::thread::sleep(FAILED_WAIT);
                return 0;
            }
        }
        let mut ready = 0;
        for event in &*events {
            ready += 1;
            match event.token() {
                WAKER => {}
                token if token.0 >= FIRST_LISTENER => self.listeners.mark_pending(token),
                token => self.core.note_readiness(core::ConnToken(token.0 as u64), readiness_of(event)),
            }
        }
        ready
    }

    /// Takes newcomers in if the core wants any; returns how long the next wait may be.
    fn accept_newcomers(&mut self, now: Now, turn: &TurnOutcome) -> Option<u64> {
        let WorkerShell { core, poll, sockets, listeners, node, index, .. } = self;
        let (registry, counters) = (poll.registry(), node.counters(*index));
        let mut admitted = false;
        let accept_due = if turn.listening {
            let accepts_max = if turn.rounds_left { ACCEPTS_BESIDE_ROUNDS } else { ACCEPTS_PER_TURN };
            let open = sockets.open_count();
            let accept = AcceptTurn { now_ms: now.mono_ms, registry, counters, open, accepts_max };
            listeners.accept_newcomers(accept, |newcomer| {
                admitted |= admit_newcomer(core, sockets, registry, now, newcomer);
                sockets.open_count()
            })
        } else {
            None
        };
        let wanted = listeners.eviction_wanted(sockets.open_count());
        let eviction_due = wanted.and_then(|wanted| core.evict_idle(sockets, now, wanted));
        // The core reads a newcomer in its next turn without waiting for a readiness.
        if turn.more || admitted {
            return Some(0);
        }
        [turn.due_in_ms, accept_due, eviction_due].into_iter().flatten().min()
    }
}

/// Gives a newcomer its slot, or refuses it; tells which.
fn admit_newcomer(
    core: &mut core::Worker,
    sockets: &mut Sockets,
    registry: &Registry,
    now: Now,
    Newcomer { listener, socket, peer, is_welcome }: Newcomer,
) -> bool {
    let token = if is_welcome { core.open(now, listener, peer) } else { None };
    let Some(token) = token else {
        if !is_welcome {
            core.count_turned_away();
        }
        reserve::answer_and_close(socket, &core.refuse_newcomer(now, listener));
        return false;
    };
    let both = Interest::READABLE | Interest::WRITABLE;
    match registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(token.0 as usize), both) {
        Ok(()) => {
            sockets.insert(token.slot(), socket);
            true
        }
        Err(error) => {
            log::debug!("event=register_refused error=\"{error}\"");
            core.register_failed(token);
            false
        }
    }
}

fn readiness_of(event: &Event) -> PollReadiness {
    PollReadiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        ended: event.is_read_closed() || event.is_write_closed() || event.is_error(),
    }
}
