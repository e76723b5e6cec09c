//! Makes listening sockets: the reservation of an address for the server, and each worker's own listener.
//!
//! Most options are set on the listener, because the kernel hands them on to accepted sockets. Connections
//! of Unix sockets and of the control listener need a call or two each; public TCP connections need none.
//! Decides nothing about when to listen.
//!
//! `SO_REUSEPORT` would let two servers share a port without a word. So an address is first bound without it,
//! which fails if anyone listens there, and only then opened to this server's workers. Unix sockets know no
//! such sharing, some sandboxes refuse it, and a socket that was passed at the start is only one: then all
//! workers accept from one socket. So they do on the control listener: with a listener for each worker an
//! operator in search of a fault could wait behind the very worker that stands still.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, TcpKeepalive, Type};

use crate::base::address::ListenAddress;
use crate::base::limits::{CONTROL_RECEIVE_BUFFER_BYTES, KIB};
use crate::base::listener::ListenerKind;
use crate::base::settings::Settings;
use crate::reactor::error::{BindFault, StartError};
use crate::reactor::inherited::InheritedSocket;
use crate::sys::socket::{self, Socket};

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const LISTEN_BACKLOG: i32 = 65_535;
/// Bytes that a public connection may send ahead of being read: more than an ordinary head. A client that
/// pipelines and reads nothing fills the send buffer, too, and a segment beyond it: up to 50 KiB. The kernel
/// doubles the value for its own overhead.
const PUBLIC_RECEIVE_BUFFER_BYTES: usize = 6 * KIB;
/// Bytes of one TCP segment at most; three quarters of the buffer that the kernel makes of `unsent_bytes_max`
/// if that is less. Only loopback's are larger (64 KiB). One that fills a socket's send buffer is
/// acknowledged when the next comes, which does not fit, or else 40 ms later: a proxy on the same host would
/// wait as long for each such part of an event. Not less, or events of 16 KiB cost a segment and an
/// acknowledgement more; not more, as a reader that stalls holds a send buffer and one segment.
const SEGMENT_BYTES_MAX: usize = 18 * KIB;
/// Silence after which the kernel asks whether the peer is still there. Longer than a heartbeat, so that it
/// costs nothing while heartbeats do the asking.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Pause between two such questions.
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(10);
/// Questions without answer after which the peer is gone.
const KEEPALIVE_TRIES: u32 = 3;

/// Options that accepted sockets inherit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    unsent_bytes_max: usize,
    user_timeout: Duration,
    /// The processor whose newcomers a worker's own listener is to get first.
    processor: Option<usize>,
}

impl SocketOptions {
    /// From the settings of the same names.
    pub(crate) fn new(settings: &Settings) -> SocketOptions {
        SocketOptions {
            unsent_bytes_max: settings.unsent_bytes_max,
            user_timeout: Duration::from_millis(settings.user_timeout_ms),
            processor: None,
        }
    }

    /// Returns the options for a worker that is pinned to a processor.
    pub(crate) fn on(self, processor: Option<usize>) -> SocketOptions {
        SocketOptions { processor, ..self }
    }
}

/// A listener that the settings ask for.
#[derive(Clone, Debug)]
pub(crate) struct WantedListener {
    /// Kind of the listener.
    pub(crate) listener: ListenerKind,
    /// Address that the text names.
    pub(crate) address: ListenAddress,
    text: String,
}

impl WantedListener {
    fn fault(&self, fault: BindFault, os: io::Error) -> StartError {
        StartError::Bind { listener: self.listener, text: self.text.clone(), fault, os }
    }

    /// A system call's error as a reason not to start.
    pub(crate) fn start_error(&self, os: io::Error) -> StartError {
        self.fault(bind_fault(&os), os)
    }
}

/// The listeners of the settings but for those that `inherited` has already, public ones first.
pub(crate) fn wanted_listeners(
    settings: &Settings,
    inherited: &[InheritedSocket],
) -> Result<Vec<WantedListener>, StartError> {
    let all = ListenerKind::ALL
        .into_iter()
        .flat_map(|listener| listener.addresses(settings).iter().map(move |text| (listener, text)));
    all.filter(|(listener, text)| !inherited.iter().any(|one| one.serves(*listener, text)))
        .map(|(listener, text)| {
            let address = ListenAddress::parse(text)
                .ok_or_else(|| StartError::Address { listener, text: text.clone() })?;
            Ok(WantedListener { listener, address, text: text.clone() })
        })
        .collect()
}

