//! An orderer from a seed: it answers late, in another turn than asked, with a refusal, or never, and brings
//! events of other nodes. In a calm world it does at once all that it has to do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use fanwheel::base::counters::RefusalReason;
use fanwheel::base::id::EventId;
use fanwheel::base::time::Now;
use fanwheel::fanout::hub::{
    NewEvent, OrderKey, OrderRequest, OrderedEvent, OrderedPublish, Orderer, PublishReceipt,
};
use fanwheel::fanout::node::Node;
use fanwheel::wire::frame::Draft;

use crate::cover::Branch;
use crate::ledger::Submission;
use crate::scene::Scene;
use crate::session::topic_of;

/// The end of the orderer that workers see.
#[derive(Debug, Default)]
struct Inbox(Mutex<Vec<OrderRequest>>);

impl Orderer for Inbox {
    fn submit(&self, request: OrderRequest) {
        self.0.lock().expect("nobody panics with it").push(request);
    }
}

/// Facts about a publish that has its ids and waits for its commit.
struct Ordered {
    events: u64,
    key: Option<OrderKey>,
    /// The group of an event of another node.
    foreign: Option<usize>,
    last: EventId,
}

/// An answer that a repeated key gets, and when it was given.
struct Answered {
    fingerprint: u64,
    receipt: PublishReceipt,
    at_ms: u64,
}

/// The orderer of a run.
pub struct SeededOrderer {
    inbox: Arc<Inbox>,
    /// Requests that have no ids, in no order.
    waiting: Vec<OrderRequest>,
    /// Requests that it has forgotten for now, and perhaps for ever.
    forgotten: Vec<OrderRequest>,
    queue: VecDeque<OrderedPublish>,
    ordered: VecDeque<Ordered>,
    answered: BTreeMap<Box<[u8]>, Answered>,
    head: EventId,
    /// Events committed for publishers of this node.
    pub own_events: u64,
    /// Events committed for other nodes.
    pub foreign_events: u64,
}

impl SeededOrderer {
    /// Becomes the orderer of a node.
    pub fn install(node: &Node) -> SeededOrderer {
        let inbox = Arc::new(Inbox::default());
        node.hub.install_orderer(Arc::<Inbox>::clone(&inbox));
        SeededOrderer {
            inbox,
            waiting: Vec::new(),
            forgotten: Vec::new(),
            queue: VecDeque::new(),
            ordered: VecDeque::new(),
            answered: BTreeMap::new(),
            head: node.hub.lock().head(),
            own_events: 0,
            foreign_events: 0,
        }
    }

    /// Does a little. Returns the workers to wake; none when there was nothing to do.
    pub fn step(&mut self, node: &Node, scene: &mut Scene) -> Option<u64> {
        for request in self.inbox.0.lock().expect("nobody panics with it").drain(..) {
            let forgets = !scene.calm && scene.one_in(6);
            if forgets { self.forgotten.push(request) } else { self.waiting.push(request) }
        }
        if scene.calm || scene.one_in(40) {
            self.waiting.append(&mut self.forgotten);
        }
        let mut mailed = None;
        if !scene.calm && !scene.ending && scene.one_in(30) {
            self.order_foreign(scene);
        }
        while !self.waiting.is_empty() && (scene.calm || scene.one_in(4)) {
            let (mask, decided) = self.decide(node, scene);
            mailed = mask.map(|mask| mailed.unwrap_or(0) | mask).or(mailed);
            if !decided {
                break;
            }
        }
        if !self.queue.is_empty() && (scene.calm || scene.one_in(6)) {
            mailed = Some(mailed.unwrap_or(0) | self.commit(node, scene));
        }
        mailed.map(|mailed| node.hub.claim_sleepers(mailed))
    }

