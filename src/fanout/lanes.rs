//! Queues of connections, so that none waits for the length of another. Each call that takes says which
//! queue has the precedence this time.
//!
//! Owns the order only; the worker sees whether a token still has an owner.

use std::collections::VecDeque;
use std::marker::PhantomData;

use super::token::ConnToken;

/// Kinds of connections that are queued apart from each other.
pub(crate) trait Lane: Copy {
    /// Position of the lane's queue.
    fn index(self) -> usize;
}

/// Lanes of connections to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadLane {
    /// Connections of the operator's listeners.
    Control,
    /// Connections of the public listener.
    Public,
    /// Connections whose request asks for much: it was looked at, and waits for those who ask for little.
    Costly,
}

/// Lanes of connections to be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteLane {
    /// Answers, heartbeats, streams that fell behind, and the first frames of replays.
    Short,
    /// Replays that have much left to read.
    Long,
}

impl Lane for ReadLane {
    fn index(self) -> usize {
        self as usize
    }
}

impl Lane for WriteLane {
    fn index(self) -> usize {
        self as usize
    }
}

/// The most lanes of one kind.
const LANES_MAX: usize = 3;

/// Tokens of connections, in one queue for each lane of `L`.
#[derive(Debug)]
pub(crate) struct LaneQueues<L> {
    queues: [VecDeque<ConnToken>; LANES_MAX],
    lanes: PhantomData<L>,
}

impl<L> Default for LaneQueues<L> {
    fn default() -> LaneQueues<L> {
        LaneQueues { queues: Default::default(), lanes: PhantomData }
    }
}

impl<L: Lane> LaneQueues<L> {
    /// Appends a token to the queue of `lane`.
    pub(crate) fn push(&mut self, lane: L, token: ConnToken) {
        self.queues[lane.index()].push_back(token);
    }

    /// Takes a token from the first of `lanes` that has any. Returns it with its lane.
    pub(crate) fn pop(&mut self, lanes: &[L]) -> Option<(ConnToken, L)> {
        lanes.iter().find_map(|&lane| self.queues[lane.index()].pop_front().map(|token| (token, lane)))
    }

    /// Number of tokens in all queues.
    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Whether all queues are empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_one_goes_first_and_an_empty_one_costs_the_other_nothing() {
        use WriteLane::{Long, Short};
        let mut queues = LaneQueues::default();
        for (lane, number) in [(Long, 0), (Long, 1), (Short, 10), (Short, 11)] {
            queues.push(lane, ConnToken(number));
        }
        let mut take = |lanes: &[WriteLane]| queues.pop(lanes).map(|(token, lane)| (token.0, lane));
        assert_eq!(take(&[Long, Short]), Some((0, Long)));
        assert_eq!(take(&[Short, Long]), Some((10, Short)));
        assert_eq!(take(&[Short]), Some((11, Short)));
        assert_eq!(take(&[Short]), None);
        assert_eq!(take(&[Short, Long]), Some((1, Long)));
        assert!(queues.is_empty());
    }
}