fn bind_fault(error: &io::Error) -> BindFault {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => BindFault::InUse,
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => BindFault::Permission,
        Some(libc::EADDRNOTAVAIL | libc::ENOENT | libc::ENOTDIR | libc::ENODEV) => BindFault::NotAvailable,
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => BindFault::FamilyMissing,
        _ => BindFault::Other,
    }
}

/// An address held for the server, whether or not a worker listens there at the moment. Made before the
/// file tables part.
#[derive(Debug)]
pub(crate) struct AddressReservation {
    /// Bound. Listens only if it is shared.
    socket: Arc<socket2::Socket>,
    /// With the port that the kernel chose.
    address: ListenAddress,
    /// Workers copy the socket instead of making their own.
    shared: bool,
    /// Removed with the reservation.
    _file: Option<UnixFile>,
}

/// Where a worker gets its listener from.
#[derive(Clone, Debug)]
pub(crate) enum ListenerSource {
    /// It makes one of its own.
    Own(SocketAddr),
    /// It copies the one that was opened before the file tables parted, under this number in each of them.
    Shared(Arc<socket2::Socket>),
}

/// A socket's file; removed when dropped, if it is still the same one.
#[derive(Debug)]
pub(crate) struct UnixFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl Drop for UnixFile {
    fn drop(&mut self) {
        if file_identity(&self.path) == Some(self.device_and_inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// Takes an inherited socket for this server. Its backlog and its file stay as its maker wants them.
pub(crate) fn adopt_socket(
    inherited: InheritedSocket,
    options: SocketOptions,
) -> (WantedListener, AddressReservation) {
    let InheritedSocket { listener, address, socket, .. } = inherited;
    if matches!(address, ListenAddress::Tcp(_)) {
        set_inherited_options(&socket, listener, options);
    }
    let wanted = WantedListener { listener, address: address.clone(), text: address.to_string() };
    (wanted, AddressReservation { socket: Arc::new(socket), address, shared: true, _file: None })
}

/// Takes the address of a wanted listener for this server.
pub(crate) fn reserve_address(
    wanted: &WantedListener,
    options: SocketOptions,
) -> Result<AddressReservation, StartError> {
    match &wanted.address {
        ListenAddress::Tcp(address) => {
            reserve_tcp(*address, wanted.listener, options).map_err(|os| wanted.start_error(os))
        }
        ListenAddress::Unix(path) => reserve_unix(wanted, path),
    }
}

fn reserve_tcp(
    address: SocketAddr,
    listener: ListenerKind,
    options: SocketOptions,
) -> io::Result<AddressReservation> {
    let socket = tcp_socket(address)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    // Bound sockets that do not listen don't exclude each other, but a second server's must be excluded by
    // our workers, and these must not exclude each other.
    let shared = listener.is_operators() || !warn_if_refused("SO_REUSEPORT", socket.set_reuse_port(true));
    if shared {
        set_inherited_options(&socket, listener, options);
        socket.listen(LISTEN_BACKLOG)?;
    }
    Ok(AddressReservation {
        socket: Arc::new(socket),
        address: ListenAddress::Tcp(address),
        shared,
        _file: None,
    })
}

fn tcp_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // A restart must not wait for old connections of the port to be forgotten.
    warn_if_refused("SO_REUSEADDR", socket.set_reuse_address(true));
    if address.is_ipv6() {
        // As nginx does: an IPv6 wildcard leaves IPv4 to a listener of its own, whatever the sysctl says.
        warn_if_refused("IPV6_V6ONLY", socket.set_only_v6(true));
    }
    Ok(socket)
}

/// An option that is refused costs comfort, not service. Tells whether it was taken.
fn warn_if_refused(option: &str, result: io::Result<()>) -> bool {
    if let Err(error) = &result {
        log::warn!("event=socket_option_refused option={option} error=\"{error}\"");
    }
    result.is_ok()
}

/// A listener of the calling thread.
pub(crate) fn open_listener(
    source: &ListenerSource,
    listener: ListenerKind,
    options: SocketOptions,
) -> io::Result<Socket> {
    let address = match source {
        ListenerSource::Own(address) => *address,
        ListenerSource::Shared(listening) => return listening.as_fd().try_clone_to_owned().map(Socket::from),
    };
    let socket = tcp_socket(address)?;
    warn_if_refused("SO_REUSEPORT", socket.set_reuse_port(true));
    set_inherited_options(&socket, listener, options);
    socket.bind(&address.into())?;
    if let Some(processor) = options.processor {
        // Not a program that picks a listener by its place: places move whenever a worker closes its own. If
        // no listener has the newcomer's processor, the kernel falls back to spreading them.
        warn_if_refused("SO_INCOMING_CPU", socket.set_cpu_affinity(processor));
    }
    socket.listen(LISTEN_BACKLOG)?;
    Ok(Socket::from(OwnedFd::from(socket)))
}

/// Sets the options on a listener that accepted sockets inherit.
fn set_inherited_options(socket: &socket2::Socket, listener: ListenerKind, options: SocketOptions) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_PAUSE)
        .with_retries(KEEPALIVE_TRIES);
    warn_if_refused("TCP_NODELAY", socket.set_tcp_nodelay(true));
    warn_if_refused("SO_KEEPALIVE", socket.set_tcp_keepalive(&keepalive));
    warn_if_refused("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(options.user_timeout)));
    warn_if_refused("SO_SNDBUF", socket.set_send_buffer_size(options.unsent_bytes_max));
    let segment = SEGMENT_BYTES_MAX.min(options.unsent_bytes_max / 2 * 3);
    warn_if_refused("TCP_MAXSEG", socket.set_tcp_mss(segment as u32));
    warn_if_refused("SO_RCVBUF", socket.set_recv_buffer_size(receive_buffer_bytes(listener)));
    if listener == ListenerKind::Control {
        // A locked buffer bounds the window for good: the handshake agrees on no scaling. Refused before
        // Linux 5.16: then large bodies take 1.2 to 1.4 times as long on loopback.
        let _ = socket::unlock_receive_buffer(socket);
    }
}

/// Bytes that a connection may send ahead of being read, while no body of it is admitted.
fn receive_buffer_bytes(listener: ListenerKind) -> usize {
    match listener {
        ListenerKind::Public | ListenerKind::Metrics => PUBLIC_RECEIVE_BUFFER_BYTES,
        ListenerKind::Control => CONTROL_RECEIVE_BUFFER_BYTES,
    }
}

fn reserve_unix(wanted: &WantedListener, path: &Path) -> Result<AddressReservation, StartError> {
    let refused = |os: io::Error| wanted.start_error(os);
    let name = SockAddr::unix(path).map_err(refused)?;
    let socket = || socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None);
    if let Ok(data) = std::fs::symlink_metadata(path) {
        if !data.file_type().is_socket() {
            return Err(wanted.fault(BindFault::NotASocket, io::ErrorKind::AlreadyExists.into()));
        }
        // Only a refusal proves that nobody listens: a full queue or a missing permission does not.
        match socket().map_err(refused)?.connect(&name) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {
                std::fs::remove_file(path).map_err(refused)?;
            }
            Err(error) if bind_fault(&error) == BindFault::Permission => return Err(refused(error)),
            _ => return Err(refused(io::Error::from_raw_os_error(libc::EADDRINUSE))),
        }
    }
    let socket = socket().map_err(refused)?;
    socket.bind(&name).map_err(refused)?;
    let file = UnixFile { path: path.to_owned(), device_and_inode: file_identity(path).unwrap_or_default() };
    if wanted.listener == ListenerKind::Public {
        // Public means anyone, as on a port; a proxy under another user could not connect otherwise.
        let open_to_all = std::fs::Permissions::from_mode(0o666);
        warn_if_refused("chmod", std::fs::set_permissions(path, open_to_all));
    }
    socket.listen(LISTEN_BACKLOG).map_err(refused)?;
    let address = ListenAddress::Unix(path.to_owned());
    Ok(AddressReservation { socket: Arc::new(socket), address, shared: true, _file: Some(file) })
}

