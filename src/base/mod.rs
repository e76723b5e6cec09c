//! Facts that every layer shares: bounds, ids, time, randomness, settings, counters. No I/O, no state.

pub mod address;
pub(crate) mod backplane_address;
pub mod ban_list;
pub mod class;
pub(crate) mod count_names;
pub mod counters;
pub(crate) mod failure;
pub(crate) mod histogram;
pub mod id;
pub mod limits;
pub mod listener;
pub(crate) mod logfmt;
pub mod number_text;
pub mod peers;
pub mod prng;
pub(crate) mod quantity;
pub(crate) mod setting_spec;
pub(crate) mod setting_table;
pub mod settings;
pub mod snapshot;
pub(crate) mod suggest;
pub mod survey;
pub mod time;
pub mod topic;
pub(crate) mod webhook_url;
