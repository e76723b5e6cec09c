//! How a server is started: settings, environment, wrappers (`ulimit`, `strace`), and where its log goes.
//!
//! Finds the bound ports in the log's `event=started` line, as an operator would.

use super::process::{Log, Server};
use super::{SOON, ms, poll_until};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Time for a start, or for its refusal.
const START: Duration = Duration::from_secs(60);

/// The program under test: the one just built, or `BLACKBOX_PROGRAM`, such as a release build.
pub fn program() -> String {
    std::env::var("BLACKBOX_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_fanwheel").to_owned())
}

/// A server to be started.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
    log_file: Option<String>,
    fixed: Option<(SocketAddr, SocketAddr)>,
    addresses_left_out: bool,
}

/// Compiles a library of `tests/blackbox` that a server is to be started with in `LD_PRELOAD`; none where
/// there is no compiler.
pub fn preload(source: &'static str) -> Option<PathBuf> {
    // Once for all tests: a file that a running server has loaded must not be written again.
    static MADE: Mutex<BTreeMap<&str, Option<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(source).or_insert_with(|| compile(source)).clone()
}

fn compile(source: &str) -> Option<PathBuf> {
    let name = source.trim_end_matches(".c").replace('_', "-");
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.so"));
    // Renamed when it is whole: a server of another run may have the old one loaded.
    let new = made.with_extension(std::process::id().to_string());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/blackbox").join(source);
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&new).arg(source).arg("-ldl");
    match compile.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::fs::rename(&new, &made).expect("both lie in a folder of our own");
            Some(made)
        }
        Err(error) => {
            println!("skipped: no C compiler: {error}");
            None
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

impl Launch {
    /// So many workers, on any free ports.
    pub fn workers(count: usize) -> Launch {
        Launch::default().set("workers", count)
    }

    /// Adds a setting by its name, as a flag.
    pub fn set(mut self, name: &str, value: impl ToString) -> Launch {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs the program through another one, whose words come first.
    pub fn through(mut self, words: &[&str]) -> Launch {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Lets the server log into a file; the ports are then read there.
    pub fn log_to(mut self, path: &str) -> Launch {
        self.log_file = Some(path.to_owned());
        self.set("log_file", path)
    }

    /// Uses ports chosen beforehand, for servers whose log cannot be read.
    pub fn on(mut self, public: SocketAddr, control: SocketAddr) -> Launch {
        self.fixed = Some((public, control));
        self
    }

    /// Names no address at all: the defaults hold, or passed sockets.
    pub fn without_addresses(mut self) -> Launch {
        self.addresses_left_out = true;
        self
    }

    /// The command line, without standard streams.
    pub fn command(&self) -> Command {
        let mut words = self.wrapper.iter().cloned().chain([program()]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command.args(words).arg("serve");
        let has = |name: &str| self.settings.iter().any(|(have, _)| have == name);
        let (public, control) = match self.fixed {
            Some((public, control)) => (public.to_string(), control.to_string()),
            None => ("127.0.0.1:0".to_owned(), "127.0.0.1:0".to_owned()),
        };
        if !has("listen") && !self.addresses_left_out {
            command.args(["--listen", &public]);
        }
        if !has("control") && !self.addresses_left_out {
            command.args(["--control", &control]);
        }
        // One worker sends with plain system calls, several with what the server prefers: both are judged.
        if !has("send_backend") && self.settings.contains(&("workers".to_owned(), "1".to_owned())) {
            command.args(["--send-backend", "writev"]);
        }
        for (name, value) in &self.settings {
            command.arg(format!("--{}", name.replace('_', "-"))).arg(value);
        }
        for name in std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("FANWHEEL_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// Starts and waits until it serves.
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|(code, log)| panic!("exit {code:?} instead of serving:\n{log}"))
    }

    /// Starts and waits until it serves, or has ended: then the exit code and the log.
    pub fn try_start(self) -> Result<Server, (Option<i32>, String)> {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let log = Arc::new(Log::default());
        log.follow(child.stderr.take().expect("piped just above"));
        let outcome = poll_until(START, || match child.try_wait().expect("our own child") {
            Some(exit) => Some(Err(exit.code())),
            None => ports_in(&self.log_text(&log)).or_else(|| self.serving_where_told()).map(Ok),
        });
        match outcome {
            Some(Ok((public, control))) => Ok(Server::new(child, public, control, log)),
            Some(Err(code)) => {
                log.await_end(SOON);
                Err((code, log.text()))
            }
            None => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("no line with event=started in {START:?}:\n{}", self.log_text(&log));
            }
        }
    }

    fn log_text(&self, log: &Log) -> String {
        match &self.log_file {
            Some(path) => std::fs::read_to_string(path).unwrap_or_default(),
            None => log.text(),
        }
    }

    fn serving_where_told(&self) -> Option<(SocketAddr, SocketAddr)> {
        let (public, control) = self.fixed?;
        let serves = |addr| std::net::TcpStream::connect_timeout(&addr, ms(200)).is_ok();
        (serves(control) && serves(public)).then_some((public, control))
    }

    /// Starts with standard error going somewhere that can't be read, on ports chosen with [`Launch::on`].
    pub fn start_with_stderr(self, stderr: Stdio) -> Server {
        let mut command = self.command();
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().expect("the program can be run");
        self.await_fixed(child)
    }

    /// Starts with the same unreadable file for both standard streams.
    pub fn start_with_output(self, file: File) -> Server {
        let twin = file.try_clone().expect("files are left");
        let mut command = self.command();
        let child = command.stdout(file).stderr(twin).spawn().expect("the program can be run");
        self.await_fixed(child)
    }

    fn await_fixed(&self, mut child: Child) -> Server {
        let ports = poll_until(START, || {
            let exit = child.try_wait().expect("our own child");
            assert!(exit.is_none(), "ended with {exit:?} instead of serving");
            self.serving_where_told()
        });
        let (public, control) = ports.expect("serves in time");
        Server::new(child, public, control, Arc::new(Log::default()))
    }

    /// Runs a server that is expected to refuse its start: exit code, and the lines on both outputs.
    pub fn refuse(self) -> (Option<i32>, Vec<String>) {
        let mut command = self.command();
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be run");
        let exit = poll_until(START, || child.try_wait().expect("our own child"));
        if exit.is_none() {
            let _ = child.kill();
        }
        let output = child.wait_with_output().expect("our own child");
        let text = [output.stdout, output.stderr].concat();
        let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        (exit.and_then(|status| status.code()), lines)
    }
}

/// The addresses in a log that says `event=started` (or `state=serving`).
fn ports_in(log: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (mut public, mut control, mut serving) = (None, None, false);
    for word in log.split_whitespace() {
        let Some((key, value)) = word.split_once('=') else { continue };
        let value = value.trim_matches(|c| matches!(c, '"' | ','));
        match key {
            "state" | "event" => serving |= matches!(value, "serving" | "started"),
            "listen" => public = public.or(value.split(',').find_map(|addr| addr.parse().ok())),
            "control" => control = control.or(value.split(',').find_map(|addr| addr.parse().ok())),
            _ => {}
        }
    }
    serving.then_some(())?;
    Some((public?, control?))
}
