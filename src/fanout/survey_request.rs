//! The operator's requests that need a survey: the connection waits for it, and the answer is a page.
//!
//! `/connections` takes two surveys: the first finds the connections of the page, the second describes only
//! those. Each has a deadline. The answer holds all findings by then, and names the workers without any.

use std::sync::Arc;

use super::awaited::Awaited;
use super::budget::BudgetShare;
use super::conn::{ConnState, ConnToken};
use super::exchange::{AfterAnswer, ExchangePhase};
use super::http::RequestFlow;
use super::pending_survey::{PendingSurvey, SurveyGoal};
use super::reply_context::ReplyContext;
use super::survey::{RankedConnection, Survey, SurveyQuestion};
use super::survey_mail::send_survey;
use super::token::Asker;
use super::worker::Worker;
use crate::base::counters::{CloseReason, RefusalReason};
use crate::base::limits::{SURVEY_FIND_MS, SURVEY_TELL_MS};
use crate::base::survey::{
    ConnectionId, ConnectionsPage, ConnectionsQuery, PageRange, TopicsPage, TopicsQuery,
};
use crate::base::time::ticks_of_ms;
use crate::wire::problem::Problem;
use crate::wire::reply;

impl Worker {
    /// Begins the answer to `GET /connections`.
    pub(super) fn ask_connections(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        query: ConnectionsQuery,
    ) -> RequestFlow {
        let most = query.paging.offset + query.paging.limit;
        let question = SurveyQuestion::Rank { sort: query.sort, filter: query.filter.clone(), most };
        self.begin_survey(slot, context, SurveyGoal::Find(query), question, self.node.all_workers())
    }

    /// Begins the answer to `GET /topics`.
    pub(super) fn ask_topics(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        query: TopicsQuery,
    ) -> RequestFlow {
        let most = query.paging.offset + query.paging.limit;
        let question = SurveyQuestion::Topics { sort: query.sort, search: query.search.clone(), most };
        self.begin_survey(slot, context, SurveyGoal::Topics(query), question, 1 << self.index)
    }

    /// Begins the answer to `DELETE /connections/{id}`.
    pub(super) fn ask_end(&mut self, slot: u32, context: ReplyContext<'_>, id: ConnectionId) -> RequestFlow {
        if id == self.connection_id(slot, self.roster.conn(slot)) {
            // The request's own connection: answered first.
            let flow =
                self.answer(slot, ReplyContext { keep_alive: false, ..context }, reply::append_no_content);
            self.roster.exchange_mut(slot).after = AfterAnswer::Linger(CloseReason::Operator);
            return flow;
        }
        if id.worker as usize >= self.node.workers() {
            return self.answer_problem(slot, context, &Problem::NoSuchConnection);
        }
        self.begin_survey(slot, context, SurveyGoal::End(id), SurveyQuestion::End(id), 1 << id.worker)
    }

    fn begin_survey(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        goal: SurveyGoal,
        question: SurveyQuestion,
        mask: u64,
    ) -> RequestFlow {
        let Some(place) = BudgetShare::try_take(&self.node.surveys, 1) else {
            return self.refuse(slot, context, RefusalReason::Surveys);
        };
        let survey = send_survey(&self.node, question, Some(self.asker(slot)), mask);
        self.mailed |= mask;
        let context = context.without_origin();
        self.roster.exchange_mut(slot).phase = ExchangePhase::Awaiting(Awaited::Survey(Box::new(
            PendingSurvey::new(survey, goal, context, place),
        )));
        self.roster.arm(slot, self.now.tick().saturating_add(ticks_of_ms(SURVEY_FIND_MS)));
        RequestFlow::Await(0)
    }

    /// Names a connection to the workers that answer it later.
    pub(super) fn asker(&self, slot: u32) -> Asker {
        Asker { worker: self.index, token: self.roster.token(slot) }
    }

    /// Answers a connection whose survey is complete, if it still waits for this one.
    pub(super) fn answer_completed_survey(&mut self, token: ConnToken, survey: &Arc<Survey>) {
        if !self.roster.owns(token) {
            return;
        }
        let ConnState::Requesting(exchange) = &self.roster.conn(token.slot()).state else { return };
        if let ExchangePhase::Awaiting(Awaited::Survey(pending)) = &exchange.phase
            && Arc::ptr_eq(&pending.survey, survey)
        {
            self.finish_survey(token.slot());
        }
    }

    /// Answers with the findings so far: the survey is complete, or its deadline has passed.
    pub(super) fn finish_survey(&mut self, slot: u32) {
        let exchange = self.roster.exchange_mut(slot);
        let ExchangePhase::Awaiting(Awaited::Survey(pending)) =
            std::mem::replace(&mut exchange.phase, ExchangePhase::Head)
        else {
            unreachable!("called only in this phase");
        };
        let left = pending.survey.pending_workers();
        let missing = (0..self.node.workers()).filter(|worker| left & 1 << worker != 0).collect();
        let found = pending.survey.take_findings();
        let context = pending.context;
        let pages = self.node.pages();
        let text = match pending.goal.clone() {
            SurveyGoal::Find(query) => {
                let ids = select_page(found.ranked, query.paging);
                let page =
                    ConnectionsPage { query, total: found.total, rows: Vec::new(), incomplete: missing };
                if !ids.is_empty() {
                    return self.describe_page(slot, pending, page, ids);
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
                return self.answer_end(slot, context, id, left == 0, found.ended);
            }
        };
        drop(pending);
        let flow = self.answer(slot, context, |out, reply| reply::append_json(out, reply, &text));
        self.finish_late_answer(slot, &flow);
    }

    /// Begins the second survey of `/connections`.
    fn describe_page(
        &mut self,
        slot: u32,
        mut pending: Box<PendingSurvey>,
        page: ConnectionsPage,
        ids: Vec<ConnectionId>,
    ) {
        let mask = ids.iter().fold(0, |mask, id| mask | 1 << id.worker);
        let question = SurveyQuestion::Describe(ids);
        let survey = send_survey(&self.node, question, Some(self.asker(slot)), mask);
        self.mailed |= mask;
        std::mem::replace(&mut pending.survey, survey).abandon();
        pending.goal = SurveyGoal::Describe(page);
        self.roster.exchange_mut(slot).phase = ExchangePhase::Awaiting(Awaited::Survey(pending));
        self.roster.arm(slot, self.now.tick().saturating_add(ticks_of_ms(SURVEY_TELL_MS)));
    }

    fn answer_end(
        &mut self,
        slot: u32,
        context: ReplyContext<'_>,
        id: ConnectionId,
        answered: bool,
        ended: bool,
    ) {
        let flow = match (answered, ended) {
            (true, true) => self.answer(slot, context, reply::append_no_content),
            (true, false) => self.answer_problem(slot, context, &Problem::NoSuchConnection),
            (false, _) => {
                self.answer_problem(slot, context, &Problem::WorkerLate { worker: id.worker as usize })
            }
        };
        self.finish_late_answer(slot, &flow);
    }

    /// Lets the connection go on after an answer that was not given at once.
    pub(super) fn finish_late_answer(&mut self, slot: u32, flow: &RequestFlow) {
        if let RequestFlow::Answered(_) = flow {
            self.queue_answers(slot);
        }
    }
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
