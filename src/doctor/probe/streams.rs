//! `fanwheel doctor --url`: opens streams through all proxies on the path, publishes to them, and records
//! each arrival with its time. `judge/streams` makes findings of it.

pub(crate) mod connection;
pub(crate) mod http2;
pub(crate) mod publisher;
mod refusal_body;
pub(crate) mod tls;
pub(crate) mod url;

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use connection::{ArrivalKind, ProbeConnection, open_connection};
use publisher::ProbePublisher;
use url::{StreamUrl, topic_pair};

use crate::base::failure::CommandFailure;
use crate::base::limits::{DOCTOR_CONNECT_TIMEOUT, DOCTOR_PATIENCE};
use crate::base::logfmt::shown;
use crate::doctor::judge::publish_refusal::PublishObstacle;
use crate::doctor::judge::streams::{
    CompressionResult, DepartureResult, IdleStream, ResumptionResult, StreamObservations,
};
use crate::host::seed::random_seed;
use crate::host::tls_trust::{TlsTrust, describe_tls_error};

/// Longest wait for an event that it has published.
const DOCTOR_EVENT_PATIENCE: Duration = Duration::from_secs(3);

/// Number of events that are published.
const EVENTS: usize = 5;
/// Pause between two events, so that none travels along with another.
const PAUSE: Duration = Duration::from_millis(250);
/// Number of looks for the place of a stream that was closed.
const LEFT_LOOKS: usize = 8;
/// An id from before the start of any server: a client that resumes from it gets a gap.
const ANCIENT_ID: &str = "1-0";
const ACCEPT: (&str, &str) = ("Accept", "text/event-stream");

/// The options of a probe.
pub(crate) struct ProbeOptions<'a> {
    /// URL of the stream.
    pub(crate) url: &'a str,
    /// URL of the control listener.
    pub(crate) publish_url: &'a str,
    /// Time for which a quiet stream is watched.
    pub(crate) idle: Duration,
    /// Origin of the page that reads the stream.
    pub(crate) origin: Option<&'a str>,
    /// A file of trusted certificates.
    pub(crate) ca_file: Option<&'a str>,
    /// A file with the token of the control listener.
    pub(crate) token_file: Option<&'a str>,
}

/// The parts that open streams and publish to them.
struct StreamProbe {
    address: StreamUrl,
    trust: Option<TlsTrust>,
    publisher: ProbePublisher,
    topic: String,
    /// Pairs of the query: the topic above, or those of the URL where the server allows no other.
    topics: Vec<String>,
    origin: String,
}

