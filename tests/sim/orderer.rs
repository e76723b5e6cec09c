//! An orderer from a seed: it answers late, in another turn than asked, with a refusal, or never, and brings
//! events of other nodes. In a calm world it does at once all that it has to do. It keeps what it commits,
//! for a server that begins anew.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use fanwheel::base::counters::RefusalReason;
use fanwheel::base::id::EventId;
use fanwheel::base::time::Now;
use fanwheel::fanout::hub::{
    CommitStop, NewEvent, OrderKey, OrderRequest, OrderedEvent, OrderedPublish, Orderer, PublishReceipt,
    RestoredKey,
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
    fn submit(&self, request: OrderRequest) -> Result<(), RefusalReason> {
        self.0.lock().expect("nobody panics with it").push(request);
        Ok(())
    }
}

/// Facts about a publish that has its ids and waits for its commit.
struct Ordered {
    events: Vec<OrderedEvent>,
    key: Option<OrderKey>,
    origin: Origin,
}

/// The place where a publish came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A publisher of this node.
    Publisher,
    /// The node itself, for its own subscribers.
    Node,
    /// Another node; the group of its event.
    Elsewhere(usize),
}

/// A key with the answer that a repeat gets, and when it was given.
struct Answered {
    key: OrderKey,
    receipt: PublishReceipt,
    at_ms: u64,
}

/// All that has been committed, as a disk would hold it.
#[derive(Default)]
struct Store {
    events: Vec<OrderedEvent>,
    answers: Vec<Answered>,
}

/// Events of other nodes that come to nobody.
struct Loss {
    /// The group of each event, and its id.
    events: Vec<(usize, EventId)>,
    upto: EventId,
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
    store: Store,
    head: EventId,
    /// Events that it cannot bring any more, and the hub does not know that.
    losing: Option<Loss>,
    /// The id up to which it has lost everything.
    lost: EventId,
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
            store: Store::default(),
            head: node.hub.lock().head(),
            losing: None,
            lost: EventId::ZERO,
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
        if scene.calm || scene.one_in(400) {
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
        if scene.one_in(60) {
            self.commit_again(node, scene);
        }
        if self.queue.is_empty() && self.losing.is_none() && !scene.calm && !scene.ending && scene.one_in(600)
        {
            self.lose_events(scene);
        }
        if let Some(loss) = self.losing.take() {
            mailed = self.tell_loss(node, scene, loss).map(|mask| mailed.unwrap_or(0) | mask).or(mailed);
        } else if !self.queue.is_empty() && (scene.calm || scene.one_in(6)) {
            mailed = Some(mailed.unwrap_or(0) | self.commit(node, scene));
        }
        mailed.map(|mailed| node.hub.claim_sleepers(mailed))
    }

    /// Decides about one request, in no order. Returns the workers with mail, and whether it was decided.
    fn decide(&mut self, node: &Node, scene: &mut Scene) -> (Option<u64>, bool) {
        let nth = scene.prng.below(self.waiting.len() as u64) as usize;
        if let Some(key) = &self.waiting[nth].key {
            if self
                .ordered
                .iter()
                .any(|ordered| ordered.key.as_ref().is_some_and(|other| other.text == key.text))
            {
                return (None, false);
            }
            if let Some(known) = node.hub.known_answer(key) {
                let receipt = known.expect("publishers use a key for one request");
                let OrderRequest { ticket, .. } = self.waiting.remove(nth);
                scene.hit(Branch::OrderRepeated);
                return (Some(node.hub.repeat(ticket, receipt)), true);
            }
        }
        scene.cover.hit_if(nth > 0, Branch::OrderedOutOfTurn);
        let OrderRequest { ticket, events, key, local } = self.waiting.remove(nth);
        if scene.one_in(10) {
            return (Some(node.hub.refuse(ticket, RefusalReason::OrderFailed)), true);
        }
        let events: Vec<OrderedEvent> = events.into_iter().map(|event| self.give_id(scene, event)).collect();
        let origin = if local { Origin::Node } else { Origin::Publisher };
        self.ordered.push_back(Ordered { events: events.clone(), key: key.clone(), origin });
        self.queue.push_back(OrderedPublish { events, ticket: Some(ticket), key });
        (None, true)
    }

