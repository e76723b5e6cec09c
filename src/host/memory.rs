//! Resident memory and the limit above which newcomers are refused.
//!
//! Reads `/proc` and the control groups under a given root, so that tests can bring their own. Decides when
//! memory counts as full; the core decides which newcomers to refuse then.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::cgroups;
use crate::host::proc_text::{kib_field_bytes, meminfo_bytes};

/// Per cent of the memory there is that `memory_bytes_max` is when it is not set: the rest is for the
/// kernel's side of the sockets and for memory that an allocator gives back late.
const MEMORY_SHARE_PERCENT: u64 = 80;
/// Per cent of `memory_bytes_max` below which memory counts as free again: without a distance the server
/// would refuse and accept by turns.
const MEMORY_FREE_AGAIN_PERCENT: u64 = 95;

/// Reads memory figures of the host and of this process.
#[derive(Clone, Debug)]
pub(crate) struct MemoryReader {
    root: PathBuf,
}

/// The limit of resident memory, and whether it is exceeded.
#[derive(Clone, Debug)]
pub(crate) struct MemoryLimit {
    limit_bytes: u64,
    full: bool,
}

impl MemoryReader {
    /// Reads the host that this process runs on.
    pub(crate) fn real() -> MemoryReader {
        MemoryReader::at(Path::new("/"))
    }

    /// Reads a host whose files are under `root`.
    pub(crate) fn at(root: &Path) -> MemoryReader {
        MemoryReader { root: root.to_owned() }
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// Returns the bytes of this process that are in memory.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        kib_field_bytes(&self.read("proc/self/status")?, "VmRSS:")
    }

    /// Returns the least limit of the control groups of `process`: a number, or `self`.
    pub(crate) fn group_bytes(&self, process: &str) -> Option<u64> {
        // The 2^63 of version 1 is no limit, and loses to the installed memory.
        let texts =
            cgroups::read_limit_files(&self.root, process, "memory", "memory.max", "memory.limit_in_bytes");
        cgroups::least(&texts)
    }

    /// Returns the limit for a setting, where 0 means a share of the memory that this process may have.
    pub(crate) fn limit_bytes(&self, setting: u64) -> u64 {
        if setting > 0 {
            return setting;
        }
        let installed = meminfo_bytes(&self.root, "MemTotal:");
        let least = installed.into_iter().chain(self.group_bytes("self")).min();
        least.map_or(u64::MAX, |bytes| bytes / 100 * MEMORY_SHARE_PERCENT)
    }
}

/// Finds the moment when so much of events and bodies was freed that the allocator's free memory is worth
/// returning.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeapTrim {
    high_bytes: usize,
}

/// The fall of live bytes that is worth a walk through the allocator's heaps, which holds up all allocations.
const TRIM_BYTES_MIN: usize = 16 << 20;

impl HeapTrim {
    /// Takes a reading of live bytes; returns whether they have fallen far since the last trim.
    pub(crate) fn take_reading(&mut self, live_bytes: usize) -> bool {
        self.high_bytes = self.high_bytes.max(live_bytes);
        let fallen = self.high_bytes - live_bytes >= TRIM_BYTES_MIN;
        if fallen {
            self.high_bytes = live_bytes;
        }
        fallen
    }
}

impl MemoryLimit {
    /// Makes a limit that is not exceeded yet.
    pub(crate) fn new(limit_bytes: u64) -> MemoryLimit {
        MemoryLimit { limit_bytes, full: false }
    }

    /// Returns the limit in bytes.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Takes a reading; returns whether memory is full, if that has changed.
    pub(crate) fn take_reading(&mut self, resident_bytes: u64) -> Option<bool> {
        let free_again = self.limit_bytes / 100 * MEMORY_FREE_AGAIN_PERCENT;
        let full = if self.full { resident_bytes > free_again } else { resident_bytes > self.limit_bytes };
        (full != std::mem::replace(&mut self.full, full)).then_some(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake_root::FakeRoot;

    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_is_given_back_once_after_each_ebb() {
        let mut trim = HeapTrim::default();
        let looks = [0, 40 << 20, 30 << 20, 20 << 20, 20 << 20, 10 << 20, 4 << 20, 0];
        assert_eq!(
            looks.map(|bytes| trim.take_reading(bytes)),
            [false, false, false, true, false, false, true, false]
        );
    }

    #[test]
    fn the_least_of_installed_memory_and_all_groups_counts() {
        const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\n");
        let share = |bytes: u64| bytes / 100 * 80;
        type LimitCase<'a> = (&'a str, &'a [(&'a str, &'a str)], u64);
        let rows: &[LimitCase<'_>] = &[
            ("installed", &[MEMINFO], share(8 * GIB)),
            ("nothing", &[], u64::MAX),
            (
                "v2-outer",
                &[
                    MEMINFO,
                    ("proc/self/cgroup", "0::/system.slice/fanwheel.service\n"),
                    ("sys/fs/cgroup/system.slice/fanwheel.service/memory.max", "max\n"),
                    ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
                ],
                share(GIB),
            ),
            (
                "v2-container",
                &[MEMINFO, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "268435456\n")],
                share(GIB / 4),
            ),
            (
                "v1",
                &[
                    MEMINFO,
                    ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n"),
                    ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "2147483648\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ],
                share(2 * GIB),
            ),
        ];
        for (name, files, expected) in rows {
            let root = FakeRoot::new(&format!("memory-{name}"), files);
            let host = MemoryReader { root: root.path().to_owned() };
            assert_eq!(host.limit_bytes(0), *expected, "{name}");
            assert_eq!(host.limit_bytes(5), 5, "{name}");
        }
    }

    #[test]
    fn full_memory_is_told_once_and_free_memory_only_with_a_distance() {
        let mut limit = MemoryLimit::new(1_000);
        let rows = [
            (900, None),
            (1_000, None),
            (1_001, Some(true)),
            (2_000, None),
            (990, None),
            (951, None),
            (950, Some(false)),
            (1_000, None),
        ];
        for (bytes, expected) in rows {
            assert_eq!(limit.take_reading(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn this_process_has_a_size() {
        let bytes = MemoryReader::real().resident_bytes().expect("Linux tells");
        assert!(bytes > 100_000 && bytes < MemoryReader::real().limit_bytes(0), "{bytes}");
    }
}
