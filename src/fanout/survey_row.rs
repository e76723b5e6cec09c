//! One connection as a survey sees it: its row on a page, its key in an order, and names by which it is
//! found.

use std::net::IpAddr;

use super::conn::{ConnState, Stream};
use super::hub::HubState;
use super::log_read::reads_all_state;
use super::roster::Roster;
use super::seam::Io;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::survey::{
    ConnectionId, ConnectionRow, ConnectionSort, ConnectionState, SearchText, SentEvents,
};
use crate::base::time::{Now, Tick};

/// Topics named in one row of `/connections`; the rest are only counted.
const ROW_TOPICS_MAX: usize = 8;

/// Whether a connection's user agent, one of its topics or its address holds a text.
pub(super) fn names_hold(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    search: &SearchText,
) -> bool {
    let conn = roster.conn(slot);
    if roster.user_agent(conn).is_some_and(|agent| search.is_in(agent)) {
        return true;
    }
    if let ConnState::Streaming(stream) = &conn.state {
        let hub = turn.node.hub.lock();
        let name = |topic: u32| hub.name(topics.get(topic).hub);
        if stream.places().iter().any(|place| search.is_in(name(place.topic))) {
            return true;
        }
    }
    turn.client_address(roster, slot).is_some_and(|client| search.is_in(&client.to_string()))
}

/// Returns the key of a connection in an order; the larger comes first. Keys are moments, not ages:
/// workers look at different times, and pages must fit together.
pub(super) fn sort_key(
    roster: &Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    sort: ConnectionSort,
) -> u128 {
    let conn = roster.conn(slot);
    match (sort, &conn.state) {
        (ConnectionSort::Age, _) => u128::from(Tick::MAX - conn.opened),
        (ConnectionSort::Bytes, _) => {
            u128::from(turn.io.traffic(slot).map_or(0, |traffic| traffic.bytes_sent))
        }
        (ConnectionSort::Address, _) => {
            turn.client_address(roster, slot).map_or(0, |client| !address_bits(client.ip))
        }
        (ConnectionSort::Slow, ConnState::Streaming(stream)) if conn.is_full() => {
            u128::from(Tick::MAX - stream.last_write) + 1
        }
        (ConnectionSort::Slow | ConnectionSort::Lag, _) => 0,
    }
}

/// Describes a connection.
pub(super) fn connection_row(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    id: ConnectionId,
) -> ConnectionRow {
    let conn = roster.conn(id.slot);
    let mut row = ConnectionRow {
        id,
        address: turn.client_address(roster, id.slot),
        user_agent: roster.user_agent(conn).map(Box::from),
        topics: Vec::new(),
        topics_more: 0,
        age_ms: turn.ms_since(conn.opened),
        lag_ms: 0,
        lag_events: 0,
        state: ConnectionState::Talking,
        events: SentEvents::All,
        stalled_ms: None,
        listener: conn.listener,
        traffic: turn.io.traffic(id.slot),
    };
    if let ConnState::Streaming(stream) = &conn.state {
        let hub = turn.node.hub.lock();
        (row.topics, row.topics_more) = named_topics(stream, topics, &hub);
        row.state = match () {
            () if conn.is_full() => ConnectionState::Full,
            () if stream.is_live() => ConnectionState::Live,
            () => ConnectionState::Behind,
        };
        if reads_all_state(stream, topics, &hub)
            || stream.places().iter().all(|place| hub.is_throttled(topics.get(place.topic).hub))
        {
            row.events = SentEvents::Newest;
        }
        row.stalled_ms = conn.is_full().then(|| turn.ms_since(stream.last_write));
        if !stream.is_live() {
            (row.lag_ms, row.lag_events) = measure_lag(stream, topics, &hub, turn.now);
        }
    }
    row
}

/// Returns an address as bits of IPv6, IPv4 mapped into it, so that all have one order.
fn address_bits(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Returns the age of the oldest event that a stream has not been sent, and the number of such events, before
/// any filter.
pub(super) fn measure_lag(stream: &Stream, topics: &LocalTopics, hub: &HubState, now: Now) -> (u64, u64) {
    let channels: Vec<u32> = stream.places().iter().map(|place| topics.get(place.topic).hub).collect();
    let (mut age_ms, mut events) = (0, 0);
    for log in hub.topics_of(&channels).into_iter().map(|topic| hub.log(topic)) {
        // Not by the id: its time is that of a clock that may be set, and a burst runs ahead of it.
        let next = log.after(stream.position).next().map_or(0, |frame| frame.age_ms(now.mono_ms));
        age_ms = age_ms.max(next);
        events += log.count_after(stream.position) as u64;
    }
    (age_ms, events)
}

/// Returns the first of a stream's topics, and the number of those left out.
pub(super) fn named_topics(stream: &Stream, topics: &LocalTopics, hub: &HubState) -> (Vec<Box<str>>, usize) {
    let places = stream.places();
    let named = places.iter().take(ROW_TOPICS_MAX).map(|place| hub.name(topics.get(place.topic).hub).into());
    (named.collect(), places.len().saturating_sub(ROW_TOPICS_MAX))
}
