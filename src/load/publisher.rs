//! The thread that publishes: keeps some connections busy, at a rate or with so many events on their way.
//!
//! At a rate, an event's moment is when it was due, however late a connection was free for it, so that a
//! server that stops for a while is charged for every event it held up (coordinated omission). An event that
//! is refused is sent again, with its first moment, until it is taken: numbers have no holes.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver as Orders, Sender};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::base::limits::LOAD_HEADERS_MAX;
use crate::base::prng::Prng;
use crate::load::histogram::LatencyHistogram;
use crate::load::plan::{LoadPlan, PublishPace};
use crate::load::receiver::{LastNumbers, WAKER};
use crate::load::refusal::{is_final, words_of};
use crate::load::run_state::RunState;
use crate::load::stamp::EventStamp;
use crate::load::tls::LoadSession;
use crate::load::topic_spread::TopicSpread;

/// The pause before a refused event is sent again.
const RETRY_NS: u64 = 5_000_000;
/// The pause after a connection that could not be made or broke.
const RECONNECT_NS: u64 = 100_000_000;
const WAIT_MAX: Duration = Duration::from_millis(100);
const SECOND_NS: f64 = 1e9;
const ANSWER_BYTES: usize = 16_384;

/// A phase of publishing.
pub(crate) struct PublishPhase {
    /// The most events to publish.
    pub(crate) events: u64,
    /// The longest time to publish.
    pub(crate) time: Duration,
    /// The pace of events.
    pub(crate) pace: PublishPace,
    /// Subscribers of each topic that read.
    pub(crate) audience: Arc<Vec<u32>>,
    /// Takes the outcome at the end.
    pub(crate) done: Sender<PublishPhaseOutcome>,
}

/// The outcome of a phase of publishing.
#[derive(Clone, Default)]
pub(crate) struct PublishPhaseOutcome {
    /// Events taken by the server.
    pub(crate) accepted: u64,
    /// Requests answered, refusals left out.
    pub(crate) requests: u64,
    /// Answers 503 or 429, each followed by another try.
    pub(crate) refused: u64,
    /// Other answers and broken connections, each followed by another try.
    pub(crate) wrong: u64,
    /// The last of these failures, in words.
    pub(crate) wrong_words: Option<String>,
    /// Whether the server refused a publish for good: another try would be refused as well.
    pub(crate) refused_for_good: bool,
    /// Events that should have been published but were not, when the part ended.
    pub(crate) unsent: u64,
    /// Latency from sending to the answer.
    pub(crate) answered: LatencyHistogram,
    /// The longest wait of an event for a free connection.
    pub(crate) late_ns: u64,
    /// The last number on each topic so far.
    pub(crate) numbers: LastNumbers,
}

#[derive(Default)]
struct PublishConnection {
    socket: Option<TcpStream>,
    /// The session of the socket; none over plain HTTP.
    session: Option<LoadSession>,
    /// The request on its way; `written` bytes of it are sent.
    request: Vec<u8>,
    written: usize,
    events: u64,
    begun_ns: u64,
    /// The earliest moment for the next try.
    not_before_ns: u64,
    answer: Vec<u8>,
}

impl PublishConnection {
    fn is_free(&self) -> bool {
        self.request.is_empty()
    }
}

/// The state of the publishing thread.
pub(crate) struct LoadPublisher {
    plan: Arc<LoadPlan>,
    state: Arc<RunState>,
    poll: Poll,
    orders: Orders<PublishPhase>,
    spread: TopicSpread,
    connections: Vec<PublishConnection>,
    numbers: Vec<u32>,
    /// The next event's index.
    index: u64,
    sizes: Prng,
    /// Tells the keys of this run from those of others.
    run: u64,
    done: PublishPhaseOutcome,
}

impl LoadPublisher {
    /// Makes a publisher that waits for phases.
    pub(crate) fn new(
        plan: Arc<LoadPlan>,
        state: Arc<RunState>,
        poll: Poll,
        orders: Orders<PublishPhase>,
    ) -> LoadPublisher {
        let (connections, topics) = (plan.publishers, plan.topics);
        LoadPublisher {
            spread: TopicSpread::new(topics, plan.shape),
            connections: (0..connections).map(|_| PublishConnection::default()).collect(),
            numbers: vec![0; connections * topics],
            index: 0,
            sizes: Prng::new(plan.seed),
            run: run_number(),
            done: PublishPhaseOutcome::default(),
            plan,
            state,
            poll,
            orders,
        }
    }

