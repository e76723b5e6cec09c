//! The end of a run and its checks: streams ended well, nothing is held, all losses were announced.

use fanwheel::base::counters::{CloseReason, Count, CounterTotals, RefusalReason, SupersededReason};
use fanwheel::base::limits::TOPIC_LINGER_MS;
use fanwheel::base::listener::ListenerKind;
use fanwheel::base::time::TICK_MS;
use fanwheel::fanout::mail::ControlMessage;

use crate::answer::{AwaitedAnswer, Got};
use crate::cover::{Branch, Cover};
use crate::orderer::SeededOrderer;
use crate::peer::Peer;
use crate::session::Ending;
use crate::setup::Finale;
use crate::world::World;

/// Further time that may pass until the last worker has noticed that a drain is over.
const DRAIN_SLACK_MS: u64 = 4 * TICK_MS;

impl World {
    /// Ends the run and judges it.
    pub fn end(mut self) -> Cover {
        // In the middle of things, not at rest.
        (0..self.scene.prng.below(600)).for_each(|_| self.step());
        match self.scene.plan.finale {
            Finale::Leave => self.leave(),
            Finale::Drain => {
                self.announce_end();
                self.shell.control(&ControlMessage::Drain);
                self.drain();
            }
            Finale::DrainRequest => {
                self.announce_end();
                self.request_drain();
                self.drain();
            }
            Finale::Stop => {
                self.announce_end();
                self.shell.control(&ControlMessage::Stop);
                self.come_to_rest_after_end();
            }
        }
        self.retain_nothing();
        self.judge_emptiness();
        self.judge_streams();
        self.note_counters();
        self.scene.cover.add(&self.net.cover);
        self.scene.cover
    }

    fn announce_end(&mut self) {
        if self.scene.one_in(4) {
            // The end must not depend on a mailbox's room. Without the node's word this mail means nothing.
            self.scene.hit(Branch::ControlMailboxFull);
            let outlet = self.node.hub.mailbox(self.scene.plan.workers - 1);
            while outlet.send_control(ControlMessage::Drain) {}
        }
        self.scene.ending = true;
        self.scene.drained_ms = self.scene.now.mono_ms + self.scene.plan.settings.drain_ms;
    }

    fn request_drain(&mut self) {
        let mut peer = Peer::connect(&mut self.net, &mut self.scene, ListenerKind::Control);
        let request = b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        peer.ask(request, AwaitedAnswer { tag: 0, head_only: false, http11: true });
        self.set_calm(true);
        peer.set_calm(&mut self.net, true);
        let mut status = None;
        for _ in 0..4 {
            for got in peer.pump(&mut self.net, &mut self.scene) {
                let Got::Answer(answer) = got else { panic!("a drain was answered with {got:?}") };
                status = Some(answer.status);
            }
            self.run_until_still();
        }
        assert_eq!((status, self.shell.draining), (Some(202), true));
        self.net.leave(peer.conn);
        self.set_calm(false);
    }

    /// Everyone goes on as before until all workers have ended.
    fn drain(&mut self) {
        self.run_each_worker();
        let is_open = |index: &usize| self.scene.sessions[*index].ending == Ending::Open;
        let open: Vec<usize> = (0..self.scene.sessions.len()).filter(is_open).collect();
        let is_slow = |index: &usize| self.net.socks[self.scene.sessions[*index].conn].known_full;
        let slow: Vec<usize> = open.iter().copied().filter(is_slow).collect();
        while !self.shell.has_ended() && self.scene.now.mono_ms < self.scene.drained_ms {
            self.step();
        }
        self.advance(DRAIN_SLACK_MS);
        self.come_to_rest_after_end();
        let clean = |index: &usize| self.scene.sessions[*index].ending == Ending::Clean;
        let postponed = slow.iter().any(clean);
        self.scene.cover.hit_if(postponed, Branch::DrainPostponed);
        // Nothing has been published since, and what was is finished first, unless the window has passed. Of
        // streams that may have ended by age, nobody knows when they did.
        // An orderer goes on for those that it has taken.
        if self.scene.plan.classes.ends_by_age() || self.orderer.is_some() {
            return;
        }
        for session in open.into_iter().filter(clean).map(|index| &self.scene.sessions[index]) {
            // Whoever the operator has ended does not get what comes, nor a browser that was refused.
            let operated = self.scene.operated.contains(&session.conn);
            if session.is_open && !operated && session.item_ms + DRAIN_SLACK_MS < self.scene.drained_ms {
                session.judge_losses(&self.scene.ledger, &self.scene.plan.classes, Some(self.scene.head));
            }
        }
    }

