//! The doctor: is this host ready for a number of connections, and do proxies leave streams alone?
//!
//! `probe` reads the host and opens streams. `judge` turns readings into findings and is pure.

pub(crate) mod finding;
pub mod judge;
pub(crate) mod probe;
