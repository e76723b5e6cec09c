//! The scenarios: the load of each, and the figures that it is run for.

use crate::peer::{Naming, Peer};

/// The better direction of a figure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Best {
    /// The lowest.
    Low,
    /// The highest.
    High,
}

/// A number of a load's report.
pub struct Figure {
    /// The name in tables.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Where it stands in the report.
    pub pointer: &'static str,
    /// Which value is better.
    pub best: Best,
}

/// The abilities that a peer needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing special.
    Nothing,
    /// Taking many events in one request.
    Batch,
    /// Patterns, windows, and events that give way to newer ones of their key.
    Shaping,
}

impl Needs {
    /// Whether a peer has them.
    pub fn are_met_by(self, peer: &Peer) -> bool {
        match self {
            Needs::Nothing => true,
            Needs::Batch => peer.batch,
            Needs::Shaping => peer.shaping,
        }
    }
}

/// A scenario.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Flags of the load.
    pub flags: &'static str,
    /// Further flags for peers that replay history.
    pub resume_flags: &'static str,
    /// Variables of the server that shape its deliveries.
    pub settings: &'static [(&'static str, &'static str)],
    /// How subscribers name what they want.
    pub naming: Naming,
    /// Time between heartbeats.
    pub heartbeat_ms: u64,
    /// The figures it is run for; pictures show the first.
    pub figures: &'static [Figure],
    /// The peers that take part.
    pub needs: Needs,
    /// The most rounds: figures that do not vary need no repetition.
    pub rounds_max: usize,
    /// Another scenario that the first figure is held against, peer by peer.
    pub against: Option<&'static str>,
}

const CPU: Figure = Figure {
    name: "server CPU per delivery",
    unit: "µs",
    pointer: "/delivered/cpu_us_per_delivery",
    best: Best::Low,
};
const LAST: Figure = Figure {
    name: "time to the last subscriber, median",
    unit: "ms",
    pointer: "/delivered/to_last/p50_ms",
    best: Best::Low,
};
const P99: Figure =
    Figure { name: "latency p99", unit: "ms", pointer: "/delivered/latency/p99_ms", best: Best::Low };
const THROUGHPUT: Figure = Figure {
    name: "deliveries a second",
    unit: "/s",
    pointer: "/delivered/deliveries_per_second",
    best: Best::High,
};
const CPU_EVENT: Figure = Figure {
    name: "server CPU per publish and delivery",
    unit: "µs",
    pointer: "/delivered/cpu_us_per_event",
    best: Best::Low,
};

