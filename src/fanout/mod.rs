//! The pure core: subscriptions, kept frames, and the next bytes of each connection.
//!
//! Never contains sockets, a clock, threads, libc or operating-system randomness. Bytes, time and seeds are
//! arguments, and everything that leaves goes through [`seam::Io`].

mod answers;
mod awaited;
pub(crate) mod batch;
pub(crate) mod budget;
pub(crate) mod class_table;
mod closing;
pub(crate) mod conn;
pub(crate) mod conn_trace;
mod conn_tracing;
pub mod connection_budget;
mod delivery_age;
mod drain_window;
pub(crate) mod exchange;
mod fingerprint;
pub(crate) mod hash;
pub(crate) mod heavy_hitters;
mod http;
pub mod hub;
pub(crate) mod idempotency;
pub(crate) mod idle_eviction;
mod joining;
pub(crate) mod journal;
pub(crate) mod journals;
pub(crate) mod lanes;
mod leaving;
mod linger;
mod log_read;
pub mod mail;
pub mod node;
mod outcomes;
mod output;
mod pending_output;
mod pending_survey;
mod publish_answer;
pub mod readiness;
mod reply_context;
mod request_input;
pub(crate) mod roster;
mod rounds;
pub mod seam;
mod serve;
pub(crate) mod sharded_table;
pub(crate) mod shared_frame;
#[cfg(test)]
mod stage_tests;
mod stream;
pub(crate) mod subscriber_list;
pub(crate) mod survey;
pub mod survey_mail;
mod survey_progress;
pub(crate) mod survey_request;
mod survey_row;
mod survey_walk;
pub(crate) mod token;
pub(crate) mod top_k;
mod topic_lists;
pub(crate) mod topic_log;
pub(crate) mod topics;
mod turn_context;
mod upload;
pub(crate) mod user_agents;
pub mod wheel;
pub mod worker;
