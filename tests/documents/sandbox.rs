//! A folder, a server and a path of programs of its own in which commands run as they stand in a document.
//!
//! Default ports and the addresses in examples become those of the server here. Two stand-ins come first in
//! the path: a curl that reports each status and ends streams, and a fanwheel that turns whatever would run
//! on (`serve`, `load`, `doctor`) into a check of its arguments. Knows no document.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fanwheel");
const PATIENCE: Duration = Duration::from_secs(20);
/// Seconds after which a command that does not end by itself is stuck; streams end after two.
const COMMAND_SECONDS: &str = "30";

/// Reports the status of each answer on standard error. A stream has no end, and a reader of its beginning
/// hangs up: neither is a failure.
const CURL: &str = r#"#!/bin/sh
PATH=$PATH_BEHIND
curl --silent --show-error --max-time 2 "$@" --write-out '%{stderr}answered %{http_code}\n'
code=$?
case $code in 23|28) exit 0 ;; esac
exit "$code"
"#;

/// Clients are sent to the server here. `--help` behind other arguments only checks these.
const FANWHEEL: &str = r#"#!/bin/sh
case ${1-} in
serve) shift; exec "$PROGRAM" config "$@" ;;
load | doctor) exec "$PROGRAM" "$@" --help ;;
publish) url=$CONTROL ;;
subscribe) url=$PUBLIC ;;
*) exec "$PROGRAM" "$@" ;;
esac
case "$*" in
*://127.0.0.1* | *://localhost*) ;;
*://*) exec "$PROGRAM" "$@" --help ;;
*) set -- "$@" --url "$url" ;;
esac
timeout 2 "$PROGRAM" "$@"
code=$?
[ "$code" = 124 ] && [ "$1" = subscribe ] && exit 0
exit "$code"
"#;

/// A running server with one open stream.
struct Host {
    child: Child,
    public: String,
    control: String,
    /// The line of the log that tells a newcomer how to begin.
    hint: String,
    /// Kept open, so that there is a connection to look at and to end.
    stream: Option<TcpStream>,
    stream_id: String,
}

/// The place in which commands run; removed with the value.
pub struct Sandbox {
    folder: PathBuf,
    host: Option<Host>,
}

impl Sandbox {
    /// With a server that is ready.
    pub fn new() -> Sandbox {
        let mut sandbox = Sandbox::without_server();
        sandbox.host = Some(Host::start());
        sandbox
    }

    /// For commands that need none.
    pub fn without_server() -> Sandbox {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanwheel-{}-documents-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(folder.join(".bin")).expect("a writable temporary folder");
        let sandbox = Sandbox { folder, host: None };
        for (name, script) in [(".bin/curl", CURL), (".bin/fanwheel", FANWHEEL)] {
            sandbox.write(name, script);
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(sandbox.folder.join(name), executable).expect("a file of our own");
        }
        sandbox.write("fanwheel.toml", "");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["benches", "docs", "monitoring", "packaging", "tests", "tuning"] {
            symlink(root.join(part), sandbox.folder.join(part)).expect("an empty folder takes a link");
        }
        sandbox
    }

