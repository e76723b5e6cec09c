//! Readiness that proves delivery: red within three seconds of what is wrong and with a reason, green again
//! afterwards, while the control listener goes on answering. A worker is stopped as a debugger stops it,
//! through ptrace; where that is not allowed a line says so.

use crate::harness::{Conn, Launch, SOON, Server, Stream, free_port, ms, poll_until};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest time from a fault to the verdict that reports it.
const RED_WITHIN: Duration = Duration::from_secs(3);

/// Stops one thread from a line of its input until the end of it.
const STOPPER: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
tid = int(sys.argv[1])
def ptrace(what):
    if libc.ptrace(what, tid, None, None) != 0:
        print("refused", os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
SEIZE, INTERRUPT, DETACH, ANY_THREAD = 0x4206, 0x4207, 17, 0x40000000
ptrace(SEIZE)
print("seized", flush=True)
sys.stdin.readline()
ptrace(INTERRUPT)
os.waitpid(tid, ANY_THREAD)
print("stopped", flush=True)
sys.stdin.read()
ptrace(DETACH)
"#;

/// A thread that stands still until this is dropped.
pub struct Stopped {
    debugger: Child,
    /// The last moment before it stood still.
    pub since: Instant,
}

impl Stopped {
    /// Stops a worker's thread; none where that is not allowed.
    pub fn worker(server: &Server, worker: usize) -> Option<Stopped> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the process runs");
        let named = |task: &std::fs::DirEntry| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.trim() == format!("worker-{worker}")
        };
        let task = tasks.flatten().find(named).expect("the worker has a thread of its name");
        let tid = task.file_name().into_string().expect("a number");
        let mut command = Command::new("python3");
        command.args(["-c", STOPPER, &tid]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut debugger = command.spawn().ok()?;
        let mut said = BufReader::new(debugger.stdout.take().expect("piped"));
        let seized = Stopped::hears(&mut said, "seized");
        let since = Instant::now();
        let asked = debugger.stdin.as_mut().expect("piped").write_all(b"stop\n");
        if !seized || asked.is_err() || !Stopped::hears(&mut said, "stopped") {
            let _ = debugger.wait();
            return None;
        }
        Some(Stopped { debugger, since })
    }

    fn hears(said: &mut BufReader<ChildStdout>, word: &str) -> bool {
        let mut line = String::new();
        said.read_line(&mut line).expect("UTF-8");
        let is_well = line.trim() == word;
        if !is_well {
            println!("skipped: a thread cannot be stopped here: {line}");
        }
        is_well
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        drop(self.debugger.stdin.take());
        let _ = self.debugger.wait();
    }
}

/// Status and text of a page, which must come at once.
fn ask(server: &Server, path: &str, within: Duration) -> (u16, String) {
    let mut conn = Conn::open(server.control);
    conn.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.control));
    let answer = conn.answer(within).unwrap_or_else(|fail| panic!("{path} within {within:?}: {fail:?}"));
    (answer.status, answer.text().to_owned())
}

fn ready(server: &Server) -> (u16, String) {
    ask(server, "/readyz", ms(5_000))
}

/// Waits for readiness to be red with all these words, and holds it to its time since something is wrong.
fn await_red(server: &Server, since: Instant, words: &[&str]) {
    let mut last = (0, String::new());
    let red = poll_until(2 * RED_WITHIN, || {
        last = ready(server);
        (last.0 == 503 && words.iter().all(|word| last.1.contains(word))).then(|| since.elapsed())
    });
    let Some(took) = red else { panic!("not red for {words:?}, but {last:?}") };
    assert!(last.1.contains("\"not_ready\""), "{}", last.1);
    assert!(took <= RED_WITHIN, "red for {words:?} after {took:?} only");
}

fn await_green(server: &Server) {
    let mut last = (0, String::new());
    let green = poll_until(SOON, || {
        last = ready(server);
        (last.0 == 200).then_some(())
    });
    assert!(green.is_some(), "not green again: {last:?}");
}

