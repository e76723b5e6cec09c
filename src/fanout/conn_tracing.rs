//! The steps in the life of a connection at which a trace is made, while tracing is on.

use super::conn::{Conn, ConnState};
use super::conn_trace::{ConnDetail, ConnTrace, TraceEvent, TracedClient};
use super::roster::Roster;
use super::seam::Io;
use super::survey_row::named_topics;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::CloseReason;
use crate::wire::problem::Problem;

/// Traces that a proxy has named the client of a connection, which is only then known.
pub(super) fn trace_opened(roster: &Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    if turn.carried.traces.is_on() {
        let client = traced_client(roster, turn, slot);
        turn.carried.traces.remember_client(slot, client.address);
        push_trace(roster, turn, slot, TraceEvent::Opened(client));
    }
}

/// Notes the client that a request has named, for traces to come.
pub(super) fn note_traced_client(roster: &Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    if turn.carried.traces.is_on() {
        let client = turn.client_address(roster, slot).map(|client| client.ip);
        turn.carried.traces.remember_client(slot, client);
    }
}

/// Traces that a request was answered with a stream.
pub(super) fn trace_stream(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    if turn.carried.traces.is_on() {
        let detail = conn_detail(roster, topics, turn, roster.conn(slot));
        let client = traced_client(roster, turn, slot);
        push_trace(roster, turn, slot, TraceEvent::Streams { client, detail });
    }
}

/// Traces that a request was answered with an error.
pub(super) fn trace_refused(
    roster: &Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    problem: &Problem,
) {
    if turn.carried.traces.is_on() {
        let client = turn.carried.traces.client(slot);
        let refused = TraceEvent::Refused { client, status: problem.status(), code: problem.reason() };
        push_trace(roster, turn, slot, refused);
    }
}

/// Traces the end of a connection that is about to be closed.
pub(super) fn trace_closed(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    reason: CloseReason,
) {
    if turn.carried.traces.is_on() {
        let conn = roster.conn(slot);
        let detail = conn_detail(roster, topics, turn, conn);
        let address = turn.client_address(roster, slot);
        let known = turn.carried.traces.forget_client(slot);
        let (client, port) = (address.map(|address| address.ip).or(known), address.and_then(|a| a.port));
        let duration_ms = turn.ms_since(conn.opened);
        let bytes = turn.io.traffic(slot).map(|traffic| traffic.bytes_sent);
        let closed = TraceEvent::Closed { client, port, detail, duration_ms, bytes, reason };
        push_trace(roster, turn, slot, closed);
    }
}

fn traced_client(roster: &Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) -> TracedClient {
    let address = turn.client_address(roster, slot).map(|client| client.ip);
    let peer = turn.io.peer_address(slot).map(|peer| peer.ip().to_canonical());
    TracedClient { address, proxy: peer.filter(|_| roster.named_client(slot).is_some()) }
}

fn conn_detail(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &TurnContext<'_, impl Io>,
    conn: &Conn,
) -> ConnDetail {
    let user_agent = roster.user_agent(conn).map(Box::from);
    let (topics, topics_more) = match &conn.state {
        ConnState::Streaming(stream) => named_topics(stream, topics, &turn.node.hub.lock()),
        ConnState::Idle | ConnState::Requesting(_) => (Vec::new(), 0),
    };
    ConnDetail { user_agent, topics, topics_more }
}

fn push_trace(roster: &Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32, event: TraceEvent) {
    let conn = roster.conn(slot);
    let trace = ConnTrace { id: turn.connection_id(slot, conn), listener: conn.listener, event };
    let counters = turn.counters();
    turn.carried.traces.push(counters, trace);
}
