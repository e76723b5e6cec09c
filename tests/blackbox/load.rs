//! `fanwheel load` as its users meet it: its counts agree with the server's, and it finds what a server that
//! does not keep its word does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::harness::{ConfigFile, Launch, Metrics, SOON, free_port, program};

/// Runs a load against one address for both directions; the exit code, the report, standard error.
pub fn load(subscribe: SocketAddr, publish: SocketAddr, flags: &str) -> (Option<i32>, Value, String) {
    let output = command(subscribe, publish, flags).output().unwrap();
    read(&output)
}

fn command(subscribe: SocketAddr, publish: SocketAddr, flags: &str) -> Command {
    let mut command = Command::new(program());
    command.args(["load", "--json"]);
    if !flags.contains("--patience-seconds") {
        command.args(["--patience-seconds", "2"]);
    }
    command.arg(format!("--subscribe-url=http://{subscribe}/events?topic={{topic}}"));
    command.arg(format!("--publish-url=http://{publish}/publish?topic={{topic}}"));
    command.args(flags.split_whitespace());
    command
}

fn read(output: &Output) -> (Option<i32>, Value, String) {
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), report, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A whole number in a report.
pub fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {report}"))
}

#[test]
fn counts_of_load_and_server_agree() {
    let server = Launch::workers(2).start();
    let rows = [
        ("--subscribers 200 --events 50 --warm-up 5", 50 * 200, 55 * 200),
        ("--subscribers 100 --topics 100 --events 300 --window 20 --batch 10 --bytes-max 900", 300, 300),
        ("--subscribers 90 --topics 7 --spread zipf --events 40 --rate 400 --threads 2", 0, 0),
    ];
    for (flags, measured, sent) in rows {
        let before = server.metrics().get("delivered");
        let (code, report, words) = load(server.public, server.control, flags);
        assert_eq!(code, Some(0), "{flags}: {report} {words}");
        let got = number(&report, "/delivered/deliveries");
        assert_eq!(got, number(&report, "/delivered/expected"), "{flags}: {report}");
        // A worker counts deliveries just after the subscribers may have had them.
        let all = |metrics: &Metrics| metrics.get("delivered") - before >= sent.max(got);
        let counted = server.await_metric("deliveries", SOON, all).get("delivered") - before;
        if measured > 0 {
            assert_eq!((got, counted), (measured, sent), "{flags}");
        }
        assert!(counted >= got && got > 0, "{flags}: server {counted}, load {got}");
    }
}

#[test]
fn all_come_back_to_what_they_missed() {
    let server = Launch::workers(2).start();
    let rows = [
        "--events 5",
        // Nothing is published before the cut unless the load sees to it; without an id no client resumes.
        "",
        "--topics 30",
        "--topics 30 --spread zipf",
    ];
    for (run, more) in rows.into_iter().enumerate() {
        let flags =
            format!("--subscribers 150 --reconnect-percent 100 --missed 60 --topic-prefix run{run}- {more}");
        let (code, report, words) = load(server.public, server.control, &flags);
        assert_eq!(code, Some(0), "{flags}: {report} {words}");
        assert_eq!(number(&report, "/returned/caught_up"), 150, "{flags}");
        assert_eq!(number(&report, "/losses/lost") + number(&report, "/losses/told"), 0, "{flags}");
    }
}

#[test]
fn stalled_subscribers_are_not_waited_for() {
    let server = Launch::workers(1).start();
    let flags = "--subscribers 100 --stall-percent 10 --events 30 --bytes 1000";
    let (code, report, words) = load(server.public, server.control, flags);
    assert_eq!(code, Some(0), "{report} {words}");
    assert_eq!(number(&report, "/delivered/deliveries"), 30 * 90);
    // Drawn at random, they are not all of one topic: each topic keeps most of its readers.
    let flags = "--subscribers 200 --stall-percent 10 --topics 10 --events 40 --seconds 20";
    let (code, report, words) = load(server.public, server.control, flags);
    assert_eq!(code, Some(0), "{report} {words}");
    assert_eq!(number(&report, "/delivered/expected"), 40 * 18, "{report}");
}

