//! Fake sockets: behave as kernel and network would, from a seed, and assert the core's obligations.
//!
//! Each socket has two sides. The core's side is [`Port`], the seam; it asserts the seam's contract. The
//! peer's side is [`Net::send`], [`Net::read`] and the like. Readiness is edge-triggered: new bytes or an end
//! make one edge; room makes one only after the core has been told that the socket is full. Knows no HTTP,
//! but recognises what a cut send was in the middle of, so that a sweep can see what it has tried.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use fanwheel::base::id::EventId;
use fanwheel::base::limits::{BATCH_BYTES_MAX, BATCH_SENDS_MAX};
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::prng::Prng;
use fanwheel::base::survey::ConnectionTraffic;
use fanwheel::fanout::seam::{CloseMode, Io, ReadResult, SendOp, SendResult};
use fanwheel::fanout::worker::{ConnToken, PollReadiness};

use crate::cover::{Branch, Cover};

/// IOV_MAX.
const PARTS_MAX: usize = 1_024;

/// How much the kernel takes for a peer before it says that the socket is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// 0 to 3 bytes a quarter of the time, else small, else large.
    Mixed,
    /// Never more than a few bytes.
    Tiny,
    /// A few hundred bytes.
    Small,
    /// Everything.
    Large,
}

/// The result of a peer's read.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// Some bytes.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The server has finished.
    End,
    /// The server, or the network, has cut the connection.
    Reset,
}

/// Bytes on their way.
#[derive(Debug, Default)]
struct Pipe {
    bytes: Vec<u8>,
    /// So many at the front have been taken.
    taken: usize,
}

impl Pipe {
    fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.bytes[self.taken..self.taken + count].to_vec();
        self.taken += count;
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        bytes
    }

    fn clear(&mut self) {
        *self = Pipe::default();
    }
}

/// One connection, both sides.
#[derive(Debug)]
pub struct Sock {
    /// The worker whose listener it came to.
    pub worker: usize,
    /// Which listener.
    pub listener: ListenerKind,
    /// The peer's address.
    pub address: IpAddr,
    /// The client that a proxy's header names.
    pub named: Option<SocketAddr>,
    /// The core's token from when it took the connection in.
    pub born: Option<ConnToken>,
    /// Bytes that the core has handed over.
    pub bytes_taken: u64,
    /// The core's token, while the core holds it.
    pub token: Option<ConnToken>,
    /// How the core closed it.
    pub closed: Option<CloseMode>,
    /// The core has been told that it is full, and not since that it is writable.
    pub known_full: bool,
    /// It has been full at some time.
    pub was_full: bool,
    /// How often it was.
    pub fulls: u64,
    /// The peer closed or half-closed before the core did.
    pub peer_finished: bool,
    /// The node's newest id when the turn had ended that first offered it the head of a stream.
    pub greeted: Option<EventId>,
    /// It was offered the head of a stream in this turn.
    pub fresh: bool,
    buffered: Pipe,
    capacity: usize,
    window: Window,
    finished: bool,
    inbound: Pipe,
    reset: bool,
    gone: bool,
    edge: bool,
    half_frame: bool,
}

/// All sockets.
pub struct Net {
    /// By connection number, never removed.
    pub socks: Vec<Sock>,
    /// Newcomers that wait for each worker to accept them.
    pub backlog: Vec<VecDeque<usize>>,
    /// Branches hit.
    pub cover: Cover,
    /// Connections closed by the core since this was last cleared: number and whether a frame was half sent.
    pub closures: Vec<(usize, bool)>,
    /// The last batch of each worker was full of bytes: a round may be in the middle.
    pub batch_full: Vec<bool>,
    /// The time on the workers' clock.
    pub now_us: u64,
    /// Workers woken since this was last taken, a bit each.
    pub woken: u64,
    /// Those that were woken when a batch was last sent.
    pub woken_before_send: u64,
    /// Now and then the kernel takes less than there is room for.
    pub cuts: bool,
    slots: Vec<Vec<Option<usize>>>,
    prng: Prng,
}

