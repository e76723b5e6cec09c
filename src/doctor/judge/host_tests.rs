//! Facts about the judgement of invented hosts.

use super::*;
use crate::doctor::finding::{is_fine, text};
use crate::doctor::judge::host_table::{HostRequirement, TEXT, rows};

/// Invents a host on which each key of the table is just good enough for a number of connections.
fn good_host(connections: u64) -> HostFacts {
    let mut host = HostFacts {
        connections,
        workers: 2,
        processors: 2,
        memory_pages: 6_000_000,
        page_bytes: 4_096,
        scripts: Some("/usr/share/fanwheel/tuning".to_owned()),
        files: Some((connections.div_ceil(2) + RESERVED_FILES, "this shell".to_owned())),
        ring: Some(IoUringSupport::Works),
        ..HostFacts::default()
    };
    for row in rows(TEXT).expect("tested elsewhere") {
        let value = row.need.value(connections, host.memory_pages);
        let value = match row.need {
            HostRequirement::Choice(words) => words.split(' ').next().expect("a word").to_owned(),
            HostRequirement::Shown => "4096 16384 4194304".to_owned(),
            _ => value,
        };
        host.values.insert(
            row.key.to_owned(),
            vec![KernelReading { label: row.key.to_owned(), value: Some(value) }],
        );
    }
    host
}

fn judged(host: &HostFacts) -> Vec<Finding> {
    findings(host, &rows(TEXT).expect("tested elsewhere"))
}

fn verdict(host: &HostFacts, key: &str) -> Verdict {
    let all = judged(host);
    let found = all.iter().find(|finding| finding.key == key);
    found.unwrap_or_else(|| panic!("{key} is not in\n{}", text(&all))).verdict
}

#[test]
fn a_host_that_is_just_good_enough_is_fine() {
    for connections in [1_000, 100_000, 1_000_000] {
        let host = good_host(connections);
        assert!(is_fine(&judged(&host)), "{}", text(&judged(&host)));
    }
}

#[test]
fn each_key_that_is_set_wrong_is_named() {
    for row in rows(TEXT).expect("tested elsewhere") {
        let mut host = good_host(1_000_000);
        let wrong = match row.need {
            HostRequirement::AtMost(most) => (most + 1).to_string(),
            HostRequirement::Memory { .. } => "1 2 3".to_owned(),
            HostRequirement::Span(..) => "32768 60999".to_owned(),
            HostRequirement::Choice(_) => "something".to_owned(),
            HostRequirement::AtLeast { .. } => "1".to_owned(),
            HostRequirement::Shown => continue,
        };
        if row.key == "nofile" {
            continue;
        }
        let label = row.key.to_owned();
        host.values.insert(row.key.to_owned(), vec![KernelReading { label, value: Some(wrong) }]);
        let is_bad = row.group == "limits" && ![LOCAL_PORTS, MIGRATION].contains(&row.key);
        let expected = if is_bad { Verdict::Bad } else { Verdict::Note };
        assert_eq!(verdict(&host, row.key), expected, "{}", row.key);
        let all = judged(&host);
        let fix = &all.iter().find(|finding| finding.key == row.key).expect("judged").fix[0];
        let script = "sudo /usr/share/fanwheel/tuning/apply.sh --connections 1000000";
        assert!(row.group == "look" || fix.starts_with(script), "{fix}");
        let bad: Vec<String> = judged(&host)
            .into_iter()
            .filter(|finding| finding.verdict == Verdict::Bad)
            .map(|finding| finding.key)
            .collect();
        assert_eq!(bad.len(), usize::from(is_bad), "{}: {bad:?}", row.key);
    }
}

