//! The one-shot clients: publish and subscribe over HTTP, and events as text for a terminal.
//!
//! Knows the server only by its URLs and bytes.

pub mod event_text;
pub mod http;
pub mod publish;
pub mod subscribe;
