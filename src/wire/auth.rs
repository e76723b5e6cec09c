//! Credentials: which one a request brings, and what its owner may do here.
//!
//! Pure: keys and the time are arguments. Reads no file, and knows neither topics nor connections.

pub(crate) mod access;
pub(crate) mod class_access;
pub(crate) mod jwt;
pub(crate) mod jwt_key;
pub(crate) mod presented;
pub(crate) mod signed_url;
pub(crate) mod token_hash;
pub(crate) mod topic_grant;