const PLAIN: Scenario = Scenario {
    name: "",
    about: "",
    flags: "",
    resume_flags: "",
    settings: &[],
    naming: Naming::Topic,
    heartbeat_ms: 15_000,
    figures: &[],
    needs: Needs::Nothing,
    rounds_max: usize::MAX,
    against: None,
};

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "broadcast",
        about: "10 000 subscribers of one topic, 64 B, one event at a time",
        flags: "--subscribers 10000 --warm-up 5 --events 40 --bytes 64",
        figures: &[CPU, LAST, P99],
        ..PLAIN
    },
    Scenario {
        name: "saturated",
        about: "the same with 64 events in flight",
        flags: "--subscribers 10000 --warm-up 64 --seconds 3 --bytes 64 --window 64 --publishers 16",
        figures: &[THROUGHPUT, CPU],
        ..PLAIN
    },
    Scenario {
        name: "personal",
        about: "10 000 topics with one subscriber each, single publishes spread over them, 64 in flight",
        flags: "--subscribers 10000 --topics 10000 --warm-up 1000 --events 40000 --bytes 64 --window 64 \
                --publishers 16",
        figures: &[CPU_EVENT, P99],
        ..PLAIN
    },
    Scenario {
        name: "personal-batch",
        about: "the same, published in batches of 64 lines (NDJSON)",
        flags: "--subscribers 10000 --topics 10000 --warm-up 1024 --events 102400 --bytes 64 --window 1024 \
                --publishers 4 --batch 64",
        figures: &[CPU_EVENT, P99],
        needs: Needs::Batch,
        ..PLAIN
    },
    Scenario {
        name: "storm",
        about: "10 000 reconnect at once; those with history resume over 10 missed events each",
        flags: "--subscribers 10000 --events 1 --reconnect-percent 100 --missed 0 --connecting-max 2048",
        resume_flags: "--missed 10",
        figures: &[Figure {
            name: "server CPU per reconnect",
            unit: "µs",
            pointer: "/returned/cpu_us_each",
            best: Best::Low,
        }],
        ..PLAIN
    },
    Scenario {
        name: "idle",
        about: "10 000 connections held for 16 s with a heartbeat every 5 s",
        flags: "--subscribers 10000 --idle-seconds 16",
        heartbeat_ms: 5_000,
        rounds_max: 1,
        figures: &[
            Figure {
                name: "resident memory per connection",
                unit: "B",
                pointer: "/opened/resident_bytes_each",
                best: Best::Low,
            },
            Figure {
                name: "server CPU per heartbeat",
                unit: "µs",
                pointer: "/idled/cpu_us_each",
                best: Best::Low,
            },
        ],
        ..PLAIN
    },
    Scenario {
        name: "steady",
        about: "10 000 subscribers, 1 KiB, one event at a time: what `stalled` is held against",
        flags: "--subscribers 10000 --warm-up 5 --events 40 --bytes 1024",
        figures: &[P99, CPU],
        ..PLAIN
    },
    Scenario {
        name: "stalled",
        about: "the same while 1 % of the subscribers do not read",
        flags: "--subscribers 10000 --warm-up 5 --events 40 --bytes 1024 --stall-percent 1",
        figures: &[P99, CPU],
        against: Some("steady"),
        ..PLAIN
    },
    Scenario {
        name: "large",
        about: "1 000 subscribers, 16 KiB, one event at a time",
        flags: "--subscribers 1000 --warm-up 5 --events 150 --bytes 16384",
        figures: &[CPU, LAST],
        ..PLAIN
    },
    Scenario {
        name: "paced",
        about: "10 000 subscribers, 10 events of 64 B a second: for `batched` and `conflated`",
        flags: PACED,
        figures: &[CPU_EVENT],
        ..PLAIN
    },
    Scenario {
        name: "batched",
        about: "the same, and events wait until 50 leave in one send",
        flags: PACED,
        settings: &[("FANWHEEL_BATCH_MS", "10000"), ("FANWHEEL_BATCH_EVENTS", "50")],
        figures: &[CPU_EVENT],
        needs: Needs::Shaping,
        against: Some("paced"),
        ..PLAIN
    },
    Scenario {
        name: "conflated",
        about: "the same, ten times the events, and once a second the newest of each key",
        flags: "--subscribers 10000 --warm-up 400 --events 1000 --rate 100 --bytes 64 --publishers 4 \
                --conflated",
        settings: &[("FANWHEEL_THROTTLE_MS", "1000")],
        figures: &[CPU_EVENT],
        needs: Needs::Shaping,
        against: Some("paced"),
        ..PLAIN
    },
    Scenario {
        name: "names",
        about: "1 000 topics with 10 subscribers each, 64 publishes in flight: for `patterns`",
        flags: MANY_TOPICS,
        figures: &[CPU_EVENT, P99],
        ..PLAIN
    },
    Scenario {
        name: "patterns",
        about: "the same, subscribed by 1 000 patterns",
        flags: MANY_TOPICS,
        naming: Naming::Pattern,
        figures: &[CPU_EVENT, P99],
        needs: Needs::Shaping,
        against: Some("names"),
        ..PLAIN
    },
];

const PACED: &str = "--subscribers 10000 --warm-up 50 --events 150 --rate 10 --bytes 64";
const MANY_TOPICS: &str = "--subscribers 10000 --topics 1000 --warm-up 1000 --events 20000 --bytes 64 \
                           --window 64 --publishers 16";

/// A scenario by its name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
