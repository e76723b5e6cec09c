//! Batches of sends through io_uring: one system call for many sockets.
//!
//! Every send is made without waiting on a socket that does not block, so the kernel finishes it while the
//! batch is submitted. A batch ends only when the outcome of each of its sends has been read; nothing is in
//! flight between batches, and pointers given to the kernel never outlive the call that borrowed them.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};

use super::socket::{SEND_FLAGS, Socket, message_of};

/// Calls in a row that neither take a send nor yield an outcome before the ring counts as broken.
const RING_IDLE_ENTERS_MAX: u32 = 1_000;

/// Bytes that a send of one part may have: its length has 32 bits in the ring.
const ONE_PART_BYTES_MAX: usize = i32::MAX as usize;

/// Result of one send of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingOutcome {
    /// The kernel took so many bytes.
    Bytes(usize),
    /// The kernel refused with this `errno`.
    Error(i32),
    /// No socket was given, so nothing was offered.
    NoSocket,
    /// The ring broke before the send was handed over: nothing of it was sent.
    Unsent,
    /// The ring broke after the send was handed over: any part of it may have been sent.
    Unknown,
}

/// A ring of one thread and the memory that its sends point to.
pub(crate) struct SendRing {
    ring: IoUring,
    /// One header for each send of the batch; never grows after it was made, so headers don't move.
    messages: Vec<libc::msghdr>,
    outcomes: Vec<RingOutcome>,
}

impl std::fmt::Debug for SendRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("batch_max", &self.messages.capacity()).finish_non_exhaustive()
    }
}

impl SendRing {
    /// A ring for batches of up to `batch_max` sends.
    ///
    /// # Errors
    /// When the kernel has no io_uring (ENOSYS), it is forbidden (EPERM, EACCES), or memory, locked memory or
    /// files run out (ENOMEM, EMFILE, ENFILE).
    pub(crate) fn new(batch_max: usize) -> io::Result<SendRing> {
        let entries = u32::try_from(batch_max).map_err(|_| io::ErrorKind::InvalidInput)?;
        // A completion queue is twice as long as its submission queue, so one batch always fits.
        let ring = match IoUring::builder().setup_single_issuer().setup_submit_all().build(entries) {
            // Kernels before 6.0 don't know these hints.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::new(entries)?,
            other => other?,
        };
        let messages = Vec::with_capacity(batch_max);
        Ok(SendRing { ring, messages, outcomes: Vec::with_capacity(batch_max) })
    }

