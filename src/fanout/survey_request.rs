//! Questions of the operator: a survey is sent, the connection waits for it, its answer is a page.
//!
//! `/connections` takes two surveys: the first finds which connections the page shows, the second describes
//! only those. Each has a deadline; what has come by then is the answer, and who has not answered is named.

use std::sync::Arc;

use super::conn::{Phase, State, Then, Token};
use super::http::{Asked, Flow};
use super::node::Node;
use super::survey::{Question, Ranked, Survey};
use super::worker::Worker;
use crate::base::counters::{CloseReason, RefusalReason};
use crate::base::limits::{SURVEY_FIND_MS, SURVEY_TELL_MS};
use crate::base::survey::{
    ConnectionId, ConnectionsPage, ConnectionsQuery, PageRange, TopicsPage, TopicsQuery,
};
use crate::base::time::ticks_of_ms;
use crate::wire::problem::Problem;
use crate::wire::reply;

/// A connection's wait for a survey. Dropped with the connection, and the survey with it.
#[derive(Debug)]
pub struct Pursuit {
    node: Arc<Node>,
    survey: Arc<Survey>,
    goal: Goal,
    /// Whether the request was HTTP/1.1, asked to keep the connection, was `HEAD`.
    asked: [bool; 3],
}

/// What the answer is to be.
#[derive(Clone, Debug)]
enum Goal {
    /// Connections are being found.
    Find(ConnectionsQuery),
    /// Those that were found are being described; the page lacks only them.
    Tell(ConnectionsPage),
    Topics(TopicsQuery),
    End(ConnectionId),
}

impl Drop for Pursuit {
    fn drop(&mut self) {
        self.survey.drop_it();
        self.node.surveys.give(1);
    }
}

impl Worker {
    /// `GET /connections`
    pub(super) fn ask_connections(&mut self, slot: u32, asked: Asked<'_>, query: ConnectionsQuery) -> Flow {
        let question = Question::Rank(query.sort, query.paging.offset + query.paging.limit);
        self.pursue(slot, asked, Goal::Find(query), question, self.node.all_workers())
    }

    /// `GET /topics`
    pub(super) fn ask_topics(&mut self, slot: u32, asked: Asked<'_>, query: TopicsQuery) -> Flow {
        let question = Question::Topics(query.sort, query.paging.offset + query.paging.limit);
        self.pursue(slot, asked, Goal::Topics(query), question, 1 << self.index)
    }

    /// `DELETE /connections/{id}`
    pub(super) fn ask_end(&mut self, slot: u32, asked: Asked<'_>, id: ConnectionId) -> Flow {
        if id == self.id(slot, &self.conns[slot as usize]) {
            // Its own: answered first.
            let flow = self.answer(slot, Asked { keep_alive: false, ..asked }, reply::append_no_content);
            self.talk(slot).then = Then::Linger(CloseReason::Operator);
            return flow;
        }
        if id.worker as usize >= self.node.workers() {
            return self.answer_problem(slot, asked, &Problem::NoSuchConnection);
        }
        self.pursue(slot, asked, Goal::End(id), Question::End(id), 1 << id.worker)
    }

    fn pursue(&mut self, slot: u32, asked: Asked<'_>, goal: Goal, question: Question, mask: u64) -> Flow {
        if !self.node.surveys.take(1) {
            return self.refuse(slot, asked, RefusalReason::Surveys);
        }
        let token = self.token(slot);
        let node = Arc::clone(&self.node);
        let (survey, wake) = node.survey(question, Some((self.index, token)), mask);
        self.wake |= wake;
        let asked = [asked.http11, asked.keep_alive, asked.head_only];
        self.talk(slot).phase = Phase::Surveying(Box::new(Pursuit { node, survey, goal, asked }));
        self.set_due(slot, self.now.tick().saturating_add(ticks_of_ms(SURVEY_FIND_MS)));
        Flow::Wait
    }

    /// All have handed in for a connection's survey, if it still waits for this one.
    pub(super) fn surveyed(&mut self, token: Token, survey: &Arc<Survey>) {
        if !self.owns(token) {
            return;
        }
        let State::Talking(talk) = &self.conns[token.slot() as usize].state else { return };
        if let Phase::Surveying(pursuit) = &talk.phase
            && Arc::ptr_eq(&pursuit.survey, survey)
        {
            self.conclude(token.slot());
        }
    }

