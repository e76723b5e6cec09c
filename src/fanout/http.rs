//! Requests: bytes of a head into a route, a route into an answer or a stream.
//!
//! Several requests may wait in one connection; they are answered in order, `ANSWERS_AT_ONCE` at a time. Then
//! the answers are sent, and the connection waits for its turn among all that are to be read. So one that
//! pipelines waits for all others, and not they for it. Bodies are in `upload`.

use std::sync::Arc;

use super::batch::SendOutcome;
use super::conn::{ConnLimit, ConnState};
use super::exchange::{AfterAnswer, ExchangePhase};
use super::linger::Linger;
use super::node::Node;
use super::reply_context::ReplyContext;
use super::request_input::RequestInput;
use super::seam::{CloseMode, Io, ReadResult};
use super::stream::{StreamOpening, bench_subscription};
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count, RefusalReason};
use crate::base::limits::{
    ANSWER_BYTES_MAX, ANSWERS_AT_ONCE, HEAD_READ_BYTES, PUBLIC_READ_BYTES, RETRY_AFTER_S,
};
use crate::base::settings::ListenerKind;
use crate::wire::head::{self, Head, ParsedHead};
use crate::wire::problem::Problem;
use crate::wire::reply::{self, Reply};
use crate::wire::request::{Request, SubscribeRequest, route};

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

