//! Admission of a request: by the address of its client, then by its credential.
//!
//! | step | asks | refuses with |
//! | --- | --- | --- |
//! | 1 | bans and limits of its connection, the rate of its client's requests | 403, 503, 429 |
//! | 2 | its credential, in `wire::auth`; the application, where it is asked | 401, 403, 503 |
//! | 3 | the rates of events that its client, and the owner of its credential, publish | 429 |
//!
//! The first step comes before any signature is verified. A client that is known only by its proxy's address
//! has no rates. Serves no request.

use super::conn::ConnLimit;
use super::conn_tracing::note_traced_client;
use super::roster::Roster;
use super::seam::Io;
use super::turn_context::TurnContext;
use crate::base::counters::{Count, RefusalReason};
use crate::base::listener::ListenerKind;
use crate::wire::auth::access::{AccessRules, Admission, AdmissionMoment, CredentialOwner};
use crate::wire::auth::application::{ApplicationQuestion, ApplicationVerdict};
use crate::wire::forwarded::named_client;
use crate::wire::head::Head;
use crate::wire::policy::ListenerPolicy;
use crate::wire::problem::Problem;
use crate::wire::request::{Request, route};

/// The rules under which the requests of one read are judged.
#[derive(Clone, Copy)]
pub(super) struct RulesInForce<'a> {
    pub(super) policy: &'a ListenerPolicy,
    /// Credentials, if there are any.
    pub(super) access: Option<&'a AccessRules>,
}

/// The verdict on a request.
pub(super) struct JudgedRequest {
    /// The request, or the reason why it is not served.
    pub(super) asked: Result<Request, Problem>,
    /// A limit that its client is over: streams and publishes are refused.
    pub(super) over: Option<RefusalReason>,
}

/// The outcome of a look at a request.
pub(super) enum RequestVerdict {
    /// It is decided.
    Judged(JudgedRequest),
    /// The application is to be asked.
    Ask(ApplicationQuestion),
}

/// Judges a request; `verdict` is the word of the application, once it was asked. An EventSource that is over
/// a limit is refused later, in the way that it understands.
pub(super) fn judge_request(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    rules: RulesInForce<'_>,
    head: &Head<'_>,
    asked: Result<Request, Problem>,
    verdict: Option<&ApplicationVerdict>,
) -> RequestVerdict {
    note_forwarded_client(roster, turn, slot, head);
    let over = match verdict {
        None => refuse_client(roster, turn, slot, rules.access),
        // It was counted before the application was asked.
        Some(verdict) => unanswered(verdict),
    };
    let asked = match (over, asked) {
        (Some(why @ RefusalReason::Banned), _) => Err(Problem::Refused(why)),
        (Some(_), Ok(asked @ (Request::Subscribe(_) | Request::Publish(_) | Request::Batch(_)))) => Ok(asked),
        (Some(why @ RefusalReason::AddressRequests), _) => Err(Problem::Refused(why)),
        (_, asked) => match check_credential(turn, rules, head, asked, verdict) {
            Admission::Decided(asked) => asked,
            Admission::Ask => return RequestVerdict::Ask(ApplicationQuestion::of(head)),
        },
    };
    let over = over.or_else(|| refuse_publisher(roster, turn, slot, asked.as_ref().ok()?));
    RequestVerdict::Judged(JudgedRequest { asked, over })
}

/// Returns the reason for which the application has given no answer. A browser may come again then.
fn unanswered(verdict: &ApplicationVerdict) -> Option<RefusalReason> {
    let why = *verdict.as_ref().err()?;
    let unanswered = matches!(
        why,
        RefusalReason::AuthorizeFull | RefusalReason::AuthorizeFailed | RefusalReason::AuthorizeLate
    );
    unanswered.then_some(why)
}

