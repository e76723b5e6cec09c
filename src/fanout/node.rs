//! The state that all workers of a node share: settings, hub, counters and the node-wide budgets.
//!
//! Knows what a worker takes and counts, not what workers do with it.

use std::net::IpAddr;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::Receiver;

use super::application_desk::{ApplicationDesk, OpenQuestion};
use super::budget::SharedBudget;
use super::client_rates::ClientRates;
use super::conn::ConnLimit;
use super::connection_budget::ConnectionBudget;
use super::hash::SeededHash;
use super::hub::Hub;
use super::mail::{self, ControlMessage, MailboxReceiver, MailboxSender};
use super::readiness::{HostConditions, ObservedWorkers, ReadinessMonitor};
use super::survey::Survey;
use crate::base::counters::{Count, CounterTotals, Counters, DistributionTotals, RefusalReason};
use crate::base::id::EventId;
use crate::base::limits::{HEARTBEATS_TOGETHER_SHARE, LINGER_BUDGET_BYTES, REFUSAL_MS, SURVEYS_AT_ONCE_MAX};
use crate::base::listener::ListenerKind;
use crate::base::peers::TrustedPeers;
use crate::base::settings::{Settings, UrlProfile};
use crate::base::snapshot::{LatencyPeaks, Pages, ReadinessVerdict, Snapshot, WorkerSnapshot};
use crate::base::survey::AddressCount;
use crate::base::time::{Now, Tick, ticks_of_ms};
use crate::wire::auth::access::AccessRules;
use crate::wire::auth::application::ApplicationAnswer;
use crate::wire::head::HeadLimits;
use crate::wire::policy::ListenerPolicy;

/// The settings that are times, in ticks.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names of the settings")]
pub(crate) struct TickSettings {
    pub(crate) head: Tick,
    pub(crate) body: Tick,
    pub(crate) idle: Tick,
    pub(crate) answer: Tick,
    pub(crate) heartbeat: Tick,
    pub(crate) together: Tick,
    pub(crate) stall: Tick,
    pub(crate) refusal: Tick,
}

/// The shared state of one process.
#[derive(Debug)]
pub struct Node {
    /// Settings of this run.
    pub settings: Settings,
    /// Topics and the publish order.
    pub hub: Hub,
    /// Connections on the public listener.
    pub connections: ConnectionBudget,
    /// Rates of client addresses and of publishers.
    pub(crate) rates: ClientRates,
    /// Questions to the application.
    pub(crate) desk: ApplicationDesk,
    /// Bytes of publish bodies in flight.
    pub bodies: SharedBudget,
    /// Bytes of long request heads that are arriving.
    pub(crate) heads: Arc<SharedBudget>,
    /// Bytes thrown away for connections that linger.
    pub(crate) lingering: Arc<SharedBudget>,
    /// Peers that are believed when they name a client.
    pub(crate) trusted: TrustedPeers,
    /// The settings that are times.
    pub(crate) ticks: TickSettings,
    /// Limits of request heads.
    pub(crate) head_limits: HeadLimits,
    /// By the order of kinds.
    policies: [ListenerPolicy; 3],
    /// That of the public listener while publishers are let in by their credentials.
    publishing_policy: ListenerPolicy,
    access: Mutex<Arc<AccessRules>>,
    /// There are credentials: a server without any never looks for them.
    has_access_rules: AtomicBool,
    /// Times that credentials were taken back, so that streams may have to end.
    revocations: AtomicU64,
    counters: Vec<Counters>,
    memory_full: AtomicBool,
    draining: AtomicBool,
    stopping: AtomicBool,
    monitor: ReadinessMonitor,
    /// Surveys under way about topics and connections.
    pub surveys: Arc<SharedBudget>,
    /// The survey of addresses under way, or the last one.
    address_survey: Mutex<Option<Arc<Survey>>>,
    /// Findings of the last survey of addresses.
    counted_addresses: Mutex<Vec<AddressCount>>,
    pages: Pages,
}

