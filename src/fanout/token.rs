//! Names a connection for others: a slot and the generation of its owner.
//!
//! A token kept over a turn is stale once the slot has another owner; the worker tells.

/// A connection's slot and generation: a stale one never reaches the slot's new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnToken(pub(crate) u64);

impl ConnToken {
    /// Token of a slot's present owner.
    pub fn new(slot: u32, generation: u32) -> ConnToken {
        ConnToken(u64::from(generation) << 32 | u64::from(slot))
    }

    /// Index of the connection in its worker's slab.
    pub fn slot(self) -> u32 {
        self.0 as u32
    }

    /// Number that tells the slot's owners apart.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A connection that waits for an answer from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// Index of its worker.
    pub(crate) worker: usize,
    /// Its token at that worker.
    pub(crate) token: ConnToken,
}
