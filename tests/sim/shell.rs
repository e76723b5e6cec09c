//! The shell's part, single-threaded and from a seed: workers that poll, sleep, are woken, accept.
//!
//! Obeys exactly what the core is promised: a worker that sleeps does not run until it is woken, something is
//! ready for it, or its time has come. So a wake-up that is lost shows as a delivery that never happens.

use std::sync::Arc;

use fanwheel::base::prng::Prng;
use fanwheel::base::settings::SlowPolicy;
use fanwheel::base::time::Now;
use fanwheel::fanout::mail::ControlMessage;
use fanwheel::fanout::node::Node;
use fanwheel::fanout::readiness::HostConditions;
use fanwheel::fanout::survey_mail;
use fanwheel::fanout::worker::{ConnToken, Worker};

use crate::cover::Branch;
use crate::net::Net;
use crate::setup::one_in;

/// The state of a worker's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// It polls without waiting.
    Busy,
    /// Its turn is over and it has not yet said that it sleeps; then it would, until a time.
    Drowsy(Option<u64>),
    /// It sleeps until a time, unless woken.
    Asleep(Option<u64>),
    /// Its thread has ended.
    Ended,
}

/// One worker and its thread.
struct Lane {
    worker: Worker,
    mood: Mood,
    /// Its waker was called and its poll has not returned since.
    woken: bool,
    listening: bool,
    /// Tokens of connections that are closed.
    stale: Vec<ConnToken>,
}

/// All workers.
pub struct Shell {
    node: Arc<Node>,
    lanes: Vec<Lane>,
    prng: Prng,
    /// A drain has begun.
    pub draining: bool,
}

impl Shell {
    /// A shell for these workers.
    pub fn new(node: Arc<Node>, workers: Vec<Worker>, seed: u64) -> Shell {
        let lane =
            |worker| Lane { worker, mood: Mood::Busy, woken: false, listening: true, stale: Vec::new() };
        let lanes = workers.into_iter().map(lane).collect();
        Shell { node, lanes, prng: Prng::new(seed), draining: false }
    }

    /// Tells all workers to end, now or over a while.
    pub fn control(&mut self, control: &ControlMessage) {
        self.draining = true;
        let wake = self.node.shut_down(control);
        self.wake(wake);
    }

    /// Tells all workers that frames in flight leave no room, which takes more memory than a run has.
    pub fn shed(&mut self) {
        for index in 0..self.lanes.len() {
            self.node.hub.mailbox(index).send_control(ControlMessage::Shed);
        }
        let wake = self.node.hub.claim_sleepers(u64::MAX);
        self.wake(wake);
    }

    /// Does the main thread's work of many times a second.
    pub fn check_readiness(&mut self, now: Now) {
        let wake = self.node.check_readiness(now, HostConditions::default());
        self.wake(wake);
    }

    /// Does the main thread's occasional work.
    pub fn count_addresses(&mut self) {
        let wake = survey_mail::count_addresses(&self.node);
        self.wake(wake);
    }

