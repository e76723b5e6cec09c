//! The connections of a worker: their slots and generations, timers, queues of reads and writes, and budgets.
//!
//! Knows no hub, no topic, and no byte of a request. A connection is opened and released here; its socket,
//! its topics and its answers are left to others.
//!
//! A token names a slot's owner. It is stale once the slot has another one, so queues may hold stale tokens:
//! they are passed over when their turn comes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use slab::Slab;

use super::client_addresses::ClientAddresses;
use super::conn::{Conn, ConnLimit, ConnState, Stream};
use super::connection_budget::ConnectionBudget;
use super::exchange::HttpExchange;
use super::hash::SeededHash;
use super::lanes::{LaneQueues, ReadLane, WriteLane};
use super::token::ConnToken;
use super::user_agents::{NO_USER_AGENT, UserAgents};
use super::wheel::TimerWheel;
use crate::base::limits::{LOBBY_CONNECTIONS_MAX, REFUSALS_AT_ONCE_MAX};
use crate::base::listener::ListenerKind;
use crate::base::peers::ClientAddress;
use crate::base::time::Tick;
use crate::wire::auth::access::CredentialOwner;

/// An accepted connection that asks for a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Listener that accepted it.
    pub(crate) listener: ListenerKind,
    /// Address that counts as its client's, if it is known.
    pub(crate) peer: Option<IpAddr>,
    /// A limit that its address is over already.
    pub(crate) over: Option<ConnLimit>,
    /// A proxy has still to name its client.
    pub(crate) in_lobby: bool,
    /// Tick in which it comes.
    pub(crate) tick: Tick,
    /// Ticks for its first request.
    pub(crate) head_wait: Tick,
    /// Ticks for its first request if it is only here to be refused.
    pub(crate) refusal_wait: Tick,
}

/// The credential that has let a stream in.
#[derive(Debug)]
pub(crate) struct StreamAccess {
    /// Its owner.
    pub(crate) owner: Box<CredentialOwner>,
    /// Tick in which it ends; the last one where it does not.
    pub(crate) ends: Tick,
}

/// All connections of one worker.
#[derive(Debug)]
pub(crate) struct Roster {
    conns: Slab<Conn>,
    wheel: TimerWheel,
    /// Connections with bytes of their own to send, or frames to read from the log.
    /// Replays that have much to read are in the second lane.
    write_queue: LaneQueues<WriteLane>,
    /// Connections whose socket may have bytes. The operator's are in the first lane: a publisher does not
    /// stand behind a crowd of newcomers, nor they behind many publishers.
    read_queue: LaneQueues<ReadLane>,
    generation: u32,
    /// Client addresses by slot; only when there is a cap for each.
    addresses: Vec<Option<IpAddr>>,
    /// Connections that are only here to be refused.
    refusals: usize,
    /// Connections of the operator's listeners.
    control_connections: usize,
    /// Connections whose proxy has still to name the client.
    lobby: usize,
    clients: ClientAddresses,
    agents: UserAgents,
    /// Credentials of streams, by slot; only of those that have one.
    accesses: BTreeMap<u32, StreamAccess>,
}

impl Roster {
    /// Begins without a connection. `hash` is for user agents, which clients choose.
    pub(crate) fn new(hash: SeededHash) -> Roster {
        Roster {
            conns: Slab::new(),
            wheel: TimerWheel::new(0),
            write_queue: LaneQueues::default(),
            read_queue: LaneQueues::default(),
            generation: 0,
            addresses: Vec::new(),
            refusals: 0,
            control_connections: 0,
            lobby: 0,
            clients: ClientAddresses::default(),
            agents: UserAgents::new(hash),
            accesses: BTreeMap::new(),
        }
    }

    /// Gives an arrival its slot, a deadline and a place in the read queue. One that is over a limit is here
    /// only to be refused. `None`: there is not even room for that. The operator's own are not limited.
    pub(crate) fn open(&mut self, budget: &ConnectionBudget, arrival: &Arrival) -> Option<ConnToken> {
        let Arrival { listener, peer, over, in_lobby, tick, head_wait, refusal_wait } = *arrival;
        if in_lobby && self.lobby >= LOBBY_CONNECTIONS_MAX {
            return None;
        }
        let taken = match listener {
            ListenerKind::Control | ListenerKind::Metrics => Ok(None),
            ListenerKind::Public => over.map_or_else(|| budget.try_take(peer), Err),
        };
        let (over, counted) = match taken {
            Ok(counted) => (None, counted),
            Err(_) if self.refusals >= REFUSALS_AT_ONCE_MAX => return None,
            Err(limit) => (Some(limit), None),
        };
        self.refusals += usize::from(over.is_some());
        self.control_connections += usize::from(listener.is_operators());
        self.generation = self.generation.wrapping_add(1);
        let mut conn = Conn::new(self.generation, tick, listener, over);
        if in_lobby {
            conn.enter_lobby();
            self.lobby += 1;
        }
        let slot = self.conns.insert(conn) as u32;
        let wait = if over.is_none() { head_wait } else { refusal_wait };
        self.wheel.arm(slot, tick.saturating_add(wait));
        self.remember_address(slot, counted);
        self.queue_read(slot);
        Some(ConnToken::new(slot, self.generation))
    }

