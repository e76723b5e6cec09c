//! Requests that do not come to their end: half-sent publish bodies and dripping heads.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Options;
use crate::report::Report;
use crate::server::Server;
use crate::victims::Victims;
use crate::watch::{Taken, Watch, mib};
use fanwheel::host::processes;

/// The default `publish_bytes_max`.
const BODY_BYTES: usize = 262_144;
/// The default `head_ms`, and what a busy machine may add.
const HEAD_CUT: Duration = Duration::from_millis(10_000 + 3_000);

/// Bodies of the largest size of which all but the end is sent.
pub fn bodies(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("bodies");
    let count = options.get("connections", 2_000) as usize;
    let server = Server::start("bodies", &[])?;
    let victims = Victims::start(&server)?;
    let watch = Watch::start(&server, true)?;
    let head = format!(
        "POST /publish?topic=half HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
    );
    let mut senders: Vec<Sender> = Vec::new();
    let start = Instant::now();
    for _ in 0..count {
        senders.push(Sender::open(server.control, head.as_bytes())?);
        senders.iter_mut().rev().take(50).for_each(Sender::push);
    }
    while start.elapsed() < Duration::from_secs(options.get("seconds", 15)) {
        senders.iter_mut().for_each(Sender::push);
        sleep(Duration::from_millis(50));
    }
    let before = watch.before.resident;
    let most = watch.finish(&server, &mut report)?;
    victims.finish(&mut report)?;
    report_each(&mut report, most, before, count);
    report.row("part-sent bodies", count as f64, "");
    report.row("bytes sent of them", mib(senders.iter().map(|sender| sender.sent as u64).sum()), "MiB");
    for status in [202, 400, 408, 413, 503] {
        let answers = senders.iter().filter(|sender| sender.status == Some(status)).count();
        if answers > 0 {
            report.row(format!("answered {status}"), answers as f64, "");
        }
    }
    report.row("still taken", senders.iter().filter(|sender| sender.socket.is_some()).count() as f64, "");
    report.at_most("resident growth", mib(most.resident.saturating_sub(before)), "MiB", 32.0);
    Ok(report)
}

/// Subscribers that send after their request, as much as is taken, and read nothing.
pub fn upstream(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("upstream");
    let count = options.get("subscribers", 300) as usize;
    let server = Server::start("upstream", &[])?;
    let victims = Victims::start(&server)?;
    let watch = Watch::start(&server, true)?;
    let mut senders = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(server.public)?;
        socket.write_all(b"GET /events?topic=sent HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        socket.set_nonblocking(true)?;
        senders.push(socket);
    }
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(options.get("seconds", 10)) {
        for socket in &mut senders {
            while let Ok(bytes) = socket.write(&[b'x'; 4_096]) {
                sent += bytes as u64;
            }
        }
        sleep(Duration::from_millis(50));
    }
    let before = watch.before.resident;
    let most = watch.finish(&server, &mut report)?;
    victims.finish(&mut report)?;
    report.row("subscribers that send", count as f64, "");
    report.row("bytes sent of them", mib(sent), "MiB");
    report_each(&mut report, most, before, count);
    Ok(report)
}

/// Memory of one hostile connection, the kernel's and the process's together.
fn report_each(report: &mut Report, most: Taken, before: u64, count: usize) {
    let grown = most.resident.saturating_sub(before) + most.own_end;
    let each = grown as f64 / count as f64 / 1_024.0;
    report.at_most("memory, resident and the kernel's, each", each, "KiB", 64.0);
}

/// One that sends all but the last bytes of its body, as fast as it is taken.
struct Sender {
    socket: Option<TcpStream>,
    sent: usize,
    status: Option<u16>,
}

impl Sender {
    fn open(to: SocketAddr, head: &[u8]) -> io::Result<Sender> {
        let mut socket = TcpStream::connect(to)?;
        socket.write_all(head)?;
        socket.set_nonblocking(true)?;
        Ok(Sender { socket: Some(socket), sent: 0, status: None })
    }

    fn push(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let piece = [b'x'; 16_384];
        let mut answer = [0; 512];
        match socket.read(&mut answer) {
            Ok(bytes) if bytes > 12 => {
                self.status = std::str::from_utf8(&answer[9..12]).ok().and_then(|text| text.parse().ok());
                self.socket = None;
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => {
                self.socket = None;
                return;
            }
        }
        while self.sent < BODY_BYTES - 1 {
            let left = (BODY_BYTES - 1 - self.sent).min(piece.len());
            match socket.write(&piece[..left]) {
                Ok(bytes) => self.sent += bytes,
                Err(_) => break,
            }
        }
    }
}

/// Heads that get one more field every two seconds and never end.
pub fn heads(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("heads");
    let count = options.get("connections", 3_000) as usize;
    let server = Server::start("heads", &[])?;
    let victims = Victims::start(&server)?;
    let watch = Watch::start(&server, false)?;
    let mut sockets = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(server.public)?;
        socket
            .write_all(b"GET /events?topic=slow HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a slow one\r\n")?;
        sockets.push(socket);
    }
    let start = Instant::now();
    let mut memory = 0;
    for turn in 0.. {
        if start.elapsed() > HEAD_CUT {
            break;
        }
        let field = format!("X-Field-{turn}: {}\r\n", "y".repeat(60));
        for socket in &mut sockets {
            let _ = socket.write_all(field.as_bytes());
        }
        sleep(Duration::from_secs(2));
        memory = memory.max(processes::resident_bytes(server.pid()));
    }
    let grown = memory.saturating_sub(watch.before.resident) as f64 / count as f64;
    report.row("dripping heads", count as f64, "");
    report.at_most("resident growth, each", grown, "B", 1_024.0);
    let open = processes::tcp_sockets(server.pid(), server.public.port()).established;
    report.none("not cut at the deadline", open.saturating_sub(200));
    watch.finish(&server, &mut report)?;
    victims.finish(&mut report)?;
    Ok(report)
}
