//! How much room a file system has.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Bytes that this process could still write to the file system of a file (`statvfs(3)`). Blocks
/// reserved for root count for root.
///
/// # Errors
/// When there is no such file, it is a device or a pipe, or its file system does not tell.
pub(crate) fn bytes_free(path: &Path) -> io::Result<u64> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut room = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `name` ends with NUL and lives through the call; `room` is writable and of the type asked for.
    if unsafe { libc::statvfs(name.as_ptr(), room.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros are a valid statvfs, and the call has filled it.
    let room = unsafe { room.assume_init() };
    // SAFETY: takes no pointer and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    if room.f_blocks == 0 {
        // Some file systems do not count.
        return Err(io::ErrorKind::Unsupported.into());
    }
    let blocks = if is_root { room.f_bfree } else { room.f_bavail };
    Ok(blocks.saturating_mul(room.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_room_and_a_device_has_none_to_tell() {
        assert!(bytes_free(&std::env::temp_dir()).unwrap() > 0);
        assert!(bytes_free(Path::new("/dev/full")).is_err());
        assert!(bytes_free(Path::new("/nowhere/at/all")).is_err());
    }
}
