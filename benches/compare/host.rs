//! The machine and the circumstances of a record.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The circumstances of a record.
#[derive(Clone, Serialize)]
pub struct Circumstances {
    /// The command line.
    pub command: String,
    /// The day, UTC.
    pub date: String,
    /// The kernel.
    pub kernel: String,
    /// The processor and how many of it.
    pub machine: String,
    /// The project's commit, with a `+` when files differ from it.
    pub commit: String,
    /// Settings of the kernel that decide about TCP on loopback.
    pub settings: BTreeMap<String, String>,
    /// The versions that each peer reports.
    pub versions: BTreeMap<String, String>,
}

impl Circumstances {
    /// Those of now.
    pub fn now(root: &Path, versions: BTreeMap<String, String>) -> Circumstances {
        let settings = [
            "net.ipv4.tcp_congestion_control",
            "net.core.default_qdisc",
            "net.ipv4.tcp_wmem",
            "net.ipv4.tcp_rmem",
            "kernel.sched_autogroup_enabled",
        ];
        let value = |name: &str| {
            let text = fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/")));
            text.map_or("-".to_owned(), |text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        // Records that were written a moment ago are no difference.
        let clean = said(root, "git", &["status", "--porcelain", "--", ":!benches/record"]).is_empty();
        let commit = said(root, "git", &["rev-parse", "--short=12", "HEAD"]);
        Circumstances {
            command: format!("compare {}", arguments.join(" ")),
            date: said(root, "date", &["-u", "+%Y-%m-%d"]),
            kernel: said(root, "uname", &["-r"]),
            machine: machine(),
            commit: if clean { commit } else { format!("{commit}+") },
            settings: settings.iter().map(|name| ((*name).to_owned(), value(name))).collect(),
            versions,
        }
    }

    /// A folder's name for this kind of machine.
    pub fn folder(&self) -> String {
        let kernel: String = self.kernel.split('.').take(2).collect::<Vec<_>>().join(".");
        let text = format!("{} linux {kernel}", self.machine).to_lowercase();
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let mut name: String = text.chars().map(plain).collect();
        while name.contains("--") {
            name = name.replace("--", "-");
        }
        name.trim_matches('-').to_owned()
    }

    /// The head of a text record.
    pub fn head(&self) -> String {
        let Circumstances { command, date, kernel, machine, commit, .. } = self;
        format!("{command}\n{date} · {machine} · Linux {kernel} · commit {commit}\n")
    }
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let count = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} × {count}", model.map_or("unknown processor", |(_, model)| model.trim()))
}

fn said(root: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root).output();
    output.map_or_else(|_| "-".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
