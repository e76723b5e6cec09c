//! Facts about the topics of a worker: rounds, their order, and windows.

use super::*;
use crate::base::limits::{ARRAY_BYTES_MAX, WAITING_BYTES_MAX};
use crate::base::prng::Prng;
use crate::base::settings::BatchForm;
use crate::fanout::shared_frame::{FrameMeter, Topics};
use crate::fanout::windows::WindowContent;
use crate::wire::frame::Draft;
use std::collections::BTreeMap;

#[test]
fn removal_during_a_round_neither_skips_nor_repeats_anyone() {
    for seed in 0..500 {
        let mut prng = Prng::new(seed);
        let mut topics = LocalTopics::new(SeededHash::new(seed));
        let mut places: BTreeMap<u32, u32> = (0..1 + prng.below(20) as u32)
            .map(|slot| {
                (
                    slot,
                    topics.add_subscriber(TopicRef { index: 7, incarnation: 1 }, slot, EventId::ZERO).index,
                )
            })
            .collect();
        let mut unserved: Vec<u32> = places.keys().copied().collect();
        let topic = 0;
        while let Some(entry) = topics.topics.get_mut(topic as usize) {
            if entry.cursor == entry.subscribers.len() {
                break;
            }
            if prng.below(2) == 0 {
                let slot = entry.subscribers[entry.cursor];
                entry.cursor += 1;
                let found = unserved.iter().position(|&s| s == slot).expect("served once");
                unserved.remove(found);
            } else {
                let nth = prng.below(places.len() as u64) as usize;
                let (&slot, &index) = places.iter().nth(nth).expect("not empty");
                topics.remove_subscriber(SubscriberPlace { topic, index }, |slot, index| {
                    places.insert(slot, index);
                });
                places.remove(&slot);
                unserved.retain(|&s| s != slot);
            }
            for (slot, index) in &places {
                assert_eq!(topics.get(topic).subscribers[*index as usize], *slot, "seed {seed}");
            }
        }
        assert!(unserved.is_empty(), "seed {seed}: {unserved:?} were skipped");
    }
}

/// A window that all its events leave.
fn batches(ms: u64, events_max: usize) -> WindowRules {
    WindowRules { ms, events_max, content: WindowContent::All, form: BatchForm::Events }
}

/// Topics of a worker, all with this window, and the events delivered to them so far.
struct Windowed {
    topics: LocalTopics,
    meter: Arc<FrameMeter>,
    ids: u64,
}

impl Windowed {
    fn new(topics: u32, rules: WindowRules) -> Windowed {
        let mut all = LocalTopics::new(SeededHash::new(1));
        for index in 0..topics {
            let place = all.add_subscriber(TopicRef { index, incarnation: 1 }, index, EventId::ZERO);
            all.set_window(place.topic, Some(rules));
        }
        Windowed { topics: all, meter: Arc::new(FrameMeter::default()), ids: 0 }
    }

    fn deliver(&mut self, index: u32, at_ms: i64, data: &str) {
        self.deliver_keyed(index, at_ms, data, None);
    }

    fn deliver_keyed(&mut self, index: u32, at_ms: i64, data: &str, key: Option<&str>) {
        self.ids += 1;
        let frame = Draft::new(None, None, data, key.map(Box::from)).seal(EventId::at_ms(self.ids));
        let topics = Topics::One(TopicRef { index, incarnation: 1 });
        let event = SharedFrame::new(frame, &self.meter, at_ms * 1_000, topics, 0);
        event.expect_rounds(1);
        self.topics.deliver(&event);
    }

    /// Lets the running round of the first topic end. Returns its frames.
    fn finish_round(&mut self) -> usize {
        let before = self.topics.get(0).fresh.len();
        self.topics.advance_round(0, 1, |_| {});
        before - self.topics.get(0).fresh.len()
    }
}

