//! Answers to publishers: at once, or when their ticket is settled, or when its deadline has passed.
//!
//! A publisher that is told `order_late` cannot know: its event may still be published. Another try with the
//! same `Idempotency-Key` publishes it once.

use super::answers::{RequestFlow, answer, finish_late_answer, refuse};
use super::awaited::{AnswerForm, Awaited, PendingTicket};
use super::conn::ConnState;
use super::exchange::ExchangePhase;
use super::hub::PublishOutcome;
use super::hub::ticket::OrderSettlement;
use super::reply_context::ReplyContext;
use super::roster::Roster;
use super::seam::Io;
use super::turn_context::TurnContext;
use crate::base::counters::{Count, Counters, RefusalReason};
use crate::base::limits::{ORDER_MS, REQUESTS_PER_TURN};
use crate::wire::reply::{self, Accepted};

/// Lets a connection wait for the ticket of its publish.
pub(super) fn await_ticket(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    form: AnswerForm,
    number: u64,
) -> RequestFlow {
    let pending = PendingTicket { number, form, context: context.without_origin() };
    roster.exchange_mut(slot).phase = ExchangePhase::Awaiting(Awaited::Ticket(Box::new(pending)));
    roster.arm(slot, turn.tick_after_ms(ORDER_MS));
    RequestFlow::Await(0)
}

/// Answers a publish that is in the order.
pub(super) fn answer_published(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    form: AnswerForm,
    outcome: PublishOutcome,
) -> RequestFlow {
    let receipt = outcome.receipt;
    let (events, warning) = match form {
        AnswerForm::Single { warning } => (None, warning),
        AnswerForm::Batch { warning } => (Some(receipt.events), warning),
        AnswerForm::Broadcast => {
            return answer(roster, turn, slot, context, |out, reply| {
                reply::append_bench_accepted(out, reply);
            });
        }
    };
    let accepted = Accepted { id: receipt.id, events, subscribers: receipt.subscribers, warning };
    answer(roster, turn, slot, context, |out, reply| reply::append_accepted(out, reply, &accepted))
}

/// Counts the events of a publish that is in the order.
pub(super) fn count_published(counters: &Counters, outcome: &PublishOutcome) {
    if outcome.repeated {
        counters.count(Count::PublishRepeated);
    } else {
        counters.add(Count::Published, outcome.receipt.events);
    }
}

/// Answers those whose tickets were settled: as many as requests are handled in a turn.
pub(super) fn take_settlements(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>) {
    for _ in 0..REQUESTS_PER_TURN {
        let Ok(settlement) = turn.inbox.settlements.try_recv() else { return };
        take_settlement(roster, turn, settlement);
    }
}

fn take_settlement(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, settlement: OrderSettlement) {
    // Events count whether or not their publisher is still here.
    if let Ok(outcome) = &settlement.outcome {
        count_published(turn.counters(), outcome);
    }
    if !roster.owns(settlement.token) {
        return;
    }
    let slot = settlement.token.slot();
    let ConnState::Requesting(exchange) = &mut roster.conn_mut(slot).state else { return };
    if let ExchangePhase::Awaiting(Awaited::Ticket(pending)) = &exchange.phase
        && pending.number == settlement.number
    {
        finish_ticket(roster, turn, slot, settlement.outcome);
    }
}

/// Answers a publisher whose ticket was not settled in time.
pub(super) fn finish_late_ticket(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    finish_ticket(roster, turn, slot, Err(RefusalReason::OrderLate));
}

fn finish_ticket(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    outcome: Result<PublishOutcome, RefusalReason>,
) {
    let exchange = roster.exchange_mut(slot);
    let ExchangePhase::Awaiting(Awaited::Ticket(pending)) =
        std::mem::replace(&mut exchange.phase, ExchangePhase::Head)
    else {
        unreachable!("called only in this phase");
    };
    let PendingTicket { form, context, .. } = *pending;
    let flow = match outcome {
        Ok(outcome) => answer_published(roster, turn, slot, context, form, outcome),
        Err(why) => refuse(roster, turn, slot, context, why),
    };
    finish_late_answer(roster, turn, slot, &flow);
}

