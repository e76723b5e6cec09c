//! One thread of subscribers: opens them, reads them, judges every event by its stamp. Owns its sockets in a
//! file table of its own; decides nothing about the run: it follows orders and counts.
//!
//! | a subscriber is | until | then |
//! | --- | --- | --- |
//! | away | its turn to connect | connecting |
//! | connecting | response head, or a failure | open, or away for a while |
//! | open | the server ends it, or an order cuts it | away: it comes back with its last id |

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver as Orders, Sender};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use crate::load::plan::{LOAD_THREADS_MAX, LoadPlan};
use crate::load::refusal::{is_final, refusal_words};
use crate::load::run_state::RunState;
use crate::load::stamp::EventStamp;
use crate::load::tally::ReceiverTally;
use crate::load::tls::LoadSession;
use crate::load::topic_spread::{DrawnShare, TopicSpread};
use crate::wire::response_stream::{ResponseStream, StreamFault, StreamItem};
use crate::wire::sse;

/// The waker's token; subscribers' are their places.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The most bytes of one read: all that wait, unless a server sends megabytes.
const READ_BYTES: usize = 256 * 1_024;
/// Readinesses taken from the kernel at once.
const EVENTS: usize = 4_096;
/// The first port of the search for free ports of an address.
pub const PORT_FIRST: u16 = 10_000;
/// The pause after which a failed subscriber connects again.
const AWAY: Duration = Duration::from_millis(200);
/// The longest wait of the poll while no subscriber is to connect.
const IDLE: Duration = Duration::from_millis(500);
/// The longest wait of the poll while subscribers are to connect.
const TURN: Duration = Duration::from_millis(2);

/// The last number of each publisher on each topic, `publisher * topics + topic`.
pub(crate) type LastNumbers = Arc<Vec<u32>>;

