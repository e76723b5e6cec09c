//! Publish bodies: admitted before their first byte, taken in within the node's budget, published once whole.
//!
//! A body that came in one piece with its head is never copied. Any other is charged to the node's budget:
//! by its announced length before it is read, or piece by piece when chunked.

use super::awaited::AnswerForm;
use super::conn::ConnState;
use super::exchange::{ExchangePhase, PublishUpload, UploadFraming, UploadKind};
use super::fingerprint::Fingerprint;
use super::http::RequestFlow;
use super::hub::{Acceptance, NewEvent};
use super::idempotency::IdempotencyKey;
use super::reply_context::ReplyContext;
use super::seam::Io;
use super::stream::BENCH_TOPIC;
use super::worker::Worker;
use crate::base::counters::{Count, RefusalReason};
use crate::base::limits::HEAD_READ_BYTES;
use crate::wire::batch;
use crate::wire::body::ChunkedDecoder;
use crate::wire::frame::Draft;
use crate::wire::head::{BodyLength, Head};
use crate::wire::problem::Problem;
use crate::wire::reply;
use crate::wire::request::Request;
use crate::wire::rules;

/// Least growth of a charge for a chunked body, so that one-byte chunks do not charge one byte at a time.
const CHARGE_STEP: usize = 4_096;

/// Events of a whole body.
struct ParsedBody {
    events: Vec<NewEvent>,
    /// A warning about their names, if one needs it.
    warning: Option<String>,
}

/// State of a body after bytes were fed to it.
enum UploadProgress {
    /// It is whole; so many of the bytes given were left over.
    Whole(usize),
    /// The rest is still to come.
    More,
    /// Its bytes break a rule.
    Bad(Problem),
    /// The node's budget for bodies is taken.
    NoRoom,
}

impl Worker {
    /// Begins a publish: publishes at once if the body is here, otherwise admits or refuses it.
    pub(super) fn begin_upload(
        &mut self,
        slot: u32,
        head: &Head<'_>,
        request: Request,
        rest: &[u8],
    ) -> RequestFlow {
        let kind = match request {
            Request::Publish(publish) => UploadKind::Publish(publish),
            Request::Batch(batch) => UploadKind::Batch(batch),
            _ => UploadKind::Broadcast,
        };
        // The benchmark's contract ends the connection after a broadcast.
        let (http11, keep_alive) = (head.http11, head.keep_alive && !matches!(kind, UploadKind::Broadcast));
        let context = ReplyContext { http11, keep_alive, head_only: false, origin: None };
        if self.node.is_draining() {
            return self.refuse(slot, ReplyContext { keep_alive: false, ..context }, RefusalReason::Draining);
        }
        let framing = match head.body {
            BodyLength::Chunked => UploadFraming::Chunked(ChunkedDecoder::new()),
            BodyLength::Bytes(length) => UploadFraming::Bytes(length as usize),
            BodyLength::None => UploadFraming::Bytes(0),
        };
        let mut charged = 0;
        if let UploadFraming::Bytes(length) = framing {
            if rest.len() >= length {
                return self.publish_body(slot, context, &kind, &rest[..length]).after_body(length);
            }
            if !self.node.bodies.try_take(length) {
                return self.refuse(
                    slot,
                    ReplyContext { keep_alive: false, ..context },
                    RefusalReason::Bodies,
                );
            }
            charged = length;
        }
        let upload = PublishUpload { kind, body: Vec::new(), framing, charged, http11, keep_alive };
        let due = self.now.tick().saturating_add(self.node.ticks.body);
        let exchange = self.roster.exchange_mut(slot);
        exchange.phase = ExchangePhase::Body(Box::new(upload));
        if head.expect_continue && rest.is_empty() {
            exchange.out.extend_from_slice(reply::CONTINUE);
        }
        self.roster.arm(slot, due);
        self.take_body_bytes(slot, rest)
    }

    /// Hurries the rest of a request that has begun to arrive: its first part is acknowledged at once, and a
    /// peer whose body is longer than one read may send more ahead.
    pub(super) fn hurry_rest(&self, io: &mut impl Io, slot: u32) {
        let state = self.roster.find(slot).map(|conn| &conn.state);
        let Some(ConnState::Requesting(exchange)) = state else { return };
        match &exchange.phase {
            ExchangePhase::Head if !exchange.input.is_empty() => io.acknowledge(slot),
            ExchangePhase::Body(upload) => {
                // First, so that the acknowledgement tells the larger window.
                if upload.may_exceed(HEAD_READ_BYTES) {
                    io.expect_body(slot);
                }
                io.acknowledge(slot);
            }
            ExchangePhase::Lingering(linger) if linger.is_long() => io.expect_body(slot),
            _ => {}
        }
    }

