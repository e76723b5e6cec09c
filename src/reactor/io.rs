//! Moves bytes for the core: one worker's sockets by slot, and the way its sends reach the kernel.
//!
//! Knows no readiness and no reason: which socket to write, read or close is the core's decision. A result
//! depends only on the socket, never on the backend that asked.

use crate::base::limits::{BATCH_SENDS_MAX, CONTROL_RECEIVE_BUFFER_BYTES, KIB};
use crate::base::settings::SendBackend;
use crate::base::survey::ConnectionTraffic;
use crate::fanout::seam::{CloseMode, Io, ReadResult, SendOp, SendResult};
use crate::reactor::body_windows::BodyWindows;
use crate::reactor::clock::Clock;
use crate::reactor::notices::Wakers;
use crate::sys::ring::{RingOutcome, SendRing};
use crate::sys::socket::{self, Socket};
use crate::sys::tcp;
use std::io;
use std::net::SocketAddr;

/// Fewer sends than this are cheaper one by one: entering the ring costs as much as a send or two.
const RING_SENDS_MIN: usize = 4;
/// Receive buffer of a connection whose body is admitted: 256 KiB and a head come in one flight. The kernel
/// doubles it for its own overhead, and bounds it by `net.core.rmem_max`.
const BODY_RECEIVE_BUFFER_BYTES: usize = 320 * KIB;
/// Its receive window. TCP tells 64 KiB at most if the handshake has agreed on no scaling.
const BODY_WINDOW_BYTES: u32 = BODY_RECEIVE_BUFFER_BYTES as u32;

const _: () = assert!(CONTROL_RECEIVE_BUFFER_BYTES < BODY_WINDOW_BYTES as usize);
const _: () = assert!(BODY_WINDOW_BYTES as usize <= BODY_RECEIVE_BUFFER_BYTES);

/// The sockets of one worker.
#[derive(Debug)]
pub(crate) struct Sockets {
    slots: Vec<Option<Socket>>,
    open: usize,
    ring: Option<Box<SendRing>>,
    body_windows: BodyWindows,
    clock: Clock,
    wakers: Wakers,
}

impl Sockets {
    /// No sockets yet. Must be called in the thread, and with the file table, that will use them: `worker`'s.
    pub(crate) fn new(backend: SendBackend, worker: usize, clock: Clock, wakers: Wakers) -> Sockets {
        let ring = match backend {
            SendBackend::Writev => None,
            SendBackend::Auto | SendBackend::IoUring => open_ring(backend, worker),
        };
        Sockets { slots: Vec::new(), open: 0, ring, body_windows: BodyWindows::default(), clock, wakers }
    }

    /// How many are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    /// Keeps a socket at the slot that the core has given it.
    pub(crate) fn insert(&mut self, slot: u32, socket: Socket) {
        let slot = slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        debug_assert!(self.slots[slot].is_none(), "the core closes a slot before it gives it again");
        self.open += usize::from(self.slots[slot].is_none());
        self.slots[slot] = Some(socket);
    }

    /// Takes the socket from the slot, if one is there.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<Socket> {
        let socket = self.slots.get_mut(slot as usize)?.take();
        self.open -= usize::from(socket.is_some());
        self.body_windows.remove(slot);
        socket
    }

    fn get(&self, slot: u32) -> Option<&Socket> {
        let socket = self.slots.get(slot as usize)?.as_ref();
        debug_assert!(socket.is_some(), "a slot is valid until the core closes it");
        socket
    }

    /// Refused, as by a socket that is not TCP: then the body takes longer.
    fn set_receive_window(&self, slot: u32, buffer_bytes: usize, window_bytes: u32) {
        if let Some(socket) = self.get(slot) {
            let _ = socket2::SockRef::from(socket).set_recv_buffer_size(buffer_bytes);
            let _ = tcp::clamp_window(socket, window_bytes);
        }
    }

    fn send_one(&self, send: &mut SendOp<'_>) {
        debug_assert!(!send.parts.is_empty());
        let result = self.get(send.slot).map(|socket| socket::send(socket, send.parts));
        send.result = match result {
            Some(Ok(bytes)) => sent(bytes),
            Some(Err(error)) => refused(error.kind()),
            None => SendResult::Broken,
        };
    }

    fn send_batch(&mut self, ring: &mut SendRing, sends: &mut [SendOp<'_>]) -> io::Result<()> {
        let (outcomes, result) = ring.send_all(sends.iter().map(|send| (self.get(send.slot), send.parts)));
        for (send, outcome) in sends.iter_mut().zip(outcomes) {
            match *outcome {
                RingOutcome::Bytes(bytes) => send.result = sent(bytes),
                RingOutcome::Error(errno) => match io::Error::from_raw_os_error(errno).kind() {
                    io::ErrorKind::Interrupted => self.send_one(send),
                    kind => send.result = refused(kind),
                },
                RingOutcome::Unsent => self.send_one(send),
                // To send the rest could tear or repeat a frame; the peer comes back and resumes.
                RingOutcome::NoSocket | RingOutcome::Unknown => send.result = SendResult::Broken,
            }
        }
        result
    }
}

