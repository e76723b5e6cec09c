//! Routes and parameters as tables: a request in short form, and its result.

use super::*;
use crate::base::settings::Settings;
use crate::wire::head::{HeadLimits, ParsedHead, parse};

fn policy(listener: ListenerKind, profile: UrlProfile) -> ListenerPolicy {
    let settings = Settings {
        profile,
        control_names: vec!["hub.internal".to_owned()],
        topics_per_connection_max: 3,
        patterns_per_connection_max: 2,
        publish_bytes_max: 1_000,
        ..Settings::default()
    };
    ListenerPolicy::from_settings(&settings, listener)
}

#[test]
fn hosts_of_every_control_address_are_known() {
    let control = ["127.0.0.1:8081", "unix:/run/control", "10.1.2.3:8081", "[fd00::7]:9"];
    let control = control.map(str::to_owned).to_vec();
    let settings =
        Settings { control, control_names: vec!["hub.internal".to_owned()], ..Settings::default() };
    let policy = ListenerPolicy::from_settings(&settings, ListenerKind::Control);
    assert_eq!(policy.own_hosts, ["127.0.0.1", "10.1.2.3", "fd00::7", "hub.internal"]);
}

fn ask(policy: &ListenerPolicy, line: &str, fields: &str) -> Result<Request, Problem> {
    let text = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    match parse(text.as_bytes(), HeadLimits { bytes_max: 8_192, headers_max: 64 }) {
        ParsedHead::Head(head, _) => route(&head, policy),
        other => panic!("{text:?}: {other:?}"),
    }
}

fn public(line: &str, fields: &str) -> Result<Request, Problem> {
    ask(&policy(ListenerKind::Public, UrlProfile::Standard), line, fields)
}

fn control(line: &str, fields: &str) -> Result<Request, Problem> {
    ask(&policy(ListenerKind::Control, UrlProfile::Standard), line, fields)
}

