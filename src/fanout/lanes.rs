//! Two queues of connections, so that neither waits for the length of the other: whoever takes from them says
//! which has the precedence this time.
//!
//! Owns the order only; whether a token still has an owner is the worker's to see.

use std::collections::VecDeque;

use super::conn::ConnToken;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The operator's connections to read; short output.
    First,
    /// Public connections to read; long output.
    Second,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Lanes {
    first: VecDeque<ConnToken>,
    second: VecDeque<ConnToken>,
}

impl Lanes {
    /// Appends to one of the queues.
    pub fn push(&mut self, lane: Lane, token: ConnToken) {
        match lane {
            Lane::First => self.first.push_back(token),
            Lane::Second => self.second.push_back(token),
        }
    }

    /// Takes from the first of these queues that has something; says which it was.
    pub fn pop(&mut self, lanes: &[Lane]) -> Option<(ConnToken, Lane)> {
        lanes.iter().find_map(|&lane| {
            let queue = if lane == Lane::First { &mut self.first } else { &mut self.second };
            queue.pop_front().map(|token| (token, lane))
        })
    }

    /// Tokens in both.
    pub fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Whether neither has any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_one_goes_first_and_an_empty_one_costs_the_other_nothing() {
        use Lane::{First, Second};
        let mut queues = Lanes::default();
        for (lane, number) in [(Second, 0), (Second, 1), (First, 10), (First, 11)] {
            queues.push(lane, ConnToken(number));
        }
        let mut take = |lanes: &[Lane]| queues.pop(lanes).map(|(token, lane)| (token.0, lane));
        assert_eq!(take(&[Second, First]), Some((0, Second)));
        assert_eq!(take(&[First, Second]), Some((10, First)));
        assert_eq!(take(&[First]), Some((11, First)));
        assert_eq!(take(&[First]), None);
        assert_eq!(take(&[First, Second]), Some((1, Second)));
        assert!(queues.is_empty());
    }
}
