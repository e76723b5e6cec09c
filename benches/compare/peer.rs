//! Peers: what stands in `benches/peers/NAME/`, built, started on a free port, and stopped.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);
/// A build's exit code when a program is missing; its output says how to get it.
const MISSING: i32 = 3;

/// `peer.toml`.
#[derive(Clone, Deserialize)]
struct Words {
    title: String,
    subscribe: String,
    publish: String,
    batch: Option<String>,
    resume: bool,
    #[serde(default)]
    shaping: bool,
    notes: String,
}

/// How subscribers name what they want.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By a topic.
    Topic,
    /// By a topic, and by the name that events without one have.
    Filter,
    /// By a pattern that matches one topic.
    Pattern,
}

/// One peer, ready to start.
#[derive(Clone)]
pub struct Peer {
    /// The folder's name.
    pub name: String,
    /// The name in tables.
    pub title: String,
    /// The versions that it and its runtime report.
    pub version: String,
    /// How it is tuned.
    pub notes: String,
    /// Whether it replays history.
    pub resume: bool,
    /// Whether it takes batches.
    pub batch: bool,
    /// Whether it has patterns, windows and events that give way, set as this server's.
    pub shaping: bool,
    words: Words,
    folder: PathBuf,
}

/// The folders of all peers.
pub fn all(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.path().join("peer.toml").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    // The yardstick first, then this server, then the others.
    names.sort_by_key(|name| (name != "bare", !name.starts_with("fanwheel"), name.clone()));
    Ok(names)
}

impl Peer {
    /// Builds a peer; `Err` says in one line why it takes no part.
    pub fn build(folder: &Path, name: &str) -> Result<Peer, String> {
        let folder = folder.join(name);
        let text =
            fs::read_to_string(folder.join("peer.toml")).map_err(|os| format!("no peer.toml: {os}"))?;
        let words: Words = toml::from_str(&text).map_err(|error| error.message().to_owned())?;
        let output = Command::new(folder.join("build")).stdin(Stdio::null()).output();
        let output = output.map_err(|os| format!("cannot run its build: {os}"))?;
        if !output.status.success() {
            let said = if output.status.code() == Some(MISSING) { &output.stdout } else { &output.stderr };
            return Err(String::from_utf8_lossy(said)
                .trim()
                .lines()
                .last()
                .unwrap_or("its build failed")
                .to_owned());
        }
        let version = Command::new(folder.join("version")).stdin(Stdio::null()).output();
        let version = version.map_err(|os| format!("cannot ask for its version: {os}"))?;
        Ok(Peer {
            name: name.to_owned(),
            title: words.title.clone(),
            version: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
            notes: words.notes.clone(),
            resume: words.resume,
            batch: words.batch.is_some(),
            shaping: words.shaping,
            words,
            folder,
        })
    }

    /// Starts it, pinned to a processor if one is given.
    pub fn start(&self, processor: Option<usize>, heartbeat_ms: u64) -> io::Result<Running> {
        self.start_with(1, processor, heartbeat_ms)
    }

    /// Starts it with so many workers; only this server has workers with files of their own.
    pub fn start_with(
        &self,
        workers: u64,
        processor: Option<usize>,
        heartbeat_ms: u64,
    ) -> io::Result<Running> {
        self.start_set(workers, processor, heartbeat_ms, &[])
    }

    /// Starts it so with further variables in its environment.
    pub fn start_set(
        &self,
        workers: u64,
        processor: Option<usize>,
        heartbeat_ms: u64,
        variables: &[(&str, &str)],
    ) -> io::Result<Running> {
        let port = free_ports()?;
        let mut command = pinned(self.folder.join("run"), processor);
        command.arg(port.to_string()).env("HEARTBEAT_MS", heartbeat_ms.to_string());
        command.env("FANWHEEL_WORKERS", workers.to_string()).envs(variables.iter().copied());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let url = |template: &str| {
            template.replace("{port}", &port.to_string()).replace("{control}", &(port + 1).to_string())
        };
        let mut process = PeerProcess(process);
        process.wait_for(port)?;
        Ok(Running {
            process: Arc::new(process),
            subscribe: url(&self.words.subscribe),
            publish: url(&self.words.publish),
            batch: self.words.batch.as_deref().map(url),
        })
    }
}

/// A command for a program, pinned to a processor if one is given. It ends with this process, however that
/// ends.
pub fn pinned(program: impl AsRef<Path>, processor: Option<usize>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]);
    if let Some(processor) = processor {
        command.args(["taskset", "-c", &processor.to_string()]);
    }
    command.arg(program.as_ref());
    command
}

/// A port that is free together with the one behind it.
fn free_ports() -> io::Result<u16> {
    loop {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        if port < u16::MAX && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return Ok(port);
        }
    }
}

/// A started peer, stopped with its last copy.
#[derive(Clone)]
pub struct Running {
    process: Arc<PeerProcess>,
    /// Where to subscribe.
    pub subscribe: String,
    /// Where to publish.
    pub publish: String,
    /// Where to publish batches, if it takes any.
    pub batch: Option<String>,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// The same, for subscribers that name what they want in this way.
    pub fn named(&self, naming: Naming) -> Running {
        let mut named = self.clone();
        match naming {
            Naming::Topic => {}
            Naming::Filter => named.subscribe.push_str("&event=message"),
            Naming::Pattern => {
                named.subscribe = named.subscribe.replace("topic={topic}", "pattern={topic}.*");
                named.publish = named.publish.replace("{topic}", "{topic}.x");
            }
        }
        named
    }

    /// Streams open now, if it is this server, which tells them.
    pub fn subscribers(&self) -> Option<u64> {
        let status = self.publish.split("/publish").next()?;
        let text = ureq::get(&format!("{status}/status")).call().ok()?.body_mut().read_to_string().ok()?;
        let status: serde_json::Value = serde_json::from_str(&text).ok()?;
        status.pointer("/subscribers/open")?.as_u64()
    }
}

/// The process of a peer, stopped when dropped.
struct PeerProcess(Child);

impl PeerProcess {
    fn wait_for(&mut self, port: u16) -> io::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(io::Error::other(format!("it ended before it listened: {status}")));
            }
            if start.elapsed() > START {
                return Err(io::Error::other("it does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // Some listen before they can do anything else.
        std::thread::sleep(Duration::from_millis(200));
        Ok(())
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let start = Instant::now();
        while start.elapsed() < STOP {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
