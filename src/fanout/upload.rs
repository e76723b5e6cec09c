//! Publish bodies: admitted before their first byte, taken in within the node's budget, published once whole.
//!
//! A body that came in one piece with its head is never copied. Any other is charged to the node's budget:
//! by its announced length before it is read, or piece by piece when chunked.

use super::conn::{Call, Framing, Phase, State, Upload};
use super::http::{Asked, Flow};
use super::hub::{Post, Published};
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
use crate::wire::reply::{self, Reply};
use crate::wire::request::Request;

/// Least growth of a charge for a chunked body, so that one-byte chunks do not charge one byte at a time.
const CHARGE_STEP: usize = 4_096;

/// What feeding a body came to.
enum Fed {
    /// It is whole; so many of the bytes given were left over.
    Whole(usize),
    /// More is to come.
    More,
    /// It is broken.
    Bad(Problem),
    /// The node's budget is taken.
    NoRoom,
}

impl Worker {
    /// Begins a publish: at once if the body is here, otherwise it is admitted or refused.
    pub(super) fn begin_upload(&mut self, slot: u32, head: &Head<'_>, request: Request, rest: &[u8]) -> Flow {
        let call = match request {
            Request::Publish(publish) => Call::Publish(publish),
            Request::Batch(batch) => Call::Batch(batch),
            _ => Call::Broadcast,
        };
        // The benchmark's contract ends the connection after a broadcast.
        let (http11, keep_alive) = (head.http11, head.keep_alive && !matches!(call, Call::Broadcast));
        let asked = Asked { http11, keep_alive, head_only: false, origin: None };
        if self.node.is_draining() {
            return self.refuse(slot, Asked { keep_alive: false, ..asked }, RefusalReason::Draining);
        }
        let framing = match head.body {
            BodyLength::Chunked => Framing::Chunked(ChunkedDecoder::new()),
            BodyLength::Bytes(length) => Framing::Bytes(length as usize),
            BodyLength::None => Framing::Bytes(0),
        };
        let mut charged = 0;
        if let Framing::Bytes(length) = framing {
            if rest.len() >= length {
                return match self.publish(slot, asked, &call, &rest[..length]) {
                    Flow::Next(_) => Flow::Next(length),
                    flow => flow,
                };
            }
            if !self.node.bodies.take(length) {
                return self.refuse(slot, Asked { keep_alive: false, ..asked }, RefusalReason::Bodies);
            }
            charged = length;
        }
        let upload = Upload { call, body: Vec::new(), framing, charged, http11, keep_alive };
        let due = self.now.tick().saturating_add(self.node.ticks.body);
        let talk = self.talk(slot);
        talk.phase = Phase::Body(Box::new(upload));
        if head.expect_continue && rest.is_empty() {
            talk.out.extend_from_slice(reply::CONTINUE);
        }
        self.set_due(slot, due);
        self.take_body(slot, rest)
    }

    /// Lets the peer send more ahead while a body of it arrives that is longer than what one read takes.
    pub(super) fn open_body_window(&self, io: &mut impl Io, slot: u32) {
        if let Some(State::Talking(talk)) = self.conns.get(slot as usize).map(|conn| &conn.state)
            && let Phase::Body(upload) = &talk.phase
            && upload.may_exceed(HEAD_READ_BYTES)
        {
            io.expect_body(slot);
        }
    }

    /// Bytes of a body that came after its head.
    pub(super) fn feed_upload(&mut self, slot: u32, bytes: &[u8]) {
        if let Flow::Next(taken) = self.take_body(slot, bytes) {
            self.converse(slot, &bytes[taken..]);
            self.settle(slot);
        }
    }

    /// Feeds the body; publishes and answers when it is whole.
    fn take_body(&mut self, slot: u32, bytes: &[u8]) -> Flow {
        let node = std::sync::Arc::clone(&self.node);
        let State::Talking(talk) = &mut self.conns[slot as usize].state else { return Flow::Done };
        let Phase::Body(upload) = &mut talk.phase else { return Flow::Done };
        let bytes_max = node.settings.publish_bytes_max;
        let fed = upload.feed(bytes, bytes_max, |more| node.bodies.take(more));
        if matches!(fed, Fed::More) {
            return Flow::Hold;
        }
        node.bodies.give(upload.charged);
        let asked =
            Asked { http11: upload.http11, keep_alive: upload.keep_alive, head_only: false, origin: None };
        let Phase::Body(upload) = std::mem::replace(&mut talk.phase, Phase::Head) else {
            return Flow::Done;
        };
        match fed {
            Fed::Whole(left) => match self.publish(slot, asked, &upload.call, &upload.body) {
                Flow::Next(_) => Flow::Next(bytes.len() - left),
                flow => flow,
            },
            Fed::Bad(problem) => {
                self.counters().count(Count::RequestsBad);
                self.answer_problem(slot, Asked { keep_alive: false, ..asked }, &problem)
            }
            Fed::NoRoom => self.refuse(slot, Asked { keep_alive: false, ..asked }, RefusalReason::Bodies),
            Fed::More => Flow::Hold,
        }
    }

