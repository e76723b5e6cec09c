//! Publishes whose order is given outside of the hub: by a disk, a backplane, or a simulator.
//!
//! ```text
//! publisher ── Hub::publish ──► Orderer::submit(OrderRequest) ──► ids, in the orderer's own time
//!     ▲                                                             │
//!     │ 202, 503 or 422                                             ▼
//! its worker ◄── OrderSettlement ◄── Hub::commit, Hub::refuse or Hub::repeat
//! ```
//!
//! Without an orderer, ids are given at once and all of this costs one load. With one, a publish is admitted,
//! charged to `ORDER_BYTES_MAX` and handed over with its [`Ticket`]. A ticket is settled once, and carries
//! the charge until its publisher's worker has taken the answer. A ticket that is dropped settles nothing:
//! the publisher's deadline answers, and the event was published or not at all.
//!
//! The orderer's contract: it gives rising ids, and calls [`Hub::commit`] with all events in the order of
//! their ids, its own and those of other nodes. After each call here it wakes the workers of the returned
//! mask ([`Hub::claim_sleepers`]). The hub remembers the idempotency keys of what is committed here. A
//! request whose key the orderer has not committed yet waits, and is looked up again
//! ([`Hub::known_answer`]) when that key is decided.
//!
//! An orderer that has lost events says so ([`Hub::lose_history`]), and goes on after them.
//!
//! The server's own events go the same way while there is an orderer. An id that the hub gave by itself could
//! pass one that the orderer has given, and its commit would be out of order.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::retention::TopicMaker;
use super::ticket::{OrderSettlement, Ticket};
use super::{Hub, HubState, NewEvent, PublishOutcome, PublishReceipt, set_bits};
use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::base::limits::{COMMIT_EVENTS_PER_HOLD, EVICTIONS_PER_CALL, IN_FLIGHT_BYTES_MAX};
use crate::base::time::Now;
use crate::fanout::budget::{BudgetShare, SharedBudget};
use crate::fanout::idempotency::IdempotencyKey;
use crate::fanout::mail::{self, MailboxItem};
use crate::fanout::shared_frame::TopicRef;
use crate::fanout::token::Asker;

/// A place outside of the hub where publishes get their order.
pub trait Orderer: Debug + Send + Sync {
    /// Takes an admitted publish in. Must not wait: a worker calls it.
    ///
    /// # Errors
    /// The reason for which it takes none now.
    fn submit(&self, request: OrderRequest) -> Result<(), RefusalReason>;
}

/// A publish on its way to the orderer.
#[derive(Debug)]
pub struct OrderRequest {
    /// Its claim to an answer.
    pub ticket: Ticket,
    /// Its events; they get consecutive places in the order.
    pub events: Vec<NewEvent>,
    /// Its idempotency key, if it has one.
    pub key: Option<OrderKey>,
    /// Only subscribers of this node are meant: the orderer gives it a place in the order, and keeps nothing.
    pub local: bool,
}

/// The idempotency key of a publish, as an orderer keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderKey {
    /// The key as it came.
    pub text: Box<[u8]>,
    /// Hash of all else that the request would publish.
    pub fingerprint: u64,
}

impl OrderKey {
    /// Lends it to the table of keys.
    pub(super) fn as_key(&self) -> IdempotencyKey<'_> {
        IdempotencyKey { text: &self.text, fingerprint: self.fingerprint }
    }
}

/// State of an accepted publish.
#[derive(Clone, Copy, Debug)]
pub enum Acceptance {
    /// It is in the publish order.
    Now(PublishOutcome),
    /// The orderer has it; the ticket of this number will be settled.
    Later(u64),
}

/// An event with its place in the publish order.
#[derive(Clone, Debug)]
pub struct OrderedEvent {
    /// Its id, given by the orderer.
    pub id: EventId,
    /// The event.
    pub event: NewEvent,
}

/// Events that are committed together: a publish of this node, or some of another node.
#[derive(Debug)]
pub struct OrderedPublish {
    /// At least one event, ids rising; no more than `BATCH_POSTS_MAX`.
    pub events: Vec<OrderedEvent>,
    /// The claim of the publisher; none for events of other nodes.
    pub ticket: Option<Ticket>,
    /// Its idempotency key, if it has one: a repeat gets the same answer from now on.
    pub key: Option<OrderKey>,
}

