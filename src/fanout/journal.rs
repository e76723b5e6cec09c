//! A journal: the kept events of one class of topics, each once, in publish order, so that the oldest goes
//! first.
//!
//! ```text
//! chunks   [ · · e3 · ] [ e5 e6 · e8 ] [ None ] [ e13 ]     an event leaves from anywhere: its slot empties
//!              ▲ front                                       a chunk without events gives its memory back
//! ```
//!
//! An event's sequence number says where it stands, so leaving costs O(1), and nothing is ever compacted: no
//! operation here looks at more than a few chunks. Knows neither topics nor time.

use std::collections::VecDeque;
use std::sync::Arc;

use super::shared_frame::SharedFrame;

/// Events of one chunk. Few, because a single event that is kept for long holds all slots of its chunk.
const CHUNK_EVENTS: u64 = 64;
/// Empty chunks passed in one look for the oldest event; the look goes on at the next call.
const CHUNKS_PER_LOOK: usize = 1_024;

/// Slots of consecutive sequence numbers.
#[derive(Debug)]
struct Chunk {
    slots: Box<[Option<Arc<SharedFrame>>]>,
    events: u32,
}

/// All kept events, and their memory.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// None where every event of the chunk has left.
    chunks: VecDeque<Option<Chunk>>,
    /// Sequence number of the first slot of the first chunk.
    first: u64,
    /// Slots of the first chunk that are known to be empty.
    passed: usize,
    next: u64,
    events: usize,
    bytes: usize,
}

impl Chunk {
    fn new() -> Chunk {
        Chunk { slots: (0..CHUNK_EVENTS).map(|_| None).collect(), events: 0 }
    }
}

impl Journal {
    /// An empty journal whose first event gets the number `first`.
    pub(crate) fn numbered_from(first: u64) -> Journal {
        Journal { first, next: first, ..Journal::default() }
    }

