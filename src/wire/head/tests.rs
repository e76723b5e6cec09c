//! Requests from FAULTS group A that the head decides, each whole and byte by byte.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes_max: 8_192, headers_max: 64 };

/// Expected result of a row: a status, or 0 for "wait", or 200 for a head.
fn status_of(buf: &[u8]) -> u16 {
    match parse(buf, LIMITS) {
        ParsedHead::More => 0,
        ParsedHead::Head(..) => 200,
        ParsedHead::Bad(problem) => {
            assert!(problem.closes(), "where the next request begins is unknown: {problem:?}");
            problem.status()
        }
    }
}

/// The verdict must not depend on how the bytes were cut: byte by byte, nothing is a head before the whole is
/// one, and a refused head stays refused for the same reason.
fn check(buf: &[u8], expected: u16) {
    let shown = String::from_utf8_lossy(&buf[..buf.len().min(120)]).into_owned();
    assert_eq!(status_of(buf), expected, "{shown:?}");
    let first = (0..=buf.len()).map(|len| status_of(&buf[..len])).find(|&status| status != 0).unwrap_or(0);
    assert_eq!(first, expected, "byte by byte: {shown:?}");
}

fn head(buf: &[u8]) -> Head<'_> {
    match parse(buf, LIMITS) {
        ParsedHead::Head(head, used) => {
            assert_eq!(used, buf.len());
            head
        }
        other => panic!("{other:?}"),
    }
}

/// A GET with these further field lines.
fn with(fields: &str) -> Vec<u8> {
    format!("GET /events?topic=a HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n").into_bytes()
}

#[test]
fn good_heads_are_read_whatever_their_form() {
    let rows: &[(&str, &str, &str, Option<&str>)] = &[
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "", Some("a")),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "", Some("a")),
        ("GET /events?a=b?c HTTP/1.1\r\nhOST:a:80\r\n\r\n", "/events", "a=b?c", Some("a:80")),
        ("GET /%00/../x HTTP/1.1\r\nHost: [::1]:80 \t\r\n\r\n", "/%00/../x", "", Some("[::1]:80")),
        ("GET http://b.test:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "/x", "y", Some("b.test:81")),
        ("GET HTTPS://b.test HTTP/1.1\r\nHost: a\r\n\r\n", "/", "", Some("b.test")),
        ("GET http://b.test?y HTTP/1.1\r\nHost: a\r\n\r\n", "/", "y", Some("b.test")),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "", Some("a")),
        ("GET //a//b HTTP/1.0\r\n\r\n", "//a//b", "", None),
        ("GET /a|[]{}\"<>^`' HTTP/1.0\r\n\r\n", "/a|[]{}\"<>^`'", "", None),
        ("M-SEARCH / HTTP/1.0\r\n\r\n", "/", "", None),
    ];
    for (text, path, query, host) in rows {
        check(text.as_bytes(), 200);
        let head = head(text.as_bytes());
        assert_eq!(head.path, path.as_bytes(), "{text:?}");
        assert_eq!(head.query, query.as_bytes(), "{text:?}");
        assert_eq!(head.fields.host, host.map(str::as_bytes), "{text:?}");
    }
}

