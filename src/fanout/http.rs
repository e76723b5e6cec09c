//! The conversation with a client: bytes that come are made into requests, and bytes that are not whole or
//! whose turn has not come are kept.
//!
//! Several requests may wait in one connection; they are answered in order, `ANSWERS_AT_ONCE` at a time. Then
//! the answers are sent, and the connection waits for its turn among all that are to be read. So one that
//! pipelines waits for all others, and not they for it. Requests are served in `serve`.

use super::admission::{RequestVerdict, RulesInForce, judge_request};
use super::answers::{RequestFlow, answer_problem, answer_timeout, queue_answers, refuse};
use super::application_answer::{await_verdict, go_on_late};
use super::awaited::Awaited;
use super::closing::{close, close_timed_out};
use super::conn::ConnState;
use super::exchange::{AfterAnswer, ExchangePhase};
use super::hub::search_steps_max;
use super::lobby::{LobbyRead, read_header};
use super::publish_answer::finish_late_ticket;
use super::reply_context::ReplyContext;
use super::roster::Roster;
use super::seam::{CloseMode, Io, ReadResult};
use super::serve::serve_head;
use super::stream::read_upstream;
use super::survey_request::finish_survey;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use super::upload::take_body_bytes;
use crate::base::counters::{CloseReason, Count, RefusalReason};
use crate::base::limits::{
    ANSWER_BYTES_MAX, ANSWERS_AT_ONCE, AUTHORIZE_MS, COSTLY_SUBSCRIBE_STEPS, HEAD_READ_BYTES,
    PUBLIC_READ_BYTES,
};
use crate::base::listener::ListenerKind;
use crate::wire::auth::application::{ApplicationQuestion, ApplicationVerdict};
use crate::wire::head::{self, Head, HeadLimits, ParsedHead};
use crate::wire::policy::ListenerPolicy;
use crate::wire::problem::Problem;
use crate::wire::request::{Request, route};
use crate::wire::subscription::StreamStart;

/// The next thing that the bytes of a connection ask for.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once, and never kept")]
enum Demand<'a> {
    /// Nothing yet: their head is not whole.
    More,
    /// An answer that ends the connection: no request can be read from them.
    Refusal(Problem),
    /// An answer to a request, or a stream.
    Request {
        head: Head<'a>,
        /// The request, or the reason why it is none that is served.
        asked: Result<Request, Problem>,
        /// Bytes that follow the head.
        rest: &'a [u8],
    },
}

/// Reason for which bytes of a connection are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeptInput {
    /// Their request is not whole.
    Incomplete,
    /// Earlier requests of the connection, or other connections, come first.
    NotItsTurn,
}

/// Reads the first request of `bytes`.
fn receive<'a>(bytes: &'a [u8], limits: HeadLimits, policy: &ListenerPolicy) -> Demand<'a> {
    match head::parse(bytes, limits) {
        ParsedHead::More => Demand::More,
        ParsedHead::Bad(problem) => Demand::Refusal(problem),
        ParsedHead::Head(head, used) => {
            let asked = route(&head, policy);
            Demand::Request { head, asked, rest: &bytes[used..] }
        }
    }
}

