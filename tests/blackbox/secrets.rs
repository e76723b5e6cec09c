//! Secrets of a server and of its clients: no page, answer, log line or report shows one.

use std::process::Command;

use crate::harness::{Application, ConfigFile, Conn, Launch, SOON, Server, poll_until, program, reload};
use crate::tokens::{bearer, token_table};

const CONTROL: &str = "secret-of-the-control-listener";
const READER: &str = "secret-of-the-reader";
const SIGNER: &str = "secret-that-signs-urls-and-is-long-enough";
const ISSUER: &str = "secret-that-signs-tokens-and-is-long-enough";
const SESSION: &str = "secret-of-a-session";
const FORGED: &str = "secret.of-a-forged.token";
const IN_QUERY: &str = "secret-in-a-query";
/// Stands in every secret, and nowhere else.
const MARK: &str = "secret-";

const PAGES: [&str; 8] = [
    "/metrics",
    "/status",
    "/",
    "/topics",
    "/connections?info=1",
    "/settings",
    "/healthz",
    "/nowhere?token=secret-in-a-query",
];

fn assert_keeps(what: &str, text: &str) {
    for secret in [MARK, FORGED] {
        let at = text.find(secret);
        assert!(at.is_none(), "{what}: {}", &text[at.unwrap_or(0).saturating_sub(200)..]);
    }
}

fn printed(arguments: &[&str]) -> String {
    let output = Command::new(program()).args(arguments).output().expect("the program can be run");
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

fn ask(server: &Server, line: &str, fields: &str) -> String {
    let host = format!("Host: {}\r\n", server.public);
    let answer = Conn::open(server.public).ask(format!("{line} HTTP/1.1\r\n{host}{fields}\r\n"));
    assert_ne!(answer.status, 200, "{line}");
    answer.text().to_owned()
}

#[test]
fn no_page_answer_log_or_report_shows_a_secret() {
    let [control, signer, issuer] = [("control", CONTROL), ("signer", SIGNER), ("issuer", ISSUER)]
        .map(|(name, secret)| ConfigFile::new(&format!("kept-{name}"), &format!("{secret}\n")));
    let application =
        Application::start(|question| match question.has_cookie(&format!("session={SESSION}")) {
            true => "200 OK\r\nCache-Control: max-age=60\r\n\r\n".to_owned(),
            false => "500 No\r\n\r\n".to_owned(),
        });
    let settings = format!(
        "subscribe = 'token'\nlog_level = 'debug'\ntoken_cookie = 'session'\njwt_algorithm = 'HS256'\n\
         control_token_file = '{}'\nsigning_key_file = '{}'\njwt_key_file = '{}'\nauthorize_url = '{}'\n{}",
        control.0,
        signer.0,
        issuer.0,
        application.url("/may?key=secret-of-the-application"),
        token_table("reader", READER, "subscribe = ['**']")
    );
    let file = ConfigFile::new("kept", &settings);
    let server = Launch::workers(2).set("config", &file.0).start();
    let signed = printed(&["token", "url", "--config", &file.0, "--topic", "signed"]);
    let (_, query) = signed.trim().split_once('?').expect("a URL with a query");
    let signature = query.split("signature=").nth(1).expect("it is signed").to_owned();
    let streams = [
        server.subscribe_with("topic=a", &bearer(READER)),
        server.subscribe_with("topic=b", &format!("Cookie: session={SESSION}\r\n")),
        server.subscribe_with(query, ""),
    ];
    let mut seen = vec![
        ask(&server, "GET /events?topic=a", &bearer(FORGED)),
        ask(&server, "GET /events?topic=a", "Cookie: session=secret-of-nobody\r\n"),
        ask(&server, &format!("GET /events?topic=a&token={IN_QUERY}"), ""),
        ask(&server, "GET /events?topic=a&expires=1&signature=secret-signature", ""),
        ask(&server, &format!("GET /events?token={IN_QUERY}"), &bearer(READER)),
        ask(&server, &format!("POST /publish?topic=a&token={IN_QUERY}"), "Content-Length: 0\r\n"),
        ask(&server, &format!("GET /{IN_QUERY} or"), &bearer(READER)),
    ];
    for page in PAGES {
        let head = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", bearer(CONTROL));
        let answer = Conn::open(server.control).ask(head);
        assert!(page.starts_with("/nowhere") || answer.status == 200, "{page}: {}", answer.status);
        seen.push(answer.text().to_owned());
    }
    control.write("secret- with a broken line\n");
    reload(&server, "event=credentials_refused");
    let credential = format!("@{}", signer.0);
    seen.extend([
        printed(&["config", "--config", &file.0]),
        printed(&["config", "--config", &file.0, "--json"]),
        printed(&["config", "--config", &file.0, "--explain", &credential, "--topic", "a"]),
        printed(&["token", "explain", "--config", &file.0, "--token-file", &signer.0]),
        printed(&["serve", "--config", &file.0]),
    ]);
    let told = poll_until(SOON, || server.log().contains("status=503 reason=authorize_failed").then_some(()));
    assert!(told.is_some(), "the debug log tells refusals: {}", server.log());
    seen.push(server.log());
    for text in &seen {
        assert_keeps("an output", text);
        assert!(!text.contains(&signature), "a signature: {text}");
    }
    drop(streams);
}
