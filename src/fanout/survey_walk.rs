//! A worker's part in surveys: a slice of its connections, or of the hub's topics, at the end of each turn.
//!
//! A slice costs at most `SURVEY_LOOKS_PER_TURN` looks, so a subscriber waits for a fraction of a batch,
//! however many connections there are and however many surveys. Stores nothing with a connection.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::{Arc, MutexGuard};

use super::conn::{Conn, State, Stream, flag, mode};
use super::heavy_hitters::Crowd;
use super::hub::Inner;
use super::node::address_of;
use super::seam::{Close, Io};
use super::survey::{Findings, Question, Ranked, Survey};
use super::top_k::Best;
use super::topics::LocalTopics;
use super::worker::{Token, Worker};
use crate::base::counters::CloseReason;
use crate::base::survey::{
    ConnectionId, ConnectionRow, ConnectionSort, ConnectionState, TopicRow, TopicSort,
};
use crate::base::time::{Now, TICK_MS, Tick};

/// Connections or topics looked at for surveys in one turn, so that subscribers wait for a quarter of a
/// batch.
const SURVEY_LOOKS_PER_TURN: usize = 4_096;
/// Looks that asking the kernel about a connection counts for.
const KERNEL_LOOKS: usize = 24;
/// Topics named in one row of `/connections`; of more, only the number is told.
const ROW_TOPICS_MAX: usize = 8;

/// How far a worker has come with a survey.
#[derive(Debug)]
pub(super) struct Walk {
    survey: Arc<Survey>,
    /// The next slot, topic or place in the question.
    cursor: usize,
    /// Connections or topics seen.
    total: u64,
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    Ranked(ConnectionSort, Best<Ranked>),
    Rows(Vec<(usize, ConnectionRow)>),
    Crowd(Crowd),
    Topics(TopicSort, Best<(Reverse<u64>, TopicPlace)>),
}

/// A topic in the order of its name.
#[derive(Debug)]
struct TopicPlace(TopicRow);

impl PartialEq for TopicPlace {
    fn eq(&self, other: &TopicPlace) -> bool {
        self.0.topic == other.0.topic
    }
}

impl Eq for TopicPlace {}

impl PartialOrd for TopicPlace {
    fn partial_cmp(&self, other: &TopicPlace) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TopicPlace {
    fn cmp(&self, other: &TopicPlace) -> std::cmp::Ordering {
        self.0.topic.cmp(&other.0.topic)
    }
}

impl Worker {
    /// Takes a question in.
    pub(super) fn begin_walk(&mut self, io: &mut impl Io, survey: Arc<Survey>) {
        if survey.is_dropped() {
            return;
        }
        let seen = match &survey.question {
            Question::End(id) => {
                let ended = self.end_by_operator(io, *id);
                self.wake |=
                    self.node.hand_in(&survey, self.index, Findings { ended, ..Findings::default() });
                return;
            }
            Question::Rank(sort, most) => Seen::Ranked(*sort, Best::new(*most)),
            Question::Describe(_) => Seen::Rows(Vec::new()),
            Question::Addresses => Seen::Crowd(Crowd::new(self.hash.clone())),
            Question::Topics(sort, most) => Seen::Topics(*sort, Best::new(*most)),
        };
        self.walks.push_back(Walk { survey, cursor: 0, total: 0, seen });
    }

    /// A slice of the survey whose turn it is.
    pub(super) fn walk_some(&mut self, io: &mut impl Io) {
        let Some(mut walk) = self.walks.pop_front() else { return };
        if walk.survey.is_dropped() {
            return;
        }
        let over = match (&walk.survey.question, &mut walk.seen) {
            (Question::Describe(ids), Seen::Rows(rows)) => self.describe(io, &mut walk.cursor, ids, rows),
            (_, Seen::Topics(sort, best)) => {
                let sort = *sort;
                self.look_at_topics(&mut walk.cursor, &mut walk.total, |row| best.offer(place_of(sort, row)))
            }
            (_, seen) => self.look_at_connections(io, &mut walk.cursor, &mut walk.total, seen),
        };
        if !over {
            return self.walks.push_back(walk);
        }
        let mut part = Findings { total: walk.total, ..Findings::default() };
        match walk.seen {
            Seen::Ranked(_, best) => part.ranked = best.into_sorted(),
            Seen::Rows(rows) => part.rows = rows,
            Seen::Crowd(crowd) => part.addresses = crowd.into_counts(),
            Seen::Topics(_, best) => {
                part.topics = best.into_sorted().into_iter().map(|(_, TopicPlace(row))| row).collect();
            }
        }
        self.wake |= self.node.hand_in(&walk.survey, self.index, part);
    }

