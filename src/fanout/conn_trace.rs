//! Traces of connections for the debug log: made only while tracing is on, written by the shell.
//!
//! The core has no log. A trace is plain data; its topics and user agent are strangers' text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::base::counters::{CloseReason, Count, Counters};
use crate::base::limits::NOTES_PER_TURN_MAX;
use crate::base::listener::ListenerKind;
use crate::base::survey::ConnectionId;

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
    /// It was accepted, and if its proxy sends a header, has left the lobby.
    Opened(TracedClient),
    /// Its request was answered with a stream.
    Streams {
        /// Its client, as the request or a header has named it.
        client: TracedClient,
        /// User agent and topics.
        detail: ConnDetail,
    },
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

/// The client of a connection, and the proxy that has named it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TracedClient {
    /// Address of the client, if it is known.
    pub(crate) address: Option<IpAddr>,
    /// Address of the proxy at the other end of the socket; none where that is the client itself.
    pub(crate) proxy: Option<IpAddr>,
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

/// Traces of one worker that the shell has not taken yet, and addresses for those to come.
#[derive(Debug, Default)]
pub(super) struct ConnTraces {
    on: bool,
    /// Addresses of clients by slot: after a reset the kernel cannot tell.
    clients: BTreeMap<u32, IpAddr>,
    traces: Vec<ConnTrace>,
}

impl ConnTraces {
    /// Whether traces are wanted.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Turns tracing on or off.
    pub(super) fn set_on(&mut self, on: bool) {
        if !on {
            // The ends of these connections will not be traced.
            self.clients = BTreeMap::new();
        }
        self.on = on;
    }

    /// Returns the traces since the last call.
    pub(super) fn take(&mut self) -> Vec<ConnTrace> {
        std::mem::take(&mut self.traces)
    }

    /// Remembers the address of a connection's client.
    pub(super) fn remember_client(&mut self, slot: u32, client: Option<IpAddr>) {
        if let Some(client) = client {
            self.clients.insert(slot, client);
        }
    }

    /// The remembered address of a connection's client.
    pub(super) fn client(&self, slot: u32) -> Option<IpAddr> {
        self.clients.get(&slot).copied()
    }

    /// Forgets the address of a connection's client, and returns it.
    pub(super) fn forget_client(&mut self, slot: u32) -> Option<IpAddr> {
        self.clients.remove(&slot)
    }

    /// Adds a trace. Beyond the bound of a turn it is dropped and counted.
    pub(super) fn push(&mut self, counters: &Counters, trace: ConnTrace) {
        if self.traces.len() >= NOTES_PER_TURN_MAX {
            counters.count(Count::LogDropped);
        } else {
            self.traces.push(trace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_room_for_so_many_traces_and_drops_are_counted() {
        let (mut traces, counters) = (ConnTraces::default(), Counters::default());
        let id = ConnectionId { worker: 0, slot: 3, generation: 1 };
        let event = TraceEvent::Opened(TracedClient::default());
        let opened = ConnTrace { id, listener: ListenerKind::Public, event };
        for _ in 0..NOTES_PER_TURN_MAX + 2 {
            traces.push(&counters, opened.clone());
        }
        assert_eq!((traces.take().len(), counters.get(Count::LogDropped)), (NOTES_PER_TURN_MAX, 2));
        assert!(traces.take().is_empty());
    }

    #[test]
    fn addresses_are_forgotten_with_their_connections_and_when_nobody_traces() {
        let mut traces = ConnTraces::default();
        traces.set_on(true);
        let address = IpAddr::from([10, 0, 0, 1]);
        for slot in [1, 2] {
            traces.remember_client(slot, Some(address));
        }
        traces.remember_client(3, None);
        assert_eq!(
            (traces.forget_client(1), traces.client(1), traces.client(3)),
            (Some(address), None, None)
        );
        traces.set_on(false);
        assert_eq!((traces.is_on(), traces.client(2)), (false, None));
    }
}
