//! Facts about classes of topics in the hub.

use super::*;
use crate::base::class::{ClassSettings, NamedClass};
use crate::base::id::EventId;
use crate::base::settings::SlowPolicy;
use crate::base::topic::TopicPattern;
use crate::fanout::hub::order_tests::id;
use crate::fanout::hub::tests::{at, hub, join, post, publish};
use crate::fanout::hub::{OrderedEvent, WorkerInterest};
use crate::wire::subscription::StreamStart;

/// A class of the topics that one pattern matches.
pub(in crate::fanout::hub) fn class(
    name: &str,
    pattern: &str,
    edit: impl FnOnce(&mut ClassSettings),
) -> NamedClass {
    let mut settings = ClassSettings::of_node(&Settings::default());
    edit(&mut settings);
    NamedClass {
        name: name.into(),
        patterns: vec![TopicPattern::parse(pattern).expect("a pattern")],
        settings,
    }
}

/// Events that a topic keeps.
fn kept(hub: &Hub, topic: &str) -> usize {
    let hub = hub.lock();
    hub.find_topic(topic).map_or(0, |index| hub.topics[index].log.len())
}

fn reload(hub: &Hub, classes: Vec<NamedClass>, now: Now) -> usize {
    hub.replace_classes(&Settings { classes, ..Settings::default() });
    1 + (0..).take_while(|_| hub.sort_topics(now)).count()
}

#[test]
fn each_topic_keeps_what_its_class_allows() {
    let (hub, _inboxes) = hub(|settings| {
        settings.history_events = 5;
        settings.classes = vec![
            class("few", "few.*", |few| few.history_events = 2),
            class("small", "small.**", |small| small.history_topic_bytes_max = 4_096),
            class("short", "short", |short| short.history_ms = 100),
        ];
    });
    for ms in 1..=9 {
        for topic in ["few.1", "small.a.b", "short", "other"] {
            hub.publish_at_once(vec![post(&[topic], &"x".repeat(800))], None, at(ms)).expect("there is room");
        }
    }
    let all = |hub: &Hub| ["few.1", "small.a.b", "short", "other"].map(|topic| kept(hub, topic));
    assert_eq!(all(&hub), [2, 3, 9, 5]);
    hub.sweep(at(105));
    assert_eq!(all(&hub), [2, 3, 4, 5], "five were too old");
    hub.sweep(at(200));
    assert_eq!(all(&hub), [2, 3, 0, 5]);
    publish(&hub, &["fanwheel.status"], at(200));
    let published: Vec<u64> = hub.class_figures().iter().map(|class| class.published).collect();
    assert_eq!(published, [9, 9, 9, 9], "the server's own event does not count");
}

#[test]
fn an_event_of_several_classes_is_kept_as_long_as_the_longest_and_leaves_in_order() {
    let (hub, _inboxes) = hub(|settings| {
        settings.classes = vec![
            class("short", "short", |short| short.history_ms = 100),
            class("long", "long", |long| long.history_ms = 1_000),
        ];
    });
    let both = publish(&hub, &["short", "long"], at(1));
    hub.sweep(at(150));
    assert_eq!((kept(&hub, "short"), kept(&hub, "long")), (1, 1));
    let newer = publish(&hub, &["short"], at(150));
    // Its age ends that of the older one, which is before it in the log.
    hub.sweep(at(260));
    assert_eq!((kept(&hub, "short"), kept(&hub, "long")), (0, 1));
    let joined = join(&hub, &["short", "long"], StreamStart::After(both.preceding()), at(260));
    assert_eq!(joined.gaps, [(0, None)], "{both} is still kept for the other topic, {newer} is gone");
    hub.sweep(at(1_001));
    assert_eq!(hub.sizes().frames, 0);
}

#[test]
fn a_walk_over_logs_of_several_journals_misses_nothing() {
    let (hub, _inboxes) = hub(|settings| {
        settings.classes = vec![class("long", "long.*", |long| long.history_ms = 900_000)];
    });
    // The second is in another journal than its neighbours of both logs.
    let ids: Vec<EventId> = [&["a", "b"][..], &["a", "long.1", "b"], &["a", "b"], &["b", "a"]]
        .iter()
        .zip(1..)
        .map(|(topics, ms)| publish(&hub, topics, at(ms)))
        .collect();
    let joined = join(&hub, &["a", "b"], StreamStart::Newest(3), at(9));
    let state = hub.lock();
    let indices: Vec<u32> = joined.topics.iter().map(|topic| topic.index).collect();
    let mut walk = state.walk_after(&indices, joined.position, |_| false);
    let mut walked = Vec::new();
    while let crate::fanout::hub::WalkStep::Event(event) = walk.step(usize::MAX) {
        walked.push(event.id());
    }
    assert_eq!(walked, ids[1..]);
}

