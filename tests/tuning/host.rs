//! A made-up host: a folder with the files of the kernel and of `/etc` that the scripts read and write.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use fanwheel::doctor::judge::host_table::{HostRequirement, HostTableRow, TEXT, rows};

/// Where the project is.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The table that the scripts read.
pub fn table() -> Vec<HostTableRow<'static>> {
    rows(TEXT).expect("the table is whole")
}

/// The file of a key; of several the first.
pub fn file_of(key: &str) -> String {
    match key.strip_prefix('/') {
        Some(path) => path.replace('*', "0"),
        None => format!("proc/sys/{}", key.replace('.', "/")),
    }
}

/// Returns the words about a key that is set wrong; nothing where no value is wrong.
pub fn wrong(row: &HostTableRow<'_>) -> Option<String> {
    Some(match row.need {
        HostRequirement::AtLeast { .. } => "7\n".to_owned(),
        HostRequirement::AtMost(most) => format!("{}\n", most + 1),
        HostRequirement::Memory { .. } => "1\t2\t3\n".to_owned(),
        HostRequirement::Span(..) => "32768\t60999\n".to_owned(),
        HostRequirement::Choice(_) if row.key.ends_with("hugepage/enabled") => {
            "[always] madvise never\n".to_owned()
        }
        HostRequirement::Choice(_) => "other\n".to_owned(),
        HostRequirement::Shown => return None,
    })
}

/// Every file with its bytes and mode, and every folder.
pub type Tree = BTreeMap<PathBuf, Option<(Vec<u8>, u32)>>;

/// Fails with the paths that differ; both trees whole would be pages.
pub fn assert_same(found: &Tree, expected: &Tree, words: &str) {
    let of = |tree: &Tree, path: &PathBuf| tree.get(path).cloned();
    let all = found.keys().chain(expected.keys());
    let different: Vec<&PathBuf> = all.filter(|path| of(found, path) != of(expected, path)).collect();
    assert!(different.is_empty(), "{words}: {different:#?}");
}

/// A folder that is a host.
pub struct Host(pub PathBuf);

impl Host {
    /// An empty one, with memory and processors, and a name that must be quoted everywhere.
    pub fn empty() -> Host {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("fanwheel {}-[host]* {number}", std::process::id()));
        let host = Host(root);
        host.write("proc/meminfo", "MemTotal:       8388608 kB\n");
        for folder in [
            "sys/devices/system/cpu/cpu0",
            "sys/devices/system/cpu/cpu1",
            "etc/security",
            "etc/systemd/system",
            "var/lib",
        ] {
            fs::create_dir_all(host.0.join(folder)).expect("a writable temporary directory");
        }
        host
    }

    /// One on which everything is set wrong, with an interface of one queue.
    pub fn low() -> Host {
        let host = Host::empty();
        for row in table().iter().filter(|row| row.key != "nofile") {
            let text = wrong(row).unwrap_or_else(|| "4096\t16384\t4194304\n".to_owned());
            host.write(&file_of(row.key), &text);
        }
        host.write(
            "etc/systemd/system.conf",
            "[Manager]\n#DefaultLimitNOFILE=5\nDefaultLimitNOFILE=1024:4096\n",
        );
        host.write("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n");
        host.write("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n");
        host.write("sys/class/net/eth0/device/msi_irqs/31", "msi\n");
        host.write("proc/irq/31/smp_affinity_list", "0-1\n");
        host.write("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000000\n");
        host.write("sys/class/net/eth0/queues/rx-0/rps_flow_cnt", "0\n");
        for queue in ["tx-0", "tx-1"] {
            host.write(&format!("sys/class/net/eth0/queues/{queue}/xps_cpus"), "0\n");
        }
        host
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable temporary directory");
        fs::write(path, text).expect("a writable temporary directory");
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Returns the files that exist now.
    pub fn tree(&self) -> Tree {
        fn walk(folder: &Path, found: &mut Tree) {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found);
                    found.insert(path, None);
                } else {
                    let mode = entry.metadata().expect("a file").permissions().mode();
                    found.insert(path.clone(), Some((fs::read(&path).expect("readable"), mode)));
                }
            }
        }
        let mut found = Tree::new();
        walk(&self.0, &mut found);
        found
    }

    /// A script with these arguments for this host.
    pub fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(project().join("tuning").join(script));
        command.args(arguments).arg("--root").arg(&self.0);
        command
    }

    /// Runs it: its exit code and all that it said.
    pub fn run(&self, script: &str, arguments: &[&str]) -> (i32, String) {
        said(&self.command(script, arguments).output().expect("sh runs"))
    }

    /// Runs it and wants it to end well.
    pub fn good(&self, script: &str, arguments: &[&str]) -> String {
        let (code, text) = self.run(script, arguments);
        assert_eq!(code, 0, "{script} {arguments:?}:\n{text}");
        text
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Exit code, and both outputs as one text.
pub fn said(output: &Output) -> (i32, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t0\t"))
}