impl Node {
    /// Makes a node of `workers` workers and at most `connections_max` connections, and the workers' inboxes.
    /// Ids follow `start` and bear its tag. `seed` must be unpredictable from outside.
    pub fn new(
        settings: Settings,
        workers: usize,
        connections_max: usize,
        pages: Pages,
        start: EventId,
        seed: u64,
    ) -> (Arc<Node>, Vec<MailboxReceiver>) {
        let (mailboxes, inboxes): (Vec<MailboxSender>, Vec<MailboxReceiver>) =
            (0..workers).map(|_| MailboxSender::pair()).unzip();
        let node = Node {
            hub: Hub::new(&settings, mailboxes, start, seed),
            connections: ConnectionBudget::new(
                connections_max,
                settings.connections_per_address_max,
                SeededHash::new(seed ^ 1),
            ),
            rates: ClientRates::new(&settings, &SeededHash::new(seed ^ 2)),
            desk: ApplicationDesk::new(SeededHash::new(seed ^ 3)),
            bodies: SharedBudget::new(settings.bodies_bytes_max),
            heads: Arc::new(SharedBudget::new(settings.heads_bytes_max)),
            lingering: Arc::new(SharedBudget::new(LINGER_BUDGET_BYTES)),
            trusted: TrustedPeers::parse(&settings.trusted_proxies).expect("checked with the settings"),
            ticks: TickSettings::new(&settings),
            head_limits: HeadLimits { bytes_max: settings.head_bytes_max, headers_max: settings.headers_max },
            publishing_policy: ListenerPolicy::from_settings(&settings, ListenerKind::Public)
                .with_publishers(),
            policies: ListenerKind::ALL.map(|listener| ListenerPolicy::from_settings(&settings, listener)),
            access: Mutex::default(),
            has_access_rules: AtomicBool::new(false),
            revocations: AtomicU64::new(0),
            counters: (0..workers).map(|_| Counters::default()).collect(),
            memory_full: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            monitor: ReadinessMonitor::default(),
            surveys: Arc::new(SharedBudget::new(SURVEYS_AT_ONCE_MAX)),
            address_survey: Mutex::default(),
            counted_addresses: Mutex::default(),
            pages,
            settings,
        };
        (Arc::new(node), inboxes)
    }

    /// Returns the routes and rules of a listener.
    pub(crate) fn policy(&self, listener: ListenerKind) -> &ListenerPolicy {
        &self.policies[listener as usize]
    }

    /// Returns them under these credentials.
    pub(crate) fn policy_under(
        &self,
        listener: ListenerKind,
        access: Option<&AccessRules>,
    ) -> &ListenerPolicy {
        match (listener, access) {
            (ListenerKind::Public, Some(access)) if access.takes_publishers() => &self.publishing_policy,
            _ => self.policy(listener),
        }
    }

    /// Returns the credentials in force; none where there is none.
    pub(crate) fn access(&self) -> Option<Arc<AccessRules>> {
        let any = self.has_access_rules.load(Relaxed);
        any.then(|| Arc::clone(&self.access.lock().expect("a panic ends the process")))
    }

    /// Returns the credentials in force, be there some or none.
    pub(crate) fn access_rules(&self) -> Arc<AccessRules> {
        Arc::clone(&self.access.lock().expect("a panic ends the process"))
    }

    /// Puts credentials in force. Requests that are under way keep those that they have found; streams that
    /// these would not let in end. Returns the workers to wake.
    pub fn replace_access(&self, rules: Arc<AccessRules>) -> u64 {
        let any = !rules.is_empty();
        let mut in_force = self.access.lock().expect("a panic ends the process");
        let revokes = rules.revokes(&in_force);
        *in_force = rules;
        drop(in_force);
        self.has_access_rules.store(any, Relaxed);
        if !revokes {
            return 0;
        }
        self.revocations.fetch_add(1, Release);
        for worker in 0..self.workers() {
            // Only makes it look.
            self.hub.mailbox(worker).send_control(ControlMessage::Revoke);
        }
        self.hub.claim_sleepers(u64::MAX)
    }

