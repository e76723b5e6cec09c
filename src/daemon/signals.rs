//! Signals, as flags that the main thread polls.
//!
//! A handler may run in any thread, and in a worker a descriptor number means another file, so handlers touch
//! no descriptor, not even a pipe to wake somebody: they set a flag. The main thread looks every
//! [`SIGNAL_POLL_MS`]; two signals of one kind within that time count as one, as they may in the kernel.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

/// The interval at which the main thread polls: short beside any drain, and 20 wake-ups a second cost
/// nothing.
pub(crate) const SIGNAL_POLL_MS: u64 = 50;

/// The signals with a handler, and their actions. SIGPIPE needs none: the standard library ignores it.
const ACTIONS: [(i32, SignalAction); 6] = [
    (SIGTERM, SignalAction::End { name: "SIGTERM", exit_code: 128 + 15 }),
    (SIGINT, SignalAction::End { name: "SIGINT", exit_code: 128 + 2 }),
    (SIGHUP, SignalAction::Reload),
    (SIGUSR1, SignalAction::Ignore { name: "SIGUSR1" }),
    (SIGUSR2, SignalAction::Ignore { name: "SIGUSR2" }),
    (SIGALRM, SignalAction::Ignore { name: "SIGALRM" }),
];

/// The action that a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalAction {
    /// Drains; if a drain is under way already, stops at once.
    End {
        /// The signal's name, for the log.
        name: &'static str,
        /// The exit code of a forced stop, as a shell would show it.
        exit_code: u8,
    },
    /// Reopens the log and reads the configuration again.
    Reload,
    /// Does nothing; the handler only keeps the signal from killing the process.
    Ignore {
        /// The signal's name, for the log.
        name: &'static str,
    },
}

/// A flag for each signal with a handler.
#[derive(Debug)]
pub(crate) struct SignalFlags {
    flags: Vec<(Arc<AtomicBool>, SignalAction)>,
}

impl SignalFlags {
    /// Takes the signals over, for the rest of the process's life.
    pub(crate) fn take() -> io::Result<SignalFlags> {
        let take = |(signal, action)| {
            let flag = Arc::new(AtomicBool::new(false));
            flag::register(signal, Arc::clone(&flag)).map(|_| (flag, action))
        };
        Ok(SignalFlags { flags: ACTIONS.into_iter().map(take).collect::<io::Result<_>>()? })
    }

    /// Returns the actions of signals that came since the last call.
    pub(crate) fn take_pending(&self) -> impl Iterator<Item = SignalAction> {
        self.flags.iter().filter(|(flag, _)| flag.swap(false, Relaxed)).map(|(_, action)| *action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_seen_once() {
        let signals = SignalFlags::take().expect("handlers can be set");
        assert_eq!(signals.take_pending().count(), 0);
        signal_hook::low_level::raise(SIGUSR1).expect("raised");
        assert_eq!(signals.take_pending().collect::<Vec<_>>(), [SignalAction::Ignore { name: "SIGUSR1" }]);
        assert_eq!(signals.take_pending().count(), 0);
    }
}
