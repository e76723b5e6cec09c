//! The plan of a run: settings, sizes and habits, all drawn from its seed.
//!
//! Most runs are ordinary in most respects; each extreme is drawn by itself, so that a seed meets a few of
//! them at a time and a sweep meets all.

use fanwheel::base::prng::Prng;
use fanwheel::base::settings::{ProxyProtocol, Settings, SlowPolicy};

use crate::classes::ClassPlan;
use crate::peer::PROXIES;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finale {
    /// Everyone leaves.
    Leave,
    /// The operator drains it.
    Drain,
    /// A drain over HTTP.
    DrainRequest,
    /// A stop without a drain.
    Stop,
}

impl Finale {
    /// As often as each deserves.
    const ALL: [Finale; 6] =
        [Finale::Leave, Finale::Drain, Finale::Drain, Finale::Drain, Finale::DrainRequest, Finale::Stop];
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The node's settings.
    pub settings: Settings,
    /// Workers.
    pub workers: usize,
    /// Connections the node may hold.
    pub connections_max: usize,
    /// Actors that subscribe.
    pub subscribers: usize,
    /// Actors that publish.
    pub publishers: usize,
    /// Actors that ask for other things.
    pub probers: usize,
    /// Actors that ask about connections, and end some.
    pub inspectors: usize,
    /// Subscribers and pollers ask for snapshots. By the seed's number.
    pub snapshots: bool,
    /// Actors that poll. By the seed's number, so that all else is as without.
    pub pollers: usize,
    /// Topics in use.
    pub topics: usize,
    /// Parts of the run, each of which ends at rest.
    pub phases: usize,
    /// Steps of each phase.
    pub steps: usize,
    /// A worker that is seldom scheduled.
    pub starved: Option<usize>,
    /// Some payloads are so large that a batch is full after a few of them.
    pub large: bool,
    /// Batches of many hundreds of events.
    pub bursts: bool,
    /// How many large payloads or batches there may be.
    pub heavy: usize,
    /// One in so many time steps is huge; 0 for none.
    pub huge_steps: u64,
    /// Those who hold frames that are no longer kept are shed now and then.
    pub sheds: bool,
    /// The wall clock steps.
    pub wall_steps: bool,
    /// Publishes are ordered outside of the hub. By the seed's number, so that all else is as without.
    pub orders: bool,
    /// Public connections come through proxies that name their clients, or may do so. By the seed's number.
    pub proxies: bool,
    /// Some events have a life. By the seed's number.
    pub lives: bool,
    /// Some subscribers name topics by a pattern. By the seed's number.
    pub patterns: bool,
    /// Classes of topics. By the seed's number, too.
    pub classes: ClassPlan,
    /// How it ends.
    pub finale: Finale,
}

/// One of `choices`.
pub fn pick<T: Copy>(prng: &mut Prng, choices: &[T]) -> T {
    choices[prng.below(choices.len() as u64) as usize]
}

/// True once in `n` times.
pub fn one_in(prng: &mut Prng, n: u64) -> bool {
    prng.below(n) == 0
}

impl Plan {
    /// The plan of a seed, with an orderer and classes by its number.
    pub fn of_seed(seed: u64, prng: &mut Prng) -> Plan {
        let mut plan = Plan { orders: seed % 3 == 2, ..Plan::draw(prng) };
        plan.snapshots = matches!(seed % 7, 4 | 5);
        if seed % 5 == 3 {
            plan.pollers = 1 + Prng::new(!seed).below(4) as usize;
        }
        if seed % 11 == 3 {
            plan.trust_proxies(&mut Prng::new(!seed));
        }
        // Classes, states and pages are judged by topics that a subscriber names.
        if matches!(seed % 12, 2 | 7) && !plan.snapshots {
            (plan.patterns, plan.inspectors) = (true, 0);
            plan.settings.topics_max = Settings::default().topics_max;
        }
        if matches!(seed % 8, 1 | 6) {
            plan.lives = true;
            // An orderer's ids tell how much of a life is over.
            plan.wall_steps &= !plan.orders;
        }
        if seed % 4 == 1 {
            plan.classes = ClassPlan::draw(&mut plan.settings, &mut Prng::new(!seed));
        }
        if seed % 16 == 9 {
            plan.throttle_all(&mut Prng::new(!seed));
        }
        plan
    }

    /// One topic for all, of which everyone gets the newest event of each key in each window.
    fn throttle_all(&mut self, prng: &mut Prng) {
        (self.topics, self.patterns, self.snapshots, self.orders) = (1, false, false, false);
        self.settings.windows.throttle_ms = pick(prng, &[20, 90, 200]);
        self.settings.classes.clear();
        self.classes = ClassPlan::plain(&self.settings);
    }

