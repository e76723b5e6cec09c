//! Starts and refused starts: one line, the right exit code; ports that are taken; a restart at once.

use crate::harness::{Launch, SOON, free_port, poll_until, program};
use std::net::TcpListener;
use std::process::Command;

fn assert_refused(case: &str, launch: Launch, code: i32, named: &[&str]) {
    let (exit, lines) = launch.refuse();
    assert_eq!(exit, Some(code), "{case}: {lines:?}");
    assert_eq!(lines.len(), 1, "{case}: one line: {lines:?}");
    for word in named {
        assert!(lines[0].contains(word), "{case}: {word:?} is not in {:?}", lines[0]);
    }
}

fn config_file(name: &str, text: &str) -> String {
    let path = format!("{}/{name}-{}.toml", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::write(&path, text).expect("the scratch folder takes files");
    path
}

#[test]
fn bad_configuration_exits_2_with_one_line_that_names_everything() {
    let base = || Launch::workers(1);
    let limit = &["heartbeat_ms", "5", "100"];
    assert_refused("flag too small", base().set("heartbeat_ms", 5), 2, limit);
    assert_refused("flag too large", base().set("heartbeat_ms", 99_999_999), 2, &["heartbeat_ms", "3600000"]);
    assert_refused("not a number", base().set("retry_ms", "2 apples"), 2, &["retry_ms", "2 apples"]);
    assert_refused("not a choice", base().set("slow_policy", "maybe"), 2, &["slow_policy", "maybe", "skip"]);
    let variable = base().env("FANWHEEL_HEARTBEAT_MS", "abc");
    assert_refused("environment", variable, 2, &["abc", "FANWHEEL_HEARTBEAT_MS"]);
    assert_refused(
        "unknown variable",
        base().env("FANWHEEL_HARTBEAT_MS", "500"),
        2,
        &["FANWHEEL_HARTBEAT_MS"],
    );
    let path = config_file("unknown-key", "heartbeat_ms = 500\nhartbeat_ms = 500\n");
    assert_refused("unknown key", base().set("config", &path), 2, &["hartbeat_ms", &path]);
    let path = config_file("out-of-range", "heartbeat_ms = 5\n");
    assert_refused("file", base().set("config", &path), 2, &["heartbeat_ms", "5", "100", &path]);
    let path = config_file("not-toml", "heartbeat_ms = = 5\n");
    assert_refused("not TOML", base().set("config", &path), 2, &[&path]);
    let path = config_file("wrong-type", "heartbeat_ms = \"soon\"\n");
    assert_refused("wrong type", base().set("config", &path), 2, &["heartbeat_ms", &path]);
    assert_refused(
        "no file",
        base().set("config", "/nonexistent/fanwheel.toml"),
        2,
        &["/nonexistent/fanwheel.toml"],
    );
    assert_refused("no address", base().set("listen", "nonsense"), 2, &["listen", "nonsense"]);
    assert_refused("no such port", base().set("listen", "127.0.0.1:99999"), 2, &["listen", "99999"]);
    let long = format!("unix:/{}", "x".repeat(107));
    assert_refused("long path", base().set("listen", long), 2, &["listen", "unix:/xxx", "107 bytes"]);
    for origin in ["https://page.test:443", "http://page.test:80", "https://Page.test"] {
        assert_refused(origin, base().set("cors_origins", origin), 2, &["cors_origins", origin, "browsers"]);
    }
    let with_port = base().set("control_names", "ops.test:8081");
    assert_refused("name with a port", with_port, 2, &["control_names", "ops.test:8081", "port"]);
}

#[test]
fn mistakes_in_a_class_of_topics_stop_the_start() {
    let prices = "[[class]]\nname = \"prices\"\ntopics = [\"prices.*\"]\n";
    let rows: &[(&str, String, &[&str])] = &[
        ("no topic", "[[class]]\nname = \"prices\"\ntopics = []\n".to_owned(), &["prices", "topics"]),
        ("twice", format!("{prices}{prices}"), &["class prices stands also at"]),
        ("unknown", format!("{prices}hearbeat_ms = 5\n"), &["prices", "hearbeat_ms"]),
        ("range", format!("{prices}history_events = 0\n"), &["prices", "history_events", "0"]),
        (
            "hidden",
            format!("{prices}[[class]]\nname = \"b\"\ntopics = [\"prices.x\"]\n"),
            &["prices.x", "prices"],
        ),
    ];
    for (case, text, words) in rows {
        let path = config_file(&format!("class-{}", case.replace(' ', "-")), text);
        assert_refused(case, Launch::workers(1).set("config", &path), 2, words);
    }
}

#[test]
fn unknown_flag_exits_2() {
    let (exit, lines) = Launch::workers(1).set("hartbeat_ms", 500).refuse();
    assert_eq!(exit, Some(2), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("--hartbeat-ms")), "{lines:?}");
}