    /// Decides about one request, in no order. Returns the workers with mail, and whether it was decided.
    fn decide(&mut self, node: &Node, scene: &mut Scene) -> (Option<u64>, bool) {
        let nth = scene.prng.below(self.waiting.len() as u64) as usize;
        let keep_ms = scene.plan.settings.idempotency_ms;
        self.answered.retain(|_, answered| scene.now.mono_ms < answered.at_ms + keep_ms);
        if let Some(key) = &self.waiting[nth].key {
            if self
                .ordered
                .iter()
                .any(|ordered| ordered.key.as_ref().is_some_and(|other| other.text == key.text))
            {
                return (None, false);
            }
            if let Some(answered) = self.answered.get(&key.text) {
                assert_eq!(answered.fingerprint, key.fingerprint, "publishers use a key for one request");
                let OrderRequest { ticket, .. } = self.waiting.remove(nth);
                scene.hit(Branch::OrderRepeated);
                return (Some(node.hub.repeat(ticket, answered.receipt)), true);
            }
        }
        scene.cover.hit_if(nth > 0, Branch::OrderedOutOfTurn);
        let OrderRequest { ticket, events, key } = self.waiting.remove(nth);
        if scene.one_in(10) {
            return (Some(node.hub.refuse(ticket, RefusalReason::OrderFailed)), true);
        }
        let count = events.len() as u64;
        let events: Vec<OrderedEvent> = events.into_iter().map(|event| self.give_id(scene, event)).collect();
        self.ordered.push_back(Ordered { events: count, key, foreign: None, last: self.head });
        self.queue.push_back(OrderedPublish { events, ticket: Some(ticket) });
        (None, true)
    }

    fn give_id(&mut self, scene: &Scene, event: NewEvent) -> OrderedEvent {
        self.head = self.head.next_after(scene.now.wall_ms);
        OrderedEvent { id: self.head, event }
    }

    /// Brings an event of another node.
    fn order_foreign(&mut self, scene: &mut Scene) {
        scene.hit(Branch::ForeignEvent);
        let topics = scene.draw_topics(3);
        let data = format!("e{}.t{}.", scene.ledger.next(), topics[0]);
        let names = topics.iter().map(|&topic| topic_of(topic).into()).collect();
        let event = NewEvent { topics: names, draft: Draft::new(None, None, &data, None) };
        let submission =
            Submission { topics, name: None, key: None, retry: None, data, ids: Vec::new(), group: 0 };
        let group = scene.ledger.submit(vec![submission], false, scene.now.mono_ms);
        scene.ledger.groups[group].sent_whole = true;
        let event = self.give_id(scene, event);
        self.ordered.push_back(Ordered { events: 1, key: None, foreign: Some(group), last: self.head });
        self.queue.push_back(OrderedPublish { events: vec![event], ticket: None });
    }

    fn commit(&mut self, node: &Node, scene: &mut Scene) -> u64 {
        let before = self.queue.len();
        let outcome = node.hub.commit(&mut self.queue, scene.now);
        let mut receipts = outcome.receipts.into_iter();
        for _ in self.queue.len()..before {
            let done = self.ordered.pop_front().expect("one for each");
            if let Some(group) = done.foreign {
                self.foreign_events += done.events;
                scene.ledger.accept(group, done.last, scene.now.mono_ms);
                continue;
            }
            self.own_events += done.events;
            let receipt = receipts.next().expect("one for each ticket");
            assert_eq!((receipt.id, receipt.events), (done.last, done.events));
            if let Some(OrderKey { text, fingerprint }) = done.key {
                self.answered.insert(text, Answered { fingerprint, receipt, at_ms: scene.now.mono_ms });
            }
        }
        outcome.mailed
    }

    /// Loses all that it has forgotten. Returns whether there was anything.
    pub fn lose_tickets(&mut self, scene: &mut Scene) -> bool {
        let lost = !self.forgotten.is_empty();
        self.forgotten.clear();
        scene.cover.hit_if(lost, Branch::OrderLost);
        lost
    }

    /// Commits an event of another node to a topic. Returns its id.
    pub fn commit_foreign(&mut self, node: &Node, now: Now, topic: &str) -> EventId {
        self.head = self.head.next_after(now.wall_ms);
        let event = NewEvent { topics: vec![topic.into()], draft: Draft::new(None, None, "x", None) };
        let events = vec![OrderedEvent { id: self.head, event }];
        let outcome = node.hub.commit(&mut VecDeque::from([OrderedPublish { events, ticket: None }]), now);
        assert_eq!(outcome.stop, None, "there is room");
        self.head
    }

    /// Refuses the oldest request that it has not looked at.
    pub fn refuse_first(&mut self, node: &Node) {
        let request = self.inbox.0.lock().expect("nobody panics with it").remove(0);
        node.hub.refuse(request.ticket, RefusalReason::OrderFailed);
    }

    /// Drops all that it has.
    pub fn drop_all(&mut self) {
        self.inbox.0.lock().expect("nobody panics with it").clear();
        self.waiting.clear();
        self.forgotten.clear();
        self.queue.clear();
    }
}
