//! Answers as exact bytes.

use super::FrameForm::{Bare, Chunk};
use super::*;
use crate::base::counters::{REFUSED_NAMES, RefusalReason};

const ANY: Cors = Cors::Any;
const TYPE_TEXT: &str = "text/plain; charset=utf-8";

fn reply(cors: &Cors) -> Reply<'_> {
    Reply {
        status: 200,
        http11: true,
        keep_alive: true,
        idle_ms: 75_999,
        head_only: false,
        cors,
        origin: Some(b"https://app.test"),
        retry_after_s: None,
        allow: None,
        challenge: None,
        wall_ms: 784_111_777_000,
    }
}

const KEPT: &str = "Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n";

/// The moment of RFC 9110 §5.6.7.
const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before|".to_vec();
    write(&mut out);
    let text = String::from_utf8(out).expect("answers to UTF-8 are UTF-8");
    text.strip_prefix("before|").expect("appended only").to_owned()
}

#[test]
fn answers_say_length_type_origin_and_whether_the_connection_stays() {
    let rows: &[(Reply<'_>, &str)] = &[
        (reply(&ANY), &format!("{KEPT}Access-Control-Allow-Origin: *\r\n")),
        (Reply { keep_alive: false, ..reply(&Cors::Off) }, "Connection: close\r\n"),
        (reply(&Cors::Off), KEPT),
        (Reply { http11: false, ..reply(&Cors::Off) }, KEPT),
        (Reply { idle_ms: 1_000, ..reply(&Cors::Off) }, &KEPT.replace("75", "1")),
        (Reply { idle_ms: 999, ..reply(&Cors::Off) }, ""),
        (Reply { idle_ms: 999, http11: false, ..reply(&Cors::Off) }, "Connection: keep-alive\r\n"),
        (Reply { http11: false, keep_alive: false, ..reply(&Cors::Off) }, "Connection: close\r\n"),
        (Reply { retry_after_s: Some(7), ..reply(&Cors::Off) }, &format!("{KEPT}Retry-After: 7\r\n")),
        (Reply { allow: Some("GET, HEAD"), ..reply(&Cors::Off) }, &format!("{KEPT}Allow: GET, HEAD\r\n")),
    ];
    for (reply, fields) in rows {
        let expected = format!(
            "HTTP/1.1 200 OK\r\n{DATE}Cache-Control: no-store\r\n{fields}Content-Type: application/json\r\n\
             Content-Length: 3\r\n\r\n{{}}\n"
        );
        assert_eq!(written(|out| append_json(out, reply, "{}")), expected);
    }
    let head =
        written(|out| append_body(out, &Reply { head_only: true, ..reply(&Cors::Off) }, TYPE_TEXT, b"hello"));
    assert!(head.ends_with("Content-Length: 5\r\n\r\n"), "{head:?}");
    let text = written(|out| {
        append_body(out, &reply(&Cors::Off), metrics_type(MetricsFormat::Prometheus), b"hello")
    });
    assert!(text.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{text:?}");
    let id = EventId::parse(b"1700000000000-3").expect("an id");
    let mut outcome = Accepted { id, events: None, subscribers: 4, warning: None };
    let accepted = written(|out| append_accepted(out, &reply(&Cors::Off), &outcome));
    assert!(accepted.starts_with("HTTP/1.1 202 Accepted\r\n"));
    assert!(accepted.ends_with("\r\n\r\n{\"id\":\"1700000000000-3\",\"subscribers\":4}\n"));
    (outcome.events, outcome.warning) = (Some(7), Some("A \"b\".".to_owned()));
    let of_batch = written(|out| append_accepted(out, &reply(&Cors::Off), &outcome));
    let text = "{\"id\":\"1700000000000-3\",\"events\":7,\"subscribers\":4,\"warning\":\"A \\\"b\\\".\"}\n";
    assert!(of_batch.ends_with(&format!("Content-Length: {}\r\n\r\n{text}", text.len())), "{of_batch}");
}

#[test]
fn a_part_of_the_dashboard_is_sent_once_and_then_only_confirmed() {
    let part = EmbeddedFile { content_type: "text/css", bytes: b"a {}", etag: "\"7f\"".to_owned() };
    let sent = |reply: Reply<'_>, tags: Option<&[u8]>| written(|out| append_asset(out, &reply, &part, tags));
    let first = sent(reply(&Cors::Off), None);
    let begin = format!("HTTP/1.1 200 OK\r\n{DATE}Cache-Control: no-cache\r\n");
    assert!(first.starts_with(&begin), "{first}");
    assert!(first.ends_with("Content-Type: text/css\r\nContent-Length: 4\r\n\r\na {}"), "{first}");
    for field in
        ["ETag: \"7f\"\r\n", "default-src 'none'; script-src 'self';", "frame-ancestors 'none'", "nosniff"]
    {
        assert!(first.contains(field), "{field} in {first}");
    }
    assert!(!first.contains("unsafe") && !first.contains('*'), "{first}");
    let head = sent(Reply { head_only: true, ..reply(&Cors::Off) }, None);
    assert!(head.ends_with("Content-Length: 4\r\n\r\n"), "{head}");
    let rows: &[(&[u8], bool)] = &[
        (b"\"7f\"", true),
        (b"W/\"7f\"", true),
        (b"\"1\", \"7f\"", true),
        (b"*", true),
        (b"7f", false),
        (b"", false),
    ];
    for (tags, known) in rows {
        let answer = sent(reply(&Cors::Off), Some(tags));
        assert_eq!(answer.starts_with("HTTP/1.1 304 Not Modified\r\n"), *known, "{tags:?}");
        assert_eq!(answer.ends_with("\r\n\r\n"), *known, "a 304 has no body: {answer}");
    }
}

#[test]
fn the_client_library_may_be_loaded_from_anywhere_and_kept_when_its_version_is_named() {
    let file = EmbeddedFile { content_type: "text/javascript", bytes: b"go()", etag: "\"7f\"".to_owned() };
    let listed = Cors::Listed(vec!["https://a.test".into()]);
    type AssetRow<'a> = (&'a [u8], Option<&'a [u8]>, &'a str, &'a str);
    let rows: &[AssetRow<'_>] = &[
        (b"", None, "200 OK", "no-cache"),
        (b"7e", None, "200 OK", "no-cache"),
        (b"7f", None, "200 OK", "public, max-age=31536000, immutable"),
        (b"", Some(b"\"7f\""), "304 Not Modified", "no-cache"),
        (b"7f", Some(b"\"7f\""), "304 Not Modified", "public, max-age=31536000, immutable"),
    ];
    for &(version, tags, status, cache) in rows {
        let text = written(|out| append_client_library(out, &reply(&listed), &file, version, tags));
        let begin = format!("HTTP/1.1 {status}\r\n{DATE}Cache-Control: {cache}\r\n");
        assert!(text.starts_with(&begin), "{text}");
        for field in ["Access-Control-Allow-Origin: *\r\n", "ETag: \"7f\"\r\n", "Policy: cross-origin\r\n"] {
            assert!(text.contains(field), "{field} in {text}");
        }
        assert_eq!(text.ends_with("Content-Length: 4\r\n\r\ngo()"), tags.is_none(), "{text}");
    }
}

#[test]
fn landing_page_is_three_lines_for_people() {
    let page = written(|out| append_landing(out, &reply(&ANY)));
    let (head, text) = page.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{head}");
    assert!(
        text.contains("/events?topic=NAME") && text.ends_with('\n') && text.lines().count() == 3,
        "{text}"
    );
    assert!(!text.contains(env!("CARGO_PKG_VERSION")), "{text}");
}

#[test]
fn origins_are_echoed_only_when_listed() {
    let setting = |text: &str| -> Cors {
        Cors::from_setting(&text.split(',').filter(|o| !o.is_empty()).map(str::to_owned).collect::<Vec<_>>())
    };
    let echo = |origin: &str| {
        format!(
            "Vary: Origin\r\nAccess-Control-Allow-Origin: {origin}\r\n\
             Access-Control-Allow-Credentials: true\r\n"
        )
    };
    // Setting, Origin, fields.
    let rows: &[(&str, Option<&str>, &str)] = &[
        ("*", None, "Access-Control-Allow-Origin: *\r\n"),
        ("*", Some("https://a.test"), "Access-Control-Allow-Origin: *\r\n"),
        ("https://a.test,*", Some("null"), "Access-Control-Allow-Origin: *\r\n"),
        ("", Some("https://a.test"), ""),
        ("https://a.test", Some("https://a.test"), &echo("https://a.test")),
        ("https://a.test,https://b.test", Some("https://b.test"), &echo("https://b.test")),
        ("https://a.test", Some("https://a.test.evil"), "Vary: Origin\r\n"),
        ("https://a.test", Some("HTTPS://A.TEST"), "Vary: Origin\r\n"),
        ("https://a.test", Some("null"), "Vary: Origin\r\n"),
        ("https://a.test", None, "Vary: Origin\r\n"),
        ("null", Some("null"), ""),
        ("null,https://a.test", Some("null"), "Vary: Origin\r\n"),
    ];
    for (configured, origin, expected) in rows {
        let cors = setting(configured);
        let got = written(|out| cors.append(out, origin.map(str::as_bytes)));
        assert_eq!(got, *expected, "{configured} {origin:?}");
        let exposed = written(|out| cors.append_exposed(out, origin.map(str::as_bytes)));
        assert_eq!(!exposed.is_empty(), expected.contains("Allow-Origin"), "{configured} {origin:?}");
    }
}

#[test]
fn problems_are_json_with_their_status_and_close_when_they_must() {
    let refused = written(|out| {
        append_problem(
            out,
            &Problem::Refused(RefusalReason::Overload),
            &Reply { retry_after_s: Some(3), ..reply(&ANY) },
        );
    });
    assert_eq!(
        refused,
        format!(
            "HTTP/1.1 503 Service Unavailable\r\n{DATE}Cache-Control: no-store\r\n{KEPT}\
             Access-Control-Allow-Origin: *\r\nRetry-After: 3\r\n\
             Access-Control-Expose-Headers: Retry-After\r\nContent-Type: application/json\r\n\
             Content-Length: 103\r\n\r\n\
             {{\"error\":\"overloaded\",\"message\":\"Publishers are faster than the server can deliver; try \
             again later.\"}}\n"
        )
    );
    let wrong_method = written(|out| append_problem(out, &Problem::MethodNotAllowed("POST"), &reply(&ANY)));
    assert!(wrong_method.contains("\r\nAllow: POST\r\n") && !wrong_method.contains("close"));
    let broken = written(|out| append_problem(out, &Problem::Malformed("No \"good\"."), &reply(&ANY)));
    assert!(broken.contains("\r\nConnection: close\r\n"));
    assert!(broken.ends_with("{\"error\":\"bad_request\",\"message\":\"No \\\"good\\\".\"}\n"));
    let closing = written(|out| {
        append_problem(
            out,
            &Problem::NotFound("A."),
            &Reply { keep_alive: false, head_only: true, ..reply(&ANY) },
        );
    });
    assert!(closing.contains("\r\nConnection: close\r\n") && closing.ends_with("\r\n\r\n"));
}

#[test]
fn every_problem_has_a_known_status_a_snake_case_code_and_one_sentence() {
    let reason = "is \u{1b}[31m wrong".to_owned();
    let problems = [
        Problem::Malformed("A."),
        Problem::BadFraming("A."),
        Problem::BadHost("A."),
        Problem::BadTarget("A."),
        Problem::BadChunk("A."),
        Problem::BadQuery("A."),
        Problem::BadParameter { name: "topic", rule: "must not be empty" },
        Problem::BadParameter { name: "Idempotency-Key", rule: "must not be empty" },
        Problem::UnknownParameter { name: "a\u{1b}b".into(), near: None, takes: "a publish takes none" },
        Problem::UnknownParameter { name: "evnt".into(), near: Some("event"), takes: "" },
        Problem::NoTopic,
        Problem::TooManyTopics { topics_max: 64 },
        Problem::NotUtf8,
        Problem::BadBatchLine { line: 3, reason },
        Problem::EmptyBatch,
        Problem::ReservedEvent { line: None },
        Problem::ReservedEvent { line: Some(3) },
        Problem::NotFound("A."),
        Problem::PublishNotAllowed { has_control: false },
        Problem::PublishNotAllowed { has_control: true },
        Problem::MethodNotAllowed("GET"),
        Problem::NotAcceptable,
        Problem::HeadTimeout,
        Problem::BodyTimeout,
        Problem::LengthRequired,
        Problem::BodyTooLarge { bytes_max: 1 },
        Problem::BatchTooLong { posts_max: 1 },
        Problem::RequestLineTooLong { bytes_max: 1 },
        Problem::UnsupportedType,
        Problem::UnsupportedCoding,
        Problem::Multipart,
        Problem::ExpectationFailed,
        Problem::HeadTooLarge { bytes_max: 1 },
        Problem::TooManyHeaders { headers_max: 1 },
        Problem::CodingNotImplemented,
        Problem::NotReady("Worker 3 did not answer.".to_owned()),
        Problem::WorkerLate { worker: 3 },
        Problem::VersionNotSupported,
        Problem::Refused(RefusalReason::Connections),
        Problem::Refused(RefusalReason::Credentials),
        Problem::Refused(RefusalReason::Origin),
        Problem::Refused(RefusalReason::Host),
        Problem::Refused(RefusalReason::ControlTokenMissing),
        Problem::Refused(RefusalReason::ReservedTopic),
        Problem::ReservedTopic { line: None },
        Problem::ReservedTopic { line: Some(2) },
        Problem::Refused(RefusalReason::Draining),
        Problem::Refused(RefusalReason::KeyReused),
        Problem::Refused(RefusalReason::Heads),
    ];
    for one in &problems {
        assert_ne!(super::reason_phrase(one.status()), "", "{one:?}");
        assert!(
            one.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()),
            "{one:?}"
        );
        assert!(one.message().ends_with('.') && one.message().len() > 1, "{one:?}");
        let answer = written(|out| append_problem(out, one, &reply(&ANY)));
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}", text.len())));
        assert_eq!(head.contains("Connection: close"), one.closes(), "{one:?}");
        let parsed: serde_json::Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(parsed["error"], one.code());
        assert_eq!(parsed["message"].as_str(), Some(&*one.message()));
    }
    assert_eq!(Problem::Refused(RefusalReason::Memory).code(), REFUSED_NAMES[RefusalReason::Memory as usize]);
}

