//! The timer wheel of one worker: one timer for each slot, in buckets of one tick.
//!
//! ```text
//! arm(slot, due)      O(1)  the slot's only timer; arming again moves it
//! disarm(slot)        O(1)
//! expire(now, n, out)       slots whose tick has come, at most n of them, in tick order
//!
//! a lap is LAP ticks:   this lap: a bucket for each tick    later laps: a bucket for each lap
//! ```
//!
//! Timers of a later lap are spread over the ticks when their lap begins, so that a worker whose timers are
//! far away is woken once a lap and not at every tick. Spreading is bounded as expiry is, since mostly all
//! timers of a worker are in one bucket. Buckets are doubly linked lists through one array indexed by slot: a
//! timer costs 12 bytes and nothing allocates after the array has grown.
//!
//! Sending never touches the wheel: at expiry the owner of a timer decides whether it is really due, and arms
//! it again if not.

use crate::base::time::Tick;

/// Ticks in a lap: 65 s at 32 ms a tick, longer than a heartbeat period.
const LAP: Tick = 2_048;
/// Buckets for later laps: 19 hours. A timer further away meets its bucket several times.
const LAPS: Tick = 1_024;
/// The bucket of timers whose lap has begun and that are not yet spread.
const SPREADING: usize = (LAP + LAPS) as usize;
/// The slot number that ends a list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct TimerNode {
    next: u32,
    prev: u32,
    due: Tick,
}

/// Timers of one worker, at most one for each slot.
#[derive(Debug)]
pub struct TimerWheel {
    /// First slot of each bucket: the ticks of this lap, the later laps, then `SPREADING`.
    heads: Vec<u32>,
    nodes: Vec<TimerNode>,
    /// The earliest tick not handed out in full.
    now: Tick,
    /// The lap whose timers are in buckets of one tick.
    lap: Tick,
    armed: usize,
}

const IDLE: TimerNode = TimerNode { next: NONE, prev: NONE, due: Tick::MAX };

impl TimerWheel {
    /// Returns an empty wheel at tick `now`.
    pub fn new(now: Tick) -> TimerWheel {
        TimerWheel { heads: vec![NONE; SPREADING + 1], nodes: Vec::new(), now, lap: now / LAP, armed: 0 }
    }

