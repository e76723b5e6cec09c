//! A connection to a stream, and its arrivals with their times.
//!
//! A thread reads until the end, so that a late look is not mistaken for a late arrival. Judges nothing.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use super::refusal_body::RefusalBody;
use super::tls::{TlsSession, handshake};
use super::url::StreamUrl;
use crate::base::limits::{DOCTOR_CONNECT_TIMEOUT, KIB};
use crate::doctor::judge::streams::StreamEnd;
use crate::host::tls_trust::TlsTrust;
use crate::wire::response_stream::{ResponseStream, StreamItem};

/// Bytes of an answer's head, to which proxies add fields.
const DOCTOR_HEAD_BYTES_MAX: usize = 64 * KIB;
/// Fields of an answer's head.
const DOCTOR_HEADERS_MAX: usize = 128;
/// Arrivals that are kept of one stream; a public topic may be busy.
const DOCTOR_ARRIVALS_MAX: usize = 100_000;

/// The end of a chunked body, when it is sent alone.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Bytes of an event's data that are kept, enough to recognise own events.
const DATA_BYTES_KEPT: usize = 64;

/// One thing that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArrivalKind {
    /// Status and fields of the answer.
    Head(u16, Vec<(String, String)>),
    /// Some bytes of the body.
    Bytes,
    /// Comments, with the number of all so far.
    Comments(u64),
    /// An event: id, name, the beginning of its data.
    Event {
        /// Its id, or that of the last event with one.
        id: String,
        /// Its name, or `message`.
        name: String,
        /// The first 64 bytes of its data at most.
        data: String,
    },
    /// Words in the body of an answer with another status than 200; none that are for people.
    Refusal(Option<String>),
    /// The end of the stream.
    Ended(StreamEnd),
}

/// A thing that arrived, with its time.
#[derive(Clone, Debug)]
pub(crate) struct StreamArrival {
    /// The time when it was read.
    pub(crate) at: Instant,
    /// The thing that arrived.
    pub(crate) kind: ArrivalKind,
}

/// A socket, with or without TLS.
enum ProbeSocket {
    Plain(TcpStream),
    Tls(Box<TlsSession>),
}

impl Read for ProbeSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            ProbeSocket::Plain(socket) => socket.read(buffer),
            ProbeSocket::Tls(socket) => socket.read(buffer),
        }
    }
}

impl ProbeSocket {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            ProbeSocket::Plain(socket) => socket.write_all(bytes),
            ProbeSocket::Tls(socket) => socket.write_all(bytes).and_then(|()| socket.flush()),
        }
    }
}

/// A request that was sent, and the arrivals that follow.
pub(crate) struct ProbeConnection {
    /// The time when the request was sent.
    pub(crate) started: Instant,
    /// Time that connecting took, without TLS.
    pub(crate) connect_ms: u64,
    socket: TcpStream,
    arriving: Receiver<StreamArrival>,
    /// Arrivals that have been looked at.
    pub(crate) arrivals: Vec<StreamArrival>,
}

