//! What an operator should know of the numbers, in words, each with what to do about it.
//!
//! Each insight looks at one thing and knows its own threshold. What happened counts for five minutes.

use std::cmp::Reverse;

use super::{Judgement, Watch, Window};
use crate::base::counters::{Closed, Count, REFUSED_NAMES, Refused};
use crate::base::limits::MAILBOX_FRAMES_MAX;
use crate::ops::alerts::Severity;

/// One thing to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insight {
    /// How bad it is.
    pub severity: Severity,
    /// What is so.
    pub text: String,
    /// What can be done.
    pub advice: &'static str,
}

/// Share of a limit in use that is worth a warning, and one that is critical.
const NEAR: f64 = 0.8;
const AT: f64 = 0.95;
/// Share of subscribers that are behind, and how many there must be for a share to mean anything.
const LAGGING_SHARE: f64 = 0.05;
const LAGGING_MIN: u64 = 5;
/// Time to the slowest of a hundred deliveries that users notice.
const DELIVERY_MS: f64 = 1_000.0;
/// A publisher that fell silent published in each of so many minutes before, so many events at least.
const STEADY_MINUTES: usize = 3;
const STEADY_EVENTS_MIN: u64 = 10;
/// Share of connections of one address that is worth a word, how many that must be, and how many addresses
/// there must be: behind a proxy everybody has one of few.
const CROWD_SHARE: f64 = 0.5;
const CROWD_MIN: u64 = 100;
const CROWD_ADDRESSES_MIN: usize = 5;
/// A worker that carries so many times the mean of all, and how many connections that must be.
const UNEVEN: f64 = 2.0;
const UNEVEN_MIN: u64 = 200;
/// Silence after which many proxies and load balancers cut a connection.
const PROXY_SILENCE_MS: u64 = 60_000;
/// A turn that keeps others waiting for so long is felt.
const TURN_US: u64 = 250_000;
/// Processor time of a worker, in percent of a processor, that leaves no room.
const CPU_PERCENT: f64 = 90.0;

type Found = Option<Insight>;

fn insight(severity: Severity, text: String, advice: &'static str) -> Found {
    Some(Insight { severity, text, advice })
}

/// All that apply, most severe first.
pub(super) fn of(watch: &Watch) -> Vec<Insight> {
    let all = [
        readiness(watch),
        memory_full(watch),
        connections(watch),
        memory(watch),
        leak(watch),
        mailboxes(watch),
        lagging(watch),
        slow(watch),
        delivery(watch),
        gaps(watch),
        refused(watch),
        tables(watch),
        silence(watch),
        crowd(watch),
        files(watch),
        host_errors(watch),
        log_dropped(watch),
        busy(watch),
        turns(watch),
        uneven(watch),
        heartbeats(watch),
    ];
    let mut found: Vec<Insight> = all.into_iter().flatten().collect();
    found.sort_by_key(|insight| Reverse(insight.severity));
    found
}

fn readiness(watch: &Watch) -> Found {
    let ready = &watch.last().readiness;
    if watch.last().snapshot.draining {
        // Somebody asked for it.
        return insight(
            Severity::Warning,
            "The server is draining: it ends its streams and takes no newcomers.".to_owned(),
            "Clients come back by themselves, to another node or to this one when it has started again.",
        );
    }
    if ready.ok {
        return None;
    }
    let reason = ready.reason.as_deref().unwrap_or("for a reason unknown");
    let advice = if reason.starts_with("log_failing") {
        "Make room on the log's disk, or move the file away and send SIGHUP."
    } else {
        "Look at the worker that is named, and at the log."
    };
    insight(Severity::Critical, format!("The server is not ready: {reason}."), advice)
}

fn memory_full(watch: &Watch) -> Found {
    watch.last().snapshot.memory_full.then_some(())?;
    insight(
        Severity::Critical,
        "Resident memory is above its limit, and newcomers are refused.".to_owned(),
        "Lower history_bytes_max, raise memory_bytes_max, or add a node.",
    )
}

fn share_severity(share: f64) -> Option<Severity> {
    match share {
        _ if share >= AT => Some(Severity::Critical),
        _ if share >= NEAR => Some(Severity::Warning),
        _ => None,
    }
}

fn connections(watch: &Watch) -> Found {
    let snapshot = &watch.last().snapshot;
    let severity = share_severity(watch.value("connections_share")?)?;
    insight(
        severity,
        format!(
            "{} of {} connections are in use.",
            snapshot.totals.connections_open, snapshot.connections_max
        ),
        "Beyond the limit newcomers are refused: raise connections_max and LimitNOFILE, or add a node.",
    )
}

