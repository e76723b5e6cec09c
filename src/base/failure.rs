//! The end of a subcommand that did not succeed: one line of text and its class.

/// Reason for which a subcommand failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandFailure {
    /// The command line or a setting is wrong: exit code 2.
    Usage(String),
    /// It could not be done; the text says how to help it: exit code 1.
    Run(String),
}
