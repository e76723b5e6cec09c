//! Requests: bytes of a head into a route, a route into an answer or a stream.
//!
//! Several requests may wait in one connection; they are answered in order, `ANSWERS_AT_ONCE` at a time. Then
//! the answers are sent, and the connection waits for its turn among all that are to be read, so that whoever
//! pipelines waits for everyone else and not they for it. Bodies are in `upload`.

use std::sync::Arc;

use super::batch::Outcome;
use super::conn::{Phase, State, Talk, Then, flag};
use super::node::Node;
use super::seam::{Close, Io, Read};
use super::stream::{Opening, bench_subscription};
use super::user_agents::NO_AGENT;
use super::worker::Worker;
use crate::base::counters::{CloseReason, Count, RefusalReason};
use crate::base::limits::{
    ANSWER_BYTES_MAX, ANSWERS_AT_ONCE, HEAD_READ_BYTES, LINGER_BYTES_MAX, PUBLIC_READ_BYTES, RETRY_AFTER_S,
};
use crate::base::settings::ListenerKind;
use crate::base::time::Tick;
use crate::wire::head::{self, Head, ParsedHead};
use crate::wire::problem::Problem;
use crate::wire::reply::{self, Reply};
use crate::wire::request::{Request, SubscribeRequest, route};

/// What handling one request came to.
pub(super) enum Flow {
    /// Answered; so many bytes behind the head belonged to it. The next request may follow.
    Next(usize),
    /// All bytes behind the head have been taken; the connection waits for something.
    Hold,
    /// A survey decides; bytes behind the head are kept.
    Wait,
    /// The connection has become a stream, or will be closed: nothing behind the head matters.
    Done,
}

/// The parts of a request that shape every answer to it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// HTTP/1.1.
    pub http11: bool,
    /// Keep the connection.
    pub keep_alive: bool,
    /// `HEAD`.
    pub head_only: bool,
    /// `Origin`.
    pub origin: Option<&'a [u8]>,
}

