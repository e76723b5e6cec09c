//! Calls that take privileges from the process: its user, its capabilities, and those of programs it starts.
//!
//! Capabilities belong to a thread (capabilities(7)), so these calls are for a process of one thread; threads
//! that start later inherit the result.

use std::ffi::CString;
use std::io;

/// Bytes for the entry of a user; `getpwnam_r` says when an entry is larger, which none is.
const USER_ENTRY_BYTES: usize = 16_384;
/// Version 3 of the capability sets: two words each.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// `CAP_NET_BIND_SERVICE`: to listen on ports below 1024.
const BIND_CAPABILITY: u32 = 1 << 10;

/// A user of this host, with its first group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostUser {
    name: CString,
    user: libc::uid_t,
    group: libc::gid_t,
}

/// The head of `capset(2)`.
#[repr(C)]
struct CapabilityHead {
    version: u32,
    thread: libc::c_int,
}

/// A word of each set of `capset(2)`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityWords {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The user that the process acts as.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Finds a user by its name.
///
/// # Errors
/// When there is none.
pub(crate) fn find_user(name: &str) -> io::Result<HostUser> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut buffer = vec![0; USER_ENTRY_BYTES];
    // SAFETY: passwd is plain data for which all zeros is valid.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: `name` ends in NUL; `entry`, `found` and `buffer` are writable for their sizes, and outlive the
    // call and every look at `entry`, whose pointers lead into `buffer`.
    let error = unsafe {
        libc::getpwnam_r(name.as_ptr(), &raw mut entry, buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    match (error, found.is_null()) {
        (0, false) => Ok(HostUser { name, user: entry.pw_uid, group: entry.pw_gid }),
        (0, true) => Err(io::Error::new(io::ErrorKind::NotFound, "there is no such user")),
        (error, _) => Err(io::Error::from_raw_os_error(error)),
    }
}

impl HostUser {
    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.user
    }

    /// Makes the process act as this user and its groups for good, with the one capability to listen on low
    /// ports.
    ///
    /// # Errors
    /// When the process may not.
    pub(crate) fn become_it(&self) -> io::Result<()> {
        // SAFETY: `name` ends in NUL and is only read.
        checked(unsafe { libc::initgroups(self.name.as_ptr(), self.group) })?;
        // SAFETY: takes no pointer.
        checked(unsafe { libc::setresgid(self.group, self.group, self.group) })?;
        // SAFETY: takes no pointer. Without it the change of the user would take every capability.
        checked(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1) })?;
        // SAFETY: takes no pointer.
        checked(unsafe { libc::setresuid(self.user, self.user, self.user) })?;
        keep_bind_capability()?;
        // SAFETY: takes no pointer. The change of the user has given this process' files under /proc to root.
        checked(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) })
    }
}

fn keep_bind_capability() -> io::Result<()> {
    let head = CapabilityHead { version: CAPABILITY_VERSION, thread: 0 };
    let none = CapabilityWords { effective: 0, permitted: 0, inheritable: 0 };
    let low = CapabilityWords { effective: BIND_CAPABILITY, permitted: BIND_CAPABILITY, inheritable: 0 };
    let sets = [low, none];
    // SAFETY: version 3 reads one head and two words of each set, as they are here; thread 0 is the caller.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const head, sets.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Keeps programs that this process starts from gaining privileges, for good.
///
/// # Errors
/// On a kernel without it.
pub(crate) fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}