/// An order to a receiver.
pub(crate) enum ReceiverOrder {
    /// Opens all subscribers of the receiver.
    Open,
    /// Lets the share that stalls stop reading.
    Stall,
    /// Cuts the share that reconnects.
    Cut,
    /// Connects the cut share again; a subscriber has caught up once it has these numbers.
    Return(LastNumbers),
    /// Sends the counts so far and starts anew.
    Take(Sender<ReceiverTally>),
    /// Counts the events missing up to these numbers, then does as `Take`.
    Judge(LastNumbers, Sender<ReceiverTally>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SubscriberPhase {
    Away,
    Connecting,
    Asked,
    Open,
}

/// Whether a stream's own framing has ended it.
enum StreamOutcome {
    GoesOn,
    Ended,
}

struct LoadSubscriber {
    socket: Option<TcpStream>,
    topic: u32,
    phase: SubscriberPhase,
    stalled: bool,
    /// Whether it was cut and still lacks events that it missed.
    returning: bool,
    /// Whether the server announced a gap, so that the next missing events are accounted for.
    gap: bool,
    since_ns: u64,
    /// The moment at which the server ended its last stream; 0 once the next is open.
    ended_ns: u64,
    stream: ResponseStream,
    /// The id with which it resumes.
    last_id: Vec<u8>,
}

/// The part of a run's subscribers that one receiver has.
#[derive(Clone, Copy)]
pub(crate) struct ReceiverShare {
    /// Number of the receiver.
    pub(crate) index: usize,
    /// Number of its first subscriber in the whole run.
    pub(crate) first: u64,
    /// Number of its subscribers.
    pub(crate) count: usize,
}

/// A subscriber that is to connect, not before a moment.
#[derive(Clone, Copy)]
struct DueConnect {
    due: Instant,
    place: u32,
}

/// Arrivals of one event at subscribers of this receiver.
#[derive(Clone, Copy, Default)]
struct EventArrivals {
    index: u64,
    count: u32,
}

/// A thread of subscribers and its state.
pub(crate) struct LoadReceiver {
    plan: Arc<LoadPlan>,
    state: Arc<RunState>,
    index: usize,
    /// The number of its first subscriber in the whole run.
    first: u64,
    poll: Poll,
    orders: Orders<ReceiverOrder>,
    subscribers: Vec<LoadSubscriber>,
    /// Sessions over TLS by the subscribers' places; empty over plain HTTP.
    sessions: Vec<Option<LoadSession>>,
    /// The last number of each publisher, for each subscriber.
    lasts: Vec<u32>,
    numbers: LastNumbers,
    /// Subscribers that are to connect, in order.
    away: VecDeque<DueConnect>,
    connecting: usize,
    opened_from: Option<Instant>,
    tally: ReceiverTally,
    /// Events received in the whole run, those left out for newer ones included.
    delivered: u64,
    /// Arrivals that are not yet told to the flight.
    arrivals: EventArrivals,
    port: u16,
    scratch: Vec<u8>,
}

impl LoadReceiver {
    /// Makes a receiver whose subscribers are all away.
    pub(crate) fn new(
        plan: Arc<LoadPlan>,
        state: Arc<RunState>,
        share: ReceiverShare,
        poll: Poll,
        orders: Orders<ReceiverOrder>,
    ) -> LoadReceiver {
        let ReceiverShare { index, first, count } = share;
        let spread = TopicSpread::new(plan.topics, plan.shape);
        let subscriber = |place: u64| LoadSubscriber {
            socket: None,
            topic: spread.topic(first + place, plan.seed) as u32,
            phase: SubscriberPhase::Away,
            stalled: false,
            returning: false,
            gap: false,
            since_ns: 0,
            ended_ns: 0,
            stream: ResponseStream::default(),
            last_id: Vec::new(),
        };
        let subscribers = (0..count as u64).map(subscriber).collect();
        let lasts = vec![0; count * plan.publishers];
        let over_tls = if plan.subscribe.server_name.is_some() { count } else { 0 };
        LoadReceiver {
            plan,
            state,
            index,
            first,
            poll,
            orders,
            subscribers,
            sessions: (0..over_tls).map(|_| None).collect(),
            lasts,
            numbers: LastNumbers::default(),
            away: VecDeque::new(),
            connecting: 0,
            opened_from: None,
            tally: ReceiverTally::default(),
            delivered: 0,
            arrivals: EventArrivals::default(),
            port: PORT_FIRST,
            scratch: vec![0; READ_BYTES],
        }
    }

    /// Works until the sender of orders is dropped.
    ///
    /// # Errors
    /// When the poll or a socket fails.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let due = self.connect_due()?;
            match self.poll.poll(&mut events, Some(if due { TURN } else { IDLE })) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in events.iter().filter(|event| event.token() != WAKER) {
                self.handle_readiness(event);
            }
            self.report_arrivals();
            self.state.receiver_counts[self.index].deliveries.store(self.delivered, Relaxed);
            loop {
                match self.orders.try_recv() {
                    Ok(order) => self.follow_order(order)?,
                    Err(error) if error.is_disconnected() => return Ok(()),
                    Err(_) => break,
                }
            }
        }
    }

    fn follow_order(&mut self, order: ReceiverOrder) -> io::Result<()> {
        match order {
            ReceiverOrder::Open => {
                let now = Instant::now();
                self.opened_from = Some(now);
                self.away
                    .extend((0..self.subscribers.len() as u32).map(|place| DueConnect { due: now, place }));
            }
            ReceiverOrder::Stall => {
                for place in self.places_in_share(self.plan.stalling()) {
                    let subscriber = &mut self.subscribers[place];
                    subscriber.stalled = true;
                    if let Some(socket) = &mut subscriber.socket {
                        self.poll.registry().deregister(socket)?;
                    }
                }
            }
            ReceiverOrder::Cut => {
                for place in self.places_in_share(self.plan.reconnecting()) {
                    self.drop_socket(place);
                    self.subscribers[place].returning = true;
                }
            }
            ReceiverOrder::Return(numbers) => {
                self.numbers = numbers;
                let now = Instant::now();
                let returning = self.places_in_share(self.plan.reconnecting());
                returning.iter().for_each(|&place| self.forgive_newcomer(place));
                self.away
                    .extend(returning.into_iter().map(|place| DueConnect { due: now, place: place as u32 }));
            }
            ReceiverOrder::Take(to) => drop(to.send(std::mem::take(&mut self.tally))),
            ReceiverOrder::Judge(numbers, to) => {
                self.count_missing(&numbers);
                drop(to.send(std::mem::take(&mut self.tally)));
            }
        }
        Ok(())
    }