/// Reads once from a connection and acts on it. Returns how many bytes were read.
pub(super) fn read_connection(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    scratch: &mut [u8],
    slot: u32,
) -> usize {
    let conn = roster.conn_mut(slot);
    if conn.is_in_lobby() {
        let LobbyRead { bytes, most, first_request } = read_header(roster, topics, turn, scratch, slot);
        if let Some(input) = first_request {
            handle_input(roster, topics, turn, slot, &input);
        }
        roster.queue_read_again(slot, bytes, most);
        hurry_rest(roster, turn, slot);
        return bytes;
    }
    let head_bytes = match conn.listener {
        ListenerKind::Public | ListenerKind::Metrics => PUBLIC_READ_BYTES,
        ListenerKind::Control => HEAD_READ_BYTES,
    };
    let most = match &conn.state {
        ConnState::Streaming(_) => return read_upstream(roster, topics, turn, scratch, slot),
        ConnState::Idle => head_bytes,
        ConnState::Requesting(exchange) => match exchange.phase {
            ExchangePhase::Head => head_bytes,
            ExchangePhase::Body(_) | ExchangePhase::Lingering(_) => scratch.len(),
            ExchangePhase::Awaiting(_) | ExchangePhase::Answering => {
                conn.defer_read();
                return 0;
            }
            ExchangePhase::Queued | ExchangePhase::Decided(_) => {
                handle_kept_input(roster, topics, turn, slot);
                hurry_rest(roster, turn, slot);
                return 0;
            }
        },
    };
    let read = turn.io.read(slot, &mut scratch[..most]);
    match read {
        ReadResult::Bytes(bytes) => {
            receive_bytes(roster, topics, turn, slot, &scratch[..bytes]);
            // The slot may have a new owner only after another `open`, so this is still our connection or
            // nobody's.
            roster.queue_read_again(slot, bytes, most);
            hurry_rest(roster, turn, slot);
            return bytes;
        }
        ReadResult::Empty => roster.conn_mut(slot).clear_ended(),
        ReadResult::End => handle_peer_end(roster, topics, turn, slot),
        ReadResult::Broken => close(roster, topics, turn, slot, CloseMode::Reset, CloseReason::Reset),
        ReadResult::TimedOut => close_timed_out(roster, topics, turn, slot),
    }
    0
}

fn receive_bytes(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    bytes: &[u8],
) {
    match &mut roster.conn_mut(slot).state {
        ConnState::Idle => handle_input(roster, topics, turn, slot, bytes),
        ConnState::Requesting(exchange) => match &mut exchange.phase {
            ExchangePhase::Head => {
                let only_grows = exchange.input.only_grows(bytes, turn.node.head_limits.bytes_max);
                if !exchange.input.try_add(bytes, &turn.node.heads) {
                    refuse(roster, turn, slot, ReplyContext::UNKNOWN, RefusalReason::Heads);
                } else if !only_grows {
                    let input = exchange.input.take();
                    handle_input(roster, topics, turn, slot, &input);
                }
            }
            ExchangePhase::Body(_) => match take_body_bytes(roster, turn, slot, bytes) {
                RequestFlow::Answered(taken) => {
                    handle_input(roster, topics, turn, slot, &bytes[taken..]);
                    queue_answers(roster, turn, slot);
                }
                RequestFlow::Await(taken) => roster.exchange_mut(slot).input.keep(&bytes[taken..]),
                RequestFlow::AwaitBody | RequestFlow::Done => {}
            },
            ExchangePhase::Lingering(linger) => {
                if linger.try_throw(bytes.len(), &turn.node.lingering) {
                    let due = linger.due(turn.tick());
                    roster.arm(slot, due);
                } else {
                    let why = exchange.after.reason();
                    close(roster, topics, turn, slot, CloseMode::Reset, why);
                }
            }
            ExchangePhase::Awaiting(_)
            | ExchangePhase::Answering
            | ExchangePhase::Queued
            | ExchangePhase::Decided(_) => {
                unreachable!("not read in these phases")
            }
        },
        ConnState::Streaming(_) => unreachable!("streams read upstream"),
    }
}

/// Acts on the end of the peer's input: whole requests are still answered, and half a body is thrown away.
/// Only while a body comes can answers to earlier requests wait unsent.
fn handle_peer_end(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    if let ConnState::Requesting(exchange) = &mut roster.conn_mut(slot).state
        && let ExchangePhase::Body(upload) = &exchange.phase
        && !exchange.out.is_empty()
    {
        turn.node.bodies.release(upload.charged);
        exchange.phase = ExchangePhase::Head;
        exchange.after = AfterAnswer::Linger(CloseReason::Peer);
        return queue_answers(roster, turn, slot);
    }
    let why = match &roster.conn(slot).state {
        ConnState::Requesting(exchange) if matches!(exchange.phase, ExchangePhase::Lingering(_)) => {
            exchange.after.reason()
        }
        _ => CloseReason::Peer,
    };
    close(roster, topics, turn, slot, CloseMode::Orderly, why);
}

