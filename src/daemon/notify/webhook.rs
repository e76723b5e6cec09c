//! A message to a web address: JSON by POST, over TLS when the address says so. Owns which certificates are
//! trusted: those of the host. Of an address only the host is ever shown.

use std::sync::Arc;
use std::time::Duration;

use log::warn;
use ureq::Agent;
use ureq::tls::Certificate;

use crate::base::limits::ALERT_TRY_MS;
use crate::base::webhook_url::mask_url;
use crate::host::ca_bundle;
use crate::monitor::alerts::AlertNotice;

/// A web address that takes alerts.
#[derive(Debug)]
pub(crate) struct AlertWebhook {
    url: String,
    host: Arc<str>,
    /// Made at the first message, so that a server without alerts reads no certificates.
    agent: Option<Agent>,
}

impl AlertWebhook {
    /// A checked address; `host` is this machine's name.
    pub(crate) fn new(url: &str, host: Arc<str>) -> AlertWebhook {
        AlertWebhook { url: url.to_owned(), host, agent: None }
    }

    /// Posts one message, without retries.
    pub(crate) fn post(&mut self, notice: &AlertNotice) -> Result<(), String> {
        let agent = self.agent.get_or_insert_with(|| webhook_agent(self.url.starts_with("https:")));
        let body = notice.json(&self.host).to_string();
        let sent = agent.post(&self.url).content_type("application/json").send(body);
        match sent {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("answered {}", response.status().as_u16())),
            Err(error) => Err(error.to_string().replace(&self.url, &mask_url(&self.url))),
        }
    }
}

fn webhook_agent(tls: bool) -> Agent {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        // A POST that is sent elsewhere becomes a GET that says nothing.
        .max_redirects(0)
        .timeout_global(Some(Duration::from_millis(ALERT_TRY_MS)))
        // Alerts are rare: a connection kept for the next one would only be found dead by it.
        .max_idle_connections(0)
        .user_agent(concat!("fanwheel/", env!("CARGO_PKG_VERSION")));
    if tls {
        config = config.tls_config(ca_bundle::tls_config(host_certificates()));
    }
    Agent::new_with_config(config.build())
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
