//! Several real servers, a real Redis, and HAProxy in front: one order, and the faults of all that a fleet
//! must survive.
//!
//! Each test starts a Redis of its own on a port of its own. Where there is no `redis-server`, they say so
//! and pass. Nothing here uses the product's own code.
#![allow(clippy::unwrap_used)]

mod balancer;
mod checked;
mod demo;
mod entries;
mod faults;
mod fleet;
#[path = "../blackbox/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the black-box suite, which uses all of it")]
mod harness;
mod redis;
mod starts;
