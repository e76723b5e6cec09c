//! One descriptor kept in reserve, so that a newcomer can be answered when no other is left.
//!
//! Without it, newcomers would wait in the listener's queue without a word for as long as the table is full,
//! and be reset when the listener closes. Knows no reason to refuse, and not the bytes of a refusal.

use std::fs::File;
use std::io::IoSlice;

use crate::sys::process;
use crate::sys::socket::{self, Socket};

/// Reads of a newcomer's request, at most, before it is answered: more than its receive buffer holds.
const READS_MAX: usize = 8;
/// Bytes of each.
const READ_BYTES: usize = 4_096;

/// A descriptor that is only there to be closed.
#[derive(Debug)]
pub(crate) struct ReservedFile(Option<File>);

impl ReservedFile {
    /// Takes a descriptor if one is left.
    pub(crate) fn take() -> ReservedFile {
        let mut reserved = ReservedFile(None);
        reserved.take_back();
        reserved
    }

    /// Makes room for one socket.
    pub(crate) fn give_up(&mut self) {
        self.0 = None;
    }

    /// Takes a descriptor again; where another thread of the table was quicker, at the next time.
    pub(crate) fn take_back(&mut self) {
        if self.0.is_none() {
            self.0 = process::open_wake_file().ok();
        }
    }
}

/// Answers a newcomer that is not taken in, and closes. What it has sent by now is read before: closing a
/// socket with unread bytes resets it, and the peer might never see the answer.
pub(crate) fn answer_and_close(newcomer: Socket, answer: &[u8]) {
    let mut scratch = [0; READ_BYTES];
    for _ in 0..READS_MAX {
        if !matches!(socket::receive(&newcomer, &mut scratch), Ok(READ_BYTES)) {
            break;
        }
    }
    // Refused by a peer that is gone already, which needs no answer.
    let _ = socket::send(&newcomer, &[IoSlice::new(answer)]);
    let _ = socket::finish(&newcomer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    #[test]
    fn a_newcomer_that_has_asked_reads_the_answer_and_an_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.write_all(&[b'x'; 3 * READ_BYTES]).unwrap();
        let near = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        answer_and_close(Socket::from(OwnedFd::from(near)), b"full");
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "full");
    }
}
