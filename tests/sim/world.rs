//! A run: node, workers, sockets and actors, stepped by chance, brought to rest, judged.
//!
//! Owns the order of events and the checks that must hold at any time or at rest. How a run ends and what
//! must then be true is in `finale`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use fanwheel::base::counters::Count;
use fanwheel::base::id::{EventId, IdTag};
use fanwheel::base::limits::ORDER_MS;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::prng::Prng;
use fanwheel::base::settings::ProxyProtocol;
use fanwheel::base::snapshot::Pages;
use fanwheel::base::time::{Now, TICK_MS};
use fanwheel::fanout::hub::NewEvent;
use fanwheel::fanout::node::Node;
use fanwheel::fanout::worker::Worker;
use fanwheel::monitor::listing;
use fanwheel::wire::frame::Draft;

use crate::cover::{Branch, Cover};
use crate::inspector::{Inspector, judge_addresses, judge_caps};
use crate::ledger::Ledger;
use crate::net::{Net, Window};
use crate::orderer::SeededOrderer;
use crate::poller::Poller;
use crate::prober::Prober;
use crate::publisher::Publisher;
use crate::scene::{START_MS, Scene, TOPICS};
use crate::setup::{Plan, pick};
use crate::shell::Shell;
use crate::subscriber::Subscriber;

/// Rounds after which a world that does not come to rest is called spinning.
const ROUNDS_MAX: usize = 20_000;

/// A topic of the server's own.
const STATUS_TOPIC: &str = "fanwheel.status";

/// Steps for which a worker is left without a turn, and then not.
const STARVED_STEPS: usize = 400;

/// The world of one run: the node, its shell, the network and all actors.
pub struct World {
    /// The scene that actors share.
    pub scene: Scene,
    /// The sockets.
    pub net: Net,
    /// The node under test.
    pub node: Arc<Node>,
    /// The workers' threads.
    pub shell: Shell,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    probers: Vec<Prober>,
    /// Actors that ask about connections and topics.
    pub inspectors: Vec<Inspector>,
    pollers: Vec<Poller>,
    /// The place where publishes are ordered, if that is not the hub.
    pub orderer: Option<SeededOrderer>,
    /// Connections that say nothing.
    flood: Vec<usize>,
    steps: usize,
    /// The position before all events of the run.
    pub start: EventId,
}

