//! Publishers: threads that post numbered events, at a rate or as fast as they are let.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ahead;
use crate::child::unix_us;
use crate::server::{Server, read_answer};
use fanwheel::load::histogram::LatencyHistogram;

/// How a publisher goes about it.
#[derive(Clone)]
pub struct Pace {
    /// The control listener.
    pub to: SocketAddr,
    /// The topic.
    pub topic: String,
    /// Which publisher this is, in the events.
    pub publisher: usize,
    /// Bytes of an event's payload.
    pub bytes: usize,
    /// Events in a second; 0 = without pause.
    pub rate: u32,
    /// Events in one request.
    pub batch: usize,
}

impl Pace {
    /// The first publisher, one short event at a time, without pause.
    pub fn new(to: SocketAddr, topic: &str) -> Pace {
        Pace { to, topic: topic.to_owned(), publisher: 0, bytes: 100, rate: 0, batch: 1 }
    }

    /// Makes a publisher to a server's control listener.
    pub fn to(server: &Server, topic: &str) -> Pace {
        Pace::new(server.control, topic)
    }
}

/// The counts of a publisher.
#[derive(Default)]
pub struct Done {
    /// The number of the last event that was answered 202; all before it were too.
    pub accepted: u64,
    /// Answers of 503, each followed by another try.
    pub refused: u64,
    /// Other answers.
    pub wrong: u64,
    /// From request to answer.
    pub latency: LatencyHistogram,
}

/// A publisher at work.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Done>>,
}

impl Publisher {
    /// Starts one.
    pub fn start(pace: Pace) -> Publisher {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        Publisher { stop, thread: std::thread::spawn(move || work(&pace, &stopped)) }
    }

    /// Ends it after the request under way.
    pub fn stop(self) -> io::Result<Done> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| io::Error::other("a publisher broke"))?
    }
}

/// Publishes for a time.
pub fn publish_for(pace: &Pace, time: Duration) -> io::Result<Done> {
    let publisher = Publisher::start(pace.clone());
    std::thread::sleep(time);
    publisher.stop()
}

fn work(pace: &Pace, stopped: &AtomicBool) -> io::Result<Done> {
    // One without a pace is a load itself.
    if pace.rate > 0 {
        ahead::this_thread();
    }
    let mut connection = TcpStream::connect(pace.to)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (mut done, mut buffer, start) = (Done::default(), Vec::new(), Instant::now());
    let mut turns = 0;
    while !stopped.load(Relaxed) {
        let asked = Instant::now();
        connection.write_all(&request(pace, done.accepted + 1))?;
        let answer = read_answer(&mut connection, &mut buffer)?;
        match answer.status {
            202 => {
                done.accepted += pace.batch as u64;
                done.latency.add(asked.elapsed().as_micros() as u64);
            }
            503 => {
                done.refused += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => done.wrong += 1,
        }
        turns += 1;
        if pace.rate > 0 {
            let due = start + Duration::from_secs(1) * turns * pace.batch as u32 / pace.rate;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(done)
}

/// A whole request for events from `number` on.
fn request(pace: &Pace, number: u64) -> Vec<u8> {
    let topic = &pace.topic;
    let (target, kind, body) = if pace.batch == 1 {
        (format!("/publish?topic={topic}"), "text/plain", payload(pace, number))
    } else {
        let line = |n: u64| format!("{{\"topic\":\"{topic}\",\"data\":\"{}\"}}\n", payload(pace, n));
        let lines = (number..number + pace.batch as u64).map(line).collect();
        ("/publish/batch".to_owned(), "application/x-ndjson", lines)
    };
    let length = body.len();
    let fields = format!("Host: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}");
    format!("POST {target} HTTP/1.1\r\n{fields}\r\n\r\n{body}").into_bytes()
}

fn payload(pace: &Pace, number: u64) -> String {
    let mut text = format!("{} {number} {} ", pace.publisher, unix_us());
    text.extend(std::iter::repeat_n('x', pace.bytes.saturating_sub(text.len())));
    text
}
