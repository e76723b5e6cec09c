//! Reads small files that an operator names.
//!
//! Owns the bound on their bytes, and the refusal to wait: a running server that reads a file again must not
//! stand still because a pipe has taken its place. Knows nothing of the text inside.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::sys::file::open_without_waiting;

/// Whether a reader may wait for a pipe's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PipeWait {
    /// A command that has nothing else to do waits: `--config <(…)` works.
    Allowed,
    /// A running server never waits.
    Refused,
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// When it cannot be read, is longer, or is a pipe or socket and `wait` refuses these.
pub(crate) fn read_named_file(path: &Path, bytes_max: usize, wait: PipeWait) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(path, bytes_max, wait, &mut bytes)?;
    Ok(bytes)
}

fn read_into(path: &Path, bytes_max: usize, wait: PipeWait, bytes: &mut Vec<u8>) -> io::Result<()> {
    let file = match wait {
        PipeWait::Allowed => File::open(path),
        PipeWait::Refused => open_without_waiting(path),
    }?;
    if wait == PipeWait::Refused && is_pipe(&file)? {
        return Err(io::Error::other("it is a pipe, which a running server does not wait for; use a file"));
    }
    file.take(bytes_max as u64 + 1).read_to_end(bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it is larger than {bytes_max} bytes")));
    }
    Ok(())
}

/// Reads such a file whose bytes are a secret: they are gone from memory when the value is.
///
/// # Errors
/// As [`read_named_file`].
pub(crate) fn read_secret_file(
    path: &Path,
    bytes_max: usize,
    wait: PipeWait,
) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a buffer that grows would leave copies.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 2));
    read_into(path, bytes_max, wait, &mut bytes)?;
    Ok(bytes)
}

fn is_pipe(file: &File) -> io::Result<bool> {
    let kind = file.metadata()?.file_type();
    Ok(kind.is_fifo() || kind.is_socket())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pipe_is_refused_at_once_whether_or_not_it_has_a_writer() {
        let pipe = std::env::temp_dir().join(format!("fanwheel-{}-named-pipe", std::process::id()));
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        let refused = || {
            let error = read_named_file(&pipe, 10, PipeWait::Refused).expect_err("a pipe");
            assert!(error.to_string().starts_with("it is a pipe"), "{error}");
        };
        refused();
        // Read and write in one, so that opening it does not wait for another side.
        let writer = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
        refused();
        drop(writer);
        let _ = std::fs::remove_file(&pipe);
    }

    #[test]
    fn the_bound_is_of_the_whole_file() {
        let path = std::env::temp_dir().join(format!("fanwheel-{}-named-file", std::process::id()));
        std::fs::write(&path, "0123456789").expect("a writable folder");
        for wait in [PipeWait::Allowed, PipeWait::Refused] {
            assert_eq!(read_named_file(&path, 10, wait).expect("it fits"), b"0123456789");
            assert!(read_named_file(&path, 9, wait).is_err());
            assert!(read_named_file(Path::new("/dev/zero"), 9, wait).is_err());
            assert_eq!(read_named_file(Path::new("/dev/null"), 9, wait).expect("empty"), b"");
        }
        let _ = std::fs::remove_file(&path);
    }
}