    /// Returns the places of a share of the subscribers, without the stalled ones.
    fn places_in_share(&self, share: DrawnShare) -> Vec<usize> {
        let chosen =
            |&place: &usize| share.has(self.first + place as u64) && !self.subscribers[place].stalled;
        (0..self.subscribers.len()).filter(chosen).collect()
    }

    /// Counts missed events as received if the subscriber had no id before the cut: without a position it
    /// cannot resume.
    fn forgive_newcomer(&mut self, place: usize) {
        let publishers = self.plan.publishers;
        let lasts = &mut self.lasts[place * publishers..][..publishers];
        if self.subscribers[place].last_id.is_empty() && lasts.iter().all(|&last| last == 0) {
            let topic = self.subscribers[place].topic as usize;
            for (publisher, last) in lasts.iter_mut().enumerate() {
                *last = self.numbers[publisher * self.plan.topics + topic];
            }
        }
    }

    /// Counts events that were published and have not arrived.
    fn count_missing(&mut self, numbers: &LastNumbers) {
        let publishers = self.plan.publishers;
        for (place, subscriber) in self.subscribers.iter().enumerate().filter(|(_, one)| !one.stalled) {
            for publisher in 0..publishers {
                let published = numbers[publisher * self.plan.topics + subscriber.topic as usize];
                let missing = u64::from(published.saturating_sub(self.lasts[place * publishers + publisher]));
                *(if subscriber.gap { &mut self.tally.losses.told } else { &mut self.tally.losses.lost }) +=
                    missing;
            }
        }
    }

    /// Connects subscribers whose turn it is; returns whether others still wait.
    fn connect_due(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        let limit = (self.plan.connecting_max / self.state.receiver_counts.len()).max(1);
        while let Some(&DueConnect { due, place }) = self.away.front() {
            if due > now || self.connecting >= limit || !self.ramp_allows(now) {
                return Ok(true);
            }
            self.away.pop_front();
            if self.subscribers[place as usize].phase == SubscriberPhase::Away
                && let Err(os) = self.connect(place as usize)
            {
                self.count_failure(place as usize, &os.to_string());
            }
        }
        Ok(false)
    }

    fn ramp_allows(&self, now: Instant) -> bool {
        let (ramp, threads) = (self.plan.ramp_per_s as f64, self.state.receiver_counts.len() as f64);
        let since = self.opened_from.map_or(0.0, |from| (now - from).as_secs_f64());
        let begun = self.state.receiver_counts[self.index].open.load(Relaxed) as usize + self.connecting;
        ramp == 0.0 || (begun as f64) < since * ramp / threads
    }

