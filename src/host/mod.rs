//! Facts about process and host: `/proc`, control groups, memory, trusted certificates, named files,
//! standard output.
//!
//! Only reads and writes plain values; judges nothing and knows no connection. Files are read under a given
//! root, so that tests can bring their own.

pub mod ca_bundle;
pub mod cgroups;
#[cfg(test)]
pub mod fake_root;
pub mod memory;
pub mod named_file;
pub mod output;
pub mod own_process;
pub mod proc_text;
pub mod processes;
pub mod seed;
