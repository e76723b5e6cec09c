//! Why the server could not start: causes and values. The text is made in `cli`.

use std::io;

use crate::base::listener::ListenerKind;

/// Why a listening socket could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindFault {
    /// Another socket, or a live server on the Unix socket, has it.
    InUse,
    /// A port below 1024 or a directory that may not be written.
    Permission,
    /// No interface of this host has the address, or the directory of a Unix socket is missing.
    NotAvailable,
    /// The kernel has no IPv6, or no Unix sockets.
    FamilyMissing,
    /// Something that is not a socket has the name of the Unix socket.
    NotASocket,
    /// Anything else; the operating system's error says it.
    Other,
}

/// Why the server could not start.
#[derive(Debug)]
pub enum StartError {
    /// An address is none of `ADDR:PORT`, `[ADDR6]:PORT`, `unix:/path`. A fault of the configuration.
    Address {
        /// Kind of the listener whose setting has it.
        listener: ListenerKind,
        /// The text as given.
        text: String,
    },
    /// No listening socket could be made there.
    Bind {
        /// Kind of the listener whose setting has the address.
        listener: ListenerKind,
        /// The address as given.
        text: String,
        /// The cause as far as it is known.
        fault: BindFault,
        /// Error of the operating system.
        os: io::Error,
    },
    /// A descriptor that was passed at the start is none that a server can listen on.
    Inherited {
        /// Number of the descriptor.
        number: i32,
        /// Name that its maker gave it.
        name: String,
        /// A system call that was refused; `None` when it just is no listening stream socket of IP or Unix.
        os: Option<io::Error>,
    },
    /// `connections_max` asks for more than the file limit allows.
    Connections {
        /// Connections that were asked for.
        wanted: usize,
        /// Connections that can be held.
        possible: usize,
        /// Workers that share the work.
        workers: usize,
        /// Files that each may open, or all together when the table is shared.
        files: u64,
        /// Whether each worker has a file table of its own.
        private: bool,
    },
    /// The file limit is too small for even one connection a worker.
    Files {
        /// Files that one table may hold.
        files: u64,
        /// The smallest that would do.
        needed: u64,
    },
    /// `unshare(CLONE_FILES)` was refused; `fd_tables = auto` or `shared` does without.
    FileTable(io::Error),
    /// A system call that every server needs was refused.
    Os {
        /// Name of the system call.
        call: &'static str,
        /// Error of the operating system.
        os: io::Error,
    },
}
