//! Readings of this process: memory, processor time by thread, files, and the kernel's memory of sockets.
//!
//! Reads `/proc` under a given root, so that tests can bring their own. A figure that cannot be read is 0.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::snapshot::HostReading;
use crate::host::memory::MemoryReader;
use crate::host::proc_text::{tcp_memory_bytes, thread_cpu_ns};
use crate::sys::process;

/// Reads the figures of this process, once a second.
#[derive(Debug)]
pub(crate) struct ProcessReader {
    host: MemoryReader,
    root: PathBuf,
    /// The folder of each worker's thread, by index.
    threads: Vec<PathBuf>,
    /// Files that were open before the first connection, in the main thread's table.
    files_before: u64,
}

impl ProcessReader {
    /// Reads this process, whose workers have started.
    pub(crate) fn real(workers: usize) -> ProcessReader {
        ProcessReader::at(Path::new("/"), workers)
    }

    fn at(root: &Path, workers: usize) -> ProcessReader {
        let threads = (0..workers).map(|index| thread_folder(root, index).unwrap_or_default()).collect();
        let files_before = fs::read_dir(root.join("proc/self/fd")).map_or(0, |files| files.count() as u64);
        ProcessReader { host: MemoryReader::at(root), root: root.to_owned(), threads, files_before }
    }

    /// Takes a reading; `sockets` are those that the workers hold.
    pub(crate) fn read(&self, sockets: u64) -> HostReading {
        let cpu = process::processor_time().unwrap_or_default();
        HostReading {
            resident_bytes: self.host.resident_bytes().unwrap_or(0),
            cpu_seconds: cpu.as_secs_f64(),
            workers_cpu_seconds: self
                .threads
                .iter()
                .map(|folder| thread_cpu_ns(folder) as f64 / 1e9)
                .collect(),
            kernel_tcp_bytes: tcp_memory_bytes(&self.root),
            files_open: self.files_before + sockets,
        }
    }
}

/// Finds the folder of the thread that is called `worker-<index>`.
fn thread_folder(root: &Path, index: usize) -> Option<PathBuf> {
    let name = format!("worker-{index}");
    let folders = fs::read_dir(root.join("proc/self/task")).ok()?.flatten().map(|entry| entry.path());
    let is_named =
        |folder: &PathBuf| fs::read_to_string(folder.join("comm")).is_ok_and(|text| text.trim_end() == name);
    folders.into_iter().find(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake_root::FakeRoot;

    #[test]
    fn numbers_are_found_where_the_kernel_puts_them() {
        let files = [
            ("proc/self/status", "VmPeak:  9 kB\nVmRSS:\t    2048 kB\n"),
            ("proc/self/task/11/comm", "fanwheel\n"),
            ("proc/self/task/12/comm", "worker-1\n"),
            ("proc/self/task/12/schedstat", "1500000000 7 8\n"),
            ("proc/self/task/13/comm", "worker-0\n"),
            ("proc/self/task/13/schedstat", "250000000 7 8\n"),
            ("proc/self/fd/0", ""),
            ("proc/self/fd/1", ""),
            ("proc/net/sockstat", "sockets: used 9\nTCP: inuse 6 orphan 0 tw 0 alloc 9 mem 3\nUDP: mem 5\n"),
        ];
        let root = FakeRoot::new("usage", &files);
        let reading = ProcessReader::at(root.path(), 3).read(40);
        assert_eq!(reading.resident_bytes, 2 << 20);
        assert_eq!(reading.workers_cpu_seconds, [0.25, 1.5, 0.0]);
        assert_eq!(reading.kernel_tcp_bytes, 3 * process::page_bytes());
        assert_eq!(reading.files_open, 42);
    }

    #[test]
    fn this_process_tells_something() {
        let reading = ProcessReader::real(0).read(0);
        assert!(reading.resident_bytes > 0 && reading.cpu_seconds > 0.0 && reading.files_open > 2);
    }
}
