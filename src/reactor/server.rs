//! Starts the workers in step and hands out what the rest of the program may do with them.

use crate::base::settings::{Listener, SendBackend, Settings};
use crate::fanout::mail::{Control, Inbox};
use crate::fanout::node::Node;
use crate::fanout::worker as core;
use crate::reactor::accept::{Attendance, Doors, Duty};
use crate::reactor::address::Address;
use crate::reactor::clock::Clock;
use crate::reactor::error::StartError;
use crate::reactor::files::Capacity;
use crate::reactor::io::Sockets;
use crate::reactor::listeners::{self, Place, Reservation, Tuning, Wanted};
use crate::reactor::worker::{self, Shell};
use crate::sys::process;
use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::unix::SourceFd;
use mio::{Interest, Poll};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// What [`start`] needs.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The effective settings.
    pub settings: &'a Settings,
    /// From [`super::capacity`], with the same settings.
    pub capacity: Capacity,
    /// Made for `capacity.workers` workers and `capacity.connections_max` connections.
    pub node: Arc<Node>,
    /// One for each worker, as `Node::new` returned them.
    pub inboxes: Vec<Inbox>,
    /// Seeds the workers' jitter.
    pub seed: u64,
}

/// An address on which the server listens, with the port it really got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which kind.
    pub listener: Listener,
    /// Where.
    pub address: Address,
}

/// What a worker tells the main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `POST /drain` came: drain as after a SIGTERM.
    DrainRequested,
    /// The worker of that index has drained or stopped, and its thread ends.
    Finished(usize),
}

/// Wakes workers, from the workers and from any thread that has the file table of the one that called
/// [`start`]: the files have the same numbers in each.
#[derive(Clone, Debug)]
pub struct Wakers(Arc<[File]>);

impl Wakers {
    fn new(workers: usize) -> io::Result<Wakers> {
        (0..workers).map(|_| process::wake_file()).collect::<io::Result<_>>().map(Wakers)
    }

    /// Wakes the workers whose bits are set.
    pub fn wake(&self, mask: u64) {
        let mut left = mask;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            if let Some(mut file) = self.0.get(index) {
                // Each write is a new edge, though nobody reads. It fails only at a count of 2⁶⁴ - 1, and
                // then the file is readable already.
                let _ = file.write(&1_u64.to_ne_bytes());
            }
        }
    }
}

/// A running server. Dropping it does not stop it: post a control message, then [`Server::join`].
#[derive(Debug)]
pub struct Server {
    node: Arc<Node>,
    wakers: Wakers,
    bound: Vec<Bound>,
    notices: Receiver<Notice>,
    clock: Clock,
    threads: Vec<JoinHandle<()>>,
    reservations: Vec<Reservation>,
}

/// What a worker is told while the server starts. A closed channel tells it to end.
enum Order {
    /// Make listeners.
    Open(Arc<[(Listener, Place)]>),
    /// All workers have theirs.
    Go,
}

/// What a worker tells while the server starts.
enum Report {
    /// The order was carried out; the file table is its own, to begin with.
    Done,
    /// It was not.
    Failed(StartFault),
}

/// A worker's reason; which wanted listener it means is a number here.
enum StartFault {
    Listener(usize, io::Error),
    Other(StartError),
}

/// What a worker's thread starts with.
struct Seat {
    inbox: Inbox,
    seed: u64,
    private: bool,
    backend: SendBackend,
    duty: Duty,
    wakers: Wakers,
    clock: Clock,
    node: Arc<Node>,
    notices: Sender<Notice>,
    orders: Receiver<Order>,
    reports: Sender<Report>,
}

/// The threads of a server that starts.
struct Crew {
    threads: Vec<JoinHandle<()>>,
    orders: Vec<Sender<Order>>,
    reports: Receiver<Report>,
}

/// Makes all listeners, starts all workers and returns when each is listening.
///
/// Unix listeners and wakers are made before the workers have file tables of their own, since all need
/// them; everything else after, so that closing it in its thread really closes it.
///
/// # Errors
/// The first cause; by then every thread has ended and every socket is closed.
pub fn start(launch: Launch<'_>) -> Result<Server, StartError> {
    let Launch { settings, capacity, node, inboxes, seed } = launch;
    assert_eq!(inboxes.len(), capacity.workers, "the node was made for this capacity");
    let wanted = listeners::wanted(settings)?;
    // In the order of the settings; what is made later is `None` until then.
    let mut held: Vec<Option<Reservation>> = Vec::new();
    for wanted in &wanted {
        let unix = matches!(wanted.address, Address::Unix(_));
        held.push(unix.then(|| listeners::reserve(wanted, capacity.workers)).transpose()?);
    }
    let wakers = Wakers::new(capacity.workers).map_err(|os| StartError::Os { call: "eventfd", os })?;
    let clock = Clock::start();
    let (notices_to, notices) = unbounded();
    let (reports_to, reports) = unbounded();
    let mut crew = Crew { threads: Vec::new(), orders: Vec::new(), reports };
    let attendance = Arc::new(Attendance::all(capacity.workers));
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let (orders_to, orders) = unbounded();
        let seat = Seat {
            inbox,
            seed: seed.wrapping_add(index as u64),
            private: settings.fd_tables_private,
            backend: settings.send_backend,
            duty: duty_of(index, &attendance, capacity, settings),
            wakers: wakers.clone(),
            clock,
            node: Arc::clone(&node),
            notices: notices_to.clone(),
            orders,
            reports: reports_to.clone(),
        };
        crew.add(seat, orders_to)?;
    }
    if let Err(error) = crew.open(&wanted, &mut held, capacity.workers) {
        // The threads go first: what they share with `held` is to be closed in this thread's table.
        return Err(crew.dismiss(error));
    }
    let reservations: Vec<Reservation> = held.into_iter().flatten().collect();
    let bound = wanted.iter().zip(&reservations);
    let bound = bound.map(|(wanted, held)| Bound { listener: wanted.listener, address: held.address() });
    Ok(Server { node, wakers, bound: bound.collect(), notices, clock, threads: crew.threads, reservations })
}

