//! Sends the node's readiness probes, asks for checks of the log, and logs changes of readiness.
//!
//! Owns no verdict, which is the node's, and no deadline of the main thread's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::backplane::BackplaneView;
use crate::base::limits::PROBE_MS;
use crate::base::logfmt::LogValue;
use crate::daemon::logging;
use crate::fanout::node::Node;
use crate::fanout::readiness::HostConditions;
use crate::reactor::{Clock, Server, Wakers};

/// The interval between two checks of the log's disk.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which the start waits for the first probe.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(1);

/// The main thread's part of the readiness probe.
pub(crate) struct ReadinessProbe {
    node: Arc<Node>,
    clock: Clock,
    wakers: Wakers,
    log_handle: logging::LogHandle,
    backplane: Option<BackplaneView>,
    next_log_check: Instant,
    was_ready: bool,
}

impl ReadinessProbe {
    /// Starts, and waits until a probe has passed through every worker, or is overdue. So a server that
    /// reports its start is also ready.
    pub(crate) fn start(
        node: Arc<Node>,
        server: &Server,
        log_handle: logging::LogHandle,
        backplane: Option<BackplaneView>,
    ) -> ReadinessProbe {
        let begun = Instant::now();
        let probe = ReadinessProbe {
            node,
            clock: server.clock(),
            wakers: server.wakers(),
            log_handle,
            backplane,
            next_log_check: begun,
            was_ready: true,
        };
        while begun.elapsed() < Duration::from_millis(PROBE_MS) && !probe.send_probe() {
            std::thread::sleep(FIRST_PROBE_INTERVAL);
        }
        probe
    }

    /// Sends a probe and checks the log when they are due, and logs a verdict that has changed.
    pub(crate) fn tick(&mut self, now: Instant) {
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
        let conditions = HostConditions {
            log_fails: logging::is_failing(),
            backplane_fault: self.backplane.as_ref().and_then(BackplaneView::fault),
        };
        self.wakers.wake(self.node.check_readiness(now, conditions));
        self.node.readiness(now.mono_ms).ok
    }
}
