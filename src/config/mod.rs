//! Settings: file, environment and flags become one set of values, each with its origin; contradictions are
//! refused in one line.
//!
//! Owns the words of refusals, rules of alerts and classes of topics as the file writes them, and the form of
//! key files. Starts and serves nothing.

pub(crate) mod alert_rules;
pub(crate) mod class_report;
pub(crate) mod class_tables;
pub(crate) mod contradictions;
pub(crate) mod credential_report;
pub(crate) mod credentials;
pub(crate) mod familiar_names;
pub(crate) mod file;
pub(crate) mod missing_quotes;
pub(crate) mod refusal;
pub(crate) mod render;
pub mod resolve;
pub(crate) mod resolved;
pub(crate) mod service_links;
pub(crate) mod token_maker;
pub(crate) mod token_tables;
