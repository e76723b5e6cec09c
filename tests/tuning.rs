//! The scripts of `tuning/` on made-up hosts, and on the real kernel inside a network namespace: what they
//! raise, what they leave alone, what they say, and that nothing is left of them afterwards.

#[path = "tuning/host.rs"]
mod host;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use fanwheel::doctor::judge::host_table::{HostRequirement, TEXT};
use host::{Host, assert_same, file_of, is_root, project, said, table, wrong};

/// All groups, as one argument list.
const ALL: [&str; 2] = ["--with", "all"];

#[test]
fn the_scripts_and_the_program_compute_the_same_needs() {
    for memory_pages in [0_u64, 50_001, 6_000_000] {
        for connections in [1_u64, 999, 12_345, 100_000, 1_000_003, 99_999_999] {
            let words = format!("name=test; here=tuning; . tuning/lib.sh; rows {connections} {memory_pages}");
            let output = Command::new("sh")
                .args(["-c", &words, "tuning/test"])
                .current_dir(project())
                .output()
                .expect("sh runs");
            let (code, text) = said(&output);
            assert_eq!(code, 0, "{text}");
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), table().len());
            for (line, row) in lines.iter().zip(table()) {
                let fields: Vec<&str> = line.split('|').collect();
                let [key, unit, _, need, group, from, why, price, _] = fields[..] else { panic!("{line}") };
                assert_eq!(need, row.need.value(connections, memory_pages), "{key} for {connections}");
                assert_eq!((key, unit, group), (row.key, &row.unit[..], row.group));
                assert_eq!((from, why, price), (&row.from.to_string()[..], &row.why[..], &row.price[..]));
            }
        }
    }
}