/// A node with a plan's settings, and its workers.
pub fn begin_node(plan: &Plan, start: EventId, seed: u64) -> (Arc<Node>, Vec<Worker>) {
    let pages = Pages {
        metrics: Box::new(|_, _| "metrics".to_owned()),
        status: Box::new(|_, _| "{}".to_owned()),
        topics: Box::new(listing::topics),
        connections: Box::new(listing::connections),
        ..Pages::default()
    };
    let (node, inboxes) =
        Node::new(plan.settings.clone(), plan.workers, plan.connections_max, pages, start, seed);
    let worker = |(index, inbox)| Worker::new(Arc::clone(&node), index, inbox, seed ^ index as u64);
    let workers = inboxes.into_iter().enumerate().map(worker).collect();
    (node, workers)
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> World {
        let mut prng = Prng::new(seed);
        let plan = Arc::new(Plan::of_seed(seed, &mut prng));
        let mono_ms = prng.below(1_000);
        let now = Now { mono_ms, mono_us: mono_ms * 1_000, wall_ms: START_MS };
        let start = EventId::start_of_run(now.wall_ms, IdTag::from_random(prng.next_u64()));
        let (node, workers) = begin_node(&plan, start, prng.next_u64());
        let mut scene = Scene {
            prng: Prng::new(prng.next_u64()),
            now,
            head: node.hub.lock().head(),
            ledger: Ledger::new(TOPICS, plan.settings.idempotency_ms),
            sessions: Vec::new(),
            polled: Vec::new(),
            polls: BTreeMap::new(),
            cover: Cover::default(),
            calm: false,
            ending: false,
            operated: BTreeSet::new(),
            heavy: 0,
            drained_ms: u64::MAX,
            plan: Arc::clone(&plan),
        };
        scene.trace(|| format!("{plan:#?}"));
        World {
            net: Net::new(plan.workers, prng.next_u64()),
            shell: Shell::new(Arc::clone(&node), workers, prng.next_u64()),
            subscribers: (0..plan.subscribers).map(|_| Subscriber::new(&mut scene)).collect(),
            publishers: (0..plan.publishers as u64).map(Publisher::new).collect(),
            probers: (0..plan.probers).map(|_| Prober::new()).collect(),
            inspectors: (0..plan.inspectors).map(|_| Inspector::new()).collect(),
            pollers: (0..plan.pollers).map(|_| Poller::new(&mut scene)).collect(),
            orderer: plan.orders.then(|| SeededOrderer::install(&node)),
            flood: Vec::new(),
            steps: 0,
            start,
            scene,
            node,
        }
    }

    /// Everything up to the end.
    pub fn live(&mut self) {
        for _ in 0..self.scene.plan.phases {
            (0..self.scene.plan.steps).for_each(|_| self.step());
            self.node.set_memory_full(false);
            // Ages of what is restored are those of ids.
            if self.scene.plan.orders && !self.scene.plan.wall_steps && self.scene.one_in(2) {
                self.restart();
            }
            self.come_to_rest();
        }
        self.be_silent();
    }

    /// One step of chance.
    pub fn step(&mut self) {
        self.steps += 1;
        self.pass_time();
        self.disturb();
        self.sort_topics(false);
        self.step_orderer();
        if self.scene.one_in(2) {
            let workers = self.scene.plan.workers;
            let index = self.scene.prng.below(workers as u64) as usize;
            // For a while at a time: a worker that never runs has no subscribers either.
            let starves = self.scene.plan.starved == Some(index) && self.steps / STARVED_STEPS % 2 == 1;
            let starved = starves && !self.scene.one_in(200);
            if !starved && self.shell.is_runnable(index, &self.net, self.scene.now) {
                self.run_worker(index);
            }
            return;
        }
        let others = self.probers.len() + self.inspectors.len() + self.pollers.len();
        let actors = self.subscribers.len() + self.publishers.len() + others;
        let nth = self.scene.prng.below(actors as u64) as usize;
        let (net, scene) = (&mut self.net, &mut self.scene);
        if let Some(subscriber) = self.subscribers.get_mut(nth) {
            return subscriber.step(net, scene);
        }
        let nth = nth - self.subscribers.len();
        if let Some(publisher) = self.publishers.get_mut(nth) {
            return publisher.step(net, scene);
        }
        let nth = nth - self.publishers.len();
        if let Some(prober) = self.probers.get_mut(nth) {
            return prober.step(net, scene);
        }
        let nth = nth - self.probers.len();
        match self.inspectors.get_mut(nth) {
            Some(inspector) => inspector.step(net, scene),
            None => self.pollers[nth - self.inspectors.len()].step(net, scene),
        }
    }

    /// Lets the orderer do a little, or all it has to do when the world is calm. Returns whether it did.
    fn step_orderer(&mut self) -> bool {
        let Some(orderer) = &mut self.orderer else { return false };
        if !self.scene.calm && self.scene.one_in(1_000) && orderer.lose_tickets(&mut self.scene) {
            // Whoever waits is told so before the world comes to rest.
            self.advance(ORDER_MS + 2 * TICK_MS);
            return true;
        }
        let Some(wake) = orderer.step(&self.node, &mut self.scene) else { return false };
        self.shell.wake(wake);
        self.scene.head = self.node.hub.lock().head();
        true
    }

    /// Events that are in the publish order: `counted` of them unless an orderer knows better.
    pub fn events_published(&self, counted: u64) -> u64 {
        let Some(orderer) = &self.orderer else { return counted };
        assert!(counted <= orderer.own_events, "{counted} events counted, {} committed", orderer.own_events);
        orderer.own_events + orderer.foreign_events
    }

    fn pass_time(&mut self) {
        let scene = &mut self.scene;
        let huge = scene.plan.huge_steps;
        let ms = match scene.prng.below(20) {
            0..14 => 0,
            14..19 => 1 + scene.prng.below(4),
            _ if scene.one_in(4) => scene.prng.below(200),
            _ if huge > 0 && scene.prng.below(huge) == 0 => {
                scene.cover.hit(Branch::HugeTimeStep);
                let range = pick(&mut scene.prng, &[5_000, 60_000, 700_000]);
                1_000 + scene.prng.below(range)
            }
            _ => 0,
        };
        self.advance(ms);
        let scene = &mut self.scene;
        if scene.plan.wall_steps && scene.one_in(100) {
            let range = pick(&mut scene.prng, &[5, 5_000, 3_600_000]);
            let ms = scene.prng.below(range);
            if scene.one_in(2) {
                scene.cover.hit(Branch::ClockStepBack);
                scene.now.wall_ms -= ms;
            } else {
                scene.now.wall_ms += ms;
            }
        }
    }

    /// Both clocks go on.
    pub fn advance(&mut self, ms: u64) {
        self.scene.now.mono_ms += ms;
        self.scene.now.mono_us += ms * 1_000;
        self.scene.now.wall_ms += ms;
    }

    /// Memory runs short now and then; a flood of silent connections comes and goes.
    fn disturb(&mut self) {
        match self.scene.prng.below(2_000) {
            0 => self.node.set_memory_full(true),
            1..40 => self.node.set_memory_full(false),
            40 if self.scene.plan.connections_max < 20 && self.flood.is_empty() => {
                let worker = self.scene.prng.below(self.scene.plan.workers as u64) as usize;
                let address = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
                let net = &mut self.net;
                let connect = |_| net.connect(worker, ListenerKind::Public, address, Window::Large);
                self.flood = (0..300).map(connect).collect();
            }
            41..60 => self.end_flood(),
            60..65 if self.scene.plan.sheds => self.shell.shed(),
            65..70 => self.shell.count_addresses(),
            70..200 => self.shell.check_readiness(self.scene.now),
            200..240 => self.tell_status(),
            240..246 if self.scene.plan.classes.changes() => self.reload_classes(),
            _ => {}
        }
    }

    /// The server publishes an event of its own.
    fn tell_status(&mut self) {
        let draft = Draft::new(Some(STATUS_TOPIC), None, "{}", None);
        let event = NewEvent { topics: vec![STATUS_TOPIC.into()], draft };
        if let Ok(mailed) = self.node.hub.publish_local(event, self.scene.now) {
            self.shell.wake(self.node.hub.claim_sleepers(mailed));
        }
        self.scene.head = self.node.hub.lock().head();
    }

    /// The silent ones leave.
    pub fn end_flood(&mut self) {
        for conn in std::mem::take(&mut self.flood) {
            self.net.leave(conn);
        }
    }

    /// Lets every worker have a turn.
    pub fn run_each_worker(&mut self) {
        for index in 0..self.scene.plan.workers {
            // Falling asleep and being woken may each take one.
            for _ in 0..3 {
                if self.shell.is_runnable(index, &self.net, self.scene.now) {
                    self.run_worker(index);
                }
            }
        }
    }

    /// A turn for each worker that has something to do; whether any had.
    fn run_runnable(&mut self) -> bool {
        let mut ran = false;
        for index in 0..self.scene.plan.workers {
            if self.shell.is_runnable(index, &self.net, self.scene.now) {
                self.run_worker(index);
                ran = true;
            }
        }
        ran
    }

    fn run_worker(&mut self, index: usize) {
        let before = self.scene.head;
        self.shell.run(index, &mut self.net, self.scene.now, self.scene.calm);
        if self.steps.is_multiple_of(8) {
            self.judge_figures(index);
            self.judge_classes();
        }
        self.scene.head = self.node.hub.lock().head();
        self.scene.cover.hit_if(self.is_sorting() && self.scene.head > before, Branch::PublishedWhileSorting);
        let plan = &self.scene.plan;
        let sizes = self.node.hub.sizes();
        let (topics_max, published) = (plan.settings.topics_max, sizes.topics - sizes.unpublished_topics);
        // Events of other nodes come to topics that have subscribers, however many others have events.
        let published_max = if plan.orders { 2 * topics_max } else { topics_max };
        assert!(published <= published_max && sizes.topics <= 2 * topics_max, "{sizes:?}");
        // The topic of the server's own keeps two events, whatever the setting.
        let most = plan.classes.most();
        let frames_max = sizes.topics * most.history_events + 1;
        assert!(sizes.frames <= frames_max, "{} frames", sizes.frames);
        assert!(sizes.bytes <= plan.settings.history_bytes_max, "{} bytes", sizes.bytes);
        // Lists are no topic's own.
        assert!(sizes.bytes - sizes.list_bytes <= sizes.topics * most.history_topic_bytes_max);
        assert!(sizes.idempotency_keys <= plan.settings.idempotency_keys_max);
        assert!(self.node.bodies.taken() <= self.node.bodies.limit());
        assert!(self.node.connections.taken() <= plan.connections_max);
    }

    /// Asserts that running counts agree with the things they count.
    fn judge_figures(&self, index: usize) {
        let snapshot = self.node.snapshot(self.scene.now.mono_ms);
        let (gauge, lagging) = (snapshot.workers[index].lagging, self.shell.lagging(index));
        assert_eq!(gauge, lagging as u64, "subscribers that lag");
        let count = |what: Count| snapshot.totals.counts[what as usize];
        let (each, last) = (&snapshot.distributions.delivery_each, &snapshot.distributions.delivery_last);
        let (delivered, replayed) = (count(Count::Delivered), count(Count::Replayed));
        assert_eq!(each.count() + replayed, delivered, "each delivery has an age or is a replay");
        assert!(
            last.count() <= self.events_published(count(Count::Published)),
            "an event has one last subscriber"
        );
        let closed: u64 = snapshot.totals.closed.iter().sum();
        let unseated = count(Count::Accepted) - snapshot.totals.connections_open;
        assert_eq!(closed, unseated, "whoever was accepted is here or was closed");
    }

    /// Everyone reads and sends all they have, time stands still, nothing new begins, until nothing moves.
    /// Then everything that was published must have arrived.
    pub fn come_to_rest(&mut self) {
        self.set_calm(true);
        self.run_until_still();
        // No event waits longer than the longest window, and what came before has been sent.
        let window_ms = self.scene.plan.classes.longest_window_ms();
        if window_ms > 0 {
            self.advance(window_ms);
            self.run_until_still();
        }
        for subscriber in &self.subscribers {
            subscriber.check_at_rest(&self.net, &self.scene);
        }
        self.pollers.iter_mut().for_each(|poller| poller.check_at_rest(&self.net, &self.scene));
        self.publishers.iter().for_each(|publisher| publisher.check_at_rest(&self.net));
        self.probers.iter().for_each(|prober| prober.check_at_rest(&self.net));
        self.inspectors.iter().for_each(|inspector| inspector.check_at_rest(&self.net, self.scene.now));
        let open: usize = (0..self.scene.plan.workers).map(|worker| self.net.open_on(worker).count()).sum();
        assert_eq!(self.shell.connections(), open, "connections without a socket, or sockets without one");
        for worker in 0..self.scene.plan.workers {
            let left = self.net.open_on(worker).find(|conn| self.net.socks[*conn].peer_finished);
            assert_eq!(left, None, "the peer of this connection has finished, and nobody has noticed");
        }
        self.look();
        self.set_calm(false);
    }

    /// Asserts, with everything at rest, that the node's figures are exact and that a probe passes at once.
    fn look(&mut self) {
        // Whatever publishes or commits drops what has expired. It goes now, and not between a page and its
        // judgement: the workers sweep once in a while only.
        while self.node.hub.sweep(self.scene.now) {}
        self.shell.count_addresses();
        self.shell.check_readiness(self.scene.now);
        self.run_until_still();
        judge_addresses(&self.net, &self.node);
        judge_caps(&self.net, &self.scene);
        let in_lobby = self.node.snapshot(self.scene.now.mono_ms).totals.lobby;
        let required = self.scene.plan.settings.proxy_protocol == ProxyProtocol::Require;
        assert!(!required || in_lobby == 0, "{in_lobby} headers have come and are not read");
        self.shell.check_readiness(self.scene.now);
        let readiness = self.node.readiness(self.scene.now.mono_ms);
        assert!(readiness.ok, "{readiness:?}");
        if let Some(inspector) = self.inspectors.first_mut() {
            inspector.begin_look(&mut self.net, &mut self.scene);
            self.run_until_still();
            self.inspectors[0].end_look(&self.net, &mut self.scene, &self.node);
        }
    }

    /// Calm on or off, for everyone.
    pub fn set_calm(&mut self, calm: bool) {
        self.scene.calm = calm;
        self.subscribers.iter().for_each(|actor| actor.set_calm(&mut self.net, calm));
        self.publishers.iter().for_each(|actor| actor.set_calm(&mut self.net, calm));
        self.probers.iter().for_each(|actor| actor.set_calm(&mut self.net, calm));
        self.inspectors.iter().for_each(|actor| actor.set_calm(&mut self.net, calm));
        self.pollers.iter().for_each(|actor| actor.set_calm(&mut self.net, calm));
    }

    /// The moving part of `come_to_rest`.
    pub fn run_until_still(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            let (net, scene) = (&mut self.net, &mut self.scene);
            for actor in self.subscribers.iter_mut().filter(|actor| actor.has_news(net)).collect::<Vec<_>>() {
                actor.step(net, scene);
                moved = true;
            }
            for actor in self.publishers.iter_mut().filter(|actor| actor.has_news(net)).collect::<Vec<_>>() {
                actor.step(net, scene);
                moved = true;
            }
            for actor in self.probers.iter_mut().filter(|actor| actor.has_news(net)).collect::<Vec<_>>() {
                actor.step(net, scene);
                moved = true;
            }
            for actor in self.inspectors.iter_mut().filter(|actor| actor.has_news(net)).collect::<Vec<_>>() {
                actor.step(net, scene);
                moved = true;
            }
            for actor in self.pollers.iter_mut().filter(|actor| actor.has_news(net)).collect::<Vec<_>>() {
                actor.step(net, scene);
                moved = true;
            }
            moved |= self.run_runnable();
            moved |= self.step_orderer();
            if !moved {
                return;
            }
        }
        panic!("the world does not come to rest: a worker spins");
    }

    /// Connections that wait for the answer to a long poll.
    pub fn waiting_polls(&self) -> usize {
        self.pollers.iter().filter(|poller| poller.waits(&self.net)).count()
    }

    /// Workers run until they rest; their peers do nothing.
    pub fn run_workers_only(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.run_runnable() {
                return;
            }
        }
        panic!("a worker spins");
    }

    /// Everyone leaves for good.
    pub fn disperse(&mut self) {
        self.cut_everyone();
        self.publishers.iter_mut().for_each(Publisher::give_up);
    }

    /// Everyone loses their connections.
    pub fn cut_everyone(&mut self) {
        self.end_flood();
        let (net, scene) = (&mut self.net, &mut self.scene);
        self.subscribers.iter_mut().for_each(|actor| actor.leave(net, scene));
        self.publishers.iter_mut().for_each(|actor| actor.leave(net, scene));
        self.probers.iter_mut().for_each(|actor| actor.leave(net, scene));
        self.inspectors.iter_mut().for_each(|actor| actor.leave(net, scene));
        self.pollers.iter_mut().for_each(|actor| actor.leave(net, scene));
    }
}
