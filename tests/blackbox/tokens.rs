//! Tokens of the public listener: publishers and subscribers with and without them, cookies, reloads, and the
//! subcommands that make and explain them.

use crate::harness::{
    ConfigFile, Conn, Finish, Launch, Response, SOON, Server, assert_problem, ms, poll_until, program,
    reload, with_1_and_4_workers,
};
use std::io::Write;
use std::process::{Command, Output, Stdio};

const READER: &str = "token-of-the-reader";
const WRITER: &str = "token-of-the-writer";

/// Runs the program with text on its standard input.
fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("our own child")
}

fn printed(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn token_table(name: &str, token: &str, grants: &str) -> String {
    let hash = printed(&["token", "hash"], token);
    format!("[[token]]\nname = '{name}'\nhash = '{}'\n{grants}\n", hash.trim())
}

/// A configuration in which `secret.**` asks subscribers for a token.
fn configuration() -> String {
    let class =
        "token_cookie = 'session'\n[[class]]\nname = 'secret'\ntopics = ['secret.**']\nsubscribe = 'token'\n";
    let reader = token_table("reader", READER, "subscribe = ['secret.a', 'secret.b.*']");
    let writer = token_table("writer", WRITER, "publish = ['news.**', 'secret.a']");
    format!("{class}{reader}{writer}")
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

pub(crate) fn ask(server: &Server, line: &str, fields: &str, body: &str) -> Response {
    let length = format!("Content-Length: {}\r\n", body.len());
    let length = if line.starts_with("POST") { length.as_str() } else { "" };
    let mut conn = Conn::open(server.public);
    conn.ask(format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}{length}\r\n{body}", server.public))
}

#[test]
fn publishers_on_the_public_listener_need_a_token_that_opens_the_topic() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(&format!("publishers-{workers}"), &configuration());
        let server = Launch::workers(workers).set("config", &file.0).start();
        let mut stream = server.subscribe("topic=news.eu");
        let publish =
            |fields: &str, query: &str| ask(&server, &format!("POST /publish?{query}"), fields, "x");
        assert_eq!(publish(&bearer(WRITER), "topic=news.eu").status, 202);
        assert_eq!(stream.event().data, "x");
        let refused = [
            (String::new(), "topic=news.eu", 401),
            (bearer("token-of-the-writeR"), "topic=news.eu", 401),
            (bearer(READER), "topic=news.eu", 403),
            (bearer(WRITER), "topic=other", 403),
            (bearer(WRITER), "topic=news.eu&topic=other", 403),
            (format!("Cookie: session={WRITER}\r\nOrigin: https://evil.test\r\n"), "topic=news.eu", 403),
            ("Authorization: Basic eDp0b2tlbi1vZi10aGUtd3JpdGVy\r\n".to_owned(), "topic=news.eu", 401),
            (String::new(), &format!("topic=news.eu&token={WRITER}"), 401),
        ];
        for (fields, query, status) in &refused {
            let answer = publish(fields, query);
            assert_problem(&format!("{fields:?} {query}"), &answer, &[*status]);
            assert_eq!(answer.header("www-authenticate").is_some(), *status == 401);
            assert!(!answer.text().contains(WRITER), "{}", answer.text());
        }
        let cookie = format!("Cookie: session={WRITER}\r\nOrigin: http://{}\r\n", server.public);
        assert_eq!(publish(&cookie, "topic=news.eu").status, 202);
        assert_eq!(stream.event().data, "x", "none of the refused came in between");
        let metrics = server.metrics();
        for (reason, count) in
            [("token_missing", 3), ("token_unknown", 1), ("topic_not_granted", 3), ("origin_not_allowed", 1)]
        {
            assert_eq!(metrics.labelled("refused", reason), count, "{reason}: {}", metrics.shown());
        }
        assert!(!metrics.0.contains(WRITER) && !server.log().contains(WRITER));
        assert!(!server.get("/settings").text().contains("sha256"), "not even a hash");
    });
}

