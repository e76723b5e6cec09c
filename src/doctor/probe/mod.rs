//! Reads the host and opens streams through proxies. Judges nothing.

pub(crate) mod host;
pub(crate) mod streams;