    /// Sets the slot's timer; a tick that has passed is due at the next `expire`.
    pub fn arm(&mut self, slot: u32, due: Tick) {
        let index = slot as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, IDLE);
        }
        self.disarm(slot);
        let due = due.max(self.now).min(Tick::MAX - 1);
        let bucket = self.bucket(due);
        let next = std::mem::replace(&mut self.heads[bucket], slot);
        self.nodes[index] = TimerNode { next, prev: NONE, due };
        if next != NONE {
            self.nodes[next as usize].prev = slot;
        }
        self.armed += 1;
    }

    /// Removes the slot's timer, if it has one.
    pub(crate) fn disarm(&mut self, slot: u32) {
        let Some(node) = self.nodes.get(slot as usize).copied().filter(|node| node.due != Tick::MAX) else {
            return;
        };
        match node.prev {
            NONE => {
                let bucket = self.bucket(node.due);
                let bucket = if self.heads[bucket] == slot { bucket } else { SPREADING };
                assert_eq!(self.heads[bucket], slot, "the first of a bucket");
                self.heads[bucket] = node.next;
            }
            prev => self.nodes[prev as usize].next = node.next,
        }
        if node.next != NONE {
            self.nodes[node.next as usize].prev = node.prev;
        }
        self.nodes[slot as usize] = IDLE;
        self.armed -= 1;
    }

    /// Returns the tick of the slot's timer; without one, `Tick::MAX`.
    pub(crate) fn due(&self, slot: u32) -> Tick {
        self.nodes.get(slot as usize).map_or(Tick::MAX, |node| node.due)
    }

    /// Index of the bucket for a timer due at a tick.
    fn bucket(&self, due: Tick) -> usize {
        let lap = due / LAP;
        if lap == self.lap { (due % LAP) as usize } else { (LAP + lap % LAPS) as usize }
    }

    /// Disarms and appends to `out` at most `most` slots due at or before `now`. Timers that are only spread
    /// count, too. Returns whether another call has more to do.
    pub fn expire(&mut self, now: Tick, most: usize, out: &mut Vec<u32>) -> bool {
        let mut left = most;
        while self.now <= now {
            if self.armed == 0 {
                self.now = now + 1;
                self.lap = self.now / LAP;
                return false;
            }
            if self.now / LAP != self.lap {
                self.lap = self.now / LAP;
                let bucket = (LAP + self.lap % LAPS) as usize;
                self.heads[SPREADING] = std::mem::replace(&mut self.heads[bucket], NONE);
            }
            while self.heads[SPREADING] != NONE {
                if left == 0 {
                    return true;
                }
                left -= 1;
                let slot = self.heads[SPREADING];
                self.arm(slot, self.due(slot));
            }
            let bucket = (self.now % LAP) as usize;
            while self.heads[bucket] != NONE {
                if left == 0 {
                    return true;
                }
                left -= 1;
                out.push(self.heads[bucket]);
                self.disarm(self.heads[bucket]);
            }
            self.now += 1;
        }
        false
    }

    /// Ticks by which expiry is late: from the earliest tick not handed out in full until `now`.
    pub(crate) fn lag(&self, now: Tick) -> Tick {
        now.saturating_sub(self.now)
    }

    /// The tick of the next `expire`: the next one that has a timer, or the beginning of the next lap.
    pub(crate) fn next_due(&self) -> Option<Tick> {
        if self.armed == 0 {
            return None;
        }
        let lap_end = (self.now / LAP + 1).saturating_mul(LAP);
        if self.now / LAP != self.lap || self.heads[SPREADING] != NONE {
            return Some(self.now);
        }
        (self.now..lap_end).find(|&tick| self.heads[(tick % LAP) as usize] != NONE).or(Some(lap_end))
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
    fn the_beginning_of_a_lap_is_bounded_as_expiry_is() {
        let (mut wheel, mut due, mut calls) = (TimerWheel::new(0), Vec::new(), 1);
        (0..10_000).for_each(|slot| wheel.arm(slot, LAP + 100));
        while wheel.expire(LAP, 1_000, &mut due) {
            assert_eq!((wheel.next_due(), due.len()), (Some(LAP), 0));
            // One that waits to be spread, and one that has been.
            wheel.disarm(10 * calls);
            wheel.disarm(9_999 - 10 * calls);
            calls += 1;
        }
        assert_eq!((calls, wheel.next_due()), (10, Some(LAP + 100)));
        while wheel.expire(LAP + 100, 1_000, &mut due) {}
        assert_eq!(due.len(), 10_000 - 2 * 9);
    }

    #[test]
    fn wheel_and_its_twin_agree_on_random_histories() {
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let (mut wheel, mut twin, mut now) = (TimerWheel::new(0), Twin::default(), 0);
            for _ in 0..2_000 {
                let slot = prng.below(64) as u32;
                match prng.below(8) {
                    0..=3 => {
                        let range = [300, 300, 9_000, 5_000_000][prng.below(4) as usize];
                        let due = now + prng.below(range) as Tick;
                        wheel.arm(slot, due);
                        twin.0.insert(slot, due.max(wheel.now));
                    }
                    4 => {
                        wheel.disarm(slot);
                        twin.0.remove(&slot);
                    }
                    _ => {
                        let range =
                            [40, 10_000, 3_000_000][(prng.below(50) / 48 + prng.below(200) / 199) as usize];
                        now += prng.below(range) as Tick;
                        let mut got = Vec::new();
                        while wheel.expire(now, 1 + prng.below(5) as usize, &mut got) {}
                        got.sort_unstable();
                        assert_eq!(got, twin.expire(now), "seed {seed} tick {now}");
                        let next = twin.0.values().min().copied();
                        assert_eq!(wheel.next_due().is_none(), next.is_none());
                        if let Some(next) = next {
                            let look = wheel.next_due().expect("a timer is armed");
                            assert!(look == next || (look < next && look % LAP == 0), "{look} {next}");
                        }
                    }
                }
            }
        }
    }
}
