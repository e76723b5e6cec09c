//! Healthy subscribers beside whatever a scenario does: what they and their publisher wait for is judged.

use std::io;
use std::time::Duration;

use crate::ahead;
use crate::child::Plan;
use crate::publisher::{Pace, Publisher, publish_for};
use crate::report::Report;
use crate::server::Server;
use crate::swarm::Swarm;

const OPEN: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(20);
/// Several processes share the reading, or the readers would be what is measured.
const PER_PROCESS: usize = 2_500;
/// Below this a quiet p99 is so short that twice as much is the machine's noise.
const LIMIT_MS_MIN: f64 = 4.0;
/// The same for a p50.
const P50_MS_MIN: f64 = 0.5;

/// Healthy subscribers, their publisher, and the quiet p99s that the disturbed ones are held against.
pub struct Victims {
    swarm: Swarm,
    publisher: Publisher,
    quiet_p50_ms: f64,
    quiet_p99_ms: f64,
    quiet_publish_ms: f64,
}

impl Victims {
    /// Starts them and measures them while nothing else happens.
    pub fn start(server: &Server) -> io::Result<Victims> {
        Victims::start_many(server, 200, 50)
    }

    /// Does the same with another number of them, and of events a second.
    pub fn start_many(server: &Server, count: usize, rate: u32) -> io::Result<Victims> {
        let plan = Plan { per_process: PER_PROCESS, ..Plan::readers(server, "victims", count) };
        let mut swarm = Swarm::open(&plan, ahead::wrap(), OPEN)?;
        let pace = Pace { bytes: 100, rate, ..Pace::to(server, "victims") };
        let quiet = publish_for(&pace, QUIET)?;
        swarm.await_event(0, quiet.accepted, SETTLE)?;
        let tally = swarm.report()?;
        let (quiet_p50_ms, quiet_p99_ms) = (tally.latency.ms(0.5), tally.latency.ms(0.99));
        swarm.reset()?;
        // Another publisher number: its sequence starts anew.
        let publisher = Publisher::start(Pace { publisher: 1, ..pace });
        Ok(Victims { swarm, publisher, quiet_p50_ms, quiet_p99_ms, quiet_publish_ms: quiet.latency.ms(0.99) })
    }

    /// Ends them, adds their rows and judges them by their slowest.
    pub fn finish(self, report: &mut Report) -> io::Result<()> {
        self.judge(report, true)
    }

    /// Ends them, adds their rows and judges the ordinary one beside strangers that ask for much.
    pub fn finish_for_strangers(self, report: &mut Report) -> io::Result<()> {
        self.judge(report, false)
    }

    fn judge(mut self, report: &mut Report, by_slowest: bool) -> io::Result<()> {
        let done = self.publisher.stop()?;
        let behind = self.swarm.await_event(1, done.accepted, SETTLE)?;
        let tally = self.swarm.report()?;
        let p50 = tally.latency.ms(0.5);
        report.row("victims p50, quiet", self.quiet_p50_ms, "ms");
        if by_slowest {
            report.row("victims p50, disturbed", p50, "ms");
        } else {
            report.at_most("victims p50, disturbed", p50, "ms", (2.0 * self.quiet_p50_ms).max(P50_MS_MIN));
        }
        report.row("victims p99, quiet", self.quiet_p99_ms, "ms");
        let limit = (2.0 * self.quiet_p99_ms).max(LIMIT_MS_MIN);
        if by_slowest {
            report.at_most("victims p99, disturbed", tally.latency.ms(0.99), "ms", limit);
        } else {
            report.row("victims p99, disturbed", tally.latency.ms(0.99), "ms");
        }
        report.none("victims without the last event", behind);
        report.none("victims lost, repeated, foreign", tally.lost + tally.repeated + tally.foreign);
        report.row("publish p99, quiet", self.quiet_publish_ms, "ms");
        // Not judged: an event's time runs from before its request.
        report.row("publish p99, disturbed", done.latency.ms(0.99), "ms");
        report.row("publishes answered 503", done.refused as f64, "");
        Ok(())
    }
}
