//! Pages for operators: metrics, status, listings, the dashboard; trends, insights and alert rules.
//!
//! Pure functions from numbers to text. Knows no connection, no socket and no clock; labels never grow with
//! topics, clients or user agents.

pub(crate) mod alerts;
pub(crate) mod dashboard;
pub(crate) mod error_classes;
pub(crate) mod exposition;
pub mod listing;
pub(crate) mod metrics;
mod page_figures;
pub(crate) mod refusal_lines;
mod series;
pub(crate) mod status;
pub(crate) mod summary;
pub(crate) mod watch;
