//! Answers: bytes for a connection that has sent a request, and its fate when the kernel has taken them.
//!
//! ```text
//! answer, answer_problem, refuse ──► queue_answers ──► (a batch of own output) ──► apply_answer_outcome
//!                                                                                   │
//!                            next request, wait for one, or linger until the peer closes ◄
//! ```
//!
//! Knows no topic and no stream. Requests are understood in `http` and served in `serve`.

use super::batch::SendOutcome;
use super::conn::ConnState;
use super::conn_tracing::trace_refused;
use super::exchange::{AfterAnswer, ExchangePhase};
use super::linger::Linger;
use super::reply_context::ReplyContext;
use super::request_input::RequestInput;
use super::roster::Roster;
use super::seam::Io;
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, RefusalReason};
use crate::base::listener::ListenerKind;
use crate::wire::problem::Problem;
use crate::wire::reply::{self, Reply};

/// Course of a connection after one request was handled.
pub(super) enum RequestFlow {
    /// Answered; so many bytes behind the head belonged to it. The next request may follow.
    Answered(usize),
    /// All bytes behind the head have been taken; the connection waits for something.
    AwaitBody,
    /// Somebody else decides. So many bytes behind the head belonged to the request; those after are kept.
    Await(usize),
    /// The connection has become a stream, or will be closed: nothing behind the head matters.
    Done,
}

impl RequestFlow {
    /// Adds the body's bytes to those that belonged to the request.
    pub(super) fn after_body(self, bytes: usize) -> RequestFlow {
        match self {
            RequestFlow::Answered(_) => RequestFlow::Answered(bytes),
            RequestFlow::Await(_) => RequestFlow::Await(bytes),
            flow => flow,
        }
    }
}

/// Answers with the reason of a refusal, and counts it.
pub(super) fn refuse(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    why: RefusalReason,
) -> RequestFlow {
    turn.counters().refuse(why);
    answer_problem(roster, turn, slot, context, &Problem::Refused(why))
}

/// Answers with a problem and closes if the problem says so.
pub(super) fn answer_problem(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    problem: &Problem,
) -> RequestFlow {
    trace_refused(roster, turn, slot, problem);
    let keep_alive = context.keep_alive && !problem.closes();
    let retry_after_s = matches!(problem.status(), 429 | 503).then(|| turn.carried.draw_retry_after_s());
    let flow = answer(roster, turn, slot, ReplyContext { keep_alive, ..context }, |out, reply| {
        reply::append_problem(out, problem, &Reply { retry_after_s, ..*reply });
    });
    if problem.closes() {
        let refused = matches!(problem, Problem::Refused(_));
        roster.exchange_mut(slot).after =
            AfterAnswer::Linger(if refused { CloseReason::Refused } else { CloseReason::BadRequest });
    }
    flow
}

/// Answers with JSON.
pub(super) fn answer_json(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    status: u16,
    text: &str,
) -> RequestFlow {
    answer(roster, turn, slot, context, |out, reply| {
        reply::append_json(out, &Reply { status, ..*reply }, text);
    })
}

/// Appends an answer. A connection that is not kept is read on for a while: a reset, which unread bytes
/// would cause, could reach the client before the answer.
pub(super) fn answer(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    build: impl FnOnce(&mut Vec<u8>, &Reply<'_>),
) -> RequestFlow {
    let conn = roster.conn_mut(slot);
    let over = conn.over_limit().is_some();
    let keep_alive = context.keep_alive && !turn.carried.shutdown.is_draining() && !over;
    let reply = reply_to(turn, conn.listener, ReplyContext { keep_alive, ..context });
    let exchange = conn.exchange_mut();
    build(&mut exchange.out, &reply);
    if keep_alive {
        return RequestFlow::Answered(0);
    }
    exchange.after = AfterAnswer::Linger(if over { CloseReason::Refused } else { CloseReason::Answered });
    exchange.input = RequestInput::default();
    queue_answers(roster, turn, slot);
    RequestFlow::Done
}

/// The frame of an answer with status 200 to a client of a listener.
pub(super) fn reply_to<'a>(
    turn: &TurnContext<'a, impl Io>,
    listener: ListenerKind,
    context: ReplyContext<'a>,
) -> Reply<'a> {
    Reply {
        status: 200,
        http11: context.http11,
        keep_alive: context.keep_alive,
        idle_ms: turn.node.settings.idle_ms,
        head_only: context.head_only,
        cors: &turn.node.policy(listener).cors,
        origin: context.origin,
        retry_after_s: None,
        allow: None,
        challenge: None,
        wall_ms: turn.now.wall_ms,
    }
}

