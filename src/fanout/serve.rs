//! Serving a request: its answer, or the stream that it becomes.
//!
//! Bodies go on in `upload`, pages that ask other workers in `survey_request`, streams in `joining`. Reads no
//! byte of a request but those behind its head.

use super::admission::JudgedRequest;
use super::answers::{RequestFlow, answer, answer_json, answer_problem, refuse, reply_to};
use super::conn::ConnState;
use super::joining::{StreamOpening, begin_stream, bench_subscription};
use super::long_poll::LongPoll;
use super::reply_context::ReplyContext;
use super::roster::Roster;
use super::seam::Io;
use super::survey_request::{ask_connections, ask_end, ask_forgetting, ask_topics};
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use super::upload::begin_upload;
use crate::base::counters::{Count, RefusalReason};
use crate::base::settings::UrlProfile;
use crate::base::snapshot::{Pages, TextPage};
use crate::wire::frame::FrameForm;
use crate::wire::head::Head;
use crate::wire::problem::Problem;
use crate::wire::reply;
use crate::wire::request::Request;
use crate::wire::subscription::{StreamStart, SubscribeRequest};

/// A poll without events is answered up to this share of its time sooner.
const POLL_JITTER_SHARE: u64 = 10;

/// A connection that has sent a whole head.
#[derive(Clone, Copy)]
struct Requester<'a> {
    slot: u32,
    context: ReplyContext<'a>,
    /// A client over this limit is refused streams and publishes.
    over: Option<RefusalReason>,
}

impl Requester<'_> {
    /// Its connection is not kept if it has sent more than its request: a stream reads nothing.
    fn alone(self, rest: &[u8]) -> Self {
        let keep_alive = self.context.keep_alive && rest.is_empty();
        Requester { context: ReplyContext { keep_alive, ..self.context }, ..self }
    }
}

/// Acts on one head and the verdict on its request; `rest` follows the head in the buffer.
pub(super) fn serve_head(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    head: &Head<'_>,
    judged: JudgedRequest,
    rest: &[u8],
) -> RequestFlow {
    turn.counters().count(Count::Requests);
    turn.carried.count_requests(1);
    roster.record_user_agent(slot, head.fields.user_agent);
    let JudgedRequest { asked, over } = judged;
    let context = ReplyContext::of(head);
    match asked {
        Ok(request) => {
            serve_request(roster, topics, turn, Requester { slot, context, over }, head, request, rest)
        }
        Err(problem) => {
            match problem {
                Problem::PublishNotAllowed { .. } => turn.counters().refuse(RefusalReason::Credentials),
                Problem::Refused(why) => turn.counters().refuse(why),
                _ => turn.counters().count(Count::RequestsBad),
            }
            answer_problem(roster, turn, slot, context, &problem)
        }
    }
}

fn serve_request(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    requester: Requester<'_>,
    head: &Head<'_>,
    request: Request,
    rest: &[u8],
) -> RequestFlow {
    let Requester { slot, context, over } = requester;
    let last = ReplyContext { keep_alive: false, ..context };
    match request {
        Request::Subscribe(subscribe) => {
            let requester = requester.alone(rest);
            open_stream(roster, topics, turn, requester, *subscribe, UrlProfile::Standard)
        }
        Request::BenchSubscribe { form } => {
            let subscribe = bench_subscription(form);
            open_stream(roster, topics, turn, requester, subscribe, UrlProfile::BroadcastBenchmark)
        }
        Request::Publish(_) | Request::Batch(_) | Request::BenchBroadcast | Request::Beacon => match over {
            Some(why) => refuse(roster, turn, slot, context, why),
            None => begin_upload(roster, turn, slot, head, request, rest),
        },
        Request::SubscribeHead(subscribe) => answer_stream_head(roster, turn, slot, context, subscribe.form),
        Request::Landing => answer(roster, turn, slot, context, reply::append_landing),
        Request::Preflight { allow } => answer(roster, turn, slot, context, |out, reply| {
            reply::append_preflight(out, reply, allow, &head.fields.request_headers);
        }),
        Request::Health => answer_json(roster, turn, slot, context, 200, "{\"status\":\"ok\"}"),
        Request::Ready => answer_ready(roster, turn, slot, context),
        Request::Status(query) => {
            let text = (turn.node.pages().status)(&turn.node.snapshot(turn.now.mono_ms), query);
            answer_json(roster, turn, slot, context, 200, &text)
        }
        Request::Settings => answer_page(roster, turn, slot, context, |pages| &pages.settings),
        Request::Log => answer_page(roster, turn, slot, context, |pages| &pages.log),
        Request::Metrics(format) => {
            let text = (turn.node.pages().metrics)(&turn.node.snapshot(turn.now.mono_ms), format);
            answer(roster, turn, slot, context, |out, reply| {
                reply::append_body(out, reply, reply::metrics_type(format), text.as_bytes());
            })
        }
        Request::Connections(query) => ask_connections(roster, turn, slot, context, query),
        Request::Topics(query) => ask_topics(roster, turn, slot, context, query),
        Request::ForgetTopic(topic) => ask_forgetting(roster, turn, slot, context, topic),
        Request::EndConnection(id) => ask_end(roster, turn, slot, context, id),
        Request::Asset { name, if_none_match } => {
            answer_asset(roster, turn, slot, context, &name, if_none_match.as_deref())
        }
        Request::ClientLibrary { version, if_none_match } => {
            answer_client_library(roster, turn, slot, context, &version, if_none_match.as_deref())
        }
        Request::Drain => {
            turn.carried.request_drain();
            answer_json(roster, turn, slot, context, 202, "{\"status\":\"draining\"}")
        }
        Request::BenchConnections => {
            let streams = turn.node.totals().subscribers_open;
            answer(roster, turn, slot, last, |out, _| reply::append_bench_connections(out, streams))
        }
        Request::BenchOptions => answer(roster, turn, slot, last, |out, _| reply::append_bench_options(out)),
    }
}

