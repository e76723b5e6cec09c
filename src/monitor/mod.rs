//! Pages for operators: metrics, status, listings, the dashboard; trends, insights and alert rules.
//!
//! Pure functions from numbers to text. Knows no connection, no socket and no clock; labels never grow with
//! topics, clients or user agents.

pub mod alerts;
pub mod dashboard;
pub mod error_classes;
pub mod exposition;
pub mod listing;
pub mod metrics;
pub mod status;
pub mod summary;
pub mod watch;