/// Answers a connection that has taken too long.
pub(super) fn answer_timeout(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    why: CloseReason,
    problem: &Problem,
) {
    answer_problem(roster, turn, slot, ReplyContext::UNKNOWN, problem);
    roster.exchange_mut(slot).after = AfterAnswer::Linger(why);
}

/// Queues the answers to requests that were handled, if there are any.
pub(super) fn queue_answers(roster: &mut Roster, turn: &TurnContext<'_, impl Io>, slot: u32) {
    let ConnState::Requesting(exchange) = &mut roster.conn_mut(slot).state else { return };
    if exchange.out.is_empty() {
        return;
    }
    if matches!(exchange.phase, ExchangePhase::Head) {
        exchange.phase = ExchangePhase::Answering;
        roster.arm(slot, turn.tick_after(turn.node.ticks.answer));
    }
    roster.queue_write(slot);
}

/// Lets the connection go on after an answer that was not given at once.
pub(super) fn finish_late_answer(
    roster: &mut Roster,
    turn: &TurnContext<'_, impl Io>,
    slot: u32,
    flow: &RequestFlow,
) {
    if let RequestFlow::Answered(_) = flow {
        queue_answers(roster, turn, slot);
    }
}

/// Applies the outcome of a send of answer bytes.
pub(super) fn apply_answer_outcome(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    outcome: &SendOutcome,
) {
    let slot = outcome.slot;
    let conn = roster.conn_mut(slot);
    let ConnState::Requesting(exchange) = &mut conn.state else { return };
    exchange.sent += outcome.own_taken;
    if !outcome.whole {
        conn.mark_full();
        return;
    }
    exchange.out.clear();
    exchange.sent = 0;
    if matches!(exchange.phase, ExchangePhase::Answering) {
        finish_answers(roster, turn, slot);
    }
}

/// Lets a connection go on whose answers are out: with its next request, or until its peer closes.
pub(super) fn finish_answers(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    let conn = roster.conn_mut(slot);
    let over = conn.over_limit().is_some();
    let ConnState::Requesting(exchange) = &mut conn.state else { return };
    match exchange.after {
        AfterAnswer::KeepAlive => queue_next_request(roster, turn, slot),
        AfterAnswer::Linger(_) => {
            let tick = turn.tick();
            let linger = if over { Linger::begin_brief(tick) } else { Linger::begin(tick) };
            let due = linger.due(tick);
            exchange.phase = ExchangePhase::Lingering(linger);
            exchange.out = Vec::new();
            turn.io.shutdown_write(slot);
            roster.arm(slot, due);
            roster.queue_read(slot);
        }
    }
}

/// Queues the next request when all answers are out, or waits if none has arrived.
fn queue_next_request(roster: &mut Roster, turn: &TurnContext<'_, impl Io>, slot: u32) {
    let conn = roster.conn_mut(slot);
    let ConnState::Requesting(exchange) = &mut conn.state else { return };
    if !exchange.input.is_empty() {
        exchange.phase = ExchangePhase::Queued;
        return roster.queue_read(slot);
    }
    let unread = conn.take_deferred_read();
    conn.state = ConnState::Idle;
    roster.arm(slot, turn.tick_after(turn.node.ticks.idle));
    if unread {
        roster.queue_read(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::seam::SendResult;
    use crate::fanout::stage_tests::Stage;

    #[test]
    fn a_kept_connection_is_idle_after_its_answer_and_another_lingers() {
        let mut stage = Stage::new(Settings::default());
        let [kept, last] = [stage.open(ListenerKind::Control), stage.open(ListenerKind::Control)];
        stage.receive(kept, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stage.receive(last, "GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stage.write();
        assert!(stage.take_sent(kept).contains("{\"status\":\"ok\"}"));
        assert!(matches!(stage.roster.conn(kept).state, ConnState::Idle));
        let ConnState::Requesting(exchange) = &stage.roster.conn(last).state else { panic!("it is read on") };
        assert!(matches!(exchange.phase, ExchangePhase::Lingering(_)));
        assert_eq!(
            (exchange.after, &stage.io.shut),
            (AfterAnswer::Linger(CloseReason::Answered), &vec![last])
        );
    }

    #[test]
    fn an_answer_that_is_cut_short_goes_on_when_its_socket_takes_bytes_again() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.open(ListenerKind::Control);
        stage.receive(slot, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stage.io.next.insert(slot, SendResult::Bytes(10));
        stage.write();
        let first = stage.take_sent(slot);
        assert!(first.len() == 10 && stage.roster.conn(slot).is_full());
        stage.write();
        assert_eq!(stage.take_sent(slot), "", "nothing is offered to a full socket");
        assert!(stage.roster.conn_mut(slot).mark_writable());
        stage.roster.queue_write(slot);
        stage.write();
        let rest = stage.take_sent(slot);
        assert!((first + &rest).starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    }
}
