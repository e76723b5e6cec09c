//! The plan of a run. Owns the settings of the load and their contradictions; opens nothing.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use crate::base::limits::PUBLISH_BYTES_MAX;
use crate::host::tls_trust::{HTTPS_PORT, TlsTrust, describe_tls_error};
use crate::load::tls::LoadSession;
use crate::load::topic_spread::{DrawnShare, SpreadShape};

/// Events in one request's batch: a server takes fewer in one body.
const LOAD_BATCH_MAX: usize = 10_000;
/// Topics: each pair of one and a publisher has a number.
const LOAD_TOPICS_MAX: usize = 10_000_000;
/// Publishers: each subscriber keeps a number for each of them.
const LOAD_PUBLISHERS_MAX: usize = 1_024;
/// Threads of subscribers: their sources on loopback are 127.0.1.1 to 127.0.254.1.
pub(crate) const LOAD_THREADS_MAX: u64 = 254;
/// Events a second: more than any publisher here sends, so that a slip of the hand is noticed.
const LOAD_RATE_MAX: u64 = 10_000_000;
/// Events on their way at once: each holds a place until its last subscriber has it.
pub(crate) const LOAD_WINDOW_MAX: u64 = 32_768;
/// Seconds that a part may be given: 31 years, whose nanoseconds fit a word.
const LOAD_SECONDS_MAX: u64 = 1_000_000_000;

/// The placeholder for a topic in an address.
const TOPIC: &str = "{topic}";

/// The schemes of addresses, with their end and the port they stand for.
const SCHEMES: [(&str, u16); 2] = [("http://", 80), ("https://", HTTPS_PORT)];

/// An `http://` or `https://` address whose path may hold `{topic}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UrlTemplate {
    /// The address to connect to.
    pub(crate) address: SocketAddr,
    /// The value of the `Host` header.
    pub(crate) host: String,
    /// The name in the server's certificate; none over plain HTTP.
    pub(crate) server_name: Option<ServerName<'static>>,
    before: String,
    behind: Option<String>,
}

impl UrlTemplate {
    /// Parses an address and resolves its name.
    ///
    /// # Errors
    /// In words that name the address.
    pub(crate) fn parse(url: &str) -> Result<UrlTemplate, String> {
        let of_scheme = |&(scheme, port): &(&str, u16)| {
            let begins = url.get(..scheme.len()).is_some_and(|given| given.eq_ignore_ascii_case(scheme));
            begins.then(|| (&url[scheme.len()..], port))
        };
        let found = SCHEMES.iter().find_map(of_scheme);
        let (rest, port) = found.ok_or_else(|| format!("{url} begins with neither http:// nor https://"))?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (host, path) = (&rest[..slash], if slash < rest.len() { &rest[slash..] } else { "/" });
        let port_at = host.rfind(':').filter(|&at| !host[at..].contains(']'));
        let name = host[..port_at.unwrap_or(host.len())].trim_matches(['[', ']']);
        let named = if port_at.is_some() { host.to_owned() } else { format!("{host}:{port}") };
        let mut found =
            named.to_socket_addrs().map_err(|os| format!("cannot resolve {host} of {url}: {os}"))?;
        let address = found.next().ok_or_else(|| format!("{host} of {url} has no address"))?;
        let (before, behind) = match path.split_once(TOPIC) {
            Some((before, behind)) => (before.to_owned(), Some(behind.to_owned())),
            None => (path.to_owned(), None),
        };
        let server_name = (port == HTTPS_PORT).then(|| ServerName::try_from(name.to_owned())).transpose();
        let server_name = server_name.map_err(|_| format!("no certificate can name {host} of {url}"))?;
        Ok(UrlTemplate { address, host: host.to_owned(), server_name, before, behind })
    }

    /// Returns another address of the same server.
    pub(crate) fn with_path(&self, path: &str) -> UrlTemplate {
        UrlTemplate { before: path.to_owned(), behind: None, ..self.clone() }
    }

    /// Returns the request target for a topic.
    pub(crate) fn path(&self, topic: &str) -> String {
        match &self.behind {
            Some(behind) => format!("{}{topic}{behind}", self.before),
            None => self.before.clone(),
        }
    }

    /// Describes a fault of TLS with this server; none for other errors.
    pub(crate) fn describe_tls_error(&self, error: &io::Error) -> Option<String> {
        let name = self.server_name.as_ref()?;
        describe_tls_error(error, &name.to_str(), self.address.port())
    }

    /// Whether the path holds `{topic}`.
    pub(crate) fn takes_topics(&self) -> bool {
        self.behind.is_some()
    }
}

