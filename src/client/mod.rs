//! The one-shot clients: publish and subscribe over HTTP, and events as text for a terminal.
//!
//! Knows the server only by its URLs and bytes.

pub(crate) mod event_text;
pub(crate) mod http;
pub(crate) mod publish;
pub(crate) mod subscribe;
pub(crate) mod tls_connector;
pub(crate) mod unix_socket;
