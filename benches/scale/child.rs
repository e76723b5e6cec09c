//! One process full of subscribers: opens them, reads them, and answers its parent over standard input and
//! output, a line for a line. The parent's side is `swarm`.
//!
//! Counts and judges nothing.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanwheel::load::receiver::PORT_FIRST;
pub use fanwheel::load::receiver::bind;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Socket, Type};

use crate::server::Server;
use crate::stream::{Item, Stream};
use crate::tally::Tally;

/// Connections on their way at once: enough to keep the server busy, few enough for its backlog.
const CONNECTING_MAX: usize = 256;
/// Subscribers of one process: below the 20 000 files that a process commonly may have.
const PER_PROCESS_MAX: usize = 17_000;
const WAKER: Token = Token(usize::MAX);
const READ_BYTES: usize = 256 * 1_024;
const RECONNECT: Duration = Duration::from_millis(100);
/// Publishers whose sequences are followed.
const PUBLISHERS_MAX: usize = 16;

/// The behaviour of one process's subscribers; given as `name=value` arguments.
#[derive(Clone)]
pub struct Plan {
    /// The server.
    pub connect: SocketAddr,
    /// The topic that all subscribe to.
    pub topic: String,
    /// How many.
    pub count: usize,
    /// How many of them one process takes at most.
    pub per_process: usize,
    /// Third octet of the addresses 127.0.x.1 that they come from; 0 = the kernel chooses.
    pub source: u8,
    /// They never read after the greeting.
    pub never_read: bool,
    /// They come back with the last id when the server ends them.
    pub resume: bool,
}

impl Plan {
    /// Subscribers that read, from addresses that the kernel chooses.
    pub fn new(connect: SocketAddr, topic: &str, count: usize) -> Plan {
        Plan {
            connect,
            topic: topic.to_owned(),
            count,
            per_process: PER_PROCESS_MAX,
            source: 0,
            never_read: false,
            resume: false,
        }
    }

    /// Subscribers of a server that read; each process of them has a loopback address of its own.
    pub fn readers(server: &Server, topic: &str, count: usize) -> Plan {
        Plan { source: 1, ..Plan::new(server.public, topic, count) }
    }

    /// The arguments that [`Plan::parse`] reads.
    pub fn to_arguments(&self) -> Vec<String> {
        vec![
            format!("connect={}", self.connect),
            format!("topic={}", self.topic),
            format!("count={}", self.count),
            format!("source={}", self.source),
            format!("never_read={}", self.never_read),
            format!("resume={}", self.resume),
        ]
    }

    /// Reads them.
    pub fn parse(arguments: &[String]) -> Option<Plan> {
        let value =
            |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        Some(Plan {
            connect: value("connect")?.parse().ok()?,
            topic: value("topic")?.to_owned(),
            count: value("count")?.parse().ok()?,
            per_process: PER_PROCESS_MAX,
            source: value("source")?.parse().ok()?,
            never_read: value("never_read")?.parse().ok()?,
            resume: value("resume")?.parse().ok()?,
        })
    }
}

/// One subscriber.
struct Subscriber {
    socket: Option<TcpStream>,
    asked: bool,
    greeted: bool,
    started: Instant,
    stream: Stream,
    last_id: Vec<u8>,
    /// The last number seen of each publisher.
    last: [u64; PUBLISHERS_MAX],
    /// A bit for each publisher of which something may be missing, because a gap was told.
    gap: u16,
}

/// All of them.
struct Crowd {
    plan: Plan,
    poll: Poll,
    subscribers: Vec<Subscriber>,
    connecting: usize,
    stalled: usize,
    tally: Tally,
    returning: Vec<(Instant, usize)>,
    port: u16,
    scratch: Vec<u8>,
}