impl Sock {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.buffered.len())
    }

    /// Whether the peer would find something to read.
    pub fn has_news(&self) -> bool {
        !self.buffered.is_empty() || self.finished || self.closed.is_some()
    }

    /// Whether readiness waits to be delivered.
    pub fn has_edge(&self) -> bool {
        self.edge && self.token.is_some()
    }

    /// Returns the peer's address as the kernel gives it.
    pub fn peer_name(&self) -> SocketAddr {
        SocketAddr::new(self.address, 4_000)
    }

    /// Returns the address of the client, as soon as a header that names it has come.
    pub fn client_name(&self) -> SocketAddr {
        self.named.unwrap_or(self.peer_name())
    }

    /// The peer has gone without a word to the core.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    fn draw_capacity(&mut self, prng: &mut Prng) {
        let window = match self.window {
            Window::Mixed => match prng.below(8) {
                0 | 1 => Window::Tiny,
                2..5 => Window::Small,
                _ => Window::Large,
            },
            window => window,
        };
        self.capacity = match window {
            Window::Mixed | Window::Tiny => prng.below(4) as usize,
            Window::Small => 1 + prng.below(300) as usize,
            Window::Large => 1 << 26,
        };
        if self.known_full && self.room() > 0 {
            self.edge = true;
        }
    }
}

impl Net {
    /// Sockets for so many workers.
    pub fn new(workers: usize, seed: u64) -> Net {
        Net {
            socks: Vec::new(),
            backlog: vec![VecDeque::new(); workers],
            cover: Cover::default(),
            closures: Vec::new(),
            batch_full: vec![false; workers],
            now_us: 0,
            woken: 0,
            woken_before_send: 0,
            cuts: true,
            slots: vec![Vec::new(); workers],
            prng: Prng::new(seed),
        }
    }

    /// A peer connects to a worker's listener.
    pub fn connect(
        &mut self,
        worker: usize,
        listener: ListenerKind,
        address: IpAddr,
        window: Window,
    ) -> usize {
        let mut sock = Sock {
            worker,
            listener,
            address,
            named: None,
            born: None,
            bytes_taken: 0,
            token: None,
            closed: None,
            known_full: false,
            was_full: false,
            fulls: 0,
            peer_finished: false,
            greeted: None,
            fresh: false,
            buffered: Pipe::default(),
            capacity: 0,
            window,
            finished: false,
            inbound: Pipe::default(),
            reset: false,
            gone: false,
            edge: false,
            half_frame: false,
        };
        sock.draw_capacity(&mut self.prng);
        self.socks.push(sock);
        self.backlog[worker].push_back(self.socks.len() - 1);
        self.socks.len() - 1
    }

    /// The core has taken a connection in. Registration makes an edge, as epoll does for what is ready.
    pub fn opened(&mut self, conn: usize, token: ConnToken) {
        let sock = &mut self.socks[conn];
        let slots = &mut self.slots[sock.worker];
        let slot = token.slot() as usize;
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        assert_eq!(slots[slot], None, "a slot that is open was given to a newcomer");
        slots[slot] = Some(conn);
        sock.token = Some(token);
        sock.born = Some(token);
        sock.edge = true;
    }

    /// The shell drops a socket that the core has not taken in, or must forget.
    pub fn drop_socket(&mut self, conn: usize) {
        let sock = &mut self.socks[conn];
        if let Some(token) = sock.token.take() {
            self.slots[sock.worker][token.slot() as usize] = None;
        }
        sock.closed = Some(CloseMode::Reset);
        sock.buffered.clear();
    }

