//! The program as an operator meets it: exit codes, signals, the log, and the two one-shot clients.
//!
//! Other suites judge the wire; here the server is only started, used and ended.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "program/clients.rs"]
mod clients;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwheel"));
    command.env_remove("FANWHEEL_CONFIG").stdin(Stdio::null());
    command
}

/// A file of this test's own that is gone when the value is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        // Tests run side by side, and two of them may use one name.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Scratch(std::env::temp_dir().join(format!("fanwheel-{}-{number}-{name}", std::process::id())))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }

    fn arg(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A running server, ended when the value is.
struct Server {
    child: Child,
    lines: Receiver<String>,
    public: String,
    control: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Server {
        let mut command = program();
        command.args(["serve", "--workers", "2"]).args(arguments);
        command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (to, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        Server { child, lines, public: String::new(), control: String::new() }
    }

    fn ready(arguments: &[&str]) -> Server {
        let mut server = Server::start(arguments);
        let line = server.line("event=started");
        server.take_addresses(&line);
        server
    }

    /// A server whose log cannot be read: the control address is chosen before.
    fn silent(arguments: &[&str], stderr: Stdio) -> Server {
        let control = free_port();
        let mut command = program();
        command.args(["serve", "--workers", "2", "--listen", "127.0.0.1:0", "--control", &control]);
        let child = command.args(arguments).stderr(stderr).spawn().unwrap();
        let control_url = format!("http://{control}");
        let server = Server { child, lines: channel().1, public: String::new(), control: control_url };
        until(|| std::net::TcpStream::connect(&control).is_ok());
        server
    }

    fn take_addresses(&mut self, line: &str) {
        let field = |name: &str| line.split_once(name).unwrap().1.split(' ').next().unwrap();
        self.public = format!("http://{}", field(" listen="));
        self.control = format!("http://{}", field(" control="));
    }

    /// The next line of the log that contains the words.
    fn line(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no {words} in {seen:#?}"));
            if line.contains(words) {
                return line;
            }
            seen.push(line);
        }
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }

    fn subscribe(&self, arguments: &[&str]) -> Child {
        let mut command = program();
        command.args(["subscribe", "--url", &self.public]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn publish(&self, arguments: &[&str]) -> Output {
        program().args(["publish", "--url", &self.control]).args(arguments).output().unwrap()
    }

    /// Waits until so many streams are open.
    fn streams(&self, count: u64) {
        until(|| {
            let status = self.get("/status");
            let body = status.split("\r\n\r\n").nth(1).unwrap_or_default();
            let status: serde_json::Value = serde_json::from_str(body).unwrap();
            status["subscribers"]["open"] == count
        });
    }

    fn get(&self, path: &str) -> String {
        let address = self.control.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status().unwrap();
    assert!(sent.success());
}

fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until(|| {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "did not happen in time");
        thread::sleep(Duration::from_millis(10));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One line on standard error, none on standard output, and the exit code.
fn refused(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert_eq!(text(&output.stdout), "");
    line
}

#[test]
fn mistakes_end_with_2_and_one_line() {
    let rows: &[(&[&str], &str)] = &[
        (&["serve", "--heartbeat-ms", "5"], "--heartbeat-ms: heartbeat_ms = 5 is not allowed"),
        (&["serve", "--heartbeet-ms", "5"], "did you mean --heartbeat-ms?"),
        (&["serve", "--port", "8080"], "did you mean --listen 127.0.0.1:PORT?"),
        (&["serve", "--heartbeat-ms", "2M"], "or written as 250ms, 15s, 2m or 1h"),
        (&["config", "--config", "/nonexistent.toml"], "cannot read the configuration file"),
        (&["serve", "--control", "0.0.0.0:8080"], "take the same address"),
        (&["fly"], "unknown subcommand fly"),
        (&["publish", "--url", "ftp://a", "t", "d"], "must be http://HOST:PORT, https://HOST or unix:/path"),
        (&["publish", "--header", "a", "t", "d"], "--header: must be 'NAME: VALUE'"),
        (&["subscribe", "t", "--count", "0"], "--count"),
    ];
    for (arguments, expected) in rows {
        let line = refused(program().args(*arguments), 2);
        assert!(line.starts_with("fanwheel: ") && line.contains(expected), "{line}");
    }
    let line = refused(program().args(["serve"]).env("FANWHEEL_WORKERS", "many"), 2);
    assert!(line.contains("FANWHEEL_WORKERS: workers = many"), "{line}");
}

#[test]
fn values_are_taken_as_people_write_them() {
    let file = Scratch::new("units.toml");
    fs::write(&file.0, "heartbeat_ms = '15s'\nlog_level = 'WARN'\n").unwrap();
    let mut command = program();
    command.args(["config", "--config", file.arg(), "--connections-max", "500k", "--listen", ":8080"]);
    let output = command.env("FANWHEEL_HISTORY_BYTES_MAX", "64MiB").output().unwrap();
    let printed = text(&output.stdout);
    let lines = [
        "\nheartbeat_ms = 15000 ",
        "\nlog_level = \"warn\" ",
        "\nconnections_max = 500000 ",
        "\nhistory_bytes_max = 67108864 ",
    ];
    for line in lines {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
    fs::write(&file.0, "log_level = warn\n").unwrap();
    let line = refused(program().args(["config", "--config", file.arg()]), 2);
    assert!(line.ends_with("units.toml:1: a text needs quotes: log_level = \"warn\"\n"), "{line}");
    let server = Server::ready(&["--listen", "localhost:0"]);
    assert!(server.public.starts_with("http://127.0.0.1:"), "{}", server.public);
}

#[test]
fn a_kubernetes_service_of_the_same_name_does_not_stop_the_start() {
    let mut command = program();
    command.arg("config").env("FANWHEEL_SERVICE_HOST", "10.96.0.17").env("FANWHEEL_SERVICE_PORT", "8080");
    command.env("FANWHEEL_PORT", "tcp://10.96.0.17:8080").env("FANWHEEL_PORT_8080_TCP_PORT", "8080");
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let line = refused(program().args(["config"]).env("FANWHEEL_PORT", "8080"), 2);
    assert!(line.contains("unknown setting FANWHEEL_PORT"), "{line}");
}

#[test]
fn a_start_that_fails_ends_with_1_and_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let line = refused(program().args(["serve", "--control", "", "--listen", &address]), 1);
    assert!(line.contains("the address is in use; stop what has it or choose another"), "{line}");
    let line = refused(program().args(["serve", "--log-file", "/nonexistent/x.log"]), 1);
    assert!(line.contains("cannot write log_file = /nonexistent/x.log"), "{line}");
    let many = ["serve", "--workers", "1", "--connections-max", "999999999", "--listen", "127.0.0.1:0"];
    let line = refused(program().args(many), 1);
    assert!(line.contains("cannot hold 999999999 connections: 1 workers ×"), "{line}");
}

#[test]
fn what_is_published_is_printed_by_who_subscribes() {
    let server = Server::ready(&[]);
    let mut json = server.subscribe(&["--json", "--count", "4", "news"]);
    let mut plain = server.subscribe(&["--count", "4", "news", "other"]);
    server.streams(2);
    let output = server.publish(&["--event", "likes", "news", "\u{1b}[2J two\nlines"]);
    assert!(output.status.success(), "{output:?}");
    let id = text(&output.stdout).trim().to_owned();

    let mut lines = program();
    lines.args(["publish", "--url", &server.control, "--idempotency-key", "k", "news"]);
    let mut lines = lines.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    lines.stdin.take().unwrap().write_all(b"first\r\n\nthird").unwrap();
    let ids = lines.wait_with_output().unwrap();
    assert_eq!(text(&ids.stdout).lines().count(), 3);

    assert!(ended(&mut json).success() && ended(&mut plain).success());
    let read = |child: Child| text(&child.wait_with_output().unwrap().stdout);
    let json = read(json);
    let first = format!("{{\"id\":\"{id}\",\"event\":\"likes\",\"data\":\"\\u001b[2J two\\nlines\"}}");
    assert_eq!(json.lines().next(), Some(first.as_str()));
    assert!(json.lines().nth(2).unwrap().ends_with("\"event\":\"message\",\"data\":\"\"}"), "{json}");
    let plain = read(plain);
    assert!(plain.starts_with(&format!("{id} likes: \\x1b[2J two\n  lines\n")), "{plain}");
    assert!(plain.ends_with(" message: third\n"), "{plain}");
}

#[test]
fn a_subscriber_counts_events_of_the_server_s_own_topics_but_no_gaps() {
    let server = Server::ready(&[]);
    let own = program()
        .args(["subscribe", "--url", &server.control, "--count", "1", "--json", "fanwheel.status"])
        .output()
        .unwrap();
    assert!(own.status.success() && text(&own.stdout).lines().count() == 1, "{own:?}");
    server.publish(&["news", "one"]);
    let gap = program()
        .args(["subscribe", "--url", &server.public, "--count", "1", "--last-event-id", "x", "news"])
        .output()
        .unwrap();
    let printed = text(&gap.stdout);
    assert!(printed.contains("fanwheel.gap") && printed.ends_with(" message: one\n"), "{printed}");
}

#[test]
fn a_refusal_is_one_line_with_the_server_s_words() {
    let server = Server::ready(&[]);
    let long = "t".repeat(500);
    let line = refused(program().args(["publish", "--url", &server.control, &long, "x"]), 1);
    assert!(line.starts_with("fanwheel: refused with 400: "), "{line}");
    let line = refused(program().args(["subscribe", "--url", &server.public, &long]), 1);
    assert!(line.starts_with("fanwheel: refused with 400: "), "{line}");
    let line = refused(program().args(["publish", "--url", "http://127.0.0.1:1", "t", "x"]), 1);
    assert!(line.starts_with("fanwheel: no answer from "), "{line}");
}

#[test]
fn a_subscriber_comes_back_and_misses_nothing() {
    let mut first = Server::ready(&["--retry-ms", "50", "--max-connection-ms", "300"]);
    let mut reader = first.subscribe(&["--json", "--count", "20", "news"]);
    first.streams(1);
    for number in 0..20 {
        assert!(first.publish(&["news", &number.to_string()]).status.success());
        thread::sleep(Duration::from_millis(40));
    }
    assert!(ended(&mut reader).success());
    let output = reader.wait_with_output().unwrap();
    let data: Vec<String> =
        text(&output.stdout).lines().map(|line| line.split("\"data\":").nth(1).unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..20).map(|number| format!("\"{number}\"}}")).collect();
    assert_eq!(data, expected);
    assert!(text(&output.stderr).contains("; going on after "), "the stream was never cut");
    first.signal("TERM");
    assert_eq!(first.ended().code(), Some(0));
}

#[test]
fn sigterm_drains_and_a_second_one_stops_at_once() {
    let mut server = Server::ready(&["--drain-ms", "30000"]);
    let readers: Vec<Child> = (0..8).map(|_| server.subscribe(&["news"])).collect();
    server.streams(8);
    server.signal("TERM");
    server.line("event=drain reason=SIGTERM streams=8");
    server.signal("TERM");
    server.line("event=stop reason=SIGTERM");
    let since = Instant::now();
    assert_eq!(server.ended().code(), Some(143));
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    for mut reader in readers {
        let _ = reader.kill();
        let _ = reader.wait();
    }
}

#[test]
fn sigint_drains_within_its_time() {
    let mut server = Server::ready(&["--drain-ms", "300"]);
    let mut reader = server.subscribe(&["news"]);
    server.streams(1);
    let since = Instant::now();
    server.signal("INT");
    assert_eq!(server.ended().code(), Some(0));
    // Ten seconds is the time of a server that was told none.
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    let _ = (reader.kill(), reader.wait());
}

#[test]
fn stray_signals_are_survived() {
    let mut server = Server::ready(&["--log-level", "debug"]);
    for name in ["USR1", "USR2", "ALRM"] {
        server.signal(name);
        server.line(&format!("event=signal_ignored name=SIG{name}"));
    }
    server.signal("PIPE");
    server.signal("STOP");
    server.signal("CONT");
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200"));
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn the_ordinary_log_counts_a_flood_of_refusals_by_reason() {
    let server = Server::ready(&[]);
    for _ in 0..30 {
        assert!(server.get("/nowhere").starts_with("HTTP/1.1 404"));
    }
    let line = server.line(" total=30");
    assert!(line.contains("event=requests_refused reason=requests_bad count="), "{line}");
}

#[test]
fn the_debug_log_tells_status_and_reason_of_each_refused_request() {
    let server = Server::ready(&["--log-level", "debug"]);
    assert!(server.get("/nowhere").starts_with("HTTP/1.1 404"));
    let line = server.line("event=request_refused");
    assert!(line.contains("listener=control client=127.0.0.1 status=404 reason=not_found"), "{line}");
    assert!(!server.publish(&["t", "x", "--event", "fanwheel.x"]).status.success());
    let line = server.line("event=request_refused");
    assert!(line.contains(" status=400 reason="), "{line}");
}

#[test]
fn sighup_applies_what_it_can_and_says_what_it_cannot() {
    let file = Scratch::new("hup.toml");
    fs::write(&file.0, "log_level = 'info'\n").unwrap();
    let mut server = Server::ready(&["--config", file.arg()]);
    fs::write(&file.0, "log_level = 'debug'\nheartbeat_ms = 1000\n").unwrap();
    server.signal("HUP");
    server.line("event=reload_needs_restart setting=heartbeat_ms running=15000 wanted=1000");
    server.line("event=reloaded setting=log_level was=info is=debug");
    fs::write(&file.0, "log_level = loud\n").unwrap();
    server.signal("HUP");
    let line = server.line("event=reload_refused");
    assert!(line.contains("hup.toml:1: "), "{line}");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn sighup_never_waits_for_a_pipe_in_the_place_of_the_configuration() {
    let file = Scratch::new("pipe.toml");
    fs::write(&file.0, "log_level = 'info'\n").unwrap();
    let mut server = Server::ready(&["--config", file.arg()]);
    fs::remove_file(&file.0).unwrap();
    assert!(Command::new("mkfifo").arg(&file.0).status().unwrap().success());
    server.signal("HUP");
    let line = server.line("event=reload_refused");
    assert!(line.contains("pipe.toml: it is a pipe"), "{line}");
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_log_that_is_rotated_under_load_goes_on_and_reaches_no_subscriber() {
    let (file, moved) = (Scratch::new("rotated.log"), Scratch::new("rotated.log.1"));
    let mut server = Server::start(&["--log-file", file.arg(), "--log-level", "debug"]);
    until(|| file.text().contains("event=started") && file.text().ends_with('\n'));
    let line = file.text().lines().find(|line| line.contains("event=started")).unwrap().to_owned();
    server.take_addresses(&line);
    let mut reader = server.subscribe(&["--raw", "--count", "60", "news"]);
    server.streams(1);
    for round in 0..3 {
        fs::rename(&file.0, &moved.0).unwrap();
        server.signal("HUP");
        until(|| file.0.exists());
        assert_eq!(holders(server.child.id(), &moved.0), 0, "the old file would never leave the disk");
        for _ in 0..20 {
            server.signal("USR1");
            assert!(server.publish(&["news", &round.to_string()]).status.success());
        }
    }
    assert!(ended(&mut reader).success());
    let printed = text(&reader.wait_with_output().unwrap().stdout);
    assert!(printed.lines().all(|line| ["0", "1", "2"].contains(&line)), "{printed}");
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
    assert!(file.text().contains("event=stopped exit_code=0"), "{}", file.text());
    assert!(moved.text().contains("event=reloaded changes=0"), "{}", moved.text());
}

/// How many descriptors of a process mean this file, in all its threads' tables.
fn holders(pid: u32, file: &std::path::Path) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let links = threads.flat_map(|thread| fs::read_dir(thread.path().join("fd")).unwrap().flatten());
    links.filter(|link| fs::read_link(link.path()).is_ok_and(|target| target == file)).count()
}

/// Fills a pipe of any size: pages differ, and a user with many pipes gets smaller ones.
fn fill(pipe: &std::io::PipeWriter) {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut twin = fs::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    while twin.write(&[b'.'; 4_096]).is_ok() {}
}

#[test]
fn a_log_that_nobody_reads_or_takes_holds_nobody_up() {
    for reader_is_there in [true, false] {
        let (reader, full) = std::io::pipe().unwrap();
        fill(&full);
        let reader = reader_is_there.then_some(reader);
        let mut server = Server::silent(&[], Stdio::from(full));
        assert!(server.publish(&["news", "x"]).status.success());
        server.signal("HUP");
        thread::sleep(Duration::from_millis(200));
        assert!(server.get("/healthz").starts_with("HTTP/1.1 200"));
        server.signal("TERM");
        assert_eq!(server.ended().code(), Some(0), "reader: {reader_is_there}");
        drop(reader);
    }
}

#[test]
fn lines_that_a_full_disk_does_not_take_are_counted() {
    let mut server = Server::silent(&["--log-file", "/dev/full"], Stdio::null());
    let dropped = |page: String| {
        let line =
            page.lines().find(|line| line.starts_with("fanwheel_log_dropped_total ")).unwrap().to_owned();
        line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    until(|| dropped(server.get("/metrics")) >= 2);
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(0));
}

/// An address that nobody has now.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn systemd_is_told_of_every_turn() {
    let socket = Scratch::new("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket.0).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 64];
        let bytes = manager.recv(&mut buffer).unwrap();
        text(&buffer[..bytes])
    };
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--workers", "1"]);
    command.env("NOTIFY_SOCKET", &socket.0).env("WATCHDOG_USEC", "400000");
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(heard(), "READY=1");
    assert_eq!([heard(), heard()], ["WATCHDOG=1", "WATCHDOG=1"]);
    signal(&child, "HUP");
    until(|| heard() == "RELOADING=1");
    until(|| heard() == "READY=1");
    signal(&child, "TERM");
    until(|| heard() == "STOPPING=1");
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn a_closed_standard_output_is_no_error() {
    let mut child = program().arg("config").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("Linux");
    let server = Server::ready(&[]);
    server.publish(&["news", "kept"]);
    let rows: &[&[&str]] = &[
        &["config"],
        &["plan", "--connections", "1000", "--json"],
        &["subscribe", "--url", &server.public, "--last", "1", "--count", "1", "news"],
    ];
    for row in rows {
        let line = refused(program().args(*row).stdout(full()), 1);
        assert!(line.starts_with("fanwheel: cannot write to standard output: "), "{row:?}: {line}");
    }
}
