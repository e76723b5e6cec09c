//! A peer's end of one connection: bytes go out whole or in pieces, come in eagerly, slowly or not at all.
//!
//! Owns fragmentation and appetite. Knows no requests: actors do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fanwheel::base::listener::ListenerKind;
use fanwheel::base::prng::Prng;
use fanwheel::base::settings::{ProxyProtocol, Settings};

use crate::answer::{AwaitedAnswer, Got, Reader};
use crate::net::{self, Net, Window};
use crate::scene::Scene;
use crate::setup::{one_in, pick};

/// Addresses of proxies that are trusted.
pub const PROXIES: &str = "10.7.0.0/16";
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 7, 0, 1));

/// Whether an address is that of a trusted proxy.
pub fn is_proxy(address: IpAddr) -> bool {
    address == PROXY
}

/// How a peer sends.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    Whole,
    Bytes,
    Random,
}

/// How a peer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// Everything at once.
    Eager,
    /// A few bytes at a time.
    Slow,
    /// Nothing.
    Never,
}

/// How a connection ended, as its peer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Orderly,
    /// By a reset.
    Reset,
}

/// A peer's end of one connection.
pub struct Peer {
    /// The connection.
    pub conn: usize,
    /// Reads the answers.
    pub reader: Reader,
    /// How it ended.
    pub end: Option<End>,
    /// How it reads.
    pub appetite: Appetite,
    /// What the last pump has read whole was sent since then: everything before had been read.
    pub sent_since_ms: u64,
    /// Nothing beyond is sent for now.
    pub hold_at: Option<usize>,
    out: Vec<u8>,
    sent: usize,
    pieces: Pieces,
    window: Window,
    /// When everything had been read, the last time.
    read_all_ms: u64,
}

impl Peer {
    /// Connects to some worker.
    pub fn connect(net: &mut Net, scene: &mut Scene, listener: ListenerKind) -> Peer {
        let prng = &mut scene.prng;
        let appetite = match prng.below(8) {
            0..5 => Appetite::Eager,
            5 | 6 => Appetite::Slow,
            _ => Appetite::Never,
        };
        let window = pick(prng, &[Window::Large, Window::Large, Window::Mixed, Window::Small, Window::Tiny]);
        let large = scene.plan.large && one_in(prng, 2);
        let window = if scene.calm || large { Window::Large } else { window };
        let worker = prng.below(scene.plan.workers as u64) as usize;
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, prng.below(4) as u8));
        let pieces = pick(prng, &[Pieces::Whole, Pieces::Whole, Pieces::Bytes, Pieces::Random]);
        let proxied = scene.plan.proxies && listener == ListenerKind::Public;
        let way = if proxied { draw_way(&scene.plan.settings, prng, address) } else { Way::direct(address) };
        let conn = net.connect(worker, listener, way.peer, window);
        net.socks[conn].named = way.named;
        scene.trace(|| format!("conn {conn} to worker {worker}, {window:?}, {appetite:?}, {pieces:?}"));
        let reader = Reader::new();
        let (sent_since_ms, read_all_ms) = (scene.now.mono_ms, scene.now.mono_ms);
        let (end, hold_at, out, sent) = (None, None, way.header, 0);
        Peer { conn, reader, end, appetite, sent_since_ms, hold_at, out, sent, pieces, window, read_all_ms }
    }

    /// Queues a request.
    pub fn ask(&mut self, bytes: &[u8], asked: AwaitedAnswer) {
        self.out.extend_from_slice(bytes);
        self.reader.ask(asked);
    }

    /// Queues bytes of no further meaning.
    pub fn say(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Whether everything queued has been sent.
    pub fn has_sent(&self) -> bool {
        self.sent == self.out.len()
    }

    /// Bytes queued since the connection began, sent or not.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// Bytes sent so far.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Sends and reads a little, or all that there is in a calm world. Returns the answers
    /// that were completed.
    pub fn pump(&mut self, net: &mut Net, scene: &mut Scene) -> Vec<Got> {
        self.send_some(net, &mut scene.prng, scene.calm);
        self.sent_since_ms = self.read_all_ms;
        let mut got = Vec::new();
        let most = match self.appetite {
            _ if scene.calm => usize::MAX,
            Appetite::Eager => usize::MAX,
            Appetite::Slow => 1 + scene.prng.below(60) as usize,
            Appetite::Never => return got,
        };
        loop {
            match net.read(self.conn, most) {
                net::Got::Bytes(bytes) => {
                    let text = || bytes[..bytes.len().min(900)].escape_ascii().to_string();
                    scene.trace(|| format!("conn {} reads {:?}", self.conn, text()));
                    self.reader.feed(&bytes, &mut got);
                }
                net::Got::Nothing => {
                    if self.reader.is_between() {
                        self.read_all_ms = scene.now.mono_ms;
                    }
                    break;
                }
                net::Got::End => self.end = Some(End::Orderly),
                net::Got::Reset => self.end = Some(End::Reset),
            }
            if most != usize::MAX || self.end.is_some() {
                break;
            }
        }
        got
    }

    fn send_some(&mut self, net: &mut Net, prng: &mut Prng, calm: bool) {
        let sock = &net.socks[self.conn];
        if self.has_sent() || sock.peer_finished || sock.closed.is_some() {
            return;
        }
        // Large bodies in larger pieces, or they would never arrive.
        let left = self.out.len() - self.sent;
        let most = match self.pieces {
            _ if calm => usize::MAX,
            Pieces::Whole => usize::MAX,
            Pieces::Bytes => 1 + left / 2_000,
            Pieces::Random => 1 + prng.below(100.max(left as u64 / 3)) as usize,
        };
        let end = self.sent.saturating_add(most).min(self.hold_at.unwrap_or(self.out.len()));
        if end <= self.sent {
            return;
        }
        net.send(self.conn, &self.out[self.sent..end]);
        self.sent = end;
    }

    /// Whether a calm pump would do something.
    pub fn has_news(&self, net: &Net) -> bool {
        let sock = &net.socks[self.conn];
        let can_send = !self.has_sent() && !sock.peer_finished && sock.closed.is_none();
        can_send || (self.end.is_none() && sock.has_news())
    }

    /// Widens the window, or narrows it to its usual size.
    pub fn set_calm(&self, net: &mut Net, calm: bool) {
        net.set_window(self.conn, if calm { Window::Large } else { self.window });
    }
}