    /// Takes a connection out of the lobby, with the client that its proxy has named and the address that
    /// counts, or the limit that this is over. One over a limit of its address is here only to be refused,
    /// until `refusal_due`. Returns false if there is not even room for that.
    pub(crate) fn leave_lobby(
        &mut self,
        budget: &ConnectionBudget,
        slot: u32,
        client: Option<ClientAddress>,
        counted: Result<Option<IpAddr>, ConnLimit>,
        refusal_due: Tick,
    ) -> bool {
        self.lobby -= 1;
        let conn = &mut self.conns[slot as usize];
        conn.leave_lobby();
        if let Some(client) = client {
            self.clients.note_header(slot, client);
        }
        if conn.over_limit().is_some() {
            return true;
        }
        match counted.and_then(|counted| budget.try_count(counted)) {
            Ok(counted) => self.remember_address(slot, counted),
            Err(_) if self.refusals >= REFUSALS_AT_ONCE_MAX => return false,
            Err(limit) => {
                budget.release(None);
                conn.mark_over(limit);
                self.refusals += 1;
                self.wheel.arm(slot, refusal_due);
            }
        }
        true
    }

    /// Number of connections in the lobby.
    pub(crate) fn lobby_connections(&self) -> usize {
        self.lobby
    }

    /// Notes the client that a request names, if it does.
    pub(crate) fn note_request_client(&mut self, slot: u32, client: Option<ClientAddress>) {
        self.clients.note_request(slot, client);
    }

    /// Counts the address of the client that a request has named, for the stream that it becomes. Returns
    /// false if the address is at its cap.
    pub(crate) fn count_request_client(&mut self, budget: &ConnectionBudget, slot: u32) -> bool {
        let client = self.clients.by_request(slot).map(|client| client.ip);
        budget.try_count(client).is_ok_and(|counted| {
            self.remember_address(slot, counted);
            true
        })
    }

    /// Gives back the address of a request that has not become a stream.
    pub(crate) fn uncount_request_client(&mut self, budget: &ConnectionBudget, slot: u32) {
        if self.clients.by_request(slot).is_some()
            && let Some(counted) = self.addresses.get_mut(slot as usize).and_then(Option::take)
        {
            budget.release_address(counted);
        }
    }

    /// The client that a PROXY header has named.
    pub(crate) fn header_client(&self, slot: u32) -> Option<ClientAddress> {
        self.clients.by_header(slot)
    }

    /// The client that the last request has named.
    pub(crate) fn request_client(&self, slot: u32) -> Option<ClientAddress> {
        self.clients.by_request(slot)
    }

    /// The client that a proxy has named, if one has.
    pub(crate) fn named_client(&self, slot: u32) -> Option<ClientAddress> {
        self.clients.named(slot)
    }

    fn remember_address(&mut self, slot: u32, counted: Option<IpAddr>) {
        if counted.is_none() {
            return;
        }
        if self.addresses.len() <= slot as usize {
            self.addresses.resize(slot as usize + 1, None);
        }
        self.addresses[slot as usize] = counted;
    }

    /// Takes a connection out and gives back what it has of the budgets. Returns what is left of it.
    pub(crate) fn release(&mut self, budget: &ConnectionBudget, slot: u32) -> Conn {
        self.wheel.disarm(slot);
        let conn = self.conns.remove(slot as usize);
        self.agents.release(conn.agent);
        self.set_access(slot, None);
        self.clients.forget(slot);
        self.lobby -= usize::from(conn.is_in_lobby());
        self.control_connections -= usize::from(conn.listener.is_operators());
        let counted = self.addresses.get_mut(slot as usize).and_then(Option::take);
        if conn.over_limit().is_some() {
            self.refusals -= 1;
        } else if conn.listener == ListenerKind::Public {
            budget.release(counted);
        }
        conn
    }

