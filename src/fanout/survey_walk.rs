//! A worker's part in surveys: a slice of its connections, or of the hub's topics, at the end of each turn.
//!
//! A slice costs at most `SURVEY_LOOKS_PER_TURN` looks, so a subscriber waits for a fraction of a batch,
//! however many connections there are and however many surveys. Stores nothing with a connection.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use super::conn::{Conn, ConnState, Stream};
use super::connection_budget::address_of;
use super::heavy_hitters::HeavyHitters;
use super::hub::{HubGuard, HubState};
use super::seam::{CloseMode, Io};
use super::survey::{PlacedRow, RankedConnection, Survey, SurveyFindings, SurveyQuestion};
use super::survey_mail::submit_findings;
use super::survey_progress::{SurveyWalk, TopicByName, WalkFindings};
use super::top_k::TopK;
use super::topics::LocalTopics;
use super::worker::{ConnToken, Worker};
use crate::base::counters::CloseReason;
use crate::base::survey::{
    ConnectionFilter, ConnectionId, ConnectionRow, ConnectionSort, ConnectionState, SearchText, TopicRow,
    TopicSort,
};
use crate::base::time::{Now, TICK_MS, Tick};

/// Connections or topics looked at for surveys in one turn, so that subscribers wait for a quarter of a
/// batch.
const SURVEY_LOOKS_PER_TURN: usize = 4_096;
/// Topics looked at in one hold of the hub's lock: each is read where the caches do not have it.
const TOPICS_PER_HOLD: usize = 1_024;
/// Looks that one question to the kernel counts for.
const KERNEL_LOOKS: usize = 24;
/// Topics named in one row of `/connections`; the rest are only counted.
const ROW_TOPICS_MAX: usize = 8;

impl Worker {
    /// Takes a question in.
    pub(super) fn begin_walk(&mut self, io: &mut impl Io, survey: Arc<Survey>) {
        if survey.is_abandoned() {
            return;
        }
        let seen = match &survey.question {
            SurveyQuestion::End(id) => {
                let ended = self.end_by_operator(io, *id);
                self.mailed |= submit_findings(
                    &self.node,
                    &survey,
                    self.index,
                    SurveyFindings { ended, ..SurveyFindings::default() },
                );
                return;
            }
            SurveyQuestion::Rank { sort, most, .. } => WalkFindings::Ranked(*sort, TopK::new(*most)),
            SurveyQuestion::Describe(_) => WalkFindings::Rows(Vec::new()),
            SurveyQuestion::Addresses => WalkFindings::Addresses(HeavyHitters::new(self.hash.clone())),
            SurveyQuestion::Topics { sort, most, .. } => WalkFindings::Topics(*sort, TopK::new(*most)),
        };
        self.walks.push_back(SurveyWalk { survey, cursor: 0, total: 0, seen });
    }

    /// Looks at one slice of the first survey in the queue.
    pub(super) fn continue_walk(&mut self, io: &mut impl Io) {
        let Some(mut walk) = self.walks.pop_front() else { return };
        if walk.survey.is_abandoned() {
            return;
        }
        let over = match (&walk.survey.question, &mut walk.seen) {
            (SurveyQuestion::Describe(ids), WalkFindings::Rows(rows)) => {
                self.describe_connections(io, &mut walk.cursor, ids, rows)
            }
            (SurveyQuestion::Topics { search, .. }, WalkFindings::Topics(sort, top)) => {
                let sort = *sort;
                self.scan_topics(&mut walk.cursor, &mut walk.total, search.as_ref(), |row| {
                    top.offer(rank_topic(sort, row));
                })
            }
            (SurveyQuestion::Rank { filter, .. }, seen) => {
                self.scan_connections(io, &mut walk.cursor, &mut walk.total, filter, seen)
            }
            (_, seen) => {
                let all = ConnectionFilter::default();
                self.scan_connections(io, &mut walk.cursor, &mut walk.total, &all, seen)
            }
        };
        if !over {
            return self.walks.push_back(walk);
        }
        let mut part = SurveyFindings { total: walk.total, ..SurveyFindings::default() };
        match walk.seen {
            WalkFindings::Ranked(_, top) => part.ranked = top.into_sorted(),
            WalkFindings::Rows(rows) => part.rows = rows,
            WalkFindings::Addresses(hitters) => part.addresses = hitters.into_counts(),
            WalkFindings::Topics(_, top) => {
                part.topics = top.into_sorted().into_iter().map(|(_, TopicByName(row))| row).collect();
            }
        }
        self.mailed |= submit_findings(&self.node, &walk.survey, self.index, part);
    }

