//! Facts about the hub, one worker or two, without sockets.

use std::collections::BTreeSet;

use super::*;
use crate::base::id::IdTag;
use crate::base::limits::{LINGERING_TOPICS_MAX, MAILBOX_FRAMES_MAX, RESERVED_TOPIC_EVENTS, TOPIC_LINGER_MS};
use crate::fanout::mail::MailboxReceiver;
use crate::wire::frame::Draft;
use crate::wire::gap::GapReason;
use crate::wire::subscription::StreamStart;

pub(super) fn hub(edit: impl FnOnce(&mut Settings)) -> (Hub, Vec<MailboxReceiver>) {
    let mut settings = Settings::default();
    edit(&mut settings);
    let (mailboxes, inboxes) = (0..2).map(|_| MailboxSender::pair()).unzip();
    (Hub::new(&settings, mailboxes, start(1_000, 7), 7), inboxes)
}

/// The start of a run at a time, with a tag of its own.
fn start(wall_ms: u64, tag: u64) -> EventId {
    EventId::start_of_run(wall_ms, IdTag::from_random(tag))
}

pub(super) fn at(mono_ms: u64) -> Now {
    Now { mono_ms, mono_us: mono_ms * 1_000, wall_ms: 1_000 + mono_ms }
}

pub(super) fn post(topics: &[&str], data: &str) -> NewEvent {
    let topics = topics.iter().map(|&topic| topic.into()).collect();
    NewEvent { topics, draft: Draft::new(None, None, data, None) }
}

pub(super) fn publish(hub: &Hub, topics: &[&str], now: Now) -> EventId {
    hub.publish_at_once(vec![post(topics, "x")], None, now).expect("there is room").receipt.id
}

pub(super) fn join(hub: &Hub, topics: &[&str], start: StreamStart, now: Now) -> SubscribeOutcome {
    let names: Vec<Box<str>> = topics.iter().map(|&topic| topic.into()).collect();
    hub.subscribe(0, named(&names), &start, now).expect("there is room")
}

/// Topics by name alone.
pub(super) fn named(names: &[Box<str>]) -> WantedTopics<'_> {
    WantedTopics { names, patterns: &[] }
}

/// The kept events that a subscriber still gets.
fn following(hub: &Hub, joined: &SubscribeOutcome) -> Vec<EventId> {
    let hub = hub.lock();
    let after = |topic: &TopicRef| hub.log(topic.index).after(joined.position).map(|frame| frame.id());
    let all: BTreeSet<EventId> = joined.topics.iter().flat_map(after).collect();
    all.into_iter().collect()
}

#[test]
fn one_event_in_two_topics_has_one_id_and_reaches_a_worker_once() {
    let (hub, inboxes) = hub(|_| {});
    join(&hub, &["a", "b"], StreamStart::Now, at(1));
    let id = publish(&hub, &["a", "b"], at(2));
    let got: Vec<EventId> = inboxes[0]
        .frames
        .try_iter()
        .map(|mail| match mail {
            MailboxItem::Frame(frame) => frame.id(),
            other => unreachable!("only frames were sent: {other:?}"),
        })
        .collect();
    assert_eq!(got, [id]);
    assert_eq!(inboxes[1].frames.len(), 0, "nobody is interested there");
    let both: usize = hub.sizes().bytes;
    publish(&hub, &["a"], at(3));
    let one = hub.sizes().bytes - both;
    let list = hub.meter.list_bytes();
    assert_eq!(both, one + SharedFrame::topics_bytes(2) + list, "kept once, with a place in each topic");
    publish(&hub, &["a", "b"], at(4));
    assert_eq!((hub.sizes().bytes, hub.meter.list_bytes()), (2 * both + one - list, list), "one list");
}

#[test]
fn an_event_of_many_topics_takes_little_more_than_one_of_a_single_topic() {
    let bytes = |topics: usize, payload: usize| {
        let (hub, _inboxes) = hub(|_| {});
        let names: Vec<String> = (0..topics).map(|nth| format!("t{nth}")).collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        for ms in 0..100 {
            hub.publish_at_once(vec![post(&names, &"x".repeat(payload))], None, at(ms))
                .expect("there is room");
        }
        hub.sizes().bytes
    };
    for (payload, percent_max) in [(100, 200), (1_000, 130), (4_096, 110)] {
        let percent = bytes(64, payload) * 100 / bytes(1, payload);
        assert!(percent <= percent_max, "{percent} % of one topic's, {payload} bytes");
    }
}

