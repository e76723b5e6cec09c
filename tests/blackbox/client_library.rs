//! The client library of pages: the module that the server hands out, and the beacons that it sends back.

use crate::harness::{Launch, Response, SOON, Server, assert_problem, poll_until};

#[test]
fn a_page_of_any_origin_loads_the_library_and_keeps_it_by_its_version() {
    let server = Launch::workers(1).set("cors_origins", "https://listed.test").start();
    let first = Server::get_from(server.public, "/client.js");
    assert_eq!((first.status, first.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    let on_disk = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/js/fanwheel.min.js");
    let on_disk = std::fs::read_to_string(on_disk).expect("the library");
    assert_eq!(first.text(), on_disk);
    let tag = first.header("etag").expect("a tag").to_owned();
    let rows = [
        ("/client.js".to_owned(), "no-cache"),
        ("/client.js?v=0".to_owned(), "no-cache"),
        (format!("/client.js?v={}", tag.trim_matches('"')), "public, max-age=31536000, immutable"),
    ];
    for (path, cache) in rows {
        let answer = Server::get_from(server.public, &path);
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some(cache)), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), Some("cross-origin"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{path}");
    }
    let again = format!("GET /client.js HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\n\r\n");
    assert_eq!(server.connect().ask(again).status, 304);
    assert_eq!(server.get("/client.js").status, 200, "the control listener has it, too");
    let post = "POST /client.js HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_problem("POST", &server.connect().ask(post), &[405]);
    assert_problem("two versions", &Server::get_from(server.public, "/client.js?v=1&v=2"), &[400]);
}

fn beacon(server: &Server, body: &str) -> Response {
    let length = body.len();
    server.connect().ask(format!(
        "POST /client-metrics HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    ))
}

#[test]
fn beacons_of_pages_add_up_and_a_lie_is_bounded() {
    let server = Launch::workers(1).start();
    let told = || server.get("/status").json()["pages"].clone();
    assert!(told().is_null(), "no page has said anything");
    let body = |events: u64| {
        format!(
            "{{\"connects\":1,\"connect_ms\":12,\"connected_ms\":900,\"total_ms\":1000,\"events\":{events},\
             \"bytes\":321,\"gaps\":2,\"duplicates\":3,\"delays\":[1,0,0,0,4,0,0,0,0,0,0,2],\
             \"reconnects\":{{\"cut\":2}}}}"
        )
    };
    for _ in 0..3 {
        let answer = beacon(&server, &body(5));
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
    }
    let long = format!("{}{}", body(5), " ".repeat(2_048));
    for (what, bad) in [("a lie", body(u64::MAX)), ("no beacon", "{}".to_owned()), ("too long", long)] {
        assert_problem(what, &beacon(&server, &bad), &[400]);
    }
    assert_problem("GET", &Server::get_from(server.public, "/client-metrics"), &[405]);
    let page = server.get("/metrics").text().to_owned();
    for line in [
        "fanwheel_client_beacons_total 3",
        "fanwheel_client_connects_total 3",
        "fanwheel_client_connected_seconds_total 2.7",
        "fanwheel_client_observed_seconds_total 3",
        "fanwheel_client_events_total 15",
        "fanwheel_client_gaps_total 6",
        "fanwheel_client_duplicates_total 9",
        "fanwheel_client_reconnects_total{cause=\"cut\"} 6",
        "fanwheel_client_reconnects_total{cause=\"held\"} 0",
        "fanwheel_client_delay_seconds_bucket{le=\"0.005\"} 3",
        "fanwheel_client_delay_seconds_bucket{le=\"0.1\"} 15",
        "fanwheel_client_delay_seconds_count 21",
    ] {
        assert!(page.lines().any(|have| have == line), "{line} is missing");
    }
    // The delays are those of the samples of the last minute, one a second.
    let mut pages = poll_until(SOON, || Some(told()).filter(|pages| !pages["delay_ms"]["p99"].is_null()))
        .unwrap_or_else(|| panic!("no delays in {}", told()));
    let reconnects = pages["reconnects"].take();
    assert_eq!((&reconnects["cut"], reconnects.as_object().map(|causes| causes.len())), (&6.into(), Some(7)));
    let expected = serde_json::json!({
        "trusted": false, "beacons": 3, "beacons_dropped": 0, "connects": 3, "connect_ms_mean": 12.0,
        "connected_share": 0.9, "delay_ms": { "p50": 100, "p99": 20_000 }, "events": 15, "bytes": 963,
        "gaps": 6, "duplicates": 9, "reconnects": null,
    });
    assert_eq!(pages, expected);
    for _ in 0..400 {
        assert_eq!(beacon(&server, &body(1)).status, 204);
    }
    let page = server.get("/metrics").text().to_owned();
    let dropped = page.lines().find_map(|line| line.strip_prefix("fanwheel_client_beacons_dropped_total "));
    let dropped: u64 = dropped.expect("the counter").parse().expect("a number");
    assert!(dropped > 0, "400 beacons at once are more than a second's share");
}
