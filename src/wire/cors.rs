//! Which origins may read answers, and the header lines that say so (Fetch standard, §3.2 CORS protocol).

/// Origins that the settings allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// No CORS header at all (the control listener).
    Off,
    /// Every origin (`*`), without credentials.
    Any,
    /// The listed origins, with credentials; compared byte for byte.
    Listed(Vec<Box<str>>),
}

impl Cors {
    /// From the setting `cors_origins`. A `*` anywhere means everyone; `null` is never listed, because any
    /// sandboxed page can claim it; an empty list switches CORS off.
    pub(crate) fn from_setting(origins: &[String]) -> Cors {
        if origins.iter().any(|origin| origin == "*") {
            return Cors::Any;
        }
        let listed: Vec<Box<str>> =
            origins.iter().filter(|origin| *origin != "null").map(|origin| origin.as_str().into()).collect();
        if listed.is_empty() { Cors::Off } else { Cors::Listed(listed) }
    }

    /// Appends the header lines for a request with this `Origin`.
    pub(crate) fn append(&self, out: &mut Vec<u8>, origin: Option<&[u8]>) {
        match self {
            Cors::Off => {}
            Cors::Any => out.extend_from_slice(b"Access-Control-Allow-Origin: *\r\n"),
            Cors::Listed(_) => {
                out.extend_from_slice(b"Vary: Origin\r\n");
                if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
                    out.extend_from_slice(b"Access-Control-Allow-Origin: ");
                    out.extend_from_slice(origin);
                    out.extend_from_slice(b"\r\nAccess-Control-Allow-Credentials: true\r\n");
                }
            }
        }
    }

    /// Appends the line that lets pages read `Retry-After`, too, which is not among what all may read.
    pub(crate) fn append_exposed(&self, out: &mut Vec<u8>, origin: Option<&[u8]>) {
        if *self == Cors::Any || origin.is_some_and(|origin| self.allows(origin)) {
            out.extend_from_slice(b"Access-Control-Expose-Headers: Retry-After\r\n");
        }
    }

    /// Whether an origin is listed by name, so that its pages may act with credentials.
    pub(crate) fn lists(&self, origin: &[u8]) -> bool {
        matches!(self, Cors::Listed(_)) && self.allows(origin)
    }

    fn allows(&self, origin: &[u8]) -> bool {
        match self {
            Cors::Off => false,
            Cors::Any => true,
            Cors::Listed(listed) => listed.iter().any(|allowed| allowed.as_bytes() == origin),
        }
    }
}
