//! Admission to the operator's listeners: requests to their own names, not made by pages of other sites.
//!
//! Owns the defence against DNS rebinding (`Host`) and cross-site requests (`Origin`, `Sec-Fetch-Site`), so
//! that a web page cannot publish through the operator's browser. Knows no path.

use std::net::IpAddr;

use crate::base::counters::RefusalReason;
use crate::wire::fields::split_port;
use crate::wire::head::{Head, Method};
use crate::wire::problem::Problem;

/// Effect that a link of another site may have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForeignLink {
    /// Refused, since the answer is more than a page to look at.
    Refused,
    /// Followed, since the answer only shows a page.
    Followed,
}

/// Whether a browser asks for a page to show it by itself, as it does when a link is followed.
pub(crate) fn is_navigation(head: &Head<'_>) -> bool {
    head.method == Method::Get && head.fields.fetch_mode == Some(b"navigate")
}

/// [`RefusalReason::Host`] unless the request names loopback or one of `hosts`; [`RefusalReason::Origin`]
/// when a browser says that a page of another origin made it. Ports are not compared: forwarded ones
/// differ. A proxy may send its own idea of `Host`, so a page whose origin is one of the names in `hosts`, on
/// the scheme's own port, is ours, too.
pub(crate) fn check(head: &Head<'_>, hosts: &[String], link: ForeignLink) -> Result<(), Problem> {
    let (host, _) = split_port(head.fields.host.unwrap_or_default());
    let host = std::str::from_utf8(host).unwrap_or_default();
    if !is_ours(host, hosts) {
        return Err(Problem::Refused(RefusalReason::Host));
    }
    let own_origin = head.fields.origin.is_none_or(|origin| {
        is_same_host(origin, head.fields.host.unwrap_or_default())
            || hosts.iter().any(|ours| is_name(ours) && is_same_host(origin, ours.as_bytes()))
    });
    // `none` is the operator's own address bar; `same-origin` a page that this listener served.
    let own_site = head
        .fields
        .fetch_site
        .is_none_or(|site| link == ForeignLink::Followed || matches!(site, b"same-origin" | b"none"));
    if own_origin && own_site { Ok(()) } else { Err(Problem::Refused(RefusalReason::Origin)) }
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    let address = parse_address(host);
    if host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    hosts.iter().any(|ours| match (parse_address(ours), address) {
        // Bound to every address of the machine: any literal may be one of them, and no attacker's name is
        // a literal.
        (Some(ours), Some(_)) if ours.is_unspecified() => true,
        (Some(ours), Some(address)) => ours == address,
        (None, None) => !host.is_empty() && host.eq_ignore_ascii_case(ours),
        _ => false,
    })
}

/// Whether a host is neither empty nor an address literal.
fn is_name(host: &str) -> bool {
    !host.is_empty() && parse_address(host).is_none()
}

