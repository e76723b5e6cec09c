//! Signed URLs: what they let in and until when, how streams end with them, and the programs of the documents
//! that sign.

use crate::harness::{ConfigFile, Conn, Finish, Item, Launch, Response, Server, assert_problem, ms, program};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A server that asks every subscriber for a credential, with its key.
fn serve(name: &str, more: &str) -> (Server, ConfigFile, ConfigFile) {
    let key = ConfigFile::new(&format!("{name}-key"), &format!("{KEY}\n"));
    let text = format!("subscribe = 'token'\nsigning_key_file = '{}'\n{more}", key.0);
    let file = ConfigFile::new(name, &text);
    (Launch::workers(2).set("config", &file.0).start(), file, key)
}

/// A path that the program signs.
fn signed(file: &ConfigFile, arguments: &[&str]) -> String {
    let output = Command::new(program()).args(["token", "url", "--config", &file.0]).args(arguments).output();
    let output = output.expect("the program can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn get(server: &Server, path: &str) -> Response {
    let mut conn = Conn::open(server.public);
    conn.ask(format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.public))
}

fn query(path: &str) -> &str {
    path.split_once('?').expect("a query").1
}

#[test]
fn a_signed_url_opens_what_was_signed_and_nothing_else() {
    let (server, file, _key) = serve("signed", "");
    let path = signed(&file, &["--topic", "orders.7", "--topic", "a b/ä&="]);
    let mut stream = server.subscribe(query(&path));
    server.publish("a b/ä&=", "x");
    assert_eq!(stream.event().data, "x");
    // Another order, other escapes, and what clients add.
    let mut pairs: Vec<&str> = query(&path).split('&').collect();
    pairs.reverse();
    let reversed = pairs.join("&").replace("%20", "+").replace("orders.7", "orders%2e7");
    let mut stream = server.subscribe(&format!("{reversed}&prime=0&clock=0&last_event_id="));
    server.publish("orders.7", "y");
    assert_eq!(stream.event().data, "y");
    let refused = [
        path.replace("orders.7", "orders.8"),
        path.replace("orders.7", "orders%252e7"),
        format!("{path}&topic=more"),
        format!("{path}&last=5"),
        path.replace("expires=1", "expires=2"),
        path.replace("signature=", "signature=A"),
        path[..path.len() - 1].to_owned(),
        path.split_once("&signature").expect("signed").0.to_owned(),
        signed(&file, &["--topic", "orders.7"]).replace("/events", "/events/"),
    ];
    for path in &refused {
        assert_problem(path, &get(&server, path), &[401, 404]);
    }
    let counted = server.metrics();
    let reasons = ["token_unknown", "token_missing"].map(|reason| counted.labelled("refused", reason));
    assert_eq!(reasons, [7, 1], "{}", counted.shown());
    assert!(!server.log().contains(KEY) && !counted.0.contains(KEY));
}

#[test]
fn a_stream_ends_in_order_with_its_url_which_then_opens_nothing() {
    let (server, file, _key) = serve("ends", "max_idle_ms = 60000\n");
    let path = signed(&file, &["--topic", "a", "--expires-seconds", "2"]);
    let begun = Instant::now();
    let mut stream = server.subscribe(query(&path));
    let mut retry = None;
    let end = loop {
        // Events keep it from being idle, and must not keep it open.
        server.publish("a", "x");
        match stream.try_next(ms(200)) {
            Some(Item::Retry(ms)) => retry = Some(ms),
            Some(Item::End(end)) => break end,
            _ => {}
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "still open");
    };
    assert!(end == Finish::Clean && retry.is_some(), "{end:?}");
    assert!((ms(900)..ms(4_000)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_problem("an expired URL", &get(&server, &path), &[401]);
    let counted = server.metrics();
    let counts = [counted.labelled("closed", "token_expired"), counted.labelled("refused", "token_expired")];
    assert_eq!(counts, [1, 1], "{}", counted.shown());
}

#[test]
fn keys_are_changed_one_after_the_other() {
    let (server, file, key) = serve("rotated", "");
    let old = signed(&file, &["--topic", "a"]);
    key.write(&format!("another-key-of-thirty-two-bytes-or-more\n{KEY}\n"));
    crate::harness::reload(&server, "event=reloaded");
    let new = signed(&file, &["--topic", "a"]);
    assert_ne!(old.rsplit('=').next(), new.rsplit('=').next());
    drop([server.subscribe(query(&old)), server.subscribe(query(&new))]);
    key.write("another-key-of-thirty-two-bytes-or-more\n");
    crate::harness::reload(&server, "event=reloaded");
    assert_problem("the old key", &get(&server, &old), &[401]);
    drop(server.subscribe(query(&new)));
}

/// The first block of a language in the page about credentials.
fn documented(language: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/credentials.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let begin = page.find(&format!("```{language}\n")).expect("a block of the language") + language.len() + 4;
    let length = page[begin..].find("```").expect("the block ends");
    page[begin..begin + length].to_owned()
}

#[test]
fn the_programs_of_the_documents_sign_urls_that_are_taken() {
    let (server, _file, _key) = serve("documents", "");
    for (language, program, ending) in [("python", "python3", "py"), ("js", "node", "mjs")] {
        let folder = format!("{}/sign-{language}-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        std::fs::create_dir_all(&folder).expect("a scratch folder");
        let script = format!("{folder}/sign.{ending}");
        std::fs::write(&script, documented(language)).expect("the folder takes files");
        std::fs::write(format!("{folder}/signing-key"), format!("{KEY}\n")).expect("the folder takes files");
        let output = match Command::new(program).arg(&script).current_dir(&folder).output() {
            Ok(output) => output,
            Err(error) => {
                println!("skipped: {program}: {error}");
                continue;
            }
        };
        assert!(output.status.success(), "{language}: {}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout).expect("text").trim().to_owned();
        let mut stream = server.subscribe(query(&path));
        server.publish("orders.7", language);
        assert_eq!(stream.event().data, language);
        let _ = std::fs::remove_dir_all(&folder);
    }
}