impl Drop for ProbeConnection {
    fn drop(&mut self) {
        // The thread that reads ends with the socket.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Connects to the first address of that name that answers.
pub(crate) fn connect(address: &StreamUrl) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for one in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&one, DOCTOR_CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends a request on a connection of its own.
pub(crate) fn open_connection(
    address: &StreamUrl,
    trust: Option<&TlsTrust>,
    request: &[u8],
) -> io::Result<ProbeConnection> {
    let before = Instant::now();
    let socket = connect(address)?;
    let connect_ms = u64::try_from(before.elapsed().as_millis()).unwrap_or(u64::MAX);
    socket.set_nodelay(true)?;
    let kept = socket.try_clone()?;
    let mut line = match trust {
        Some(trust) => ProbeSocket::Tls(Box::new(handshake(socket, &address.host, trust, &["http/1.1"])?)),
        None => ProbeSocket::Plain(socket),
    };
    line.send(request)?;
    let started = Instant::now();
    let (to, arriving) = sync_channel(DOCTOR_ARRIVALS_MAX);
    thread::spawn(move || read_until_end(line, &to));
    Ok(ProbeConnection { started, connect_ms, socket: kept, arriving, arrivals: Vec::new() })
}

impl ProbeConnection {
    /// Waits for an arrival that satisfies `look`, earlier ones included.
    pub(crate) fn wait_for<T>(
        &mut self,
        until: Instant,
        look: impl Fn(&StreamArrival) -> Option<T>,
    ) -> Option<T> {
        if let Some(found) = self.arrivals.iter().find_map(&look) {
            return Some(found);
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let arrival = self.arriving.recv_timeout(left).ok()?;
            // An endless flow has an arrival even when no time is left.
            let in_time = arrival.at <= until;
            let found = look(&arrival).filter(|_| in_time);
            if self.arrivals.len() < DOCTOR_ARRIVALS_MAX {
                self.arrivals.push(arrival);
            }
            if found.is_some() || !in_time {
                return found;
            }
        }
    }

    /// Returns the end and its time, if it has been seen.
    pub(crate) fn end(&self) -> Option<(StreamEnd, u64)> {
        self.arrivals.iter().find_map(|arrival| match arrival.kind {
            ArrivalKind::Ended(end) => {
                let life = arrival.at.saturating_duration_since(self.started);
                Some((end, u64::try_from(life.as_millis()).unwrap_or(u64::MAX)))
            }
            _ => None,
        })
    }

    /// Closes the connection as a closed browser tab does; returns the time.
    pub(crate) fn close(self) -> Instant {
        drop(self);
        Instant::now()
    }

    /// Waits for the end, or for the time to pass.
    pub(crate) fn wait_for_end(&mut self, until: Instant) {
        self.wait_for(until, |arrival| matches!(arrival.kind, ArrivalKind::Ended(_)).then_some(()));
    }
}

/// Reads until the end, or until the connection has been dropped.
fn read_until_end(mut line: ProbeSocket, to: &SyncSender<StreamArrival>) {
    let mut reader = AnswerReader::default();
    let mut buffer = vec![0; 16 * 1_024];
    loop {
        let read = line.read(&mut buffer);
        let at = Instant::now();
        let mut found = Vec::new();
        let goes_on = match read {
            Ok(bytes) if bytes > 0 => reader.take_bytes(&buffer[..bytes], &mut found),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            _ => false,
        };
        if !goes_on {
            found.extend(reader.take_refusal());
        }
        if !goes_on && !matches!(found.last(), Some(ArrivalKind::Ended(_))) {
            found.push(ArrivalKind::Ended(StreamEnd::Cut));
        }
        let sent = found.into_iter().try_for_each(|kind| to.send(StreamArrival { at, kind }));
        if sent.is_err() || !goes_on {
            return;
        }
    }
}

/// Turns the bytes of an answer into arrivals.
#[derive(Default)]
struct AnswerReader {
    head: Vec<u8>,
    head_is_over: bool,
    /// None when the body is no plain event stream: then its bytes are only noticed.
    stream: Option<ResponseStream>,
    /// The body of an answer with another status than 200.
    refusal: Option<RefusalBody>,
    comments: u64,
}

impl AnswerReader {
    /// Takes bytes; returns false at the end.
    fn take_bytes(&mut self, bytes: &[u8], found: &mut Vec<ArrivalKind>) -> bool {
        if let Some(refusal) = &mut self.refusal {
            return refusal.take(bytes);
        }
        if self.head_is_over {
            // The end alone is no byte of the body, so that the silence before it can be measured.
            if bytes != LAST_CHUNK {
                found.push(ArrivalKind::Bytes);
            }
            return self.take_body(bytes, found);
        }
        self.head.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; DOCTOR_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return self.head.len() < DOCTOR_HEAD_BYTES_MAX,
            Err(_) => return false,
        };
        let status = response.code.unwrap_or(0);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields: Vec<(String, String)> =
            response.headers.iter().map(|field| (field.name.to_owned(), text(field.value))).collect();
        let compressed = fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-encoding") && !value.eq_ignore_ascii_case("identity")
        });
        if (100..200).contains(&status) {
            let rest = self.head.split_off(length);
            self.head.clear();
            return rest.is_empty() || self.take_bytes(&rest, found);
        }
        self.head_is_over = true;
        let whole = std::mem::take(&mut self.head);
        if status != 200 && !compressed {
            let mut refusal = RefusalBody::behind(&fields);
            found.push(ArrivalKind::Head(status, fields));
            let goes_on = refusal.take(&whole[length..]);
            self.refusal = Some(refusal);
            return goes_on;
        }
        self.stream = (!compressed).then(ResponseStream::default);
        found.push(ArrivalKind::Head(status, fields));
        if whole.len() > length {
            found.push(ArrivalKind::Bytes);
        }
        // The reader of the stream needs the head too: it has the framing of the body.
        self.take_body(&whole, found)
    }

    /// Returns the words of a refusal when no more of it comes.
    fn take_refusal(&mut self) -> Option<ArrivalKind> {
        self.refusal.take().map(|refusal| ArrivalKind::Refusal(refusal.words()))
    }

    fn take_body(&mut self, bytes: &[u8], found: &mut Vec<ArrivalKind>) -> bool {
        let Some(stream) = &mut self.stream else { return true };
        let mut ended = false;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fed = stream.feed(bytes, &mut |item| match item {
            StreamItem::Opened => {}
            StreamItem::Event(event) => found.push(ArrivalKind::Event {
                id: text(event.id),
                name: text(event.name),
                data: text(&event.data[..event.data.len().min(DATA_BYTES_KEPT)]),
            }),
            StreamItem::End => ended = true,
        });
        if stream.comments() > self.comments {
            self.comments = stream.comments();
            found.push(ArrivalKind::Comments(self.comments));
        }
        if ended {
            found.push(ArrivalKind::Ended(StreamEnd::Clean));
        }
        // A body that is no stream has no meaning here; the head is enough.
        fed.is_ok() && !ended
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(answer: &str, piece: usize) -> Vec<ArrivalKind> {
        let (mut reader, mut found) = (AnswerReader::default(), Vec::new());
        for part in answer.as_bytes().chunks(piece) {
            if !reader.take_bytes(part, &mut found) {
                break;
            }
        }
        found.extend(reader.take_refusal());
        found.retain(|kind| *kind != ArrivalKind::Bytes);
        found
    }

    #[test]
    fn an_answer_is_read_in_any_pieces() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let stream = "4\r\n:ok\n\r\n11\r\nid: 7\ndata: abc\n\n\r\n2\r\n:\n\r\n0\r\n\r\n";
        let answer = format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{head}{stream}");
        let event =
            ArrivalKind::Event { id: "7".to_owned(), name: "message".to_owned(), data: "abc".to_owned() };
        for piece in [1, 2, 7, 20] {
            let found = read(&answer, piece);
            assert!(matches!(&found[0], ArrivalKind::Head(200, fields) if fields.len() == 2), "{found:?}");
            assert_eq!(
                found[1..],
                [
                    ArrivalKind::Comments(1),
                    event.clone(),
                    ArrivalKind::Comments(2),
                    ArrivalKind::Ended(StreamEnd::Clean)
                ],
                "{piece}"
            );
        }
        let whole = read(&answer, 1_000);
        assert!(
            whole.contains(&event) && whole.last() == Some(&ArrivalKind::Ended(StreamEnd::Clean)),
            "{whole:?}"
        );
    }

    #[test]
    fn what_comes_faster_than_it_is_looked_at_ends_no_wait_late() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (to, arriving) = sync_channel(8);
        let started = Instant::now();
        let (soon, late) = (started + Duration::from_millis(1), started + Duration::from_secs(9));
        for at in [started, started, late, late, late] {
            to.send(StreamArrival { at, kind: ArrivalKind::Bytes }).unwrap();
        }
        to.send(StreamArrival { at: late, kind: ArrivalKind::Ended(StreamEnd::Clean) }).unwrap();
        let mut stream = ProbeConnection { started, connect_ms: 0, socket, arriving, arrivals: Vec::new() };
        stream.wait_for_end(soon);
        assert_eq!(stream.arrivals.len(), 3, "what came later is left for later");
        stream.wait_for_end(late);
        assert_eq!(stream.arrivals.len(), 6);
        assert!(stream.wait_for(soon, |arrival| (arrival.at == started).then_some(())).is_some());
    }

    #[test]
    fn what_is_compressed_or_no_stream_has_only_a_head() {
        let squeezed =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n\x1f\x0b";
        assert!(matches!(&read(squeezed, 1_000)[..], [ArrivalKind::Head(200, _)]));
        let refused = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno";
        for piece in [3, 1_000] {
            let found = read(refused, piece);
            let [ArrivalKind::Head(502, _), ArrivalKind::Refusal(words)] = &found[..] else {
                panic!("{found:?}")
            };
            assert_eq!(words.as_deref(), Some("no"));
        }
        assert_eq!(read("SSH-2.0-OpenSSH\r\n", 1_000), []);
    }
}
