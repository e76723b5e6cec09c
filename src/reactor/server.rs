//! Starts the workers in step and hands out the calls by which the program reaches them.

use crate::base::address::ListenAddress;
use crate::base::listener::ListenerKind;
use crate::base::settings::{SendBackend, Settings};
use crate::fanout::mail::{ControlMessage, MailboxReceiver};
use crate::fanout::node::Node;
use crate::fanout::worker as core;
use crate::reactor::accept::{ListenerSetup, ListeningWorkers, WorkerListeners};
use crate::reactor::clock::{Clock, hold_clock_us};
use crate::reactor::error::StartError;
use crate::reactor::files::Capacity;
use crate::reactor::inherited::InheritedSocket;
use crate::reactor::io::Sockets;
use crate::reactor::listeners::{self, AddressReservation, ListenerSource, SocketOptions, WantedListener};
use crate::reactor::notices::{Wakers, WorkerNotice};
use crate::reactor::worker::{self, WorkerShell};
use crate::sys::process;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use mio::unix::SourceFd;
use mio::{Interest, Poll};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Arguments of [`start`].
#[derive(Debug)]
pub struct ServerLaunch<'a> {
    /// The effective settings of the server.
    pub settings: &'a Settings,
    /// Listening sockets that were passed at the start; the addresses they serve are not bound again.
    pub inherited: Vec<InheritedSocket>,
    /// From [`super::capacity`], with the same settings and as many inherited sockets.
    pub capacity: Capacity,
    /// Made for `capacity.workers` workers and `capacity.connections_max` connections.
    pub node: Arc<Node>,
    /// One for each worker, as `Node::new` returned them.
    pub inboxes: Vec<MailboxReceiver>,
    /// Seeds the workers' jitter.
    pub seed: u64,
}

/// An address on which the server listens, with the port it really got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundAddress {
    /// Kind of the listener.
    pub listener: ListenerKind,
    /// Address on which it listens.
    pub address: ListenAddress,
}

/// Processor time that a worker gets at once when others wait for it: about one batch of sends, so also the
/// time that a worker loses by giving way after a turn. The kernel looks only at its ticks, 4 ms apart or
/// more.
const TIME_SLICE: Duration = Duration::from_micros(1_000);

/// A running server. Dropping it does not stop it: post a control message, then [`Server::join`].
#[derive(Debug)]
pub struct Server {
    node: Arc<Node>,
    wakers: Wakers,
    bound: Vec<BoundAddress>,
    notices: Receiver<WorkerNotice>,
    clock: Clock,
    threads: Vec<JoinHandle<()>>,
    held: Vec<AddressReservation>,
}

/// Message of a worker while the server starts: that it listens, or why it does not.
type StartReport = Result<(), StartFault>;

/// A worker's reason; which wanted listener it means is a number here.
enum StartFault {
    Listener(usize, io::Error),
    Other(StartError),
}

/// Everything that a worker's thread starts with.
struct WorkerSetup {
    inbox: MailboxReceiver,
    seed: u64,
    private: bool,
    crowded: bool,
    backend: SendBackend,
    listeners: ListenerSetup,
    wakers: Wakers,
    clock: Clock,
    node: Arc<Node>,
    notices: Sender<WorkerNotice>,
    sources: Arc<[(ListenerKind, ListenerSource)]>,
    reports: Sender<StartReport>,
    go: Receiver<()>,
}

/// The threads of a server that starts.
struct StartingWorkers {
    threads: Vec<JoinHandle<()>>,
    /// Closed when the start has failed.
    go: Vec<Sender<()>>,
    reports: Receiver<StartReport>,
}

