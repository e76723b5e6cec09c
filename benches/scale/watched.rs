//! The cost of watching: the same load unwatched and watched, by turns within one run. Watched means that
//! `/metrics` is read each second and a dashboard is open with all its tables in sight.
//!
//! Windows come in pairs, of which each other one begins with the watched window, so that whatever else a
//! machine does falls on both. A window ends when every subscriber has everything, so that what it cost
//! belongs to what it delivered. The server has a processor of its own; whoever watches is on the other one.
//! One thing falls on either kind of window: addresses are counted up to ten seconds after somebody looked.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::Options;
use crate::child::{Plan, unix_us};
use crate::report::Report;
use crate::server::{ControlConnection, Server};
use crate::swarm::Swarm;
use fanwheel::host::processes;
use fanwheel::load::histogram::BUCKET_SHARE;

const OPEN: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(30);
/// Before a window is counted: whoever watches has come, or gone.
const LEAD: Duration = Duration::from_millis(300);
/// Share of the server's processor that the steady load takes.
const STEADY_SHARE: f64 = 0.5;
/// Events before anything is counted; the steady rate follows from what they cost.
const WARM_UP: u64 = 10;
/// Events on their way at once when the server is given all it can do: the next one is there when one is
/// done, and few share a send, which would make the load the slower end.
const IN_FLIGHT: u64 = 2;
const FLAT_OUT_LOOK: Duration = Duration::from_millis(3);
/// The most that watching may cost, in percent.
const COST_MAX: f64 = 1.0;

/// The requests of an open page while its tables are in sight, and their interval.
const TABLES: &[&str] =
    &["/connections?sort=lag&limit=25&offset=0&info=1", "/topics?sort=subscribers&limit=25&offset=0"];
const TABLES_EACH: Duration = Duration::from_secs(3);
const READING_EACH: Duration = Duration::from_secs(1);

/// Runs it.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("watched");
    let count = options.get("subscribers", 10_000);
    let server = Server::start_apart("watched")?;
    let swarm = Swarm::open(&Plan::readers(&server, "all", count as usize), &[], OPEN)?;
    let line = ControlConnection::open(server.control)?;
    let mut bench = Bench { server, swarm, line, count, published: 0, deliveries: 0 };
    let rate = bench.warm_up()?;
    let seconds = options.get("still_seconds", 4);
    let still = bench.pairs(options.get("still_pairs", 3), |bench| bench.still(seconds))?;
    let seconds = options.get("seconds", 3);
    let steady = bench.pairs(options.get("pairs", 8), |bench| bench.steady(rate, seconds))?;
    let seconds = options.get("flat_out_seconds", 2);
    let in_flight = options.get("in_flight", IN_FLIGHT).max(1);
    let flat_out =
        bench.pairs(options.get("flat_out_pairs", 6), |bench| bench.flat_out(in_flight, seconds))?;
    report.row("subscribers", count as f64, "");
    report.row("steady: events a second", rate, "");
    tell_still(&still, &mut report);
    tell_steady(&steady, &mut report);
    tell_flat_out(&flat_out, &mut report);
    bench.finish(&mut report)?;
    Ok(report)
}

/// A server under load.
struct Bench {
    server: Server,
    swarm: Swarm,
    line: ControlConnection,
    count: u64,
    published: u64,
    /// Counted in windows that are over.
    deliveries: u64,
}

/// The figures of one window.
struct Window {
    cpu_us_each: f64,
    p99_ms: f64,
    per_second: f64,
    busy_percent: f64,
}

/// An unwatched window and a watched one beside it.
struct Pair {
    plain: Window,
    watched: Window,
    seen: Seen,
}

/// The counts of the watchers.
#[derive(Default)]
struct Seen {
    readings: u64,
    states: u64,
    tables: u64,
}

impl Bench {
    /// Publishes what is not counted; the steady rate that follows from its cost, in events a second.
    fn warm_up(&mut self) -> io::Result<f64> {
        let busy = processes::cpu_ns(self.server.pid());
        for _ in 0..WARM_UP {
            self.publish()?;
            self.await_all(self.published, Duration::from_millis(20))?;
        }
        let each_s = (processes::cpu_ns(self.server.pid()) - busy) as f64 / 1e9 / WARM_UP as f64;
        self.deliveries += self.swarm.report()?.events;
        Ok((STEADY_SHARE / each_s).clamp(1.0, 1_000.0))
    }

    /// Pairs of windows; every other pair begins with the watched one.
    fn pairs(
        &mut self,
        count: u64,
        mut window: impl FnMut(&mut Bench) -> io::Result<Window>,
    ) -> io::Result<Vec<Pair>> {
        let mut pair = |watched_first: bool| {
            let (mut plain, mut watched, mut seen) = (None, None, Seen::default());
            for is_watched in [watched_first, !watched_first] {
                let eyes = is_watched.then(|| Eyes::open(self.server.control));
                sleep(LEAD);
                let found = window(self)?;
                *(if is_watched { &mut watched } else { &mut plain }) = Some(found);
                if let Some(eyes) = eyes {
                    seen = eyes.close()?;
                }
            }
            let both = plain.zip(watched).map(|(plain, watched)| Pair { plain, watched, seen });
            both.ok_or_else(|| io::Error::other("a window is missing"))
        };
        (0..count).map(|number| pair(number % 2 == 1)).collect()
    }

