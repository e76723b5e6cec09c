//! Facts about patterns in the hub, without sockets.

use crate::base::counters::RefusalReason;
use crate::base::id::EventId;
use crate::base::limits::TOPIC_LINGER_MS;
use crate::base::time::Now;
use crate::base::topic::TopicPattern;
use crate::fanout::hub::tests::{at, hub, post, publish};
use crate::fanout::hub::{
    Hub, OrderedEvent, OrderedPublish, SubscribeOutcome, WalkStep, WantedTopics, WorkerInterest,
};
use crate::fanout::mail::{MailboxItem, MailboxReceiver};
use crate::wire::subscription::StreamStart;

fn try_join(
    hub: &Hub,
    names: &[&str],
    patterns: &[&str],
    start: StreamStart,
    now: Now,
) -> Result<SubscribeOutcome, RefusalReason> {
    let names: Vec<Box<str>> = names.iter().map(|&name| name.into()).collect();
    let parse = |text: &&str| TopicPattern::parse(text).expect("a pattern");
    let patterns: Vec<TopicPattern> = patterns.iter().map(parse).collect();
    hub.subscribe(0, WantedTopics { names: &names, patterns: &patterns }, &start, now)
}

fn join(hub: &Hub, names: &[&str], patterns: &[&str], start: StreamStart, now: Now) -> SubscribeOutcome {
    try_join(hub, names, patterns, start, now).expect("there is room")
}

fn leave(hub: &Hub, joined: &SubscribeOutcome, now: Now) {
    for channel in &joined.topics {
        hub.unsubscribe(0, channel.index, WorkerInterest::Ends, now);
    }
}

/// The ids that a subscriber still reads from the logs, in order.
fn following(hub: &Hub, joined: &SubscribeOutcome) -> Vec<EventId> {
    let hub = hub.lock();
    let channels: Vec<u32> = joined.topics.iter().map(|channel| channel.index).collect();
    let mut walk = hub.walk_after(&channels, joined.position, |_| false);
    let mut ids = Vec::new();
    while let WalkStep::Event(frame) = walk.step(usize::MAX) {
        ids.push(frame.id());
    }
    ids
}

/// The events in a mailbox: the id, and the number of topics and patterns.
fn mailed(inbox: &MailboxReceiver) -> Vec<(EventId, usize, usize)> {
    let frame = |mail| match mail {
        MailboxItem::Frame(frame) => (frame.id(), frame.topics().len(), frame.channels().len()),
        other => panic!("only frames were sent: {other:?}"),
    };
    inbox.frames.try_iter().map(frame).collect()
}

#[test]
fn a_topic_that_appears_later_reaches_a_pattern_with_its_first_event() {
    let (hub, inboxes) = hub(|_| {});
    publish(&hub, &["a.1"], at(1));
    let joined = join(&hub, &[], &["a.*"], StreamStart::Now, at(2));
    let known = publish(&hub, &["a.1"], at(3));
    let new = publish(&hub, &["a.2"], at(4));
    publish(&hub, &["b.1"], at(5));
    publish(&hub, &["a.2.x"], at(6));
    assert_eq!(mailed(&inboxes[0]), [(known, 1, 2), (new, 1, 2)]);
    assert_eq!(following(&hub, &joined), [known, new]);
    leave(&hub, &joined, at(7));
    publish(&hub, &["a.2"], at(8));
    assert_eq!(mailed(&inboxes[0]), []);
}

#[test]
fn one_event_that_several_patterns_match_is_mailed_and_read_once() {
    let (hub, inboxes) = hub(|_| {});
    let joined = join(&hub, &["a.1"], &["a.*", "**", "*.1"], StreamStart::Now, at(1));
    let ids = [publish(&hub, &["a.1", "a.2", "c"], at(2)), publish(&hub, &["c"], at(3))];
    assert_eq!(mailed(&inboxes[0]), [(ids[0], 3, 6), (ids[1], 1, 2)]);
    assert_eq!(following(&hub, &joined), ids);
    let receipt = hub.publish_at_once(vec![post(&["a.1"], "x")], None, at(4)).expect("room").receipt;
    assert_eq!(receipt.subscribers, 4, "summed over topics and patterns");
    let later = [post(&["a.1", "a.2"], "x"), post(&["a.9", "none.1"], "x"), post(&["none"], "x")];
    let counted = later.map(|event| hub.count_subscribers(&[event]));
    assert_eq!(counted, [4, 3, 1], "an event that is still with the orderer");
}