fn memory(watch: &Watch) -> Found {
    let share = watch.value("memory_share")?;
    let severity = share_severity(share).filter(|_| !watch.last().snapshot.memory_full)?;
    insight(
        severity,
        format!("Resident memory is at {:.0} % of its limit.", share * 100.0),
        "Beyond the limit newcomers are refused: lower history_bytes_max, or give the server more memory.",
    )
}

fn leak(watch: &Watch) -> Found {
    let leak = watch.leak();
    (leak.judgement == Judgement::Suspected).then_some(())?;
    insight(
        Severity::Warning,
        leak.why.clone(),
        "Please report it with this page; until then restart the server at a quiet hour.",
    )
}

fn mailboxes(watch: &Watch) -> Found {
    let workers = watch.last().snapshot.workers.iter().enumerate();
    let (index, fullest) = workers.max_by_key(|(_, worker)| worker.mailbox)?;
    (fullest.mailbox >= MAILBOX_FRAMES_MAX / 2).then_some(())?;
    insight(
        Severity::Warning,
        format!(
            "Publishers outrun worker {index}: {} of {MAILBOX_FRAMES_MAX} places in its mailbox are taken.",
            fullest.mailbox
        ),
        "When a mailbox is full publishes get 503: publish less often, in larger events, or add workers.",
    )
}

fn lagging(watch: &Watch) -> Found {
    let totals = &watch.last().snapshot.totals;
    let share = watch.value("lagging_share")?;
    (share >= LAGGING_SHARE && totals.lagging >= LAGGING_MIN).then_some(())?;
    insight(
        Severity::Warning,
        format!("{} of {} subscribers are behind.", totals.lagging, totals.subscribers_open),
        "Their networks take less than is published. Publish less, or keep more history so that they catch \
         up; /connections?sort=lag names them.",
    )
}

fn slow(watch: &Watch) -> Found {
    let [stalled, evicted] =
        [Closed::SlowStalled, Closed::SlowEvicted].map(|reason| watch.ended(reason, Window::FiveMinutes));
    let skipped = watch.happened(Count::Skipped, Window::FiveMinutes);
    let parts = [
        (stalled, "ended because they took nothing"),
        (evicted, "ended because history had passed them by"),
        (skipped, "moved to the newest event"),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|&(times, _)| times > 0)
        .map(|(times, what)| format!("{times} times {what}"))
        .collect();
    (!said.is_empty()).then_some(())?;
    insight(
        Severity::Warning,
        format!("Slow subscribers in 5 minutes: {}.", said.join(", ")),
        "If clients should be given more time, raise stall_ms and history_events; if they should go on \
         without what they missed, slow_policy does that.",
    )
}

fn delivery(watch: &Watch) -> Found {
    let p99_ms = watch.value("delivery_p99_ms").filter(|&p99_ms| p99_ms >= DELIVERY_MS)?;
    insight(
        Severity::Warning,
        format!("One event in a hundred took {:.1} s or longer to its subscriber.", p99_ms / 1_000.0),
        "With many subscribers behind it is their networks. Otherwise it is this host: look at the \
         processor and at the turns of the workers.",
    )
}

fn tables(watch: &Watch) -> Found {
    let (snapshot, bounds) = (&watch.last().snapshot, watch.bounds());
    let rows = [
        ("topics", snapshot.topics, bounds.topics_max, "topics_max"),
        ("idempotency keys", snapshot.idempotency_keys, bounds.idempotency_keys_max, "idempotency_keys_max"),
    ];
    let near = rows.into_iter().filter(|&(_, _, most, _)| most > 0);
    let of = |(name, number, most, setting)| {
        Some((share_severity(number as f64 / most as f64)?, name, number, most, setting))
    };
    let (severity, name, number, most, setting) =
        near.filter_map(of).max_by_key(|&(severity, ..)| severity)?;
    insight(
        severity,
        format!("{number} of {most} {name} are in use ({setting})."),
        "Beyond the limit new ones are refused: raise it, or look who makes so many; /topics names topics.",
    )
}

/// Somebody listens, and a publisher that had been steady has said nothing for a minute.
fn silence(watch: &Watch) -> Found {
    let published = watch.by_minute(Count::Published, 1 + STEADY_MINUTES)?;
    let (last, before) = published.split_first()?;
    let steady = before.iter().all(|&events| events >= STEADY_EVENTS_MIN);
    let is_heard = watch.last().snapshot.totals.subscribers_open > 0;
    (*last == 0 && steady && is_heard && !watch.last().snapshot.draining).then_some(())?;
    let events: u64 = before.iter().sum();
    insight(
        Severity::Warning,
        format!(
            "Nothing was published in the last minute, and {events} events in the {STEADY_MINUTES} before."
        ),
        "Look whether the publisher runs and reaches this server. The alert message_rate_low tells you next \
         time, once it has a number.",
    )
}