    fn give_id(&mut self, scene: &Scene, event: NewEvent) -> OrderedEvent {
        self.head = self.head.next_after(scene.now.wall_ms);
        OrderedEvent { id: self.head, event }
    }

    /// Brings an event of another node.
    fn order_foreign(&mut self, scene: &mut Scene) {
        scene.hit(Branch::ForeignEvent);
        let (group, event) = self.submit_foreign(scene);
        let origin = Origin::Elsewhere(group);
        self.ordered.push_back(Ordered { events: vec![event.clone()], key: None, origin });
        self.queue.push_back(OrderedPublish { events: vec![event], ticket: None, key: None });
    }

    /// Has another node publish. Returns the event's group in the ledger, and the event with its id.
    fn submit_foreign(&mut self, scene: &mut Scene) -> (usize, OrderedEvent) {
        let topics = scene.draw_topics(3);
        let data = format!("e{}.t{}.", scene.ledger.next(), topics[0]);
        let names = topics.iter().map(|&topic| topic_of(topic).into()).collect();
        let event = NewEvent { topics: names, draft: Draft::new(None, None, &data, None) };
        let submission = Submission {
            topics,
            name: None,
            names: vec![None],
            exact_name: None,
            key: None,
            retry: None,
            ttl_ms: None,
            data,
            ids: Vec::new(),
            group: 0,
        };
        let group = scene.ledger.submit(vec![submission], false, scene.now.mono_ms);
        scene.ledger.groups[group].sent_whole = true;
        (group, self.give_id(scene, event))
    }

    /// Loses some events of other nodes, and everything that it has kept.
    fn lose_events(&mut self, scene: &mut Scene) {
        let count = scene.prng.below(4);
        let mut lose = || {
            let (group, event) = self.submit_foreign(scene);
            (group, event.id)
        };
        let events = (0..count).map(|_| lose()).collect();
        self.head = self.head.next_after(scene.now.wall_ms);
        self.losing = Some(Loss { events, upto: self.head });
    }

    /// Tells the hub of a loss; another time, if it has no room. Returns the workers with mail.
    fn tell_loss(&mut self, node: &Node, scene: &mut Scene, loss: Loss) -> Option<u64> {
        match node.hub.lose_history(loss.upto, scene.now) {
            Ok(mailed) => {
                scene.hit(Branch::HistoryLost);
                scene.trace(|| format!("history is lost up to {}", loss.upto));
                for (group, id) in loss.events {
                    self.foreign_events += 1;
                    scene.ledger.accept(group, id, scene.now.mono_ms);
                }
                scene.ledger.losses.push(loss.upto);
                self.store.events.clear();
                self.lost = loss.upto;
                Some(mailed)
            }
            Err(stop) => {
                assert_eq!(stop, CommitStop::NoRoom, "something else gave an id");
                self.losing = Some(loss);
                None
            }
        }
    }

    /// Tries an event that is committed already, which the hub must not take.
    fn commit_again(&self, node: &Node, scene: &mut Scene) {
        let Some(event) = self.store.events.last().cloned() else { return };
        scene.hit(Branch::OutOfOrder);
        let mut again = VecDeque::from([OrderedPublish { events: vec![event], ticket: None, key: None }]);
        let outcome = node.hub.commit(&mut again, scene.now);
        let left = (outcome.stop, again.len(), outcome.mailed);
        assert_eq!(left, (Some(CommitStop::OutOfOrder), 1, 0), "an event was taken twice");
    }

