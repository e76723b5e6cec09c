//! What an operator sees: pages made of snapshots of the node, judgements of the host and of the way to it.
//!
//! Pure functions from numbers to text. Knows no connection, no socket and no clock; what grows with topics,
//! clients or user agents never reaches it.

pub mod alerts;
pub mod dashboard;
pub mod doctor;
pub mod errors;
pub mod exposition;
pub mod finding;
pub mod host_table;
pub mod listing;
pub mod metrics;
pub mod passage;
pub mod plan;
pub mod proxy;
pub mod status;
pub mod summary;
pub mod unpublished;
pub mod watch;
