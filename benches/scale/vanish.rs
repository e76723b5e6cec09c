//! Peers that vanish without a word, in two network namespaces whose link is cut. Needs root and iproute2.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Options;
use crate::child::Plan;
use crate::publisher::{Pace, Publisher};
use crate::report::Report;
use crate::server::Server;
use crate::swarm::Swarm;
use fanwheel::host::processes;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 231, 7, 1);
const PUBLIC: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(SERVER), 8080);
const CONTROL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
const FREED: Duration = Duration::from_secs(45);

/// Two namespaces and the link between them; gone when dropped.
struct Net {
    server: String,
    peers: String,
}

impl Net {
    fn make() -> io::Result<Net> {
        let id = std::process::id();
        let net = Net { server: format!("fanwheel-s{id}"), peers: format!("fanwheel-p{id}") };
        let (server, peers) = (net.server.as_str(), net.peers.as_str());
        let (left, right) = (format!("fws{id}"), format!("fwp{id}"));
        let steps = [
            format!("netns add {server}"),
            format!("netns add {peers}"),
            format!("link add {left} netns {server} type veth peer name {right} netns {peers}"),
            format!("-n {server} addr add {SERVER}/24 dev {left}"),
            format!("-n {peers} addr add 10.231.7.2/24 dev {right}"),
            format!("-n {server} link set {left} up"),
            format!("-n {peers} link set {right} up"),
            format!("-n {server} link set lo up"),
        ];
        for step in &steps {
            ip(step)?;
        }
        Ok(net)
    }

    /// From now on nothing that the peers send arrives; no link goes down, so the server is not told.
    fn cut(&self) -> io::Result<()> {
        ip(&format!("-n {} route add blackhole {SERVER}/32", self.peers))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.peers));
        let _ = ip(&format!("netns del {}", self.server));
    }
}

fn ip(arguments: &str) -> io::Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).stdin(Stdio::null()).output();
    let why = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let text = format!("needs root and iproute2 (ip {arguments}: {why})");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}

/// Runs it: half of the peers have events flowing to them, half hear only heartbeats.
pub fn run(options: &Options) -> io::Result<Report> {
    let mut report = Report::new("vanish");
    let count = options.get("subscribers", 300) as usize;
    let net = Net::make()?;
    let in_server = ["ip", "netns", "exec", &net.server];
    let in_peers = ["ip", "netns", "exec", &net.peers];
    let server = Server::spawn("vanish", &in_server, PUBLIC, CONTROL, &[])?;
    sleep(Duration::from_secs(1));
    let patience = Duration::from_secs(20);
    let busy = Plan { source: 0, ..Plan::new(PUBLIC, "busy", count / 2) };
    let quiet = Plan { topic: "quiet".to_owned(), ..busy.clone() };
    let swarms = [Swarm::open(&busy, &in_peers, patience)?, Swarm::open(&quiet, &in_peers, patience)?];
    let mut publisher = Command::new("ip")
        .args(["netns", "exec", &net.server])
        .arg(std::env::current_exe()?)
        .arg("publisher")
        .stdin(Stdio::piped())
        .spawn()?;
    sleep(Duration::from_secs(2));
    let before = processes::tcp_sockets(server.pid(), PUBLIC.port()).established;
    net.cut()?;
    let freed = wait_until_freed(&server);
    end(&mut publisher);
    drop(swarms);
    report.row("peers", count as f64, "");
    report.exactly("connections before", before, count as u64 / 2 * 2);
    report.at_most("all freed after", freed.as_secs_f64(), "s", FREED.as_secs_f64());
    Ok(report)
}

fn wait_until_freed(server: &Server) -> Duration {
    let start = Instant::now();
    let mut told = u64::MAX;
    while start.elapsed() < FREED * 2 {
        let open = processes::tcp_sockets(server.pid(), PUBLIC.port()).established;
        if open == 0 {
            break;
        }
        if open != told {
            println!("vanish: {open} open after {:.1} s", start.elapsed().as_secs_f64());
            told = open;
        }
        sleep(Duration::from_millis(500));
    }
    start.elapsed()
}

fn end(publisher: &mut Child) {
    let _ = publisher.kill();
    let _ = publisher.wait();
}

/// The publisher within the server's namespace; ends with its standard input.
pub fn publish(_arguments: &[String]) -> io::Result<()> {
    let pace = Pace { rate: 10, bytes: 100, ..Pace::new(CONTROL, "busy") };
    let publisher = Publisher::start(pace);
    io::stdin().read_to_end(&mut Vec::new())?;
    publisher.stop().map(drop)
}
