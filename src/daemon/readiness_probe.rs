//! Keeps the node's readiness honest: sends its probes, has the log looked after, logs what changes.
//!
//! Owns no verdict, which is the node's, and no deadline of the main thread's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::base::limits::PROBE_MS;
use crate::base::logfmt::LogValue;
use crate::daemon::logging;
use crate::fanout::node::Node;
use crate::fanout::readiness::Surroundings;
use crate::reactor::{Clock, Wakers};

/// Between two looks of the log's thread at its disk.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at the first probe.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(1);

/// See the module.
pub struct ReadinessProbe {
    node: Arc<Node>,
    clock: Clock,
    wakers: Wakers,
    log_handle: logging::LogHandle,
    next_log_check: Instant,
    was_ready: bool,
}

impl ReadinessProbe {
    /// Begins, and waits until a probe has passed through every worker, or should have: whoever is told that
    /// the server has started finds it ready.
    pub fn start(
        node: Arc<Node>,
        clock: Clock,
        wakers: Wakers,
        log_handle: logging::LogHandle,
    ) -> ReadinessProbe {
        let begun = Instant::now();
        let probe =
            ReadinessProbe { node, clock, wakers, log_handle, next_log_check: begun, was_ready: true };
        while begun.elapsed() < Duration::from_millis(PROBE_MS) && !probe.send_probe() {
            std::thread::sleep(FIRST_PROBE_INTERVAL);
        }
        probe
    }

    /// Looks after the probe and the log, and logs a verdict that has changed.
    pub fn tick(&mut self, now: Instant) {
        if now >= self.next_log_check {
            self.next_log_check = now + LOG_CHECK_INTERVAL;
            self.log_handle.check_output();
        }
        let is_ready = self.send_probe();
        if is_ready == self.was_ready || self.node.is_draining() {
            return;
        }
        self.was_ready = is_ready;
        match self.node.readiness(self.clock.now().mono_ms).reason {
            None => info!("event=ready"),
            Some(reason) => warn!("event=not_ready reason={}", LogValue(&reason)),
        }
    }

    fn send_probe(&self) -> bool {
        let now = self.clock.now();
        self.wakers.wake(self.node.keep_vigil(now, Surroundings { log_fails: logging::is_failing() }));
        self.node.readiness(now.mono_ms).ok
    }
}