#[test]
fn the_process_and_its_groups_are_judged() {
    let good = good_host(100_000);
    let whose = || "process 7".to_owned();
    let rows: &[(&str, HostFacts, Verdict)] = &[
        ("nofile", HostFacts { files: Some((1_024, whose())), ..good.clone() }, Verdict::Bad),
        ("nofile", HostFacts { files: Some((50_320, whose())), ..good.clone() }, Verdict::Ok),
        ("nofile", HostFacts { files: Some((50_319, whose())), ..good.clone() }, Verdict::Bad),
        ("nofile", HostFacts { files: Some((12_820, whose())), workers: 8, ..good.clone() }, Verdict::Ok),
        ("nofile", HostFacts { files: None, ..good.clone() }, Verdict::Unknown),
        ("memory", HostFacts { group_memory_bytes: Some(256 << 20), ..good.clone() }, Verdict::Bad),
        ("memory", HostFacts { group_memory_bytes: Some(1 << 30), ..good.clone() }, Verdict::Ok),
        ("memory", HostFacts { memory_pages: 50_000, ..good.clone() }, Verdict::Bad),
        ("cgroup pids.max", HostFacts { group_threads: Some(10), ..good.clone() }, Verdict::Bad),
        ("cgroup pids.max", HostFacts { group_threads: Some(100), ..good.clone() }, Verdict::Ok),
        ("cgroup cpu.max", HostFacts { group_cpu_percent: Some(50), ..good.clone() }, Verdict::Note),
        ("cgroup cpu.max", HostFacts { group_cpu_percent: Some(200), ..good.clone() }, Verdict::Ok),
        (
            "io_uring",
            HostFacts { ring: Some(IoUringSupport::Refused("EPERM".to_owned())), ..good.clone() },
            Verdict::Note,
        ),
        ("ports of a proxy on this host", good.clone(), Verdict::Note),
        ("ports of a proxy on this host", HostFacts { connects_here: true, ..good.clone() }, Verdict::Bad),
        ("ports of a proxy on this host", good_host(20_000), Verdict::Ok),
    ];
    for (key, host, expected) in rows {
        assert_eq!(verdict(host, key), *expected, "{key}: {host:?}");
    }
}

#[test]
fn local_ports_are_bad_only_where_connections_start_here_and_use_them_up() {
    let rows = [
        (10_000, false, Verdict::Note),
        (1_000_000, false, Verdict::Note),
        (10_000, true, Verdict::Note),
        (30_000, true, Verdict::Bad),
    ];
    for (connections, connects_here, expected) in rows {
        let mut host = HostFacts { connects_here, ..good_host(connections) };
        let label = LOCAL_PORTS.to_owned();
        let usual = KernelReading { label: label.clone(), value: Some("32768 60999".to_owned()) };
        host.values.insert(label, vec![usual]);
        assert_eq!(verdict(&host, LOCAL_PORTS), expected, "{connections} {connects_here}");
    }
}

/// A host with such a value.
fn with(host: &HostFacts, key: &str, value: &str) -> HostFacts {
    let mut host = host.clone();
    let reading = KernelReading { label: key.to_owned(), value: Some(value.to_owned()) };
    host.values.insert(key.to_owned(), vec![reading]);
    host
}

#[test]
fn ten_thousand_connections_need_no_more_than_a_distribution_gives() {
    // Debian 12 on a virtual machine with 4 GiB and a firewall.
    let defaults = [
        ("fs.nr_open", "1048576"),
        ("fs.epoll.max_user_watches", "838860"),
        ("net.core.somaxconn", "4096"),
        ("net.ipv4.tcp_max_syn_backlog", "512"),
        ("net.ipv4.tcp_syncookies", "1"),
        ("net.ipv4.tcp_migrate_req", "0"),
        ("net.core.netdev_max_backlog", "1000"),
        ("net.ipv4.tcp_max_orphans", "16384"),
        ("net.ipv4.tcp_max_tw_buckets", "16384"),
        ("net.ipv4.ip_local_port_range", "32768 60999"),
        ("net.netfilter.nf_conntrack_max", "65536"),
        ("/sys/module/nf_conntrack/parameters/hashsize", "16384"),
        ("net.netfilter.nf_conntrack_tcp_timeout_established", "432000"),
    ];
    let host = defaults.iter().fold(good_host(10_000), |host, (key, value)| with(&host, key, value));
    assert!(is_fine(&judged(&host)), "{}", text(&judged(&host)));
    let all = judged(&host);
    let note = all.iter().find(|finding| finding.key == "net.core.netdev_max_backlog").expect("judged");
    assert!(note.verdict == Verdict::Note && note.why.starts_with("enough for so many"), "{note:?}");
}