#[test]
fn an_event_of_many_topics_leaves_each_by_its_own_bounds_and_the_node_with_the_last() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 2);
    let shared = publish(&hub, &["a", "b"], at(1));
    let newer: Vec<EventId> = (2..5).map(|ms| publish(&hub, &["a"], at(ms))).collect();
    assert_eq!(hub.sizes().frames, 3, "two of a, and the shared one, which b keeps");
    assert!(join(&hub, &["b"], StreamStart::Newest(9), at(5)).position < shared);
    assert_eq!(join(&hub, &["a"], StreamStart::After(shared), at(5)).gaps, [(0, Some(newer[1]))]);
    publish(&hub, &["b"], at(6));
    publish(&hub, &["b"], at(7));
    assert_eq!(hub.sizes().frames, 4);
    let kept = hub.lock().journals.oldest().map(|event| event.id());
    assert_eq!(kept, Some(newer[1]));
}

#[test]
fn topics_of_the_server_keep_its_newest_states_only() {
    for history_events in [0, 100] {
        let (hub, _inboxes) = hub(|settings| settings.history_events = history_events);
        assert!(!hub.has_subscribers("fanwheel.status"));
        let joined = join(&hub, &["fanwheel.status"], StreamStart::Now, at(1));
        assert!(hub.has_subscribers("fanwheel.status") && !hub.has_subscribers("a"));
        for ms in 2..9 {
            publish(&hub, &["fanwheel.status"], at(ms));
        }
        assert_eq!(hub.sizes().frames, RESERVED_TOPIC_EVENTS);
        hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(9));
        assert!(!hub.has_subscribers("fanwheel.status"));
    }
}

#[test]
fn a_position_within_history_has_no_gap_and_one_below_the_floor_has() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 3);
    let ids: Vec<EventId> = (1..=5).map(|ms| publish(&hub, &["a"], at(ms))).collect();
    for (nth, id) in ids.iter().enumerate() {
        let joined = join(&hub, &["a"], StreamStart::After(*id), at(9));
        let expected = if nth == 0 { vec![(0, Some(ids[2]))] } else { vec![] };
        assert_eq!(joined.gaps, expected, "after event {nth}");
        assert_eq!(following(&hub, &joined), ids[nth.max(1) + 1..], "after event {nth}");
    }
}

#[test]
fn ids_that_are_not_ours_are_told_as_gaps_and_get_all_that_is_kept() {
    let (hub, _inboxes) = hub(|_| {});
    let id = publish(&hub, &["a"], at(1));
    // Of this run's tag, but from before it and from after it; of another run, older, as old, and newer; of
    // none; and no id at all.
    let foreign = [start(999, 7), start(99_999_999, 7), start(999, 8), start(1_001, 8), start(1_002, 6)];
    let never_given = EventId::parse(b"1001-1024").expect("in range");
    let ids = foreign.into_iter().chain([never_given]).map(StreamStart::After);
    for start in ids.chain([StreamStart::Unknown("$-1".into())]) {
        let joined = join(&hub, &["a"], start, at(2));
        assert_eq!(joined.gaps, [(0, Some(id))]);
        assert!(joined.position < id);
    }
}

#[test]
fn a_stream_may_begin_at_any_moment_of_this_run() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 2);
    let ids: Vec<EventId> = (1..=4).map(|ms| publish(&hub, &["a"], at(ms))).collect();
    let oldest = Some(ids[2]);
    // What was published in the moment's millisecond comes, too.
    let rows = [
        (1_004, 1, vec![]),
        (1_003, 2, vec![]),
        (1_002, 2, vec![(0, oldest)]),
        (900, 2, vec![(0, oldest)]),
        (99_999_999, 0, vec![]),
    ];
    for (ms, events, gaps) in rows {
        let joined = join(&hub, &["a"], StreamStart::After(EventId::at_ms(ms)), at(5));
        assert_eq!(joined.gaps, gaps, "from {ms}");
        assert_eq!(following(&hub, &joined).len(), events, "from {ms}");
    }
    for (ms, gaps) in [(1_001, vec![]), (99_999_999, vec![]), (1_000, vec![(0, None)])] {
        let joined = join(&hub, &["new"], StreamStart::After(EventId::at_ms(ms)), at(5));
        assert_eq!(joined.gaps, gaps, "an unknown topic from {ms}");
    }
}

