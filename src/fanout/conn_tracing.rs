//! A worker's part in traces: makes one at each step in the life of a connection, while tracing is on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::conn::ConnState;
use super::conn_trace::{ConnDetail, ConnTrace, TraceEvent};
use super::seam::Io;
use super::survey_walk::named_topics;
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count};
use crate::base::limits::NOTES_PER_TURN_MAX;
use crate::wire::problem::Problem;

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
            let duration_ms = self.age_ms(self.roster.conn(slot));
            let bytes = io.traffic(slot).map(|traffic| traffic.bytes_sent);
            self.push_trace(slot, TraceEvent::Closed { client, port, detail, duration_ms, bytes, reason });
        }
    }

    fn conn_detail(&self, slot: u32) -> ConnDetail {
        let conn = self.roster.conn(slot);
        let user_agent = self.roster.user_agent(conn).map(Box::from);
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
        let conn = self.roster.conn(slot);
        let trace = ConnTrace { id: self.connection_id(slot, conn), listener: conn.listener, event };
        self.traces.push(trace);
    }
}