fn code(result: Result<Request, Problem>) -> String {
    match result {
        Ok(request) => format!("{request:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned(),
        Err(problem) => format!("{} {}", problem.status(), problem.code()),
    }
}

fn subscribed(query: &str, fields: &str) -> SubscribeRequest {
    match public(&format!("GET /events?{query}"), fields) {
        Ok(Request::Subscribe(subscribe)) => *subscribe,
        other => panic!("{query:?}: {other:?}"),
    }
}

fn published(query: &str, fields: &str) -> PublishRequest {
    match control(&format!("POST /publish?{query}"), &format!("Content-Length: 1\r\n{fields}")) {
        Ok(Request::Publish(publish)) => *publish,
        other => panic!("{query:?}: {other:?}"),
    }
}

#[test]
fn each_listener_answers_its_own_paths_and_methods() {
    // Line, answer on the public listener, answer on the control listener.
    let rows: &[(&str, &str, &str)] = &[
        ("GET /events?topic=a", "Subscribe", "Subscribe"),
        ("HEAD /events?topic=a", "SubscribeHead", "SubscribeHead"),
        ("HEAD /events", "400 no_topic", "400 no_topic"),
        ("OPTIONS /events", "Preflight", "Preflight"),
        ("POST /events?topic=a", "405 method_not_allowed", "405 method_not_allowed"),
        ("TRACE /events", "405 method_not_allowed", "405 method_not_allowed"),
        ("CONNECT /events", "405 method_not_allowed", "405 method_not_allowed"),
        ("get /events?topic=a", "405 method_not_allowed", "405 method_not_allowed"),
        ("BREW /coffee", "404 not_found", "404 not_found"),
        ("GET /healthz", "Health", "Health"),
        ("HEAD /healthz?x=%zz", "Health", "Health"),
        ("POST /healthz", "405 method_not_allowed", "405 method_not_allowed"),
        ("GET /readyz", "Ready", "Ready"),
        ("HEAD /readyz", "Ready", "Ready"),
        ("DELETE /readyz", "405 method_not_allowed", "405 method_not_allowed"),
        ("GET /publish", "405 method_not_allowed", "405 method_not_allowed"),
        ("POST /publish?topic=a", "403 publish_not_allowed", "411 length_required"),
        ("POST /publish/batch", "403 publish_not_allowed", "411 length_required"),
        ("POST /publish/news", "404 not_found", "404 not_found"),
        ("POST /news", "404 not_found", "404 not_found"),
        ("GET /metrics", "404 not_found", "Metrics"),
        ("POST /metrics", "404 not_found", "405 method_not_allowed"),
        ("GET /status", "404 not_found", "Status"),
        ("GET /status?series=1&x=y", "404 not_found", "Status"),
        ("GET /status?series=day", "404 not_found", "Status"),
        ("GET /status?series=yes", "404 not_found", "400 bad_parameter"),
        ("GET /settings", "404 not_found", "Settings"),
        ("PUT /settings", "404 not_found", "405 method_not_allowed"),
        ("HEAD /log", "404 not_found", "Log"),
        ("DELETE /log", "404 not_found", "405 method_not_allowed"),
        ("POST /drain", "404 not_found", "Drain"),
        ("GET /drain", "404 not_found", "405 method_not_allowed"),
        ("OPTIONS *", "404 not_found", "404 not_found"),
        ("GET /", "Landing", "Asset"),
        ("GET /client.js", "ClientLibrary", "ClientLibrary"),
        ("POST /client-metrics", "400 bad_beacon", "400 bad_beacon"),
        ("GET /client-metrics", "405 method_not_allowed", "405 method_not_allowed"),
        ("POST /client.js", "405 method_not_allowed", "405 method_not_allowed"),
        ("HEAD /?x=1", "Landing", "Asset"),
        ("POST /", "405 method_not_allowed", "405 method_not_allowed"),
        ("GET /dashboard/app.js", "404 not_found", "Asset"),
        ("DELETE /dashboard/app.js", "404 not_found", "405 method_not_allowed"),
        ("GET /dashboard", "404 not_found", "404 not_found"),
        ("GET /index.html", "404 not_found", "404 not_found"),
        ("GET /events?topic=fanwheel.status", "403 topic_reserved", "Subscribe"),
        ("HEAD /events?topic=a&topic=fanwheel%2ex", "403 topic_reserved", "SubscribeHead"),
        ("GET /events?topic=fanwheel&topic=Fanwheel.status", "Subscribe", "Subscribe"),
        ("GET /events/", "404 not_found", "404 not_found"),
        ("GET /Events?topic=a", "404 not_found", "404 not_found"),
        ("GET //events?topic=a", "404 not_found", "404 not_found"),
        ("GET /x/../events?topic=a", "404 not_found", "404 not_found"),
        ("GET /%65vents?topic=a", "404 not_found", "404 not_found"),
        ("GET /events%00?topic=a", "404 not_found", "404 not_found"),
        ("GET /sse", "404 not_found", "404 not_found"),
        ("GET http://localhost/events?topic=a", "Subscribe", "Subscribe"),
        ("GET http://evil.test/events?topic=a", "Subscribe", "421 wrong_host"),
    ];
    for (line, on_public, on_control) in rows {
        assert_eq!(code(public(line, "")), *on_public, "public {line:?}");
        assert_eq!(code(control(line, "")), *on_control, "control {line:?}");
    }
    let cross_site = code(control("GET /healthz", "Sec-Fetch-Site: cross-site\r\n"));
    assert_eq!(cross_site, "403 origin_not_allowed");
    assert_eq!(code(public("GET /healthz", "Sec-Fetch-Site: cross-site\r\nOrigin: http://x\r\n")), "Health");
}

#[test]
fn links_of_other_sites_lead_to_the_dashboard_and_to_nothing_else() {
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n";
    let rows = [
        ("GET /", link, "Asset"),
        ("GET /", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", "403 origin_not_allowed"),
        ("GET /", "Sec-Fetch-Site: cross-site\r\n", "403 origin_not_allowed"),
        ("POST /", link, "403 origin_not_allowed"),
        ("GET /dashboard/app.js", link, "403 origin_not_allowed"),
        ("GET /status", link, "403 origin_not_allowed"),
        ("GET /events?topic=a", link, "403 origin_not_allowed"),
        ("POST /drain", link, "403 origin_not_allowed"),
        ("GET http://evil.test/", link, "421 wrong_host"),
    ];
    for (line, fields, expected) in rows {
        assert_eq!(code(control(line, fields)), expected, "{line} {fields}");
    }
}

#[test]
fn topics_of_the_server_take_nobodys_events() {
    let rows = [
        ("topic=fanwheel.status", "400 topic_reserved"),
        ("topic=a&topic=fanwheel.", "400 topic_reserved"),
        ("topic=fanwheel", "Publish"),
        ("topic=FANWHEEL.status", "Publish"),
    ];
    for (query, expected) in rows {
        let line = format!("POST /publish?{query}");
        assert_eq!(code(control(&line, "Content-Length: 1\r\n")), expected, "{query}");
    }
}

#[test]
fn a_405_names_the_methods_and_a_403_the_control_listener() {
    let rows = [
        ("PUT /events", Some("GET, HEAD, OPTIONS")),
        ("PUT /healthz", Some("GET, HEAD")),
        ("PUT /publish", Some("POST")),
        ("PUT /nothing", None),
    ];
    for (line, allow) in rows {
        assert_eq!(public(line, "").err().and_then(|problem| problem.allow()), allow, "{line}");
    }
    let refused = public("POST /publish?topic=a", "Content-Length: 1\r\n").expect_err("public");
    assert!(refused.message().ends_with("publish on the control listener."), "{}", refused.message());
    let mut alone = policy(ListenerKind::Public, UrlProfile::Standard);
    alone.has_control = false;
    let refused = ask(&alone, "POST /publish?topic=a", "").expect_err("public");
    assert!(refused.message().contains("no control listener"), "{}", refused.message());
}

#[test]
fn bodies_are_admitted_by_their_announced_length() {
    // A21
    let rows = [
        ("", "411 length_required"),
        ("Content-Length: 0\r\n", "Publish"),
        ("Content-Length: 1000\r\n", "Publish"),
        ("Content-Length: 1001\r\n", "413 body_too_large"),
        ("Content-Length: 10000000000\r\n", "413 body_too_large"),
        ("Content-Length: 18446744073709551615\r\n", "413 body_too_large"),
        ("Transfer-Encoding: chunked\r\n", "Publish"),
    ];
    for (fields, expected) in rows {
        assert_eq!(code(control("POST /publish?topic=a", fields)), expected, "{fields:?}");
        let in_batch = expected.replace("Publish", "Batch");
        assert_eq!(code(control("POST /publish/batch", fields)), in_batch, "{fields:?}");
    }
    let types = [
        ("application/x-ndjson", "Batch"),
        ("Application/X-NDJSON; charset=utf-8", "Batch"),
        ("application/x-ndjson;", "Batch"),
        ("application/json", "415 unsupported_type"),
        ("text/plain", "415 unsupported_type"),
        ("application/x-www-form-urlencoded", "415 unsupported_type"),
        ("", "415 unsupported_type"),
    ];
    for (content_type, expected) in types {
        let fields = format!("Content-Length: 2\r\nContent-Type: {content_type}\r\n");
        assert_eq!(code(control("POST /publish/batch", &fields)), expected, "{content_type:?}");
    }
}

#[test]
fn accept_that_excludes_the_stream_is_406() {
    // B13
    let rows = [
        ("", "Subscribe"),
        ("Accept: */*\r\n", "Subscribe"),
        ("Accept: text/event-stream;q=0.5\r\n", "Subscribe"),
        ("Accept: TEXT/EVENT-STREAM\r\n", "Subscribe"),
        ("Accept: application/json\r\n", "406 not_acceptable"),
        ("Accept: text/event-stream;q=0\r\n", "406 not_acceptable"),
        ("Accept: application/json\r\nAccept: text/*\r\n", "Subscribe"),
    ];
    for (fields, expected) in rows {
        assert_eq!(code(public("GET /events?topic=a", fields)), expected, "{fields:?}");
    }
}

#[test]
fn encoded_bodies_and_envelopes_are_not_published_as_they_are() {
    let rows = [
        ("Content-Encoding: identity\r\n", "Publish"),
        ("Content-Encoding: gzip\r\n", "415 unsupported_coding"),
        ("Content-Encoding: aws-chunked\r\n", "415 unsupported_coding"),
        ("Content-Encoding: identity\r\nContent-Encoding: br\r\n", "415 unsupported_coding"),
        ("Content-Type: multipart/form-data; boundary=x\r\n", "415 unsupported_type"),
        ("Content-Type: Multipart/Mixed\r\n", "415 unsupported_type"),
        ("Content-Type: multipart\r\n", "Publish"),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "Publish"),
        ("Content-Type: application/octet-stream\r\n", "Publish"),
    ];
    for (fields, expected) in rows {
        let fields = format!("Content-Length: 2\r\n{fields}");
        assert_eq!(code(control("POST /publish?topic=a", &fields)), expected, "{fields}");
        let batch = format!("{fields}Transfer: x\r\n");
        let in_batch = code(control("POST /publish/batch", &batch));
        assert_eq!(in_batch == "415 unsupported_coding", expected == "415 unsupported_coding", "{fields}");
    }
}

#[test]
fn foreign_parameters_break_no_subscribe() {
    let rows = [
        "utm_campaign=50%",
        "x=%zz&%zz=x&%",
        "x=%ff&%ff=x",
        "x=%00&y=%0a",
        "fbclid=a\\b",
        "x=\"<>^`{|}",
        "=&==&a=b=c",
        "topics=b&Topic=c&lastevent=1-0",
        &"x&".repeat(2_000),
    ];
    let plain = subscribed("topic=a", "");
    for query in rows {
        for query in [format!("topic=a&{query}"), format!("{query}&topic=a")] {
            assert_eq!(subscribed(&query, ""), plain, "{query}");
        }
    }
}

#[test]
fn foreign_parameters_of_a_publish_are_refused_with_what_they_resemble() {
    let rows = [
        ("/publish?topic=a&evnt=b", "evnt is not a parameter here, but event is."),
        ("/publish?topic=a&Key=b", "Key is not a parameter here, but key is."),
        ("/publish?topics=a", "topics is not a parameter here, but topic is."),
        ("/publish?topic=a&%72etri=5", "retri is not a parameter here, but retry is."),
        (
            "/publish?topic=a&utm_source=x",
            "utm_source is not a parameter here; a publish takes topic, event, key, retry and ttl_ms.",
        ),
        (
            "/publish?topic=a&%zz=1",
            "%zz is not a parameter here; a publish takes topic, event, key, retry and ttl_ms.",
        ),
        (
            "/publish/batch?topic=a",
            "topic is not a parameter here; a batch takes none, for each of its lines names its own topic.",
        ),
    ];
    for (target, expected) in rows {
        let problem = control(&format!("POST {target}"), "Content-Length: 1\r\n").expect_err("refused");
        assert_eq!((problem.status(), problem.code()), (400, "unknown_parameter"), "{target}");
        assert_eq!(problem.message(), expected, "{target}");
    }
    let long = format!("POST /publish?topic=a&{}=b", "%F0%9F%98%80".repeat(500));
    let problem = control(&long, "Content-Length: 1\r\n").expect_err("refused");
    assert!(problem.message().len() < 400, "{}", problem.message());
}

#[test]
fn topics_are_decoded_checked_and_told_apart() {
    let long = "x".repeat(128);
    // B8, B9
    let longest = [long.as_str()];
    let rows: &[(&str, Result<&[&str], &str>)] = &[
        ("topic=a", Ok(&["a"])),
        ("topic=b&topic=a", Ok(&["b", "a"])),
        ("topic=a&topic=b&topic=a", Ok(&["a", "b"])),
        ("topic=a&topic=a&topic=a&topic=a", Ok(&["a"])),
        ("topic=a&topic=A&topic=a.", Ok(&["a", "A", "a."])),
        ("topic=%C3%A9&topic=e%CC%81", Ok(&["\u{e9}", "e\u{301}"])),
        ("topic=a+b%20c%2B", Ok(&["a b c+"])),
        ("topic=%2525", Ok(&["%25"])),
        ("topic=%3Cscript%3E", Ok(&["<script>"])),
        ("topic=../*[a]?b", Ok(&["../*[a]?b"])),
        ("%74opic=a", Ok(&["a"])),
        (&format!("topic={long}"), Ok(&longest)),
        (&format!("topic={long}x"), Err("400 bad_topic")),
        ("", Err("400 no_topic")),
        ("topic=", Err("400 bad_topic")),
        ("topic", Err("400 bad_topic")),
        ("topic=a&topic=", Err("400 bad_topic")),
        ("topic=%0A", Err("400 bad_topic")),
        ("topic=a%0D%0AFLUSHALL", Err("400 bad_topic")),
        ("topic=%00", Err("400 bad_topic")),
        ("topic=%C2%85", Err("400 bad_topic")),
        ("topic=%ff", Err("400 bad_query")),
        ("topic=%C0%8A", Err("400 bad_query")),
        ("topic=%ED%A0%80", Err("400 bad_query")),
        ("topic=%zz", Err("400 bad_query")),
        ("topic=a&topic=b&topic=c&topic=d", Err("400 too_many_topics")),
    ];
    for (query, expected) in rows {
        let subscribe = public(&format!("GET /events?{query}"), "");
        let publish = control(&format!("POST /publish?{query}"), "Content-Length: 0\r\n");
        for result in [subscribe, publish] {
            let topics = match result {
                Ok(Request::Subscribe(subscribe)) => Ok(subscribe.topics),
                Ok(Request::Publish(publish)) => Ok(publish.topics),
                other => Err(code(other)),
            };
            let got = topics.as_ref().map(|topics| topics.iter().map(|topic| &**topic).collect::<Vec<_>>());
            assert_eq!(
                got,
                expected.map(<[&str]>::to_vec).map_err(str::to_owned).as_ref().cloned(),
                "{query}"
            );
        }
    }
}

#[test]
fn publish_parameters_are_checked_before_anything_is_published() {
    let full = published("topic=a&event=likes&key=k%201&retry=250", "Idempotency-Key: \"x y\"\r\n");
    assert_eq!(full.event.as_deref(), Some("likes"));
    assert_eq!(full.key.as_deref(), Some("k 1"));
    assert_eq!(full.retry_ms, Some(250));
    assert_eq!(full.idempotency_key.as_deref(), Some(&b"\"x y\""[..]));
    let empty = published("topic=a&event=&key=", "");
    assert_eq!((empty.event, empty.key, empty.retry_ms, empty.idempotency_key), (None, None, None, None));

    let name = "x".repeat(4_000);
    // B7
    let rows: &[(&str, &str)] = &[
        ("event=a%0Ab", "400 bad_event"),
        ("event=a%0Db", "400 bad_event"),
        ("event=a%0D%0Ab", "400 bad_event"),
        ("event=a%00b", "400 bad_event"),
        ("event=retry:", "400 bad_event"),
        ("event=id:%205", "400 bad_event"),
        (&format!("event={name}"), "400 bad_event"),
        ("event=a&event=b", "400 bad_event"),
        ("key=a%0A", "400 bad_key"),
        ("key=a%0D", "400 bad_key"),
        ("key=%00", "400 bad_key"),
        ("key=a&key=a", "400 bad_key"),
        ("retry=", "400 bad_retry"),
        ("retry=+5", "400 bad_retry"),
        ("retry=-5", "400 bad_retry"),
        ("retry=1.5", "400 bad_retry"),
        ("retry=5s", "400 bad_retry"),
        ("retry=18446744073709551616", "400 bad_retry"),
        ("retry=1&retry=1", "400 bad_retry"),
        ("retry=0", "400 bad_retry"),
        ("retry=1", "Publish"),
        ("retry=3600000", "Publish"),
        ("retry=3600001", "400 bad_retry"),
        ("retry=2147483648", "400 bad_retry"),
        ("ttl_ms=1", "Publish"),
        ("ttl_ms=2592000000", "Publish"),
        ("ttl_ms=2592000001", "400 bad_parameter"),
        ("ttl_ms=0", "400 bad_parameter"),
        ("ttl_ms=", "400 bad_parameter"),
        ("ttl_ms=1&ttl_ms=1", "400 bad_parameter"),
        ("event=%ff", "400 bad_query"),
        ("key=%ff", "400 bad_query"),
    ];
    for (query, expected) in rows {
        let line = format!("POST /publish?topic=a&{query}");
        assert_eq!(code(control(&line, "Content-Length: 1\r\n")), *expected, "{query}");
    }
    for (key, expected) in [("", "400 bad_idempotency_key"), (&"k".repeat(257), "400 bad_idempotency_key")] {
        let fields = format!("Content-Length: 1\r\nIdempotency-Key: {key}\r\n");
        assert_eq!(code(control("POST /publish?topic=a", &fields)), expected);
        assert_eq!(code(control("POST /publish/batch", &fields)), expected);
    }
}

#[test]
fn a_wrong_path_leads_to_the_right_one() {
    let mut without_landing = policy(ListenerKind::Public, UrlProfile::Standard);
    without_landing.landing = false;
    let rows = [
        (public("GET /events/", ""), NOWHERE),
        (control("POST /publish/", ""), PUBLISH_PATHS),
        (control("POST /publish/news", "Content-Length: 1\r\n"), PUBLISH_PATHS),
        (control("GET /publish/news", ""), PUBLISH_PATHS),
        (control("POST /news", ""), PUBLISH_PATHS),
        (control("GET /news", ""), NOWHERE),
        (public("POST /publish/news", ""), PUBLISH_ON_CONTROL),
        (public("POST /topics/news", ""), PUBLISH_ON_CONTROL),
        (public("GET /metrics", ""), ON_CONTROL),
        (ask(&without_landing, "GET /", ""), ON_CONTROL),
        (
            ask(&policy(ListenerKind::Public, UrlProfile::BroadcastBenchmark), "GET /events", ""),
            NOT_IN_PROFILE,
        ),
    ];
    for (answer, expected) in rows {
        assert_eq!(answer, Err(Problem::NotFound(expected)));
    }
}

#[test]
fn the_benchmark_profile_serves_its_own_paths_only() {
    let bench = policy(ListenerKind::Public, UrlProfile::BroadcastBenchmark);
    let rows = [
        ("GET /sse", "", "BenchSubscribe"),
        ("GET /sse?x=%zz", "Accept: text/html\r\n", "BenchSubscribe"),
        ("GET /connections", "", "BenchConnections"),
        ("OPTIONS /sse", "", "BenchOptions"),
        ("OPTIONS /connections", "", "BenchOptions"),
        ("OPTIONS /broadcast", "", "404 not_found"),
        ("POST /broadcast", "Content-Length: 5\r\n", "BenchBroadcast"),
        ("POST /broadcast", "Transfer-Encoding: chunked\r\n", "BenchBroadcast"),
        ("POST /broadcast", "", "411 length_required"),
        ("POST /broadcast", "Content-Length: 5000\r\n", "413 body_too_large"),
        ("GET /broadcast", "", "404 not_found"),
        ("POST /sse", "", "404 not_found"),
        ("HEAD /sse", "", "404 not_found"),
        ("GET /events?topic=a", "", "404 not_found"),
        ("GET /healthz", "", "404 not_found"),
        ("GET /", "", "404 not_found"),
    ];
    for (line, fields, expected) in rows {
        assert_eq!(code(ask(&bench, line, fields)), expected, "{line:?}");
    }
    let its_control = policy(ListenerKind::Control, UrlProfile::BroadcastBenchmark);
    assert_eq!(code(ask(&its_control, "GET /metrics", "")), "Metrics");
    assert_eq!(code(ask(&its_control, "GET /sse", "")), "404 not_found");
}
