//! Bytes ↔ meaning: HTTP/1 requests and answers, publish bodies, the event stream.
//!
//! Never contains sockets, time or knowledge of topics' contents: functions of bytes, and small incremental
//! decoders that give the same result however their input is cut.

pub(crate) mod accept;
pub mod auth;
pub mod batch;
pub(crate) mod beacon;
pub mod body;
pub mod cors;
pub(crate) mod event_array;
pub(crate) mod fields;
pub mod forwarded;
pub mod frame;
pub(crate) mod gap;
pub(crate) mod guard;
pub mod head;
pub(crate) mod line;
pub(crate) mod listing;
pub(crate) mod parameters;
pub mod policy;
pub mod problem;
pub mod proxy_header;
pub mod query;
pub mod reply;
pub mod request;
pub(crate) mod response_stream;
pub(crate) mod rules;
pub mod sse;
pub mod subscription;
