//! Traces of connections for the debug log: made only while tracing is on, written by the shell.
//!
//! The core has no log. A trace is plain data; its topics and user agent are strangers' text.

use std::net::IpAddr;

use crate::base::counters::CloseReason;
use crate::base::settings::ListenerKind;
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
