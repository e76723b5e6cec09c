//! The operator's requests that need a survey: the connection waits for it, and the answer is a page.
//!
//! `/connections` takes two surveys: the first finds the connections of the page, the second describes only
//! those. Each has a deadline. The answer holds all findings by then, and names the workers without any.

use std::sync::Arc;

use super::answers::{RequestFlow, answer, answer_json, answer_problem, finish_late_answer, refuse};
use super::awaited::Awaited;
use super::budget::BudgetShare;
use super::conn::{ConnState, ConnToken};
use super::exchange::{AfterAnswer, ExchangePhase};
use super::pending_survey::{PendingSurvey, SurveyGoal};
use super::reply_context::ReplyContext;
use super::roster::Roster;
use super::seam::Io;
use super::survey::{RankedConnection, Survey, SurveyQuestion};
use super::survey_mail::send_survey;
use super::turn_context::TurnContext;
use crate::base::counters::{CloseReason, RefusalReason};
use crate::base::limits::{SURVEY_FIND_MS, SURVEY_TELL_MS};
use crate::base::survey::{
    ConnectionId, ConnectionsPage, ConnectionsQuery, PageRange, TopicsPage, TopicsQuery,
};
use crate::wire::problem::Problem;
use crate::wire::reply;

/// Begins the answer to `GET /connections`.
pub(super) fn ask_connections(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    query: ConnectionsQuery,
) -> RequestFlow {
    let most = query.paging.offset + query.paging.limit;
    let question = SurveyQuestion::Rank { sort: query.sort, filter: query.filter.clone(), most };
    begin_survey(roster, turn, slot, context, SurveyGoal::Find(query), question, turn.node.all_workers())
}

/// Begins the answer to `GET /topics`.
pub(super) fn ask_topics(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    query: TopicsQuery,
) -> RequestFlow {
    let most = query.paging.offset + query.paging.limit;
    let question = SurveyQuestion::Topics { sort: query.sort, search: query.search.clone(), most };
    begin_survey(roster, turn, slot, context, SurveyGoal::Topics(query), question, 1 << turn.index)
}

/// Begins the answer to `DELETE /connections/{id}`.
pub(super) fn ask_end(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    id: ConnectionId,
) -> RequestFlow {
    if id == turn.connection_id(slot, roster.conn(slot)) {
        // The request's own connection: answered first.
        let flow = answer(
            roster,
            turn,
            slot,
            ReplyContext { keep_alive: false, ..context },
            reply::append_no_content,
        );
        roster.exchange_mut(slot).after = AfterAnswer::Linger(CloseReason::Operator);
        return flow;
    }
    if id.worker as usize >= turn.node.workers() {
        return answer_problem(roster, turn, slot, context, &Problem::NoSuchConnection);
    }
    begin_survey(roster, turn, slot, context, SurveyGoal::End(id), SurveyQuestion::End(id), 1 << id.worker)
}

/// Begins the answer to `DELETE /topics`.
pub(super) fn ask_forgetting(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    topic: Box<str>,
) -> RequestFlow {
    let question = SurveyQuestion::Forget(topic);
    begin_survey(roster, turn, slot, context, SurveyGoal::Forget, question, 1 << turn.index)
}

fn begin_survey(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    goal: SurveyGoal,
    question: SurveyQuestion,
    mask: u64,
) -> RequestFlow {
    let Some(place) = BudgetShare::try_take(&turn.node.surveys, 1) else {
        return refuse(roster, turn, slot, context, RefusalReason::Surveys);
    };
    let survey = send_survey(turn.node, question, Some(turn.asker(roster.token(slot))), mask);
    turn.carried.note_mailed(mask);
    let context = context.without_origin();
    roster.exchange_mut(slot).phase =
        ExchangePhase::Awaiting(Awaited::Survey(Box::new(PendingSurvey::new(survey, goal, context, place))));
    roster.arm(slot, turn.tick_after_ms(SURVEY_FIND_MS));
    RequestFlow::Await(0)
}

/// Answers a connection whose survey is complete, if it still waits for this one.
pub(super) fn answer_completed_survey(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    token: ConnToken,
    survey: &Arc<Survey>,
) {
    if !roster.owns(token) {
        return;
    }
    let ConnState::Requesting(exchange) = &roster.conn(token.slot()).state else { return };
    if let ExchangePhase::Awaiting(Awaited::Survey(pending)) = &exchange.phase
        && Arc::ptr_eq(&pending.survey, survey)
    {
        finish_survey(roster, turn, token.slot());
    }
}

