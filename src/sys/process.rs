//! Calls about the process and the calling thread: file tables, file limits, wake-up files, inheritance.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// The two values of a resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// The value that is enforced.
    pub(crate) soft: u64,
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

/// The processors that the calling thread may run on, by number, lowest first (`sched_getaffinity(2)`).
pub fn processors() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is plain data for which all zeros, the empty set, is valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: thread 0 is the caller; `set` is writable for its size for the length of the call.
    checked(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: the macro reads the one bit asked for, which lies in the set for every number below its size.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&number| unsafe { libc::CPU_ISSET(number, &set) }).collect())
}

/// Keeps the calling thread on one of the first 1 024 processors (`sched_setaffinity(2)`).
///
/// # Errors
/// When the number is larger, or the thread may not run there.
pub(crate) fn pin_thread(processor: usize) -> io::Result<()> {
    if processor >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: cpu_set_t is plain data for which all zeros, the empty set, is valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number lies in the set, as just checked.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: thread 0 is the caller; `set` is valid for its size and only read by the call.
    checked(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) }).map(drop)
}

/// `RLIMIT_NOFILE`: how many files one table may hold.
pub fn files_limit() -> io::Result<ResourceLimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, writable rlimit for the length of the call.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    Ok(ResourceLimit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Sets both values of `RLIMIT_NOFILE`.
pub(crate) fn set_files_limit(limit: ResourceLimit) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `limit` is a valid rlimit, only read by the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).map(drop)
}

/// A non-blocking counter that becomes readable when written to (`eventfd(2)`).
pub fn open_wake_file() -> io::Result<File> {
    // SAFETY: takes no pointer.
    let fd = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: the call returned a new descriptor that nothing else owns.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Takes over a descriptor that the starter of this process has left open for it, and closes it on exec from
/// here on. To be called before the process opens anything itself, or the number may be of its own making.
///
/// # Errors
/// When the number is not open, is a standard stream, is 64 or more, or was taken before.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: AtomicU64 = AtomicU64::new(0b111);
    let bit = u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number));
    let bit = bit.ok_or(io::ErrorKind::InvalidInput)?;
    if TAKEN.fetch_or(bit, SeqCst) & bit != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: takes no pointer; a number that is not open is an error.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: open, as the last call has shown. No code of this process has opened it, as demanded above, and
    // no other call of this function has returned it, as the mask has shown, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Removes variables from the environment, so that no child takes them for its own. Does nothing once there
/// is a second thread, which might be reading them.
pub(crate) fn forget_variables(names: &[&str]) {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1) {
        for name in names {
            // SAFETY: this is the process's only thread, so nobody reads the environment meanwhile.
            unsafe { std::env::remove_var(name) };
        }
    }
}

/// Keeps every descriptor of the calling thread's table but the standard streams from programs that are
/// started later: a file that this process opens is closed on exec anyway, one left open for it is not
/// (`close_range(2)`, Linux 5.11).
pub(crate) fn keep_files_from_children() -> io::Result<()> {
    // SAFETY: takes no pointer; sets a flag of descriptors, none is closed.
    checked(unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) })
        .map(drop)
}

/// Ends at once a child that leads a process group, and all others in the group (`kill(2)`). To be called
/// before the child is waited for, or the number may be another's.
pub(crate) fn kill_group(child: &std::process::Child) -> io::Result<()> {
    let leader = libc::pid_t::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // 0 and -1 mean other groups than one's own.
    if leader <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: takes no pointer; signals only the processes of the child's own group.
    checked(unsafe { libc::kill(-leader, libc::SIGKILL) }).map(drop)
}

/// Asks the scheduler to give the calling thread its processor time in slices of `slice`, so that more
/// threads than processors take turns sooner (`sched_setattr(2)`; kernels before 6.12 ignore it). All else
/// stays.
pub(crate) fn set_time_slice(slice: Duration) -> io::Result<()> {
    let bytes = size_of::<libc::sched_attr>() as u32;
    // SAFETY: sched_attr is plain data for which all zeros is valid.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: thread 0 is the caller; `attributes` is writable for `bytes` bytes for the length of the call.
    checked(
        unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, bytes, 0) } as libc::c_int
    )?;
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: `attributes` is valid for the length of the call, which only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    checked(result as libc::c_int).map(drop)
}

/// Processor time of all threads of this process since its start (`CLOCK_PROCESS_CPUTIME_ID`).
pub(crate) fn processor_time() -> io::Result<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, writable timespec for the length of the call.
    checked(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) })?;
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Ok(Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0)))
}

/// Bytes of a page of memory.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096)
}

/// Returns to the operating system the memory that the allocator holds and nobody uses (`malloc_trim(3)`).
/// Holds up allocations of other threads for some milliseconds for each 100 MB.
pub(crate) fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; the allocator locks its heaps itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_streams_and_numbers_beyond_the_mask_are_not_inherited() {
        for number in [-1, 0, 1, 2, 64, RawFd::MAX] {
            assert_eq!(inherited(number).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{number}");
        }
    }

    #[test]
    fn processor_time_goes_on_and_pages_are_powers_of_two() {
        let before = processor_time().unwrap();
        let mut spins = 0_u64;
        while processor_time().unwrap() < before + Duration::from_millis(5) {
            spins += 1;
        }
        assert!(spins > 0 && page_bytes().is_power_of_two());
    }

    #[test]
    fn a_pinned_thread_may_run_on_one_processor_only() {
        let before = processors().unwrap();
        let last = *before.last().unwrap();
        let after = std::thread::spawn(move || {
            pin_thread(last).unwrap();
            processors().unwrap()
        });
        assert_eq!(after.join().unwrap(), [last]);
        assert_eq!(processors().unwrap(), before, "the other threads stay free");
        assert_eq!(pin_thread(1_024).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn the_soft_limit_can_be_set_to_what_it_is() {
        let limit = files_limit().unwrap();
        assert!(limit.soft <= limit.hard);
        assert!(set_files_limit(limit).is_ok());
    }
}
