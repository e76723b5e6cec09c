//! Facts that every layer shares: bounds, ids, time, randomness, settings, counters. No I/O, no state.

pub mod address;
pub mod counters;
pub mod failure;
pub mod histogram;
pub mod id;
pub mod limits;
pub mod logfmt;
pub mod number_text;
pub mod prng;
pub mod settings;
pub mod snapshot;
pub mod suggest;
pub mod survey;
pub mod time;
