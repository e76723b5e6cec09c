//! The application decides about requests: who gets in, to which topics and for how long, and that nobody
//! waits for it who need not.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{
    Application, Conn, Finish, Launch, Question, SOON, Server, Stream, assert_problem, ms,
    with_1_and_4_workers,
};

const EVENT_SOURCE: &str = "Accept: text/event-stream\r\nCache-Control: no-cache\r\n";

fn launch(workers: usize, application: &Application) -> Launch {
    Launch::workers(workers).set("subscribe", "token").set("authorize_url", application.url("/allow?by=push"))
}

/// Lets in owners of a session, as people write it in a few lines.
fn by_session(question: &Question) -> String {
    match () {
        () if question.has_cookie("session=alice") => "200 OK\r\n\r\n".to_owned(),
        () if question.has_cookie("session=bob") => "200 OK\r\n\r\n{\"topics\":[\"news.*\"]}".to_owned(),
        () if question.field("authorization") == Some("Basic eDp5") => "200 OK\r\n\r\n{}".to_owned(),
        () if question.has_cookie("session=mallory") => "403 No\r\n\r\n".to_owned(),
        () => "401 Who\r\n\r\n".to_owned(),
    }
}

fn cookie(name: &str) -> String {
    format!("Cookie: theme=dark; session={name}\r\n")
}

fn ask(server: &Server, line: &str, fields: &str) -> crate::harness::Response {
    Conn::open(server.public).ask(format!("{line} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", server.public))
}

#[test]
fn the_application_decides_who_gets_in_and_to_which_topics() {
    with_1_and_4_workers(|workers| {
        let application = Application::start(by_session);
        let server = launch(workers, &application).start();
        let mut alice = server.subscribe_with("topic=orders.7&topic=news.eu", &cookie("alice"));
        let mut bob = server.subscribe_with("topic=news.eu", &cookie("bob"));
        let mut other = server.subscribe_with("topic=news.eu", "Authorization: Basic eDp5\r\n");
        let refused = [
            ("GET /events?topic=orders.7", cookie("bob"), 403, "topic_not_granted"),
            ("GET /events?topic=news.eu&topic=orders.7", cookie("bob"), 403, "topic_not_granted"),
            ("GET /events?topic=news.eu", cookie("mallory"), 403, "not_authorized"),
            ("GET /events?topic=news.eu", String::new(), 401, "unauthorized"),
            ("HEAD /events?topic=news.eu", cookie("mallory"), 403, ""),
        ];
        for (line, fields, status, code) in &refused {
            let answer = ask(&server, line, fields);
            assert_eq!(answer.status, *status, "{line} {fields}");
            assert!(code.is_empty() || answer.json()["error"] == *code, "{}", answer.text());
        }
        server.publish("news.eu", "x");
        assert_eq!([alice.event().data, bob.event().data, other.event().data], ["x"; 3]);
        let first = application.questions()[0].clone();
        assert_eq!(first.line(), "GET /allow?by=push HTTP/1.1");
        let (method, uri) = (first.field("x-forwarded-method"), first.field("x-forwarded-uri"));
        assert_eq!((method, uri), (Some("GET"), Some("/events?topic=orders.7&topic=news.eu")));
        let metrics = server.metrics();
        assert_eq!((metrics.get("authorize_asked"), metrics.get("authorize_kept")), (8, 0));
        assert_eq!(metrics.labelled("refused", "not_authorized"), 2);
    });
}

