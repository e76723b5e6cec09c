//! `tuning/apply.sh` on a copy of `/proc/sys`: raises what is lower, leaves the rest, and can be run again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LOW: &[(&str, &str)] = &[
    ("fs/nr_open", "1048576\n"),
    ("fs/file-max", "9223372036854775807\n"),
    ("net/core/somaxconn", "128\n"),
    ("net/core/netdev_max_backlog", "16384\n"),
    ("net/ipv4/tcp_mem", "1000\t2000\t99999999\n"),
    ("net/ipv4/ip_local_port_range", "32768\t60999\n"),
];

struct Host(PathBuf);

impl Host {
    fn new(name: &str) -> Host {
        let root = std::env::temp_dir().join(format!("fanwheel-{}-tuning-{name}", std::process::id()));
        for (path, text) in LOW {
            let path = root.join("proc/sys").join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a writable temporary directory");
            fs::write(path, text).expect("a writable temporary directory");
        }
        fs::write(root.join("proc/meminfo"), "MemTotal:       8388608 kB\n").expect("writable");
        Host(root)
    }

    fn apply(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/apply.sh");
        let mut command = Command::new(script);
        command.args(arguments).arg("--root").arg(&self.0).output().expect("sh runs")
    }

    fn values(&self) -> BTreeMap<&'static str, String> {
        let read = |path: &str| fs::read_to_string(self.0.join("proc/sys").join(path)).expect("readable");
        LOW.iter().map(|(path, _)| (*path, read(path))).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_dry_run_says_all_and_changes_nothing() {
    let host = Host::new("print");
    let before = host.values();
    let output = host.apply(&["--print", "--persist"]);
    assert!(output.status.success());
    assert!(text(&output).contains("would   net.core.somaxconn = 16384 (now 128)"), "{}", text(&output));
    assert!(text(&output).contains("absent  net.ipv4.tcp_max_syn_backlog"), "{}", text(&output));
    assert_eq!(host.values(), before);
    assert!(!host.0.join("etc").exists());
}

#[test]
fn what_is_lower_is_raised_and_a_second_run_changes_nothing() {
    let host = Host::new("raise");
    let output = host.apply(&["--connections", "2000000", "--persist"]);
    assert!(output.status.success(), "{}", text(&output));
    let raised = host.values();
    assert_eq!(raised["fs/nr_open"], "2020000\n");
    assert_eq!(raised["net/core/somaxconn"], "16384\n");
    assert_eq!(raised["net/ipv4/ip_local_port_range"], "10240 65535\n");
    assert_eq!(raised["fs/file-max"], "9223372036854775807\n", "higher than asked for stays");
    assert_eq!(raised["net/core/netdev_max_backlog"], "16384\n");
    let mem: Vec<u64> =
        raised["net/ipv4/tcp_mem"].split_whitespace().map(|n| n.parse().expect("a number")).collect();
    assert!(mem[0] > 1_000 && mem[0] < mem[1] && mem[2] == 99_999_999, "{mem:?}");
    let kept = fs::read_to_string(host.0.join("etc/sysctl.d/90-fanwheel.conf")).expect("written");
    assert!(kept.contains("\nnet.core.somaxconn = 16384\n"), "{kept}");

    let again = host.apply(&["--connections", "2000000", "--persist"]);
    assert!(!text(&again).contains("raised"), "{}", text(&again));
    assert_eq!(host.values(), raised);
    assert_eq!(fs::read_to_string(host.0.join("etc/sysctl.d/90-fanwheel.conf")).expect("written"), kept);
}

#[test]
fn a_dry_run_on_this_host_reaches_its_end() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/apply.sh");
    let output = Command::new(script).arg("--print").output().expect("sh runs");
    assert!(output.status.success() && text(&output).contains("hard limit is"), "{output:?}");
}

#[test]
fn mistakes_end_with_2() {
    let host = Host::new("mistakes");
    for arguments in [&["--connections", "many"][..], &["--connections", ""], &["--nonsense"]] {
        assert_eq!(host.apply(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
