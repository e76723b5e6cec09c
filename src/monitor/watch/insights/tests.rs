//! Facts about each trouble on a node that is otherwise quiet.

use super::Severity::{Critical, Info, Warning};
use super::*;
use crate::base::histogram::{AtomicHistogram, HistogramScale};
use crate::base::settings::TABLE;
use crate::base::snapshot::{ReadinessVerdict, WorkerSnapshot};
use crate::base::survey::AddressCount;
use crate::monitor::watch::{WatchBounds, WatchSample};

fn bounds() -> WatchBounds {
    WatchBounds {
        memory_limit_bytes: 1_000,
        worker_files_max: 1_000,
        heartbeat_ms: 15_000,
        topics_max: 100,
        idempotency_keys_max: 100,
        started_ms: 0,
    }
}

/// Samples of a node without any trouble.
fn quiet(second: u64) -> WatchSample {
    let mut sample = WatchSample { mono_ms: second * 1_000, ..WatchSample::default() };
    sample.snapshot.connections_max = 1_000;
    sample.snapshot.totals.connections_open = 500;
    sample.snapshot.totals.subscribers_open = 400;
    sample.snapshot.workers =
        vec![WorkerSnapshot { connections: 250, files: 250, ..WorkerSnapshot::default() }; 2];
    sample.host.resident_bytes = 500;
    sample.host.workers_cpu_seconds = vec![second as f64 / 2.0; 2];
    sample.peaks.turns_us = vec![900; 2];
    sample
}

fn insights(bounds: WatchBounds, second: impl Fn(u64) -> WatchSample) -> Vec<(Severity, String)> {
    let mut watch = Watch::new(bounds);
    (0..10).for_each(|at| watch.push(second(at)));
    watch.insights().into_iter().map(|insight| (insight.severity, insight.text)).collect()
}

#[test]
fn nothing_is_remarked_on_a_quiet_node() {
    assert_eq!(insights(bounds(), quiet), []);
    assert_eq!(
        insights(WatchBounds::default(), |_| WatchSample::default()),
        [],
        "not even when nothing is known"
    );
}

