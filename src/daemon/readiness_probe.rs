//! Keeps the node's readiness honest: sends its probes, has the log looked after, logs what changes.
//!
//! Owns no verdict, which is the node's, and no deadline of the main thread's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::base::limits::PROBE_MS;
use crate::base::logfmt::LogValue;
use crate::daemon::logging as journal;
use crate::fanout::node::Node;
use crate::fanout::readiness::Surroundings;
use crate::reactor::{Clock, Wakers};

/// Between two looks of the log's thread at its disk.
const LOG_LOOK: Duration = Duration::from_secs(1);
/// Between two looks at the first probe.
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// See the module.
pub struct Vigil {
    node: Arc<Node>,
    clock: Clock,
    wakers: Wakers,
    journal: journal::Handle,
    next_log_look: Instant,
    was_ready: bool,
}

impl Vigil {
    /// Begins, and waits until a probe has passed through every worker, or should have: whoever is told that
    /// the server has started finds it ready.
    pub fn begin(node: Arc<Node>, clock: Clock, wakers: Wakers, journal: journal::Handle) -> Vigil {
        let begun = Instant::now();
        let vigil = Vigil { node, clock, wakers, journal, next_log_look: begun, was_ready: true };
        while begun.elapsed() < Duration::from_millis(PROBE_MS) && !vigil.look() {
            std::thread::sleep(FIRST_LOOK);
        }
        vigil
    }

    /// Looks after the probe and the log, and logs a verdict that has changed.
    pub fn tick(&mut self, now: Instant) {
        if now >= self.next_log_look {
            self.next_log_look = now + LOG_LOOK;
            self.journal.check();
        }
        let is_ready = self.look();
        if is_ready == self.was_ready || self.node.is_draining() {
            return;
        }
        self.was_ready = is_ready;
        match self.node.readiness(self.clock.now().mono_ms).reason {
            None => info!("event=ready"),
            Some(reason) => warn!("event=not_ready reason={}", LogValue(&reason)),
        }
    }

    fn look(&self) -> bool {
        let now = self.clock.now();
        self.wakers.wake(self.node.keep_vigil(now, Surroundings { log_fails: journal::fails() }));
        self.node.readiness(now.mono_ms).ok
    }
}