#[test]
fn a_full_node_drops_the_oldest_event_of_all_classes() {
    let (hub, _inboxes) = hub(|settings| {
        settings.history_bytes_max = 70_000;
        settings.classes = vec![class("a", "a", |_| {}), class("b", "b", |_| {})];
    });
    let large = |topic: &str, ms: u64| {
        hub.publish_at_once(vec![post(&[topic], &"x".repeat(20_000))], None, at(ms)).expect("there is room");
    };
    for (topic, ms) in ["a", "b", "other", "b", "a"].into_iter().zip(1..) {
        large(topic, ms);
    }
    assert_eq!(["a", "b", "other"].map(|topic| kept(&hub, topic)), [1, 1, 1]);
}

#[test]
fn a_reload_sorts_topics_a_few_at_a_time_and_drops_what_is_too_much() {
    let (hub, _inboxes) = hub(|_| {});
    for topic in 0..600 {
        publish(&hub, &[&format!("t.{topic}")], at(1));
    }
    for ms in 2..=300 {
        publish(&hub, &["t.0"], at(ms));
    }
    let joined = join(&hub, &["t.0"], StreamStart::Now, at(300));
    hub.replace_classes(&Settings {
        classes: vec![class("t", "t.*", |t| t.history_events = 3)],
        ..Settings::default()
    });
    // A publish in the middle drops no more than any other call.
    publish(&hub, &["t.0"], at(301));
    assert!(kept(&hub, "t.0") > 300 - EVICTIONS_PER_CALL - 2);
    assert!(hub.sort_topics(at(301)), "a hold does not drop all");
    while hub.sort_topics(at(301)) {}
    assert_eq!((kept(&hub, "t.0"), kept(&hub, "t.599")), (3, 1));
    let figures = hub.class_figures();
    assert_eq!((figures[0].topics, figures[1].topics, figures[1].subscriptions), (0, 600, 1));
    hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(302));
    assert_eq!(hub.class_figures()[1].subscriptions, 0);
    let slots = hub.lock().topics.index_end();
    assert_eq!(reload(&hub, Vec::new(), at(303)), slots.div_ceil(SORTS_PER_HOLD as usize));
}

#[test]
fn what_a_gone_class_kept_goes_by_the_default() {
    let (hub, _inboxes) = hub(|settings| {
        settings.classes = vec![class("long", "t", |long| long.history_ms = 900_000)];
    });
    publish(&hub, &["t"], at(1));
    hub.sweep(at(400_000));
    assert_eq!(kept(&hub, "t"), 1);
    reload(&hub, Vec::new(), at(400_000));
    hub.sweep(at(400_000));
    assert_eq!(kept(&hub, "t"), 0);
}

#[test]
fn a_stream_of_several_topics_has_the_most_careful_policy_of_their_classes() {
    let (hub, _inboxes) = hub(|settings| {
        settings.slow_policy = SlowPolicy::Latest;
        settings.classes = vec![class("skip", "s.*", |skip| {
            (skip.slow_policy, skip.max_connection_ms) = (SlowPolicy::Skip, 7_000);
        })];
    });
    let rules = |hub: &Hub, topics: &[&str]| {
        let joined = join(hub, topics, StreamStart::Now, at(1));
        let state = hub.lock();
        let rules = state.stream_rules(joined.topics.iter().map(|topic| topic.index));
        assert_eq!(joined.rules, rules);
        (rules.slow_policy, rules.life_ms)
    };
    assert_eq!(rules(&hub, &["a", "b"]), (SlowPolicy::Latest, 0));
    assert_eq!(rules(&hub, &["a", "s.1"]), (SlowPolicy::Skip, 7_000));
    // A topic that is there gets its new class with the reload.
    reload(&hub, vec![class("skip", "b", |_| {})], at(2));
    assert_eq!(rules(&hub, &["s.1"]), (SlowPolicy::Disconnect, 0));
}

#[test]
fn a_restored_event_that_is_too_old_leaves_no_hole_behind_older_ones() {
    let (hub, _inboxes) = hub(|settings| {
        settings.history_ms = 1_000;
        settings.classes = vec![class("short", "short.*", |short| short.history_ms = 100)];
    });
    let now = Now { mono_ms: 5, mono_us: 5_000, wall_ms: 1_800 };
    let event = |(nth, topics): (u64, &[&str])| OrderedEvent { id: id(nth), event: post(topics, "x") };
    let rows: [(u64, &[&str]); 3] = [(600, &["long", "short.a"]), (650, &["short.a"]), (750, &["short.a"])];
    hub.restore(rows.map(event), now);
    let joined = join(&hub, &["short.a"], StreamStart::After(id(500)), now);
    assert_eq!(joined.gaps, [(0, Some(id(750)))], "the first is no longer kept for this topic");
    assert_eq!((kept(&hub, "short.a"), kept(&hub, "long")), (1, 1));
}
