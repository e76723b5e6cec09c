//! Publish bodies: admitted before their first byte, taken in within the node's budget, published once whole.
//!
//! A body that came in one piece with its head is never copied. Any other is charged to the node's budget:
//! by its announced length before it is read, or piece by piece when chunked.

use super::admission::charge_publisher;
use super::answers::{RequestFlow, answer_problem, refuse};
use super::awaited::AnswerForm;
use super::beacon::take_beacon;
use super::conn::ConnState;
use super::exchange::{ExchangePhase, PublishUpload, UploadFraming, UploadKind};
use super::fingerprint::Fingerprint;
use super::hub::{Acceptance, Hub, NewEvent};
use super::idempotency::IdempotencyKey;
use super::joining::BENCH_TOPIC;
use super::publish_answer::{answer_published, await_ticket, count_published};
use super::reply_context::ReplyContext;
use super::roster::Roster;
use super::seam::Io;
use super::turn_context::TurnContext;
use crate::base::counters::{Count, RefusalReason};
use crate::wire::auth::access::CredentialOwner;
use crate::wire::auth::topic_grant::TopicUse;
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

/// Begins a publish: publishes at once if the body is here, otherwise admits or refuses it.
pub(super) fn begin_upload(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    head: &Head<'_>,
    request: Request,
    rest: &[u8],
) -> RequestFlow {
    let kind = match request {
        Request::Publish(publish) => UploadKind::Publish(publish),
        Request::Batch(batch) => UploadKind::Batch(batch),
        Request::Beacon => UploadKind::Beacon,
        _ => UploadKind::Broadcast,
    };
    // The benchmark's contract ends the connection after a broadcast.
    let keep_alive = head.keep_alive && !matches!(kind, UploadKind::Broadcast);
    let context = ReplyContext { http11: head.http11, keep_alive, head_only: false, origin: None };
    let last = ReplyContext { keep_alive: false, ..context };
    if turn.node.is_draining() {
        return refuse(roster, turn, slot, last, RefusalReason::Draining);
    }
    let framing = match head.body {
        BodyLength::Chunked => UploadFraming::Chunked(ChunkedDecoder::new()),
        BodyLength::Bytes(length) => UploadFraming::Bytes(length as usize),
        BodyLength::None => UploadFraming::Bytes(0),
    };
    let mut charged = 0;
    if let UploadFraming::Bytes(length) = framing {
        if rest.len() >= length {
            return act_on_body(roster, turn, slot, context, &kind, &rest[..length]).after_body(length);
        }
        if !turn.node.bodies.try_take(length) {
            return refuse(roster, turn, slot, last, RefusalReason::Bodies);
        }
        charged = length;
    }
    let upload = PublishUpload { kind, body: Vec::new(), framing, charged, context };
    let exchange = roster.exchange_mut(slot);
    exchange.phase = ExchangePhase::Body(Box::new(upload));
    if head.expect_continue && rest.is_empty() {
        exchange.out.extend_from_slice(reply::CONTINUE);
    }
    roster.arm(slot, turn.tick_after(turn.node.ticks.body));
    take_body_bytes(roster, turn, slot, rest)
}

/// Feeds the body, and publishes and answers when it is whole.
pub(super) fn take_body_bytes(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    bytes: &[u8],
) -> RequestFlow {
    let node = turn.node;
    let ConnState::Requesting(exchange) = &mut roster.conn_mut(slot).state else {
        return RequestFlow::Done;
    };
    let ExchangePhase::Body(upload) = &mut exchange.phase else { return RequestFlow::Done };
    let bytes_max = node.settings.publish_bytes_max;
    let fed = upload.feed(bytes, bytes_max, |more| node.bodies.try_take(more));
    if matches!(fed, UploadProgress::More) {
        return RequestFlow::AwaitBody;
    }
    node.bodies.release(upload.charged);
    let context = upload.context;
    let last = ReplyContext { keep_alive: false, ..context };
    let ExchangePhase::Body(upload) = std::mem::replace(&mut exchange.phase, ExchangePhase::Head) else {
        return RequestFlow::Done;
    };
    match fed {
        UploadProgress::Whole(left) => act_on_body(roster, turn, slot, context, &upload.kind, &upload.body)
            .after_body(bytes.len() - left),
        UploadProgress::Bad(problem) => {
            turn.counters().count(Count::RequestsBad);
            answer_problem(roster, turn, slot, last, &problem)
        }
        UploadProgress::NoRoom => refuse(roster, turn, slot, last, RefusalReason::Bodies),
        UploadProgress::More => RequestFlow::AwaitBody,
    }
}

