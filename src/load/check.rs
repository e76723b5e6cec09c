//! Whether this host can hold the load's side of a run, before anything is opened: files, ports, memory. A
//! refusal names the command that mends it.

use crate::host::processes;
use crate::load::plan::{LOAD_THREADS_MAX, LoadFault, LoadPlan};
use crate::load::receiver::PORT_FIRST;
use crate::sys::process::{self, ResourceLimit};

/// Files of a thread that are not subscribers: poll, waker, standard streams, the publisher's.
const FILES_SPARE: u64 = 64;
/// Ports of a thread's source address: more subscribers could be bound but never connect.
const SOURCE_PORTS: u64 = 65_536 - PORT_FIRST as u64;
/// Kernel memory of an idle connection, both ends, as measured on kernel 6.18; ours and the target's on top.
const CONNECTION_BYTES: u64 = 10_000;

/// Raises this process's file limit as far as it may; returns the files of a thread.
///
/// # Errors
/// When the limit cannot be read.
pub(crate) fn raise_file_limit(plan: &LoadPlan) -> Result<u64, LoadFault> {
    let limit = process::files_limit().map_err(|os| LoadFault::System("cannot read the file limit", os))?;
    let wanted = (plan.subscribers as u64 + FILES_SPARE).min(limit.hard).max(limit.soft);
    // If this is refused, the old limit stays and is checked below.
    let _ = process::set_files_limit(ResourceLimit { soft: wanted, ..limit });
    process::files_limit()
        .map(|limit| limit.soft)
        .map_err(|os| LoadFault::System("cannot read the file limit", os))
}

/// Returns the number of threads to use with so many files for each.
///
/// # Errors
/// When this host lacks files, ports or memory.
pub(crate) fn check_host(plan: &LoadPlan, files: u64) -> Result<usize, LoadFault> {
    let wanted = plan.subscribers as u64;
    let needed = threads_needed(wanted, files, plan.is_loopback());
    let threads = if plan.threads == 0 { needed } else { plan.threads as u64 };
    if threads < needed || threads > LOAD_THREADS_MAX {
        return Err(LoadFault::Host(format!(
            "cannot open {wanted} subscribers: {threads} threads of {files} files each, and on loopback of \
             {SOURCE_PORTS} ports; use --threads {} or raise the limit with `ulimit -n {}`",
            needed.min(LOAD_THREADS_MAX),
            wanted / threads.clamp(1, LOAD_THREADS_MAX) + FILES_SPARE
        )));
    }
    if !plan.is_loopback() {
        check_ports(wanted)?;
    } else {
        check_memory(wanted)?;
    }
    Ok(threads as usize)
}

/// Returns the threads for so many subscribers: each has its own files, and on loopback its own address.
fn threads_needed(wanted: u64, files: u64, loopback: bool) -> u64 {
    let ports = if loopback { SOURCE_PORTS } else { u64::MAX };
    let room = files.saturating_sub(FILES_SPARE).clamp(1, ports);
    wanted.div_ceil(room).max(1)
}

/// Checks local ports: connections to another host all come from one address.
fn check_ports(wanted: u64) -> Result<(), LoadFault> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let bounds: Vec<u64> = text.split_whitespace().filter_map(|bound| bound.parse().ok()).collect();
    let [first, last] = bounds[..] else { return Ok(()) };
    let ports = (last + 1).saturating_sub(first);
    if wanted <= ports {
        return Ok(());
    }
    Err(LoadFault::Host(format!(
        "cannot open {wanted} subscribers: one address has {ports} local ports; \
         `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`, or run a part of the load from another host"
    )))
}

/// Checks memory and files of the host: on loopback this kernel holds both ends.
fn check_memory(wanted: u64) -> Result<(), LoadFault> {
    let (needed, available) = (wanted * CONNECTION_BYTES, processes::available_bytes());
    let limit = processes::sysctl("fs.file-max").unwrap_or(u64::MAX);
    if needed > available {
        return Err(LoadFault::Host(format!(
            "cannot hold {wanted} connections: both ends of each take about {CONNECTION_BYTES} bytes of \
             kernel memory, {} MiB together, and {} MiB are available; use fewer --subscribers",
            needed >> 20,
            available >> 20
        )));
    }
    if wanted * 2 > limit {
        return Err(LoadFault::Host(format!(
            "cannot hold {wanted} connections: fs.file-max is {limit}, and both ends take {}; \
             `sysctl -w fs.file-max={}`",
            wanted * 2,
            wanted * 3
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_files_nor_ports_of_a_thread_are_exceeded() {
        let rows = [
            (0, 1_024, true, 1),
            (960, 1_024, true, 1),
            (961, 1_024, true, 2),
            (55_536, 1_000_000, true, 1),
            (55_537, 1_000_000, true, 2),
            (1_000_000, 1_048_576, true, 19),
            (1_000_000, 1_048_576, false, 1),
            (5, 0, true, 5),
        ];
        for (wanted, files, loopback, threads) in rows {
            assert_eq!(threads_needed(wanted, files, loopback), threads, "{wanted} {files} {loopback}");
        }
    }
}
