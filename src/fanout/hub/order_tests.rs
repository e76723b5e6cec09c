//! Facts about publishes that an orderer orders, and about history that is put back.

use super::tests::{at, hub, join, post, publish};
use super::*;
use crate::base::id::IdTag;
use crate::base::limits::{COMMIT_EVENTS_PER_HOLD, MAILBOX_FRAMES_MAX};
use crate::fanout::idempotency::IdempotencyKey;
use crate::fanout::mail::MailboxReceiver;
use crate::fanout::stage_tests::OrderShelf;
use crate::fanout::token::{Asker, ConnToken};
use crate::wire::gap::GapReason;
use crate::wire::subscription::StreamStart;

fn ordered_hub(edit: impl FnOnce(&mut Settings)) -> (Hub, Vec<MailboxReceiver>, Arc<OrderShelf>) {
    let (hub, inboxes) = hub(edit);
    let shelf = Arc::new(OrderShelf::default());
    hub.install_orderer(Arc::<OrderShelf>::clone(&shelf));
    (hub, inboxes, shelf)
}

fn asker() -> Asker {
    Asker { worker: 1, token: ConnToken::new(3, 4) }
}

fn submit(hub: &Hub, topics: &[&str], bytes: usize) -> Result<Acceptance, RefusalReason> {
    hub.publish(vec![post(topics, &"x".repeat(bytes))], None, asker(), at(1))
}

/// Publishes with a key. Returns the answer, if there is one at once.
fn submit_keyed(
    hub: &Hub,
    text: &[u8],
    fingerprint: u64,
    ms: u64,
) -> Result<Option<PublishReceipt>, RefusalReason> {
    let key = IdempotencyKey { text, fingerprint };
    let accepted = hub.publish(vec![post(&["a"], "x")], Some(key), asker(), at(ms))?;
    Ok(match accepted {
        Acceptance::Now(outcome) => Some(outcome.receipt).filter(|_| outcome.repeated),
        Acceptance::Later(_) => None,
    })
}

pub(super) fn id(nth: u64) -> EventId {
    EventId::start_of_run(1_000 + nth, IdTag::from_random(7))
}

fn foreign(nth: u64, topics: &[&str]) -> OrderedPublish {
    let events = vec![OrderedEvent { id: id(nth), event: post(topics, "x") }];
    OrderedPublish { events, ticket: None, key: None }
}

fn own(nth: u64, request: OrderRequest) -> OrderedPublish {
    let event = |event| OrderedEvent { id: id(nth), event };
    let OrderRequest { ticket, events, key, .. } = request;
    OrderedPublish { events: events.into_iter().map(event).collect(), ticket: Some(ticket), key }
}

fn frames(inbox: &MailboxReceiver) -> Vec<EventId> {
    let id = |mail| match mail {
        MailboxItem::Frame(frame) => frame.id(),
        other => unreachable!("only frames were sent: {other:?}"),
    };
    inbox.frames.try_iter().map(id).collect()
}

#[test]
fn a_publish_is_in_no_mailbox_and_not_answered_before_its_commit() {
    let (hub, inboxes, shelf) = ordered_hub(|_| {});
    join(&hub, &["a"], StreamStart::Now, at(1));
    let Ok(Acceptance::Later(number)) = submit(&hub, &["a"], 10) else { panic!("it was ordered at once") };
    assert!(inboxes[0].frames.is_empty() && inboxes[1].settlements.is_empty());
    assert!(hub.order_bytes().taken() > 10 && hub.lock().head() < id(1));
    let mut publishes = VecDeque::from([foreign(1, &["a"]), own(2, shelf.take()), foreign(3, &["b"])]);
    let outcome = hub.commit(&mut publishes, at(2));
    assert_eq!((outcome.mailed, outcome.stop, publishes.len()), (0b11, None, 0));
    assert_eq!(frames(&inboxes[0]), [id(1), id(2)]);
    let settlement = inboxes[1].settlements.try_recv().expect("it is answered");
    let receipt = settlement.outcome.as_ref().expect("it was accepted").receipt;
    assert_eq!(receipt, PublishReceipt { id: id(2), events: 1, subscribers: 1 });
    assert_eq!(outcome.receipts, [receipt]);
    assert_eq!((settlement.token, settlement.number), (ConnToken::new(3, 4), number));
    assert!(inboxes[1].settlements.is_empty() && hub.order_bytes().taken() > 0);
    drop(settlement);
    assert_eq!(hub.order_bytes().taken(), 0);
}