    /// Offers each send once, in order, and returns the outcomes in the same order. With an error the ring is
    /// broken and must not be used again; the outcomes then tell which sends are still to be made.
    ///
    /// # Panics
    /// When there are more sends than the ring was made for.
    pub(crate) fn send_all<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = (Option<&'a Socket>, &'a [IoSlice<'a>])>,
    ) -> (&[RingOutcome], io::Result<()>) {
        assert!(sends.len() <= self.messages.capacity(), "headers must not move, so a batch must fit");
        self.messages.clear();
        self.outcomes.clear();
        let mut queue = self.ring.submission();
        assert!(queue.is_empty() && queue.capacity() >= sends.len(), "every batch is taken whole");
        for (index, (socket, parts)) in sends.enumerate() {
            self.messages.push(message_of(parts));
            let Some(socket) = socket else {
                self.outcomes.push(RingOutcome::NoSocket);
                continue;
            };
            self.outcomes.push(RingOutcome::Unsent);
            let (fd, flags) = (types::Fd(socket.as_raw_fd()), SEND_FLAGS);
            let entry = match parts {
                // The kernel then has no header and no list of parts to copy and check.
                [only] if only.len() <= ONE_PART_BYTES_MAX => {
                    opcode::Send::new(fd, only.as_ptr(), only.len() as u32).flags(flags).build()
                }
                _ => {
                    let message = &raw const self.messages[index];
                    opcode::SendMsg::new(fd, message).flags(flags as u32).build()
                }
            };
            let entry = entry.user_data(index as u64);
            // SAFETY: the entry's pointers stay valid until its completion is read:
            // - the header lies in `messages`, which has the capacity for the whole batch and is not touched
            //   before the next call; `self` is borrowed until then;
            // - the parts and their bytes are borrowed for 'a, which outlives this call, and `submit_all`
            //   returns only when all completions were read or the ring is given up. A ring is given up only
            //   when the kernel refuses to enter it. It has finished the sends that it had taken before: none
            //   here can wait (MSG_DONTWAIT), so none is left to a kernel thread.
            // - the descriptor is looked up during submission, in this thread, while the socket is borrowed.
            unsafe { queue.push(&entry) }.expect("the queue was empty and is long enough");
        }
        drop(queue);
        let result = self.submit_all();
        (&self.outcomes, result)
    }

    /// Submits the queued entries and reads completions until each send has its outcome.
    fn submit_all(&mut self) -> io::Result<()> {
        let mut waiting = self.ring.submission().len();
        let queued = waiting;
        let mut idle_enters = 0;
        while waiting > 0 {
            let entered = self.ring.submit_and_wait(waiting);
            let before = waiting;
            for completion in self.ring.completion() {
                let result = completion.result();
                let outcome = usize::try_from(result).map_or(RingOutcome::Error(-result), RingOutcome::Bytes);
                self.outcomes[completion.user_data() as usize] = outcome;
                waiting -= 1;
            }
            idle_enters = if waiting < before { 0 } else { idle_enters + 1 };
            match entered {
                Ok(_) if idle_enters < RING_IDLE_ENTERS_MAX => {}
                // A signal; no memory for a request just now; completions that had to be read first.
                Err(error) if is_transient(&error) && idle_enters < RING_IDLE_ENTERS_MAX => {}
                Ok(_) => return self.give_up(queued, io::ErrorKind::TimedOut.into()),
                Err(error) => return self.give_up(queued, error),
            }
        }
        Ok(())
    }

    /// Tells the sends that the kernel had taken from those that it had not.
    fn give_up(&mut self, queued: usize, error: io::Error) -> io::Result<()> {
        let mut taken = queued - self.ring.submission().len();
        for outcome in &mut self.outcomes {
            if taken == 0 {
                break;
            }
            // Entries are taken in order.
            match *outcome {
                RingOutcome::NoSocket => continue,
                RingOutcome::Unsent => *outcome = RingOutcome::Unknown,
                _ => {}
            }
            taken -= 1;
        }
        Err(error)
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_batch_has_an_outcome_for_each_send_in_order() {
        let Ok(mut ring) = SendRing::new(64) else { return };
        for _ in 0..3 {
            let (sockets, mut peers): (Vec<Socket>, Vec<UnixStream>) = (0..64)
                .map(|_| UnixStream::pair().unwrap())
                .map(|(near, far)| (Socket::from(OwnedFd::from(near)), far))
                .unzip();
            drop(std::mem::replace(&mut peers[3], UnixStream::pair().unwrap().0));
            let parts = [IoSlice::new(b"ab"), IoSlice::new(b"c")];
            let sends: Vec<(Option<&Socket>, &[IoSlice<'_>])> = sockets
                .iter()
                .enumerate()
                .map(|(index, socket)| ((index != 5).then_some(socket), &parts[..1 + index % 2]))
                .collect();
            let (outcomes, result) = ring.send_all(sends.into_iter());
            assert!(result.is_ok());
            for (index, outcome) in outcomes.iter().enumerate() {
                let expected = match index {
                    3 => RingOutcome::Error(libc::EPIPE),
                    5 => RingOutcome::NoSocket,
                    _ => RingOutcome::Bytes(2 + index % 2),
                };
                assert_eq!(*outcome, expected, "{index}");
            }
            drop(sockets);
            let mut text = String::new();
            peers[1].read_to_string(&mut text).unwrap();
            assert_eq!(text, "abc");
        }
    }

    #[test]
    fn a_ring_given_up_tells_what_was_taken_from_what_was_not() {
        let Ok(mut ring) = SendRing::new(4) else { return };
        ring.outcomes =
            vec![RingOutcome::Bytes(1), RingOutcome::NoSocket, RingOutcome::Unsent, RingOutcome::Unsent];
        // As if two had left the queue: one was told of, one was not.
        assert!(ring.give_up(2, io::ErrorKind::TimedOut.into()).is_err());
        let left = [RingOutcome::Bytes(1), RingOutcome::NoSocket, RingOutcome::Unknown, RingOutcome::Unsent];
        assert_eq!(ring.outcomes, left);
    }
}
