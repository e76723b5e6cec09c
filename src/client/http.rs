//! HTTP for both one-shot clients: the server's address, percent-encoding, an agent, the words of a refusal.
//! Knows no topics and no event streams.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::header::AUTHORIZATION;
use ureq::http::uri::Authority;
use ureq::http::{HeaderName, HeaderValue, Response, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Body, RequestBuilder};
use zeroize::Zeroizing;

use crate::base::address::ListenAddress;
use crate::base::failure::CommandFailure;
use crate::base::logfmt::shown;
use crate::client::tls_connector::TlsConnector;
use crate::client::unix_socket::UnixConnector;
use crate::host::tls_trust::{HTTPS_PORT, TlsTrust, describe_tls_error};
use crate::host::token_file::read_token;

/// Longest wait of `publish` and `subscribe` for a connection: a host that is there answers sooner, a
/// firewall that drops never does.
const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the head of an answer: as long as a publish body may take.
const CLIENT_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read of an answer other than the one hoped for: enough for any message, and no page of a proxy's.
const CLIENT_REFUSAL_BYTES_MAX: u64 = 4_096;

/// A server's address that has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    /// The URL that requests begin with. Its scheme is in lower case, and no slash ends it.
    url: String,
    /// The socket file to connect to in place of the URL's host.
    socket: Option<PathBuf>,
}

/// The schemes of addresses, with their end.
const SCHEMES: [&str; 2] = ["http://", "https://"];
/// Host of requests over a socket file: it needs no name service, and a control listener answers to it.
const SOCKET_URL: &str = "http://127.0.0.1";

impl ServerUrl {
    /// Takes `http://HOST[:PORT][/PREFIX]` of `--url`, the same with `https://`, `HOST:PORT` or `unix:/path`.
    pub(crate) fn new(url: &str) -> Result<ServerUrl, CommandFailure> {
        ServerUrl::from_flag("--url", url)
    }

    /// Takes such an address of another flag.
    pub(crate) fn from_flag(flag: &str, url: &str) -> Result<ServerUrl, CommandFailure> {
        let refuse = |why: &str| Err(CommandFailure::Usage(format!("{flag} {}: {why}", shown(url))));
        let plain = |rest: &str| {
            !rest.is_empty()
                && !rest.starts_with('/')
                && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\".contains(&b))
        };
        const FORMS: &str = "must be http://HOST:PORT, https://HOST or unix:/path";
        if url.starts_with("unix:") {
            let Some(ListenAddress::Unix(path)) = ListenAddress::parse(url) else { return refuse(FORMS) };
            return Ok(ServerUrl { url: SOCKET_URL.to_owned(), socket: Some(path) });
        }
        let whole = if is_host_and_port(url) { format!("http://{url}") } else { url.to_owned() };
        let uri: Option<Uri> = whole.parse().ok();
        if uri.as_ref().and_then(Uri::authority).is_some_and(has_wrong_port) {
            return refuse("the port must be from 0 to 65535");
        }
        for scheme in SCHEMES {
            let named = whole.get(..scheme.len()).is_some_and(|given| given.eq_ignore_ascii_case(scheme));
            if let Some(rest) = named.then(|| &whole[scheme.len()..]).filter(|rest| plain(rest)) {
                return Ok(ServerUrl {
                    url: format!("{scheme}{}", rest.trim_end_matches('/')),
                    socket: None,
                });
            }
        }
        refuse(FORMS)
    }

    fn is_tls(&self) -> bool {
        self.url.starts_with("https:")
    }

    /// Describes a fault of TLS with this server; none for other errors.
    fn describe_tls_error(&self, error: &ureq::Error) -> Option<String> {
        let (ureq::Error::Io(error), true) = (error, self.is_tls()) else { return None };
        let uri: Uri = self.url.parse().ok()?;
        describe_tls_error(error, uri.host()?, uri.port_u16().unwrap_or(HTTPS_PORT))
    }

    /// Returns the address of a path with a query.
    pub(crate) fn url_with_query(&self, path: &str, query: &[(&str, &str)]) -> String {
        let pairs: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        format!("{}{path}?{}", self.url, pairs.join("&"))
    }

    /// Returns the address of a path, which the server's address may end with already.
    pub(crate) fn url_with_path(&self, path: &str) -> String {
        let at = self.url.find("://").map_or(0, |at| at + 3);
        let (scheme, host) = self.url.split_at(at);
        format!("{scheme}{}{path}", host.strip_suffix(path).unwrap_or(host))
    }

