//! The shell of the server: threads, polls, sockets, clocks and file limits around the pure core.
//!
//! Knows two kinds of listener and no protocol on them: no HTTP, no event streams. The core
//! ([`crate::fanout`]) decides; this layer moves bytes and tells it the results.
//!
//! # File tables
//! Unless `fd_tables = shared`, each worker takes a file table of its own before it opens anything, so
//! `RLIMIT_NOFILE` bounds a worker and not the process. The price: **a descriptor number means a different
//! file in every worker.** A descriptor is therefore opened, used and closed by one thread. Sockets are not
//! `Send`; the wakers, which every thread uses, are opened before the first worker starts and are thus in
//! every table under the same number. Any other file that is open when [`start`] is called stays open in
//! every worker until it ends, so a file that shall be closed or reopened later (a log file) is opened after
//! it.

mod accept;
mod body_windows;
mod clock;
mod error;
mod files;
mod inherited;
mod io;
mod listeners;
mod notices;
mod reserve;
mod server;
mod trace_lines;
mod worker;

pub(crate) use clock::Clock;
pub use error::{BindFault, StartError};
pub use files::{Capacity, capacity};
pub(crate) use inherited::InheritedSocket;
pub use notices::{Wakers, WorkerNotice};
pub use server::{BoundAddress, Server, ServerLaunch, start};
