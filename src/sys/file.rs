//! Files and pipes that others may hold the other end of.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a file for reading. Unlike the usual way it does not wait for a pipe's writer, and no terminal
/// becomes the process's own.
///
/// # Errors
/// When the system refuses.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Waits until nobody can read from an output any more: the pipe's reader has closed it, or the terminal is
/// gone. Never returns for a plain file.
///
/// # Errors
/// When the descriptor is not open.
pub(crate) fn wait_until_reader_left(output: &impl AsFd) -> io::Result<()> {
    let mut polled = libc::pollfd { fd: output.as_fd().as_raw_fd(), events: 0, revents: 0 };
    loop {
        // SAFETY: `polled` is one valid record for the length of the call.
        let result = unsafe { libc::poll(&raw mut polled, 1, -1) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        } else if polled.revents & libc::POLLNVAL != 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        } else if polled.revents != 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_s_end_is_seen_without_a_write() {
        let (reader, writer) = io::pipe().expect("files are left");
        let waits = std::thread::spawn(move || wait_until_reader_left(&writer));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waits.is_finished(), "the reader is still there");
        drop(reader);
        waits.join().expect("no panic").expect("an open descriptor");
    }
}
