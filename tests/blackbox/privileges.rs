//! The user that the server serves as: root only until it has read its files, and never again.

use std::process::{Command, Output};

use crate::harness::{ConfigFile, Launch, program};

/// A user that every Debian has, and its number.
const USER: (&str, &str) = ("nobody", "65534");

fn status_field(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().replace('\t', " ")
}

fn is_root() -> bool {
    status_field(std::process::id(), "Uid").starts_with("0 ")
}

#[test]
fn a_server_of_root_becomes_its_user_keeps_one_capability_and_serves() {
    if !is_root() {
        return;
    }
    let key = ConfigFile::new("privileges-key", "0123456789abcdef0123456789abcdef\n");
    let hidden = Command::new("chmod").args(["600", &key.0]).status().expect("chmod runs");
    assert!(hidden.success());
    let server = Launch::workers(2).set("user", USER.0).set("signing_key_file", &key.0).start();
    let ids = format!("{0} {0} {0} {0}", USER.1);
    for (name, expected) in [
        ("Uid", ids.as_str()),
        ("Gid", ids.as_str()),
        ("CapEff", "0000000000000400"),
        ("CapPrm", "0000000000000400"),
        ("CapInh", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        assert_eq!(status_field(server.pid(), name), expected, "{name}");
    }
    for task in std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs").flatten() {
        let status = std::fs::read_to_string(task.path().join("status")).expect("a thread");
        assert!(status.contains(&format!("Uid:\t{0}\t{0}\t{0}\t{0}", USER.1)), "{status}");
        assert!(status.contains("CapEff:\t0000000000000400"), "{status}");
    }
    let _stream = server.subscribe("topic=a");
}

fn refuse(user: &str) -> Output {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--control", "", "--user", user];
    Command::new(program()).args(arguments).output().expect("it ends at once")
}

#[test]
fn a_user_that_is_not_there_stops_the_start() {
    let output = refuse("nobody-of-this-name");
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains("cannot become user = nobody-of-this-name: there is no such user; "), "{line}");
}
