//! A connection's wait for a survey, as data: the survey, and the answer that it is made for.

use std::sync::Arc;

use super::budget::BudgetShare;
use super::reply_context::ReplyContext;
use super::survey::Survey;
use crate::base::survey::{ConnectionId, ConnectionsPage, ConnectionsQuery, TopicsQuery};

/// A connection's wait for a survey. Dropping it, as when the connection ends, abandons the survey.
#[derive(Debug)]
pub(crate) struct PendingSurvey {
    /// The survey under way.
    pub(crate) survey: Arc<Survey>,
    /// The answer that it is made for.
    pub(crate) goal: SurveyGoal,
    /// Shape of the answer; the operator's pages need no `Origin`.
    pub(crate) context: ReplyContext<'static>,
    /// Its place among the askers of the node, held and never read.
    _place: BudgetShare,
}

/// The answer that a survey is made for.
#[derive(Clone, Debug)]
pub(crate) enum SurveyGoal {
    /// A page of connections, in the survey that finds them.
    Find(ConnectionsQuery),
    /// A page of connections, complete but for the rows that the second survey describes.
    Describe(ConnectionsPage),
    /// A page of topics.
    Topics(TopicsQuery),
    /// The end of a connection.
    End(ConnectionId),
    /// Word that a topic has forgotten its events.
    Forget,
}

impl PendingSurvey {
    /// The wait of an asker that has a `place` among those of the node.
    pub(crate) fn new(
        survey: Arc<Survey>,
        goal: SurveyGoal,
        context: ReplyContext<'static>,
        place: BudgetShare,
    ) -> PendingSurvey {
        PendingSurvey { survey, goal, context, _place: place }
    }
}

impl Drop for PendingSurvey {
    fn drop(&mut self) {
        self.survey.abandon();
    }
}
