//! Calls about the process and the calling thread: file tables, file limits, wake-up files.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The two values of a resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// Up to where the soft value may be raised without a privilege.
    pub hard: u64,
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives the calling thread a file table of its own: a copy of the shared one as it is now. From here on a
/// descriptor number may mean different files in different threads (`unshare(2)`, `CLONE_FILES`).
pub fn unshare_files() -> io::Result<()> {
    // SAFETY: takes no pointer; changes only to which table this thread's descriptor numbers refer. Numbers
    // owned by other threads stay valid there, and the copies here stay open until this thread ends, so no
    // owner's number can come to mean another file in its own thread.
    checked(unsafe { libc::unshare(libc::CLONE_FILES) }).map(drop)
}

/// `RLIMIT_NOFILE`: how many files one table may hold.
pub fn files_limit() -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, writable rlimit for the length of the call.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Sets `RLIMIT_NOFILE`.
pub fn set_files_limit(limit: Limit) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `limit` is a valid rlimit, only read by the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// A non-blocking counter that becomes readable when written to (`eventfd(2)`).
pub fn wake_file() -> io::Result<File> {
    // SAFETY: takes no pointer.
    let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the call returned a new descriptor that nothing else owns.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::sync::mpsc::channel;

    fn link_of(number: i32) -> Option<std::path::PathBuf> {
        std::fs::read_link(format!("/proc/thread-self/fd/{number}")).ok()
    }

    #[test]
    fn after_unshare_a_number_opened_in_one_thread_is_unknown_to_another() {
        let (unshared_to, unshared_from) = channel::<()>();
        let (number_to, number_from) = channel::<i32>();
        let thread = std::thread::spawn(move || {
            unshare_files().unwrap();
            unshared_to.send(()).unwrap();
            link_of(number_from.recv().unwrap())
        });
        let opener = std::thread::spawn(move || {
            unshared_from.recv().unwrap();
            unshare_files().unwrap();
            // High enough that no other test's file has the number.
            let files: Vec<_> = (0..400).map(|_| wake_file().unwrap()).collect();
            let number = files[399].as_raw_fd();
            number_to.send(number).unwrap();
            (link_of(number), files).0
        });
        assert!(opener.join().unwrap().is_some());
        assert_eq!(thread.join().unwrap(), None);
    }

    #[test]
    fn closing_in_one_table_leaves_the_copy_in_another_open() {
        let (ready_to, ready_from) = channel::<()>();
        let (closed_to, closed_from) = channel::<()>();
        let file = wake_file().unwrap();
        let number = file.as_raw_fd();
        let thread = std::thread::spawn(move || {
            unshare_files().unwrap();
            ready_to.send(()).unwrap();
            closed_from.recv().unwrap();
            link_of(number).is_some_and(|link| link.to_string_lossy().contains("eventfd"))
        });
        ready_from.recv().unwrap();
        drop(file);
        closed_to.send(()).unwrap();
        assert!(thread.join().unwrap());
    }

    #[test]
    fn the_soft_limit_can_be_set_to_what_it_is() {
        let limit = files_limit().unwrap();
        assert!(limit.soft <= limit.hard);
        assert!(set_files_limit(limit).is_ok());
    }
}
