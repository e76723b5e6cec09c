//! The server as a process: start, systemd, signals, reload, log, notifications, the main thread.
//!
//! Owns the main thread. Holds no connection: those belong to the workers.

pub(crate) mod activation;
mod authorizer;
mod backplane_start;
pub(crate) mod credential_watch;
pub(crate) mod logging;
pub(crate) mod notify;
mod privileges;
pub(crate) mod readiness_probe;
pub(crate) mod reload;
mod running_settings;
pub(crate) mod sampling;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod start;
pub(crate) mod status_stream;
pub(crate) mod systemd;