#[test]
fn events_wait_from_the_first_of_them_until_the_window_ends_or_is_full() {
    let mut all = Windowed::new(2, batches(100, 3));
    all.deliver(0, 1_000, "x");
    all.deliver(1, 1_020, "x");
    all.deliver(0, 1_090, "x");
    let EndedWindows { windows, .. } = all.topics.end_windows(1_099);
    assert_eq!((windows, all.topics.has_rounds(), all.topics.waiting_events()), (0, false, 3));
    assert_eq!((all.topics.fresh_frames(), all.topics.window_ends_ms()), (0, Some(1_100)));
    let ended = all.topics.end_windows(1_100);
    assert_eq!(ended, EndedWindows { windows: 1, cut: 0, events: 2, superseded: 0 });
    assert_eq!((all.topics.fresh_frames(), all.topics.window_ends_ms()), (2, Some(1_120)));
    // One that comes during the round waits for the next window, from its own moment on.
    all.topics.advance_round(0, 0, |_| {});
    all.topics.topics[0].cursor = 1;
    all.deliver(0, 1_130, "x");
    assert_eq!(all.finish_round(), 2);
    assert_eq!((all.topics.waiting_events(), all.topics.fresh_frames()), (2, 0));
    assert_eq!(all.topics.end_windows(1_200).events, 1, "that of the other topic");
    all.deliver(0, 1_201, "x");
    all.deliver(0, 1_202, "x");
    assert!(all.topics.get(0).has_round(), "as many as the window takes");
    assert_eq!(all.topics.end_windows(0), EndedWindows { windows: 1, cut: 0, events: 3, superseded: 0 });
    assert_eq!((all.topics.fresh_frames(), all.topics.waiting_events()), (4, 0));
}

#[test]
fn windows_end_early_when_more_waits_than_may() {
    let mut all = Windowed::new(2, batches(60_000, SEND_FRAMES_MAX));
    let large = "x".repeat(WAITING_BYTES_MAX / 4);
    all.deliver(1, 500, "x");
    for _ in 0..3 {
        all.deliver(0, 1_000, &large);
    }
    assert_eq!(all.topics.end_windows(1_000), EndedWindows::default());
    all.deliver(0, 1_000, &large);
    assert_eq!(all.topics.end_windows(1_000), EndedWindows { windows: 2, cut: 2, events: 5, superseded: 0 });
    assert_eq!(all.topics.waiting_events(), 0);
}

#[test]
fn what_waits_is_offered_when_its_topic_loses_its_window_and_forgotten_with_the_topic() {
    let mut all = Windowed::new(2, batches(100, 9));
    all.deliver(0, 0, "x");
    all.deliver(1, 0, "x");
    let stale = all.topics.next_stale_windows(1);
    assert_eq!((stale, all.topics.has_stale_windows()), (vec![0, 1], false));
    assert!(all.topics.next_stale_windows(1).is_empty(), "once for each sorting");
    all.topics.set_window(0, None);
    assert!(all.topics.get(0).has_round());
    all.topics.remove_subscriber(SubscriberPlace { topic: 1, index: 0 }, |_, _| {});
    assert_eq!((all.topics.waiting_events(), all.topics.window_ends_ms()), (0, None));
    all.deliver(0, 0, "x");
    assert_eq!((all.finish_round(), all.topics.fresh_frames()), (2, 0));
}

/// A window that throttles to 100 ms.
const THROTTLE: WindowRules =
    WindowRules { ms: 100, events_max: usize::MAX, content: WindowContent::Newest, form: BatchForm::Events };

#[test]
fn a_throttled_topic_offers_the_newest_event_of_each_key_once_a_window() {
    let mut all = Windowed::new(1, THROTTLE);
    for (at_ms, key) in [(1_000, "a"), (1_010, "b"), (1_020, "a"), (1_030, "a")] {
        all.deliver_keyed(0, at_ms, "x", Some(key));
    }
    all.deliver(0, 1_040, "without a key");
    assert_eq!(all.topics.waiting_events(), 3);
    assert_eq!(all.topics.end_windows(1_099), EndedWindows { superseded: 2, ..EndedWindows::default() });
    // The worker is late, and so is the next end.
    assert_eq!(all.topics.end_windows(1_150).events, 3);
    let ids =
        |all: &Windowed| all.topics.get(0).fresh.iter().map(|frame| frame.id().ms()).collect::<Vec<_>>();
    assert_eq!(ids(&all), [2, 4, 5]);
    for at_ms in [1_120, 1_140] {
        all.deliver_keyed(0, at_ms, "x", Some("b"));
    }
    assert_eq!((ids(&all), all.topics.get(0).offered_frames()), (vec![2, 4, 5, 7], 3));
    assert_eq!((all.finish_round(), all.topics.waiting_events(), all.topics.fresh_frames()), (3, 1, 0));
    assert_eq!((all.topics.end_windows(1_249).events, all.topics.window_ends_ms()), (0, Some(1_250)));
    assert_eq!((all.topics.end_windows(1_250).events, all.finish_round()), (1, 1));
}

