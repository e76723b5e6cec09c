//! Watches a server while a scenario runs: the most memory it took, and what its counters say afterwards.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::report::Report;
use crate::server::Server;
use fanwheel::host::processes;

const MIB: f64 = 1_048_576.0;

/// The resources that a server takes, at a moment or at most.
#[derive(Clone, Copy, Default)]
pub struct Taken {
    /// Resident bytes.
    pub resident: u64,
    /// Bytes of kernel memory of all TCP sockets of this machine.
    pub kernel: u64,
    /// Of those, the server's end of its own connections; 0 if nobody looked.
    pub own_end: u64,
    /// The clients' end of them.
    pub other_end: u64,
    /// Resident bytes and kernel memory of both ends, at the same moment.
    pub all: u64,
}

impl Taken {
    /// Looking at each socket is dear where there are many, and exact where others use this machine too.
    fn now(pid: u32, ports: [u16; 2], each_socket: bool) -> Taken {
        let (resident, kernel) = (processes::resident_bytes(pid), processes::tcp_memory_bytes());
        let of_both = || {
            let [one, other] = ports.map(processes::socket_memory);
            let (one, other) = (one?, other?);
            Some((one.server_bytes + other.server_bytes, one.client_bytes + other.client_bytes))
        };
        let looked = if each_socket { of_both() } else { None };
        let (own_end, other_end) = looked.unwrap_or_default();
        let all = resident + looked.map_or(kernel, |(own, other)| own + other);
        Taken { resident, kernel, own_end, other_end, all }
    }

    fn most(self, other: Taken) -> Taken {
        Taken {
            resident: self.resident.max(other.resident),
            kernel: self.kernel.max(other.kernel),
            own_end: self.own_end.max(other.own_end),
            other_end: self.other_end.max(other.other_end),
            all: self.all.max(other.all),
        }
    }
}

/// Looks ten times a second until it is finished.
pub struct Watch {
    /// The resources taken when the watch started.
    pub before: Taken,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Taken>,
    metrics: BTreeMap<String, f64>,
}

impl Watch {
    /// Starts watching.
    pub fn start(server: &Server, each_socket: bool) -> io::Result<Watch> {
        let (pid, stop) = (server.pid(), Arc::new(AtomicBool::new(false)));
        let ports = [server.public.port(), server.control.port()];
        let before = Taken::now(pid, ports, each_socket);
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut most = before;
            while !stopped.load(Relaxed) {
                most = most.most(Taken::now(pid, ports, each_socket));
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
