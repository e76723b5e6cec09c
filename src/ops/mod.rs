//! What an operator sees: pages made of a snapshot of the node, and what a host needs.
//!
//! Pure functions from numbers to text. Knows no connection, no socket and no clock; what grows with topics,
//! clients or user agents never reaches it.

pub mod host_table;
pub mod metrics;
pub mod status;
