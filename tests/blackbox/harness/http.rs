//! A tiny strict HTTP/1.1 client: raw bytes in, one parsed answer out, every framing rule checked.
//!
//! Owns one socket and the bytes read from it. Knows nothing of events.

use super::SOON;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How the peer ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Fin,
    /// By a reset.
    Reset,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The time is over.
    Quiet,
    /// The peer ended the connection first.
    Ended(End),
    /// Bytes that are not HTTP.
    Bad(String),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// Three digits.
    pub status: u16,
    /// Names as sent, values trimmed, in order.
    pub headers: Vec<(String, String)>,
    /// The head's bytes with its blank line.
    pub head: Vec<u8>,
    /// The body, chunks taken apart; empty for streams.
    pub body: Vec<u8>,
}

impl Response {
    /// The one value of a header; fails the test when it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice in {}", String::from_utf8_lossy(&self.head));
        value
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    /// Whether the server announced that it closes.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Fails unless the answer is an error in the documented form.
pub fn assert_problem(case: &str, response: &Response, statuses: &[u16]) {
    let shown = || format!("{case}: {}{}", String::from_utf8_lossy(&response.head), response.text());
    assert!(statuses.contains(&response.status), "expected {statuses:?}, {}", shown());
    assert_eq!(response.header("content-type"), Some("application/json"), "{}", shown());
    let body = response.json();
    let code = body["error"].as_str().unwrap_or_else(|| panic!("no error code, {}", shown()));
    let snake = code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    assert!(snake && !code.is_empty(), "not snake_case, {}", shown());
    let message = body["message"].as_str().unwrap_or_else(|| panic!("no message, {}", shown()));
    assert!(message.len() > 5 && !message.contains('\n'), "not a sentence, {}", shown());
}

/// Percent-encodes all but unreserved characters.
pub fn percent(text: impl AsRef<[u8]>) -> String {
    text.as_ref()
        .iter()
        .map(|&b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => (b as char).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// One connection to the server.
pub struct Conn {
    stream: TcpStream,
    buffer: Vec<u8>,
    end: Option<End>,
}

impl Conn {
    /// Connects, without delay for small writes.
    pub fn open(to: SocketAddr) -> Conn {
        Conn::try_open(to).unwrap_or_else(|e| panic!("{to}: {e}"))
    }

    /// Connects to a server that may be unable to answer.
    pub fn try_open(to: SocketAddr) -> std::io::Result<Conn> {
        TcpStream::connect_timeout(&to, SOON).map(Conn::over)
    }

    /// Connects from an address, with a receive buffer of about so many bytes (0 = the kernel's choice).
    pub fn open_from(from: Ipv4Addr, to: SocketAddr, receive_bytes: usize) -> std::io::Result<Conn> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        if receive_bytes > 0 {
            socket.set_recv_buffer_size(receive_bytes)?;
        }
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), SOON)?;
        Ok(Conn::over(socket.into()))
    }

    fn over(stream: TcpStream) -> Conn {
        stream.set_nodelay(true).expect("a fresh socket takes options");
        stream.set_write_timeout(Some(SOON)).expect("a fresh socket takes options");
        Conn { stream, buffer: Vec::new(), end: None }
    }

