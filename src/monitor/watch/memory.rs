//! The movement of resident memory: its trend over five minutes, and the judgement whether it leaks.
//!
//! A leak is growth that the server's load does not explain. Connections, subscriptions, topics, history and
//! idempotency keys explain as much as their greatest numbers so far, because an allocator keeps memory that
//! was once needed. Only the least value of each minute counts, so that short peaks are not growth.

use std::collections::VecDeque;

use super::WatchSample;
use super::points::SecondPoint;
use crate::base::limits::MINUTE_MS;
use crate::base::snapshot::Snapshot;

/// Minutes before the first judgement: caches, pools and the allocator's heaps fill first.
const LEARNING_MINUTES: usize = 10;
/// Minutes that a judgement looks back on.
const MINUTES_MAX: usize = 30;
/// Bytes that a connection explains: an idle subscriber takes a fifth of it, one that publishes or is behind
/// takes about as much.
const CONNECTION_BYTES: u64 = 512;
/// Bytes that a topic explains beside its history, and as many more for each worker: 410 were measured with a
/// name of 40 bytes, 480 with one of 120, and 60 more with 8 workers.
const TOPIC_BYTES: u64 = 512;
const TOPIC_WORKER_BYTES: u64 = 8;
/// Bytes that each topic of a stream explains: 23 were measured with 64 topics, 29 with 8 workers.
const SUBSCRIPTION_BYTES: u64 = 32;
/// Bytes that an idempotency key explains: 105 to 150 were measured, as its table had just grown or not.
const IDEMPOTENCY_KEY_BYTES: u64 = 192;
/// Share of history that explains growth, in percent: an allocator rounds and leaves holes.
const HISTORY_PERCENT: u64 = 125;
/// Growth a minute that is worth a word, in bytes; less would take a month to fill 8 GiB.
const GROWTH_BYTES_MIN: f64 = 128.0 * 1_024.0;
/// Growth a minute that is worth a word, as a share of resident memory: a day would multiply it by 2.4.
const GROWTH_SHARE_MIN: f64 = 0.001;
/// Share of the movement that a straight line must explain. A step, or a tooth of a saw, is no line.
const LINE_SHARE_MIN: f64 = 0.85;
/// Share of minutes in which memory must have grown.
const RISING_SHARE_MIN: f64 = 0.6;
/// Memory above the average by this factor is a spike.
const SPIKE_FACTOR: f64 = 1.5;

/// Resident memory over the last five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct MemoryTrend {
    /// The mean over the points.
    pub(crate) average_bytes: u64,
    /// The least of the points.
    pub(crate) min_bytes: u64,
    /// The greatest of the points.
    pub(crate) max_bytes: u64,
    /// Number of times that it rose above the mean by half.
    pub(crate) spikes: u64,
}

impl MemoryTrend {
    /// Computes the trend of these points, oldest first.
    pub(crate) fn of<'a>(points: impl Iterator<Item = &'a SecondPoint> + Clone) -> MemoryTrend {
        let bytes = points.map(|point| point.resident_bytes).filter(|&bytes| bytes > 0);
        let (count, sum) = bytes.clone().fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        if count == 0 {
            return MemoryTrend::default();
        }
        let average_bytes = sum / count;
        let is_high = |bytes: u64| bytes as f64 > average_bytes as f64 * SPIKE_FACTOR;
        let mut was_high = false;
        let begins = |bytes: &u64| !std::mem::replace(&mut was_high, is_high(*bytes)) && was_high;
        MemoryTrend {
            average_bytes,
            min_bytes: bytes.clone().min().unwrap_or(0),
            max_bytes: bytes.clone().max().unwrap_or(0),
            spikes: bytes.filter(begins).count() as u64,
        }
    }
}

/// A judgement of the growth of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LeakJudgement {
    /// Too early for a judgement.
    #[default]
    Learning,
    /// Memory does not grow, or the load explains its growth.
    None,
    /// Memory grows, and the load does not explain it.
    Suspected,
}

