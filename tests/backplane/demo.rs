//! `examples/cluster/run`, as somebody who has just built the program starts it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{SOON, free_port, poll_until, program};

#[test]
fn the_demo_of_a_cluster_shows_a_client_that_goes_on_at_another_node() {
    let has = |name: &str| Command::new(name).arg("-v").output().is_ok();
    if !["redis-server", "redis-cli", "haproxy", "curl"].into_iter().all(has) {
        println!("skipped: not all of redis, haproxy and curl");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster/run");
    // It takes ten ports in a row, below those that the kernel gives away.
    let port = 20_000 + free_port().port() % 1_000 * 10;
    let mut child = Command::new(script)
        .env("PROGRAM", program())
        .env("PORT", port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    for line in lines {
        let last = line.contains("Ctrl-C");
        seen.push(line);
        if last {
            break;
        }
    }
    let data: Vec<&str> = seen.iter().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data, ["one", "two", "three", "four", "five"], "{seen:#?}");
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    poll_until(SOON, || child.try_wait().unwrap()).expect("it ends, and with it all that it started");
    let serves = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(!(0..10).any(|nth| serves(port + nth)), "nothing is left behind");
}