/// Result of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct CommitOutcome {
    /// Answers to the tickets among them, in order: what a repeated key is to get.
    pub receipts: Vec<PublishReceipt>,
    /// Workers that have mail of it, a bit each.
    pub mailed: u64,
    /// Cause for which it stopped before the end.
    pub stop: Option<CommitStop>,
}

/// Cause for which a commit leaves events where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitStop {
    /// Mailboxes or the memory for events in flight have no room. Try again in a moment.
    NoRoom,
    /// The first id that is left does not follow the ids before it. No later try changes that.
    OutOfOrder,
}

/// Events of the server's own that may be at the orderer. The newest state is of use, not all of them.
const OWN_EVENTS_AT_ORDERER: usize = 1;

/// The hub's side of the orderer.
#[derive(Debug)]
pub(super) struct OrderDesk {
    orderer: OnceLock<Arc<dyn Orderer>>,
    /// Bytes of events that the orderer has.
    bytes: Arc<SharedBudget>,
    /// Idempotency keys that the orderer has and the hub does not know yet.
    keys: Arc<SharedBudget>,
    /// Events of the server's own that the orderer has.
    own: Arc<SharedBudget>,
    tickets: AtomicU64,
}

impl OrderDesk {
    /// A desk without an orderer.
    pub(super) fn new(bytes_max: usize) -> OrderDesk {
        let budget = |limit| Arc::new(SharedBudget::new(limit));
        let (bytes, keys, own) = (budget(bytes_max), budget(usize::MAX), budget(OWN_EVENTS_AT_ORDERER));
        OrderDesk { orderer: OnceLock::new(), bytes, keys, own, tickets: 0.into() }
    }

    /// Idempotency keys that the orderer has.
    pub(super) fn keys(&self) -> usize {
        self.keys.taken()
    }
}

impl Hub {
    /// Has all publishes ordered by `orderer` from now on. To be called once, before the workers run.
    pub fn install_orderer(&self, orderer: Arc<dyn Orderer>) {
        self.desk.orderer.set(orderer).expect("a node has one orderer");
        self.lock().has_orderer = true;
    }

    /// The budget of bytes that are at the orderer, or have an answer that no worker has taken.
    pub fn order_bytes(&self) -> &SharedBudget {
        &self.desk.bytes
    }

    /// Idempotency keys of publishes that are undecided at the orderer.
    pub fn order_keys(&self) -> usize {
        self.desk.keys()
    }

    /// Publishes the events, all or none: at once, or through the orderer.
    pub(crate) fn publish(
        &self,
        events: Vec<NewEvent>,
        key: Option<IdempotencyKey<'_>>,
        asker: Asker,
        now: Now,
    ) -> Result<Acceptance, RefusalReason> {
        match self.desk.orderer.get() {
            None => self.publish_at_once(events, key, now).map(Acceptance::Now),
            Some(orderer) => self.submit(&**orderer, events, key, asker, now),
        }
    }

    /// Publishes an event of the server's own to the subscribers of this node. Returns the workers that have
    /// mail of it; with an orderer none yet.
    pub fn publish_local(&self, event: NewEvent, now: Now) -> Result<u64, RefusalReason> {
        let events = vec![event];
        let Some(orderer) = self.desk.orderer.get() else {
            return self.publish_at_once(events, None, now).map(|outcome| outcome.mailed);
        };
        let mut inner = self.lock();
        inner.expire(now, EVICTIONS_PER_CALL);
        self.admit(&mut inner, &events, false)?;
        drop(inner);
        let share = BudgetShare::try_take(&self.desk.own, 1).ok_or(RefusalReason::OrderFull)?;
        let ticket = self.new_ticket(None, share, None);
        orderer.submit(OrderRequest { ticket, events, key: None, local: true })?;
        Ok(0)
    }

    fn submit(
        &self,
        orderer: &dyn Orderer,
        events: Vec<NewEvent>,
        key: Option<IdempotencyKey<'_>>,
        asker: Asker,
        now: Now,
    ) -> Result<Acceptance, RefusalReason> {
        let mut inner = self.lock();
        inner.expire(now, EVICTIONS_PER_CALL);
        if let Some(known) = key.and_then(|key| inner.idempotency.find(key)) {
            return Ok(Acceptance::Now(PublishOutcome { receipt: known?, repeated: true, mailed: 0 }));
        }
        self.admit(&mut inner, &events, key.is_some())?;
        // Under the lock, like the question whether there is room for it.
        let key_share = key.and_then(|_| BudgetShare::try_take(&self.desk.keys, 1));
        drop(inner);
        let bytes = events.iter().map(NewEvent::memory_bytes).sum();
        let share = BudgetShare::try_take(&self.desk.bytes, bytes).ok_or(RefusalReason::OrderFull)?;
        let ticket = self.new_ticket(Some(asker), share, key_share);
        let number = ticket.number;
        let key = key.map(|key| OrderKey { text: key.text.into(), fingerprint: key.fingerprint });
        orderer.submit(OrderRequest { ticket, events, key, local: false })?;
        Ok(Acceptance::Later(number))
    }