    fn commit(&mut self, node: &Node, scene: &mut Scene) -> u64 {
        let before = self.queue.len();
        let outcome = node.hub.commit(&mut self.queue, scene.now);
        assert_ne!(outcome.stop, Some(CommitStop::OutOfOrder), "something else gave an id");
        let mut receipts = outcome.receipts.into_iter();
        for _ in self.queue.len()..before {
            let Ordered { events, key, origin } = self.ordered.pop_front().expect("one for each");
            let (count, last) = (events.len() as u64, events[events.len() - 1].id);
            if let Origin::Elsewhere(group) = origin {
                self.foreign_events += count;
                scene.ledger.accept(group, last, scene.now.mono_ms);
            } else {
                let receipt = receipts.next().expect("one for each ticket");
                assert_eq!((receipt.id, receipt.events), (last, count));
                let answered = |key| Answered { key, receipt, at_ms: scene.now.mono_ms };
                self.store.answers.extend(key.map(answered));
            }
            if origin != Origin::Node {
                self.own_events += if origin == Origin::Publisher { count } else { 0 };
                self.store.events.extend(events);
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

    /// Gives an event of another node its place.
    pub fn order_foreign_event(&mut self, now: Now, topic: &str) -> OrderedPublish {
        self.head = self.head.next_after(now.wall_ms);
        let event = NewEvent { topics: vec![topic.into()], draft: Draft::new(None, None, "x", None) };
        OrderedPublish { events: vec![OrderedEvent { id: self.head, event }], ticket: None, key: None }
    }

    /// Commits an event of another node to a topic. Returns its id.
    pub fn commit_foreign(&mut self, node: &Node, now: Now, topic: &str) -> EventId {
        let publish = self.order_foreign_event(now, topic);
        let outcome = node.hub.commit(&mut VecDeque::from([publish]), now);
        assert_eq!(outcome.stop, None, "there is room");
        self.head
    }

    /// Orders and commits the oldest request that it has not looked at.
    pub fn commit_first(&mut self, node: &Node, now: Now) {
        let OrderRequest { ticket, events, key, .. } = self.take_first();
        let mut give_id = |event| {
            self.head = self.head.next_after(now.wall_ms);
            OrderedEvent { id: self.head, event }
        };
        let events = events.into_iter().map(&mut give_id).collect();
        let publish = OrderedPublish { events, ticket: Some(ticket), key };
        assert_eq!(node.hub.commit(&mut VecDeque::from([publish]), now).stop, None, "there is room");
    }

    fn take_first(&mut self) -> OrderRequest {
        self.inbox.0.lock().expect("nobody panics with it").remove(0)
    }

    /// Loses everything up to an id that it has just given. Returns the id.
    pub fn lose_all(&mut self, node: &Node, now: Now) -> EventId {
        self.head = self.head.next_after(now.wall_ms);
        node.hub.lose_history(self.head, now).expect("there is room");
        self.head
    }

    /// Refuses the oldest request that it has not looked at.
    pub fn refuse_first(&mut self, node: &Node) {
        node.hub.refuse(self.take_first().ticket, RefusalReason::OrderFailed);
    }

    /// Drops all that it has.
    pub fn drop_all(&mut self) {
        self.inbox.0.lock().expect("nobody panics with it").clear();
        self.waiting.clear();
        self.forgotten.clear();
        self.queue.clear();
        self.ordered.clear();
        self.losing = None;
    }

    /// Loses all that is not committed, and becomes the orderer of a node that begins in place of the one
    /// before it. Gives it the history and the keys that it has kept.
    pub fn restart(&mut self, node: &Node, now: Now) {
        self.drop_all();
        node.hub.install_orderer(Arc::<Inbox>::clone(&self.inbox));
        if self.lost > node.hub.lock().head() {
            node.hub.lose_history(self.lost, now).expect("nobody has mail");
        }
        node.hub.restore(self.store.events.iter().cloned(), now);
        node.hub.restore_head(self.head);
        let key = |answered: &Answered| RestoredKey {
            key: answered.key.clone(),
            receipt: answered.receipt,
            age_ms: now.mono_ms - answered.at_ms,
        };
        node.hub.restore_keys(self.store.answers.iter().map(key), now);
    }
}