#[test]
fn a_batch_is_published_whole_or_not_at_all() {
    let file = ConfigFile::new("token-batch", &configuration());
    let server = Launch::workers(1).set("config", &file.0).start();
    let mut stream = server.subscribe("topic=news.a&topic=other");
    let batch = |lines: &str, fields: &str| ask(&server, "POST /publish/batch", fields, lines);
    let mixed = "{\"topic\":\"news.a\",\"data\":\"1\"}\n{\"topic\":[\"news.b\",\"other\"],\"data\":\"2\"}\n";
    assert_problem("mixed", &batch(mixed, &bearer(WRITER)), &[403]);
    assert_problem("bad line of a stranger", &batch("{", ""), &[401]);
    assert_eq!(batch("{\"topic\":\"news.a\",\"data\":\"3\"}\n", &bearer(WRITER)).status, 202);
    assert_eq!(stream.event().data, "3");
    // A body that comes in pieces is held against the token of its head.
    let mut conn = Conn::open(server.public);
    let head = format!(
        "POST /publish/batch HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        bearer(WRITER)
    );
    conn.send_pieces(head.as_bytes(), 7);
    let line = "{\"topic\":\"other\",\"data\":\"4\"}";
    conn.send_pieces(format!("{:x}\r\n{line}\r\n0\r\n\r\n", line.len()).as_bytes(), 5);
    assert_problem("chunked", &conn.answer(ms(5_000)).expect("an answer"), &[403]);
    assert!(!server.publish("other", "5").is_empty(), "the control listener needs none");
    assert_eq!(stream.event().data, "5");
}

#[test]
fn subscribers_need_a_token_where_a_class_asks_for_one() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(&format!("subscribers-{workers}"), &configuration());
        let server = Launch::workers(workers).set("config", &file.0).start();
        let get = |query: &str, fields: &str| ask(&server, &format!("GET /events?{query}"), fields, "");
        let browser = "Accept: text/event-stream\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0\r\n";
        let refused = [
            ("topic=secret.a", String::new(), 401),
            ("topic=secret.a", browser.to_owned(), 401),
            ("topic=news&topic=secret.a", String::new(), 401),
            ("topic=secret.a", bearer("token-of-the-readeR"), 401),
            ("topic=secret.b", bearer(READER), 403),
            ("topic=secret.a&topic=secret.c", bearer(READER), 403),
            ("topic=secret.a", bearer(WRITER), 403),
            ("topic=secret%2ea", String::new(), 401),
        ];
        for (query, fields, status) in &refused {
            assert_problem(&format!("{query} {fields:?}"), &get(query, fields), &[*status]);
        }
        let head = ask(&server, "HEAD /events?topic=secret.a", "", "");
        assert_eq!(head.status, 401, "a HEAD tells no more");
        let mut streams = [
            server.subscribe_with("topic=secret.a", &bearer(READER)),
            server.subscribe_with("topic=secret.a&topic=secret.b.x&topic=news", &bearer(READER)),
            server.subscribe_with("topic=secret.a", &format!("Cookie: session={READER}\r\n")),
        ];
        server.publish("secret.a", "told");
        for stream in &mut streams {
            assert_eq!(stream.event().data, "told");
        }
        assert_eq!(server.metrics().labelled("refused", "token_missing"), 5);
    });
}

#[test]
fn a_reload_changes_tokens_and_classes_and_keeps_open_streams() {
    let file = ConfigFile::new("token-reload", "");
    let server = Launch::workers(2).set("config", &file.0).start();
    let publish = || ask(&server, "POST /publish?topic=news.eu", &bearer(WRITER), "x");
    assert_eq!(publish().json()["error"], "publish_not_allowed");
    let mut open = server.subscribe("topic=secret.a");
    file.write(&configuration());
    reload(&server, "event=reloaded setting=token tokens=2");
    assert_eq!(publish().status, 202);
    assert_eq!(ask(&server, "GET /events?topic=secret.a", "", "").status, 401);
    server.publish("secret.a", "still");
    assert_eq!(open.event().data, "still", "a stream that was open stays");
    file.write(&configuration().replace("sha256:", "sha256:0"));
    reload(&server, "event=reload_refused");
    assert_eq!(publish().status, 202);
    file.write("");
    reload(&server, "event=reloaded setting=token tokens=0");
    assert_eq!(publish().json()["error"], "publish_not_allowed");
    assert!(poll_until(ms(5_000), || server.log().contains("event=reload_refused").then_some(())).is_some());
}