#[test]
fn an_array_stands_for_the_events_of_a_round_and_is_of_bounded_size() {
    let rules = WindowRules { form: BatchForm::Array, ..batches(100, 9) };
    let mut all = Windowed::new(1, rules);
    let large = "x".repeat(ARRAY_BYTES_MAX * 2 / 3);
    ["1", &large, &large, "4"].iter().for_each(|data| all.deliver(0, 1_000, data));
    assert_eq!(all.topics.end_windows(1_100).events, 4);
    for (events, last) in [(2, 2), (2, 4)] {
        let array = all.topics.get(0).array().expect("one for the round");
        assert_eq!((array.id().ms(), array.at_us()), (last, 1_000_000), "the wait counts");
        let payload = array.payload();
        assert!(payload.starts_with("{\"batch\":[") && payload.ends_with("],\"count\":2}"));
        assert_eq!(all.finish_round(), events);
    }
    assert!(all.topics.get(0).array().is_none() && !all.topics.has_rounds());
    assert_eq!(all.meter.bytes(), 0);
}

#[test]
fn more_keys_than_one_send_carries_leave_with_one_window() {
    let mut all = Windowed::new(1, THROTTLE);
    let keys = SEND_FRAMES_MAX + 44;
    (0..keys).for_each(|key| all.deliver_keyed(0, 1_000, "x", Some(&key.to_string())));
    assert_eq!(all.topics.end_windows(1_100).events, keys as u64);
    // One of the second round, and again: it waits for the next window, and that event for none.
    all.deliver_keyed(0, 1_101, "x", Some("299"));
    assert_eq!((all.finish_round(), all.topics.has_rounds()), (SEND_FRAMES_MAX, true));
    all.deliver_keyed(0, 1_102, "x", Some("299"));
    assert_eq!((all.finish_round(), all.topics.has_rounds()), (44, false));
    assert_eq!((all.topics.waiting_events(), all.topics.window_ends_ms()), (1, Some(1_202)));
    assert_eq!(all.topics.end_windows(1_102).superseded, 1);
    all.topics.remove_subscriber(SubscriberPlace { topic: 0, index: 0 }, |_, _| {});
    assert_eq!((all.topics.waiting_events(), all.topics.fresh_frames(), all.meter.bytes()), (0, 0, 0));
}

#[test]
fn short_rounds_wait_for_no_long_one_and_long_ones_take_turns() {
    let mut topics = LocalTopics::new(SeededHash::new(1));
    let meter = Arc::new(FrameMeter::default());
    let refs = [0, 1, 2].map(|index| TopicRef { index, incarnation: 1 });
    for (slot, topic) in (0..300).zip(refs.iter().cycle().take(200).chain([&refs[2]])) {
        if topic.index < 2 || slot == 200 {
            topics.add_subscriber(*topic, slot, EventId::ZERO);
        }
    }
    for (nth, topic) in refs.iter().enumerate() {
        let frame = Draft::new(None, None, "x", None).seal(EventId::at_ms(nth as u64 + 1));
        topics.deliver(&SharedFrame::new(frame, &meter, 0, Topics::One(*topic), 0));
    }
    assert_eq!(*topics.rounds(RoundLength::Short), [2]);
    assert_eq!(*topics.rounds(RoundLength::Long), [0, 1]);
    topics.advance_round(0, 10, |_| {});
    assert_eq!(*topics.rounds(RoundLength::Long), [1, 0], "the other one is next");
    topics.advance_round(1, topics.get(1).subscribers.len(), |_| {});
    topics.advance_round(2, 1, |_| {});
    assert!(topics.rounds(RoundLength::Short).is_empty());
    assert_eq!((topics.get(0).cursor, *topics.rounds(RoundLength::Long) == [0]), (10, true));
}