/// Handles the requests in `input`; the connection keeps the rest of it.
fn handle_input(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    input: &[u8],
) {
    handle_decided_input(roster, topics, turn, slot, input, None);
}

/// Does so; `verdict` is the word of the application about the first of them.
fn handle_decided_input(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    input: &[u8],
    mut verdict: Option<ApplicationVerdict>,
) {
    let access = turn.node.access();
    let policy = turn.node.policy_under(roster.conn(slot).listener, access.as_deref());
    let rules = RulesInForce { policy, access: access.as_deref() };
    let mut left = input;
    let mut kept = KeptInput::Incomplete;
    let mut answers = 0;
    while !left.is_empty() && kept == KeptInput::Incomplete {
        match receive(left, turn.node.head_limits, policy) {
            Demand::More => break,
            Demand::Refusal(problem) => {
                turn.counters().count(Count::RequestsBad);
                answer_problem(roster, turn, slot, ReplyContext::UNKNOWN, &problem);
                return;
            }
            Demand::Request { asked: Ok(request), .. }
                if !turn.carried.admits_costly() && is_costly(&request) =>
            {
                return wait_for_costly_turn(roster, turn, slot, left);
            }
            Demand::Request { head, asked, rest } => {
                let word = verdict.take();
                let judged = match judge_request(roster, turn, slot, rules, &head, asked, word.as_ref()) {
                    RequestVerdict::Judged(judged) => judged,
                    RequestVerdict::Ask(question) => {
                        match wait_for_verdict(roster, turn, slot, left, question) {
                            Ok(()) => return,
                            // Judged again, it is refused in the way that its client understands.
                            Err(why) => verdict = Some(Err(why)),
                        }
                        continue;
                    }
                };
                match serve_head(roster, topics, turn, slot, &head, judged, rest) {
                    RequestFlow::Answered(taken) => {
                        left = &rest[taken..];
                        answers += 1;
                        let waits = roster.exchange_mut(slot).out.len();
                        if answers == ANSWERS_AT_ONCE || waits >= ANSWER_BYTES_MAX {
                            kept = KeptInput::NotItsTurn;
                        }
                    }
                    RequestFlow::Await(taken) => {
                        left = &rest[taken..];
                        kept = KeptInput::NotItsTurn;
                    }
                    RequestFlow::AwaitBody => left = &[],
                    RequestFlow::Done => return,
                }
            }
        }
    }
    if try_keep_input(roster, turn, slot, left, kept) {
        queue_answers(roster, turn, slot);
    } else {
        refuse(roster, turn, slot, ReplyContext::UNKNOWN, RefusalReason::Heads);
    }
}

/// Whether a request may cost so much that others go first.
fn is_costly(request: &Request) -> bool {
    match request {
        Request::Subscribe(subscribe) => match subscribe.start {
            StreamStart::Newest(count) | StreamStart::Snapshot { changes: count @ 1.. } => {
                !subscribe.patterns.is_empty()
                    || search_steps_max(subscribe.topics.len(), count) >= COSTLY_SUBSCRIBE_STEPS
            }
            // Their events are looked for when it is their turn to be sent.
            StreamStart::Now
            | StreamStart::Snapshot { .. }
            | StreamStart::After(_)
            | StreamStart::Unknown(_) => false,
        },
        _ => false,
    }
}