    /// Wakes workers that sleep.
    pub fn wake(&mut self, mask: u64) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.woken |= mask & (1 << index) != 0;
        }
    }

    /// Whether a worker's thread would run now.
    pub fn is_runnable(&self, index: usize, net: &Net, now: Now) -> bool {
        let lane = &self.lanes[index];
        match lane.mood {
            Mood::Busy | Mood::Drowsy(_) => true,
            Mood::Ended => false,
            Mood::Asleep(due) => {
                let newcomers = lane.listening && !net.backlog[index].is_empty();
                lane.woken || newcomers || due.is_some_and(|due| due <= now.mono_ms) || net.has_edges(index)
            }
        }
    }

    /// Whether all threads have ended.
    pub fn has_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.mood == Mood::Ended)
    }

    /// When the first sleeper wants to run by itself.
    pub fn next_due(&self) -> Option<u64> {
        let due = |lane: &Lane| match lane.mood {
            Mood::Drowsy(due) | Mood::Asleep(due) => due,
            Mood::Busy | Mood::Ended => None,
        };
        self.lanes.iter().filter_map(due).min()
    }

    /// The workers' threads are gone.
    pub fn drop_workers(&mut self) {
        self.lanes.clear();
    }

    /// Connections that the workers hold.
    pub fn connections(&self) -> usize {
        self.lanes.iter().map(|lane| lane.worker.connections()).sum()
    }

    /// Streams of a worker that lag.
    pub fn lagging(&self, index: usize) -> usize {
        self.lanes[index].worker.lagging()
    }

    /// Lets a worker's thread run a little. In a calm world it misses nothing and is told nothing untrue.
    pub fn run(&mut self, index: usize, net: &mut Net, now: Now, calm: bool) {
        match self.lanes[index].mood {
            Mood::Ended => return,
            Mood::Drowsy(due) => {
                let may_block = self.lanes[index].worker.fall_asleep();
                net.cover.hit_if(!may_block, Branch::FellAsleepWithMail);
                self.lanes[index].mood = if may_block { Mood::Asleep(due) } else { Mood::Busy };
                if may_block || !calm && one_in(&mut self.prng, 2) {
                    return;
                }
            }
            Mood::Asleep(_) => net.cover.hit_if(self.lanes[index].woken, Branch::WokenAsleep),
            Mood::Busy => {}
        }
        let lane = &mut self.lanes[index];
        lane.woken = false;
        lane.worker.wake_up();
        self.deliver(index, net, calm);
        self.accept(index, net, now, calm);
        self.turn(index, net, now);
    }

    fn deliver(&mut self, index: usize, net: &mut Net, calm: bool) {
        let lane = &mut self.lanes[index];
        let open: Vec<usize> = net.open_on(index).collect();
        for conn in open {
            let Some(token) = net.socks[conn].token else { continue };
            let readiness = if net.socks[conn].has_edge() && (calm || !one_in(&mut self.prng, 5)) {
                net.take_readiness(conn)
            } else if !calm && one_in(&mut self.prng, 60) {
                net.cover.hit(Branch::SpuriousReadiness);
                net.spurious_readiness(conn)
            } else {
                continue;
            };
            lane.worker.note_readiness(token, readiness);
        }
        if !lane.stale.is_empty() && !calm && one_in(&mut self.prng, 8) {
            let token = lane.stale[self.prng.below(lane.stale.len() as u64) as usize];
            net.cover.hit(Branch::StaleReadiness);
            let reused = |conn: usize| net.socks[conn].token.is_some_and(|new| new.slot() == token.slot());
            let reused = net.open_on(index).any(reused);
            net.cover.hit_if(reused, Branch::StaleReadinessOnReusedSlot);
            let all = fanwheel::fanout::worker::PollReadiness { readable: true, writable: true, ended: true };
            lane.worker.note_readiness(token, all);
        }
    }

    fn accept(&mut self, index: usize, net: &mut Net, now: Now, calm: bool) {
        let lane = &mut self.lanes[index];
        if !lane.listening {
            return;
        }
        while calm || !one_in(&mut self.prng, 4) {
            let Some(conn) = net.backlog[index].pop_front() else { break };
            let sock = &net.socks[conn];
            match lane.worker.open(now, sock.listener, Some(sock.address)) {
                Some(token) => {
                    net.opened(conn, token);
                    if !calm && one_in(&mut self.prng, 60) {
                        lane.worker.register_failed(token);
                        net.drop_socket(conn);
                        lane.stale.push(token);
                    }
                }
                None => {
                    net.cover.hit(Branch::RefusedAtOnce);
                    net.drop_socket(conn);
                }
            }
        }
    }

    fn turn(&mut self, index: usize, net: &mut Net, now: Now) {
        let evicted = |node: &Node| {
            use fanwheel::base::counters::CloseReason;
            node.counters(index).get_closed(CloseReason::SlowEvicted)
        };
        let before = (evicted(&self.node), self.node.hub.lock().head());
        let was_full = net.batch_full[index];
        let tokens: Vec<(usize, ConnToken)> =
            net.open_on(index).filter_map(|conn| Some((conn, net.socks[conn].token?))).collect();
        net.closures.clear();
        net.now_us = now.mono_us;
        let turn = self.lanes[index].worker.turn(&mut net.port(index), now);
        let closures = std::mem::take(&mut net.closures);
        let lane = &mut self.lanes[index];
        for &(conn, half_frame) in &closures {
            let token = tokens.iter().find(|(known, _)| *known == conn).map(|(_, token)| *token);
            lane.stale.extend(token);
            let was_evicted = evicted(&self.node) > before.0;
            net.cover.hit_if(half_frame && was_evicted, Branch::HalfFrameThenEvicted);
            let stays = self.node.settings.slow_policy != SlowPolicy::Disconnect;
            net.cover.hit_if(half_frame && was_evicted && stays, Branch::Shed);
        }
        let in_round = was_full || net.batch_full[index];
        net.cover.hit_if(in_round && !closures.is_empty(), Branch::RemovalDuringRound);
        let head = self.node.hub.lock().head();
        let any_in_round = in_round || net.batch_full.contains(&true);
        net.cover.hit_if(any_in_round && head > before.1, Branch::PublishDuringRound);
        net.batch_full[index] &= turn.more;
        for conn in net.open_on(index).collect::<Vec<_>>() {
            let sock = &mut net.socks[conn];
            if std::mem::take(&mut sock.fresh) {
                sock.greeted = Some(head);
            }
        }
        lane.listening = turn.listening;
        assert!(!turn.more || turn.due_in_ms == Some(0), "work is left, but it would wait");
        lane.mood = match turn {
            _ if turn.finished => Mood::Ended,
            _ if turn.more => Mood::Busy,
            _ => Mood::Drowsy(turn.due_in_ms.map(|due| now.mono_ms + due)),
        };
        if turn.finished {
            assert_eq!(net.open_on(index).next(), None, "a worker has ended with open sockets");
        }
        if !lane.listening || turn.finished {
            let refused = std::mem::take(&mut net.backlog[index]);
            refused.into_iter().for_each(|conn| net.drop_socket(conn));
        }
        let woken = std::mem::take(&mut net.woken);
        self.wake(woken);
        if turn.drain_requested && !self.draining {
            self.control(&ControlMessage::Drain);
        }
    }
}
