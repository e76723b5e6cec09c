//! The pure core: who is subscribed to what, what is kept, what each connection gets next.
//!
//! Never contains sockets, a clock, threads, libc or operating-system randomness: bytes, time and seeds are
//! arguments, and everything that leaves goes through [`seam::Io`].

pub mod agents;
mod ages;
pub mod ask;
pub mod batch;
pub mod best;
pub mod conn;
pub mod crowd;
pub mod hash;
pub mod hub;
pub mod idempotency;
pub mod lanes;
pub mod log;
pub mod mail;
pub mod node;
pub mod notes;
mod output;
pub mod readiness;
pub mod room;
mod rounds;
pub mod seam;
mod stream;
pub mod survey;
mod talk;
pub mod topics;
mod upload;
mod walk;
pub mod wheel;
pub mod worker;
