//! Strangers that ask for much: streams on many shared topics with much of their history, again and again.
//! Others, who ask for little, are not to wait for them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::Options;
use crate::report::Report;
use crate::server::{ControlConnection, Server};
use crate::victims::Victims;
use crate::watch::Watch;

const TOPICS: u64 = 64;
/// Time for which one of them reads before it goes.
const STAY: Duration = Duration::from_millis(20);

/// Runs it: once with `last`, once resuming.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("greedy");
    let (rate, events) = (options.get("rate", 390), options.get("events", 1_000));
    let time = Duration::from_secs(options.get("seconds", 8));
    for how in ["last", "resume"] {
        let server = Server::start_apart("greedy")?;
        let old = fill(server.control, events)?;
        let victims = Victims::start(&server)?;
        let watch = Watch::start(&server, false)?;
        let target = (0..TOPICS).map(|nth| format!("topic=shared{nth}")).collect::<Vec<_>>().join("&");
        let request = match how {
            "last" => format!("GET /events?{target}&last={events} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            _ => {
                format!("GET /events?{target} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {old}\r\n\r\n")
            }
        };
        let crowd = Crowd::start(server.public, request.into_bytes(), rate);
        sleep(time);
        let asked = crowd.stop()?;
        report.row(format!("{how}: streams a second"), asked as f64 / time.as_secs_f64(), "");
        victims.finish_for_strangers(&mut report)?;
        watch.finish(&server, &mut report)?;
    }
    Ok(report)
}

/// Publishes events to all topics at once; returns the id of the first.
fn fill(control: SocketAddr, events: u64) -> io::Result<String> {
    let mut line = ControlConnection::open(control)?;
    let topics: Vec<String> = (0..TOPICS).map(|nth| format!("\"shared{nth}\"")).collect();
    let topics = topics.join(",");
    let first = line.ask("POST", "/publish?topic=shared0", "the one they have had", 202)?;
    let id = first.body.split('"').nth(3).ok_or_else(|| io::Error::other("no id"))?.to_owned();
    for _ in 0..events.div_ceil(16) {
        let event = format!("{{\"topic\":[{topics}],\"data\":\"{}\"}}\n", "z".repeat(60));
        line.ask("POST", "/publish/batch", &event.repeat(16), 202)?;
    }
    Ok(id)
}

/// Threads that open such streams at a rate, read a little and go.
struct Crowd {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

const THREADS: u64 = 13;

impl Crowd {
    fn start(to: SocketAddr, request: Vec<u8>, rate: u64) -> Crowd {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let pause = Duration::from_secs(1) * THREADS as u32 / rate as u32;
        let threads = (0..THREADS).map(|_| {
            let (stop, done, request) = (stop.clone(), done.clone(), request.clone());
            std::thread::spawn(move || -> io::Result<()> {
                let (start, mut turns) = (Instant::now(), 0);
                while !stop.load(Relaxed) {
                    let mut stream = TcpStream::connect(to)?;
                    stream.write_all(&request)?;
                    // Whoever gets nothing in this time goes as well.
                    stream.set_read_timeout(Some(STAY))?;
                    let (asked, mut scratch) = (Instant::now(), [0; 65_536]);
                    while asked.elapsed() < STAY && stream.read(&mut scratch).is_ok_and(|bytes| bytes > 0) {}
                    done.fetch_add(1, Relaxed);
                    turns += 1;
                    sleep((start + pause * turns).saturating_duration_since(Instant::now()));
                }
                Ok(())
            })
        });
        Crowd { threads: threads.collect(), stop, done }
    }

    fn stop(self) -> io::Result<u64> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a stranger broke")))?;
        }
        Ok(self.done.load(Relaxed))
    }
}
