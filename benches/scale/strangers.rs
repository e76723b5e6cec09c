//! Strangers that have no business here: requests without a credential, heads that are none, connections that
//! hardly move, names without number. Each is the work of a load's process, until that is told to stop.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::load::{connect, count_one, is_stopped};

const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that one connection has under way.
const AT_ONCE: usize = 16;
/// Threads that each open one connection at a time.
const THREADS: u64 = 8;
/// The pause between two pieces of what hardly moves.
const DRIP_EACH: Duration = Duration::from_secs(2);
/// Bytes that a slow reader takes in such a pause, and its receive buffer, which the kernel doubles.
const SIP_BYTES: usize = 8;
const SIP_BUFFER: usize = 1_024;

/// Bytes in place of a head, each answered by a refusal or by the end of the connection.
const MALFORMED: &[&[u8]] = &[
    b"GET /events?topic=a HTTP/1.1\r\n\r\n",
    b"GET /events?topic=a HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET /events?topic=a HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET /events?topic=%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n \r\n\0\r\n\r\n",
];

/// A kept connection that asks again when it has been answered.
struct Asker {
    stream: TcpStream,
    /// Requests without an answer yet.
    unanswered: usize,
    /// The last bytes read, in which a status line may begin.
    tail: Vec<u8>,
}

impl Asker {
    fn open(to: SocketAddr, number: u64) -> io::Result<Asker> {
        let stream = connect(to, number)?;
        stream.set_nonblocking(true)?;
        Ok(Asker { stream, unanswered: 0, tail: Vec::new() })
    }

    /// Reads what has come. Returns whether the connection still stands.
    fn read(&mut self, scratch: &mut [u8]) -> bool {
        const BEGINNING: &[u8] = b"HTTP/1.1 ";
        loop {
            let bytes = match self.stream.read(scratch) {
                Ok(0) => return false,
                Ok(bytes) => bytes,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            self.tail.extend_from_slice(&scratch[..bytes]);
            let answers = self.tail.windows(BEGINNING.len()).filter(|part| *part == BEGINNING).count();
            for _ in 0..answers {
                count_one();
            }
            self.unanswered = self.unanswered.saturating_sub(answers);
            let kept = self.tail.len().min(BEGINNING.len() - 1);
            self.tail.drain(..self.tail.len() - kept);
        }
    }
}

/// Repeats a request on kept connections, at a rate or, with 0, as fast as can be; counts the answers.
pub fn ask(to: SocketAddr, count: usize, rate: u64, request: &str) -> io::Result<()> {
    let burst = request.repeat(AT_ONCE).into_bytes();
    let mut askers =
        (0..count as u64).map(|number| Asker::open(to, number)).collect::<io::Result<Vec<_>>>()?;
    let (mut scratch, mut asked, mut opened) = (vec![0; 65_536], 0, count as u64);
    let start = Instant::now();
    while !is_stopped() {
        let mut moved = false;
        for asker in &mut askers {
            if !asker.read(&mut scratch) {
                *asker = Asker::open(to, opened)?;
                opened += 1;
            }
            let is_due = rate == 0 || (asked as f64) < rate as f64 * start.elapsed().as_secs_f64();
            if asker.unanswered == 0 && is_due && asker.stream.write_all(&burst).is_ok() {
                asker.unanswered = AT_ONCE;
                asked += AT_ONCE;
                moved = true;
            }
        }
        if !moved {
            sleep(Duration::from_micros(200));
        }
    }
    Ok(())
}

/// Lets threads do something again and again, each time with the next number of its own, and counts.
fn repeat(once: impl Fn(u64) -> io::Result<()> + Sync) -> io::Result<()> {
    scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let once = &once;
                scope.spawn(move || -> io::Result<()> {
                    for turn in 0.. {
                        if is_stopped() {
                            break;
                        }
                        once(turn * THREADS + thread)?;
                        count_one();
                    }
                    Ok(())
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .into_iter()
            .try_for_each(|done| done.unwrap_or_else(|_| Err(io::Error::other("a thread broke"))))
    })
}

/// Connections that bring a malformed head and wait for their refusal, as fast as can be.
pub fn malform(to: SocketAddr) -> io::Result<()> {
    repeat(|number| {
        let mut stream = connect(to, number)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(MALFORMED[number as usize % MALFORMED.len()])?;
        // It is answered and ended, or only ended.
        while stream.read(&mut [0; 1_024]).is_ok_and(|bytes| bytes > 0) {}
        Ok(())
    })
}

/// Streams of topics and user agents that have never been named before.
pub fn name(to: SocketAddr) -> io::Result<()> {
    repeat(|number| {
        let target = format!("/events?topic=made.{number}");
        visit(
            to,
            number,
            &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Made/{number}\r\n\r\n"),
        )
    })
}

/// Opens a stream, waits for its greeting and goes.
pub fn visit(to: SocketAddr, number: u64, request: &str) -> io::Result<()> {
    let mut stream = connect(to, number)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut seen = Vec::new();
    while !seen.windows(4).any(|part| part == b":ok\n") {
        let mut piece = [0; 1_024];
        match stream.read(&mut piece)? {
            0 => return Err(io::Error::other(String::from_utf8_lossy(&seen).into_owned())),
            bytes => seen.extend_from_slice(&piece[..bytes]),
        }
    }
    Ok(())
}

/// A way to hold a connection with hardly a byte.
#[derive(Clone, Copy)]
enum Slowness {
    Head,
    Body,
    Read,
}

impl Slowness {
    const ALL: [Slowness; 3] = [Slowness::Head, Slowness::Body, Slowness::Read];

    /// The bytes that it sends at once.
    fn beginning(self) -> String {
        match self {
            Slowness::Head => "GET /events?topic=slow HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
            Slowness::Body => {
                "POST /client-metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".to_owned()
            }
            Slowness::Read => "GET /client.js HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(AT_ONCE),
        }
    }

    fn open(self, to: SocketAddr, number: u64) -> io::Result<TcpStream> {
        let mut stream = connect(to, number)?;
        if let Slowness::Read = self {
            SockRef::from(&stream).set_recv_buffer_size(SIP_BUFFER)?;
        }
        stream.write_all(self.beginning().as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Moves a little. Returns whether the connection still stands.
    fn drip(self, stream: &mut TcpStream) -> bool {
        let sent = match self {
            Slowness::Head => stream.write(b"X: y\r\n"),
            Slowness::Body => stream.write(b"x"),
            Slowness::Read => Ok(0),
        };
        let read = match stream.read(&mut [0; SIP_BYTES]) {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        sent.is_ok() && read
    }
}

/// Connections that hardly move, by turns in their head, their body and their reading; each comes again when
/// it is cut. Counts the connections.
pub fn drip(to: SocketAddr, count: usize) -> io::Result<()> {
    let mut opened = 0;
    let mut open = |slowness: Slowness| {
        opened += 1;
        count_one();
        slowness.open(to, opened)
    };
    let mut streams = Vec::new();
    for slowness in Slowness::ALL.into_iter().cycle().take(count) {
        if is_stopped() {
            return Ok(());
        }
        streams.push((slowness, open(slowness).ok()));
    }
    while !is_stopped() {
        let turn = Instant::now();
        for (slowness, stream) in &mut streams {
            if !stream.as_mut().is_some_and(|stream| slowness.drip(stream)) {
                *stream = open(*slowness).ok();
            }
        }
        while !is_stopped() && turn.elapsed() < DRIP_EACH {
            sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}
