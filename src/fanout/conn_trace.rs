//! Traces of connections for the debug log: made only while tracing is on, written by the shell.
//!
//! The core has no log. A trace is plain data; its topics and user agent are strangers' text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::conn::ConnState;
use super::seam::Io;
use super::survey_walk::named_topics;
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count};
use crate::base::limits::NOTES_PER_TURN_MAX;
use crate::base::settings::ListenerKind;
use crate::base::survey::ConnectionId;
use crate::wire::problem::Problem;

/// One event in the life of a connection, a line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnTrace {
    /// Id of the connection.
    pub(crate) id: ConnectionId,
    /// Listener that accepted the connection.
    pub(crate) listener: ListenerKind,
    /// The event and its details.
    pub(crate) event: TraceEvent,
}

/// An event in the life of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TraceEvent {
    /// It was accepted from this address.
    Opened(Option<IpAddr>),
    /// Its request was answered with a stream.
    Streams(ConnDetail),
    /// Its request was answered with an error.
    Refused {
        /// Address of the client.
        client: Option<IpAddr>,
        /// Status of the answer.
        status: u16,
        /// Code of the answer, its `error`.
        code: &'static str,
    },
    /// It was closed, by either side.
    Closed {
        /// Address of the client.
        client: Option<IpAddr>,
        /// Port of the client; none when the kernel has forgotten it, as after a reset.
        port: Option<u16>,
        /// User agent and topics.
        detail: ConnDetail,
        /// Milliseconds from its acceptance to its end.
        duration_ms: u64,
        /// Bytes sent to it, if the kernel still knows.
        bytes: Option<u64>,
        /// Reason of the end, as counted.
        reason: CloseReason,
    },
}

/// The user agent and the topics that a connection sent in its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnDetail {
    /// Text of its `User-Agent`.
    pub(crate) user_agent: Option<Box<str>>,
    /// The first of its topics.
    pub(crate) topics: Vec<Box<str>>,
    /// Number of topics beyond those named.
    pub(crate) topics_more: usize,
}

impl Worker {
    /// Turns tracing on or off.
    pub(crate) fn set_tracing(&mut self, tracing: bool) {
        if !tracing {
            // The ends of these connections will not be traced.
            self.peer_addresses = BTreeMap::new();
        }
        self.tracing = tracing;
    }

    /// Returns the traces since the last call.
    pub(crate) fn take_traces(&mut self) -> Vec<ConnTrace> {
        std::mem::take(&mut self.traces)
    }

    pub(super) fn trace_opened(&mut self, slot: u32, peer: Option<IpAddr>) {
        if self.tracing {
            if let Some(peer) = peer {
                self.peer_addresses.insert(slot, peer);
            }
            self.push_trace(slot, TraceEvent::Opened(peer));
        }
    }

    pub(super) fn trace_stream(&mut self, slot: u32) {
        if self.tracing {
            let detail = self.conn_detail(slot);
            self.push_trace(slot, TraceEvent::Streams(detail));
        }
    }

    pub(super) fn trace_refused(&mut self, slot: u32, problem: &Problem) {
        if self.tracing {
            let client = self.peer_addresses.get(&slot).copied();
            self.push_trace(
                slot,
                TraceEvent::Refused { client, status: problem.status(), code: problem.code() },
            );
        }
    }

    pub(super) fn trace_closed(&mut self, io: &mut impl Io, slot: u32, reason: CloseReason) {
        if self.tracing {
            let detail = self.conn_detail(slot);
            let (known, peer) = (self.peer_addresses.remove(&slot), io.peer_address(slot));
            let (client, port) = (peer.map(|peer| peer.ip()).or(known), peer.map(|peer| peer.port()));
            let duration_ms = self.age_ms(&self.conns[slot as usize]);
            let bytes = io.traffic(slot).map(|traffic| traffic.bytes_sent);
            self.push_trace(slot, TraceEvent::Closed { client, port, detail, duration_ms, bytes, reason });
        }
    }

    fn conn_detail(&self, slot: u32) -> ConnDetail {
        let conn = &self.conns[slot as usize];
        let user_agent = self.agents.text(conn.agent).map(Box::from);
        let (topics, topics_more) = match &conn.state {
            ConnState::Streaming(stream) => named_topics(stream, &self.topics, &self.node.hub.lock()),
            ConnState::Idle | ConnState::Requesting(_) => (Vec::new(), 0),
        };
        ConnDetail { user_agent, topics, topics_more }
    }

    fn push_trace(&mut self, slot: u32, event: TraceEvent) {
        if self.traces.len() >= NOTES_PER_TURN_MAX {
            return self.counters().count(Count::LogDropped);
        }
        let conn = &self.conns[slot as usize];
        let trace = ConnTrace { id: self.connection_id(slot, conn), listener: conn.listener, event };
        self.traces.push(trace);
    }
}
