//! Variables that Kubernetes sets for each Service of a namespace. One named `fanwheel` or `fanwheel-…` makes
//! names that look like settings.
//!
//! Owns the forms of these variables. A name alone is not enough: a value that the platform would not write
//! is a mistake of the operator.

use std::net::{IpAddr, SocketAddr};

/// The transport protocols of a Service, as in variable names.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Whether Kubernetes writes such a variable for a Service. `rest` is the name behind `FANWHEEL`.
pub(crate) fn is_service_link(rest: &str, value: &str) -> bool {
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if rest.ends_with("_SERVICE_HOST") {
        return is_address(value);
    }
    // The second form names a port of the Service.
    if rest.ends_with("_SERVICE_PORT") || rest.contains("_SERVICE_PORT_") {
        return is_port(value);
    }
    match port_field(rest) {
        Some("") => is_endpoint_url(value),
        Some("PROTO") => PROTOCOLS.iter().any(|protocol| value.eq_ignore_ascii_case(protocol)),
        Some("PORT") => is_port(value),
        Some("ADDR") => is_address(value),
        _ => rest.ends_with("_PORT") && is_endpoint_url(value),
    }
}

/// Returns the text behind `…_PORT_8080_TCP`, without its underscore; none for other names.
fn port_field(rest: &str) -> Option<&str> {
    rest.match_indices("_PORT_").find_map(|(at, mark)| {
        let (number, behind) = rest[at + mark.len()..].split_once('_')?;
        number.parse::<u16>().ok()?;
        let field = PROTOCOLS.iter().find_map(|protocol| behind.strip_prefix(protocol))?;
        if field.is_empty() { Some(field) } else { field.strip_prefix('_') }
    })
}

/// Whether a text is `tcp://10.0.0.1:8080` or the like.
fn is_endpoint_url(value: &str) -> bool {
    value.split_once("://").is_some_and(|(scheme, address)| {
        PROTOCOLS.iter().any(|protocol| scheme.eq_ignore_ascii_case(protocol))
            && address.parse::<SocketAddr>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_s_forms_are_known_and_no_others() {
        let rows = [
            ("_SERVICE_HOST", "10.96.0.17", true),
            ("_SERVICE_HOST", "fd00::17", true),
            ("_SERVICE_PORT", "8080", true),
            ("_SERVICE_PORT_HTTP", "8080", true),
            ("_PORT", "tcp://10.96.0.17:8080", true),
            ("_PORT", "udp://[fd00::17]:53", true),
            ("_PORT_8080_TCP", "tcp://10.96.0.17:8080", true),
            ("_PORT_8080_TCP_PROTO", "tcp", true),
            ("_PORT_8080_TCP_PORT", "8080", true),
            ("_PORT_8080_TCP_ADDR", "10.96.0.17", true),
            ("_PORT_9_SCTP_PROTO", "sctp", true),
            ("_CONTROL_SERVICE_HOST", "10.96.0.18", true),
            ("_CONTROL_PORT", "tcp://10.96.0.18:8081", true),
            ("_CONTROL_PORT_8081_TCP_ADDR", "10.96.0.18", true),
            ("_PORT", "8080", false),
            ("_PORT", "tcp://", false),
            ("_PORT", "http://10.96.0.17:8080", false),
            ("_PORT_8080", "tcp://10.96.0.17:8080", false),
            ("_PORT_8080_TCP", "8080", false),
            ("_PORT_8080_TCPX", "tcp://10.96.0.17:8080", false),
            ("_PORT_8080_TCP_ADR", "10.96.0.17", false),
            ("_SERVICE_HOST", "example.org", false),
            ("_SERVICE_PORT", "80800", false),
            ("_HEARTBEAT", "5", false),
            ("", "tcp://10.96.0.17:8080", false),
        ];
        for (rest, value, expected) in rows {
            assert_eq!(is_service_link(rest, value), expected, "FANWHEEL{rest}={value}");
        }
    }
}