/// Answers with the head of a stream alone. A stream that is not chunked says that its connection ends, so it
/// does.
fn answer_stream_head(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    form: FrameForm,
) -> RequestFlow {
    let context = ReplyContext { keep_alive: context.keep_alive && form == FrameForm::Chunk, ..context };
    answer(roster, turn, slot, context, |out, reply| reply::append_stream_head_only(out, reply, form))
}

/// Answers with a page that needs no figures of the core.
fn answer_page(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    pick: fn(&Pages) -> &TextPage,
) -> RequestFlow {
    let text = pick(turn.node.pages())();
    answer_json(roster, turn, slot, context, 200, &text)
}

/// Answers with the client library of pages.
fn answer_client_library(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    version: &[u8],
    if_none_match: Option<&[u8]>,
) -> RequestFlow {
    let file = (turn.node.pages().client_library)();
    answer(roster, turn, slot, context, |out, reply| {
        reply::append_client_library(out, reply, &file, version, if_none_match);
    })
}

/// Answers with a file of the dashboard.
fn answer_asset(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    name: &str,
    if_none_match: Option<&[u8]>,
) -> RequestFlow {
    match (turn.node.pages().asset)(name) {
        Some(asset) => answer(roster, turn, slot, context, |out, reply| {
            reply::append_asset(out, reply, &asset, if_none_match);
        }),
        None => {
            turn.counters().count(Count::RequestsBad);
            let problem = Problem::NotFound("The dashboard has no part of this name.");
            answer_problem(roster, turn, slot, context, &problem)
        }
    }
}

/// Opens a stream, or refuses it in the way that its client understands.
fn open_stream(
    roster: &mut Roster,
    topics: &mut LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    requester: Requester<'_>,
    subscribe: SubscribeRequest,
    profile: UrlProfile,
) -> RequestFlow {
    let Requester { slot, context, over } = requester;
    let budget = &turn.node.connections;
    let refused = over
        .or_else(|| turn.node.newcomer_refusal())
        .or_else(|| (!roster.count_request_client(budget, slot)).then_some(RefusalReason::Address));
    let SubscribeRequest { form, buffered, event_source, .. } = subscribe;
    let retry_ms = turn.draw_retry_ms();
    let joined = match refused {
        Some(why) => Err(why),
        None => {
            let conn = roster.conn(slot);
            let mut bytes = match &conn.state {
                ConnState::Requesting(exchange) => exchange.out[exchange.sent..].to_vec(),
                ConnState::Idle | ConnState::Streaming(_) => Vec::new(),
            };
            let poll = subscribe.wait_ms.map(|wait_ms| open_poll(turn, context, wait_ms, &subscribe));
            match profile {
                // Its head comes with its answer.
                _ if poll.is_some() => {}
                UrlProfile::BroadcastBenchmark => reply::append_bench_stream_head(&mut bytes, form),
                UrlProfile::Standard => {
                    let reply = reply_to(turn, conn.listener, context);
                    let greeting = reply::StreamGreeting { form, buffered, retry_ms };
                    reply::append_stream_head(&mut bytes, &reply, &greeting);
                }
            }
            begin_stream(roster, topics, turn, slot, StreamOpening { bytes, subscribe, poll })
                .inspect_err(|_| roster.uncount_request_client(&turn.node.connections, slot))
        }
    };
    match joined {
        Ok(()) => RequestFlow::Done,
        // Where another try is no better, the page is to learn that its request is wrong.
        Err(why) if event_source && matches!(Problem::Refused(why).status(), 429 | 503) => {
            turn.counters().refuse(why);
            answer(roster, turn, slot, ReplyContext { keep_alive: false, ..context }, |out, reply| {
                reply::append_overload_stream(out, reply, form, retry_ms);
            })
        }
        Err(why) => refuse(roster, turn, slot, context, why),
    }
}

