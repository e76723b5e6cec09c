//! The pure core: subscriptions, kept frames, and the next bytes of each connection.
//!
//! Never contains sockets, a clock, threads, libc or operating-system randomness. Bytes, time and seeds are
//! arguments, and everything that leaves goes through [`seam::Io`].

pub mod batch;
pub mod conn;
pub mod conn_trace;
mod delivery_age;
pub mod hash;
pub mod heavy_hitters;
mod http;
pub mod hub;
pub mod idempotency;
pub mod idle_eviction;
pub mod journal;
pub mod lanes;
pub mod mail;
pub mod node;
mod output;
pub mod readiness;
mod request_input;
mod rounds;
pub mod seam;
mod stream;
pub mod survey;
pub mod survey_request;
mod survey_walk;
pub mod top_k;
pub mod topic_log;
pub mod topics;
mod upload;
pub mod user_agents;
pub mod wheel;
pub mod worker;