    /// Returns the server for people: its host and port, or its socket file.
    pub(crate) fn server_name(&self) -> String {
        match &self.socket {
            Some(path) => shown(&format!("unix:{}", path.display())),
            None => {
                let host = self.url.split_once("://").and_then(|(_, rest)| rest.split('/').next());
                shown(host.unwrap_or(&self.url))
            }
        }
    }
}

/// Whether a text begins with `HOST:PORT`, which needs no scheme, as for curl.
fn is_host_and_port(text: &str) -> bool {
    let authority = text.split('/').next().unwrap_or(text);
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    authority.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port))
}

/// Fields that an operator adds to each request.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestFields(Vec<(HeaderName, HeaderValue)>);

impl RequestFields {
    /// Takes each `NAME: VALUE` of `--header`, and the token in a file.
    ///
    /// # Errors
    /// When one is no field, or the file holds no token. The line keeps secrets to itself.
    pub(crate) fn new(lines: &[String], token_file: Option<&str>) -> Result<RequestFields, CommandFailure> {
        let mut fields = RequestFields::parse(lines)?;
        let given = fields.0.iter().any(|(name, _)| *name == AUTHORIZATION);
        if let Some(path) = token_file.filter(|_| !given) {
            fields.0.push((AUTHORIZATION, authorization_value(path)?));
        }
        Ok(fields)
    }