    /// Works until the sender of phases is dropped.
    ///
    /// # Errors
    /// When the poll does not work.
    pub(crate) fn run(mut self) -> io::Result<()> {
        while let Ok(part) = self.orders.recv() {
            self.done = PublishPhaseOutcome::default();
            self.publish_phase(&part)?;
            self.done.numbers = Arc::new(self.numbers.clone());
            // The receiver may have given up.
            let _ = part.done.send(self.done.clone());
        }
        Ok(())
    }

    fn publish_phase(&mut self, part: &PublishPhase) -> io::Result<()> {
        let (start_ns, first) = (self.state.now_ns(), self.index);
        self.state.in_flight.begin_phase(first);
        let end_ns = start_ns.saturating_add(part.time.as_nanos() as u64);
        let patience_ns = self.plan.patience.as_nanos() as u64;
        let mut events = Events::with_capacity(64);
        let (mut progress, mut moved_ns) = ((0, 0), start_ns);
        loop {
            let now_ns = self.state.now_ns();
            let reached = (self.done.accepted, self.state.in_flight.complete_events());
            if reached != progress || !self.has_work_in_flight(part, first) {
                (progress, moved_ns) = (reached, now_ns);
            }
            if self.done.refused_for_good {
                self.abandon_requests();
                return Ok(());
            }
            if now_ns.saturating_sub(moved_ns) > patience_ns {
                self.give_up();
                return Ok(());
            }
            let over = now_ns >= end_ns || self.index - first >= part.events || self.state.is_stopped();
            let mut next_ns = end_ns;
            if !over {
                next_ns = self.begin_due_events(part, start_ns, first);
            }
            let next_ns = next_ns.min(self.send_requests());
            let busy = self.connections.iter().any(|connection| !connection.is_free());
            if over && !busy {
                self.done.unsent = self.count_unsent(part, start_ns, first);
                return Ok(());
            }
            self.wait(&mut events, next_ns)?;
        }
    }

    /// Whether an event of this phase is on its way, so that the server has work.
    fn has_work_in_flight(&self, part: &PublishPhase, first: u64) -> bool {
        let window = matches!(part.pace, PublishPace::Window(_)) && self.index > first;
        window || self.connections.iter().any(|connection| !connection.is_free())
    }

    /// Begins every event that is due and has a free connection; returns when the next one is due.
    fn begin_due_events(&mut self, part: &PublishPhase, start_ns: u64, first: u64) -> u64 {
        let batch = self.plan.batch as u64;
        loop {
            let now_ns = self.state.now_ns();
            let begun = self.index - first;
            let left = part.events - begun;
            let Some(free) =
                self.connections.iter().position(PublishConnection::is_free).filter(|_| left > 0)
            else {
                return u64::MAX;
            };
            let due_ns = match part.pace {
                PublishPace::Rate(rate) => start_ns.saturating_add((begun as f64 / rate * SECOND_NS) as u64),
                PublishPace::Window(window) => {
                    // Completions nudge; looked at after the announcement, none can be missed.
                    self.state.set_publisher_sleeps(true);
                    // An arrival of an earlier part that is just being counted may be too much.
                    let open = begun.saturating_sub(self.state.in_flight.complete_events());
                    if open + batch.min(left) > window.max(batch) {
                        return u64::MAX;
                    }
                    self.state.set_publisher_sleeps(false);
                    now_ns
                }
            };
            if due_ns > now_ns {
                return due_ns;
            }
            self.done.late_ns = self.done.late_ns.max(now_ns - due_ns);
            self.begin_request(free, batch.min(left), due_ns, &part.audience);
        }
    }

    /// Writes a request for the next events into a free connection.
    fn begin_request(&mut self, at: usize, events: u64, due_ns: u64, audience: &[u32]) {
        let mut body = Vec::new();
        let mut topic = 0;
        for _ in 0..events {
            topic = self.spread.topic(self.index, self.plan.seed ^ 1);
            let number = &mut self.numbers[at * self.plan.topics + topic];
            *number += 1;
            let stamp =
                EventStamp { publisher: at as u32, number: *number, index: self.index, sent_ns: due_ns };
            self.state.in_flight.begin_event(self.index, audience[topic], due_ns);
            self.index += 1;
            let spare = (self.plan.bytes_max - self.plan.bytes) as u64;
            let bytes = self.plan.bytes + self.sizes.below(spare + 1) as usize;
            if self.plan.batch > 1 {
                let name = self.plan.topic_name(topic);
                let key = if self.plan.conflated { format!("\"key\":\"p{at}\",") } else { String::new() };
                body.extend_from_slice(format!("{{\"topic\":\"{name}\",{key}\"data\":\"").as_bytes());
                stamp.write(bytes, &mut body);
                body.extend_from_slice(b"\"}\n");
            } else {
                stamp.write(bytes, &mut body);
            }
        }
        let kind = if self.plan.batch > 1 { "application/x-ndjson" } else { "text/plain" };
        let name = self.plan.topic_name(topic);
        let mut headers = format!("Content-Type: {kind}\r\n");
        if let Some(token) = &self.plan.publish_token {
            headers.push_str(&format!("Authorization: Bearer {}\r\n", token.as_str()));
        }
        if self.plan.through_restarts {
            headers.push_str(&format!("Idempotency-Key: load-{:x}-{}\r\n", self.run, self.index));
        }
        let connection = &mut self.connections[at];
        let mut path = self.plan.publishing().path(&name);
        if self.plan.conflated && self.plan.batch == 1 {
            path.push_str(if path.contains('?') { "&" } else { "?" });
            path.push_str(&format!("key=p{at}"));
        }
        connection.request = request_bytes(&self.plan.publishing().host, &path, &headers, &body);
        (connection.written, connection.events, connection.not_before_ns) = (0, events, 0);
    }

