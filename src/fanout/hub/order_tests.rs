//! Facts about publishes that an orderer orders, and about history that is put back.

use std::sync::Mutex as Queue;

use super::tests::{at, hub, join, post, publish};
use super::*;
use crate::base::id::IdTag;
use crate::base::limits::{COMMIT_EVENTS_PER_HOLD, MAILBOX_FRAMES_MAX};
use crate::fanout::mail::MailboxReceiver;
use crate::fanout::token::{Asker, ConnToken};

/// Keeps what it is given.
#[derive(Debug, Default)]
struct Shelf(Queue<Vec<OrderRequest>>);

impl Orderer for Shelf {
    fn submit(&self, request: OrderRequest) {
        self.0.lock().expect("nobody panics").push(request);
    }
}

fn ordered_hub(edit: impl FnOnce(&mut Settings)) -> (Hub, Vec<MailboxReceiver>, Arc<Shelf>) {
    let (hub, inboxes) = hub(edit);
    let shelf = Arc::new(Shelf::default());
    hub.install_orderer(Arc::<Shelf>::clone(&shelf));
    (hub, inboxes, shelf)
}

fn submit(hub: &Hub, topics: &[&str], bytes: usize) -> Result<Acceptance, RefusalReason> {
    let asker = Asker { worker: 1, token: ConnToken::new(3, 4) };
    hub.publish(vec![post(topics, &"x".repeat(bytes))], None, asker, at(1))
}

fn take(shelf: &Shelf) -> OrderRequest {
    shelf.0.lock().expect("nobody panics").remove(0)
}

fn id(nth: u64) -> EventId {
    EventId::start_of_run(1_000 + nth, IdTag::from_random(7))
}

fn foreign(nth: u64, topics: &[&str]) -> OrderedPublish {
    OrderedPublish { events: vec![OrderedEvent { id: id(nth), event: post(topics, "x") }], ticket: None }
}

fn own(nth: u64, request: OrderRequest) -> OrderedPublish {
    let event = |event| OrderedEvent { id: id(nth), event };
    OrderedPublish { events: request.events.into_iter().map(event).collect(), ticket: Some(request.ticket) }
}

fn frames(inbox: &MailboxReceiver) -> Vec<EventId> {
    let id = |mail| match mail {
        MailboxItem::Frame(frame) => frame.id(),
        MailboxItem::Probe(_) => unreachable!("none was sent"),
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
    let mut publishes = VecDeque::from([foreign(1, &["a"]), own(2, take(&shelf)), foreign(3, &["b"])]);
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
    assert_eq!(hub.refuse(take(&shelf).ticket, RefusalReason::OrderFailed), 0b10);
    drop(take(&shelf));
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
    drop(take(&shelf));
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
