//! Settings: file, environment and flags become one set of values, each with its origin; contradictions are
//! refused in one line.
//!
//! Owns the words of refusals and the rules of alerts as the file writes them. Starts and serves nothing.

pub mod alert_rules;
pub mod contradictions;
pub mod file;
pub mod refusal;
pub mod render;
pub mod resolve;
pub mod resolved;
pub mod service_links;
