//! The connection of an actor that asks and reads answers, one after the other or in pipelines.
//!
//! Owns when it is opened and left, and that no answer stays owed. Knows no requests: actors do.

use fanwheel::base::listener::ListenerKind;

use crate::answer::{Answer, Got};
use crate::net::Net;
use crate::peer::Peer;
use crate::scene::Scene;

/// An actor's connection, if it has one.
#[derive(Default)]
pub struct Conversation {
    pub peer: Option<Peer>,
}

impl Conversation {
    /// Draws whether to connect now, in one of so many steps of a lively world.
    pub fn wants_to_connect(&self, scene: &mut Scene, one_in: u64) -> bool {
        self.peer.is_none() && !scene.calm && scene.one_in(one_in)
    }

    /// Connects to a listener of some worker.
    pub fn connect(&mut self, net: &mut Net, scene: &mut Scene, listener: ListenerKind) {
        self.peer = Some(Peer::connect(net, scene, listener));
    }

    /// Whether there is a connection on which every request has its answer.
    pub fn is_free(&self) -> bool {
        self.peer.is_some() && !self.owes()
    }

    /// Whether a request waits for its answer.
    pub fn owes(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.reader.unanswered().next().is_some())
    }

    /// Sends and reads a little; returns the answers that were completed.
    pub fn pump(&mut self, net: &mut Net, scene: &mut Scene) -> Vec<Answer> {
        let Some(peer) = &mut self.peer else { return Vec::new() };
        let conn = peer.conn;
        let answer = |got| match got {
            Got::Answer(answer) => answer,
            got => panic!("conn {conn}: a request was answered with {got:?}"),
        };
        peer.pump(net, scene).into_iter().map(answer).collect()
    }

    /// Forgets a connection that has ended; else draws whether to leave now, in one of so many steps.
    pub fn wants_to_leave(&mut self, scene: &mut Scene, one_in: u64) -> bool {
        if self.peer.as_ref().is_some_and(|peer| peer.end.is_some()) {
            self.peer = None;
        }
        self.peer.is_some() && !scene.calm && scene.one_in(one_in)
    }

    /// Closes or resets the connection, as drawn.
    pub fn leave(&mut self, net: &mut Net, scene: &mut Scene) {
        if let Some(peer) = self.peer.take() {
            if scene.one_in(2) { net.reset(peer.conn) } else { net.leave(peer.conn) }
        }
    }

    /// Whether a calm step would do something.
    pub fn has_news(&self, net: &Net) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.has_news(net))
    }

    /// Widens or narrows the window.
    pub fn set_calm(&self, net: &mut Net, calm: bool) {
        if let Some(peer) = &self.peer {
            peer.set_calm(net, calm);
        }
    }

    /// Asserts that no whole request waits for an answer when nothing is left to do.
    pub fn check_at_rest(&self, net: &Net, is_whole: impl Fn(usize) -> bool) {
        let Some(peer) = &self.peer else { return };
        if net.socks[peer.conn].token.is_some() && !net.socks[peer.conn].peer_finished {
            let owed = peer.reader.unanswered().filter(|&tag| is_whole(tag)).count();
            assert_eq!(owed, 0, "conn {} waits for {owed} answers", peer.conn);
        }
    }
}