/// Sets the options on an accepted socket that it does not inherit: the bound on unsent bytes of a Unix
/// socket, and the lock on the receive buffer of a connection to the control listener.
pub(crate) fn set_accepted_options(socket: &Socket, listener: ListenerKind, options: SocketOptions) {
    let socket = socket2::SockRef::from(socket);
    // Refused: the kernel's own bounds hold, and a slow peer is found by time.
    let _ = socket.set_send_buffer_size(options.unsent_bytes_max);
    if listener == ListenerKind::Control {
        let _ = socket.set_recv_buffer_size(CONTROL_RECEIVE_BUFFER_BYTES);
    }
}

impl AddressReservation {
    /// The address with the port that the kernel chose.
    pub(crate) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Source from which a worker gets its listener there.
    pub(crate) fn listener_source(&self) -> ListenerSource {
        match &self.address {
            ListenAddress::Tcp(address) if !self.shared => ListenerSource::Own(*address),
            ListenAddress::Tcp(_) | ListenAddress::Unix(_) => {
                ListenerSource::Shared(Arc::clone(&self.socket))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::accept;
    use socket2::SockRef;
    use std::net::TcpStream;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn wanted_at(text: &str) -> WantedListener {
        let settings = Settings { listen: vec![text.to_owned()], control: Vec::new(), ..Settings::default() };
        wanted_listeners(&settings, &[]).unwrap().remove(0)
    }

    fn fault_at(text: &str) -> BindFault {
        match held_at(text) {
            Err(StartError::Bind { fault, .. }) => fault,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn tcp_address(reservation: &AddressReservation) -> SocketAddr {
        match reservation.address() {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(path) => panic!("{path:?}"),
        }
    }

    fn held_at(text: &str) -> Result<AddressReservation, StartError> {
        reserve_address(&wanted_at(text), SocketOptions::new(&Settings::default()))
    }

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fanwheel-{name}-{}", std::process::id()))
    }

    #[test]
    fn accepted_tcp_sockets_inherit_every_option() {
        let options = SocketOptions::new(&Settings::default());
        let own = || held_at("127.0.0.1:0").unwrap();
        let adopted = || {
            let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            adopt_socket(InheritedSocket::new(3, String::new(), listening.into()).unwrap(), options).1
        };
        for (listener, receive_bytes, reservation) in [
            (ListenerKind::Public, 2 * PUBLIC_RECEIVE_BUFFER_BYTES, own()),
            (ListenerKind::Control, 2 * CONTROL_RECEIVE_BUFFER_BYTES, own()),
            (ListenerKind::Metrics, 2 * PUBLIC_RECEIVE_BUFFER_BYTES, own()),
            (ListenerKind::Public, 2 * PUBLIC_RECEIVE_BUFFER_BYTES, adopted()),
        ] {
            let address = tcp_address(&reservation);
            let listening = open_listener(&reservation.listener_source(), listener, options).unwrap();
            let _peer = TcpStream::connect(address).unwrap();
            let (socket, _) = accept(&listening).unwrap();
            let socket = SockRef::from(&socket);
            assert!(socket.tcp_nodelay().unwrap());
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_PAUSE);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_TRIES);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(20)));
            assert_eq!(socket.send_buffer_size().unwrap(), 2 * 16_384);
            assert_eq!(socket.recv_buffer_size().unwrap(), receive_bytes);
            assert!(socket.nonblocking().unwrap());
        }
    }