/// A change of a quiet sample, and the insight that it brings.
type InsightCase = (fn(&mut WatchSample), Severity, &'static str);

#[test]
fn each_trouble_is_told_alone() {
    let rows: [InsightCase; 24] = [
        (
            |it| {
                let reason = Some("worker_late: worker 1".to_owned());
                it.readiness = ReadinessVerdict { ok: false, reason, since_ms: 0 };
            },
            Critical,
            "worker_late: worker 1",
        ),
        (|it| it.snapshot.memory_full = true, Critical, "newcomers are refused"),
        (|it| it.snapshot.totals.connections_open = 800, Warning, "800 of 1000 connections"),
        (|it| it.snapshot.totals.connections_open = 990, Critical, "990 of 1000 connections"),
        (|it| it.host.resident_bytes = 850, Warning, "at 85 % of its limit"),
        (|it| it.snapshot.workers[1].mailbox = 3_000, Warning, "worker 1: 3000 of 4096"),
        (|it| it.snapshot.totals.lagging = 40, Warning, "40 of 400 subscribers"),
        (|it| it.snapshot.totals.lagging = 3, Warning, "3 subscribers have stopped reading"),
        (
            |it| close(it, CloseReason::SlowUnacknowledged),
            Warning,
            "9 times ended because they acknowledged nothing",
        ),
        (|it| count(it, Count::Gaps), Warning, "9 times"),
        (|it| count(it, Count::Skipped), Warning, "9 times moved to the newest"),
        (|it| close(it, CloseReason::SlowStalled), Warning, "9 times ended because they took nothing"),
        (|it| it.snapshot.topics = 80, Warning, "80 of 100 topics"),
        (|it| it.snapshot.idempotency_keys = 99, Critical, "99 of 100 idempotency keys"),
        (
            |it| it.snapshot.top_addresses = addresses(&[300, 20, 20, 20, 20]),
            Info,
            "192.0.2.0 holds 300 of 500 connections",
        ),
        (|it| it.snapshot.totals.refused[2] = it.mono_ms / 1_000, Warning, "9 of them for memory_full"),
        (|it| it.snapshot.workers[0].files = 960, Warning, "Worker 0 has 960 of 1000 files"),
        (|it| count(it, Count::ListenPauses), Warning, "of 1000 files"),
        (|it| count(it, Count::AcceptErrors), Warning, "refused 9 connections"),
        (|it| count(it, Count::LogDropped), Warning, "9 log lines"),
        (
            |it| it.host.workers_cpu_seconds = vec![it.mono_ms as f64 / 1_000.0; 2],
            Warning,
            "All 2 workers are busy",
        ),
        (|it| it.peaks.turns_us[1] = 300_000, Info, "Worker 1 took 300 ms"),
        (
            |it| {
                it.snapshot.workers = vec![WorkerSnapshot::default(); 4];
                it.snapshot.workers[3].connections = 500;
            },
            Info,
            "Worker 3 carries 500 of 500",
        ),
        (|it| it.snapshot.totals.lagging = 3 * u64::from(it.mono_ms % 3_000 > 0), Info, ""),
    ];
    for (change, severity, words) in rows {
        let found = insights(bounds(), |at| {
            let mut sample = quiet(at);
            change(&mut sample);
            sample
        });
        if words.is_empty() {
            assert_eq!(found, [], "too few to tell");
            continue;
        }
        let [(found_severity, text)] = &found[..] else { panic!("{words}: {found:?}") };
        assert_eq!(*found_severity, severity, "{text}");
        assert!(text.contains(words), "{text}");
    }
    let slow = insights(WatchBounds { heartbeat_ms: 60_000, ..bounds() }, quiet);
    assert!(slow[0].1.contains("60000 ms of silence"), "{slow:?}");
}

/// Rows of addresses with these numbers of connections.
fn addresses(connections: &[u64]) -> Vec<AddressCount> {
    let row = |(nth, &connections): (usize, &u64)| AddressCount {
        address: [192, 0, 2, nth as u8].into(),
        connections,
    };
    connections.iter().enumerate().map(row).collect()
}

#[test]
fn one_address_of_few_is_a_proxy_until_places_are_few() {
    let told = |open: u64, counts: &[u64]| {
        let found = insights(bounds(), |at| {
            let mut sample = quiet(at);
            sample.snapshot.totals.connections_open = open;
            sample.snapshot.top_addresses = addresses(counts);
            sample
        });
        found.iter().any(|(_, text)| text.contains(" holds "))
    };
    assert!(!told(500, &[480, 20]), "a proxy and somebody else");
    assert!(told(900, &[880, 20]));
    assert!(!told(500, &[100, 100, 100, 100, 100]));
    assert!(!told(40, &[99, 1, 1, 1, 1]), "they have left since they were counted");
}

#[test]
fn a_steady_publisher_that_falls_silent_is_told_after_a_minute() {
    // Events of each second, the last second with events, the newest second, the number of subscribers.
    let told = |rate: u64, until: u64, now: u64, subscribers: u64| {
        let mut watch = Watch::new(bounds());
        (0..=now).for_each(|at| {
            let mut sample = quiet(at);
            sample.snapshot.totals.subscribers_open = subscribers;
            sample.snapshot.totals.counts[Count::Published as usize] = rate * at.min(until);
            watch.push(sample);
        });
        let insights = watch.insights();
        insights.iter().any(|one| one.text.contains("540 events in the 3 before"))
    };
    assert!(told(3, 300, 360, 1) && told(3, 600, 660, 1));
    assert!(!told(3, 310, 360, 1), "fifty seconds are no minute");
    assert!(!told(3, 300, 360, 0), "nobody listens");
    assert!(!told(3, 180, 238, 1), "too young to say");
    assert!(!told(0, 300, 360, 1), "nobody ever published");
}

#[test]
fn slow_deliveries_are_told() {
    let each = AtomicHistogram::new(HistogramScale::Spans);
    let found = insights(bounds(), |at| {
        each.add(2_000_000, 10);
        let mut sample = quiet(at);
        each.add_to(&mut sample.snapshot.distributions.delivery_each);
        sample.peaks.each_us = each.take_peak();
        sample
    });
    assert!(matches!(&found[..], [(Severity::Warning, text)] if text.contains("took 2.0 s")), "{found:?}");
}

/// Raises a count of closings by one in each second.
fn close(sample: &mut WatchSample, reason: CloseReason) {
    sample.snapshot.totals.closed[reason as usize] = sample.mono_ms / 1_000;
}

/// Raises a count by one in each second.
fn count(sample: &mut WatchSample, what: Count) {
    sample.snapshot.totals.counts[what as usize] = sample.mono_ms / 1_000;
}

#[test]
fn a_drain_is_no_fault_and_a_log_that_fails_has_advice_of_its_own() {
    let draining = insights(bounds(), |at| {
        let mut sample = quiet(at);
        sample.snapshot.draining = true;
        sample.snapshot.totals.refused[RefusalReason::Draining as usize] = at;
        let reason = Some("draining: the server ends its streams".to_owned());
        sample.readiness = ReadinessVerdict { ok: false, reason, since_ms: 0 };
        sample
    });
    assert!(matches!(&draining[..], [(Severity::Warning, text)] if text.contains("is draining")));
    let mut watch = Watch::new(bounds());
    let reason = Some("log_failing: the log's lines are lost".to_owned());
    let readiness = ReadinessVerdict { ok: false, reason, since_ms: 0 };
    (0..10).for_each(|at| watch.push(WatchSample { readiness: readiness.clone(), ..quiet(at) }));
    assert!(watch.insights()[0].advice.contains("disk"));
}

#[test]
fn the_worst_comes_first() {
    let found = insights(WatchBounds { heartbeat_ms: 90_000, ..bounds() }, |at| {
        let mut sample = quiet(at);
        sample.snapshot.totals.lagging = 100;
        sample.snapshot.memory_full = true;
        sample
    });
    let severities: Vec<Severity> = found.iter().map(|(severity, _)| *severity).collect();
    assert_eq!(severities, [Severity::Critical, Severity::Warning, Severity::Info]);
}

#[test]
fn each_refusal_has_advice_that_names_settings_that_exist() {
    for (reason, advice) in REFUSED_NAMES.iter().zip(REFUSED_ADVICE) {
        let words = advice.split(|c: char| !c.is_ascii_lowercase() && c != '_');
        let settings: Vec<&str> = words.filter(|word| word.contains('_')).collect();
        let known = |name: &&str| TABLE.iter().any(|setting| setting.name == *name);
        assert!(settings.iter().all(known), "{reason}: {settings:?}");
    }
    let told = |reason: RefusalReason| {
        let mut watch = Watch::new(bounds());
        (0..10).for_each(|at| {
            let mut sample = quiet(at);
            sample.snapshot.totals.refused[reason as usize] = at;
            watch.push(sample);
        });
        watch.insights()[0].advice
    };
    assert!(told(RefusalReason::Address).contains("connections_per_address_max"));
    assert!(told(RefusalReason::IdempotencyKeys).contains("idempotency_keys_max"));
    assert!(told(RefusalReason::Surveys).contains("/connections"));
}