#[test]
fn a_pattern_is_resumed_exactly_from_the_history_of_its_topics() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 2);
    let ids: Vec<EventId> = ["a.1", "a.2", "b", "a.1", "a.2", "a.3"]
        .iter()
        .zip(1..)
        .map(|(t, ms)| publish(&hub, &[t], at(ms)))
        .collect();
    let joined = join(&hub, &[], &["a.*"], StreamStart::After(ids[0]), at(9));
    assert_eq!((following(&hub, &joined), joined.gaps), (vec![ids[1], ids[3], ids[4], ids[5]], vec![]));
    // The newest that one of its topics has let go is the first of `a.1`.
    let sixth = publish(&hub, &["a.1"], at(10));
    let joined = join(&hub, &[], &["a.*"], StreamStart::After(ids[0]), at(11));
    assert_eq!((joined.gaps.len(), following(&hub, &joined).last()), (0, Some(&sixth)));
    publish(&hub, &["a.1"], at(12));
    let joined = join(&hub, &[], &["a.*"], StreamStart::After(ids[2]), at(13));
    assert_eq!(joined.gaps, [(0, Some(ids[4]))], "the fourth is gone");
    assert_eq!(following(&hub, &joined)[..2], ids[4..6], "older than the loss, of other topics");
    let newer = join(&hub, &[], &["a.*"], StreamStart::After(ids[3]), at(14));
    assert_eq!((newer.gaps.len(), following(&hub, &newer).len()), (0, 4));
    let newest = join(&hub, &[], &["a.*"], StreamStart::Newest(2), at(15));
    assert_eq!(following(&hub, &newest).len(), 2);
}

#[test]
fn what_a_topic_has_lost_before_a_pattern_came_is_told_to_those_who_resume() {
    let (hub, _inboxes) = hub(|settings| settings.history_ms = 100);
    let first = publish(&hub, &["a.1"], at(1));
    let lost = publish(&hub, &["a.1"], at(2));
    // The topic goes with its last event.
    hub.sweep(at(200));
    assert_eq!(hub.sizes().topics, 0);
    let joined = join(&hub, &[], &["a.*"], StreamStart::After(first), at(201));
    assert_eq!(joined.gaps, [(0, None)]);
    let later = join(&hub, &[], &["a.*"], StreamStart::After(lost), at(202));
    assert_eq!(later.gaps, []);
    // A loss in another topic is none of the pattern's, once the pattern is known.
    let kept = hub.lock().head();
    publish(&hub, &["b"], at(203));
    hub.sweep(at(400));
    let again = join(&hub, &[], &["a.*"], StreamStart::After(kept), at(401));
    assert_eq!(again.gaps, []);
}

#[test]
fn many_topics_are_held_against_a_new_pattern_in_many_holds_of_the_lock() {
    let (hub, inboxes) = hub(|_| {});
    let posts = (0..5_000).map(|nth| post(&[&format!("t.{}.{nth}", nth % 10)], "x")).collect();
    hub.publish_at_once(posts, None, at(1)).expect("room");
    let joined = join(&hub, &[], &["t.3.*"], StreamStart::Newest(1_000), at(2));
    assert_eq!(following(&hub, &joined).len(), 500);
    assert!(joined.steps >= 4 * 1_024, "they are charged: {}", joined.steps);
    publish(&hub, &["t.3.4993"], at(3));
    assert_eq!(mailed(&inboxes[0]).len(), 1);
    let again = join(&hub, &[], &["t.3.*"], StreamStart::Now, at(4));
    assert!(again.steps <= 1_024, "it is known: {}", again.steps);
}

#[test]
fn patterns_are_bounded_and_those_without_subscribers_give_way() {
    let (hub, _inboxes) = hub(|settings| (settings.patterns_max, settings.pattern_topics_max) = (2, 3));
    let a = join(&hub, &[], &["a.*"], StreamStart::Now, at(1));
    join(&hub, &[], &["b.*"], StreamStart::Now, at(2));
    let refused = |patterns: &[&str], ms| try_join(&hub, &[], patterns, StreamStart::Now, at(ms)).map(drop);
    assert_eq!(refused(&["c.*"], 3), Err(RefusalReason::Patterns));
    assert_eq!(refused(&["a.*", "b.*"], 3), Ok(()), "they are there");
    let sizes = hub.sizes();
    assert_eq!((sizes.patterns, sizes.subscriptions), (2, 4));
    (0..2).for_each(|_| leave(&hub, &a, at(4)));
    assert_eq!(refused(&["c.*", "d.*"], 5), Err(RefusalReason::Patterns), "one place is too few");
    assert_eq!(refused(&["c.*", "b.*"], 5), Ok(()));
    for topic in ["c.0", "c.1", "c.2"] {
        publish(&hub, &[topic], at(6));
    }
    assert_eq!(refused(&["c.*"], 7), Ok(()));
    publish(&hub, &["c.3"], at(8));
    assert_eq!(refused(&["c.*"], 9), Err(RefusalReason::PatternTopics), "for newcomers");
    assert_eq!(hub.sizes().patterns, 2);
}