#[test]
fn a_position_passes_over_what_other_topics_have_and_no_further() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 2);
    let first = publish(&hub, &["a"], at(1));
    for ms in 2..9 {
        publish(&hub, &["b"], at(ms));
    }
    let kept = publish(&hub, &["a"], at(9));
    let head = publish(&hub, &["b"], at(10));
    let joined = join(&hub, &["a"], StreamStart::After(first), at(11));
    assert_eq!((joined.position.next_after(0), joined.gaps), (kept, vec![]));
    let joined = join(&hub, &["a", "c"], StreamStart::After(kept), at(11));
    assert_eq!((joined.position, joined.gaps), (head, vec![]));
    let moment = join(&hub, &["c"], StreamStart::After(EventId::at_ms(1_003)), at(11));
    assert_eq!(moment.position, head, "a client is never told a moment as its position");
}

#[test]
fn newest_counts_over_all_topics() {
    let (hub, _inboxes) = hub(|_| {});
    let ids: Vec<EventId> =
        (1..=6).map(|ms| publish(&hub, if ms % 2 == 0 { &["a"] } else { &["b"] }, at(ms))).collect();
    let newest = |topics: &[&str]| following(&hub, &join(&hub, topics, StreamStart::Newest(2), at(9)));
    assert_eq!(newest(&["a", "b"]), ids[4..]);
    assert_eq!(newest(&["a"]), [ids[3], ids[5]]);
    let all = join(&hub, &["a", "b"], StreamStart::Newest(50), at(9));
    assert!(all.position < ids[0] && all.gaps.is_empty());
}

#[test]
fn a_full_mailbox_refuses_the_whole_publish() {
    let (hub, inboxes) = hub(|settings| settings.history_bytes_max = 1 << 30);
    join(&hub, &["a"], StreamStart::Now, at(1));
    let batch = |events: usize| (0..events).map(|_| post(&["a"], "x")).collect::<Vec<_>>();
    hub.publish_at_once(batch(MAILBOX_FRAMES_MAX - 1), None, at(2)).expect("it fits");
    let refused = hub.publish_at_once(batch(2), None, at(2)).map(|_| ());
    assert_eq!(refused, Err(RefusalReason::Overload));
    assert_eq!(inboxes[0].frames.len(), MAILBOX_FRAMES_MAX - 1);
    publish(&hub, &["nobody listens"], at(2));
    hub.publish_at_once(batch(1), None, at(2)).expect("one still fits");
}

#[test]
fn topics_are_gone_after_their_history_and_a_moment_after_their_last_subscriber() {
    let (hub, _inboxes) = hub(|settings| settings.history_ms = 100);
    for nth in 0..10_000 {
        publish(&hub, &[&format!("topic {nth}")], at(1));
    }
    let joined = join(&hub, &["kept", "left"], StreamStart::Now, at(2));
    hub.unsubscribe(0, joined.topics[1].index, WorkerInterest::Ends, at(3));
    assert_eq!((hub.sizes().topics, hub.sizes().subscriptions), (10_002, 1));
    let turns = (0..).take_while(|_| hub.sweep(at(101))).count();
    assert_eq!(turns, 10_000 / (SWEEP_CALLS_PER_TURN * EVICTIONS_PER_CALL), "no turn does it all");
    assert_eq!((hub.sizes().topics, hub.sizes().frames, hub.sizes().bytes), (2, 0, 0));
    hub.sweep(at(3 + TOPIC_LINGER_MS));
    assert_eq!((hub.sizes().topics, hub.sizes().alive_bytes), (1, 0));
}

#[test]
fn a_loss_in_a_removed_topic_is_told_when_it_comes_back() {
    let (hub, _inboxes) = hub(|settings| settings.history_ms = 100);
    let seen = publish(&hub, &["a"], at(1));
    let missed = publish(&hub, &["a"], at(2));
    hub.sweep(at(500));
    assert_eq!(hub.sizes().topics, 0);
    assert_eq!(join(&hub, &["a"], StreamStart::After(seen), at(501)).gaps, [(0, None)]);
    assert_eq!(join(&hub, &["a"], StreamStart::After(missed), at(501)).gaps, []);
}