    /// The open connections of a worker.
    pub fn open_on(&self, worker: usize) -> impl Iterator<Item = usize> + '_ {
        self.slots[worker].iter().flatten().copied()
    }

    /// Whether anything on a worker's sockets would end its poll.
    pub fn has_edges(&self, worker: usize) -> bool {
        self.open_on(worker).any(|conn| self.socks[conn].has_edge())
    }

    /// Returns a poll's readiness of a connection: the whole state, whichever edge caused it.
    pub fn take_readiness(&mut self, conn: usize) -> PollReadiness {
        let sock = &mut self.socks[conn];
        sock.edge = false;
        let ended = sock.peer_finished || sock.reset;
        let writable = sock.room() > 0 || sock.reset;
        sock.known_full &= !writable;
        PollReadiness { readable: !sock.inbound.is_empty() || ended, writable, ended }
    }

    /// A readiness that says more than is true, which the core must survive.
    pub fn spurious_readiness(&mut self, conn: usize) -> PollReadiness {
        self.socks[conn].known_full = false;
        PollReadiness { readable: true, writable: true, ended: self.prng.below(2) == 0 }
    }

    /// The peer sends.
    pub fn send(&mut self, conn: usize, bytes: &[u8]) {
        let sock = &mut self.socks[conn];
        assert!(!sock.peer_finished, "a peer that has finished sends no more");
        sock.inbound.push(bytes);
        sock.edge = true;
    }

    /// The peer sends no more.
    pub fn finish(&mut self, conn: usize) {
        self.socks[conn].peer_finished = true;
        self.socks[conn].edge = true;
    }

    /// The peer closes its socket and reads no more; with bytes unread that is a reset (RFC 9293 §3.6.1).
    pub fn leave(&mut self, conn: usize) {
        if !self.socks[conn].buffered.is_empty() {
            return self.reset(conn);
        }
        self.finish(conn);
        self.set_window(conn, Window::Large);
        self.socks[conn].gone = true;
    }

    /// The peer, or the network, cuts the connection.
    pub fn reset(&mut self, conn: usize) {
        let sock = &mut self.socks[conn];
        sock.peer_finished = true;
        sock.gone = true;
        sock.reset = true;
        sock.buffered.clear();
        sock.inbound.clear();
        sock.edge = true;
    }

    /// From now on the peer's window is of this kind.
    pub fn set_window(&mut self, conn: usize, window: Window) {
        let sock = &mut self.socks[conn];
        sock.window = window;
        sock.draw_capacity(&mut self.prng);
    }

    /// The peer reads at most `most` bytes.
    pub fn read(&mut self, conn: usize, most: usize) -> Got {
        let sock = &mut self.socks[conn];
        if sock.buffered.is_empty() {
            return match sock.closed {
                Some(CloseMode::Reset) => Got::Reset,
                Some(CloseMode::Orderly) => Got::End,
                None if sock.finished => Got::End,
                None => {
                    if sock.known_full {
                        sock.draw_capacity(&mut self.prng);
                    }
                    Got::Nothing
                }
            };
        }
        let most = most.min(sock.buffered.len());
        let bytes = sock.buffered.take(most);
        if sock.buffered.is_empty() {
            sock.draw_capacity(&mut self.prng);
        } else if sock.known_full && sock.room() > 0 {
            sock.edge = true;
        }
        Got::Bytes(bytes)
    }

    /// The core's side of a worker's sockets.
    pub fn port(&mut self, worker: usize) -> Port<'_> {
        Port { net: self, worker }
    }
}

/// The seam, as one worker sees it.
pub struct Port<'a> {
    net: &'a mut Net,
    worker: usize,
}

impl Port<'_> {
    fn conn(&self, slot: u32, what: &str) -> usize {
        let conn = self.net.slots[self.worker].get(slot as usize).copied().flatten();
        conn.unwrap_or_else(|| panic!("{what} on slot {slot} of worker {}, which is not open", self.worker))
    }

    fn send_one(&mut self, send: &SendOp<'_>) -> SendResult {
        let conn = self.conn(send.slot, "send");
        let net = &mut *self.net;
        let sock = &mut net.socks[conn];
        assert!(!sock.finished, "a send after the end of sending");
        assert!(!sock.known_full, "a send to a socket that is known to be full");
        assert!((1..=PARTS_MAX).contains(&send.parts.len()), "{} parts", send.parts.len());
        assert!(send.parts.iter().all(|part| !part.is_empty()), "an empty part");
        sock.fresh |= sock.greeted.is_none() && send.parts.iter().any(|part| begins_stream(part));
        let offered: usize = send.parts.iter().map(|part| part.len()).sum();
        if sock.gone {
            // The kernel takes bytes until the peer's refusal has arrived.
            sock.reset |= net.prng.below(4) != 0;
            sock.bytes_taken += if sock.reset { 0 } else { offered as u64 };
            return if sock.reset { SendResult::Broken } else { SendResult::Bytes(offered) };
        }
        let room = sock.room();
        let most =
            if net.cuts && net.prng.below(24) == 0 { 1 + net.prng.below(64) as usize } else { usize::MAX };
        let taken = offered.min(room).min(most);
        if taken < offered {
            sock.known_full = true;
            sock.was_full = true;
            sock.fulls += 1;
            sock.edge |= taken < room;
        }
        net.cover.hit_if(taken == 0, Branch::FullSend);
        if send.parts.len() > 1 && !net.cover.has(Branch::MergedTopics) {
            net.cover.hit_if(merges_topics(send), Branch::MergedTopics);
        }
        if taken == 0 {
            return SendResult::Full;
        }
        sock.bytes_taken += taken as u64;
        let mut left = taken;
        for part in send.parts {
            if left < part.len() {
                let branch = cut_in(part, left);
                sock.half_frame = branch == Some(Branch::HalfFrame);
                branch.into_iter().for_each(|branch| net.cover.hit(branch));
            }
            sock.buffered.push(&part[..left.min(part.len())]);
            left -= left.min(part.len());
        }
        sock.half_frame &= taken < offered;
        SendResult::Bytes(taken)
    }
}

