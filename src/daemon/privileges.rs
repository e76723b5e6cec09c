//! The setting `user`: a server that was started as root gives that up before it opens anything for clients.
//!
//! Decides when, and in which words it fails. The calls are in `sys::privileges`.

use crate::base::failure::CommandFailure;
use crate::base::logfmt::shown;
use crate::sys::privileges::{effective_user, find_user, forbid_new_privileges};

/// Becomes a user, by its name; nothing happens for an empty one. Call it while there is one thread.
///
/// # Errors
/// When there is no such user, or the process may not become it.
pub(crate) fn drop_privileges(name: &str) -> Result<(), CommandFailure> {
    if name.is_empty() {
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        let hint = if effective_user() == 0 { "choose another" } else { "start as root, or leave it out" };
        CommandFailure::Run(format!("cannot become user = {}: {error}; {hint}", shown(name)))
    };
    let user = find_user(name).map_err(failed)?;
    if user.number() != effective_user() {
        user.become_it().map_err(failed)?;
    }
    forbid_new_privileges().map_err(failed)
}
