//! `--profile broadcast-benchmark`: the public contract of that benchmark, byte for byte.

use crate::harness::{Conn, Launch, Response, SOON, Server, with_1_and_4_workers};
use std::time::Instant;

fn launch(workers: usize) -> Server {
    Launch::workers(workers).set("profile", "broadcast-benchmark").start()
}

/// A stream of this profile: its head, then bare or chunked bytes without ids.
struct BenchStream {
    conn: Conn,
    chunked: bool,
    text: String,
}

impl BenchStream {
    fn open(server: &Server) -> (BenchStream, Response) {
        let mut conn = server.connect();
        conn.send("GET /sse HTTP/1.1\r\nHost: bench.test\r\n\r\n");
        let head = conn.head(SOON).expect("a head");
        let chunked = head.header("transfer-encoding") == Some("chunked");
        (BenchStream { conn, chunked, text: String::new() }, head)
    }

    /// Reads until the text is as long as the expected one; they must be equal.
    fn expect(&mut self, expected: &str) {
        let deadline = Instant::now() + SOON;
        while self.text.len() < expected.len() {
            let bytes = if self.chunked {
                self.conn.chunk(deadline).expect("a chunk").expect("not the last chunk")
            } else {
                if self.conn.buffered().is_empty() {
                    self.conn.fill(deadline).expect("bytes");
                }
                let count = self.conn.buffered().len();
                self.conn.take(count, deadline).expect("buffered")
            };
            self.text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
        assert_eq!(self.text, expected);
        self.text.clear();
    }
}

fn broadcast(server: &Server, body: &str) -> Response {
    let fields =
        format!("Host: bench.test\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
    server.connect().ask(format!("POST /broadcast HTTP/1.1\r\n{fields}\r\n{body}"))
}

#[test]
fn stream_has_exactly_its_three_headers_and_first_bytes() {
    with_1_and_4_workers(|workers| {
        let server = launch(workers);
        let (mut stream, head) = BenchStream::open(&server);
        assert_eq!(head.status, 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("access-control-allow-origin", "*"),
        ] {
            assert_eq!(head.header(name), Some(value), "{name}");
        }
        assert_eq!(head.header("content-length"), None);
        let framing = ["connection", "date", "transfer-encoding"];
        let more: Vec<_> = head.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let more: Vec<_> = more.into_iter().filter(|name| !framing.contains(&name.as_str())).collect();
        assert_eq!(more.len(), 3, "exactly the three: {more:?}");
        stream.expect(":ok\n\n");
    });
}

#[test]
fn broadcast_reaches_every_stream_as_one_data_line_without_id() {
    with_1_and_4_workers(|workers| {
        let server = launch(workers);
        let mut streams: Vec<_> = (0..6).map(|_| BenchStream::open(&server).0).collect();
        streams.iter_mut().for_each(|stream| stream.expect(":ok\n\n"));
        for body in ["1700000000000", "{\"a\": 1}", "x"] {
            assert_eq!(broadcast(&server, body).status, 202);
            streams.iter_mut().for_each(|stream| stream.expect(&format!("data: {body}\n\n")));
        }
    });
}

#[test]
fn chunked_broadcast_is_read_or_refused_with_411() {
    let server = launch(2);
    let (mut stream, _) = BenchStream::open(&server);
    stream.expect(":ok\n\n");
    let head = "POST /broadcast HTTP/1.1\r\nHost: bench.test\r\n";
    let answer = server.connect().ask(format!("{head}\r\n"));
    assert_eq!(answer.status, 411, "neither length nor chunks");
    let answer =
        server.connect().ask(format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
    match answer.status {
        202 => stream.expect("data: hello\n\n"),
        status => assert_eq!(status, 411),
    }
}

#[test]
fn number_of_open_streams_is_told_as_text() {
    with_1_and_4_workers(|workers| {
        let server = launch(workers);
        let count = |expected: usize| {
            let answer = crate::harness::poll_until(SOON, || {
                let mut conn = server.connect();
                let answer = conn.ask("GET /connections HTTP/1.1\r\nHost: bench.test\r\n\r\n");
                (answer.text().trim() == expected.to_string()).then(|| {
                    conn.assert_ends("Connection: close is kept", SOON);
                    answer
                })
            });
            answer.unwrap_or_else(|| panic!("never {expected} connections"))
        };
        let answer = count(0);
        assert_eq!((answer.status, answer.closes()), (200, true));
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let streams: Vec<_> = (0..7).map(|_| BenchStream::open(&server).0).collect();
        count(7);
        drop(streams);
        count(0);
    });
}

#[test]
fn options_is_204_and_anything_else_404() {
    with_1_and_4_workers(|workers| {
        let server = launch(workers);
        for path in ["/sse", "/connections"] {
            let mut conn = server.connect();
            let answer = conn.ask(format!("OPTIONS {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n"));
            assert_eq!((answer.status, answer.closes()), (204, true), "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            conn.assert_ends(path, SOON);
        }
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/events?topic=a"),
            ("GET", "/broadcast"),
            ("POST", "/sse"),
            ("POST", "/publish?topic=a"),
            ("DELETE", "/connections"),
            ("GET", "/nope"),
        ] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(server.connect().ask(request).status, 404, "{method} {path}");
        }
    });
}

#[test]
fn body_with_blank_lines_forges_no_second_event() {
    let server = launch(1);
    let (mut stream, _) = BenchStream::open(&server);
    stream.expect(":ok\n\n");
    let answer = broadcast(&server, "x\n\ndata: forged\n\nid: 7");
    if answer.status == 202 {
        stream.expect("data: x\ndata: \ndata: data: forged\ndata: \ndata: id: 7\n\n");
    } else {
        assert_eq!(answer.status, 400);
    }
}