#[test]
fn events_that_give_way_are_no_loss_and_the_newest_of_each_key_is_waited_for() {
    let throttled = "[[class]]\nname = 'prices'\ntopics = ['prices.*']\nthrottle_ms = 300\n";
    let file = ConfigFile::new("load-conflated", throttled);
    let server = Launch::workers(2).set("config", &file.0).start();
    for (batch, prefix) in [(1, "prices."), (5, "prices."), (1, "plain.")] {
        let flags = format!(
            "--conflated --rate 500 --events 600 --batch {batch} --publishers 4 --subscribers 50 --topics 5 \
             --topic-prefix {prefix}{batch}-"
        );
        let (code, report, words) = load(server.public, server.control, &flags);
        assert_eq!(code, Some(0), "{flags}: {report} {words}");
        let left_out = number(&report, "/delivered/superseded");
        let (got, due) = (number(&report, "/delivered/deliveries"), number(&report, "/delivered/expected"));
        assert_eq!(got + left_out, due, "{flags}: {report}");
        assert_eq!(left_out > 0, prefix == "prices.", "{flags}: {report}");
    }
    // Without the flag they are lost.
    let mut command = Command::new(program());
    command
        .args("load --json --patience-seconds 1 --rate 500 --events 300 --topic-prefix prices.x".split(' '));
    command.arg(format!("--subscribe-url=http://{}/events?topic={{topic}}", server.public));
    command.arg(format!("--publish-url=http://{}/publish?topic={{topic}}&key=k", server.control));
    let (code, report, words) = read(&command.output().expect("it runs"));
    assert_eq!(code, Some(1), "{report} {words}");
    assert!(number(&report, "/losses/lost") > 0, "{report}");
}

#[test]
fn processes_named_are_measured() {
    let server = Launch::workers(1).start();
    let flags = format!("--subscribers 300 --events 20 --pid {}", server.pid());
    let (code, report, words) = load(server.public, server.control, &flags);
    assert_eq!(code, Some(0), "{report} {words}");
    let each = report.pointer("/delivered/cpu_us_per_delivery").and_then(Value::as_f64).unwrap();
    assert!((0.1..1_000.0).contains(&each), "{each}");
}

#[test]
fn a_target_that_is_not_there_is_said() {
    let nobody = free_port();
    let since = std::time::Instant::now();
    let (code, report, _) = load(nobody, nobody, "--subscribers 3 --patience-seconds 60");
    assert!(since.elapsed().as_secs() < 10, "{:?}", since.elapsed());
    assert_eq!(code, Some(1));
    assert_eq!(number(&report, "/opened/open"), 0, "{report}");
    let failed = report.pointer("/losses/failed").unwrap().to_string();
    assert!(failed.contains("refused"), "{failed}");
    let faults = report["faults"].to_string();
    assert!(
        faults.contains(&format!("subscribing at {nobody}: ")) && faults.contains("fanwheel serve"),
        "{faults}"
    );
    assert_eq!(report.pointer("/opened/kernel_bytes_each"), Some(&Value::Null), "{report}");
}

#[test]
fn a_wrong_address_of_subscriptions_ends_the_run_with_the_server_s_words() {
    let server = Launch::workers(1).start();
    let since = std::time::Instant::now();
    let mut command = Command::new(program());
    command.args(["load", "--json", "--patience-seconds", "60", "--subscribers", "5"]);
    command.arg(format!("--subscribe-url=http://{}/nowhere", server.public));
    let (code, report, words) = read(&command.output().unwrap());
    assert!(since.elapsed().as_secs() < 10, "{:?}", since.elapsed());
    assert_eq!(code, Some(1), "{report} {words}");
    let faults = report["faults"].to_string();
    assert!(faults.contains("refused with 404: There is nothing at this path"), "{faults}");
}

#[test]
fn a_publisher_that_nobody_answers_ends_every_part_and_is_said() {
    let (server, nobody) = (Launch::workers(1).start(), free_port());
    let flags =
        "--subscribers 4 --rate 20000 --batch 64 --seconds 30 --reconnect-percent 50 --patience-seconds 60";
    let since = std::time::Instant::now();
    let (code, report, _) = load(server.public, nobody, flags);
    assert!(since.elapsed().as_secs() < 10, "{:?}", since.elapsed());
    assert_eq!(code, Some(1));
    let faults = report["faults"].to_string();
    assert!(faults.contains(&format!("publishing to {nobody}: ")) && faults.contains("refused"), "{faults}");
}