#[test]
fn a_refused_or_lost_ticket_publishes_nothing_and_gives_its_share_back() {
    let (hub, inboxes, shelf) = ordered_hub(|_| {});
    submit(&hub, &["a"], 10).expect("there is room");
    submit(&hub, &["a"], 10).expect("there is room");
    assert_eq!(hub.refuse(shelf.take().ticket, RefusalReason::OrderFailed), 0b10);
    drop(shelf.take());
    let settled: Vec<_> = inboxes[1].settlements.try_iter().map(|it| it.outcome.map(|_| ())).collect();
    assert_eq!(settled, [Err(RefusalReason::OrderFailed)]);
    assert_eq!((hub.order_bytes().taken(), hub.sizes().frames), (0, 0));
}

#[test]
fn events_at_the_orderer_are_bounded() {
    let (hub, _inboxes, shelf) = ordered_hub(|settings| settings.history_bytes_max = 1 << 30);
    let part = ORDER_BYTES_MAX / 4;
    let accepted = (0..9).take_while(|_| submit(&hub, &["a"], part).is_ok()).count();
    assert_eq!(accepted, 3, "each takes a little more than its payload");
    assert_eq!(submit(&hub, &["a"], part).map(|_| ()), Err(RefusalReason::OrderFull));
    drop(shelf.take());
    submit(&hub, &["a"], part).expect("there is room again");
    hub.refuse_publishes();
    assert_eq!(submit(&hub, &["a"], 1).map(|_| ()), Err(RefusalReason::Draining));
}

#[test]
fn a_commit_waits_for_room_and_leaves_the_rest_in_order() {
    let (hub, inboxes, _shelf) = ordered_hub(|settings| settings.history_bytes_max = 1 << 30);
    join(&hub, &["a"], StreamStart::Now, at(1));
    let all = MAILBOX_FRAMES_MAX as u64 + 2 * COMMIT_EVENTS_PER_HOLD as u64;
    let mut publishes: VecDeque<_> = (1..=all).map(|nth| foreign(nth, &["a"])).collect();
    let outcome = hub.commit(&mut publishes, at(2));
    assert_eq!(outcome.stop, Some(CommitStop::NoRoom));
    assert_eq!(publishes.len(), 2 * COMMIT_EVENTS_PER_HOLD);
    let mut got = frames(&inboxes[0]);
    assert_eq!(hub.commit(&mut publishes, at(3)).stop, None);
    got.extend(frames(&inboxes[0]));
    assert_eq!(got, (1..=all).map(id).collect::<Vec<_>>());
}

#[test]
fn events_out_of_order_are_not_committed() {
    let (hub, _inboxes, _shelf) = ordered_hub(|_| {});
    let mut twins = foreign(3, &["a"]);
    twins.events.push(OrderedEvent { id: id(3), event: post(&["a"], "y") });
    let mut publishes = VecDeque::from([foreign(2, &["a"]), twins]);
    assert_eq!(hub.commit(&mut publishes, at(1)).stop, Some(CommitStop::OutOfOrder));
    assert_eq!((publishes.len(), hub.sizes().frames), (1, 1));
    let mut publishes = VecDeque::from([foreign(2, &["a"])]);
    assert_eq!(hub.commit(&mut publishes, at(1)).stop, Some(CommitStop::OutOfOrder));
}

#[test]
fn lost_history_leaves_one_floor_for_all_topics_and_mail_for_all_workers() {
    let (hub, inboxes, _shelf) = ordered_hub(|_| {});
    let many = (1..=EVICTIONS_PER_CALL as u64 + 10).map(|nth| foreign(nth, &["a", "b"]));
    let last = id(EVICTIONS_PER_CALL as u64 + 10);
    let mut publishes: VecDeque<_> = many.collect();
    assert_eq!(hub.commit(&mut publishes, at(1)).stop, None);
    assert_eq!(hub.lose_history(last, at(2)), Err(CommitStop::OutOfOrder));
    let upto = id(90_000);
    assert_eq!(hub.lose_history(upto, at(2)), Ok(0b11));
    assert_eq!(hub.lose_history(upto, at(2)), Err(CommitStop::OutOfOrder));
    let sizes = hub.sizes();
    assert_eq!((sizes.frames, sizes.bytes, hub.lock().head()), (0, 0, upto), "nothing from before is kept");
    for inbox in &inboxes {
        let mail: Vec<MailboxItem> = inbox.frames.try_iter().collect();
        assert!(matches!(mail[..], [MailboxItem::Loss(told)] if told == upto), "{mail:?}");
    }
    let rows = [(StreamStart::After(last), 1), (StreamStart::After(upto), 0), (StreamStart::Now, 0)];
    for (topic, (start, gaps)) in
        ["a", "new", "newer"].iter().flat_map(|topic| rows.iter().map(move |row| (topic, row)))
    {
        let joined = join(&hub, &[topic], start.clone(), at(3));
        assert_eq!((joined.gaps.len(), joined.position), (*gaps, upto), "{topic} after {start:?}");
    }
    let outcome = hub.commit(&mut VecDeque::from([foreign(90_001, &["a"])]), at(4));
    assert_eq!((outcome.stop, hub.sizes().frames), (None, 1), "the order goes on");
}

