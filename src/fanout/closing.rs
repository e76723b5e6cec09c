//! The end of a connection: all that it holds is given back, its topics lose it, and its socket is closed.
//!
//! Decides nothing. Callers say how it ends, and why.

use super::conn::{Conn, ConnState, Stream};
use super::conn_tracing::trace_closed;
use super::exchange::ExchangePhase;
use super::roster::Roster;
use super::seam::{CloseMode, Io};
use super::topics::{LocalDeparture, LocalTopics};
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, Counters};
use crate::base::time::{TICK_MS, Tick};

/// Closes a connection and frees its slot.
pub(super) fn close(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    how: CloseMode,
    why: CloseReason,
) {
    trace_closed(roster, topics, turn, slot, why);
    let conn = roster.release(&turn.node.connections, slot);
    count_closed(turn.counters(), &conn, turn.tick(), why);
    match conn.state {
        ConnState::Idle => {}
        ConnState::Requesting(exchange) => {
            if let ExchangePhase::Body(upload) = &exchange.phase {
                turn.node.bodies.release(upload.charged);
            }
        }
        ConnState::Streaming(stream) => leave_topics(roster, topics, turn, stream),
    }
    turn.io.close(slot, how);
}

/// Closes a connection that the kernel has given up on. A subscriber there was slow: it took nothing.
pub(super) fn close_timed_out(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let why = match &roster.conn(slot).state {
        ConnState::Streaming(_) => CloseReason::SlowUnacknowledged,
        ConnState::Idle | ConnState::Requesting(_) => CloseReason::Reset,
    };
    close(roster, topics, turn, slot, CloseMode::Reset, why);
}

/// Counts the end of a connection that has left the roster, in the tick that is running.
pub(super) fn count_closed(counters: &Counters, conn: &Conn, tick: Tick, why: CloseReason) {
    counters.close(why);
    counters.connections(-1);
    let age = tick.saturating_sub(conn.opened);
    counters.duration.add(u64::from(age) * TICK_MS, 1);
}

/// Takes an ended stream out of its topics.
pub(super) fn leave_topics(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &TurnContext<'_, impl Io>,
    mut stream: Stream,
) {
    stream.mark_live(turn.counters());
    turn.counters().subscribers(-1);
    for place in stream.places() {
        let LocalDeparture { hub, interest } = topics.remove_subscriber(*place, |slot, index| {
            if let Some(moved) = roster.stream_mut(slot) {
                moved.place_mut(place.topic).index = index;
            }
        });
        turn.node.hub.unsubscribe(turn.index, hub, interest, turn.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::stage_tests::Stage;

    #[test]
    fn a_closed_connection_gives_back_all_that_it_had() {
        let mut stage = Stage::new(Settings::default());
        let stream = stage.subscribe("topic=a&topic=b");
        let upload = stage.open(ListenerKind::Control);
        let head = "POST /publish?topic=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
        stage.receive(upload, head);
        assert_eq!((stage.node.bodies.taken(), stage.node.connections.taken()), (1_000, 1));
        for slot in [stream, upload] {
            stage.step(|roster, topics, turn| {
                close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Peer);
            });
        }
        assert_eq!((stage.node.bodies.taken(), stage.node.connections.taken()), (0, 0));
        let totals = stage.node.totals();
        assert_eq!((totals.connections_open, totals.subscribers_open, stage.roster.len()), (0, 0, 0));
        assert_eq!(stage.closed_for(CloseReason::Peer), 2);
        stage.publish("a", "x");
        assert!(!stage.topics.has_rounds(), "its topics have nobody");
    }

    #[test]
    fn a_subscriber_that_takes_the_place_of_a_closed_one_is_found_there() {
        let mut stage = Stage::new(Settings::default());
        let [first, _, last] = [(); 3].map(|()| stage.subscribe("topic=a"));
        let place = stage.stream(first).place;
        stage.step(|roster, topics, turn| {
            close(roster, topics, turn, first, CloseMode::Orderly, CloseReason::Peer);
        });
        assert_eq!(stage.stream(last).place, place);
        assert_eq!(stage.topics.get(place.topic).subscribers[place.index as usize], last);
    }
}
