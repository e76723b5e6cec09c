//! Watches a server while a scenario runs: the most memory it took, and what its counters say afterwards.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::host;
use crate::report::Report;
use crate::server::Server;

const MIB: f64 = 1_048_576.0;

/// What a server takes, at a moment or at most.
#[derive(Clone, Copy, Default)]
pub struct Taken {
    /// Resident bytes.
    pub resident: u64,
    /// Bytes of kernel memory of all TCP sockets here.
    pub kernel: u64,
    /// Both at the same moment.
    pub both: u64,
    /// Bytes in the send queues of the server's sockets.
    pub queued: u64,
}

impl Taken {
    fn now(pid: u32, port: u16) -> Taken {
        let (resident, kernel) = (host::resident_bytes(pid), host::tcp_memory_bytes());
        let (_, queued) = host::sockets(pid, port);
        Taken { resident, kernel, both: resident + kernel, queued }
    }

    fn most(self, other: Taken) -> Taken {
        Taken {
            resident: self.resident.max(other.resident),
            kernel: self.kernel.max(other.kernel),
            both: self.both.max(other.both),
            queued: self.queued.max(other.queued),
        }
    }
}

/// Looks ten times a second until it is finished.
pub struct Watch {
    /// What was taken when it started.
    pub before: Taken,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Taken>,
    metrics: BTreeMap<String, f64>,
}

impl Watch {
    /// Starts watching.
    pub fn start(server: &Server) -> io::Result<Watch> {
        let (pid, port, stop) = (server.pid(), server.public.port(), Arc::new(AtomicBool::new(false)));
        let before = Taken::now(pid, port);
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut most = before;
            while !stopped.load(Relaxed) {
                most = most.most(Taken::now(pid, port));
                std::thread::sleep(Duration::from_millis(100));
            }
            most
        });
        Ok(Watch { before, stop, thread, metrics: server.metrics()? })
    }

    /// Ends it; adds the counters of closings, refusals and slow subscribers that moved, and gives the most
    /// that was taken.
    pub fn finish(self, server: &Server, report: &mut Report) -> io::Result<Taken> {
        self.stop.store(true, Relaxed);
        let most = self.thread.join().map_err(|_| io::Error::other("the watch broke"))?;
        for (name, value) in server.metrics()? {
            let change = value - self.metrics.get(&name).copied().unwrap_or(0.0);
            let telling = ["closed", "refused", "skipped", "gaps", "errors", "pauses"];
            if change != 0.0 && telling.iter().any(|word| name.contains(word)) {
                report.row(name, change, "");
            }
        }
        report.row("resident, before", mib(self.before.resident), "MiB");
        report.row("resident, most", mib(most.resident), "MiB");
        report.row("kernel TCP memory, before", mib(self.before.kernel), "MiB");
        report.row("kernel TCP memory, most (both ends)", mib(most.kernel), "MiB");
        server.check(report);
        Ok(most)
    }
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}
