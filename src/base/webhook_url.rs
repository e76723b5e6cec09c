//! Addresses that the server itself asks or posts to. Their paths are often secrets, so they are masked when
//! they are shown.
//!
//! Owns their form, the mask, and the hosts that are never asked. Sends nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::limits::ALERT_WEBHOOKS_MAX;

/// Mask in place of the secret part of an address.
const MASK: &str = "***";

/// An address without the parts that only its owner should know: user, path and query.
pub(crate) fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let user = if user.is_empty() { String::new() } else { format!("{MASK}@") };
    let path = if path.is_empty() || path == "/" { path.to_owned() } else { format!("/{MASK}") };
    format!("{scheme}://{user}{host}{path}")
}

/// Returns the numeric address that stands in the place of a host's name, if one does.
pub(crate) fn literal_address(url: &str) -> Option<IpAddr> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => host.split(':').next()?,
    };
    name.parse().ok()
}

/// Whether an address is one at which clouds tell a host its own keys: link-local ones, and a few others.
pub(crate) fn is_host_metadata(address: IpAddr) -> bool {
    const OTHERS_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
    const AWS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || OTHERS_V4.contains(&address),
        IpAddr::V6(address) => address.is_unicast_link_local() || address == AWS_V6,
    }
}

/// Checks a list of addresses; the refusal is the rule that one breaks, without the address.
pub(crate) fn check_urls(urls: &[String]) -> Result<(), String> {
    if urls.len() > ALERT_WEBHOOKS_MAX {
        return Err(format!("at most {ALERT_WEBHOOKS_MAX} addresses"));
    }
    for url in urls {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let good = |rest: &str| {
            !rest.is_empty()
                && !rest.starts_with(['/', '?', '#', ':', '@'])
                && rest.bytes().all(|b| b.is_ascii_graphic())
        };
        if !rest.is_some_and(good) {
            return Err("http://HOST/PATH or https://HOST/PATH".to_owned());
        }
        if url.contains(MASK) {
            return Err("the address itself, not as `fanwheel config` masks it".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_clouds_is_known_by_its_address() {
        let rows = [
            ("http://169.254.169.254/latest", Some(true)),
            ("http://[::ffff:169.254.169.254]/", Some(true)),
            ("http://user@[fe80::1]:80/x", Some(true)),
            ("http://[fd00:ec2::254]", Some(true)),
            ("http://100.100.100.200?x", Some(true)),
            ("http://127.0.0.1:3000/allow", Some(false)),
            ("http://10.0.0.7", Some(false)),
            ("http://app.internal/169.254.169.254", None),
            ("http://[::1", Some(false)),
        ];
        for (url, expected) in rows {
            assert_eq!(literal_address(url).map(is_host_metadata), expected, "{url}");
        }
    }

    #[test]
    fn what_may_be_secret_in_an_address_is_masked() {
        let rows = [
            ("https://hooks.example/services/T0/B0/secret", "https://hooks.example/***"),
            ("https://example.org", "https://example.org"),
            ("http://127.0.0.1:9/", "http://127.0.0.1:9/"),
            ("http://h?token=x", "http://h/***"),
            ("http://me:word@h:1/", "http://***@h:1/"),
            ("http://me:p@ss@h/x", "http://***@h/***"),
            ("secret", "***"),
        ];
        for (url, expected) in rows {
            assert_eq!(mask_url(url), expected);
        }
    }
}
