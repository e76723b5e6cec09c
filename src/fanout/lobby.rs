//! The lobby: connections whose proxy has still to name the client, by a header of the PROXY protocol.
//!
//! A connection enters when it is opened, and leaves with the last byte of its header. What follows is its
//! first request. Its address is counted when it leaves, so that the cap for each address holds for clients.
//!
//! | bound | of |
//! | --- | --- |
//! | `LOBBY_CONNECTIONS_MAX` | connections of one worker; a newcomer beyond is refused |
//! | `PROXY_HEADER_BYTES_MAX` | bytes of one header |
//! | the setting `head_ms` | time until the first byte of a request, whose head has as long again |
//!
//! Knows no request. Where `proxy_protocol` is off, nobody is here.

use std::net::IpAddr;

use super::closing::{close, close_timed_out};
use super::conn::{Conn, ConnState};
use super::conn_tracing::trace_opened;
use super::roster::Roster;
use super::seam::{CloseMode, Io, ReadResult};
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, Count};
use crate::base::limits::PROXY_HEADER_BYTES_MAX;
use crate::base::peers::ClientAddress;
use crate::base::settings::ProxyProtocol;
use crate::wire::proxy_header::{self, ProxyHeader};

/// A read of a connection in the lobby.
pub(super) struct LobbyRead {
    /// Bytes that were read.
    pub(super) bytes: usize,
    /// Bytes that it asked for.
    pub(super) most: usize,
    /// Bytes behind the header, if the connection has left the lobby.
    pub(super) first_request: Option<Vec<u8>>,
}

/// Reads once from a connection in the lobby: it stays, leaves or is closed.
pub(super) fn read_header(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    scratch: &mut [u8],
    slot: u32,
) -> LobbyRead {
    if !turn.node.trusted.contains(peer_ip(turn, slot)) {
        close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::ProxyUntrusted);
        return LobbyRead { bytes: 0, most: 0, first_request: None };
    }
    let mut header = take_header(roster.conn_mut(slot));
    let most = PROXY_HEADER_BYTES_MAX - header.len();
    let (bytes, first_request) = match turn.io.read(slot, &mut scratch[..most]) {
        ReadResult::Bytes(bytes) => {
            header.extend_from_slice(&scratch[..bytes]);
            (bytes, examine_header(roster, topics, turn, slot, header))
        }
        result => {
            match result {
                ReadResult::Bytes(_) => unreachable!("above"),
                ReadResult::Empty => {
                    keep_header(roster.conn_mut(slot), &header);
                    roster.conn_mut(slot).clear_ended();
                }
                ReadResult::End => {
                    close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Peer);
                }
                ReadResult::Broken => {
                    close(roster, topics, turn, slot, CloseMode::Reset, CloseReason::Reset);
                }
                ReadResult::TimedOut => close_timed_out(roster, topics, turn, slot),
            }
            (0, None)
        }
    };
    LobbyRead { bytes, most, first_request }
}

/// Acts on the first bytes of a connection. Returns those of its first request, if it leaves the lobby.
fn examine_header(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    mut header: Vec<u8>,
) -> Option<Vec<u8>> {
    let required = turn.node.settings.proxy_protocol == ProxyProtocol::Require;
    let (client, used) = match proxy_header::parse(&header) {
        ProxyHeader::Whole { client, bytes } => {
            turn.counters().count(Count::ProxyHeaders);
            (client, bytes)
        }
        ProxyHeader::Absent if !required => (None, 0),
        ProxyHeader::More => {
            keep_header(roster.conn_mut(slot), &header);
            return None;
        }
        ProxyHeader::Absent => {
            close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::ProxyMissing);
            return None;
        }
        ProxyHeader::Malformed => {
            close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::ProxyMalformed);
            return None;
        }
    };
    if !leave_lobby(roster, turn, slot, client) {
        close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Refused);
        return None;
    }
    Some(header.split_off(used))
}

/// Takes a connection out of the lobby. Returns false if its client is over a limit, and there is no room to
/// refuse it in words.
fn leave_lobby(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    client: Option<ClientAddress>,
) -> bool {
    // A client that is itself a proxy has clients of its own.
    let counted = client.map(|client| client.ip).filter(|ip| !turn.node.trusted.contains(Some(*ip)));
    let over = counted.and_then(|ip| turn.node.judge_newcomer(ip, turn.now));
    let counted = over.map_or(Ok(counted), Err);
    let refusal_due = turn.tick_after(turn.node.ticks.refusal);
    let admitted = roster.leave_lobby(&turn.node.connections, slot, client, counted, refusal_due);
    trace_opened(roster, turn, slot);
    admitted
}

/// Closes a connection that was in the lobby for too long.
pub(super) fn close_late(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let silent = matches!(roster.conn(slot).state, ConnState::Idle);
    let why = match turn.node.settings.proxy_protocol {
        _ if turn.carried.shutdown.is_draining() => CloseReason::Drain,
        ProxyProtocol::Accept if silent => CloseReason::Idle,
        ProxyProtocol::Off | ProxyProtocol::Accept | ProxyProtocol::Require => CloseReason::ProxyMissing,
    };
    close(roster, topics, turn, slot, CloseMode::Orderly, why);
}