#[test]
fn history_is_lost_for_nobody_while_somebody_cannot_be_told() {
    let (hub, inboxes, _shelf) = ordered_hub(|_| {});
    join(&hub, &["a"], StreamStart::Now, at(1));
    let mut publishes: VecDeque<_> =
        (1..=MAILBOX_FRAMES_MAX as u64).map(|nth| foreign(nth, &["a"])).collect();
    assert_eq!(hub.commit(&mut publishes, at(1)).stop, None);
    let kept = hub.sizes().frames;
    assert_eq!(hub.lose_history(id(90_000), at(2)), Err(CommitStop::NoRoom));
    assert_eq!((hub.sizes().frames, inboxes[1].frames.len()), (kept, 0));
    inboxes[0].frames.try_iter().for_each(drop);
    assert_eq!(hub.lose_history(id(90_000), at(2)), Ok(0b11));
}

#[test]
fn a_committed_event_finds_no_room_for_its_topic_and_the_loss_is_told() {
    let (hub, inboxes, _shelf) = ordered_hub(|settings| settings.topics_max = 1);
    join(&hub, &["heard"], StreamStart::Now, at(1));
    let mut publishes: VecDeque<_> = [&["kept"] as &[&str], &["new", "heard"], &["newer"]]
        .into_iter()
        .zip(1..)
        .map(|(topics, nth)| foreign(nth, topics))
        .collect();
    let outcome = hub.commit(&mut publishes, at(2));
    assert_eq!((outcome.stop, hub.sizes().topics, hub.sizes().frames), (None, 2, 2));
    assert_eq!((frames(&inboxes[0]), hub.lock().head()), (vec![id(2)], id(3)));
    assert_eq!(hub.lock().removed_floor, id(3), "whoever names it later has missed something");
}

#[test]
fn a_committed_key_is_answered_at_once_and_a_refused_or_lost_one_is_free_again() {
    let (hub, _inboxes, shelf) = ordered_hub(|settings| settings.idempotency_keys_max = 2);
    assert_eq!(submit_keyed(&hub, b"k", 7, 1), Ok(None));
    assert_eq!(submit_keyed(&hub, b"other", 7, 1), Ok(None));
    assert_eq!(
        submit_keyed(&hub, b"third", 7, 1),
        Err(RefusalReason::IdempotencyKeys),
        "two are at the orderer"
    );
    let first = shelf.take();
    let key = first.key.clone().expect("it has one");
    assert_eq!(hub.known_answer(&key), None);
    let outcome = hub.commit(&mut VecDeque::from([own(1, first)]), at(2));
    assert_eq!(submit_keyed(&hub, b"k", 7, 3), Ok(Some(outcome.receipts[0])));
    assert_eq!(submit_keyed(&hub, b"k", 8, 3), Err(RefusalReason::KeyReused));
    assert_eq!(hub.known_answer(&key), Some(Ok(outcome.receipts[0])));
    hub.refuse(shelf.take().ticket, RefusalReason::OrderFailed);
    for _ in 0..2 {
        assert_eq!(submit_keyed(&hub, b"other", 9, 4), Ok(None), "nothing was published with it");
        drop(shelf.take());
    }
    assert_eq!(hub.sizes().idempotency_keys, 1);
}

#[test]
fn an_event_of_the_server_goes_through_the_order_one_at_a_time() {
    let (hub, inboxes, shelf) = ordered_hub(|_| {});
    join(&hub, &["fanwheel.status"], StreamStart::Now, at(1));
    let tell = || hub.publish_local(post(&["fanwheel.status"], "x"), at(1));
    assert_eq!((tell(), tell()), (Ok(0), Err(RefusalReason::OrderFull)));
    assert!(inboxes[0].frames.is_empty() && hub.lock().head() < id(1), "it has an id before its commit");
    let request = shelf.take();
    assert!(request.local);
    // Given before, committed before.
    let mut publishes = VecDeque::from([foreign(1, &["a"]), own(2, request)]);
    let outcome = hub.commit(&mut publishes, at(2));
    assert_eq!((outcome.stop, outcome.mailed), (None, 0b01), "nobody waits for an answer");
    assert_eq!(frames(&inboxes[0]), [id(2)]);
    assert_eq!(tell(), Ok(0));
}

