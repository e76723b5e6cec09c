//! The stream of the server's own state: an event a second for the subscribers of `fanwheel.status`.
//!
//! Runs in the main thread. Owns the event's form and moment; its data is `/status`.

use std::sync::Arc;

use crate::base::snapshot::StatusQuery;
use crate::base::time::Now;
use crate::daemon::sampling::SharedWatch;
use crate::fanout::hub::NewEvent;
use crate::fanout::node::Node;
use crate::monitor;
use crate::reactor::Wakers;
use crate::wire::frame::Draft;
use crate::wire::rules::STATUS_TOPIC;

/// Publishes the server's state to `fanwheel.status`.
#[derive(Debug)]
pub(crate) struct StatusStream {
    node: Arc<Node>,
    wakers: Wakers,
}

impl StatusStream {
    /// Makes a stream that publishes through the node's hub; `wakers` are those of its workers.
    pub(crate) fn new(node: Arc<Node>, wakers: Wakers) -> StatusStream {
        StatusStream { node, wakers }
    }

    /// Publishes the newest state if somebody listens; costs one short lock while nobody does.
    pub(crate) fn publish_status(&self, shared: &SharedWatch, now: Now) {
        if !self.node.hub.has_subscribers(STATUS_TOPIC) {
            return;
        }
        shared.note_status_reader();
        let text = {
            let watch = shared.lock();
            monitor::status::page(&watch.last().snapshot, &watch, StatusQuery::default())
        };
        // Without an id, so that no client that resumes gets a gap: it wants only the newest state.
        let draft = Draft::unnumbered(Some(STATUS_TOPIC), &text);
        let post = NewEvent { topics: vec![STATUS_TOPIC.into()], draft };
        // Refused while the server drains or is overloaded; then the pages ask by themselves.
        if let Ok(mailed) = self.node.hub.publish_local(post, now) {
            self.wakers.wake(self.node.hub.claim_sleepers(mailed));
        }
    }
}