#[test]
fn a_server_that_refuses_ends_the_run_at_once_with_its_own_words() {
    let server = Launch::workers(1).start();
    // The public listener takes no publishes.
    for flags in ["--events 5", "--events 5 --rate 100", "--warm-up 5 --events 5 --reconnect-percent 50"] {
        let since = std::time::Instant::now();
        let mut command = Command::new(program());
        command.args(["load", "--json", "--patience-seconds", "60", "--subscribers", "5"]);
        command.arg(format!("--subscribe-url=http://{}/events?topic={{topic}}", server.public));
        command.arg(format!("--publish-url=http://{}/publish?topic={{topic}}", server.public));
        command.args(flags.split_whitespace());
        let (code, report, words) = read(&command.output().unwrap());
        assert!(since.elapsed().as_secs() < 10, "{flags}: {:?}", since.elapsed());
        assert_eq!(code, Some(1), "{flags}: {report} {words}");
        let faults = report["faults"].to_string();
        let expected = format!("publishing to {}: refused with 403: ", server.public);
        assert!(faults.contains(&expected) && faults.contains("control"), "{flags}: {faults}");
        assert_eq!((&report["delivered"], number(&report, "/losses/lost")), (&Value::Null, 0), "{flags}");
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused_in_one_line() {
    let nobody = free_port();
    let rows = [
        ("--rate 0", 2, "--rate"),
        ("--conflated --window 4", 2, "--rate"),
        ("--publishers 18446744073709551615", 2, "--publishers"),
        ("--topics 18446744073709551615", 2, "--topics"),
        ("--bytes 18446744073709551615", 2, "--bytes"),
        ("--seconds 18446744073709551615", 2, "--seconds"),
        ("--stall-percent 101", 2, "--stall-percent"),
        ("--topic-prefix a/b", 2, "--topic-prefix"),
        ("--subscribers 30000000", 1, "30000000"),
    ];
    for (flags, wanted, words) in rows {
        let (code, _, said) = load(nobody, nobody, flags);
        assert_eq!(code, Some(wanted), "{flags}: {said}");
        assert!(said.contains(words) && said.lines().count() == 1, "{flags}: {said}");
    }
}

#[test]
fn an_interrupted_run_still_tells_what_it_has() {
    let server = Launch::workers(1).start();
    let flags = "--subscribers 20 --rate 50 --seconds 60";
    let child =
        command(server.public, server.control, flags).stdout(std::process::Stdio::piped()).spawn().unwrap();
    thread::sleep(std::time::Duration::from_millis(1_500));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (code, report, _) = read(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(1));
    assert_eq!(report.pointer("/interrupted"), Some(&Value::Bool(true)), "{report}");
    assert!(number(&report, "/delivered/deliveries") > 100, "{report}");
}

/// The lie of a faulty server about the n-th event for each subscriber, from 1 on.
type Lie = fn(u64, &str) -> String;

/// A small server for any topic, one thread a connection, that passes every event through a lie.
fn liar(lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let subscribers: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let count = Arc::new(Mutex::new(0_u64));
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let (subscribers, count) = (subscribers.clone(), count.clone());
            thread::spawn(move || serve(connection, &subscribers, &count, lie));
        }
    });
    address
}

fn serve(mut connection: TcpStream, subscribers: &Mutex<Vec<TcpStream>>, count: &Mutex<u64>, lie: Lie) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let publishes = line.starts_with("POST");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        if !publishes {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n:ok\n";
            connection.write_all(head.as_bytes()).unwrap();
            subscribers.lock().unwrap().push(connection.try_clone().unwrap());
            continue;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut count = count.lock().unwrap();
        *count += 1;
        let frame = lie(*count, std::str::from_utf8(&body).unwrap());
        for subscriber in subscribers.lock().unwrap().iter_mut() {
            let _ = subscriber.write_all(frame.as_bytes());
        }
        drop(count);
        connection.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
}