    /// Nothing is published: what is left is watching itself, and a delivery's cost does not blur it.
    fn still(&mut self, seconds: u64) -> io::Result<Window> {
        self.measure(|_, _| {
            sleep(Duration::from_secs(seconds));
            Ok(())
        })
    }

    /// As many events as the rate gives, each at its moment.
    fn steady(&mut self, rate: f64, seconds: u64) -> io::Result<Window> {
        let events = (rate * seconds as f64).round().max(1.0) as u64;
        self.measure(|bench, start| {
            for number in 0..events {
                let due = start + Duration::from_secs_f64(number as f64 / rate);
                sleep(due.saturating_duration_since(Instant::now()));
                bench.publish()?;
            }
            sleep((start + Duration::from_secs(seconds)).saturating_duration_since(Instant::now()));
            Ok(())
        })
    }

    /// The next event as soon as an earlier one has arrived everywhere.
    fn flat_out(&mut self, in_flight: u64, seconds: u64) -> io::Result<Window> {
        self.measure(|bench, start| {
            while start.elapsed() < Duration::from_secs(seconds) {
                bench.publish()?;
                bench.await_all(bench.published.saturating_sub(in_flight - 1), FLAT_OUT_LOOK)?;
            }
            Ok(())
        })
    }

    fn measure(&mut self, mut work: impl FnMut(&mut Bench, Instant) -> io::Result<()>) -> io::Result<Window> {
        self.swarm.reset()?;
        let (pid, before) = (self.server.pid(), self.published);
        let (busy, start) = (processes::cpu_ns(pid), Instant::now());
        work(self, start)?;
        self.await_all(self.published, FLAT_OUT_LOOK)?;
        let (busy_ns, took_s) = ((processes::cpu_ns(pid) - busy) as f64, start.elapsed().as_secs_f64());
        let tally = self.swarm.report()?;
        self.deliveries += tally.events;
        let due = ((self.published - before) * self.count) as f64;
        Ok(Window {
            cpu_us_each: busy_ns / 1e3 / due,
            p99_ms: tally.latency.ms(0.99),
            per_second: due / took_s,
            busy_percent: busy_ns / 1e7 / took_s,
        })
    }

    fn publish(&mut self) -> io::Result<()> {
        let text = format!("0 {} {} {}", self.published + 1, unix_us(), "x".repeat(64));
        self.line.ask("POST", "/publish?topic=all", &text, 202)?;
        self.published += 1;
        Ok(())
    }

    fn await_all(&mut self, number: u64, look: Duration) -> io::Result<()> {
        let start = Instant::now();
        while self.swarm.behind(0, number)? > 0 {
            if start.elapsed() > SETTLE {
                return Err(io::Error::other(format!("event {number} does not arrive everywhere")));
            }
            sleep(look);
        }
        Ok(())
    }

    fn finish(mut self, report: &mut Report) -> io::Result<()> {
        let tally = self.swarm.report()?;
        report.exactly("deliveries", self.deliveries, self.published * self.count);
        report.none(
            "lost, repeated, foreign, ended",
            tally.lost + tally.repeated + tally.foreign + tally.closed,
        );
        self.server.check(report);
        Ok(())
    }
}

/// Whoever watches: reads `/metrics`, follows the stream that feeds the dashboard, asks for its tables.
struct Eyes {
    closed: Arc<AtomicBool>,
    states: Arc<AtomicU64>,
    asking: [JoinHandle<io::Result<u64>>; 2],
    following: JoinHandle<io::Result<()>>,
}

impl Eyes {
    fn open(control: SocketAddr) -> Eyes {
        let (closed, states) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let ask = |targets: &'static [&'static str], each| {
            let closed = Arc::clone(&closed);
            std::thread::spawn(move || ask_each(control, targets, each, &closed))
        };
        let asking = [ask(&["/metrics"], READING_EACH), ask(TABLES, TABLES_EACH)];
        let (ended, count) = (Arc::clone(&closed), Arc::clone(&states));
        let following = std::thread::spawn(move || follow(control, &count, &ended));
        Eyes { closed, states, asking, following }
    }

    fn close(self) -> io::Result<Seen> {
        self.closed.store(true, Relaxed);
        let joined =
            self.asking.map(|thread| thread.join().map_err(|_| io::Error::other("a watcher broke"))?);
        self.following.join().map_err(|_| io::Error::other("a watcher broke"))??;
        let [readings, tables] = joined;
        Ok(Seen { readings: readings?, states: self.states.load(Relaxed), tables: tables? })
    }
}