/// Refuses a body that is still to come: nothing is published during a drain, and its publisher should
/// hear that now.
pub(super) fn refuse_upload(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    let ConnState::Requesting(exchange) = &mut roster.conn_mut(slot).state else { return };
    let ExchangePhase::Body(upload) = &exchange.phase else { return };
    let context = ReplyContext { keep_alive: false, ..upload.context };
    turn.node.bodies.release(upload.charged);
    exchange.phase = ExchangePhase::Head;
    refuse(roster, turn, slot, context, RefusalReason::Draining);
}

/// Acts on a whole body and appends the answer.
fn act_on_body(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    kind: &UploadKind,
    body: &[u8],
) -> RequestFlow {
    match kind {
        UploadKind::Beacon => take_beacon(roster, turn, slot, context, body),
        UploadKind::Publish(_) | UploadKind::Batch(_) | UploadKind::Broadcast => {
            publish_body(roster, turn, slot, context, kind, body)
        }
    }
}

/// Publishes a whole body and appends the answer.
fn publish_body(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    kind: &UploadKind,
    body: &[u8],
) -> RequestFlow {
    let ParsedBody { events, warning } =
        match parse_events(kind, body, turn.node.settings.topics_per_connection_max, &turn.node.hub) {
            Ok(parsed) => parsed,
            Err(Problem::Refused(why)) => return refuse(roster, turn, slot, context, why),
            Err(problem) => {
                turn.counters().count(Count::RequestsBad);
                return answer_problem(roster, turn, slot, context, &problem);
            }
        };
    let key = kind.idempotency_key(body);
    let form = match kind {
        UploadKind::Publish(_) => AnswerForm::Single { warning },
        UploadKind::Batch(_) => AnswerForm::Batch { warning },
        UploadKind::Broadcast | UploadKind::Beacon => AnswerForm::Broadcast,
    };
    charge_batch(roster, turn, slot, kind, events.len());
    match turn.node.hub.publish(events, key, turn.asker(roster.token(slot)), turn.now) {
        Ok(Acceptance::Now(outcome)) => {
            turn.carried.note_mailed(outcome.mailed);
            count_published(turn.counters(), &outcome);
            let events = if outcome.repeated { 0 } else { outcome.receipt.events as usize };
            turn.carried.count_requests(events);
            answer_published(roster, turn, slot, context, form, outcome)
        }
        Ok(Acceptance::Later(number)) => await_ticket(roster, turn, slot, context, form, number),
        Err(why) => {
            if why == RefusalReason::Overload {
                turn.carried.note_mailed(turn.node.hub.request_shedding(turn.now));
            }
            refuse(roster, turn, slot, context, why)
        }
    }
}

/// Charges the rates of a publisher with the events of a batch; its request has counted as one.
fn charge_batch(
    roster: &Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    kind: &UploadKind,
    events: usize,
) {
    if let UploadKind::Batch(batch) = kind
        && let Some(publisher) = &batch.publisher
    {
        charge_publisher(roster, turn, slot, publisher, events.saturating_sub(1) as u64);
    }
}

/// Reads the events of a body, each on at most `topics_max` topics. Those without a name may get it from
/// their topics.
fn parse_events(kind: &UploadKind, body: &[u8], topics_max: usize, hub: &Hub) -> Result<ParsedBody, Problem> {
    let text = || std::str::from_utf8(body).map_err(|_| Problem::NotUtf8);
    match kind {
        UploadKind::Publish(publish) => {
            let own = publish.event.as_deref();
            let from_topics = || hub.lock_for_names()?.name_from_topics(&publish.topics);
            let name = own.or_else(from_topics);
            let draft = Draft::new(name, publish.retry_ms, text()?, publish.key.clone());
            let draft = draft.with_ttl_ms(publish.ttl_ms);
            let warning = name.and_then(rules::warn_of_event).map(str::to_owned);
            Ok(ParsedBody { events: vec![NewEvent { topics: publish.topics.clone(), draft }], warning })
        }
        UploadKind::Beacon => unreachable!("a beacon publishes nothing"),
        UploadKind::Broadcast => {
            let draft = Draft::unnumbered(None, text()?);
            let events = vec![NewEvent { topics: vec![BENCH_TOPIC.into()], draft }];
            Ok(ParsedBody { events, warning: None })
        }
        UploadKind::Batch(request) => {
            let mut posts = batch::parse(body, topics_max)?;
            let mut topics = posts.iter().flat_map(|post| &post.topics).map(|topic| &**topic);
            let closed = |owner: &CredentialOwner| !owner.grant.opens(TopicUse::Publish, &mut topics);
            if request.publisher.as_ref().is_some_and(closed) {
                return Err(Problem::Refused(RefusalReason::NotGranted));
            }
            if let Some(names) = hub.lock_for_names() {
                for post in posts.iter_mut().filter(|post| post.event.is_none()) {
                    post.event = names.name_from_topics(&post.topics).map(Into::into);
                }
            }
            let warning = batch::warn_of_events(&posts);
            let new_event = |post: batch::BatchEvent| NewEvent {
                draft: Draft::new(post.event.as_deref(), post.retry_ms, &post.data, post.key)
                    .with_ttl_ms(post.ttl_ms),
                topics: post.topics,
            };
            Ok(ParsedBody { events: posts.into_iter().map(new_event).collect(), warning })
        }
    }
}

