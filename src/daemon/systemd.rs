//! Messages to systemd (`Type=notify`): ready, reloading, stopping, alive. Protocol: `sd_notify(3)`.
//!
//! Without `NOTIFY_SOCKET` every call does nothing. A message that cannot be delivered is not worth an error:
//! the service manager notices by its own deadlines.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The socket of the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    address: Option<SocketAddr>,
    /// Half of the watchdog's deadline.
    period: Option<Duration>,
    last_alive: Option<Instant>,
}

impl ServiceManager {
    /// Reads the variables of the protocol. `variable` looks one up, as `std::env::var_os` does; `pid` is
    /// this process's id.
    pub(crate) fn from_environment(
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
        pid: u32,
    ) -> ServiceManager {
        let address = variable("NOTIFY_SOCKET").and_then(|name| socket_address(&name));
        let number = |name| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|watched| watched == u64::from(pid));
        let micros = number("WATCHDOG_USEC").filter(|&micros| for_us && micros > 0);
        ServiceManager {
            address,
            period: micros.map(|micros| Duration::from_micros(micros / 2)),
            last_alive: None,
        }
    }

    /// Reports that the server is ready.
    pub(crate) fn notify_ready(&self) {
        self.send("READY=1");
    }

    /// Reports that the configuration is being read again; [`ServiceManager::notify_ready`] ends it.
    pub(crate) fn notify_reloading(&self) {
        self.send("RELOADING=1");
    }

    /// Reports that the server drains.
    pub(crate) fn notify_stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Reports that the process is alive, when the watchdog is due.
    pub(crate) fn notify_alive(&mut self, now: Instant) {
        let Some(period) = self.period else { return };
        if self.last_alive.is_none_or(|last| now.saturating_duration_since(last) >= period) {
            self.last_alive = Some(now);
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, message: &str) {
        let Some(address) = &self.address else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(message.as_bytes(), address)
        });
        if let Err(error) = sent {
            log::debug!("event=notify_failed message={message} error=\"{error}\"");
        }
    }
}

/// A path, or with `@` in front a name in the abstract name space.
fn socket_address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn manager(name: &str, micros: &str, watched: &str) -> ServiceManager {
        let find = |variable: &str| match variable {
            "NOTIFY_SOCKET" => Some(OsString::from(name)),
            "WATCHDOG_USEC" => Some(OsString::from(micros)),
            "WATCHDOG_PID" => Some(OsString::from(watched)),
            _ => None,
        };
        ServiceManager::from_environment(find, 7)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let bytes = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..bytes]).into_owned()
    }

    #[test]
    fn messages_reach_a_path_and_an_abstract_name() {
        let path = std::env::temp_dir().join(format!("fanwheel-{}-notify", std::process::id()));
        let by_path = UnixDatagram::bind(&path).unwrap();
        manager(path.to_str().unwrap(), "0", "7").notify_ready();
        let _ = std::fs::remove_file(&path);
        assert_eq!(heard(&by_path), "READY=1");

        let name = format!("fanwheel-{}-notify", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager(&format!("@{name}"), "0", "7").notify_stopping();
        assert_eq!(heard(&by_name), "STOPPING=1");
    }

    #[test]
    fn a_sign_of_life_comes_at_half_the_deadline_and_only_from_the_watched_process() {
        let mut watched = manager("@nobody", "2000000", "7");
        let start = Instant::now();
        let mut signs = 0;
        for ms in (0..3_500).step_by(50) {
            let before = watched.last_alive;
            watched.notify_alive(start + Duration::from_millis(ms));
            signs += usize::from(watched.last_alive != before);
        }
        assert_eq!(signs, 4, "at 0, 1, 2 and 3 seconds");
        let mut other = manager("@nobody", "2000000", "8");
        other.notify_alive(start);
        assert_eq!(other.last_alive, None);
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let mut manager = ServiceManager::from_environment(|_| None, 7);
        manager.notify_ready();
        manager.notify_alive(Instant::now());
        assert!(socket_address(OsStr::new("relative")).is_none());
    }
}
