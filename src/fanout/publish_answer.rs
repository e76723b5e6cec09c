//! Answers to publishers: at once, or when their ticket is settled, or when its deadline has passed.
//!
//! A publisher that is told `order_late` cannot know: its event may still be published. Another try with the
//! same `Idempotency-Key` publishes it once.

use super::awaited::{AnswerForm, Awaited, PendingTicket};
use super::conn::ConnState;
use super::exchange::ExchangePhase;
use super::http::RequestFlow;
use super::hub::PublishOutcome;
use super::hub::ticket::OrderSettlement;
use super::reply_context::ReplyContext;
use super::worker::Worker;
use crate::base::counters::{Count, RefusalReason};
use crate::base::limits::{ORDER_MS, REQUESTS_PER_TURN};
use crate::base::time::ticks_of_ms;
use crate::wire::reply::{self, Accepted};

impl Worker {
    /// Lets a connection wait for the ticket of its publish.
    pub(super) fn await_ticket(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        form: AnswerForm,
        number: u64,
    ) -> RequestFlow {
        let pending = PendingTicket { number, form, context: context.without_origin() };
        self.roster.exchange_mut(slot).phase = ExchangePhase::Awaiting(Awaited::Ticket(Box::new(pending)));
        self.roster.arm(slot, self.now.tick().saturating_add(ticks_of_ms(ORDER_MS)));
        RequestFlow::Await(0)
    }

    /// Answers a publish that is in the order.
    pub(super) fn answer_published(
        &mut self,
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
                return self.answer(slot, context, |out, reply| {
                    reply::append_bench_accepted(out, reply.http11, reply.keep_alive);
                });
            }
        };
        let accepted = Accepted { id: receipt.id, events, subscribers: receipt.subscribers, warning };
        self.answer(slot, context, |out, reply| reply::append_accepted(out, reply, &accepted))
    }

    /// Counts the events of a publish that is in the order.
    pub(super) fn count_published(&self, outcome: &PublishOutcome) {
        if outcome.repeated {
            self.counters().count(Count::PublishRepeated);
        } else {
            self.counters().add(Count::Published, outcome.receipt.events);
        }
    }

    /// Answers those whose tickets were settled: as many as requests are handled in a turn.
    pub(super) fn take_settlements(&mut self) {
        for _ in 0..REQUESTS_PER_TURN {
            let Ok(settlement) = self.inbox.settlements.try_recv() else { return };
            self.take_settlement(settlement);
        }
    }

    fn take_settlement(&mut self, settlement: OrderSettlement) {
        // Events count whether or not their publisher is still here.
        if let Ok(outcome) = &settlement.outcome {
            self.count_published(outcome);
        }
        if !self.roster.owns(settlement.token) {
            return;
        }
        let slot = settlement.token.slot();
        let ConnState::Requesting(exchange) = &mut self.roster.conn_mut(slot).state else { return };
        if let ExchangePhase::Awaiting(Awaited::Ticket(pending)) = &exchange.phase
            && pending.number == settlement.number
        {
            self.finish_ticket(slot, settlement.outcome);
        }
    }

    /// Answers a connection whose wait has come to its deadline.
    pub(super) fn finish_waiting(&mut self, slot: u32) {
        let ConnState::Requesting(exchange) = &self.roster.conn(slot).state else { return };
        match exchange.phase {
            ExchangePhase::Awaiting(Awaited::Survey(_)) => self.finish_survey(slot),
            ExchangePhase::Awaiting(Awaited::Ticket(_)) => {
                self.finish_ticket(slot, Err(RefusalReason::OrderLate));
            }
            _ => {}
        }
    }

    fn finish_ticket(&mut self, slot: u32, outcome: Result<PublishOutcome, RefusalReason>) {
        let exchange = self.roster.exchange_mut(slot);
        let ExchangePhase::Awaiting(Awaited::Ticket(pending)) =
            std::mem::replace(&mut exchange.phase, ExchangePhase::Head)
        else {
            unreachable!("called only in this phase");
        };
        let PendingTicket { form, context, .. } = *pending;
        let flow = match outcome {
            Ok(outcome) => self.answer_published(slot, context, form, outcome),
            Err(why) => self.refuse(slot, context, why),
        };
        self.finish_late_answer(slot, &flow);
    }

    /// Answers all publishers that still wait at the end of a drain.
    pub(super) fn finish_all_tickets(&mut self) {
        while let Ok(settlement) = self.inbox.settlements.try_recv() {
            self.take_settlement(settlement);
        }
        for slot in self.roster.used_slots() {
            if let ConnState::Requesting(exchange) = &self.roster.conn(slot).state
                && let ExchangePhase::Awaiting(Awaited::Ticket(_)) = exchange.phase
            {
                self.finish_ticket(slot, Err(RefusalReason::OrderLate));
            }
        }
    }
}
