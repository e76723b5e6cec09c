//! Credentials: which one a request brings, and what its owner may do here.
//!
//! Pure: keys and the time are arguments. Reads no file, and knows neither topics nor connections.

pub mod access;
pub mod application;
pub mod class_access;
pub mod jwt;
pub mod jwt_key;
pub(crate) mod presented;
pub mod signed_url;
pub(crate) mod token_hash;
pub mod topic_grant;
