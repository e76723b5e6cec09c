//! The seam between the core and the shell that moves bytes: sockets in the server, fakes in the simulator.
//!
//! The core decides, the shell moves bytes. Batch first: up to `BATCH_SENDS_MAX` sends are offered at once,
//! each naming a connection by slot and the byte slices to gather, and each result is written back.

use std::io::IoSlice;
use std::net::SocketAddr;

use crate::base::survey::ConnectionTraffic;

/// One send of a batch. At most one per connection in a batch.
#[derive(Debug)]
pub struct SendOp<'a> {
    /// Names the connection, valid as [`Io`] says.
    pub slot: u32,
    /// Slices to gather, in order; never empty, at most 1 024 of them (IOV_MAX).
    pub parts: &'a [IoSlice<'a>],
    /// Result, written by [`Io::send_all`].
    pub result: SendResult,
}

/// Result of one send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// The kernel took this many bytes, at least one. Fewer than offered: the socket is full now.
    Bytes(usize),
    /// The socket was full; nothing was taken. A readiness will tell when it is writable.
    Full,
    /// The connection is gone.
    Broken,
    /// The connection is gone, since the peer acknowledged nothing for too long.
    TimedOut,
}

/// Result of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// So many bytes were read, at least one. Fewer than asked for: nothing more waits now.
    Bytes(usize),
    /// Nothing waits; a readiness will tell.
    Empty,
    /// The peer has finished sending.
    End,
    /// The connection is gone.
    Broken,
    /// The connection is gone, since the peer acknowledged nothing for too long.
    TimedOut,
}

/// Ways to close a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// Bytes that the kernel still holds are delivered first.
    Orderly,
    /// Unsent bytes are thrown away and the kernel's memory is free at once.
    Reset,
}

/// Moves bytes for one worker. A slot is valid from `Worker::open` until the core calls `close` on it.
pub trait Io {
    /// Offers every send to the kernel once, in order, and writes each `result`.
    fn send_all(&mut self, sends: &mut [SendOp<'_>]);
    /// Microseconds since the start, by the clock of `Now`, at this moment. For measurements: no decision
    /// depends on it.
    fn mono_us(&mut self) -> u64;
    /// Reads once from a connection, into all of `into` at most.
    fn read(&mut self, slot: u32, into: &mut [u8]) -> ReadResult;
    /// Acknowledges the bytes read so far at once: a peer may hold the rest of its request back until then.
    fn acknowledge(&mut self, slot: u32);
    /// Lets the peer send more at once: a body was admitted that is longer than it may send ahead.
    fn expect_body(&mut self, slot: u32);
    /// Tells the peer that nothing more will be sent; reading goes on.
    fn shutdown_write(&mut self, slot: u32);
    /// Address of the peer; none for a socket that has no such address. Costs a system call, so
    /// only for surveys.
    fn peer_address(&mut self, slot: u32) -> Option<SocketAddr>;
    /// Traffic that the kernel has counted, where it does. Costs a system call, too.
    fn traffic(&mut self, slot: u32) -> Option<ConnectionTraffic>;
    /// Wakes the workers of `mask`, a bit each, at once: they slept, and mail came to them.
    fn wake(&mut self, mask: u64);
    /// Ends the connection; the slot may be reused at once.
    fn close(&mut self, slot: u32, how: CloseMode);
}
