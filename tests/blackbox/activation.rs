//! Sockets passed at the start: by a script that execs the server as a service manager does, and by systemd's
//! own tool where there is one.

use crate::harness::{
    Conn, Launch, SOON, Server, Stream, free_port, ms, poll_until, program, with_1_and_4_workers,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// Opens what its first argument lists (`NAME=WHAT,…`), puts it at descriptor 3 and above, and becomes the
/// program that follows. The second argument is the process that it claims to pass to, or `self`.
const PASSER: &str = r#"
import fcntl, os, socket, sys
kept, files, names = [], [], []
for item in sys.argv[1].split(","):
    name, what = item.split("=")
    names.append(name)
    if what == "file":
        number = os.open("/dev/null", os.O_RDONLY)
    elif what == "closed":
        number = None
    else:
        kind = socket.SOCK_DGRAM if what == "datagram" else socket.SOCK_STREAM
        family = socket.AF_UNIX if what.startswith("unix:") else socket.AF_INET
        one = socket.socket(family, kind)
        host, _, port = what.rpartition(":")
        if family == socket.AF_UNIX:
            one.bind(port)
        elif host:
            one.bind((host, int(port)))
        if host:
            one.listen(64)
        kept.append(one)
        number = one.fileno()
    files.append(number and fcntl.fcntl(number, fcntl.F_DUPFD, 40))
os.closerange(3, 40)
for at, number in enumerate(files):
    if number:
        os.dup2(number, 3 + at)
os.closerange(40, 80)
os.environ.update(LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names),
                  LISTEN_PID=str(os.getpid()) if sys.argv[2] == "self" else sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"#;

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        println!("skipped: no {program} here");
    }
    found
}

fn passing_to(whom: &str, workers: usize, passed: &str) -> Launch {
    Launch::workers(workers).through(&["python3", "-c", PASSER, passed, whom])
}

fn passing(workers: usize, passed: &str) -> Launch {
    passing_to("self", workers, passed)
}

fn assert_event_passes(server: &Server, through: SocketAddr) {
    let mut streams: Vec<_> = (0..8).map(|_| Stream::open(Conn::open(through), "topic=a", "")).collect();
    server.publish("a", "x");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.event().data, "x"));
}

fn settings_page(server: &Server) -> Value {
    server.get("/settings").json()
}

fn started_line(server: &Server) -> String {
    let log = server.log();
    log.lines().find(|line| line.contains("event=started")).expect("it serves").to_owned()
}

#[test]
fn passed_sockets_serve_instead_of_the_defaults() {
    if !has("python3") {
        return;
    }
    with_1_and_4_workers(|workers| {
        let tables = if workers == 1 { "shared" } else { "private" };
        let launch = passing(workers, "web=127.0.0.1:0,control=127.0.0.1:0").set("fd_tables", tables);
        let server = launch.without_addresses().start();
        assert_event_passes(&server, server.public);
        assert_eq!(Server::get_from(server.public, "/metrics").status, 404, "the first one is public");
        server.assert_healthy("with passed sockets");
        let line = started_line(&server);
        assert!(line.contains(&format!(" listen={} control={} ", server.public, server.control)), "{line}");
        let page = settings_page(&server);
        for (name, address) in [("listen", server.public), ("control", server.control)] {
            let expected = json!({ "value": [address.to_string()], "source": "socket passed at the start" });
            assert_eq!(page[name], expected);
        }
        assert_eq!(page["metrics_listen"], json!({ "value": [], "source": "default" }));
    });
}

#[test]
fn configured_addresses_that_are_passed_are_not_bound_again_and_others_are() {
    if !has("python3") {
        return;
    }
    let (public, other, control) = (free_port(), free_port(), free_port());
    // The control socket is known by its address alone.
    let launch = passing(4, &format!("web={public},web={control}")).set("listen", public);
    let server = launch.set("listen", other).set("control", control).on(public, control).start();
    assert_event_passes(&server, public);
    assert_event_passes(&server, other);
    let line = poll_until(SOON, || server.log().contains("event=started").then(|| started_line(&server)));
    let expected = format!(" listen={public},{other} control={control} ");
    assert!(line.as_ref().is_some_and(|line| line.contains(&expected)), "{expected} is not in {line:?}");
}

