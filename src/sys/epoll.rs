//! A call that mio lacks: waking one of several threads that wait for the same socket (epoll_ctl(2)).

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use crate::sys::socket::Socket;

/// Adds a listener to an epoll instance so that a newcomer wakes one waiting instance, as a rule, and not all
/// of them. Edge-triggered, with mio's own form of a token.
///
/// # Errors
/// When the kernel is older than 4.5, or refuses for want of memory.
pub(crate) fn add_exclusive(epoll: RawFd, listener: &Socket, token: usize) -> io::Result<()> {
    let events = (libc::EPOLLIN | libc::EPOLLET | libc::EPOLLEXCLUSIVE) as u32;
    let mut event = libc::epoll_event { events, u64: token as u64 };
    let fd = listener.as_raw_fd();
    // SAFETY: `event` is valid for the length of the call, which only reads it; a number that is no epoll
    // instance is an error.
    let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
