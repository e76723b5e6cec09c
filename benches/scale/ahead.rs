//! Whoever measures goes before whatever loads the machine. They share processors here, and otherwise would
//! not; even a thread that gets only idle processors keeps one for up to a tick of the kernel's clock (4 ms)
//! while another has woken, and that would be measured as the server's.

use std::process::{Command, Stdio};
use std::sync::LazyLock;

const WRAP: &[&str] = &["chrt", "--fifo", "1"];

/// Whether this process may: root may, and any process with CAP_SYS_NICE.
static ALLOWED: LazyLock<bool> = LazyLock::new(|| {
    let allowed = silent(Command::new(WRAP[0]).args(&WRAP[1..]).arg("true"));
    if !allowed {
        eprintln!("scale: whoever measures may not go first (root may): times hold what they waited for");
    }
    allowed
});

/// A command to run a measuring process under.
pub fn wrap() -> &'static [&'static str] {
    if *ALLOWED { WRAP } else { &[] }
}

/// Puts the calling thread first, if that is allowed.
pub fn this_thread() {
    if *ALLOWED
        && let Ok(own) = std::fs::read_link("/proc/thread-self")
        && let Some(number) = own.file_name()
    {
        silent(Command::new(WRAP[0]).args(["--fifo", "--pid", "1"]).arg(number));
    }
}

fn silent(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
