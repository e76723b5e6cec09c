//! JSON Web Tokens: who gets in, how streams end with them, and keys that change while the server runs.

use crate::harness::{
    ConfigFile, Conn, Finish, Item, Launch, Response, Server, assert_problem, ms, poll_until,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tokens of PyJWT and jose, each with its key.
fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../../src/wire/auth/jwt/vectors.json")).expect("a list")
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().expect("a text")
}

const CLAIMS: &str = "subscribe = 'token'\njwt_audience = 'fanwheel'\njwt_issuer = 'https://id.example'\n";

fn ask(server: &Server, line: &str, token: &str) -> Response {
    let body = if line.starts_with("POST") { "Content-Length: 1\r\n\r\nx" } else { "\r\n" };
    let mut conn = Conn::open(server.public);
    conn.ask(format!("{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{body}"))
}

fn subscribe(server: &Server, topic: &str, token: &str) -> crate::harness::Stream {
    server.subscribe_with(&format!("topic={topic}"), &format!("Authorization: Bearer {token}\r\n"))
}

/// A token of the shared secret, signed by the host's own tools; none where there is no `openssl`.
fn made(claims: &Value) -> Option<String> {
    let script = "e() { basenc -w0 --base64url | tr -d =; }; \
        m=$(printf '{\"alg\":\"HS256\"}' | e).$(printf %s \"$CLAIMS\" | e); \
        printf %s.%s \"$m\" \"$(printf %s \"$m\" | openssl dgst -sha256 -hmac \"$SECRET\" -binary | e)\"";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script]).env("CLAIMS", claims.to_string()).env("SECRET", text(&vectors()[0], "key"));
    let output = command.output().expect("sh runs");
    let token = String::from_utf8(output.stdout).expect("text");
    (output.status.success() && token.split('.').nth(2).is_some_and(|tag| tag.len() == 43)).then_some(token)
}

#[test]
fn tokens_of_other_libraries_open_their_topics() {
    for vector in vectors() {
        let name = format!("{} {}", text(&vector, "maker"), text(&vector, "algorithm"));
        let key = ConfigFile::new("jwt-key", text(&vector, "key"));
        let algorithm = text(&vector, "algorithm");
        let settings = format!("{CLAIMS}jwt_key_file = '{}'\njwt_algorithm = '{algorithm}'\n", key.0);
        let file = ConfigFile::new("jwt", &settings);
        let server = Launch::workers(1).set("config", &file.0).start();
        let token = text(&vector, "token");
        let mut stream = subscribe(&server, "news.eu.de", token);
        assert_eq!(ask(&server, "POST /publish?topic=news.eu", token).status, 202, "{name}");
        server.publish("news.eu.de", "x");
        assert_eq!(stream.event().data, "x", "{name}");
        for (line, status) in [
            ("POST /publish?topic=news.us", 403),
            ("POST /publish?topic=news.eu.de", 403),
            ("GET /events?topic=news", 403),
            ("GET /events?topic=other", 403),
        ] {
            assert_problem(&format!("{name} {line}"), &ask(&server, line, token), &[status]);
        }
        let others = vectors().into_iter().filter(|other| text(other, "key") != text(&vector, "key"));
        for other in others {
            let answer = ask(&server, "GET /events?topic=news.eu", text(&other, "token"));
            assert_problem(&format!("{name} with a token of another key"), &answer, &[401]);
        }
        assert!(!server.log().contains(token) && !server.metrics().0.contains(token));
    }
}

#[test]
fn a_stream_ends_in_order_with_its_token() {
    let key = ConfigFile::new("jwt-end-key", text(&vectors()[0], "key"));
    let file = ConfigFile::new("jwt-end", &format!("{CLAIMS}jwt_key_file = '{}'\n", key.0));
    let server = Launch::workers(2).set("config", &file.0).start();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = |exp: u64, aud: &str| {
        let topics = json!({ "subscribe": ["a"] });
        json!({ "exp": exp, "aud": aud, "iss": "https://id.example", "fanwheel": topics })
    };
    let Some(token) = made(&claims(now + 3, "fanwheel")) else {
        println!("skipped: no openssl");
        return;
    };
    let begun = Instant::now();
    let mut stream = subscribe(&server, "a", &token);
    let (mut retry, mut end) = (None, None);
    while end.is_none() && begun.elapsed() < Duration::from_secs(8) {
        match stream.try_next(ms(200)) {
            Some(Item::Retry(ms)) => retry = Some(ms),
            Some(Item::End(finish)) => end = Some(finish),
            _ => {}
        }
    }
    assert!(end == Some(Finish::Clean) && retry.is_some(), "{end:?} {retry:?}");
    assert_problem("an expired token", &ask(&server, "GET /events?topic=a", &token), &[401]);
    for (claims, reason) in
        [(claims(now + 60, "other"), "token_unfit"), (claims(now - 60, "fanwheel"), "token_expired")]
    {
        let before = server.metrics().labelled("refused", reason);
        let token = made(&claims).expect("openssl is there");
        assert_problem(reason, &ask(&server, "GET /events?topic=a", &token), &[401]);
        assert_eq!(server.metrics().labelled("refused", reason), before + 1, "{reason}");
    }
    assert_eq!(server.metrics().labelled("closed", "token_expired"), 1);
}

#[test]
fn a_key_set_is_read_again_when_it_changes_and_a_broken_one_changes_nothing() {
    let vectors = vectors();
    let (old, new) = (&vectors[2], &vectors[7]);
    let set = |keys: &[&Value]| {
        let keys: Vec<&Value> = keys.iter().map(|vector| &vector["jwk"]).collect();
        json!({ "keys": keys }).to_string()
    };
    let keys = ConfigFile::new("jwks", &set(&[old]));
    let file = ConfigFile::new("jwks-settings", &format!("{CLAIMS}jwks_file = '{}'\n", keys.0));
    let server = Launch::workers(2).set("config", &file.0).start();
    let status = |vector: &Value| ask(&server, "GET /events?topic=news.x", text(vector, "token")).status;
    let told = |line: &str| {
        let told = poll_until(ms(10_000), || server.log().contains(line).then_some(()));
        assert!(told.is_some(), "no {line} in\n{}", server.log());
    };
    assert_eq!(status(new), 401);
    keys.write("{\"keys\":[]}");
    told("event=credentials_refused");
    drop(subscribe(&server, "news.x", text(old, "token")));
    keys.write(&set(&[new]));
    told("event=credentials_reloaded");
    drop(subscribe(&server, "news.x", text(new, "token")));
    assert_eq!(status(old), 401);
}

#[test]
fn mistakes_with_keys_stop_the_start() {
    let vectors = vectors();
    let key = ConfigFile::new("jwt-wrong-key", text(&vectors[1], "key"));
    let rows = [
        (format!("jwt_key_file = '{}'\n", key.0), "no shared secret; set jwt_algorithm"),
        (format!("jwt_key_file = '{}'\njwt_algorithm = 'ES256'\n", key.0), "none for ES256"),
        (format!("jwks_file = '{}'\n", key.0), "no JSON Web Key Set"),
        (format!("jwks_file = '{0}'\njwt_key_file = '{0}'\n", key.0), "exclude each other"),
        ("jwt_key_file = '/nonexistent'\n".to_owned(), "cannot read it"),
    ];
    for (settings, why) in rows {
        let file = ConfigFile::new("jwt-mistake", &settings);
        let (code, lines) = Launch::workers(1).set("config", &file.0).refuse();
        assert!(code == Some(2) && lines.len() == 1 && lines[0].contains(why), "{lines:?}");
    }
}