#[test]
fn history_bytes_of_the_node_are_never_exceeded_and_the_oldest_go_first() {
    let (hub, _inboxes) = hub(|settings| settings.history_bytes_max = 100_000);
    let mut ids = Vec::new();
    for nth in 0..2_000 {
        let topic = format!("{}", nth % 7);
        ids.push(
            hub.publish_at_once(vec![post(&[&topic], &"x".repeat(300))], None, at(nth))
                .expect("room")
                .receipt
                .id,
        );
        assert!(hub.sizes().bytes <= 100_000);
    }
    let kept = hub.sizes().frames;
    assert!(kept > 100);
    let inner = hub.lock();
    let oldest =
        (0..7).filter_map(|nth| inner.log(inner.find_topic(&nth.to_string()).expect("kept")).oldest()).min();
    assert_eq!(oldest, Some(ids[ids.len() - kept]));
}

#[test]
fn a_repeated_key_gives_the_first_answer_and_publishes_nothing() {
    let (hub, _inboxes) = hub(|settings| settings.idempotency_keys_max = 1);
    let send = |text: &[u8], ms| {
        hub.publish_at_once(vec![post(&["a"], "x")], Some(IdempotencyKey { text, fingerprint: 7 }), at(ms))
    };
    let first = send(b"k", 1).expect("room");
    let again = send(b"k", 2).expect("known");
    assert_eq!((again.receipt, again.repeated, hub.sizes().frames), (first.receipt, true, 1));
    let reused = Some(IdempotencyKey { text: b"k", fingerprint: 8 });
    let reused = hub.publish_at_once(vec![post(&["a"], "y")], reused, at(2)).map(|_| ());
    assert_eq!((reused, hub.sizes().frames), (Err(RefusalReason::KeyReused), 1));
    assert_eq!(send(b"other", 3).map(|_| ()), Err(RefusalReason::IdempotencyKeys));
    assert!(!send(b"other", 600_001).expect("the first key is forgotten").repeated);
}

#[test]
fn topics_beyond_the_limit_are_refused_whole() {
    let (hub, _inboxes) = hub(|settings| settings.topics_max = 2);
    publish(&hub, &["a"], at(1));
    let refused =
        hub.publish_at_once(vec![post(&["a"], "x"), post(&["b", "c"], "x")], None, at(2)).map(|_| ());
    assert_eq!(refused, Err(RefusalReason::Topics));
    assert_eq!((hub.sizes().topics, hub.sizes().frames), (1, 1));
    let names: Vec<Box<str>> = vec!["b".into(), "c".into()];
    assert!(hub.subscribe(0, named(&names), &StreamStart::Now, at(2)).is_err());
    assert_eq!(hub.sizes().topics, 1);
}

#[test]
fn a_frame_that_no_log_can_keep_reaches_all_of_its_topics() {
    for edit in [(|settings| settings.history_topic_bytes_max = 1) as fn(&mut Settings), |settings| {
        settings.history_bytes_max = 1
    }] {
        let (hub, inboxes) = hub(edit);
        join(&hub, &["heard"], StreamStart::Now, at(1));
        publish(&hub, &["new", "heard", "newer"], at(2));
        publish(&hub, &["newer", "heard", "new"], at(3));
        assert_eq!(inboxes[0].frames.len(), 2);
        assert_eq!((hub.sizes().topics, hub.sizes().frames), (1, 0));
    }
}

#[test]
fn a_topic_lingers_once_however_often_it_is_left_or_published_to() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 0);
    for ms in 1..1_000 {
        let joined = join(&hub, &["a"], StreamStart::Now, at(ms));
        hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(ms));
        publish(&hub, &["a"], at(ms));
        assert_eq!(hub.lock().lingering.len(), 1);
    }
    hub.sweep(at(1 + TOPIC_LINGER_MS));
    assert_eq!(hub.sizes().topics, 1, "it was left later");
    hub.sweep(at(999 + TOPIC_LINGER_MS));
    assert_eq!((hub.sizes().topics, hub.lock().lingering.len()), (0, 0));
}

#[test]
fn topics_that_only_linger_give_way_to_new_ones() {
    let (hub, _inboxes) = hub(|settings| settings.topics_max = 2);
    for name in ["a", "b", "c", "d"] {
        let joined = join(&hub, &[name], StreamStart::Now, at(1));
        hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(1));
    }
    publish(&hub, &["e", "f"], at(2));
    assert_eq!(
        hub.publish_at_once(vec![post(&["g"], "x")], None, at(3)).map(|_| ()),
        Err(RefusalReason::Topics)
    );
    assert_eq!(hub.sizes().topics, 2);
}

