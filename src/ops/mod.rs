//! What an operator sees: pages made of snapshots of the node.
//!
//! Pure functions from numbers to text. Knows no connection, no socket and no clock; what grows with topics,
//! clients or user agents never reaches it.

pub mod alerts;
pub mod dashboard;
pub mod errors;
pub mod exposition;
pub mod listing;
pub mod metrics;
pub mod plan;
pub mod status;
pub mod summary;
pub mod watch;