impl Worker {
    /// Reads once from a connection and acts on it. Returns how many bytes were read.
    pub(super) fn read_connection(&mut self, io: &mut impl Io, slot: u32) -> usize {
        let conn = self.roster.conn_mut(slot);
        let head_bytes = match conn.listener {
            ListenerKind::Public => PUBLIC_READ_BYTES,
            ListenerKind::Control => HEAD_READ_BYTES,
        };
        let most = match &conn.state {
            ConnState::Streaming(_) => return self.read_upstream(io, slot),
            ConnState::Idle => head_bytes,
            ConnState::Requesting(exchange) => match exchange.phase {
                ExchangePhase::Head => head_bytes,
                ExchangePhase::Body(_) | ExchangePhase::Lingering(_) => self.scratch.len(),
                ExchangePhase::Awaiting(_) | ExchangePhase::Answering => {
                    conn.defer_read();
                    return 0;
                }
                ExchangePhase::Queued => {
                    self.handle_kept_input(slot);
                    self.hurry_rest(io, slot);
                    return 0;
                }
            },
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut taken = 0;
        match io.read(slot, &mut scratch[..most]) {
            ReadResult::Bytes(bytes) => {
                taken = bytes;
                self.receive_bytes(io, slot, &scratch[..bytes]);
                // The slot may have a new owner only after another `open`, so this is still our connection
                // or nobody's.
                self.roster.queue_read_again(slot, bytes, most);
                self.hurry_rest(io, slot);
            }
            ReadResult::Empty => self.roster.conn_mut(slot).clear_ended(),
            ReadResult::End => self.handle_peer_end(io, slot),
            ReadResult::Broken => self.close(io, slot, CloseMode::Reset, CloseReason::Reset),
            ReadResult::TimedOut => self.close_timed_out(io, slot),
        }
        self.scratch = scratch;
        taken
    }

    fn receive_bytes(&mut self, io: &mut impl Io, slot: u32, bytes: &[u8]) {
        match &mut self.roster.conn_mut(slot).state {
            ConnState::Idle => self.handle_input(slot, bytes),
            ConnState::Requesting(exchange) => match &mut exchange.phase {
                ExchangePhase::Head => {
                    let only_grows = exchange.input.only_grows(bytes, self.node.head_limits.bytes_max);
                    if !exchange.input.try_add(bytes, &self.node.heads) {
                        self.refuse(slot, ReplyContext::UNKNOWN, RefusalReason::Heads);
                    } else if !only_grows {
                        let input = exchange.input.take();
                        self.handle_input(slot, &input);
                    }
                }
                ExchangePhase::Body(_) => self.feed_upload(slot, bytes),
                ExchangePhase::Lingering(linger) => {
                    if linger.try_throw(bytes.len(), &self.node.lingering) {
                        let due = linger.due(self.now.tick());
                        self.roster.arm(slot, due);
                    } else {
                        let why = exchange.after.reason();
                        self.close(io, slot, CloseMode::Reset, why);
                    }
                }
                ExchangePhase::Awaiting(_) | ExchangePhase::Answering | ExchangePhase::Queued => {
                    unreachable!("not read in these phases")
                }
            },
            ConnState::Streaming(_) => unreachable!("streams read upstream"),
        }
    }

    /// Acts on the end of the peer's input: whole requests are still answered, and half a body is thrown
    /// away. Only while a body comes can answers to earlier requests wait unsent.
    fn handle_peer_end(&mut self, io: &mut impl Io, slot: u32) {
        if let ConnState::Requesting(exchange) = &mut self.roster.conn_mut(slot).state
            && let ExchangePhase::Body(upload) = &exchange.phase
            && !exchange.out.is_empty()
        {
            self.node.bodies.release(upload.charged);
            exchange.phase = ExchangePhase::Head;
            exchange.after = AfterAnswer::Linger(CloseReason::Peer);
            return self.queue_answers(slot);
        }
        let why = match &self.roster.conn(slot).state {
            ConnState::Requesting(exchange) if matches!(exchange.phase, ExchangePhase::Lingering(_)) => {
                exchange.after.reason()
            }
            _ => CloseReason::Peer,
        };
        self.close(io, slot, CloseMode::Orderly, why);
    }

    /// Handles the requests in `input`; the connection keeps the rest of it.
    pub(super) fn handle_input(&mut self, slot: u32, input: &[u8]) {
        let limits = self.node.head_limits;
        let mut rest = input;
        let mut hold = false;
        let mut answers = 0;
        while !rest.is_empty() && !hold {
            match head::parse(rest, limits) {
                ParsedHead::More => break,
                ParsedHead::Bad(problem) => {
                    self.counters().count(Count::RequestsBad);
                    self.answer_problem(slot, ReplyContext::UNKNOWN, &problem);
                    return;
                }
                ParsedHead::Head(head, used) => {
                    rest = &rest[used..];
                    match self.handle_head(slot, &head, rest) {
                        RequestFlow::Answered(taken) => {
                            rest = &rest[taken..];
                            answers += 1;
                            let waits = self.roster.exchange_mut(slot).out.len();
                            hold = answers == ANSWERS_AT_ONCE || waits >= ANSWER_BYTES_MAX;
                        }
                        RequestFlow::Await(taken) => {
                            rest = &rest[taken..];
                            hold = true;
                        }
                        RequestFlow::AwaitBody => rest = &[],
                        RequestFlow::Done => return,
                    }
                }
            }
        }
        if self.keep_input(slot, rest, hold) {
            self.queue_answers(slot);
        } else {
            self.refuse(slot, ReplyContext::UNKNOWN, RefusalReason::Heads);
        }
    }

    /// Keeps bytes of a request whose turn has not come, as on `hold`, or that is not whole. False when there
    /// is no room for the latter.
    fn keep_input(&mut self, slot: u32, rest: &[u8], hold: bool) -> bool {
        if rest.is_empty() {
            return true;
        }
        let head_due = self.now.tick().saturating_add(self.node.ticks.head);
        let conn = self.roster.conn(slot);
        let first = matches!(conn.state, ConnState::Idle);
        // One that is only here to be refused gets no more time by beginning.
        let over = conn.over_limit().is_some();
        let heads = Arc::clone(&self.node.heads);
        let input = &mut self.roster.exchange_mut(slot).input;
        let kept = if hold {
            input.keep(rest);
            true
        } else {
            input.try_add(rest, &heads)
        };
        if first && !over {
            self.roster.arm(slot, head_due);
        }
        kept
    }

    /// Queues the answers to requests that were handled, if there are any.
    pub(super) fn queue_answers(&mut self, slot: u32) {
        let answer_due = self.now.tick().saturating_add(self.node.ticks.answer);
        let ConnState::Requesting(exchange) = &mut self.roster.conn_mut(slot).state else { return };
        if exchange.out.is_empty() {
            return;
        }
        if matches!(exchange.phase, ExchangePhase::Head) {
            exchange.phase = ExchangePhase::Answering;
            self.roster.arm(slot, answer_due);
        }
        self.roster.queue_write(slot);
    }

    /// Acts on one head; `rest` follows it in the buffer.
    fn handle_head(&mut self, slot: u32, head: &Head<'_>, rest: &[u8]) -> RequestFlow {
        self.counters().count(Count::Requests);
        self.requests_taken += 1;
        self.roster.record_user_agent(slot, head.fields.user_agent);
        let conn = self.roster.conn(slot);
        let over = conn.over_limit().map(|limit| match limit {
            ConnLimit::Node => RefusalReason::Connections,
            ConnLimit::Address => RefusalReason::Address,
        });
        let context = ReplyContext::of(head);
        match route(head, self.node.policy(conn.listener)) {
            Ok(request) => self.dispatch_request(slot, context, over, head, request, rest),
            Err(problem) => {
                match problem {
                    Problem::PublishNotAllowed { .. } => self.counters().refuse(RefusalReason::Credentials),
                    Problem::Refused(why) => self.counters().refuse(why),
                    _ => self.counters().count(Count::RequestsBad),
                }
                self.answer_problem(slot, context, &problem)
            }
        }
    }

    /// Serves a request; a newcomer that is `over` a limit is refused streams and publishes.
    fn dispatch_request(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        over: Option<RefusalReason>,
        head: &Head<'_>,
        request: Request,
        rest: &[u8],
    ) -> RequestFlow {
        let last = ReplyContext { keep_alive: false, ..context };
        match request {
            Request::Subscribe(subscribe) => self.open_stream(slot, context, *subscribe, over, false),
            Request::BenchSubscribe { chunked } => {
                self.open_stream(slot, context, bench_subscription(chunked), over, true)
            }
            Request::Publish(_) | Request::Batch(_) | Request::BenchBroadcast => match over {
                Some(why) => self.refuse(slot, context, why),
                None => self.begin_upload(slot, head, request, rest),
            },
            Request::SubscribeHead { chunked } => {
                // A stream that is not chunked says that its connection ends, so it does.
                let context = ReplyContext { keep_alive: context.keep_alive && chunked, ..context };
                self.answer(slot, context, |out, reply| {
                    reply::append_stream_head_only(out, reply, chunked);
                })
            }
            Request::Landing => self.answer(slot, context, reply::append_landing),
            Request::Preflight { allow } => self.answer(slot, context, |out, reply| {
                reply::append_preflight(out, reply, allow, &head.fields.request_headers);
            }),
            Request::Health => self.answer_json(slot, context, 200, "{\"status\":\"ok\"}"),
            Request::Ready => self.answer_ready(slot, context),
            Request::Status(query) => {
                let text = (self.node.pages().status)(&self.node.snapshot(self.now.mono_ms), query);
                self.answer_json(slot, context, 200, &text)
            }
            Request::Metrics(format) => {
                let text = (self.node.pages().metrics)(&self.node.snapshot(self.now.mono_ms), format);
                self.answer(slot, context, |out, reply| {
                    reply::append_body(out, reply, reply::metrics_type(format), text.as_bytes());
                })
            }
            Request::Connections(query) => self.ask_connections(slot, context, query),
            Request::Topics(query) => self.ask_topics(slot, context, query),
            Request::EndConnection(id) => self.ask_end(slot, context, id),
            Request::Asset { name, if_none_match } => {
                self.answer_asset(slot, context, &name, if_none_match.as_deref())
            }
            Request::Drain => {
                self.drain_requested = true;
                self.answer_json(slot, context, 202, "{\"status\":\"draining\"}")
            }
            Request::BenchConnections => {
                let streams = self.node.totals().subscribers_open;
                self.answer(slot, last, |out, _| reply::append_bench_connections(out, streams))
            }
            Request::BenchOptions => self.answer(slot, last, |out, _| reply::append_bench_options(out)),
        }
    }

    fn answer_json(&mut self, slot: u32, context: ReplyContext<'_>, status: u16, text: &str) -> RequestFlow {
        self.answer(slot, context, |out, reply| reply::append_json(out, &Reply { status, ..*reply }, text))
    }

    /// Answers with a file of the dashboard.
    fn answer_asset(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        name: &str,
        if_none_match: Option<&[u8]>,
    ) -> RequestFlow {
        match (self.node.pages().asset)(name) {
            Some(asset) => self.answer(slot, context, |out, reply| {
                reply::append_asset(out, reply, &asset, if_none_match);
            }),
            None => {
                self.counters().count(Count::RequestsBad);
                self.answer_problem(
                    slot,
                    context,
                    &Problem::NotFound("The dashboard has no part of this name."),
                )
            }
        }
    }

    /// Opens a stream, or refuses it in the way that its client understands.
    fn open_stream(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        subscribe: SubscribeRequest,
        over: Option<RefusalReason>,
        bench: bool,
    ) -> RequestFlow {
        let refused = over.or_else(|| self.node.newcomer_refusal());
        let (chunked, buffered) = (subscribe.chunked, subscribe.buffered);
        let event_source = subscribe.event_source;
        let retry_ms = self.draw_retry_ms();
        let joined = match refused {
            Some(why) => Err(why),
            None => {
                let mut bytes = match &mut self.roster.conn_mut(slot).state {
                    ConnState::Requesting(exchange) => exchange.out[exchange.sent..].to_vec(),
                    _ => Vec::new(),
                };
                if bench {
                    reply::append_bench_stream_head(&mut bytes, chunked);
                } else {
                    let node = Arc::clone(&self.node);
                    let reply = self.reply_to(slot, context, &node);
                    reply::append_stream_head(&mut bytes, &reply, chunked, buffered, retry_ms);
                }
                self.begin_stream(slot, StreamOpening { bytes, subscribe })
            }
        };
        match joined {
            Ok(()) => RequestFlow::Done,
            Err(why) if event_source => {
                self.counters().refuse(why);
                self.answer(slot, ReplyContext { keep_alive: false, ..context }, |out, reply| {
                    reply::append_overload_stream(out, reply, chunked, retry_ms);
                })
            }
            Err(why) => self.refuse(slot, context, why),
        }
    }

    /// Answers 503 with the reason, and counts it.
    pub(super) fn refuse(&mut self, slot: u32, context: ReplyContext<'_>, why: RefusalReason) -> RequestFlow {
        self.counters().refuse(why);
        self.answer_problem(slot, context, &Problem::Refused(why))
    }

    /// Answers with a problem and closes if the problem says so.
    pub(super) fn answer_problem(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        problem: &Problem,
    ) -> RequestFlow {
        self.trace_refused(slot, problem);
        let keep_alive = context.keep_alive && !problem.closes();
        let span = RETRY_AFTER_S.end - RETRY_AFTER_S.start;
        let retry_after_s = (problem.status() == 503).then(|| RETRY_AFTER_S.start + self.prng.below(span));
        let flow = self.answer(slot, ReplyContext { keep_alive, ..context }, |out, reply| {
            reply::append_problem(out, problem, &Reply { retry_after_s, ..*reply });
        });
        if problem.closes() {
            let refused = matches!(problem, Problem::Refused(_));
            self.roster.exchange_mut(slot).after =
                AfterAnswer::Linger(if refused { CloseReason::Refused } else { CloseReason::BadRequest });
        }
        flow
    }

    /// Appends an answer. A connection that is not kept is read on for a while: a reset, which unread bytes
    /// would cause, could reach the client before the answer.
    pub(super) fn answer(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        build: impl FnOnce(&mut Vec<u8>, &Reply<'_>),
    ) -> RequestFlow {
        let over = self.roster.conn(slot).over_limit().is_some();
        let keep_alive = context.keep_alive && self.drain.is_none() && !over;
        let node = Arc::clone(&self.node);
        let reply = self.reply_to(slot, ReplyContext { keep_alive, ..context }, &node);
        let exchange = self.roster.exchange_mut(slot);
        build(&mut exchange.out, &reply);
        if keep_alive {
            return RequestFlow::Answered(0);
        }
        exchange.after = AfterAnswer::Linger(if over { CloseReason::Refused } else { CloseReason::Answered });
        exchange.input = RequestInput::default();
        self.queue_answers(slot);
        RequestFlow::Done
    }

    fn reply_to<'a>(&self, slot: u32, context: ReplyContext<'a>, node: &'a Node) -> Reply<'a> {
        Reply {
            status: 200,
            http11: context.http11,
            keep_alive: context.keep_alive,
            idle_ms: node.settings.idle_ms,
            head_only: context.head_only,
            cors: &node.policy(self.roster.conn(slot).listener).cors,
            origin: context.origin,
            retry_after_s: None,
            allow: None,
            wall_ms: self.now.wall_ms,
        }
    }

    /// Repeats the verdict on readiness. It is made elsewhere, so this never waits for another worker.
    fn answer_ready(&mut self, slot: u32, context: ReplyContext<'_>) -> RequestFlow {
        if self.node.is_draining() {
            return self.refuse(slot, context, RefusalReason::Draining);
        }
        let readiness = self.node.readiness(self.now.mono_ms);
        match readiness.reason {
            None => self.answer_json(slot, context, 200, "{\"status\":\"ready\"}"),
            Some(reason) => self.answer_problem(slot, context, &Problem::NotReady(format!("{reason}."))),
        }
    }

    /// Ends a phase of an exchange that has taken too long.
    pub(super) fn handle_request_timer(&mut self, io: &mut impl Io, slot: u32) {
        let ConnState::Requesting(exchange) = &self.roster.conn(slot).state else { return };
        match &exchange.phase {
            ExchangePhase::Head | ExchangePhase::Queued => {
                self.roster.exchange_mut(slot).phase = ExchangePhase::Head;
                self.answer_timeout(slot, CloseReason::HeadTimeout, &Problem::HeadTimeout);
            }
            ExchangePhase::Body(upload) => {
                self.node.bodies.release(upload.charged);
                self.roster.exchange_mut(slot).phase = ExchangePhase::Head;
                self.answer_timeout(slot, CloseReason::BodyTimeout, &Problem::BodyTimeout);
            }
            ExchangePhase::Awaiting(_) => self.finish_waiting(slot),
            ExchangePhase::Answering => self.close(io, slot, CloseMode::Reset, CloseReason::AnswerTimeout),
            ExchangePhase::Lingering(_) => {
                let why = exchange.after.reason();
                self.close(io, slot, CloseMode::Orderly, why);
            }
        }
    }

    fn answer_timeout(&mut self, slot: u32, why: CloseReason, problem: &Problem) {
        self.answer_problem(slot, ReplyContext::UNKNOWN, problem);
        self.roster.exchange_mut(slot).after = AfterAnswer::Linger(why);
    }

    /// Applies the outcome of a send of answer bytes.
    pub(super) fn apply_answer_outcome(&mut self, io: &mut impl Io, outcome: SendOutcome) {
        let slot = outcome.slot;
        let now = self.now.tick();
        let conn = self.roster.conn_mut(slot);
        let briefly = conn.over_limit().is_some();
        let ConnState::Requesting(exchange) = &mut conn.state else { return };
        exchange.sent += outcome.own_taken;
        if !outcome.whole {
            conn.mark_full();
            return;
        }
        exchange.out.clear();
        exchange.sent = 0;
        if !matches!(exchange.phase, ExchangePhase::Answering) {
            return;
        }
        match exchange.after {
            AfterAnswer::KeepAlive => self.queue_next_request(slot),
            AfterAnswer::Linger(_) => {
                let linger = Linger::begin(now, briefly);
                let due = linger.due(now);
                exchange.phase = ExchangePhase::Lingering(linger);
                exchange.out = Vec::new();
                io.shutdown_write(slot);
                self.roster.arm(slot, due);
                self.roster.queue_read(slot);
            }
        }
    }

    /// Queues the next request when all answers are out, or waits if none has arrived.
    fn queue_next_request(&mut self, slot: u32) {
        let idle_due = self.now.tick().saturating_add(self.node.ticks.idle);
        let conn = self.roster.conn_mut(slot);
        let ConnState::Requesting(exchange) = &mut conn.state else { return };
        if !exchange.input.is_empty() {
            exchange.phase = ExchangePhase::Queued;
            return self.roster.queue_read(slot);
        }
        let unread = conn.take_deferred_read();
        conn.state = ConnState::Idle;
        self.roster.arm(slot, idle_due);
        if unread {
            self.roster.queue_read(slot);
        }
    }

    /// Handles requests that were kept while answers waited to be sent.
    fn handle_kept_input(&mut self, slot: u32) {
        let head_due = self.now.tick().saturating_add(self.node.ticks.head);
        let exchange = self.roster.exchange_mut(slot);
        exchange.phase = ExchangePhase::Head;
        let input = exchange.input.take();
        self.roster.arm(slot, head_due);
        self.handle_input(slot, &input);
        // A readiness that came while it was queued has not been noted anywhere else.
        self.roster.queue_read(slot);
    }
}
