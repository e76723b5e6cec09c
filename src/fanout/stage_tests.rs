//! The parts of a worker on a fake seam, for their unit tests: a node of one worker without a thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::conn::{ConnState, Stream};
use super::hash::SeededHash;
use super::http::read_connection;
use super::hub::{NewEvent, OrderRequest, Orderer};
use super::mail::{MailboxItem, MailboxReceiver};
use super::node::Node;
use super::output::write_own_output;
use super::roster::{Arrival, Roster};
use super::rounds::send_rounds;
use super::seam::{CloseMode, Io, ReadResult, SendOp, SendResult};
use super::topics::LocalTopics;
use super::turn_context::{CarriedState, TurnContext};
use crate::base::counters::{CloseReason, Count, RefusalReason};
use crate::base::id::{EventId, IdTag};
use crate::base::limits::SCRATCH_BYTES;
use crate::base::listener::ListenerKind;
use crate::base::settings::{ProxyProtocol, Settings};
use crate::base::snapshot::Pages;
use crate::base::survey::ConnectionTraffic;
use crate::base::time::Now;
use crate::wire::frame::Draft;

/// Sockets that take all they are offered but where a test says how much, and hold one read at most.
#[derive(Debug, Default)]
pub(super) struct FakeSockets {
    /// Bytes that were taken, by slot.
    pub(super) sent: BTreeMap<u32, Vec<u8>>,
    /// The result of the next send to a slot.
    pub(super) next: BTreeMap<u32, SendResult>,
    /// Bytes that wait to be read, by slot.
    pub(super) input: BTreeMap<u32, Vec<u8>>,
    /// Sockets that were closed, in order.
    pub(super) closed: Vec<(u32, CloseMode)>,
    /// Sockets whose writing half was closed.
    pub(super) shut: Vec<u32>,
    /// How often the address of a peer was asked for.
    pub(super) peers_asked: u32,
}

impl Io for FakeSockets {
    fn send_all(&mut self, sends: &mut [SendOp<'_>]) {
        for send in sends {
            let bytes: Vec<u8> = send.parts.iter().flat_map(|part| part.iter().copied()).collect();
            send.result = self.next.remove(&send.slot).unwrap_or(SendResult::Bytes(bytes.len()));
            if let SendResult::Bytes(taken) = send.result {
                self.sent.entry(send.slot).or_default().extend_from_slice(&bytes[..taken]);
            }
        }
    }
    fn mono_us(&mut self) -> u64 {
        0
    }
    fn read(&mut self, slot: u32, into: &mut [u8]) -> ReadResult {
        let Some(bytes) = self.input.remove(&slot) else { return ReadResult::Empty };
        into[..bytes.len()].copy_from_slice(&bytes);
        ReadResult::Bytes(bytes.len())
    }
    fn acknowledge(&mut self, _: u32) {}
    fn expect_body(&mut self, _: u32) {}
    fn shutdown_write(&mut self, slot: u32) {
        self.shut.push(slot);
    }
    fn peer_address(&mut self, _: u32) -> Option<SocketAddr> {
        self.peers_asked += 1;
        None
    }
    fn traffic(&mut self, _: u32) -> Option<ConnectionTraffic> {
        None
    }
    fn wake(&mut self, _: u64) {}
    fn close(&mut self, slot: u32, how: CloseMode) {
        self.closed.push((slot, how));
    }
}

/// An orderer that keeps what it is given until a test takes it.
#[derive(Debug, Default)]
pub(super) struct OrderShelf(Mutex<Vec<OrderRequest>>);

impl Orderer for OrderShelf {
    fn submit(&self, request: OrderRequest) -> Result<(), RefusalReason> {
        self.0.lock().expect("nobody panics").push(request);
        Ok(())
    }
}

impl OrderShelf {
    /// Takes the request that came first.
    pub(super) fn take(&self) -> OrderRequest {
        self.0.lock().expect("nobody panics").remove(0)
    }
}

/// The parts of one worker.
pub(super) struct Stage {
    pub(super) node: Arc<Node>,
    pub(super) roster: Roster,
    pub(super) topics: LocalTopics,
    pub(super) io: FakeSockets,
    pub(super) now_ms: u64,
    inbox: MailboxReceiver,
    carried: CarriedState,
}

impl Stage {
    /// A worker under these settings, without a connection.
    pub(super) fn new(settings: Settings) -> Stage {
        Stage::with_connections(settings, 10)
    }