    /// Returns the questions to the application that wait; each goes to one of those that take them.
    pub fn questions(&self) -> Receiver<OpenQuestion> {
        self.desk.waiting().clone()
    }

    /// Hands the answer of the application to the worker that has asked. Returns the workers to wake.
    pub fn settle_question(&self, open: &OpenQuestion, answer: ApplicationAnswer, now: Now) -> u64 {
        let (worker, mail) = self.desk.settle(open, answer, now);
        self.hub.mailbox(worker).send_verdict(mail);
        self.hub.claim_sleepers(1 << worker)
    }

    /// Returns how often credentials were taken back.
    pub(crate) fn revocations(&self) -> u64 {
        self.revocations.load(Acquire)
    }

    /// Returns the limit that a newcomer of a client is over already: it is banned, or comes too fast.
    pub(crate) fn judge_newcomer(&self, client: IpAddr, now: Now) -> Option<ConnLimit> {
        let banned = self.access().is_some_and(|access| access.bans.bans_address(client));
        if banned { Some(ConnLimit::Banned) } else { self.rates.refuse_connect(client, now) }
    }

    /// Returns the counters of a worker.
    pub fn counters(&self, worker: usize) -> &Counters {
        &self.counters[worker]
    }

    /// Returns the number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.counters.len()
    }

    /// Returns the sum of all workers' counters.
    pub fn totals(&self) -> CounterTotals {
        let mut totals = CounterTotals::default();
        self.counters.iter().for_each(|counters| counters.add_to(&mut totals));
        totals
    }

    /// Returns the figures of the node at this moment.
    pub fn snapshot(&self, uptime_ms: u64) -> Snapshot {
        let sizes = self.hub.sizes();
        let mut distributions = DistributionTotals::default();
        self.counters.iter().for_each(|counters| counters.add_distributions_to(&mut distributions));
        distributions.hub_hold = self.hub.holds_us();
        Snapshot {
            totals: self.totals(),
            distributions,
            workers: (0..self.workers()).map(|worker| self.worker_snapshot(worker)).collect(),
            connections_max: self.connections.limit(),
            uptime_ms,
            draining: self.is_draining(),
            memory_full: self.memory_full.load(Relaxed),
            topics: sizes.topics,
            unpublished_topics: sizes.unpublished_topics,
            patterns: sizes.patterns,
            subscriptions: sizes.subscriptions,
            classes: self.hub.class_figures(),
            history_events: sizes.frames,
            history_keys: sizes.retained,
            history_bytes: sizes.bytes,
            bodies_bytes: self.bodies.taken(),
            idempotency_keys: sizes.idempotency_keys,
            top_addresses: self.top_addresses(),
            backplane: None,
        }
    }

    fn worker_snapshot(&self, worker: usize) -> WorkerSnapshot {
        let counters = self.counters(worker);
        WorkerSnapshot {
            connections: counters.connections_open.load(Relaxed),
            subscribers: counters.subscribers_open.load(Relaxed),
            lagging: counters.lagging.load(Relaxed),
            delivered: counters.get(Count::Delivered),
            turns: counters.get(Count::Turns),
            turns_us: counters.turn.sum(),
            exhausted: counters.exhausted(),
            mailbox: self.hub.mailbox(worker).queued_frames(),
            waiting: counters.waiting_events.load(Relaxed),
            files: counters.files.load(Relaxed),
            wheel_lag_ms: counters.wheel_lag_ms.load(Relaxed),
        }
    }

    /// Takes the greatest values since the last call; for one caller only.
    pub(crate) fn take_peaks(&self) -> LatencyPeaks {
        let most = |of: fn(&Counters) -> u64| self.counters.iter().map(of).max().unwrap_or(0);
        LatencyPeaks {
            each_us: most(|counters| counters.delivery_each.take_peak()),
            hub_hold_us: self.hub.take_hold_peak_us(),
            last_us: most(|counters| counters.delivery_last.take_peak()),
            turns_us: self.counters.iter().map(|counters| counters.turn.take_peak()).collect(),
        }
    }

    /// Returns the bytes of all frames alive and of all bodies in flight.
    pub(crate) fn live_bytes(&self) -> usize {
        self.hub.sizes().alive_bytes + self.bodies.taken()
    }

    /// Returns the pages of the control listener.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Returns a mask with a bit for each worker.
    pub(crate) fn all_workers(&self) -> u64 {
        mail::all_workers(self.workers())
    }

    /// Makes `survey` the one of addresses under way. Returns the one before.
    pub(super) fn replace_address_survey(&self, survey: Arc<Survey>) -> Option<Arc<Survey>> {
        self.address_survey.lock().expect("a panic ends the process").replace(survey)
    }

    fn counted_addresses(&self) -> MutexGuard<'_, Vec<AddressCount>> {
        self.counted_addresses.lock().expect("a panic ends the process")
    }

    /// Replaces the addresses with the most connections by those of a newer survey.
    pub(super) fn set_top_addresses(&self, counts: Vec<AddressCount>) {
        *self.counted_addresses() = counts;
    }

    /// Forgets counts of addresses that are too old to be shown.
    pub(crate) fn forget_addresses(&self) {
        self.counted_addresses().clear();
    }

    /// Returns the addresses with the most connections, as of the last survey.
    pub fn top_addresses(&self) -> Vec<AddressCount> {
        self.counted_addresses().clone()
    }

    /// Sends the next probe if it is due, and judges. Returns the workers to wake.
    pub fn check_readiness(&self, now: Now, conditions: HostConditions) -> u64 {
        let observed =
            ObservedWorkers { hub: &self.hub, counters: &self.counters, draining: self.is_draining() };
        self.monitor.check(&observed, now, conditions)
    }

    /// Returns the verdict, as it is now.
    pub fn readiness(&self, now_ms: u64) -> ReadinessVerdict {
        self.monitor.verdict(now_ms)
    }

    /// Whether a worker stands still: it takes no turns, so it is not merely busy.
    pub(crate) fn has_stuck_worker(&self) -> bool {
        self.monitor.has_stuck_worker()
    }

    /// Records whether resident memory is above its limit.
    pub fn set_memory_full(&self, full: bool) {
        self.memory_full.store(full, Relaxed);
    }

    /// Whether the server drains.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether the server ends now.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Starts or forces the end. Returns the workers to wake. The mail only makes each of them look. A worker
    /// whose mailbox is full looks as well, and must not miss the end.
    pub fn shut_down(&self, control: &ControlMessage) -> u64 {
        self.hub.refuse_publishes();
        self.draining.store(true, Relaxed);
        self.stopping.fetch_or(matches!(control, ControlMessage::Stop), Relaxed);
        for worker in 0..self.workers() {
            self.hub.mailbox(worker).send_control(control.clone());
        }
        self.hub.claim_sleepers(u64::MAX)
    }

    /// Returns the reason to refuse all newcomers now, if there is one.
    pub(crate) fn newcomer_refusal(&self) -> Option<RefusalReason> {
        if self.is_draining() {
            Some(RefusalReason::Draining)
        } else if self.memory_full.load(Relaxed) {
            Some(RefusalReason::Memory)
        } else {
            None
        }
    }
}

impl TickSettings {
    fn new(settings: &Settings) -> TickSettings {
        let silent = settings.profile == UrlProfile::BroadcastBenchmark;
        // The benchmark's streams carry nothing but its messages.
        let heartbeat = if silent { Tick::MAX / 4 } else { ticks_of_ms(settings.heartbeat_ms) };
        TickSettings {
            head: ticks_of_ms(settings.head_ms),
            body: ticks_of_ms(settings.body_ms),
            idle: ticks_of_ms(settings.idle_ms),
            answer: ticks_of_ms(settings.answer_ms),
            heartbeat,
            together: (heartbeat / HEARTBEATS_TOGETHER_SHARE).clamp(1, Tick::MAX / 4),
            stall: ticks_of_ms(settings.stall_ms),
            refusal: ticks_of_ms(REFUSAL_MS),
        }
    }
}