#[test]
fn a_low_value_is_bad_where_it_binds() {
    let (small, large) = (good_host(10_000), good_host(100_000));
    let short = HostFacts { files: Some((1_024, "this shell".to_owned())), ..small.clone() };
    let guarded = with(&large, COOKIES, "1");
    let rows = [
        (with(&small, HALF_OPEN, "128"), HALF_OPEN, Verdict::Bad),
        (with(&with(&small, COOKIES, "0"), HALF_OPEN, "512"), HALF_OPEN, Verdict::Bad),
        (with(&guarded, HALF_OPEN, "128"), HALF_OPEN, Verdict::Note),
        (with(&small, MIGRATION, "0"), MIGRATION, Verdict::Note),
        (with(&short, MIGRATION, "0"), MIGRATION, Verdict::Bad),
        (with(&small, "net.core.netdev_max_backlog", "999"), "net.core.netdev_max_backlog", Verdict::Bad),
        (with(&large, "net.core.netdev_max_backlog", "1000"), "net.core.netdev_max_backlog", Verdict::Bad),
        (with(&small, "net.core.somaxconn", "128"), "net.core.somaxconn", Verdict::Bad),
    ];
    for (host, key, expected) in rows {
        assert_eq!(verdict(&host, key), expected, "{key}: {:?}", host.values.get(key));
    }
}

#[test]
fn without_scripts_a_remedy_is_the_command_alone() {
    let low = KernelReading { label: "net.core.somaxconn".to_owned(), value: Some("128".to_owned()) };
    let mut host = HostFacts { scripts: None, ..good_host(100_000) };
    host.values.insert("net.core.somaxconn".to_owned(), vec![low]);
    let fixes: Vec<String> = judged(&host).into_iter().flat_map(|finding| finding.fix).collect();
    assert!(fixes.iter().any(|fix| fix == "sysctl -w net.core.somaxconn='10000'"), "{fixes:?}");
    assert!(!fixes.iter().any(|fix| fix.contains("apply.sh")), "{fixes:?}");
}

#[test]
fn an_interface_with_few_queues_is_a_note_unless_steered() {
    for (receive_queues, steered, expected) in
        [(1, false, Verdict::Note), (1, true, Verdict::Ok), (2, false, Verdict::Ok)]
    {
        let interface = NetworkInterface { name: "eth0".to_owned(), receive_queues, steered };
        let host = HostFacts { interfaces: vec![interface], ..good_host(1_000) };
        assert_eq!(verdict(&host, "interface eth0"), expected, "{receive_queues} {steered}");
    }
}

#[test]
fn what_is_absent_unreadable_or_below_its_size_is_not_bad() {
    let mut host = good_host(100_000);
    host.values.remove("net.core.somaxconn");
    assert_eq!(verdict(&host, "net.core.somaxconn"), Verdict::Unknown);
    let unread = KernelReading { label: "net.core.somaxconn".to_owned(), value: None };
    host.values.insert("net.core.somaxconn".to_owned(), vec![unread]);
    assert_eq!(verdict(&host, "net.core.somaxconn"), Verdict::Unknown);
    let mut small = good_host(100);
    let low = KernelReading { label: "net.core.somaxconn".to_owned(), value: Some("128".to_owned()) };
    small.values.insert("net.core.somaxconn".to_owned(), vec![low]);
    assert_eq!(verdict(&small, "net.core.somaxconn"), Verdict::Ok);
}