#[test]
fn framing_that_two_servers_could_read_in_two_ways_is_refused() {
    let rows: &[(&str, u16)] = &[
        // A1
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400),
        // A2
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5, 6\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: -5\r\n", 400),
        ("Content-Length: 0x5\r\n", 400),
        ("Content-Length: 5 5\r\n", 400),
        ("Content-Length: 5.0\r\n", 400),
        ("Content-Length: 5;\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: \r\n", 400),
        ("Content-Length: 5\0\r\n", 400),
        ("Content-Length: \u{0665}\r\n", 400),
        ("Content-Length: 18446744073709551621\r\n", 400),
        ("Content-Length: 9999999999999999999999999999999999999999\r\n", 400),
        ("Content-Length: 4294967301\r\n", 200),
        ("Content-Length: 0\r\n", 200),
        ("content-LENGTH:\t5\t\r\n", 200),
        // A3
        ("Transfer-Encoding : chunked\r\n", 400),
        (" Transfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding:\r\n chunked\r\n", 400),
        ("Transfer-Encoding: \x0bchunked\r\n", 400),
        ("Transfer-Encoding: \x0cchunked\r\n", 400),
        ("Transfer-Encoding: chunked\x0b\r\n", 400),
        ("Transfer-Encoding: chunked\0\r\n", 400),
        ("Transfer-Encoding: \u{a0}chunked\r\n", 400),
        ("Transfer-Encoding: \"chunked\"\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding: chunked;q=1\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 200),
        ("Transfer-Encoding: ChunkeD\r\n", 200),
        ("Transfer-Encoding:\t chunked \t\r\n", 200),
        // A4
        ("Transfer-Encoding: identity\r\n", 501),
        ("Transfer-Encoding: gzip\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: chunked, gzip\r\n", 501),
        ("Transfer-Encoding: chunked, chunked\r\n", 501),
        ("Transfer-Encoding: ,chunked\r\n", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding:\r\n", 400),
    ];
    for (fields, expected) in rows {
        check(&with(fields), *expected);
    }
    // A5
    check(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

#[test]
fn versions_and_foreign_protocols_are_refused_at_once() {
    // A10, and the number of bytes that decide.
    let rows: &[(&[u8], u16, usize)] = &[
        (b"GET /\r\n", 400, 6),
        (b"GET /\n", 400, 6),
        (b"GET / HTTP/2.0\r\n", 505, 16),
        (b"GET / HTTP/9.9\r\n", 505, 16),
        (b"GET / HTTP/0.9\r\n", 505, 16),
        (b"GET / HTTP/1.2\r\n", 505, 16),
        (b"GET / HTTP/1.10\r\n", 400, 15),
        (b"GET / HTTP/01.1\r\n", 400, 13),
        (b"GET / HTTP/257.257\r\n", 400, 13),
        (b"GET / HTTP/2\r\n", 400, 13),
        (b"GET / http/1.1\r\n", 400, 7),
        (b"GET / HTTP/1.1 \r\n", 400, 15),
        (b"GET / HTTP/1.1\0\r\n", 400, 15),
        (b"GET / HTTP/1.1\n", 400, 15),
        (b"GET /  HTTP/1.1\r\n", 400, 7),
        (b"GET  / HTTP/1.1\r\n", 400, 5),
        (b"GET /\tHTTP/1.1\r\n", 400, 6),
        (b" GET / HTTP/1.1\r\n", 400, 1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 16),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, 1),
        (b"\x80\x2e\x01", 400, 1),
        (b"\0\0\0", 400, 1),
        (b"\n\nGET / HTTP/1.1\r\n", 400, 1),
        (b"{\"a\":1}", 400, 1),
        (b"\rGET / HTTP/1.1\r\n", 400, 2),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", 400, 3),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", 400, 3),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, 7),
        (b"PROXY UNKNOWN\r\n", 400, 7),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 400, 20),
        (b"EHLO a\r\n", 400, 6),
    ];
    for (bytes, expected, decisive) in rows {
        check(bytes, *expected);
        assert_eq!(status_of(&bytes[..decisive - 1]), 0, "{:?}", String::from_utf8_lossy(bytes));
        assert_eq!(status_of(&bytes[..*decisive]), *expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn targets_that_are_no_path_and_no_url_are_refused() {
    let rows: &[(&str, u16)] = &[
        // A17
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("get / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a?b=\\c HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET \\a?b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a\\?b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a?b=\"<>[]^`{|}' HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://a%00/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET **  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("OPTIONS *? HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("G\u{e4}T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (text, expected) in rows {
        check(text.as_bytes(), *expected);
    }
}

#[test]
fn broken_lines_names_and_values_are_refused() {
    let rows: &[(&str, u16)] = &[
        // A11
        ("X: y\nZ: z\r\n", 400),
        ("X: y\rZ: z\r\n", 400),
        ("X: y\r\r\n", 400),
        ("\n", 400),
        ("\rX", 400),
        // A12
        ("X Y: z\r\n", 400),
        ("X\tY: z\r\n", 400),
        ("X\x01: z\r\n", 400),
        ("X\u{e4}: z\r\n", 400),
        ("X[: z\r\n", 400),
        ("X(: z\r\n", 400),
        ("X : z\r\n", 400),
        ("nocolon\r\n", 400),
        (": z\r\n", 400),
        ("X\r\n: z\r\n", 400),
        ("X: y\r\n z\r\n", 400),
        ("X: y\r\n\tz\r\n", 400),
        ("X: y\0z\r\n", 400),
        ("X: y\x07z\r\n", 400),
        ("X: y\x7fz\r\n", 400),
        ("X: y\x1bz\r\n", 400),
        ("X: y\tz\r\n", 200),
        ("X: \u{e4}\r\n", 200),
        ("X:\r\n", 200),
        ("X:    \r\n", 200),
    ];
    for (fields, expected) in rows {
        check(&with(fields), *expected);
    }
}

#[test]
fn fields_that_mean_one_thing_stand_once_and_lists_may_repeat() {
    let rows: &[(&str, u16)] = &[
        // A13
        ("Host: a.test\r\n", 400),
        ("Origin: a\r\nOrigin: b\r\n", 400),
        ("Idempotency-Key: a\r\nIdempotency-Key: a\r\n", 400),
        ("Authorization: a\r\nAuthorization: b\r\n", 400),
        ("Content-Type: a\r\nContent-Type: b\r\n", 400),
        ("Last-Event-ID: a\r\nLast-Event-ID: b\r\n", 200),
        ("Accept: a\r\nAccept: b\r\n", 200),
        ("If-None-Match: a\r\nIf-None-Match: b\r\n", 200),
        (&"If-None-Match: a\r\n".repeat(40), 200),
        ("Cache-Control: a\r\nCache-Control: b\r\n", 200),
        ("Content-Encoding: a\r\nContent-Encoding: b\r\n", 200),
        ("Connection: a\r\nConnection: b\r\n", 200),
        ("Access-Control-Request-Headers: a\r\nAccess-Control-Request-Headers: b\r\n", 200),
        // A20
        ("Expect: 100-continue\r\n", 200),
        ("Expect: 100-Continue\r\n", 200),
        ("Expect: foo\r\n", 417),
        ("Expect: 100-continue, foo\r\n", 417),
        ("Expect:\r\n", 417),
        ("Upgrade: websocket\r\nConnection: upgrade\r\n", 200),
        ("Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n", 200),
    ];
    for (fields, expected) in rows {
        check(&with(fields), *expected);
    }
    let hosts: &[(&str, u16)] = &[
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: \t\r\n\r\n", 200),
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost:\r\nHost:\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("GET / HTTP/1.1\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ];
    for (text, expected) in hosts {
        check(text.as_bytes(), *expected);
    }
}

#[test]
fn every_byte_is_judged_in_every_place() {
    for byte in 0..=255u8 {
        let in_method = [b"G", &[byte][..], b"T / HTTP/1.0\r\n\r\n"].concat();
        let in_target = [b"GET /a", &[byte][..], b"b HTTP/1.0\r\n\r\n"].concat();
        let in_name = [b"GET / HTTP/1.0\r\nX", &[byte][..], b"Y: z\r\n\r\n"].concat();
        let in_value = [b"GET / HTTP/1.0\r\nX: y", &[byte][..], b"z\r\n\r\n"].concat();
        let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        // A space after "G" ends the method and makes "T" the target.
        check(&in_method, if token { 200 } else { 400 });
        let in_target_ok = byte.is_ascii_graphic() && byte != b'#' && byte != b'\\';
        check(&in_target, if in_target_ok { 200 } else { 400 });
        check(&in_name, if token || byte == b':' { 200 } else { 400 });
        let in_value_ok = byte == b'\t' || byte >= b' ' && byte != 0x7f;
        check(&in_value, if in_value_ok { 200 } else { 400 });
    }
}

#[test]
fn limits_are_decided_as_soon_as_the_bytes_are_there() {
    // A14
    let long_line = [b"GET /".as_slice(), &[b'a'; 70_000]].concat();
    check(&long_line, 414);
    assert_eq!(status_of(&long_line[..8_191]), 0);
    assert_eq!(status_of(&long_line[..8_192]), 414);
    let long_method = [b'M'; 5_000];
    check(&long_method, 400);
    assert_eq!(status_of(&long_method[..32]), 0);
    let long_value = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".as_slice(), &[b'a'; 70_000]].concat();
    check(&long_value, 431);
    assert_eq!(status_of(&long_value[..8_191]), 0);
    assert_eq!(status_of(&long_value[..8_192]), 431);
    let many = with(&"X: y\r\n".repeat(64));
    check(&many, 431);
    check(&with(&"X: y\r\n".repeat(63)), 200);

    // A head of exactly the limit is taken.
    let fill = 8_192 - with("X: \r\n").len();
    let exact = with(&format!("X: {}\r\n", "y".repeat(fill)));
    assert_eq!(exact.len(), 8_192);
    check(&exact, 200);
    check(&with(&format!("X: {}\r\n", "y".repeat(fill + 1))), 431);
    let longest_line = format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(8_192 - 18));
    assert_eq!(longest_line.len(), 8_192);
    check(longest_line.as_bytes(), 200);

    // The limit is the setting's, and a line that alone exceeds it is a long line, not a long head.
    let small = HeadLimits { bytes_max: 512, headers_max: 8 };
    assert!(matches!(
        parse(&long_line, small),
        ParsedHead::Bad(Problem::RequestLineTooLong { bytes_max: 512 })
    ));
    assert!(matches!(parse(&long_line[..511], small), ParsedHead::More));
}

#[test]
fn every_prefix_of_a_good_request_waits_and_what_follows_is_not_looked_at() {
    // A15, A16, A18, A19
    let whole = with("Accept: text/event-stream\r\nLast-Event-ID: 1-0\r\n");
    for len in 0..whole.len() {
        assert!(matches!(parse(&whole[..len], LIMITS), ParsedHead::More), "{len}");
    }
    for tail in [&b""[..], b"\0\0\0", b"GET / HTTP/1.1\r\n", b"\n", b" "] {
        let buf = [&whole[..], tail].concat();
        match parse(&buf, LIMITS) {
            ParsedHead::Head(head, used) => {
                assert_eq!(used, whole.len());
                assert_eq!(head.fields.last_event_id, Some(&b"1-0"[..]));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn connection_and_body_follow_version_and_fields() {
    // Version, fields, keep-alive, body.
    let rows: &[(&str, &str, bool, BodyLength)] = &[
        ("1.1", "", true, BodyLength::None),
        ("1.0", "", false, BodyLength::None),
        ("1.1", "Connection: close\r\n", false, BodyLength::None),
        ("1.1", "Connection: Close\r\n", false, BodyLength::None),
        ("1.1", "Connection: te, close\r\n", false, BodyLength::None),
        ("1.1", "Connection: te\r\nConnection: close\r\n", false, BodyLength::None),
        ("1.1", "Connection: closed\r\n", true, BodyLength::None),
        ("1.1", "Connection: keep-alive, close\r\n", false, BodyLength::None),
        ("1.0", "Connection: Keep-Alive\r\n", true, BodyLength::None),
        ("1.0", "Connection: keep-alive, close\r\n", false, BodyLength::None),
        ("1.1", "Content-Length: 7\r\n", true, BodyLength::Bytes(7)),
        ("1.1", "Content-Length: 0007\r\n", true, BodyLength::Bytes(7)),
        ("1.1", "Transfer-Encoding: chunked\r\n", true, BodyLength::Chunked),
    ];
    for (version, fields, keep_alive, body) in rows {
        let text = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let head = head(text.as_bytes());
        assert_eq!((head.keep_alive, head.body), (*keep_alive, *body), "{text:?}");
        assert_eq!(head.has_body(), *body != BodyLength::None);
        assert_eq!(head.method, Method::Post);
    }
    assert!(!head(b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n").has_body());
    assert!(head(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expect_continue);
    assert!(!head(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_continue);
}

#[test]
fn known_fields_are_found_whatever_their_case() {
    let text = with(
        "ORIGIN: o\r\naccept: text/event-stream\r\nContent-type: c\r\nLAST-EVENT-ID: first\r\n\
         Last-Event-Id: second\r\nidempotency-key: i\r\nSec-Fetch-Site: s\r\n\
         SEC-fetch-MODE: m\r\nIf-none-match: n\r\n",
    );
    let head = head(&text);
    assert_eq!(head.fields.origin, Some(&b"o"[..]));
    assert!(head.fields.accept.names_event_stream());
    assert_eq!(head.fields.content_type, Some(&b"c"[..]));
    assert_eq!(head.fields.last_event_id, Some(&b"first"[..]));
    assert!(head.fields.last_event_id_repeated);
    assert_eq!(head.fields.idempotency_key, Some(&b"i"[..]));
    assert_eq!(head.fields.fetch_site, Some(&b"s"[..]));
    assert_eq!(head.fields.fetch_mode, Some(&b"m"[..]));
    assert_eq!(head.fields.if_none_match.joined().as_deref(), Some(&b"n"[..]));
}

#[test]
fn lines_of_a_list_field_are_one_list() {
    let joined = |fields: &str| head(&with(fields)).fields.if_none_match.joined();
    assert_eq!(joined(""), None);
    assert_eq!(joined("If-None-Match:\r\n").as_deref(), Some(&b""[..]));
    let two = joined("If-None-Match: \"a\"\r\nX: y\r\nif-none-match: W/\"b\", \"c\"\r\n");
    assert_eq!(two.as_deref(), Some(&b"\"a\", W/\"b\", \"c\""[..]));
    let many = joined(&"If-None-Match: a\r\n".repeat(40));
    assert_eq!(many.as_deref(), Some(&b"a, a, a, a"[..]), "further lines are not needed for a whole answer");
    let text = with("Access-Control-Request-Headers: a, ,b\r\nAccess-Control-Request-Headers: ,c\r\n");
    let asked: Vec<&[u8]> = head(&text).fields.request_headers.members().collect();
    assert_eq!(asked, [b"a", b"b", b"c"]);
}

#[test]
fn codings_and_cache_modes_are_found_in_any_line() {
    // Fields, whether the body is encoded, whether no cache may answer.
    let rows: &[(&str, bool, bool)] = &[
        ("", false, false),
        ("Content-Encoding: identity\r\n", false, false),
        ("Content-Encoding:\r\n", false, false),
        ("Content-Encoding: Identity, \r\n", false, false),
        ("Content-Encoding: gzip\r\n", true, false),
        ("Content-Encoding: identity, br\r\n", true, false),
        ("Content-Encoding: identity\r\nContent-Encoding: aws-chunked\r\n", true, false),
        ("Cache-Control: no-cache\r\n", false, true),
        ("Cache-Control: max-age=0, No-Cache\r\n", false, true),
        ("Cache-Control: max-age=0\r\nCache-Control: no-cache\r\n", false, true),
        ("Cache-Control: no-store\r\n", false, false),
        ("Cache-Control: no-cache2\r\n", false, false),
        ("Pragma: no-cache\r\n", false, false),
    ];
    for (fields, encoded, no_cache) in rows {
        let text = with(fields);
        let head = head(&text);
        assert_eq!((head.fields.encoded, head.fields.no_cache), (*encoded, *no_cache), "{fields:?}");
    }
}
