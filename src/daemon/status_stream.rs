//! The stream of the server's own state: once a second an event for whoever listens to `fanwheel.status`.
//!
//! Runs in the main thread. Owns when the state is told and as what event; what it says is `/status`.

use std::sync::Arc;

use crate::base::snapshot::StatusQuery;
use crate::base::time::Now;
use crate::daemon::sampling::SharedWatch;
use crate::fanout::hub::Post;
use crate::fanout::node::Node;
use crate::monitor;
use crate::reactor::Wakers;
use crate::wire::frame::Draft;
use crate::wire::rules::STATUS_TOPIC;

/// See the module.
#[derive(Debug)]
pub struct StatusStream {
    node: Arc<Node>,
    wakers: Wakers,
}

impl StatusStream {
    /// Tells through the node's hub; `wakers` are its workers'.
    pub fn new(node: Arc<Node>, wakers: Wakers) -> StatusStream {
        StatusStream { node, wakers }
    }

    /// Publishes the newest state if somebody listens; costs one short lock while nobody does.
    pub fn publish_status(&self, shared: &SharedWatch, now: Now) {
        if !self.node.hub.is_heard(STATUS_TOPIC) {
            return;
        }
        shared.note_status_reader();
        let text = {
            let watch = shared.lock();
            monitor::status::page(&watch.last().snapshot, &watch, StatusQuery::default())
        };
        // Without an id, so that no client that comes back is told a gap: the newest state is all it wants.
        let draft = Draft::unnumbered(Some(STATUS_TOPIC), &text);
        let post = Post { topics: vec![STATUS_TOPIC.into()], draft };
        // Refused while the server drains or is overloaded; then the pages ask by themselves.
        if let Ok(published) = self.node.hub.publish(vec![post], None, now) {
            self.wakers.wake(published.wake);
        }
    }
}