    /// Refuses a body that is still to come: nothing is published during a drain, and whoever sends it should
    /// hear that now.
    pub(super) fn give_up_upload(&mut self, slot: u32) {
        let State::Talking(talk) = &mut self.conns[slot as usize].state else { return };
        let Phase::Body(upload) = &talk.phase else { return };
        let asked = Asked { http11: upload.http11, keep_alive: false, head_only: false, origin: None };
        self.node.bodies.give(upload.charged);
        talk.phase = Phase::Head;
        self.refuse(slot, asked, RefusalReason::Draining);
    }

    /// Publishes a whole body and appends the answer.
    fn publish(&mut self, slot: u32, asked: Asked<'_>, call: &Call, body: &[u8]) -> Flow {
        let posts = match self.posts(call, body) {
            Ok(posts) => posts,
            Err(problem) => {
                self.counters().count(Count::RequestsBad);
                return self.answer_problem(slot, asked, &problem);
            }
        };
        let key = match call {
            Call::Publish(publish) => publish.idempotency_key.as_deref(),
            Call::Batch(batch) => batch.idempotency_key.as_deref(),
            Call::Broadcast => None,
        };
        let published = match self.node.hub.publish(posts, key, self.now) {
            Ok(published) => published,
            Err(why) => {
                if why == RefusalReason::Overload {
                    self.wake |= self.node.hub.shed(self.now);
                }
                return self.refuse(slot, asked, why);
            }
        };
        let Published { answer, repeated, wake } = published;
        self.wake |= wake;
        if repeated {
            self.counters().count(Count::PublishRepeated);
        } else {
            self.counters().add(Count::Published, answer.events);
            self.asked += answer.events as usize;
        }
        self.answer(slot, asked, |out, reply| match call {
            Call::Publish(_) => reply::append_accepted(out, reply, answer.id, answer.subscribers as usize),
            Call::Batch(_) => {
                let text = format!(
                    "{{\"id\":\"{}\",\"events\":{},\"subscribers\":{}}}",
                    answer.id, answer.events, answer.subscribers
                );
                reply::append_json(out, &Reply { status: 202, ..*reply }, &text);
            }
            Call::Broadcast => reply::append_bench_accepted(out, reply.http11, reply.keep_alive),
        })
    }

    fn posts(&self, call: &Call, body: &[u8]) -> Result<Vec<Post>, Problem> {
        let text = || std::str::from_utf8(body).map_err(|_| Problem::NotUtf8);
        match call {
            Call::Publish(publish) => {
                let draft =
                    Draft::new(publish.event.as_deref(), publish.retry_ms, text()?, publish.key.clone());
                Ok(vec![Post { topics: publish.topics.clone(), draft }])
            }
            Call::Broadcast => {
                Ok(vec![Post { topics: vec![BENCH_TOPIC.into()], draft: Draft::unnumbered(None, text()?) }])
            }
            Call::Batch(_) => {
                let posts = batch::parse(body, self.node.settings.topics_per_connection_max)?;
                let post = |post: batch::BatchEvent| Post {
                    draft: Draft::new(post.event.as_deref(), post.retry_ms, &post.data, post.key),
                    topics: post.topics,
                };
                Ok(posts.into_iter().map(post).collect())
            }
        }
    }
}

impl Upload {
    /// Whether more than `bytes` may be to come.
    fn may_exceed(&self, bytes: usize) -> bool {
        match self.framing {
            Framing::Bytes(length) => length - self.body.len() > bytes,
            Framing::Chunked(_) => true,
        }
    }

    /// Takes in bytes; `charge` asks the node's budget for more.
    fn feed(&mut self, bytes: &[u8], bytes_max: usize, charge: impl Fn(usize) -> bool) -> Fed {
        match &mut self.framing {
            Framing::Bytes(length) => {
                let take = (*length - self.body.len()).min(bytes.len());
                // Grow with what has come, never beyond what was announced.
                let room = (self.body.len() * 2).max(take).clamp(self.body.len() + take, *length);
                if self.body.capacity() < self.body.len() + take {
                    self.body.reserve_exact(room - self.body.len());
                }
                self.body.extend_from_slice(&bytes[..take]);
                if self.body.len() == *length { Fed::Whole(bytes.len() - take) } else { Fed::More }
            }
            Framing::Chunked(decoder) => {
                let fed = match decoder.feed(bytes, &mut self.body, bytes_max) {
                    Ok(fed) => fed,
                    Err(problem) => return Fed::Bad(problem),
                };
                if fed.done {
                    return Fed::Whole(bytes.len() - fed.consumed);
                }
                let wanted = self.body.capacity().saturating_sub(self.charged);
                let wanted = wanted.next_multiple_of(CHARGE_STEP);
                if wanted > 0 && !charge(wanted) {
                    return Fed::NoRoom;
                }
                self.charged += wanted;
                Fed::More
            }
        }
    }
}
