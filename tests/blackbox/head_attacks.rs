//! Malformed request heads: versions, line ends, header names and values, hosts, sizes, targets. Refused the
//! same way however the bytes are cut up.

use crate::harness::{Conn, Launch, SOON, Server, Witness, ms};
use crate::rows::{CLOSE, Row, assert_all_refused, assert_answered_once, assert_refused, row};
use std::time::Instant;

fn start() -> Server {
    Launch::workers(4).start()
}

#[test]
fn other_versions_and_other_protocols_are_refused() {
    let server = start();
    let host = server.control;
    let mut rows: Vec<Row> = [
        "HTTP/0.9",
        "HTTP/2.0",
        "HTTP/9.9",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/257.257",
        "http/1.1",
        "HTTP/1.1\0",
        "HTTP/1.",
        "HTTP/1",
        "HTTP1.1",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "HTTP/1.1\t",
        "HTTP/1,1",
        "ICY/1.1",
        "HTTP/1.2x",
        "HTTP/-1.1",
        "HTTP/1.1.1",
    ]
    .iter()
    .map(|version| {
        let bytes = format!("GET /healthz {version}\r\nHost: {host}\r\n\r\n");
        row(format!("version {version:?}"), bytes, &[400, 505, CLOSE])
    })
    .collect();
    let other: [(&str, &[u8]); 9] = [
        ("simple request", b"GET /\r\n"),
        ("simple request with LF", b"GET /healthz\n"),
        ("h2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
        ("TLS hello", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x01\x02\x03\x04\r\n\r\n"),
        ("PROXY v1", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
        (
            "PROXY v2",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x01\x00\x02",
        ),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.0\r\n"),
        ("zeros", &[0; 64]),
    ];
    rows.extend(other.map(|(name, bytes)| row(name, bytes, &[400, 505, CLOSE])));
    assert_all_refused(&server, &rows);
}

#[test]
fn wrong_line_ends_are_refused() {
    let server = start();
    let host = server.control;
    let rows: Vec<Row> = [
        format!("GET /healthz HTTP/1.1\nHost: {host}\n\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\n\r\n"),
        format!("GET /healthz HTTP/1.1\nHost: {host}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\rX: y\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\rX\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\rHost: {host}\r\r"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\r\nHost: {host}\r\n\r\n"),
    ]
    .iter()
    .map(|bytes| row(format!("line ends of {bytes:?}"), bytes, &[400]))
    .collect();
    assert_all_refused(&server, &rows);
}

#[test]
fn malformed_header_fields_are_refused() {
    let server = start();
    let host = server.control;
    let fields: [&[u8]; 34] = [
        b"X Y: z",
        b"X\t: z",
        b"X : z",
        b" X: z",
        b"\tX: z",
        b"X\x01: z",
        b"X\x7F: z",
        b"X\xC3\xA9: z",
        b"X[: z",
        b"X(: z",
        b"X]: z",
        b"X{: z",
        b"X@: z",
        b"X,: z",
        b"X;: z",
        b"X\": z",
        b"X/: z",
        b"X\0: z",
        b"no colon",
        b": empty name",
        b":",
        b"X: a\r\n folded",
        b"X: a\r\n\tfolded",
        b"X: a\r\n b: c",
        b"X: nul \0 here",
        b"X: cr \r here",
        b"X: bel \x07 here",
        b"X: esc \x1B[31m",
        b"X: vt \x0B",
        b"X: ff \x0C",
        b"X: del \x7F",
        b"Na\r\nme: z",
        b"X=z",
        b"\xEF\xBB\xBFX: z",
    ];
    let request = |before: &[u8], after: &[u8]| {
        let start = b"GET /healthz HTTP/1.1\r\n".as_slice();
        [start, before, after, b"\r\n".as_slice()].concat()
    };
    let host_line = format!("Host: {host}\r\n").into_bytes();
    let mut rows = Vec::new();
    for field in fields {
        let line = [field, b"\r\n"].concat();
        let name = String::from_utf8_lossy(field).into_owned();
        rows.push(row(format!("last field {name:?}"), request(&host_line, &line), &[400]));
        if !matches!(field[0], b' ' | b'\t') {
            rows.push(row(format!("first field {name:?}"), request(&line, &host_line), &[400]));
        }
    }
    rows.push(row("first field with leading space", request(b" X: y\r\n", &host_line), &[400]));
    assert_all_refused(&server, &rows);
}

#[test]
fn missing_doubled_and_malformed_hosts_are_refused() {
    let server = start();
    let host = server.control;
    let rows: Vec<Row> = [
        String::new(),
        format!("Host: {host}\r\nHost: {host}\r\n"),
        format!("Host: {host}\r\nHost: other.test\r\n"),
        format!("Host: {host}\r\nhOST: {host}\r\n"),
        "Host: fan test\r\n".to_owned(),
        "Host: fan\0test\r\n".to_owned(),
        format!("Host: {host}, other.test\r\n"),
        format!("Host : {host}\r\n"),
    ]
    .iter()
    .map(|lines| {
        let bytes = format!("GET /healthz HTTP/1.1\r\n{lines}\r\n");
        row(format!("hosts {lines:?}"), bytes, &[400])
    })
    .collect();
    assert_all_refused(&server, &rows);
}

#[test]
fn malformed_request_lines_are_refused() {
    let server = start();
    let host = server.control;
    let rows: Vec<Row> = [
        "GET  /healthz HTTP/1.1",
        "GET /healthz  HTTP/1.1",
        "GET\t/healthz\tHTTP/1.1",
        " GET /healthz HTTP/1.1",
        "GET /heal thz HTTP/1.1",
        "GET HTTP/1.1",
        "/healthz HTTP/1.1",
        "GET",
        "GE\0T /healthz HTTP/1.1",
        "G(ET /healthz HTTP/1.1",
        "GET /healthz\0 HTTP/1.1",
        "GET /healthz\x01 HTTP/1.1",
        "GET \x7F/ HTTP/1.1",
        "GET healthz HTTP/1.1",
        "GET ?topic=a HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET\x0B/healthz HTTP/1.1",
    ]
    .iter()
    .map(|line| row(format!("line {line:?}"), format!("{line}\r\nHost: {host}\r\n\r\n"), &[400]))
    .collect();
    assert_all_refused(&server, &rows);
}

#[test]
fn oversized_heads_are_refused_within_the_head_limit() {
    let server = start();
    let mut witness = Witness::of(&server);
    let host = server.public;
    let before = server.resident_bytes();
    let long = |n: usize| "a".repeat(n);
    let get = |lines: &str| format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    let many: String = (0..20_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let some: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let rows = [
        row("URI of 64 kB", format!("GET /{} HTTP/1.1\r\n\r\n", long(64_000)), &[414, 431, 400, 413]),
        row(
            "URI of 2 MB",
            format!("GET /{} HTTP/1.1\r\n\r\n", long(2_000_000)),
            &[414, 431, 400, 413, CLOSE],
        ),
        row(
            "query of 64 kB",
            format!("GET /events?{} HTTP/1.1\r\n\r\n", long(64_000)),
            &[414, 431, 400, 413],
        ),
        row(
            "method of 5 kB",
            format!("{} / HTTP/1.1\r\n\r\n", long(5_000).to_uppercase()),
            &[400, 414, 431, 501],
        ),
        row("header of 64 kB", get(&format!("X: {}\r\n", long(64_000))), &[431, 400, 413]),
        row("header of 1 MB", get(&format!("X: {}\r\n", long(1_000_000))), &[431, 400, 413]),
        row("header name of 64 kB", get(&format!("{}: x\r\n", long(64_000))), &[431, 400, 413]),
        row("200 headers", get(&some), &[431, 400, 413]),
        row("20 000 headers", get(&many), &[431, 400, 413]),
        row("4 MB without end of line", long(4_000_000), &[414, 431, 400, 413, CLOSE]),
        row("4 MB of blank lines", "\r\n".repeat(2_000_000), &[414, 431, 400, 413, CLOSE]),
    ];
    for row in &rows {
        assert_refused(&row.name, &mut server.connect(), &row.bytes, usize::MAX, &row.allowed);
        witness.check(&row.name);
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 3_000_000, "memory grew by {grown}");
}

#[test]
fn hundred_oversized_heads_at_once_cost_their_limit_each() {
    let server = start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    let mut conns: Vec<Conn> = (0..100).map(|_| server.connect()).collect();
    for conn in &mut conns {
        conn.send(format!("GET /healthz HTTP/1.1\r\nHost: fan.test\r\nX: {}", "x".repeat(7_500)));
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 100 * 16_384 + 2_000_000, "memory grew by {grown}");
    drop(conns);
    witness.check("100 long heads");
}

#[test]
fn unusual_targets_and_methods_are_refused_without_harm() {
    let server = start();
    let host = server.control;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut rows: Vec<Row> = [
        "/events?topic=a#fragment",
        "/healthz#",
        "/healthz\\",
        "\\healthz",
        "/%00",
        "/%zz",
        "/healthz%",
        "/../healthz",
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/etc/passwd",
        "/./healthz",
        "/static/../healthz",
        "/healthz/..",
        "//healthz",
        "/healthz//",
        "/healthz;x=1",
        "/%68ealthz2",
        "/\u{e9}",
        "*",
        "/*",
    ]
    .iter()
    .map(|target| row(format!("target {target:?}"), get(target), &[400, 403, 404, 405]))
    .collect();
    let methods: [(&str, &[u16]); 9] = [
        ("OPTIONS *", &[200, 204, 400, 404, 405]),
        ("CONNECT fan.test:443", &[400, 403, 404, 405, 501]),
        ("CONNECT /healthz", &[400, 404, 405, 501]),
        ("TRACE /healthz", &[400, 404, 405, 501]),
        ("get /healthz", &[400, 404, 405, 501]),
        ("Get /healthz", &[400, 404, 405, 501]),
        ("BREW /healthz", &[400, 404, 405, 501]),
        ("GET ftp://127.0.0.1/healthz", &[200, 400, 404]),
        ("GET https://evil.test/metrics", &[400, 403, 421]),
    ];
    rows.extend(
        methods.map(|(line, allowed)| row(line, format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"), allowed)),
    );
    for header in ["X-HTTP-Method-Override: DELETE", "X-Method-Override: POST", "X-HTTP-Method: POST"] {
        let bytes = format!("GET /publish?topic=canary HTTP/1.1\r\nHost: {host}\r\n{header}\r\n\r\n");
        rows.push(row(header, bytes, &[400, 405]));
    }
    assert_answered_once(&server, &rows);
    let absolute = format!("GET http://{host}/healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(server.connect_control().ask(absolute).status, 200, "absolute-form is served");
}

#[test]
fn refusals_come_at_once() {
    let server = start();
    let start = Instant::now();
    for _ in 0..50 {
        let mut conn = server.connect();
        conn.send("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nBad Name: x\r\n");
        conn.send("\r\n");
        assert_eq!(conn.answer(SOON).expect("an answer").status, 400);
    }
    assert!(start.elapsed() < SOON, "{:?} for 50 refusals", start.elapsed());
}

#[test]
fn heads_with_the_cookies_and_fields_of_large_sites_are_served() {
    let server = start();
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let cookies = |bytes: usize| format!("Cookie: {}\r\n", "c".repeat(bytes));
    let host = server.public;
    for (lines, status) in [
        (cookies(9_000), 200),
        (cookies(32_000), 200),
        (cookies(33_000), 431),
        (fields(90), 200),
        (fields(99), 200),
        (fields(100), 431),
    ] {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        assert_eq!(server.connect().ask(&head).status, status, "{} bytes", head.len());
        let mut conn = server.connect();
        conn.send_pieces(head.as_bytes(), 997);
        assert_eq!(conn.answer(SOON).expect("an answer").status, status, "{} bytes in pieces", head.len());
    }
}

#[test]
fn long_heads_that_never_end_share_one_budget() {
    let server = Launch::workers(2).set("heads_bytes_max", 200_000).start();
    let mut witness = Witness::of(&server);
    let before = server.resident_bytes();
    let begin = |bytes: usize| {
        let mut conn = server.connect();
        conn.send(format!("GET /healthz HTTP/1.1\r\nHost: fan.test\r\nX: {}", "x".repeat(bytes)));
        conn
    };
    let mut slow: Vec<Conn> = (0..300).map(|_| begin(900)).collect();
    let mut refused = 0;
    let mut waiting = Vec::new();
    let long: Vec<Conn> = (0..100).map(|_| begin(12_000)).collect();
    server.await_metric("refused", SOON, |m| m.labelled("refused", "heads_full") >= 80);
    for mut conn in long {
        match conn.answer(ms(200)) {
            Ok(answer) => {
                assert_eq!((answer.status, answer.json()["error"].as_str()), (503, Some("heads_full")));
                refused += 1;
            }
            Err(_) => waiting.push(conn),
        }
    }
    assert!((5..=20).contains(&waiting.len()) && refused >= 80, "{} wait, {refused} refused", waiting.len());
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 3_000_000, "{grown} bytes for heads of 200000 at most");
    for conn in &mut slow {
        conn.send("\r\n\r\n");
        assert_eq!(conn.answer(SOON).expect("an answer").status, 200, "short heads are never refused");
    }
    for conn in &mut waiting {
        conn.send("\r\n\r\n");
        assert_eq!(conn.answer(SOON).expect("an answer").status, 200, "admitted heads go on");
    }
    let mut conn = begin(12_000);
    conn.send("\r\n\r\n");
    assert_eq!(conn.answer(SOON).expect("an answer").status, 200, "the budget is given back");
    drop((slow, waiting, conn));
    witness.check("long heads");
}
