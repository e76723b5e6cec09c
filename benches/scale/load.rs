//! One process that asks more of the server than it should, or takes its processor time: pipelined requests,
//! connections that come and go, history again and again, busy loops, and all that `strangers` do. It counts
//! what it did, and ends with its standard input.
//!
//! In a process of its own so that it gives way to what is measured, unless that is the point, and so that
//! its files are its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::child::bind;
use crate::strangers;

const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that a pipeliner offers at once.
const PIPELINED: usize = 256;
/// Threads that resume.
const RESUMERS: usize = 8;

static STOPPED: AtomicBool = AtomicBool::new(false);
static DONE: AtomicU64 = AtomicU64::new(0);

/// The process, seen from the one that measures.
pub struct Load {
    process: Child,
    orders: Option<ChildStdin>,
}

impl Load {
    /// Starts it: which kind, at whom, how many connections, and what else the kind needs.
    pub fn start(kind: &str, to: SocketAddr, count: usize, further: &str) -> io::Result<Load> {
        // What it does to the server is measured, not what it takes from those who measure. Strangers keep to
        // a rate, which they would miss beside any other work of the machine.
        let policy = if ["pipeline", "storm", "replay"].contains(&kind) { "--idle" } else { "--other" };
        let mut command = Command::new("chrt");
        command.args([policy, "0"]).arg(std::env::current_exe()?).args([
            "load",
            kind,
            &to.to_string(),
            &count.to_string(),
        ]);
        let mut process = command.arg(further).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take();
        Ok(Load { process, orders })
    }

    /// Ends it; how often it did what it does.
    pub fn stop(mut self) -> io::Result<u64> {
        drop(self.orders.take());
        let mut text = String::new();
        if let Some(answers) = &mut self.process.stdout {
            answers.read_to_string(&mut text)?;
        }
        text.trim().parse().map_err(io::Error::other)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process's main.
pub fn run(arguments: &[String]) -> io::Result<()> {
    let [kind, to, count, further] = arguments else { return Err(io::Error::other("bad arguments")) };
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    let count: usize = count.parse().map_err(io::Error::other)?;
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        STOPPED.store(true, Relaxed);
    });
    match kind.as_str() {
        "pipeline" => pipeline(to, count, further == "read")?,
        "storm" => storm(to)?,
        "busy" => busy(count),
        "ask" => {
            let (rate, request) = further.split_once(' ').ok_or_else(|| io::Error::other("bad arguments"))?;
            strangers::ask(to, count, rate.parse().map_err(io::Error::other)?, request)?;
        }
        "malform" => strangers::malform(to)?,
        "name" => strangers::name(to)?,
        "drip" => strangers::drip(to, count)?,
        _ => replay(to, count, further)?,
    }
    println!("{}", DONE.load(Relaxed));
    Ok(())
}

/// Whether this process is to end its work.
pub fn is_stopped() -> bool {
    STOPPED.load(Relaxed)
}

/// Counts one thing done.
pub fn count_one() {
    DONE.fetch_add(1, Relaxed);
}

/// Connections that always have further requests under way; counts the bytes of the answers read.
fn pipeline(to: SocketAddr, count: usize, reads: bool) -> io::Result<()> {
    let requests = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(PIPELINED).into_bytes();
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = TcpStream::connect(to)?;
        socket.set_nonblocking(true)?;
        sockets.push((socket, 0));
    }
    let mut scratch = vec![0; 65_536];
    while !STOPPED.load(Relaxed) {
        let mut moved = 0;
        for (socket, sent) in &mut sockets {
            if let Ok(bytes) = socket.write(&requests[*sent..]) {
                *sent = (*sent + bytes) % requests.len();
                moved += bytes;
            }
            if let Ok(bytes) = if reads { socket.read(&mut scratch) } else { Ok(0) } {
                DONE.fetch_add(bytes as u64, Relaxed);
                moved += bytes;
            }
        }
        if moved == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Connections that come, ask by turns for nothing, half a request or a stream, and are reset; as many as one
/// thread can make.
fn storm(to: SocketAddr) -> io::Result<()> {
    while !STOPPED.load(Relaxed) {
        let turn = DONE.fetch_add(1, Relaxed);
        let mut stream = connect(to, turn)?;
        match turn % 3 {
            0 => {}
            1 => stream.write_all(b"GET /events?topic=st")?,
            _ => stream.write_all(b"GET /events?topic=storm HTTP/1.1\r\nHost: localhost\r\n\r\n")?,
        }
    }
    Ok(())
}

/// Threads that do nothing, as fast as they can; counts their turns.
fn busy(count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                let mut turns = 0;
                while !STOPPED.load(Relaxed) {
                    turns += 1;
                }
                DONE.fetch_add(turns, Relaxed);
            });
        }
    });
}

/// A connection that is reset when it is dropped, from an address and port that take turns.
pub fn connect(to: SocketAddr, turn: u64) -> io::Result<TcpStream> {
    let source = Ipv4Addr::new(127, 3, (turn % 200) as u8, 1);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    bind(&socket, source, &mut (10_000 + (turn / 200 % 50_000) as u16))?;
    socket.connect(&to.into())?;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    Ok(socket.into())
}

/// Clients that come back all at once with the same old id, take all that was kept since, and go; counts
/// the events.
fn replay(to: SocketAddr, count: usize, further: &str) -> io::Result<()> {
    let (id, events) = further.split_once(' ').ok_or_else(|| io::Error::other("bad arguments"))?;
    let events: usize = events.parse().map_err(io::Error::other)?;
    let request = format!("GET /events?topic=old HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {id}\r\n\r\n");
    let threads: Vec<_> = (0..RESUMERS as u64)
        .map(|thread| {
            let request = request.clone();
            std::thread::spawn(move || -> io::Result<()> {
                for turn in 0.. {
                    if STOPPED.load(Relaxed) {
                        break;
                    }
                    let clients: Vec<TcpStream> = (0..(count / RESUMERS) as u64)
                        .map(|client| {
                            let number = (turn * 1_000 + client) * RESUMERS as u64 + thread;
                            let mut stream = connect(to, number)?;
                            stream.set_read_timeout(Some(PATIENCE))?;
                            stream.write_all(request.as_bytes())?;
                            Ok(stream)
                        })
                        .collect::<io::Result<_>>()?;
                    for client in clients {
                        DONE.fetch_add(take_events(client, events)?, Relaxed);
                    }
                }
                Ok(())
            })
        })
        .collect();
    let joined = threads.into_iter().map(|thread| thread.join());
    joined.into_iter().try_for_each(|done| done.unwrap_or_else(|_| Err(io::Error::other("a client broke"))))
}

/// Reads until so many events have come.
fn take_events(mut stream: TcpStream, events: usize) -> io::Result<u64> {
    let (mut seen, mut scratch, mut last) = (0, vec![0; 65_536], 0);
    while seen < events {
        match stream.read(&mut scratch)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                for &byte in &scratch[..bytes] {
                    seen += usize::from(byte == b'\n' && last == b'\n');
                    last = byte;
                }
            }
        }
    }
    Ok(seen as u64)
}