    /// Notes the credential of a stream, if it has one.
    pub(crate) fn set_access(&mut self, slot: u32, access: Option<StreamAccess>) {
        match access {
            Some(access) => drop(self.accesses.insert(slot, access)),
            None if self.accesses.is_empty() => {}
            None => drop(self.accesses.remove(&slot)),
        }
    }

    /// The credential of a stream, if it has one.
    pub(crate) fn access(&self, slot: u32) -> Option<&StreamAccess> {
        self.accesses.get(&slot)
    }

    /// Ends the credential of a stream.
    pub(crate) fn end_access(&mut self, slot: u32, tick: Tick) {
        if let Some(access) = self.accesses.get_mut(&slot) {
            access.ends = access.ends.min(tick);
        }
    }

    /// The tick in which the credential of a stream ends; the last one where it does not.
    pub(crate) fn access_end(&self, slot: u32) -> Tick {
        self.accesses.get(&slot).map_or(Tick::MAX, |access| access.ends)
    }

    /// Number of connections.
    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    /// Number of slots, used or not: a walk over all connections looks at so many.
    pub(crate) fn slots(&self) -> usize {
        self.conns.capacity()
    }

    /// Number of connections of the operator's listeners.
    pub(crate) fn control_connections(&self) -> usize {
        self.control_connections
    }