    #[test]
    fn accepted_unix_sockets_are_bounded_by_one_call_each() {
        let path = temporary("tuned");
        let reservation = held_at(&format!("unix:{}", path.display())).unwrap();
        let options = SocketOptions::new(&Settings::default());
        let listening = open_listener(&reservation.listener_source(), ListenerKind::Public, options).unwrap();
        let _peer = UnixStream::connect(&path).unwrap();
        let (socket, _) = accept(&listening).unwrap();
        set_accepted_options(&socket, ListenerKind::Public, options);
        assert_eq!(SockRef::from(&socket).send_buffer_size().unwrap(), 2 * 16_384);
    }

    #[test]
    fn workers_share_the_port_that_the_kernel_chose() {
        let reservation = held_at("127.0.0.1:0").unwrap();
        let options = SocketOptions::new(&Settings::default());
        let source = reservation.listener_source();
        let all: Vec<Socket> =
            (0..4).map(|_| open_listener(&source, ListenerKind::Public, options).unwrap()).collect();
        assert_ne!(tcp_address(&reservation).port(), 0);
        assert!(TcpStream::connect(tcp_address(&reservation)).is_ok());
        drop(all);
        assert!(TcpStream::connect(tcp_address(&reservation)).is_err(), "a reservation does not listen");
    }

    /// Connects from one processor and tells which listener got how many.
    fn newcomers_from(processor: usize, address: SocketAddr, all: &[Option<Socket>]) -> Vec<usize> {
        let peers = std::thread::spawn(move || {
            crate::sys::process::pin_thread(processor).unwrap();
            (0..16).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>()
        });
        let _peers = peers.join().unwrap();
        let taken = |one: &Option<Socket>| {
            one.as_ref().map_or(0, |socket| std::iter::from_fn(|| accept(socket).ok()).count())
        };
        all.iter().map(taken).collect()
    }