/// The pace at which events follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PublishPace {
    /// Events a second, whatever the server does (open loop).
    Rate(f64),
    /// Events on their way at once: the next goes out when one has reached its last subscriber (closed loop).
    Window(u64),
}

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct LoadPlan {
    /// The address of subscriptions.
    pub(crate) subscribe: UrlTemplate,
    /// The address of single publishes.
    pub(crate) publish: UrlTemplate,
    /// The address of batches, for a `batch` above 1.
    pub(crate) publish_batch: UrlTemplate,
    /// The configuration of sessions over TLS; none where all addresses are plain HTTP.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The token that publishes are sent with.
    pub(crate) publish_token: Option<Zeroizing<String>>,
    /// The number of subscribers.
    pub(crate) subscribers: usize,
    /// The number of topics.
    pub(crate) topics: usize,
    /// The spread of both subscribers and events over topics.
    pub(crate) shape: SpreadShape,
    /// The beginning of each topic's name; its number follows.
    pub(crate) topic_prefix: String,
    /// Threads of subscribers; 0 = as many as files make necessary.
    pub(crate) threads: usize,
    /// New subscribers a second; 0 = as fast as the server takes them.
    pub(crate) ramp_per_s: u64,
    /// Connections on their way at once.
    pub(crate) connecting_max: usize,
    /// How long to hold all subscribers idle before anything is published.
    pub(crate) idle: Duration,
    /// Events to publish in the measured part; 0 = only the time counts.
    pub(crate) events: u64,
    /// The longest that the measured part takes.
    pub(crate) seconds: Duration,
    /// Events to publish before anything is measured.
    pub(crate) warm_up: u64,
    /// The pace of the measured events.
    pub(crate) pace: PublishPace,
    /// The number of connections that publish.
    pub(crate) publishers: usize,
    /// Events in one request.
    pub(crate) batch: usize,
    /// The least bytes of an event's data.
    pub(crate) bytes: usize,
    /// The most bytes; each event draws a size between the two.
    pub(crate) bytes_max: usize,
    /// Whether events have keys, so that they may give way to newer ones: on a topic, each publisher has one.
    pub(crate) conflated: bool,
    /// Share of the subscribers that stop reading before anything is published.
    pub(crate) stall_percent: f64,
    /// Share of the subscribers that is cut after the measured phase and comes back at once.
    pub(crate) reconnect_percent: f64,
    /// Events that cut subscribers miss.
    pub(crate) missed: u64,
    /// Whether servers may restart meanwhile: publishes carry idempotency keys, and a stream that ends or an
    /// answer that is missing is no fault.
    pub(crate) through_restarts: bool,
    /// The time without progress after which the target counts as stopped.
    pub(crate) patience: Duration,
    /// Processes to measure, with all that descend from them.
    pub(crate) pids: Vec<u32>,
    /// The seed of sizes and topics.
    pub(crate) seed: u64,
}

impl LoadPlan {
    /// Returns the address of publishes, single or in batches.
    pub(crate) fn publishing(&self) -> &UrlTemplate {
        if self.batch > 1 { &self.publish_batch } else { &self.publish }
    }

    /// Reads the certificates to trust, of `ca_file` or the system's, if an address needs any.
    ///
    /// # Errors
    /// In words, when there are none.
    pub(crate) fn read_certificates(&mut self, ca_file: Option<&str>) -> Result<(), String> {
        let over_tls = [&self.subscribe, &self.publish, &self.publish_batch];
        if over_tls.iter().any(|url| url.server_name.is_some()) {
            self.tls = Some(Arc::new(TlsTrust::new(ca_file)?.client_config(&["http/1.1"])));
        }
        Ok(())
    }

    /// Returns a new session over TLS for a connection to an address; none over plain HTTP.
    ///
    /// # Errors
    /// When no session can be made.
    pub(crate) fn new_session(&self, url: &UrlTemplate) -> io::Result<Option<LoadSession>> {
        let parts = self.tls.as_ref().zip(url.server_name.as_ref());
        parts.map(|(config, name)| LoadSession::new(config, name)).transpose()
    }

