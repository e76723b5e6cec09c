//! Walks and searches against a slow twin: all frames of all logs, sorted.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::*;
use crate::base::prng::Prng;
use crate::fanout::hub::tests::{at, hub, named};
use crate::fanout::hub::{Hub, NewEvent};
use crate::wire::frame::Draft;
use crate::wire::subscription::StreamStart;

const TOPICS: u64 = 12;

/// A hub whose events are in one topic each, or in many, and that has forgotten some.
fn filled_hub(prng: &mut Prng) -> (Hub, Vec<u32>) {
    let history_events = 1 + prng.below(60) as usize;
    let (hub, _inboxes) = hub(|settings| settings.history_events = history_events);
    let names: Vec<Box<str>> = (0..TOPICS).map(|nth| nth.to_string().into()).collect();
    let joined = hub.subscribe(0, named(&names), &StreamStart::Now, at(1)).expect("there is room");
    let share = prng.below(101);
    let mortal = [0, 0, 10, 90][prng.below(4) as usize];
    for ms in 0..200 {
        let mut topics: Vec<Box<str>> = names.iter().filter(|_| prng.below(100) < share).cloned().collect();
        if topics.is_empty() {
            topics.push(names[prng.below(TOPICS) as usize].clone());
        }
        let life_ms = NonZeroU32::new(1 + prng.below(250) as u32).filter(|_| prng.below(100) < mortal);
        let event = NewEvent { topics, draft: Draft::new(None, None, "x", None).with_ttl_ms(life_ms) };
        hub.publish_at_once(vec![event], None, at(ms)).expect("there is room");
    }
    let indices = joined.topics.iter().map(|topic| topic.index).collect();
    (hub, indices)
}

/// All events that these topics keep.
fn kept_ids(hub: &HubState, indices: &[u32]) -> BTreeSet<EventId> {
    let ids = |index: &u32| hub.log(*index).after(EventId::ZERO).map(|frame| frame.id());
    indices.iter().flat_map(ids).collect()
}

#[test]
fn a_walk_finds_each_event_once_in_order_however_often_it_is_cut() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let (hub, all) = filled_hub(&mut prng);
        let indices = &all[..1 + prng.below(TOPICS) as usize];
        let hub = hub.lock();
        let twin = kept_ids(&hub, indices);
        let nth = prng.below(twin.len() as u64 + 1) as usize;
        let mut position = twin.iter().nth(nth).copied().unwrap_or(EventId::ZERO);
        let expected: Vec<EventId> = twin.range(position..).filter(|id| **id > position).copied().collect();
        let mut got = Vec::new();
        'walks: loop {
            let mut walk = hub.walk_after(indices, position, |_| false);
            let steps_max = walk.steps() + 1 + prng.below(40) as usize;
            loop {
                match walk.step(steps_max) {
                    WalkStep::Event(event) => got.push(event.id()),
                    WalkStep::Enough => break,
                    WalkStep::End => break 'walks,
                }
                assert_eq!(got.last(), Some(&walk.seen()));
            }
            assert!(walk.seen() > position, "seed {seed}: a walk that does not get on");
            position = walk.seen();
        }
        assert_eq!(got, expected, "seed {seed}");
    }
}

#[test]
fn a_search_finds_the_position_before_the_newest_in_slices_of_any_length() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let (hub, all) = filled_hub(&mut prng);
        let indices = &all[..1 + prng.below(TOPICS) as usize];
        let hub = hub.lock();
        let lives = |event: &&Arc<SharedFrame>| !event.is_past(hub.now_ms);
        let ids = |index: &u32| hub.log(*index).after(EventId::ZERO).filter(lives).map(|event| event.id());
        let twin: BTreeSet<EventId> = indices.iter().flat_map(ids).collect();
        for count in [0, 1, 2, prng.below(100) as usize, twin.len(), twin.len() + 1] {
            let expected = twin.iter().rev().nth(count).copied().unwrap_or(EventId::ZERO);
            let mut search = NewestSearch::new(count);
            let found = loop {
                let steps_max = indices.len() + 1 + prng.below(60) as usize;
                if let SearchProgress::Found(position) = search.run(&hub, indices, steps_max) {
                    break position;
                }
            };
            assert_eq!(found, expected, "seed {seed}, the newest {count}");
        }
    }
}
