//! Insights: sentences about the numbers for an operator, each with advice.
//!
//! Each check looks at one thing and knows its own threshold. Events count for five minutes.

use std::cmp::Reverse;

use super::{LeakJudgement, RateWindow, Watch};
use crate::base::counters::{CloseReason, Count, REFUSED_NAMES, RefusalReason};
use crate::base::limits::MAILBOX_FRAMES_MAX;
use crate::monitor::alerts::Severity;

/// A remark for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Insight {
    /// Its weight among all insights.
    pub(crate) severity: Severity,
    /// The fact, as a sentence.
    pub(crate) text: String,
    /// The remedy, as a sentence.
    pub(crate) advice: &'static str,
}

/// Share of a limit in use that is worth a warning, and one that is critical.
const SHARE_WARNING: f64 = 0.8;
const SHARE_CRITICAL: f64 = 0.95;
/// Share of subscribers that are behind, and the least number of them that means anything.
const LAGGING_SHARE: f64 = 0.05;
const LAGGING_MIN: u64 = 5;
/// Seconds in each of which somebody is behind, if somebody has stopped reading.
const STALLED_SECONDS: usize = 5;
/// Time to the slowest of a hundred deliveries that users notice.
const DELIVERY_SLOW_MS: f64 = 1_000.0;
/// Minutes in which a steady publisher has published, and its events in each of them at least.
const STEADY_MINUTES: usize = 3;
const STEADY_EVENTS_MIN: u64 = 10;
/// Share of connections from one address that is worth a remark, the connections that it must be at least,
/// and the addresses that there must be: behind a proxy all connections have one of few.
const ADDRESS_SHARE: f64 = 0.5;
const ADDRESS_CONNECTIONS_MIN: u64 = 100;
const ADDRESSES_MIN: usize = 5;
/// Load of a worker as a multiple of the mean, and the connections that it must carry at least.
const UNEVEN_FACTOR: f64 = 2.0;
const UNEVEN_CONNECTIONS_MIN: u64 = 200;
/// Silence after which many proxies and load balancers cut a connection.
const PROXY_SILENCE_MS: u64 = 60_000;
/// Time of a turn that users notice, since all other clients of the worker wait.
const TURN_LONG_US: u64 = 250_000;
/// Processor time of a worker, in percent of a processor, that leaves no room.
const CPU_BUSY_PERCENT: f64 = 90.0;

/// Advice for each reason of refusals, in the order of [`REFUSED_NAMES`].
const REFUSED_ADVICE: [&str; REFUSED_NAMES.len()] = [
    "Raise connections_max and LimitNOFILE, or add a node.",
    "One address has all that connections_per_address_max allows: raise it if that is a proxy or a network.",
    "Resident memory is at memory_bytes_max: lower history_bytes_max, raise the limit, or add a node.",
    "Raise topics_max, or look who makes so many; /topics names them.",
    "More publish bodies are on their way than can be held: raise bodies_bytes_max, or publish less at once.",
    "Publishers outrun the workers: publish less often, in larger events, or add workers.",
    "Raise idempotency_keys_max, or lower idempotency_ms.",
    "The server ends; clients come back by themselves.",
    "Somebody publishes on the public listener: publishers belong on the control listener.",
    "A page of another site asked the control listener: find out who opened it, and close what led there.",
    "Somebody asks the public listener for topics of the server's own, which begin with fanwheel.",
    "Scripts ask for /topics or /connections faster than they are answered: let them wait.",
    "Somebody calls the control listener by another name: if it is one of its own, add it to control_names.",
    "Long request heads arrive and do not end: look who sends them, or raise heads_bytes_max.",
    "A publisher sends an Idempotency-Key again with another event: each event needs a key of its own.",
    "Events wait for their place in the order: see that the disk or backplane keeps up, or publish less.",
    "Whatever orders the events is late: look at the disk or backplane; retries need an Idempotency-Key.",
    "Whatever orders the events refuses them: look at the disk or backplane.",
    "Redis cannot be reached, or refuses events: /readyz and the log have its words; publishers try again.",
    "Somebody asks the control listener without its token: give it the token, or find out who asks.",
    "Somebody asks the control listener with a wrong token: look for one that was changed, or who guesses.",
    "Clients come without the credential that a topic needs: docs/credentials.md says how they bring it.",
    "Clients come with credentials that are not taken: `fanwheel token explain` says what they are.",
    "Clients ask for topics that their credentials do not open: `fanwheel config --explain` names the rule.",
    "Clients come with credentials whose time is over: let them fetch new ones earlier; compare the clocks.",
    "Clients come with signed tokens for another audience, issuer or time: compare them with the settings.",
    "An address opens connections beyond address_connects_per_second: raise it if that is a network.",
    "An address sends requests beyond address_requests_per_second: raise it if that is a network.",
    "An address publishes beyond address_publishes_per_second: look who does, or raise it.",
    "The owner of a credential publishes beyond token_publishes_per_second: look who does, or raise it.",
    "Addresses that ban_file names still ask: a firewall would keep them off the host.",
    "Owners of credentials that ban_file names still ask.",
    "The application behind authorize_url refuses clients: its log says why.",
    "More clients wait for the application behind authorize_url than may: let its answers be kept (max-age).",
    "The application behind authorize_url fails: look at its log, and at the one of this server.",
    "The application behind authorize_url answers too late: look at its load, or let its answers be kept.",
    "Subscribers use more different patterns than patterns_max: see whether each has one of its own.",
    "Subscribers ask for patterns that match too many topics: narrow them, or raise pattern_topics_max.",
];

