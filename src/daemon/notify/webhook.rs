//! A message to a web address: JSON by POST, over TLS when the address says so. Of an address only the host
//! is ever shown.

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;

use crate::base::limits::ALERT_TRY_MS;
use crate::base::webhook_url::mask_url;
use crate::host::outbound::outbound_agent;
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
        // Alerts are rare: a connection kept for the next one would only be found dead by it.
        let timeout = Duration::from_millis(ALERT_TRY_MS);
        let agent = self.agent.get_or_insert_with(|| outbound_agent(&self.url, timeout, 0));
        let body = notice.json(&self.host).to_string();
        let sent = agent.post(&self.url).content_type("application/json").send(body);
        match sent {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("answered {}", response.status().as_u16())),
            Err(error) => Err(error.to_string().replace(&self.url, &mask_url(&self.url))),
        }
    }
}