    /// A survey is complete, or its time is over: on with what has come.
    pub(super) fn conclude(&mut self, slot: u32) {
        let talk = self.talk(slot);
        let Phase::Surveying(pursuit) = std::mem::replace(&mut talk.phase, Phase::Head) else {
            unreachable!("called only in this phase");
        };
        let left = pursuit.survey.left();
        let missing = (0..self.node.workers()).filter(|worker| left & 1 << worker != 0).collect();
        let found = pursuit.survey.take_found();
        let [http11, keep_alive, head_only] = pursuit.asked;
        let asked = Asked { http11, keep_alive, head_only, origin: None };
        let pages = self.node.pages();
        let text = match pursuit.goal.clone() {
            Goal::Find(query) => {
                let ids = page_of(found.ranked, query.paging);
                let page =
                    ConnectionsPage { query, total: found.total, rows: Vec::new(), incomplete: missing };
                if !ids.is_empty() {
                    return self.tell(slot, pursuit, page, ids);
                }
                (pages.connections)(&page)
            }
            Goal::Tell(mut page) => {
                let mut rows = found.rows;
                rows.sort_unstable_by_key(|(place, _)| *place);
                page.rows = rows.into_iter().map(|(_, row)| row).collect();
                page.incomplete.extend(missing);
                page.incomplete.sort_unstable();
                page.incomplete.dedup();
                (pages.connections)(&page)
            }
            Goal::Topics(query) => {
                let paging = query.paging;
                let rows = found.topics.into_iter().skip(paging.offset).take(paging.limit).collect();
                let page = TopicsPage { query, total: found.total, rows, incomplete: left != 0 };
                (pages.topics)(&page)
            }
            Goal::End(id) => {
                drop(pursuit);
                return self.answer_end(slot, asked, id, left == 0, found.ended);
            }
        };
        drop(pursuit);
        let flow = self.answer(slot, asked, |out, reply| reply::append_json(out, reply, &text));
        self.resume(slot, &flow);
    }

    /// The second survey of `/connections`.
    fn tell(&mut self, slot: u32, mut pursuit: Box<Pursuit>, page: ConnectionsPage, ids: Vec<ConnectionId>) {
        let mask = ids.iter().fold(0, |mask, id| mask | 1 << id.worker);
        let question = Question::Describe(ids);
        let (survey, wake) = self.node.survey(question, Some((self.index, self.token(slot))), mask);
        self.wake |= wake;
        std::mem::replace(&mut pursuit.survey, survey).drop_it();
        pursuit.goal = Goal::Tell(page);
        self.talk(slot).phase = Phase::Surveying(pursuit);
        self.set_due(slot, self.now.tick().saturating_add(ticks_of_ms(SURVEY_TELL_MS)));
    }

    fn answer_end(&mut self, slot: u32, asked: Asked<'_>, id: ConnectionId, told: bool, ended: bool) {
        let flow = match (told, ended) {
            (true, true) => self.answer(slot, asked, reply::append_no_content),
            (true, false) => self.answer_problem(slot, asked, &Problem::NoSuchConnection),
            (false, _) => {
                self.answer_problem(slot, asked, &Problem::WorkerLate { worker: id.worker as usize })
            }
        };
        self.resume(slot, &flow);
    }

    /// After an answer that was not given at once.
    fn resume(&mut self, slot: u32, flow: &Flow) {
        if let Flow::Next(_) = flow {
            self.settle(slot);
        }
    }
}

/// The connections of a page, of all that the workers have put first.
fn page_of(mut ranked: Vec<Ranked>, paging: PageRange) -> Vec<ConnectionId> {
    let most = paging.offset + paging.limit;
    if ranked.len() > most {
        // Only what may be shown is worth sorting.
        ranked.select_nth_unstable(most);
        ranked.truncate(most);
    }
    ranked.sort_unstable();
    ranked.iter().skip(paging.offset).map(|ranked| ranked.id).collect()
}
