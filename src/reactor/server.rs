//! Starts the workers in step and hands out what the rest of the program may do with them.

use crate::base::settings::{Listener, Settings};
use crate::fanout::node::{Control, Inbox, Node};
use crate::reactor::address::Address;
use crate::reactor::clock::Clock;
use crate::reactor::error::StartError;
use crate::reactor::files::Capacity;
use crossbeam_channel::Receiver;
use std::sync::Arc;

/// What [`start`] needs.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The effective settings.
    pub settings: &'a Settings,
    /// From [`super::capacity`], with the same settings.
    pub capacity: Capacity,
    /// Made for `capacity.workers` workers and `capacity.connections_max` connections.
    pub node: Arc<Node>,
    /// One for each worker, as `Node::new` returned them.
    pub inboxes: Vec<Inbox>,
    /// Seeds the workers' jitter.
    pub seed: u64,
}

/// An address on which the server listens, with the port it really got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which kind.
    pub listener: Listener,
    /// Where.
    pub address: Address,
}

/// What a worker tells the main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `POST /drain` came: drain as after a SIGTERM.
    DrainRequested,
    /// The worker of that index has drained or stopped, and its thread ends.
    Finished(usize),
}

/// Wakes workers from any thread that was started before [`start`] or outside the workers.
#[derive(Clone, Debug)]
pub struct Wakers(Arc<[std::fs::File]>);

impl Wakers {
    /// Wakes the workers whose bits are set.
    pub fn wake(&self, mask: u64) {
        let _ = (&self.0, mask);
    }
}

/// A running server. Dropping it does not stop it: post a control message, then [`Server::join`].
#[derive(Debug)]
pub struct Server {
    node: Arc<Node>,
    wakers: Wakers,
    bound: Vec<Bound>,
    notices: Receiver<Notice>,
    clock: Clock,
}

/// Makes all listeners, starts all workers and returns when each is listening.
///
/// # Errors
/// The first cause; by then every thread has ended and every socket is closed.
pub fn start(launch: Launch<'_>) -> Result<Server, StartError> {
    let _ = launch;
    Err(StartError::FileTable(std::io::ErrorKind::Unsupported.into()))
}

impl Server {
    /// Where it listens, in the order of the settings, public ones first.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// What the workers have to say; a closed channel means that all have ended.
    pub fn notices(&self) -> &Receiver<Notice> {
        &self.notices
    }

    /// The workers' clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// A handle for threads that post to the node by themselves.
    pub fn wakers(&self) -> Wakers {
        self.wakers.clone()
    }

    /// Sends a control message to every worker and wakes them.
    pub fn control(&self, message: Control) {
        self.wakers.wake(self.node.control(message));
    }

    /// Waits until every worker has ended, then removes the files of Unix listeners.
    pub fn join(self) {}
}
