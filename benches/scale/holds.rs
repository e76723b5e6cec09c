//! How long the hub's lock is held at its worst: with a million topics, with a history full of tiny events,
//! with as many keys as are remembered, and when a thousand clients replay at once.
//!
//! The server has a processor of its own, so that no holder of the lock loses it to the load. Other work of
//! the machine may still take it for some milliseconds, so the worst hold of a phase is told, and judged is
//! the number of those that were too long.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Options;
use crate::report::Report;
use crate::server::{ControlConnection, Server, request};
use fanwheel::host::processes;

/// Topics that a pattern may match: the default of `pattern_topics_max`.
const TOPICS_OF_PATTERN_MAX: u64 = 4_096;
/// The bucket of the histogram that ends at the longest turn there should be.
const LONG_TURN: &str = "0.005";
/// Topics of one stream: the default of `topics_per_connection_max`.
const TOPICS_EACH: u64 = 64;
/// Events of one batch: the most there may be.
const BATCH: u64 = 2_048;
/// The bucket of the histogram that ends at the longest hold there should be.
const LONG: &str = "0.002";
/// Holds of a phase that may be longer: interrupts, and other work on the processor.
const LONG_MAX: f64 = 3.0;
/// The worst hold there may be, with other work on the processor meanwhile.
const WORST_MS: f64 = 10.0;
/// Resident memory of a topic that keeps nothing and has a subscriber.
const TOPIC_BYTES_MAX: f64 = 300.0;
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("holds");
    let history = ["--history-topic-bytes-max", "67108864", "--history-events", "1000000"];
    let topics = ["--topics-max", "1100000"];
    let server = Server::start_apart_with("holds", &[&history[..], &topics[..]].concat())?;
    let mut holds = Holds { server, before: (0.0, 0.0) };
    holds.begin()?;
    let tiny = options.get("events", 600_000);
    holds.publish_tiny(tiny, 4)?;
    holds.end(&mut report, "64 MiB of tiny events")?;
    let replays = holds.replay(options.get("replays", 1_000), 1_000)?;
    holds.end(&mut report, "1 000 replays at once")?;
    drop(replays);
    holds.publish_keyed(options.get("keys", 300_000))?;
    holds.end(&mut report, "many Idempotency-Keys")?;
    let topics = options.get("topics", 1_000_000);
    let resident = processes::resident_bytes(holds.server.pid());
    let streams = holds.name_topics(topics / TOPICS_EACH)?;
    holds.end(&mut report, "1 000 000 topics, made")?;
    let grown = processes::resident_bytes(holds.server.pid()).saturating_sub(resident);
    // With a share of its stream, and a place in it.
    report.at_most("resident growth, each topic", grown as f64 / topics as f64, "B", TOPIC_BYTES_MAX);
    request(holds.server.control, "GET", "/topics?sort=subscribers&limit=25&offset=0", "")?;
    holds.end(&mut report, "1 000 000 topics, listed")?;
    drop(streams);
    holds.await_no_streams()?;
    holds.end(&mut report, "1 000 000 topics, left")?;
    holds.server.check(&mut report);
    Ok(report)
}

/// How long streams of a pattern that matches many topics hold the lock, and a worker's turn.
pub fn wide(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("wide");
    let topics = options.get("topics", 4_096).min(TOPICS_OF_PATTERN_MAX);
    let streams = options.get("streams", 200);
    let server = Server::start_apart_with("wide", &[])?;
    let mut holds = Holds { server, before: (0.0, 0.0) };
    holds.begin()?;
    holds.publish_wide(topics, options.get("events", 20))?;
    holds.end(&mut report, "events of many topics")?;
    let mut turns = holds.turns()?;
    for (query, phase) in [
        ("last=1000", "replays of a pattern at once"),
        ("last_event_id=1-0", "returns to a pattern after all that is kept"),
        ("snapshot=1", "snapshots of a pattern at once"),
    ] {
        let mut readers = holds.open(streams, |_| format!("/events?pattern=wide.*&{query}"))?;
        read_for(&mut readers, Duration::from_secs(options.get("seconds", 3)))?;
        holds.end(&mut report, phase)?;
        let [all, short] = holds.turns()?;
        let long = (all - turns[0]) - (short - turns[1]);
        report.at_most(format!("{phase}: turns longer than 5 ms"), long, "", LONG_MAX);
        turns = [all, short];
        drop(readers);
        holds.await_no_streams()?;
    }
    holds.server.check(&mut report);
    Ok(report)
}

