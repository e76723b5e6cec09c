//! Request smuggling and malformed bodies: lengths, codings, chunk lines, extensions, trailers. The canary
//! behind each attempt must never be answered.

use crate::harness::{Launch, SOON, Server, Witness, ms};
use crate::rows::{CLOSE, Row, assert_all_refused, assert_refused, publish, row};

fn start() -> Server {
    Launch::workers(4).start()
}

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

#[test]
fn length_and_coding_together_are_refused() {
    let server = start();
    let rows = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKS),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKS),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKS),
        ("Content-Length: 15\r\ntransfer-encoding: CHUNKED\r\n", CHUNKS),
        ("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "hello"),
        ("Content-Length: 5\r\nTransfer-Encoding:\r\n", "hello"),
        ("Content-Length: 5\r\nX: y\r\nTransfer-Encoding: gzip, chunked\r\n", CHUNKS),
    ]
    .map(|(lines, body)| row(lines, publish(&server, lines, body), &[400, 501]));
    assert_all_refused(&server, &rows);
}

#[test]
fn ambiguous_lengths_are_refused_without_awaiting_a_body() {
    let server = start();
    let nines = "9".repeat(40);
    let two = "Content-Length: 5\r\nContent-Length: 6";
    let bad = [
        two,
        "Content-Length: 5, 6",
        "Content-Length: 5,6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: 5\0",
        "Content-Length: \x0B5",
        "Content-Length: 5\x0C",
        "Content-Length: five",
        "Content-Length: 5.0",
        "Content-Length: 5e0",
        "Content-Length: '5'",
        "Content-Length: 5;",
        "Content-Length: 5_0",
        "Content-Length : 5",
        " Content-Length: 5",
        "Content-Length: 5\r\n 6",
        "Content-Length: -0",
        "Content-Length: \u{0665}",
    ];
    let mut rows: Vec<Row> = bad
        .iter()
        .map(|lines| row(*lines, publish(&server, &format!("{lines}\r\n"), "hello"), &[400]))
        .collect();
    for number in ["18446744073709551621", "4294967301", "10000000000", &nines, "9223372036854775808"] {
        let lines = format!("Content-Length: {number}\r\n");
        rows.push(row(lines.clone(), publish(&server, &lines, "hello"), &[400, 413]));
    }
    assert_all_refused(&server, &rows);
}

#[test]
fn disguised_codings_are_refused() {
    let server = start();
    let lines: [&[u8]; 28] = [
        b"Transfer-Encoding : chunked",
        b" Transfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: \x0Bchunked",
        b"Transfer-Encoding: \x0Cchunked",
        b"Transfer-Encoding: chunked\x0B",
        b"Transfer-Encoding: \0chunked",
        b"Transfer-Encoding: chunked\0",
        b"Transfer-Encoding: \xA0chunked",
        b"Transfer-Encoding: chunked\xC2\xA0",
        b"Transfer-Encoding: \"chunked\"",
        b"Transfer-Encoding: 'chunked'",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunkedx",
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\n\tx",
        b"Transfer-Encoding: chunk\r\n ed",
        b"Transfer-Encoding:",
    ];
    let rows: Vec<Row> = lines
        .iter()
        .map(|line| {
            let head = format!("POST /publish?topic=target HTTP/1.1\r\nHost: {}\r\n", server.control);
            let bytes = [head.as_bytes(), line, b"\r\n\r\n", CHUNKS.as_bytes()].concat();
            row(String::from_utf8_lossy(line), bytes, &[400, 501])
        })
        .collect();
    assert_all_refused(&server, &rows);
}

#[test]
fn names_that_only_look_like_a_coding_leave_a_body_without_length() {
    let server = start();
    let rows = [
        "Transfer_Encoding: chunked\r\n",
        "X-Transfer-Encoding: chunked\r\n",
        "Transfer-Encodin: chunked\r\n",
    ]
    .map(|lines| row(lines, publish(&server, lines, CHUNKS), &[400, 411]));
    assert_all_refused(&server, &rows);
}

#[test]
fn coding_on_http_1_0_is_refused_or_ends_the_connection() {
    let server = start();
    let head = format!("POST /publish?topic=target HTTP/1.0\r\nHost: {}\r\n", server.control);
    let rows = ["", "Connection: keep-alive\r\n"].map(|lines| {
        row(format!("1.0 {lines}"), format!("{head}{lines}{CHUNKED}\r\n{CHUNKS}"), &[400, 411, 501, 202])
    });
    assert_all_refused(&server, &rows);
}

#[test]
fn malformed_chunk_sizes_are_refused() {
    let server = start();
    let digits = "1".repeat(100);
    let (f16, f17) = ("f".repeat(16), "f".repeat(17));
    let sizes = [
        "g",
        "",
        "-5",
        "+5",
        "0x5",
        "5_",
        " 5",
        "5 ",
        "\t5",
        "5 5",
        "5\0",
        "5h",
        &f16,
        &f17,
        &digits,
        "100000005",
        "10000000000000005",
        "5\u{e9}",
        "five",
        "5,",
        "5;\0",
        "5;a=\x01",
        "5.0",
        "\u{ff15}",
    ];
    let rows: Vec<Row> = sizes
        .iter()
        .map(|size| {
            let bytes = publish(&server, CHUNKED, format!("{size}\r\nhello\r\n0\r\n\r\n"));
            row(format!("chunk size {size:?}"), bytes, &[400, 413])
        })
        .collect();
    assert_all_refused(&server, &rows);
}

