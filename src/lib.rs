//! fanwheel: a Server-Sent Events server for very many subscribers on one Linux host.
//!
//! The layers, lowest first, and what each may import stand in ARCHITECTURE.md; `tests/tidy.rs` enforces
//! them. The library exists so that tests, benchmarks and fuzz targets reach the same code as the program.

#![warn(unreachable_pub)]

pub(crate) mod backplane;
pub mod base;
pub mod cli;
pub(crate) mod client;
pub mod config;
pub(crate) mod daemon;
pub mod doctor;
pub mod fanout;
pub mod host;
pub mod load;
pub mod monitor;
pub mod planner;
pub mod reactor;
pub mod sys;
pub mod wire;
