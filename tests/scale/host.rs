//! What the kernel tells about a process and about TCP, read from `/proc`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes of one page; the same on every machine this is meant for.
const PAGE_BYTES: u64 = 4_096;
/// Milliseconds of one clock tick in `/proc/PID/stat` (USER_HZ is 100 on every Linux of today).
const TICK_MS: u64 = 10;

/// Resident bytes of a process; 0 when it is gone.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    number_after(&status, "VmRSS:") * 1_024
}

/// Processor time of a process, user and system, in milliseconds.
pub fn cpu_ms(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces; what follows its parenthesis starts with field 3, and 14 and 15 are wanted.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * TICK_MS
}

/// Open files over all threads. Threads with a table of their own count once each, which is the point; a
/// table that several share counts for each of them, so only differences mean anything.
pub fn open_files(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads.flatten().map(|thread| entries(&thread.path().join("fd"))).sum()
}

fn entries(folder: &Path) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

/// Kernel memory of all TCP sockets of this machine, both ends of a loopback connection included.
pub fn tcp_memory_bytes() -> u64 {
    let stat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = stat.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    number_after(line, " mem ") * PAGE_BYTES
}

/// Kernel memory of everything kept in slabs, which is where idle sockets live.
pub fn slab_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    number_after(&info, "Slab:") * 1_024
}

/// Sockets with local port `port` as process `pid` sees them: how many are established, and the bytes that
/// wait in their send queues.
pub fn sockets(pid: u32, port: u16) -> (u64, u64) {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let mine = format!(":{port:04X}");
    let mut found = (0, 0);
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, queues, ..] = fields[..] else { continue };
        if !local.ends_with(&mine) {
            continue;
        }
        found.0 += u64::from(state == "01");
        let waiting = queues.split(':').next().unwrap_or("0");
        // A listener's send queue is its backlog, not bytes.
        found.1 += if state == "0A" { 0 } else { u64::from_str_radix(waiting, 16).unwrap_or(0) };
    }
    found
}

/// Kernel memory charged to the sockets of a server's port: its own end, and the other. Needs `ss`; without
/// it, nothing.
pub fn socket_memory(port: u16) -> Option<(u64, u64)> {
    let filter = format!("( sport = :{port} or dport = :{port} )");
    let output = Command::new("ss").args(["-tmnH", &filter]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    let (mine, mut sum) = (format!(":{port}"), (0, 0));
    let mut server_end = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("skmem:(") {
            None => server_end = line.split_whitespace().nth(3).is_some_and(|local| local.ends_with(&mine)),
            Some(fields) => {
                let charged: u64 = fields.split(',').filter_map(charge).sum();
                *(if server_end { &mut sum.0 } else { &mut sum.1 }) += charged;
            }
        }
    }
    Some(sum)
}

/// The fields of `ss` that are memory in use: received (r), queued to send (w), reserved (f).
fn charge(field: &str) -> Option<u64> {
    ["r", "w", "f"].iter().find_map(|name| field.strip_prefix(name)?.parse().ok())
}

/// The first number behind a word.
fn number_after(text: &str, word: &str) -> u64 {
    let rest = text.split_once(word).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
