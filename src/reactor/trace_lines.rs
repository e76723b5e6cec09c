//! Lines of the log for the core's notes: about connections, for the debug log, and about topics that have
//! forgotten their events.

use crate::base::counters::CLOSED_NAMES;
use crate::base::logfmt::LogValue;
use crate::fanout::conn_trace::{ConnDetail, ConnTrace, TraceEvent, TracedClient};
use crate::fanout::hub::TopicForgetting;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A line; an address that is not known is a dash.
pub(crate) fn format_trace(trace: &ConnTrace) -> String {
    let listener = trace.listener.name();
    let id = trace.id;
    match &trace.event {
        TraceEvent::Refused { client, status, code } => {
            let client = address_or_dash(*client);
            format!(
                "event=request_refused id={id} listener={listener} client={client} status={status} \
                 reason={code}"
            )
        }
        TraceEvent::Opened(client) => {
            format!("event=connection_opened id={id} listener={listener} {}", ClientFields(*client))
        }
        TraceEvent::Streams { client, detail } => {
            format!("event=stream_opened id={id} {} {}", ClientFields(*client), DetailFields(detail))
        }
        TraceEvent::Closed { client, port, detail, duration_ms, bytes, reason } => {
            let client = match (client, port) {
                (Some(client), Some(port)) => SocketAddr::new(*client, *port).to_string(),
                (Some(client), None) => client.to_string(),
                (None, _) => "-".to_owned(),
            };
            let bytes = bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
            let reason = CLOSED_NAMES[*reason as usize];
            format!(
                "event=connection_closed id={id} listener={listener} client={client} {} \
                 duration_ms={duration_ms} bytes={bytes} reason={reason}",
                DetailFields(detail)
            )
        }
    }
}

/// Formats the line for a topic that has forgotten its events.
pub(crate) fn format_forgotten(forgotten: &TopicForgetting) -> String {
    let (topic, events) = (forgotten.name(), forgotten.events());
    format!("event=topic_forgotten topic={} events={events}", LogValue(topic))
}

fn address_or_dash(client: Option<IpAddr>) -> String {
    client.map_or("-".to_owned(), |client| client.to_string())
}

struct ClientFields(TracedClient);

impl fmt::Display for ClientFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client={}", address_or_dash(self.0.address))?;
        self.0.proxy.map_or(Ok(()), |proxy| write!(f, " peer={proxy}"))
    }
}

struct DetailFields<'a>(&'a ConnDetail);

impl fmt::Display for DetailFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConnDetail { user_agent, topics, topics_more } = self.0;
        write!(f, "topics={}", LogValue(&topics.join(",")))?;
        if *topics_more > 0 {
            write!(f, " topics_more={topics_more}")?;
        }
        write!(f, " user_agent={}", LogValue(user_agent.as_deref().unwrap_or("-")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::CloseReason;
    use crate::base::listener::ListenerKind;
    use crate::base::survey::ConnectionId;

    #[test]
    fn a_note_is_one_line_whatever_strangers_wrote() {
        let id = ConnectionId { worker: 0, slot: 7, generation: 9 };
        let detail = ConnDetail {
            user_agent: Some("a\" b=c\u{1b}".into()),
            topics: vec!["news".into(), "a b".into()],
            topics_more: 2,
        };
        let (client, port) = (Some("192.0.2.1".parse().unwrap()), Some(77));
        let (duration_ms, bytes, reason) = (12, Some(345), CloseReason::Operator);
        let event = TraceEvent::Closed { client, port, detail, duration_ms, bytes, reason };
        let line = format_trace(&ConnTrace { id, listener: ListenerKind::Public, event });
        let begin = "event=connection_closed id=0-7-9 listener=public client=192.0.2.1:77 \
                     topics=\"news,a b\" topics_more=2 user_agent=";
        assert!(line.starts_with(begin), "{line}");
        assert!(line.ends_with(" duration_ms=12 bytes=345 reason=operator"), "{line}");
        assert!(!line.contains(char::is_control), "{line}");
    }
}
