//! The real program over TCP, judged by the bytes it sends: contract transcripts with 1 and with 4 workers,
//! and the faults and attacks that a server of this kind must survive.
//!
//! Every test starts its own server on its own ports, so all may run at once. Nothing here uses the product's
//! own code.
#![allow(clippy::unwrap_used)]

mod activation;
mod alerts;
mod alerts_defaults;
mod answers;
mod authorize;
mod bans;
mod batch;
mod bench_profile;
mod body_attacks;
mod classes;
mod client_addresses;
mod client_library;
mod clocks;
mod collisions;
mod control;
mod control_token;
mod crowds;
mod cuts;
mod dashboard;
mod deadlines;
mod descriptors;
mod doctor;
mod drain;
mod extremes;
mod figures;
mod forgetting;
mod harness;
mod head_attacks;
mod injected;
mod jwt;
mod large_bodies;
mod leak;
mod lifetime;
mod lives;
mod load;
mod monitoring;
mod mutation;
mod order;
mod overload;
mod patterns;
mod payloads;
mod pipelines;
mod placement;
mod planning;
mod polls;
mod primed;
mod privileges;
mod publish;
mod rates;
mod readiness;
mod received;
mod refused_calls;
mod reloads;
mod resume;
mod rows;
mod secrets;
mod signals;
mod signed_urls;
mod slow;
mod snapshots;
mod startup;
mod storms;
mod streams;
mod subscribe;
mod survey;
mod token_timing;
mod tokens;
