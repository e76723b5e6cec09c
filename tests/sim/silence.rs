//! The effects of time alone: heartbeats for streams that wait, an end for slow or silent connections.
//!
//! Nothing is sent or published meanwhile; the clock moves from one deadline of the workers to the next.

use fanwheel::base::limits::{LINGER_MS, PROBE_MS, REFUSAL_MS};
use fanwheel::base::time::TICK_MS;

use crate::session::{Ending, Session};
use crate::world::World;

/// By how much a deadline may be missed: ticks are rounded up, and a turn may come within one.
const SLACK_MS: u64 = 3 * TICK_MS;

impl World {
    /// Silence of each kind, where it does not last too long to be simulated every time.
    pub fn be_silent(&mut self) {
        let settings = self.scene.plan.settings.clone();
        let lasts = |world: &mut World, ms: u64| ms <= 2_500 || world.scene.one_in(8);
        if self.scene.plan.classes.ends_all_slow() && lasts(self, settings.stall_ms) {
            (0..self.scene.prng.below(200)).for_each(|_| self.step());
            self.wait_for_the_slow(settings.stall_ms);
        }
        self.come_to_rest();
        if lasts(self, settings.heartbeat_ms) {
            self.listen_to_heartbeats(settings.heartbeat_ms);
        }
        let longest = [settings.head_ms, settings.body_ms, settings.idle_ms, settings.answer_ms];
        let own = REFUSAL_MS.max(PROBE_MS) + LINGER_MS;
        let longest_ms = longest.into_iter().max().unwrap_or(0) + own;
        if lasts(self, longest_ms) {
            self.wait_for_the_silent(longest_ms);
        }
    }

    /// Moves the clock to the workers' next deadline, or to the end if that comes first.
    fn skip_ahead(&mut self, end_ms: u64) {
        let due_ms = self.shell.next_due().unwrap_or(end_ms).min(end_ms);
        self.advance(due_ms.saturating_sub(self.scene.now.mono_ms).max(1));
    }

    fn is_open(&self, session: &Session) -> bool {
        let sock = &self.net.socks[session.conn];
        session.ending == Ending::Open && sock.token.is_some() && !sock.peer_finished
    }

    /// A subscriber whose socket takes nothing for `stall_ms` is ended.
    fn wait_for_the_slow(&mut self, stall_ms: u64) {
        self.scene.calm = true;
        self.run_workers_only();
        let full = |session: &&Session| {
            let sock = &self.net.socks[session.conn];
            self.is_open(session) && sock.known_full && sock.greeted.is_some()
        };
        let slow: Vec<usize> = self.scene.sessions.iter().filter(full).map(|session| session.conn).collect();
        // A stream whose end is due while it is full is looked at every 100 ms.
        let end_ms = self.scene.now.mono_ms + stall_ms + 100 + 2 * SLACK_MS;
        while self.scene.now.mono_ms < end_ms {
            self.skip_ahead(end_ms);
            self.run_workers_only();
        }
        for conn in slow {
            assert!(self.net.socks[conn].token.is_none(), "conn {conn} took nothing for {stall_ms} ms");
        }
    }

    /// After so long without an event, no stream is open that silence ends earlier.
    fn judge_silence(&self, silent_ms: u64) {
        for session in self.scene.sessions.iter().filter(|session| self.is_open(session)) {
            let ends = session.ends(&self.scene.ledger, &self.scene.plan.classes);
            let Some(idle_ms) = ends.and_then(|ends| ends.idle_ms) else { continue };
            let late_ms = idle_ms * 11 / 10 + SLACK_MS;
            assert!(silent_ms < late_ms, "open after {silent_ms} ms of silence: {session:#?}");
        }
    }

    /// Every open stream shows a sign of life once a period.
    fn listen_to_heartbeats(&mut self, heartbeat_ms: u64) {
        self.set_calm(true);
        let start_ms = self.scene.now.mono_ms;
        let end_ms = start_ms + 2 * heartbeat_ms + SLACK_MS;
        while self.scene.now.mono_ms < end_ms {
            self.skip_ahead(end_ms);
            self.run_until_still();
            for session in self.scene.sessions.iter().filter(|session| self.is_open(session)) {
                let silent_ms = self.scene.now.mono_ms - session.item_ms.max(start_ms);
                assert!(silent_ms <= heartbeat_ms + SLACK_MS, "{silent_ms} ms of silence in {session:#?}");
            }
        }
        self.judge_silence(self.scene.now.mono_ms - start_ms);
        self.set_calm(false);
    }

    /// Asserts that connections without a request end; only streams stay.
    fn wait_for_the_silent(&mut self, longest_ms: u64) {
        self.set_calm(true);
        let end_ms = self.scene.now.mono_ms + longest_ms + SLACK_MS;
        while self.scene.now.mono_ms < end_ms {
            self.skip_ahead(end_ms);
            self.run_until_still();
        }
        self.judge_silence(longest_ms);
        let streams = self.scene.sessions.iter().filter(|session| self.is_open(session)).count();
        let held = self.shell.connections() - self.waiting_polls();
        assert_eq!(held, streams, "{held} connections, {streams} of them streams, after {longest_ms} ms");
        self.set_calm(false);
    }
}
