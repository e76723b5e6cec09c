//! Whether this host can hold the load's side of a run, before anything is opened: files, ports, memory. Says
//! what is missing and the command that mends it.

use crate::load::host;
use crate::load::plan::{Fault, Plan};
use crate::sys::process::{self, Limit};

/// Files of a thread that are no subscribers: poll, waker, standard streams, the publisher's.
const FILES_SPARE: u64 = 64;
/// Sources of loopback subscribers are 127.0.1.1 to 127.0.254.1.
const THREADS_MAX: u64 = 254;
/// Kernel memory of an idle connection, both ends, as measured on kernel 6.18; ours and the target's on top.
const CONNECTION_BYTES: u64 = 10_000;

/// Raises this process's file limit as far as it may; the files of a thread then.
///
/// # Errors
/// When the limit cannot be read.
pub fn raise_files(plan: &Plan) -> Result<u64, Fault> {
    let limit = process::files_limit().map_err(|os| Fault::System("cannot read the file limit", os))?;
    let wanted = (plan.subscribers as u64 + FILES_SPARE).min(limit.hard).max(limit.soft);
    // Refused, the old one stays, and what it allows is checked below.
    let _ = process::set_files_limit(Limit { soft: wanted, ..limit });
    process::files_limit()
        .map(|limit| limit.soft)
        .map_err(|os| Fault::System("cannot read the file limit", os))
}

/// How many threads to use with so many files for each.
///
/// # Errors
/// What is missing.
pub fn check(plan: &Plan, files: u64) -> Result<usize, Fault> {
    let wanted = plan.subscribers as u64;
    let room = files.saturating_sub(FILES_SPARE).max(1);
    let needed = wanted.div_ceil(room).max(1);
    let threads = if plan.threads == 0 { needed } else { plan.threads as u64 };
    if threads < needed || threads > THREADS_MAX {
        return Err(Fault::Host(format!(
            "cannot open {wanted} subscribers: {threads} threads of {files} files each; use --threads {} \
             or raise the limit with `ulimit -n {}`",
            needed.min(THREADS_MAX),
            wanted / threads.clamp(1, THREADS_MAX) + FILES_SPARE
        )));
    }
    if !plan.is_loopback() {
        check_ports(wanted)?;
    } else {
        check_memory(wanted)?;
    }
    Ok(threads as usize)
}

/// To another host all connections come from one address here.
fn check_ports(wanted: u64) -> Result<(), Fault> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let bounds: Vec<u64> = text.split_whitespace().filter_map(|bound| bound.parse().ok()).collect();
    let [first, last] = bounds[..] else { return Ok(()) };
    let ports = (last + 1).saturating_sub(first);
    if wanted <= ports {
        return Ok(());
    }
    Err(Fault::Host(format!(
        "cannot open {wanted} subscribers: one address has {ports} local ports; \
         `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`, or run a part of the load from another host"
    )))
}

/// On loopback this kernel holds both ends.
fn check_memory(wanted: u64) -> Result<(), Fault> {
    let (needed, available) = (wanted * CONNECTION_BYTES, host::available_bytes());
    let limit = host::sysctl("fs.file-max").unwrap_or(u64::MAX);
    if needed > available {
        return Err(Fault::Host(format!(
            "cannot hold {wanted} connections: both ends of each take about {CONNECTION_BYTES} bytes of \
             kernel memory, {} MiB together, and {} MiB are available; use fewer --subscribers",
            needed >> 20,
            available >> 20
        )));
    }
    if wanted * 2 > limit {
        return Err(Fault::Host(format!(
            "cannot hold {wanted} connections: fs.file-max is {limit}, and both ends take {}; \
             `sysctl -w fs.file-max={}`",
            wanted * 2,
            wanted * 3
        )));
    }
    Ok(())
}