    fn connect(&mut self, place: usize) -> io::Result<()> {
        let address = self.plan.subscribe.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if self.plan.is_loopback() {
            let source = Ipv4Addr::new(127, 0, (self.index % LOAD_THREADS_MAX as usize) as u8 + 1, 1);
            bind(&socket, source, &mut self.port)?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            other => other?,
        }
        let mut socket = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(place), both)?;
        let now_ns = self.state.now_ns();
        let subscriber = &mut self.subscribers[place];
        subscriber.socket = Some(socket);
        subscriber.phase = SubscriberPhase::Connecting;
        subscriber.since_ns = now_ns;
        subscriber.stream = ResponseStream::default();
        self.connecting += 1;
        Ok(())
    }

    fn handle_readiness(&mut self, event: &Event) {
        let place = event.token().0;
        if event.is_writable() && self.subscribers[place].phase == SubscriberPhase::Connecting {
            self.send_request(place);
        }
        let closing = event.is_read_closed() || event.is_error();
        loop {
            let subscriber = &mut self.subscribers[place];
            let Some(socket) = &mut subscriber.socket else { return };
            if subscriber.stalled || subscriber.phase == SubscriberPhase::Connecting {
                return;
            }
            let read = match self.sessions.get_mut(place) {
                Some(Some(session)) => session.read(socket, &mut self.scratch),
                _ => socket.read(&mut self.scratch),
            };
            match read {
                Ok(0) => return self.handle_end(place),
                Ok(bytes) => {
                    match self.take(place, bytes) {
                        Ok(StreamOutcome::GoesOn) => {}
                        // A proxy may keep the connection, which this load does not need.
                        Ok(StreamOutcome::Ended) => return self.handle_end(place),
                        Err(fault) => return self.count_refusal(place, fault, bytes),
                    }
                    // A short read has emptied the socket, and readiness will tell of more, unless it has
                    // told of the end already. Of a session it says nothing.
                    if bytes < self.scratch.len() && !closing && self.sessions.is_empty() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.handle_fault(place, &error),
            }
        }
    }

    fn send_request(&mut self, place: usize) {
        let subscriber = &mut self.subscribers[place];
        let Some(socket) = &mut subscriber.socket else { return };
        if let Ok(Some(os)) | Err(os) = socket.take_error() {
            if os.kind() == io::ErrorKind::ConnectionRefused {
                let _ = self.state.opening_fault.set(format!("{os}; is `fanwheel serve` running there?"));
            }
            return self.count_failure(place, &os.to_string());
        }
        let target = self.plan.subscribe_path(subscriber.topic as usize);
        let resume = match subscriber.last_id.escape_ascii().to_string() {
            id if id.is_empty() => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let host = &self.plan.subscribe.host;
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{resume}\r\n");
        subscriber.phase = SubscriberPhase::Asked;
        let sent = match self.plan.new_session(&self.plan.subscribe) {
            Ok(None) => socket.write_all(head.as_bytes()),
            // A new session has room for a head.
            Ok(Some(mut session)) => session.write(socket, head.as_bytes()).map(|_| {
                self.sessions[place] = Some(session);
            }),
            Err(fault) => Err(fault),
        };
        if let Err(os) = sent {
            self.count_failure(place, &os.to_string());
        }
    }

    /// Parses the bytes of a read and judges their events.
    fn take(&mut self, place: usize, bytes: usize) -> Result<StreamOutcome, StreamFault> {
        let now_ns = self.state.now_ns();
        let mut stream = std::mem::take(&mut self.subscribers[place].stream);
        let scratch = std::mem::take(&mut self.scratch);
        self.tally.reads += 1;
        let comments = stream.comments();
        let mut outcome = StreamOutcome::GoesOn;
        let fed = stream.feed(&scratch[..bytes], &mut |item| match item {
            StreamItem::Opened => self.mark_open(place, now_ns),
            StreamItem::Event(event) => self.judge_event(place, &event, now_ns),
            StreamItem::End => outcome = StreamOutcome::Ended,
        });
        self.tally.comments += stream.comments() - comments;
        self.scratch = scratch;
        self.subscribers[place].stream = stream;
        fed.map(|()| outcome)
    }

    fn mark_open(&mut self, place: usize, now_ns: u64) {
        let subscriber = &mut self.subscribers[place];
        subscriber.phase = SubscriberPhase::Open;
        self.connecting -= 1;
        self.tally.opening.add(now_ns.saturating_sub(subscriber.since_ns) / 1_000);
        if subscriber.ended_ns > 0 {
            self.tally.away.add(now_ns.saturating_sub(subscriber.ended_ns) / 1_000);
            subscriber.ended_ns = 0;
        }
        self.state.receiver_counts[self.index].open.fetch_add(1, Relaxed);
        self.finish_return(place, now_ns);
    }

    fn judge_event(&mut self, place: usize, event: &sse::SseEvent<'_>, now_ns: u64) {
        let publishers = self.plan.publishers;
        let subscriber = &mut self.subscribers[place];
        if event.name == b"fanwheel.gap" {
            subscriber.gap = true;
            return;
        }
        let Some(stamp) =
            EventStamp::read(event.data).filter(|stamp| (stamp.publisher as usize) < publishers)
        else {
            self.tally.losses.foreign += 1;
            return;
        };
        let last = &mut self.lasts[place * publishers + stamp.publisher as usize];
        if stamp.number <= *last {
            self.tally.losses.repeated += 1;
            return;
        }
        let missing = u64::from(stamp.number - *last - 1);
        *(match subscriber.gap {
            true => &mut self.tally.losses.told,
            false if self.plan.conflated => {
                self.delivered += missing;
                &mut self.tally.superseded
            }
            false => &mut self.tally.losses.lost,
        }) += missing;
        *last = stamp.number;
        subscriber.gap = subscriber.gap && publishers > 1;
        self.tally.deliveries += 1;
        self.delivered += 1;
        if subscriber.returning {
            self.finish_return(place, now_ns);
        } else {
            self.tally.latency.add(now_ns.saturating_sub(stamp.sent_ns) / 1_000);
            self.count_arrival(stamp.index);
        }
    }

    /// Counts an arrival; arrivals of the same event are reported together.
    fn count_arrival(&mut self, index: u64) {
        if self.arrivals.index != index {
            self.report_arrivals();
            self.arrivals.index = index;
        }
        self.arrivals.count += 1;
    }

    fn report_arrivals(&mut self) {
        let EventArrivals { index, count } = self.arrivals;
        self.arrivals.count = 0;
        if count > 0
            && let Some(sent_ns) = self.state.in_flight.count_arrivals(index, count)
        {
            self.tally.to_last.add(self.state.now_ns().saturating_sub(sent_ns) / 1_000);
            self.state.wake_sleeping_publisher();
        }
    }

    /// Ends the return of a subscriber that has all missed events.
    fn finish_return(&mut self, place: usize, now_ns: u64) {
        let subscriber = &mut self.subscribers[place];
        let publishers = self.plan.publishers;
        let numbers = &self.numbers;
        let has = |publisher: usize| {
            let published = numbers.get(publisher * self.plan.topics + subscriber.topic as usize);
            published.is_none_or(|&number| self.lasts[place * publishers + publisher] >= number)
        };
        if subscriber.returning && (0..publishers).all(has) {
            subscriber.returning = false;
            self.tally.resuming.add(now_ns.saturating_sub(subscriber.since_ns) / 1_000);
            self.state.receiver_counts[self.index].caught_up.fetch_add(1, Relaxed);
        }
    }

    /// Handles a connection that the server ended or broke.
    fn handle_end(&mut self, place: usize) {
        if self.subscribers[place].phase == SubscriberPhase::Open {
            self.tally.losses.ended += 1;
            self.subscribers[place].ended_ns = self.state.now_ns();
            self.drop_socket(place);
            self.away.push_back(DueConnect { due: Instant::now() + AWAY, place: place as u32 });
        } else {
            self.count_failure(place, "closed before an answer");
        }
    }

    /// Handles a connection that broke. No other try helps against a server that is not trusted.
    fn handle_fault(&mut self, place: usize, error: &io::Error) {
        let Some(words) = self.plan.subscribe.describe_tls_error(error) else {
            return self.handle_end(place);
        };
        let _ = self.state.opening_fault.set(words.clone());
        self.count_failure(place, &words);
    }

    /// Counts an answer that is no stream; `bytes` of it came in the last read.
    fn count_refusal(&mut self, place: usize, fault: StreamFault, bytes: usize) {
        match fault {
            StreamFault::Status(status) => {
                if is_final(status) {
                    let words = refusal_words(&self.scratch[..bytes]);
                    let _ = self.state.opening_fault.set(format!("refused with {status}: {words}"));
                }
                self.count_failure(place, &format!("answered {status}"));
            }
            StreamFault::NoStream => self.count_failure(place, "answered without an event stream"),
            StreamFault::Broken => self.count_failure(place, "answered in broken HTTP"),
        }
    }

    fn count_failure(&mut self, place: usize, what: &str) {
        self.tally.losses.count_failed(what);
        self.drop_socket(place);
        self.away.push_back(DueConnect { due: Instant::now() + AWAY, place: place as u32 });
    }

    fn drop_socket(&mut self, place: usize) {
        let subscriber = &mut self.subscribers[place];
        match subscriber.phase {
            SubscriberPhase::Open => drop(self.state.receiver_counts[self.index].open.fetch_sub(1, Relaxed)),
            SubscriberPhase::Connecting | SubscriberPhase::Asked => self.connecting -= 1,
            SubscriberPhase::Away => {}
        }
        let id = subscriber.stream.last_event_id();
        if !id.is_empty() {
            subscriber.last_id = id.to_vec();
        }
        subscriber.socket = None;
        subscriber.phase = SubscriberPhase::Away;
        if let Some(session) = self.sessions.get_mut(place) {
            *session = None;
        }
    }
}

/// Binds to the next free port of an address. Left to the kernel, the search for one takes milliseconds when
/// tens of thousands are in use.
///
/// # Errors
/// Any error of the system other than a port in use.
pub fn bind(socket: &Socket, source: Ipv4Addr, port: &mut u16) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    loop {
        *port = port.checked_add(1).unwrap_or(PORT_FIRST);
        match socket.bind(&SocketAddr::from((source, *port)).into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
}
