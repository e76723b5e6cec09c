//! The server as a process: start, systemd, signals, reload, log, notifications, the main thread.
//!
//! Owns the main thread. Holds no connection: those belong to the workers.

pub mod activation;
pub mod logging;
pub mod notify;
pub mod readiness_probe;
pub mod reload;
pub mod sampling;
pub mod serve;
pub mod signals;
pub mod start;
pub mod status_stream;
pub mod systemd;