#[test]
fn a_dry_run_says_all_and_changes_nothing() {
    let host = Host::low();
    let before = host.tree();
    let text = host.good("apply.sh", &["--dry-run", ALL[0], ALL[1]]);
    assert_same(&host.tree(), &before, "changed");
    for expected in [
        "would   net.core.somaxconn: 7 -> 10000 (connections that wait",
        "would   net.ipv4.tcp_mem: 1 2 3 -> 200000 266666 400000",
        "would   /sys/kernel/mm/transparent_hugepage/enabled: always -> madvise",
        "would   /sys/devices/system/cpu/cpu1/cpufreq/scaling_governor: powersave -> performance",
        "would   write /etc/sysctl.d/90-fanwheel.conf:",
        "+ net.core.somaxconn = 10000",
        "+ fanwheel - nofile 110000",
        "left    net.ipv4.tcp_wmem = 4096 16384 4194304",
        "why: when everyone returns at once",
        "size: 10 % of 100000 connections, at least 4096, at most 65535",
        "size: 4 for each of 100000 connections, at least 65536, at most a quarter of 2097152",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    for row in table().iter().filter(|row| row.key != "nofile") {
        assert!(text.contains(row.key.split('*').next().expect("a part")), "{} is not in\n{text}", row.key);
    }
}

#[test]
fn apply_makes_check_green_and_revert_restores_every_byte() {
    for groups in [&[][..], &ALL] {
        let host = Host::low();
        let older = host.0.join("etc/sysctl.d/90-fanwheel.conf");
        host.write("etc/sysctl.d/90-fanwheel.conf", "# an older one\nnet.core.somaxconn = 99");
        std::fs::set_permissions(&older, std::fs::Permissions::from_mode(0o640)).expect("mine");
        let before = host.tree();
        assert_eq!(host.run("check.sh", groups).0, 1);
        let applied = host.good("apply.sh", groups);
        assert!(applied.contains("changed net.core.somaxconn: 7 -> 10000"), "{applied}");
        let checked = host.good("check.sh", groups);
        assert!(!checked.contains("LOW"), "{checked}");
        // The new files say what the kernel's say.
        let kept = host.read("etc/sysctl.d/90-fanwheel.conf");
        assert!(kept.contains("\nnet.ipv4.ip_local_port_range = 10240 65535\n"), "{kept}");
        assert_eq!(kept.contains("tcp_keepalive_time"), !groups.is_empty(), "{kept}");
        let boot = host.0.join("etc/tmpfiles.d/fanwheel.conf");
        let boot = std::fs::read_to_string(boot).expect("conntrack's hash size at least is no sysctl");
        assert_eq!(boot.contains("cpu1/cpufreq/scaling_governor - - - - performance"), !groups.is_empty());
        // A file removed by hand comes back with its mode, and other numbers are no obstacle.
        if groups.is_empty() {
            std::fs::remove_file(&older).expect("there");
            host.write("proc/sys/net/core/somaxconn", "5\n");
        }
        let reverted = host.good("revert.sh", &[]);
        assert_same(&host.tree(), &before, &reverted);
        // The place is that of --root, not the real one's.
        let place = format!("recorded in {}/var/lib/fanwheel-tuning, so", host.0.display());
        let again = host.good("revert.sh", &[]);
        assert!(again.contains(&place) && again.contains("nothing to restore"), "{again}");
        assert_same(&host.tree(), &before, "changed");
    }
}

#[test]
fn a_second_run_changes_nothing_and_the_first_state_is_what_is_restored() {
    let host = Host::low();
    let before = host.tree();
    host.good("apply.sh", &[]);
    let applied = host.tree();
    let again = host.good("apply.sh", &[]);
    assert!(!again.contains("changed ") && !again.contains("wrote "), "{again}");
    assert_same(&host.tree(), &applied, "changed");
    // More connections raise further; fewer leave what is there, in the files for the next start too.
    host.good("apply.sh", &["--connections", "300000", ALL[0], ALL[1]]);
    let more = host.tree();
    host.good("apply.sh", &["--connections", "1000"]);
    assert_same(&host.tree(), &more, "changed");
    host.good("check.sh", &["--connections", "300000", ALL[0], ALL[1]]);
    host.good("revert.sh", &[]);
    assert_same(&host.tree(), &before, "changed");
}

#[test]
fn check_is_red_with_the_right_line_for_each_key_set_wrong() {
    let host = Host::low();
    host.good("apply.sh", &ALL);
    host.good("check.sh", &ALL);
    let mut tried = 0;
    for row in table().iter().filter(|row| row.key != "nofile" && row.group != "look") {
        let Some(text) = wrong(row) else { continue };
        let path = file_of(row.key);
        let good = host.read(&path);
        host.write(&path, &text);
        let (code, report) = host.run("check.sh", &ALL);
        let red: Vec<&str> = report.lines().filter(|line| line.starts_with("LOW")).collect();
        let [line] = red[..] else { panic!("{}: {red:?}\n{report}", row.key) };
        assert!(line.contains(&row.key.replace('*', "0")), "{line}");
        assert!(
            code == 1
                && report.contains(&format!(
                    "tuning/apply.sh --root \"{}\" --connections 100000",
                    host.0.display()
                )),
            "{report}"
        );
        host.write(&path, &good);
        tried += 1;
    }
    assert!(tried > 20, "{tried}");
    host.write("etc/security/limits.d/90-fanwheel.conf", "fanwheel - nofile 1024\n");
    let (code, report) = host.run("check.sh", &ALL);
    assert!(code == 1 && report.contains("LOW     nofile, login of fanwheel = 1024"), "{report}");
    host.good("apply.sh", &ALL);
    host.good("check.sh", &ALL);
}

#[test]
fn what_is_high_enough_or_of_a_group_not_asked_for_is_not_touched() {
    let host = Host::empty();
    for row in table().iter().filter(|row| row.key != "nofile") {
        let high = match row.need {
            HostRequirement::AtLeast { .. } => "9223372036854775807\n".to_owned(),
            HostRequirement::AtMost(_) => "1\n".to_owned(),
            HostRequirement::Memory { .. } => "8000000 9000000 10000000\n".to_owned(),
            HostRequirement::Span(..) => "1024\t65535\n".to_owned(),
            HostRequirement::Choice(words) => format!("{}\n", words.split(' ').next_back().expect("a word")),
            HostRequirement::Shown => "0\n".to_owned(),
        };
        host.write(&file_of(row.key), &high);
    }
    host.write("etc/security/limits.conf", "* - nofile 1048576\n");
    host.write("etc/systemd/system/fanwheel.service", "[Service]\nLimitNOFILE=1024:infinity\n");
    let before = host.tree();
    let text = host.good("apply.sh", &ALL);
    assert_same(&host.tree(), &before, &text);
    // More than a shell can count, as some kernels say it.
    host.write("proc/sys/fs/file-max", "18446744073709551615\n");
    host.write(
        "proc/sys/net/ipv4/tcp_mem",
        "18446744073709551615 18446744073709551615 18446744073709551615\n",
    );
    host.write("etc/systemd/system/fanwheel.service", "[Service]\nLimitNOFILE=18446744073709551615\n");
    host.write("etc/security/limits.conf", "* - nofile 18446744073709551615\n");
    let before = host.tree();
    for text in [host.good("apply.sh", &ALL), host.good("check.sh", &ALL)] {
        assert_same(&host.tree(), &before, &text);
    }
    // One number of several is low: only that one is raised.
    host.write("proc/sys/net/ipv4/tcp_mem", "8000000 1 10000000\n");
    host.write("proc/sys/net/ipv4/ip_local_port_range", "1024 60999\n");
    host.good("apply.sh", &["--no-persist"]);
    assert_eq!(host.read("proc/sys/net/ipv4/tcp_mem"), "8000000 266666 10000000\n");
    assert_eq!(host.read("proc/sys/net/ipv4/ip_local_port_range"), "1024 65535\n");
    let low = Host::low();
    low.good("apply.sh", &["--no-persist"]);
    assert!(!low.0.join("etc/sysctl.d").exists() && !low.0.join("etc/tmpfiles.d").exists());
    for (key, text) in [("net.ipv4.tcp_fin_timeout", "31\n"), ("net.core.rps_sock_flow_entries", "7\n")] {
        assert_eq!(low.read(&file_of(key)), text, "{key}");
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_run_that_was_cut_short_is_undone_and_can_be_repeated() {
    for ms in [5, 15, 30, 45, 60, 90, 120, 180] {
        let host = Host::low();
        let before = host.tree();
        let mut child = quiet(host.command("apply.sh", &ALL)).spawn().expect("sh runs");
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().expect("mine");
        child.wait().expect("mine");
        if ms % 2 == 0 {
            host.good("apply.sh", &ALL);
            host.good("check.sh", &ALL);
        }
        let mut revert = quiet(host.command("revert.sh", &[])).spawn().expect("sh runs");
        std::thread::sleep(Duration::from_millis(ms));
        revert.kill().expect("mine");
        revert.wait().expect("mine");
        host.good("revert.sh", &[]);
        assert_same(&host.tree(), &before, &format!("cut after {ms} ms"));
    }
}

#[test]
fn runs_at_the_same_time_keep_the_first_state() {
    let host = Host::low();
    let before = host.tree();
    let start = |connections| {
        let run = host.command("apply.sh", &["--connections", connections, ALL[0], ALL[1]]);
        quiet(run).spawn().expect("sh runs")
    };
    for mut child in ["200000", "400000", "600000"].map(start) {
        child.wait().expect("mine");
    }
    host.good("revert.sh", &[]);
    assert_same(&host.tree(), &before, "three at once");
}

#[test]
fn a_slip_in_the_table_is_refused_before_anything_is_written() {
    let host = Host::low();
    for name in ["lib.sh", "apply.sh", "check.sh", "revert.sh"] {
        std::fs::copy(project().join("tuning").join(name), host.0.join(name)).expect("a folder of mine");
    }
    let slips = ["need at-lest 5 6", "need span 5", "need at-least x 6", "need choice", "need memory"];
    for slip in slips {
        host.write("host.table", &TEXT.replacen("need    at-least 4096 10 65535", slip, 1));
        let before = host.tree();
        let run = Command::new(host.0.join("apply.sh")).arg("--root").arg(&host.0).output();
        let (code, text) = said(&run.expect("sh runs"));
        assert!(code == 2 && text.contains("host.table: not understood: "), "{slip}: {text}");
        assert_same(&host.tree(), &before, "changed");
    }
}

/// Returns a command as a user other than root would run it; none where that cannot be had.
fn as_nobody(command: &Command) -> Option<Command> {
    if !is_root() {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args());
        return Some(same);
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    nobody.arg(command.get_program()).args(command.get_args()).current_dir("/");
    // The project may lie where only root looks.
    let tried = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "test", "-r"])
        .arg(command.get_program())
        .status();
    tried.is_ok_and(|status| status.success()).then_some(nobody)
}

#[test]
fn keys_that_are_read_only_or_missing_are_named_and_the_others_are_set() {
    let host = Host::low();
    std::fs::remove_file(host.0.join("proc/sys/fs/nr_open")).expect("there");
    let open = "find \"$1\" -exec chmod a+rwX {} + && cd \"$1/proc/sys\" && chmod a-w net/core/somaxconn";
    let opened = Command::new("sh").args(["-c", open, "sh"]).arg(&host.0).status().expect("sh runs");
    assert!(opened.success());
    let before = host.tree();
    let Some(mut apply) = as_nobody(&host.command("apply.sh", &[])) else {
        eprintln!("skipped: nobody may read the project");
        return;
    };
    let (code, text) = said(&apply.output().expect("sh runs"));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAILED  net.core.somaxconn = 7, needed 10000: not permitted"), "{text}");
    assert!(text.contains("absent  fs.nr_open"), "{text}");
    assert!(text.contains("changed net.ipv4.tcp_max_syn_backlog: 7 -> 10000"), "{text}");
    // What was not changed is not recorded, so a later revert does not claim it.
    let undo = host.good("revert.sh", &["--dry-run"]);
    assert!(undo.contains("tcp_max_syn_backlog") && !undo.contains("somaxconn"), "{undo}");
    host.good("revert.sh", &[]);
    assert_same(&host.tree(), &before, "changed");
}

#[test]
fn whoever_is_not_root_is_told_before_anything_is_tried() {
    let mut plain = Command::new(project().join("tuning/apply.sh"));
    let mut undo = Command::new(project().join("tuning/revert.sh"));
    for command in [&mut plain, &mut undo] {
        let Some(mut command) = as_nobody(command) else { return };
        let (code, text) = said(&command.output().expect("sh runs"));
        assert!(
            code == 1 && text.contains("must run as root") && text.contains("nothing was changed"),
            "{text}"
        );
    }
}

#[test]
fn the_file_that_counts_is_found_among_units_and_drop_ins() {
    type Row<'a> = (&'a [(&'a str, &'a str)], bool, &'a str);
    let rows: &[Row<'_>] = &[
        (&[("usr/lib/systemd/system/fanwheel.service", "LimitNOFILE=1024")], true, "1024 -> 110000"),
        (&[("usr/lib/systemd/system/fanwheel.service", "LimitNOFILE=200000")], false, "= 200000"),
        (
            &[
                ("usr/lib/systemd/system/fanwheel.service", "LimitNOFILE=1024"),
                ("etc/systemd/system/fanwheel.service", "LimitNOFILE=infinity"),
            ],
            false,
            "= 2147483647",
        ),
        (&[("etc/systemd/system/fanwheel.service.d/10-x.conf", "LimitNOFILE=4096")], true, "4096 -> 110000"),
        (&[], false, "= 524288"),
    ];
    for (files, written, words) in rows {
        let host = Host::empty();
        for (path, text) in *files {
            host.write(path, &format!("[Service]\n{text}\n"));
        }
        let text = host.good("apply.sh", &[]);
        assert!(text.contains(words), "{files:?}\n{text}");
        let path = host.0.join("etc/systemd/system/fanwheel.service.d/90-fanwheel.conf");
        assert_eq!(path.exists(), *written, "{files:?}");
    }
    let host = Host::empty();
    host.write("etc/systemd/system/fanwheel.service.d/override.conf", "[Service]\nLimitNOFILE=1024\n");
    let (code, text) = host.run("apply.sh", &[]);
    assert!(code == 1 && text.contains("read after"), "{text}");
}

#[test]
fn mistakes_end_with_2_and_say_what_is_allowed() {
    let host = Host::low();
    let before = host.tree();
    let rows: &[(&str, &[&str], &str)] = &[
        ("apply.sh", &["--connections", "many"], "must be a number from 1 to 99999999"),
        ("apply.sh", &["--connections", ""], "must be a number"),
        ("apply.sh", &["--connections", "0"], "must be a number"),
        ("apply.sh", &["--connections", "-5"], "must be a number"),
        ("apply.sh", &["--connections", "100000000"], "must be a number"),
        ("check.sh", &["--with", "everything"], "must be of: limits timeouts"),
        ("apply.sh", &["--user", "a b"], "is no name"),
        ("apply.sh", &["--print"], "unknown argument '--print'"),
        ("check.sh", &["--dry-run"], "unknown argument '--dry-run'"),
        ("revert.sh", &["--connections", "5"], "unknown argument"),
    ];
    for (script, arguments, words) in rows {
        let (code, text) = host.run(script, arguments);
        assert!(code == 2 && text.contains(words) && text.lines().count() == 1, "{arguments:?}: {text}");
    }
    for script in ["apply.sh", "check.sh", "revert.sh"] {
        for arguments in [&["--root"][..], &["--root", "/nowhere/at/all"]] {
            let output = Command::new(project().join("tuning").join(script)).args(arguments).output();
            assert_eq!(said(&output.expect("sh runs")).0, 2, "{script} {arguments:?}");
        }
        assert!(host.good(script, &["--help"]).contains("usage: tuning/"));
    }
    assert_same(&host.tree(), &before, "changed");
}

#[test]
fn they_run_on_this_host_without_changing_it() {
    let run = |script: &str, arguments: &[&str]| {
        let mut command = Command::new(project().join("tuning").join(script));
        said(&command.args(arguments).output().expect("sh runs"))
    };
    let (code, text) = run("apply.sh", &["--dry-run", "--with", "all"]);
    assert!(code == 0 && text.contains("net.core.somaxconn"), "{text}");
    let (code, text) = run("check.sh", &[]);
    assert!([0, 1].contains(&code) && text.contains("net.core.somaxconn"), "{text}");
}

#[test]
fn no_file_asks_for_more_than_the_kernel_allows_one_process() {
    let host = Host::low();
    host.write("proc/sys/fs/nr_open", "50000\n");
    let open = "find \"$1\" -exec chmod a+rwX {} + && chmod a-w \"$1/proc/sys/fs/nr_open\"";
    assert!(Command::new("sh").args(["-c", open, "sh"]).arg(&host.0).status().expect("sh runs").success());
    let Some(mut apply) = as_nobody(&host.command("apply.sh", &[])) else { return };
    let (code, text) = said(&apply.output().expect("sh runs"));
    assert!(code == 1 && text.contains("nofile: needed 110000, but fs.nr_open is 50000"), "{text}");
    assert!(host.read("etc/security/limits.d/90-fanwheel.conf").ends_with("\nfanwheel - nofile 50000\n"));
    let unit = host.read("etc/systemd/system/fanwheel.service.d/90-fanwheel.conf");
    assert!(unit.ends_with("\nLimitNOFILE=50000\n"), "{unit}");
}

#[test]
fn a_login_that_inherits_enough_is_not_given_less() {
    let host = Host::empty();
    host.good("apply.sh", &[]);
    assert!(!host.0.join("etc/security/limits.d").exists(), "systemd gives 524288 by itself");
    host.good("apply.sh", &["--connections", "1000000"]);
    assert!(host.read("etc/security/limits.d/90-fanwheel.conf").contains("nofile 1100000"));
}

/// The real kernel, but only what belongs to a network namespace of our own; `fs` is there and read-only.
#[test]
fn the_kernel_takes_and_gives_back_what_a_namespace_has() {
    let script = r#"set -eu
        host=$1; apply=$2
        mkdir -p "$host/proc/sys/net" "$host/proc/sys/fs" "$host/etc/security"
        mount --bind /proc/sys/net "$host/proc/sys/net"
        mount --bind /proc/sys/fs "$host/proc/sys/fs" && mount -o remount,ro,bind "$host/proc/sys/fs"
        cd "$host/proc/sys/net"
        echo 128 > core/somaxconn; echo 64 > ipv4/tcp_max_syn_backlog
        echo '40000 50000' > ipv4/ip_local_port_range
        keys="core/somaxconn ipv4/tcp_max_syn_backlog ipv4/ip_local_port_range ipv4/tcp_keepalive_time"
        keys="$keys ipv4/tcp_migrate_req"
        values() { cat $keys; }
        values > "$host/before"
        "$apply/apply.sh" --root "$host" --with timeouts --connections 2000000 > "$host/applied" 2>&1 || :
        values > "$host/raised"
        "$apply/revert.sh" --root "$host" > "$host/reverted" 2>&1
        values > "$host/after"
    "#;
    let host = Host::empty();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "sh", "-c", script, "sh"]).arg(&host.0).arg(project().join("tuning"));
    let output = command.output();
    if !is_root() || !output.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no namespaces here: {output:?}");
        return;
    }
    let applied = host.read("applied");
    assert_eq!(host.read("raised"), "65535\n65535\n10240\t65535\n600\n1\n", "{applied}");
    assert!(applied.contains("FAILED  fs.nr_open = ") && applied.contains("in a container"), "{applied}");
    assert_eq!(host.read("after"), host.read("before"), "{}", host.read("reverted"));
    assert!(!host.0.join("var/lib/fanwheel-tuning").exists() && !host.0.join("etc/sysctl.d").exists());
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let tuning = ["lib.sh", "apply.sh", "check.sh", "revert.sh"].map(|name| format!("tuning/{name}"));
    let suites = ["steps.sh", "check", "run", "install.sh"].map(|name| format!("tests/{name}"));
    let scripts = tuning.iter().chain(&suites);
    match Command::new("shellcheck").arg("-x").args(scripts).current_dir(project()).output() {
        Err(_) => eprintln!("skipped: shellcheck is not installed"),
        Ok(output) => assert_eq!(said(&output), (0, String::new())),
    }
}
