//! The data of a worker's walk through a survey: its place, and the findings so far. `survey_walk` moves it.

use std::cmp::Reverse;
use std::sync::Arc;

use super::heavy_hitters::HeavyHitters;
use super::hub::TopicForgetting;
use super::survey::{PlacedRow, RankedConnection, Survey};
use super::top_k::TopK;
use crate::base::survey::{ConnectionSort, TopicRow, TopicSort};

/// A worker's progress with a survey.
#[derive(Debug)]
pub(super) struct SurveyWalk {
    pub(super) survey: Arc<Survey>,
    /// How far it is.
    pub(super) place: WalkPlace,
    /// Findings so far.
    pub(super) seen: WalkFindings,
}

/// How far a walk is.
#[derive(Debug, Default)]
pub(super) struct WalkPlace {
    /// Next slot, topic or place in the question.
    pub(super) cursor: usize,
    /// Number of connections or topics seen.
    pub(super) total: u64,
}

/// Findings of a walk so far, by its question.
#[derive(Debug)]
pub(super) enum WalkFindings {
    Ranked(ConnectionSort, TopK<RankedConnection>),
    Rows(Vec<PlacedRow>),
    Addresses(HeavyHitters),
    Topics(TopicSort, TopK<(Reverse<u64>, TopicByName)>),
    Forgotten(TopicForgetting),
}

/// A topic in the order of its name.
#[derive(Debug)]
pub(super) struct TopicByName(pub(super) TopicRow);

impl PartialEq for TopicByName {
    fn eq(&self, other: &TopicByName) -> bool {
        self.0.topic == other.0.topic
    }
}

impl Eq for TopicByName {}

impl PartialOrd for TopicByName {
    fn partial_cmp(&self, other: &TopicByName) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TopicByName {
    fn cmp(&self, other: &TopicByName) -> std::cmp::Ordering {
        self.0.topic.cmp(&other.0.topic)
    }
}
