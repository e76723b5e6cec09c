//! When a worker takes newcomers, and how it behaves when it cannot.
//!
//! | state | public listeners | leaves it when |
//! | --- | --- | --- |
//! | open | in this worker's epoll, accepted from with a budget | it has `worker_max` sockets, or no file |
//! | full | still open: newcomers take the spare sockets | that lasts `FULL_MS`, or they are taken, too |
//! | away | closed: the kernel gives newcomers to other workers | its sockets are below `worker_max` again |
//! | last | open past `worker_max`: nobody else listens, the core refuses | another is back |
//!
//! A listener that closes resets the newcomers in its queue, unless the kernel hands them to another worker's
//! (`net.ipv4.tcp_migrate_req`). Where it does not, and where no socket is left for them, they are accepted
//! with a descriptor kept in reserve, answered and closed.
//!
//! In each state a fault of the host (no files, no memory) is followed by a rest, which the closing of any
//! connection ends early. Nothing here ever spins: a queue that has newcomers is remembered, because an
//! edge-triggered listener tells of it only once. The operator's listeners stay open in every state, so that
//! the operator gets in when nobody else does. Knows no use of the connections.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::base::counters::{Count, Counters};
use crate::base::limits::WORKERS_MAX;
use crate::base::listener::ListenerKind;
use crate::fanout::idle_eviction::EvictionRequest;
use crate::reactor::listeners::{self, ListenerSource, SocketOptions};
use crate::reactor::reserve::ReservedFile;
use crate::sys::epoll;
use crate::sys::socket::{self, Socket};

/// Connections accepted from one listener in one turn: 0.6 ms, less than a batch of sends, in which an event
/// may come.
pub(crate) const ACCEPTS_PER_TURN: usize = 64;
/// Connections accepted from one listener in a turn while a round goes on: with the reads of the same turn,
/// existing subscribers wait for one batch more.
pub(crate) const ACCEPTS_BESIDE_ROUNDS: usize = 32;
/// Newcomers refused in one turn because no socket is left for them: they cost as much as accepts.
const REFUSALS_PER_TURN: usize = 64;
/// Connections accepted from a control or metrics listener in one turn. All workers share it, and a small
/// number keeps publishers that come together from being all taken by the worker that was woken first.
const CONTROL_ACCEPTS_PER_TURN: usize = 2;
/// Connections that fail in a row before the queue is left alone for a moment.
const ACCEPT_ERRORS_IN_A_ROW_MAX: u32 = 32;

/// Rest after a fault of the host while this worker is the last one that listens.
const REST_MS: u64 = 100;
/// Time for which a worker may be full before it closes its listeners: most often somebody leaves soon.
const FULL_MS: u64 = 100;
/// Turns in which a worker that ends answers the newcomers in its queues.
const LAST_TURNS_MAX: usize = 64;
/// Rest after many connections in a row failed.
const ERRORS_REST_MS: u64 = 10;
/// Rest before a closed listener is opened again after a fault.
const REOPEN_MS: u64 = 500;
/// Room that a worker needs before it listens again, so that it does not come and go with each connection.
const REOPEN_ROOM: usize = 16;
/// That room is no larger than this part of a worker's sockets, where file limits are tight.
const REOPEN_ROOM_PART: usize = 4;
/// Whether queues migrate, in the network namespace of the reading thread (Linux 5.14).
const MIGRATE_PATH: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
/// This part of a worker's spare sockets is for the operator, the rest for refusals.
const OPERATOR_PART: usize = 8;
/// This part of them takes in the queue of a listener that closes.
const QUEUE_PART: usize = 2;

/// Which workers listen to the public: bits by index. The last one never leaves.
#[derive(Debug)]
pub(crate) struct ListeningWorkers(AtomicU64);

impl ListeningWorkers {
    /// A set of all workers: each listens.
    pub(crate) fn all(workers: usize) -> ListeningWorkers {
        assert!((1..=WORKERS_MAX).contains(&workers));
        ListeningWorkers(AtomicU64::new(u64::MAX >> (WORKERS_MAX - workers)))
    }

    /// Takes a worker out, unless it is the last; tells whether it did.
    fn leave(&self, index: usize) -> bool {
        let bit = 1 << index;
        let left = |mask: u64| (mask & !bit != 0).then_some(mask & !bit);
        self.0.fetch_update(SeqCst, SeqCst, left).is_ok()
    }

    /// Whether only one listens.
    fn is_last(&self) -> bool {
        self.0.load(SeqCst).count_ones() <= 1
    }

    fn join(&self, index: usize) {
        self.0.fetch_or(1 << index, SeqCst);
    }
}