    /// One slice; returns whether it was the last.
    fn look_at_connections(
        &self,
        io: &mut impl Io,
        cursor: &mut usize,
        total: &mut u64,
        seen: &mut Seen,
    ) -> bool {
        let mut hub: Option<MutexGuard<'_, Inner>> = None;
        let mut looks = 0;
        while looks < SURVEY_LOOKS_PER_TURN {
            if *cursor >= self.conns.capacity() {
                return true;
            }
            let slot = *cursor as u32;
            *cursor += 1;
            looks += 1;
            let Some(conn) = self.conns.get(slot as usize) else { continue };
            *total += 1;
            match seen {
                Seen::Ranked(ConnectionSort::Lag, best) => {
                    let mut key = 0;
                    if let State::Streaming(stream) = &conn.state
                        && !stream.is_live()
                    {
                        looks += stream.places().len();
                        let hub = hub.get_or_insert_with(|| self.node.hub.lock());
                        let (age_ms, _) = lag(stream, &self.topics, hub, self.now);
                        // The moment, as in `key`.
                        key = if age_ms == 0 { 0 } else { u64::MAX - (self.now.wall_ms - age_ms) };
                    }
                    best.offer(Ranked { key: Reverse(u128::from(key)), id: self.id(slot, conn) });
                }
                Seen::Ranked(sort, best) => {
                    let asks = matches!(sort, ConnectionSort::Bytes | ConnectionSort::Address);
                    looks += if asks { KERNEL_LOOKS } else { 0 };
                    let key = Reverse(self.key(io, slot, conn, *sort));
                    best.offer(Ranked { key, id: self.id(slot, conn) });
                }
                Seen::Crowd(crowd) => {
                    looks += KERNEL_LOOKS;
                    if let Some(peer) = io.peer(slot) {
                        crowd.add(address_of(peer.ip()));
                    }
                }
                Seen::Rows(_) | Seen::Topics(..) => unreachable!("these do not look at all connections"),
            }
        }
        false
    }

    /// Larger comes first. Moments and not ages: workers look at different times, and pages must fit
    /// together.
    fn key(&self, io: &mut impl Io, slot: u32, conn: &Conn, sort: ConnectionSort) -> u128 {
        match (sort, &conn.state) {
            (ConnectionSort::Age, _) => u128::from(Tick::MAX - conn.opened),
            (ConnectionSort::Bytes, _) => {
                u128::from(io.traffic(slot).map_or(0, |traffic| traffic.bytes_sent))
            }
            (ConnectionSort::Address, _) => io.peer(slot).map_or(0, |peer| !bits_of(peer.ip())),
            (ConnectionSort::Slow, State::Streaming(stream)) if conn.has(flag::FULL) => {
                u128::from(Tick::MAX - stream.wrote) + 1
            }
            (ConnectionSort::Slow | ConnectionSort::Lag, _) => 0,
        }
    }

    /// One slice; returns whether it was the last.
    fn describe(
        &self,
        io: &mut impl Io,
        cursor: &mut usize,
        ids: &[ConnectionId],
        rows: &mut Vec<(usize, ConnectionRow)>,
    ) -> bool {
        let mut looks = 0;
        while looks < SURVEY_LOOKS_PER_TURN {
            let Some(id) = ids.get(*cursor) else { return true };
            let place = *cursor;
            *cursor += 1;
            looks += 1;
            let token = Token::new(id.slot, id.generation);
            if id.worker as usize != self.index || !self.owns(token) {
                continue;
            }
            looks += 2 * KERNEL_LOOKS;
            rows.push((place, self.row(io, *id)));
        }
        false
    }

