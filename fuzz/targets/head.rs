//! Request heads and routes: no panic, nothing consumed that is not there, the same verdict byte by byte.
#![no_main]

use fanwheel::base::listener::ListenerKind;
use fanwheel::base::settings::{Settings, UrlProfile};
use fanwheel::wire::cors::Cors;
use fanwheel::wire::head::{Head, HeadLimits, ParsedHead, parse};
use fanwheel::wire::problem::Problem;
use fanwheel::wire::reply::{self, Reply};
use fanwheel::wire::policy::ListenerPolicy;
use fanwheel::wire::request::{Request, route};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 1_024, headers_max: 16 };

fuzz_target!(|data: &[u8]| {
    let first = (0..=data.len().min(LIMITS.bytes_max + 1))
        .map(|len| parse(&data[..len], LIMITS))
        .find(|parsed| !matches!(parsed, ParsedHead::More));
    match (parse(data, LIMITS), first) {
        (ParsedHead::Head(head, used), Some(ParsedHead::Head(_, first_used))) => {
            assert!(used == first_used && used <= data.len() && used <= LIMITS.bytes_max);
            assert!(data[..used].ends_with(b"\r\n\r\n"));
            check_head(&head);
        }
        // Which of two faults is told may depend on how much was there; that one is told must not.
        (ParsedHead::Bad(whole), Some(ParsedHead::Bad(first))) => {
            assert!(whole.closes() && first.closes());
            assert!(whole.status() == first.status() || [400, 431].contains(&first.status()));
            check_answer(&whole);
        }
        (ParsedHead::More, None) => assert!(data.len() < LIMITS.bytes_max),
        (whole, first) => panic!("whole {whole:?}, in pieces {first:?}"),
    }
});

fn check_head(head: &Head<'_>) {
    let fields = &head.fields;
    let slices = [fields.host, fields.origin, fields.content_type, fields.last_event_id];
    let slices = [Some(head.path), Some(head.query)].into_iter().chain(slices).flatten();
    for slice in slices {
        assert!(!slice.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }
    assert!(head.path.starts_with(b"/") || head.path == b"*");
    assert!(head.fields.host.is_some() || !head.http11);
    for listener in [ListenerKind::Public, ListenerKind::Control, ListenerKind::Metrics] {
        for profile in [UrlProfile::Standard, UrlProfile::BroadcastBenchmark] {
            match route(head, &policy(listener, profile)) {
                Ok(request) => check_request(&request),
                Err(problem) => check_answer(&problem),
            }
        }
    }
}

fn check_request(request: &Request) {
    let topics = match request {
        Request::Subscribe(subscribe) => &subscribe.topics,
        Request::Publish(publish) => &publish.topics,
        _ => return,
    };
    assert!((1..=4).contains(&topics.len()));
    for (index, topic) in topics.iter().enumerate() {
        assert!((1..=128).contains(&topic.len()) && !topic.chars().any(char::is_control));
        assert!(!topics[..index].contains(topic));
    }
}

/// Whatever is answered is one head and one body, of the length it says.
fn check_answer(problem: &Problem) {
    let mut out = Vec::new();
    let reply = Reply {
        status: 200,
        http11: true,
        keep_alive: true,
        idle_ms: 75_000,
        head_only: false,
        cors: &Cors::Any,
        origin: None,
        retry_after_s: None,
        allow: None,
        challenge: None,
        wall_ms: 0,
    };
    reply::append_problem(&mut out, problem, &reply);
    let text = std::str::from_utf8(&out).expect("answers are UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    assert!((400..=505).contains(&problem.status()) && problem.status() != 500);
}

fn policy(listener: ListenerKind, profile: UrlProfile) -> ListenerPolicy {
    let settings = Settings {
        profile,
        control_names: vec!["hub.internal".to_owned()],
        topics_per_connection_max: 4,
        patterns_per_connection_max: 2,
        publish_bytes_max: 1_000,
        ..Settings::default()
    };
    ListenerPolicy::from_settings(&settings, listener)
}
