//! Facts about newest events of keys that outlive the history of their topics.

use super::*;
use crate::base::limits::TOPIC_LINGER_MS;
use crate::base::settings::Settings;
use crate::fanout::hub::classes::tests::class;
use crate::fanout::hub::tests::{at, hub, join, named, post};
use crate::fanout::hub::{Hub, NewEvent, WalkStep, WorkerInterest};
use crate::wire::frame::Draft;
use crate::wire::subscription::StreamStart;

/// Publishes events of one topic, each as `key=data`; one without a key has none.
fn publish_keyed(hub: &Hub, topic: &str, events: &[&str], now: Now) {
    for event in events {
        let (key, data) = event.split_once('=').unwrap_or(("", event));
        let key = Some(key).filter(|key| !key.is_empty()).map(Box::from);
        let event = NewEvent { topics: vec![topic.into()], draft: Draft::new(None, None, data, key) };
        hub.publish_at_once(vec![event], None, now).expect("there is room");
    }
}

/// The keys of all events that a reader of the state of a topic finds, oldest first; `-` for none.
fn state(hub: &Hub, topic: &str) -> String {
    let inner = hub.lock();
    let Some(index) = inner.find_topic(topic) else { return "no topic".to_owned() };
    let mut walk = inner.walk_after(&[index], EventId::ZERO, |_| true);
    let mut keys = Vec::new();
    while let WalkStep::Event(event) = walk.step(usize::MAX) {
        keys.push(event.key().unwrap_or("-"));
    }
    keys.join(" ")
}

fn events(history_events: usize, history_keys: usize) -> impl FnOnce(&mut Settings) {
    move |settings| (settings.history_events, settings.history_keys) = (history_events, history_keys)
}

#[test]
fn events_that_become_retained_by_their_age_leave_memory_within_its_bound() {
    let bound = 6_000;
    let (hub, _inboxes) = hub(|settings| {
        (settings.history_keys, settings.history_bytes_max, settings.history_ms) = (100, bound, 1_000);
    });
    let keys: Vec<String> = (0..100).map(|nth| format!("{nth}=x")).collect();
    publish_keyed(&hub, "t", &keys.iter().map(String::as_str).collect::<Vec<_>>(), at(1));
    for ms in [1_000, 2_000, 3_000] {
        while hub.sweep(at(ms)) {}
        let bytes = hub.sizes().bytes;
        assert!((bound / 4..=bound).contains(&bytes), "{bytes} bytes at {ms} ms");
    }
}

#[test]
fn the_newest_event_of_each_key_outlives_the_history_until_a_newer_one_comes() {
    let (hub, _inboxes) = hub(events(2, 3));
    publish_keyed(&hub, "t", &["a=1", "b=2", "a=3", "4", "c=5"], at(1));
    assert_eq!((state(&hub, "t"), hub.sizes().retained), ("b a - c".to_owned(), 2));
    publish_keyed(&hub, "t", &["b=6", "b=7", "d=8", "e=9"], at(1));
    assert_eq!(state(&hub, "t"), "a c b d e", "three, and the history");
    publish_keyed(&hub, "t", &["f=10"], at(1));
    assert_eq!(state(&hub, "t"), "c b d e f", "the oldest has gone");
    // Age moves the history on, too, and the topic stays.
    hub.sweep(at(900_000));
    assert_eq!((state(&hub, "t"), hub.sizes().frames), ("d e f".to_owned(), 0));
    let joined = join(&hub, &["t"], StreamStart::Snapshot { changes: 0 }, at(900_000));
    assert!(joined.state_position < joined.position, "a snapshot begins before the history");
    hub.replace_classes(&Settings { history_keys: 1, ..Settings::default() });
    while hub.sort_topics(at(900_000)) {}
    assert_eq!(state(&hub, "t"), "f");
    let mut forgetting = hub.begin_forgetting("t").expect("a topic");
    while hub.forget_some(&mut forgetting, at(900_000)) {}
    hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(900_000));
    hub.sweep(at(900_000 + TOPIC_LINGER_MS));
    let sizes = hub.sizes();
    assert_eq!((forgetting.events(), sizes.topics, sizes.bytes, sizes.alive_bytes), (1, 0, 0, 0));
}

#[test]
fn a_reader_of_states_misses_what_left_without_a_newer_event_of_its_key() {
    let (hub, _inboxes) = hub(events(1, 1));
    let floors = |hub: &Hub| {
        let inner = hub.lock();
        let log = inner.log(inner.find_topic("t").expect("a topic"));
        let since_start = |id: EventId| id.ms() - inner.start.ms();
        (since_start(log.state_floor()), since_start(log.floor()))
    };
    publish_keyed(&hub, "t", &["a=1"], at(11));
    publish_keyed(&hub, "t", &["a=1"], at(12));
    publish_keyed(&hub, "t", &["b=1"], at(13));
    assert_eq!(floors(&hub), (0, 12), "a newer event of the key is kept");
    publish_keyed(&hub, "t", &["c=1"], at(14));
    assert_eq!(floors(&hub), (12, 13), "one key too many");
    publish_keyed(&hub, "t", &["5"], at(15));
    publish_keyed(&hub, "t", &["b=6"], at(16));
    assert_eq!(floors(&hub), (15, 15), "it had no key");
}

#[test]
fn retained_events_have_half_of_the_memory_and_the_history_gives_way_to_them() {
    let bytes = 100_000;
    let (hub, _inboxes) = hub(|settings| {
        settings.history_bytes_max = bytes;
        settings.classes = vec![class("keys", "k.*", |keys| {
            (keys.history_events, keys.history_keys) = (1, 1_000);
        })];
    });
    let key = |nth: usize| format!("key{nth}={}", "x".repeat(500));
    (0..20).for_each(|nth| publish_keyed(&hub, "k.1", &[&key(nth)], at(1)));
    (0..500).for_each(|_| publish_keyed(&hub, "other", &["x"], at(2)));
    assert_eq!(hub.sizes().retained, 20, "the history goes first, and theirs with it");
    (0..200).for_each(|nth| publish_keyed(&hub, "k.2", &[&key(nth)], at(3)));
    (0..500).for_each(|_| publish_keyed(&hub, "other", &["x"], at(4)));
    let retained = hub.lock().retained.bytes();
    assert!(retained <= bytes / RETAINED_SHARE && retained > bytes / 3, "{retained}");
    assert!(hub.sizes().bytes <= bytes && !state(&hub, "k.1").contains("key0 "), "the oldest have gone");
}

#[test]
fn a_topic_that_only_retains_events_gives_way_to_a_publisher() {
    let (hub, _inboxes) = hub(|settings| {
        (settings.topics_max, settings.history_ms, settings.history_keys) = (2, 10, 9);
    });
    publish_keyed(&hub, "a", &["k=1"], at(1));
    publish_keyed(&hub, "b", &["k=2"], at(2));
    hub.sweep(at(50));
    assert_eq!((hub.sizes().topics, hub.sizes().frames), (2, 0));
    hub.publish_at_once(vec![post(&["c"], "x")], None, at(51)).expect("there is room");
    assert_eq!((state(&hub, "a"), state(&hub, "b")), ("no topic".to_owned(), "k".to_owned()));
    let refused = hub.subscribe(0, named(&["d".into()]), &StreamStart::Now, at(52));
    assert!(refused.is_err(), "a subscriber has to wait");
}