#[test]
fn topics_that_only_subscribers_have_named_refuse_no_publisher() {
    let (hub, _inboxes) = hub(|settings| settings.topics_max = 4);
    let name = |name: &str| hub.subscribe(0, named(&[name.into()]), &StreamStart::Now, at(1)).map(|_| ());
    let post = |names: &[&str]| hub.publish_at_once(vec![post(names, "x")], None, at(2)).map(|_| ());
    join(&hub, &["s1", "s2", "s3", "s4"], StreamStart::Now, at(1));
    assert_eq!(name("s5"), Err(RefusalReason::Topics), "subscribers refuse each other");
    for names in [["p1"], ["p2"], ["s1"]] {
        assert_eq!(post(&names), Ok(()), "{names:?}");
    }
    assert_eq!((hub.sizes().topics, hub.sizes().unpublished_topics), (6, 3));
    assert_eq!(post(&["p3", "s2"]), Err(RefusalReason::Topics), "both at once are too many");
    assert_eq!(post(&["p3", "p2"]), Ok(()));
    assert_eq!(post(&["s2"]), Err(RefusalReason::Topics), "it would be a fifth with events");
    assert_eq!((name("s6"), name("p3")), (Err(RefusalReason::Topics), Ok(())));
}

#[test]
fn topics_never_exceed_their_limit_even_if_one_that_gives_way_is_wanted_itself() {
    let (hub, _inboxes) = hub(|settings| settings.topics_max = 2);
    publish(&hub, &["kept"], at(1));
    let joined = join(&hub, &["a"], StreamStart::Now, at(1));
    hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(1));
    assert_eq!(
        hub.publish_at_once(vec![post(&["a", "b"], "x")], None, at(2)).map(|_| ()),
        Err(RefusalReason::Topics)
    );
    publish(&hub, &["b"], at(2));
    assert_eq!(hub.sizes().topics, 2);
}

#[test]
fn lingering_topics_are_bounded() {
    let (hub, _inboxes) = hub(|_| {});
    for nth in 0..LINGERING_TOPICS_MAX + 1_000 {
        let joined = join(&hub, &[&format!("topic {nth}")], StreamStart::Now, at(1));
        hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(1));
    }
    assert_eq!(hub.sizes().topics, LINGERING_TOPICS_MAX);
}

#[test]
fn of_topics_that_are_idle_together_one_may_push_the_other_out() {
    let (hub, _inboxes) = hub(|settings| settings.history_events = 0);
    let visit = |name: &str| {
        let joined = join(&hub, &[name], StreamStart::Now, at(1));
        hub.unsubscribe(0, joined.topics[0].index, WorkerInterest::Ends, at(1));
    };
    visit("a");
    let b = join(&hub, &["b"], StreamStart::Now, at(1));
    (1..LINGERING_TOPICS_MAX).for_each(|nth| visit(&format!("topic {nth}")));
    hub.lock().topics[b.topics[0].index].subscribers = 0;
    hub.lock().topics[b.topics[0].index].abandoned = 1;
    publish(&hub, &["b", "a"], at(2));
    assert_eq!(hub.sizes().topics, LINGERING_TOPICS_MAX);
}