    /// Puts a file into the folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("a writable temporary folder");
    }

    /// Runs a command line that calls curl at least `curls` times, and returns its output. An error names the
    /// exit code or the status, and repeats the last line of standard error.
    pub fn run(&self, text: &str, curls: usize) -> Result<String, String> {
        let behind = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("timeout");
        command
            .args([COMMAND_SECONDS, "bash", "-c"])
            .arg(format!("set -o pipefail\n{}", self.localized(text)));
        command.current_dir(&self.folder).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FANWHEEL_")) {
            command.env_remove(name);
        }
        command.env("PATH", format!("{}:{behind}", self.folder.join(".bin").display()));
        command.env("PATH_BEHIND", &behind).env("PROGRAM", PROGRAM);
        if let Some(host) = &self.host {
            command.env("PUBLIC", format!("http://{}", host.public));
            command.env("CONTROL", format!("http://{}", host.control));
        }
        let output = command.output().expect("every host has timeout and bash");
        let errors = String::from_utf8_lossy(&output.stderr);
        let statuses: Vec<&str> = errors.lines().filter_map(|line| line.strip_prefix("answered ")).collect();
        let last = errors.lines().rfind(|line| !line.starts_with("answered ")).unwrap_or_default();
        if let Some(status) = statuses.iter().find(|status| !status.starts_with('2')) {
            return Err(format!("answered with {status}: {} {last}", text.trim()));
        }
        if !output.status.success() {
            return Err(format!("{}: {}: {last}", output.status, text.trim()));
        }
        if statuses.len() < curls {
            return Err(format!("curl had no answer: {}", text.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The words after `event=hint` in the server's log.
    pub fn hint(&self) -> &str {
        let host = self.host.as_ref().expect("a sandbox with a server");
        host.hint.split_once("event=hint ").expect("found at the start").1.trim()
    }

    /// The text with this server in place of the one that a document speaks of.
    fn localized(&self, text: &str) -> String {
        let text = text.replace("target/release/fanwheel", "fanwheel");
        let text = text.replace("/etc/fanwheel.toml", "fanwheel.toml");
        let Some(host) = &self.host else { return text };
        let port = |address: &str| address[address.rfind(':').expect("ADDR:PORT")..].to_owned();
        text.replace(":8080", &port(&host.public))
            .replace(":8081", &port(&host.control))
            .replace("$(pidof fanwheel)", &host.child.id().to_string())
            .replace("0-17-4242", &host.stream_id)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Host {
    fn start() -> Host {
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--workers", "1", "--drain-ms", "100"]);
        command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]).env_remove("FANWHEEL_CONFIG");
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program runs");
        let mut log = BufReader::new(child.stderr.take().expect("piped above"));
        let mut line = String::new();
        let mut read_until = |words: &str, line: &mut String| {
            while !line.contains(words) {
                line.clear();
                assert!(log.read_line(line).is_ok_and(|bytes| bytes > 0), "no {words}");
            }
        };
        read_until("event=started", &mut line);
        let mut hint = String::new();
        read_until("event=hint", &mut hint);
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let field = |name: &str| {
            let (_, rest) = line.split_once(name).expect("the line of the start has its addresses");
            rest.split_whitespace().next().expect("an address").to_owned()
        };
        let (public, control) = (field(" listen="), field(" control="));
        let mut host = Host { child, public, control, hint, stream: None, stream_id: String::new() };
        host.await_answer("/readyz", |answer| answer.starts_with("HTTP/1.1 200"));
        host.open_stream();
        host
    }

    fn open_stream(&mut self) {
        let mut stream = TcpStream::connect(&self.public).expect("the server listens");
        let request = format!("GET /events?topic=news HTTP/1.1\r\nHost: {}\r\n\r\n", self.public);
        stream.write_all(request.as_bytes()).expect("a fresh connection");
        self.stream = Some(stream);
        let list = self.await_answer("/connections", |answer| answer.contains("\"state\":\"live\""));
        let body = list.split("\r\n\r\n").nth(1).unwrap_or_default();
        let list: serde_json::Value = serde_json::from_str(body).expect("a list is JSON");
        let rows = list["connections"].as_array().expect("rows of connections");
        let live = rows.iter().find(|row| row["state"] == "live").expect("seen above");
        self.stream_id = live["id"].as_str().expect("an id").to_owned();
    }

    /// Asks the control listener until it answers as it should.
    fn await_answer(&self, path: &str, good: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut stream = TcpStream::connect(&self.control).expect("the server listens");
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.control);
            stream.write_all(request.as_bytes()).expect("a fresh connection");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("answers are UTF-8");
            if good(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} still answers {answer}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