    fn new_ticket(&self, asker: Option<Asker>, share: BudgetShare, key_share: Option<BudgetShare>) -> Ticket {
        Ticket { asker, number: self.desk.tickets.fetch_add(1, Relaxed), share, _key_share: key_share }
    }

    /// Returns the answer that a publish with this key was given here; an error if it was given to another
    /// request.
    pub fn known_answer(&self, key: &OrderKey) -> Option<Result<PublishReceipt, RefusalReason>> {
        self.lock().idempotency.find(key.as_key())
    }

    /// Keeps and mails ordered events, and settles the tickets that come with them. Takes from the front what
    /// it commits, each publish whole; what is left tells how far it came. The lock is given up now and then.
    pub fn commit(&self, publishes: &mut VecDeque<OrderedPublish>, now: Now) -> CommitOutcome {
        let mut outcome = CommitOutcome { receipts: Vec::new(), mailed: 0, stop: None };
        while !publishes.is_empty() && outcome.stop.is_none() {
            self.commit_some(publishes, &mut outcome, now);
        }
        if outcome.stop == Some(CommitStop::NoRoom) {
            outcome.mailed |= self.request_shedding(now);
        }
        outcome
    }

    /// Commits in one hold of the lock.
    fn commit_some(&self, publishes: &mut VecDeque<OrderedPublish>, outcome: &mut CommitOutcome, now: Now) {
        let mut settled = Vec::new();
        let mut inner = self.lock();
        inner.expire(now, EVICTIONS_PER_CALL);
        let mut left = COMMIT_EVENTS_PER_HOLD;
        while left > 0
            && let Some(next) = publishes.front()
        {
            outcome.stop = self.stop_before(&inner, &next.events);
            if outcome.stop.is_some() {
                break;
            }
            let OrderedPublish { events, ticket, key } = publishes.pop_front().expect("it was just seen");
            left = left.saturating_sub(events.len());
            let mut receipt = PublishReceipt { id: inner.head, events: events.len() as u64, subscribers: 0 };
            for OrderedEvent { id, event } in events {
                let (workers, subscribers) = self.commit_ordered(&mut inner, id, event, now);
                receipt.id = id;
                receipt.subscribers += subscribers;
                outcome.mailed |= workers;
            }
            if let Some(key) = key {
                inner.idempotency.remember(key.as_key(), receipt, 0, now.mono_ms);
            }
            settled.extend(ticket.map(|ticket| (ticket, receipt)));
        }
        drop(inner);
        for (ticket, receipt) in settled {
            outcome.receipts.push(receipt);
            outcome.mailed |=
                self.send_answer(ticket, Ok(PublishOutcome { receipt, repeated: false, mailed: 0 }));
        }
    }

    /// Gives up all events up to `upto` that are not committed: the orderer cannot bring them any more. Drops
    /// what is kept, because events before and after a hole must not look like one history. Every stream is
    /// told a gap, once. Returns the workers that have mail of it.
    ///
    /// # Errors
    /// [`CommitStop::NoRoom`] while a mailbox is full: nobody has been told then.
    pub fn lose_history(&self, upto: EventId, now: Now) -> Result<u64, CommitStop> {
        loop {
            let mut inner = self.lock();
            if upto <= inner.head {
                return Err(CommitStop::OutOfOrder);
            }
            if self.full_mailboxes() != 0 {
                return Err(CommitStop::NoRoom);
            }
            // In many holds of the lock. Nothing is committed between them.
            if inner.drop_kept(now, EVICTIONS_PER_CALL) {
                continue;
            }
            inner.head = upto;
            inner.journals.raise_floor(upto);
            self.mailboxes.iter().for_each(|mailbox| mailbox.push(MailboxItem::Loss(upto)));
            return Ok(mail::all_workers(self.mailboxes.len()));
        }
    }