impl UploadKind {
    /// The publisher's key, if it sent one. Its fingerprint covers the path, all parameters and the body.
    fn idempotency_key(&self, body: &[u8]) -> Option<IdempotencyKey<'_>> {
        let text = match self {
            UploadKind::Publish(publish) => publish.idempotency_key.as_deref()?,
            UploadKind::Batch(batch) => batch.idempotency_key.as_deref()?,
            UploadKind::Broadcast | UploadKind::Beacon => return None,
        };
        let mut fingerprint = Fingerprint::default();
        if let UploadKind::Publish(publish) = self {
            fingerprint.add_number(publish.topics.len() as u64);
            publish.topics.iter().for_each(|topic| fingerprint.add(topic.as_bytes()));
            fingerprint.add_optional(publish.event.as_deref().map(str::as_bytes));
            fingerprint.add_optional(publish.key.as_deref().map(str::as_bytes));
            fingerprint
                .add_optional(publish.retry_ms.map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
            // Only where there is one: keys of earlier versions, which knew none, stay good.
            publish.ttl_ms.iter().for_each(|ttl_ms| fingerprint.add_number(u64::from(ttl_ms.get())));
        }
        fingerprint.add(body);
        Some(IdempotencyKey { text, fingerprint: fingerprint.finish() })
    }
}

impl PublishUpload {
    /// Whether more than `bytes` may be to come.
    pub(super) fn may_exceed(&self, bytes: usize) -> bool {
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::stage_tests::Stage;
    use crate::wire::request::PublishRequest;

    const BODY: &str = "0123456789";

    /// The head of a publish with these fields.
    fn head(fields: &str) -> String {
        format!("POST /publish?topic=a HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n")
    }

    /// A worker of a node that takes so many bytes of bodies, and a publisher's connection.
    fn publisher(bodies_bytes_max: usize) -> (Stage, u32) {
        let mut stage = Stage::new(Settings { bodies_bytes_max, ..Settings::default() });
        let slot = stage.open(ListenerKind::Control);
        (stage, slot)
    }

    /// Sends the answers so far. Returns them.
    fn answers(stage: &mut Stage, slot: u32) -> String {
        stage.write();
        stage.take_sent(slot)
    }

    #[test]
    fn a_body_is_charged_while_it_comes_and_one_that_is_whole_never() {
        let sized = head(&format!("Content-Length: {}", BODY.len()));
        for cut in 0..=BODY.len() {
            // A body that is here at once needs no budget.
            let (mut stage, slot) = publisher(if cut == BODY.len() { 0 } else { BODY.len() });
            let (first, rest) = BODY.split_at(cut);
            stage.receive(slot, &format!("{sized}{first}"));
            let charged = if rest.is_empty() { 0 } else { BODY.len() };
            assert_eq!(stage.node.bodies.taken(), charged, "{cut}");
            if !rest.is_empty() {
                stage.receive(slot, rest);
            }
            assert!(answers(&mut stage, slot).starts_with("HTTP/1.1 202"), "{cut}");
            assert_eq!((stage.node.bodies.taken(), stage.count(Count::Published)), (0, 1), "{cut}");
        }
    }

    #[test]
    fn a_request_behind_a_body_is_the_next_one() {
        let (mut stage, slot) = publisher(CHARGE_STEP);
        stage.receive(slot, &head("Transfer-Encoding: chunked"));
        stage.receive(slot, "3\r\nabc\r\n");
        let next = head("Content-Length: 1");
        stage.receive(slot, &format!("0\r\n\r\n{next}x{next}y"));
        let told = answers(&mut stage, slot);
        assert_eq!(told.matches("HTTP/1.1 202").count(), 3, "{told}");
    }

    #[test]
    fn a_body_beyond_the_budget_is_refused_and_all_of_it_given_back() {
        let (mut stage, slot) = publisher(CHARGE_STEP);
        stage.receive(slot, &head(&format!("Content-Length: {}", CHARGE_STEP + 1)));
        let told = answers(&mut stage, slot);
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("bodies_full"), "{told}");

        let slot = stage.open(ListenerKind::Control);
        stage.receive(slot, &head("Transfer-Encoding: chunked"));
        stage.receive(slot, "1\r\nx\r\n");
        assert_eq!(stage.node.bodies.taken(), CHARGE_STEP, "a step, not a byte");
        stage.receive(slot, &format!("{:x}\r\n{}\r\n", 3 * CHARGE_STEP, "x".repeat(3 * CHARGE_STEP)));
        assert!(answers(&mut stage, slot).starts_with("HTTP/1.1 503"));
        assert_eq!((stage.node.bodies.taken(), stage.count(Count::Published)), (0, 0));
        assert_eq!(stage.node.totals().refused[RefusalReason::Bodies as usize], 2);
    }

