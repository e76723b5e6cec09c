//! Limits of the control groups that a process is in: its own and those around it, versions 2 and 1.
//!
//! Reads files under a given root, so that tests can bring their own. Decides nothing.

use std::fs;
use std::path::Path;

/// Reads the files of one controller: a text for each group that has the file, innermost first.
/// `process` is `self` or a number; `new` is the file's name in version 2, `old` in version 1.
pub(crate) fn read_limit_files(
    root: &Path,
    process: &str,
    controller: &str,
    new: &str,
    old: &str,
) -> Vec<String> {
    let Ok(groups) = fs::read_to_string(root.join(format!("proc/{process}/cgroup"))) else {
        return Vec::new();
    };
    let mut texts = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup".to_owned(), new),
            list if list.split(',').any(|name| name == controller) => {
                (format!("sys/fs/cgroup/{controller}"), old)
            }
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let file = root.join(&mount).join(group).join(file);
            texts.extend(fs::read_to_string(file).ok());
        }
    }
    texts
}

/// Returns the least number among them; "max" and -1 are no limits.
pub(crate) fn least(texts: &[String]) -> Option<u64> {
    texts.iter().filter_map(|text| text.trim().parse().ok()).min()
}

/// Returns the least share of processor time in percent of one processor.
pub(crate) fn cpu_percent(root: &Path, process: &str) -> Option<u64> {
    let share = |quota: &str, period: &str| {
        let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
        quota.checked_mul(100)?.checked_div(period)
    };
    let new = read_limit_files(root, process, "cpu", "cpu.max", "cpu.cfs_quota_us");
    let periods = read_limit_files(root, process, "cpu", "cpu.max", "cpu.cfs_period_us");
    let shares = new.iter().zip(&periods).filter_map(|(quota, period)| match quota.split_once(' ') {
        Some((quota, period)) => share(quota, period),
        None => share(quota, period),
    });
    shares.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake_root::FakeRoot;

    #[test]
    fn the_least_share_of_processor_time_counts_in_both_versions() {
        type GroupCase<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<u64>);
        let rows: &[GroupCase<'_>] = &[
            (
                "v2",
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
                    ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
                ],
                Some(150),
            ),
            (
                "v1",
                &[
                    ("proc/self/cgroup", "3:cpu,cpuacct:/x\n"),
                    ("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "50000\n"),
                    ("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ],
                Some(50),
            ),
            ("none", &[("proc/self/cgroup", "0::/\n")], None),
        ];
        for (name, files, expected) in rows {
            let root = FakeRoot::new(&format!("groups-{name}"), files);
            assert_eq!(cpu_percent(root.path(), "self"), *expected, "{name}");
        }
    }
}
