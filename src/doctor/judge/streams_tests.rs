//! Facts about the judgement of invented paths.

use super::*;
use crate::doctor::finding::{is_fine, text};

const PAGE: &str = "https://page.example";

fn fields(lines: &[&str]) -> Vec<(String, String)> {
    let split = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    lines.iter().map(|line| split(line).expect("a field")).collect()
}

fn head(lines: &[&str]) -> Option<(u16, Vec<(String, String)>)> {
    Some((200, fields(&[&["Content-Type: text/event-stream"], lines].concat())))
}

/// Observations of a path without any fault.
fn good() -> StreamObservations {
    StreamObservations {
        connect_ms: 5,
        head: head(&["Access-Control-Allow-Origin: *"]),
        first_byte_ms: Some(8),
        patience_ms: 5_000,
        events_ms: vec![Some(3); 5],
        counted: true,
        came_unasked: Some(true),
        departure: Some(DepartureResult { ms: 250, events: 1, freed: true }),
        resumed: ResumptionResult { by_header: Some(true), by_query: Some(true) },
        origin: PAGE.to_owned(),
        origin_chosen: true,
        compression: CompressionResult::Plain,
        preflight: Some((204, fields(&["Access-Control-Allow-Headers: last-event-id, authorization"]))),
        http2: Some(Http2Result::Spoken { first_byte_ms: Some(9), streams_max: Some(128) }),
        idle: IdleStream { watched_ms: 20_000, longest_silence_ms: 15_000, ended: None, comments: 2 },
        ..StreamObservations::default()
    }
}

/// Returns the only finding that is not good: its key, verdict and first remedy.
fn only_fault(seen: &StreamObservations) -> (String, Verdict, String) {
    let all = findings(seen);
    let not_good: Vec<&Finding> = all.iter().filter(|finding| finding.verdict != Verdict::Ok).collect();
    let [one] = not_good[..] else { panic!("{} not good:\n{}", not_good.len(), text(&all)) };
    (one.key.clone(), one.verdict, one.fix.first().cloned().unwrap_or_default())
}

#[test]
fn a_good_way_has_no_fault() {
    let all = findings(&good());
    assert!(all.iter().all(|finding| finding.verdict == Verdict::Ok), "{}", text(&all));
    assert!(all.len() >= 9);
}

/// Fails unless this key alone is not good, with this verdict and, where it is one of `nginx`'s, this advice.
fn check(seen: &StreamObservations, key: &str, verdict: Verdict, advice: &str) {
    let fault = only_fault(seen);
    assert_eq!((&fault.0[..], fault.1), (key, verdict), "{seen:?}");
    assert!(fault.2.starts_with(advice), "{fault:?}");
    assert_eq!(is_fine(&findings(seen)), verdict != Verdict::Bad);
}

#[test]
fn what_keeps_bytes_back_is_told_with_its_remedy() {
    let late = |ms| vec![Some(ms); 5];
    for first_byte_ms in [None, Some(1_100)] {
        check(
            &StreamObservations { first_byte_ms, ..good() },
            "first byte",
            Verdict::Bad,
            "nginx: `proxy_buffering off",
        );
    }
    let key = "events one by one";
    for events_ms in [vec![Some(3), None], late(1_200)] {
        check(&StreamObservations { events_ms, ..good() }, key, Verdict::Bad, "nginx: `proxy_buffering off");
    }
    check(
        &StreamObservations { events_ms: late(205), ..good() },
        key,
        Verdict::Bad,
        "nginx: `tcp_nodelay on",
    );
    let unpublished = Some(PublishObstacle::OwnTopicRefused);
    check(&StreamObservations { unpublished, ..good() }, key, Verdict::Note, "--url with credentials");
    for (flushed, verdict) in [(Some(false), Verdict::Bad), (None, Verdict::Note)] {
        let compression = CompressionResult::Squeezed { encoding: "gzip".to_owned(), flushed };
        check(
            &StreamObservations { compression, ..good() },
            "compression",
            verdict,
            "nginx: take text/event-stream out",
        );
    }
}

#[test]
fn a_silent_stream_that_ends_is_told_with_its_silence() {
    let rows = [
        (StreamEnd::Cut, 10_000, Verdict::Bad, "cut after 10.0 s of silence"),
        (StreamEnd::Cut, 500, Verdict::Bad, "cut after 60.0 s, 0.5 s after its last byte"),
        (StreamEnd::Clean, 10_000, Verdict::Bad, "cut after 10.0 s of silence"),
        (StreamEnd::Clean, 2, Verdict::Note, "ended in order after 60.0 s"),
    ];
    for (end, silence_ms, verdict, words) in rows {
        let ended = Some((end, silence_ms));
        let idle = IdleStream { watched_ms: 60_000, longest_silence_ms: 15_000, ended, comments: 3 };
        let seen = StreamObservations { idle, ..good() };
        let advice = if verdict == Verdict::Bad { "nginx: `proxy_read_timeout`" } else { "" };
        check(&seen, "quiet stream", verdict, advice);
        let all = findings(&seen);
        assert!(all.iter().any(|row| row.found == words), "{}", text(&all));
    }
    let short = IdleStream { watched_ms: 5_000, longest_silence_ms: 3, ended: None, comments: 1 };
    check(&StreamObservations { idle: short, ..good() }, "quiet stream", Verdict::Note, "--idle-seconds");
}

