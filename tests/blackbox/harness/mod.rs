//! The ground of every black-box test: a started server, a strict HTTP client, a strict stream reader,
//! and the witness that proves a hostile case hurt nobody else.
//!
//! Owns waiting (always "until, with a deadline") and randomness (always seeded). Never uses the product's
//! own code: the server is judged by its bytes.

mod application;
mod config_file;
mod hook;
mod http;
mod launch;
mod process;
mod stream;
mod witness;

pub use application::{Application, Question};
pub use config_file::{ConfigFile, reload};
pub use hook::Hook;
pub use http::{Conn, End, Fail, Response, assert_problem, percent};
pub use launch::{Launch, free_port, preload, program};
pub use process::{Metrics, Server, accepted_id};
pub use stream::{Event, Finish, Id, Item, Stream};
pub use witness::Witness;

use std::time::{Duration, Instant};

/// Seconds in which something that should happen at once must have happened. Far more than it takes, because
/// machines that run tests are shared and stand still for seconds: only a test that fails waits so long.
pub const SOON: Duration = Duration::from_secs(10);

/// Milliseconds as a duration, stretched by `BLACKBOX_SLACK` on machines that are slow.
pub fn ms(count: u64) -> Duration {
    let slack = std::env::var("BLACKBOX_SLACK").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_millis(count * slack)
}

/// Asks again and again until `probe` yields a value or the time is over.
pub fn poll_until<T>(within: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a transcript against one worker and against four, at the same time.
pub fn with_1_and_4_workers(transcript: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for workers in [1, 4] {
            let transcript = &transcript;
            scope.spawn(move || transcript(workers));
        }
    });
}

/// A small seeded generator (SplitMix64), so that a run can be repeated from its seed.
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