#[test]
fn malformed_chunk_ends_and_extensions_are_refused() {
    let server = start();
    let bodies = [
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\rX0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\nxx\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\nX\n\r\n",
        "5\r\nhello\r\n0\r\n\rX",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\n folded: x\r\n\r\n",
        "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\0\r\n\r\n",
        "5\r\nhello\r\n-0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\r\n\r\nhello\r\n0\r\n\r\n",
    ];
    let rows: Vec<Row> = bodies
        .iter()
        .map(|body| row(format!("chunks {body:?}"), publish(&server, CHUNKED, body), &[400]))
        .collect();
    assert_all_refused(&server, &rows);
}

#[test]
fn endless_extensions_and_trailers_are_refused_cheaply() {
    let server = start();
    let mut witness = Witness::of(&server);
    let (before, cpu) = (server.resident_bytes(), server.cpu_ms());
    let extension = format!("1;{}\r\na\r\n", "x".repeat(4_000));
    let small_extension = format!("1;{}\r\na\r\n", "x".repeat(200));
    let trailers: String = (0..20_000).map(|n| format!("T-{n}: x\r\n")).collect();
    let rows = [
        ("extension of 1 MB", format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1_000_000))),
        ("4 kB of extension a byte, 500 times", format!("{}0\r\n\r\n", extension.repeat(500))),
        ("200 B of extension a byte, 5000 times", format!("{}0\r\n\r\n", small_extension.repeat(5_000))),
        ("20 000 trailers", format!("1\r\na\r\n0\r\n{trailers}\r\n")),
        ("trailer of 1 MB", format!("1\r\na\r\n0\r\nT: {}\r\n\r\n", "x".repeat(1_000_000))),
        ("1 MB of leading zeros", format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(1_000_000))),
    ];
    for (name, body) in rows {
        let bytes = publish(&server, CHUNKED, body);
        let allowed = [400, 413, 431];
        assert_refused(name, &mut server.connect_control(), &bytes, usize::MAX, &allowed);
        witness.check(name);
    }
    let (grown, used) = (server.resident_bytes().saturating_sub(before), server.cpu_ms() - cpu);
    assert!(grown < 4_000_000 && used < 3_000, "memory grew by {grown}, {used} ms of processor time");
}

#[test]
fn honest_trailers_are_ignored_even_when_named_content_length() {
    let server = start();
    let mut stream = server.subscribe("topic=target");
    for trailer in ["Content-Length: 3\r\n", "Transfer-Encoding: gzip\r\n", "Host: evil.test\r\n", "X: y\r\n"]
    {
        let mut conn = server.connect_control();
        let answer = conn.ask(publish(&server, CHUNKED, format!("5\r\nhello\r\n0\r\n{trailer}\r\n")));
        assert_eq!(answer.status, 202, "{trailer}");
        assert_eq!(stream.event().data, "hello");
        let health = conn.ask(format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.control));
        assert_eq!(health.status, 200, "the connection goes on after {trailer}");
    }
}

#[test]
fn bodies_over_the_limit_are_413_before_they_are_sent() {
    let server = Launch::workers(4).set("publish_bytes_max", 1_000).start();
    let mut witness = Witness::of(&server);
    let rows = [
        row("10 GB announced", publish(&server, "Content-Length: 10000000000\r\n", ""), &[413]),
        row("one over the limit", publish(&server, "Content-Length: 1001\r\n", ""), &[413]),
        row("one over, all sent", publish(&server, "Content-Length: 1001\r\n", "x".repeat(1_001)), &[413]),
        row("a chunk over", publish(&server, CHUNKED, "3e9\r\n"), &[413]),
        row(
            "chunks over",
            publish(&server, CHUNKED, format!("{}1\r\n", "a\r\n0123456789\r\n".repeat(100))),
            &[413],
        ),
        row("a huge chunk", publish(&server, CHUNKED, "7fffffff\r\n"), &[400, 413]),
        row(
            "expecting",
            publish(&server, "Expect: 100-continue\r\nContent-Length: 1001\r\n", ""),
            &[413, 417],
        ),
    ];
    for row in &rows {
        assert_refused(&row.name, &mut server.connect_control(), &row.bytes, usize::MAX, &row.allowed);
        witness.check(&row.name);
    }
    let megabytes = publish(&server, "Content-Length: 8000000\r\n", "x".repeat(8_000_000));
    let allowed = [413, CLOSE];
    assert_refused("8 MB sent", &mut server.connect_control(), &megabytes, usize::MAX, &allowed);
    let chunks = "a\r\n0123456789\r\n".repeat(100);
    let fits = publish(&server, CHUNKED, format!("{chunks}0\r\n\r\n"));
    assert_eq!(server.connect_control().ask(fits).status, 202, "exactly the limit, in chunks");
    witness.check("limits");
}

#[test]
fn body_at_every_buffer_edge_arrives_equal() {
    let server = start();
    let mut stream = server.subscribe("topic=target");
    let edges = [4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 262_144];
    for size in edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]).filter(|size| *size <= 262_144) {
        let body: String = (0..size).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
        server.publish("target", &body);
        assert!(stream.event().data == body, "body of {size} bytes differs");
        let head = format!("{size:x}\r\n");
        let chunked = publish(&server, CHUNKED, format!("{head}{body}\r\n0\r\n\r\n"));
        let mut conn = server.connect_control();
        let sender = conn.send_aside(chunked);
        assert_eq!(conn.answer(SOON).expect("an answer").status, 202, "{size} bytes in a chunk");
        sender.join().expect("sent");
        assert!(stream.event().data == body, "chunk of {size} bytes differs");
    }
    stream.assert_quiet(ms(50));
}
