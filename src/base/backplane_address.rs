//! The address of a backplane: its form, its parts, and the text that may be shown.
//!
//! Owns the rule for `redis://` and `rediss://` addresses. The password is shown nowhere. Connects nowhere.

use std::fmt;

use percent_encoding::percent_decode_str;

/// Port of a server whose address names none.
const PORT_DEFAULT: u16 = 6379;
/// Mask in place of a password.
const MASK: &str = "***";
/// Rule that an address breaks, for an error line.
const FORM: &str = "redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or rediss:// for TLS";

/// An address, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BackplaneAddress {
    /// The connection is encrypted.
    pub(crate) tls: bool,
    /// Name or numeric address, without brackets.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// User of the server's access rules; none for its default user.
    pub(crate) user: Option<String>,
    /// Password in clear.
    pub(crate) password: Option<String>,
    /// Number of the database.
    pub(crate) database: u16,
}

impl BackplaneAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// The rule that it breaks, without the address.
    pub(crate) fn parse(text: &str) -> Result<BackplaneAddress, &'static str> {
        let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(FORM),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#']) {
            return Err(FORM);
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) =
            authority.rsplit_once('@').map_or(("", authority), |(login, place)| (login, place));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = split_place(place).ok_or(FORM)?;
        let database = if path.is_empty() { 0 } else { path.parse().map_err(|_| FORM)? };
        if password == MASK {
            return Err("the address itself, not as `fanwheel config` masks it");
        }
        Ok(BackplaneAddress {
            tls,
            host: host.to_owned(),
            port,
            user: decode_part(user)?,
            password: decode_part(password)?,
            database,
        })
    }
}

/// Splits a host from its port.
fn split_place(place: &str) -> Option<(&str, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(PORT_DEFAULT), |port| port.parse().ok().filter(|&port| port != 0))?;
    (!host.is_empty()).then_some((host, port))
}

/// Decodes a user or a password; none when it is empty.
fn decode_part(text: &str) -> Result<Option<String>, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| FORM)?;
    Ok((!decoded.is_empty()).then(|| decoded.into_owned()))
}

/// Returns an address without its password. A text that is no address may hold one anywhere.
pub(crate) fn mask_address(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    BackplaneAddress::parse(text).map_or_else(|_| MASK.to_owned(), |address| address.to_string())
}

impl fmt::Display for BackplaneAddress {
    /// The address without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss://" } else { "redis://" })?;
        let password = if self.password.is_some() { ":***" } else { "" };
        if self.user.is_some() || self.password.is_some() {
            write!(f, "{}{password}@", self.user.as_deref().unwrap_or(""))?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port)?,
            false => write!(f, "{}:{}", self.host, self.port)?,
        }
        if self.database == 0 { Ok(()) } else { write!(f, "/{}", self.database) }
    }
}

impl fmt::Debug for BackplaneAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_shown_without_their_password() {
        let rows = [
            ("redis://h", "redis://h:6379"),
            ("rediss://h:1/", "rediss://h:1"),
            ("redis://[::1]:7/3", "redis://[::1]:7/3"),
            ("redis://:s%40cret@h", "redis://:***@h:6379"),
            ("redis://me:s@cret@h:1/2", "redis://me:***@h:1/2"),
            ("redis://me@h", "redis://me@h:6379"),
        ];
        for (text, shown) in rows {
            let address = BackplaneAddress::parse(text).expect(text);
            assert_eq!((address.to_string(), format!("{address:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(mask_address(text), shown);
        }
        let address = BackplaneAddress::parse("rediss://a%3Ab:s%40c%2F@h:1/2").expect("well formed");
        let (user, password) = (address.user.as_deref(), address.password.as_deref());
        assert_eq!((user, password, address.database, address.tls), (Some("a:b"), Some("s@c/"), 2, true));
    }

    #[test]
    fn other_texts_are_refused_and_shown_as_nothing() {
        let texts = [
            "h:6379",
            "http://h",
            "redis://",
            "redis://:pass@",
            "redis://h:0",
            "redis://h:70000",
            "redis://h/x",
            "redis://h?db=1",
            "redis://h h",
            "redis://[::1",
            "redis://[::1]x",
            "redis://u:***@h",
            "redis://%ff@h",
        ];
        for text in texts {
            assert!(BackplaneAddress::parse(text).is_err(), "{text}");
            assert_eq!(mask_address(text), "***", "{text}");
        }
        assert_eq!(mask_address(""), "");
    }
}
