//! Topics with names that collide under hashes that take no key: they cost no more than any others. Whoever
//! chooses topics could otherwise make each look-up a walk over all of them.

use crate::harness::{Launch, Rng, Server};
use std::time::{Duration, Instant};

/// Topics of one kind. Without a key 200 million names would be compared.
const TOPICS: usize = 20_000;
/// Events in one batch, below what one may hold.
const BATCH: usize = 2_000;
/// The factor of Firefox's hash, which Rust's compiler made known as Fx.
const FX: u64 = 0x517c_c1b7_2722_0a95;

/// Names of 16 blocks of two letters that the polynomial over `factor` cannot tell apart: 31 is Java's, 33
/// djb2's.
fn polynomial(factor: u8) -> Vec<String> {
    let blocks = [[b'A', b'B' + factor - 1], [b'B', b'B' - 1]];
    let name = |number: usize| (0..16).flat_map(|bit| blocks[number >> bit & 1]).map(char::from).collect();
    (0..TOPICS).map(name).collect()
}

/// Printable words of eight bytes each, after both of which an Fx that began at 0 is at 0 again: such pairs
/// may stand one after another in any order.
fn fx_blocks(rng: &mut Rng, count: usize) -> Vec<String> {
    let mut blocks = Vec::new();
    while blocks.len() < count {
        let first: [u8; 8] = std::array::from_fn(|_| b'!' + rng.below(94) as u8);
        let state = u64::from_le_bytes(first).wrapping_mul(FX);
        let second = state.rotate_left(5).to_le_bytes();
        if second.iter().all(u8::is_ascii_graphic) {
            blocks.push(String::from_utf8([first, second].concat()).expect("ASCII"));
        }
    }
    blocks
}

/// All triples of 28 blocks are enough names.
fn fx(rng: &mut Rng) -> Vec<String> {
    let blocks = fx_blocks(rng, 28);
    let name = |number: usize| {
        [number % 28, number / 28 % 28, number / 784].map(|block| blocks[block].as_str()).concat()
    };
    (0..TOPICS).map(name).collect()
}

/// Publishes once to each topic; how long that took.
fn publish(server: &Server, names: &[String]) -> Duration {
    let mut conn = server.connect_control();
    let start = Instant::now();
    for batch in names.chunks(BATCH) {
        let line = |name: &String| serde_json::json!({ "topic": name, "data": "" }).to_string() + "\n";
        let body: String = batch.iter().map(line).collect();
        let head = format!("POST /publish/batch HTTP/1.1\r\nHost: {}\r\n", server.control);
        let answer = conn.ask(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    start.elapsed()
}

#[test]
fn names_that_collide_without_a_key_cost_what_others_cost() {
    let mut rng = Rng(7);
    let plain: Vec<String> = (0..TOPICS).map(|_| format!("{:032x}", rng.next())).collect();
    let crafted = [("31", polynomial(31)), ("33", polynomial(33)), ("Fx", fx(&mut rng))];
    for (hash, names) in crafted {
        let server = Launch::workers(2).set("publish_bytes_max", 1_000_000).start();
        let usual = publish(&server, &plain);
        let took = publish(&server, &names);
        assert_eq!(server.get("/topics?limit=1").json()["total"], 2 * TOPICS as u64, "{hash}: not distinct");
        assert!(took < usual * 4 + Duration::from_millis(500), "{hash}: {took:?} instead of {usual:?}");
        println!("{hash}: {took:?}, others {usual:?}");
    }
}