#[test]
fn a_token_that_is_taken_back_ends_its_streams_and_no_others() {
    with_1_and_4_workers(|workers| {
        let file = ConfigFile::new(&format!("revoked-{workers}"), &configuration());
        let server = Launch::workers(workers).set("config", &file.0).start();
        let mut revoked: Vec<_> =
            (0..6).map(|_| server.subscribe_with("topic=secret.a", &bearer(READER))).collect();
        let mut open = server.subscribe("topic=news");
        // The same name with another token, and the same token with another grant.
        file.write(&configuration().replace("subscribe = ['secret.a', ", "subscribe = ["));
        reload(&server, "event=reloaded setting=token tokens=2");
        for stream in &mut revoked {
            assert_eq!(stream.read_to_end(SOON).1, Finish::Clean, "a clean end");
        }
        let again = ask(&server, "GET /events?topic=secret.a", &bearer(READER), "");
        assert_eq!(again.json()["error"], "topic_not_granted");
        let mut kept = server.subscribe_with("topic=secret.b.x", &bearer(READER));
        file.write(&format!("{}\n", configuration().replace("subscribe = ['secret.a', ", "subscribe = [")));
        server.signal("HUP");
        server.publish("secret.b.x", "still");
        server.publish("news", "too");
        assert_eq!((kept.event().data, open.event().data), ("still".into(), "too".into()));
        assert_eq!(server.metrics().labelled("closed", "token_expired"), 6);
    });
}

#[test]
fn settings_that_let_nobody_in_stop_the_start() {
    let class = "[[class]]\nname = 'a'\ntopics = ['a']\nsubscribe = 'token'\n";
    let rows = [
        ("nobody", "subscribe = 'token'\n".to_owned(), "lets nobody in, because there is no credential"),
        ("nobody-class", class.to_owned(), "class a: subscribe = token lets nobody in"),
        ("profile", format!("profile = 'broadcast-benchmark'\n{class}"), "lets everybody subscribe"),
        ("cookie", "token_cookie = 'a b'\n".to_owned(), "token_cookie = a b is not allowed"),
        (
            "hash",
            "[[token]]\nname = 'a'\nhash = 'my-secret'\npublish = 'a'\n".to_owned(),
            "hash must be sha256:",
        ),
    ];
    for (name, text, why) in rows {
        let file = ConfigFile::new(name, &text);
        let (code, lines) = Launch::workers(1).set("config", &file.0).refuse();
        assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
        assert!(lines[0].contains(why) && !lines[0].contains("my-secret"), "{lines:?}");
    }
}

#[test]
fn a_new_token_works_and_is_explained() {
    let scratch = ConfigFile::new("made", "");
    let out = scratch.0.replace(".toml", ".token");
    let _ = std::fs::remove_file(&out);
    let make = ["token", "new", "--name", "app", "--publish", "news.**", "--out", &out];
    let table = printed(&make, "");
    scratch.write(&format!("subscribe = 'token'\n{table}"));
    let token = std::fs::read_to_string(&out).expect("it is written");
    assert!(!table.contains(token.trim()), "{table}");
    let again = run(&make, "");
    assert_eq!(again.status.code(), Some(1), "a token that is there stays");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&out).expect("there").permissions());
    assert_eq!(mode & 0o077, 0, "nobody else reads it");
    let server = Launch::workers(1).set("config", &scratch.0).start();
    let url = format!("http://{}", server.public);
    let printed_id = printed(&["publish", "--url", &url, "--token-file", &out, "news.a", "x"], "");
    assert!(printed_id.contains('-'), "{printed_id}");
    let explain = ["config", "--config", &scratch.0, "--explain", &format!("@{out}"), "--topic", "news.a"];
    let text = printed(&explain, "");
    assert!(text.contains("credential: token app (") && text.contains("publish: yes, token app ("), "{text}");
    assert!(text.contains("subscribe: no, token app (") && text.contains("opens nothing"), "{text}");
    let text = printed(&["token", "explain", "--config", &scratch.0], "some-other-token-of-nobody");
    assert_eq!(text, "credential: not taken (token_unknown)\n");
    let _ = std::fs::remove_file(&out);
    let mistakes: [(&[&str], &str); 3] = [
        (&["token", "new", "--publish", "a*"], "--publish a*: must be a pattern"),
        (&["token", "new"], "the token would open no topic"),
        (&["token", "make"], "unknown action make; it is new, hash, explain, key or url"),
    ];
    for (words, why) in mistakes {
        let output = run(words, "");
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && line.contains(why), "{line}");
    }
}
