//! Addresses to which alerts are posted. Their paths are often secrets, so they are shown masked.
//!
//! Owns their form and the mask. Posts nothing.

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