    /// Takes in bytes of a body that came after its head.
    pub(super) fn feed_upload(&mut self, slot: u32, bytes: &[u8]) {
        match self.take_body_bytes(slot, bytes) {
            RequestFlow::Answered(taken) => {
                self.handle_input(slot, &bytes[taken..]);
                self.queue_answers(slot);
            }
            RequestFlow::Await(taken) => self.roster.exchange_mut(slot).input.keep(&bytes[taken..]),
            RequestFlow::AwaitBody | RequestFlow::Done => {}
        }
    }

    /// Feeds the body, and publishes and answers when it is whole.
    fn take_body_bytes(&mut self, slot: u32, bytes: &[u8]) -> RequestFlow {
        let node = std::sync::Arc::clone(&self.node);
        let ConnState::Requesting(exchange) = &mut self.roster.conn_mut(slot).state else {
            return RequestFlow::Done;
        };
        let ExchangePhase::Body(upload) = &mut exchange.phase else { return RequestFlow::Done };
        let bytes_max = node.settings.publish_bytes_max;
        let fed = upload.feed(bytes, bytes_max, |more| node.bodies.try_take(more));
        if matches!(fed, UploadProgress::More) {
            return RequestFlow::AwaitBody;
        }
        node.bodies.release(upload.charged);
        let context = ReplyContext {
            http11: upload.http11,
            keep_alive: upload.keep_alive,
            head_only: false,
            origin: None,
        };
        let ExchangePhase::Body(upload) = std::mem::replace(&mut exchange.phase, ExchangePhase::Head) else {
            return RequestFlow::Done;
        };
        match fed {
            UploadProgress::Whole(left) => {
                self.publish_body(slot, context, &upload.kind, &upload.body).after_body(bytes.len() - left)
            }
            UploadProgress::Bad(problem) => {
                self.counters().count(Count::RequestsBad);
                self.answer_problem(slot, ReplyContext { keep_alive: false, ..context }, &problem)
            }
            UploadProgress::NoRoom => {
                self.refuse(slot, ReplyContext { keep_alive: false, ..context }, RefusalReason::Bodies)
            }
            UploadProgress::More => RequestFlow::AwaitBody,
        }
    }

    /// Refuses a body that is still to come: nothing is published during a drain, and its publisher should
    /// hear that now.
    pub(super) fn refuse_upload(&mut self, slot: u32) {
        let ConnState::Requesting(exchange) = &mut self.roster.conn_mut(slot).state else { return };
        let ExchangePhase::Body(upload) = &exchange.phase else { return };
        let context =
            ReplyContext { http11: upload.http11, keep_alive: false, head_only: false, origin: None };
        self.node.bodies.release(upload.charged);
        exchange.phase = ExchangePhase::Head;
        self.refuse(slot, context, RefusalReason::Draining);
    }

    /// Publishes a whole body and appends the answer.
    fn publish_body(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        kind: &UploadKind,
        body: &[u8],
    ) -> RequestFlow {
        let ParsedBody { events, warning } = match self.parse_events(kind, body) {
            Ok(parsed) => parsed,
            Err(problem) => {
                self.counters().count(Count::RequestsBad);
                return self.answer_problem(slot, context, &problem);
            }
        };
        let key = kind.idempotency_key(body);
        let form = match kind {
            UploadKind::Publish(_) => AnswerForm::Single { warning },
            UploadKind::Batch(_) => AnswerForm::Batch { warning },
            UploadKind::Broadcast => AnswerForm::Broadcast,
        };
        match self.node.hub.publish(events, key, self.asker(slot), self.now) {
            Ok(Acceptance::Now(outcome)) => {
                self.mailed |= outcome.mailed;
                self.count_published(&outcome);
                self.requests_taken += if outcome.repeated { 0 } else { outcome.receipt.events as usize };
                self.answer_published(slot, context, form, outcome)
            }
            Ok(Acceptance::Later(number)) => self.await_ticket(slot, context, form, number),
            Err(why) => {
                if why == RefusalReason::Overload {
                    self.mailed |= self.node.hub.request_shedding(self.now);
                }
                self.refuse(slot, context, why)
            }
        }
    }

