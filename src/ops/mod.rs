//! What an operator sees: pages made of a snapshot of the node, judgements of the host and of the way to it.
//!
//! Pure functions from numbers to text. Knows no connection, no socket and no clock; what grows with topics,
//! clients or user agents never reaches it.

pub mod doctor;
pub mod finding;
pub mod host_table;
pub mod metrics;
pub mod passage;
pub mod proxy;
pub mod status;