fn peer_ip(turn: &mut TurnContext<'_, impl Io>, slot: u32) -> Option<IpAddr> {
    turn.io.peer_address(slot).map(|peer| peer.ip())
}

/// Takes the part of the header that has come. The connection is as new.
fn take_header(conn: &mut Conn) -> Vec<u8> {
    match std::mem::replace(&mut conn.state, ConnState::Idle) {
        ConnState::Requesting(mut exchange) => exchange.input.take(),
        ConnState::Idle | ConnState::Streaming(_) => Vec::new(),
    }
}

fn keep_header(conn: &mut Conn, header: &[u8]) {
    if !header.is_empty() {
        conn.exchange_mut().input.keep(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::RefusalReason;
    use crate::base::limits::LOBBY_CONNECTIONS_MAX;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::stage_tests::Stage;

    const HEADER: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n";
    const SUBSCRIBE: &str = "GET /events?topic=a HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A worker on which each public connection has to name its client; a peer without an address may.
    fn stage(trusted: &str, per_address_max: usize) -> Stage {
        Stage::new(Settings {
            proxy_protocol: ProxyProtocol::Require,
            trusted_proxies: vec![trusted.to_owned()],
            connections_per_address_max: per_address_max,
            ..Settings::default()
        })
    }

    fn status_of(stage: &mut Stage, slot: u32) -> String {
        stage.write();
        stage.take_sent(slot).chars().skip("HTTP/1.1 ".len()).take(3).collect()
    }

    #[test]
    fn a_header_torn_at_each_byte_names_the_client_of_the_request_behind_it() {
        for cut in 0..=HEADER.len() {
            let mut stage = stage("unix:", 0);
            let slot = stage.open(ListenerKind::Public);
            let (first, second) = HEADER.split_at(cut);
            stage.receive(slot, first);
            assert_eq!(stage.roster.lobby_connections(), usize::from(cut < HEADER.len()), "{cut}");
            stage.receive(slot, &format!("{second}{SUBSCRIBE}"));
            assert_eq!(status_of(&mut stage, slot), "200", "{cut}");
            let client = stage.roster.named_client(slot).map(|client| client.to_string());
            assert_eq!(client.as_deref(), Some("192.0.2.1:5000"), "{cut}");
            assert_eq!((stage.roster.lobby_connections(), stage.count(Count::ProxyHeaders)), (0, 1));
        }
    }

    #[test]
    fn the_cap_of_an_address_is_the_clients_and_is_given_back() {
        let mut stage = stage("unix:", 1);
        let [kept, over, other] = [(); 3].map(|()| stage.open(ListenerKind::Public));
        stage.receive(kept, &format!("{HEADER}{SUBSCRIBE}"));
        stage.receive(over, &format!("{HEADER}{SUBSCRIBE}"));
        stage.receive(other, &format!("{}{SUBSCRIBE}", HEADER.replace("192.0.2.1", "192.0.2.9")));
        let statuses = [kept, over, other].map(|slot| status_of(&mut stage, slot));
        assert_eq!(statuses, ["200", "503", "200"]);
        assert_eq!(stage.node.totals().refused[RefusalReason::Address as usize], 1);
        for slot in [kept, over, other] {
            stage.step(|roster, topics, turn| {
                close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Peer);
            });
        }
        assert_eq!(stage.node.connections.taken(), 0);
        assert!(stage.node.connections.take_address([192, 0, 2, 1].into()));
        let next = stage.open(ListenerKind::Public);
        assert_eq!(stage.roster.named_client(next), None, "the slot's former owner is forgotten");
    }

    #[test]
    fn a_connection_without_a_good_header_is_closed_with_the_reason() {
        for (trusted, bytes, reason) in [
            ("unix:", SUBSCRIBE, CloseReason::ProxyMissing),
            ("unix:", "PROXY TCP4 nobody\r\n", CloseReason::ProxyMalformed),
            ("10.0.0.1", HEADER, CloseReason::ProxyUntrusted),
        ] {
            let mut stage = stage(trusted, 0);
            let slot = stage.open(ListenerKind::Public);
            stage.receive(slot, bytes);
            assert_eq!(stage.closed_for(reason), 1, "{bytes}");
            assert_eq!((stage.roster.len(), stage.roster.lobby_connections()), (0, 0));
            assert_eq!(stage.io.closed, [(slot, CloseMode::Orderly)]);
        }
    }

    #[test]
    fn a_header_that_is_never_whole_ends_with_its_time() {
        let mut stage = stage("unix:", 0);
        let slot = stage.open(ListenerKind::Public);
        stage.receive(slot, &HEADER[..9]);
        stage.step(|roster, topics, turn| close_late(roster, topics, turn, slot));
        assert_eq!(stage.closed_for(CloseReason::ProxyMissing), 1);
        assert!(stage.io.sent.is_empty(), "a proxy is told nothing");
    }

    #[test]
    fn a_full_lobby_refuses_newcomers() {
        let mut stage =
            Stage::with_connections(stage("unix:", 0).node.settings.clone(), LOBBY_CONNECTIONS_MAX + 9);
        for _ in 0..LOBBY_CONNECTIONS_MAX {
            stage.open(ListenerKind::Public);
        }
        assert_eq!(stage.try_open(ListenerKind::Public), None);
        assert!(stage.try_open(ListenerKind::Control).is_some(), "the operator has no lobby");
    }
}