fn open_ring(backend: SendBackend, worker: usize) -> Option<Box<SendRing>> {
    match SendRing::new(BATCH_SENDS_MAX) {
        Ok(ring) => Some(Box::new(ring)),
        Err(error) => {
            // Asked for by name: worth a warning. Otherwise the ordinary thing in a container. All
            // workers are refused alike, so one tells.
            let level = match backend {
                _ if worker > 0 => log::Level::Debug,
                SendBackend::IoUring => log::Level::Warn,
                SendBackend::Auto | SendBackend::Writev => log::Level::Info,
            };
            log::log!(level, "event=io_uring_refused send_backend=writev worker={worker} error=\"{error}\"");
            None
        }
    }
}

fn sent(bytes: usize) -> SendResult {
    // Nothing taken of something offered never happens on a stream socket that is neither full nor broken.
    if bytes == 0 { SendResult::Broken } else { SendResult::Bytes(bytes) }
}

/// A full socket tells when it is writable again. For any other fault, memory of the kernel (ENOBUFS,
/// ENOMEM) included, no readiness would ever come, so the connection ends and its client resumes.
fn refused(kind: io::ErrorKind) -> SendResult {
    match kind {
        io::ErrorKind::WouldBlock => SendResult::Full,
        io::ErrorKind::TimedOut => SendResult::TimedOut,
        _ => SendResult::Broken,
    }
}

