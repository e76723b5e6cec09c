//! The kernel's figures of any processes and of TCP, read from `/proc`. Judges nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::host::proc_text::{self, kib_field_bytes, meminfo_bytes, thread_cpu_ns};

/// The resources that some processes have used so far and hold now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessUsage {
    /// Processor time, user and system, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Resident bytes of all of them.
    pub(crate) resident_bytes: u64,
    /// Processes that were found.
    pub(crate) processes: u64,
}

/// Reads the usage of processes and of all their descendants.
pub(crate) fn read_usage(pids: &[u32]) -> ProcessUsage {
    let mut usage = ProcessUsage::default();
    for pid in find_descendants(pids) {
        let resident = resident_bytes(pid);
        usage.processes += u64::from(resident > 0);
        usage.resident_bytes += resident;
        usage.cpu_ns += cpu_ns(pid);
    }
    usage
}

/// Finds the given processes and all their descendants, each once.
fn find_descendants(pids: &[u32]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name may hold spaces; behind its parenthesis stand the state and the parent.
        let behind = stat.rsplit(')').next().unwrap_or_default();
        if let Some(parent) = behind.split_whitespace().nth(1).and_then(|field| field.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = pids.to_vec();
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        for child in children.remove(pid).unwrap_or_default() {
            if !found.contains(&child) {
                found.push(child);
            }
        }
        at += 1;
    }
    found
}

/// Reads the resident bytes of a process; 0 when it has ended.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib_field_bytes(&status, "VmRSS:").unwrap_or(0)
}

/// Reads the processor time of a process's threads, user and system, in nanoseconds; a thread that has ended
/// no longer counts.
pub fn cpu_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads.flatten().map(|thread| thread_cpu_ns(&thread.path())).sum()
}

/// Reads the memory that is available without pushing anything out, in bytes.
pub(crate) fn available_bytes() -> u64 {
    meminfo_bytes(Path::new("/"), "MemAvailable:").unwrap_or(0)
}

/// Returns the release of the kernel.
pub(crate) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Reads the number that a file under `/proc/sys` begins with.
pub(crate) fn sysctl(name: &str) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Counts open files over all threads. A table that several threads share counts for each of them, so only
/// differences mean anything.
pub fn open_files(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads.flatten().map(|thread| count_entries(&thread.path().join("fd"))).sum()
}

fn count_entries(folder: &Path) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

/// Reads the kernel's memory of all TCP sockets of this machine, both ends of a loopback connection included.
pub fn tcp_memory_bytes() -> u64 {
    proc_text::tcp_memory_bytes(Path::new("/"))
}

/// Reads the kernel memory in slabs, which hold idle sockets.
pub fn slab_bytes() -> u64 {
    meminfo_bytes(Path::new("/"), "Slab:").unwrap_or(0)
}

/// Sockets of one local port.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortSockets {
    /// Established connections.
    pub established: u64,
    /// Bytes in the send queues of all of them.
    pub(crate) send_queue_bytes: u64,
}

/// Reads the sockets with local port `port` in the network namespace of a process.
pub fn tcp_sockets(pid: u32, port: u16) -> PortSockets {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let mine = format!(":{port:04X}");
    let mut found = PortSockets::default();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, queues, ..] = fields[..] else { continue };
        if !local.ends_with(&mine) {
            continue;
        }
        found.established += u64::from(state == "01");
        let waiting = queues.split(':').next().unwrap_or("0");
        // A listener's send queue is its backlog, not bytes.
        found.send_queue_bytes +=
            if state == "0A" { 0 } else { u64::from_str_radix(waiting, 16).unwrap_or(0) };
    }
    found
}

/// Kernel memory of the connections to a server's port on this machine, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketMemory {
    /// Memory of the server's own sockets.
    pub server_bytes: u64,
    /// Memory of the sockets at the other ends.
    pub client_bytes: u64,
}

/// Reads the kernel memory charged to the connections of a server's port. None without the program `ss`.
pub fn socket_memory(port: u16) -> Option<SocketMemory> {
    let filter = format!("( sport = :{port} or dport = :{port} )");
    let output = Command::new("ss").args(["-tmnH", &filter]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let (mine, mut sum) = (format!(":{port}"), SocketMemory::default());
    let mut server_end = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("skmem:(") {
            None => server_end = line.split_whitespace().nth(3).is_some_and(|local| local.ends_with(&mine)),
            Some(fields) => {
                let charged: u64 = fields.split(',').filter_map(charged_bytes).sum();
                *(if server_end { &mut sum.server_bytes } else { &mut sum.client_bytes }) += charged;
            }
        }
    }
    Some(sum)
}

/// Returns a field of `ss` that is memory in use: received (r), queued to send (w), reserved (f).
fn charged_bytes(field: &str) -> Option<u64> {
    ["r", "w", "f"].iter().find_map(|name| field.strip_prefix(name)?.parse().ok())
}