/// Takes all addresses, starts all workers and returns when each is listening.
///
/// Addresses and wakers are taken before the workers have file tables of their own, since all need them;
/// everything else after, so that closing it in its thread really closes it.
///
/// # Errors
/// The first cause; by then every thread has ended and every address is free.
pub fn start(launch: ServerLaunch<'_>) -> Result<Server, StartError> {
    let ServerLaunch { settings, inherited, capacity, node, inboxes, seed } = launch;
    assert_eq!(inboxes.len(), capacity.workers, "the node was made for this capacity");
    let options = SocketOptions::new(settings);
    let (wanted, held) = take_addresses(settings, inherited, options)?;
    let sources = wanted.iter().zip(&held).map(|(wanted, held)| (wanted.listener, held.listener_source()));
    let sources: Arc<[_]> = sources.collect();
    let wakers = Wakers::new(capacity.workers).map_err(|os| StartError::Os { call: "eventfd", os })?;
    let clock = Clock::start();
    node.hub.measure_holds(hold_clock_us);
    let processors = pinned_processors(settings);
    let (notices_to, notices) = unbounded();
    let (reports_to, reports) = unbounded();
    let mut starting = StartingWorkers { threads: Vec::new(), go: Vec::new(), reports };
    let listening = Arc::new(ListeningWorkers::all(capacity.workers));
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let (go_to, go) = bounded(1);
        let setup = WorkerSetup {
            inbox,
            seed: seed.wrapping_add(index as u64),
            private: capacity.private_tables,
            crowded: capacity.crowded,
            backend: settings.send_backend,
            listeners: listener_setup(index, &listening, capacity, options, &processors),
            wakers: wakers.clone(),
            clock,
            node: Arc::clone(&node),
            notices: notices_to.clone(),
            sources: Arc::clone(&sources),
            reports: reports_to.clone(),
            go,
        };
        starting.spawn_worker(setup, go_to)?;
    }
    // The threads go before `held`: sockets shared with it are to be closed in this thread's table.
    starting.wait_until_listening(&wanted)?;
    let bound = wanted.iter().zip(&held);
    let bound = bound
        .map(|(wanted, held)| BoundAddress { listener: wanted.listener, address: held.address().clone() });
    Ok(Server { node, wakers, bound: bound.collect(), notices, clock, threads: starting.threads, held })
}

/// Takes over passed sockets and binds the others, public ones first.
fn take_addresses(
    settings: &Settings,
    inherited: Vec<InheritedSocket>,
    options: SocketOptions,
) -> Result<(Vec<WantedListener>, Vec<AddressReservation>), StartError> {
    let wanted = listeners::wanted_listeners(settings, &inherited)?;
    let mut all: Vec<_> = inherited.into_iter().map(|one| listeners::adopt_socket(one, options)).collect();
    for wanted in wanted {
        let held = listeners::reserve_address(&wanted, options)?;
        all.push((wanted, held));
    }
    all.sort_by_key(|(wanted, _)| wanted.listener);
    Ok(all.into_iter().unzip())
}

/// Processors that workers are pinned to, in turn; none when they are not, or when the system tells none.
fn pinned_processors(settings: &Settings) -> Vec<usize> {
    if !settings.pin_workers {
        return Vec::new();
    }
    process::processors().unwrap_or_else(|error| {
        log::warn!("event=pin_refused error=\"{error}\"");
        Vec::new()
    })
}

fn listener_setup(
    index: usize,
    listening: &Arc<ListeningWorkers>,
    capacity: Capacity,
    options: SocketOptions,
    processors: &[usize],
) -> ListenerSetup {
    let processor = processors.iter().cycle().nth(index).copied();
    ListenerSetup {
        index,
        listening: Arc::clone(listening),
        worker_max: capacity.worker_max,
        spare: capacity.spare,
        processor,
        options: options.on(processor),
        first_token: worker::FIRST_LISTENER,
    }
}

impl StartingWorkers {
    fn spawn_worker(&mut self, setup: WorkerSetup, go: Sender<()>) -> Result<(), StartError> {
        let name = format!("worker-{}", setup.listeners.index);
        match std::thread::Builder::new().name(name).spawn(move || run_worker_thread(setup)) {
            Ok(thread) => {
                self.threads.push(thread);
                self.go.push(go);
                Ok(())
            }
            Err(os) => Err(self.end_threads(StartError::Os { call: "clone", os })),
        }
    }