#[test]
fn publishers_are_asked_about_before_their_body_and_answered_in_order() {
    with_1_and_4_workers(|workers| {
        let application = Application::start(by_session);
        let server = launch(workers, &application).start();
        let mut stream = server.subscribe_with("topic=a", &cookie("alice"));
        let head = |who: &str| {
            format!("POST /publish?topic=a HTTP/1.1\r\nHost: a\r\n{}Content-Length: 6\r\n\r\n", cookie(who))
        };
        let mut conn = Conn::open(server.public);
        conn.send_pieces(head("alice").as_bytes(), 40);
        conn.send("pie");
        conn.send("ces");
        assert_eq!(conn.answer(SOON).expect("an answer").status, 202);
        // Two publishes and a look, all at once: the answers come in order.
        let all =
            [&head("alice"), "second", &head("alice"), "third!", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"];
        conn.send(all.concat());
        let statuses: Vec<u16> = (0..3).map(|_| conn.answer(SOON).expect("an answer").status).collect();
        assert_eq!(statuses, [202, 202, 200]);
        assert_eq!([(); 3].map(|()| stream.event().data), ["pieces", "second", "third!"]);
        let mut stranger = Conn::open(server.public);
        stranger.send(head("mallory") + "nothing");
        assert_problem("refused", &stranger.answer(SOON).expect("an answer"), &[403]);
        let page = format!("{}Origin: https://evil.test\r\nContent-Length: 0\r\n", cookie("alice"));
        assert_eq!(ask(&server, "POST /publish?topic=a", &page).json()["error"], "origin_not_allowed");
        assert!(application.questions().iter().all(|question| question.field("x-forwarded-uri").is_some()));
        stream.assert_quiet(ms(300));
    });
}

#[test]
fn an_answer_is_kept_for_its_time_and_ends_its_streams() {
    let ends = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 4;
    let application = Application::start(move |question| match question.has_cookie("session=alice") {
        true => format!("200 OK\r\nCache-Control: private, max-age=3600\r\n\r\n{{\"expires\":{ends}}}"),
        false => "403 No\r\nCache-Control: max-age=1\r\n\r\n".to_owned(),
    });
    let server = launch(1, &application).start();
    let mut streams: Vec<Stream> =
        (0..5).map(|_| server.subscribe_with("topic=a", &cookie("alice"))).collect();
    assert_eq!(application.questions().len(), 1, "four were decided by the first answer");
    for _ in 0..3 {
        assert_eq!(ask(&server, "GET /events?topic=a", &cookie("eve")).status, 403);
    }
    assert_eq!((application.questions().len(), server.metrics().get("authorize_kept")), (2, 6));
    std::thread::sleep(ms(1_100));
    assert_eq!(ask(&server, "GET /events?topic=a", &cookie("eve")).status, 403);
    assert_eq!(application.questions().len(), 3, "its second is over");
    for stream in &mut streams {
        assert_eq!(stream.read_to_end(SOON).1, Finish::Clean);
    }
    assert_eq!(server.metrics().labelled("closed", "token_expired"), 5);
    assert_eq!(
        ask(&server, "GET /events?topic=a", &cookie("alice")).status,
        401,
        "asked again, it has ended"
    );
}

#[test]
fn an_application_that_fails_refuses_for_a_moment_and_leads_nowhere_else() {
    let other = Application::start(|_| "200 OK\r\n\r\n".to_owned());
    let elsewhere = other.url("/");
    let application = Application::start(move |question| {
        let uri = question.field("x-forwarded-uri").unwrap_or_default();
        match uri.split("topic=").nth(1).unwrap_or_default() {
            "redirect" => format!("302 Found\r\nLocation: {elsewhere}\r\n\r\n"),
            "huge" => format!("200 OK\r\n\r\n{{\"x\":\"{}\"}}", "x".repeat(1_000_000)),
            "page" => "200 OK\r\n\r\n<html>".to_owned(),
            "broken" => "502 Bad\r\n\r\n".to_owned(),
            "slow" => String::new(),
            _ => "200 OK\r\n\r\n".to_owned(),
        }
    });
    let server = launch(1, &application).start();
    let asked = |topic: &str, fields: &str| ask(&server, &format!("GET /events?topic={topic}"), fields);
    assert_eq!(asked("redirect", "").status, 403);
    assert!(other.questions().is_empty(), "nobody is followed");
    for topic in ["huge", "page", "broken"] {
        let answer = asked(topic, "");
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (503, Some("authorize_failed")),
            "{topic}"
        );
        assert!(answer.header("retry-after").is_some());
        let end = asked(topic, EVENT_SOURCE);
        assert!(end.status == 200 && end.text().starts_with("retry: "), "a browser comes again: {topic}");
    }
    let began = Instant::now();
    let late = asked("slow", "");
    assert_eq!(late.status, 503, "{}", late.text());
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(8)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    let log = server.log();
    assert!(log.contains("event=authorize_failed host=http://127.0.0.1"), "{log}");
    assert!(!log.contains("/allow"), "its path may be a secret: {log}");
    let mut stream = server.subscribe("topic=good");
    server.publish("good", "x");
    assert_eq!(stream.event().data, "x");
}

#[test]
fn nobody_waits_for_a_slow_application_who_need_not() {
    with_1_and_4_workers(|workers| {
        let application = Application::start(|question| match question.has_cookie("session=alice") {
            true => "200 OK\r\n\r\n".to_owned(),
            false => String::new(),
        });
        let server = launch(workers, &application).start();
        let mut stream = server.subscribe_with("topic=a", &cookie("alice"));
        // More than are asked at once, and than may wait.
        let mut waiting: Vec<Conn> = (0..1_200)
            .map(|n| {
                let mut conn = Conn::open(server.public);
                conn.send(format!("GET /events?topic=a&n={n} HTTP/1.1\r\nHost: a\r\n\r\n"));
                conn
            })
            .collect();
        let began = Instant::now();
        server.publish("a", "x");
        assert_eq!(stream.event().data, "x");
        assert_eq!(Server::get_from(server.public, "/healthz").status, 200);
        assert!(began.elapsed() < ms(1_500), "{:?}", began.elapsed());
        server.await_metric("a bounded queue", SOON, |m| m.labelled("refused", "authorize_full") >= 100);
        let statuses: Vec<u16> =
            waiting.iter_mut().map(|conn| conn.answer(SOON + SOON).expect("an answer").status).collect();
        assert!(statuses.iter().all(|&status| status == 503), "{statuses:?}");
    });
}

#[test]
fn an_address_of_cloud_metadata_or_no_address_stops_the_start() {
    let rows = [
        ("http://169.254.169.254/latest/meta-data/", "another address than that of a cloud's metadata"),
        ("http://a.test/x,http://b.test/y", "must be one address"),
        ("ftp://a.test/", "http://HOST/PATH"),
    ];
    for (url, why) in rows {
        let (code, lines) = Launch::workers(1).set("authorize_url", url).refuse();
        assert_eq!((code, lines.len()), (Some(2), 1), "{lines:?}");
        assert!(lines[0].contains(why) && !lines[0].contains("latest"), "{lines:?}");
    }
}
