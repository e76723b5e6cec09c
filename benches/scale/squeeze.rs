//! A server short of memory or of processor time: it stays alive, loses nothing, and its heartbeats come.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::Options;
use crate::child::Plan;
use crate::load::Load;
use crate::publisher::{Pace, Publisher, publish_for};
use crate::report::Report;
use crate::server::{Server, request};
use crate::swarm::Swarm;
use crate::watch::mib;

const OPEN: Duration = Duration::from_secs(30);
const SETTLE: Duration = Duration::from_secs(30);
const GROUP_BYTES: u64 = 256 * 1_048_576;
const HEARTBEAT_MS: u64 = 2_000;
/// Subscribers that only get heartbeats.
const IDLE: usize = 8;

/// Readers that never read, of a server that may use 256 MiB, TCP memory included.
pub fn cgroup(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("cgroup");
    let count = options.get("subscribers", 200) as usize;
    let group = Group::make()?;
    let server = Server::start("cgroup", &[])?;
    group.take(server.pid())?;
    let mut healthy = Swarm::open(&Plan::readers(&server, "beside", 50), &[], OPEN)?;
    let plan = Plan { never_read: true, source: 200, ..Plan::readers(&server, "stuck", count) };
    let _stuck = Swarm::open(&plan, &[], OPEN)?;
    let large = Publisher::start(Pace { bytes: 64_000, rate: 50, ..Pace::to(&server, "stuck") });
    let pace = Pace { publisher: 1, rate: 50, ..Pace::to(&server, "beside") };
    let beside = publish_for(&pace, Duration::from_secs(options.get("seconds", 20)))?;
    let large = large.stop()?;
    let behind = healthy.await_event(1, beside.accepted, SETTLE)?;
    let tally = healthy.report()?;
    report.row("subscribers that never read", count as f64, "");
    report.row("large events published", large.accepted as f64, "");
    report.at_most("memory of the group, most", mib(group.most()), "MiB", mib(GROUP_BYTES));
    report.none("killed", u64::from(!Path::new(&format!("/proc/{}", server.pid())).exists()));
    report.none("others without the last event", behind);
    report.none(
        "others lost, repeated, foreign, ended",
        tally.lost + tally.repeated + tally.foreign + tally.closed,
    );
    server.check(&mut report);
    drop(server);
    sleep(Duration::from_millis(200));
    Ok(report)
}

/// A memory cgroup of its own; removed when dropped, by when its processes must have ended.
struct Group {
    folder: PathBuf,
    unified: bool,
}

impl Group {
    fn make() -> io::Result<Group> {
        let root = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
        let unified = controllers.contains("memory");
        let parent = if unified { root.to_owned() } else { root.join("memory") };
        let folder = parent.join(format!("fanwheel-scale-{}", std::process::id()));
        let refused = |error: io::Error| {
            io::Error::new(io::ErrorKind::Unsupported, format!("no memory cgroup can be made: {error}"))
        };
        fs::create_dir(&folder).map_err(refused)?;
        let group = Group { folder, unified };
        let limit = GROUP_BYTES.to_string();
        if unified {
            group.write("memory.max", &limit).map_err(refused)?;
        } else {
            group.write("memory.limit_in_bytes", &limit).map_err(refused)?;
            // Not every kernel counts TCP memory here.
            let _ = group.write("memory.kmem.tcp.limit_in_bytes", &limit);
        }
        Ok(group)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(name), text)
    }

    fn take(&self, pid: u32) -> io::Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    fn most(&self) -> u64 {
        let number = |name: &str| {
            let text = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
            text.trim().parse::<u64>().unwrap_or(0)
        };
        if self.unified {
            return number("memory.peak");
        }
        number("memory.max_usage_in_bytes") + number("memory.kmem.tcp.max_usage_in_bytes")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Four busy loops beside the server.
pub fn starved(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("starved");
    let server = Server::start("starved", &["--heartbeat-ms", &HEARTBEAT_MS.to_string()])?;
    let mut swarm = Swarm::open(&Plan::readers(&server, "all", 200), &[], OPEN)?;
    let end = Instant::now() + Duration::from_secs(options.get("seconds", 120));
    let idle: Vec<_> = (0..IDLE).map(|_| listen(server.public, end)).collect();
    let load = Load::start("busy", server.public, options.get("loops", 4) as usize, "")?;
    let done =
        publish_for(&Pace { rate: 20, ..Pace::to(&server, "all") }, end.duration_since(Instant::now()))?;
    let silence =
        idle.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(io::Error::other("a reader broke"))));
    let silence = silence.collect::<io::Result<Vec<Duration>>>()?.into_iter().max().unwrap_or_default();
    let behind = swarm.await_event(0, done.accepted, SETTLE)?;
    load.stop()?;
    let tally = swarm.report()?;
    report.row("events published", done.accepted as f64, "");
    report.row("delivery: p99", tally.latency.ms(0.99), "ms");
    report.row("delivery: slowest", tally.latency.max_ms(), "ms");
    report.at_most("longest silence", silence.as_secs_f64() * 1_000.0, "ms", 2.0 * HEARTBEAT_MS as f64);
    report.none("without the last event", behind);
    report.none("lost, repeated, foreign, ended", tally.lost + tally.repeated + tally.foreign + tally.closed);
    let health = request(server.public, "GET", "/healthz", "")?.status;
    report.none("health check failed", u64::from(health != 200));
    Ok(report)
}

/// A subscriber of a topic in which nothing happens; the longest time without a byte.
fn listen(to: SocketAddr, end: Instant) -> JoinHandle<io::Result<Duration>> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(b"GET /events?topic=idle HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        stream.set_read_timeout(Some(Duration::from_millis(10 * HEARTBEAT_MS)))?;
        let (mut longest, mut heard) = (Duration::ZERO, Instant::now());
        while heard < end {
            if stream.read(&mut [0; 1_024])? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            longest = longest.max(heard.elapsed());
            heard = Instant::now();
        }
        Ok(longest)
    })
}