fn crowd(watch: &Watch) -> Found {
    let snapshot = &watch.last().snapshot;
    let open = snapshot.totals.connections_open;
    let first = snapshot.top_addresses.first()?;
    // They were counted some time ago.
    let connections = first.connections.min(open);
    let most = connections >= CROWD_MIN && connections as f64 >= CROWD_SHARE * open as f64;
    let near = watch.value("connections_share").is_some_and(|share| share >= NEAR);
    (most && (near || snapshot.top_addresses.len() >= CROWD_ADDRESSES_MIN)).then_some(())?;
    insight(
        Severity::Info,
        format!("{} holds {connections} of {open} connections.", first.address),
        "If it is neither a proxy nor a network behind one address, connections_per_address_max keeps places \
         for others; /connections?sort=address lists them.",
    )
}

fn gaps(watch: &Watch) -> Found {
    let gaps = watch.happened(Count::Gaps, Window::FiveMinutes);
    (gaps > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("{gaps} times in 5 minutes a client was told that events it missed are no longer kept."),
        "Raise history_events, history_ms or history_bytes_max if clients should find them.",
    )
}

fn refused(watch: &Watch) -> Found {
    let mut refused = watch.refused();
    // A drain refuses everybody, as it should.
    if let Some(draining) = refused.get_mut(Refused::Draining as usize) {
        *draining = 0;
    }
    let total: u64 = refused.iter().sum();
    let (reason, count) = REFUSED_NAMES.iter().zip(&refused).max_by_key(|(_, count)| **count)?;
    (total > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("{total} newcomers or publishes were refused in 5 minutes, {count} of them for {reason}."),
        "Each reason is a limit or a rule of the configuration; README.md names the settings.",
    )
}

fn files(watch: &Watch) -> Found {
    let most = watch.bounds().worker_files_max;
    let workers = watch.last().snapshot.workers.iter().enumerate();
    let (index, fullest) = workers.max_by_key(|(_, worker)| worker.files)?;
    let near = most > 0 && fullest.files as f64 >= AT * most as f64;
    let pauses = watch.happened(Count::ListenPauses, Window::FiveMinutes);
    (near || pauses > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("Worker {index} has {} of {most} files in use.", fullest.files),
        "A worker without files stops listening and leaves newcomers to the others: raise LimitNOFILE.",
    )
}

fn host_errors(watch: &Watch) -> Found {
    let count = |what| watch.happened(what, Window::FiveMinutes);
    let errors = count(Count::AcceptErrors) + count(Count::RegisterErrors);
    (errors > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("This host refused {errors} connections in 5 minutes that the server would have taken."),
        "The kernel is out of files or memory: look at fs.file-max, at the log, and at tuning/README.md.",
    )
}

fn log_dropped(watch: &Watch) -> Found {
    let dropped = watch.happened(Count::LogDropped, Window::FiveMinutes);
    (dropped > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("{dropped} log lines were dropped in 5 minutes."),
        "The log's disk or reader does not keep up: look whether it is full or stuck.",
    )
}

fn busy(watch: &Watch) -> Found {
    let workers = watch.workers();
    let busy = workers.iter().filter(|worker| worker.cpu_percent >= CPU_PERCENT).count();
    (busy > 0 && busy == workers.len()).then_some(())?;
    insight(
        Severity::Warning,
        format!("All {busy} workers are busy all the time."),
        "Events wait for processor time: add processors and workers, publish larger events less often, or \
         add a node.",
    )
}

fn turns(watch: &Watch) -> Found {
    let workers = watch.workers();
    let (index, worst) = workers.iter().enumerate().max_by_key(|(_, worker)| worker.turn_us_max)?;
    (worst.turn_us_max >= TURN_US).then_some(())?;
    insight(
        Severity::Info,
        format!(
            "Worker {index} took {} ms for one turn, and all of its clients waited.",
            worst.turn_us_max / 1_000
        ),
        "Turns are short by design: look for a host that stops, swaps or has too few processors.",
    )
}

fn uneven(watch: &Watch) -> Found {
    let workers = &watch.last().snapshot.workers;
    let total: u64 = workers.iter().map(|worker| worker.connections).sum();
    let mean = total as f64 / workers.len().max(1) as f64;
    let (index, most) = workers.iter().enumerate().max_by_key(|(_, worker)| worker.connections)?;
    (most.connections >= UNEVEN_MIN && most.connections as f64 > UNEVEN * mean).then_some(())?;
    insight(
        Severity::Info,
        format!("Worker {index} carries {} of {total} connections.", most.connections),
        "The kernel spreads newcomers by address and port: a proxy with few ports, or workers that stopped \
         listening for want of files, make it uneven.",
    )
}

