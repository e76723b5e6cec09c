//! The simulator: the real core on fake sockets, clock and threads, from a seed, judged by peers' bytes.
//!
//! `cargo test --test sim` sweeps over seeds and asserts that each rare branch was hit. `SIM_SEEDS=N` sweeps
//! over N seeds, `SIM_FROM=N` begins with another than the first, `SIM_SEED=N` replays one with its trace. A
//! failure prints its seed and the end of its trace.

mod answer;
mod classes;
mod conflation;
mod conversation;
mod cover;
mod facts;
mod finale;
mod inspector;
mod items;
mod ledger;
mod lifetime;
mod net;
mod orderer;
mod peer;
mod poller;
mod prober;
mod publisher;
mod restart;
mod scene;
mod session;
mod setup;
mod shell;
mod silence;
mod snapshot;
mod subscriber;
mod world;

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cover::Cover;
use world::World;

/// Seeds of an ordinary sweep: enough that each branch is hit several times.
const SEEDS: u64 = 800;
/// After this long an ordinary sweep ends, provided that each branch was hit.
const SWEEP_TIME: Duration = Duration::from_secs(18);
/// Lines of a failure's trace.
const TRACE_LINES: usize = 60;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs a seed to its end; none when it failed, which it has then printed.
fn run(seed: u64) -> Option<Cover> {
    let lived = catch_unwind(|| {
        let mut world = World::new(seed);
        world.live();
        world.end()
    });
    lived.ok()
}

/// Runs a seed for its trace; whether it failed.
fn explain(seed: u64) -> bool {
    scene::start_trace();
    let failed = run(seed).is_none();
    let lines = scene::take_trace();
    let tail = &lines[lines.len().saturating_sub(TRACE_LINES)..];
    eprintln!("--- trace of seed {seed}, last {} of {} lines", tail.len(), lines.len());
    tail.iter().for_each(|line| eprintln!("{line}"));
    eprintln!("--- seed {seed} {}; replay: SIM_SEED={seed}", if failed { "failed" } else { "passed" });
    failed
}

/// Runs seeds on all processors until `enough` says so or one has failed. Returns hits, seeds, and the failed
/// one.
fn sweep(enough: impl Fn(u64, &Cover) -> bool + Sync) -> (Cover, u64, Option<u64>) {
    let (next, stop) = (AtomicU64::new(env("SIM_FROM").unwrap_or(1)), AtomicBool::new(false));
    let sum = Mutex::new((Cover::default(), 0, None));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let cover = run(seed);
                    let mut sum = sum.lock().expect("no thread panics outside of a run");
                    match cover {
                        Some(cover) => sum.0.add(&cover),
                        None => sum.2 = Some(sum.2.unwrap_or(seed).min(seed)),
                    }
                    sum.1 += 1;
                    if sum.2.is_some() || enough(sum.1, &sum.0) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    sum.into_inner().expect("no thread panics outside of a run")
}

#[test]
fn every_seed_obeys_the_contract_and_every_rare_branch_is_hit() {
    if let Some(seed) = env("SIM_SEED") {
        assert!(!explain(seed), "seed {seed} failed");
        return;
    }
    let begun = Instant::now();
    let wanted = env("SIM_SEEDS");
    let (cover, seeds, failed) = sweep(|seeds, cover| match wanted {
        Some(wanted) => seeds >= wanted,
        None => seeds >= SEEDS || (begun.elapsed() > SWEEP_TIME && cover.missing().is_empty()),
    });
    if let Some(seed) = failed {
        explain(seed);
        panic!("seed {seed} failed");
    }
    let elapsed = begun.elapsed();
    println!("{seeds} seeds in {elapsed:.1?}");
    for (name, hits) in cover.rows() {
        println!("{hits:>8} {name}");
    }
    assert!(wanted.is_some() || cover.missing().is_empty(), "never hit: {:?}", cover.missing());
}
