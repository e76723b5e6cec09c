//! The timer wheel of one worker: one timer for each slot, in buckets of one tick.
//!
//! ```text
//! arm(slot, due)      O(1)  the slot's only timer; arming again moves it
//! disarm(slot)        O(1)
//! expire(now, n, out)       slots whose tick has come, at most n of them, in tick order
//! ```
//!
//! Buckets are doubly linked lists through one array indexed by slot, so a timer costs 12 bytes and nothing
//! allocates after the array has grown. A timer further away than one turn of the wheel stays in its bucket
//! for several turns. Sending never touches the wheel: whoever armed a timer decides at expiry whether it is
//! really due and arms it again.

use crate::base::time::Tick;

/// Buckets; a power of two. At 32 ms a tick one turn lasts 65 s, longer than a heartbeat period.
const BUCKETS: usize = 2_048;
/// No slot.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    prev: u32,
    due: Tick,
}

/// See the module.
#[derive(Debug)]
pub struct Wheel {
    heads: Vec<u32>,
    nodes: Vec<Node>,
    /// Every timer due before this tick has been handed out.
    now: Tick,
    armed: usize,
}

const IDLE: Node = Node { next: NONE, prev: NONE, due: Tick::MAX };

impl Wheel {
    /// An empty wheel at tick `now`.
    pub fn new(now: Tick) -> Wheel {
        Wheel { heads: vec![NONE; BUCKETS], nodes: Vec::new(), now, armed: 0 }
    }

    /// Sets the slot's timer; a tick that has passed is due at the next `expire`.
    pub fn arm(&mut self, slot: u32, due: Tick) {
        let index = slot as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, IDLE);
        }
        self.disarm(slot);
        let due = due.max(self.now).min(Tick::MAX - 1);
        let head = &mut self.heads[due as usize % BUCKETS];
        let next = std::mem::replace(head, slot);
        self.nodes[index] = Node { next, prev: NONE, due };
        if next != NONE {
            self.nodes[next as usize].prev = slot;
        }
        self.armed += 1;
    }

    /// Removes the slot's timer, if it has one.
    pub fn disarm(&mut self, slot: u32) {
        let Some(node) = self.nodes.get(slot as usize).copied().filter(|node| node.due != Tick::MAX) else {
            return;
        };
        match node.prev {
            NONE => self.heads[node.due as usize % BUCKETS] = node.next,
            prev => self.nodes[prev as usize].next = node.next,
        }
        if node.next != NONE {
            self.nodes[node.next as usize].prev = node.prev;
        }
        self.nodes[slot as usize] = IDLE;
        self.armed -= 1;
    }

    /// Disarms and appends to `out` at most `most` slots due at or before `now`. Returns whether more are.
    pub fn expire(&mut self, now: Tick, most: usize, out: &mut Vec<u32>) -> bool {
        let mut left = most;
        while self.now <= now {
            if self.armed == 0 {
                self.now = now + 1;
                return false;
            }
            let mut slot = self.heads[self.now as usize % BUCKETS];
            while slot != NONE {
                let Node { next, due, .. } = self.nodes[slot as usize];
                if due <= self.now {
                    if left == 0 {
                        return true;
                    }
                    left -= 1;
                    self.disarm(slot);
                    out.push(slot);
                }
                slot = next;
            }
            self.now += 1;
        }
        false
    }

    /// The tick of the next bucket that holds a timer, within one turn of the wheel: when to look again.
    pub fn next_due(&self) -> Option<Tick> {
        if self.armed == 0 {
            return None;
        }
        let turn = BUCKETS as Tick;
        let found = (self.now..self.now.saturating_add(turn))
            .find(|&tick| self.heads[tick as usize % BUCKETS] != NONE);
        found.or(Some(self.now.saturating_add(turn)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeMap;

    /// The slow, obvious twin: a map from slot to tick, searched whole.
    #[derive(Default)]
    struct Twin(BTreeMap<u32, Tick>);

    impl Twin {
        fn expire(&mut self, now: Tick) -> Vec<u32> {
            let due: Vec<u32> = self.0.iter().filter(|(_, due)| **due <= now).map(|(s, _)| *s).collect();
            self.0.retain(|_, due| *due > now);
            due
        }
    }

    #[test]
    fn wheel_and_its_twin_agree_on_random_histories() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let (mut wheel, mut twin, mut now) = (Wheel::new(0), Twin::default(), 0);
            for _ in 0..2_000 {
                let slot = prng.below(64) as u32;
                match prng.below(8) {
                    0..=3 => {
                        let range = if prng.below(4) == 0 { 9_000 } else { 300 };
                        let due = now + prng.below(range) as Tick;
                        wheel.arm(slot, due);
                        twin.0.insert(slot, due.max(wheel.now));
                    }
                    4 => {
                        wheel.disarm(slot);
                        twin.0.remove(&slot);
                    }
                    _ => {
                        let range = if prng.below(50) == 0 { 10_000 } else { 40 };
                        now += prng.below(range) as Tick;
                        let mut got = Vec::new();
                        while wheel.expire(now, 1 + prng.below(5) as usize, &mut got) {}
                        got.sort_unstable();
                        assert_eq!(got, twin.expire(now), "seed {seed} tick {now}");
                        let next = twin.0.values().min().copied();
                        assert!(wheel.next_due().is_none() == next.is_none());
                        assert!(wheel.next_due().unwrap_or(0) <= next.unwrap_or(0));
                    }
                }
            }
        }
    }
}