/// The child's main.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let plan = Plan::parse(arguments).ok_or_else(|| io::Error::other("bad arguments"))?;
    let poll = Poll::new()?;
    let orders = listen_for_orders(Waker::new(poll.registry(), WAKER)?);
    let mut crowd = Crowd {
        plan,
        poll,
        subscribers: Vec::new(),
        connecting: 0,
        stalled: 0,
        tally: Tally::default(),
        returning: Vec::new(),
        port: PORT_FIRST,
        scratch: vec![0; READ_BYTES],
    };
    let mut events = Events::with_capacity(8_192);
    loop {
        crowd.open_more()?;
        match crowd.poll.poll(&mut events, Some(Duration::from_millis(20))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() != WAKER {
                crowd.ready(event)?;
            }
        }
        while let Ok(order) = orders.try_recv() {
            if !crowd.obey(&order)? {
                return Ok(());
            }
        }
    }
}

/// Lines of standard input; its end is the order to quit.
fn listen_for_orders(waker: Waker) -> Receiver<String> {
    let (sender, orders) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let _ = sender.send(line);
            let _ = waker.wake();
        }
        let _ = sender.send("quit".to_owned());
        let _ = waker.wake();
    });
    orders
}

impl Crowd {
    fn obey(&mut self, order: &str) -> io::Result<bool> {
        match order.split_once(' ').unwrap_or((order, "")) {
            ("report", _) => println!("{}", self.tally.to_text()),
            ("reset", _) => {
                self.tally.forget();
                println!();
            }
            ("behind", wanted) => {
                let mut fields = wanted.split(' ').map(|field| number(field.as_bytes()));
                let (publisher, count) = (fields.next().flatten(), fields.next().flatten());
                let (Some(publisher), Some(count)) = (publisher, count) else { return Ok(false) };
                let healthy = &self.subscribers[self.stalled..];
                println!("{}", healthy.iter().filter(|one| one.last[publisher as usize] < count).count());
            }
            ("stall", count) => {
                self.stalled = count.parse().map_err(io::Error::other)?;
                for subscriber in &mut self.subscribers[..self.stalled] {
                    if let Some(socket) = &subscriber.socket {
                        self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()))?;
                    }
                }
                println!();
            }
            _ => return Ok(false),
        }
        io::stdout().flush()?;
        Ok(true)
    }

    fn open_more(&mut self) -> io::Result<()> {
        while self.subscribers.len() < self.plan.count && self.connecting < CONNECTING_MAX {
            self.subscribers.push(Subscriber {
                socket: None,
                asked: false,
                greeted: false,
                started: Instant::now(),
                stream: Stream::default(),
                last_id: Vec::new(),
                last: [0; PUBLISHERS_MAX],
                gap: 0,
            });
            self.connect(self.subscribers.len() - 1)?;
        }
        let now = Instant::now();
        while let Some(at) = self.returning.iter().position(|(due, _)| *due <= now) {
            let (_, index) = self.returning.swap_remove(at);
            self.connect(index)?;
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if self.plan.source != 0 {
            bind(&socket, Ipv4Addr::new(127, 0, self.plan.source, 1), &mut self.port)?;
        }
        match socket.connect(&self.plan.connect.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            other => other?,
        }
        let socket = TcpStream::from(socket);
        self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let subscriber = &mut self.subscribers[index];
        subscriber.socket = Some(socket);
        subscriber.asked = false;
        subscriber.greeted = false;
        subscriber.started = Instant::now();
        subscriber.stream = Stream::default();
        self.connecting += 1;
        Ok(())
    }

    fn ready(&mut self, event: &Event) -> io::Result<()> {
        let (index, writable) = (event.token().0, event.is_writable());
        let closing = event.is_read_closed() || event.is_error();
        let stalled = index < self.stalled || (self.plan.never_read && self.subscribers[index].greeted);
        if stalled || self.subscribers[index].socket.is_none() {
            return Ok(());
        }
        if writable && !self.subscribers[index].asked && self.ask(index).is_err() {
            return self.ended(index);
        }
        loop {
            let Some(socket) = &mut self.subscribers[index].socket else { return Ok(()) };
            match socket.read(&mut self.scratch) {
                Ok(0) => return self.ended(index),
                Ok(bytes) => {
                    self.take(index, bytes);
                    // A short read has emptied the socket, and readiness will tell of more, unless it has
                    // told of the end already.
                    if bytes < self.scratch.len() && !closing {
                        return self.greeted_once(index);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.ended(index),
            }
        }
    }

    /// Those who never read are forgotten by the poll as soon as they are in.
    fn greeted_once(&mut self, index: usize) -> io::Result<()> {
        let subscriber = &mut self.subscribers[index];
        if let (true, true, Some(socket)) = (self.plan.never_read, subscriber.greeted, &subscriber.socket) {
            self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()))?;
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) -> io::Result<()> {
        let subscriber = &mut self.subscribers[index];
        let resume = match subscriber.last_id.escape_ascii().to_string() {
            id if id.is_empty() => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let request =
            format!("GET /events?topic={} HTTP/1.1\r\nHost: localhost\r\n{resume}\r\n", self.plan.topic);
        subscriber.asked = true;
        match &mut subscriber.socket {
            Some(socket) => socket.write_all(request.as_bytes()),
            None => Ok(()),
        }
    }

    fn take(&mut self, index: usize, bytes: usize) {
        let Crowd { subscribers, tally, scratch, connecting, .. } = self;
        let Subscriber { stream, last_id, last, gap, greeted, started, .. } = &mut subscribers[index];
        let now_us = unix_us();
        tally.bytes += bytes as u64;
        let read = stream.feed(&scratch[..bytes], &mut |item| match item {
            Item::Opened => {}
            Item::Refused(_) => tally.refused += 1,
            Item::Greeting => {
                *greeted = true;
                *connecting -= 1;
                tally.open += 1;
                tally.opening.add(started.elapsed().as_micros() as u64);
            }
            Item::Heartbeat => tally.heartbeats += 1,
            Item::Event { id: b"", .. } => {
                *gap = u16::MAX;
                tally.gaps += 1;
            }
            Item::Event { id, data } => {
                last_id.clear();
                last_id.extend_from_slice(id);
                follow(tally, last, gap, data, now_us);
            }
            Item::End => tally.ends += 1,
        });
        if let Err(foreign) = read {
            tally.foreign += 1;
            tally.first_foreign.get_or_insert(foreign.0);
        }
    }

    fn ended(&mut self, index: usize) -> io::Result<()> {
        let subscriber = &mut self.subscribers[index];
        subscriber.socket = None;
        if subscriber.greeted {
            self.tally.open -= 1;
            self.tally.closed += 1;
        } else {
            self.connecting -= 1;
            self.tally.failed += 1;
        }
        if self.plan.resume || !subscriber.greeted {
            self.returning.push((Instant::now() + RECONNECT, index));
        }
        Ok(())
    }
}

/// Holds an event, `PUBLISHER NUMBER UNIX_US …`, against the publisher's last one.
fn follow(tally: &mut Tally, last: &mut [u64; PUBLISHERS_MAX], gap: &mut u16, data: &[u8], now_us: u64) {
    let mut fields = data.split(|&byte| byte == b' ').map(number);
    let (Some(Some(publisher)), Some(Some(count)), Some(Some(sent_us))) =
        (fields.next(), fields.next(), fields.next())
    else {
        tally.foreign += 1;
        return;
    };
    let publisher = publisher as usize % PUBLISHERS_MAX;
    let last = &mut last[publisher];
    if count <= *last {
        tally.repeated += 1;
        return;
    }
    let missing = if *last == 0 { 0 } else { count - *last - 1 };
    // Behind a gap that was told, what is missing is missing by right.
    if *gap & 1 << publisher != 0 {
        tally.told += missing;
    } else {
        tally.lost += missing;
    }
    *gap &= !(1 << publisher);
    *last = count;
    tally.events += 1;
    tally.latency.add(now_us.saturating_sub(sent_us));
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The wall clock, which all processes of one machine share.
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64
}