    #[test]
    fn a_drain_refuses_bodies_to_come_and_gives_their_bytes_back() {
        let (mut stage, slot) = publisher(1_000);
        stage.receive(slot, &head("Content-Length: 10"));
        stage.step(|roster, _, turn| refuse_upload(roster, turn, slot));
        let told = answers(&mut stage, slot);
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("draining"), "{told}");
        assert_eq!(stage.node.bodies.taken(), 0);
        let idle = stage.open(ListenerKind::Control);
        stage.step(|roster, _, turn| refuse_upload(roster, turn, idle));
        assert_eq!(answers(&mut stage, idle), "", "it sends no body");
    }

    #[test]
    fn a_client_is_told_to_go_on_only_if_it_waits() {
        let expects = head("Expect: 100-continue\r\nContent-Length: 10");
        for (sent, told) in [("", true), ("0", false), (BODY, false)] {
            let (mut stage, slot) = publisher(1_000);
            stage.receive(slot, &format!("{expects}{sent}"));
            assert_eq!(answers(&mut stage, slot).contains("100 Continue"), told, "{sent:?}");
        }
    }

    #[test]
    fn one_bad_line_publishes_nothing_of_a_batch() {
        let (mut stage, slot) = publisher(1_000);
        let body = "{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"\",\"data\":2}\n";
        let length = body.len();
        let head = "POST /publish/batch HTTP/1.1\r\nHost: localhost\r\n";
        stage.receive(slot, &format!("{head}Content-Length: {length}\r\n\r\n{body}"));
        let told = answers(&mut stage, slot);
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("ine 2"), "{told}");
        assert_eq!((stage.count(Count::Published), stage.count(Count::RequestsBad)), (0, 1));
    }

    #[test]
    fn memory_of_a_body_never_exceeds_its_announced_length() {
        for step in [1, 3, 7, 10, 12] {
            let context = ReplyContext::UNKNOWN;
            let framing = UploadFraming::Bytes(BODY.len());
            let kind = UploadKind::Broadcast;
            let mut upload = PublishUpload { kind, body: Vec::new(), framing, charged: 0, context };
            let sent = format!("{BODY}GET");
            let mut fed = 0;
            let left = loop {
                let piece = &sent.as_bytes()[fed..sent.len().min(fed + step)];
                fed += piece.len();
                let progress = upload.feed(piece, 1_000, |_| panic!("it was charged by its length"));
                assert!(upload.body.capacity() <= BODY.len(), "{step}");
                if let UploadProgress::Whole(left) = progress {
                    break left;
                }
            };
            assert_eq!((&*upload.body, fed - left), (BODY.as_bytes(), BODY.len()), "{step}");
        }
    }

    #[test]
    fn each_part_of_a_publish_tells_a_repeat_from_another_request() {
        let publish = || PublishRequest {
            topics: vec!["a".into(), "b".into()],
            event: Some("e".into()),
            key: None,
            retry_ms: None,
            ttl_ms: None,
            idempotency_key: Some(b"k".as_slice().into()),
            publisher: None,
        };
        let print = |edit: &dyn Fn(&mut PublishRequest), body: &[u8]| {
            let mut publish = publish();
            edit(&mut publish);
            UploadKind::Publish(Box::new(publish)).idempotency_key(body).expect("it has one").fingerprint
        };
        let prints = [
            print(&|_| {}, b"x"),
            print(&|_| {}, b"y"),
            print(&|publish| publish.topics.truncate(1), b"x"),
            print(&|publish| publish.topics = vec!["ab".into()], b"x"),
            print(&|publish| publish.event = None, b"x"),
            print(&|publish| publish.key = Some("e".into()), b"x"),
            print(&|publish| (publish.event, publish.key) = (None, Some("e".into())), b"x"),
            print(&|publish| publish.retry_ms = Some(0), b"x"),
            print(&|publish| publish.ttl_ms = NonZeroU32::new(7), b"x"),
            print(&|publish| publish.ttl_ms = NonZeroU32::new(8), b"x"),
        ];
        for (nth, one) in prints.iter().enumerate() {
            assert_eq!(prints.iter().position(|other| other == one), Some(nth), "like another");
        }
        assert_eq!(prints[0], print(&|_| {}, b"x"), "a repeat is one");
        assert_eq!(
            print(&|publish| publish.idempotency_key = Some(b"l".as_slice().into()), b"x"),
            prints[0],
            "the key's own text is no part of it"
        );
    }
}