/// One listener of a worker.
#[derive(Debug)]
struct WorkerListener {
    kind: ListenerKind,
    source: ListenerSource,
    token: Token,
    /// `None` while the worker is away.
    socket: Option<Socket>,
    /// Newcomers may be waiting.
    pending: bool,
}

/// Worker that the listeners belong to, and how many sockets it may have.
#[derive(Clone, Debug)]
pub(crate) struct ListenerSetup {
    pub(crate) index: usize,
    /// Shared by all workers.
    pub(crate) listening: Arc<ListeningWorkers>,
    /// Sockets from which on newcomers are left to other workers.
    pub(crate) worker_max: usize,
    /// Sockets beyond, for refusals, the operator, and the queue of a listener that closes.
    pub(crate) spare: usize,
    /// The one that the worker is pinned to.
    pub(crate) processor: Option<usize>,
    /// Options of its listeners and of the sockets they accept.
    pub(crate) options: SocketOptions,
    /// The listeners' tokens are this one and those above.
    pub(crate) first_token: usize,
}

impl ListenerSetup {
    /// Sockets that must be free before a worker listens again.
    fn reopen_room(&self) -> usize {
        REOPEN_ROOM.min(self.worker_max / REOPEN_ROOM_PART)
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// Kind of the listener that it came through.
    pub(crate) listener: ListenerKind,
    pub(crate) socket: Socket,
    /// Address of its client, if that has one.
    pub(crate) peer: Option<IpAddr>,
    /// There is room for it; otherwise it is to be answered and closed.
    pub(crate) is_welcome: bool,
}

/// One turn of accepting.
#[derive(Debug)]
pub(crate) struct AcceptTurn<'a> {
    /// The moment it begins.
    pub(crate) now_ms: u64,
    /// Epoll of the worker.
    pub(crate) registry: &'a Registry,
    /// Counters of the worker.
    pub(crate) counters: &'a Counters,
    /// Sockets that the worker has.
    pub(crate) open: usize,
    /// Connections to accept from one public listener, at most.
    pub(crate) accepts_max: usize,
}

/// Why a newcomer could not be taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptFault {
    /// That one connection failed, or a signal came; the next may do.
    Connection,
    /// The host has no memory or no file left for any process: other workers fare no better.
    Memory,
    /// This worker has no file left; others may.
    Files,
}

/// Result of accepting: an error is a reason to rest.
type AcceptResult = Result<(), (AcceptFault, io::Error)>;

/// All listeners of a worker.
#[derive(Debug)]
pub(crate) struct WorkerListeners {
    listeners: Vec<WorkerListener>,
    setup: ListenerSetup,
    away: bool,
    /// Since when the worker has had as many sockets as it may.
    full_since_ms: Option<u64>,
    reserve: ReservedFile,
    /// The kernel hands the queue of a listener that closes to another one of the same address.
    queues_migrate: bool,
    /// No accepting, and no opening of listeners, before this moment.
    rest_until_ms: u64,
    /// Sockets open when the rest began: fewer end it early.
    rest_open: usize,
}

impl WorkerListeners {
    /// Opens and registers every listener. An error names the source by number.
    pub(crate) fn open(
        sources: &[(ListenerKind, ListenerSource)],
        registry: &Registry,
        setup: ListenerSetup,
    ) -> Result<WorkerListeners, (usize, io::Error)> {
        let mut listeners = Vec::with_capacity(sources.len());
        for (number, (kind, source)) in sources.iter().enumerate() {
            let token = Token(setup.first_token + number);
            let mut listener =
                WorkerListener { kind: *kind, source: source.clone(), token, socket: None, pending: true };
            listener.open(registry, setup.options).map_err(|error| (number, error))?;
            listeners.push(listener);
        }
        Ok(WorkerListeners {
            listeners,
            setup,
            away: false,
            full_since_ms: None,
            reserve: ReservedFile::take(),
            queues_migrate: queues_migrate(),
            rest_until_ms: 0,
            rest_open: 0,
        })
    }