    /// All connections with their slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Conn)> {
        self.conns.iter().map(|(slot, conn)| (slot as u32, conn))
    }

    /// Slots of all connections.
    pub(crate) fn used_slots(&self) -> Vec<u32> {
        self.iter().map(|(slot, _)| slot).collect()
    }

    /// The owner of a slot, if it has one.
    pub(crate) fn find(&self, slot: u32) -> Option<&Conn> {
        self.conns.get(slot as usize)
    }

    /// The owner of a slot that has one.
    pub(crate) fn conn(&self, slot: u32) -> &Conn {
        &self.conns[slot as usize]
    }

    /// The owner of a slot that has one, to be changed.
    pub(crate) fn conn_mut(&mut self, slot: u32) -> &mut Conn {
        &mut self.conns[slot as usize]
    }

    /// The stream of a connection that is one, to be changed.
    pub(crate) fn stream_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        match &mut self.conns.get_mut(slot as usize)?.state {
            ConnState::Streaming(stream) => Some(stream),
            ConnState::Idle | ConnState::Requesting(_) => None,
        }
    }

    /// The exchange of a connection that is no stream, begun if need be.
    pub(crate) fn exchange_mut(&mut self, slot: u32) -> &mut HttpExchange {
        self.conn_mut(slot).exchange_mut()
    }

    /// Whether the token's connection is still the slot's owner.
    pub(crate) fn owns(&self, token: ConnToken) -> bool {
        let conn = self.conns.get(token.slot() as usize);
        conn.is_some_and(|conn| conn.generation == token.generation())
    }

    /// Token of the present owner of a slot.
    pub(crate) fn token(&self, slot: u32) -> ConnToken {
        ConnToken::new(slot, self.conn(slot).generation)
    }

    /// Queues a connection to be read.
    pub(crate) fn queue_read(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.enter_read_queue() {
            let lane = match conn.listener {
                ListenerKind::Control | ListenerKind::Metrics => ReadLane::Control,
                ListenerKind::Public => ReadLane::Public,
            };
            self.read_queue.push(lane, ConnToken::new(slot, conn.generation));
        }
    }

    /// Queues a connection whose request asks for much behind those that ask for little.
    pub(crate) fn queue_costly_read(&mut self, slot: u32) {
        let conn = &mut self.conns[slot as usize];
        if conn.enter_read_queue() {
            self.read_queue.push(ReadLane::Costly, ConnToken::new(slot, conn.generation));
        }
    }

    /// Queues another read after one of `bytes` of at most `most`, if more may wait and no readiness will
    /// tell.
    pub(crate) fn queue_read_again(&mut self, slot: u32, bytes: usize, most: usize) {
        let ended = self.conns.get(slot as usize).is_some_and(Conn::has_ended);
        if ended || (bytes == most && self.conns.contains(slot as usize)) {
            self.queue_read(slot);
        }
    }

    /// Takes the next connection to be read, from the first of `lanes` that has any.
    pub(crate) fn next_read(&mut self, lanes: &[ReadLane]) -> Option<u32> {
        loop {
            let (token, _) = self.read_queue.pop(lanes)?;
            if self.owns(token) {
                self.conn_mut(token.slot()).leave_read_queue();
                return Some(token.slot());
            }
        }
    }

    /// Whether connections are still to be read.
    pub(crate) fn has_reads(&self) -> bool {
        !self.read_queue.is_empty()
    }

    /// Queues a connection with short output.
    pub(crate) fn queue_write(&mut self, slot: u32) {
        self.queue_output(slot, WriteLane::Short);
    }

    /// Queues a connection in a lane of the write queue, unless its socket is known to be full.
    pub(crate) fn queue_output(&mut self, slot: u32, lane: WriteLane) {
        let conn = &mut self.conns[slot as usize];
        if conn.enter_write_queue() {
            self.write_queue.push(lane, ConnToken::new(slot, conn.generation));
        }
    }

    /// Takes the next connection to be written to, from the first of `lanes` that has any, with its lane.
    /// Those whose socket has become full leave the queue and are passed over.
    pub(crate) fn next_write(&mut self, lanes: &[WriteLane]) -> Option<(u32, WriteLane)> {
        loop {
            let (token, lane) = self.write_queue.pop(lanes)?;
            if self.owns(token) {
                let conn = self.conn_mut(token.slot());
                conn.leave_write_queue();
                if !conn.is_full() {
                    return Some((token.slot(), lane));
                }
            }
        }
    }

    /// Number of tokens that wait to be written to.
    pub(crate) fn queued_writes(&self) -> usize {
        self.write_queue.len()
    }

    /// Moves the deadline of a connection.
    pub(crate) fn arm(&mut self, slot: u32, due: Tick) {
        self.wheel.arm(slot, due);
    }

    /// The deadlines of all connections.
    pub(crate) fn wheel(&self) -> &TimerWheel {
        &self.wheel
    }

    /// Appends to `due` the slots whose deadline has passed, at most `most`. Returns whether more are left.
    pub(crate) fn expire(&mut self, tick: Tick, most: usize, due: &mut Vec<u32>) -> bool {
        self.wheel.expire(tick, most, due)
    }

    /// Remembers the user agent of a connection's first request.
    pub(crate) fn record_user_agent(&mut self, slot: u32, user_agent: Option<&[u8]>) {
        let conn = &mut self.conns[slot as usize];
        if conn.agent == NO_USER_AGENT
            && let Some(text) = user_agent
        {
            conn.agent = self.agents.acquire(text);
        }
    }

    /// The user agent of a connection's first request.
    pub(crate) fn user_agent(&self, conn: &Conn) -> Option<&str> {
        self.agents.text(conn.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_WAIT: Tick = 100;
    const REFUSAL_WAIT: Tick = 10;

    /// A roster whose node has room for `total` connections, at most `per_address` of one address.
    fn roster(total: usize, per_address: usize) -> (Roster, ConnectionBudget) {
        let budget = ConnectionBudget::new(total, per_address, SeededHash::new(1));
        (Roster::new(SeededHash::new(2)), budget)
    }

    fn arrival(listener: ListenerKind, host: u8) -> Arrival {
        let peer = Some(IpAddr::from([10, 0, 0, host]));
        Arrival {
            listener,
            peer,
            over: None,
            in_lobby: false,
            tick: 0,
            head_wait: HEAD_WAIT,
            refusal_wait: REFUSAL_WAIT,
        }
    }

    const PUBLIC: ListenerKind = ListenerKind::Public;
    const CONTROL: ListenerKind = ListenerKind::Control;

    #[test]
    fn a_stale_token_reaches_neither_the_new_owner_nor_its_queues() {
        let (mut roster, budget) = roster(10, 0);
        let old = roster.open(&budget, &arrival(PUBLIC, 1)).expect("room");
        roster.queue_write(old.slot());
        roster.release(&budget, old.slot());
        let new = roster.open(&budget, &arrival(CONTROL, 1)).expect("room");
        assert_eq!((new.slot(), roster.owns(old), roster.owns(new)), (old.slot(), false, true));
        assert_eq!(roster.token(new.slot()), new);
        assert_eq!(roster.next_write(&[WriteLane::Short]), None, "the old owner's output is gone");
        let lanes = [ReadLane::Public, ReadLane::Control];
        assert_eq!(roster.next_read(&lanes), Some(new.slot()), "a newcomer is read without a readiness");
        assert_eq!((roster.next_read(&lanes), roster.has_reads()), (None, false));
    }

    #[test]
    fn a_connection_stands_in_a_queue_once_and_a_full_one_not_at_all() {
        let (mut roster, budget) = roster(10, 0);
        let slots = [1, 2].map(|host| roster.open(&budget, &arrival(PUBLIC, host)).expect("room").slot());
        for slot in [slots[0], slots[1], slots[0]] {
            roster.queue_read(slot);
            roster.queue_output(slot, WriteLane::Long);
        }
        roster.queue_write(slots[1]);
        assert_eq!(roster.queued_writes(), 2);
        roster.conn_mut(slots[0]).mark_full();
        let lanes = [WriteLane::Short, WriteLane::Long];
        assert_eq!(
            roster.next_write(&lanes),
            Some((slots[1], WriteLane::Long)),
            "the full one is passed over"
        );
        roster.queue_write(slots[0]);
        assert_eq!(roster.next_write(&lanes), None, "nothing is queued for a full socket");
        let lanes = [ReadLane::Public];
        let reads = [(); 3].map(|()| roster.next_read(&lanes));
        assert_eq!(reads, [Some(slots[0]), Some(slots[1]), None]);
    }

    #[test]
    fn a_whole_read_and_a_peer_that_ended_are_read_again() {
        let (mut roster, budget) = roster(10, 0);
        let slot = roster.open(&budget, &arrival(PUBLIC, 1)).expect("room").slot();
        let lanes = [ReadLane::Public];
        for (bytes, ended, again) in [(7, false, false), (8, false, true), (7, true, true)] {
            while roster.next_read(&lanes).is_some() {}
            if ended {
                roster.conn_mut(slot).mark_ended();
            }
            roster.queue_read_again(slot, bytes, 8);
            assert_eq!(roster.has_reads(), again, "{bytes} {ended}");
        }
        roster.release(&budget, slot);
        roster.queue_read_again(slot, 8, 8);
        assert_eq!(roster.next_read(&lanes), None, "nobody is there");
    }

    #[test]
    fn budgets_are_taken_by_the_public_alone_and_given_back() {
        let (mut roster, budget) = roster(3, 2);
        let opened = [1, 1, 1, 2, 2].map(|host| roster.open(&budget, &arrival(PUBLIC, host)).expect("room"));
        let over = opened.map(|token| roster.conn(token.slot()).over_limit());
        assert_eq!(over, [None, None, Some(ConnLimit::Address), None, Some(ConnLimit::Node)]);
        let control = roster.open(&budget, &arrival(CONTROL, 1)).expect("unlimited");
        assert_eq!((roster.len(), roster.control_connections(), budget.taken()), (6, 1, 3));
        roster.release(&budget, opened[2].slot());
        assert_eq!(budget.taken(), 3, "one that is here to be refused has taken nothing");
        for token in [opened[0], control] {
            roster.release(&budget, token.slot());
        }
        assert_eq!((roster.control_connections(), budget.taken()), (0, 2));
        let next = roster.open(&budget, &arrival(PUBLIC, 1)).expect("room");
        assert_eq!(roster.conn(next.slot()).over_limit(), None, "its address has room again");
    }

    #[test]
    fn so_many_are_taken_in_to_be_refused_and_no_more() {
        let (mut roster, budget) = roster(0, 0);
        let mut refused = Vec::new();
        while let Some(token) = roster.open(&budget, &arrival(PUBLIC, 1)) {
            refused.push(token);
        }
        assert_eq!(refused.len(), REFUSALS_AT_ONCE_MAX);
        roster.release(&budget, refused[0].slot());
        assert!(roster.open(&budget, &arrival(PUBLIC, 1)).is_some());
    }

    #[test]
    fn a_timer_goes_with_its_connection_and_a_refused_one_has_less_time() {
        let (mut roster, budget) = roster(2, 0);
        let slots = [1, 2, 3].map(|host| roster.open(&budget, &arrival(PUBLIC, host)).expect("room").slot());
        let mut due = Vec::new();
        assert!(!roster.expire(REFUSAL_WAIT, 10, &mut due));
        assert_eq!(due, [slots[2]], "over the limit");
        roster.release(&budget, slots[0]);
        roster.arm(slots[1], HEAD_WAIT * 2);
        due.clear();
        roster.expire(HEAD_WAIT, 10, &mut due);
        assert!(due.is_empty(), "one is gone, the other was given more time: {due:?}");
        roster.expire(HEAD_WAIT * 2, 10, &mut due);
        assert_eq!(due, [slots[1]]);
    }
}