    /// Listeners that share a port obey SO_INCOMING_CPU since Linux 6.2.
    #[test]
    fn newcomers_go_to_the_listener_of_their_processor_and_elsewhere_when_it_is_closed() {
        let processors = crate::sys::process::processors().unwrap();
        let [first, second, ..] = processors[..] else {
            println!("skipped: one processor only");
            return;
        };
        let reservation = held_at("127.0.0.1:0").unwrap();
        let (address, source) = (tcp_address(&reservation), reservation.listener_source());
        let open_on = |processor| {
            let options = SocketOptions::new(&Settings::default()).on(processor);
            Some(open_listener(&source, ListenerKind::Public, options).unwrap())
        };
        // Two for the second processor: those of one processor share its newcomers.
        let mut all = [open_on(Some(first)), open_on(Some(second)), open_on(Some(second))];
        let got = newcomers_from(first, address, &all);
        assert_eq!(got, [16, 0, 0]);
        let got = newcomers_from(second, address, &all);
        assert_eq!((got[0], got[1] + got[2]), (0, 16), "{got:?}");
        all[0] = None;
        let got = newcomers_from(first, address, &all);
        assert_eq!(got[1] + got[2], 16, "{got:?}");
        all[0] = open_on(Some(first));
        assert_eq!(newcomers_from(first, address, &all), [16, 0, 0]);
    }

    #[test]
    fn whoever_is_awake_takes_what_comes_to_the_control_listener() {
        let options = SocketOptions::new(&Settings::default());
        let wanted = WantedListener { listener: ListenerKind::Control, ..wanted_at("127.0.0.1:0") };
        let reservation = reserve_address(&wanted, options).unwrap();
        let open = || open_listener(&reservation.listener_source(), ListenerKind::Control, options).unwrap();
        let workers = [open(), open()];
        for nth in 0..20 {
            let _peer = TcpStream::connect(tcp_address(&reservation)).unwrap();
            assert!(accept(&workers[nth % 2]).is_ok(), "it waits in the other one's queue");
        }
        let address = tcp_address(&reservation).to_string();
        assert_eq!(fault_at(&address), BindFault::InUse);
    }

    #[test]
    fn a_port_is_in_use_even_if_its_owner_would_share_it() {
        let reservation = held_at("127.0.0.1:0").unwrap();
        let address = tcp_address(&reservation).to_string();
        let listening = open_listener(
            &reservation.listener_source(),
            ListenerKind::Public,
            SocketOptions::new(&Settings::default()),
        )
        .unwrap();
        assert_eq!(fault_at(&address), BindFault::InUse);
        assert_eq!(fault_at(&address.replace("127.0.0.1", "0.0.0.0")), BindFault::InUse);
        drop((listening, reservation));
        assert!(held_at(&address).is_ok());
    }

    #[test]
    fn faults_of_addresses_are_told_apart() {
        assert_eq!(fault_at("192.0.2.1:8080"), BindFault::NotAvailable);
        assert_eq!(fault_at("unix:/nowhere/at/all"), BindFault::NotAvailable);
        let file = temporary("plain");
        std::fs::write(&file, "precious").unwrap();
        assert_eq!(fault_at(&format!("unix:{}", file.display())), BindFault::NotASocket);
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_dead_servers_socket_file_is_replaced_and_a_live_ones_is_not() {
        let path = temporary("stale");
        let text = format!("unix:{}", path.display());
        let live = UnixListener::bind(&path).unwrap();
        assert_eq!(fault_at(&text), BindFault::InUse);
        assert!(path.exists());
        drop(live);
        let reservation = held_at(&text).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fault_at(&text), BindFault::InUse);
        drop(reservation);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_file_that_another_server_has_replaced_is_left_alone() {
        let path = temporary("replaced");
        let reservation = held_at(&format!("unix:{}", path.display())).unwrap();
        let moved = temporary("moved");
        std::fs::rename(&path, &moved).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(reservation);
        assert!(path.exists());
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(moved).unwrap();
    }

    #[test]
    fn an_address_that_is_none_names_its_setting() {
        let settings = Settings { control: vec!["nonsense".to_owned()], ..Settings::default() };
        let error = wanted_listeners(&settings, &[]).unwrap_err();
        assert!(matches!(error, StartError::Address { listener: ListenerKind::Control, .. }));
    }
}