/// The way of a connection: from a client, or from a proxy whose header comes first.
struct Way {
    peer: IpAddr,
    named: Option<SocketAddr>,
    header: Vec<u8>,
}

impl Way {
    fn direct(client: IpAddr) -> Way {
        Way { peer: client, named: None, header: Vec::new() }
    }
}

/// Draws the way of a connection of a client. Where no header has to come, it may come all the same.
fn draw_way(settings: &Settings, prng: &mut Prng, client: IpAddr) -> Way {
    let may_be_plain = settings.proxy_protocol == ProxyProtocol::Accept;
    let client = SocketAddr::new(client, 5_000);
    let (named, header) = match prng.below(8) {
        0 if may_be_plain => return Way::direct(client.ip()),
        1 if may_be_plain => (None, Vec::new()),
        2 => (None, proxy_header(None, 0)),
        3 => (None, b"PROXY UNKNOWN and more\r\n".to_vec()),
        4 | 5 => (Some(client), format!("PROXY TCP4 {} 10.1.1.1 5000 80\r\n", client.ip()).into_bytes()),
        _ => (Some(client), proxy_header(Some(client), prng.below(300) as usize)),
    };
    Way { peer: PROXY, named, header }
}

/// A header of version 2 with so many bytes of extensions, for a client or for the proxy itself.
pub fn proxy_header(client: Option<SocketAddr>, extension: usize) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | u8::from(client.is_some()), 0x11]);
    header.extend((12 + extension as u16).to_be_bytes());
    match client.map(|client| (client.ip(), client.port())) {
        Some((IpAddr::V4(ip), port)) => {
            header.extend(ip.octets().into_iter().chain([10, 1, 1, 1]).chain(port.to_be_bytes()));
            header.extend(80_u16.to_be_bytes());
        }
        _ => header.extend([0; 12]),
    }
    header.extend(vec![4; extension]);
    header
}
