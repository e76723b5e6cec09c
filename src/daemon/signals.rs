//! Signals, as flags that the main thread looks at.
//!
//! A handler may run in any thread, and in a worker a descriptor number means another file, so handlers touch
//! no descriptor, not even a pipe to wake somebody: they set a flag. The main thread looks every
//! [`SIGNAL_POLL_MS`]; two signals of one kind within that time count as one, as they may in the kernel.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

/// How often the main thread looks: short beside any drain, and 20 wake-ups a second cost nothing.
pub const SIGNAL_POLL_MS: u64 = 50;

/// What is listened for, and what it means. SIGPIPE needs no flag: the standard library ignores it.
const MEANINGS: [(i32, Asked); 6] = [
    (SIGTERM, Asked::End { name: "SIGTERM", exit_code: 128 + 15 }),
    (SIGINT, Asked::End { name: "SIGINT", exit_code: 128 + 2 }),
    (SIGHUP, Asked::Reload),
    (SIGUSR1, Asked::Nothing { name: "SIGUSR1" }),
    (SIGUSR2, Asked::Nothing { name: "SIGUSR2" }),
    (SIGALRM, Asked::Nothing { name: "SIGALRM" }),
];

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Drain; if that is under way already, stop now.
    End {
        /// For the log.
        name: &'static str,
        /// The exit code of a forced stop, as a shell would show it.
        exit_code: u8,
    },
    /// Reopen the log, read the configuration again.
    Reload,
    /// Nothing; it only must not kill.
    Nothing {
        /// For the log.
        name: &'static str,
    },
}

/// The flags.
#[derive(Debug)]
pub struct Signals {
    flags: Vec<(Arc<AtomicBool>, Asked)>,
}

impl Signals {
    /// Takes the signals over, for the rest of the process's life.
    pub fn take() -> io::Result<Signals> {
        let take = |(signal, asked)| {
            let flag = Arc::new(AtomicBool::new(false));
            flag::register(signal, Arc::clone(&flag)).map(|_| (flag, asked))
        };
        Ok(Signals { flags: MEANINGS.into_iter().map(take).collect::<io::Result<_>>()? })
    }

    /// What came since the last look.
    pub fn asked(&self) -> impl Iterator<Item = Asked> {
        self.flags.iter().filter(|(flag, _)| flag.swap(false, Relaxed)).map(|(_, asked)| *asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_seen_once() {
        let signals = Signals::take().expect("handlers can be set");
        assert_eq!(signals.asked().count(), 0);
        signal_hook::low_level::raise(SIGUSR1).expect("raised");
        assert_eq!(signals.asked().collect::<Vec<_>>(), [Asked::Nothing { name: "SIGUSR1" }]);
        assert_eq!(signals.asked().count(), 0);
    }
}