#[test]
fn a_server_that_has_started_is_ready_at_once() {
    for _ in 0..5 {
        let server = Launch::workers(4).start();
        assert_eq!(ready(&server).0, 200);
    }
}

#[test]
fn a_worker_that_stands_still_is_named_and_takes_no_page_with_it() {
    let server = Launch::workers(4).start();
    let mut streams: Vec<Stream> = (0..12).map(|_| server.subscribe("topic=a")).collect();
    let Some(stopped) = Stopped::worker(&server, 2) else { return };
    await_red(&server, stopped.since, &["worker_late", "worker 2", "standing still"]);
    for _ in 0..10 {
        for path in ["/healthz", "/metrics", "/status"] {
            assert_eq!(ask(&server, path, ms(5_000)).0, 200, "{path}");
        }
        assert_eq!(ready(&server).0, 503);
    }
    // The status page follows once a second.
    let status = poll_until(SOON, || {
        let status: serde_json::Value =
            serde_json::from_str(&ask(&server, "/status", ms(5_000)).1).expect("JSON");
        (status["ready"]["ok"] == false).then_some(status)
    });
    let status = status.expect("the status page knows");
    assert!(status["ready"]["reason"].as_str().is_some_and(|reason| reason.contains("worker 2")), "{status}");
    // A survey names the workers that have not answered, and comes all the same.
    let (code, page) = ask(&server, "/connections", ms(5_000));
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((code, &page["incomplete"]), (200, &serde_json::json!(["worker 2"])));
    let (code, text) = ask(&server, "/topics", ms(5_000));
    assert!(code == 200 && text.contains("\"topic\":\"a\"") && !text.contains("incomplete"), "{text}");
    // Ten more than may be under way at once: those that were given up leave room.
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(ask(&server, "/connections", ms(5_000)).0, 200));
            }
        });
    }
    drop(stopped);
    await_green(&server);
    assert!(server.log().contains("event=not_ready"), "{}", server.log());
    server.publish("a", "after");
    for stream in &mut streams {
        assert_eq!(stream.event().data, "after");
    }
    let page: serde_json::Value =
        serde_json::from_str(&ask(&server, "/connections", ms(5_000)).1).expect("JSON");
    assert_eq!((page.get("incomplete"), &page["total"]), (None, &13.into()));
}

/// Probes come on connections of their own, as those of load balancers do. One that stands still must be
/// given none of them: neither when it slept, nor while others publish.
#[test]
fn every_probe_of_the_control_listener_is_answered_while_a_worker_stands_still() {
    let server = Launch::workers(4).start();
    let mut streams: Vec<Stream> = (0..12).map(|_| server.subscribe("topic=a")).collect();
    let Some(stopped) = Stopped::worker(&server, 3) else { return };
    await_red(&server, stopped.since, &["worker_late", "worker 3"]);
    let probe = || {
        let (status, text) = ask(&server, "/readyz", RED_WITHIN);
        assert!(status == 503 && text.contains("worker 3, standing still"), "{status} {text}");
    };
    (0..50).for_each(|_| probe());
    std::thread::scope(|scope| {
        scope.spawn(|| server.publish_all("a", (0..50).map(|number| number.to_string())));
        (0..10).for_each(|_| drop(scope.spawn(|| (0..5).for_each(|_| probe()))));
    });
    drop(stopped);
    await_green(&server);
    streams.iter_mut().for_each(|stream| assert_eq!(stream.data(50).len(), 50));
}