    /// Reads the bytes that are left, and asserts that the workers have ended.
    fn come_to_rest_after_end(&mut self) {
        self.set_calm(true);
        self.run_until_still();
        assert!(self.shell.has_ended(), "a worker outlives the drain");
        self.disperse();
    }

    /// Everyone leaves; the node notices each.
    fn leave(&mut self) {
        self.disperse();
        self.set_calm(true);
        for _ in 0..5_000 {
            self.run_until_still();
            if self.shell.connections() == 0 {
                return;
            }
            let due_ms = self.shell.next_due().expect("a connection has a timer");
            self.advance(due_ms.saturating_sub(self.scene.now.mono_ms).max(1));
        }
        panic!("{} connections are never given up", self.shell.connections());
    }

    fn judge_emptiness(&mut self) {
        self.orderer.iter_mut().for_each(SeededOrderer::drop_all);
        let settings = &self.scene.plan.settings;
        let totals = self.node.totals();
        assert_eq!((totals.connections_open, totals.subscribers_open), (0, 0));
        let accepted = totals.counts[Count::Accepted as usize];
        assert_eq!(accepted, totals.closed.iter().sum::<u64>(), "accepted and closed: {totals:?}");
        assert_eq!((self.node.connections.taken(), self.node.bodies.taken()), (0, 0));
        assert_eq!(self.node.surveys.taken(), 0, "a survey has no asker");
        for last in 0..4 {
            for _ in 0..settings.connections_per_address_max {
                assert!(
                    self.node.connections.take_address([10, 0, 0, last].into()),
                    "an address was not given back"
                );
            }
        }
        let wait_ms =
            self.scene.plan.classes.most().history_ms.max(settings.idempotency_ms).max(TOPIC_LINGER_MS)
                + 1_000;
        // Topics linger after their history has expired.
        for _ in 0..2 {
            self.advance(wait_ms);
            while self.node.hub.sweep(self.scene.now) {}
        }
        let sizes = self.node.hub.sizes();
        let left = (sizes.topics, sizes.frames, sizes.bytes, sizes.idempotency_keys);
        assert_eq!(left, (0, 0, 0, 0), "something is kept for ever");
        if self.shell.has_ended() || self.scene.plan.finale == Finale::Leave {
            self.shell.drop_workers();
            assert_eq!(self.node.hub.sizes().alive_bytes, 0, "a frame is held by nobody");
            let orders = (self.node.hub.order_bytes().taken(), self.node.hub.order_keys());
            assert_eq!(orders, (0, 0), "a ticket is held by nobody");
        }
    }

