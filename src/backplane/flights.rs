//! Publishes of this node that Redis has, or may have, and that this node has not read back.
//!
//! | a flight | ends when |
//! | --- | --- |
//! | sent | the reader comes to its entry: committed with its ticket |
//! | sent | Redis refuses it: so is its publisher |
//! | answered, and the reader is late | its publisher is told that Redis holds it |
//! | cut off: sent, and nobody knows | the reader comes to its entry, or to a later one of this node |
//!
//! Owns the table, and repeats that wait for the event which they repeat. Talks to nobody.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::base::id::EventId;
use crate::base::limits::ORDER_MS;
use crate::fanout::hub::{NewEvent, OrderKey, PublishReceipt, Ticket};

/// Time that a publisher whose event Redis holds waits for this node to read it.
const READ_TIME: Duration = Duration::from_millis(250);
/// Time after which nobody waits for a flight.
const FLIGHT_TIME: Duration = Duration::from_millis(ORDER_MS + 1_000);

/// A publish on its way.
#[derive(Debug)]
pub(super) struct Flight {
    /// The claim of its publisher.
    pub(super) ticket: Ticket,
    /// Its events.
    pub(super) events: Vec<NewEvent>,
    /// Its idempotency key, if it has one.
    pub(super) key: Option<OrderKey>,
    begun: Instant,
    answered: Option<AnsweredFlight>,
    /// Its call was cut off.
    cut: bool,
}

#[derive(Clone, Copy, Debug)]
struct AnsweredFlight {
    id: EventId,
    at: Instant,
}

/// A publish that Redis holds, whose reader is late.
#[derive(Debug)]
pub(super) struct HeldFlight {
    /// The publish.
    pub(super) flight: Flight,
    /// Id of its last event.
    pub(super) id: EventId,
}

/// A repeat that waits for the event which it repeats.
#[derive(Debug)]
pub(super) struct WaitingRepeat {
    /// The claim of its publisher.
    pub(super) ticket: Ticket,
    /// The answer.
    pub(super) receipt: PublishReceipt,
    since: Instant,
}

#[derive(Debug)]
struct FlightTable {
    flights: HashMap<u64, Flight>,
    repeats: Vec<WaitingRepeat>,
    read_to: EventId,
}

/// All flights of the node.
#[derive(Debug)]
pub(super) struct Flights(Mutex<FlightTable>);

impl Flights {
    /// Makes an empty table of a node that has read up to an id.
    pub(super) fn new(read_to: EventId) -> Flights {
        Flights(Mutex::new(FlightTable { flights: HashMap::new(), repeats: Vec::new(), read_to }))
    }

    /// Adds a publish before it is sent.
    pub(super) fn begin(&self, number: u64, ticket: Ticket, events: Vec<NewEvent>, key: Option<OrderKey>) {
        let flight = Flight { ticket, events, key, begun: Instant::now(), answered: None, cut: false };
        self.lock().flights.insert(number, flight);
    }

    /// Takes a publish out of the table.
    pub(super) fn take(&self, number: u64) -> Option<Flight> {
        self.lock().flights.remove(&number)
    }

    /// Notes that Redis holds a publish, if it was not read before.
    pub(super) fn note_answer(&self, number: u64, id: EventId) {
        if let Some(flight) = self.lock().flights.get_mut(&number) {
            flight.answered = Some(AnsweredFlight { id, at: Instant::now() });
        }
    }

    /// Has a repeat wait for its event. Returns it if the event was read already.
    pub(super) fn hold_repeat(&self, ticket: Ticket, receipt: PublishReceipt) -> Option<WaitingRepeat> {
        let repeat = WaitingRepeat { ticket, receipt, since: Instant::now() };
        let mut table = self.lock();
        if receipt.id <= table.read_to {
            return Some(repeat);
        }
        table.repeats.push(repeat);
        None
    }

    /// Notes that everything up to an id was read. Returns repeats that need wait no longer.
    pub(super) fn note_read(&self, read_to: EventId) -> Vec<WaitingRepeat> {
        let mut table = self.lock();
        table.read_to = read_to;
        table.repeats.extract_if(.., |repeat| repeat.receipt.id <= read_to).collect()
    }

    /// Takes repeats that have waited for long.
    pub(super) fn take_late_repeats(&self) -> Vec<WaitingRepeat> {
        self.lock().repeats.extract_if(.., |repeat| repeat.since.elapsed() > READ_TIME).collect()
    }

    /// Takes publishes that Redis holds and that this node has not read in time, and forgets those that
    /// nobody waits for any more.
    pub(super) fn take_held(&self) -> Vec<HeldFlight> {
        let mut table = self.lock();
        table.flights.retain(|_, flight| flight.answered.is_some() || flight.begun.elapsed() < FLIGHT_TIME);
        let late = |flight: &Flight| flight.answered.filter(|answered| answered.at.elapsed() > READ_TIME);
        let numbers: Vec<u64> = table
            .flights
            .iter()
            .filter(|(_, flight)| late(flight).is_some())
            .map(|(&number, _)| number)
            .collect();
        let held = numbers.into_iter().filter_map(|number| {
            let flight = table.flights.remove(&number)?;
            let id = flight.answered?.id;
            Some(HeldFlight { flight, id })
        });
        held.collect()
    }

    /// Notes that the connection is gone, and with it the answers to all that have none.
    pub(super) fn mark_cut(&self) {
        let mut table = self.lock();
        let unanswered = table.flights.values_mut().filter(|flight| flight.answered.is_none());
        unanswered.for_each(|flight| flight.cut = true);
    }

    /// Takes publishes that were cut off and that an entry of this node has overtaken: they did not get
    /// into the stream, or were lost with it.
    pub(super) fn take_cut_before(&self, number: u64) -> Vec<Flight> {
        let mut table = self.lock();
        let overtaken = |at: &u64, flight: &mut Flight| flight.cut && *at < number;
        table.flights.extract_if(overtaken).map(|(_, flight)| flight).collect()
    }

    /// Publishes under way.
    pub(super) fn len(&self) -> usize {
        self.lock().flights.len()
    }

    fn lock(&self) -> MutexGuard<'_, FlightTable> {
        self.0.lock().expect("a panic ends the process")
    }
}
