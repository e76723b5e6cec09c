//! Reads this host for the doctor: the kernel's files under a given root, limits, control groups, and a try
//! at io_uring. Judges nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::doctor::judge::host::{HostFacts, IoUringSupport, KernelReading, NetworkInterface};
use crate::doctor::judge::host_table::HostTableRow;
use crate::host::cgroups;
use crate::host::memory;
use crate::host::proc_text::meminfo_bytes;
use crate::sys::process::page_bytes;
use crate::sys::ring;

/// Reads a host. `process` is the number of a running server whose limits count, or none for this process.
pub(crate) fn read_host(
    root: &Path,
    process: Option<u32>,
    rows: &[HostTableRow<'_>],
    connections: u64,
    workers: Option<u64>,
) -> HostFacts {
    let name = process.map_or_else(|| "self".to_owned(), |number| number.to_string());
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let status = fs::read_to_string(root.join(format!("proc/{name}/status"))).unwrap_or_default();
    let whose = process.map_or_else(|| "this shell".to_owned(), |number| format!("process {number}"));
    HostFacts {
        connections,
        workers: workers.unwrap_or_else(|| processors.min(crate::base::limits::WORKERS_MAX as u64)),
        processors,
        memory_pages: read_memory_pages(root),
        page_bytes: page_bytes(),
        connects_here: false,
        scripts: find_scripts(&std::env::current_exe().unwrap_or_default()),
        values: read_values(root, rows),
        files: read_hard_file_limit(root, &name).map(|files| (files, whose)),
        group_memory_bytes: memory::MemoryReader::at(root).group_bytes(&name),
        group_threads: cgroups::least(&cgroups::read_limit_files(
            root, &name, "pids", "pids.max", "pids.max",
        )),
        group_cpu_percent: cgroups::cpu_percent(root, &name),
        ring: Some(match ring::SendRing::new(1) {
            Ok(_) => IoUringSupport::Works,
            Err(error) => IoUringSupport::Refused(error.to_string()),
        }),
        seccomp: status
            .lines()
            .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() != "0")),
        interfaces: read_interfaces(root),
    }
}

/// Finds the folder of the scripts of this installation: beside the program, as packages and archives have
/// it, or in the checkout that it was built in.
fn find_scripts(program: &Path) -> Option<String> {
    let beside = program.ancestors().nth(2).map(|prefix| prefix.join("share/fanwheel/tuning"));
    let above = program.ancestors().skip(1).map(|folder| folder.join("tuning"));
    let found = beside.into_iter().chain(above).find(|folder| folder.join("apply.sh").is_file());
    found.map(|folder| folder.display().to_string())
}

fn read_memory_pages(root: &Path) -> u64 {
    meminfo_bytes(root, "MemTotal:").unwrap_or(0) / page_bytes()
}

/// Reads the hard limit in `/proc/PID/limits`; `unlimited` becomes the greatest number.
fn read_hard_file_limit(root: &Path, process: &str) -> Option<u64> {
    let text = fs::read_to_string(root.join(format!("proc/{process}/limits"))).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

fn read_values(root: &Path, rows: &[HostTableRow<'_>]) -> BTreeMap<String, Vec<KernelReading>> {
    let mut values = BTreeMap::new();
    for row in rows {
        let path = match row.key.strip_prefix('/') {
            Some(path) => path.to_owned(),
            None => format!("proc/sys/{}", row.key.replace('.', "/")),
        };
        let readings: Vec<KernelReading> =
            matching_files(root, &path).iter().map(|path| read_value(root, row, path)).collect();
        if !readings.is_empty() {
            values.insert(row.key.to_owned(), readings);
        }
    }
    values
}

fn read_value(root: &Path, row: &HostTableRow<'_>, path: &Path) -> KernelReading {
    let label = if row.key.contains('*') {
        format!("/{}", path.strip_prefix(root).unwrap_or(path).display())
    } else {
        row.key.to_owned()
    };
    let value = fs::read_to_string(path).ok().map(|text| {
        // Where the file lists all words, the chosen one stands in brackets.
        let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
        chosen.unwrap_or(&text).split_whitespace().collect::<Vec<_>>().join(" ")
    });
    KernelReading { label, value }
}

/// Lists the existing files of a path with `*` in the names of its folders, in order.
fn matching_files(root: &Path, path: &str) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    for part in path.split('/') {
        found = found.iter().flat_map(|folder| matching_entries(folder, part)).collect();
    }
    found.retain(|path| path.is_file());
    found
}

fn matching_entries(folder: &Path, part: &str) -> Vec<PathBuf> {
    let Some((before, after)) = part.split_once('*') else { return vec![folder.join(part)] };
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.len() >= part.len() - 1 && name.starts_with(before) && name.ends_with(after))
        .collect();
    names.sort();
    names.iter().map(|name| folder.join(name)).collect()
}