/// Reads all that comes for a while.
fn read_for(streams: &mut [TcpStream], time: Duration) -> io::Result<()> {
    let begun = Instant::now();
    let mut scratch = vec![0; 65_536];
    streams.iter_mut().try_for_each(|stream| stream.set_nonblocking(true))?;
    while begun.elapsed() < time {
        for stream in streams.iter_mut() {
            while matches!(stream.read(&mut scratch), Ok(bytes) if bytes > 0) {}
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A server, and the counts of its histogram when the phase began.
struct Holds {
    server: Server,
    before: (f64, f64),
}

impl Holds {
    /// Counts of holds: all, and those that were not too long.
    fn counts(&self) -> io::Result<(f64, f64)> {
        let metrics = self.server.metrics()?;
        let of = |name: &str| metrics.get(name).copied().ok_or_else(|| io::Error::other(name.to_owned()));
        let short = of(&format!("fanwheel_hub_hold_seconds_bucket{{le=\"{LONG}\"}}"))?;
        Ok((of("fanwheel_hub_hold_seconds_count")?, short))
    }

    /// Counts of turns: all, and those that were not too long.
    fn turns(&self) -> io::Result<[f64; 2]> {
        let metrics = self.server.metrics()?;
        let of = |name: &str| metrics.get(name).copied().ok_or_else(|| io::Error::other(name.to_owned()));
        let short = of(&format!("fanwheel_turn_seconds_bucket{{le=\"{LONG_TURN}\"}}"))?;
        Ok([of("fanwheel_turn_seconds_count")?, short])
    }

    fn begin(&mut self) -> io::Result<()> {
        self.before = self.counts()?;
        Ok(())
    }

    /// Adds the rows of a phase, and begins the next one.
    fn end(&mut self, report: &mut Report, phase: &str) -> io::Result<()> {
        // The figure of the longest is taken once a second.
        std::thread::sleep(Duration::from_millis(1_500));
        let (all, short) = self.counts()?;
        let (all_before, short_before) = self.before;
        let status = request(self.server.control, "GET", "/status?series=1", "")?.body;
        let status: Value = serde_json::from_str(&status).map_err(io::Error::other)?;
        let worst = status["hub_hold_ms"]["max"].as_f64().unwrap_or(0.0);
        report.row(format!("{phase}: holds"), all - all_before, "");
        report.at_most(
            format!("{phase}: longer than 2 ms"),
            (all - all_before) - (short - short_before),
            "",
            LONG_MAX,
        );
        report.at_most(format!("{phase}: worst of the last minute"), worst, "ms", WORST_MS);
        self.begin()
    }

    /// Publishes events of a few bytes to some topics, in batches of the largest size.
    fn publish_tiny(&self, events: u64, topics: u64) -> io::Result<()> {
        let mut line = ControlConnection::open(self.server.control)?;
        for batch in 0..events / BATCH {
            let event = |nth: u64| format!("{{\"topic\":\"tiny{}\",\"data\":\"{nth}\"}}\n", nth % topics);
            let body: String = (batch * BATCH..(batch + 1) * BATCH).map(event).collect();
            line.ask("POST", "/publish/batch", &body, 202)?;
        }
        Ok(())
    }

    /// Publishes so many events to each of many topics, in turns.
    fn publish_wide(&self, topics: u64, events: u64) -> io::Result<()> {
        let mut line = ControlConnection::open(self.server.control)?;
        for batch in 0..topics * events / BATCH {
            let event = |nth: u64| {
                format!(
                    "{{\"topic\":\"wide.{}\",\"data\":\"{nth}\",\"key\":\"{}\"}}\n",
                    nth % topics,
                    nth % 3
                )
            };
            let body: String = (batch * BATCH..(batch + 1) * BATCH).map(event).collect();
            line.ask("POST", "/publish/batch", &body, 202)?;
        }
        Ok(())
    }

    /// Opens streams that ask for much of that history all at once, and reads what comes first.
    fn replay(&self, count: u64, last: u64) -> io::Result<Vec<TcpStream>> {
        let target = "/events?topic=tiny0&topic=tiny1&topic=tiny2&topic=tiny3&topic=none";
        self.open(count, |_| format!("{target}&last={last}"))
    }

    /// Opens streams that name 64 topics each, which nobody else does.
    fn name_topics(&self, count: u64) -> io::Result<Vec<TcpStream>> {
        self.open(count, |stream| {
            let topics: Vec<String> = (0..TOPICS_EACH).map(|nth| format!("topic={stream}.{nth}")).collect();
            format!("/events?{}", topics.join("&"))
        })
    }

    fn open(&self, count: u64, target: impl Fn(u64) -> String) -> io::Result<Vec<TcpStream>> {
        let mut streams = Vec::new();
        for stream in 0..count {
            let mut socket = TcpStream::connect(self.server.public)?;
            let head = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", target(stream));
            socket.write_all(head.as_bytes())?;
            streams.push(socket);
        }
        for socket in &mut streams {
            socket.set_read_timeout(Some(PATIENCE))?;
            let mut head = [0; 12];
            socket.read_exact(&mut head)?;
            if !head.ends_with(b"200") {
                return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
            }
        }
        Ok(streams)
    }

    /// Publishes events with a key each, many requests on their way at once.
    fn publish_keyed(&self, keys: u64) -> io::Result<()> {
        const PIPELINED: u64 = 64;
        let mut socket = TcpStream::connect(self.server.control)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut scratch = vec![0; 65_536];
        for flight in 0..keys / PIPELINED {
            let post = |nth: u64| {
                let key = format!("Idempotency-Key: k{}", flight * PIPELINED + nth);
                format!(
                    "POST /publish?topic=k HTTP/1.1\r\nHost: localhost\r\n{key}\r\nContent-Length: 1\r\n\r\nx"
                )
            };
            socket.write_all((0..PIPELINED).map(post).collect::<String>().as_bytes())?;
            let mut answers = 0;
            while answers < PIPELINED {
                let bytes = socket.read(&mut scratch)?;
                // An answer's body ends so, and nothing else does.
                answers += scratch[..bytes].iter().filter(|&&byte| byte == b'}').count() as u64;
                if bytes == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        Ok(())
    }

    fn await_no_streams(&self) -> io::Result<()> {
        for _ in 0..600 {
            if self.server.metrics()?.get("fanwheel_subscribers") == Some(&0.0) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other("streams stay open"))
    }
}