    fn trust_proxies(&mut self, prng: &mut Prng) {
        self.proxies = true;
        self.settings.trusted_proxies = vec![PROXIES.to_owned()];
        self.settings.proxy_protocol = pick(prng, &[ProxyProtocol::Accept, ProxyProtocol::Require]);
        self.settings.connections_per_address_max = pick(prng, &[0, 0, 1, 3]);
    }

    /// The plan of a seed.
    pub fn draw(prng: &mut Prng) -> Plan {
        let large = one_in(prng, 7);
        let bursts = !large && one_in(prng, 7);
        let workers = match (large, bursts) {
            (true, _) => pick(prng, &[1, 1, 2]),
            (_, true) => pick(prng, &[1, 2, 2, 2]),
            _ => pick(prng, &[1, 2, 2, 3, 4]),
        };
        let crowd = !large && !bursts && one_in(prng, 10);
        let mut settings = settings(prng);
        if large {
            settings.history_topic_bytes_max = pick(prng, &[65_536, 8 << 20]);
            settings.history_bytes_max = 64 << 20;
            settings.publish_bytes_max = 1 << 20;
        }
        if bursts {
            settings.publish_bytes_max = 1 << 20;
            settings.history_events = pick(prng, &[5, 400, 3_000]);
        }
        Plan {
            workers,
            connections_max: if one_in(prng, 6) { 3 + prng.below(12) as usize } else { 1_000 },
            subscribers: if crowd || large { 24 } else { 2 + prng.below(9) as usize },
            publishers: if bursts || large { 4 } else { 1 + prng.below(4) as usize },
            probers: prng.below(4) as usize,
            inspectors: pick(prng, &[0, 1, 2, 6]),
            pollers: 0,
            snapshots: false,
            topics: if bursts { 2 } else { 1 + prng.below(if large { 2 } else { 6 }) as usize },
            heavy: if large { 16 } else { 4 },
            phases: 1 + prng.below(if bursts { 2 } else { 4 }) as usize,
            steps: if bursts { 1_200 } else { pick(prng, &[100, 400, 1_000, 2_000]) },
            starved: (bursts || one_in(prng, 3)).then(|| prng.below(workers as u64) as usize),
            large,
            bursts,
            huge_steps: pick(prng, &[0, 0, 20, 60]),
            sheds: one_in(prng, 3),
            wall_steps: one_in(prng, 3),
            finale: pick(prng, &Finale::ALL),
            orders: false,
            proxies: false,
            lives: false,
            patterns: false,
            classes: ClassPlan::plain(&settings),
            settings,
        }
    }
}

fn settings(prng: &mut Prng) -> Settings {
    let mut settings = Settings {
        history_events: pick(prng, &[1, 2, 5, 20, 50, 400]),
        history_ms: pick(prng, &[40, 500, 5_000, 300_000, 300_000]),
        heartbeat_ms: pick(prng, &[100, 400, 2_000, 15_000]),
        stall_ms: pick(prng, &[100, 1_000, 15_000]),
        head_ms: pick(prng, &[200, 10_000]),
        body_ms: pick(prng, &[200, 30_000]),
        idle_ms: pick(prng, &[200, 5_000, 60_000]),
        answer_ms: pick(prng, &[200, 10_000]),
        drain_ms: pick(prng, &[0, 50, 500, 3_000, 3_000]),
        slow_policy: pick(prng, &[SlowPolicy::Disconnect, SlowPolicy::Skip, SlowPolicy::Latest]),
        ..Settings::default()
    };
    if one_in(prng, 4) {
        settings.history_topic_bytes_max = pick(prng, &[4_096, 10_000]);
    }
    if one_in(prng, 4) {
        settings.history_bytes_max = pick(prng, &[6_000, 65_536]);
    }
    if one_in(prng, 5) {
        settings.max_connection_ms = pick(prng, &[100, 1_000, 5_000]);
    }
    if one_in(prng, 6) {
        settings.connections_per_address_max = 1 + prng.below(4) as usize;
    }
    if one_in(prng, 6) {
        settings.topics_max = 1 + prng.below(6) as usize;
    }
    if one_in(prng, 6) {
        settings.publish_bytes_max = pick(prng, &[20, 100, 1_000]);
    }
    if one_in(prng, 6) {
        settings.bodies_bytes_max = pick(prng, &[4_096, 10_000]);
    }
    if one_in(prng, 6) {
        settings.topics_per_connection_max = 2;
    }
    if one_in(prng, 5) {
        settings.idempotency_keys_max = 1 + prng.below(3) as usize;
    }
    if one_in(prng, 5) {
        settings.idempotency_ms = pick(prng, &[50, 1_000]);
    }
    settings
}