/// Reads the interfaces of hardware; others have no device.
fn read_interfaces(root: &Path) -> Vec<NetworkInterface> {
    let folder = root.join("sys/class/net");
    let all = matching_entries(&folder, "*").into_iter().filter(|path| path.join("device").exists());
    let interfaces = all.map(|path| {
        let queues = matching_entries(&path.join("queues"), "rx-*");
        let steered = queues.iter().any(|queue| {
            let mask = fs::read_to_string(queue.join("rps_cpus")).unwrap_or_default();
            mask.trim().bytes().any(|byte| byte != b'0' && byte != b',')
        });
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        NetworkInterface { name, receive_queues: queues.len() as u64, steered }
    });
    interfaces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::judge::host_table::{TEXT, rows};
    use crate::host::fake_root::FakeRoot;

    #[test]
    fn scripts_are_those_of_this_installation() {
        let files = ["usr/share/fanwheel/tuning", "archive/share/fanwheel/tuning", "checkout/tuning"];
        let paths = files.map(|folder| format!("{folder}/apply.sh"));
        let root = FakeRoot::new("scripts", &paths.each_ref().map(|path| (path.as_str(), "")));
        let rows = [
            ("usr/bin/fanwheel", Some(files[0])),
            ("archive/bin/fanwheel", Some(files[1])),
            ("checkout/target/release/fanwheel", Some(files[2])),
            ("opt/bin/fanwheel", None),
        ];
        for (program, expected) in rows {
            let expected = expected.map(|folder| root.path().join(folder).display().to_string());
            assert_eq!(find_scripts(&root.path().join(program)), expected, "{program}");
        }
    }

    #[test]
    fn values_limits_and_interfaces_are_read_as_the_kernel_writes_them() {
        let root = FakeRoot::new(
            "readings",
            &[
                ("proc/meminfo", "MemTotal:        8192 kB\n"),
                (
                    "proc/7/limits",
                    "Limit  Soft  Hard  Units\nMax open files            1024       4096  files\n",
                ),
                ("proc/7/status", "Seccomp:\t2\n"),
                ("proc/7/cgroup", "0::/x\n"),
                ("sys/fs/cgroup/x/pids.max", "max\n"),
                ("sys/fs/cgroup/pids.max", "77\n"),
                ("sys/fs/cgroup/x/memory.max", "1000\n"),
                ("proc/sys/net/ipv4/tcp_mem", "1\t2\t 3\n"),
                ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
                ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
                ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n"),
                ("sys/devices/system/cpu/cpufreq/boost", "1\n"),
                ("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n"),
                ("sys/class/net/eth0/device/vendor", "x\n"),
                ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000003\n"),
            ],
        );
        let host = read_host(root.path(), Some(7), &rows(TEXT).unwrap(), 5, Some(3));
        assert_eq!(
            (host.connections, host.workers, host.memory_pages),
            (5, 3, 8 * 1_024 * 1_024 / page_bytes())
        );
        assert_eq!(host.files, Some((4_096, "process 7".to_owned())));
        assert_eq!(
            (host.group_threads, host.group_memory_bytes, host.seccomp),
            (Some(77), Some(1_000), true)
        );
        let values = |key: &str| -> Vec<(String, Option<String>)> {
            let readings = host.values.get(key).cloned().unwrap_or_default();
            readings.into_iter().map(|reading| (reading.label, reading.value)).collect()
        };
        let one = |label: &str, value: &str| (label.to_owned(), Some(value.to_owned()));
        assert_eq!(values("net.ipv4.tcp_mem"), [one("net.ipv4.tcp_mem", "1 2 3")]);
        let pages = "/sys/kernel/mm/transparent_hugepage/enabled";
        assert_eq!(values(pages), [one(pages, "madvise")]);
        let governor = |cpu: u32| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        assert_eq!(
            values("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"),
            [one(&governor(0), "performance"), one(&governor(1), "powersave")]
        );
        assert_eq!(values("fs.nr_open"), []);
        let eth0 = NetworkInterface { name: "eth0".to_owned(), receive_queues: 1, steered: true };
        assert_eq!(host.interfaces, [eth0]);
    }
}