    fn row(&self, io: &mut impl Io, id: ConnectionId) -> ConnectionRow {
        let conn = &self.conns[id.slot as usize];
        let mut row = ConnectionRow {
            id,
            address: io.peer(id.slot),
            user_agent: self.agents.text(conn.agent).map(Box::from),
            topics: Vec::new(),
            topics_more: 0,
            age_ms: self.age_ms(conn),
            lag_ms: 0,
            lag_events: 0,
            state: ConnectionState::Talking,
            traffic: io.traffic(id.slot),
        };
        if let State::Streaming(stream) = &conn.state {
            let hub = self.node.hub.lock();
            (row.topics, row.topics_more) = named_topics(stream, &self.topics, &hub);
            row.state = match () {
                () if conn.has(flag::FULL) => ConnectionState::Full,
                () if stream.is_live() => ConnectionState::Live,
                () => ConnectionState::Behind,
            };
            if !stream.is_live() {
                (row.lag_ms, row.lag_events) = lag(stream, &self.topics, &hub, self.now);
            }
        }
        row
    }

    /// One slice; returns whether it was the last.
    fn look_at_topics(&self, cursor: &mut usize, total: &mut u64, mut offer: impl FnMut(TopicRow)) -> bool {
        let hub = self.node.hub.lock();
        let end = hub.topic_slots().min(*cursor + SURVEY_LOOKS_PER_TURN);
        for row in (*cursor..end).filter_map(|index| hub.topic_row(index as u32)) {
            *total += 1;
            offer(row);
        }
        *cursor = end;
        end == hub.topic_slots()
    }

    /// Ends a connection: a stream after what is on its way to it, with a time to come back; any other at
    /// once. Returns whether there was one.
    fn end_by_operator(&mut self, io: &mut impl Io, id: ConnectionId) -> bool {
        if !self.owns(Token::new(id.slot, id.generation)) {
            return false;
        }
        let State::Streaming(stream) = &mut self.conns[id.slot as usize].state else {
            self.close(io, id.slot, Close::Orderly, CloseReason::Operator);
            return true;
        };
        // One that is on its way out keeps its reason.
        if stream.mode & (mode::ENDING | mode::OPERATOR) == 0 {
            stream.mode |= mode::OPERATOR;
            stream.ends = self.now.tick();
            self.end_stream(id.slot);
        }
        true
    }

    /// Milliseconds since a connection was accepted.
    pub(super) fn age_ms(&self, conn: &Conn) -> u64 {
        u64::from(self.now.tick().saturating_sub(conn.opened)) * TICK_MS
    }

    /// A connection's name.
    pub(super) fn id(&self, slot: u32, conn: &Conn) -> ConnectionId {
        ConnectionId { worker: self.index as u32, slot, generation: conn.generation }
    }
}

fn place_of(sort: TopicSort, row: TopicRow) -> (Reverse<u64>, TopicPlace) {
    let key = match sort {
        TopicSort::Subscribers => row.subscribers,
        TopicSort::Events => row.events,
        TopicSort::Bytes => row.bytes,
        TopicSort::Name => 0,
    };
    (Reverse(key), TopicPlace(row))
}

/// IPv4 as mapped into IPv6, so that all have one order.
fn bits_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Age of the oldest event that a stream has not been sent, and how many those are, before any filter.
fn lag(stream: &Stream, topics: &LocalTopics, hub: &Inner, now: Now) -> (u64, u64) {
    let logs = stream.places().iter().map(|place| hub.log(topics.get(place.topic).hub));
    let (mut oldest, mut events) = (None, 0);
    for log in logs {
        let next = log.after(stream.position).next().map(|frame| frame.id());
        oldest = [oldest, next].into_iter().flatten().min();
        events += log.count_after(stream.position) as u64;
    }
    (oldest.map_or(0, |id| now.wall_ms.saturating_sub(id.ms())), events)
}

/// The first of a stream's topics, and how many more there are.
pub(super) fn named_topics(stream: &Stream, topics: &LocalTopics, hub: &Inner) -> (Vec<Box<str>>, usize) {
    let places = stream.places();
    let named = places.iter().take(ROW_TOPICS_MAX).map(|place| hub.name(topics.get(place.topic).hub).into());
    (named.collect(), places.len().saturating_sub(ROW_TOPICS_MAX))
}
