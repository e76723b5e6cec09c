//! The way of surveys between workers: a question to each, and word to the asker from the last one.
//!
//! ```text
//! asker ── ControlMessage::Survey ──► each worker: a slice a turn (`continue_walk`) ── submit_findings
//!   ▲                                                                                         │
//!   └────────────── ControlMessage::Surveyed, from the last worker ◄──────────────────────────┘
//! ```
//!
//! Functions over the node. Masks have a bit for each worker.

use std::sync::Arc;

use super::heavy_hitters;
use super::mail::ControlMessage;
use super::node::Node;
use super::survey::{Survey, SurveyFindings, SurveyQuestion};
use super::token::Asker;
use crate::base::limits::TOLD_ADDRESSES_MAX;

/// Sends a question to the workers of a mask. A worker with many messages waiting stands still: it gets no
/// question, and counts as one that has not answered.
pub(crate) fn send_survey(
    node: &Node,
    question: SurveyQuestion,
    asker: Option<Asker>,
    mask: u64,
) -> Arc<Survey> {
    let survey = Arc::new(Survey::new(question, asker, mask));
    for worker in (0..node.workers()).filter(|worker| mask & 1 << worker != 0) {
        let mailbox = node.hub.mailbox(worker);
        if mailbox.can_take_survey() {
            mailbox.send_control(ControlMessage::Survey(Arc::clone(&survey)));
        }
    }
    survey
}

/// Adds a worker's findings to a survey. Returns the workers that have mail of it.
pub(crate) fn submit_findings(node: &Node, survey: &Arc<Survey>, worker: usize, part: SurveyFindings) -> u64 {
    if !survey.add(worker, part) || survey.is_abandoned() {
        return 0;
    }
    match survey.asker() {
        Some(Asker { worker: asker, token }) => {
            node.hub.mailbox(asker).send_control(ControlMessage::Surveyed(token, Arc::clone(survey)));
            1 << asker
        }
        None => {
            let counts = survey.take_findings().addresses;
            node.set_top_addresses(heavy_hitters::select_largest(counts, TOLD_ADDRESSES_MAX));
            0
        }
    }
}

/// Begins a survey of client addresses. [`Node::top_addresses`] has the result once all workers have
/// answered. Returns the workers to wake.
pub fn count_addresses(node: &Node) -> u64 {
    let survey = send_survey(node, SurveyQuestion::Addresses, None, node.all_workers());
    if let Some(unfinished) = node.replace_address_survey(survey) {
        unfinished.abandon();
    }
    node.hub.claim_sleepers(node.all_workers())
}
