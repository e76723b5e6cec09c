//! Numbers of the files under `/proc`, shared by the readers of this folder and of the doctor.
//!
//! Knows the form of those files, and no meaning of their numbers.

use std::fs;
use std::path::Path;

use crate::sys::process::page_bytes;

/// Returns a field whose unit is kB, in bytes; `name` ends with the colon.
pub(crate) fn kib_field_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// Reads a field of `/proc/meminfo`, in bytes; `name` ends with the colon.
pub(crate) fn meminfo_bytes(root: &Path, name: &str) -> Option<u64> {
    kib_field_bytes(&fs::read_to_string(root.join("proc/meminfo")).ok()?, name)
}

/// Reads the processor time of a thread from its folder, user and system, in nanoseconds; 0 without one.
pub(crate) fn thread_cpu_ns(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Reads the kernel's memory of all TCP sockets of the host, or of its network namespace. On loopback that
/// includes both ends of a connection; the kernel does not say to which process a socket belongs.
pub(crate) fn tcp_memory_bytes(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/net/sockstat")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem").skip(1);
    let pages: u64 = words.next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * page_bytes()
}
