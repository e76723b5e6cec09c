//! Things outside of its worker that a connection waits for, as data. Each has a deadline in the wheel.

use super::pending_survey::PendingSurvey;
use super::reply_context::ReplyContext;

/// Something that a request waits for before it is answered.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// Findings of workers.
    Survey(Box<PendingSurvey>),
    /// The order of a publish.
    Ticket(Box<PendingTicket>),
    /// The word of the application about the request in the input; the number of the question.
    Verdict(u64),
}

/// A publisher's wait for its ticket. Dropping it leaves the event to the orderer, and nobody is told.
#[derive(Debug)]
pub(crate) struct PendingTicket {
    /// Number of the ticket.
    pub(crate) number: u64,
    /// Form of the answer.
    pub(crate) form: AnswerForm,
    /// Shape of the answer; publishers get no `Origin`.
    pub(crate) context: ReplyContext<'static>,
}

/// The form in which a publisher is told that its events were accepted.
#[derive(Clone, Debug)]
pub(crate) enum AnswerForm {
    /// One event, with a warning about its name, if one needs it.
    Single { warning: Option<String> },
    /// A batch, with a warning about its names.
    Batch { warning: Option<String> },
    /// The benchmark's own.
    Broadcast,
}
