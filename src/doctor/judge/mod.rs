//! Readings in, findings out. Pure: no file, no socket, no clock.

pub mod host;
pub mod host_table;
pub mod proxies;
pub mod publish_refusal;
pub mod streams;