/// Probes the streams of a URL and returns the observations.
///
/// # Errors
/// When the URL is malformed, or nothing answers there.
pub(crate) fn probe_streams(options: &ProbeOptions<'_>) -> Result<StreamObservations, CommandFailure> {
    let mut probe = StreamProbe::new(options)?;
    let mut seen = StreamObservations {
        patience_ms: whole_ms(DOCTOR_PATIENCE),
        tls: probe.address.tls,
        origin: probe.origin.clone(),
        origin_chosen: options.origin.is_some(),
        ..StreamObservations::default()
    };
    let quiet_pair = [topic_pair(&format!("{}-quiet", probe.topic))];
    let mut stream = probe.open_stream(&probe.topics.clone(), &[], &[])?;
    seen.head = wait_for_head(&mut stream);
    // Where credentials are for certain topics only, a topic of our own is refused.
    let refused = matches!(&seen.head, Some((401 | 403, _)));
    let mut quiet_topics: &[String] = &quiet_pair;
    let own = probe.address.topics();
    if refused && !own.is_empty() {
        probe.topics = own;
        quiet_topics = &probe.topics;
        seen.unpublished = Some(PublishObstacle::OwnTopicRefused);
        stream = probe.open_stream(&probe.topics, &[], &[])?;
        seen.head = wait_for_head(&mut stream);
    }
    seen.connect_ms = stream.connect_ms;
    seen.closed_ms = stream.end().filter(|_| seen.head.is_none()).map(|(_, ms)| ms);
    if seen.closed_ms.is_some() {
        return Ok(seen);
    }
    if seen.head.as_ref().is_some_and(|(status, _)| *status != 200) {
        seen.refusal = wait_for_refusal(&mut stream);
        return Ok(seen);
    }
    if let Some(trust) = &probe.trust {
        seen.trusted_by_name = trust.trusted_by_name();
        let target = probe.address.target(&probe.topics, &[]);
        let looked = http2::probe_http2(&probe.address, trust, &target, DOCTOR_PATIENCE);
        seen.http2 = Some(looked.map_err(|error| probe.explain_unreachable(&error))?);
    }
    let mut quiet = probe.open_stream(quiet_topics, &[], &[])?;
    let first = stream.wait_for(stream.started + DOCTOR_PATIENCE, |arrival| {
        (arrival.kind == ArrivalKind::Bytes).then_some(arrival.at)
    });
    seen.first_byte_ms = first.map(|at| whole_ms(at.saturating_duration_since(stream.started)));
    let first_id = probe.publish_events(&mut stream, &mut seen);
    let left_at = stream.close();
    seen.preflight = probe.send_preflight()?;
    // Behind a buffer nothing more can be seen, so waiting would be vain.
    if seen.first_byte_ms.is_some() || seen.events_ms.iter().any(Option::is_some) {
        seen.departure = probe.watch_departure(&seen, left_at);
        seen.came_unasked = probe.probe_buffering()?;
        seen.compression = probe.probe_compression(&seen)?;
        seen.resumed = probe.probe_resumption(first_id.as_deref())?;
        quiet.wait_for_end(quiet.started + options.idle);
        seen.idle = summarize_idle(&quiet);
    }
    Ok(seen)
}