fn check_credential(
    turn: &mut TurnContext<'_, impl Io>,
    rules: RulesInForce<'_>,
    head: &Head<'_>,
    asked: Result<Request, Problem>,
    verdict: Option<&ApplicationVerdict>,
) -> Admission {
    let Some(access) = rules.access else { return Admission::Decided(asked) };
    let mut moment = AdmissionMoment { wall_ms: turn.now.wall_ms, work: 0 };
    let kept = || {
        let kept = turn.node.desk.find(&ApplicationQuestion::of(head), turn.now);
        turn.counters().add(Count::AuthorizeKept, u64::from(kept.is_some()));
        kept
    };
    let admission = match access.admit(rules.policy, head, asked, verdict, &mut moment) {
        Admission::Ask => match kept() {
            Some(kept) => {
                access.admit(rules.policy, head, route(head, rules.policy), Some(&kept), &mut moment)
            }
            None => Admission::Ask,
        },
        decided => decided,
    };
    turn.carried.count_requests(moment.work);
    admission
}

/// Returns the limit that a connection or its client is over.
fn refuse_client(
    roster: &Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    access: Option<&AccessRules>,
) -> Option<RefusalReason> {
    let conn = roster.conn(slot);
    let of_conn = conn.over_limit().map(|limit| match limit {
        ConnLimit::Node => RefusalReason::Connections,
        ConnLimit::Address => RefusalReason::Address,
        ConnLimit::ConnectRate => RefusalReason::AddressConnects,
        ConnLimit::Banned => RefusalReason::Banned,
    });
    // One that its connection does not name was not known when that was opened.
    let named = roster.request_client(slot).map(|client| client.ip);
    if access.is_some_and(|access| named.is_some_and(|ip| access.bans.bans_address(ip))) {
        return Some(RefusalReason::Banned);
    }
    let counts = turn.node.rates.counts_requests() && conn.listener == ListenerKind::Public;
    of_conn.or_else(|| {
        // Only now: the address costs a system call.
        let client = counts.then(|| turn.counted_client(roster, slot))??;
        turn.node.rates.refuse_request(client, turn.now)
    })
}

/// Returns the rate that a publisher is over.
fn refuse_publisher(
    roster: &Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    asked: &Request,
) -> Option<RefusalReason> {
    let publisher = match asked {
        Request::Publish(publish) => publish.publisher.as_ref()?,
        Request::Batch(batch) => batch.publisher.as_ref()?,
        _ => return None,
    };
    let client = turn.node.rates.counts_publishes().then(|| turn.counted_client(roster, slot))?;
    turn.node.rates.refuse_publish(client, publisher, turn.now)
}

/// Charges the rates of a publisher with events beyond the one that its request has counted for.
pub(super) fn charge_publisher(
    roster: &Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    publisher: &CredentialOwner,
    events: u64,
) {
    if turn.node.rates.counts_publishes() {
        let client = turn.counted_client(roster, slot);
        turn.node.rates.charge_publish(client, publisher, events, turn.now);
    }
}

/// Notes the client that the fields of a head name, if a trusted proxy has sent it. A proxy sends requests of
/// many clients on one connection.
fn note_forwarded_client(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    head: &Head<'_>,
) {
    let trusted = &turn.node.trusted;
    if trusted.is_empty() || roster.conn(slot).listener != ListenerKind::Public {
        return;
    }
    let peer = roster.header_client(slot).map(|client| client.ip);
    let peer = peer.or_else(|| turn.io.peer_address(slot).map(|peer| peer.ip()));
    let client = named_client(&head.fields, trusted).filter(|_| trusted.contains(peer));
    roster.note_request_client(slot, client);
    note_traced_client(roster, turn, slot);
}

#[cfg(test)]
mod tests {
    use crate::base::listener::ListenerKind;
    use crate::base::settings::{RateSettings, Settings};
    use crate::fanout::stage_tests::Stage;

    /// How often a publish, a subscriber and a poll made the server ask for the address of a peer.
    fn peers_asked(settings: Settings) -> u32 {
        let mut stage = Stage::new(settings);
        let publisher = stage.open(ListenerKind::Control);
        stage.receive(publisher, "POST /publish?topic=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        stage.subscribe("topic=a");
        stage.subscribe("topic=a&wait_ms=1000");
        stage.io.peers_asked
    }

    #[test]
    fn addresses_are_asked_for_only_where_a_rate_counts_them() {
        assert_eq!(peers_asked(Settings::default()), 0, "each is a system call");
        let rates = RateSettings { address_requests_per_second: 9, ..RateSettings::default() };
        assert_eq!(peers_asked(Settings { rates, ..Settings::default() }), 2);
    }
}
