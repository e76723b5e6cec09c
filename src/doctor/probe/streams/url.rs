//! The parsed URL of a stream, and the requests for it. Knows no socket.

use ureq::http::Uri;

use crate::base::failure::CommandFailure;
use crate::base::logfmt::shown;
use crate::client::http::{has_wrong_port, percent_encoded};

/// Parameters of subscriptions and publishes, which the doctor replaces by its own. Those of a position have
/// further spellings.
const OWN_PARAMETERS: [&str; 9] =
    ["topic", "event", "last", "clock", "buffered", "prime", "lasteventid", "key", "retry"];

/// A checked `--url` of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamUrl {
    /// Whether its scheme is `https`.
    pub(crate) tls: bool,
    /// Its host, without the brackets of IPv6.
    pub(crate) host: String,
    /// Its port, by default that of the scheme.
    pub(crate) port: u16,
    authority: String,
    path: String,
    query: Vec<String>,
}

impl StreamUrl {
    /// Parses `http[s]://HOST[:PORT][/PATH][?QUERY]`; without a path `/events`.
    ///
    /// # Errors
    /// When it is no such URL.
    pub(crate) fn new(url: &str) -> Result<StreamUrl, CommandFailure> {
        let refuse = || {
            let url = shown(url);
            CommandFailure::Usage(format!("--url {url}: must be http(s)://HOST[:PORT]/events?topic=TOPIC"))
        };
        let uri: Uri = url.split('#').next().unwrap_or(url).parse().map_err(|_| refuse())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(refuse()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(refuse)?;
        if has_wrong_port(authority) {
            return Err(refuse());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = if ["", "/"].contains(&uri.path()) { "/events" } else { uri.path() };
        let query = uri.query().unwrap_or_default();
        Ok(StreamUrl {
            tls,
            host,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.to_string(),
            path: path.to_owned(),
            query: query.split('&').filter(|pair| !pair.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// Returns the pairs of the query that name topics.
    pub(crate) fn topics(&self) -> Vec<String> {
        self.query.iter().filter(|pair| name_of(pair) == "topic").cloned().collect()
    }

    /// Returns path and query for these topics, given as pairs, with further pairs behind. Other pairs of the
    /// URL, such as credentials, stay.
    pub(crate) fn target(&self, topics: &[String], more: &[(&str, &str)]) -> String {
        let kept = self.query.iter().filter(|pair| !is_own(pair)).cloned();
        let more = more.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value)));
        let pairs: Vec<String> = topics.iter().cloned().chain(kept).chain(more).collect();
        format!("{}?{}", self.path, pairs.join("&"))
    }

    /// Returns host and port as they were written.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the bytes of a request with these fields.
    pub(crate) fn request(
        &self,
        method: &str,
        topics: &[String],
        more: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Vec<u8> {
        let target = self.target(topics, more);
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: fanwheel-doctor/{}\r\n",
            self.authority,
            env!("CARGO_PKG_VERSION")
        );
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.into_bytes()
    }
}

fn is_own(pair: &str) -> bool {
    let plain = name_of(pair).replace(['_', '-'], "").to_ascii_lowercase();
    OWN_PARAMETERS.contains(&plain.as_str())
}

/// Returns the pairs of a query that stay, such as credentials.
pub(crate) fn kept_pairs(query: &str) -> impl Iterator<Item = String> {
    query.split('&').filter(|pair| !pair.is_empty() && !is_own(pair)).map(str::to_owned)
}

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or(pair)
}

/// Returns the pair that subscribes to a topic.
pub(crate) fn topic_pair(topic: &str) -> String {
    format!("topic={}", percent_encoded(topic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        let rows = [
            (
                "http://a/events?topic=x&token=t%26&last=5",
                "a",
                80,
                "/events?topic=new&token=t%26&clock=1",
                "a",
            ),
            (
                "http://a/events?lastEventID=1-0&last_event_id=1-0&lastEventId=1-0&last-event-id=1-0&a=b",
                "a",
                80,
                "/events?topic=new&a=b&clock=1",
                "a",
            ),
            ("https://a:1/p?event=x", "a", 1, "/p?topic=new&clock=1", "a:1"),
            ("https://[::1]", "::1", 443, "/events?topic=new&clock=1", "[::1]"),
            ("HTTP://A/#part", "A", 80, "/events?topic=new&clock=1", "A"),
        ];
        for (url, host, port, target, authority) in rows {
            let address = StreamUrl::new(url).unwrap_or_else(|failure| panic!("{url}: {failure:?}"));
            assert_eq!((&address.host[..], address.port), (host, port), "{url}");
            let request = address.request("GET", &[topic_pair("new")], &[("clock", "1")], &[("A", "b")]);
            let request = String::from_utf8(request).unwrap();
            assert!(
                request.starts_with(&format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n")),
                "{request}"
            );
            assert!(request.ends_with("\r\nA: b\r\n\r\n"), "{request}");
        }
        for url in [
            "",
            "a",
            "ftp://a/",
            "http://",
            "http://u:p@a/",
            "http:///x",
            "http://a b/",
            "//a/b",
            "http://a:80800/",
        ] {
            assert!(matches!(StreamUrl::new(url), Err(CommandFailure::Usage(_))), "{url}");
        }
    }
}
