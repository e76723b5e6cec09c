//! Readings in, findings out. Pure: no file, no socket, no clock.

pub(crate) mod host;
pub mod host_table;
pub(crate) mod proxies;
pub(crate) mod publish_refusal;
pub(crate) mod streams;