#[test]
fn control_socket_passed_in_addition_to_a_configured_one_answers_too() {
    if !has("python3") {
        return;
    }
    let (public, control, passed) = (free_port(), free_port(), free_port());
    let server = passing(2, &format!("control={passed}")).on(public, control).start();
    for addr in [control, passed] {
        assert_eq!(Server::get_from(addr, "/metrics").status, 200, "{addr}");
    }
    let page = settings_page(&server);
    let value = json!([control.to_string(), passed.to_string()]);
    let source = "--control and socket passed at the start";
    assert_eq!(page["control"], json!({ "value": value, "source": source }));
    // What was passed is no change of the configuration.
    server.signal("HUP");
    let reloaded = poll_until(SOON, || server.log().contains("event=reloaded changes=0").then_some(()));
    assert!(reloaded.is_some(), "{}", server.log());
    assert_eq!(settings_page(&server)["control"]["source"], source);
    assert_event_passes(&server, public);
}

#[test]
fn passed_unix_socket_serves_and_its_file_outlives_the_server() {
    if !has("python3") {
        return;
    }
    let path = format!("{}/passed-{}.sock", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let _ = std::fs::remove_file(&path);
    let launch = passing(4, &format!("web=unix:{path},web=127.0.0.1:0,control=127.0.0.1:0"));
    let server = launch.without_addresses().start();
    for _ in 0..20 {
        let mut socket = UnixStream::connect(&path).expect("it listens");
        socket.set_read_timeout(Some(SOON)).expect("options");
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("taken");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.signal("TERM");
    assert!(server.exit(ms(15_000)).is_some_and(|exit| exit.success()));
    assert!(std::path::Path::new(&path).exists(), "the file is the service manager's");
    let _ = std::fs::remove_file(&path);
}

#[test]
fn sockets_for_another_process_are_ignored() {
    if !has("python3") {
        return;
    }
    let passed = free_port();
    let server = passing_to("1", 2, &format!("web={passed}")).start();
    assert_ne!(server.public, passed);
    assert!(!started_line(&server).contains(&passed.to_string()));
    server.assert_healthy("with another's variables");
}

#[test]
fn what_is_no_listening_stream_exits_1_with_one_line() {
    if !has("python3") {
        return;
    }
    for what in ["file", "closed", "datagram", "stream"] {
        let (exit, lines) = passing(2, &format!("web=127.0.0.1:0,odd={what}")).refuse();
        assert_eq!(exit, Some(1), "{what}: {lines:?}");
        assert_eq!(lines.len(), 1, "{what}: one line: {lines:?}");
        assert!(lines[0].contains("descriptor 4 (odd)"), "{what}: {lines:?}");
    }
}

/// A child that is ended with the value.
struct Activator(Child);

impl Drop for Activator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn systemd_socket_activate_starts_the_server_with_the_first_connection() {
    if !has("systemd-socket-activate") {
        return;
    }
    let (public, control) = (free_port(), free_port());
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &public.to_string(), "-l", &control.to_string(), "--fdname=web:control"]);
    command.args([&program(), "serve", "--workers", "2"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _activator = Activator(child.expect("it has told its version"));
    // Connecting does not start it before both listen, so wait until they do.
    let taken = |addr: SocketAddr| TcpListener::bind(addr).is_err();
    assert!(poll_until(SOON, || (taken(public) && taken(control)).then_some(())).is_some());
    let first = poll_until(SOON, || TcpStream::connect(public).ok());
    assert!(first.is_some(), "nobody listens on {public}");
    let mut stream = Stream::open(Conn::open(public), "topic=a", "");
    let mut conn = Conn::open(control);
    let head = format!("POST /publish?topic=a HTTP/1.1\r\nHost: {control}\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(conn.ask(head).status, 202);
    assert_eq!(stream.event().data, "x");
}