/// An address literal, in brackets or not; an IPv4 address mapped into IPv6 is that IPv4 address.
fn parse_address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Whether an origin (`http://host:port`) is that of the page's own server. The scheme may differ: a proxy in
/// front may speak TLS. A default port may be left out on either side.
pub(crate) fn is_same_host(origin: &[u8], host: &[u8]) -> bool {
    let lower = origin.to_ascii_lowercase();
    let (authority, default_port) = if let Some(authority) = lower.strip_prefix(b"http://") {
        (authority, &b"80"[..])
    } else if let Some(authority) = lower.strip_prefix(b"https://") {
        (authority, &b"443"[..])
    } else {
        return false;
    };
    let (origin_name, origin_port) = split_port(authority);
    let (host_name, host_port) = split_port(host);
    let same_name = origin_name.eq_ignore_ascii_case(host_name);
    same_name && origin_port.unwrap_or(default_port) == host_port.unwrap_or(default_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::head::{HeadLimits, ParsedHead, parse};

    fn verdict(host: &str, fields: &str, hosts: &[&str]) -> u16 {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let text = format!("POST /publish HTTP/1.0\r\n{host}{fields}\r\n");
        match parse(text.as_bytes(), HeadLimits { bytes_max: 8_192, headers_max: 64 }) {
            ParsedHead::Head(head, _) => {
                check(&head, &hosts, ForeignLink::Refused).err().map_or(200, |problem| problem.status())
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn only_own_names_are_answered() {
        let configured: &[&str] = &["10.1.2.3", "fd00::7", "hub.internal"];
        let rows: &[(&str, &[&str], u16)] = &[
            ("127.0.0.1", &[], 200),
            ("127.0.0.1:8081", &[], 200),
            ("127.9.9.9:1", &[], 200),
            ("localhost:8081", &[], 200),
            ("LocalHost", &[], 200),
            ("[::1]:8081", &[], 200),
            ("[::ffff:127.0.0.1]", &[], 200),
            ("evil.test", &[], 421),
            ("127.0.0.1.nip.io", &[], 421),
            ("localhost.evil.test", &[], 421),
            ("localhost.", &[], 421),
            ("0x7f000001", &[], 421),
            ("2130706433", &[], 421),
            ("127.1", &[], 421),
            ("0.0.0.0", &[], 421),
            ("10.1.2.3:8081", configured, 200),
            ("[fd00::7]:8081", configured, 200),
            ("[fd00:0::7]", configured, 200),
            ("HUB.internal:8081", configured, 200),
            ("hub.internal.evil.test", configured, 421),
            ("10.1.2.4", configured, 421),
            ("10.9.9.9:8081", &["0.0.0.0"], 200),
            ("[fd00::9]", &["::"], 200),
            ("evil.test", &["0.0.0.0"], 421),
            ("evil.test", &[""], 421),
        ];
        for (host, hosts, expected) in rows {
            assert_eq!(verdict(&format!("Host: {host}\r\n"), "", hosts), *expected, "{host}");
        }
        assert_eq!(verdict("", "", &[""]), 421, "no Host at all");
    }

    #[test]
    fn a_page_of_a_configured_name_is_ours_whatever_host_its_proxy_sends() {
        let hosts: &[&str] = &["10.1.2.3", "ops.example.org"];
        let rows: &[(&str, u16)] = &[
            ("Origin: https://ops.example.org\r\nSec-Fetch-Site: same-origin\r\n", 200),
            ("Origin: http://OPS.example.org\r\n", 200),
            ("Origin: https://ops.example.org:443\r\n", 200),
            ("Origin: https://ops.example.org:8443\r\n", 403),
            ("Origin: http://ops.example.org:443\r\n", 403),
            ("Origin: https://ops.example.org\r\nSec-Fetch-Site: same-site\r\n", 403),
            ("Origin: https://www.example.org\r\n", 403),
            ("Origin: https://ops.example.org.evil.test\r\n", 403),
            // Another service of the same host.
            ("Origin: http://10.1.2.3\r\n", 403),
        ];
        for (fields, expected) in rows {
            assert_eq!(verdict("Host: 127.0.0.1:8081\r\n", fields, hosts), *expected, "{fields:?}");
        }
        assert_eq!(verdict("Host: localhost\r\n", "Origin: http://\r\n", &[""]), 403);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let rows: &[(&str, u16)] = &[
            ("", 200),
            ("Origin: http://localhost:8081\r\n", 200),
            ("Origin: HTTP://LOCALHOST:8081\r\n", 200),
            ("Origin: https://localhost:8081\r\n", 200),
            ("Origin: http://localhost\r\n", 403),
            ("Origin: http://localhost:3000\r\n", 403),
            ("Origin: http://127.0.0.1:8081\r\n", 403),
            ("Origin: http://evil.test\r\n", 403),
            ("Origin: null\r\n", 403),
            ("Origin:\r\n", 403),
            ("Origin: http://localhost:8081.evil.test\r\n", 403),
            ("Origin: http://localhost:8081/\r\n", 403),
            ("Origin: chrome-extension://localhost:8081\r\n", 403),
            ("Sec-Fetch-Site: none\r\n", 200),
            ("Sec-Fetch-Site: same-origin\r\n", 200),
            ("Sec-Fetch-Site: same-site\r\n", 403),
            ("Sec-Fetch-Site: cross-site\r\n", 403),
            ("Sec-Fetch-Site: anything\r\n", 403),
            ("Origin: http://localhost:8081\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ];
        for (fields, expected) in rows {
            assert_eq!(verdict("Host: localhost:8081\r\n", fields, &[]), *expected, "{fields:?}");
        }
        assert_eq!(verdict("Host: localhost\r\n", "Origin: http://localhost:80\r\n", &[]), 200);
        assert_eq!(verdict("Host: localhost:443\r\n", "Origin: https://localhost\r\n", &[]), 200);
        assert_eq!(verdict("Host: localhost:443\r\n", "Origin: http://localhost\r\n", &[]), 403);
    }
}