    fn judge_streams(&mut self) {
        let counted = self.node.totals().counts[Count::Published as usize];
        let published = self.events_published(counted);
        let scene = &mut self.scene;
        let (known, uncertain) = (scene.ledger.known(), scene.ledger.uncertain(scene.now.mono_ms));
        assert!(known <= published, "{known} events are known, {published} were published");
        assert!(published <= known + uncertain, "{published} events, {known} known, {uncertain} uncertain");
        // A drain ends windows early.
        let drained_ms = scene.drained_ms.saturating_sub(scene.plan.settings.drain_ms);
        let upto_ms = if scene.ending { drained_ms } else { u64::MAX };
        for session in &scene.sessions {
            let fulls = self.net.socks[session.conn].fulls;
            let judged = session.judge_pace(&scene.ledger, &scene.plan.classes, fulls, upto_ms);
            scene.cover.hit_if(judged > 0, Branch::PaceJudged);
        }
        for session in scene.sessions.iter().chain(&scene.polled) {
            let superseded = session.judge_losses(&scene.ledger, &scene.plan.classes, None);
            scene.cover.hit_if(superseded > 0, Branch::Superseded);
            session.judge_foreign();
            session.judge_newest(&scene.plan.classes);
            session.judge_snapshot(&scene.ledger, &scene.plan);
            if known == published {
                let needless = session.judge_gaps(&scene.ledger, &scene.plan);
                scene.cover.hit_if(needless > 0, Branch::NeedlessGap);
            }
        }
    }

    /// Notes the branches that counters tell of.
    pub fn note_counters(&mut self) {
        let totals = self.node.totals();
        for (branch, hits) in counted(&totals) {
            self.scene.cover.hit_if(hits > 0, branch);
        }
    }
}

fn counted(totals: &CounterTotals) -> Vec<(Branch, u64)> {
    let count = |what: Count| totals.counts[what as usize];
    let closed = |why: CloseReason| totals.closed[why as usize];
    let refused = |why: RefusalReason| totals.refused[why as usize];
    vec![
        (Branch::Skipped, count(Count::Skipped)),
        (Branch::Throttled, totals.superseded[SupersededReason::Throttle as usize]),
        (Branch::RefusedConnections, refused(RefusalReason::Connections)),
        (Branch::RefusedAddress, refused(RefusalReason::Address)),
        (Branch::ProxyHeaderRead, count(Count::ProxyHeaders)),
        (Branch::RefusedMemory, refused(RefusalReason::Memory)),
        (Branch::RefusedTopics, refused(RefusalReason::Topics)),
        (Branch::RefusedBodies, refused(RefusalReason::Bodies)),
        (Branch::RefusedOverload, refused(RefusalReason::Overload)),
        (Branch::RefusedIdempotencyKeys, refused(RefusalReason::IdempotencyKeys)),
        (Branch::RefusedDraining, refused(RefusalReason::Draining)),
        (Branch::RefusedCredentials, refused(RefusalReason::Credentials)),
        (Branch::RefusedOrigin, refused(RefusalReason::Origin)),
        (Branch::RefusedHost, refused(RefusalReason::Host)),
        (Branch::RefusedOrderLate, refused(RefusalReason::OrderLate)),
        (Branch::RefusedOrderFailed, refused(RefusalReason::OrderFailed)),
        (Branch::EndedByLife, closed(CloseReason::Life)),
        (Branch::EndedByDrain, closed(CloseReason::Drain)),
        (Branch::ClosedPeer, closed(CloseReason::Peer)),
        (Branch::ClosedReset, closed(CloseReason::Reset)),
        (Branch::ClosedAnswered, closed(CloseReason::Answered)),
        (Branch::ClosedHeadTimeout, closed(CloseReason::HeadTimeout)),
        (Branch::ClosedBodyTimeout, closed(CloseReason::BodyTimeout)),
        (Branch::ClosedIdle, closed(CloseReason::Idle)),
        (Branch::ClosedAnswerTimeout, closed(CloseReason::AnswerTimeout)),
        (Branch::ClosedSlowStalled, closed(CloseReason::SlowStalled)),
        (Branch::ClosedSlowEvicted, closed(CloseReason::SlowEvicted)),
        (Branch::ClosedSlowUnacknowledged, closed(CloseReason::SlowUnacknowledged)),
        (Branch::ClosedUpstream, closed(CloseReason::Upstream)),
        (Branch::ClosedHost, closed(CloseReason::Host)),
        (Branch::ClosedOperator, closed(CloseReason::Operator)),
    ]
}