/// Whether frames of several topics are sent at once. Payloads name their first topic: `e5.t2.`
fn merges_topics(send: &SendOp<'_>) -> bool {
    let topic = |part: &[u8]| {
        let begin = String::from_utf8_lossy(&part[..part.len().min(120)]).into_owned();
        let number = begin.split_once("data: e")?.1.split_once(".t")?.1.split_once('.')?.0.to_owned();
        Some(number)
    };
    let topics: BTreeSet<String> = send.parts.iter().filter_map(|part| topic(part)).collect();
    topics.len() > 1
}

/// Whether a part holds the head of a stream.
fn begins_stream(part: &[u8]) -> bool {
    let holds = |text: &[u8]| part.windows(text.len()).take(40_000).any(|window| window == text);
    // A browser that is refused gets the same head, but no greeting.
    holds(b"Content-Type: text/event-stream") && holds(b"\n:ok\n")
}

/// Returns the kind of a part that was cut at `at`.
fn cut_in(part: &[u8], at: usize) -> Option<Branch> {
    let holds = |text: &str| part.windows(text.len()).take(2_000).any(|window| window == text.as_bytes());
    if at == 0 {
        return None;
    }
    if part.starts_with(b"2\r\n:") || part.starts_with(b":\n") {
        return Some(Branch::HalfHeartbeat);
    }
    if part.starts_with(b"HTTP/1.1 200") && holds("event-stream") {
        return Some(Branch::HalfGreeting);
    }
    if part.starts_with(b"HTTP/1.1") {
        return Some(Branch::HalfAnswer);
    }
    if holds("fanwheel.gap") {
        return Some(Branch::HalfGap);
    }
    if holds("id: ") {
        return Some(Branch::HalfFrame);
    }
    part.ends_with(b"0\r\n\r\n").then_some(Branch::HalfEnd)
}

impl Io for Port<'_> {
    fn send_all(&mut self, sends: &mut [SendOp<'_>]) {
        assert!((1..=BATCH_SENDS_MAX).contains(&sends.len()), "{} sends in a batch", sends.len());
        let slots: BTreeSet<u32> = sends.iter().map(|send| send.slot).collect();
        assert_eq!(slots.len(), sends.len(), "two sends to one connection in a batch");
        let bytes: usize = sends.iter().flat_map(|send| send.parts).map(|part| part.len()).sum();
        self.net.woken_before_send = self.net.woken;
        self.net.batch_full[self.worker] = bytes >= BATCH_BYTES_MAX;
        for send in sends {
            send.result = self.send_one(send);
        }
    }

    fn mono_us(&mut self) -> u64 {
        self.net.now_us
    }

    fn read(&mut self, slot: u32, into: &mut [u8]) -> ReadResult {
        let conn = self.conn(slot, "read");
        let sock = &mut self.net.socks[conn];
        assert!(!into.is_empty(), "a read of nothing");
        if sock.reset {
            // The kernel's own timer is a reset, too, after a peer has taken nothing.
            return if sock.was_full { ReadResult::TimedOut } else { ReadResult::Broken };
        }
        let bytes = sock.inbound.len().min(into.len());
        into[..bytes].copy_from_slice(&sock.inbound.take(bytes));
        match bytes {
            0 if sock.peer_finished => ReadResult::End,
            0 => ReadResult::Empty,
            bytes => ReadResult::Bytes(bytes),
        }
    }

    fn acknowledge(&mut self, slot: u32) {
        self.conn(slot, "acknowledge");
    }

    fn expect_body(&mut self, slot: u32) {
        self.conn(slot, "body");
    }

    fn shutdown_write(&mut self, slot: u32) {
        let conn = self.conn(slot, "finish");
        let sock = &mut self.net.socks[conn];
        assert!(!sock.finished, "finished twice");
        sock.finished = true;
    }

    fn peer_address(&mut self, slot: u32) -> Option<SocketAddr> {
        let conn = self.conn(slot, "peer");
        Some(self.net.socks[conn].peer_name())
    }

    fn traffic(&mut self, slot: u32) -> Option<ConnectionTraffic> {
        let conn = self.conn(slot, "traffic");
        Some(ConnectionTraffic {
            bytes_sent: self.net.socks[conn].bytes_taken,
            ..ConnectionTraffic::default()
        })
    }

    fn wake(&mut self, mask: u64) {
        assert!(mask != 0, "a wake of nobody");
        self.net.woken |= mask;
    }

    fn close(&mut self, slot: u32, how: CloseMode) {
        let conn = self.conn(slot, "close");
        let sock = &mut self.net.socks[conn];
        self.net.slots[self.worker][slot as usize] = None;
        sock.token = None;
        sock.closed = Some(how);
        self.net.closures.push((conn, sock.half_frame));
        if how == CloseMode::Reset {
            sock.buffered.clear();
        }
    }
}