/// Answers all publishers that still wait at the end of a drain.
pub(super) fn finish_all_tickets(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>) {
    while let Ok(settlement) = turn.inbox.settlements.try_recv() {
        take_settlement(roster, turn, settlement);
    }
    for slot in roster.used_slots() {
        if let ConnState::Requesting(exchange) = &roster.conn(slot).state
            && let ExchangePhase::Awaiting(Awaited::Ticket(_)) = exchange.phase
        {
            finish_late_ticket(roster, turn, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use super::*;
    use crate::base::counters::CloseReason;
    use crate::base::id::{EventId, IdTag};
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::base::time::Now;
    use crate::fanout::closing::close;
    use crate::fanout::hub::{OrderedEvent, OrderedPublish};
    use crate::fanout::seam::CloseMode;
    use crate::fanout::stage_tests::{OrderShelf, Stage};

    /// A worker whose publishes are ordered by hand.
    fn ordered() -> (Stage, Arc<OrderShelf>) {
        let stage = Stage::new(Settings::default());
        let shelf = Arc::new(OrderShelf::default());
        stage.node.hub.install_orderer(Arc::<OrderShelf>::clone(&shelf));
        (stage, shelf)
    }

    /// Sends a publish of one event.
    fn publish(stage: &mut Stage, slot: u32) {
        let head = "POST /publish?topic=a HTTP/1.1\r\nHost: localhost\r\n";
        stage.receive(slot, &format!("{head}Content-Length: 1\r\n\r\nx"));
    }

    /// The id of the nth place in the order.
    fn id(nth: u64) -> EventId {
        EventId::start_of_run(10_000 + nth, IdTag::from_random(7))
    }

    /// Gives the request that came first the nth place, and lets the worker hear of it.
    fn commit(stage: &mut Stage, shelf: &OrderShelf, nth: u64) {
        let request = shelf.take();
        let mut place = nth;
        let ordered = |event| {
            place += 1;
            OrderedEvent { id: id(place - 1), event }
        };
        let events = request.events.into_iter().map(ordered).collect();
        let ticket = Some(request.ticket);
        let mut publishes = VecDeque::from([OrderedPublish { events, ticket, key: request.key }]);
        let now = Now { mono_ms: stage.now_ms, mono_us: 0, wall_ms: stage.now_ms };
        assert_eq!(stage.node.hub.commit(&mut publishes, now).stop, None);
    }

    fn settle(stage: &mut Stage) {
        stage.step(|roster, _, turn| take_settlements(roster, turn));
    }

    fn pass_deadline(stage: &mut Stage, slot: u32) {
        stage.step(|roster, _, turn| finish_late_ticket(roster, turn, slot));
    }

    /// Sends the answers so far. Returns them.
    fn answers(stage: &mut Stage, slot: u32) -> String {
        stage.write();
        stage.take_sent(slot)
    }

    #[test]
    fn a_publisher_waits_until_its_event_is_ordered() {
        let (mut stage, shelf) = ordered();
        let slot = stage.open(ListenerKind::Control);
        publish(&mut stage, slot);
        settle(&mut stage);
        assert_eq!((answers(&mut stage, slot), stage.count(Count::Published)), (String::new(), 0));
        let due = stage.step(|_, _, turn| turn.tick_after_ms(ORDER_MS));
        assert_eq!(stage.roster.wheel().due(slot), due);
        commit(&mut stage, &shelf, 1);
        settle(&mut stage);
        let told = answers(&mut stage, slot);
        assert!(told.starts_with("HTTP/1.1 202") && told.contains(&id(1).to_string()), "{told}");
        assert_eq!(stage.count(Count::Published), 1);
    }

    #[test]
    fn a_settlement_after_the_deadline_counts_and_answers_no_later_ticket() {
        let (mut stage, shelf) = ordered();
        let slot = stage.open(ListenerKind::Control);
        publish(&mut stage, slot);
        pass_deadline(&mut stage, slot);
        let told = answers(&mut stage, slot);
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("order_late"), "{told}");
        publish(&mut stage, slot);
        commit(&mut stage, &shelf, 1);
        settle(&mut stage);
        assert_eq!((answers(&mut stage, slot), stage.count(Count::Published)), (String::new(), 1));
        commit(&mut stage, &shelf, 2);
        settle(&mut stage);
        let told = answers(&mut stage, slot);
        assert!(told.matches("HTTP/1.1").count() == 1 && told.contains(&id(2).to_string()), "{told}");
        assert_eq!(stage.node.totals().refused[RefusalReason::OrderLate as usize], 1);
    }

    #[test]
    fn a_settlement_reaches_neither_a_free_slot_nor_its_new_owner() {
        let (mut stage, shelf) = ordered();
        for nth in 1..=2 {
            let slot = stage.open(ListenerKind::Control);
            publish(&mut stage, slot);
            stage.step(|roster, topics, turn| {
                close(roster, topics, turn, slot, CloseMode::Orderly, CloseReason::Peer);
            });
            if nth == 1 {
                commit(&mut stage, &shelf, nth);
                settle(&mut stage);
            }
        }
        let next = stage.open(ListenerKind::Control);
        publish(&mut stage, next);
        commit(&mut stage, &shelf, 2);
        settle(&mut stage);
        assert_eq!((answers(&mut stage, next), stage.count(Count::Published)), (String::new(), 2));
        commit(&mut stage, &shelf, 3);
        settle(&mut stage);
        assert!(answers(&mut stage, next).contains(&id(3).to_string()));
        assert_eq!(stage.node.hub.order_bytes().taken(), 0);
    }

    #[test]
    fn a_refused_ticket_is_answered_in_words_and_a_batch_with_its_length() {
        let (mut stage, shelf) = ordered();
        let slot = stage.open(ListenerKind::Control);
        publish(&mut stage, slot);
        stage.node.hub.refuse(shelf.take().ticket, RefusalReason::OrderFailed);
        settle(&mut stage);
        assert!(answers(&mut stage, slot).starts_with("HTTP/1.1 503"));
        let line = "{\"topic\":\"a\",\"data\":1}\n";
        let head = "POST /publish/batch HTTP/1.1\r\nHost: localhost\r\n";
        stage.receive(slot, &format!("{head}Content-Length: {}\r\n\r\n{line}{line}", 2 * line.len()));
        commit(&mut stage, &shelf, 1);
        settle(&mut stage);
        let told = answers(&mut stage, slot);
        assert!(told.starts_with("HTTP/1.1 202") && told.contains("\"events\":2"), "{told}");
        assert_eq!((stage.count(Count::Published), stage.count(Count::RequestsBad)), (2, 0));
    }

    #[test]
    fn one_turn_answers_as_many_as_it_handles_requests() {
        let (mut stage, shelf) = ordered();
        let slots: Vec<u32> = (0..REQUESTS_PER_TURN + 2).map(|_| stage.open(ListenerKind::Control)).collect();
        for (nth, &slot) in slots.iter().enumerate() {
            publish(&mut stage, slot);
            commit(&mut stage, &shelf, nth as u64);
        }
        for expected in [REQUESTS_PER_TURN, 2, 0] {
            settle(&mut stage);
            let answered = slots.iter().filter(|&&slot| !answers(&mut stage, slot).is_empty()).count();
            assert_eq!(answered, expected);
        }
    }

    #[test]
    fn the_end_of_a_drain_answers_all_who_wait_each_by_its_own_outcome() {
        let (mut stage, shelf) = ordered();
        let [settled, late, idle] = [(); 3].map(|()| stage.open(ListenerKind::Control));
        publish(&mut stage, settled);
        publish(&mut stage, late);
        commit(&mut stage, &shelf, 1);
        stage.step(|roster, _, turn| finish_all_tickets(roster, turn));
        let told = [settled, late, idle].map(|slot| answers(&mut stage, slot));
        assert!(told[0].starts_with("HTTP/1.1 202"), "{told:?}");
        assert!(told[1].contains("order_late") && told[2].is_empty(), "{told:?}");
    }
}
