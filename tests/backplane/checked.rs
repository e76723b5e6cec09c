//! Three nodes, one Redis and HAProxy in front, under a load that checks each event of each subscriber: no
//! fault of one part loses an event, repeats one, or changes the order.
//!
//! `FLEET_SUBSCRIBERS`, `FLEET_RATE` and `FLEET_SECONDS` make the runs larger.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::balancer::{Balancer, NodeAddresses};
use crate::harness::{Launch, SOON, Server, free_port, poll_until, program};
use crate::redis::Redis;

/// A size of the runs, from the environment.
fn size(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Nodes, Redis and balancer.
struct Fleet {
    redis: Redis,
    addresses: Vec<NodeAddresses>,
    nodes: Vec<Server>,
    balancer: Balancer,
}

impl Fleet {
    fn start() -> Option<Fleet> {
        let redis = Redis::start(&["--appendonly", "yes"])?;
        let addresses: Vec<NodeAddresses> =
            (0..3).map(|_| NodeAddresses { public: free_port(), control: free_port() }).collect();
        let nodes = addresses.iter().map(|&node| start_node(&redis, node)).collect();
        let balancer = Balancer::start(&addresses)?;
        Some(Fleet { redis, addresses, nodes, balancer })
    }

    /// Starts a load of the given topics that ends by itself.
    fn start_load(&self, topics: &str) -> Child {
        let (rate, seconds) = (size("FLEET_RATE", 200), size("FLEET_SECONDS", 3));
        let mut command = Command::new(program());
        command.args(["load", "--json", "--through-restarts", "--patience-seconds", "20", "--topics", "12"]);
        command.args(["--publishers", "8", "--topic-prefix", topics]);
        command.args(["--subscribers", &size("FLEET_SUBSCRIBERS", 600).to_string()]);
        command.args(["--rate", &rate.to_string(), "--events", &(rate * seconds).to_string()]);
        let Balancer { public, control, .. } = self.balancer;
        command.arg(format!("--subscribe-url=http://{public}/events?topic={{topic}}"));
        command.arg(format!("--publish-url=http://{control}/publish?topic={{topic}}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Ends a node as `signal` does, and starts it again.
    fn restart(&mut self, at: usize, signal: &str) {
        self.nodes[at].signal(signal);
        assert!(self.nodes[at].exit(SOON).is_some(), "it ends");
        self.nodes[at] = start_node(&self.redis, self.addresses[at]);
        let ready = || (self.nodes[at].get("/readyz").status == 200).then_some(());
        poll_until(SOON, ready).expect("ready again");
        // The balancer asks five times a second.
        std::thread::sleep(Duration::from_millis(400));
    }

    fn published(&self) -> u64 {
        self.nodes.iter().map(|node| node.metrics().get("published")).sum()
    }
}

fn start_node(redis: &Redis, addresses: NodeAddresses) -> Server {
    let launch = Launch::workers(2).on(addresses.public, addresses.control);
    launch.set("backplane", redis.address()).set("connections_max", 12_000).set("drain_ms", 500).start()
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {report}"))
}

/// Lets a fault happen while events flow; the load's report, in which nothing is lost, repeated or late for
/// ever.
fn check(fleet: &mut Fleet, name: &str, fault: impl FnOnce(&mut Fleet)) -> Value {
    let before = fleet.published();
    let load = fleet.start_load(&format!("{name}-"));
    poll_until(SOON * 2, || (fleet.published() > before + 50).then_some(())).expect("events flow");
    fault(fleet);
    let output = load.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
    let row = |pointer| number(&report, pointer);
    println!(
        "{name}: {} events to {} subscribers, {} deliveries of {}; streams cut {}, refused {}, failed {}; \
         lost {}, told {}, repeated {}; away p50 {} ms, max {} ms",
        row("/delivered/events"),
        row("/opened/open"),
        row("/delivered/deliveries"),
        row("/delivered/expected"),
        row("/losses/ended"),
        row("/delivered/refused"),
        row("/delivered/failed"),
        row("/losses/lost"),
        row("/losses/told"),
        row("/losses/repeated"),
        report["away"]["p50_ms"],
        report["away"]["max_ms"],
    );
    assert_eq!(output.status.code(), Some(0), "{name}: {report}");
    assert_eq!(row("/delivered/deliveries"), row("/delivered/expected"), "{name}: {report}");
    report
}

#[test]
fn no_restart_of_a_part_loses_repeats_or_reorders_an_event() {
    let Some(mut fleet) = Fleet::start() else { return };
    let subscribers = size("FLEET_SUBSCRIBERS", 600);
    let killed = check(&mut fleet, "each-node-killed", |fleet| {
        (0..3).for_each(|at| fleet.restart(at, "KILL"));
    });
    assert!(number(&killed, "/losses/ended") >= subscribers / 2, "{killed}");
    let away = check(&mut fleet, "redis-restarted-twice", |fleet| {
        for _ in 0..2 {
            fleet.redis.kill();
            std::thread::sleep(Duration::from_millis(300));
            fleet.redis.rise();
            std::thread::sleep(Duration::from_millis(700));
        }
    });
    assert!(number(&away, "/delivered/refused") > 0, "{away}");
    assert_eq!(number(&away, "/losses/ended"), 0, "streams stay: {away}");
    let rolled = check(&mut fleet, "rolling-restart", |fleet| {
        (0..3).for_each(|at| fleet.restart(at, "TERM"));
    });
    assert!(number(&rolled, "/losses/ended") >= subscribers / 2, "{rolled}");
    let reloaded = check(&mut fleet, "balancer-reloaded", |fleet| fleet.balancer.reload());
    assert_eq!(number(&reloaded, "/losses/ended"), subscribers, "all have to come back: {reloaded}");
    for node in &fleet.nodes {
        assert_eq!(node.metrics().get("backplane_losses"), 0);
    }
}