#[test]
fn port_in_use_exits_1_with_one_line_that_says_so() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let taken = holder.local_addr().expect("bound").to_string();
    assert_refused("public", Launch::workers(2).set("listen", &taken), 1, &[&taken]);
    assert_refused("control", Launch::workers(2).set("control", &taken), 1, &[&taken]);
}

#[test]
fn port_of_another_server_of_ours_is_in_use_too() {
    let first = Launch::workers(2).start();
    for (name, addr) in [("listen", first.public), ("control", first.control)] {
        assert_refused(name, Launch::workers(2).set(name, addr), 1, &[&addr.to_string()]);
    }
    first.assert_healthy("after others tried its ports");
}

#[test]
fn address_of_another_host_exits_1_with_one_line() {
    assert_refused("foreign", Launch::workers(1).set("listen", "192.0.2.1:8080"), 1, &["192.0.2.1:8080"]);
}

#[test]
fn killed_server_can_be_started_again_at_once() {
    let (public, control) = (free_port(), free_port());
    let start = || Launch::workers(4).on(public, control);
    let server = start().start();
    let mut streams: Vec<_> = (0..20).map(|_| server.subscribe("topic=a")).collect();
    server.publish("a", "x");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "x"));
    server.kill();
    let begin = std::time::Instant::now();
    let server = start().start();
    assert!(begin.elapsed() < SOON, "rebinding took {:?}", begin.elapsed());
    server.assert_healthy("restarted");
}

#[test]
fn settings_come_from_defaults_file_environment_and_flags_in_that_order() {
    let path = config_file("order", "heartbeat_ms = 1100\nretry_ms = 1200\nhead_ms = 1300\n");
    let command = |words: &[&str]| {
        let mut command = Command::new(program());
        command.args(words).env("FANWHEEL_RETRY_MS", "2200").env("FANWHEEL_HEAD_MS", "2300");
        String::from_utf8(command.output().expect("runs").stdout).expect("UTF-8")
    };
    let shown = command(&["config", "--config", &path, "--head-ms", "3300"]);
    for (name, value) in
        [("heartbeat_ms", "1100"), ("retry_ms", "2200"), ("head_ms", "3300"), ("body_ms", "30000")]
    {
        let line = shown.lines().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{shown}"));
        assert!(line.contains(value), "{line:?} should say {value}");
    }
}

#[test]
fn help_and_version_exit_0() {
    for words in [&["--version"][..], &["--help"], &["serve", "--help"], &["config", "--help"]] {
        let output = Command::new(program()).args(words).output().expect("runs");
        assert!(output.status.success() && !output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn ipv6_listener_serves() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6 here");
        return;
    }
    let server = Launch::workers(2).set("listen", "[::1]:0").start();
    assert!(server.public.is_ipv6());
    let mut stream = server.subscribe("topic=a");
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn one_port_serves_both_families_through_a_listener_each() {
    if TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6 here");
        return;
    }
    let (public, control) = (free_port(), free_port());
    let [v4, v6] = [format!("0.0.0.0:{}", public.port()), format!("[::]:{}", public.port())];
    let server = Launch::workers(2).set("listen", v4).set("listen", v6).on(public, control).start();
    for addr in [format!("127.0.0.1:{}", public.port()), format!("[::1]:{}", public.port())] {
        let conn = crate::harness::Conn::open(addr.parse().expect("an address"));
        let mut stream = crate::harness::Stream::open(conn, "topic=a", "");
        server.publish("a", &addr);
        assert_eq!(stream.event().data, addr);
    }
}

#[test]
fn shared_file_table_serves_the_same() {
    let server = Launch::workers(4).set("fd_tables", "shared").start();
    let mut streams: Vec<_> = (0..16).map(|_| server.subscribe("topic=a")).collect();
    server.publish_all("a", (0..50).map(|n| n.to_string()));
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(stream.data(50), expected));
}

#[test]
fn several_public_listeners_serve_the_same_hub() {
    let (first, second) = (free_port(), free_port());
    let server = Launch::workers(2).set("listen", first).set("listen", second).on(first, free_port()).start();
    let mut streams = [first, second]
        .map(|addr| crate::harness::Stream::open(crate::harness::Conn::open(addr), "topic=a", ""));
    server.publish("a", "x");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "x"));
}

#[test]
fn unix_socket_listener_serves_and_is_taken_over_after_a_crash() {
    use std::io::{Read, Write};
    let path = format!("{}/public-{}.sock", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let addr = format!("unix:{path}");
    for round in 0..2 {
        let (public, control) = (free_port(), free_port());
        let launch = Launch::workers(2).set("listen", &addr).set("listen", public).on(public, control);
        let server = launch.start();
        let ready = poll_until(SOON, || std::os::unix::net::UnixStream::connect(&path).ok());
        let mut socket = ready.unwrap_or_else(|| panic!("round {round}: nobody listens on {path}"));
        socket.set_read_timeout(Some(SOON)).expect("options");
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("taken");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        server.kill();
    }
}