#[test]
fn a_pattern_is_remembered_for_a_while_and_forgotten_by_its_topics() {
    let (hub, inboxes) = hub(|_| {});
    publish(&hub, &["a.1"], at(1));
    let joined = join(&hub, &[], &["a.*"], StreamStart::Now, at(2));
    leave(&hub, &joined, at(3));
    hub.sweep(at(2 + TOPIC_LINGER_MS));
    assert_eq!(hub.sizes().patterns, 1);
    hub.sweep(at(3 + TOPIC_LINGER_MS));
    assert_eq!(hub.sizes().patterns, 0);
    // Another one in the same slot.
    join(&hub, &[], &["b.*"], StreamStart::Now, at(40_000));
    publish(&hub, &["a.1"], at(40_001));
    let b = publish(&hub, &["b.1"], at(40_002));
    assert_eq!(mailed(&inboxes[0]), [(b, 1, 2)]);
    let back = join(&hub, &[], &["a.*"], StreamStart::Now, at(40_003));
    let id = publish(&hub, &["a.1"], at(40_004));
    assert_eq!((mailed(&inboxes[0]), following(&hub, &back)), (vec![(id, 1, 2)], vec![id]));
}

#[test]
fn the_servers_own_topics_match_no_pattern() {
    let (hub, inboxes) = hub(|_| {});
    join(&hub, &[], &["**", "*.status"], StreamStart::Now, at(1));
    publish(&hub, &["fanwheel.status"], at(2));
    assert_eq!(mailed(&inboxes[0]), []);
}

#[test]
fn an_ordered_event_whose_topic_has_no_room_reaches_a_pattern_once_and_is_a_loss_for_all_others() {
    let (hub, inboxes) = hub(|settings| settings.topics_max = 1);
    publish(&hub, &["a.1"], at(1));
    let joined = join(&hub, &[], &["a.*", "*.2"], StreamStart::Now, at(2));
    let before = hub.lock().head();
    let tag = before.n() % 1_024;
    let id = EventId::parse(format!("9999-{tag}").as_bytes()).expect("an id");
    let event = OrderedEvent { id, event: post(&["a.2"], "x") };
    let mut publishes = [OrderedPublish { events: vec![event], ticket: None, key: None }].into();
    assert_eq!(hub.commit(&mut publishes, at(3)).stop, None);
    assert_eq!(mailed(&inboxes[0]), [(id, 0, 2)]);
    assert_eq!(following(&hub, &joined), []);
    let back = join(&hub, &[], &["a.*"], StreamStart::After(before), at(4));
    assert_eq!(back.gaps.len(), 1, "nobody can read it again");
}

#[test]
fn a_pattern_whose_topic_forgets_is_told_so_until_newer_events_go() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 1);
    let joined = join(&hub, &[], &["a.*"], StreamStart::Now, at(1));
    let index = joined.topics[0].index;
    let id = publish(&hub, &["a.1"], at(2));
    let mut forgetting = hub.begin_forgetting("a.1").expect("it exists");
    hub.forget_some(&mut forgetting, at(3));
    let state = || {
        let hub = hub.lock();
        (hub.floor(index), hub.has_forgotten(index, joined.position, None))
    };
    assert_eq!(state(), (id, true));
    let next = publish(&hub, &["a.2"], at(4));
    publish(&hub, &["a.2"], at(5));
    assert_eq!(state(), (next, false));
}

#[test]
fn a_later_loss_of_an_older_event_is_another_loss() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 1);
    let before = hub.lock().head();
    publish(&hub, &["a.1"], at(1));
    publish(&hub, &["a.2"], at(2));
    publish(&hub, &["a.2"], at(3));
    let joined = join(&hub, &[], &["a.*"], StreamStart::After(before), at(4));
    let (index, told) = (joined.topics[0].index, Some(joined.told_losses[0]));
    assert!(joined.gaps.len() == 1 && joined.losses_ahead);
    let lost = || hub.lock().has_lost(index, joined.position, told);
    assert!(!lost());
    publish(&hub, &["a.1"], at(5));
    assert!(lost(), "the first event was still to come");
}
