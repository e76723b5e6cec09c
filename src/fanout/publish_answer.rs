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
