//! The start of a node in its fleet: tag, position and history come from Redis before anybody joins.
//!
//! ```text
//! JoinedFleet::join ──► start() for Node::new ──► fill() ──► workers start ──► run()
//! ```
//!
//! The connection of the start is closed before workers get file tables of their own. Those of the threads
//! are opened after that.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::entry::{ReadEntry, StreamId, read_entries};
use super::fleet::FleetNodes;
use super::flights::Flights;
use super::health::{LinkHealth, RoundTrips};
use super::keys::FleetKeys;
use super::link::{Link, LinkFault, LinkTarget};
use super::reader::{ReadPlace, Reader, first_id, order_events};
use super::retry::RetryPauses;
use super::script::{FleetState, ScriptArguments, ScriptForm, StoredScript, VERSION, read_fleet};
use super::shared::{ServedNode, SharedState};
use super::writer::{StreamBounds, Writer};
use super::{Backplane, BackplaneView};
use crate::base::backplane_address::BackplaneAddress;
use crate::base::id::{EventId, IdTag};
use crate::base::prng::Prng;
use crate::base::settings::Settings;
use crate::base::time::Now;
use crate::fanout::hub::{OrderRequest, OrderedEvent};
use crate::fanout::node::Node;
use crate::reactor::{Clock, Wakers};

/// Time for which a start waits for Redis.
const JOIN_TIME: Duration = Duration::from_secs(10);
/// Entries of one step of reading history.
const STEP_ENTRIES: usize = 256;

/// Things that a node brings with it.
pub(crate) struct JoinOptions {
    /// Place and login of Redis.
    pub(crate) address: BackplaneAddress,
    /// Certificates in PEM that TLS trusts.
    pub(crate) trusted: Option<Vec<u8>>,
    /// Name of the node for people.
    pub(crate) name: String,
    /// A random number.
    pub(crate) seed: u64,
}

/// A node's place in its fleet before its workers run.
pub(crate) struct JoinedFleet {
    shared: Arc<SharedState>,
    bounds: StreamBounds,
    history: Vec<OrderedEvent>,
    /// Id of the newest event, or the position of an empty fleet.
    head: EventId,
    place: ReadPlace,
    requests: Option<crossbeam_channel::Receiver<OrderRequest>>,
    prng: Prng,
}

/// History as the stream has it, newest first, and the position before it.
struct ReadHistory {
    entries: Vec<ReadEntry>,
    floor: EventId,
}

impl JoinedFleet {
    /// Joins the fleet, or founds it. Tries for a while when Redis is away.
    ///
    /// # Errors
    /// Words for a start that is of no use: Redis stays away, or its fleet is not one for this program.
    pub(crate) fn join(settings: &Settings, options: JoinOptions) -> Result<JoinedFleet, String> {
        let JoinOptions { address, trusted, name, seed } = options;
        let mut prng = Prng::new(seed);
        let target = LinkTarget::new(&address, trusted)?;
        let keys = FleetKeys::new(&settings.backplane.name);
        let age_ms = settings.classes.iter().map(|class| class.settings.history_ms);
        let bounds = StreamBounds {
            age_ms: age_ms.fold(settings.history_ms, u64::max),
            bytes: settings.history_bytes_max as u64,
            key_ms: settings.idempotency_ms,
        };
        let (begun, mut pauses) = (Instant::now(), RetryPauses::new(prng.next_u64()));
        let tag = EventId::start_of_run(0, IdTag::from_random(prng.next_u64())).tag_number();
        let (state, history) = loop {
            match target.connect().and_then(|mut link| read_start(&mut link, &keys, tag, bounds)) {
                Ok(read) => break read,
                Err(fault) if begun.elapsed() >= JOIN_TIME => return Err(fault.to_string()),
                Err(_) => sleep(pauses.next_pause()),
            }
        };
        if state.version != VERSION {
            let version = String::from_utf8_lossy(&state.version).into_owned();
            return Err(format!("its entries have version {version}, and this program has version 1"));
        }
        let last = state.last.as_event_id().filter(|last| last.tag().is_some());
        let Some(head) = last else { return Err("the hash of its fleet is broken".to_owned()) };
        let shared = SharedState {
            // Also a number for readers whose numbers have 53 bits.
            own: prng.next_u64() >> 11,
            address: address.to_string(),
            name,
            target,
            keys,
            start: history.floor,
            flights: Flights::new(head),
            writer: LinkHealth::new("writer"),
            reader: LinkHealth::new("reader"),
            trips: RoundTrips::new(),
            fleet: Mutex::new(FleetNodes::default()),
            skipped: AtomicU64::new(0),
            losses: AtomicU64::new(0),
        };
        let events = history.entries.into_iter().rev().filter_map(|read| {
            let entry = read.entry?;
            Some(order_events(entry.id, entry.events, None)?.events)
        });
        Ok(JoinedFleet {
            shared: Arc::new(shared),
            bounds,
            history: events.flatten().collect(),
            head,
            place: ReadPlace { stream: state.last, chain: head },
            requests: None,
            prng,
        })
    }