    /// Sends the requests that are due; returns when the next one is.
    fn send_requests(&mut self) -> u64 {
        let now_ns = self.state.now_ns();
        let mut next_ns = u64::MAX;
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            if connection.is_free() || connection.written == connection.request.len() {
                continue;
            }
            if connection.not_before_ns > now_ns {
                next_ns = next_ns.min(connection.not_before_ns);
            } else if let Err(os) = self.send(at, now_ns) {
                self.break_connection(at, &os);
            }
        }
        next_ns
    }

    fn send(&mut self, at: usize, now_ns: u64) -> io::Result<()> {
        let connection = &mut self.connections[at];
        if connection.socket.is_none() {
            let mut socket = TcpStream::connect(self.plan.publishing().address)?;
            socket.set_nodelay(true)?;
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(at), both)?;
            connection.session = self.plan.new_session(self.plan.publishing())?;
            connection.socket = Some(socket);
        }
        let Some(socket) = &mut connection.socket else { return Ok(()) };
        if connection.written == 0 {
            connection.begun_ns = now_ns;
        }
        while connection.written < connection.request.len() {
            let rest = &connection.request[connection.written..];
            let sent = match &mut connection.session {
                Some(session) => session.write(socket, rest),
                None => socket.write(rest),
            };
            match sent {
                Ok(bytes) => connection.written += bytes,
                // Not connected yet, or full: readiness tells.
                Err(os) if matches!(os.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    break;
                }
                Err(os) if os.kind() == io::ErrorKind::Interrupted => {}
                Err(os) => return Err(os),
            }
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Events, next_ns: u64) -> io::Result<()> {
        let left = Duration::from_nanos(next_ns.saturating_sub(self.state.now_ns())).min(WAIT_MAX);
        // The poll counts in milliseconds; a shorter wait happens outside of it.
        let timeout = if left < Duration::from_millis(1) {
            std::thread::sleep(left);
            Duration::ZERO
        } else {
            left
        };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let over_tls = self.plan.publishing().server_name.is_some();
        for event in events.iter().filter(|event| event.token() != WAKER) {
            // A session may have more to write, which `read` does.
            if over_tls || event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(event.token().0);
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let free = connection.is_free();
        let Some(socket) = &mut connection.socket else { return };
        let mut piece = [0; ANSWER_BYTES];
        loop {
            let read = match &mut connection.session {
                Some(session) => session.read(socket, &mut piece),
                None => socket.read(&mut piece),
            };
            match read {
                Ok(0) if free => {
                    connection.socket = None;
                    return;
                }
                // A server that refuses a body often closes right behind its answer.
                Ok(0) => match whole_answer(&connection.answer) {
                    Ok(Some(answer)) => {
                        return self.take_answer(at, PublishAnswer { closes: true, ..answer });
                    }
                    _ => return self.drop_connection(at, "the connection was closed before the answer"),
                },
                Ok(bytes) => connection.answer.extend_from_slice(&piece[..bytes]),
                Err(os) if os.kind() == io::ErrorKind::WouldBlock => break,
                Err(os) if os.kind() == io::ErrorKind::Interrupted => {}
                Err(os) => return self.break_connection(at, &os),
            }
        }
        match whole_answer(&self.connections[at].answer) {
            Ok(None) => {}
            Ok(Some(answer)) => self.take_answer(at, answer),
            Err(()) => self.drop_connection(at, "the answer to a publish is no HTTP"),
        }
    }

    fn take_answer(&mut self, at: usize, answer: PublishAnswer) {
        let now_ns = self.state.now_ns();
        let connection = &mut self.connections[at];
        connection.answer.clear();
        if answer.closes {
            connection.socket = None;
        }
        if (200..300).contains(&answer.status) {
            self.done.accepted += connection.events;
            self.done.requests += 1;
            self.done.answered.add((now_ns - connection.begun_ns) / 1_000);
            connection.request.clear();
            return;
        }
        (connection.written, connection.not_before_ns) = (0, now_ns + RETRY_NS);
        if matches!(answer.status, 503 | 429) {
            self.done.refused += 1;
        } else {
            self.done.wrong += 1;
            self.done.wrong_words = Some(format!("refused with {}: {}", answer.status, answer.words));
            self.done.refused_for_good = is_final(answer.status);
        }
    }

    /// Drops a connection that the system or TLS gave up on. Where nothing listens, or a server is not
    /// trusted, and nothing was ever taken, another try is vain.
    fn break_connection(&mut self, at: usize, os: &io::Error) {
        let fault = self.plan.publishing().describe_tls_error(os);
        let vain = os.kind() == io::ErrorKind::ConnectionRefused || fault.is_some();
        self.drop_connection(at, &fault.unwrap_or_else(|| os.to_string()));
        self.done.refused_for_good |= vain && self.done.accepted == 0;
    }

    /// Drops a connection; its request is sent again on the next one.
    fn drop_connection(&mut self, at: usize, words: &str) {
        let now_ns = self.state.now_ns();
        let connection = &mut self.connections[at];
        connection.socket = None;
        connection.answer.clear();
        if !connection.is_free() {
            (connection.written, connection.not_before_ns) = (0, now_ns + RECONNECT_NS);
            self.done.wrong += 1;
            self.done.wrong_words = Some(words.to_owned());
        }
    }

    /// Returns the events that were due at a rate and never begun.
    fn count_unsent(&self, part: &PublishPhase, start_ns: u64, first: u64) -> u64 {
        let PublishPace::Rate(rate) = part.pace else { return 0 };
        let elapsed = (self.state.now_ns() - start_ns).min(part.time.as_nanos() as u64);
        let due = ((elapsed as f64 / SECOND_NS * rate) as u64).min(part.events);
        due.saturating_sub(self.index - first)
    }

    /// Drops requests without an answer; their events count as not sent.
    fn abandon_requests(&mut self) {
        for connection in self.connections.iter_mut().filter(|connection| !connection.is_free()) {
            self.done.unsent += connection.events;
            *connection = PublishConnection::default();
        }
    }

    /// Gives up on a server that does not answer: events without an answer count as not sent.
    fn give_up(&mut self) {
        self.abandon_requests();
        self.done.wrong += 1;
        self.done.wrong_words.get_or_insert_with(|| {
            format!("neither an answer nor a last delivery for {} s", self.plan.patience.as_secs())
        });
    }
}

