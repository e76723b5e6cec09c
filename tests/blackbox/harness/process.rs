//! A running server: its ports, its log, its counters, and the kernel's figures of its process.
//!
//! Owns the child process and kills it at drop. Knows nothing of how it was started.

use super::{Conn, Response, SOON, Stream, ms, percent, poll_until};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The lines a server wrote to its standard error.
#[derive(Debug, Default)]
pub struct Log {
    text: Mutex<String>,
    ended: AtomicBool,
}

impl Log {
    /// Reads lines in a thread of its own until the pipe ends.
    pub fn follow(self: &Arc<Log>, pipe: ChildStderr) {
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let mut text = log.text.lock().expect("no reader panics");
                text.push_str(&String::from_utf8_lossy(&line));
                text.push('\n');
            }
            log.ended.store(true, Ordering::Release);
        });
    }

    /// Everything up to now.
    pub fn text(&self) -> String {
        self.text.lock().expect("no reader panics").clone()
    }

    /// Waits until the pipe has ended, so that the text is all there is.
    pub fn await_end(&self, within: Duration) {
        poll_until(within, || self.ended.load(Ordering::Acquire).then_some(()));
    }
}

/// One reading of `/metrics`.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all samples whose name is `fanwheel_<name>` or `fanwheel_<name>_total`.
    pub fn get(&self, name: &str) -> u64 {
        let names = [format!("fanwheel_{name}"), format!("fanwheel_{name}_total")];
        let samples: Vec<u64> =
            self.samples().filter(|s| names.iter().any(|n| n == s.0)).map(|s| s.2).collect();
        assert!(!samples.is_empty(), "no metric {name} in\n{}", self.0);
        samples.iter().sum()
    }

    /// The value of a labelled counter whose name contains `family` and one of whose labels is `value`.
    pub fn labelled(&self, family: &str, value: &str) -> u64 {
        let label = format!("=\"{value}\"");
        let samples = self.samples().filter(|s| s.0.contains(family) && s.1.contains(&label));
        samples.map(|s| s.2).sum()
    }

    /// Returns the metrics that are not zero in one line, for failure messages.
    pub fn shown(&self) -> String {
        let lines = self.0.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0"));
        lines.map(|line| line.trim_start_matches("fanwheel_")).collect::<Vec<_>>().join(", ")
    }

    fn samples(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.0.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            Some((name, labels, value.parse::<f64>().ok()? as u64))
        })
    }
}

/// A running server.
pub struct Server {
    child: Mutex<Child>,
    pid: u32,
    /// The public listener.
    pub public: SocketAddr,
    /// The control listener.
    pub control: SocketAddr,
    log: Arc<Log>,
}

impl Server {
    /// Takes over a started child.
    pub fn new(child: Child, public: SocketAddr, control: SocketAddr, log: Arc<Log>) -> Server {
        let pid = child.id();
        Server { child: Mutex::new(child), pid, public, control, log }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The lines that it logged to standard error.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Opens a connection to the public listener.
    pub fn connect(&self) -> Conn {
        Conn::open(self.public)
    }

    /// Opens a connection to the control listener.
    pub fn connect_control(&self) -> Conn {
        Conn::open(self.control)
    }

    /// One GET on the control listener, on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        Server::get_from(self.control, path)
    }

    /// One GET on either listener, on a connection of its own.
    pub fn get_from(addr: SocketAddr, path: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        Conn::open(addr).ask(request)
    }

    /// The bytes of a publish request for the control listener.
    pub fn publish_bytes(&self, query: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST /publish?{query} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n{headers}\r\n",
            self.control,
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    /// Publishes on a connection of its own; any answer.
    pub fn post(&self, query: &str, headers: &str, body: impl AsRef<[u8]>) -> Response {
        self.connect_control().ask(self.publish_bytes(query, headers, body.as_ref()))
    }

    /// Publishes to a topic; the id.
    pub fn publish(&self, topic: &str, body: impl AsRef<[u8]>) -> String {
        let answer = self.post(&format!("topic={}", percent(topic)), "", body);
        accepted_id(&answer)
    }

    /// Publishes many bodies to a topic over one connection; the ids.
    pub fn publish_all(&self, topic: &str, bodies: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut conn = self.connect_control();
        let query = format!("topic={}", percent(topic));
        let ask = |body: String| accepted_id(&conn.ask(self.publish_bytes(&query, "", body.as_bytes())));
        bodies.into_iter().map(ask).collect()
    }

    /// Opens a stream with a query such as `topic=a&last=3`.
    pub fn subscribe(&self, query: &str) -> Stream {
        self.subscribe_with(query, "")
    }

    /// Opens a stream with further header lines.
    pub fn subscribe_with(&self, query: &str, headers: &str) -> Stream {
        Stream::open(self.connect(), query, headers)
    }

    /// Opens a stream that resumes after an id.
    pub fn resume(&self, query: &str, id: &str) -> Stream {
        self.subscribe_with(query, &format!("Last-Event-ID: {id}\r\n"))
    }

    /// The counters now.
    pub fn metrics(&self) -> Metrics {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200, "/metrics");
        Metrics(response.text().to_owned())
    }