#[test]
fn a_preflight_allows_what_event_stream_clients_send() {
    let rows: &[(&[&str], &str)] = &[
        (&[], ""),
        (&["last-event-id, Cache-Control"], ""),
        (&["baggage,sentry-trace , traceparent"], ", baggage, sentry-trace, traceparent"),
        (&["X-A", "X-B,,X-C"], ", X-A, X-B, X-C"),
        (&["X-A: 1, x b, *, \u{e4}, x-c"], ", x-c"),
        (&[&"x".repeat(65), &"y".repeat(64)], &format!(", {}", "y".repeat(64))),
        (&[&"n,".repeat(40)], &", n".repeat(32)),
    ];
    for (lines, allowed) in rows {
        let asked = lines.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(
            written(|out| append_preflight(out, &reply(&ANY), "GET, HEAD, OPTIONS", &asked)),
            format!(
                "HTTP/1.1 204 No Content\r\n{DATE}Cache-Control: no-store\r\n{KEPT}\
                 Access-Control-Allow-Origin: *\r\n\
                 Allow: GET, HEAD, OPTIONS\r\nAccess-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
                 Access-Control-Allow-Headers: last-event-id, authorization, cache-control, content-type\
                 {allowed}\r\nAccess-Control-Expose-Headers: Retry-After\r\n\
                 Access-Control-Max-Age: 86400\r\n\r\n"
            )
        );
    }
}

