//! Parameters of a subscription as tables: a query, and its result.

use super::*;
use crate::base::settings::Settings;
use crate::wire::head::{HeadLimits, ParsedHead, parse};

fn ask(listener: ListenerKind, query: &str, fields: &str) -> Result<SubscribeRequest, Problem> {
    let text = format!("GET /events?{query} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let settings = Settings { topics_per_connection_max: 3, ..Settings::default() };
    match parse(text.as_bytes(), HeadLimits { bytes_max: 8_192, headers_max: 64 }) {
        ParsedHead::Head(head, _) => {
            parse_subscribe(&head, &ListenerPolicy::from_settings(&settings, listener))
        }
        other => panic!("{text:?}: {other:?}"),
    }
}

fn subscribed(query: &str, fields: &str) -> SubscribeRequest {
    ask(ListenerKind::Public, query, fields).unwrap_or_else(|problem| panic!("{query:?}: {problem:?}"))
}

/// Status and code of a refusal.
fn refusal(query: &str) -> String {
    match ask(ListenerKind::Public, query, "") {
        Ok(_) => format!("{query:?} was accepted"),
        Err(problem) => format!("{} {}", problem.status(), problem.code()),
    }
}

#[test]
fn an_event_source_is_known_by_what_it_asks_of_caches() {
    let rows = [
        ("Accept: text/event-stream\r\nCache-Control: no-cache\r\n", true),
        ("Accept: text/event-stream\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n", true),
        ("accept: TEXT/event-stream\r\ncache-control: max-age=0, NO-CACHE\r\n", true),
        ("Accept: text/html\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n", true),
        ("Accept: text/event-stream\r\nSec-Fetch-Mode: cors\r\n", false),
        ("Accept: text/event-stream\r\nCache-Control: no-store\r\n", false),
        ("Accept: */*\r\nCache-Control: no-cache\r\n", false),
        ("Accept: text/*\r\nCache-Control: no-cache\r\n", false),
        ("Cache-Control: no-cache\r\n", false),
        ("Accept: text/event-stream\r\n", false),
    ];
    for (fields, expected) in rows {
        assert_eq!(subscribed("topic=a", fields).event_source, expected, "{fields:?}");
        assert!(!subscribed("topic=a&wait_ms=1", fields).event_source, "a poll takes a status");
    }
}

#[test]
fn browsers_and_those_that_ask_are_told_their_position() {
    let source = "Accept: text/event-stream\r\nCache-Control: no-cache\r\n";
    let browser = format!("{source}User-Agent: Mozilla/5.0 (X11)\r\n");
    let rows = [
        ("topic=a", &browser[..], true),
        ("topic=a&prime=0", &browser, false),
        ("topic=a&prime=1", "", true),
        ("topic=a", "User-Agent: Mozilla/5.0\r\n", false),
        ("topic=a", source, false),
        ("topic=a", &format!("{source}User-Agent: mozilla/5.0\r\n"), false),
    ];
    for (query, fields, expected) in rows {
        assert_eq!(subscribed(query, fields).prime, expected, "{query} {fields}");
    }
    let own = ask(ListenerKind::Control, "topic=fanwheel.status", &browser);
    assert!(own.is_ok_and(|own| !own.prime), "its events have no ids");
}

#[test]
fn filters_last_and_clock_are_read() {
    let plain = subscribed("topic=a", "");
    assert_eq!(
        (plain.events.len(), plain.start, plain.clock, plain.form),
        (0, StreamStart::Now, false, FrameForm::Chunk)
    );
    let events = subscribed("topic=a&event=x&event=y+z&event=x&event=", "").events;
    assert_eq!(events, ["x".into(), "y z".into(), "message".into()] as [Box<str>; 3]);
    let starts = [
        ("last=0", StreamStart::Now),
        ("last=1", StreamStart::Newest(1)),
        ("last=050", StreamStart::Newest(50)),
        ("last=1000", StreamStart::Newest(1_000)),
        ("snapshot=1", StreamStart::Snapshot { changes: 0 }),
        ("last=5&snapshot=1", StreamStart::Snapshot { changes: 5 }),
        ("last=5&snapshot=0", StreamStart::Newest(5)),
    ];
    for (query, expected) in starts {
        assert_eq!(subscribed(&format!("topic=a&{query}"), "").start, expected, "{query}");
    }
    assert!(subscribed("topic=a&clock=1", "").clock);
    assert!(!subscribed("topic=a&clock=0", "").clock);
    assert!(subscribed("topic=a&buffered=1", "").buffered && !subscribed("topic=a", "").buffered);
    let polled = subscribed("topic=a&wait_ms=60000&clock=1", "");
    assert_eq!((polled.wait_ms, polled.form), (Some(60_000), FrameForm::Bare));
    assert_eq!((subscribed("topic=a&wait_ms=0", "").wait_ms, plain.wait_ms), (Some(0), None));
    let refused = [
        ("snapshot=yes", "400 bad_parameter"),
        ("wait_ms=60001", "400 bad_parameter"),
        ("wait_ms=", "400 bad_parameter"),
        ("wait_ms=-1", "400 bad_parameter"),
        ("wait_ms=1&wait_ms=1", "400 bad_parameter"),
        ("last=", "400 bad_last"),
        ("last=-1", "400 bad_last"),
        ("last=1.5", "400 bad_last"),
        ("last=x", "400 bad_last"),
        ("last=1001", "400 bad_last"),
        ("last=5000&last_event_id=5-0", "400 bad_last"),
        ("last=99999999999999999999999999", "400 bad_last"),
        ("last=1&last=1", "400 bad_last"),
        ("clock=yes", "400 bad_clock"),
        ("clock=", "400 bad_clock"),
        ("clock=1&clock=1", "400 bad_clock"),
        ("buffered=yes", "400 bad_buffered"),
        ("event=a%0A", "400 bad_event"),
        ("event=id:", "400 bad_event"),
        ("event=%ff", "400 bad_query"),
    ];
    for (query, expected) in refused {
        assert_eq!(refusal(&format!("topic=a&{query}")), expected, "{query}");
    }
    let many = |count: usize| (0..count).map(|n| format!("&event={n}")).collect::<String>();
    assert_eq!(subscribed(&format!("topic=a{}", many(32)), "").events.len(), 32);
    assert_eq!(refusal(&format!("topic=a{}", many(33))), "400 bad_event");
}

#[test]
fn resume_prefers_the_header_then_the_query_and_never_fails() {
    let at = |text: &str| StreamStart::After(EventId::parse(text.as_bytes()).expect("an id"));
    let unknown = |text: &str| StreamStart::Unknown(text.to_owned());
    let digits = "9".repeat(60);
    let long = "x".repeat(4_000);
    // B10: query, fields, start.
    let rows: &[(&str, &str, StreamStart)] = &[
        ("", "Last-Event-ID: 5-1\r\n", at("5-1")),
        ("last_event_id=5-1", "", at("5-1")),
        ("lastEventId=5-1", "", at("5-1")),
        ("last_event_id=6-0&lastEventId=7-0", "Last-Event-ID: 5-0\r\n", at("5-0")),
        ("lastEventId=7-0&last_event_id=6-0", "", at("6-0")),
        ("last=3&last_event_id=6-0", "", at("6-0")),
        ("lastEventID=6-0", "", at("6-0")),
        ("Last-Event-ID=6-0", "", at("6-0")),
        ("lasteventid=7-0&last_event_id=6-0", "", at("6-0")),
        ("lastEventID=7-0&lastEventId=6-0", "", at("6-0")),
        ("lastEventID=7-0", "Last-Event-ID: 6-0\r\n", at("6-0")),
        ("lastEventID=6-0&Last-Event-ID=7-0", "", unknown("6-0")),
        ("last_event_id=6-0", "Last-Event-ID:\r\n", at("6-0")),
        ("last_event_id=&lastEventId=7-0", "Last-Event-ID: \r\n", at("7-0")),
        ("last_event_id=&lastEventId=", "Last-Event-ID:\r\n", StreamStart::Now),
        ("last=3", "Last-Event-ID:\r\n", StreamStart::Newest(3)),
        ("", "Last-Event-ID: rubbish\r\n", unknown("rubbish")),
        ("last_event_id=6-0", "Last-Event-ID: rubbish\r\n", unknown("rubbish")),
        ("", "Last-Event-ID: -1\r\n", unknown("-1")),
        ("", "Last-Event-ID: $-1\r\n", unknown("$-1")),
        ("", "Last-Event-ID: 18446744073709551615\r\n", unknown("18446744073709551615")),
        ("", &format!("Last-Event-ID: {digits}\r\n"), unknown(&digits)),
        ("", &format!("Last-Event-ID: {long}\r\n"), unknown(&long[..128])),
        ("", "Last-Event-ID: 5-1\r\nLast-Event-ID: 6-1\r\n", unknown("5-1")),
        ("", "Last-Event-ID: 5-1\r\nLast-Event-ID: 5-1\r\n", unknown("5-1")),
        ("", "Last-Event-ID:\r\nLast-Event-ID: 6-1\r\n", unknown("")),
        ("last_event_id=5-1&last_event_id=6-1", "", unknown("5-1")),
        ("last_event_id=%FF%0A", "", unknown("\u{fffd}\n")),
    ];
    for (query, fields, expected) in rows {
        assert_eq!(subscribed(&format!("topic=a&{query}"), fields).start, *expected, "{query:?} {fields:?}");
    }
    assert_eq!(cut_text(&[0xff; 4_000]).len(), 126, "whole replacement characters only");
}

#[test]
fn patterns_stand_beside_topics_or_in_place_of_them() {
    let both = subscribed("topic=a&pattern=b.*&pattern=**&pattern=b.*", "");
    assert_eq!([0, 1, 2].map(|nth| both.channel(nth).to_owned()), ["a", "b.*", "**"]);
    assert_eq!(subscribed("pattern=%C3%A4.*", "").patterns.len(), 1);
    let rows = [
        ("", "400 no_topic"),
        ("pattern=", "400 bad_pattern"),
        ("pattern=a*", "400 bad_pattern"),
        ("pattern=**.a", "400 bad_pattern"),
        ("pattern=fanwheel.status", "400 bad_pattern"),
        ("pattern=%ff", "400 bad_query"),
        (
            "pattern=a&pattern=b&pattern=c&pattern=d&pattern=e&pattern=f&pattern=g&pattern=h&pattern=i",
            "400 too_many_patterns",
        ),
    ];
    for (query, expected) in rows {
        assert_eq!(refusal(query), expected, "{query}");
    }
    let settings = Settings { patterns: false, ..Settings::default() };
    let policy = ListenerPolicy::from_settings(&settings, ListenerKind::Public);
    assert_eq!(policy.patterns_per_connection_max, 0);
}