    /// Waits until a counter satisfies a condition; fails with the last value.
    pub fn await_metric(&self, what: &str, within: Duration, probe: impl Fn(&Metrics) -> bool) -> Metrics {
        let mut last = None;
        let reached = poll_until(within, || {
            let metrics = self.metrics();
            let good = probe(&metrics);
            last = Some(metrics);
            good.then_some(())
        });
        let last = last.expect("read at least once");
        assert!(reached.is_some(), "{what} not reached in {within:?}: {}", last.shown());
        last
    }

    /// Whether the process still runs.
    pub fn runs(&self) -> bool {
        self.child.lock().expect("no holder panics").try_wait().expect("our own child").is_none()
    }

    /// Sends a signal by name (`TERM`).
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for the end of the process.
    pub fn exit(&self, within: Duration) -> Option<ExitStatus> {
        poll_until(within, || self.child.lock().expect("no holder panics").try_wait().expect("our own child"))
    }

    /// Bytes of resident memory.
    pub fn resident_bytes(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the process runs");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
        kib * 1_024
    }

    /// Milliseconds of processor time used up to now.
    pub fn cpu_ms(&self) -> u64 {
        let stat = self.proc_file("stat");
        let after_name = stat.rsplit_once(')').expect("the name is in brackets").1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number of ticks");
        (ticks(11) + ticks(12)) * 10
    }

    /// Files open in all file tables of the process: a table is counted once for each thread that uses it,
    /// so only differences mean something.
    pub fn files_open(&self) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).expect("the process runs");
        let count =
            |task: std::fs::DirEntry| std::fs::read_dir(task.path().join("fd")).map_or(0, Iterator::count);
        tasks.flatten().map(count).sum()
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.pid)).expect("the process runs")
    }

    /// Unsent and unacknowledged bytes that the kernel keeps for each connection of the public listener.
    pub fn kernel_unsent_bytes(&self) -> Vec<u64> {
        let local = format!("0100007F:{:04X}", self.public.port());
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
        let unsent = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ours = fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&"01");
            let queue = fields.get(4)?.split_once(':')?.0;
            ours.then(|| u64::from_str_radix(queue, 16).ok())?
        };
        table.lines().filter_map(unsent).collect()
    }

    /// Waits until no more than `level` connections are open; the number that stayed otherwise.
    pub fn await_connections(&self, level: u64, within: Duration) -> Result<(), u64> {
        let mut now = 0;
        let reached = poll_until(within, || {
            now = self.metrics().get("connections");
            (now <= level).then_some(())
        });
        reached.ok_or(now)
    }

    /// Fails unless `/healthz` answers 200 on both listeners: within a second, and some more for a machine
    /// that others use, too.
    pub fn assert_healthy(&self, case: &str) {
        assert!(self.runs(), "{case}: the process is gone:\n{}", self.log());
        for addr in [self.control, self.public] {
            let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
            let mut conn = Conn::open(addr);
            conn.send(request);
            let answer = conn.answer(ms(6_000));
            assert!(answer.as_ref().is_ok_and(|a| a.status == 200), "{case}: /healthz on {addr}: {answer:?}");
        }
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&self) {
        self.signal("KILL");
        assert!(self.exit(SOON).is_some(), "a killed process ends");
    }
}

/// The id in a publish answer, which must be a 202 of the documented form.
pub fn accepted_id(answer: &Response) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    body["id"].as_str().unwrap_or_else(|| panic!("no id in {body}")).to_owned()
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = child.kill();
        let _ = child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(12).collect::<Vec<_>>();
            eprintln!("the server's last lines: {:#?}", tail.into_iter().rev().collect::<Vec<_>>());
        }
    }
}
