//! The pure core: who is subscribed to what, what is kept, what each connection gets next.
//!
//! Never contains sockets, a clock, threads, libc or operating-system randomness: bytes, time and seeds are
//! arguments, and everything that leaves goes through [`seam::Io`].

mod ages;
pub mod batch;
pub mod conn;
pub mod hash;
pub mod hub;
pub mod idempotency;
pub mod lanes;
pub mod log;
pub mod mail;
pub mod node;
mod output;
mod rounds;
pub mod seam;
mod stream;
mod talk;
pub mod topics;
mod upload;
pub mod wheel;
pub mod worker;