type OptionalInsight = Option<Insight>;

fn insight(severity: Severity, text: String, advice: &'static str) -> OptionalInsight {
    Some(Insight { severity, text, advice })
}

/// Returns all insights that apply, most severe first.
pub(super) fn find_insights(watch: &Watch) -> Vec<Insight> {
    let all = [
        check_readiness(watch),
        check_memory_full(watch),
        check_connections(watch),
        check_memory(watch),
        check_leak(watch),
        check_mailboxes(watch),
        check_lagging(watch),
        check_slow_subscribers(watch),
        check_delivery(watch),
        check_gaps(watch),
        check_refused(watch),
        check_topics(watch),
        check_idempotency_keys(watch),
        check_publisher_silence(watch),
        check_address_share(watch),
        check_files(watch),
        check_host_errors(watch),
        check_log_dropped(watch),
        check_busy_workers(watch),
        check_turns(watch),
        check_balance(watch),
        check_heartbeats(watch),
    ];
    let mut found: Vec<Insight> = all.into_iter().flatten().collect();
    found.sort_by_key(|insight| Reverse(insight.severity));
    found
}

fn check_readiness(watch: &Watch) -> OptionalInsight {
    let ready = &watch.last().readiness;
    if watch.last().snapshot.draining {
        // A drain is on request, so it is no fault.
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

fn check_memory_full(watch: &Watch) -> OptionalInsight {
    watch.last().snapshot.memory_full.then_some(())?;
    insight(
        Severity::Critical,
        "Resident memory is above its limit, and newcomers are refused.".to_owned(),
        "Lower history_bytes_max, raise memory_bytes_max, or add a node.",
    )
}

fn share_severity(share: f64) -> Option<Severity> {
    match share {
        _ if share >= SHARE_CRITICAL => Some(Severity::Critical),
        _ if share >= SHARE_WARNING => Some(Severity::Warning),
        _ => None,
    }
}

/// Returns the severity of a number in use beside its limit; 0 is no limit.
fn limit_severity(used: usize, most: usize) -> Option<Severity> {
    (most > 0).then(|| used as f64 / most as f64).and_then(share_severity)
}

fn check_connections(watch: &Watch) -> OptionalInsight {
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

fn check_memory(watch: &Watch) -> OptionalInsight {
    let share = watch.value("memory_share")?;
    let severity = share_severity(share).filter(|_| !watch.last().snapshot.memory_full)?;
    insight(
        severity,
        format!("Resident memory is at {:.0} % of its limit.", share * 100.0),
        "Beyond the limit newcomers are refused: lower history_bytes_max, or give the server more memory.",
    )
}

fn check_leak(watch: &Watch) -> OptionalInsight {
    let leak = watch.leak();
    (leak.judgement == LeakJudgement::Suspected).then_some(())?;
    insight(
        Severity::Warning,
        leak.why.clone(),
        "Please report it with this page; until then restart the server at a quiet hour.",
    )
}

fn check_mailboxes(watch: &Watch) -> OptionalInsight {
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

fn check_lagging(watch: &Watch) -> OptionalInsight {
    let totals = &watch.last().snapshot.totals;
    let share = watch.value("lagging_share")?;
    if share < LAGGING_SHARE || totals.lagging < LAGGING_MIN {
        return check_stalled(watch);
    }
    insight(
        Severity::Warning,
        format!("{} of {} subscribers are behind.", totals.lagging, totals.subscribers_open),
        "Their networks take less than is published. Publish less, or keep more history so that they catch \
         up; /connections?sort=lag names them.",
    )
}

/// Tells of few subscribers that stay behind: those that have stopped reading, before they are ended.
fn check_stalled(watch: &Watch) -> OptionalInsight {
    let recent: Vec<u64> = watch.points().rev().take(STALLED_SECONDS).map(|point| point.lagging).collect();
    let always = recent.iter().copied().min().filter(|_| recent.len() == STALLED_SECONDS)?;
    (always > 0).then_some(())?;
    let (noun, verb) = if always == 1 { ("subscriber", "has") } else { ("subscribers", "have") };
    insight(
        Severity::Warning,
        format!("{always} {noun} {verb} stopped reading, or {verb} been behind for {STALLED_SECONDS} s."),
        "Their clients or networks take nothing; /connections?sort=slow names them. They are ended after \
         stall_ms.",
    )
}

fn check_slow_subscribers(watch: &Watch) -> OptionalInsight {
    let [stalled, evicted, unacknowledged] =
        [CloseReason::SlowStalled, CloseReason::SlowEvicted, CloseReason::SlowUnacknowledged]
            .map(|reason| watch.closed_in_window(reason, RateWindow::FiveMinutes));
    let skipped = watch.count_in_window(Count::Skipped, RateWindow::FiveMinutes);
    let parts = [
        (stalled, "ended because they took nothing"),
        (unacknowledged, "ended because they acknowledged nothing"),
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

fn check_delivery(watch: &Watch) -> OptionalInsight {
    let p99_ms = watch.value("delivery_p99_ms").filter(|&p99_ms| p99_ms >= DELIVERY_SLOW_MS)?;
    insight(
        Severity::Warning,
        format!("One event in a hundred took {:.1} s or longer to its subscriber.", p99_ms / 1_000.0),
        "With many subscribers behind it is their networks. Otherwise it is this host: look at the \
         processor and at the turns of the workers.",
    )
}

fn check_topics(watch: &Watch) -> OptionalInsight {
    let (topics, most) = (watch.last().snapshot.topics, watch.bounds().topics_max);
    let severity = limit_severity(topics, most)?;
    insight(
        severity,
        format!("{topics} of {most} topics exist."),
        "Beyond the limit new ones are refused: raise topics_max, or look who makes them; /topics has names.",
    )
}

fn check_idempotency_keys(watch: &Watch) -> OptionalInsight {
    let (keys, most) = (watch.last().snapshot.idempotency_keys, watch.bounds().idempotency_keys_max);
    let severity = limit_severity(keys, most)?;
    insight(
        severity,
        format!("{keys} of {most} idempotency keys are remembered."),
        "Beyond the limit publishes with a key get 503: raise idempotency_keys_max or lower idempotency_ms.",
    )
}

/// Warns when there are subscribers and a steady publisher has published nothing for a minute.
fn check_publisher_silence(watch: &Watch) -> OptionalInsight {
    let published = watch.count_by_minute(Count::Published, 1 + STEADY_MINUTES)?;
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

fn check_address_share(watch: &Watch) -> OptionalInsight {
    let snapshot = &watch.last().snapshot;
    let open = snapshot.totals.connections_open;
    let first = snapshot.top_addresses.first()?;
    // Addresses were counted some time ago.
    let connections = first.connections.min(open);
    let most = connections >= ADDRESS_CONNECTIONS_MIN && connections as f64 >= ADDRESS_SHARE * open as f64;
    let near = watch.value("connections_share").is_some_and(|share| share >= SHARE_WARNING);
    (most && (near || snapshot.top_addresses.len() >= ADDRESSES_MIN)).then_some(())?;
    insight(
        Severity::Info,
        format!("{} holds {connections} of {open} connections.", first.address),
        "If it is neither a proxy nor a network behind one address, connections_per_address_max keeps places \
         for others; /connections?sort=address lists them.",
    )
}

fn check_gaps(watch: &Watch) -> OptionalInsight {
    let gaps = watch.count_in_window(Count::Gaps, RateWindow::FiveMinutes);
    (gaps > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("{gaps} times in 5 minutes a client was told that events it missed are no longer kept."),
        "Raise history_events, history_ms or history_bytes_max if clients should find them.",
    )
}

fn check_refused(watch: &Watch) -> OptionalInsight {
    let mut refused = watch.refused_by_reason();
    // A drain refuses all newcomers, as it should.
    if let Some(draining) = refused.get_mut(RefusalReason::Draining as usize) {
        *draining = 0;
    }
    let total: u64 = refused.iter().sum();
    let reasons = REFUSED_NAMES.iter().zip(REFUSED_ADVICE).zip(&refused);
    let ((reason, advice), count) = reasons.max_by_key(|(_, count)| **count)?;
    (total > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("{total} newcomers or publishes were refused in 5 minutes, {count} of them for {reason}."),
        advice,
    )
}

fn check_files(watch: &Watch) -> OptionalInsight {
    let most = watch.bounds().worker_files_max;
    let workers = watch.last().snapshot.workers.iter().enumerate();
    let (index, fullest) = workers.max_by_key(|(_, worker)| worker.files)?;
    let near = most > 0 && fullest.files as f64 >= SHARE_CRITICAL * most as f64;
    let pauses = watch.count_in_window(Count::ListenPauses, RateWindow::FiveMinutes);
    (near || pauses > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("Worker {index} has {} of {most} files in use.", fullest.files),
        "A worker without files stops listening and leaves newcomers to the others: raise LimitNOFILE.",
    )
}

fn check_host_errors(watch: &Watch) -> OptionalInsight {
    let count = |what| watch.count_in_window(what, RateWindow::FiveMinutes);
    let errors = count(Count::AcceptErrors) + count(Count::RegisterErrors);
    (errors > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("This host refused {errors} connections in 5 minutes that the server would have taken."),
        "The kernel is out of files or memory: look at fs.file-max, at the log, and at tuning/README.md.",
    )
}

fn check_log_dropped(watch: &Watch) -> OptionalInsight {
    let dropped = watch.count_in_window(Count::LogDropped, RateWindow::FiveMinutes);
    (dropped > 0).then_some(())?;
    insight(
        Severity::Warning,
        format!("{dropped} log lines were dropped in 5 minutes."),
        "The log's disk or reader does not keep up: look whether it is full or stuck.",
    )
}

fn check_busy_workers(watch: &Watch) -> OptionalInsight {
    let workers = watch.workers();
    let busy = workers.iter().filter(|worker| worker.cpu_percent >= CPU_BUSY_PERCENT).count();
    (busy > 0 && busy == workers.len()).then_some(())?;
    insight(
        Severity::Warning,
        format!("All {busy} workers are busy all the time."),
        "Events wait for processor time: add processors and workers, publish larger events less often, or \
         add a node.",
    )
}

fn check_turns(watch: &Watch) -> OptionalInsight {
    let workers = watch.workers();
    let (index, worst) = workers.iter().enumerate().max_by_key(|(_, worker)| worker.turn_us_max)?;
    (worst.turn_us_max >= TURN_LONG_US).then_some(())?;
    insight(
        Severity::Info,
        format!(
            "Worker {index} took {} ms for one turn, and all of its clients waited.",
            worst.turn_us_max / 1_000
        ),
        "Turns are short by design: look for a host that stops, swaps or has too few processors.",
    )
}

fn check_balance(watch: &Watch) -> OptionalInsight {
    let workers = &watch.last().snapshot.workers;
    let total: u64 = workers.iter().map(|worker| worker.connections).sum();
    let mean = total as f64 / workers.len().max(1) as f64;
    let (index, most) = workers.iter().enumerate().max_by_key(|(_, worker)| worker.connections)?;
    (most.connections >= UNEVEN_CONNECTIONS_MIN && most.connections as f64 > UNEVEN_FACTOR * mean)
        .then_some(())?;
    insight(
        Severity::Info,
        format!("Worker {index} carries {} of {total} connections.", most.connections),
        "The kernel spreads newcomers by address and port: a proxy with few ports, or workers that stopped \
         listening for want of files, make it uneven.",
    )
}

fn check_heartbeats(watch: &Watch) -> OptionalInsight {
    let heartbeat_ms = watch.bounds().heartbeat_ms;
    (heartbeat_ms >= PROXY_SILENCE_MS).then_some(())?;
    insight(
        Severity::Info,
        format!("A heartbeat goes out after {heartbeat_ms} ms of silence."),
        "Many proxies cut a connection that was silent for 60 s: set heartbeat_ms well below that.",
    )
}

#[cfg(test)]
#[path = "insights/tests.rs"]
mod tests;
