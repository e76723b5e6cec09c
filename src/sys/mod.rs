//! System calls made safe, one a function, and the only unsafe code of the program.
//!
//! Decides nothing: no retry policy beyond an interrupted call, no counting, no log. Calls that the standard
//! library, `mio` and `socket2` already make safe are not repeated here.

#![allow(unsafe_code)]

pub(crate) mod disk;
pub(crate) mod epoll;
pub(crate) mod file;
pub(crate) mod privileges;
pub mod process;
pub(crate) mod ring;
pub(crate) mod socket;
pub(crate) mod tcp;
