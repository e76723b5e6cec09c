//! `fanwheel plan` as its users meet it: the answer, the settings it reads, and its words about mistakes.

use crate::harness::program;
use serde_json::Value;
use std::process::Command;

/// Runs `plan`: exit code, standard output, standard error.
fn plan(flags: &str, environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program());
    command.arg("plan").args(flags.split_whitespace()).envs(environment.iter().copied());
    let output = command.output().expect("the program can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json(flags: &str, environment: &[(&str, &str)]) -> Value {
    let (code, out, words) = plan(&format!("--json {flags}"), environment);
    assert_eq!(code, Some(0), "{flags}: {words}");
    serde_json::from_str(&out).expect("one JSON object")
}

#[test]
fn nodes_are_the_connections_over_what_one_holds() {
    let flags = "--connections 5000000 --events-per-second 2 --bytes 300 --nodes-ram 16G --cores 8 --nic 10G";
    let plan = &json(flags, &[])["plan"];
    let number = |name: &str| plan[name].as_u64().expect("a count");
    let (nodes, most) = (number("nodes"), number("connections_per_node_max"));
    assert_eq!(nodes, 5_000_000_u64.div_ceil(most));
    assert_eq!(number("connections_per_node"), 5_000_000_u64.div_ceil(nodes));
    let (code, page, _) = self::plan(flags, &[]);
    assert_eq!(code, Some(0));
    assert!(page.contains(&format!("nodes                       {nodes}\n")), "{page}");
    assert!(page.contains("  10 000 000"), "the table of sizes\n{page}");
}

#[test]
fn settings_are_those_that_serve_would_run_with() {
    let idle = "--connections 100000 --events-per-second 0";
    let heartbeats = |flags: &str, environment: &[(&str, &str)]| {
        let whole = json(&format!("{idle} {flags}"), environment);
        whole["plan"]["network"]["heartbeats_bits_per_s"].as_f64().expect("a rate")
    };
    let usual = heartbeats("", &[]);
    let near = |got: f64, expected: f64| assert!((got / expected - 1.0).abs() < 1e-9, "{got} {expected}");
    near(heartbeats("--heartbeat-ms 30000", &[]), usual / 2.0);
    near(heartbeats("", &[("FANWHEEL_HEARTBEAT_MS", "5000")]), usual * 3.0);
    let path = std::env::temp_dir().join(format!("fanwheel-{}-plan.toml", std::process::id()));
    std::fs::write(&path, "heartbeat_ms = 7500\n").expect("a writable temporary directory");
    near(heartbeats(&format!("--config {}", path.display()), &[]), usual * 2.0);
    std::fs::remove_file(path).expect("it was written");
}

#[test]
fn mistakes_are_one_line_that_says_the_way_out() {
    let rows = [
        ("--nodes-ram 16", "write it as 64KiB, 64MiB, 16GiB or 16GB"),
        ("--nic fast", "write it as 500M or 10G"),
        ("--connections 0", "must be a whole number from 1 to 1000000000"),
        ("--connections 1e6", "must be a whole number from 1 to 1000000000"),
        ("--connections -5", "must be a whole number from 1 to"),
        ("--connections 99999999999999999999", "must be a whole number from 1 to"),
        ("--cores 0", "must be a whole number from 1 to 4096"),
        ("--files 18446744073709551615", "must be a whole number from 1 to 1073741824"),
        ("--events-per-second -1", "--events-per-second = -1 is not from 0 to 1000000"),
        ("--headroom-percent 100", "is not from 0 to 90"),
        ("--heartbeat-ms 5", "heartbeat_ms = 5"),
        ("--nodes-ram 1M", "raise --nodes-ram"),
        ("--cores 1 --events-per-second 100000 --topics 1000", "lower --events-per-second"),
        ("--constants /nowhere", "cannot read --constants /nowhere"),
        ("--constants /dev/null", "missing field"),
        ("--workers 3", "unknown argument --workers"),
    ];
    for (flags, expected) in rows {
        let (code, out, words) = plan(flags, &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{flags}: {words}");
        assert_eq!(words.lines().count(), 1, "{flags}: {words}");
        assert!(words.contains(expected), "{flags}: {words}");
    }
}
