//! Reads the host and opens streams through proxies. Judges nothing.

pub mod host;
pub mod streams;