#[test]
fn what_is_lost_on_the_way_is_told_with_its_remedy() {
    let (header, query) = ("Last-Event-ID, header", "last_event_id, query");
    check(
        &StreamObservations {
            resumed: ResumptionResult { by_header: Some(false), by_query: Some(true) },
            ..good()
        },
        header,
        Verdict::Bad,
        "nginx: no `proxy_set",
    );
    check(
        &StreamObservations {
            resumed: ResumptionResult { by_header: Some(true), by_query: Some(false) },
            ..good()
        },
        query,
        Verdict::Bad,
        "nginx: no `proxy_set",
    );
    check(
        &StreamObservations { resumed: ResumptionResult { by_header: None, by_query: Some(true) }, ..good() },
        header,
        Verdict::Unknown,
        "",
    );
    check(
        &StreamObservations { head: head(&[]), ..good() },
        "CORS, stream",
        Verdict::Bad,
        "nginx: the server sends these",
    );
    check(
        &StreamObservations { preflight: Some((405, vec![])), ..good() },
        "CORS, preflight",
        Verdict::Bad,
        "nginx: the",
    );
    for http2 in [Some(Http2Result::NotOffered), None] {
        check(
            &StreamObservations { http2, ..good() },
            "HTTP/2",
            Verdict::Note,
            "nginx: `listen 443 ssl http2;`",
        );
    }
}

#[test]
fn a_stream_that_is_kept_back_is_told_and_what_cannot_be_seen_is_not_judged() {
    let seen = StreamObservations {
        head: None,
        first_byte_ms: None,
        events_ms: vec![None; 2],
        compression: CompressionResult::Unseen,
        resumed: ResumptionResult::default(),
        preflight: Some((204, fields(&["Server: nginx", "Access-Control-Allow-Headers: *"]))),
        idle: IdleStream { watched_ms: 20_000, ..IdleStream::default() },
        ..good()
    };
    let all = findings(&seen);
    let of =
        |verdict| all.iter().filter(|row| row.verdict == verdict).map(|row| &row.key[..]).collect::<Vec<_>>();
    assert_eq!(of(Verdict::Bad), ["first byte", "events one by one"], "{}", text(&all));
    assert_eq!(of(Verdict::Unknown).len(), 5, "{}", text(&all));
    assert_eq!(all[0].found, "nginx");
    let withheld = StreamObservations { compression: CompressionResult::Withheld, ..good() };
    assert_eq!(only_fault(&withheld).0, "compression");
}

#[test]
fn a_long_way_is_not_taken_for_a_buffer() {
    let seen = StreamObservations {
        connect_ms: 300,
        first_byte_ms: Some(1_500),
        events_ms: vec![Some(700)],
        ..good()
    };
    assert!(is_fine(&findings(&seen)), "{}", text(&findings(&seen)));
}

#[test]
fn origins_are_judged_as_browsers_do() {
    let own = format!("Access-Control-Allow-Origin: {PAGE}");
    let rows: &[(&[&str], bool, Verdict)] = &[
        (&["Access-Control-Allow-Origin: *"], true, Verdict::Ok),
        (&[&own], true, Verdict::Ok),
        (&["Access-Control-Allow-Origin: https://other"], true, Verdict::Bad),
        (&["Access-Control-Allow-Origin: https://other"], false, Verdict::Note),
        (&[], false, Verdict::Note),
        (&["Access-Control-Allow-Origin: *", "Access-Control-Allow-Origin: *"], false, Verdict::Bad),
        (&["Access-Control-Allow-Origin: *, *"], false, Verdict::Bad),
    ];
    for (lines, chosen, expected) in rows {
        let seen = StreamObservations { head: head(lines), origin_chosen: *chosen, ..good() };
        let all = findings(&seen);
        let row = all.iter().find(|finding| finding.key == "CORS, stream").expect("always judged");
        assert_eq!(row.verdict, *expected, "{lines:?} {chosen}");
    }
}

#[test]
fn an_answer_that_is_no_stream_is_the_finding() {
    for (status, kind, words) in [
        (502, "text/html", "in the server's place"),
        (404, "application/json", "nobody knows the path"),
        (200, "text/html", "gives up for good"),
        (403, "text/html", "credentials"),
        (400, "text/html", "https://"),
        (301, "text/html", "leads elsewhere"),
        (503, "text/html", "in the server's place"),
        (503, "application/json", "refuses newcomers now"),
    ] {
        let lines = fields(&[&format!("Content-Type: {kind}"), "Server: nginx"]);
        let all = findings(&StreamObservations { head: Some((status, lines)), ..good() });
        let row = all.iter().find(|finding| finding.key == "answer").expect("told");
        assert!(row.why.contains(words) && !is_fine(&all), "{}", text(&all));
    }
}

