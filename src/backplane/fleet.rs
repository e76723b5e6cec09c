//! The nodes of the fleet, as their entries tell of them.
//!
//! Each node writes an entry about itself each second. A node that has been silent for long is left out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::entry::NodeState;
use crate::base::id::EventId;
use crate::base::snapshot::FleetNode;

/// Nodes that are remembered: whoever writes into Redis must not fill our memory.
const NODES_MAX: usize = 256;
/// Silence after which a node counts as gone.
const SILENT_TIME: Duration = Duration::from_secs(10);

/// A node as it was heard of last.
#[derive(Debug)]
struct KnownNode {
    state: NodeState,
    position: EventId,
    heard: Instant,
}

/// All nodes that were heard of.
#[derive(Debug, Default)]
pub(super) struct FleetNodes {
    nodes: BTreeMap<u64, KnownNode>,
}

impl FleetNodes {
    /// Takes the news of a node; `position` is the id of the entry that brought them.
    pub(super) fn hear(&mut self, node: u64, state: NodeState, position: EventId, now: Instant) {
        self.nodes.retain(|_, known| now.duration_since(known.heard) < SILENT_TIME);
        if self.nodes.len() < NODES_MAX || self.nodes.contains_key(&node) {
            self.nodes.insert(node, KnownNode { state, position, heard: now });
        }
    }

    /// Returns the nodes that are alive, in the order of their numbers; `own` is this one.
    pub(super) fn list(&self, own: u64, now: Instant) -> Vec<FleetNode> {
        let silence = |known: &KnownNode| now.duration_since(known.heard);
        let alive = self.nodes.iter().filter(|(_, known)| silence(known) < SILENT_TIME);
        let show = |(&id, known): (&u64, &KnownNode)| FleetNode {
            id,
            name: known.state.name.clone(),
            is_self: id == own,
            subscribers: known.state.subscribers,
            round_trip_ms: known.state.round_trip_ms,
            draining: known.state.draining,
            position: known.position.to_string(),
            heard_ms: u64::try_from(silence(known).as_millis()).unwrap_or(u64::MAX),
        };
        alive.map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_listed_until_they_have_been_silent_for_long_and_their_number_is_bounded() {
        let state = |name: &str| NodeState {
            name: name.to_owned(),
            subscribers: 3,
            round_trip_ms: 1,
            draining: false,
        };
        let (mut fleet, start) = (FleetNodes::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        fleet.hear(2, state("b"), EventId::at_ms(5), at(0));
        fleet.hear(1, state("a"), EventId::at_ms(6), at(6));
        let names = |fleet: &FleetNodes, seconds| -> Vec<String> {
            fleet.list(1, at(seconds)).into_iter().map(|node| node.name).collect()
        };
        assert_eq!(names(&fleet, 7), ["a", "b"]);
        let own = &fleet.list(1, at(7))[0];
        assert!(own.is_self && own.position == "6-0" && own.heard_ms == 1_000);
        assert_eq!(names(&fleet, 11), ["a"]);
        for node in 0..1_000 {
            fleet.hear(node, state("x"), EventId::at_ms(7), at(12));
        }
        assert_eq!(fleet.list(1, at(12)).len(), NODES_MAX);
    }
}
