//! Probes while something else goes on: how long a health check takes, and how long a newcomer waits.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ahead;
use crate::report::Report;
use crate::server::request;
use fanwheel::load::histogram::LatencyHistogram;

const PATIENCE: Duration = Duration::from_secs(10);

/// Both probes, each in a thread of its own so that neither waits for the other.
pub struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<(&'static str, JoinHandle<Found>)>,
}

#[derive(Default)]
struct Found {
    latency: LatencyHistogram,
    failed: u64,
}

impl Probes {
    /// Starts probing a public listener.
    pub fn start(to: SocketAddr) -> Probes {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = [("health check", health as fn(SocketAddr) -> io::Result<()>), ("newcomer", newcomer)]
            .map(|(name, probe)| (name, probe_often(to, probe, stop.clone())));
        Probes { stop, threads: threads.into() }
    }

    /// Ends them and adds their rows; `limit_ms` is for the slowest.
    pub fn finish(self, report: &mut Report, limit_ms: Option<f64>) {
        self.stop.store(true, Relaxed);
        for (name, thread) in self.threads {
            let found = thread.join().unwrap_or_default();
            report.row(format!("{name}: probes"), found.latency.count() as f64, "");
            report.row(format!("{name}: p50"), found.latency.ms(0.5), "ms");
            report.row(format!("{name}: p99"), found.latency.ms(0.99), "ms");
            match limit_ms {
                Some(limit) => {
                    report.at_most(format!("{name}: slowest"), found.latency.max_ms(), "ms", limit)
                }
                None => report.row(format!("{name}: slowest"), found.latency.max_ms(), "ms"),
            }
            report.none(format!("{name}: failed"), found.failed);
        }
    }
}

fn probe_often(
    to: SocketAddr,
    probe: fn(SocketAddr) -> io::Result<()>,
    stop: Arc<AtomicBool>,
) -> JoinHandle<Found> {
    std::thread::spawn(move || {
        ahead::this_thread();
        let mut found = Found::default();
        while !stop.load(Relaxed) {
            let start = Instant::now();
            match probe(to) {
                Ok(()) => found.latency.add(start.elapsed().as_micros() as u64),
                Err(_) => found.failed += 1,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        found
    })
}

fn health(to: SocketAddr) -> io::Result<()> {
    match request(to, "GET", "/healthz", "")?.status {
        200 => Ok(()),
        status => Err(io::Error::other(status.to_string())),
    }
}

fn newcomer(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /events?topic=newcomer HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut seen = Vec::new();
    while !seen.windows(4).any(|window| window == b":ok\n") {
        let mut piece = [0; 1_024];
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => seen.extend_from_slice(&piece[..bytes]),
        }
    }
    Ok(())
}