    /// Sends everything; a peer that has hung up meanwhile is no failure (the answer tells).
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends `size` bytes a write, each its own segment as far as the kernel allows.
    pub fn send_pieces(&mut self, bytes: &[u8], size: usize) {
        for piece in bytes.chunks(size) {
            if self.stream.write_all(piece).is_err() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Sends from another thread, for requests that are larger than the buffers between.
    pub fn send_aside(&self, bytes: Vec<u8>) -> std::thread::JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("files are left");
        std::thread::spawn(move || {
            let _ = stream.write_all(&bytes);
        })
    }

    /// Sends one byte as urgent data (RFC 9293 §3.8.5), which is no part of the stream of bytes.
    pub fn send_urgent(&self, byte: u8) {
        let sent = socket2::SockRef::from(&self.stream).send_out_of_band(&[byte]);
        assert_eq!(sent.expect("an open connection"), 1);
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Drops the connection with a reset.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Reads once into the buffer. `Err(Quiet)` when the deadline passed.
    pub fn fill(&mut self, deadline: Instant) -> Result<(), Fail> {
        if let Some(end) = self.end {
            return Err(Fail::Ended(end));
        }
        let mut scratch = [0u8; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("an open socket takes options");
            match self.stream.read(&mut scratch) {
                Ok(0) => self.end = Some(End::Fin),
                Ok(n) => {
                    self.buffer.extend_from_slice(&scratch[..n]);
                    return Ok(());
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Err(Fail::Quiet);
                    }
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => self.end = Some(End::Reset),
            }
            return Err(Fail::Ended(self.end.expect("set just above")));
        }
    }

    /// Returns the bytes that were read and not yet taken.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes `count` bytes, reading as needed.
    pub fn take(&mut self, count: usize, deadline: Instant) -> Result<Vec<u8>, Fail> {
        while self.buffer.len() < count {
            self.fill(deadline)?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Takes everything up to and including `mark`.
    pub fn take_through(&mut self, mark: &[u8], deadline: Instant) -> Result<Vec<u8>, Fail> {
        let mut from = 0;
        loop {
            if let Some(at) = self.buffer[from..].windows(mark.len()).position(|window| window == mark) {
                return Ok(self.buffer.drain(..from + at + mark.len()).collect());
            }
            from = self.buffer.len().saturating_sub(mark.len() - 1);
            if from > 1 << 24 {
                return Err(Fail::Bad("16 MiB without a line end".to_owned()));
            }
            self.fill(deadline)?;
        }
    }

    /// Reads until the peer ends the connection; returns the bytes and the kind of end.
    pub fn rest(&mut self, within: Duration) -> (Vec<u8>, Result<End, Fail>) {
        let deadline = Instant::now() + within;
        loop {
            match self.fill(deadline) {
                Ok(()) => {}
                Err(Fail::Ended(end)) => return (std::mem::take(&mut self.buffer), Ok(end)),
                Err(fail) => return (std::mem::take(&mut self.buffer), Err(fail)),
            }
        }
    }

    /// Fails unless the connection ends within the time without another byte.
    pub fn assert_ends(&mut self, case: &str, within: Duration) {
        let (bytes, end) = self.rest(within);
        assert!(bytes.is_empty(), "{case}: bytes after the answer: {}", String::from_utf8_lossy(&bytes));
        assert!(end.is_ok(), "{case}: still open after {within:?}");
    }

    /// Reads one answer's head.
    pub fn head(&mut self, within: Duration) -> Result<Response, Fail> {
        let head = self.take_through(b"\r\n\r\n", Instant::now() + within)?;
        parse_head(head).map_err(Fail::Bad)
    }

    /// Reads one whole answer.
    pub fn answer(&mut self, within: Duration) -> Result<Response, Fail> {
        self.answer_to("GET", within)
    }

    /// Reads one whole answer to a request of that method (HEAD has no body).
    pub fn answer_to(&mut self, method: &str, within: Duration) -> Result<Response, Fail> {
        let deadline = Instant::now() + within;
        let mut response = self.head(within)?;
        let bodiless = method == "HEAD" || response.status < 200 || matches!(response.status, 204 | 304);
        if bodiless {
            return Ok(response);
        }
        let length = response.header("content-length").map(str::to_owned);
        response.body = match (length, response.header("transfer-encoding")) {
            (Some(length), None) => {
                let count = length.parse().map_err(|_| Fail::Bad(format!("content-length {length}")))?;
                self.take(count, deadline)?
            }
            (None, Some("chunked")) => self.chunks(deadline)?,
            (None, None) if response.closes() || response.version == "HTTP/1.0" => {
                let (bytes, end) = self.rest(within);
                end?;
                bytes
            }
            (length, coding) => return Err(Fail::Bad(format!("framed by {length:?} and {coding:?}"))),
        };
        Ok(response)
    }

    fn chunks(&mut self, deadline: Instant) -> Result<Vec<u8>, Fail> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(deadline)? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Takes one chunk with strict framing; `None` is the last one, with its blank line. Takes nothing
    /// when the time is over first.
    pub fn chunk(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>, Fail> {
        let line_end = loop {
            match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                Some(at) => break at,
                None => self.fill(deadline)?,
            }
        };
        let line = String::from_utf8_lossy(&self.buffer[..line_end]).into_owned();
        let hex = !line.is_empty() && line.len() <= 8 && line.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex || (line.len() > 1 && line.starts_with('0')) {
            return Err(Fail::Bad(format!("chunk size line {line:?}")));
        }
        let size = usize::from_str_radix(&line, 16).map_err(|e| Fail::Bad(e.to_string()))?;
        let whole = line_end + 2 + size + 2;
        while self.buffer.len() < whole {
            self.fill(deadline)?;
        }
        let bytes: Vec<u8> = self.buffer.drain(..whole).collect();
        if &bytes[whole - 2..] != b"\r\n" {
            return Err(Fail::Bad("chunk data not ended by CRLF".to_owned()));
        }
        Ok((size > 0).then(|| bytes[line_end + 2..whole - 2].to_vec()))
    }

    /// Sends one request and reads its whole answer, which must come.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request.as_ref());
        let method = String::from_utf8_lossy(request.as_ref()).split(' ').next().unwrap_or("").to_owned();
        self.answer_to(&method, SOON).unwrap_or_else(|fail| {
            let request = request.as_ref();
            let shown = String::from_utf8_lossy(&request[..request.len().min(300)]);
            panic!("{fail:?} instead of an answer to {shown}")
        })
    }
}

fn parse_head(head: Vec<u8>) -> Result<Response, String> {
    let text = std::str::from_utf8(&head).map_err(|_| "head is not UTF-8".to_owned())?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status_line = lines.next().unwrap_or("");
    let (version, rest) = status_line.split_at_checked(9).ok_or(format!("status line {status_line:?}"))?;
    let (digits, reason) = rest.split_at_checked(3).ok_or(format!("status line {status_line:?}"))?;
    let well = matches!(version, "HTTP/1.1 " | "HTTP/1.0 ") && reason.starts_with(' ');
    let status: u16 = digits.parse().map_err(|_| format!("status {digits:?}"))?;
    if !well || !(100..600).contains(&status) {
        return Err(format!("status line {status_line:?}"));
    }
    let headers: Vec<(String, String)> = lines.map(parse_header).collect::<Result<_, String>>()?;
    let version = version.trim_end().to_owned();
    Ok(Response { version, status, headers, head: head.clone(), body: Vec::new() })
}

fn parse_header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(": ").ok_or(format!("header {line:?}"))?;
    let name_ok = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let value_ok =
        value.trim() == value && !value.is_empty() && value.bytes().all(|b| (32..127).contains(&b));
    if name_ok && value_ok {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(format!("header {line:?}"))
    }
}