    /// Offers one slice of connections to a ranking or a count. Returns whether it was the last.
    fn scan_connections(
        &self,
        io: &mut impl Io,
        cursor: &mut usize,
        total: &mut u64,
        filter: &ConnectionFilter,
        seen: &mut WalkFindings,
    ) -> bool {
        let mut hub: Option<HubGuard<'_>> = None;
        let mut looks = 0;
        while looks < SURVEY_LOOKS_PER_TURN {
            if *cursor >= self.roster.slots() {
                return true;
            }
            let slot = *cursor as u32;
            *cursor += 1;
            looks += 1;
            let Some(conn) = self.roster.find(slot) else { continue };
            if filter.listener.is_some_and(|kind| kind != conn.listener) {
                continue;
            }
            if let Some(search) = &filter.search {
                looks += KERNEL_LOOKS;
                // It takes the lock itself, and not while it asks the kernel.
                hub = None;
                if !self.names_hold(io, slot, conn, search) {
                    continue;
                }
            }
            *total += 1;
            match seen {
                WalkFindings::Ranked(ConnectionSort::Lag, top) => {
                    let mut key = 0;
                    if let ConnState::Streaming(stream) = &conn.state
                        && !stream.is_live()
                    {
                        looks += stream.places().len();
                        let hub = hub.get_or_insert_with(|| self.node.hub.lock());
                        let (age_ms, _) = measure_lag(stream, &self.topics, hub, self.now);
                        // The moment, as in `key`.
                        key = if age_ms == 0 { 0 } else { u64::MAX - (self.now.mono_ms - age_ms) };
                    }
                    top.offer(RankedConnection {
                        key: Reverse(u128::from(key)),
                        id: self.connection_id(slot, conn),
                    });
                }
                WalkFindings::Ranked(sort, top) => {
                    let asks = matches!(sort, ConnectionSort::Bytes | ConnectionSort::Address);
                    looks += if asks { KERNEL_LOOKS } else { 0 };
                    let key = Reverse(self.sort_key(io, slot, conn, *sort));
                    top.offer(RankedConnection { key, id: self.connection_id(slot, conn) });
                }
                WalkFindings::Addresses(hitters) => {
                    looks += KERNEL_LOOKS;
                    if let Some(peer) = io.peer_address(slot) {
                        hitters.add(address_of(peer.ip()));
                    }
                }
                WalkFindings::Rows(_) | WalkFindings::Topics(..) => {
                    unreachable!("these do not look at all connections")
                }
            }
        }
        false
    }

    /// Whether a connection's user agent, one of its topics or its address holds a text.
    fn names_hold(&self, io: &mut impl Io, slot: u32, conn: &Conn, search: &SearchText) -> bool {
        if self.roster.user_agent(conn).is_some_and(|agent| search.is_in(agent)) {
            return true;
        }
        if let ConnState::Streaming(stream) = &conn.state {
            let hub = self.node.hub.lock();
            let name = |topic: u32| hub.name(self.topics.get(topic).hub);
            if stream.places().iter().any(|place| search.is_in(name(place.topic))) {
                return true;
            }
        }
        io.peer_address(slot).is_some_and(|peer| search.is_in(&peer.to_string()))
    }

    /// Returns the key of a connection in an order; the larger comes first. Keys are moments, not ages:
    /// workers look at different times, and pages must fit together.
    fn sort_key(&self, io: &mut impl Io, slot: u32, conn: &Conn, sort: ConnectionSort) -> u128 {
        match (sort, &conn.state) {
            (ConnectionSort::Age, _) => u128::from(Tick::MAX - conn.opened),
            (ConnectionSort::Bytes, _) => {
                u128::from(io.traffic(slot).map_or(0, |traffic| traffic.bytes_sent))
            }
            (ConnectionSort::Address, _) => io.peer_address(slot).map_or(0, |peer| !address_bits(peer.ip())),
            (ConnectionSort::Slow, ConnState::Streaming(stream)) if conn.is_full() => {
                u128::from(Tick::MAX - stream.last_write) + 1
            }
            (ConnectionSort::Slow | ConnectionSort::Lag, _) => 0,
        }
    }

