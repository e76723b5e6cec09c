//! The part of a stream that only several topics, a pattern that has lost something, or a filter need. Plain
//! data.

use super::hub::LossMark;
use super::long_poll::LongPoll;
use super::shared_frame::SharedFrame;
use super::snapshot_read::SnapshotRead;
use super::stream_rate::StreamRate;
use super::subscriber_list::SubscriberPlace;

/// The part of a stream that only several topics or a filter need.
#[derive(Debug)]
pub(crate) struct StreamSelection {
    /// One entry for each topic.
    pub(crate) places: Box<[SubscriberPlace]>,
    /// Losses of each topic that have been told.
    pub(crate) told_losses: Box<[LossMark]>,
    /// Only events of these names; empty for all.
    pub(crate) names: Box<[Box<str>]>,
    /// The client gets one answer instead of a stream.
    pub(crate) poll: Option<Box<LongPoll>>,
    /// The snapshot that it is being sent.
    pub(crate) snapshot: Option<SnapshotRead>,
    /// The rate at which it is sent events, where its class has one.
    pub(crate) rate: Option<Box<StreamRate>>,
}

impl StreamSelection {
    /// Whether the subscriber's filter lets a frame through.
    pub(crate) fn wants(&self, frame: &SharedFrame) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name.as_bytes() == frame.name())
    }
}
