//! Rates of one client: connections, requests and events a second, on the public listener alone.

use std::net::Ipv4Addr;

use crate::harness::{ConfigFile, Conn, Launch, Response, SOON, Server, Stream, ms, with_1_and_4_workers};
use crate::tokens::{ask, bearer, token_table};

const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const MODEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
const WRITER: &str = "token-of-the-writer";
const OTHER: &str = "token-of-another-writer";
const EVENT_SOURCE: &str = "Accept: text/event-stream\r\nCache-Control: no-cache\r\n";

fn open(server: &Server, from: Ipv4Addr) -> Conn {
    Conn::open_from(from, server.public, 0).expect("loopback")
}

fn assert_too_fast(answer: &Response, code: &str) {
    assert_eq!((answer.status, answer.json()["error"].as_str()), (429, Some(code)), "{}", answer.text());
    let seconds: u64 = answer.header("retry-after").expect("a time to come back").parse().expect("seconds");
    assert!((1..8).contains(&seconds));
}

#[test]
fn an_address_that_asks_too_fast_is_told_so_and_nobody_else() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("address_requests_per_second", 20).start();
        let mut kept = Stream::open(open(&server, GREEDY), "topic=a", "");
        let ask = |from, line: &str, fields: &str| {
            open(&server, from).ask(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
        };
        let statuses: Vec<u16> = (0..60).map(|_| ask(GREEDY, "GET /healthz", "").status).collect();
        let served = statuses.iter().filter(|&&status| status == 200).count();
        assert!(
            (20..45).contains(&served) && statuses[..20].iter().all(|&status| status == 200),
            "{statuses:?}"
        );
        assert_too_fast(&ask(GREEDY, "GET /events?topic=a", ""), "address_request_rate");
        assert_too_fast(
            &ask(GREEDY, "POST /publish?topic=a", "Content-Length: 0\r\n"),
            "address_request_rate",
        );
        // A status other than 200 would silence a browser for good.
        let end = ask(GREEDY, "GET /events?topic=a", EVENT_SOURCE);
        assert!(end.status == 200 && end.text().starts_with("retry: "), "{}", end.text());
        assert_eq!(ask(MODEST, "GET /healthz", "").status, 200);
        assert_eq!(Server::get_from(server.control, "/healthz").status, 200);
        server.publish("a", "still here");
        assert_eq!(kept.event().data, "still here");
        assert!(server.metrics().labelled("refused", "address_request_rate") >= 18);
    });
}

#[test]
fn new_connections_of_one_address_have_a_rate() {
    with_1_and_4_workers(|workers| {
        let server = Launch::workers(workers).set("address_connects_per_second", 5).start();
        let subscribe = |from, fields: &str| {
            let mut conn = open(&server, from);
            conn.send(format!("GET /events?topic=a HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            conn
        };
        let mut conns: Vec<Conn> = (0..12).map(|_| subscribe(GREEDY, "")).collect();
        let statuses: Vec<u16> =
            conns.iter_mut().map(|conn| conn.head(SOON).expect("an answer").status).collect();
        let served = statuses.iter().filter(|&&status| status == 200).count();
        assert!((5..12).contains(&served) && statuses.contains(&429), "{statuses:?}");
        let mut late = open(&server, GREEDY);
        assert_too_fast(&late.ask("GET /events?topic=a HTTP/1.1\r\nHost: a\r\n\r\n"), "address_connect_rate");
        assert_eq!(subscribe(GREEDY, EVENT_SOURCE).head(SOON).expect("an answer").status, 200);
        assert_eq!(subscribe(MODEST, "").head(SOON).expect("an answer").status, 200);
        std::thread::sleep(ms(1_300));
        assert_eq!(subscribe(GREEDY, "").head(SOON).expect("an answer").status, 200, "it has waited");
    });
}

#[test]
fn a_client_behind_a_trusted_proxy_has_a_rate_of_its_own_and_the_proxy_none() {
    let launch = Launch::workers(1).set("trusted_proxies", "127.0.0.9").set("address_requests_per_second", 3);
    let server = launch.set("address_connects_per_second", 3).start();
    let ask = |fields: &str| {
        open(&server, GREEDY).ask(format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).status
    };
    let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let greedy: Vec<u16> = (0..10).map(|_| ask(&of("192.0.2.1"))).collect();
    assert!(greedy[..3] == [200; 3] && greedy[8..] == [429; 2], "{greedy:?}");
    // Neighbours in a /64 are one client.
    let neighbours: Vec<u16> = (0..10).map(|n| ask(&of(&format!("2001:db8::{n}")))).collect();
    assert!(neighbours[..3] == [200; 3] && neighbours[8..] == [429; 2], "{neighbours:?}");
    assert_eq!([ask(&of("192.0.2.2")), ask(&of("2001:db8:0:1::1"))], [200; 2]);
    assert!((0..10).all(|_| ask("") == 200), "the proxy's own checks");
}

#[test]
fn publishers_have_rates_by_address_and_by_token_and_a_batch_counts_its_events() {
    let tables: Vec<String> = [("writer", WRITER), ("other", OTHER)]
        .map(|(name, token)| token_table(name, token, "publish = ['**']"))
        .to_vec();
    for (setting, code) in [
        ("token_publishes_per_second", "token_publish_rate"),
        ("address_publishes_per_second", "address_publish_rate"),
    ] {
        let file = ConfigFile::new(&format!("rates-{code}"), &tables.concat());
        let server = Launch::workers(1).set("config", &file.0).set(setting, 10).start();
        let mut stream = server.subscribe("topic=a");
        let publish = |token: &str, body: &str| ask(&server, "POST /publish?topic=a", &bearer(token), body);
        let batch = |token: &str, lines: usize| {
            let body = "{\"topic\":\"a\",\"data\":\"x\"}\n".repeat(lines);
            ask(&server, "POST /publish/batch", &bearer(token), &body)
        };
        assert_eq!(publish(WRITER, "first").status, 202);
        assert_eq!(batch(WRITER, 30).status, 202);
        assert_too_fast(&publish(WRITER, "second"), code);
        assert_too_fast(&batch(WRITER, 1), code);
        let other = publish(OTHER, "third");
        match code {
            "token_publish_rate" => assert_eq!(other.status, 202),
            _ => assert_too_fast(&other, code),
        }
        assert!(!server.publish("a", "last").is_empty(), "the control listener has no rate");
        let mut texts: Vec<String> = Vec::new();
        while texts.last().is_none_or(|text| text != "last") {
            texts.push(stream.event().data);
        }
        assert!(!texts.contains(&"second".to_owned()) && texts.len() >= 32, "{texts:?}");
        std::thread::sleep(ms(2_400));
        assert_eq!(publish(WRITER, "paid").status, 202);
    }
}