impl Io for Sockets {
    fn send_all(&mut self, sends: &mut [SendOp<'_>]) {
        for batch in sends.chunks_mut(BATCH_SENDS_MAX) {
            if batch.len() >= RING_SENDS_MIN
                && let Some(mut ring) = self.ring.take()
            {
                match self.send_batch(&mut ring, batch) {
                    Ok(()) => self.ring = Some(ring),
                    Err(error) => log::warn!("event=io_uring_broken send_backend=writev error=\"{error}\""),
                }
            } else {
                batch.iter_mut().for_each(|send| self.send_one(send));
            }
        }
    }

    fn mono_us(&mut self) -> u64 {
        self.clock.mono_us()
    }

    fn read(&mut self, slot: u32, into: &mut [u8]) -> ReadResult {
        debug_assert!(!into.is_empty());
        match self.get(slot).map(|socket| socket::receive(socket, into)) {
            Some(Ok(0)) => ReadResult::End,
            Some(Ok(bytes)) => ReadResult::Bytes(bytes),
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => ReadResult::Empty,
            Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => ReadResult::TimedOut,
            Some(Err(_)) | None => ReadResult::Broken,
        }
    }

    fn acknowledge(&mut self, slot: u32) {
        if let Some(socket) = self.get(slot) {
            // Refused by a socket that is not TCP, which knows no acknowledgement to wait for.
            let _ = tcp::acknowledge(socket);
        }
    }

    fn expect_body(&mut self, slot: u32) {
        if !self.body_windows.add(slot) {
            return;
        }
        self.set_receive_window(slot, BODY_RECEIVE_BUFFER_BYTES, BODY_WINDOW_BYTES);
        if let Some(oldest) = self.body_windows.take_surplus() {
            let bytes = CONTROL_RECEIVE_BUFFER_BYTES;
            self.set_receive_window(oldest, bytes, bytes as u32);
        }
    }

    fn shutdown_write(&mut self, slot: u32) {
        if let Some(socket) = self.get(slot) {
            // Fails only when the peer is gone already, which the next read tells.
            let _ = socket::finish(socket);
        }
    }

    fn peer_address(&mut self, slot: u32) -> Option<SocketAddr> {
        // Gone already: then nobody knows any more, as for a Unix socket.
        self.get(slot).and_then(|socket| socket2::SockRef::from(socket).peer_addr().ok()?.as_socket())
    }

    fn traffic(&mut self, slot: u32) -> Option<ConnectionTraffic> {
        self.get(slot).and_then(|socket| tcp::traffic(socket).ok())
    }

    fn wake(&mut self, mask: u64) {
        self.wakers.wake(mask);
    }

    fn close(&mut self, slot: u32, how: CloseMode) {
        let Some(socket) = self.remove(slot) else { return };
        if how == CloseMode::Reset {
            // Refused: then it is an orderly close, and the kernel's memory is free a little later.
            let _ = socket::reset_on_close(&socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::reactor::listeners::{SocketOptions, set_accepted_options};
    use std::io::IoSlice;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        (Socket::from(OwnedFd::from(near)), listener.accept().unwrap().0)
    }

    fn sockets_of(backend: SendBackend) -> Sockets {
        Sockets::new(backend, 0, Clock::start(), Wakers::new(1).unwrap())
    }

    /// Results of a backend on sockets that are idle, full, gone, and for a send too large for a buffer.
    fn results(backend: SendBackend) -> Vec<SendResult> {
        let mut sockets = sockets_of(backend);
        let (mut near, mut peers): (Vec<_>, Vec<_>) = (0..8).map(|_| pair()).unzip();
        // Full at once and for good: a TCP peer makes room later, when bytes on their way have arrived.
        let mut filled = Vec::new();
        for slot in [2, 6] {
            let (full, peer) = UnixStream::pair().unwrap();
            full.set_nonblocking(true).unwrap();
            near[slot] = Socket::from(OwnedFd::from(full));
            filled.push(peer);
        }
        for (slot, socket) in near.into_iter().enumerate() {
            sockets.insert(slot as u32, socket);
        }
        let large = vec![b'x'; 64 << 20];
        while socket::send(sockets.get(2).unwrap(), &[IoSlice::new(&large)]).is_ok() {}
        let gone = std::mem::replace(&mut peers[4], pair().1);
        socket::reset_on_close(&Socket::from(OwnedFd::from(gone))).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let small = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
        let huge = [IoSlice::new(&large)];
        let mut sends: Vec<SendOp<'_>> = (0..8)
            .map(|slot| SendOp {
                slot,
                parts: if slot == 6 { &huge } else { &small },
                result: SendResult::Full,
            })
            .collect();
        sockets.send_all(&mut sends);
        let mut results: Vec<SendResult> = sends.iter().map(|send| send.result).collect();
        // How much of the large one was taken is the kernel's matter.
        assert!(matches!(results[6], SendResult::Bytes(bytes) if bytes < large.len()), "{:?}", results[6]);
        results[6] = SendResult::Bytes(0);
        sockets.send_all(&mut sends[6..7]);
        assert_eq!(sends[6].result, SendResult::Full);
        drop(filled);
        results
    }

    #[test]
    fn both_backends_give_equal_results() {
        let mut expected = vec![SendResult::Bytes(5); 8];
        expected[2] = SendResult::Full;
        expected[4] = SendResult::Broken;
        expected[6] = SendResult::Bytes(0);
        assert_eq!(results(SendBackend::Writev), expected);
        assert_eq!(results(SendBackend::Auto), expected);
    }

    #[test]
    fn reads_tell_empty_bytes_end_and_broken_apart() {
        use std::io::Write;
        let mut sockets = sockets_of(SendBackend::Writev);
        let mut buffer = [0; 16];
        let (near, mut peer) = pair();
        sockets.insert(3, near);
        assert_eq!(sockets.read(3, &mut buffer), ReadResult::Empty);
        peer.write_all(b"hello").unwrap();
        assert_eq!(sockets.read(3, &mut buffer), ReadResult::Bytes(5));
        drop(peer);
        assert_eq!(sockets.read(3, &mut buffer), ReadResult::End);
        let (near, peer) = pair();
        sockets.insert(0, near);
        assert_eq!(sockets.open_count(), 2);
        socket::reset_on_close(&Socket::from(OwnedFd::from(peer))).unwrap();
        assert_eq!(sockets.read(0, &mut buffer), ReadResult::Broken);
        sockets.close(0, CloseMode::Orderly);
        sockets.close(3, CloseMode::Reset);
        assert_eq!(sockets.open_count(), 0);
    }

    /// Bytes that a peer can send to a socket of the control listener that nobody reads, and whether the
    /// kernel scales its window.
    fn sent_ahead(expects_body: bool) -> (usize, bool) {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.set_recv_buffer_size(CONTROL_RECEIVE_BUFFER_BYTES).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let scales = socket::unlock_receive_buffer(&listener).is_ok();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut peer = TcpStream::connect(address).unwrap();
        let mut sockets = sockets_of(SendBackend::Writev);
        let socket = Socket::from(OwnedFd::from(listener.accept().unwrap().0));
        let options = SocketOptions::new(&Settings::default());
        set_accepted_options(&socket, ListenerKind::Control, options);
        sockets.insert(7, socket);
        let mut scratch = vec![0; 1 << 20];
        std::io::Write::write_all(&mut peer, b"head").unwrap();
        assert_eq!(sockets.read(7, &mut scratch), ReadResult::Bytes(4));
        if expects_body {
            sockets.expect_body(7);
        }
        peer.set_nonblocking(true).unwrap();
        let mut ahead = 0;
        for _ in 0..20 {
            while std::io::Write::write(&mut peer, &scratch[..4_096]).is_ok() {}
            std::thread::sleep(std::time::Duration::from_millis(10));
            let socket = socket2::SockRef::from(sockets.get(7).unwrap());
            let mut buffer = vec![std::mem::MaybeUninit::uninit(); 1 << 20];
            ahead = socket.peek(&mut buffer).unwrap();
        }
        (ahead, scales)
    }

    #[test]
    fn a_peer_sends_little_ahead_until_its_body_is_admitted() {
        let ((little, _), (much, scales)) = (sent_ahead(false), sent_ahead(true));
        let much_min = if scales { 100_000 } else { 50_000 };
        assert!((16_384..=2 * CONTROL_RECEIVE_BUFFER_BYTES).contains(&little), "{little}");
        assert!((much_min..=2 * BODY_RECEIVE_BUFFER_BYTES).contains(&much), "{much}");
    }
}