#[test]
fn restored_keys_get_their_answers_for_the_rest_of_their_time() {
    let (hub, _inboxes) = hub(|settings| settings.idempotency_ms = 1_000);
    let receipt = PublishReceipt { id: id(1), events: 1, subscribers: 5 };
    let restored = |text: &[u8], age_ms| RestoredKey {
        key: OrderKey { text: text.into(), fingerprint: 7 },
        receipt,
        age_ms,
    };
    hub.restore_keys([restored(b"old", 1_000), restored(b"new", 600)], at(5));
    hub.restore_head(id(1));
    assert_eq!(submit_keyed(&hub, b"new", 7, 404), Ok(Some(receipt)));
    assert_eq!(submit_keyed(&hub, b"new", 8, 404), Err(RefusalReason::KeyReused));
    assert_eq!(submit_keyed(&hub, b"new", 8, 405), Ok(None), "it is forgotten");
    assert_eq!(submit_keyed(&hub, b"old", 7, 405), Ok(None));
}

#[test]
fn restored_events_are_as_old_as_their_ids_say_and_need_room_for_their_topics() {
    let (hub, _inboxes) = hub(|settings| (settings.history_ms, settings.topics_max) = (1_000, 2));
    // The clock of the process began a moment ago.
    let now = Now { mono_ms: 5, mono_us: 5_000, wall_ms: 2_100 };
    let restored = [(200, "a"), (300, "b"), (400, "c")].map(|(nth, topic)| foreign(nth, &[topic]));
    hub.restore(restored.into_iter().flat_map(|publish| publish.events), now);
    let sizes = hub.sizes();
    assert_eq!((sizes.frames, sizes.topics, hub.lock().removed_floor), (2, 2, id(400)));
    let later = |ms: u64| Now { mono_ms: now.mono_ms + ms, mono_us: 0, wall_ms: now.wall_ms + ms };
    for (ms, frames) in [(99, 2), (100, 1), (199, 1), (200, 0)] {
        hub.sweep(later(ms));
        assert_eq!(hub.sizes().frames, frames, "after {ms} ms");
    }
}

#[test]
fn restored_history_is_resumed_exactly_and_nobody_gets_mail_of_it() {
    let (hub, inboxes) = hub(|settings| settings.history_ms = 1_000);
    let now = Now { mono_ms: 5, mono_us: 5_000, wall_ms: 2_100 };
    let ids: Vec<EventId> = [50, 600, 700].map(id).to_vec();
    let event = |&id: &EventId| OrderedEvent { id, event: post(&["a"], "x") };
    hub.restore(ids.iter().map(event), now);
    hub.restore_head(id(800));
    assert_eq!((hub.sizes().frames, inboxes[0].frames.len()), (2, 0), "one is too old");
    let rows = [(ids[0], 2, vec![]), (ids[1], 1, vec![]), (ids[2], 0, vec![]), (id(800), 0, vec![])];
    for (after, events, gaps) in rows {
        let joined = join(&hub, &["a"], StreamStart::After(after), now);
        assert_eq!((joined.gaps, joined.head), (gaps, id(800)), "after {after}");
        assert_eq!(hub.lock().log(joined.topics[0].index).count_after(joined.position), events);
    }
    let lost = join(&hub, &["a"], StreamStart::After(id(40)), now);
    assert_eq!(lost.gaps, [(0, Some(ids[1]))]);
    assert!(publish(&hub, &["a"], at(1)) > id(800), "the clock was ahead in the earlier run");
}

#[test]
fn a_client_that_has_come_further_on_another_node_waits_there_and_is_told_no_gap() {
    let (hub, _inboxes, _) = ordered_hub(|_| {});
    let commit = |nth| hub.commit(&mut VecDeque::from([foreign(nth, &["a"])]), at(1));
    assert_eq!(commit(1).stop, None);
    let ahead = join(&hub, &["a"], StreamStart::After(id(3)), at(1));
    assert_eq!((ahead.position, ahead.gaps.len(), ahead.gap_reason), (id(3), 0, GapReason::Evicted));
    assert_eq!(commit(2).stop, None);
    assert_eq!(join(&hub, &["a"], StreamStart::After(id(3)), at(1)).position, id(3), "it has seen this one");
    let late = EventId::start_of_run(9_000_000_000_000, IdTag::from_random(7));
    assert_eq!(join(&hub, &["a"], StreamStart::After(late), at(1)).gap_reason, GapReason::UnknownId);
}
