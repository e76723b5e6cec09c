//! `fanwheel doctor` as its users meet it: this host in both forms, limits of this shell and of a running
//! server, a stream without a proxy, and addresses where nobody or somebody else answers. What it says of
//! proxies is looked at in `tests/proxies`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::thread;

use serde_json::Value;

use crate::harness::{Launch, SOON, free_port, program};

/// Exit code, standard output, standard error.
type Said = (Option<i32>, String, String);

fn read(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn doctor(flags: &str) -> Said {
    read(&Command::new(program()).arg("doctor").args(flags.split_whitespace()).output().unwrap())
}

fn report(said: &Said) -> Value {
    serde_json::from_str(&said.1).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// A field of the finding of that key.
fn of<'a>(report: &'a Value, key: &str, field: &str) -> &'a str {
    let findings = report["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["key"] == key);
    finding.and_then(|finding| finding[field].as_str()).unwrap_or_else(|| panic!("no {key} in {report}"))
}

fn way(public: SocketAddr, control: SocketAddr, flags: &str) -> Said {
    let url = format!("--url http://{public}/events?topic=news --publish-url http://{control}");
    doctor(&format!("--json {url} --idle-seconds 1 {flags}"))
}

#[test]
fn this_host_is_told_for_people_and_for_scripts() {
    let said = doctor("--json --connections 1000");
    let report = report(&said);
    assert_eq!(said.0, Some(i32::from(report["fine"] != true)), "{said:?}");
    assert_eq!(report["connections"], 1_000);
    let (_, text, _) = doctor("--connections 1000");
    for finding in report["findings"].as_array().unwrap() {
        let key = finding["key"].as_str().unwrap();
        assert!(text.contains(key), "{key} is not in\n{text}");
        if finding["verdict"] == "bad" {
            assert!(!finding["fix"].as_array().unwrap().is_empty() && finding["why"] != "", "{finding}");
        }
    }
    assert!(text.contains("net.core.somaxconn") && text.contains("nofile"), "{text}");
}

#[test]
fn the_limit_that_counts_is_this_shells_or_that_of_the_server_named() {
    let words = format!("ulimit -n 300; exec {} doctor --json --connections 1000 --workers 4", program());
    let said = read(&Command::new("sh").args(["-c", &words]).output().unwrap());
    let few = report(&said);
    assert_eq!((said.0, of(&few, "nofile", "verdict")), (Some(1), "bad"), "{few}");
    assert_eq!((of(&few, "nofile", "found"), of(&few, "nofile", "needed")), ("300, this shell", "570"));

    let server = Launch::workers(1).through(&["sh", "-c", "ulimit -n 700; exec \"$@\"", "sh"]).start();
    let named = report(&doctor(&format!("--json --connections 380 --workers 1 --pid {}", server.pid())));
    assert_eq!(of(&named, "nofile", "verdict"), "ok", "{named}");
    assert_eq!(of(&named, "nofile", "found"), format!("700, process {}", server.pid()));
}

#[test]
fn a_way_without_a_proxy_has_no_fault() {
    let server = Launch::workers(2).set("heartbeat_ms", 300).start();
    let said = way(server.public, server.control, "--origin https://page.example");
    let report = report(&said);
    assert_eq!(said.0, Some(0), "{report}");
    assert_eq!(of(&report, "events one by one", "verdict"), "ok", "{report}");
    assert!(of(&report, "quiet stream", "found").contains("heartbeats"), "{report}");
    assert_eq!(of(&report, "Last-Event-ID, header", "verdict"), "ok", "{report}");
    assert_eq!(of(&report, "proxies", "found"), "none that names itself");
    assert!(of(&report, "clients that leave", "found").starts_with("freed within "), "{report}");
    server.await_metric("no stream left", SOON, |metrics| metrics.get("subscribers") == 0);
}

#[test]
fn what_the_settings_do_is_not_taken_for_a_proxys_fault() {
    let server = Launch::workers(1).set("max_connection_ms", 700).set("heartbeat_ms", 200);
    let server = server.set("cors_origins", "https://page.example").start();
    let said = way(server.public, server.control, "");
    let report = report(&said);
    assert_eq!(said.0, Some(0), "{report}");
    assert!(of(&report, "quiet stream", "found").starts_with("ended in order after 0."), "{report}");
    let events = of(&report, "events one by one", "found");
    assert!(events.contains("until the stream ended in order after 0."), "{report}");
    assert_eq!(of(&report, "CORS, stream", "verdict"), "note", "{report}");
    let chosen = way(server.public, server.control, "--origin https://other.example");
    assert_eq!(chosen.0, Some(1), "{chosen:?}");
}

#[test]
fn publishing_to_another_server_is_noticed() {
    let (server, other) = (Launch::workers(1).start(), Launch::workers(1).start());
    let said = way(server.public, other.control, "");
    let report = report(&said);
    assert_eq!(said.0, Some(0), "{report}");
    assert_eq!(of(&report, "events one by one", "verdict"), "note");
    assert!(of(&report, "events one by one", "why").contains("is it another one"), "{report}");
    // An old id is told a gap, so the position is seen to arrive all the same.
    assert_eq!(of(&report, "last_event_id, query", "verdict"), "ok", "{report}");
}

#[test]
fn publishing_takes_the_listeners_address_and_the_whole_one() {
    let server = Launch::workers(1).set("heartbeat_ms", 300).start();
    let url = format!("--json --idle-seconds 1 --url http://{}/events", server.public);
    for ending in ["", "/", "/publish", "/publish?topic=x&event=y"] {
        let said = doctor(&format!("{url} --publish-url http://{}{ending}", server.control));
        let report = report(&said);
        assert_eq!(of(&report, "events one by one", "verdict"), "ok", "{ending}: {report}");
    }
}

/// Answers every request so, on an address of its own.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn a_refused_publish_says_what_was_asked_and_what_to_write_instead() {
    let server = Launch::workers(1).set("heartbeat_ms", 300).start();
    let guard = answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let page = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    let (nobody, public, control) = (free_port(), server.public, server.control);
    let rows = [
        (format!("http://{control}/events"), "/events/publish was answered with 404", "before /publish"),
        (format!("http://{guard}"), "/publish was answered with 401: Unauthorized", "no credentials"),
        (format!("http://{public}/publish"), "with 403: Publishing here needs", "let nobody publish"),
        (format!("http://{page}"), "/publish was answered without an id", "setting `control`"),
        (format!("http://{nobody}"), "/publish was not answered: Connection refused", "ssh -L"),
    ];
    for (address, reason, remedy) in rows {
        let flags = format!("--json --idle-seconds 1 --url http://{public}/ --publish-url {address}");
        let said = doctor(&flags);
        let report = report(&said);
        let key = "events one by one";
        assert_eq!((said.0, of(&report, key, "verdict")), (Some(0), "note"), "{address}: {report}");
        let why = of(&report, key, "why");
        assert!(why.contains("nothing could be published: POST http://") && why.contains(reason), "{why}");
        let finding = report["findings"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap();
        let fix = finding["fix"][0].as_str().unwrap();
        assert!(fix.contains(remedy) && fix.contains("--publish-url http://127.0.0.1:8081"), "{fix}");
    }
}

#[test]
fn a_refused_stream_is_told_in_the_servers_own_words() {
    let server = Launch::workers(1).start();
    let chunked =
        "HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno \r\n4\r\nhost\r\n0\r\n\r\n";
    let json = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n\
        {\"error\":\"a\",\"message\":\"No such token.\"}";
    let rows = [
        (format!("http://{}/else", server.public), "status 404", "streams are at /events?topic=NAME"),
        (format!("http://{}/", answering(chunked)), "status 502", ": no host"),
        (format!("http://{}/", answering(json)), "status 403", ": No such token."),
    ];
    for (address, status, words) in rows {
        let said = doctor(&format!("--json --idle-seconds 1 --url {address}"));
        let found = of(&report(&said), "answer", "found").to_owned();
        assert!(said.0 == Some(1) && found.contains(status) && found.contains(words), "{address}: {found}");
    }
}

#[test]
fn an_answer_of_somebody_else_cannot_command_the_terminal() {
    let address = answering("HTTP/1.1 200 OK\r\nContent-Type: a\u{9b}31mb\r\n\r\nhello");
    let (code, text, _) = doctor(&format!("--url http://{address}/"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("a\\x9b31mb") && !text.contains('\u{9b}'), "{text}");
}

#[test]
fn what_closes_or_says_nothing_is_told_as_that() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let rows = [
        (answering("SSH-2.0-OpenSSH\r\n"), "none: closed after "),
        (answering(""), "none: closed after "),
        (silent.local_addr().unwrap(), "none within 5000 ms, not even to a preflight"),
    ];
    for (address, found) in rows {
        let said = way(address, free_port(), "");
        let report = report(&said);
        assert!(of(&report, "answer", "found").starts_with(found), "{report}");
        assert_eq!(said.0, Some(1), "{report}");
    }
}

#[test]
fn mistakes_and_silence_are_one_line() {
    let (nobody, server) = (free_port(), Launch::workers(1).start());
    let plain = server.public;
    let rows = [
        (format!("--url http://{nobody}/events?topic=a"), 1, "no stream from 127.0.0.1"),
        (format!("--url https://{nobody}/events --ca-file /nonexistent"), 1, "/nonexistent"),
        ("--url ftp://a/".to_owned(), 2, "must be http(s)://"),
        ("--url http://127.0.0.1:80800/".to_owned(), 2, "must be http(s)://"),
        ("--url http://a/ --publish-url ftp://a/".to_owned(), 2, "--publish-url"),
        ("--url http://a/ --idle-seconds 0".to_owned(), 2, "--idle-seconds"),
        ("--connections 0".to_owned(), 2, "--connections"),
        ("--connections lots".to_owned(), 2, "must be a whole number from 1 to 1000000000"),
        ("--connections -5".to_owned(), 2, "must be a whole number from 1 to"),
        ("--connections 99999999999999999999".to_owned(), 2, "must be a whole number from 1 to"),
        ("--pid x".to_owned(), 2, "must be a whole number from 1 to 4294967295"),
        ("--connections 5 --url http://a/".to_owned(), 2, "cannot be used with"),
        ("--idle-seconds 5".to_owned(), 2, "--url"),
        ("--workers 65".to_owned(), 2, "must be a whole number from 1 to 64"),
        (format!("--url https://{plain}/events"), 1, "is it http:// rather than https://?"),
        ("--pid 4194305".to_owned(), 1, "there is no such process"),
        ("--conections 5".to_owned(), 2, "unknown argument --conections"),
    ];
    for (flags, expected, words) in rows {
        let (code, text, line) = doctor(&flags);
        assert_eq!((code, &text[..], line.lines().count()), (Some(expected), "", 1), "{flags}: {line}");
        assert!(line.contains(words), "{flags}: {line}");
    }
}
