//! The end of a server, and the beginning of another one that knows its history, as after a crash.

use std::sync::Arc;

use fanwheel::base::prng::Prng;

use crate::cover::Branch;
use crate::inspector::Inspector;
use crate::net::Net;
use crate::shell::Shell;
use crate::world::{World, begin_node};

impl World {
    /// Ends the node in the middle of things. Another begins with the history and the keys that the orderer
    /// has kept; clients come back to it with their ids, and publishers with their keys.
    pub fn restart(&mut self) {
        let Some(orderer) = &mut self.orderer else { return };
        self.scene.trace(|| "the server begins anew".to_owned());
        let seed = self.scene.prng.next_u64();
        let (node, workers) = begin_node(&self.scene.plan, self.start, seed);
        orderer.restart(&node, self.scene.now);
        self.note_counters();
        self.scene.hit(Branch::Restarted);
        self.scene.ledger.restarts_ms.push(self.scene.now.mono_ms);
        self.scene.ledger.forgotten.clear();
        self.cut_everyone();
        self.inspectors.iter_mut().for_each(Inspector::forget_ids);
        drop_sockets(&mut self.net);
        self.scene.head = node.hub.lock().head();
        self.shell = Shell::new(Arc::clone(&node), workers, Prng::new(seed).next_u64());
        self.node = node;
        self.scene.ledger.in_force.restart();
    }
}

/// The sockets of a process that has ended.
fn drop_sockets(net: &mut Net) {
    for worker in 0..net.backlog.len() {
        let waiting = std::mem::take(&mut net.backlog[worker]);
        let open: Vec<usize> = net.open_on(worker).chain(waiting).collect();
        open.into_iter().for_each(|conn| net.drop_socket(conn));
        net.batch_full[worker] = false;
    }
    // The next process gives the same tokens.
    net.socks.iter_mut().for_each(|sock| sock.born = None);
    net.woken = 0;
}