#[test]
fn a_full_mailbox_is_named() {
    let server = Launch::workers(2).start();
    let mut streams: Vec<Stream> = (0..16).map(|_| server.subscribe("topic=a")).collect();
    let Some(stopped) = Stopped::worker(&server, 1) else { return };
    let batch = "{\"topic\":\"a\",\"data\":\"x\"}\n".repeat(1_024);
    let host = server.control;
    let head =
        format!("POST /publish/batch HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", batch.len());
    let mut published = 0;
    let refused = poll_until(ms(10_000), || {
        let mut conn = server.connect_control();
        conn.send(format!("{head}{batch}"));
        let status = conn.answer(ms(2_000)).ok()?.status;
        published += if status == 202 { 1_024 } else { 0 };
        (status == 503).then_some(())
    });
    assert!(refused.is_some(), "a stopped worker's mailbox is never full");
    // What is left of its room.
    let full_since = loop {
        let asked = Instant::now();
        if server.post("topic=a", "", "x").status != 202 {
            break asked;
        }
        published += 1;
    };
    await_red(&server, full_since, &["mailbox_full", "worker 1"]);
    drop(stopped);
    await_green(&server);
    for stream in &mut streams {
        assert_eq!(stream.data(published).len(), published);
    }
}

#[test]
fn a_log_that_takes_nothing_turns_readiness_red_until_it_does() {
    let folder = std::env::temp_dir().join(format!("fanwheel-{}-log-full", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let (link, file) = (folder.join("log"), folder.join("file"));
    let log_to = |target: &Path| {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).expect("a link");
    };
    log_to(&file);
    let (public, control) = (free_port(), free_port());
    let server = Launch::workers(2).set("log_file", link.display()).on(public, control).start();
    await_green(&server);
    log_to(Path::new("/dev/full"));
    let since = Instant::now();
    server.signal("HUP");
    await_red(&server, since, &["log_failing"]);
    let mut stream = server.subscribe("topic=a");
    server.publish("a", "x");
    assert_eq!(stream.event().data, "x");
    log_to(&file);
    server.signal("HUP");
    await_green(&server);
    // The log's thread writes the line when it gets to it.
    let text = || std::fs::read_to_string(&file).expect("the log");
    while !text().contains("event=ready") {
        assert!(since.elapsed() < ms(20_000), "{}", text());
        std::thread::sleep(ms(20));
    }
    drop(server);
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn a_full_disk_under_the_log_is_noticed_though_nothing_is_logged() {
    let folder = std::env::temp_dir().join(format!("fanwheel-{}-log-disk", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&folder).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: nothing can be mounted here");
        return;
    }
    let path = folder.join("log");
    let server = Launch::workers(2).log_to(path.to_str().expect("UTF-8")).start();
    assert_eq!(ready(&server).0, 200);
    let (filler, since) = (folder.join("filler"), Instant::now());
    assert!(std::fs::write(&filler, vec![b'x'; 1 << 20]).is_err(), "the disk is small");
    let red = std::panic::catch_unwind(|| await_red(&server, since, &["log_failing"]));
    std::fs::remove_file(&filler).expect("ours");
    let green = std::panic::catch_unwind(|| await_green(&server));
    drop(server);
    let _ = Command::new("umount").arg(&folder).status();
    let _ = std::fs::remove_dir(&folder);
    assert!(red.is_ok() && green.is_ok());
}

#[test]
fn the_service_manager_hears_no_life_while_a_worker_stands_still() {
    let path = std::env::temp_dir().join(format!("fanwheel-{}-watchdog", std::process::id()));
    let ear = UnixDatagram::bind(&path).expect("a temporary folder");
    let server = Launch::workers(2)
        .env("NOTIFY_SOCKET", path.to_str().expect("UTF-8"))
        .env("WATCHDOG_USEC", "400000")
        .start();
    let heard = |within: Duration| {
        ear.set_read_timeout(Some(within)).expect("a socket takes options");
        let mut buffer = [0; 64];
        let bytes = ear.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..bytes]).into_owned())
    };
    assert_eq!(heard(SOON).as_deref(), Some("READY=1"));
    assert_eq!(heard(SOON).as_deref(), Some("WATCHDOG=1"));
    if let Some(stopped) = Stopped::worker(&server, 1) {
        await_red(&server, stopped.since, &["worker 1"]);
        let silent = poll_until(SOON, || heard(ms(1_000)).is_none().then_some(()));
        assert!(silent.is_some(), "it is told that all is well");
        drop(stopped);
        assert_eq!(heard(SOON).as_deref(), Some("WATCHDOG=1"));
    }
    let _ = std::fs::remove_file(&path);
}