impl LeakJudgement {
    /// Returns its word on `/status`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            LeakJudgement::Learning => "learning",
            LeakJudgement::None => "none",
            LeakJudgement::Suspected => "suspected",
        }
    }
}

/// A judgement with its reasons.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LeakReport {
    /// The judgement of the last minutes.
    pub(crate) judgement: LeakJudgement,
    /// Growth without an explanation; 0 unless suspected.
    pub(crate) bytes_per_minute: f64,
    /// The reason of the judgement, as a sentence.
    pub(crate) why: String,
}

/// Judges the growth of memory from a sample a second.
#[derive(Debug, Default)]
pub(super) struct LeakJudge {
    peaks: PeakHoldings,
    /// The least unexplained bytes of each whole minute; may be below 0.
    minutes: VecDeque<f64>,
    /// Whole minutes that have passed.
    seen: usize,
    current: Option<CurrentMinute>,
    resident_bytes: u64,
    leak: LeakReport,
}

/// The greatest numbers so far of everything that the load makes the server hold.
#[derive(Debug, Default)]
struct PeakHoldings {
    connections: u64,
    subscriptions: u64,
    topics: u64,
    topic_bytes: u64,
    history_bytes: u64,
    idempotency_keys: u64,
}

impl PeakHoldings {
    fn take_sample(&mut self, snapshot: &Snapshot) {
        let raise = |most: &mut u64, now: u64| *most = now.max(*most);
        raise(&mut self.connections, snapshot.totals.connections_open);
        raise(&mut self.subscriptions, snapshot.subscriptions as u64);
        raise(&mut self.topics, snapshot.topics as u64);
        raise(&mut self.history_bytes, (snapshot.history_bytes + snapshot.bodies_bytes) as u64);
        raise(&mut self.idempotency_keys, snapshot.idempotency_keys as u64);
        self.topic_bytes = TOPIC_BYTES + TOPIC_WORKER_BYTES * snapshot.workers.len() as u64;
    }

    /// Returns the bytes that all of them explain.
    fn bytes(&self) -> u64 {
        self.connections * CONNECTION_BYTES
            + self.subscriptions * SUBSCRIPTION_BYTES
            + self.topics * self.topic_bytes
            + self.history_bytes / 100 * HISTORY_PERCENT
            + self.idempotency_keys * IDEMPOTENCY_KEY_BYTES
    }
}

/// The least value of the minute that runs.
#[derive(Debug)]
struct CurrentMinute {
    began_ms: u64,
    least: f64,
}

impl LeakJudge {
    pub(crate) fn leak(&self) -> &LeakReport {
        &self.leak
    }

    pub(crate) fn push(&mut self, sample: &WatchSample) {
        let snapshot = &sample.snapshot;
        if sample.host.resident_bytes == 0 {
            return;
        }
        self.resident_bytes = sample.host.resident_bytes;
        self.peaks.take_sample(snapshot);
        let unexplained = sample.host.resident_bytes as f64 - self.peaks.bytes() as f64;
        let current =
            self.current.get_or_insert(CurrentMinute { began_ms: sample.mono_ms, least: unexplained });
        current.least = current.least.min(unexplained);
        if sample.mono_ms >= current.began_ms + MINUTE_MS {
            let least = current.least;
            self.current = Some(CurrentMinute { began_ms: sample.mono_ms, least: unexplained });
            self.end_minute(least);
        } else if self.seen < LEARNING_MINUTES {
            self.judge();
        }
    }

    fn end_minute(&mut self, least: f64) {
        if self.minutes.len() == MINUTES_MAX {
            self.minutes.pop_front();
        }
        self.minutes.push_back(least);
        self.seen += 1;
        self.judge();
    }