/// Asks for all targets each so often, for the first time in the middle of the first second.
fn ask_each(control: SocketAddr, targets: &[&str], each: Duration, closed: &AtomicBool) -> io::Result<u64> {
    let (mut line, mut answers) = (ControlConnection::open(control)?, 0);
    let mut due = Instant::now() + LEAD + READING_EACH / 2;
    while !closed.load(Relaxed) {
        if Instant::now() < due {
            sleep(Duration::from_millis(10));
            continue;
        }
        due += each;
        for target in targets {
            line.ask("GET", target, "", 200)?;
            answers += 1;
        }
    }
    Ok(answers)
}

/// Reads the server's own state as it is told, counting the events.
fn follow(control: SocketAddr, states: &AtomicU64, closed: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect(control)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    stream.write_all(b"GET /events?topic=fanwheel.status HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut piece = [0; 65_536];
    while !closed.load(Relaxed) {
        match stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            // One event comes in one chunk; its name is cut by a read now and then, which matters to nobody.
            Ok(bytes) => {
                let name = b"event: fanwheel.status";
                let told = piece[..bytes].windows(name.len()).filter(|window| window == name).count();
                states.fetch_add(told as u64, Relaxed);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn tell_still(pairs: &[Pair], report: &mut Report) {
    let more: Vec<f64> =
        pairs.iter().map(|pair| pair.watched.busy_percent - pair.plain.busy_percent).collect();
    report.row("still: pairs of windows", pairs.len() as f64, "");
    report.row("still: server's processor busy, unwatched", median(&plain(pairs, |w| w.busy_percent)), "%");
    report.at_most("still: of a processor, more by watching", median(&more), "%", COST_MAX);
    report.row("still: of a processor, more: least pair", least(&more), "%");
    report.row("still: of a processor, more: most pair", most(&more), "%");
}

fn tell_steady(pairs: &[Pair], report: &mut Report) {
    let sum = |of: fn(&Seen) -> u64| pairs.iter().map(|pair| of(&pair.seen)).sum::<u64>() as f64;
    report.row("steady: pairs of windows", pairs.len() as f64, "");
    report.row("steady, watched: readings of /metrics", sum(|seen| seen.readings), "");
    report.row("steady, watched: states told to the dashboard", sum(|seen| seen.states), "");
    report.row("steady, watched: tables shown by it", sum(|seen| seen.tables), "");
    let blind = pairs.iter().filter(|pair| pair.seen.readings == 0 || pair.seen.states == 0).count();
    report.none("steady: pairs in which nobody watched", blind as u64);
    report.row("steady: server's processor busy, unwatched", median(&plain(pairs, |w| w.busy_percent)), "%");
    tell_cost("steady: processor a delivery", pairs, |window| window.cpu_us_each, report);
    report.row("steady: processor a delivery, unwatched", median(&plain(pairs, |w| w.cpu_us_each)), "µs");

    let p99s = plain(pairs, |window| window.p99_ms);
    let (quiet, least, most) = (median(&p99s), least(&p99s), most(&p99s));
    let watched = median(&pairs.iter().map(|pair| pair.watched.p99_ms).collect::<Vec<f64>>());
    report.row("steady: p99 unwatched, median of windows", quiet, "ms");
    report.row("steady: p99 unwatched, least", least, "ms");
    report.row("steady: p99 unwatched, most", most, "ms");
    report.row("steady: p99 watched, median of windows", watched, "ms");
    // What unwatched windows differ by among themselves says nothing about watching.
    let noise = (most - least).max(quiet * BUCKET_SHARE);
    report.at_most("steady: p99, more by watching", watched - quiet, "ms", noise);
}

fn tell_flat_out(pairs: &[Pair], report: &mut Report) {
    report.row("flat out: pairs of windows", pairs.len() as f64, "");
    report.row(
        "flat out: server's processor busy, unwatched",
        median(&plain(pairs, |w| w.busy_percent)),
        "%",
    );
    report.row("flat out: deliveries a second, unwatched", median(&plain(pairs, |w| w.per_second)), "");
    tell_cost("flat out: time a delivery", pairs, |window| 1.0 / window.per_second, report);
}

/// How much more a delivery costs when watched, by the median over the pairs: not more than it may, or than
/// what unwatched windows differ by among themselves.
fn tell_cost(what: &str, pairs: &[Pair], cost: fn(&Window) -> f64, report: &mut Report) {
    let more = |pair: &Pair| (cost(&pair.watched) / cost(&pair.plain) - 1.0) * 100.0;
    let all: Vec<f64> = pairs.iter().map(more).collect();
    let plains = plain(pairs, cost);
    let noise = (most(&plains) / least(&plains) - 1.0) * 100.0;
    report.at_most(format!("{what}, more by watching"), median(&all), "%", COST_MAX.max(noise));
    report.row(format!("{what}, more: least pair"), least(&all), "%");
    report.row(format!("{what}, more: most pair"), most(&all), "%");
}

fn plain(pairs: &[Pair], of: fn(&Window) -> f64) -> Vec<f64> {
    pairs.iter().map(|pair| of(&pair.plain)).collect()
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn median(values: &[f64]) -> f64 {
    fanwheel::load::median::median(values).unwrap_or(f64::NAN)
}
