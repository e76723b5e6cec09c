//! The pure core: who is subscribed to what, what is kept, what each connection gets next.
//!
//! Never contains sockets, a clock, threads, libc or operating-system randomness: bytes, time and seeds are
//! arguments, and everything that leaves goes through [`seam::Io`].

pub mod seam;