    /// Notes that newcomers may wait at a listener.
    pub(crate) fn mark_pending(&mut self, token: Token) {
        if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.token == token) {
            listener.pending = true;
        }
    }

    /// Takes newcomers in: `admit` gets each and returns how many sockets the worker has then. Returns in how
    /// many milliseconds this wants to be called again, if at all before the next readiness or the closing of
    /// a connection.
    pub(crate) fn accept_newcomers(
        &mut self,
        mut turn: AcceptTurn<'_>,
        mut admit: impl FnMut(Newcomer) -> usize,
    ) -> Option<u64> {
        let now_ms = turn.now_ms;
        if now_ms < self.rest_until_ms && (self.away || turn.open >= self.rest_open) {
            return Some(self.rest_until_ms - now_ms);
        }
        let worker_max = self.setup.worker_max;
        if self.away
            && turn.open + self.setup.reopen_room() <= worker_max
            && let Err(error) = self.listen_again(turn.registry)
        {
            return Some(self.begin_rest(&turn, REOPEN_MS, &error));
        }
        let mut public_max = worker_max;
        let mut result = self.accept_batch(&mut turn, public_max, &mut admit);
        if turn.open < worker_max && !out_of_files(&result) {
            self.full_since_ms = None;
        } else if !self.away {
            (public_max, result) = self.accept_beyond(&mut turn, result, &mut admit);
        }
        if let Err((fault, error)) = result {
            let ms = match fault {
                AcceptFault::Connection => ERRORS_REST_MS,
                AcceptFault::Memory | AcceptFault::Files if self.away => REOPEN_MS,
                AcceptFault::Memory | AcceptFault::Files => REST_MS,
            };
            return Some(self.begin_rest(&turn, ms, &error));
        }
        if self.listeners.iter().any(|listener| listener.can_accept(turn.open, public_max)) {
            return Some(0);
        }
        let since_ms = self.full_since_ms.filter(|_| !self.away && !self.setup.listening.is_last())?;
        Some((since_ms + FULL_MS).saturating_sub(now_ms))
    }

    /// Takes newcomers into the spare sockets of a worker that is full. If that lasts, or these are taken,
    /// the worker leaves newcomers to others; the last one that listens refuses them. Returns how many
    /// sockets it may have now.
    fn accept_beyond(
        &mut self,
        turn: &mut AcceptTurn<'_>,
        mut result: AcceptResult,
        admit: &mut impl FnMut(Newcomer) -> usize,
    ) -> (usize, AcceptResult) {
        let ListenerSetup { worker_max, spare, index, .. } = self.setup;
        let since_ms = *self.full_since_ms.get_or_insert(turn.now_ms);
        let mut public_max = worker_max + spare / QUEUE_PART;
        if result.is_ok() {
            result = self.accept_batch(turn, public_max, admit);
        }
        let lasts = turn.now_ms - since_ms >= FULL_MS;
        let left_over =
            turn.open >= public_max && self.listeners.iter().any(WorkerListener::has_public_queue);
        if !lasts && !left_over && !out_of_files(&result) {
            return (public_max, result);
        }
        if self.setup.listening.leave(index) {
            // Queues of listeners that others have open too are no matter of this worker's.
            let own = |listener: &WorkerListener| matches!(listener.source, ListenerSource::Own(_));
            if self.queues_migrate || self.refuse_waiting(own, admit) {
                self.stop_listening(turn.registry, turn.counters);
            } else {
                self.setup.listening.join(index);
            }
            return (worker_max, result);
        }
        // The last one. Part of the spare room stays the operator's.
        public_max = worker_max + spare / OPERATOR_PART * (OPERATOR_PART - 1);
        if result.is_ok() {
            result = self.accept_batch(turn, public_max, admit);
        }
        let has_room = result.is_ok() && turn.open < public_max;
        if !has_room && !self.refuse_waiting(|_| true, admit) && result.is_ok() {
            // Those that are left are refused in the next turn.
            public_max = usize::MAX;
        }
        (public_max, result)
    }

    /// Answers newcomers in the public queues of some listeners that nobody can take in; false if some are
    /// left.
    fn refuse_waiting(
        &mut self,
        concerned: impl Fn(&WorkerListener) -> bool,
        admit: &mut impl FnMut(Newcomer) -> usize,
    ) -> bool {
        self.reserve.give_up();
        let public = self.listeners.iter_mut().filter(|listener| listener.has_public_queue());
        for listener in public.filter(|listener| concerned(listener)) {
            for _ in 0..REFUSALS_PER_TURN {
                let Some(socket) = listener.socket.as_ref() else { break };
                match socket::accept(socket) {
                    Ok((socket, peer)) => {
                        admit(Newcomer { listener: listener.kind, socket, peer, is_welcome: false });
                    }
                    Err(error) => {
                        listener.pending = classify(&error).is_some();
                        break;
                    }
                }
            }
        }
        self.reserve.take_back();
        !self.listeners.iter().any(|listener| listener.has_public_queue() && concerned(listener))
    }

    /// Answers newcomers in the queues that close with this worker. Call it last.
    pub(crate) fn refuse_last(&mut self, mut admit: impl FnMut(Newcomer) -> usize) {
        let own = |listener: &WorkerListener| matches!(listener.source, ListenerSource::Own(_));
        for listener in &mut self.listeners {
            listener.pending = true;
        }
        for _ in 0..LAST_TURNS_MAX {
            if self.refuse_waiting(own, &mut admit) {
                return;
            }
        }
    }

    /// One budget for each listener. An error is a reason to rest.
    fn accept_batch(
        &mut self,
        turn: &mut AcceptTurn<'_>,
        public_max: usize,
        admit: &mut impl FnMut(Newcomer) -> usize,
    ) -> AcceptResult {
        let mut errors_in_a_row = 0;
        for listener in &mut self.listeners {
            let most = match listener.kind {
                ListenerKind::Public => turn.accepts_max,
                ListenerKind::Control | ListenerKind::Metrics => CONTROL_ACCEPTS_PER_TURN,
            };
            for _ in 0..most {
                if !listener.can_accept(turn.open, public_max) {
                    break;
                }
                let Some(socket) = listener.socket.as_ref() else { break };
                match socket::accept(socket) {
                    Ok((socket, peer)) => {
                        errors_in_a_row = 0;
                        if matches!(listener.source, ListenerSource::Shared(_)) {
                            listeners::set_accepted_options(&socket, listener.kind, self.setup.options);
                        }
                        let listener = listener.kind;
                        turn.open = admit(Newcomer { listener, socket, peer, is_welcome: true });
                    }
                    Err(error) => match classify(&error) {
                        None => listener.pending = false,
                        Some(AcceptFault::Connection) if errors_in_a_row < ACCEPT_ERRORS_IN_A_ROW_MAX => {
                            errors_in_a_row += 1;
                            turn.counters.count(Count::AcceptErrors);
                        }
                        Some(fault) => return Err((fault, error)),
                    },
                }
            }
        }
        Ok(())
    }

    /// Room that is wanted when the worker has as many sockets as it may.
    pub(crate) fn eviction_wanted(&self, open: usize) -> Option<EvictionRequest> {
        let ListenerSetup { worker_max, spare, .. } = self.setup;
        let over = open.checked_sub(worker_max)?;
        Some(EvictionRequest { sockets: over + self.setup.reopen_room(), keep: spare / OPERATOR_PART })
    }

    fn begin_rest(&mut self, turn: &AcceptTurn<'_>, ms: u64, error: &io::Error) -> u64 {
        if !self.away {
            // Going away was counted already.
            turn.counters.count(Count::ListenPauses);
        }
        self.rest_until_ms = turn.now_ms + ms;
        self.rest_open = turn.open;
        let (worker, open) = (self.setup.index, turn.open);
        log::warn!("event=newcomers_wait worker={worker} sockets={open} error=\"{error}\"");
        ms
    }

    fn stop_listening(&mut self, registry: &Registry, counters: &Counters) {
        self.away = true;
        self.full_since_ms = None;
        counters.count(Count::ListenPauses);
        self.close_public(registry);
        log::debug!("event=listen_left worker={}", self.setup.index);
    }

    fn close_public(&mut self, registry: &Registry) {
        for listener in self.listeners.iter_mut().filter(|listener| listener.kind == ListenerKind::Public) {
            listener.close(registry);
        }
    }

    /// All or none: a worker that is away must not be sent newcomers.
    fn listen_again(&mut self, registry: &Registry) -> io::Result<()> {
        let options = self.setup.options;
        let mut closed = self.listeners.iter_mut().filter(|listener| listener.socket.is_none());
        if let Err(error) = closed.try_for_each(|listener| listener.open(registry, options)) {
            self.close_public(registry);
            return Err(error);
        }
        self.away = false;
        self.setup.listening.join(self.setup.index);
        log::debug!("event=listen_again worker={}", self.setup.index);
        Ok(())
    }
}

