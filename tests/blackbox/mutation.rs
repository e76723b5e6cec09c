//! Some seconds of seeded random damage to good requests: the server stays alive, answers nothing with a 5xx
//! that says "my fault", and its files and memory stay level. `MUTATION_SEED=` repeats a run.

use crate::harness::{Conn, Fail, Launch, Rng, SOON, Server, Witness, ms};
use std::time::Instant;

/// Byte strings that parsers trip over.
const DICTIONARY: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b": ",
    b"%",
    b"%00",
    b"%0A",
    b"%zz",
    b"&",
    b"=",
    b"topic=",
    b"topic=a",
    b"Content-Length: 5\r\n",
    b"Content-Length: 99999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Host: x\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Last-Event-ID: 1-1\r\n",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"5\r\nhello\r\n",
    b"5;a=b\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"OPTIONS ",
    b"/events?",
    b"\xFF\xFE",
    b"\xC3\xA9",
    b"last=5&",
    b"clock=1&",
];

fn good(server: &Server) -> Vec<Vec<u8>> {
    let host = server.control;
    let batch =
        "{\"topic\":[\"a\",\"b\"],\"event\":\"e\",\"data\":[1,2]}\n{\"topic\":\"c\",\"data\":\"d\"}\n";
    let chunks = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: v\r\n\r\n";
    let ndjson = format!("Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n", batch.len());
    let rows = [
        (
            "GET /events?topic=a&topic=b&last=3&event=x&clock=1 HTTP/1.1",
            "Last-Event-ID: 1700000000000-0\r\n",
            "",
        ),
        ("GET /events?topic=a HTTP/1.1", "Accept: text/html, text/event-stream;q=0.5\r\n", ""),
        ("GET /events?topic=%C3%A9&last_event_id=1-1 HTTP/1.0", "", ""),
        ("OPTIONS /events HTTP/1.1", "Access-Control-Request-Method: GET\r\n", ""),
        ("GET /healthz HTTP/1.1", "Connection: keep-alive\r\n", ""),
        ("HEAD /events?topic=a HTTP/1.1", "User-Agent: x/1.0 (y; z)\r\n", ""),
        ("POST /publish?topic=a HTTP/1.1", "Transfer-Encoding: chunked\r\n", chunks),
        ("POST /publish/batch HTTP/1.1", ndjson.as_str(), batch),
    ];
    let mut requests: Vec<Vec<u8>> = rows
        .iter()
        .map(|(line, fields, body)| format!("{line}\r\nHost: {host}\r\n{fields}\r\n{body}").into_bytes())
        .collect();
    let key = "Idempotency-Key: i-1\r\n";
    requests.push(server.publish_bytes("topic=a&event=e&key=k&retry=500", key, b"payload\nof two lines"));
    requests
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(24)).min(bytes.len());
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => bytes.truncate(at.max(1)),
            _ => {
                let word = DICTIONARY[rng.below(DICTIONARY.len())];
                let over = if rng.below(2) == 0 { (at + word.len()).min(bytes.len()) } else { at };
                bytes.splice(at..over, word.iter().copied());
            }
        }
    }
}

/// Sends one damaged request and reads every answer until the end; fails on bytes that are not HTTP and on
/// a 5xx that the rules do not allow.
fn try_one(server: &Server, rng: &mut Rng, seeds: &[Vec<u8>]) {
    let mut bytes = seeds[rng.below(seeds.len())].clone();
    mutate(rng, &mut bytes);
    if rng.below(4) == 0 {
        let more = &seeds[rng.below(seeds.len())];
        bytes.extend_from_slice(more);
    }
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    let mut conn = if rng.below(3) == 0 { server.connect() } else { server.connect_control() };
    match rng.below(8) {
        0 => conn.send_pieces(&bytes, 1 + rng.below(9)),
        _ => conn.send(&bytes),
    }
    conn.finish();
    read_all(&mut conn, &shown);
}

fn read_all(conn: &mut Conn, shown: &str) {
    loop {
        let head = match conn.head(ms(400)) {
            Ok(head) => head,
            Err(Fail::Bad(why)) => panic!("{why} in the answer to {shown:?}"),
            Err(_) => return,
        };
        let status = head.status;
        assert!(status < 500 || matches!(status, 501 | 503 | 505), "{status} for {shown:?}");
        match head.header("content-length").map(|n| n.parse::<usize>().expect("a length")) {
            // An answer to HEAD has a length and no body: what follows can't be told apart, so stop there.
            Some(length) if !shown.contains("HEAD") => {
                let body = conn.take(length, Instant::now() + ms(400));
                assert!(!matches!(body, Err(Fail::Bad(_))), "{body:?}");
            }
            None if matches!(status, 100 | 204) => {}
            _ => return,
        }
    }
}

#[test]
fn damaged_requests_hurt_nobody() {
    let seed = std::env::var("MUTATION_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x0FA2_77EE);
    let server = Launch::workers(4).set("head_ms", 2_000).set("body_ms", 2_000).start();
    let mut witness = Witness::of(&server);
    let seeds = good(&server);
    let mut warm = Rng(seed ^ 1);
    for _ in 0..300 {
        try_one(&server, &mut warm, &seeds);
    }
    witness.check("warming up");
    let (files, memory) = (server.files_open(), server.resident_bytes());
    let end = Instant::now() + ms(5_000);
    let tried: usize = std::thread::scope(|scope| {
        let run = |n: u64| {
            let mut rng = Rng(seed.wrapping_add(n));
            let mut tried = 0;
            while Instant::now() < end {
                try_one(&server, &mut rng, &seeds);
                tried += 1;
            }
            tried
        };
        let threads: Vec<_> = (2..5).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panic!("seed {seed}"))).sum()
    });
    println!("{tried} damaged requests, seed {seed}");
    witness.check("damaged requests");
    let level = crate::harness::poll_until(SOON, || (server.files_open() <= files).then_some(()));
    assert!(level.is_some(), "{} files, {files} before, seed {seed}", server.files_open());
    let grown = server.resident_bytes().saturating_sub(memory);
    assert!(grown < 12_000_000, "memory grew by {grown} over {tried} requests, seed {seed}");
}
