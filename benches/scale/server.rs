//! The release server of one scenario, and the plain requests that are sent to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::report::Report;

const START: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(10);

/// A running server; killed when dropped.
pub struct Server {
    process: Child,
    /// The public listener.
    pub public: SocketAddr,
    /// The control listener.
    pub control: SocketAddr,
    /// This process keeps off its processor.
    apart: bool,
}

/// The last processor's number, as found before anything was moved.
static LAST_PROCESSOR: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(0, |count| count.get() - 1));

impl Server {
    /// Starts on free loopback ports with further flags; its log goes to `target/scale/NAME.log`.
    pub fn start(name: &str, flags: &[&str]) -> io::Result<Server> {
        Server::start_under(name, &[], flags)
    }

    /// The same with one worker on a processor of its own, if there is another for everybody else: those who
    /// attack it are elsewhere then, and take no processor time from it.
    pub fn start_apart(name: &str) -> io::Result<Server> {
        Server::start_apart_with(name, &[])
    }

    /// The same with further flags.
    pub fn start_apart_with(name: &str, flags: &[&str]) -> io::Result<Server> {
        let flags = [&["--workers", "1"], flags].concat();
        let last = *LAST_PROCESSOR;
        if last == 0 {
            return Server::start(name, &flags);
        }
        // Threads and processes that are started from here on inherit it.
        run_on(&format!("1-{last}"))?;
        let mut server = Server::start_under(name, &["taskset", "-c", "0"], &flags)?;
        server.apart = true;
        Ok(server)
    }

    fn start_under(name: &str, wrap: &[&str], flags: &[&str]) -> io::Result<Server> {
        let public = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let server = Server::spawn(name, wrap, public, control, flags)?;
        let start = Instant::now();
        while request(server.public, "GET", "/healthz", "").map_or(0, |answer| answer.status) != 200 {
            if start.elapsed() > START {
                return Err(io::Error::other(format!(
                    "the server did not start: see {}",
                    log(name).display()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Starts under `wrap` on given addresses and does not wait.
    pub fn spawn(
        name: &str,
        wrap: &[&str],
        public: SocketAddr,
        control: SocketAddr,
        flags: &[&str],
    ) -> io::Result<Server> {
        let path = log(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        let log = File::create(path)?;
        let words: Vec<&str> = wrap.to_vec();
        let binary = binary()?;
        let mut command = match words.split_first() {
            None => Command::new(binary),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary);
                command
            }
        };
        command.arg("serve").args(["--listen", &public.to_string(), "--control", &control.to_string()]);
        let settings = std::env::vars_os().map(|(name, _)| name);
        settings.filter(|name| name.to_string_lossy().starts_with("FANWHEEL_")).for_each(|name| {
            command.env_remove(name);
        });
        // A flag of the scenario's own cannot be given again: the server refuses it.
        let further = std::env::var("SERVER_FLAGS").unwrap_or_default();
        command
            .args(flags)
            .args(further.split_whitespace())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Server { process: command.spawn()?, public, control, apart: false })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Adds how long a health check takes now; one that is not answered counts as the longest.
    pub fn check(&self, report: &mut Report) {
        let start = Instant::now();
        let healthy = request(self.public, "GET", "/healthz", "").is_ok_and(|answer| answer.status == 200);
        let time = if healthy { start.elapsed() } else { REQUEST };
        report.at_most("health check afterwards", time.as_secs_f64() * 1_000.0, "ms", 1_000.0);
    }

    /// All samples of `/metrics`, by name with labels.
    pub fn metrics(&self) -> io::Result<BTreeMap<String, f64>> {
        let text = request(self.control, "GET", "/metrics", "")?.body;
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(samples.collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.apart {
            // Fails only where moving away has failed.
            let _ = run_on(&format!("0-{}", *LAST_PROCESSOR));
        }
    }
}

/// Moves this thread, and the threads it starts, to some processors.
fn run_on(processors: &str) -> io::Result<()> {
    let own = std::process::id().to_string();
    let moved = Command::new("taskset").args(["-cp", processors, &own]).stdout(Stdio::null()).status()?;
    if moved.success() { Ok(()) } else { Err(io::Error::other(format!("cannot run on {processors}"))) }
}

/// Returns the server under test: SERVER_BIN, else the one built beside this program.
fn binary() -> io::Result<PathBuf> {
    if let Some(path) = std::env::var_os("SERVER_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(|examples| examples.parent());
    folder.map(|folder| folder.join("fanwheel")).ok_or_else(|| io::Error::other("no folder of its own"))
}

fn log(name: &str) -> PathBuf {
    PathBuf::from("target/scale").join(name).with_extension("log")
}

/// A port that nobody listens on now.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// One request on a connection of its own.
pub fn request(to: SocketAddr, method: &str, target: &str, body: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, REQUEST)?;
    stream.set_read_timeout(Some(REQUEST))?;
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    stream.write_all(format!("{head}{length}\r\n{body}").as_bytes())?;
    read_answer(&mut stream, &mut Vec::new())
}

/// A connection to the server that is kept for many requests.
pub struct ControlConnection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl ControlConnection {
    /// Connects.
    pub fn open(to: SocketAddr) -> io::Result<ControlConnection> {
        let stream = TcpStream::connect_timeout(&to, REQUEST)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REQUEST))?;
        Ok(ControlConnection { stream, buffer: Vec::new() })
    }

    /// One request and its answer, which must have this status.
    pub fn ask(&mut self, method: &str, target: &str, body: &str, status: u16) -> io::Result<Answer> {
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
        self.stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let answer = read_answer(&mut self.stream, &mut self.buffer)?;
        if answer.status != status {
            let text = format!("{method} {target} answered {}: {}", answer.status, answer.body);
            return Err(io::Error::other(text));
        }
        Ok(answer)
    }
}

/// Reads one answer with a `Content-Length`; `buffer` keeps nothing behind it, as nobody pipelines here.
pub fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Answer> {
    buffer.clear();
    loop {
        if let Some(answer) = whole_answer(buffer) {
            return Ok(answer);
        }
        let mut piece = [0; 16_384];
        let bytes = stream.read(&mut piece)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&piece[..bytes]);
    }
}

fn whole_answer(buffer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(buffer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    (body.len() >= length.unwrap_or(0)).then(|| Answer { status, body: body.to_owned() })
}