fn greeting(form: FrameForm, buffered: bool, retry_ms: u64) -> StreamGreeting {
    StreamGreeting { form, buffered, retry_ms }
}

#[test]
fn streams_begin_with_their_head_and_a_greeting_without_a_blank_line() {
    let head = format!(
        "HTTP/1.1 200 OK\r\n{DATE}Content-Type: text/event-stream; charset=utf-8\r\n\
         Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\
         Access-Control-Allow-Origin: *\r\n"
    );
    let any = reply(&ANY);
    let kept = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    let bare = format!("{head}Connection: close\r\n\r\n");
    assert_eq!(
        written(|out| append_stream_head(out, &any, &greeting(Chunk, false, 2_000))),
        format!("{chunked}10\r\n:ok\nretry: 2000\n\r\n")
    );
    // B14
    let greeted = format!("{bare}:ok\nretry: 5\n");
    assert_eq!(written(|out| append_stream_head(out, &any, &greeting(Bare, false, 5))), greeted);
    assert_eq!(
        written(|out| append_stream_head(out, &any, &greeting(Bare, true, 5))),
        greeted.replace("X-Accel-Buffering: no\r\n", "")
    );
    assert_eq!(written(|out| append_stream_head_only(out, &any, Chunk)), kept);
    assert_eq!(written(|out| append_stream_head_only(out, &any, Bare)), bare);
    assert_eq!(
        written(|out| append_overload_stream(out, &any, Chunk, 31_000)),
        format!("{chunked}d\r\nretry: 31000\n\r\n0\r\n\r\n")
    );
    assert_eq!(written(|out| append_overload_stream(out, &any, Bare, 31)), format!("{bare}retry: 31\n"));
}