impl<'a> Asked<'a> {
    fn of(head: &Head<'a>) -> Asked<'a> {
        Asked {
            http11: head.http11,
            keep_alive: head.keep_alive && !head.has_body(),
            head_only: head.method == head::Method::Head,
            origin: head.fields.origin,
        }
    }

    /// Nothing is known of the request.
    pub(super) const UNKNOWN: Asked<'static> =
        Asked { http11: true, keep_alive: false, head_only: false, origin: None };
}

impl Worker {
    /// Reads once from a connection and acts on it. Returns how many bytes were read.
    pub(super) fn read_one(&mut self, io: &mut impl Io, slot: u32) -> usize {
        let conn = &mut self.conns[slot as usize];
        let head_bytes = match conn.listener {
            ListenerKind::Public => PUBLIC_READ_BYTES,
            ListenerKind::Control => HEAD_READ_BYTES,
        };
        let most = match &conn.state {
            State::Streaming(_) => return self.read_upstream(io, slot),
            State::Waiting => head_bytes,
            State::Talking(talk) => match talk.phase {
                Phase::Head => head_bytes,
                Phase::Body(_) | Phase::Lingering(_) => self.scratch.len(),
                Phase::Surveying(_) | Phase::Answering => {
                    conn.flags |= flag::UNREAD;
                    return 0;
                }
                Phase::Queued => {
                    self.go_on(slot);
                    self.open_body_window(io, slot);
                    return 0;
                }
            },
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut taken = 0;
        match io.read(slot, &mut scratch[..most]) {
            Read::Bytes(bytes) => {
                taken = bytes;
                self.receive(io, slot, &scratch[..bytes]);
                // The slot may have a new owner only after another `open`, so this is still our connection
                // or nobody's.
                self.queue_read_again(slot, bytes, most);
                self.open_body_window(io, slot);
            }
            Read::Empty => self.conns[slot as usize].flags &= !flag::ENDED,
            Read::End => self.ended(io, slot),
            Read::Broken => self.close(io, slot, Close::Reset, CloseReason::Reset),
        }
        self.scratch = scratch;
        taken
    }

    fn receive(&mut self, io: &mut impl Io, slot: u32, bytes: &[u8]) {
        match &mut self.conns[slot as usize].state {
            State::Waiting => self.converse(slot, bytes),
            State::Talking(talk) => match &mut talk.phase {
                Phase::Head => {
                    let mut input = std::mem::take(&mut talk.input);
                    input.reserve_exact(bytes.len());
                    input.extend_from_slice(bytes);
                    self.converse(slot, &input);
                }
                Phase::Body(_) => self.feed_upload(slot, bytes),
                Phase::Lingering(thrown) => {
                    *thrown += bytes.len();
                    if *thrown > LINGER_BYTES_MAX {
                        let why = talk.then.reason();
                        self.close(io, slot, Close::Reset, why);
                    }
                }
                Phase::Surveying(_) | Phase::Answering | Phase::Queued => {
                    unreachable!("not read in these phases")
                }
            },
            State::Streaming(_) => unreachable!("streams read upstream"),
        }
    }

    /// The peer has finished sending: whatever it asked for in whole is still answered, and half a body is
    /// thrown away. Only while a body comes can answers to what was before it wait unsent.
    fn ended(&mut self, io: &mut impl Io, slot: u32) {
        if let State::Talking(talk) = &mut self.conns[slot as usize].state
            && let Phase::Body(upload) = &talk.phase
            && !talk.out.is_empty()
        {
            self.node.bodies.give(upload.charged);
            talk.phase = Phase::Head;
            talk.then = Then::Linger(CloseReason::Peer);
            return self.settle(slot);
        }
        let why = match &self.conns[slot as usize].state {
            State::Talking(talk) if matches!(talk.phase, Phase::Lingering(_)) => talk.then.reason(),
            _ => CloseReason::Peer,
        };
        self.close(io, slot, Close::Orderly, why);
    }

    /// Handles the requests in `input`; what is left of it is kept with the connection.
    pub(super) fn converse(&mut self, slot: u32, input: &[u8]) {
        let limits = self.node.head_limits;
        let mut rest = input;
        let mut hold = false;
        let mut answers = 0;
        while !rest.is_empty() && !hold {
            match head::parse(rest, limits) {
                ParsedHead::More => break,
                ParsedHead::Bad(problem) => {
                    self.counters().count(Count::RequestsBad);
                    self.answer_problem(slot, Asked::UNKNOWN, &problem);
                    return;
                }
                ParsedHead::Head(head, used) => {
                    rest = &rest[used..];
                    match self.request(slot, &head, rest) {
                        Flow::Next(taken) => {
                            rest = &rest[taken..];
                            answers += 1;
                            let waits = self.talk(slot).out.len();
                            hold = answers == ANSWERS_AT_ONCE || waits >= ANSWER_BYTES_MAX;
                        }
                        Flow::Wait => hold = true,
                        Flow::Hold => rest = &[],
                        Flow::Done => return,
                    }
                }
            }
        }
        self.keep_input(slot, rest);
        self.settle(slot);
    }

    /// Keeps bytes of a request that is not whole or whose turn has not come.
    fn keep_input(&mut self, slot: u32, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        let head_due = self.now.tick().saturating_add(self.node.ticks.head);
        let conn = &self.conns[slot as usize];
        let first = matches!(conn.state, State::Waiting);
        // One that is only here to be refused gets no more time by beginning.
        let over = conn.flags & (flag::OVER_NODE | flag::OVER_ADDRESS) != 0;
        self.talk(slot).input = rest.to_vec();
        if first && !over {
            self.set_due(slot, head_due);
        }
    }

    /// After requests were handled: answers are queued, and the phase says what comes next.
    pub(super) fn settle(&mut self, slot: u32) {
        let answer_due = self.now.tick().saturating_add(self.node.ticks.answer);
        let State::Talking(talk) = &mut self.conns[slot as usize].state else { return };
        if talk.out.is_empty() {
            return;
        }
        if matches!(talk.phase, Phase::Head) {
            talk.phase = Phase::Answering;
            self.set_due(slot, answer_due);
        }
        self.queue_write(slot);
    }

    /// Acts on one head; `rest` is what follows it in the buffer.
    fn request(&mut self, slot: u32, head: &Head<'_>, rest: &[u8]) -> Flow {
        self.counters().count(Count::Requests);
        self.asked += 1;
        self.note_agent(slot, head.fields.user_agent);
        let conn = &self.conns[slot as usize];
        let over = match conn.flags & (flag::OVER_NODE | flag::OVER_ADDRESS) {
            0 => None,
            flag::OVER_NODE => Some(RefusalReason::Connections),
            _ => Some(RefusalReason::Address),
        };
        let asked = Asked::of(head);
        match route(head, self.node.policy(conn.listener)) {
            Ok(request) => self.act(slot, asked, over, head, request, rest),
            Err(problem) => {
                match problem {
                    Problem::PublishNotAllowed { .. } => self.counters().refuse(RefusalReason::Credentials),
                    Problem::Refused(why) => self.counters().refuse(why),
                    _ => self.counters().count(Count::RequestsBad),
                }
                self.answer_problem(slot, asked, &problem)
            }
        }
    }

    /// Does what is asked for; a newcomer that is `over` a limit is refused what costs something.
    fn act(
        &mut self,
        slot: u32,
        asked: Asked<'_>,
        over: Option<RefusalReason>,
        head: &Head<'_>,
        request: Request,
        rest: &[u8],
    ) -> Flow {
        let last = Asked { keep_alive: false, ..asked };
        match request {
            Request::Subscribe(subscribe) => self.open_stream(slot, asked, *subscribe, over, false),
            Request::BenchSubscribe { chunked } => {
                self.open_stream(slot, asked, bench_subscription(chunked), over, true)
            }
            Request::Publish(_) | Request::Batch(_) | Request::BenchBroadcast => match over {
                Some(why) => self.refuse(slot, asked, why),
                None => self.begin_upload(slot, head, request, rest),
            },
            Request::SubscribeHead { chunked } => {
                // A stream that is not chunked says that its connection ends, so it does.
                let asked = Asked { keep_alive: asked.keep_alive && chunked, ..asked };
                self.answer(slot, asked, |out, reply| {
                    reply::append_stream_head_only(out, reply, chunked);
                })
            }
            Request::Landing => self.answer(slot, asked, reply::append_landing),
            Request::Preflight { allow } => self.answer(slot, asked, |out, reply| {
                reply::append_preflight(out, reply, allow, &head.fields.request_headers);
            }),
            Request::Health => self.answer_json(slot, asked, 200, "{\"status\":\"ok\"}"),
            Request::Ready => self.answer_ready(slot, asked),
            Request::Status(query) => {
                let text = (self.node.pages().status)(&self.node.snapshot(self.now.mono_ms), query);
                self.answer_json(slot, asked, 200, &text)
            }
            Request::Metrics(format) => {
                let text = (self.node.pages().metrics)(&self.node.snapshot(self.now.mono_ms), format);
                self.answer(slot, asked, |out, reply| {
                    reply::append_body(out, reply, reply::metrics_type(format), text.as_bytes());
                })
            }
            Request::Connections(query) => self.ask_connections(slot, asked, query),
            Request::Topics(query) => self.ask_topics(slot, asked, query),
            Request::EndConnection(id) => self.ask_end(slot, asked, id),
            Request::Asset { name, if_none_match } => {
                self.answer_asset(slot, asked, &name, if_none_match.as_deref())
            }
            Request::Drain => {
                self.drain_requested = true;
                self.answer_json(slot, asked, 202, "{\"status\":\"draining\"}")
            }
            Request::BenchConnections => {
                let streams = self.node.totals().subscribers_open;
                self.answer(slot, last, |out, _| reply::append_bench_connections(out, streams))
            }
            Request::BenchOptions => self.answer(slot, last, |out, _| reply::append_bench_options(out)),
        }
    }

    fn answer_json(&mut self, slot: u32, asked: Asked<'_>, status: u16, text: &str) -> Flow {
        self.answer(slot, asked, |out, reply| reply::append_json(out, &Reply { status, ..*reply }, text))
    }

    /// A file of the dashboard.
    fn answer_asset(
        &mut self,
        slot: u32,
        asked: Asked<'_>,
        name: &str,
        if_none_match: Option<&[u8]>,
    ) -> Flow {
        match (self.node.pages().asset)(name) {
            Some(asset) => self.answer(slot, asked, |out, reply| {
                reply::append_asset(out, reply, &asset, if_none_match);
            }),
            None => {
                self.counters().count(Count::RequestsBad);
                self.answer_problem(
                    slot,
                    asked,
                    &Problem::NotFound("The dashboard has no part of this name."),
                )
            }
        }
    }

    /// Remembers what the client calls itself, of its first request.
    fn note_agent(&mut self, slot: u32, user_agent: Option<&[u8]>) {
        let conn = &mut self.conns[slot as usize];
        if conn.agent == NO_AGENT
            && let Some(text) = user_agent
        {
            conn.agent = self.agents.take(text);
        }
    }

    /// Opens a stream, or refuses it in the way that its client understands.
    fn open_stream(
        &mut self,
        slot: u32,
        asked: Asked<'_>,
        subscribe: SubscribeRequest,
        over: Option<RefusalReason>,
        bench: bool,
    ) -> Flow {
        let refused = over.or_else(|| self.node.refuses_newcomers());
        let (chunked, buffered) = (subscribe.chunked, subscribe.buffered);
        let event_source = subscribe.event_source;
        let retry_ms = self.retry_ms();
        let joined = match refused {
            Some(why) => Err(why),
            None => {
                let mut bytes = match &mut self.conns[slot as usize].state {
                    State::Talking(talk) => talk.out[talk.sent..].to_vec(),
                    _ => Vec::new(),
                };
                if bench {
                    reply::append_bench_stream_head(&mut bytes, chunked);
                } else {
                    let node = Arc::clone(&self.node);
                    let reply = self.reply_to(slot, asked, &node);
                    reply::append_stream_head(&mut bytes, &reply, chunked, buffered, retry_ms);
                }
                self.join(slot, Opening { bytes, subscribe })
            }
        };
        match joined {
            Ok(()) => Flow::Done,
            Err(why) if event_source => {
                self.counters().refuse(why);
                self.answer(slot, Asked { keep_alive: false, ..asked }, |out, reply| {
                    reply::append_overload_stream(out, reply, chunked, retry_ms);
                })
            }
            Err(why) => self.refuse(slot, asked, why),
        }
    }

    /// 503 with the reason, counted.
    pub(super) fn refuse(&mut self, slot: u32, asked: Asked<'_>, why: RefusalReason) -> Flow {
        self.counters().refuse(why);
        self.answer_problem(slot, asked, &Problem::Refused(why))
    }

    /// Answers with a problem and closes if the problem says so.
    pub(super) fn answer_problem(&mut self, slot: u32, asked: Asked<'_>, problem: &Problem) -> Flow {
        let keep_alive = asked.keep_alive && !problem.closes();
        let span = RETRY_AFTER_S.end - RETRY_AFTER_S.start;
        let retry_after_s = (problem.status() == 503).then(|| RETRY_AFTER_S.start + self.prng.below(span));
        let flow = self.answer(slot, Asked { keep_alive, ..asked }, |out, reply| {
            reply::append_problem(out, problem, &Reply { retry_after_s, ..*reply });
        });
        if problem.closes() {
            let refused = matches!(problem, Problem::Refused(_));
            self.talk(slot).then =
                Then::Linger(if refused { CloseReason::Refused } else { CloseReason::BadRequest });
        }
        flow
    }

    /// Appends an answer. A connection that is not kept is read on for a while: a reset, which unread bytes
    /// would cause, could reach the client before the answer.
    pub(super) fn answer(
        &mut self,
        slot: u32,
        asked: Asked<'_>,
        build: impl FnOnce(&mut Vec<u8>, &Reply<'_>),
    ) -> Flow {
        let over = self.conns[slot as usize].flags & (flag::OVER_NODE | flag::OVER_ADDRESS) != 0;
        let keep_alive = asked.keep_alive && self.drain.is_none() && !over;
        let node = Arc::clone(&self.node);
        let reply = self.reply_to(slot, Asked { keep_alive, ..asked }, &node);
        let talk = self.talk(slot);
        build(&mut talk.out, &reply);
        if keep_alive {
            return Flow::Next(0);
        }
        talk.then = Then::Linger(if over { CloseReason::Refused } else { CloseReason::Answered });
        talk.input = Vec::new();
        self.settle(slot);
        Flow::Done
    }

    fn reply_to<'a>(&self, slot: u32, asked: Asked<'a>, node: &'a Node) -> Reply<'a> {
        Reply {
            status: 200,
            http11: asked.http11,
            keep_alive: asked.keep_alive,
            idle_ms: node.settings.idle_ms,
            head_only: asked.head_only,
            cors: &node.policy(self.conns[slot as usize].listener).cors,
            origin: asked.origin,
            retry_after_s: None,
            allow: None,
            wall_ms: self.now.wall_ms,
        }
    }

    /// Repeats the verdict on readiness. It is made elsewhere, so this never waits for another worker.
    fn answer_ready(&mut self, slot: u32, asked: Asked<'_>) -> Flow {
        if self.node.is_draining() {
            return self.refuse(slot, asked, RefusalReason::Draining);
        }
        let readiness = self.node.readiness(self.now.mono_ms);
        match readiness.reason {
            None => self.answer_json(slot, asked, 200, "{\"status\":\"ready\"}"),
            Some(reason) => self.answer_problem(slot, asked, &Problem::NotReady(format!("{reason}."))),
        }
    }

    /// A request or its answer has taken too long.
    pub(super) fn talk_timer(&mut self, io: &mut impl Io, slot: u32) {
        let State::Talking(talk) = &self.conns[slot as usize].state else { return };
        match &talk.phase {
            Phase::Head | Phase::Queued => {
                self.talk(slot).phase = Phase::Head;
                self.time_out(slot, CloseReason::HeadTimeout, &Problem::HeadTimeout);
            }
            Phase::Body(upload) => {
                self.node.bodies.give(upload.charged);
                self.talk(slot).phase = Phase::Head;
                self.time_out(slot, CloseReason::BodyTimeout, &Problem::BodyTimeout);
            }
            Phase::Surveying(_) => self.conclude(slot),
            Phase::Answering => self.close(io, slot, Close::Reset, CloseReason::AnswerTimeout),
            Phase::Lingering(_) => {
                let why = talk.then.reason();
                self.close(io, slot, Close::Orderly, why);
            }
        }
    }

    fn time_out(&mut self, slot: u32, why: CloseReason, problem: &Problem) {
        self.answer_problem(slot, Asked::UNKNOWN, problem);
        self.talk(slot).then = Then::Linger(why);
    }

    /// What a send of answer bytes came to.
    pub(super) fn talk_sent(&mut self, io: &mut impl Io, outcome: Outcome) {
        let slot = outcome.slot;
        let linger_due = self.now.tick().saturating_add(self.node.ticks.linger);
        let conn = &mut self.conns[slot as usize];
        let State::Talking(talk) = &mut conn.state else { return };
        talk.sent += outcome.own_taken;
        if !outcome.whole {
            conn.flags |= flag::FULL;
            return;
        }
        talk.out.clear();
        talk.sent = 0;
        if !matches!(talk.phase, Phase::Answering) {
            return;
        }
        match talk.then {
            Then::KeepAlive => self.next_request(slot),
            Then::Linger(_) => {
                talk.phase = Phase::Lingering(0);
                talk.out = Vec::new();
                io.finish(slot);
                self.set_due(slot, linger_due);
                self.queue_read(slot);
            }
        }
    }

    /// All answers are out: on with what has arrived when its turn comes, or wait.
    fn next_request(&mut self, slot: u32) {
        let idle_due = self.now.tick().saturating_add(self.node.ticks.idle);
        let conn = &mut self.conns[slot as usize];
        let State::Talking(talk) = &mut conn.state else { return };
        if !talk.input.is_empty() {
            talk.phase = Phase::Queued;
            return self.queue_read(slot);
        }
        let unread = conn.has(flag::UNREAD);
        conn.flags &= !flag::UNREAD;
        conn.state = State::Waiting;
        self.wheel.arm(slot, idle_due);
        if unread {
            self.queue_read(slot);
        }
    }

    /// Handles what was kept while answers waited to be sent.
    fn go_on(&mut self, slot: u32) {
        let head_due = self.now.tick().saturating_add(self.node.ticks.head);
        let talk = self.talk(slot);
        talk.phase = Phase::Head;
        let input = std::mem::take(&mut talk.input);
        self.set_due(slot, head_due);
        self.converse(slot, &input);
        // A readiness that came while it was queued has not been noted anywhere else.
        self.queue_read(slot);
    }

    /// The connection's conversation, begun if need be.
    pub(super) fn talk(&mut self, slot: u32) -> &mut Talk {
        let conn = &mut self.conns[slot as usize];
        if let State::Waiting = conn.state {
            conn.state = State::Talking(Box::new(Talk {
                input: Vec::new(),
                phase: Phase::Head,
                out: Vec::new(),
                sent: 0,
                then: Then::KeepAlive,
            }));
        }
        match &mut conn.state {
            State::Talking(talk) => talk,
            State::Waiting | State::Streaming(_) => unreachable!("streams do not answer requests"),
        }
    }

    /// Moves the deadline of the running phase.
    pub(super) fn set_due(&mut self, slot: u32, due: Tick) {
        self.wheel.arm(slot, due);
    }
}
