//! The witness: a healthy subscriber of another topic, a publisher, and the level of open connections.
//! After each hostile case it proves that nothing else was hurt.
//!
//! Owns the topics `witness` and `canary`; nothing may ever arrive on `canary`.

use super::{SOON, Server, Stream};

/// A healthy client beside a hostile one.
pub struct Witness<'a> {
    server: &'a Server,
    stream: Stream,
    sent: u64,
    level: u64,
}

impl<'a> Witness<'a> {
    /// Subscribes, and notes the level of open connections.
    pub fn of(server: &'a Server) -> Witness<'a> {
        let stream = server.subscribe("topic=witness&topic=canary");
        let mut witness = Witness { server, stream, sent: 0, level: u64::MAX };
        witness.check("before anything");
        witness.level = server.metrics().get("connections");
        witness
    }

    /// Takes the number of connections open now as the level to come back to.
    pub fn relevel(&mut self) {
        self.level = self.server.metrics().get("connections");
    }

    /// Publishes one event that the witness must receive, without waiting for it.
    pub fn publish(&mut self) {
        self.server.publish("witness", self.sent.to_string());
        self.sent += 1;
    }

    /// Fails unless every event published up to now arrived, in order, and nothing else did.
    pub fn receive(&mut self, case: &str, received: u64) {
        for expected in received..self.sent {
            let event = self.stream.any_event(SOON);
            assert_eq!(event.data, expected.to_string(), "{case}: the witness received something else");
        }
    }

    /// The invariants after a hostile case, except the level of connections.
    pub fn check_service(&mut self, case: &str) {
        assert!(self.server.runs(), "{case}: the process is gone:\n{}", self.server.log());
        let received = self.sent;
        self.publish();
        self.publish();
        self.receive(case, received);
        self.server.assert_healthy(case);
    }

    /// All invariants after a hostile case.
    pub fn check(&mut self, case: &str) {
        self.check_service(case);
        if self.level != u64::MAX {
            let back = self.server.await_connections(self.level, SOON);
            assert!(back.is_ok(), "{case}: {back:?} connections open, {} before", self.level);
        }
    }
}