fn heartbeats(watch: &Watch) -> Found {
    let heartbeat_ms = watch.bounds().heartbeat_ms;
    (heartbeat_ms >= PROXY_SILENCE_MS).then_some(())?;
    insight(
        Severity::Info,
        format!("A heartbeat goes out after {heartbeat_ms} ms of silence."),
        "Many proxies cut a connection that was silent for 60 s: set heartbeat_ms well below that.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::histogram::{Histogram, Scale};
    use crate::base::snapshot::{Readiness, WorkerSnapshot};
    use crate::base::survey::AddressCount;
    use crate::ops::watch::{Bounds, Sample};

    fn bounds() -> Bounds {
        Bounds {
            memory_limit_bytes: 1_000,
            worker_files_max: 1_000,
            heartbeat_ms: 15_000,
            topics_max: 100,
            idempotency_keys_max: 100,
            started_ms: 0,
        }
    }

    /// A node on which there is nothing to remark.
    fn quiet(second: u64) -> Sample {
        let mut sample = Sample { mono_ms: second * 1_000, ..Sample::default() };
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

    fn insights(bounds: Bounds, second: impl Fn(u64) -> Sample) -> Vec<(Severity, String)> {
        let mut watch = Watch::new(bounds);
        (0..10).for_each(|at| watch.push(second(at)));
        watch.insights().into_iter().map(|insight| (insight.severity, insight.text)).collect()
    }

    #[test]
    fn nothing_is_remarked_on_a_quiet_node() {
        assert_eq!(insights(bounds(), quiet), []);
        assert_eq!(insights(Bounds::default(), |_| Sample::default()), [], "not even when nothing is known");
    }

    #[test]
    fn each_trouble_is_told_alone() {
        use Severity::{Critical, Info, Warning};
        type Row = (fn(&mut Sample), Severity, &'static str);
        let rows: [Row; 22] = [
            (
                |it| {
                    let reason = Some("worker_late: worker 1".to_owned());
                    it.readiness = Readiness { ok: false, reason, since_ms: 0 };
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
            (|it| count(it, Count::Gaps), Warning, "9 times"),
            (|it| count(it, Count::Skipped), Warning, "9 times moved to the newest"),
            (
                |it| it.snapshot.totals.closed[Closed::SlowStalled as usize] = it.mono_ms / 1_000,
                Warning,
                "9 times ended because they took nothing",
            ),
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
            (|it| it.snapshot.totals.lagging = 3, Info, ""),
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
        let slow = insights(Bounds { heartbeat_ms: 60_000, ..bounds() }, quiet);
        assert!(slow[0].1.contains("60000 ms of silence"), "{slow:?}");
    }

    /// So many connections of as many addresses.
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
        // Published in each second, until this second; the newest second; who listens.
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
        let each = Histogram::new(Scale::Spans);
        let found = insights(bounds(), |at| {
            each.add(2_000_000, 10);
            let mut sample = quiet(at);
            each.add_to(&mut sample.snapshot.spread.delivery_each);
            sample.peaks.each_us = each.take_peak();
            sample
        });
        assert!(
            matches!(&found[..], [(Severity::Warning, text)] if text.contains("took 2.0 s")),
            "{found:?}"
        );
    }

    /// Something happens once a second.
    fn count(sample: &mut Sample, what: Count) {
        sample.snapshot.totals.counts[what as usize] = sample.mono_ms / 1_000;
    }

    #[test]
    fn a_drain_is_no_fault_and_a_log_that_fails_has_advice_of_its_own() {
        let draining = insights(bounds(), |at| {
            let mut sample = quiet(at);
            sample.snapshot.draining = true;
            sample.snapshot.totals.refused[Refused::Draining as usize] = at;
            let reason = Some("draining: the server ends its streams".to_owned());
            sample.readiness = Readiness { ok: false, reason, since_ms: 0 };
            sample
        });
        assert!(matches!(&draining[..], [(Severity::Warning, text)] if text.contains("is draining")));
        let mut watch = Watch::new(bounds());
        let reason = Some("log_failing: the log's lines are lost".to_owned());
        let readiness = Readiness { ok: false, reason, since_ms: 0 };
        (0..10).for_each(|at| watch.push(Sample { readiness: readiness.clone(), ..quiet(at) }));
        assert!(watch.insights()[0].advice.contains("disk"));
    }

    #[test]
    fn the_worst_comes_first() {
        let found = insights(Bounds { heartbeat_ms: 90_000, ..bounds() }, |at| {
            let mut sample = quiet(at);
            sample.snapshot.totals.lagging = 100;
            sample.snapshot.memory_full = true;
            sample
        });
        let severities: Vec<Severity> = found.iter().map(|(severity, _)| *severity).collect();
        assert_eq!(severities, [Severity::Critical, Severity::Warning, Severity::Info]);
    }
}
