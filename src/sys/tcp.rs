//! The kernel's counts of a TCP connection (`TCP_INFO`, tcp(7)), its receive window and acknowledgements.

use std::io;
use std::os::fd::AsRawFd;

use crate::base::survey::ConnectionTraffic;
use crate::sys::socket::Socket;

/// Bytes of `struct tcp_info` up to and with `tcpi_bytes_retrans` (linux/tcp.h, since Linux 4.19). The struct
/// only ever grows at its end, so its offsets are fixed.
const INFO_BYTES: usize = 216;
const UNACKED_AT: usize = 24;
const RTT_AT: usize = 68;
const NOTSENT_BYTES_AT: usize = 144;
const BYTES_SENT_AT: usize = 200;
const BYTES_RETRANS_AT: usize = 208;

/// Reads a connection's counts.
///
/// # Errors
/// When it is not TCP, or the kernel does not count bytes yet.
pub(crate) fn traffic(socket: &Socket) -> io::Result<ConnectionTraffic> {
    let mut info = [0_u8; INFO_BYTES];
    let mut bytes = INFO_BYTES as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: `info` is writable for `bytes` bytes and `bytes` is a valid, writable socklen_t for the length
    // of the call; the kernel writes at most `bytes` bytes.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, info.as_mut_ptr().cast(), &raw mut bytes)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if (bytes as usize) < INFO_BYTES {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let sent = u64::from_ne_bytes(at(&info, BYTES_SENT_AT));
    let again = u64::from_ne_bytes(at(&info, BYTES_RETRANS_AT));
    Ok(ConnectionTraffic {
        bytes_sent: sent.saturating_sub(again),
        rtt_us: u32::from_ne_bytes(at(&info, RTT_AT)),
        unacked: u32::from_ne_bytes(at(&info, UNACKED_AT)),
        unsent_bytes: u32::from_ne_bytes(at(&info, NOTSENT_BYTES_AT)),
    })
}

/// Sends the acknowledgement that the kernel holds back, if it does (`TCP_QUICKACK`, tcp(7)). It would for up
/// to 40 ms, and a peer with Nagle's algorithm (RFC 9293 §3.7.4) holds a small rest back until then.
///
/// # Errors
/// When it is not TCP.
pub(crate) fn acknowledge(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::TCP_QUICKACK, 1_u32)
}

/// Bounds the receive window that the peer is told (`TCP_WINDOW_CLAMP`, tcp(7)). The window of an accepted
/// connection is bounded by its listener's buffer; a larger buffer alone does not lift that.
///
/// # Errors
/// When it is not TCP.
pub(crate) fn clamp_window(socket: &Socket, bytes: u32) -> io::Result<()> {
    set_option(socket, libc::TCP_WINDOW_CLAMP, bytes)
}

fn set_option(socket: &Socket, name: libc::c_int, value: u32) -> io::Result<()> {
    let length = size_of::<u32>() as libc::socklen_t;
    let level = libc::IPPROTO_TCP;
    // SAFETY: `value` is valid for `length` bytes and only read by the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn at<const N: usize>(info: &[u8; INFO_BYTES], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&info[offset..offset + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::{accept, send};
    use std::io::{IoSlice, Read};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bytes_are_counted_once_sent_and_unsent_ones_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = accept(&Socket::from(OwnedFd::from(listener))).unwrap();
        assert_eq!(traffic(&socket).unwrap().bytes_sent, 0);
        send(&socket, &[IoSlice::new(&[b'x'; 1_234])]).unwrap();
        peer.read_exact(&mut [0; 1_234]).unwrap();
        let counted = traffic(&socket).unwrap();
        assert_eq!((counted.bytes_sent, counted.unsent_bytes), (1_234, 0));
        assert!((1..1_000_000).contains(&counted.rtt_us), "{counted:?}");
        while send(&socket, &[IoSlice::new(&[b'x'; 65_536])]).is_ok() {}
        let full = traffic(&socket).unwrap();
        assert!(full.unsent_bytes > 0 && full.bytes_sent > 1_234, "{full:?}");
    }

    #[test]
    fn what_is_not_tcp_has_no_counts() {
        let (near, _far) = UnixStream::pair().unwrap();
        assert!(traffic(&Socket::from(OwnedFd::from(near))).is_err());
    }
}