    /// Reads the events of a body.
    fn parse_events(&self, kind: &UploadKind, body: &[u8]) -> Result<ParsedBody, Problem> {
        let text = || std::str::from_utf8(body).map_err(|_| Problem::NotUtf8);
        match kind {
            UploadKind::Publish(publish) => {
                let draft =
                    Draft::new(publish.event.as_deref(), publish.retry_ms, text()?, publish.key.clone());
                let warning = publish.event.as_deref().and_then(rules::warn_of_event).map(str::to_owned);
                Ok(ParsedBody { events: vec![NewEvent { topics: publish.topics.clone(), draft }], warning })
            }
            UploadKind::Broadcast => {
                let draft = Draft::unnumbered(None, text()?);
                let events = vec![NewEvent { topics: vec![BENCH_TOPIC.into()], draft }];
                Ok(ParsedBody { events, warning: None })
            }
            UploadKind::Batch(_) => {
                let posts = batch::parse(body, self.node.settings.topics_per_connection_max)?;
                let warning = batch::warn_of_events(&posts);
                let new_event = |post: batch::BatchEvent| NewEvent {
                    draft: Draft::new(post.event.as_deref(), post.retry_ms, &post.data, post.key),
                    topics: post.topics,
                };
                Ok(ParsedBody { events: posts.into_iter().map(new_event).collect(), warning })
            }
        }
    }
}

impl UploadKind {
    /// The publisher's key, if it sent one. Its fingerprint covers the path, all parameters and the body.
    fn idempotency_key(&self, body: &[u8]) -> Option<IdempotencyKey<'_>> {
        let text = match self {
            UploadKind::Publish(publish) => publish.idempotency_key.as_deref()?,
            UploadKind::Batch(batch) => batch.idempotency_key.as_deref()?,
            UploadKind::Broadcast => return None,
        };
        let mut fingerprint = Fingerprint::default();
        if let UploadKind::Publish(publish) = self {
            fingerprint.add_number(publish.topics.len() as u64);
            publish.topics.iter().for_each(|topic| fingerprint.add(topic.as_bytes()));
            fingerprint.add_optional(publish.event.as_deref().map(str::as_bytes));
            fingerprint.add_optional(publish.key.as_deref().map(str::as_bytes));
            fingerprint
                .add_optional(publish.retry_ms.map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        }
        fingerprint.add(body);
        Some(IdempotencyKey { text, fingerprint: fingerprint.finish() })
    }
}

impl PublishUpload {
    /// Whether more than `bytes` may be to come.
    fn may_exceed(&self, bytes: usize) -> bool {
        match self.framing {
            UploadFraming::Bytes(length) => length - self.body.len() > bytes,
            UploadFraming::Chunked(_) => true,
        }
    }

    /// Takes in bytes; `charge` asks the node's budget for more.
    fn feed(&mut self, bytes: &[u8], bytes_max: usize, charge: impl Fn(usize) -> bool) -> UploadProgress {
        match &mut self.framing {
            UploadFraming::Bytes(length) => {
                let take = (*length - self.body.len()).min(bytes.len());
                // Grow with the bytes that have come, never beyond the announced length.
                let room = (self.body.len() * 2).max(take).clamp(self.body.len() + take, *length);
                if self.body.capacity() < self.body.len() + take {
                    self.body.reserve_exact(room - self.body.len());
                }
                self.body.extend_from_slice(&bytes[..take]);
                if self.body.len() == *length {
                    UploadProgress::Whole(bytes.len() - take)
                } else {
                    UploadProgress::More
                }
            }
            UploadFraming::Chunked(decoder) => {
                let fed = match decoder.feed(bytes, &mut self.body, bytes_max) {
                    Ok(fed) => fed,
                    Err(problem) => return UploadProgress::Bad(problem),
                };
                if fed.done {
                    return UploadProgress::Whole(bytes.len() - fed.consumed);
                }
                let wanted = self.body.capacity().saturating_sub(self.charged);
                let wanted = wanted.next_multiple_of(CHARGE_STEP);
                if wanted > 0 && !charge(wanted) {
                    return UploadProgress::NoRoom;
                }
                self.charged += wanted;
                UploadProgress::More
            }
        }
    }
}
