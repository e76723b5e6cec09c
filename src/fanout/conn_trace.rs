//! What the debug log is told of connections: made only while somebody wants it, written by the shell.
//!
//! The core has no log. A note is plain data, its topics and user agent are strangers' text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::conn::State;
use super::seam::Io;
use super::survey_walk::named_topics;
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count};
use crate::base::limits::NOTES_PER_TURN_MAX;
use crate::base::settings::ListenerKind;
use crate::base::survey::ConnectionId;

/// One line's worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The connection.
    pub id: ConnectionId,
    /// Where it came in.
    pub listener: ListenerKind,
    /// What happened to it.
    pub what: What,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was accepted from this address.
    Opened(Option<IpAddr>),
    /// It became a stream.
    Streams(Detail),
    /// It ended.
    Closed {
        /// The client.
        client: Option<IpAddr>,
        /// Its port; none when the kernel has forgotten it, as after a reset.
        port: Option<u16>,
        /// What it was for.
        detail: Detail,
        /// How long it was open.
        duration_ms: u64,
        /// Bytes it was sent, as far as the kernel knows.
        bytes: Option<u64>,
        /// Why it ended.
        reason: CloseReason,
    },
}

/// What a connection said that it is, and asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Its user agent.
    pub user_agent: Option<Box<str>>,
    /// Some of its topics.
    pub topics: Vec<Box<str>>,
    /// How many more.
    pub topics_more: usize,
}

impl Worker {
    /// Whether notes are wanted from now on.
    pub fn set_noting(&mut self, noting: bool) {
        if !noting {
            // Their ends will not be noted.
            self.callers = BTreeMap::new();
        }
        self.noting = noting;
    }

    /// The notes since this was last called.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    pub(super) fn note_opened(&mut self, slot: u32, peer: Option<IpAddr>) {
        if self.noting {
            if let Some(peer) = peer {
                self.callers.insert(slot, peer);
            }
            self.note(slot, What::Opened(peer));
        }
    }

    pub(super) fn note_stream(&mut self, slot: u32) {
        if self.noting {
            let detail = self.detail(slot);
            self.note(slot, What::Streams(detail));
        }
    }

    pub(super) fn note_closed(&mut self, io: &mut impl Io, slot: u32, reason: CloseReason) {
        if self.noting {
            let detail = self.detail(slot);
            let (known, peer) = (self.callers.remove(&slot), io.peer(slot));
            let (client, port) = (peer.map(|peer| peer.ip()).or(known), peer.map(|peer| peer.port()));
            let duration_ms = self.age_ms(&self.conns[slot as usize]);
            let bytes = io.traffic(slot).map(|traffic| traffic.bytes_sent);
            self.note(slot, What::Closed { client, port, detail, duration_ms, bytes, reason });
        }
    }

    fn detail(&self, slot: u32) -> Detail {
        let conn = &self.conns[slot as usize];
        let user_agent = self.agents.text(conn.agent).map(Box::from);
        let (topics, topics_more) = match &conn.state {
            State::Streaming(stream) => named_topics(stream, &self.topics, &self.node.hub.lock()),
            State::Waiting | State::Talking(_) => (Vec::new(), 0),
        };
        Detail { user_agent, topics, topics_more }
    }

    fn note(&mut self, slot: u32, what: What) {
        if self.notes.len() >= NOTES_PER_TURN_MAX {
            return self.counters().count(Count::LogDropped);
        }
        let conn = &self.conns[slot as usize];
        let note = Note { id: self.id(slot, conn), listener: conn.listener, what };
        self.notes.push(note);
    }
}