/// Keeps `input`, which begins with a costly request, until it is its turn and answers to earlier requests
/// are on their way.
fn wait_for_costly_turn(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32, input: &[u8]) {
    turn.carried.count_requests(1);
    try_keep_input(roster, turn, slot, input, KeptInput::NotItsTurn);
    let exchange = roster.exchange_mut(slot);
    if exchange.out.is_empty() {
        exchange.phase = ExchangePhase::Queued;
        roster.queue_costly_read(slot);
    } else {
        queue_answers(roster, turn, slot);
    }
}

/// Keeps `input`, which begins with a request that the application decides about, until it does so; first
/// until answers to earlier requests are on their way.
///
/// # Errors
/// When too many requests wait.
fn wait_for_verdict(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    input: &[u8],
    question: ApplicationQuestion,
) -> Result<(), RefusalReason> {
    turn.carried.count_requests(1);
    let waits = roster.exchange_mut(slot).out.is_empty();
    if waits {
        await_verdict(roster, turn, slot, question)?;
    }
    try_keep_input(roster, turn, slot, input, KeptInput::NotItsTurn);
    if waits {
        roster.arm(slot, turn.tick_after_ms(AUTHORIZE_MS));
    }
    queue_answers(roster, turn, slot);
    Ok(())
}

/// Keeps bytes for later. False when there is no room for one more incomplete request.
fn try_keep_input(
    roster: &mut Roster,
    turn: &TurnContext<'_, impl Io>,
    slot: u32,
    rest: &[u8],
    why: KeptInput,
) -> bool {
    if rest.is_empty() {
        return true;
    }
    let conn = roster.conn_mut(slot);
    let first = matches!(conn.state, ConnState::Idle);
    // One that is only here to be refused gets no more time by beginning.
    let over = conn.over_limit().is_some();
    let input = &mut conn.exchange_mut().input;
    let kept = match why {
        KeptInput::Incomplete => input.try_add(rest, &turn.node.heads),
        KeptInput::NotItsTurn => {
            input.keep(rest);
            true
        }
    };
    if first && !over {
        roster.arm(slot, turn.tick_after(turn.node.ticks.head));
    }
    kept
}

/// Handles requests that were kept while answers waited to be sent.
fn handle_kept_input(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let exchange = roster.exchange_mut(slot);
    let verdict = match std::mem::replace(&mut exchange.phase, ExchangePhase::Head) {
        ExchangePhase::Decided(verdict) => Some(*verdict),
        _ => None,
    };
    let input = exchange.input.take();
    roster.arm(slot, turn.tick_after(turn.node.ticks.head));
    handle_decided_input(roster, topics, turn, slot, &input, verdict);
    // A readiness that came while it was queued has not been noted anywhere else.
    roster.queue_read(slot);
}

/// Hurries the rest of a request that has begun to arrive: its first part is acknowledged at once, and a
/// peer whose body is longer than one read may send more ahead.
fn hurry_rest(roster: &Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    let Some(ConnState::Requesting(exchange)) = roster.find(slot).map(|conn| &conn.state) else { return };
    match &exchange.phase {
        ExchangePhase::Head if !exchange.input.is_empty() => turn.io.acknowledge(slot),
        ExchangePhase::Body(upload) => {
            // First, so that the acknowledgement tells the larger window.
            if upload.may_exceed(HEAD_READ_BYTES) {
                turn.io.expect_body(slot);
            }
            turn.io.acknowledge(slot);
        }
        ExchangePhase::Lingering(linger) if linger.is_long() => turn.io.expect_body(slot),
        _ => {}
    }
}