    fn judge(&mut self) {
        if self.seen < LEARNING_MINUTES {
            let seen = self.seen;
            let why = format!("Judged after {LEARNING_MINUTES} minutes; {seen} have passed.");
            self.leak = LeakReport { judgement: LeakJudgement::Learning, bytes_per_minute: 0.0, why };
            return;
        }
        let line = LinearFit::fit(&self.minutes);
        let growth_min = GROWTH_BYTES_MIN.max(GROWTH_SHARE_MIN * self.resident_bytes as f64);
        let suspected = line.slope >= growth_min
            && line.explained_share >= LINE_SHARE_MIN
            && rising_share(&self.minutes) >= RISING_SHARE_MIN;
        self.leak = if suspected {
            let why = format!(
                "Resident memory has grown by {} a minute for {} minutes; neither connections ({} at most) \
                 nor topics ({}), history ({}) or idempotency keys ({}) explain it.",
                megabytes(line.slope),
                self.minutes.len(),
                self.peaks.connections,
                self.peaks.topics,
                megabytes(self.peaks.history_bytes as f64),
                self.peaks.idempotency_keys,
            );
            LeakReport { judgement: LeakJudgement::Suspected, bytes_per_minute: line.slope, why }
        } else {
            let why =
                "Resident memory grows no more than what the server is asked to hold explains.".to_owned();
            LeakReport { judgement: LeakJudgement::None, bytes_per_minute: 0.0, why }
        };
    }
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// Returns the share of steps that go up.
fn rising_share(values: &VecDeque<f64>) -> f64 {
    let rising = values.iter().zip(values.iter().skip(1)).filter(|(before, after)| after > before).count();
    rising as f64 / (values.len().max(2) - 1) as f64
}

/// A straight line, fitted by least squares.
struct LinearFit {
    /// Growth from one value to the next.
    slope: f64,
    /// Share of the values' variance that the line explains.
    explained_share: f64,
}

impl LinearFit {
    fn fit(values: &VecDeque<f64>) -> LinearFit {
        let count = values.len() as f64;
        let mean_x = (count - 1.0) / 2.0;
        let mean_y = values.iter().sum::<f64>() / count;
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in values.iter().enumerate() {
            let (x, y) = (x as f64 - mean_x, y - mean_y);
            (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y);
        }
        if xx == 0.0 || yy == 0.0 {
            return LinearFit { slope: 0.0, explained_share: 0.0 };
        }
        LinearFit { slope: xy / xx, explained_share: xy * xy / (xx * yy) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::base::snapshot::HostReading;

    const MB: u64 = 1_000_000;

    /// Values of a second: resident bytes, connections, bytes of history.
    type Second = (u64, u64, u64);

    /// The judgement after so many minutes, with some noise on resident memory.
    fn judge(minutes: u64, second: impl Fn(u64) -> Second) -> LeakReport {
        let (mut judge, mut prng) = (LeakJudge::default(), Prng::new(7));
        for at in 0..=minutes * 60 {
            let (resident, connections, history) = second(at);
            let mut sample = WatchSample { mono_ms: at * 1_000, ..WatchSample::default() };
            sample.host = HostReading { resident_bytes: resident + prng.below(MB / 4), ..sample.host };
            sample.snapshot.totals.connections_open = connections;
            sample.snapshot.history_bytes = history as usize;
            judge.push(&sample);
        }
        judge.leak().clone()
    }

    #[test]
    fn growth_that_nothing_explains_is_a_leak_and_all_else_is_none() {
        // An idle subscriber's bytes.
        let held = |connections: u64| 20 * MB + connections * 110;
        type LeakCase = (&'static str, u64, fn(u64, &dyn Fn(u64) -> u64) -> Second, LeakJudgement);
        let rows: [LeakCase; 12] = [
            ("steady growth", 20, |at, held| (held(0) + at * MB / 60, 0, 0), LeakJudgement::Suspected),
            ("slow growth", 30, |at, held| (held(0) + at * MB / 240, 0, 0), LeakJudgement::Suspected),
            ("too early", 9, |at, held| (held(0) + at * MB, 0, 0), LeakJudgement::Learning),
            ("no growth", 40, |_, held| (held(500), 500, 0), LeakJudgement::None),
            ("connections", 40, |at, held| (held(at * 50), at * 50, 0), LeakJudgement::None),
            ("history", 40, |at, held| (held(0) + at * 20_000, 0, at * 20_000), LeakJudgement::None),
            (
                "growth beside connections",
                30,
                |at, held| (held(at) + at * MB / 20, at, 0),
                LeakJudgement::Suspected,
            ),
            ("sawtooth", 40, |at, held| (held(0) + at % 45 * 4 * MB, 0, 0), LeakJudgement::None),
            ("long sawtooth", 40, |at, held| (held(0) + at % 400 * MB / 4, 0, 0), LeakJudgement::None),
            (
                "one step",
                25,
                |at, held| (held(0) + if at < 800 { 0 } else { 64 * MB }, 0, 0),
                LeakJudgement::None,
            ),
            (
                "connections that leave, and memory that stays",
                40,
                |at, held| (held(100_000), 100_000_u64.saturating_sub(at * 50), 0),
                LeakJudgement::None,
            ),
            (
                "a leak that was stopped",
                60,
                |at, held| (held(0) + at.min(1_200) * MB / 60, 0, 0),
                LeakJudgement::None,
            ),
        ];
        for (name, minutes, second, expected) in rows {
            let leak = judge(minutes, |at| second(at, &held));
            assert_eq!(leak.judgement, expected, "{name}: {leak:?}");
            assert_eq!(leak.bytes_per_minute > 0.0, expected == LeakJudgement::Suspected, "{name}: {leak:?}");
        }
    }

    #[test]
    fn a_leak_is_measured_and_told_in_words() {
        let leak = judge(20, |at| (100 * MB + at * MB / 20, 1_000, 2 * MB));
        assert!((leak.bytes_per_minute / (3.0 * MB as f64) - 1.0).abs() < 0.05, "{leak:?}");
        assert!(leak.why.contains("3.0 MB a minute for 20 minutes"), "{leak:?}");
        assert!(leak.why.contains("1000 at most") && leak.why.contains("history (2.0 MB)"), "{leak:?}");
    }

    #[test]
    fn topics_subscriptions_and_idempotency_keys_explain_what_they_take() {
        // Measured: bytes of one, and bytes of one that nobody would explain.
        type LeakCase = (&'static str, u64, u64, fn(&mut Snapshot, usize));
        let rows: [LeakCase; 3] = [
            ("topics", 500, 900, |it, number| it.topics = number),
            ("subscriptions", 29, 120, |it, number| it.subscriptions = number),
            ("idempotency keys", 150, 400, |it, number| it.idempotency_keys = number),
        ];
        for (name, bytes, leaking_bytes, change) in rows {
            let judgement = |bytes: u64| {
                let mut judge = LeakJudge::default();
                for at in 0..=30 * 60 {
                    let mut sample = WatchSample { mono_ms: at * 1_000, ..WatchSample::default() };
                    sample.host.resident_bytes = 20 * MB + at * 100 * bytes;
                    change(&mut sample.snapshot, at as usize * 100);
                    judge.push(&sample);
                }
                judge.leak().clone()
            };
            assert_eq!(judgement(bytes).judgement, LeakJudgement::None, "{name}: {:?}", judgement(bytes));
            assert_eq!(judgement(leaking_bytes).judgement, LeakJudgement::Suspected, "{name}");
        }
    }

    #[test]
    fn the_trend_tells_spikes_once_each() {
        let of = |bytes: &[u64]| {
            let point = |&resident_bytes| SecondPoint { resident_bytes, ..SecondPoint::default() };
            let points: Vec<SecondPoint> = bytes.iter().map(point).collect();
            MemoryTrend::of(points.iter())
        };
        assert_eq!(of(&[]), MemoryTrend::default());
        assert_eq!(of(&[0, 5]).average_bytes, 5, "what could not be read does not count");
        let trend = of(&[100, 100, 100, 100, 100, 900, 900, 100, 100, 100, 100, 800, 100, 100]);
        let expected = MemoryTrend { average_bytes: 264, min_bytes: 100, max_bytes: 900, spikes: 2 };
        assert_eq!(trend, expected);
    }
}
