//! Names of the keys in Redis. All of them share one hash tag, so that a cluster keeps them on one server.

/// The keys of a fleet.
#[derive(Clone, Debug)]
pub(super) struct FleetKeys {
    prefix: String,
}

impl FleetKeys {
    /// Makes the keys of the fleet of that name.
    pub(super) fn new(name: &str) -> FleetKeys {
        FleetKeys { prefix: format!("{{{name}}}") }
    }

    /// The stream of all events.
    pub(super) fn stream(&self) -> String {
        format!("{}:stream", self.prefix)
    }

    /// The hash with the position of the fleet.
    fn fleet(&self) -> String {
        format!("{}:fleet", self.prefix)
    }

    /// The keys that each script uses: stream and hash.
    pub(super) fn shared(&self) -> Vec<Vec<u8>> {
        vec![self.stream().into_bytes(), self.fleet().into_bytes()]
    }

    /// The answer that an idempotency key stands for.
    pub(super) fn idempotency(&self, text: &[u8]) -> Vec<u8> {
        let mut key = format!("{}:key:", self.prefix).into_bytes();
        key.extend_from_slice(text);
        key
    }
}
