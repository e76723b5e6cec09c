//! A connected or listening socket of one thread, and the calls on its hot path.
//!
//! A descriptor number means a file only in the table of the thread that opened it, so a [`Socket`] can't
//! leave its thread. Making, binding and setting options is `socket2`'s job, through [`AsFd`].

use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Owns a descriptor in the file table of this thread and closes it when dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    /// Not `Send`, not `Sync`: elsewhere the number may be another file.
    here_only: PhantomData<*const ()>,
}

/// The shell keeps one of these for each slot, so its size is memory of every idle subscriber.
const _: () = assert!(size_of::<Option<Socket>>() == 4);

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Socket {
        Socket { fd, here_only: PhantomData }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// A count of bytes, or the error that a negative result announces.
fn counted(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Takes one connection from a listener's queue, non-blocking and closed on exec. The address is that of an
/// IP peer, and `None` for any other (`accept4(2)`).
pub(crate) fn accept(listener: &Socket) -> io::Result<(Socket, Option<IpAddr>)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut bytes = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `name` is writable for `bytes` bytes and `bytes` is a valid, writable socklen_t for the length
    // of the call; the kernel writes at most `bytes` bytes of name.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), name.as_mut_ptr().cast(), &raw mut bytes, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned a new descriptor that nothing else owns.
    let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: all of `name` was zeroed, and any bytes are a valid sockaddr_storage.
    let name = unsafe { name.assume_init() };
    Ok((socket, ip_of(&name)))
}

fn ip_of(name: &libc::sockaddr_storage) -> Option<IpAddr> {
    let start = (&raw const *name).cast::<u8>();
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is at least as large and as strictly aligned as sockaddr_in, and the
            // family says that it holds one.
            let name = unsafe { &*start.cast::<libc::sockaddr_in>() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            let name = unsafe { &*start.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::V6(Ipv6Addr::from(name.sin6_addr.s6_addr)))
        }
        _ => None,
    }
}

/// Reads waiting bytes, up to the buffer's length, without blocking; 0 is the end (`recv(2)`).
pub(crate) fn receive(socket: &Socket, into: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: `into` is writable for its length for the length of the call.
        let result = unsafe {
            libc::recv(socket.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT)
        };
        match counted(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The header of a gathering send. It borrows `parts` without a lifetime.
pub(super) fn message_of(parts: &[IoSlice<'_>]) -> libc::msghdr {
    // SAFETY: msghdr is plain data for which all zeros is valid: no name, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // IoSlice is guaranteed to be laid out as iovec. The kernel only reads through these pointers.
    message.msg_iov = parts.as_ptr().cast_mut().cast();
    message.msg_iovlen = parts.len();
    message
}

/// Bit of `SO_BUF_LOCK` that keeps the send buffer as it was set (`SOCK_SNDBUF_LOCK`, linux/socket.h).
const SEND_BUFFER_LOCK: libc::c_int = 1;

/// How every send is made: never blocking, and without SIGPIPE.
pub(super) const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Offers the parts in order; returns how many bytes were taken (`sendmsg(2)`, or `send(2)` for one part,
/// where the kernel has no header to copy and check). At most 1 024 parts.
pub(crate) fn send(socket: &Socket, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let message = message_of(parts);
    let fd = socket.as_raw_fd();
    loop {
        let result = match parts {
            // SAFETY: the part's bytes are borrowed for longer than the call, which only reads them.
            [only] => unsafe { libc::send(fd, only.as_ptr().cast(), only.len(), SEND_FLAGS) },
            // SAFETY: `message` points to `parts`, and each part to its bytes; all are borrowed for longer
            // than the call, which only reads them.
            _ => unsafe { libc::sendmsg(fd, &raw const message, SEND_FLAGS) },
        };
        match counted(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Tells the peer that nothing more will be sent (`shutdown(2)`, `SHUT_WR`).
pub(crate) fn finish(socket: &Socket) -> io::Result<()> {
    // SAFETY: takes no pointer.
    let result = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_WR) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the coming close throw unsent bytes away and reset the connection (`SO_LINGER` of 0 seconds).
pub(crate) fn reset_on_close(socket: &Socket) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let bytes = size_of::<libc::linger>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_LINGER);
    // SAFETY: `linger` is valid for `bytes` bytes and only read by the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const linger).cast(), bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets the kernel choose the receive buffer from now on, beginning with the size that was set; the send
/// buffer stays as it was set (`SO_BUF_LOCK`, since Linux 5.16).
///
/// # Errors
/// When the kernel does not know the option.
pub(crate) fn unlock_receive_buffer(socket: &impl AsRawFd) -> io::Result<()> {
    let locks: libc::c_int = SEND_BUFFER_LOCK;
    let bytes = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_BUF_LOCK);
    // SAFETY: `locks` is valid for `bytes` bytes and only read by the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const locks).cast(), bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    fn tcp_pair() -> (Socket, TcpStream, Option<IpAddr>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, address) = accept(&Socket::from(OwnedFd::from(listener))).unwrap();
        (socket, peer, address)
    }

    #[test]
    fn accept_tells_the_address_and_never_blocks_afterwards() {
        let (socket, mut peer, address) = tcp_pair();
        assert_eq!(address, Some("127.0.0.1".parse().unwrap()));
        let mut buffer = [0; 8];
        assert_eq!(receive(&socket, &mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.write_all(b"abc").unwrap();
        assert_eq!(receive(&socket, &mut buffer).unwrap(), 3);
        drop(peer);
        assert_eq!(receive(&socket, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn ipv6_addresses_are_told_and_unix_peers_have_none() {
        if let Ok(listener) = TcpListener::bind("[::1]:0") {
            let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (_, address) = accept(&Socket::from(OwnedFd::from(listener))).unwrap();
            assert_eq!(address, Some("::1".parse().unwrap()));
        }
        let path = std::env::temp_dir().join(format!("fanwheel-accept-{}", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let _peer = UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (_, address) = accept(&Socket::from(OwnedFd::from(listener))).unwrap();
        assert_eq!(address, None);
    }

    #[test]
    fn parts_are_gathered_in_order_and_finish_ends_only_one_direction() {
        let (socket, mut peer, _) = tcp_pair();
        let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
        assert_eq!(send(&socket, &parts).unwrap(), 7);
        finish(&socket).unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
        peer.write_all(b"late").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(receive(&socket, &mut buffer).unwrap(), 4);
    }

    #[test]
    fn reset_on_close_is_seen_as_a_reset() {
        let (socket, mut peer, _) = tcp_pair();
        reset_on_close(&socket).unwrap();
        drop(socket);
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_send_to_a_closed_peer_is_an_error_and_not_a_signal() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(far);
        let error = send(&Socket::from(OwnedFd::from(near)), &[IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
