//! Beacons of pages: their figures, added to the worker's counters while its rate allows.

use super::answers::{RequestFlow, answer, answer_problem};
use super::reply_context::ReplyContext;
use super::roster::Roster;
use super::seam::Io;
use super::turn_context::TurnContext;
use crate::base::counters::{ClientCause, ClientCount, Count, Counters};
use crate::wire::beacon::{Beacon, DELAY_BOUNDS_MS, DELAY_LONGEST_MS};
use crate::wire::reply;

/// The causes of ends, in the order in which a beacon has them.
const CAUSES: [ClientCause; 7] = [
    ClientCause::Ended,
    ClientCause::Cut,
    ClientCause::Silent,
    ClientCause::Refused,
    ClientCause::Failed,
    ClientCause::Timeout,
    ClientCause::Held,
];

/// Adds a beacon's figures and answers 204. Beyond the rate it is dropped and only counted: a page has no use
/// for a refusal.
pub(super) fn take_beacon(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    body: &[u8],
) -> RequestFlow {
    if turn.carried.beacons.try_take(turn.now.mono_ms) {
        match Beacon::parse(body) {
            Ok(beacon) => add_figures(turn.counters(), &beacon),
            Err(problem) => {
                turn.counters().count(Count::RequestsBad);
                return answer_problem(roster, turn, slot, context, &problem);
            }
        }
    } else {
        turn.counters().add_client(ClientCount::BeaconsDropped, 1);
    }
    answer(roster, turn, slot, context, reply::append_no_content)
}

fn add_figures(counters: &Counters, beacon: &Beacon) {
    counters.add_client(ClientCount::Beacons, 1);
    for (count, value) in beacon.counts() {
        counters.add_client(count, value);
    }
    for (cause, times) in CAUSES.into_iter().zip(beacon.causes()) {
        counters.end_client_streams(cause, times);
    }
    // A delay counts as the upper bound of its class.
    for (bound_ms, times) in DELAY_BOUNDS_MS.into_iter().chain([DELAY_LONGEST_MS]).zip(beacon.delays) {
        if times > 0 {
            counters.client_delay.add(bound_ms * 1_000, times);
        }
    }
}
