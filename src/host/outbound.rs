//! HTTP clients for the server's own requests: to the host of their address and nowhere else.
//!
//! No redirect is followed. An address at which a cloud tells a host its own keys is never asked, whatever
//! name leads there. Decides about no answer.

use std::time::Duration;

use log::warn;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::Certificate;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use crate::base::webhook_url::is_host_metadata;
use crate::host::ca_bundle;

/// Returns a client that gives an answer up after some time, and keeps so many connections for the next
/// request. It reads the host's certificates for `https` alone.
pub(crate) fn outbound_agent(url: &str, timeout: Duration, kept_connections: usize) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // A POST that is sent elsewhere becomes a GET that says nothing, and a secret would go with it.
        .max_redirects(0)
        .timeout_global(Some(timeout))
        .max_idle_connections(kept_connections)
        .max_idle_connections_per_host(kept_connections)
        .user_agent(concat!("fanwheel/", env!("CARGO_PKG_VERSION")));
    if url.starts_with("https:") {
        config = config.tls_config(ca_bundle::tls_config(host_certificates()));
    }
    Agent::with_parts(config.build(), DefaultConnector::new(), OutsideResolver(DefaultResolver::default()))
}

/// Reads the host's certificates; none when it has no bundle, and then no TLS connection is made.
fn host_certificates() -> Vec<Certificate<'static>> {
    ca_bundle::certificates().unwrap_or_else(|paths| {
        warn!(
            "event=certificates_missing error=\"none of {paths} can be read; install ca-certificates or set \
             {}\"",
            ca_bundle::VARIABLE
        );
        Vec::new()
    })
}

/// Finds addresses of names as usual, and none of a cloud's metadata.
#[derive(Debug)]
struct OutsideResolver(DefaultResolver);

impl Resolver for OutsideResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        match found.iter().any(|address| is_host_metadata(address.ip())) {
            true => Err(Error::HostNotFound),
            false => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_name_of_metadata_is_not_asked() {
        let agent = outbound_agent("http://a.test/", Duration::from_secs(5), 0);
        let began = std::time::Instant::now();
        let refused = agent.get("http://169.254.169.254/latest/meta-data/").call();
        assert!(matches!(refused, Err(Error::HostNotFound)), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "nothing was sent");
    }

    #[test]
    fn a_redirect_is_an_answer_and_not_followed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let target = TcpListener::bind("127.0.0.1:0").expect("loopback");
        target.set_nonblocking(true).expect("an ordinary option");
        let elsewhere = target.local_addr().expect("bound");
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let _ = socket.read(&mut [0; 1_024]);
            let head =
                format!("HTTP/1.1 307 x\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n");
            socket.write_all(head.as_bytes()).expect("it reads");
        });
        let answer =
            outbound_agent(&url, Duration::from_secs(5), 0).post(&url).send("secret").expect("an answer");
        server.join().expect("no panic");
        assert_eq!(answer.status().as_u16(), 307);
        assert!(target.accept().is_err(), "nobody else was asked");
    }
}