#[test]
fn the_servers_own_events_are_single_chunks_of_single_lines() {
    assert_eq!(
        written(|out| append_clock_event(out, Chunk, 1_700_000_000_000)),
        "36\r\nevent: fanwheel.clock\ndata: {\"now_ms\":1700000000000}\n\n\r\n"
    );
    assert_eq!(written(|out| append_retry_line(out, Chunk, 1)), "9\r\nretry: 1\n\r\n");
    let id = EventId::parse(b"9-1").expect("an id");
    assert_eq!(written(|out| append_position(out, Chunk, id)), "9\r\nid: 9-1\n\n\r\n");
    assert_eq!(written(|out| append_position(out, Bare, id)), "id: 9-1\n\n");
    assert_eq!(written(|out| append_retry_line(out, Bare, 1)), "retry: 1\n");
    let bare = heartbeat(Bare);
    assert_eq!(heartbeat(Chunk), format!("{:x}\r\n{}\r\n", bare.len(), ":\n").as_bytes());
}

#[test]
fn the_benchmark_profile_is_answered_byte_for_byte() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                Access-Control-Allow-Origin: *\r\n";
    assert_eq!(
        written(|out| append_bench_stream_head(out, Chunk)),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n:ok\n\n\r\n")
    );
    assert_eq!(
        written(|out| append_bench_stream_head(out, Bare)),
        format!("{head}Connection: close\r\n\r\n:ok\n\n")
    );
    assert_eq!(
        written(|out| append_bench_connections(out, 12)),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-cache\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\nContent-Length: 2\r\n\r\n12"
    );
    assert_eq!(
        written(append_bench_options),
        "HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        written(|out| append_bench_accepted(out, &Reply { http11: true, keep_alive: false, ..reply(&ANY) })),
        "HTTP/1.1 202 Accepted\r\nContent-Type: text/plain\r\nCache-Control: no-cache\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
}