#[test]
fn a_proxy_that_only_a_field_keeps_from_buffering_is_told() {
    let nginx = head(&["Access-Control-Allow-Origin: *", "Server: nginx/1.22.1"]);
    let key = "proxy buffering";
    let seen = StreamObservations { head: nginx, came_unasked: Some(false), ..good() };
    check(&seen, key, Verdict::Bad, "nginx: `proxy_buffering off;");
    let all = findings(&seen);
    let row = all.iter().find(|row| row.key == key).expect("told");
    assert_eq!(row.found, "on: nothing within 5000 ms without X-Accel-Buffering: no");
    assert_eq!(row.fix.len(), 1, "no other proxy knows that field");
    assert!(findings(&good()).iter().all(|row| !row.why.contains("buffer")), "a fault where there is none");
    check(&StreamObservations { came_unasked: None, ..good() }, key, Verdict::Unknown, "");
    // A path that keeps everything back has that as its only fault.
    for seen in [StreamObservations { first_byte_ms: None, came_unasked: None, ..seen }, good()] {
        assert!(findings(&seen).iter().all(|row| row.key != key), "{seen:?}");
    }
}

#[test]
fn what_answers_nothing_is_not_called_a_buffer() {
    let closed = StreamObservations { head: None, closed_ms: Some(3), preflight: None, ..good() };
    let silent = StreamObservations { head: None, first_byte_ms: None, preflight: None, ..good() };
    for (seen, found, why) in [
        (closed, "none: closed after 3 ms", "https://"),
        (silent, "none within 5000 ms, not even to a preflight", "says nothing"),
    ] {
        let all = findings(&seen);
        let row = all.iter().find(|row| row.key == "answer").expect("told");
        assert_eq!((&row.found[..], row.verdict, all.len()), (found, Verdict::Bad, 2));
        assert!(row.why.contains(why) && !text(&all).contains("buffer"), "{}", text(&all));
    }
}

#[test]
fn http2_that_is_offered_must_be_spoken_and_bring_the_first_byte() {
    let spoken = |first_byte_ms| Some(Http2Result::Spoken { first_byte_ms, streams_max: None });
    let rows = [
        (spoken(None), "spoken, but no first byte within 5000 ms", "nginx: `proxy_buffering off;"),
        (
            spoken(Some(2_000)),
            "spoken, but the first byte came after 2000 ms",
            "nginx: `proxy_buffering off;",
        ),
        (Some(Http2Result::Unspoken), "offered, but not spoken", "nginx: `listen 443 ssl http2;`"),
    ];
    for (http2, found, advice) in rows {
        let seen = StreamObservations { http2, ..good() };
        check(&seen, "HTTP/2", Verdict::Bad, advice);
        assert!(findings(&seen).iter().any(|row| row.found == found), "{}", text(&findings(&seen)));
    }
}

#[test]
fn a_certificate_that_was_named_is_noted() {
    check(&StreamObservations { trusted_by_name: true, ..good() }, "certificate", Verdict::Note, "");
}

#[test]
fn a_place_that_is_not_freed_is_told_with_its_remedy() {
    let key = "clients that leave";
    let left = Some(DepartureResult { ms: 2_000, events: 8, freed: false });
    check(
        &StreamObservations { departure: left, ..good() },
        key,
        Verdict::Bad,
        "nginx: no `proxy_ignore_client",
    );
    let left = Some(DepartureResult { ms: 750, events: 3, freed: true });
    let apache = head(&["Access-Control-Allow-Origin: *", "Server: Apache"]);
    check(
        &StreamObservations { departure: left, head: apache, ..good() },
        key,
        Verdict::Note,
        "Apache: it has no setting",
    );
    let alb = head(&["Access-Control-Allow-Origin: *", "Server: awselb/2.0"]);
    let (_, _, fix) = only_fault(&StreamObservations { departure: left, head: alb, ..good() });
    assert_eq!(fix, "", "there is no advice for this one, and that of others is not asked for");
    check(&StreamObservations { departure: None, ..good() }, "clients that leave", Verdict::Unknown, "");
}

#[test]
fn a_stream_that_ends_while_events_come_is_not_called_buffered() {
    let (key, events_ms) = ("events one by one", vec![Some(3), Some(3)]);
    let cut =
        StreamObservations { ended: Some((StreamEnd::Cut, 900)), events_ms: events_ms.clone(), ..good() };
    check(&cut, key, Verdict::Bad, "nginx: `proxy_read_timeout`");
    let over = StreamObservations { ended: Some((StreamEnd::Clean, 700)), events_ms, ..good() };
    check(&over, key, Verdict::Note, "");
    let all = findings(&over);
    assert!(all.iter().any(|row| row.found == "2 until the stream ended in order after 0.7 s"));
}