impl Drop for WorkerListeners {
    /// A worker that has ended must not be taken for the one that still listens.
    fn drop(&mut self) {
        self.setup.listening.0.fetch_and(!(1 << self.setup.index), SeqCst);
    }
}

impl WorkerListener {
    fn open(&mut self, registry: &Registry, options: SocketOptions) -> io::Result<()> {
        let socket = listeners::open_listener(&self.source, self.kind, options)?;
        // All workers wait for the operator, and one is enough. The public's shared listener wakes all: there
        // the quickest should take most.
        let one_is_enough = self.kind.is_operators() && matches!(self.source, ListenerSource::Shared(_));
        if !one_is_enough || epoll::add_exclusive(registry.as_raw_fd(), &socket, self.token.0).is_err() {
            registry.register(&mut SourceFd(&socket.as_raw_fd()), self.token, Interest::READABLE)?;
        }
        self.socket = Some(socket);
        self.pending = true;
        Ok(())
    }

    fn close(&mut self, registry: &Registry) {
        if let Some(socket) = self.socket.take() {
            // A shared listener is open under another number too: closing this one would leave it in epoll.
            let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
    }

    fn has_public_queue(&self) -> bool {
        self.kind == ListenerKind::Public && self.pending && self.socket.is_some()
    }

    fn can_accept(&self, open: usize, public_max: usize) -> bool {
        let room = self.kind.is_operators() || open < public_max;
        self.pending && room && self.socket.is_some()
    }
}

/// Whether the kernel hands the queue of a listener that closes on. Unreadable in some sandboxes: then it is
/// taken for no.
fn queues_migrate() -> bool {
    std::fs::read_to_string(MIGRATE_PATH).is_ok_and(|text| text.trim() == "1")
}

fn out_of_files(result: &AcceptResult) -> bool {
    matches!(result, Err((AcceptFault::Files, _)))
}

/// Why newcomers have to wait; `None` when there are none. By accept(2), errors of the connection and of its
/// network come through `accept` and concern nobody else.
fn classify(error: &io::Error) -> Option<AcceptFault> {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => None,
        Some(libc::EMFILE) => Some(AcceptFault::Files),
        Some(libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Some(AcceptFault::Memory),
        _ => Some(AcceptFault::Connection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::ListenAddress;
    use crate::base::settings::Settings;
    use crate::reactor::listeners::{reserve_address, wanted_listeners};
    use std::net::TcpStream;

    #[test]
    fn a_turn_takes_no_more_newcomers_than_its_budget() {
        let settings =
            Settings { listen: vec!["127.0.0.1:0".to_owned()], control: Vec::new(), ..Settings::default() };
        let options = SocketOptions::new(&settings);
        let held = reserve_address(&wanted_listeners(&settings, &[]).unwrap()[0], options).unwrap();
        let poll = mio::Poll::new().unwrap();
        let setup = ListenerSetup {
            index: 0,
            listening: Arc::new(ListeningWorkers::all(1)),
            worker_max: 1_000,
            spare: 100,
            processor: None,
            options,
            first_token: 1,
        };
        let sources = [(ListenerKind::Public, held.listener_source())];
        let mut listeners = WorkerListeners::open(&sources, poll.registry(), setup).unwrap();
        let ListenAddress::Tcp(address) = held.address() else { panic!("TCP was asked for") };
        let _peers: Vec<TcpStream> = (0..70).map(|_| TcpStream::connect(address).unwrap()).collect();
        let counters = Counters::default();
        let mut taken = Vec::new();
        for (accepts_max, expected, due) in [(32, 32, Some(0)), (64, 70, None)] {
            let (registry, open) = (poll.registry(), taken.len());
            let turn = AcceptTurn { now_ms: 5, registry, counters: &counters, open, accepts_max };
            let again = listeners.accept_newcomers(turn, |newcomer| {
                assert!(newcomer.is_welcome);
                taken.push(newcomer);
                taken.len()
            });
            assert_eq!((taken.len(), again), (expected, due));
        }
    }

    #[test]
    fn the_last_worker_that_listens_never_leaves() {
        let listening = ListeningWorkers::all(3);
        assert!(listening.leave(0) && listening.leave(2));
        assert!(!listening.leave(1));
        listening.join(2);
        assert!(listening.leave(1));
        assert!(!listening.leave(2));
        assert!(!ListeningWorkers::all(1).leave(0));
        assert!(ListeningWorkers::all(64).leave(63));
    }

    #[test]
    fn errors_of_accept_are_told_apart_by_who_they_concern() {
        let rows: &[(i32, Option<AcceptFault>)] = &[
            (libc::EAGAIN, None),
            (libc::EMFILE, Some(AcceptFault::Files)),
            (libc::ENFILE, Some(AcceptFault::Memory)),
            (libc::ENOBUFS, Some(AcceptFault::Memory)),
            (libc::ENOMEM, Some(AcceptFault::Memory)),
            (libc::ECONNABORTED, Some(AcceptFault::Connection)),
            (libc::EINTR, Some(AcceptFault::Connection)),
            (libc::EPERM, Some(AcceptFault::Connection)),
            (libc::EPROTO, Some(AcceptFault::Connection)),
            (libc::ENETDOWN, Some(AcceptFault::Connection)),
        ];
        for &(errno, expected) in rows {
            assert_eq!(classify(&io::Error::from_raw_os_error(errno)), expected, "{errno}");
        }
    }
}
