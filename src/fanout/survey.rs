//! One question to several workers, and what they have handed in so far.
//!
//! ```text
//! asker ── Control::Survey ──► each worker: a slice a turn (`walk`) ── hand_in ──► the last tells the asker
//! ```
//!
//! Nobody waits for anybody: an asker has a deadline, after which whoever has not handed in is named, and an
//! asker who is gone or has answered has dropped the survey, so that workers stop. Shared by an `Arc`, so a
//! worker that stands still and comes to it in an hour finds a question that nobody asks any more.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::conn::ConnToken;
use super::heavy_hitters;
use super::mail::ControlMessage;
use super::node::Node;
use crate::base::limits::TOLD_ADDRESSES_MAX;
use crate::base::survey::{AddressCount, ConnectionId, ConnectionRow, ConnectionSort, TopicRow, TopicSort};

/// What is asked.
#[derive(Clone, Debug)]
pub enum SurveyQuestion {
    /// The first so many connections in an order.
    #[allow(missing_docs, reason = "the names say it")]
    Rank { sort: ConnectionSort, most: usize },
    /// All about these connections.
    Describe(Vec<ConnectionId>),
    /// To end this connection.
    End(ConnectionId),
    /// From where the connections come.
    Addresses,
    /// The first so many topics in an order. Asked of one worker only: topics are the node's.
    #[allow(missing_docs, reason = "the names say it")]
    Topics { sort: TopicSort, most: usize },
}

/// A connection and its place in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RankedConnection {
    /// Larger comes first.
    pub key: Reverse<u128>,
    /// Then by this, so that pages fit together.
    pub id: ConnectionId,
}

/// A connection's row and its place on the page.
#[derive(Debug)]
pub struct PlacedRow {
    /// Index of the connection in [`SurveyQuestion::Describe`].
    pub place: usize,
    /// Description of the connection.
    pub row: ConnectionRow,
}

/// A connection that waits for a survey.
#[derive(Clone, Copy, Debug)]
pub struct SurveyAsker {
    /// Index of its worker.
    pub worker: usize,
    /// Its name there.
    pub token: ConnToken,
}

/// What workers have found.
#[derive(Debug, Default)]
pub struct SurveyFindings {
    /// Connections or topics looked at.
    pub total: u64,
    /// Of [`SurveyQuestion::Rank`].
    pub ranked: Vec<RankedConnection>,
    /// Of [`SurveyQuestion::Describe`], with their places in the question.
    pub rows: Vec<PlacedRow>,
    /// Of [`SurveyQuestion::Topics`].
    pub topics: Vec<TopicRow>,
    /// Of [`SurveyQuestion::Addresses`].
    pub addresses: Vec<AddressCount>,
    /// Of [`SurveyQuestion::End`]: there was such a connection.
    pub ended: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Survey {
    /// What is asked.
    pub question: SurveyQuestion,
    /// The connection that waits for it, and its worker; none for the node itself.
    asker: Option<SurveyAsker>,
    /// Workers that have not handed in, a bit each.
    left: AtomicU64,
    dropped: AtomicBool,
    found: Mutex<SurveyFindings>,
}

impl Survey {
    /// Workers that have not handed in.
    pub fn pending_workers(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Nobody wants the answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    /// From now on it is not worth any work.
    pub fn abandon(&self) {
        self.dropped.store(true, Ordering::Relaxed);
        *self.findings() = SurveyFindings::default();
    }

    /// What has been handed in.
    pub fn take_findings(&self) -> SurveyFindings {
        std::mem::take(&mut *self.findings())
    }

    fn findings(&self) -> MutexGuard<'_, SurveyFindings> {
        self.found.lock().expect("a panic ends the process")
    }

    /// Adds a worker's findings. Returns whether it was the last one.
    fn add(&self, worker: usize, mut part: SurveyFindings) -> bool {
        let mut found = self.findings();
        if !self.is_abandoned() {
            found.total += part.total;
            found.ranked.append(&mut part.ranked);
            found.rows.append(&mut part.rows);
            found.topics.append(&mut part.topics);
            found.addresses.append(&mut part.addresses);
            found.ended |= part.ended;
        }
        drop(found);
        let bit = 1 << worker;
        self.left.fetch_and(!bit, Ordering::AcqRel) == bit
    }
}

impl Node {
    /// Asks the workers of a mask. Returns those to wake. A worker with many messages waiting stands still;
    /// it is not asked, and counts as one that has not answered.
    pub fn send_survey(
        &self,
        question: SurveyQuestion,
        asker: Option<SurveyAsker>,
        mask: u64,
    ) -> (Arc<Survey>, u64) {
        let found = Mutex::new(SurveyFindings::default());
        let (left, dropped) = (AtomicU64::new(mask), AtomicBool::new(false));
        let survey = Arc::new(Survey { question, asker, left, dropped, found });
        for worker in (0..self.workers()).filter(|worker| mask & 1 << worker != 0) {
            let mailbox = self.hub.mailbox(worker);
            if mailbox.can_take_survey() {
                mailbox.send_control(ControlMessage::Survey(Arc::clone(&survey)));
            }
        }
        (survey, self.hub.claim_sleepers(mask))
    }

    /// A worker has done its part. Returns workers to wake.
    pub(super) fn submit_findings(&self, survey: &Arc<Survey>, worker: usize, part: SurveyFindings) -> u64 {
        if !survey.add(worker, part) || survey.is_abandoned() {
            return 0;
        }
        match survey.asker {
            Some(SurveyAsker { worker: asker, token }) => {
                self.hub.mailbox(asker).send_control(ControlMessage::Surveyed(token, Arc::clone(survey)));
                self.hub.claim_sleepers(1 << asker)
            }
            None => {
                let counts = survey.take_findings().addresses;
                *self.counted_addresses() = heavy_hitters::largest(counts, TOLD_ADDRESSES_MAX);
                0
            }
        }
    }

    /// Asks all workers from where their connections come; [`Node::top_addresses`] tells once all have
    /// answered. Returns those to wake.
    pub fn count_addresses(&self) -> u64 {
        let (survey, wake) = self.send_survey(SurveyQuestion::Addresses, None, self.all_workers());
        if let Some(unfinished) = self.address_survey().replace(survey) {
            unfinished.abandon();
        }
        wake
    }

    /// They were counted too long ago to be told.
    pub fn forget_addresses(&self) {
        self.counted_addresses().clear();
    }

    /// The addresses with most connections when they were last counted.
    pub fn top_addresses(&self) -> Vec<AddressCount> {
        self.counted_addresses().clone()
    }
}
