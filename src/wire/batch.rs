//! An NDJSON batch: one JSON object a line, each an event to publish.
//!
//! All or nothing: one bad line spoils the batch. What is not a string is kept as the publisher wrote it, but
//! for white space.

use crate::wire::problem::Problem;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// At least one; order kept, duplicates dropped.
    pub topics: Vec<Box<str>>,
    /// Event name; never empty.
    pub event: Option<Box<str>>,
    /// Key for latest-per-key; never empty.
    pub key: Option<Box<str>>,
    /// Reconnection time to tell subscribers with the event.
    pub retry_ms: Option<u64>,
    /// The payload.
    pub data: String,
}

/// Reads a whole batch. `topics_max` bounds the topics of one line.
///
/// Errors: [`Problem::BadBatchLine`], [`Problem::EmptyBatch`], and [`Problem::BatchTooLong`] when the events,
/// counted once per topic, are more than `BATCH_POSTS_MAX`.
pub fn parse(body: &[u8], topics_max: usize) -> Result<Vec<Post>, Problem> {
    let _ = (body, topics_max);
    Err(Problem::EmptyBatch)
}
