//! A request waits for the word of the application, and goes on with it. It stays in the input of its
//! connection meanwhile, and nothing more is read.
//!
//! Knows no credential: the request is judged again from its beginning.

use super::awaited::Awaited;
use super::conn::ConnState;
use super::exchange::ExchangePhase;
use super::roster::Roster;
use super::seam::Io;
use super::turn_context::TurnContext;
use crate::base::counters::{Count, RefusalReason};
use crate::base::limits::REQUESTS_PER_TURN;
use crate::wire::auth::application::{ApplicationQuestion, ApplicationVerdict};

/// Lets a connection wait for the word of the application about its request. Its deadline is the caller's to
/// arm.
///
/// # Errors
/// When too many wait.
pub(super) fn await_verdict(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    question: ApplicationQuestion,
) -> Result<(), RefusalReason> {
    let asker = turn.asker(roster.token(slot));
    let number = turn.node.desk.ask(question, asker, turn.now).ok_or(RefusalReason::AuthorizeFull)?;
    turn.counters().count(Count::AuthorizeAsked);
    roster.exchange_mut(slot).phase = ExchangePhase::Awaiting(Awaited::Verdict(number));
    Ok(())
}

/// Takes words of the application: as many as requests are handled in a turn.
pub(super) fn take_verdicts(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>) {
    for _ in 0..REQUESTS_PER_TURN {
        let Ok(mail) = turn.inbox.verdicts.try_recv() else { return };
        if !roster.owns(mail.token) {
            continue;
        }
        let slot = mail.token.slot();
        if let ConnState::Requesting(exchange) = &roster.conn(slot).state
            && let ExchangePhase::Awaiting(Awaited::Verdict(number)) = exchange.phase
            && number == mail.number
        {
            go_on_with_verdict(roster, turn, slot, mail.verdict);
        }
    }
}

/// Lets a request go on whose word of the application has not come in time.
pub(super) fn go_on_late(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    go_on_with_verdict(roster, turn, slot, Err(RefusalReason::AuthorizeLate));
}

fn go_on_with_verdict(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    verdict: ApplicationVerdict,
) {
    roster.exchange_mut(slot).phase = ExchangePhase::Decided(Box::new(verdict));
    roster.arm(slot, turn.tick_after(turn.node.ticks.head));
    roster.queue_read(slot);
}