    /// Waits until every worker listens, then lets all of them serve: a start that fails must not have
    /// answered anyone.
    fn wait_until_listening(&mut self, wanted: &[WantedListener]) -> Result<(), StartError> {
        for _ in 0..self.threads.len() {
            match self.reports.recv().expect("a worker reports before it ends, and a panic ends the process")
            {
                Ok(()) => {}
                Err(StartFault::Listener(number, os)) => {
                    return Err(self.end_threads(wanted[number].start_error(os)));
                }
                Err(StartFault::Other(error)) => return Err(self.end_threads(error)),
            }
        }
        for worker in self.go.drain(..) {
            worker.send(()).expect("a worker that listens waits for this");
        }
        Ok(())
    }

    /// Ends the threads that have started, and passes the reason on.
    fn end_threads(&mut self, error: StartError) -> StartError {
        self.go.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        error
    }
}

/// Body of a worker's thread.
fn run_worker_thread(setup: WorkerSetup) {
    let (notices, reports, go) = (setup.notices.clone(), setup.reports.clone(), setup.go.clone());
    let index = setup.listeners.index;
    let prepared = prepare_worker(setup);
    let (shell, report) = prepared.map_or_else(|fault| (None, Err(fault)), |shell| (Some(shell), Ok(())));
    // The starting thread waits for this, and then either for the rest or for this thread's end.
    let _ = reports.send(report);
    if let (Some(shell), Ok(())) = (shell, go.recv()) {
        shell.run();
        let _ = notices.send(WorkerNotice::Finished(index));
    }
}

fn prepare_worker(setup: WorkerSetup) -> Result<WorkerShell, StartFault> {
    let WorkerSetup {
        inbox,
        seed,
        private,
        crowded,
        backend,
        listeners,
        wakers,
        clock,
        node,
        notices,
        sources,
        ..
    } = setup;
    let index = listeners.index;
    let os = |call| move |os| StartFault::Other(StartError::Os { call, os });
    if private {
        process::unshare_files().map_err(|os| StartFault::Other(StartError::FileTable(os)))?;
    }
    if let Err(error) = process::set_time_slice(TIME_SLICE) {
        log::debug!("event=time_slice_refused worker={index} error=\"{error}\"");
    }
    if let Some(processor) = listeners.processor
        && let Err(error) = process::pin_thread(processor)
    {
        log::warn!("event=pin_refused worker={index} processor={processor} error=\"{error}\"");
    }
    let poll = Poll::new().map_err(os("epoll_create1"))?;
    let waker = wakers.file(index).as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&waker), worker::WAKER, Interest::READABLE)
        .map_err(os("epoll_ctl"))?;
    let sockets = Sockets::new(backend, index, clock, wakers);
    let listeners = WorkerListeners::open(&sources, poll.registry(), listeners)
        .map_err(|(number, error)| StartFault::Listener(number, error))?;
    let core = core::Worker::new(Arc::clone(&node), index, inbox, seed);
    Ok(WorkerShell { index, crowded, node, core, poll, sockets, listeners, clock, notices })
}

impl Server {
    /// Where it listens, public ones first, in the order of the descriptors and then of the settings.
    pub fn bound(&self) -> &[BoundAddress] {
        &self.bound
    }

    /// Messages of the workers; a closed channel means that all have ended.
    pub fn notices(&self) -> &Receiver<WorkerNotice> {
        &self.notices
    }

    /// Returns the clock of all workers.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// A handle for threads that post to the node by themselves.
    pub(crate) fn wakers(&self) -> Wakers {
        self.wakers.clone()
    }

    /// Sends a control message to every worker and wakes them.
    pub fn control(&self, message: ControlMessage) {
        self.wakers.wake(self.node.shut_down(&message));
    }

    /// Waits until every worker has ended, then removes the files of Unix listeners.
    pub fn join(self) {
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        drop(self.held);
    }
}