#[test]
fn each_hold_of_the_lock_is_measured_by_the_drivers_clock() {
    thread_local!(static NOW_US: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
    let (hub, _inboxes) = hub(|_| {});
    drop(hub.lock());
    hub.measure_holds(|| NOW_US.get());
    assert_eq!(hub.holds_us().count(), 0, "nothing is measured without a clock");
    for held_us in [3, 700, 2_000] {
        let guard = hub.lock();
        NOW_US.set(NOW_US.get() + held_us);
        drop(guard);
        NOW_US.set(NOW_US.get() + 50);
    }
    let holds = hub.holds_us();
    assert_eq!((holds.count(), holds.sum, hub.take_hold_peak_us()), (3, 2_703, 2_000));
}

#[test]
fn a_publish_leaves_sleepers_to_those_who_write_the_wake() {
    let (hub, _inboxes) = hub(|_| {});
    join(&hub, &["a"], StreamStart::Now, at(1));
    assert!(hub.mailbox(0).fall_asleep(), "nothing waits for it");
    let publish = || hub.publish_at_once(vec![post(&["a"], "x")], None, at(2)).expect("there is room").mailed;
    let (first, second) = (publish(), publish());
    assert_eq!((first, second), (1, 1));
    assert_eq!(hub.claim_sleepers(second), 1, "whoever comes first to write wakes it");
    assert_eq!(hub.claim_sleepers(first), 0);
}

#[test]
fn keys_that_are_known_count_as_history() {
    let (hub, _inboxes) = hub(|settings| settings.history_bytes_max = 100_000);
    let keyed = |nth: u64| {
        let key = format!("{nth} {}", "k".repeat(200));
        let draft = Draft::new(None, None, "x", Some(key.into()));
        hub.publish_at_once(vec![NewEvent { topics: vec!["a".into()], draft }], None, at(nth))
            .expect("there is room");
        hub.sizes()
    };
    let first = keyed(1);
    let frame = hub.lock().log(0).frame(0).expect("it is kept").memory_bytes();
    assert!(first.bytes >= frame + 200, "{first:?} for a frame of {frame} and its key");
    let full = (2..500).map(keyed).last().expect("there are some");
    assert!(full.bytes <= 100_000 && full.frames < 100_000 / (frame + 200), "{full:?}");
    while hub.sweep(at(500 + Settings::default().history_ms)) {}
    assert_eq!((hub.sizes().frames, hub.sizes().bytes), (0, 0));
}

/// Forgets all that a topic keeps; returns the events that went.
fn forget(hub: &Hub, topic: &str, now: Now) -> Option<u64> {
    let mut forgetting = hub.begin_forgetting(topic)?;
    while hub.forget_some(&mut forgetting, now) {}
    Some(forgetting.events())
}

#[test]
fn a_topic_forgets_its_events_and_those_that_return_are_told_once() {
    let (hub, _inboxes) = hub(|_| {});
    let ids: Vec<EventId> = (1..5).map(|ms| publish(&hub, &["a"], at(ms))).collect();
    let shared = publish(&hub, &["a", "b"], at(5));
    join(&hub, &["a"], StreamStart::Now, at(6));
    assert_eq!((forget(&hub, "a", at(7)), forget(&hub, "a", at(7))), (Some(5), Some(0)));
    assert_eq!(hub.sizes().frames, 1, "the other topic keeps what it shares");
    let returned = join(&hub, &["a"], StreamStart::After(ids[1]), at(8));
    assert_eq!((&returned.gaps[..], returned.gap_reason), (&[(0, None)][..], GapReason::Evicted));
    assert_eq!(following(&hub, &returned), []);
    // A primed client is told this position.
    assert!(join(&hub, &["a"], StreamStart::After(returned.position), at(8)).gaps.is_empty());
    assert!(join(&hub, &["a"], StreamStart::After(shared), at(8)).gaps.is_empty(), "it has missed nothing");
    assert_eq!(following(&hub, &join(&hub, &["b"], StreamStart::Newest(9), at(8))), [shared]);
    let later = publish(&hub, &["a"], at(9));
    assert_eq!(following(&hub, &join(&hub, &["a"], StreamStart::After(ids[1]), at(9))), [later]);
}

#[test]
fn a_topic_without_subscribers_goes_with_its_events_and_no_loss_is_silent() {
    let (hub, _inboxes) = hub(|_| {});
    let first = publish(&hub, &["a"], at(1));
    publish(&hub, &["a"], at(2));
    assert_eq!((forget(&hub, "a", at(3)), hub.sizes().topics), (Some(2), 0));
    assert_eq!(forget(&hub, "a", at(3)), None, "there is no such topic any more");
    assert_eq!(join(&hub, &["a"], StreamStart::After(first), at(4)).gaps, [(0, None)]);
}

#[test]
fn events_that_come_while_a_topic_forgets_are_kept() {
    let (hub, _inboxes) = hub(|_| {});
    let most = EVICTIONS_PER_CALL * SWEEP_CALLS_PER_TURN;
    (0..most + 10).for_each(|_| {
        publish(&hub, &["a"], at(1));
    });
    let mut forgetting = hub.begin_forgetting("a").expect("it exists");
    assert!(hub.forget_some(&mut forgetting, at(2)), "not all in one turn");
    assert_eq!(forgetting.events() as usize, most);
    let later = publish(&hub, &["a"], at(3));
    assert!(!hub.forget_some(&mut forgetting, at(4)));
    assert_eq!((forgetting.events() as usize, hub.sizes().frames), (most + 10, 1));
    assert_eq!(following(&hub, &join(&hub, &["a"], StreamStart::Newest(9), at(5))), [later]);
}
