//! The cost of a token: the same subscribes with none and with one of each algorithm, by turns within one
//! run. Only the server's processor time counts.

use std::io;
use std::net::SocketAddr;
use std::thread::scope;

use crate::Options;
use crate::keys::{CLOSED, TokenKey, make_keys, write_config};
use crate::report::Report;
use crate::server::Server;
use crate::strangers::visit;
use fanwheel::host::processes;
use fanwheel::load::median::median;

/// Threads that subscribe, each one stream at a time.
const THREADS: u64 = 4;
/// The most that a token of the cheapest algorithm may add, in percent.
const COST_MAX: f64 = 5.0;

/// Runs it.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("tokens");
    let (pairs, count) = (options.get("pairs", 12), options.get("subscribes", 4_000));
    for key in make_keys()? {
        let server = start(&key)?;
        let mut bench = Bench { server, visits: 0 };
        // The first ones fill what is filled once.
        bench.subscribe(count, "open", "")?;
        let field = format!("Authorization: Bearer {}\r\n", key.token);
        let (mut plain, mut with_token, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        for pair in 0..pairs {
            let mut each_us = [0.0; 2];
            // Every other pair begins with the tokens, so that whatever else goes on falls on both.
            for side in [pair % 2, 1 - pair % 2] {
                let (topic, field) = if side == 0 { ("open", "") } else { (CLOSED, &*field) };
                each_us[side as usize] = bench.subscribe(count, topic, field)?;
            }
            plain.push(each_us[0]);
            with_token.push(each_us[1]);
            shares.push(100.0 * (each_us[1] / each_us[0] - 1.0));
        }
        let name = key.algorithm;
        report.row(format!("{name}: processor time of a subscribe without"), middle(&plain)?, "us");
        report.row(format!("{name}: with a token"), middle(&with_token)?, "us");
        let share = middle(&shares)?;
        match name {
            "HS256" => report.at_most(format!("{name}: a token adds, median of pairs"), share, "%", COST_MAX),
            _ => report.row(format!("{name}: a token adds, median of pairs"), share, "%"),
        }
        bench.server.check(&mut report);
    }
    Ok(report)
}

/// Starts a server that takes tokens of one key.
fn start(key: &TokenKey) -> io::Result<Server> {
    let config = write_config("tokens", std::slice::from_ref(key))?;
    Server::start_apart_with("tokens", &["--config", &config.to_string_lossy()])
}

fn middle(values: &[f64]) -> io::Result<f64> {
    median(values).ok_or_else(|| io::Error::other("no pairs"))
}

/// A server, and how often it was visited.
struct Bench {
    server: Server,
    visits: u64,
}

impl Bench {
    /// Subscribes so often, each to a topic of its own; returns the server's microseconds for each.
    fn subscribe(&mut self, count: u64, topic: &str, field: &str) -> io::Result<f64> {
        let (pid, to, first) = (self.server.pid(), self.server.public, self.visits);
        self.visits += count;
        let busy = processes::cpu_ns(pid);
        visit_all(to, first, count, topic, field)?;
        Ok((processes::cpu_ns(pid) - busy) as f64 / 1e3 / count as f64)
    }
}

fn visit_all(to: SocketAddr, first: u64, count: u64, topic: &str, field: &str) -> io::Result<()> {
    scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    (first + thread..first + count).step_by(THREADS as usize).try_for_each(|number| {
                        let target = format!("/events?topic={topic}.{}", number % count);
                        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
                        visit(to, number, &request)
                    })
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .into_iter()
            .try_for_each(|done| done.unwrap_or_else(|_| Err(io::Error::other("a thread broke"))))
    })
}
