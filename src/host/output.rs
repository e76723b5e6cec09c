//! Standard output of the subcommands: a reader that left is no error, a full disk is one.

use std::io::{self, Write};

use crate::base::failure::CommandFailure;
use crate::sys::file::wait_until_reader_left;

/// Prints a whole text, or says why it could not.
pub(crate) fn print(text: &str) -> Result<(), CommandFailure> {
    printed(write_out(text.as_bytes())).map(|_| ())
}

/// Ends the process, with exit code 0, as soon as nobody reads standard output any more. Without this a quiet
/// stream before `| head` would hang until its next event.
pub(crate) fn exit_when_reader_leaves() {
    let watch = || {
        if wait_until_reader_left(&io::stdout()).is_ok() {
            std::process::exit(0);
        }
    };
    // Without the thread the next write finds the closed output.
    let _ = std::thread::Builder::new().name("output".to_owned()).spawn(watch);
}

/// Writes bytes and flushes.
pub(crate) fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Returns true while somebody still reads. A closed standard output means that enough was read, so it is no
/// error. A full disk is one, because the file would silently lack its end.
pub(crate) fn printed(written: io::Result<()>) -> Result<bool, CommandFailure> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandFailure::Run(format!("cannot write to standard output: {error}"))),
    }
}