/// Ends a phase of an exchange that has taken too long.
pub(super) fn handle_request_timer(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
) {
    let ConnState::Requesting(exchange) = &mut roster.conn_mut(slot).state else { return };
    match &exchange.phase {
        ExchangePhase::Head | ExchangePhase::Queued | ExchangePhase::Decided(_) => {
            exchange.phase = ExchangePhase::Head;
            answer_timeout(roster, turn, slot, CloseReason::HeadTimeout, &Problem::HeadTimeout);
        }
        ExchangePhase::Body(upload) => {
            turn.node.bodies.release(upload.charged);
            exchange.phase = ExchangePhase::Head;
            answer_timeout(roster, turn, slot, CloseReason::BodyTimeout, &Problem::BodyTimeout);
        }
        ExchangePhase::Awaiting(Awaited::Survey(_)) => finish_survey(roster, turn, slot),
        ExchangePhase::Awaiting(Awaited::Ticket(_)) => finish_late_ticket(roster, turn, slot),
        ExchangePhase::Awaiting(Awaited::Verdict(_)) => go_on_late(roster, turn, slot),
        ExchangePhase::Answering => {
            close(roster, topics, turn, slot, CloseMode::Reset, CloseReason::AnswerTimeout);
        }
        ExchangePhase::Lingering(_) => {
            let why = exchange.after.reason();
            close(roster, topics, turn, slot, CloseMode::Orderly, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::Settings;
    use crate::fanout::stage_tests::Stage;

    /// Reads the first request of `text` and expects so many bytes behind its head; none for no whole head.
    fn check(text: &str, expected: Option<usize>) {
        let stage = Stage::new(Settings::default());
        let policy = stage.node.policy(ListenerKind::Public);
        let left = match receive(text.as_bytes(), stage.node.head_limits, policy) {
            Demand::Request { rest, .. } => Some(rest.len()),
            Demand::More => None,
            Demand::Refusal(problem) => panic!("{text}: {problem:?}"),
        };
        assert_eq!(left, expected, "{text}");
    }

    #[test]
    fn bytes_become_a_demand_when_their_head_is_whole() {
        check("GET /healthz HTTP/1.1\r\nHost: a\r\n", None);
        check("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", Some(0));
        check("POST /publish?topic=a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", Some(4));
        check("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\nGET", Some(3));
    }

    #[test]
    fn no_request_can_be_read_from_a_bad_head_and_a_refused_one_leaves_the_next() {
        let stage = Stage::new(Settings::default());
        let policy = stage.node.policy(ListenerKind::Public);
        let limits = stage.node.head_limits;
        assert!(matches!(receive(b"GET / HTTP/9\r\n\r\n", limits, policy), Demand::Refusal(_)));
        let unknown = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(matches!(receive(unknown, limits, policy), Demand::Request { asked: Err(_), .. }));
    }

    #[test]
    fn one_that_pipelines_waits_for_its_turn_and_all_are_answered_in_order() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.open(ListenerKind::Control);
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stage.receive(slot, &request.repeat(ANSWERS_AT_ONCE + 3));
        stage.write();
        assert_eq!(stage.take_sent(slot).matches("HTTP/1.1 200").count(), ANSWERS_AT_ONCE);
        let ConnState::Requesting(exchange) = &stage.roster.conn(slot).state else {
            panic!("more requests wait")
        };
        assert!(matches!(exchange.phase, ExchangePhase::Queued));
        stage.receive(slot, "");
        stage.write();
        assert_eq!(stage.take_sent(slot).matches("HTTP/1.1 200").count(), 3);
        assert_eq!(stage.count(Count::Requests), ANSWERS_AT_ONCE as u64 + 3);
    }

    #[test]
    fn a_head_that_comes_in_pieces_is_kept_and_one_that_never_ends_is_answered() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.open(ListenerKind::Public);
        stage.receive(slot, "GET /heal");
        stage.receive(slot, "thz HTTP/1.1\r\nHost: a\r\n\r\nGET /");
        stage.write();
        let sent = stage.take_sent(slot);
        assert!(sent.starts_with("HTTP/1.1 200"), "{sent}");
        stage.receive(slot, "");
        stage.step(|roster, topics, turn| handle_request_timer(roster, topics, turn, slot));
        stage.write();
        assert!(stage.take_sent(slot).starts_with("HTTP/1.1 408"));
    }
}
