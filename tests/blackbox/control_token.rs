//! The token of the control listener: strangers learn nothing, owners get in, a reload changes it.

use crate::harness::{ConfigFile, Conn, Launch, Response, Server, assert_problem, program, reload};
use std::process::Command;

const TOKEN: &str = "control-token-of-this-test";
const NEXT: &str = "another-token-of-this-test";

/// A server with a token file, and the file.
fn serve(name: &str) -> (Server, ConfigFile) {
    let token = ConfigFile::new(name, &format!("{TOKEN}\n"));
    (Launch::workers(2).set("control_token_file", &token.0).start(), token)
}

fn ask(server: &Server, line: &str, fields: &str) -> Response {
    let mut conn = Conn::open(server.control);
    conn.ask(format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: 1\r\n\r\nx"))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn a_stranger_publishes_reads_and_ends_nothing() {
    let (server, _token) = serve("stranger");
    let lines =
        ["GET /metrics", "GET /status", "GET /", "GET /nowhere", "POST /publish?topic=a", "POST /drain"];
    for line in lines {
        let long = "x".repeat(20_000);
        for fields in [String::new(), bearer("wrong-token-of-this-test"), bearer(""), bearer(&long)] {
            let answer = ask(&server, line, &fields);
            assert_problem(line, &answer, &[401]);
            assert_eq!(answer.json()["error"], "unauthorized", "{line}");
            let challenge = answer.header("www-authenticate").expect("RFC 9110 §15.5.2");
            assert!(challenge.contains("Basic ") && challenge.contains("Bearer "), "{challenge}");
            assert!(!answer.text().contains(TOKEN) && !answer.text().contains("wrong"), "{}", answer.text());
        }
        assert!(ask(&server, line, &bearer(&"x".repeat(60_000))).status == 431, "{line}");
    }
    for line in ["GET /healthz", "GET /readyz"] {
        assert!([200, 503].contains(&ask(&server, line, "").status), "probes have no token: {line}");
    }
    let metrics = ask(&server, "GET /metrics", &bearer(TOKEN));
    assert_eq!(metrics.status, 200);
    for (reason, least) in [("control_token_missing", 6), ("control_token_unknown", 18)] {
        let line = format!("fanwheel_refused_total{{reason=\"{reason}\"}} ");
        let count = metrics.text().lines().find_map(|text| text.strip_prefix(&line)).expect("is counted");
        assert!(count.parse::<u64>().expect("a number") >= least, "{reason}: {count}");
    }
    assert!(!metrics.text().contains(TOKEN) && !server.log().contains(TOKEN));
    let settings = ask(&server, "GET /settings", &bearer(TOKEN));
    assert!(settings.text().contains("control_token_file") && !settings.text().contains(TOKEN));
}

#[test]
fn the_one_shot_clients_bring_the_token_from_a_file() {
    let (server, token) = serve("clients");
    let url = format!("http://{}", server.control);
    let publish = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(program());
        command.args(["publish", "--url", &url]).args(arguments).args(["a", "x"]);
        command.env_remove("FANWHEEL_TOKEN_FILE");
        command.envs(variable.map(|path| ("FANWHEEL_TOKEN_FILE", path)));
        let output = command.output().expect("the program can be run");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(publish(&["--token-file", &token.0], None), (Some(0), String::new()));
    assert_eq!(publish(&[], Some(&token.0)), (Some(0), String::new()));
    let (code, line) = publish(&[], None);
    assert!(code == Some(1) && line.contains("refused with 401"), "{line}");
    let (code, line) = publish(&["--token-file", "/nonexistent"], None);
    assert!(code == Some(2) && line.contains("token file /nonexistent: cannot read it"), "{line}");
}

#[test]
fn a_reload_changes_the_token_and_a_broken_file_keeps_the_old_one() {
    let (server, token) = serve("reload");
    let status = |token: &str| ask(&server, "GET /status", &bearer(token)).status;
    token.write(&format!("{TOKEN}\n{NEXT}\n"));
    reload(&server, "event=reloaded");
    assert_eq!((status(TOKEN), status(NEXT)), (200, 200), "both while it is changed");
    token.write("\n");
    reload(&server, "event=reload_refused");
    assert_eq!((status(TOKEN), status(NEXT)), (200, 200));
    token.write(NEXT);
    reload(&server, "event=reloaded");
    assert_eq!((status(TOKEN), status(NEXT)), (401, 200));
    assert!(!server.log().contains(NEXT));
}

#[test]
fn a_missing_or_empty_file_stops_the_start() {
    let empty = ConfigFile::new("empty-token", "\n");
    for (path, why) in [("/nonexistent/token", "cannot read it"), (empty.0.as_str(), "it is empty")] {
        let (code, lines) = Launch::workers(1).set("control_token_file", path).refuse();
        assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
        assert!(lines[0].contains(path) && lines[0].contains(why), "{lines:?}");
    }
}

#[test]
fn an_open_control_listener_beyond_loopback_is_said_loudly_and_one_with_a_token_is_not() {
    let token = ConfigFile::new("loud", TOKEN);
    let open = Launch::workers(1).set("control", "0.0.0.0:0").start();
    assert!(open.log().contains("event=doubt setting=control"), "{}", open.log());
    let guarded = Launch::workers(1).set("control", "0.0.0.0:0").set("control_token_file", &token.0).start();
    assert!(!guarded.log().contains("event=doubt setting=control"), "{}", guarded.log());
}
