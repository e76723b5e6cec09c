//! A web address that takes messages: over plain TCP or TLS, with answers as told. It can hang up and refuse
//! for a while before it takes anything.
//!
//! Owns its listener and the requests it received. Knows nothing of alerts.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{free_port, poll_until};

/// One request that was answered.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The status of the answer.
    pub status: u16,
    /// The head's lines.
    pub head: String,
    /// The body as JSON.
    pub json: serde_json::Value,
}

/// A web server that records alerts. Runs to the end of the test process.
pub struct Hook {
    /// Where.
    pub address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Hook {
    /// Answers 200 to everything.
    pub fn start() -> Hook {
        Hook::run(None, Duration::ZERO)
    }

    /// Answers 500 once, refuses connections for a while, then answers 200.
    pub fn failing_first(refused_for: Duration) -> Hook {
        Hook::run(None, refused_for)
    }

    /// Answers 200 to everything over TLS.
    pub fn with_tls(config: rustls::ServerConfig) -> Hook {
        Hook::run(Some(Arc::new(config)), Duration::ZERO)
    }

    fn run(tls: Option<Arc<rustls::ServerConfig>>, refused_for: Duration) -> Hook {
        let address = free_port();
        let posted = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&posted);
        let mut listener = TcpListener::bind(address).expect("free a moment ago");
        std::thread::spawn(move || {
            let take = |listener: &TcpListener, status| {
                let Ok((socket, _)) = listener.accept() else { return };
                let answered = match &tls {
                    Some(config) => over_tls(config, socket, status),
                    None => answer(socket, status),
                };
                all.lock().expect("no holder panics").extend(answered);
            };
            if !refused_for.is_zero() {
                take(&listener, 500);
                drop(listener);
                // Bound and not listening: connections are refused, and nobody else gets the port.
                let socket = bound(address);
                std::thread::sleep(refused_for);
                socket.listen(8).expect("it is bound");
                listener = socket.into();
            }
            loop {
                take(&listener, 200);
            }
        });
        Hook { address, posted }
    }

    /// Everything up to now.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().expect("no holder panics").clone()
    }

    /// Waits for a message that was taken and says this of an alert.
    pub fn await_taken(&self, name: &str, state: &str, within: Duration) -> Posted {
        let matches = |posted: &Posted| {
            posted.status == 200 && posted.json["name"] == name && posted.json["state"] == state
        };
        let found = poll_until(within, || self.posted().into_iter().find(|posted| matches(posted)));
        found.unwrap_or_else(|| panic!("no {state} {name} within {within:?}: {:#?}", self.posted()))
    }
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("files are left");
    socket.set_reuse_address(true).expect("an ordinary option");
    socket.bind(&address.into()).expect("ours a moment ago");
    socket
}

fn over_tls(config: &Arc<rustls::ServerConfig>, socket: TcpStream, status: u16) -> Option<Posted> {
    let connection = rustls::ServerConnection::new(Arc::clone(config)).expect("a sound configuration");
    answer(rustls::StreamOwned::new(connection, socket), status)
}

/// Reads one request and answers it; none when the peer did not send one.
fn answer(stream: impl Read + Write, status: u16) -> Option<Posted> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    loop {
        let before = head.len();
        match reader.read_line(&mut head) {
            Ok(0) | Err(_) => return None,
            Ok(_) if &head[before..] == "\r\n" => break,
            Ok(_) => {}
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    match reader.read_exact(&mut body) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
        result => result.ok()?,
    }
    let _ = write!(reader.get_mut(), "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = reader.get_mut().flush();
    Some(Posted { status, head, json: serde_json::from_slice(&body).unwrap_or_default() })
}
