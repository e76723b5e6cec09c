//! The thread that reads the stream and commits: events of this node and of others, in one order.
//!
//! ```text
//! XREAD ──► entry ──► of ours? ──no──► skipped, counted
//!                        │ yes
//!                        ▼
//!           does it follow the one before it? ──no──► the history is lost, every stream is told a gap
//!                        │ yes
//!                        ▼
//!           its flight, if it is our own ──► Hub::commit, again until there is room
//! ```
//!
//! Owns the reading connection and the position in the stream. It waits for room in mailboxes, because events
//! that Redis holds cannot be refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use log::warn;

use super::entry::{Entry, ReadEntry, StreamId, read_stream};
use super::flights::Flight;
use super::link::{CALL_TIME, Link, LinkFault};
use super::retry::RetryPauses;
use super::shared::{ServedNode, SharedState};
use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::fanout::hub::{CommitStop, NewEvent, OrderedEvent, OrderedPublish, PublishReceipt};

/// Time for which Redis waits for an entry before it answers that there is none.
const BLOCK_MS: u64 = 1_000;
/// Bytes of payload that one read should bring.
const READ_BYTES: usize = 2 << 20;
/// Entries of one read, at most.
const READ_ENTRIES_MAX: usize = 1_024;
/// Entries of one read, at least.
const READ_ENTRIES_MIN: usize = 8;
/// Time between two tries to commit while mailboxes are full.
const ROOM_INTERVAL: Duration = Duration::from_millis(1);
/// Skipped entries between two lines of the log.
const SKIPPED_PER_LINE: u64 = 1_000;

/// State of the thread.
pub(super) struct Reader {
    shared: Arc<SharedState>,
    served: ServedNode,
    link: Option<Link>,
    pauses: RetryPauses,
    place: ReadPlace,
    /// Entries to ask for.
    entries: usize,
    /// Publishes that wait for their commit.
    ready: VecDeque<OrderedPublish>,
    /// The greatest id that is committed, waits for it, or is lost.
    head: EventId,
}

/// A place in the stream.
#[derive(Clone, Debug)]
pub(super) struct ReadPlace {
    /// The last entry, whoever wrote it.
    pub(super) stream: StreamId,
    /// The last one of ours.
    pub(super) chain: EventId,
}

impl Reader {
    /// Makes the thread's state; it goes on after `place`.
    pub(super) fn new(shared: Arc<SharedState>, served: ServedNode, place: ReadPlace, seed: u64) -> Reader {
        let head = served.node.hub.lock().head();
        let (link, pauses, ready) = (None, RetryPauses::new(seed), VecDeque::new());
        Reader { shared, served, link, pauses, place, entries: READ_ENTRIES_MIN, ready, head }
    }

    /// Works until the process ends.
    pub(super) fn run(mut self) {
        loop {
            match self.read() {
                Ok(entries) => {
                    self.pauses.reset();
                    self.shared.reader.mark_up();
                    self.take_entries(entries);
                }
                Err(fault) => {
                    if !matches!(fault, LinkFault::Refused(_)) {
                        self.link = None;
                    }
                    self.shared.reader.mark_away(fault.to_string());
                    sleep(self.pauses.next_pause());
                }
            }
        }
    }

    fn read(&mut self) -> Result<Vec<ReadEntry>, LinkFault> {
        if self.link.is_none() {
            let mut link = self.shared.target.connect()?;
            link.allow(CALL_TIME + Duration::from_millis(BLOCK_MS))?;
            self.shared.reader.note_connect();
            self.link = Some(link);
        }
        let link = self.link.as_mut().expect("connected above");
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(self.entries).arg("BLOCK").arg(BLOCK_MS).arg("STREAMS");
        command.arg(self.shared.keys.stream()).arg(self.place.stream.0.as_slice());
        link.call(&command).map(read_stream)
    }

    fn take_entries(&mut self, entries: Vec<ReadEntry>) {
        if entries.is_empty() {
            return;
        }
        let bytes: usize = entries.iter().map(|entry| entry.bytes + 64).sum();
        self.entries = (READ_BYTES * entries.len() / bytes).clamp(READ_ENTRIES_MIN, READ_ENTRIES_MAX);
        for read in entries {
            self.place.stream = read.id;
            match read.entry.filter(|entry| entry.id.tag() == self.shared.start.tag()) {
                Some(entry) => self.take_entry(entry),
                None => self.count_skipped(),
            }
        }
        self.commit_ready();
        for repeat in self.shared.flights.note_read(self.head) {
            self.served.wake(self.served.node.hub.repeat(repeat.ticket, repeat.receipt));
        }
    }