/// Opens a poll that waits for so long at most. Those that began together part, so none waits longer.
fn open_poll(
    turn: &mut TurnContext<'_, impl Io>,
    context: ReplyContext<'_>,
    wait_ms: u64,
    subscribe: &SubscribeRequest,
) -> Box<LongPoll> {
    let primed = subscribe.prime;
    // Told its position at once, the client loses nothing before its first event.
    let wait_ms = if primed && subscribe.start == StreamStart::Now { 0 } else { wait_ms };
    let sooner = turn.carried.draw_below(wait_ms / POLL_JITTER_SHARE + 1);
    let due = match wait_ms - sooner {
        // At once, not in the next tick.
        0 => turn.tick(),
        ms => turn.tick_after_ms(ms),
    };
    Box::new(LongPoll::new(context, due, primed))
}

/// Repeats the verdict on readiness. It is made elsewhere, so this never waits for another worker.
fn answer_ready(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
) -> RequestFlow {
    if turn.node.is_draining() {
        return refuse(roster, turn, slot, context, RefusalReason::Draining);
    }
    match turn.node.readiness(turn.now.mono_ms).reason {
        None => answer_json(roster, turn, slot, context, 200, "{\"status\":\"ready\"}"),
        Some(reason) => answer_problem(roster, turn, slot, context, &Problem::NotReady(format!("{reason}."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::stage_tests::Stage;

    const SUBSCRIBE: &str = "GET /events?topic=a HTTP/1.1\r\nHost: a\r\n";

    #[test]
    fn a_subscription_becomes_a_stream_with_a_greeting() {
        let mut stage = Stage::new(Settings::default());
        let slot = stage.subscribe("topic=a&topic=b&event=x");
        let sent = stage.take_sent(slot);
        assert!(sent.starts_with("HTTP/1.1 200 OK") && sent.contains(":ok\nretry: "), "{sent}");
        let stream = stage.stream(slot);
        assert!(stream.is_live() && stream.places().len() == 2 && stream.selection.is_some());
    }

    #[test]
    fn a_node_without_room_refuses_in_words_and_a_browser_by_a_clean_end() {
        let mut stage = Stage::new(Settings::default());
        stage.node.set_memory_full(true);
        let [client, browser] = [stage.open(ListenerKind::Public), stage.open(ListenerKind::Public)];
        stage.receive(client, &format!("{SUBSCRIBE}\r\n"));
        let accept = "Accept: text/event-stream\r\nCache-Control: no-cache";
        stage.receive(browser, &format!("{SUBSCRIBE}{accept}\r\n\r\n"));
        stage.write();
        assert!(stage.take_sent(client).starts_with("HTTP/1.1 503"));
        let told = stage.take_sent(browser);
        assert!(told.starts_with("HTTP/1.1 200") && told.contains("retry: ") && told.ends_with("0\r\n\r\n"));
        let refused = stage.node.totals().refused[RefusalReason::Memory as usize];
        assert_eq!((refused, stage.count(Count::Subscribed)), (2, 0));
    }

    #[test]
    fn a_refused_request_is_counted_by_its_cause() {
        let mut stage = Stage::new(Settings::default());
        let [lost, publisher] = [stage.open(ListenerKind::Public), stage.open(ListenerKind::Public)];
        stage.receive(lost, "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
        let publish = "POST /publish?topic=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
        stage.receive(publisher, publish);
        stage.write();
        assert!(stage.take_sent(publisher).starts_with("HTTP/1.1 403"));
        let credentials = stage.node.totals().refused[RefusalReason::Credentials as usize];
        assert_eq!((stage.count(Count::Requests), stage.count(Count::RequestsBad), credentials), (2, 1, 1));
    }
}
