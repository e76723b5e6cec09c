//! HTTP for both one-shot clients: the server's address, percent-encoding, an agent, the words of a refusal.
//! Knows no topics and no event streams.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use ureq::http::uri::Authority;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use crate::base::failure::CommandFailure;
use crate::base::logfmt::shown;

/// Longest wait of `publish` and `subscribe` for a connection: a host that is there answers sooner, a
/// firewall that drops never does.
const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the head of an answer: as long as a publish body may take.
const CLIENT_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read of an answer other than the one hoped for: enough for any message, and no page of a proxy's.
const CLIENT_REFUSAL_BYTES_MAX: u64 = 4_096;

/// A server's address that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Takes `http://HOST[:PORT][/PREFIX]` of `--url`.
    pub fn new(url: &str) -> Result<ServerUrl, CommandFailure> {
        ServerUrl::from_flag("--url", url)
    }

    /// Takes such an address of another flag.
    pub fn from_flag(flag: &str, url: &str) -> Result<ServerUrl, CommandFailure> {
        let refuse = |why: &str| Err(CommandFailure::Usage(format!("{flag} {}: {why}", shown(url))));
        if url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return refuse("TLS is not supported here; use the server's own http:// address");
        }
        let rest = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &url[7..]);
        let plain = |rest: &str| {
            !rest.is_empty()
                && !rest.starts_with('/')
                && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\".contains(&b))
        };
        let uri: Option<Uri> = url.parse().ok();
        if uri.as_ref().and_then(Uri::authority).is_some_and(has_wrong_port) {
            return refuse("the port must be from 0 to 65535");
        }
        match rest {
            Some(rest) if plain(rest) => Ok(ServerUrl(format!("http://{}", rest.trim_end_matches('/')))),
            _ => refuse("must be http://HOST:PORT"),
        }
    }

    /// Returns the address of a path with a query.
    pub fn url_with_query(&self, path: &str, query: &[(&str, &str)]) -> String {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        format!("{}{path}?{}", self.0, pairs.join("&"))
    }

    /// Returns the address of a path, which the server's address may end with already.
    pub fn url_with_path(&self, path: &str) -> String {
        let host = &self.0["http://".len()..];
        format!("http://{}{path}", host.strip_suffix(path).unwrap_or(host))
    }
}

/// Whether the text behind the host is no port. The library would silently take the scheme's port instead.
pub fn has_wrong_port(authority: &Authority) -> bool {
    authority.port_u16().is_none() && !authority.as_str().ends_with(authority.host())
}

/// Percent-encodes all but the unreserved characters of RFC 3986 §2.3.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Builds an agent that takes every status as an answer. `silence` bounds the time between two reads.
pub fn http_agent(silence: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A proxy of the environment is for the world outside; this talks to the operator's own server.
        .proxy(None)
        .timeout_connect(Some(CLIENT_CONNECT_TIMEOUT))
        .timeout_recv_response(Some(CLIENT_ANSWER_TIMEOUT))
        .timeout_per_read(Some(silence))
        .user_agent(concat!("fanwheel/", env!("CARGO_PKG_VERSION")))
        .build();
    Agent::new_with_config(config)
}

/// Describes a server that gave no answer at all.
pub fn unreachable_failure(address: &str, error: &ureq::Error) -> CommandFailure {
    let server = address.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or(address);
    let server = shown(server);
    let why = match error {
        // Without the library's prefix, which names a kind of error and not a cause.
        ureq::Error::Io(os) => os.to_string(),
        error => error.to_string(),
    };
    CommandFailure::Run(format!(
        "no answer from {server}: {why}; start `fanwheel serve`, or name another with --url"
    ))
}

/// An answer with a status that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedResponse {
    /// The status code of the answer.
    pub status: u16,
    /// The server's words, or the status alone.
    pub words: String,
    /// The answer's `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
}

/// Reads a refusal: this server's JSON, or any body of a proxy.
pub fn read_refusal(response: Response<Body>) -> RefusedResponse {
    let status = response.status();
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after_s = header.and_then(|text| text.trim().parse().ok());
    let mut bytes = Vec::new();
    // A body that cannot be read leaves the status, which says enough.
    let _ = response.into_body().into_reader().take(CLIENT_REFUSAL_BYTES_MAX).read_to_end(&mut bytes);
    let told: Option<Value> = serde_json::from_slice(&bytes).ok();
    let message = told.as_ref().and_then(|told| told.get("message")).and_then(Value::as_str);
    let code = told.as_ref().and_then(|told| told.get("error")).and_then(Value::as_str);
    let words = match (message, code) {
        (Some(message), _) => message.to_owned(),
        (None, Some(code)) => code.to_owned(),
        (None, None) => status.canonical_reason().unwrap_or("no reason given").to_owned(),
    };
    RefusedResponse { status: status.as_u16(), words, retry_after_s }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_tls_is_said_to_be_missing() {
        let rows = [
            ("http://127.0.0.1:8081", Some("http://127.0.0.1:8081/x?a=b")),
            ("HTTP://host/prefix/", Some("http://host/prefix/x?a=b")),
            ("http://[::1]:1", Some("http://[::1]:1/x?a=b")),
            ("127.0.0.1:8081", None),
            ("http://", None),
            ("http:///x", None),
            ("http://a b", None),
            ("http://a/?q", None),
            ("ftp://a", None),
            ("http://a:80800", None),
            ("http://a:-1/x", None),
            ("", None),
        ];
        for (url, expected) in rows {
            let address = ServerUrl::new(url).ok().map(|base| base.url_with_query("/x", &[("a", "b")]));
            assert_eq!(address.as_deref(), expected, "{url}");
        }
        let Err(CommandFailure::Usage(line)) = ServerUrl::new("https://a") else { panic!("refused") };
        assert!(line.contains("TLS is not supported"), "{line}");
    }

    #[test]
    fn everything_but_unreserved_characters_is_encoded() {
        assert_eq!(percent_encoded("aZ0-._~ /&=%\u{fc}\n"), "aZ0-._~%20%2F%26%3D%25%C3%BC%0A");
    }
}
