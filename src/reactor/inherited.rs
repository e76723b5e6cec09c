//! Listening sockets that the starter of this process, such as a service manager, has made for it.
//!
//! Owns the facts about such a socket: that it listens at all, and where. Decides neither which
//! listener it is to be, which its name or the settings say, nor when to accept from it.

use crate::base::address::ListenAddress;
use crate::base::listener::ListenerKind;
use crate::reactor::error::StartError;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A listening socket made by others.
#[derive(Debug)]
pub struct InheritedSocket {
    /// Which kind of listener it is to be; public at first.
    pub(crate) listener: ListenerKind,
    /// Name that its maker gave it.
    pub(crate) name: String,
    /// Address on which it listens.
    pub(crate) address: ListenAddress,
    /// The socket, which is non-blocking.
    pub(super) socket: Socket,
    /// An IPv6 wildcard that takes IPv4 connections as well.
    takes_both: bool,
}

/// Facts about a listening stream socket.
struct ListeningStream {
    address: ListenAddress,
    /// An IPv6 wildcard that takes IPv4 connections as well.
    takes_both: bool,
}

impl InheritedSocket {
    /// Looks at the socket that was passed under a number and a name, and makes it non-blocking.
    ///
    /// # Errors
    /// When it is not a listening stream socket of TCP or Unix.
    pub(crate) fn new(number: i32, name: String, file: OwnedFd) -> Result<InheritedSocket, StartError> {
        let socket = Socket::from(file);
        match inspect_socket(&socket) {
            Ok(Some(ListeningStream { address, takes_both })) => {
                Ok(InheritedSocket { listener: ListenerKind::Public, name, address, socket, takes_both })
            }
            Ok(None) => Err(StartError::Inherited { number, name, os: None }),
            Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => {
                Err(StartError::Inherited { number, name, os: None })
            }
            Err(error) => Err(StartError::Inherited { number, name, os: Some(error) }),
        }
    }

    /// Whether connections to a configured address of that listener come to this socket.
    pub(crate) fn serves(&self, listener: ListenerKind, text: &str) -> bool {
        let covered = match (&self.address, ListenAddress::parse(text)) {
            (ListenAddress::Tcp(own), Some(ListenAddress::Tcp(wanted))) => {
                own == &wanted || self.includes(own, &wanted)
            }
            (own, Some(wanted)) => *own == wanted,
            (own, None) => own.to_string() == text,
        };
        self.listener == listener && covered
    }

    fn includes(&self, own: &SocketAddr, wanted: &SocketAddr) -> bool {
        let family = match (own.ip(), wanted.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
            (IpAddr::V6(_), IpAddr::V4(_)) => self.takes_both,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        };
        own.port() == wanted.port() && own.ip().is_unspecified() && family
    }
}

/// Looks at a socket and makes it non-blocking; nothing unless it is a listening stream of TCP or Unix.
fn inspect_socket(socket: &Socket) -> io::Result<Option<ListeningStream>> {
    if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
        return Ok(None);
    }
    let address = match socket.domain()? {
        Domain::IPV4 | Domain::IPV6 => socket.local_addr()?.as_socket().map(ListenAddress::Tcp),
        Domain::UNIX => unix_address(&socket.local_addr()?),
        _ => None,
    };
    let Some(address) = address else { return Ok(None) };
    let takes_both = matches!(address, ListenAddress::Tcp(SocketAddr::V6(_))) && !socket.only_v6()?;
    // A worker that waits in accept for a connection that another one took serves nobody.
    socket.set_nonblocking(true)?;
    Ok(Some(ListeningStream { address, takes_both }))
}

/// A file name, or a name in the abstract name space with `@` in front.
fn unix_address(name: &SockAddr) -> Option<ListenAddress> {
    let abstract_name =
        || name.as_abstract_namespace().map(|name| format!("@{}", String::from_utf8_lossy(name)).into());
    name.as_pathname().map(PathBuf::from).or_else(abstract_name).map(ListenAddress::Unix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};

    fn new(file: impl Into<OwnedFd>) -> Result<InheritedSocket, StartError> {
        InheritedSocket::new(3, "web".to_owned(), file.into())
    }

    #[test]
    fn only_listening_streams_are_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let unbound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let rows: [(&str, OwnedFd); 5] = [
            ("a connection", stream.into()),
            ("a datagram socket", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
            ("a file", File::open("/dev/null").unwrap().into()),
            ("half of a pair", UnixStream::pair().unwrap().0.into()),
            ("a socket that does not listen", unbound.into()),
        ];
        for (what, file) in rows {
            let error = new(file).unwrap_err();
            assert!(matches!(error, StartError::Inherited { number: 3, os: None, .. }), "{what}: {error:?}");
        }
        let address = ListenAddress::Tcp(listener.local_addr().unwrap());
        let taken = new(listener).unwrap();
        assert_eq!(taken.address, address);
        assert!(taken.socket.nonblocking().unwrap());
    }

    #[test]
    fn an_abstract_name_is_shown_with_its_mark() {
        let name = format!("fanwheel-{}-inherited", std::process::id());
        let listener = UnixListener::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
        let taken = new(listener).unwrap();
        assert_eq!(taken.address.to_string(), format!("unix:@{name}"));
        assert!(taken.serves(ListenerKind::Public, &format!("unix:@{name}")));
    }

    #[test]
    fn a_wildcard_serves_its_port_on_every_address_of_its_family_and_kind() {
        let taken = new(TcpListener::bind("0.0.0.0:0").unwrap()).unwrap();
        let ListenAddress::Tcp(address) = taken.address else { panic!("{taken:?}") };
        let port = address.port();
        let rows = [
            (ListenerKind::Public, format!("0.0.0.0:{port}"), true),
            (ListenerKind::Public, format!("127.0.0.1:{port}"), true),
            (ListenerKind::Public, format!("[::1]:{port}"), false),
            (ListenerKind::Public, "127.0.0.1:0".to_owned(), false),
            (ListenerKind::Public, "unix:/run/x".to_owned(), false),
            (ListenerKind::Control, format!("127.0.0.1:{port}"), false),
        ];
        for (listener, text, expected) in rows {
            assert_eq!(taken.serves(listener, &text), expected, "{text}");
        }
        let own = new(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let text = own.address.to_string();
        assert!(own.serves(ListenerKind::Public, &text));
        assert!(!own.serves(ListenerKind::Public, &text.replace("127.0.0.1", "0.0.0.0")));
    }
}