    fn parse(lines: &[String]) -> Result<RequestFields, CommandFailure> {
        let field = |line: &String| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let refuse = || CommandFailure::Usage(format!("--header {}: must be 'NAME: VALUE'", shown(name)));
            if name.len() == line.len() {
                return Err(CommandFailure::Usage("--header: must be 'NAME: VALUE'".to_owned()));
            }
            let parsed = name.parse().ok().zip(HeaderValue::from_str(value.trim()).ok());
            parsed.ok_or_else(refuse)
        };
        lines.iter().map(field).collect::<Result<_, _>>().map(RequestFields)
    }

    /// Returns the request with these fields added.
    pub(crate) fn add_to<Body>(&self, request: RequestBuilder<Body>) -> RequestBuilder<Body> {
        self.0.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// Returns the value of `Authorization` with the token in a file.
///
/// # Errors
/// When the file holds no token.
pub(crate) fn authorization_value(token_file: &str) -> Result<HeaderValue, CommandFailure> {
    let token = read_token(token_file)?;
    let line = Zeroizing::new(format!("Bearer {}", *token));
    let mut value = HeaderValue::from_str(&line).expect("a token is plain text");
    value.set_sensitive(true);
    Ok(value)
}

/// Whether the text behind the host is no port. The library would silently take the scheme's port instead.
pub(crate) fn has_wrong_port(authority: &Authority) -> bool {
    authority.port_u16().is_none() && !authority.as_str().ends_with(authority.host())
}

/// Percent-encodes all but the unreserved characters of RFC 3986 §2.3.
pub(crate) fn percent_encoded(text: &str) -> String {
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

/// Builds an agent that takes every status as an answer. `silence` bounds the time between two reads; the
/// certificates of `ca_file` are trusted in place of the system's.
///
/// # Errors
/// When the address needs TLS and there are no trusted certificates.
pub(crate) fn http_agent(
    base: &ServerUrl,
    silence: Duration,
    ca_file: Option<&str>,
) -> Result<Agent, CommandFailure> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // A proxy of the environment is for the world outside; this talks to the operator's own server.
        .proxy(None)
        // A POST that is sent elsewhere becomes a GET, and the operator's fields are for this server alone.
        .max_redirects(0)
        .timeout_connect(Some(CLIENT_CONNECT_TIMEOUT))
        .timeout_recv_response(Some(CLIENT_ANSWER_TIMEOUT))
        .timeout_per_read(Some(silence))
        .user_agent(concat!("fanwheel/", env!("CARGO_PKG_VERSION")));
    let config = config.build();
    Ok(match &base.socket {
        Some(path) => Agent::with_parts(config, UnixConnector(path.clone()), DefaultResolver::default()),
        None if base.is_tls() => {
            let trust = TlsTrust::new(ca_file).map_err(CommandFailure::Run)?;
            let tls = TlsConnector(Arc::new(trust.client_config(&["http/1.1"])));
            Agent::with_parts(config, TcpConnector::default().chain(tls), DefaultResolver::default())
        }
        None => Agent::new_with_config(config),
    })
}

/// Describes a server that gave no answer at all.
pub(crate) fn unreachable_failure(base: &ServerUrl, error: &ureq::Error) -> CommandFailure {
    let server = base.server_name();
    if let Some(words) = base.describe_tls_error(error) {
        return CommandFailure::Run(words);
    }
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
pub(crate) struct RefusedResponse {
    /// The status code of the answer.
    pub(crate) status: u16,
    /// The server's words, or the status alone.
    pub(crate) words: String,
    /// The answer's `Retry-After` in seconds.
    pub(crate) retry_after_s: Option<u64>,
}

/// Reads a refusal: this server's JSON, or any body of a proxy.
pub(crate) fn read_refusal(response: Response<Body>) -> RefusedResponse {
    let status = response.status();
    let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after_s = header.and_then(|text| text.trim().parse().ok());
    let location = response.headers().get("location").and_then(|value| value.to_str().ok());
    let moved = location.filter(|_| status.is_redirection()).map(|to| format!("moved to {}", shown(to)));
    let mut bytes = Vec::new();
    // A body that cannot be read leaves the status, which says enough.
    let _ = response.into_body().into_reader().take(CLIENT_REFUSAL_BYTES_MAX).read_to_end(&mut bytes);
    let status_words = || status.canonical_reason().unwrap_or("no reason given").to_owned();
    let words = moved.or_else(|| refusal_words(&bytes)).unwrap_or_else(status_words);
    RefusedResponse { status: status.as_u16(), words, retry_after_s }
}

/// Returns the message in a body of this server's form, or else its code.
pub(crate) fn refusal_words(body: &[u8]) -> Option<String> {
    let told: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
    text("message").or_else(|| text("error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let rows = [
            ("http://127.0.0.1:8081", Some("http://127.0.0.1:8081/x?a=b")),
            ("HTTP://host/prefix/", Some("http://host/prefix/x?a=b")),
            ("http://[::1]:1", Some("http://[::1]:1/x?a=b")),
            ("HTTPS://host/prefix/", Some("https://host/prefix/x?a=b")),
            ("https://host:1", Some("https://host:1/x?a=b")),
            ("127.0.0.1:8081", Some("http://127.0.0.1:8081/x?a=b")),
            ("localhost:8081", Some("http://localhost:8081/x?a=b")),
            ("[::1]:8081", Some("http://[::1]:8081/x?a=b")),
            ("localhost:8081/prefix/", Some("http://localhost:8081/prefix/x?a=b")),
            ("unix:/run/x", Some("http://127.0.0.1/x?a=b")),
            ("127.0.0.1", None),
            ("localhost:", None),
            ("localhost:80800", None),
            ("unix:x", None),
            ("unix:80", None),
            ("https://", None),
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
        let names = [("https://a:1/b", "a:1"), ("a:1", "a:1"), ("unix:/run/x", "unix:/run/x")];
        for (url, name) in names {
            assert_eq!(ServerUrl::new(url).expect("good").server_name(), name);
        }
        for url in ["http://a/publish", "https://a/publish"] {
            assert_eq!(ServerUrl::new(url).expect("good").url_with_path("/publish"), url);
        }
    }

    #[test]
    fn fields_are_checked_and_a_refusal_keeps_their_values() {
        let parse = |line: &str| RequestFields::parse(&[line.to_owned()]);
        for line in ["Authorization: Bearer secret", "a:", "x-b:1"] {
            assert_eq!(parse(line).expect("a field").0.len(), 1, "{line}");
        }
        for line in ["secret", "a b: secret", ": secret", "a: sec\nret", "a: s\u{e9}cret\u{1}", ""] {
            let Err(CommandFailure::Usage(words)) = parse(line) else { panic!("{line:?} is no field") };
            assert!(words.starts_with("--header") && !words.contains("ret"), "{words}");
        }
    }

    #[test]
    fn a_token_comes_from_a_file_unless_a_field_has_one() {
        let path = std::env::temp_dir().join(format!("fanwheel-{}-fields.token", std::process::id()));
        std::fs::write(&path, "abc.def\n").expect("a writable temporary directory");
        let path = path.display().to_string();
        let fields = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            let fields = RequestFields::new(&lines, Some(&path)).expect("fields").0;
            fields.iter().map(|(_, value)| value.to_str().expect("text").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(fields(&["a: b"]), ["b", "Bearer abc.def"]);
        assert_eq!(fields(&["authorization: Basic x"]), ["Basic x"]);
        let _ = std::fs::remove_file(&path);
        assert!(RequestFields::new(&[], Some(&path)).is_err());
    }

    #[test]
    fn everything_but_unreserved_characters_is_encoded() {
        assert_eq!(percent_encoded("aZ0-._~ /&=%\u{fc}\n"), "aZ0-._~%20%2F%26%3D%25%C3%BC%0A");
    }
}
