//! Publishes to a topic of the doctor's own, or says why that cannot be done. Judges nothing.

use serde_json::Value;
use ureq::{Agent, Error};

use super::url::{kept_pairs, topic_pair};
use crate::base::failure::CommandFailure;
use crate::base::limits::DOCTOR_PATIENCE;
use crate::base::logfmt::shown;
use crate::client::http::{RequestFields, ServerUrl, http_agent, read_refusal};
use crate::doctor::judge::publish_refusal::PublishObstacle;
use std::time::Duration;

/// Longest time from connecting to the end of a publish's answer.
const DOCTOR_PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

const FLAG: &str = "--publish-url";

/// Publishes to one topic.
pub(crate) struct ProbePublisher {
    agent: Agent,
    /// URL without the query, which may hold credentials.
    url: String,
    query: String,
    /// The token of the control listener, if it has one.
    fields: RequestFields,
}

impl ProbePublisher {
    /// Takes the base URL of a control listener, with or without `/publish` and a query. Parameters of the
    /// query that describe an event are dropped; others stay.
    ///
    /// # Errors
    /// When it is no such address.
    pub(crate) fn new(
        url: &str,
        topic: &str,
        ca_file: Option<&str>,
        token_file: Option<&str>,
    ) -> Result<ProbePublisher, CommandFailure> {
        let url = url.split('#').next().unwrap_or(url);
        let (front, query) = url.split_once('?').unwrap_or((url, ""));
        if !query.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CommandFailure::Usage(format!(
                "{FLAG} {}: the query must be percent-encoded",
                shown(url)
            )));
        }
        let base = ServerUrl::from_flag(FLAG, front)?;
        let pairs: Vec<String> = std::iter::once(topic_pair(topic)).chain(kept_pairs(query)).collect();
        Ok(ProbePublisher {
            agent: http_agent(&base, DOCTOR_PATIENCE, ca_file)?,
            url: base.url_with_path("/publish"),
            query: pairs.join("&"),
            fields: RequestFields::new(&[], token_file)?,
        })
    }

    /// Returns the request for people, without its query.
    pub(crate) fn request_line(&self) -> String {
        format!("POST {}", self.url)
    }

    /// Publishes; returns the id, and the number of subscribers of that server.
    ///
    /// # Errors
    /// When no answer comes, or an answer that is not this server's success.
    pub(crate) fn publish(&self, data: &str) -> Result<(String, u64), PublishObstacle> {
        let request = self.fields.add_to(self.agent.post(format!("{}?{}", self.url, self.query)));
        // An answer that drips would outlast each single limit.
        let sent = request.config().timeout_global(Some(DOCTOR_PUBLISH_TIMEOUT)).build().send(data);
        let mut response = sent.map_err(|error| {
            let error = match error {
                Error::Io(error) => error.to_string(),
                other => other.to_string(),
            };
            PublishObstacle::Unanswered { asked: self.request_line(), error }
        })?;
        if !response.status().is_success() {
            let refusal = read_refusal(response);
            let (status, words) = (refusal.status, refusal.words);
            return Err(PublishObstacle::Refused { asked: self.request_line(), status, words });
        }
        let answer = response.body_mut().read_to_string().unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let id = answer.get("id").and_then(Value::as_str);
        let subscribers = answer.get("subscribers").and_then(Value::as_u64).unwrap_or(0);
        let published = id.map(|id| (id.to_owned(), subscribers));
        published.ok_or_else(|| PublishObstacle::NoId { asked: self.request_line() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_and_the_whole_address_are_the_same() {
        let rows = [
            ("http://a:8081", "http://a:8081/publish?topic=own"),
            ("http://a:8081/", "http://a:8081/publish?topic=own"),
            ("http://a:8081/publish", "http://a:8081/publish?topic=own"),
            ("http://a:8081/publish/", "http://a:8081/publish?topic=own"),
            (
                "http://a:8081/publish?topic=x&event=y&token=%26#part",
                "http://a:8081/publish?topic=own&token=%26",
            ),
            ("http://a:8081?token=1", "http://a:8081/publish?topic=own&token=1"),
            ("http://a/prefix/publish", "http://a/prefix/publish?topic=own"),
            ("http://publish", "http://publish/publish?topic=own"),
            ("http://a/events", "http://a/events/publish?topic=own"),
        ];
        for (url, expected) in rows {
            let publisher = ProbePublisher::new(url, "own", None, None)
                .unwrap_or_else(|failure| panic!("{url}: {failure:?}"));
            assert_eq!(format!("{}?{}", publisher.url, publisher.query), expected, "{url}");
        }
        for url in ["", "a", "http://", "http:///publish", "ftp://a/publish", "http://a/publish?a b"] {
            let Err(CommandFailure::Usage(line)) = ProbePublisher::new(url, "own", None, None) else {
                panic!("{url}: taken")
            };
            assert!(line.starts_with(FLAG), "{line}");
        }
    }
}