fn request_bytes(host: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Returns a number that no other run has.
fn run_number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64) ^ (u64::from(std::process::id()) << 40)
}

struct PublishAnswer {
    status: u16,
    closes: bool,
    /// The server's own words: the message of its JSON, else the text's beginning.
    words: String,
}

/// Returns the answer that `bytes` begin with, once it is whole. One request is on its way at a time, so
/// nothing follows it.
fn whole_answer(bytes: &[u8]) -> Result<Option<PublishAnswer>, ()> {
    let mut headers = [httparse::EMPTY_HEADER; LOAD_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(drop)? else { return Ok(None) };
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).to_ascii_lowercase())
    };
    let closes = value("connection").is_some_and(|words| words.contains("close"));
    let body = &bytes[head..];
    let whole = match (value("content-length"), value("transfer-encoding")) {
        (Some(length), _) => body.len() >= length.trim().parse::<usize>().map_err(drop)?,
        (None, Some(coding)) if coding.contains("chunked") => body.ends_with(b"0\r\n\r\n"),
        _ => true,
    };
    let words = if (200..300).contains(&status) { String::new() } else { words_of(body) };
    Ok(whole.then_some(PublishAnswer { status, closes, words }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_it_is_whole() {
        let rows = [
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok", Some((202, false))),
            ("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", Some((204, true))),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Some((200, false))),
            ("HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nok", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", None),
            ("HTTP/1.1 202", None),
        ];
        for (bytes, wanted) in rows {
            let answer = whole_answer(bytes.as_bytes()).expect("it is HTTP");
            assert_eq!(answer.map(|answer| (answer.status, answer.closes)), wanted, "{bytes:?}");
        }
        assert!(whole_answer(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