    /// Checks the settings for contradictions.
    ///
    /// # Errors
    /// The first contradiction found, in words.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if !self.topic_prefix.bytes().all(plain) {
            return Err(format!("--topic-prefix {:?}: only letters, digits and -._~", self.topic_prefix));
        }
        if self.topics > 1 && !(self.subscribe.takes_topics() && self.publish.takes_topics()) {
            return Err(format!("--topics {}: both addresses need {TOPIC} in their path", self.topics));
        }
        let bounds = [
            ("batch", self.batch as u64, LOAD_BATCH_MAX as u64),
            ("topics", self.topics as u64, LOAD_TOPICS_MAX as u64),
            ("publishers", self.publishers as u64, LOAD_PUBLISHERS_MAX as u64),
            ("bytes", self.bytes as u64, PUBLISH_BYTES_MAX as u64),
            ("bytes-max", self.bytes_max as u64, PUBLISH_BYTES_MAX as u64),
            ("seconds", self.seconds.as_secs(), LOAD_SECONDS_MAX),
            ("idle-seconds", self.idle.as_secs(), LOAD_SECONDS_MAX),
            ("patience-seconds", self.patience.as_secs(), LOAD_SECONDS_MAX),
        ];
        if let Some((flag, asked, most)) = bounds.into_iter().find(|(_, asked, most)| asked > most) {
            return Err(format!("--{flag} {asked}: at most {most}"));
        }
        if self.bytes_max < self.bytes {
            return Err(format!("--bytes-max {} is below --bytes {}", self.bytes_max, self.bytes));
        }
        if let PublishPace::Rate(rate) = self.pace
            && !(rate > 0.0 && rate <= LOAD_RATE_MAX as f64)
        {
            return Err(format!("--rate {rate}: above 0, at most {LOAD_RATE_MAX}"));
        }
        if self.conflated && matches!(self.pace, PublishPace::Window(_)) {
            return Err("--conflated needs --rate: an event that gives way never arrives".to_owned());
        }
        for (flag, percent) in [("stall", self.stall_percent), ("reconnect", self.reconnect_percent)] {
            if !(0.0..=100.0).contains(&percent) {
                return Err(format!("--{flag}-percent {percent}: 0 to 100"));
            }
        }
        Ok(())
    }

    /// Returns the subscribers that stop reading.
    pub(crate) fn stalling(&self) -> DrawnShare {
        self.share(self.stall_percent, 2)
    }

    /// Returns the subscribers that are cut and come back.
    pub(crate) fn reconnecting(&self) -> DrawnShare {
        self.share(self.reconnect_percent, 3)
    }

    fn share(&self, percent: f64, draw: u64) -> DrawnShare {
        DrawnShare { percent, subscribers: self.subscribers as u64, seed: self.seed.rotate_left(32) ^ draw }
    }

    /// Returns the name of a topic.
    pub(crate) fn topic_name(&self, topic: usize) -> String {
        format!("{}{topic}", self.topic_prefix)
    }

    /// Returns the request target of a topic's subscribers. Those that may come back ask for their position:
    /// they may be cut before their first event.
    pub(crate) fn subscribe_path(&self, topic: usize) -> String {
        let path = self.subscribe.path(&self.topic_name(topic));
        let asks = (self.reconnect_percent > 0.0 || self.through_restarts) && path.starts_with("/events?");
        if asks { path + "&prime=1" } else { path }
    }

    /// Whether the target is this machine by its loopback address, so that sources can be chosen freely.
    pub(crate) fn is_loopback(&self) -> bool {
        self.subscribe.address.is_ipv4() && self.subscribe.address.ip().is_loopback()
    }
}

/// Why a run cannot begin or go on.
#[derive(Debug)]
pub(crate) enum LoadFault {
    /// This host cannot hold the load; in words, with the command that mends it.
    Host(String),
    /// The operating system refused a call.
    System(&'static str, io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_path_and_their_topic() {
        let target =
            UrlTemplate::parse("http://127.0.0.1:8080/events?topic={topic}&last=1").expect("an address");
        assert_eq!(target.path("a"), "/events?topic=a&last=1");
        assert!(target.takes_topics() && target.server_name.is_none());
        assert_eq!((target.address.port(), target.host.as_str()), (8080, "127.0.0.1:8080"));
        let plain = UrlTemplate::parse("http://[::1]").expect("an address");
        assert_eq!(
            (plain.path("a"), plain.address.port(), plain.takes_topics()),
            ("/".to_owned(), 80, false)
        );
        let names = [
            ("HTTPS://127.0.0.1/a", "127.0.0.1", 443),
            ("https://[::1]", "::1", 443),
            ("https://[::1]:8443/", "::1", 8443),
            ("https://localhost:8443/", "localhost", 8443),
        ];
        for (url, name, port) in names {
            let target = UrlTemplate::parse(url).expect("an address");
            let named = target.server_name.map(|name| name.to_str().into_owned());
            assert_eq!((named.as_deref(), target.address.port()), (Some(name), port), "{url}");
        }
        for url in ["http://127.0.0.1:99999/", "ftp://127.0.0.1/", "127.0.0.1:80"] {
            assert!(UrlTemplate::parse(url).is_err(), "{url}");
        }
    }
}