fn duty_of(index: usize, attendance: &Arc<Attendance>, capacity: Capacity, settings: &Settings) -> Duty {
    Duty {
        index,
        attendance: Arc::clone(attendance),
        worker_max: capacity.worker_max,
        spare: capacity.spare,
        tuning: Tuning::new(settings),
        first_token: worker::FIRST_LISTENER,
    }
}

impl Crew {
    fn add(&mut self, seat: Seat, orders: Sender<Order>) -> Result<(), StartError> {
        let name = format!("worker-{}", seat.duty.index);
        match std::thread::Builder::new().name(name).spawn(move || sit(seat)) {
            Ok(thread) => {
                self.threads.push(thread);
                self.orders.push(orders);
                Ok(())
            }
            Err(os) => Err(self.dismiss(StartError::Os { call: "clone", os })),
        }
    }

    /// From private file tables to workers that listen.
    fn open(
        &self,
        wanted: &[Wanted],
        held: &mut [Option<Reservation>],
        workers: usize,
    ) -> Result<(), StartError> {
        self.all_done(wanted)?;
        let mut places = Vec::with_capacity(wanted.len());
        for (wanted, held) in wanted.iter().zip(held) {
            if held.is_none() {
                *held = Some(listeners::reserve(wanted, workers)?);
            }
            places.extend(held.as_ref().map(|held| (wanted.listener, held.place())));
        }
        let places: Arc<[_]> = places.into();
        self.order(|| Order::Open(Arc::clone(&places)));
        self.all_done(wanted)?;
        self.order(|| Order::Go);
        Ok(())
    }

    fn order(&self, order: impl Fn() -> Order) {
        for worker in &self.orders {
            // A worker that has gone has reported why.
            let _ = worker.send(order());
        }
    }

    fn all_done(&self, wanted: &[Wanted]) -> Result<(), StartError> {
        for _ in &self.threads {
            match self.reports.recv().expect("a worker reports before it ends, and a panic ends the process")
            {
                Report::Done => {}
                Report::Failed(StartFault::Listener(number, os)) => return Err(wanted[number].refused(os)),
                Report::Failed(StartFault::Other(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends the threads that have started, and passes the reason on.
    fn dismiss(&mut self, error: StartError) -> StartError {
        self.orders.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        error
    }
}

/// A worker's thread.
fn sit(seat: Seat) {
    let (notices, index) = (seat.notices.clone(), seat.duty.index);
    let reports = seat.reports.clone();
    match prepare(seat) {
        Ok(Some(shell)) => {
            shell.run();
            let _ = notices.send(Notice::Finished(index));
        }
        Ok(None) => {}
        Err(fault) => {
            let _ = reports.send(Report::Failed(fault));
        }
    }
}

/// `None`: another worker failed, and this one is to end.
fn prepare(seat: Seat) -> Result<Option<Shell>, StartFault> {
    let Seat { inbox, seed, private, backend, duty, wakers, clock, node, notices, orders, reports } = seat;
    let index = duty.index;
    let os = |call| move |os| StartFault::Other(StartError::Os { call, os });
    if private {
        process::unshare_files().map_err(|os| StartFault::Other(StartError::FileTable(os)))?;
    }
    let _ = reports.send(Report::Done);
    let Ok(Order::Open(places)) = orders.recv() else { return Ok(None) };
    let poll = Poll::new().map_err(os("epoll_create1"))?;
    let waker = wakers.0[index].as_raw_fd();
    poll.registry()
        .register(&mut SourceFd(&waker), worker::WAKER, Interest::READABLE)
        .map_err(os("epoll_ctl"))?;
    let sockets = Sockets::new(backend, index);
    let doors = Doors::open(&places, poll.registry(), duty)
        .map_err(|(number, error)| StartFault::Listener(number, error))?;
    let core = core::Worker::new(Arc::clone(&node), index, inbox, seed);
    let _ = reports.send(Report::Done);
    // Nobody is served before all can be: a start that fails must not have answered anyone.
    let Ok(Order::Go) = orders.recv() else { return Ok(None) };
    Ok(Some(Shell { index, node, core, poll, sockets, doors, wakers, clock, notices }))
}

impl Server {
    /// Where it listens, in the order of the settings, public ones first.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// What the workers have to say; a closed channel means that all have ended.
    pub fn notices(&self) -> &Receiver<Notice> {
        &self.notices
    }

    /// The workers' clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A handle for threads that post to the node by themselves.
    pub fn wakers(&self) -> Wakers {
        self.wakers.clone()
    }

    /// Sends a control message to every worker and wakes them.
    pub fn control(&self, message: Control) {
        self.wakers.wake(self.node.control(&message));
    }

    /// Waits until every worker has ended, then removes the files of Unix listeners.
    pub fn join(self) {
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        drop(self.reservations);
    }
}