/// Answers with the findings so far: the survey is complete, or its deadline has passed.
pub(super) fn finish_survey(roster: &mut Roster, turn: &mut TurnContext<'_, impl Io>, slot: u32) {
    let exchange = roster.exchange_mut(slot);
    let ExchangePhase::Awaiting(Awaited::Survey(pending)) =
        std::mem::replace(&mut exchange.phase, ExchangePhase::Head)
    else {
        unreachable!("called only in this phase");
    };
    let left = pending.survey.pending_workers();
    let missing = (0..turn.node.workers()).filter(|worker| left & 1 << worker != 0).collect();
    let found = pending.survey.take_findings();
    let context = pending.context;
    let pages = turn.node.pages();
    let text = match pending.goal.clone() {
        SurveyGoal::Find(query) => {
            let ids = select_page(found.ranked, query.paging);
            let page = ConnectionsPage { query, total: found.total, rows: Vec::new(), incomplete: missing };
            if !ids.is_empty() {
                return describe_page(roster, turn, slot, pending, page, ids);
            }
            (pages.connections)(&page)
        }
        SurveyGoal::Describe(mut page) => {
            let mut rows = found.rows;
            rows.sort_unstable_by_key(|row| row.place);
            page.rows = rows.into_iter().map(|placed| placed.row).collect();
            page.incomplete.extend(missing);
            page.incomplete.sort_unstable();
            page.incomplete.dedup();
            (pages.connections)(&page)
        }
        SurveyGoal::Topics(query) => {
            let paging = query.paging;
            let rows = found.topics.into_iter().skip(paging.offset).take(paging.limit).collect();
            let page = TopicsPage { query, total: found.total, rows, incomplete: left != 0 };
            (pages.topics)(&page)
        }
        SurveyGoal::End(id) => {
            drop(pending);
            return answer_end(roster, turn, slot, context, id, left == 0, found.ended);
        }
        SurveyGoal::Forget => {
            drop(pending);
            return answer_forgotten(roster, turn, slot, context, left == 0, found.forgotten);
        }
    };
    drop(pending);
    let flow = answer(roster, turn, slot, context, |out, reply| reply::append_json(out, reply, &text));
    finish_late_answer(roster, turn, slot, &flow);
}

/// Begins the second survey of `/connections`.
fn describe_page(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    mut pending: Box<PendingSurvey>,
    page: ConnectionsPage,
    ids: Vec<ConnectionId>,
) {
    let mask = ids.iter().fold(0, |mask, id| mask | 1 << id.worker);
    let question = SurveyQuestion::Describe(ids);
    let survey = send_survey(turn.node, question, Some(turn.asker(roster.token(slot))), mask);
    turn.carried.note_mailed(mask);
    std::mem::replace(&mut pending.survey, survey).abandon();
    pending.goal = SurveyGoal::Describe(page);
    roster.exchange_mut(slot).phase = ExchangePhase::Awaiting(Awaited::Survey(pending));
    roster.arm(slot, turn.tick_after_ms(SURVEY_TELL_MS));
}

fn answer_end(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    id: ConnectionId,
    answered: bool,
    ended: bool,
) {
    let flow = match (answered, ended) {
        (true, true) => answer(roster, turn, slot, context, reply::append_no_content),
        (true, false) => answer_problem(roster, turn, slot, context, &Problem::NoSuchConnection),
        (false, _) => {
            answer_problem(roster, turn, slot, context, &Problem::WorkerLate { worker: id.worker as usize })
        }
    };
    finish_late_answer(roster, turn, slot, &flow);
}

fn answer_forgotten(
    roster: &mut Roster,
    turn: &mut TurnContext<'_, impl Io>,
    slot: u32,
    context: ReplyContext<'_>,
    answered: bool,
    forgotten: Option<u64>,
) {
    let flow = match (answered, forgotten) {
        (true, Some(events)) => {
            answer_json(roster, turn, slot, context, 200, &format!("{{\"events\":{events}}}"))
        }
        (true, None) => answer_problem(roster, turn, slot, context, &Problem::NoSuchTopic),
        (false, _) => {
            answer_problem(roster, turn, slot, context, &Problem::WorkerLate { worker: turn.index })
        }
    };
    finish_late_answer(roster, turn, slot, &flow);
}

/// Selects the connections of a page from those that the workers ranked first.
fn select_page(mut ranked: Vec<RankedConnection>, paging: PageRange) -> Vec<ConnectionId> {
    let most = paging.offset + paging.limit;
    if ranked.len() > most {
        // The page can show only these.
        ranked.select_nth_unstable(most);
        ranked.truncate(most);
    }
    ranked.sort_unstable();
    ranked.iter().skip(paging.offset).map(|ranked| ranked.id).collect()
}