    /// Returns the cause for which these events cannot be committed now, if there is one.
    fn stop_before(&self, inner: &HubState, events: &[OrderedEvent]) -> Option<CommitStop> {
        let first = events.first().map_or(EventId::ZERO, |first| first.id);
        if first <= inner.head || events.windows(2).any(|pair| pair[0].id >= pair[1].id) {
            return Some(CommitStop::OutOfOrder);
        }
        // Whatever their own size, so that a large one is not left for ever.
        if self.meter.bytes() > inner.bounds.bytes + IN_FLIGHT_BYTES_MAX {
            return Some(CommitStop::NoRoom);
        }
        let mut wanted = vec![0usize; self.mailboxes.len()];
        for OrderedEvent { event, .. } in events {
            let interest = |name: &str| inner.interest_in(name, inner.find_topic(name));
            let interested = event.topics.iter().fold(0, |mask, name| mask | interest(name));
            set_bits(interested).for_each(|worker| wanted[worker] += 1);
        }
        (!self.has_mail_room(&wanted)).then_some(CommitStop::NoRoom)
    }

    /// Commits an event that cannot be refused. A topic for which there is no room here has no subscriber
    /// here: the event counts as one that this topic has had and lost.
    fn commit_ordered(&self, inner: &mut HubState, id: EventId, mut event: NewEvent, now: Now) -> (u64, u64) {
        let lost = inner.leave_topics_with_room(&mut event);
        if lost.is_empty() {
            return self.commit_event(inner, id, event, &[], now);
        }
        // Streams of a pattern that matches a lost topic get the event once; nobody can read it again.
        let patterns = inner.lose_for_patterns(&lost, id);
        let reached = match event.topics.is_empty() && patterns.is_empty() {
            true => (0, 0),
            false => self.commit_event(inner, id, event, &patterns, now),
        };
        inner.head = id;
        inner.removed_floor = inner.removed_floor.max(id);
        reached
    }

    /// Answers that nothing was published. Returns the worker that has mail of it, as a mask.
    pub fn refuse(&self, ticket: Ticket, why: RefusalReason) -> u64 {
        self.send_answer(ticket, Err(why))
    }

    /// Answers that the events are in the order, though they are not committed here yet: a node that is
    /// behind owes its publishers no wait. Their commit comes without the ticket. Returns the worker that has
    /// mail of it, as a mask.
    pub fn accept(&self, ticket: Ticket, receipt: PublishReceipt) -> u64 {
        self.send_answer(ticket, Ok(PublishOutcome { receipt, repeated: false, mailed: 0 }))
    }

    /// Answers as an earlier publish with the same key was. Returns the worker that has mail of it, as a
    /// mask.
    pub fn repeat(&self, ticket: Ticket, receipt: PublishReceipt) -> u64 {
        self.send_answer(ticket, Ok(PublishOutcome { receipt, repeated: true, mailed: 0 }))
    }

    fn send_answer(&self, ticket: Ticket, outcome: Result<PublishOutcome, RefusalReason>) -> u64 {
        let Ticket { asker, number, share, .. } = ticket;
        let Some(Asker { worker, token }) = asker else { return 0 };
        self.mailboxes[worker].send_settlement(OrderSettlement { token, number, outcome, _share: share });
        1 << worker
    }
}

impl HubState {
    /// Leaves an event those of its topics for which there is room, and makes them. Returns those that it has
    /// lost.
    pub(super) fn leave_topics_with_room(&mut self, event: &mut NewEvent) -> Vec<Box<str>> {
        let (kept, lost) =
            std::mem::take(&mut event.topics).into_iter().partition(|name| self.make_topic(name));
        event.topics = kept;
        lost
    }

    /// An event of these topics is kept nowhere. Returns the patterns that match them.
    fn lose_for_patterns(&mut self, names: &[Box<str>], id: EventId) -> Vec<TopicRef> {
        let mut patterns: Vec<TopicRef> =
            names.iter().flat_map(|name| self.patterns.matching(name)).collect();
        patterns.sort_unstable_by_key(|pattern| pattern.index);
        patterns.dedup();
        patterns.iter().for_each(|pattern| self.patterns.get_mut(pattern.index).lose(id));
        patterns
    }

    /// Makes a topic for an event, if it does not exist and there is room. Returns whether it exists now.
    fn make_topic(&mut self, name: &str) -> bool {
        let exists = self.find_topic(name).is_some()
            || self.topics.len() < self.bounds.topics_max
            || self.make_topic_room(vec![name], TopicMaker::Publisher);
        if exists {
            let index = self.find_or_create(name);
            // Now, so that it counts when the next name of the same event is looked at.
            self.mark_published(index);
        }
        exists
    }
}