/// Waits for the words of an answer that is no stream.
fn wait_for_refusal(stream: &mut ProbeConnection) -> Option<String> {
    stream.wait_for(stream.started + DOCTOR_PATIENCE, |arrival| match &arrival.kind {
        ArrivalKind::Refusal(words) => Some(words.clone()),
        ArrivalKind::Ended(_) => Some(None),
        _ => None,
    })?
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Status and fields of an answer.
type AnswerHead = (u16, Vec<(String, String)>);

fn wait_for_head(stream: &mut ProbeConnection) -> Option<AnswerHead> {
    stream.wait_for(stream.started + DOCTOR_PATIENCE, |arrival| match &arrival.kind {
        ArrivalKind::Head(status, fields) => Some(Some((*status, fields.clone()))),
        ArrivalKind::Ended(_) => Some(None),
        _ => None,
    })?
}

impl StreamProbe {
    fn new(options: &ProbeOptions<'_>) -> Result<StreamProbe, CommandFailure> {
        let address = StreamUrl::new(options.url)?;
        let trust = address.tls.then(|| TlsTrust::new(options.ca_file)).transpose();
        let origin = options.origin.unwrap_or("https://fanwheel-doctor.invalid").to_owned();
        if !origin.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CommandFailure::Usage(format!(
                "--origin {}: must be as https://page.example",
                shown(&origin)
            )));
        }
        let topic = format!("fanwheel-doctor-{:016x}", random_seed());
        let publisher =
            ProbePublisher::new(options.publish_url, &topic, options.ca_file, options.token_file)?;
        let topics = vec![topic_pair(&topic)];
        Ok(StreamProbe {
            address,
            trust: trust.map_err(CommandFailure::Run)?,
            publisher,
            topic,
            topics,
            origin,
        })
    }

    fn explain_unreachable(&self, error: &io::Error) -> CommandFailure {
        let (host, port) = (shown(&self.address.host), self.address.port);
        let tls = describe_tls_error(error, &host.to_string(), port);
        let error = match error.kind() {
            // A socket with a time limit calls that "temporarily unavailable".
            io::ErrorKind::WouldBlock => {
                let seconds = DOCTOR_CONNECT_TIMEOUT.as_secs();
                format!("nothing came within {seconds} s (in the handshake of TLS, if it is https://)")
            }
            _ => error.to_string(),
        };
        CommandFailure::Run(tls.unwrap_or_else(|| {
            format!("no stream from {host}:{port}: {error}; is the address right, and does it listen?")
        }))
    }

    fn send_request(&self, request: &[u8]) -> Result<ProbeConnection, CommandFailure> {
        open_connection(&self.address, self.trust.as_ref(), request)
            .map_err(|error| self.explain_unreachable(&error))
    }

    fn open_stream(
        &self,
        topics: &[String],
        more: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Result<ProbeConnection, CommandFailure> {
        let fields = [&[ACCEPT, ("Cache-Control", "no-cache"), ("Origin", &self.origin)], fields].concat();
        self.send_request(&self.address.request("GET", topics, more, &fields))
    }

    /// Publishes some events one after the other; returns the first one's id.
    fn publish_events(&self, stream: &mut ProbeConnection, seen: &mut StreamObservations) -> Option<String> {
        let mut first = None;
        // Behind a buffer none comes: then two are enough to know.
        for number in 0..EVENTS {
            if seen.unpublished.is_some()
                || seen.ended.is_some()
                || (number >= 2 && seen.events_ms.iter().all(Option::is_none))
            {
                break;
            }
            let data = format!("{}-{number}", self.topic);
            let before = Instant::now();
            match self.publisher.publish(&data) {
                Err(reason) => seen.unpublished = Some(reason),
                Ok((id, subscribers)) => {
                    let came =
                        stream.wait_for(before + DOCTOR_EVENT_PATIENCE, |arrival| match &arrival.kind {
                            ArrivalKind::Event { data: text, .. } if *text == data => Some(arrival.at),
                            _ => None,
                        });
                    // A stream that has ended cannot bring this event or the next ones.
                    seen.ended = stream.end().filter(|_| came.is_none());
                    if seen.ended.is_some() {
                        break;
                    }
                    // Another node of the same service delivers though it has no subscriber itself.
                    if came.is_none() && subscribers == 0 {
                        let asked = self.publisher.request_line();
                        seen.unpublished = Some(PublishObstacle::AnotherServer { asked });
                        return None;
                    }
                    seen.counted |= subscribers > 0;
                    first.get_or_insert(id);
                    seen.events_ms.push(came.map(|at| whole_ms(at.saturating_duration_since(before))));
                    thread::sleep(PAUSE);
                }
            }
        }
        first
    }

    /// Looks for the place of the closed stream until the server has freed it. Each look publishes, because
    /// many proxies notice only when they have something to pass on.
    fn watch_departure(&self, seen: &StreamObservations, since: Instant) -> Option<DepartureResult> {
        let all_came = !seen.events_ms.is_empty() && seen.events_ms.iter().all(Option::is_some);
        if !all_came || seen.ended.is_some() || !seen.counted {
            return None;
        }
        let mut left = DepartureResult { ms: 0, events: 0, freed: false };
        while !left.freed && left.events < LEFT_LOOKS {
            thread::sleep(PAUSE + 2 * Duration::from_millis(seen.connect_ms));
            let (_, subscribers) = self.publisher.publish("gone?").ok()?;
            left.ms = whole_ms(since.elapsed());
            left.events += 1;
            left.freed = subscribers == 0;
        }
        Some(left)
    }

    /// Opens a stream without the server's hint to proxies; returns whether it comes at once.
    fn probe_buffering(&self) -> Result<Option<bool>, CommandFailure> {
        let mut stream = self.open_stream(&self.topics, &[("buffered", "1")], &[])?;
        let first = stream.wait_for(stream.started + DOCTOR_PATIENCE, |arrival| match &arrival.kind {
            ArrivalKind::Head(200, _) => None,
            ArrivalKind::Head(..) | ArrivalKind::Ended(_) => Some(None),
            ArrivalKind::Bytes => Some(Some(true)),
            _ => None,
        });
        Ok(first.unwrap_or(Some(false)))
    }

    /// Asks for a compressed stream, after one without compression has come.
    fn probe_compression(&self, seen: &StreamObservations) -> Result<CompressionResult, CommandFailure> {
        let mut stream = self.open_stream(&self.topics, &[], &[("Accept-Encoding", "gzip, br, zstd")])?;
        let Some((200, fields)) = wait_for_head(&mut stream) else { return Ok(CompressionResult::Withheld) };
        let encoding = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
        let Some((_, encoding)) = encoding.filter(|(_, value)| !value.eq_ignore_ascii_case("identity"))
        else {
            return Ok(CompressionResult::Plain);
        };
        // The compressed bytes are not decoded here, but only our own event is sent in this second.
        let bytes_after = |stream: &mut ProbeConnection, since: Instant, patience: Duration| {
            let look = |arrival: &connection::StreamArrival| {
                (arrival.kind == ArrivalKind::Bytes && arrival.at >= since).then_some(())
            };
            stream.wait_for(since + patience, look).is_some()
        };
        let started = stream.started;
        let greeted = bytes_after(&mut stream, started, PAUSE * 2);
        let flushed = if seen.unpublished.is_none() {
            thread::sleep(PAUSE);
            let before = Instant::now();
            self.publisher.publish("compressed?").ok().map(|_| bytes_after(&mut stream, before, PAUSE * 4))
        } else {
            Some(greeted)
        };
        Ok(CompressionResult::Squeezed { encoding: encoding.clone(), flushed })
    }

    /// Resumes after the first event, by the header and by the query.
    fn probe_resumption(&self, first_id: Option<&str>) -> Result<ResumptionResult, CommandFailure> {
        let position = first_id.unwrap_or(ANCIENT_ID);
        let by_header = self.open_stream(&self.topics, &[], &[("Last-Event-ID", position)])?;
        let by_query = self.open_stream(&self.topics, &[("last_event_id", position)], &[])?;
        let second = format!("{}-1", self.topic);
        let has_resumed = |mut stream: ProbeConnection| {
            let until = stream.started + DOCTOR_EVENT_PATIENCE;
            wait_for_head(&mut stream).filter(|(status, _)| *status == 200)?;
            // Behind a buffer nothing can be seen: the greeting must come first.
            stream.wait_for(until, |arrival| (arrival.kind == ArrivalKind::Bytes).then_some(()))?;
            let came = stream.wait_for(until, |arrival| match &arrival.kind {
                ArrivalKind::Event { data, .. } if first_id.is_some() && *data == second => Some(()),
                ArrivalKind::Event { name, .. } if first_id.is_none() && name == "fanwheel.gap" => Some(()),
                _ => None,
            });
            Some(came.is_some())
        };
        Ok(ResumptionResult { by_header: has_resumed(by_header), by_query: has_resumed(by_query) })
    }

    /// Sends a preflight, as a browser does before `fetch` sends fields of its own.
    fn send_preflight(&self) -> Result<Option<AnswerHead>, CommandFailure> {
        let fields = [
            ("Origin", &self.origin[..]),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "last-event-id"),
            ("Connection", "close"),
        ];
        let mut answer = self.send_request(&self.address.request("OPTIONS", &self.topics, &[], &fields))?;
        Ok(wait_for_head(&mut answer))
    }
}

/// Summarizes the arrivals of a stream without events.
fn summarize_idle(quiet: &ProbeConnection) -> IdleStream {
    let mut idle = IdleStream::default();
    let mut last = quiet.started;
    for arrival in &quiet.arrivals {
        let silence_ms = whole_ms(arrival.at.saturating_duration_since(last));
        match arrival.kind {
            ArrivalKind::Bytes => {
                idle.longest_silence_ms = idle.longest_silence_ms.max(silence_ms);
                last = arrival.at;
            }
            ArrivalKind::Comments(count) => idle.comments = count,
            ArrivalKind::Ended(end) => {
                idle.ended = Some((end, silence_ms));
                idle.watched_ms = whole_ms(arrival.at.saturating_duration_since(quiet.started));
            }
            _ => {}
        }
    }
    if idle.ended.is_none() {
        idle.watched_ms = whole_ms(quiet.started.elapsed());
    }
    idle
}