    /// Describes one slice of the connections in question. Returns whether it was the last.
    fn describe_connections(
        &self,
        io: &mut impl Io,
        cursor: &mut usize,
        ids: &[ConnectionId],
        rows: &mut Vec<PlacedRow>,
    ) -> bool {
        let mut looks = 0;
        while looks < SURVEY_LOOKS_PER_TURN {
            let Some(id) = ids.get(*cursor) else { return true };
            let place = *cursor;
            *cursor += 1;
            looks += 1;
            let token = ConnToken::new(id.slot, id.generation);
            if id.worker as usize != self.index || !self.roster.owns(token) {
                continue;
            }
            looks += 2 * KERNEL_LOOKS;
            rows.push(PlacedRow { place, row: self.connection_row(io, *id) });
        }
        false
    }

    fn connection_row(&self, io: &mut impl Io, id: ConnectionId) -> ConnectionRow {
        let conn = self.roster.conn(id.slot);
        let mut row = ConnectionRow {
            id,
            address: io.peer_address(id.slot),
            user_agent: self.roster.user_agent(conn).map(Box::from),
            topics: Vec::new(),
            topics_more: 0,
            age_ms: self.age_ms(conn),
            lag_ms: 0,
            lag_events: 0,
            state: ConnectionState::Talking,
            stalled_ms: None,
            listener: conn.listener,
            traffic: io.traffic(id.slot),
        };
        if let ConnState::Streaming(stream) = &conn.state {
            let hub = self.node.hub.lock();
            (row.topics, row.topics_more) = named_topics(stream, &self.topics, &hub);
            row.state = match () {
                () if conn.is_full() => ConnectionState::Full,
                () if stream.is_live() => ConnectionState::Live,
                () => ConnectionState::Behind,
            };
            row.stalled_ms = conn.is_full().then(|| self.ms_since(stream.last_write));
            if !stream.is_live() {
                (row.lag_ms, row.lag_events) = measure_lag(stream, &self.topics, &hub, self.now);
            }
        }
        row
    }

    /// Offers one slice of the hub's topics. Returns whether it was the last.
    fn scan_topics(
        &self,
        cursor: &mut usize,
        total: &mut u64,
        search: Option<&SearchText>,
        mut offer: impl FnMut(TopicRow),
    ) -> bool {
        let hub = self.node.hub.lock();
        let end = hub.topic_slots().min(*cursor + TOPICS_PER_HOLD);
        let rows = (*cursor..end).filter_map(|index| hub.topic_row(index as u32, self.now.wall_ms));
        for row in rows.filter(|row| search.is_none_or(|search| search.is_in(&row.topic))) {
            *total += 1;
            offer(row);
        }
        *cursor = end;
        end == hub.topic_slots()
    }

    /// Ends a connection. A stream is first sent all output on its way, and a time to come back; any other
    /// connection ends at once. Returns whether there was such a connection.
    fn end_by_operator(&mut self, io: &mut impl Io, id: ConnectionId) -> bool {
        if !self.roster.owns(ConnToken::new(id.slot, id.generation)) {
            return false;
        }
        let ConnState::Streaming(stream) = &mut self.roster.conn_mut(id.slot).state else {
            self.close(io, id.slot, CloseMode::Orderly, CloseReason::Operator);
            return true;
        };
        // A stream that is ending keeps its reason.
        if stream.end_by_operator(self.now.tick()) {
            self.end_stream(id.slot);
        }
        true
    }

    /// Returns the milliseconds since a connection was accepted.
    pub(super) fn age_ms(&self, conn: &Conn) -> u64 {
        self.ms_since(conn.opened)
    }

    fn ms_since(&self, tick: Tick) -> u64 {
        u64::from(self.now.tick().saturating_sub(tick)) * TICK_MS
    }

    /// Returns the id that names a connection to the operator.
    pub(super) fn connection_id(&self, slot: u32, conn: &Conn) -> ConnectionId {
        ConnectionId { worker: self.index as u32, slot, generation: conn.generation }
    }
}

fn rank_topic(sort: TopicSort, row: TopicRow) -> (Reverse<u64>, TopicByName) {
    let key = match sort {
        TopicSort::Subscribers => row.subscribers,
        TopicSort::Events => row.events,
        TopicSort::Bytes => row.bytes,
        TopicSort::Rate => row.recent.per_thousand_seconds(),
        TopicSort::Name => 0,
    };
    (Reverse(key), TopicByName(row))
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
fn measure_lag(stream: &Stream, topics: &LocalTopics, hub: &HubState, now: Now) -> (u64, u64) {
    let logs = stream.places().iter().map(|place| hub.log(topics.get(place.topic).hub));
    let (mut age_ms, mut events) = (0, 0);
    for log in logs {
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