#[test]
fn a_server_that_lies_is_found_out() {
    type Row = (&'static str, Lie, [(&'static str, u64); 4]);
    let rows: [Row; 5] = [
        (
            "honest",
            |_, data| format!("data: {data}\n\n"),
            [("lost", 0), ("repeated", 0), ("foreign", 0), ("told", 0)],
        ),
        (
            "drops the fifth and the last",
            |n, data| if n == 5 || n == 20 { String::new() } else { format!("data: {data}\n\n") },
            [("lost", 6), ("repeated", 0), ("foreign", 0), ("told", 0)],
        ),
        (
            "says the seventh twice",
            |n, data| format!("data: {data}\n\n").repeat(1 + usize::from(n == 7)),
            [("lost", 0), ("repeated", 3), ("foreign", 0), ("told", 0)],
        ),
        (
            "makes one up",
            |n, data| {
                if n == 3 { format!("data: hello\n\ndata: {data}\n\n") } else { format!("data: {data}\n\n") }
            },
            [("lost", 0), ("repeated", 0), ("foreign", 3), ("told", 0)],
        ),
        (
            "tells a gap",
            |n, data| match n {
                9 => "event: fanwheel.gap\ndata: {}\n\n".to_owned(),
                _ => format!("data: {data}\n\n"),
            },
            [("lost", 0), ("repeated", 0), ("foreign", 0), ("told", 3)],
        ),
    ];
    for (name, lie, wanted) in rows {
        let server = liar(lie);
        let (code, report, words) = load(server, server, "--subscribers 3 --events 20 --rate 200");
        for (what, count) in wanted {
            assert_eq!(
                number(&report, &format!("/losses/{what}")),
                count,
                "{name}: {what} in {report} {words}"
            );
        }
        assert_eq!(code, Some(i32::from(name != "honest")), "{name}: {report}");
    }
}

/// A server that has kept events by their keys, and forgets to answer a publish when it "restarts".
#[derive(Default)]
struct Forgetful {
    events: Vec<String>,
    keys: Vec<String>,
    streams: Vec<TcpStream>,
}

impl Forgetful {
    /// Takes an event whose key is new. The fifth ends all streams by their framing; connections stay open.
    fn take(&mut self, key: &str, body: &str) -> bool {
        if self.keys.iter().any(|known| known == key) {
            return true;
        }
        if !key.is_empty() {
            self.keys.push(key.to_owned());
        }
        self.events.push(body.to_owned());
        let restarts = self.events.len() == 5;
        let (frame, end) = (chunk(self.events.len(), body), if restarts { "0\r\n\r\n" } else { "" });
        self.streams
            .iter_mut()
            .for_each(|stream| stream.write_all((frame.clone() + end).as_bytes()).unwrap());
        if restarts {
            std::mem::forget(std::mem::take(&mut self.streams));
        }
        !restarts
    }

    fn open(&mut self, mut stream: TcpStream, after: usize) {
        let kept = self.events.iter().enumerate().skip(after);
        let kept: String = kept.map(|(at, body)| chunk(at + 1, body)).collect();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all((head.to_owned() + &kept).as_bytes()).unwrap();
        self.streams.push(stream);
    }
}

fn chunk(id: usize, body: &str) -> String {
    let frame = format!("id: {id}\ndata: {body}\n\n");
    format!("{:x}\r\n{frame}\r\n", frame.len())
}

fn serve_forgetful(connection: TcpStream, state: &Mutex<Forgetful>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            head.push_str(&line);
        }
        let value = |name: &str| {
            let found = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            found.unwrap_or_default().to_owned()
        };
        if head.starts_with("GET") {
            let after = value("Last-Event-ID").parse().unwrap_or(0);
            return state.lock().unwrap().open(connection, after);
        }
        let mut body = vec![0; value("Content-Length").parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        if !state.lock().unwrap().take(&value("Idempotency-Key"), std::str::from_utf8(&body).unwrap()) {
            return;
        }
        (&connection).write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
}

#[test]
fn a_restart_is_a_fault_unless_the_load_is_to_go_through_it() {
    for (more, code, repeated) in [("--through-restarts", 0, 0), ("", 1, 3)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Forgetful::default())));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let state = state.clone();
                thread::spawn(move || serve_forgetful(connection, &state));
            }
        });
        let flags = format!("--subscribers 3 --events 20 --rate 100 {more}");
        let (exit, report, words) = load(address, address, &flags);
        assert_eq!(exit, Some(code), "{flags}: {report} {words}");
        let count = |pointer| number(&report, pointer);
        assert_eq!([count("/losses/lost"), count("/losses/told")], [0, 0], "{flags}: {report}");
        assert_eq!(count("/losses/repeated"), repeated, "{flags}: {report}");
        // Streams that their framing ends have ended, although nobody has closed their connections.
        assert_eq!([count("/losses/ended"), count("/away/count")], [3, 3], "{flags}: {report}");
        assert_eq!(count("/delivered/failed"), 1, "{flags}: {report}");
        assert_eq!(count("/delivered/deliveries"), 60, "{flags}: {report}");
    }
}