    fn count_skipped(&self) {
        let before = self.shared.skipped.fetch_add(1, Relaxed);
        if before.is_multiple_of(SKIPPED_PER_LINE) {
            let entry = String::from_utf8_lossy(&self.place.stream.0);
            warn!(
                "event=backplane_entry_skipped entry={entry} skipped={} reason=\"no event of this version\"",
                before + 1
            );
        }
    }

    fn take_entry(&mut self, entry: Entry) {
        let follows = entry.previous == self.place.chain;
        self.place.chain = entry.id;
        let flight = (entry.node == self.shared.own).then(|| self.take_own(entry.number)).flatten();
        if let Some(state) = entry.state {
            let mut fleet = self.shared.fleet.lock().expect("a panic ends the process");
            fleet.hear(entry.node, state, entry.id, Instant::now());
        }
        let events = flight.as_ref().map_or(entry.events, |flight| flight.events.clone());
        let first = first_id(entry.id, events.len());
        if (!follows || first <= self.head) && !self.lose_history(entry.previous, first) {
            // Subscribers have been told of a loss, and this is a part of it.
            if let Some(flight) = flight {
                self.answer_lost(flight, entry.id);
            }
            return;
        }
        if let Some(publish) = order_events(entry.id, events, flight) {
            self.head = entry.id;
            self.ready.push_back(publish);
        }
    }

    /// Takes the flight of an entry of this node. Publishes that were cut off before it did not get through,
    /// as far as anybody can tell.
    fn take_own(&self, number: u64) -> Option<Flight> {
        self.shared.trips.note_read(number);
        for flight in self.shared.flights.take_cut_before(number) {
            self.served.wake(self.served.node.hub.refuse(flight.ticket, RefusalReason::OrderLate));
        }
        self.shared.flights.take(number)
    }

    /// Tells every stream of a gap: entries before this one cannot be read any more. Returns whether events
    /// from `first` on can be committed.
    fn lose_history(&mut self, previous: EventId, first: EventId) -> bool {
        self.commit_ready();
        let fits = |upto: &EventId| *upto > self.head && *upto < first;
        let upto = [previous, first.preceding()].into_iter().find(fits);
        let lost = upto.unwrap_or_else(|| self.head.next_after(0));
        warn!("event=backplane_loss after={} upto={lost}", self.head);
        self.shared.losses.fetch_add(1, Relaxed);
        loop {
            match self.served.node.hub.lose_history(lost, self.served.clock.now()) {
                Ok(mailed) => {
                    self.served.wake(mailed);
                    break;
                }
                Err(CommitStop::NoRoom) => sleep(ROOM_INTERVAL),
                Err(CommitStop::OutOfOrder) => break,
            }
        }
        self.head = self.head.max(lost);
        self.head < first
    }

    /// Commits all that waits, however long mailboxes are full.
    fn commit_ready(&mut self) {
        while !self.ready.is_empty() {
            let outcome = self.served.node.hub.commit(&mut self.ready, self.served.clock.now());
            self.served.wake(outcome.mailed);
            match outcome.stop {
                None => {}
                Some(CommitStop::NoRoom) => sleep(ROOM_INTERVAL),
                Some(CommitStop::OutOfOrder) => {
                    unreachable!("ids are compared with the greatest before they are queued")
                }
            }
        }
    }

    fn answer_lost(&self, flight: Flight, id: EventId) {
        let receipt = PublishReceipt { id, events: flight.events.len() as u64, subscribers: 0 };
        self.served.wake(self.served.node.hub.accept(flight.ticket, receipt));
    }
}

/// Returns the id of the first event of an entry.
pub(super) fn first_id(last: EventId, events: usize) -> EventId {
    (1..events).fold(last, |id, _| id.preceding())
}

/// Gives the events of an entry their ids; none when it has no event.
pub(super) fn order_events(
    last: EventId,
    events: Vec<NewEvent>,
    flight: Option<Flight>,
) -> Option<OrderedPublish> {
    let mut id = first_id(last, events.len());
    let events: Vec<OrderedEvent> = events
        .into_iter()
        .map(|event| {
            let ordered = OrderedEvent { id, event };
            id = id.next_after(0);
            ordered
        })
        .collect();
    let (ticket, key) = flight.map_or((None, None), |flight| (Some(flight.ticket), flight.key));
    (!events.is_empty()).then_some(OrderedPublish { events, ticket, key })
}
