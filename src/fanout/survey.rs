//! One question to several workers, and the findings they have submitted so far. Plain data: `survey_mail`
//! sends it around.
//!
//! Nothing waits for a worker: an asker has a deadline, after which its answer names the workers that have
//! not submitted. An asker that is gone or has answered abandons the survey, so that workers stop. The survey
//! is shared by an `Arc`: a worker that stands still for an hour then finds it abandoned.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::token::Asker;
use crate::base::survey::{
    AddressCount, ConnectionFilter, ConnectionId, ConnectionRow, ConnectionSort, SearchText, TopicRow,
    TopicSort,
};

/// A question to workers.
#[derive(Clone, Debug)]
pub(crate) enum SurveyQuestion {
    /// The first `most` connections in an order.
    #[allow(missing_docs, reason = "the names say it")]
    Rank { sort: ConnectionSort, filter: ConnectionFilter, most: usize },
    /// Rows of these connections.
    Describe(Vec<ConnectionId>),
    /// A request to end this connection.
    End(ConnectionId),
    /// The client addresses with the most connections.
    Addresses,
    /// A request to forget the events that the topic of this name keeps. Sent to one worker only.
    Forget(Box<str>),
    /// The first `most` topics in an order. Sent to one worker only: topics are the node's.
    #[allow(missing_docs, reason = "the names say it")]
    Topics { sort: TopicSort, search: Option<SearchText>, most: usize },
}

/// A connection and its place in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RankedConnection {
    /// Sort key, the larger first.
    pub(crate) key: Reverse<u128>,
    /// Tie-breaker, so that pages fit together.
    pub(crate) id: ConnectionId,
}

/// A connection's row and its place on the page.
#[derive(Debug)]
pub(crate) struct PlacedRow {
    /// Index of the connection in [`SurveyQuestion::Describe`].
    pub(crate) place: usize,
    /// Description of the connection.
    pub(crate) row: ConnectionRow,
}

/// Answers of workers to a question, added up.
#[derive(Debug, Default)]
pub(crate) struct SurveyFindings {
    /// Number of connections or topics looked at.
    pub(crate) total: u64,
    /// Answer to [`SurveyQuestion::Rank`], unsorted.
    pub(crate) ranked: Vec<RankedConnection>,
    /// Answer to [`SurveyQuestion::Describe`], unsorted.
    pub(crate) rows: Vec<PlacedRow>,
    /// Answer to [`SurveyQuestion::Topics`], in order.
    pub(crate) topics: Vec<TopicRow>,
    /// Answer to [`SurveyQuestion::Addresses`], in no order.
    pub(crate) addresses: Vec<AddressCount>,
    /// Answer to [`SurveyQuestion::End`]: there was such a connection.
    pub(crate) ended: bool,
    /// Answer to [`SurveyQuestion::Forget`]: events that the topic has let go; none without such a topic.
    pub(crate) forgotten: Option<u64>,
}

/// A question under way, shared by its asker and the workers.
#[derive(Debug)]
pub struct Survey {
    /// The question, the same for all workers.
    pub(crate) question: SurveyQuestion,
    /// The connection that waits for it; none for the node itself.
    asker: Option<Asker>,
    /// A bit for each worker that has not submitted.
    left: AtomicU64,
    dropped: AtomicBool,
    found: Mutex<SurveyFindings>,
}

impl Survey {
    /// A question to the workers of a mask, of which none has submitted.
    pub(crate) fn new(question: SurveyQuestion, asker: Option<Asker>, mask: u64) -> Survey {
        let found = Mutex::new(SurveyFindings::default());
        let (left, dropped) = (AtomicU64::new(mask), AtomicBool::new(false));
        Survey { question, asker, left, dropped, found }
    }

    /// Returns the connection that waits for it; none for the node itself.
    pub(crate) fn asker(&self) -> Option<Asker> {
        self.asker
    }

    /// Returns a bit for each worker that has not submitted its findings.
    pub(crate) fn pending_workers(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Whether the asker no longer wants the answer.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Tells workers to stop, and forgets the findings.
    pub(crate) fn abandon(&self) {
        self.dropped.store(true, Ordering::Relaxed);
        *self.findings() = SurveyFindings::default();
    }

    /// Takes the findings submitted so far.
    pub(crate) fn take_findings(&self) -> SurveyFindings {
        std::mem::take(&mut *self.findings())
    }

    fn findings(&self) -> MutexGuard<'_, SurveyFindings> {
        self.found.lock().expect("a panic ends the process")
    }

    /// Adds a worker's findings. Returns whether that worker was the last one.
    pub(crate) fn add(&self, worker: usize, mut part: SurveyFindings) -> bool {
        let mut found = self.findings();
        if !self.is_abandoned() {
            found.total += part.total;
            found.ranked.append(&mut part.ranked);
            found.rows.append(&mut part.rows);
            found.topics.append(&mut part.topics);
            found.addresses.append(&mut part.addresses);
            found.ended |= part.ended;
            found.forgotten = found.forgotten.or(part.forgotten);
        }
        drop(found);
        let bit = 1 << worker;
        self.left.fetch_and(!bit, Ordering::AcqRel) == bit
    }
}
