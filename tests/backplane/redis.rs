//! A real Redis, started, frozen, killed and asked.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::{Launch, SOON, Server, free_port, poll_until};

/// A server of its own, with a folder of its own.
pub struct Redis {
    pub port: u16,
    folder: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
}

/// The outcome of a start.
enum Rise {
    Serves,
    Ended,
    NoProgram,
}

impl Redis {
    /// Starts one; none where there is no program for it.
    pub fn start(options: &[&str]) -> Option<Redis> {
        for _ in 0..5 {
            let port = free_port().port();
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{port}"));
            std::fs::create_dir_all(&folder).unwrap();
            let options = options.iter().map(|option| (*option).to_owned()).collect();
            let mut redis = Redis { port, folder, options, child: None };
            match redis.try_rise() {
                Rise::Serves => return Some(redis),
                Rise::NoProgram => return None,
                // Somebody else has taken the port meanwhile.
                Rise::Ended => {}
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts it again after it was killed.
    pub fn rise(&mut self) {
        assert!(matches!(self.try_rise(), Rise::Serves), "redis-server does not start again");
    }

    fn try_rise(&mut self) -> Rise {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&self.folder);
        command.args(["--port", &self.port.to_string()]);
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: no redis-server: {error}");
                return Rise::NoProgram;
            }
        };
        let risen = poll_until(SOON, || {
            let answers = ["PONG", "NOAUTH"].iter().any(|word| self.ask(&["PING"]).contains(word));
            let ended = child.try_wait().unwrap().is_some();
            (answers || ended).then_some(if ended { Rise::Ended } else { Rise::Serves })
        });
        self.child = Some(child);
        risen.expect("redis-server answers")
    }

    /// Kills it without a chance to write anything.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Asks it by `redis-cli`; the answer as text.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Adds an entry to the stream, under the given id, whose last field may be any bytes.
    pub fn add(&self, id: &str, words: &[&str], last: &[u8]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string(), "-x", "XADD", "{fanwheel}:stream", id]).args(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(last).unwrap();
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).trim().to_owned()
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A node to be started with it.
    pub fn launch(&self, workers: usize) -> Launch {
        Launch::workers(workers).set("backplane", self.address()).set("connections_max", 500)
    }

    /// Starts a node with it.
    pub fn node(&self, workers: usize) -> Server {
        self.launch(workers).start()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits until a node takes publishes again. Returns the id of the first that it took.
pub fn await_publish(server: &Server, topic: &str, body: &str) -> String {
    let taken = poll_until(SOON, || {
        let answer = server.post(&format!("topic={topic}"), "", body);
        (answer.status == 202).then(|| answer.json()["id"].as_str().unwrap().to_owned())
    });
    taken.expect("publishes are taken again")
}

/// Waits until a node refuses publishes. Returns the code of its refusal.
pub fn await_refusal(server: &Server) -> String {
    let refused = poll_until(SOON, || {
        let answer = server.post("topic=refused", "", "x");
        (answer.status == 503).then(|| answer.json()["error"].as_str().unwrap().to_owned())
    });
    refused.expect("publishes are refused")
}

/// Waits until a node is not ready and names this reason.
pub fn await_reason(server: &Server, words: &str) {
    let named = poll_until(SOON, || {
        let answer = server.get("/readyz");
        (answer.status == 503 && answer.text().contains(words)).then_some(())
    });
    named.unwrap_or_else(|| panic!("{words} is not in {}", server.get("/readyz").text()));
}
