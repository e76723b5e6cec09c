//! Facts about the default rules with their own numbers: over a simulated day each fires for its trouble
//! alone and ends with it.

use super::*;
use crate::base::counters::Count;
use crate::base::histogram::{AtomicHistogram, HistogramScale};
use crate::base::snapshot::ReadinessVerdict;
use crate::monitor::watch::{Watch, WatchBounds, WatchSample, metric_named};

const MB: u64 = 1_000_000;

/// A healthy server, second by second, until a trouble is set.
struct Patient {
    sample: WatchSample,
    each: AtomicHistogram,
    watch: Watch,
    told: Vec<(String, AlertChange)>,
}

/// A change to the samples of a second that stands for a trouble.
type Trouble = fn(&mut Patient);

impl Patient {
    fn new() -> Patient {
        let bounds = WatchBounds { memory_limit_bytes: 1_000 * MB, ..WatchBounds::default() };
        let mut watch = Watch::new(bounds);
        let rules = DEFAULT_RULES.iter().map(|default| AlertRule {
            name: default.name.to_owned(),
            metric: metric_named(default.metric).expect("in the table"),
            // The rule without a default bound gets one from the operator.
            bound: default.bound.unwrap_or(AlertBound::Below(5.0)),
            for_ms: default.for_ms,
            severity: default.severity,
            cooldown_ms: 300_000,
        });
        assert_eq!(watch.replace_rules(rules.collect(), Now { mono_ms: 0, mono_us: 0, wall_ms: 0 }), []);
        Patient {
            sample: WatchSample::default(),
            each: AtomicHistogram::new(HistogramScale::Spans),
            watch,
            told: Vec::new(),
        }
    }

    fn count(&mut self, what: Count, by: u64) {
        self.sample.snapshot.totals.counts[what as usize] += by;
    }

    /// Passes a number of seconds, healthy but for the trouble.
    fn live(&mut self, seconds: u64, trouble: Option<Trouble>) {
        for _ in 0..seconds {
            self.sample.mono_ms += 1_000;
            self.sample.wall_ms = WALL_MS + self.sample.mono_ms;
            self.sample.readiness = ReadinessVerdict::default();
            let snapshot = &mut self.sample.snapshot;
            snapshot.connections_max = 100;
            (snapshot.totals.connections_open, snapshot.totals.subscribers_open) = (50, 40);
            snapshot.totals.lagging = 1;
            self.sample.host.resident_bytes = self.sample.host.resident_bytes.clamp(100 * MB, 120 * MB);
            self.count(Count::Published, 20);
            self.each.add(2_000, 40);
            if let Some(trouble) = trouble {
                trouble(self);
            }
            let mut sample = self.sample.clone();
            self.each.add_to(&mut sample.snapshot.distributions.delivery_each);
            let now = Now { mono_ms: sample.mono_ms, mono_us: 0, wall_ms: sample.wall_ms };
            self.watch.push(sample);
            let notices = self.watch.evaluate_alerts(now);
            self.told.extend(notices.into_iter().map(|notice| (notice.rule.name, notice.change)));
        }
    }
}

const WALL_MS: u64 = 1_700_000_000_000;

#[test]
fn each_default_fires_for_its_trouble_and_ends_with_it_alone() {
    let minute = 60;
    let rows: &[(&str, u64, u64, Trouble)] = &[
        ("connections_near_cap", 2, 2, |it| it.sample.snapshot.totals.connections_open = 90),
        ("memory_high", 2, 2, |it| it.sample.host.resident_bytes = 950 * MB),
        ("message_rate_low", 4, 4, |it| {
            it.sample.snapshot.totals.counts[Count::Published as usize] -= 20;
        }),
        ("delivery_slow", 2, 4, |it| it.each.add(3_000_000, 40)),
        ("subscribers_lagging", 2, 4, |it| it.sample.snapshot.totals.lagging = 20),
        ("errors", 3, 4, |it| it.count(Count::RequestsBad, 5)),
        ("memory_leak", 25, 40, |it| it.sample.host.resident_bytes += MB / 100),
        ("not_ready", 1, 1, |it| {
            let reason = Some("worker_late: worker 2".to_owned());
            it.sample.readiness = ReadinessVerdict { ok: false, reason, since_ms: it.sample.mono_ms };
        }),
    ];
    assert_eq!(rows.len(), DEFAULT_RULES.len());
    for &(name, sick, well, trouble) in rows {
        let mut patient = Patient::new();
        patient.live(2 * minute, None);
        assert_eq!(patient.told, [], "{name}: while all is well");
        patient.live(sick * minute, Some(trouble));
        assert_eq!(patient.told, [(name.to_owned(), AlertChange::Firing)], "{name}: while it is not");
        patient.live(well * minute, None);
        let both = [AlertChange::Firing, AlertChange::Resolved].map(|change| (name.to_owned(), change));
        assert_eq!(patient.told, both, "{name}: when all is well again");
    }
}
