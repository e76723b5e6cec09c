//! The time in which a wrong token is refused, which must not tell how much of it is right.

use std::time::{Duration, Instant};

use crate::harness::{ConfigFile, Conn, Launch, SOON, Server};
use crate::tokens::token_table;

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";
/// Requests with each of the two wrong tokens, in turns.
const REQUESTS: usize = 2_000;
/// Per cent by which the medians may differ.
const PERCENT: u128 = 5;
/// A machine that others use may disturb one comparison, and a leak is there in all of them.
const COMPARISONS: usize = 6;

/// Times of requests with two tokens in turns; returns their medians.
fn compare(server: &Server, tokens: [&str; 2]) -> [Duration; 2] {
    let mut conn = Conn::open(server.public);
    let requests = tokens.map(|token| {
        format!("GET /events?topic=a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
    });
    let mut times = [const { Vec::new() }; 2];
    for turn in 0..2 * REQUESTS {
        let began = Instant::now();
        conn.send(&requests[turn % 2]);
        let status = conn.answer(SOON).expect("an answer").status;
        times[turn % 2].push(began.elapsed());
        assert_eq!(status, 401);
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[REQUESTS / 2]
    })
}

#[test]
fn a_wrong_token_takes_the_same_time_wherever_it_is_wrong() {
    let table = token_table("reader", TOKEN, "subscribe = ['a']");
    let file = ConfigFile::new("token-timing", &format!("subscribe = 'token'\n{table}"));
    let server = Launch::workers(1).set("config", &file.0).start();
    let (first, last) = (format!("x{}", &TOKEN[1..]), format!("{}x", &TOKEN[..TOKEN.len() - 1]));
    let mut seen = Vec::new();
    for _ in 0..COMPARISONS {
        let medians = compare(&server, [&first, &last]);
        seen.push(medians);
        let [least, most] =
            [medians.iter().min(), medians.iter().max()].map(|time| time.expect("two").as_nanos());
        if most * 100 <= least * (100 + PERCENT) {
            return;
        }
    }
    panic!("medians with a wrong first and a wrong last byte: {seen:?}");
}
