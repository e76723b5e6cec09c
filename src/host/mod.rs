//! Facts about process and host: `/proc`, control groups, memory, trusted certificates, named files,
//! standard output.
//!
//! Only reads and writes plain values; judges nothing and knows no connection. Files are read under a given
//! root, so that tests can bring their own.

pub(crate) mod ca_bundle;
pub(crate) mod cgroups;
#[cfg(test)]
pub(crate) mod fake_root;
pub(crate) mod memory;
pub(crate) mod named_file;
pub(crate) mod outbound;
pub(crate) mod output;
pub(crate) mod own_process;
pub(crate) mod proc_text;
pub mod processes;
pub(crate) mod seed;
pub(crate) mod tls_trust;
pub(crate) mod token_file;
