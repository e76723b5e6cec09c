//! Bytes that peers send and the server does not read at once: the kernel keeps them in receive buffers, out
//! of sight of the process. Each peer may take 64 KiB of memory, the kernel's and the process's together.

use crate::harness::{Launch, Server, Witness, ms};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

const EACH_MAX: u64 = 65_536;
/// What the process itself may grow by beside its connections: arenas of the allocator, and its tables.
const PROCESS_BYTES: u64 = 500_000;
/// Memory of the kernel for the bodies that a worker lets come ahead: 16 windows, which a worker that does
/// not get the processor leaves unread.
const BODY_WINDOWS_BYTES: u64 = 10 * 1_024 * 1_024;

/// Bytes of kernel memory in use for the server's end of its connections; nothing without `ss`.
fn kernel_bytes(server: &Server) -> Option<u64> {
    let of = |port: u16| {
        let filter = format!("sport = :{port}");
        let output = Command::new("ss").args(["-tmnHO", &filter]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        let fields = text.split("skmem:(").skip(1).filter_map(|rest| rest.split_once(')'));
        let used = |field: &str| {
            ["r", "w", "f"].iter().find_map(|name| field.strip_prefix(name)?.parse::<u64>().ok())
        };
        Some(fields.flat_map(|(fields, _)| fields.split(',').filter_map(used)).sum::<u64>())
    };
    Some(of(server.public.port())? + of(server.control.port())?)
}

/// One that sends, and reads nothing but an answer that ends it.
struct Sender {
    socket: Option<TcpStream>,
    bytes: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
}

impl Sender {
    /// Sends `bytes` as fast as they are taken; what comes back is read only if `reads`.
    fn push(&mut self, reads: bool) {
        let Some(socket) = &mut self.socket else { return };
        let mut piece = [0; 1_024];
        if reads {
            match socket.read(&mut piece) {
                Ok(0) => self.socket = None,
                Ok(bytes) => self.answer.extend_from_slice(&piece[..bytes]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => self.socket = None,
            }
        }
        let Some(socket) = &mut self.socket else { return };
        while self.sent < self.bytes.len() {
            let end = self.bytes.len().min(self.sent + 16_384);
            match socket.write(&self.bytes[self.sent..end]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.socket = None;
                    return;
                }
            }
        }
    }
}

/// The most memory that the senders took together.
#[derive(Clone, Copy, Default)]
struct Taken {
    kernel: u64,
    process: u64,
}

/// A server before its senders came, and with them.
struct Watch<'a> {
    server: &'a Server,
    before: Taken,
    most: Taken,
}

impl Watch<'_> {
    /// Lets all send and measures meanwhile: for some time, and three times at least. Returns the most up to
    /// now.
    fn send_and_measure(&mut self, senders: &mut [Sender], reads: bool, time: Duration) -> Taken {
        let start = Instant::now();
        let mut measured = 0;
        while measured < 3 || start.elapsed() < time {
            senders.iter_mut().for_each(|sender| sender.push(reads));
            let kernel = kernel_bytes(self.server).expect("as before").saturating_sub(self.before.kernel);
            let process = self.server.resident_bytes().saturating_sub(self.before.process);
            if kernel + process > self.most.kernel + self.most.process {
                self.most = Taken { kernel, process };
            }
            measured += 1;
        }
        self.most
    }
}

/// Many that send `bytes` each, for some seconds. Fails if the server, of two workers, holds too much for
/// them at any time.
fn assert_held(
    case: &str,
    server: &Server,
    to: std::net::SocketAddr,
    count: usize,
    bytes: &[u8],
    reads: bool,
) {
    let mut witness = Witness::of(server);
    let process = server.resident_bytes();
    let Some(kernel) = kernel_bytes(server) else {
        println!("{case}: skipped, no ss");
        return;
    };
    let mut senders: Vec<Sender> = Vec::new();
    for _ in 0..count {
        let socket = TcpStream::connect(to).expect("it listens");
        socket.set_nonblocking(true).expect("a socket");
        // So that answers that are not read wait at the server's end.
        socket2::SockRef::from(&socket).set_recv_buffer_size(4_096).expect("a socket");
        senders.push(Sender { socket: Some(socket), bytes: bytes.to_vec(), sent: 0, answer: Vec::new() });
    }
    let mut watch = Watch { server, before: Taken { kernel, process }, most: Taken::default() };
    let count = count as u64;
    server.signal("STOP");
    let still = watch.send_and_measure(&mut senders, reads, ms(500));
    println!("{case}, standing still: the kernel's {} B each", still.kernel / count);
    server.signal("CONT");
    let most = watch.send_and_measure(&mut senders, reads, ms(2_000));
    println!("{case}: the kernel's {} B each, the process's {} B", most.kernel / count, most.process / count);
    assert!(senders.iter().all(|sender| sender.sent > 0), "{case}: nothing was sent");
    let all = most.kernel + most.process;
    let windows = if to == server.control { 2 * BODY_WINDOWS_BYTES } else { 0 };
    assert!(all <= EACH_MAX * count + PROCESS_BYTES + windows, "{case}: {all} for {count}");
    drop(senders);
    witness.check(case);
}

#[test]
fn pipeliners_that_do_not_read_take_64_kib_each() {
    let server = Launch::workers(2).start();
    let requests = "GET /healthz HTTP/1.1\r\nHost: fan.test\r\n\r\n".repeat(50_000);
    assert_held("pipeliners", &server, server.public, 200, requests.as_bytes(), false);
}

#[test]
fn bodies_that_stop_half_way_take_64_kib_each() {
    let server = Launch::workers(2).set("bodies_bytes_max", 4_194_304).start();
    let body = server.publish_bytes("topic=canary", "", &[b'x'; 262_144]);
    assert_held("slow bodies", &server, server.control, 500, &body[..body.len() - 1], true);
}

#[test]
fn subscribers_that_send_take_64_kib_each() {
    let server = Launch::workers(2).start();
    let head = "GET /events?topic=a HTTP/1.1\r\nHost: fan.test\r\n\r\n";
    for (case, sent) in [("much", 1_000_000), ("as much as they may", 60_000)] {
        let bytes = format!("{head}{}", "x".repeat(sent));
        assert_held(case, &server, server.public, 300, bytes.as_bytes(), false);
    }
}