    /// Returns the position at which the node begins: before the oldest event of the history.
    pub(crate) fn start(&self) -> EventId {
        self.shared.start
    }

    /// Gives a node the history, and becomes its orderer. Before its workers run.
    pub(crate) fn fill(&mut self, node: &Node, now: Now) {
        node.hub.restore(std::mem::take(&mut self.history), now);
        node.hub.restore_head(self.head);
        let (requests, received) = crossbeam_channel::unbounded();
        node.hub.install_orderer(Arc::new(Backplane { shared: Arc::clone(&self.shared), requests }));
        self.requests = Some(received);
    }

    /// Starts the threads, when the workers run.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn run(
        mut self,
        node: Arc<Node>,
        clock: Clock,
        wakers: Wakers,
    ) -> std::io::Result<BackplaneView> {
        let served = ServedNode { node, clock, wakers };
        let requests = self.requests.expect("filled before");
        let shared = || Arc::clone(&self.shared);
        let writer = Writer::new(shared(), served.clone(), requests, self.bounds, self.prng.next_u64());
        let reader = Reader::new(shared(), served, self.place, self.prng.next_u64());
        thread::Builder::new().name("backplane-write".to_owned()).spawn(move || writer.run())?;
        thread::Builder::new().name("backplane-read".to_owned()).spawn(move || reader.run())?;
        Ok(BackplaneView(self.shared))
    }
}

fn read_start(
    link: &mut Link,
    keys: &FleetKeys,
    tag: u64,
    bounds: StreamBounds,
) -> Result<(FleetState, ReadHistory), LinkFault> {
    let command = StoredScript::join().command(&ScriptArguments::join(keys, tag), ScriptForm::WithText);
    let unknown = || LinkFault::Refused("an answer that this program does not know".to_owned());
    let state = read_fleet(link.call(&command)?).ok_or_else(unknown)?;
    let history = read_history(link, keys, &state, bounds)?;
    Ok((state, history))
}

/// Reads the newest events that follow each other without a hole, within the bounds of history.
fn read_history(
    link: &mut Link,
    keys: &FleetKeys,
    state: &FleetState,
    bounds: StreamBounds,
) -> Result<ReadHistory, LinkFault> {
    let last = state.last.as_event_id().unwrap_or(EventId::ZERO);
    let mut history = ReadHistory { entries: Vec::new(), floor: last };
    let oldest_ms = last.ms().saturating_sub(bounds.age_ms);
    let (mut end, mut bytes) = (StreamId(b"+".to_vec()), 0);
    loop {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(keys.stream()).arg(end.0.as_slice()).arg("-").arg("COUNT").arg(STEP_ENTRIES);
        let step = read_entries(link.call(&command)?);
        let Some(next) = step.last().map(|read| read.id.clone()) else { return Ok(history) };
        for read in step {
            let Some(entry) = &read.entry else { continue };
            // Written after the fleet's position was read: the reader comes to it.
            if entry.id > last {
                continue;
            }
            let places = entry.events.len();
            if entry.id != history.floor || first_id(entry.id, places) <= entry.previous {
                return Ok(history);
            }
            bytes += read.bytes as u64;
            if bytes > bounds.bytes || entry.id.ms() < oldest_ms || entry.previous.tag() != last.tag() {
                return Ok(history);
            }
            history.floor = entry.previous;
            history.entries.push(read);
        }
        // The next step goes on before the last one.
        end = StreamId([b"(", next.0.as_slice()].concat());
    }
}