    /// A worker with room for so many public connections.
    pub(super) fn with_connections(settings: Settings, connections_max: usize) -> Stage {
        let start = EventId::start_of_run(1, IdTag::from_random(7));
        let (node, mut inboxes) = Node::new(settings, 1, connections_max, Pages::default(), start, 7);
        Stage {
            node,
            roster: Roster::new(SeededHash::new(1)),
            topics: LocalTopics::new(SeededHash::new(2)),
            io: FakeSockets::default(),
            now_ms: 1_000,
            inbox: inboxes.remove(0),
            carried: CarriedState::new(3),
        }
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.now_ms, mono_us: self.now_ms * 1_000, wall_ms: self.now_ms }
    }

    /// Lends the parts to one step.
    pub(super) fn step<R>(
        &mut self,
        step: impl FnOnce(&mut Roster, &mut LocalTopics, &mut TurnContext<'_, FakeSockets>) -> R,
    ) -> R {
        let now = self.now();
        let Stage { node, roster, topics, io, inbox, carried, .. } = self;
        topics.note_time(now.mono_ms);
        step(roster, topics, &mut TurnContext { node, index: 0, inbox, now, io, carried })
    }

    /// Opens a connection on a listener.
    pub(super) fn open(&mut self, listener: ListenerKind) -> u32 {
        self.try_open(listener).expect("room for a few")
    }

    /// Opens a connection on a listener, if there is room.
    pub(super) fn try_open(&mut self, listener: ListenerKind) -> Option<u32> {
        let (tick, ticks) = (self.now().tick(), &self.node.ticks);
        let requires = self.node.settings.proxy_protocol == ProxyProtocol::Require;
        let in_lobby = requires && listener == ListenerKind::Public;
        let (head_wait, refusal_wait) = (ticks.head, ticks.refusal);
        let arrival = Arrival { listener, peer: None, over: None, in_lobby, tick, head_wait, refusal_wait };
        let token = self.roster.open(&self.node.connections, &arrival)?;
        self.node.counters(0).connections(1);
        Some(token.slot())
    }

    /// Has a connection send bytes, and reads them.
    pub(super) fn receive(&mut self, slot: u32, text: &str) {
        self.io.input.insert(slot, text.as_bytes().to_vec());
        let mut scratch = vec![0; SCRATCH_BYTES];
        self.step(|roster, topics, turn| read_connection(roster, topics, turn, &mut scratch, slot));
    }

    /// Opens a public connection that subscribes with this query, and sends it its greeting.
    pub(super) fn subscribe(&mut self, query: &str) -> u32 {
        let slot = self.open(ListenerKind::Public);
        self.receive(slot, &format!("GET /events?{query} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.write();
        slot
    }

    /// Sends a batch of own output. Returns whether a stream read the log.
    pub(super) fn write(&mut self) -> bool {
        self.step(write_own_output)
    }

    /// Publishes an event to one topic and takes it from the mailbox.
    pub(super) fn publish(&mut self, topic: &str, data: &str) {
        let event = NewEvent { topics: vec![topic.into()], draft: Draft::new(None, None, data, None) };
        self.publish_event(event);
    }

    /// The same with any event.
    pub(super) fn publish_event(&mut self, event: NewEvent) {
        self.node.hub.publish_at_once(vec![event], None, self.now()).expect("room for a few");
        while let Ok(MailboxItem::Frame(frame)) = self.inbox.frames.try_recv() {
            self.topics.deliver(&frame);
        }
    }

    /// Sends a batch of the rounds.
    pub(super) fn send_rounds(&mut self) {
        self.step(send_rounds);
    }

    /// The stream of a connection.
    pub(super) fn stream(&self, slot: u32) -> &Stream {
        match &self.roster.conn(slot).state {
            ConnState::Streaming(stream) => stream,
            other => panic!("no stream: {other:?}"),
        }
    }

    /// Takes the bytes that a connection was sent, as text.
    pub(super) fn take_sent(&mut self, slot: u32) -> String {
        String::from_utf8(self.io.sent.remove(&slot).unwrap_or_default()).expect("text")
    }

    /// Value of a counter.
    pub(super) fn count(&self, count: Count) -> u64 {
        self.node.counters(0).get(count)
    }

    /// Connections that were closed for a reason.
    pub(super) fn closed_for(&self, why: CloseReason) -> u64 {
        self.node.totals().closed[why as usize]
    }
}
