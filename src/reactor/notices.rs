//! How a worker's thread and the others reach each other: wakers one way, notices to the main thread.

use crate::sys::process;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// A message of a worker to the main thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerNotice {
    /// `POST /drain` came: drain as after a SIGTERM.
    DrainRequested,
    /// The worker of that index has drained or stopped, and its thread ends.
    Finished(usize),
}

/// Wakes workers, from the workers and from any thread that has the file table of the one that called
/// [`super::start`]: the files have the same numbers in each.
#[derive(Clone, Debug)]
pub struct Wakers(Arc<[File]>);

impl Wakers {
    /// One file for each worker; before the workers have file tables of their own.
    pub fn new(workers: usize) -> io::Result<Wakers> {
        (0..workers).map(|_| process::open_wake_file()).collect::<io::Result<_>>().map(Wakers)
    }

    /// The file that wakes a worker.
    pub(crate) fn file(&self, index: usize) -> &File {
        &self.0[index]
    }

    /// Wakes the workers whose bits are set.
    pub(crate) fn wake(&self, mask: u64) {
        let mut left = mask;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            if let Some(mut file) = self.0.get(index) {
                // Each write is a new edge, though nobody reads. It fails only at a count of 2⁶⁴ - 1, and
                // then the file is readable already.
                let _ = file.write(&1_u64.to_ne_bytes());
            }
        }
    }
}