    /// The sequence number that the next event gets.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Events kept.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Bytes of memory of the events kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the event with a sequence number; none if it has left, or is still to come.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Arc<SharedFrame>> {
        let nth = sequence.checked_sub(self.first)?;
        let chunk = self.chunks.get((nth / CHUNK_EVENTS) as usize)?.as_ref()?;
        chunk.slots[(nth % CHUNK_EVENTS) as usize].as_ref()
    }

    /// Adds the newest event, whose sequence number is [`Journal::next_sequence`].
    pub(crate) fn push(&mut self, event: Arc<SharedFrame>) {
        assert_eq!(event.sequence(), self.next, "events are numbered in publish order");
        let nth = self.next - self.first;
        if nth / CHUNK_EVENTS == self.chunks.len() as u64 {
            self.chunks.push_back(Some(Chunk::new()));
        }
        // A chunk whose events have all left before it was full begins anew.
        let last = self.chunks.back_mut().expect("pushed above, or it holds the newest event");
        let chunk = last.get_or_insert_with(Chunk::new);
        self.bytes += event.memory_bytes();
        self.events += 1;
        self.next += 1;
        chunk.events += 1;
        chunk.slots[(nth % CHUNK_EVENTS) as usize] = Some(event);
    }

    /// Removes an event that no topic keeps any more, and returns it.
    pub(crate) fn remove(&mut self, sequence: u64) -> Arc<SharedFrame> {
        let nth = sequence - self.first;
        let place = &mut self.chunks[(nth / CHUNK_EVENTS) as usize];
        let chunk = place.as_mut().expect("an event that is kept has a chunk");
        let event = chunk.slots[(nth % CHUNK_EVENTS) as usize].take().expect("an event leaves once");
        chunk.events -= 1;
        if chunk.events == 0 {
            *place = None;
        }
        self.events -= 1;
        self.bytes -= event.memory_bytes();
        event
    }

    /// Returns the oldest event. `None` when nothing is kept, or when more empty chunks stand before it than
    /// one call passes: [`Journal::events`] tells.
    pub(crate) fn oldest(&mut self) -> Option<&Arc<SharedFrame>> {
        for _ in 0..CHUNKS_PER_LOOK {
            match self.chunks.front() {
                None => return None,
                Some(Some(_)) => break,
                // The chunk that is being filled stays, so that sequence numbers keep their places.
                Some(None) if self.chunks.len() == 1 => return None,
                Some(None) => self.drop_first(),
            }
        }
        let chunk = self.chunks.front()?.as_ref()?;
        let found = chunk.slots[self.passed..].iter().position(Option::is_some);
        self.passed += found.expect("a chunk with an event behind those passed");
        self.chunks.front()?.as_ref()?.slots[self.passed].as_ref()
    }

    /// Returns memory that a burst took, when most of it is unused.
    pub(crate) fn give_back(&mut self) {
        if self.chunks.capacity() > 1_024 && self.chunks.len() < self.chunks.capacity() / 8 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    fn drop_first(&mut self) {
        self.chunks.pop_front();
        self.first += CHUNK_EVENTS;
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::EventId;
    use crate::base::prng::Prng;
    use crate::fanout::shared_frame::{FrameMeter, Topics};
    use crate::wire::frame::Draft;
    use std::collections::BTreeMap;

    #[test]
    fn events_leave_from_anywhere_and_the_oldest_is_always_found() {
        let meter = Arc::new(FrameMeter::default());
        for seed in 0..50 {
            let mut prng = Prng::new(seed);
            let (mut journal, mut twin) = (Journal::default(), BTreeMap::new());
            for step in 1..3_000u64 {
                if prng.below(100) < 55 {
                    let frame = Draft::new(None, None, "x", None).seal(EventId::at_ms(step));
                    let sequence = journal.next_sequence();
                    let kept = SharedFrame::new(frame, &meter, 0, Topics::none(), sequence);
                    journal.push(Arc::clone(&kept));
                    twin.insert(sequence, kept);
                } else if !twin.is_empty() {
                    let nth = prng.below(twin.len() as u64) as usize;
                    let sequence = *twin.keys().nth(nth).expect("below its length");
                    twin.remove(&sequence);
                    journal.remove(sequence);
                }
                let asked = prng.below(journal.next_sequence() + 2);
                assert_eq!(
                    journal.get(asked).is_some(),
                    twin.contains_key(&asked),
                    "seed {seed}, step {step}"
                );
                let oldest = journal.oldest().map(|event| event.sequence());
                assert_eq!(oldest, twin.keys().next().copied(), "seed {seed}, step {step}");
                assert_eq!(journal.events(), twin.len());
                let bytes: usize = twin.values().map(|event| event.memory_bytes()).sum();
                assert_eq!(journal.bytes(), bytes);
                let span = twin.keys().next().map_or(0, |oldest| journal.next_sequence() - oldest);
                assert!(journal.chunks.len() as u64 <= span / CHUNK_EVENTS + 2, "seed {seed}, step {step}");
            }
        }
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    fn one_old_event_holds_its_chunk_and_no_others() {
        let meter = Arc::new(FrameMeter::default());
        let mut journal = Journal::default();
        let push = |journal: &mut Journal, ms: u64| {
            let frame = Draft::new(None, None, "x", None).seal(EventId::at_ms(ms));
            let sequence = journal.next_sequence();
            journal.push(SharedFrame::new(frame, &meter, 0, Topics::none(), sequence));
            sequence
        };
        let old = push(&mut journal, 1);
        for ms in 2..200_000 {
            let sequence = push(&mut journal, ms);
            journal.remove(sequence);
        }
        assert_eq!(journal.chunks.iter().flatten().count(), 1);
        assert_eq!(journal.oldest().map(|event| event.sequence()), Some(old));
        journal.remove(old);
        while !journal.chunks.is_empty() && journal.chunks.len() > 1 {
            assert!(journal.oldest().is_none());
        }
        assert!(journal.events() == 0 && meter.bytes() == 0);
    }
}
